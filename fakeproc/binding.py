# SPDX-License-Identifier: MIT
"""Between libfuse and `Operations`: less than the bindings have there.

Both bindings look up the functions that libfuse calls by their names in their class FUSE.  A
subclass has its own for the requests that come most often, and for what all of them pass through.
The others are the binding's.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from ctypes import memmove, memset, sizeof, string_at
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fakeproc.kernel.errors import Refused
from fakeproc.procfs.node import BLOCK_SIZE

if TYPE_CHECKING:
    from fakeproc.operations import Operations

log = logging.getLogger(__name__)

ENCODING = "latin-1"
"""Of names: each byte is a character."""

_NS_PER_S = 1_000_000_000


def mount_with(
    binding: ModuleType, operations: Operations, mountpoint: str, **options: Any
) -> None:
    """Mount, and serve until the mount is gone; RuntimeError where it cannot be made."""
    stat_bytes, timespec = sizeof(binding.c_stat), binding.c_timespec

    class Server(binding.FUSE):  # type: ignore[misc, name-defined]
        @staticmethod
        def _wrapper(function: Callable[..., int | None], *args: Any) -> int:
            """Call one of the functions; what it raises becomes an errno.

            But for `Refused` nothing is raised: see `fakeproc.operations.upcall`.
            """
            try:
                return function(*args) or 0
            except Refused as refused:
                return -refused.error
            except BaseException:
                log.exception("%s%r failed", function.__name__, args)
                return -errno.EIO

        def open(self, path: bytes, info: Any) -> None:
            opened = info.contents
            opened.fh = operations.open(path.decode(ENCODING), opened.flags)

        def release(self, path: bytes, info: Any) -> None:
            operations.release(info.contents.fh)

        def read(self, path: bytes, buffer: Any, size: int, offset: int, info: Any) -> int:
            data = operations.read(size, offset, info.contents.fh)
            assert len(data) <= size
            memmove(buffer, data, len(data))
            return len(data)

        def write(self, path: bytes, buffer: Any, size: int, offset: int, info: Any) -> int:
            data = string_at(buffer, size)
            return operations.write(path.decode(ENCODING), data, info.contents.fh)

        def _fill(
            self, path: bytes, buffer: Any, filler: Any, place: int, info: Any, *flags: int
        ) -> None:
            """Answer with as many names as find room: whoever reads on says from where.

            The bindings would hand over all of them, for libfuse to keep.
            """
            no_flags = (0,) * len(flags)
            entry = binding.c_stat()  # of this request: threads that wait leave others to serve
            names = operations.readdir(path.decode(ENCODING), place, info.contents.fh)
            for next_place, (name, entry.st_mode, entry.st_ino) in enumerate(names, place + 1):
                if filler(buffer, name.encode(ENCODING), entry, next_place, *no_flags):
                    break

        if hasattr(binding.FUSE, "readdir_fuse_3"):  # mfusepy: a name for each libfuse
            readdir_fuse_2 = readdir_fuse_3 = _fill
        else:
            readdir = _fill

        def fgetattr(self, path: bytes, buffer: Any, info: Any) -> None:
            told = operations.getattr(path.decode(ENCODING), info.contents.fh if info else None)
            memset(buffer, 0, stat_bytes)
            stat, attributes = buffer.contents, told.attributes
            stat.st_ino = told.inode
            stat.st_mode = attributes.mode
            stat.st_uid = attributes.uid
            stat.st_gid = attributes.gid
            stat.st_nlink = attributes.nlink
            stat.st_size = attributes.size
            stat.st_blksize = BLOCK_SIZE
            now = timespec(*divmod(told.time_ns, _NS_PER_S))
            stat.st_atimespec = stat.st_mtimespec = stat.st_ctimespec = now

    Server(operations, mountpoint, encoding=ENCODING, foreground=True, nothreads=True, **options)
