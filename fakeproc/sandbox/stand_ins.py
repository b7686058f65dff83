# SPDX-License-Identifier: MIT
"""Stand-ins: a real process for each thread group of the machine, with its pid.

The supervisor, which is pid 1 of the namespace, makes and ends them; `StandIns` tells it what
the machine's processes come to, and the machine what signals the stand-ins are sent.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.task import Process
from fakeproc.kernel.turns import Turn
from fakeproc.procfs.session import Session
from fakeproc.sandbox import namespaces, stand_in
from fakeproc.sandbox.binder import Binder
from fakeproc.sandbox.channel import Channel, Message
from fakeproc.sandbox.lacking import Lacking
from fakeproc.sandbox.view import View, ViewKind

_BATCH = 500
"""Processes in a message to the supervisor."""

_LOWEST_GUEST_PID = 300
"""Where the kernel begins again when it has given out the highest pid (RESERVED_PIDS)."""

_HIGHEST_GUEST_PID = 32_767


class Supervisor:
    """Pid 1 of the sandbox's namespace, in a program of its own (supervisor.py).

    Preconditions: whoever asks it something holds the machine, but while it is set up.
    """

    def __init__(self) -> None:
        """Start it; the children of this thread are in its namespace from then on."""
        self._rpc, rpc = Channel.pair()
        self.events, events = Channel.pair()
        program = stand_in.open_program()
        fds = [rpc.fileno(), events.fileno(), program]
        script = Path(__file__).with_name("supervisor.py")
        namespaces.unshare(namespaces.CLONE_NEWPID)
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", script, *map(str, fds)], pass_fds=fds
        )
        for end in (rpc, events):
            end.close()
        os.close(program)

    def prepare(self, kind: ViewKind) -> None:
        """Let it make its mounts; `Lacking` where that is forbidden."""
        answer = self._ask({"do": "prepare", "view": kind})
        if "error" in answer:
            raise Lacking(str(answer["error"]))

    def spawn(self, who: Sequence[Sequence[int]]) -> dict[int, int]:
        """Make stand-ins: pid, uid, gid, pgrp; return the errno of each that was refused."""
        answers = (self._ask({"do": "spawn", "who": part}) for part in _parts(who))
        return {pid: number for answer in answers for pid, number in answer["refused"]}

    def end(self, who: Sequence[tuple[int, bool]]) -> None:
        """End stand-ins, or let go those that are held; each is left a zombie, or is reaped."""
        for part in _parts(who):
            self._ask({"do": "end", "who": part})

    def start(self, command: Message, fds: Sequence[int]) -> tuple[Message, list[int]]:
        """Start a command; return the answer, and the listener of its filter."""
        return self._rpc.ask({"do": "run", **command}, fds)

    def signal(self, pid: int, number: int) -> None:
        """Send a signal to a process that is no stand-in."""
        self._ask({"do": "signal", "pid": pid, "signo": number})

    def set_last_pid(self, pid: int) -> None:
        """Let the next pid that the kernel gives out be the one behind this."""
        self._ask({"do": "last_pid", "pid": pid})

    def kill(self) -> None:
        """End it, and everything in the namespace; return when all is gone."""
        self.process.kill()
        self.process.wait()

    def _ask(self, message: Message) -> Message:
        answer, _ = self._rpc.ask(message)
        return answer


def _parts(who: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (who[first : first + _BATCH] for first in range(0, len(who), _BATCH))


class StandIns:
    """Keeps the stand-ins in step with the machine.

    Preconditions: all methods are called with the machine held.
    """

    def __init__(
        self, session: Session, supervisor: Supervisor, binder: Binder, view: View
    ) -> None:
        self._session = session
        self._supervisor = supervisor
        self._binder = binder
        self._view = view
        self.on_death: Callable[[Process], object] = lambda process: None
        """Called with each simulated process that has died."""
        self._there: dict[int, Process] = {}
        """The processes that have a stand-in, by pid."""
        self._machine = session.machine

    def begin(self) -> None:
        """Make one for each process of the machine; `Lacking` where the kernel refuses one."""
        self._machine = self._session.machine
        self._machine.parents_wait = True
        self._machine.turns.keep()
        processes = [p for p in self._machine.processes.values() if p not in self._session.adopted]
        refused = self._make(processes)
        if refused:
            raise Lacking(_why_refused(*min(refused.items()), len(processes)))
        self._supervisor.end([(p.pid, False) for p in processes if p.is_zombie])

    def guest_pids_begin(self) -> int:
        """Return where real processes get their pids: in the widest gap between the others."""
        taken = sorted(pid for pid in self._there if _LOWEST_GUEST_PID <= pid < _HIGHEST_GUEST_PID)
        edges = [_LOWEST_GUEST_PID - 1, *taken, _HIGHEST_GUEST_PID + 1]
        gaps = [(after - before, before) for before, after in zip(edges, edges[1:], strict=False)]
        return max(gaps)[1] + 1

    def keep_up(self) -> None:
        """Do with the stand-ins what has become of their processes."""
        if self._session.machine is not self._machine:
            self._begin_again()
            return
        turns = self._machine.turns.take()
        if not turns:
            return
        now: dict[Process, Turn] = {}
        for turn, process in turns:
            if process not in self._session.adopted:
                now[process] = turn
                if turn is Turn.DIED and self._has(process):
                    self.on_death(process)
        born = [p for p, turn in now.items() if turn is not Turn.REAPED and not self._has(p)]
        self._end([(p, turn) for p, turn in now.items() if turn is not Turn.BORN and self._has(p)])
        self._make(born)
        self._end([(p, now[p]) for p in born if now[p] is Turn.DIED])

    def signalled(self, process: Process, number: int) -> None:
        """Pass on a signal that a stand-in was sent; what cannot die gets a new one."""
        with suppress(Refused):
            self._machine.kill(self._machine.root, process, number)
        if number == signal.SIGKILL and (process.is_kthread or process.is_global_init):
            self._supervisor.end([(process.pid, True)])
            self._make([process])

    def process(self, pid: int) -> Process | None:
        """Return the process that has a stand-in with this pid."""
        return self._there.get(pid)

    def _has(self, process: Process) -> bool:
        return self._there.get(process.pid) is process

    def _begin_again(self) -> None:
        """Take another machine's processes instead: it has been booted again."""
        self._end([(process, Turn.REAPED) for process in self._there.values()])
        self.begin()

    def _make(self, processes: Sequence[Process]) -> dict[int, int]:
        """Make stand-ins; return those that are refused, with an errno each."""
        mortal = [p for p in processes if not p.is_global_init]
        refused = self._supervisor.spawn([_identity(p) for p in mortal])
        for process in processes:
            if process.pid not in refused:
                self._there[process.pid] = process
        binds = [bind for p in processes for bind in self._view.of_task(p.pid)]
        self.bound = self._binder.bind(binds)
        return refused

    def _end(self, who: Sequence[tuple[Process, Turn]]) -> None:
        mortal = [(p, turn) for p, turn in who if not p.is_global_init]
        if not mortal:
            return
        self._supervisor.end([(p.pid, turn is Turn.REAPED) for p, turn in mortal])
        for process, turn in mortal:
            if turn is Turn.REAPED:
                del self._there[process.pid]


def _why_refused(pid: int, number: int, wanted: int) -> str:
    """Say why there can be no stand-in with this pid."""
    if number == errno.EINVAL:
        return (
            f"pid {pid}: is above what this kernel gives out; `sysctl kernel.pid_max=4194304` as "
            "root, or use lower pids in the scenario."
        )
    if number == errno.EAGAIN:
        return (
            f"{wanted} processes: more than this user may have; `ulimit -u` and the pids limit of "
            "the cgroup say how many, or use a scenario with fewer."
        )
    return f"pid {pid}: the kernel makes no process with it: {os.strerror(number)}."


def _identity(process: Process) -> tuple[int, int, int, int]:
    credentials = process.leader.credentials
    return process.pid, credentials.uid, credentials.gid, process.pgrp
