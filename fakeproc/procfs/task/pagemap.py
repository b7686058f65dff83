# SPDX-License-Identifier: MIT
"""pagemap and mem: an address space page by page, and byte by byte."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator

from fakeproc.kernel.address_space import TASK_SIZE, AddressSpace, Area, Mapping, page_number
from fakeproc.kernel.capability import CAP_SYS_ADMIN
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.task import PAGE_BYTES, Caller, Thread
from fakeproc.procfs.node import Seek
from fakeproc.procfs.task.access import require_mm
from fakeproc.procfs.task.memory import space_of
from fakeproc.procfs.task.node import TaskFile, TaskRow, user_mm

_ENTRY_BYTES = 8

# Bits of an entry (Documentation/admin-guide/mm/pagemap.rst).
_PRESENT = 1 << 63
_SWAPPED = 1 << 62
_FILE_OR_SHARED = 1 << 61
_EXCLUSIVE = 1 << 56
_SWAP_TYPE_BITS = 5


def render_pagemap(
    machine: Machine, thread: Thread, reader: Caller, size: int, offset: int
) -> bytes:
    """Return the entries of so many bytes; EINVAL unless whole ones are asked for.

    Where a page is, in memory or in swap, is only for who had CAP_SYS_ADMIN when opening
    (since 4.2).
    """
    if size % _ENTRY_BYTES or offset % _ENTRY_BYTES:
        raise Refused(errno.EINVAL)
    mm, space = user_mm(thread), space_of(machine, thread)
    first = offset // _ENTRY_BYTES
    last = min(first + size // _ENTRY_BYTES, TASK_SIZE // PAGE_BYTES)
    if mm is None or space is None or first >= last:
        return b""
    entries = bytearray((last - first) * _ENTRY_BYTES)
    limit = max(machine.hardware.present_pages, 1)
    with_places = reader.credentials.capable(CAP_SYS_ADMIN)
    for mapping, begin, end in _overlapping(space, first, last):
        where = (begin - first) * _ENTRY_BYTES
        base = mapping.start // PAGE_BYTES
        words = [_flags(mapping.area, machine.mm_count, page - base) for page in range(begin, end)]
        if with_places:
            words = [
                word | _place(word, page_number(mapping, begin - base + number, mm.id, limit))
                for number, word in enumerate(words)
            ]
        struct.pack_into(f"<{len(words)}Q", entries, where, *words)
    return bytes(entries)


def _overlapping(
    space: AddressSpace, first_page: int, last_page: int
) -> Iterator[tuple[Mapping, int, int]]:
    """Return mappings that have pages in a range, and which: from, and up to."""
    for mapping in space.mappings:
        begin = max(mapping.start // PAGE_BYTES, first_page)
        end = min(mapping.end // PAGE_BYTES, last_page)
        if begin < end:
            yield mapping, begin, end


def _flags(area: Area, mm_count: int, page: int) -> int:
    """Return an entry without its place: first what is in memory, then what is in swap.

    The stack is filled from its other end.
    """
    if area.path == "[stack]":
        page = area.pages - 1 - page
    if page >= area.rss_pages:
        return _SWAPPED if page < area.rss_pages + area.swap_entries else 0
    if area.anon_pages:
        return _PRESENT | _EXCLUSIVE
    shared = area.everywhere and mm_count > 1
    return _PRESENT | _FILE_OR_SHARED | (0 if shared else _EXCLUSIVE)


def _place(flags: int, number: int) -> int:
    if flags & _PRESENT:
        return number
    return number << _SWAP_TYPE_BITS if flags & _SWAPPED else 0


def render_mem(machine: Machine, thread: Thread, reader: Caller, size: int, offset: int) -> bytes:
    """Return zeros for what is mapped, up to where that ends; EIO where nothing is."""
    space = space_of(machine, thread)
    if space is None:
        return b""
    at, end = offset, offset + size
    while at < end:
        mapping = space.mapping_at(at)
        if mapping is None or mapping.area.is_special:
            break
        at = min(mapping.end, end)
    if at == offset and size:
        raise Refused(errno.EIO)
    return bytes(at - offset)


def _store_mem(machine: Machine, thread: Thread, caller: Caller, data: bytes) -> int:
    """Refuse with EIO: memory has no content here that could be changed."""
    raise Refused(errno.EIO, f"/proc/{thread.tid}/mem: what memory holds is not simulated.")


def _render_nothing(machine: Machine, thread: Thread) -> bytes:
    return b""


ROWS: dict[str, TaskRow] = {
    "pagemap": TaskFile(
        reflects="the pages of smaps, one by one; frame numbers are made up",
        mode=0o400,
        render=_render_nothing,
        render_range=render_pagemap,
        seek=Seek.SEQ,
        require=require_mm,
        holds_mm=True,
    ),
    "mem": TaskFile(
        reflects="what is mapped: reads as zeros, takes no writes",
        mode=0o600,
        render=_render_nothing,
        render_range=render_mem,
        store=_store_mem,
        seek=Seek.SEQ,
        require=require_mm,
        holds_mm=True,
    ),
}
