# SPDX-License-Identifier: MIT
"""Start the supervisor in namespaces of its own: launch.py TELL_FD WAIT_FD SUPERVISOR ARG..."""

from __future__ import annotations

import ctypes
import os
import sys

_CLONE_NEWNS = 0x20000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWPID = 0x20000000


def launch(tell: int, wait: int, command: list[str]) -> int:
    """Run the supervisor; return its exit code."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS | _CLONE_NEWPID):
        os.write(tell, os.strerror(ctypes.get_errno()).encode())
        return 1
    os.write(tell, b"ready")
    # Until the ids are mapped.
    os.read(wait, 1)
    os.close(tell)
    os.close(wait)
    # What the FUSE mount is to the supervisor.
    if libc.mount(b"tmpfs", b"/proc/driver", b"tmpfs", 0, None):
        raise OSError(ctypes.get_errno(), "mount")
    os.makedirs("/proc/driver/fakeproc/real")
    with open("/proc/driver/meminfo", "w") as file:
        file.write("simulated\n")
    pid = os.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-I", "-S", *command])
    for fd in map(int, command[1:]):
        os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    sys.exit(launch(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
