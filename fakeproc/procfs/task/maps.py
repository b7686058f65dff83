# SPDX-License-Identifier: MIT
"""maps and map_files: the mappings of a task, by their addresses."""

from __future__ import annotations

import errno
import stat
import zlib
from collections.abc import Iterable
from functools import lru_cache

from fakeproc.kernel.address_space import SHARED_MEMORY, Mapping, vsyscall
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.mounts import ROOT_DEVICE
from fakeproc.kernel.ptrace import may_read
from fakeproc.kernel.task import PAGE_BYTES, Caller, Thread, encode_name
from fakeproc.procfs.node import Attributes, Directory, Link, Node, Seek
from fakeproc.procfs.session import Session
from fakeproc.procfs.task.access import require_readable
from fakeproc.procfs.task.memory import space_of
from fakeproc.procfs.task.node import Of, TaskFile, TaskFolder, TaskRow, require_there

PATH_COLUMN = 73
_ROOT_DEVICE = "{:02x}:{:02x}".format(*ROOT_DEVICE)


def all_mappings(machine: Machine, thread: Thread) -> tuple[Mapping, ...]:
    """Return the mappings with the vsyscall page, as maps and smaps list them."""
    space = space_of(machine, thread)
    return () if space is None else (*space.mappings, vsyscall(machine.profile))


def header(mapping: Mapping) -> str:
    """Return the line of a mapping in maps, without its end."""
    device, inode = _device_and_inode(mapping.path)
    area = mapping.area
    text = (
        f"{mapping.start:08x}-{mapping.end:08x} {area.perms} "
        f"{area.offset_pages * PAGE_BYTES:08x} {device} {inode} "
    )
    return with_path(text, mapping.path)


def with_path(text: str, path: str) -> str:
    """Put a path in its column."""
    return f"{text:<{PATH_COLUMN}}" + path.replace("\n", "\\012") if path else text


@lru_cache(maxsize=256)
def _device_and_inode(path: str) -> tuple[str, int]:
    if not path.startswith("/"):
        return "00:00", 0
    inode = zlib.crc32(encode_name(path)) % 1_000_000 + 1000
    return ("00:01" if path == SHARED_MEMORY else _ROOT_DEVICE), inode


def render_maps(machine: Machine, thread: Thread) -> bytes:
    """Return a line for each mapping; nothing without an mm."""
    return encode_name("".join(header(m) + "\n" for m in all_mappings(machine, thread)))


class MapFiles(Directory):
    """/proc/<pid>/map_files: a link for each mapping of a file, by its addresses."""

    def __init__(self, session: Session, thread: Thread) -> None:
        self._session = session
        self._thread = thread

    def attributes(self) -> Attributes:
        """Return what only its owner may list."""
        uid, gid = self._thread.process.owner(self._thread)
        return Attributes(stat.S_IFDIR | 0o500, uid, gid, nlink=2)

    def entries(self, caller: Caller) -> Iterable[tuple[str, int]]:
        """Return the links, ascending; EACCES for who may not look into the memory."""
        self._require(caller)
        return [(_name(mapping), stat.S_IFLNK) for mapping in self._mappings()]

    def child(self, name: str, caller: Caller) -> Node:
        """Return a link; ENOENT where no file is mapped from just here to there."""
        self._require(caller)
        for mapping in self._mappings():
            if _name(mapping) == name:
                return _MapFile(self._thread, mapping)
        raise Refused(errno.ENOENT)

    def _require(self, caller: Caller) -> None:
        require_there(self._session.machine, self._thread)
        if not may_read(caller, self._thread):
            raise Refused(errno.EACCES)

    def _mappings(self) -> list[Mapping]:
        space = space_of(self._session.machine, self._thread)
        return [m for m in space.mappings if m.has_file] if space else []


class _MapFile(Link):
    """A link to a mapped file; what it may be opened for is its mode."""

    def __init__(self, thread: Thread, mapping: Mapping) -> None:
        self._thread = thread
        self._mapping = mapping

    def attributes(self) -> Attributes:
        uid, gid = self._thread.process.owner(self._thread)
        mode = 0o600 if self._mapping.area.perms == "rw-s" else 0o400
        return Attributes(stat.S_IFLNK | mode, uid, gid)

    def target(self, caller: Caller) -> str:
        return self._mapping.path


def _name(mapping: Mapping) -> str:
    return f"{mapping.start:x}-{mapping.end:x}"


ROWS: dict[str, TaskRow] = {
    "maps": TaskFile(
        reflects="mappings, made up so that they hold what the sizes say",
        render=render_maps,
        seek=Seek.SEQ,
        require=require_readable,
    ),
    "map_files": TaskFolder(
        reflects="the files of maps",
        of=Of.PROCESS,
        directory=lambda session, thread: MapFiles(session, thread),
    ),
}
