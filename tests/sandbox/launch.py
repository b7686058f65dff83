# SPDX-License-Identifier: MIT
"""Start the supervisor in namespaces of its own: launch.py FILE UID TELL_FD WAIT_FD ARG..."""

from __future__ import annotations

import ctypes
import os
import runpy
import sys

# Whoever becomes another user here may not be allowed to read Python's library any more, so what
# is imported late must be there already.
import warnings  # noqa: F401

_CLONE_NEWNS = 0x20000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWPID = 0x20000000
_PR_SET_DUMPABLE = 4


def launch(supervisor: str, uid: int, tell: int, wait: int, fds: list[int]) -> int:
    """Run the supervisor; return its exit code."""
    main = runpy.run_path(supervisor)["main"]
    libc = ctypes.CDLL(None, use_errno=True)
    as_other = uid != os.getuid()
    if as_other:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        libc.prctl(_PR_SET_DUMPABLE, 1)
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
        if as_other:
            main(*fds)
            os._exit(0)
        args = [sys.executable, "-I", "-S", supervisor, *map(str, fds)]
        os.execv(sys.executable, args)
    for fd in fds:
        os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    user, told, waited, *rest = map(int, sys.argv[2:])
    sys.exit(launch(sys.argv[1], user, told, waited, rest))
