# SPDX-License-Identifier: MIT
"""Nodes of the tree, and open files with the semantics that procfs gives them."""

from __future__ import annotations

import errno
import os
import select
import stat
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from fakeproc.kernel.capability import CAP_DAC_OVERRIDE
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.task import Caller

BLOCK_SIZE = 1024
"""st_blksize of every procfs file (seen on 6.1 and 6.18)."""

Entry = tuple[str, int]
"""A name in a directory, and the type of what it stands for."""

_ENTRY_BYTES = 128
"""What one takes in memory, about."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What stat(2) shows; the size of a file is always 0."""

    mode: int
    uid: int = 0
    gid: int = 0
    nlink: int = 1
    size: int = 0
    inode: int = 0
    """The inode number where it means something: of a namespace.  0: any."""


@lru_cache(maxsize=4096)
def attributes_of(mode: int, uid: int, gid: int, nlink: int = 1) -> Attributes:
    """Return these attributes; the same object each time, as making one takes a while."""
    return Attributes(mode, uid, gid, nlink)


class Node:
    """Something with a name in the tree.

    It is no ABC, which would make `isinstance` slow: each lookup takes some of them.
    """

    @abstractmethod
    def attributes(self) -> Attributes:
        """Return mode and owner as they are now."""

    def is_there(self) -> bool:
        """Say whether the present kernel has it."""
        return True

    def require_access(self, caller: Caller, wanted: int) -> None:
        """Refuse with EACCES unless the mode gives the caller these rights (os.R_OK ...).

        CAP_DAC_OVERRIDE passes over the mode of a file, but executes none that nobody may.
        Groups do not count: procfs has no file whose group may do more than everybody.
        """
        attributes = self.attributes()
        if wanted & os.X_OK and not attributes.mode & 0o111:
            raise Refused(errno.EACCES)
        shift = 6 if caller.credentials.uid == attributes.uid else 0
        granted = (attributes.mode >> shift) & 7
        if wanted & ~granted and not self._overridden(caller):
            raise Refused(errno.EACCES)

    def require_root(self, caller: Caller) -> None:
        """Refuse with EPERM to change attributes, unless the caller is root."""
        if caller.credentials.uid != 0:
            raise Refused(errno.EPERM)

    def require_chmod(self, caller: Caller) -> None:
        """Refuse chmod(2): EPERM where modes are what they are (proc_setattr)."""
        raise Refused(errno.EPERM)

    def require_chown(self, caller: Caller) -> None:
        """Refuse chown(2) with EPERM, but to root."""
        self.require_root(caller)

    def _overridden(self, caller: Caller) -> bool:
        return caller.credentials.capable(CAP_DAC_OVERRIDE)


class Directory(Node):
    """A directory: its names in the order of readdir, and what they stand for."""

    @abstractmethod
    def entries(self, caller: Caller) -> Iterable[Entry]:
        """Return names and file types (stat.S_IFDIR ...), without ``.`` and ``..``."""

    @abstractmethod
    def child(self, name: str, caller: Caller) -> Node:
        """Return what the name stands for; ENOENT if nothing."""

    def require_search(self, caller: Caller) -> None:
        """Refuse with EACCES who may not go through it to what is in it."""
        self.require_access(caller, os.X_OK)

    def make_directory(self, name: str, caller: Caller) -> None:
        """Handle mkdir(2) here; ENOENT where nothing can be made (seen on 6.1)."""
        raise Refused(errno.ENOENT)

    def remove_directory(self, name: str, caller: Caller) -> None:
        """Handle rmdir(2) here; EPERM where nothing can be removed (seen on 6.1)."""
        raise Refused(errno.EPERM)

    def attributes(self) -> Attributes:
        """Return what most directories of procfs have."""
        return Attributes(stat.S_IFDIR | 0o555, nlink=2)


class Link(Node):
    """A symbolic link."""

    @abstractmethod
    def target(self, caller: Caller) -> str:
        """Return where it leads, for this caller."""

    def attributes(self) -> Attributes:
        """Return what a symbolic link has."""
        return Attributes(stat.S_IFLNK | 0o777)


class Seek(Enum):
    """How lseek(2) works on a file: which of the kernel's functions it has."""

    GENERIC = "generic_file_llseek"
    """Any whence, up to `MAX_NON_LFS`."""
    DEFAULT = "default_llseek"
    """Any whence, as far as one likes."""
    SEQ = "seq_lseek"
    """Neither from the end nor for data or holes: EINVAL."""


MAX_NON_LFS = 2**31 - 1

ALWAYS_READY = select.POLLIN | select.POLLOUT | select.POLLRDNORM | select.POLLWRNORM
"""What poll(2) sees of a file that nobody waits for (DEFAULT_POLLMASK)."""


