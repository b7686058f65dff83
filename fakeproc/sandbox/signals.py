# SPDX-License-Identifier: MIT
"""What guests ask about simulated processes by pid: signals, sessions, priorities.

A signal really goes to the stand-in, and comes to the machine from there.  What is done here
is what the host's kernel cannot know: that the machine would forbid it, that who is meant takes
no signal, that who is meant is a thread, which has no stand-in.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from fakeproc.callers import HostCaller, host_status, real_credentials
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.task import Process, Thread
from fakeproc.kernel.task_view import nice_of
from fakeproc.mounts import HOST_PROC
from fakeproc.sandbox.population import Population, host_cmdline, sandbox_pid
from fakeproc.sandbox.protocol import Server
from fakeproc.sandbox.report import Sender
from fakeproc.sandbox.seccomp import GO_ON, Answer, Call, Notification
from fakeproc.sandbox.statfs import is_on_fuse
from fakeproc.snapshot.process import read_pairs

_PRIO_PROCESS = 0
_PIDFD_SIGNAL_PROCESS_GROUP = 1 << 2  # since 6.9

_TASK_FOLDER = re.compile(r".*/(\d+)")

_SIGKILL_BIT = 1 << (signal.SIGKILL - 1)

_DEATH_LIMIT_S = 1.0
_DEATH_STEP_S = 0.001


class Signals:
    """Answers the calls of the kill family, process_mrelease, getsid and getpriority."""

    def __init__(self, server: Server, population: Population) -> None:
        self._server = server
        self._population = population
        self.answers: dict[Call, Callable[[Notification], Answer]] = {
            Call.KILL: self._kill,
            Call.TKILL: lambda call: self._to_task(call, call.int_arg(0), call.int_arg(1)),
            Call.TGKILL: lambda call: self._to_task(call, call.int_arg(1), call.int_arg(2)),
            Call.RT_SIGQUEUEINFO: self._kill,
            Call.RT_TGSIGQUEUEINFO: lambda call: self._to_task(
                call, call.int_arg(1), call.int_arg(2)
            ),
            Call.PIDFD_SEND_SIGNAL: self._pidfd_send_signal,
            Call.PROCESS_MRELEASE: self._process_mrelease,
            Call.GETSID: self._getsid,
            Call.GETPRIORITY: self._getpriority,
        }

    # -- Signals -----------------------------------------------------------------------

    def _kill(self, call: Notification) -> Answer:
        pid, signo = call.int_arg(0), call.int_arg(1)
        if pid > 0:
            return self._to_task(call, pid, signo)
        if pid == -1:
            return self._to_many(call, signo, lambda process: True)
        group = -pid or sandbox_pid(host_status(call.tid).get("NSpgid", "0"))
        return self._to_many(call, signo, lambda process: process.pgrp == group)

    def _pidfd_send_signal(self, call: Notification) -> Answer:
        descriptor, signo = call.int_arg(0), call.int_arg(1)
        pid = self._pid_behind(call.tid, descriptor)
        if call.args[3] & _PIDFD_SIGNAL_PROCESS_GROUP:
            return self._to_many(call, signo, lambda process: process.pgrp == pid)
        # The kernel knows the folders of its own procfs, and not those of the mount.
        is_ours = is_on_fuse(f"{HOST_PROC}/{call.tid}/fd/{descriptor}")
        return self._to_task(call, pid, signo, deliver=is_ours)

    def _to_task(
        self, call: Notification, tid: int, signo: int, *, deliver: bool = False
    ) -> Answer:
        """Note a signal to a task or its process, as far as it is a simulated one.

        With ``deliver`` the kernel cannot send it to the stand-in.
        """
        caller = self._caller(call)
        if caller is None or not 0 <= signo <= signal.SIGRTMAX:
            return GO_ON
        with self._server.locked():
            thread = self._simulated(tid)
            if thread is None:
                return GO_ON
            process, machine = thread.process, self._server.procfs.machine
            machine.require_same_user(caller, process, "kill")
            if signo:
                self._server.note_kill(_sender(caller), process.pid, signo)
            if signo and (process.is_kthread or process.is_global_init):
                return Answer()
            if deliver or not thread.is_leader:
                # A thread has no stand-in.
                if signo:
                    self._server.note_arrival(process, signo)
                machine.kill(caller, process, signo)
                return Answer()
        return GO_ON

    def _to_many(
        self, call: Notification, signo: int, are_meant: Callable[[Process], bool]
    ) -> Answer:
        """Note a signal to several processes; kernel threads and init are never meant."""
        caller = self._caller(call)
        if caller is None or not 0 < signo <= signal.SIGRTMAX:
            return GO_ON
        sender = _sender(caller)
        with self._server.locked():
            procfs = self._server.procfs
            for process in list(procfs.machine.processes.values()):
                spared = process.is_kthread or process.is_global_init or process in procfs.adopted
                if not spared and are_meant(process):
                    with suppress(Refused):
                        procfs.machine.require_same_user(caller, process, "kill")
                        self._server.note_kill(sender, process.pid, signo)
        return GO_ON

    # -- process_mrelease --------------------------------------------------------------

    def _process_mrelease(self, call: Notification) -> Answer:
        """Have the machine take the memory of a dying process; see `Machine.process_mrelease`.

        The machine hears of a SIGKILL a moment after the stand-in has got it.
        """
        descriptor, flags = call.int_arg(0), call.args[1] & 0xFFFFFFFF
        pid = self._pid_behind(call.tid, descriptor)
        if not call.is_valid:
            return GO_ON
        end = time.monotonic() + _DEATH_LIMIT_S
        while True:
            try:
                with self._server.locked():
                    thread = self._simulated(pid)
                    if thread is None:
                        return GO_ON
                    self._server.procfs.machine.process_mrelease(thread.process, flags)
                return GO_ON
            except Refused as refused:
                hears_soon = refused.error == errno.EINVAL and not flags
                hears_soon = hears_soon and _is_dying(call.tid, descriptor)
                if not hears_soon or time.monotonic() > end:
                    raise
            time.sleep(_DEATH_STEP_S)

    # -- What is only asked ------------------------------------------------------------

    def _getsid(self, call: Notification) -> Answer:
        return self._told(call, call.int_arg(0), lambda process: process.session)

    def _getpriority(self, call: Notification) -> Answer:
        if call.int_arg(0) != _PRIO_PROCESS:
            return GO_ON
        # The call itself returns 1 to 40: a negative number would be an errno.
        return self._told(call, call.int_arg(1), lambda process: 20 - nice_of(process))

    def _told(self, call: Notification, tid: int, value: Callable[[Process], int]) -> Answer:
        """Return something about a simulated task, of which everybody may ask."""
        if tid <= 0 or _has_own_numbers(host_status(call.tid)):
            return GO_ON
        with self._server.locked():
            thread = self._simulated(tid)
            return Answer(value(thread.process)) if thread else GO_ON

    # -- Who is meant ------------------------------------------------------------------

    def _caller(self, call: Notification) -> HostCaller | None:
        """Return the caller; None if it has gone, or counts pids in another way."""
        status = host_status(call.tid)
        self._population.meet(call.tid)
        if not call.is_valid or "CapEff" not in status or _has_own_numbers(status):
            return None
        full = self._server.procfs.machine.full_capabilities
        return HostCaller(real_credentials(status, full), call.tid)

    def _simulated(self, tid: int) -> Thread | None:
        """Return the simulated task with this number; None if there is none.

        Preconditions: the server is locked.
        """
        procfs = self._server.procfs
        thread = procfs.machine.find_thread(tid)
        return None if thread is None or thread.process in procfs.adopted else thread

    def _pid_behind(self, tid: int, descriptor: int) -> int:
        """Return the pid, in the sandbox, that a pidfd of the caller stands for, or -1.

        Since 5.1 a folder of /proc will do as well, which killall uses.
        """
        folder = HOST_PROC / str(tid)
        try:
            about = read_pairs(folder / "fdinfo" / str(descriptor))
            if "Pid" in about:
                return sandbox_pid(about.get("NSpid", about["Pid"]))
            match = _TASK_FOLDER.fullmatch(os.readlink(folder / "fd" / str(descriptor)))
        except OSError:
            return -1
        return int(match[1]) if match else -1


def _has_own_numbers(status: dict[str, str]) -> bool:
    """Say whether a task lives in a pid namespace that a guest has made."""
    return len(status.get("NSpid", "").split()) > 2


def _sender(caller: HostCaller) -> Sender:
    cmdline: tuple[str, ...] = ()
    with suppress(OSError):
        cmdline = host_cmdline(caller.host_pid)
    return Sender(caller.tgid, caller.comm, cmdline)


def _is_dying(tid: int, descriptor: int) -> bool:
    """Say whether SIGKILL may be on its way to the machine from a process behind a pidfd.

    It is pending, has just been taken (a stand-in that is told nothing sleeps), or holds the
    stand-in at its exit, traced.
    """
    try:
        about = read_pairs(HOST_PROC / str(tid) / "fdinfo" / str(descriptor))
        status = read_pairs(HOST_PROC / about["Pid"] / "status")
        pending = int(status["SigPnd"], 16) | int(status["ShdPnd"], 16)
        return not status["State"].startswith("S") or bool(pending & _SIGKILL_BIT)
    except (OSError, KeyError):
        return False
