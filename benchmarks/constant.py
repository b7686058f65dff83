# SPDX-License-Identifier: MIT
"""The same as constant.c in Python: what a binding costs, with nothing behind it.

python -m benchmarks.constant fuse|mfusepy MOUNTPOINT
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from importlib import import_module
from typing import Any


class _Constant:
    """One file, "value", that reads 500 and takes any write."""

    use_ns = True

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o555, "st_nlink": 2}
        if path == "/value":
            return {"st_mode": stat.S_IFREG | 0o644, "st_nlink": 1}
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    def open(self, path: str, flags: int) -> int:
        return 1

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return b"" if offset else b"500\n"

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        return len(data)

    def release(self, path: str, fh: int) -> int:
        return 0


class _FusepyConstant(_Constant):
    def __call__(self, operation: str, *args: Any) -> Any:
        return getattr(self, operation)(*args)


def main() -> None:
    """Serve until it is unmounted or ended, with the options of fakeproc's mounts."""
    name, mountpoint = sys.argv[1:]
    os.environ["FUSE_LIBRARY_NAME"] = "fuse3"
    import_module(name).FUSE(
        _Constant() if name == "mfusepy" else _FusepyConstant(),
        mountpoint,
        encoding="latin-1",
        foreground=True,
        nothreads=True,
        direct_io=True,
        use_ino=True,
        attr_timeout=0,
        entry_timeout=3600,
    )


if __name__ == "__main__":
    main()
