# SPDX-License-Identifier: MIT
"""statfs(2), of which Python leaves out what matters here: the type of the file system."""

from __future__ import annotations

import ctypes
import os
import struct

PROC_SUPER_MAGIC = 0x9FA0
CGROUP2_SUPER_MAGIC = 0x63677270
FUSE_SUPER_MAGIC = 0x65735546

# struct statfs of 64 bits: type, block size, five counts, fsid, name length, the rest.
_STATFS = struct.Struct("=qq5Q8sq48s")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_NAME_MAX = 255


def statfs(path: str) -> tuple[bytes, str]:
    """Return the struct of a file, and where the file is when all links are followed.

    OSError where it cannot be found.
    """
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        buffer = ctypes.create_string_buffer(_STATFS.size)
        if _libc.fstatfs(fd, buffer):
            raise OSError(ctypes.get_errno(), "fstatfs")
        return buffer.raw, os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def type_of(data: bytes) -> int:
    """Return the type that a struct tells."""
    return int(_STATFS.unpack(data)[0])


def is_on_fuse(path: str) -> bool:
    """Say whether a file is there and on a FUSE file system."""
    try:
        return type_of(statfs(path)[0]) == FUSE_SUPER_MAGIC
    except OSError:
        return False


def disguised(data: bytes, magic: int) -> bytes:
    """Return a struct as one of a file system that has no size (simple_statfs)."""
    # Behind the size of fragments, which is that of blocks, come the mount's flags.
    rest = struct.pack("=q", _PAGE_BYTES) + _STATFS.unpack(data)[-1][8:]
    return _STATFS.pack(magic, _PAGE_BYTES, 0, 0, 0, 0, 0, bytes(8), _NAME_MAX, rest)


_libc = ctypes.CDLL(None, use_errno=True)
