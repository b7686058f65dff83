# SPDX-License-Identifier: MIT
"""Run a command in a pid namespace, under a filter: launch.py SOCKET_FD FILTER STAND_INS ARGV...

The listener goes through the socket, and at the end the wait statuses of the stand-ins.  This
is the least of what the sandbox's supervisor does.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
import traceback

_SYS_SECCOMP = {"x86_64": 317, "aarch64": 277}
_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWPID = 0x20000, 0x10000000, 0x20000000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_SET_MODE_FILTER = 1
_PR_SET_PDEATHSIG = 1
_FIRST_GUEST = 301
LACKS = b"-"
STAND_INS_UID = 1000

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


class _Program(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _install(program: bytes, flags: int) -> int:
    described = _Program(len(program) // 8, program)
    number = _SYS_SECCOMP[os.uname().machine]
    return _checked(_libc.syscall(number, _SET_MODE_FILTER, flags, ctypes.byref(described)))


def _enter_namespaces() -> None:
    uid, gid = os.getuid(), os.getgid()
    flags = _CLONE_NEWNS | _CLONE_NEWPID | (_CLONE_NEWUSER if uid else 0)
    _checked(_libc.unshare(flags))
    if uid:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"0 {uid} 1"),
            ("gid_map", f"0 {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)


def _mount_proc() -> None:
    _checked(_libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))
    _checked(_libc.mount(b"proc", b"/proc", b"proc", ctypes.c_ulong(0), None))


def _fork_as(pid: int) -> int:
    with open("/proc/sys/kernel/ns_last_pid", "w") as file:
        file.write(str(pid - 1))
    return os.fork()


def _be_init(
    to_server: socket.socket, program: bytes, flags: int, stand_ins: list[int], stand_ins_uid: int
) -> int:
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL))
    _mount_proc()
    for pid in stand_ins:
        ready, tell = os.pipe()
        if _fork_as(pid) == 0:
            # Of another user than the guests, where that can be.
            os.setresuid(*(stand_ins_uid,) * 3)
            os.write(tell, b"+")
            while True:
                signal.pause()
        os.read(ready, 1)
    command = _fork_as(_FIRST_GUEST)
    if command == 0:
        if program:
            listener = _install(program, flags)
            socket.send_fds(to_server, [b"+"], [listener])
        to_server.close()
        os.execvp(sys.argv[5], sys.argv[5:])
    ended: dict[int, int] = {}
    while command not in ended:
        pid, status = os.wait()
        ended[pid] = status
    for pid in set(stand_ins) - ended.keys():
        # Who has got a deadly signal before is not changed by another.
        os.kill(pid, signal.SIGKILL)
        ended[pid] = os.waitpid(pid, 0)[1]
    status = ended[command]
    to_server.send(json.dumps({pid: ended[pid] for pid in stand_ins}).encode())
    return os.waitstatus_to_exitcode(status) & 0xFF


def main() -> int:
    to_server = socket.socket(fileno=int(sys.argv[1]))
    program, flags = bytes.fromhex(sys.argv[2]), int(sys.argv[3])
    stand_ins = [int(pid) for pid in sys.argv[4].split(",") if pid]
    stand_ins_uid = 0 if os.getuid() else STAND_INS_UID
    try:
        _enter_namespaces()
    except OSError as error:
        to_server.send(LACKS + str(error).encode())
        return 1
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = _be_init(to_server, program, flags, stand_ins, stand_ins_uid)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    to_server.close()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
