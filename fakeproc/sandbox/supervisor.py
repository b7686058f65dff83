# SPDX-License-Identifier: MIT
"""The sandbox's pid 1: it makes, watches and ends the stand-ins, and starts the commands.

A stand-in is the real process that has the pid of a simulated one.  This script imports nothing of
fakeproc and little else, since each stand-in starts as a copy of it.  The server S starts it as
the first process of a pid namespace, from a thread that lasts as long as S itself::

    python -I -S supervisor.py RPC_FD EVENTS_FD PROGRAM_FD

RPC_FD and EVENTS_FD are AF_UNIX SOCK_SEQPACKET sockets whose other ends S has; PROGRAM_FD is
open for reading on the stand-ins' program (`fakeproc.sandbox.stand_in.open_program`).

A packet is one JSON object of less than 64 KiB.  On the first socket S asks, and each request is
answered once, in order, before the next one is read::

    {"do": "prepare", "view": "bind" | "overmount"}    -> {} or {"error": sentence, "errno": n}
        Once, before all else: mounts, see `prepare`.
    {"do": "spawn", "who": [[pid, uid, gid, pgrp], ...]}  -> {"refused": [[pid, errno], ...]}
        pgrp 0: none to mirror; it stays in the supervisor's.  An id that the user namespace does
        not map, and a group that cannot be had, are left as they are.  A batch of at most 500; over
        several batches, leaders of groups come before the other members.
    {"do": "end", "who": [[pid, reap], ...]}           -> {"gone": [pid, ...]}
        Kills, or lets go of who is held; reap false leaves a zombie, which reap true reaps later.
        Answered when that is so.  Who is no stand-in is left out of the answer.
    {"do": "run", "id": n, "argv": [...], "env": {...}, "cwd": path, "umask"?: n, "filter": hex,
     "uid"?: n, "gid"?: n, "foreground"?: true} + stdin, stdout, stderr
                      -> {"pid": pid} + the listener if there is a filter, or {"error", "errno"}
        The filter is an array of struct sock_filter; "" is none.  With a filter the command's own
        execve(2) already waits for S: hence the answer comes before it is known whether the
        command can be run, and that is told as an event.
    {"do": "signal", "pid": pid, "signo": n}           -> {} or {"errno": n}      to a guest
    {"do": "last_pid", "pid": n}                       -> {} or {"errno": n}
        Sets the pid after which the namespace looks for the next free one.

On the second socket the supervisor tells::

    {"signalled": pid, "signo": n, "sender": pid, "uid": uid}  of a stand-in that goes on as before
    {"killed": pid}                       by SIGKILL; it is held at its exit until "end"
    {"exited": id, "status": wait status} of a command; what it did last may be told after it
    {"failed": id, "error": sentence, "errno": n}  of a command that could not be run; no "exited"

S may hold its lock while it waits for an answer, so nothing here waits for S or for its mount, but
for "prepare" with the view overmount, which looks up names in the mount.  When the first socket
ends, so does the supervisor, and with it the kernel ends everything in the namespace.
"""

from __future__ import annotations

import array
import ctypes
import errno
import json
import os
import select
import signal
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum, auto
from typing import Any, NoReturn

Message = dict[str, Any]

MAX_PACKET = 1 << 16

# What Python has no function or name for.  The numbers of the newer system calls are the same on
# all machines.
_SYS_OPEN_TREE = 428
_SYS_CLONE3 = 435
_SYS_SECCOMP = {"x86_64": 317, "aarch64": 277}

_PR_SET_PDEATHSIG = 1

_CLONE_NEWNS = 0x20000

_MS_NOSUID = 0x2
_MS_NODEV = 0x4
_MS_NOEXEC = 0x8
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_SLAVE = 0x80000

_AT_FDCWD = -100
_OPEN_TREE_CLONE = 1
_OPEN_TREE_CLOEXEC = os.O_CLOEXEC

_PTRACE_TRACEME = 0
_PTRACE_CONT = 7
_PTRACE_SETOPTIONS = 0x4200
_PTRACE_GETSIGINFO = 0x4202
_PTRACE_O_TRACEEXIT = 0x40
_PTRACE_EVENT_EXIT = 6

_SIGINFO = struct.Struct("iii4xiI")
"""si_signo, si_errno, si_code, si_pid, si_uid, as 64-bit machines lay them out."""
_SIGINFO_SIZE = 128

