# SPDX-License-Identifier: MIT
"""MemAvailable: how much memory there is for new programs without swapping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fakeproc.kernel.task import PAGE_BYTES
from fakeproc.kernel.zones import Zone, lowmem_reserve, watermarks, zones

if TYPE_CHECKING:
    from fakeproc.kernel.machine import Machine


@dataclass(frozen=True, slots=True)
class ZoneMarks:
    """What a zone keeps back, in pages, as /proc/zoneinfo shows it."""

    managed_pages: int
    low_pages: int
    high_pages: int
    lowmem_reserve_pages: Sequence[int]
    """By the zone up to which an allocation may go (``protection``)."""


def totalreserve_pages(marks: Sequence[ZoneMarks]) -> int:
    """Return what the kernel keeps from programs: calculate_totalreserve_pages.

    That is in each zone, but not more than it has, the high watermark and the most that it
    reserves from allocations that could go higher.
    """
    return sum(
        min(zone.high_pages + max(zone.lowmem_reserve_pages), zone.managed_pages) for zone in marks
    )


def available_pages(
    marks: Sequence[ZoneMarks],
    *,
    free_pages: int,
    file_pages: int,
    reclaimable_pages: int,
    keeps_reserves: bool = True,
) -> int:
    """Return MemAvailable (si_mem_available): what is free and can easily become so.

    ``file_pages`` are those on both lists of file pages; ``reclaimable_pages`` slab that can
    be reclaimed and, since 4.20, what is reclaimable otherwise.  Of either, half is taken
    to be in use, but not more than the low watermarks.  What is free counts without the
    reserves or, before 4.5 (84ad5802a33a), without the low watermarks.
    """
    low_pages = sum(zone.low_pages for zone in marks)
    kept_pages = totalreserve_pages(marks) if keeps_reserves else low_pages
    available = free_pages - kept_pages
    for pages in (file_pages, reclaimable_pages):
        available += pages - min(pages // 2, low_pages)
    return max(available, 0)


def _zone_marks(machine: Machine, among: list[Zone]) -> list[ZoneMarks]:
    """Return what each of the populated zones keeps back."""
    marks = []
    for zone in among:
        own = watermarks(machine, zone)
        reserve = lowmem_reserve(machine, among, zone)
        marks.append(ZoneMarks(zone.managed_pages, own.low_pages, own.high_pages, reserve))
    return marks


def available(machine: Machine) -> int:
    """Return MemAvailable of the machine, in pages."""
    return available_pages(
        _zone_marks(machine, zones(machine)),
        free_pages=machine.free_pages,
        file_pages=machine.used.file_pages + machine.memory.cache_pages,
        reclaimable_pages=machine.memory.slab_reclaimable_pages,
        keeps_reserves=machine.profile.available_keeps_reserves,
    )


def dirty_thresholds(machine: Machine, populated: list[Zone]) -> tuple[int, int]:
    """Return from how many dirty pages on writers write, and the flusher does, in pages.

    Ratios are of what could be dirty: free memory without the reserves, and page cache
    (global_dirtyable_memory and domain_dirty_limits).  The second is less than the first.
    """
    reserved = totalreserve_pages(_zone_marks(machine, populated))
    file_pages = machine.used.file_pages + machine.memory.cache_pages
    dirtyable = max(machine.free_pages - reserved, 0) + file_pages + 1
    limit = _dirty_limit(machine, "vm/dirty", dirtyable)
    background = _dirty_limit(machine, "vm/dirty_background", dirtyable)
    return limit, background if background < limit else limit // 2


def _dirty_limit(machine: Machine, name: str, dirtyable_pages: int) -> int:
    if limit_bytes := machine.sysctls[f"{name}_bytes"]:
        return -(-limit_bytes // PAGE_BYTES)
    parts = machine.sysctls[f"{name}_ratio"] * PAGE_BYTES // 100
    return parts * dirtyable_pages // PAGE_BYTES