class File(Node):
    """A regular file: content that is made when it is read, and a handler of writes."""

    seek = Seek.GENERIC
    has_events = False
    """Whether somebody may wait in poll(2) for something that has not been there."""
    may_sleep = False
    """Whether who reads sleeps until there is something, instead of being refused with EAGAIN."""

    def opened(self, flags: int, caller: Caller) -> File:
        """Return the file as one descriptor has it, opened with these flags."""
        return self

    def closed(self) -> None:
        """Drop what the descriptor had of its own."""

    def seek_end(self) -> int:
        """Return where lseek(SEEK_END) leads; it has no other way to tell the file."""
        return self.attributes().size

    def poll(self) -> int:
        """Return what poll(2) sees now (select.POLLIN ...); an event is seen once."""
        return ALWAYS_READY

    def has_event(self) -> bool:
        """Say whether who waits in poll(2) is to be woken; asking changes nothing."""
        return False

    def require_there(self) -> None:
        """Refuse when what the file speaks for is gone, to who reads on as well."""

    @abstractmethod
    def render(self) -> bytes:
        """Return the whole content as it is now."""

    def read_range(self, size: int, offset: int) -> bytes | None:
        """Return these bytes of a file that is too large to be rendered; None: it is not."""
        return None

    @abstractmethod
    def store(self, caller: Caller, data: bytes) -> int:
        """Handle one write(2); return how many bytes were taken."""

    def ioctl(self, request: int) -> int:
        """Answer ioctl(2): ENOTTY, as of files that know of no requests."""
        raise Refused(errno.ENOTTY)

    def takes_input(self) -> bool:
        """Say whether a write can change more than what this descriptor shows.

        If so, the file found under the same path does the same with it.
        """
        return True

    def prepare(self, caller: Caller, data: bytes) -> None:
        """Bring about what a write rests on and is a change of its own: adopting its caller."""


class OpenFile:
    """An open file: one pass of reading sees one content.

    The content is rendered when a read does not go on where the last one ended, so
    that a program which rewinds sees new numbers.  Where a write begins makes no
    difference to any file here.
    """

    def __init__(self, file: File) -> None:
        self.file = file
        self._content = b""
        self._next_offset = -1

    def read(self, size: int, offset: int) -> bytes:
        """Return up to ``size`` bytes; fewer only at the end of the content."""
        part = self.file.read_range(size, offset)
        if part is not None:
            return part
        if offset == 0 or offset != self._next_offset:
            self._content = self.file.render()
        else:
            self.file.require_there()
        chunk = self._content[offset : offset + size]
        self._next_offset = offset + len(chunk)
        if len(chunk) < size:
            self._content = b""  # The pass is over: there is no more behind it.
        return chunk

    @property
    def unread_bytes(self) -> int:
        """How much is kept for who has not read to the end."""
        return len(self._content)

    def drop(self) -> None:
        """Keep nothing: who reads on does so in what the content is then."""
        self._content, self._next_offset = b"", -1

    def write(self, caller: Caller, data: bytes) -> int:
        """Hand the bytes to the file; return how many were taken."""
        return self.file.store(caller, data)


class OpenDirectory:
    """An open directory: one pass of reading sees one list."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def read(self, place: int, list_all: Callable[[], Iterable[Entry]]) -> Iterator[Entry]:
        """Return the entries from a place on: how many there are before them."""
        if place == 0 or not self._entries:
            self._entries = [(".", stat.S_IFDIR), ("..", stat.S_IFDIR), *list_all()]
        entries = self._entries
        if place >= len(entries):
            self.drop()  # The pass is over.
        return (entries[number] for number in range(place, len(entries)))

    @property
    def unread_bytes(self) -> int:
        """How much is kept for who has not read to the end."""
        return _ENTRY_BYTES * len(self._entries)

    def drop(self) -> None:
        """Keep nothing: who reads on does so in what there is then."""
        self._entries = []


class Unread:
    """What has not been read to the end: what is kept for that has a bound.

    A program may keep as many descriptors as it likes, and never read on.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._sizes: OrderedDict[OpenFile | OpenDirectory, int] = OrderedDict()
        """What is kept for each, the one that was read last at the end."""
        self._total_bytes = 0

    def note(self, opened: OpenFile | OpenDirectory) -> None:
        """Take note of what has been read; the others lose theirs if it is too much."""
        self.forget(opened)
        if opened.unread_bytes:
            self._sizes[opened] = opened.unread_bytes
            self._total_bytes += opened.unread_bytes
        while self._total_bytes > self._most_bytes and len(self._sizes) > 1:
            oldest = next(iter(self._sizes))
            self.forget(oldest)
            oldest.drop()

    def forget(self, opened: OpenFile | OpenDirectory) -> None:
        """Leave it out: it is closed."""
        self._total_bytes -= self._sizes.pop(opened, 0)


_RIGHTS = {os.O_RDONLY: os.R_OK, os.O_WRONLY: os.W_OK}
_O_ACCMODE, _O_DIRECT = os.O_ACCMODE, getattr(os, "O_DIRECT", 0)


def rights_for(flags: int) -> int:
    """Translate open(2) flags to the rights that opening takes."""
    return _RIGHTS.get(flags & _O_ACCMODE, os.R_OK | os.W_OK)


def open_file(file: File, flags: int, caller: Caller) -> OpenFile:
    """Open a file as open(2) does: EACCES by the mode, EINVAL for O_DIRECT."""
    if flags & _O_DIRECT:
        raise Refused(errno.EINVAL)
    file.require_access(caller, rights_for(flags))
    return OpenFile(file.opened(flags, caller))