_SECCOMP_SET_MODE_FILTER = 1
_SECCOMP_FILTER_FLAG_NEW_LISTENER = 8
_SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 32  # 5.19: no signal repeats a call that is answered.
_SOCK_FILTER_SIZE = 8

# A stand-in starts in a copy of this process, without Python's fork(): PyDLL keeps the GIL, so
# that the copy owns it.
_libc = ctypes.PyDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.ptrace.restype = ctypes.c_long


class _CloneArgs(ctypes.Structure):
    """struct clone_args."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            "flags pidfd child_tid parent_tid exit_signal stack stack_size tls "
            "set_tid set_tid_size cgroup"
        ).split()
    ]


class _SockFprog(ctypes.Structure):
    """struct sock_fprog: a classic BPF program."""

    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _syscall(number: int, *args: int) -> int:
    return _checked(_libc.syscall(*(ctypes.c_long(value) for value in (number, *args))))


def _clone(pid: int) -> int:
    """Fork a process with this pid (clone3's set_tid: Linux 5.5); return 0 in it."""
    wanted = ctypes.c_int(pid)
    args = _CloneArgs(exit_signal=signal.SIGCHLD, set_tid=ctypes.addressof(wanted), set_tid_size=1)
    return _syscall(_SYS_CLONE3, ctypes.addressof(args), ctypes.sizeof(args))


def _ptrace(request: int, pid: int, data: int = 0) -> None:
    args = (request, pid, 0, data)
    _checked(_libc.ptrace(*(ctypes.c_long(value) for value in args)))


def _mount(source: str, target: str, kind: str | None, flags: int) -> None:
    encoded = kind.encode() if kind else None
    _checked(
        _libc.mount(os.fsencode(source), os.fsencode(target), encoded, ctypes.c_ulong(flags), None)
    )


def _install_filter(program: bytes) -> int:
    """Put this thread under a seccomp filter; return the listener of its notifications."""
    number = _SYS_SECCOMP[os.uname().machine]
    prog = _SockFprog(len(program) // _SOCK_FILTER_SIZE, program)

    def install(flags: int) -> int:
        return _syscall(number, _SECCOMP_SET_MODE_FILTER, flags, ctypes.addressof(prog))

    try:
        return install(_SECCOMP_FILTER_FLAG_NEW_LISTENER | _SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return install(_SECCOMP_FILTER_FLAG_NEW_LISTENER)


class Wakeup:
    """A descriptor that is readable when SIGCHLD has come."""

    def __init__(self) -> None:
        self._reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        # Without a handler the signal would be ignored, and nothing be written.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._reader

    def clear(self) -> None:
        """Forget what has come; look for ended and stopped children after this, not before."""
        with suppress(BlockingIOError):
            while os.read(self._reader, 4096):
                pass


class Events:
    """The socket on which the supervisor tells, and what S has not taken yet."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._backlog: deque[bytes] = deque()

    def __bool__(self) -> bool:
        """Whether there is something to be sent."""
        return bool(self._backlog)

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._socket.fileno()

    def tell(self, event: Message) -> None:
        """Tell this, after all that was told before."""
        self._backlog.append(_encoded(event))

    def flush(self) -> None:
        """Send what the socket takes now."""
        with suppress(BlockingIOError):
            while self._backlog:
                self._socket.send(self._backlog[0])
                self._backlog.popleft()


class Phase(Enum):
    """Where a stand-in is between its birth and its reaping."""

    ALIVE = auto()
    HELD = auto()
    """Killed, and stopped in its exit: to all others it is alive, and more signals change nothing.

    Before Linux 6.1 (9a95f78eab70, "signal: Drop signals received after a fatal signal has been
    processed"), another SIGKILL makes a zombie of it.
    """
    ZOMBIE = auto()


class StandIns:
    """The stand-ins, by pid.  They are children of this process, and traced by it."""

    def __init__(self, program: int, tell: Callable[[Message], None]) -> None:
        self._program = program
        self._tell = tell
        self._phases: dict[int, Phase] = {}

    def __contains__(self, pid: int) -> bool:
        return pid in self._phases

    def spawn(self, who: list[list[int]]) -> dict[int, int]:
        """Make stand-ins of (pid, uid, gid, pgrp); return the errno of those that are refused."""
        refused: dict[int, int] = {}
        leaders_first = sorted(who, key=lambda one: one[0] != one[3])
        with self._passing_leaders(who):
            for pid, uid, gid, pgrp in leaders_first:
                try:
                    self._clone(pid, uid, gid, pgrp)
                except OSError as error:
                    refused[pid] = error.errno or errno.EIO
            # All are made before the first is waited for: they begin side by side.
            for pid, *_ in leaders_first:
                if pid not in refused and (code := self._await_program(pid)):
                    refused[pid] = code
        return refused

    def end(self, who: list[tuple[int, bool]]) -> list[int]:
        """Make an end of each (pid, whether to reap it); return the pids that were stand-ins."""
        known = [(pid, reap) for pid, reap in who if pid in self._phases]
        for pid, _ in known:
            if self._phases[pid] is Phase.ALIVE:
                os.kill(pid, signal.SIGKILL)
        for pid, reap in known:
            self._end(pid, reap=reap)
        return [pid for pid, _ in known]

    def look(self) -> None:
        """See who has stopped: signals are told and suppressed, the killed are told and held."""
        with suppress(ChildProcessError):
            while (stop := os.waitid(os.P_ALL, 0, os.WSTOPPED | os.WNOHANG)) is not None:
                # A guest whose parent has ended may stop as well.
                if stop.si_pid in self._phases:
                    self._stopped(stop.si_pid, stop.si_status)

    def find_ended(self) -> None:
        """Find who has ended without being held.

        SIGKILL may come between the end of another stop and PTRACE_CONT, which then lets it exit.
        """
        for pid, phase in self._phases.items():
            if phase is not Phase.ZOMBIE and _has_ended(pid):
                self._ended(pid)

    @contextmanager
    def _passing_leaders(self, who: list[list[int]]) -> Iterator[None]:
        """Have the process groups whose leaders are no stand-ins while their members are made."""
        pgrps = {pgrp for *_, pgrp in who} - {pid for pid, *_ in who} - self._phases.keys() - {0}
        passing = [pgrp for pgrp in pgrps if _make_leader(pgrp)]
        try:
            yield
        finally:
            for pgrp in passing:
                os.kill(pgrp, signal.SIGKILL)
                os.waitpid(pgrp, 0)

    def _clone(self, pid: int, uid: int, gid: int, pgrp: int) -> None:
        if _clone(pid) == 0:
            _become_stand_in(self._program, uid, gid, pgrp)
        self._phases[pid] = Phase.ALIVE
        if pgrp == pid:
            # It does so itself, but perhaps after the next one, a member, has been made.
            with suppress(OSError):
                os.setpgid(pid, pid)

    def _await_program(self, pid: int) -> int:
        """Wait until a new one executes the program; return the errno if it cannot.

        Since it has asked to be traced (PTRACE_TRACEME), execve(2) sends it SIGTRAP.  So there is
        nothing to be misread, as there would be if it were seized at some moment of its start.
        """
        while True:
            change = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            assert change is not None
            if change.si_code == os.CLD_EXITED:
                os.waitpid(pid, 0)
                del self._phases[pid]
                return change.si_status
            if change.si_code != os.CLD_TRAPPED:
                self._ended(pid)
                return 0
            if change.si_status == signal.SIGTRAP and _sender(pid)[0] == pid:
                break
            self._signalled(pid, change.si_status)
        with suppress(ProcessLookupError):
            _ptrace(_PTRACE_SETOPTIONS, pid, _PTRACE_O_TRACEEXIT)
        _continue(pid)
        return 0

    def _stopped(self, pid: int, status: int) -> None:
        if status >> 8 == _PTRACE_EVENT_EXIT:
            self._phases[pid] = Phase.HELD
            self._tell({"killed": pid})
        else:
            self._signalled(pid, status)

    def _signalled(self, pid: int, signo: int) -> None:
        sender, uid = _sender(pid)
        if sender:
            self._tell({"signalled": pid, "signo": signo, "sender": sender, "uid": uid})
        _continue(pid)

    def _ended(self, pid: int) -> None:
        if self._phases[pid] is Phase.ALIVE:
            self._tell({"killed": pid})
        self._phases[pid] = Phase.ZOMBIE

    def _end(self, pid: int, *, reap: bool) -> None:
        """Preconditions: it is held, a zombie, or has been sent SIGKILL."""
        if self._phases[pid] is Phase.ALIVE:
            _await_exit(pid)
        _continue(pid)
        os.waitid(os.P_PID, pid, os.WEXITED | (0 if reap else os.WNOWAIT))
        if reap:
            del self._phases[pid]
        else:
            self._phases[pid] = Phase.ZOMBIE


def _sender(pid: int) -> tuple[int, int]:
    """Return who has sent the signal that has stopped this one: pid and user id.

    The pid is 0 where the sender is not of the simulated world: the kernel (the terminal's
    Ctrl-C), somebody outside the namespace; and where it cannot be known any more.
    """
    siginfo = ctypes.create_string_buffer(_SIGINFO_SIZE)
    try:
        _ptrace(_PTRACE_GETSIGINFO, pid, ctypes.addressof(siginfo))
    except ProcessLookupError:
        # It is not stopped any more: SIGKILL has come.
        return 0, 0
    _, _, code, sender, uid = _SIGINFO.unpack_from(siginfo)
    return (sender, uid) if code <= 0 else (0, 0)


def _continue(pid: int) -> None:
    """Let a stopped one go on, without the signal that has stopped it."""
    # It is not stopped any more if SIGKILL has come, and not there if it is a zombie.
    with suppress(ProcessLookupError):
        _ptrace(_PTRACE_CONT, pid)


def _await_exit(pid: int) -> None:
    """Wait until one that has been sent SIGKILL stops in its exit, or is a zombie."""
    while True:
        change = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert change is not None
        if change.si_code != os.CLD_TRAPPED or change.si_status >> 8 == _PTRACE_EVENT_EXIT:
            return
        # A stop from before the SIGKILL.
        _continue(pid)


def _has_ended(pid: int) -> bool:
    """Say whether a child is a zombie."""
    change = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    # Of who is traced, stops are reported whether asked for or not.
    return change is not None and change.si_code != os.CLD_TRAPPED


def _make_leader(pgrp: int) -> bool:
    """Make a process that leads this group until it is killed; say whether it could be done."""
    try:
        if _clone(pgrp) == 0:
            while True:
                signal.pause()
    except OSError:
        # The pid is taken, by the group itself in the best case: it lives on in its members.
        return False
    os.setpgid(pgrp, pgrp)
    return True


def _become_stand_in(program: int, uid: int, gid: int, pgrp: int) -> NoReturn:
    """Execute the program; if it cannot be done, exit with the errno."""
    code = errno.EIO
    try:
        _ptrace(_PTRACE_TRACEME, 0)
        if pgrp:
            with suppress(OSError):
                os.setpgid(0, pgrp)
        # It may be forbidden in a user namespace.
        with suppress(PermissionError):
            os.setgroups([])
        # EINVAL where an id is not mapped.
        with suppress(OSError):
            os.setresgid(gid, gid, gid)
        with suppress(OSError):
            os.setresuid(uid, uid, uid)
        os.closerange(0, 3)
        os.execve(program, ["stand-in"], {})
    except OSError as error:
        code = error.errno or code
    finally:
        os._exit(code)


class RealProcfs:
    """The namespace's own procfs, wherever it is mounted, if at all."""

    def __init__(self, root: int) -> None:
        self._root = root

    def children(self) -> list[int]:
        """Return the pids of all children of this process; none without CONFIG_PROC_CHILDREN."""
        try:
            fd = os.open("1/task/1/children", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._root)
        except FileNotFoundError:
            return []
        with open(fd, "rb") as file:
            return [int(pid) for pid in file.read().split()]

    def set_last_pid(self, pid: int) -> None:
        """Set the pid after which the next free one is looked for."""
        fd = os.open("sys/kernel/ns_last_pid", os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._root)
        try:
            os.write(fd, b"%d" % pid)
        finally:
            os.close(fd)


_BEGUN = b"begun"


class Guests:
    """The commands, and those of their descendants whose parents have ended."""

    def __init__(self, stand_ins: StandIns, tell: Callable[[Message], None]) -> None:
        self._stand_ins = stand_ins
        self._tell = tell
        self._commands: dict[int, tuple[int, socket.socket]] = {}
        """By pid: the command's id, and the socket on which it says why it cannot be run."""

    def run(self, request: Message, stdio: list[int]) -> tuple[Message, list[int]]:
        """Start a command; return the answer, and the listener if there is a filter."""
        reports, report = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            pid = os.fork()
        except OSError as error:
            reports.close()
            return _refusal(f"{request['argv'][0]}: no process can be made for it", error), []
        else:
            if pid == 0:
                _become_command(request, stdio, report)
        finally:
            report.close()
        # Only now do signals to it have an effect, and is there a listener if there is a filter.
        begun, listener = _receive(reports, 1)
        if begun == _BEGUN:
            self._commands[pid] = request["id"], reports
            return {"pid": pid}, listener
        reports.close()
        os.waitpid(pid, 0)
        killed: Message = {"error": "The command was killed at its start.", "errno": errno.ESRCH}
        return json.loads(begun) if begun else killed, []

    def look(self, procfs: RealProcfs | None) -> None:
        """Reap who has ended, and tell it of commands."""
        for pid in list(self._commands):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._ended(*self._commands.pop(pid), status)
        if procfs:
            self._reap_orphans(procfs)

    def _ended(self, number: int, reports: socket.socket, status: int) -> None:
        with reports:
            report = reports.recv(MAX_PACKET)
        if report:
            self._tell({"failed": number, **json.loads(report)})
        else:
            self._tell({"exited": number, "status": status})

    def _reap_orphans(self, procfs: RealProcfs) -> None:
        # Not by waiting for any child: that would reap the zombies that are meant to stay.
        try:
            first = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if first is None:
            return
        if first.si_pid in self._stand_ins:
            self._stand_ins.find_ended()
        for pid in procfs.children():
            if pid not in self._stand_ins and pid not in self._commands:
                os.waitpid(pid, os.WNOHANG)


def _become_command(request: Message, stdio: list[int], report: socket.socket) -> NoReturn:
    """Execute a command; if it cannot be done, report why."""
    command = request["argv"][0]
    doing = f"{command}: cannot have a process group"
    listener: list[int] = []
    try:
        # In the group of the server kill(0) would reach that as well, and its owner.
        os.setpgid(0, 0)
        if request.get("foreground"):
            doing = f"{command}: cannot have the terminal"
            os.tcsetpgrp(stdio[0], os.getpgrp())
        doing = f"{command}: its signals cannot be reset"
        for signo in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(signo, signal.SIG_DFL)
        for target, fd in enumerate(stdio):
            os.dup2(fd, target)
        if request["filter"]:
            doing = f"{command}: the kernel does not take its seccomp filter"
            # While it is root, and before anything that S may have to be asked for.
            listener.append(_install_filter(bytes.fromhex(request["filter"])))
        socket.send_fds(report, [_BEGUN], listener)
        doing = f"{request['cwd']}: cannot be the working directory of {command}"
        os.chdir(request["cwd"])
        if "umask" in request:
            os.umask(request["umask"])
        if "gid" in request:
            doing = f"{command}: cannot have group id {request['gid']}, is it mapped?"
            with suppress(PermissionError):
                os.setgroups([])
            os.setresgid(*(request["gid"],) * 3)
        if "uid" in request:
            doing = f"{command}: cannot have user id {request['uid']}, is it mapped?"
            os.setresuid(*(request["uid"],) * 3)
        doing = f"{command}: cannot be run"
        os.execvpe(command, request["argv"], request["env"])
    except OSError as error:
        report.send(_encoded(_refusal(doing, error)))
    finally:
        os._exit(127)


def prepare(view: str) -> RealProcfs:
    """Make a mount namespace with this pid namespace's procfs on /proc; return a way to it.

    What is mounted on /proc/driver, the FUSE file system, is there afterwards as well.  In the
    view overmount it is /proc itself, and the procfs is at fakeproc/real below it.
    """
    _checked(_libc.unshare(_CLONE_NEWNS))
    _mount("none", "/", None, _MS_REC | _MS_SLAVE)
    root = os.open("/proc/driver", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    _mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    # What is bound over files of /proc later must never be touched by this process, lest it waits
    # for S: it reads and writes through a copy that nothing is ever mounted on.
    path = ctypes.create_string_buffer(b"/proc")
    kept = _syscall(
        _SYS_OPEN_TREE, _AT_FDCWD, ctypes.addressof(path), _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC
    )
    _mount(f"/proc/self/fd/{root}", "/proc/driver", None, _MS_BIND)
    os.close(root)
    if view == "overmount":
        _mount("/proc", "/proc/driver/fakeproc/real", None, _MS_BIND)
        _mount("/proc/driver", "/proc", None, _MS_BIND | _MS_REC)
    return RealProcfs(kept)


class Supervisor:
    """The event loop."""

    def __init__(self, rpc: socket.socket, events: socket.socket, program: int) -> None:
        self._rpc = rpc
        self._events = Events(events)
        self._wakeup = Wakeup()
        self._stand_ins = StandIns(program, self._events.tell)
        self._guests = Guests(self._stand_ins, self._events.tell)
        self._procfs: RealProcfs | None = None
        self._requests: dict[str, Callable[[Message], Message]] = {
            "prepare": self._prepare,
            "spawn": self._spawn,
            "end": self._end,
            "signal": self._signal,
            "last_pid": self._last_pid,
        }

    def run(self) -> None:
        """Serve until S has gone."""
        poll = select.poll()
        poll.register(self._rpc, select.POLLIN)
        poll.register(self._wakeup, select.POLLIN)
        while True:
            poll.register(self._events, select.POLLOUT if self._events else 0)
            ready = dict(poll.poll())
            if self._rpc.fileno() in ready and not self._answer():
                return
            if self._wakeup.fileno() in ready:
                self._wakeup.clear()
                self._stand_ins.look()
                self._guests.look(self._procfs)
            self._events.flush()

    def _answer(self) -> bool:
        """Answer a request; return False if there will be none any more."""
        packet, fds = _receive(self._rpc, 3)
        if not packet:
            return False
        request = json.loads(packet)
        listener: list[int] = []
        if request["do"] == "run":
            answer, listener = self._guests.run(request, fds)
        else:
            answer = self._requests[request["do"]](request)
        socket.send_fds(self._rpc, [_encoded(answer)], listener)
        for fd in (*fds, *listener):
            os.close(fd)
        return True

    def _prepare(self, request: Message) -> Message:
        try:
            self._procfs = prepare(request["view"])
        except PermissionError as error:
            return _refusal(
                "/proc: a new procfs cannot be mounted here, as parts of the outer one are hidden "
                "(as container runtimes do unless they run privileged)",
                error,
            )
        except OSError as error:
            return _refusal(f"The sandbox's mounts for the view {request['view']} failed", error)
        return {}

    def _spawn(self, request: Message) -> Message:
        return {"refused": list(self._stand_ins.spawn(request["who"]).items())}

    def _end(self, request: Message) -> Message:
        return {"gone": self._stand_ins.end(request["who"])}

    def _signal(self, request: Message) -> Message:
        try:
            os.kill(request["pid"], request["signo"])
        except OSError as error:
            return {"errno": error.errno}
        return {}

    def _last_pid(self, request: Message) -> Message:
        assert self._procfs, "the request comes after prepare"
        try:
            self._procfs.set_last_pid(request["pid"])
        except OSError as error:
            return {"errno": error.errno}
        return {}


def _refusal(doing: str, error: OSError) -> Message:
    return {"error": f"{doing}: {error.strerror}.", "errno": error.errno}


def _receive(sock: socket.socket, max_fds: int) -> tuple[bytes, list[int]]:
    """Receive a packet and the descriptors that come with it, which no child inherits.

    `socket.recv_fds` would not pass its flags on (seen in CPython 3.11).
    """
    fds = array.array("i")
    size = socket.CMSG_LEN(max_fds * fds.itemsize)
    packet, ancillary, *_ = sock.recvmsg(MAX_PACKET, size, socket.MSG_CMSG_CLOEXEC)
    for _, _, data in ancillary:
        fds.frombytes(data[: len(data) // fds.itemsize * fds.itemsize])
    return packet, fds.tolist()


def _encoded(message: Message) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


def main(rpc_fd: int, events_fd: int, program: int) -> None:
    """Be the supervisor."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The commands get these with the terminal's help; S ends the supervisor by the socket.
    for name in "INT QUIT TSTP TTIN TTOU HUP TERM".split():
        signal.signal(getattr(signal, f"SIG{name}"), signal.SIG_IGN)
    # All that follow inherit it, and a signal that a stand-in blocks would not be seen.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for fd in (rpc_fd, events_fd, program):
        os.set_inheritable(fd, False)
    # A command under a filter would have to ask S, if Python imported something late in it.
    sys.dont_write_bytecode = True
    supervisor = Supervisor(socket.socket(fileno=rpc_fd), socket.socket(fileno=events_fd), program)
    # S may go while it is being told something.
    with suppress(ConnectionError):
        supervisor.run()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
