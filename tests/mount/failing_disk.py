# SPDX-License-Identifier: MIT
"""A disk that fails when it is told to, for a journal that lies on it: a FUSE mount of its own.

``python -m tests.mount.failing_disk FOLDER`` serves one file, ``journal``.  The names written to
``fail`` are those of the operations that give EIO from then on; a write that fails has stored half
of its bytes.
"""

from __future__ import annotations

import errno
import stat
import sys

import mfusepy

OPERATIONS = ("write", "fsync", "truncate")


class Disk:
    """What libfuse calls."""

    use_ns = True

    def __init__(self) -> None:
        self._data = bytearray()
        self._failing: set[str] = set()

    def init(self, path: str) -> None:
        """Nothing is to be made."""

    def destroy(self, path: str) -> None:
        """Nothing is to be taken down."""

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        """Return what stat(2) shows."""
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        size = len(self._data) if path == "/journal" else 0
        return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": size}

    def open(self, path: str, flags: int) -> int:
        """Open either file."""
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """Read the journal."""
        return bytes(self._data[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        """Write, or be told what is to fail."""
        if path == "/fail":
            self._failing = set(bytes(data).decode().split())
            return len(data)
        stored = data[: len(data) // 2] if "write" in self._failing else data
        self._data[offset : offset + len(stored)] = stored
        self._fail("write")
        return len(data)

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        """Say that all of it is on the disk."""
        self._fail("fsync")
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        """Say that the names are, too."""
        return 0

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        """Cut off."""
        if path == "/journal":
            self._fail("truncate")
            del self._data[length:]
        return 0

    def _fail(self, operation: str) -> None:
        if operation in self._failing:
            raise OSError(errno.EIO, "")


def main(folder: str) -> None:
    """Serve until it is unmounted."""
    mfusepy.FUSE(Disk(), folder, foreground=True, nothreads=True, direct_io=True)


if __name__ == "__main__":
    main(sys.argv[1])
