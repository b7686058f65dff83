# SPDX-License-Identifier: MIT
"""A file descriptor as programs use it, through the mount wherever the mount can show it.

What it cannot is done one layer below, on the same file: writes of no bytes, writev,
and what depends on the position after a write, which FUSE moves and procfs does not.
The position that a real kernel would have is kept here.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Any

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.task import Caller
from fakeproc.procfs.node import MAX_NON_LFS, Seek
from tests.conformance.calls import OPEN_FLAGS
from tests.conformance.world import World

_SEEK_SET, _SEEK_CUR, _SEEK_END, _SEEK_DATA, _SEEK_HOLE = range(5)
_libc = ctypes.CDLL(None, use_errno=True)


def errno_name(error: OSError) -> str:
    """Return the symbolic name of an errno."""
    return errno.errorcode[error.errno or 0]


class Descriptor:
    """An open file; its methods return what the system call does, or the errno's name."""

    def __init__(self, world: World, path: str, path_below: str, flags: list[str]) -> None:
        bits = 0
        for flag in flags:
            bits |= OPEN_FLAGS[flag]
        self.fd = os.open(world.path(path), bits, 0o644)
        self.below = world.open_below(path_below)
        self.used_below = False
        self._readable = "wronly" not in flags
        self._writable = "rdonly" not in flags
        self._position = 0
        self._moved = False
        """A write through the mount has moved its position away from the kernel's."""

    def close(self) -> None:
        """Close it."""
        os.close(self.fd)

    def do(self, caller: Caller, operation: list[Any]) -> Any:
        """Do one operation of a scenario; return the result in the recording's form."""
        name, *arguments = operation
        try:
            result = getattr(self, f"_{name}")(caller, *arguments)
        except Refused as refused:
            return refused.name
        except OSError as error:
            return errno_name(error)
        return {"data": result.decode("latin-1")} if isinstance(result, bytes) else result

    def _write(self, caller: Caller, data: str) -> int:
        if not data:
            return self._write_below(caller, b"")
        count = os.write(self.fd, data.encode("latin-1"))
        self._moved = True
        return count

    def _writebad(self, caller: Caller, size: int) -> int:
        # FUSE looks at the pointer first, a file without a handler of writes never does.
        if not size or not self.below.file.attributes().mode & 0o222:
            return self._write_below(caller, b"")
        count = int(_libc.write(self.fd, ctypes.c_void_p(1), ctypes.c_size_t(size)))
        if count < 0:
            raise OSError(ctypes.get_errno(), "")
        return count

    def _writev(self, caller: Caller, segments: list[str]) -> int:
        total = 0
        if self._writable and not any(segments):  # the file never hears of it
            return total
        for segment in segments:
            if total and not segment:  # the kernel goes on to the next that has something
                continue
            data = segment.encode("latin-1")
            try:
                count = self._write_below(caller, data)
            except Refused:
                if not total:
                    raise
                break
            total += count
            if count != len(data):
                break
        return total

    def _write_below(self, caller: Caller, data: bytes) -> int:
        self.used_below = True
        if not self._writable:
            raise Refused(errno.EBADF)
        return self.below.write(caller, data)

    def _pwrite(self, caller: Caller, data: str, offset: int) -> int:
        return os.pwrite(self.fd, data.encode("latin-1"), offset)

    def _read(self, caller: Caller, size: int) -> bytes:
        if self._moved and self._readable:
            self.used_below = True
            data = self.below.read(size, self._position)
        else:
            data = os.read(self.fd, size)
        self._position += len(data)
        return data

    def _pread(self, caller: Caller, size: int, offset: int) -> bytes:
        return os.pread(self.fd, size, offset)

    def _lseek(self, caller: Caller, offset: int, whence: int) -> int:
        # The kernel asks no FUSE server whether it is too far.
        if (self._moved and whence == _SEEK_CUR) or offset > MAX_NON_LFS:
            self.used_below = True
            self._position = self._seek_below(offset, whence)
            self._moved = True
        else:
            self._position = os.lseek(self.fd, offset, whence)
            self._moved = False
        return self._position

    def _seek_below(self, offset: int, whence: int) -> int:
        if whence == _SEEK_END and self.below.file.seek is Seek.SEQ:
            raise Refused(errno.EINVAL)
        target = offset + (self._position if whence == _SEEK_CUR else 0)
        if target < 0 or (target > MAX_NON_LFS and self.below.file.seek is Seek.GENERIC):
            raise Refused(errno.EINVAL)
        return target

    def _ftruncate(self, caller: Caller, size: int) -> int:
        os.ftruncate(self.fd, size)
        return 0

    def _fstat(self, caller: Caller) -> dict[str, Any]:
        return shown_stat(os.fstat(self.fd))


def shown_stat(result: os.stat_result) -> dict[str, Any]:
    """Return what the recordings keep of a stat."""
    return {
        "mode": oct(result.st_mode),
        "uid": result.st_uid,
        "gid": result.st_gid,
        "size": result.st_size,
    }
