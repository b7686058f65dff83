# SPDX-License-Identifier: MIT
"""The paths that the host's kernel remembers of a mount, and libfuse with it.

The kernel keeps every path that has been looked up until it is short of memory itself, and
as long libfuse keeps a node for each (about 300 bytes).  As tasks come and go there are always
new ones.  So when they are many, the kernel is asked to drop those that nobody uses, as
drop_caches does, but of this mount alone: reconfiguring a file system does it
(reconfigure_super), and changes nothing else.
"""

from __future__ import annotations

import ctypes
import os
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

# The same on every architecture that Python runs on (Linux 5.2).
_SYS_FSCONFIG = 431
_SYS_FSPICK = 433
_AT_FDCWD = -100
_FSPICK_CLOEXEC = 1
_FSCONFIG_CMD_RECONFIGURE = 7

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class Dentries:
    """How many paths have been looked up, and the thread that has them dropped.

    Who may not reconfigure the mount, as it was made by fusermount, leaves that to the kernel:
    nothing is dropped before it is short of memory.
    """

    def __init__(self, mountpoint: Path, most: Callable[[], int]) -> None:
        """Begin; ``most`` returns how many paths may be remembered now."""
        self._mountpoint = mountpoint
        self._most = most
        self._looked_up: set[int] = set()
        """Checksums of the paths, since the last time."""
        self._thread: threading.Thread | None = None
        self._may_drop = True

    def note(self, path: str) -> None:
        """Note that a path has been looked up; let all be dropped when they are too many.

        A thread asks the kernel, which may ask the server for other things meanwhile.
        """
        if not self._may_drop:
            return
        self._looked_up.add(zlib.crc32(os.fsencode(path)))
        is_busy = self._thread is not None and self._thread.is_alive()
        if len(self._looked_up) > self._most() and not is_busy:
            self._looked_up.clear()
            self._thread = threading.Thread(target=self._drop, name="dentries", daemon=True)
            self._thread.start()

    def _drop(self) -> None:
        try:
            drop(self._mountpoint)
        except OSError:
            self._may_drop = False


def drop(mountpoint: Path) -> None:
    """Let the kernel drop the paths of a mount that nobody uses; OSError where it may not."""
    path = ctypes.create_string_buffer(os.fsencode(mountpoint))
    context = _syscall(_SYS_FSPICK, _AT_FDCWD, ctypes.addressof(path), _FSPICK_CLOEXEC)
    try:
        _syscall(_SYS_FSCONFIG, context, _FSCONFIG_CMD_RECONFIGURE, 0, 0, 0)
    finally:
        os.close(context)


def _syscall(*arguments: int) -> int:
    """Make a system call that the C library may have no name for."""
    result: int = _libc.syscall(*map(ctypes.c_long, arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
