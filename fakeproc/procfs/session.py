# SPDX-License-Identifier: MIT
"""`Session`: the state behind a mount that is no part of the machine itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.ptrace import may_read
from fakeproc.kernel.task import Caller, Process, Thread


@dataclass(slots=True)
class Stats:
    """What /proc/fakeproc/stats counts."""

    upcalls: int = 0
    internal_errors: int = 0
    last_error: str = ""


class HidePid(IntEnum):
    """The mount option hidepid=: how much of other users' tasks one sees."""

    OFF = 0
    NO_ACCESS = 1
    """Their directories are there, but nothing in them can be reached: EPERM."""
    INVISIBLE = 2
    """They are not there: ENOENT."""
    PTRACEABLE = 4
    """The same, by who may ptrace."""


class Session:
    """What the files speak for and remember: the machine, and who acts as whom on it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.hidepid = HidePid.OFF
        self.stats = Stats()
        self.has_poll = False
        """Whether who waits in poll(2) can be woken: libfuse 3 has it."""
        self.manual_clock = False
        """Time stands still unless somebody moves it."""
        self.clock_speed = Fraction(1)
        """Otherwise: how many seconds pass in one of the host's."""
        self.clock_ratio = (1, 1)
        """The same as two numbers."""
        self.clock_rest = 0
        """What the clock has not shown yet of the time that has passed: less than 1 ns, in parts
        of one: as many as the second of those numbers says make one."""
        self.answer = "ok\n"
        """What reading ctl gives: the last answer, or why the last command was refused."""
        self.question = ""
        """Which OOM the explain files are about: options as oom_trigger takes them."""
        self.acting: dict[int, Thread] = {}
        """Processes of the host that act as a task of the machine (`become`)."""
        self.may_become: Callable[[Caller], bool] = lambda caller: caller.credentials.uid == 0
        """Says whether a caller may act as others, whoever it acts as now."""
        self.adopt: Callable[[Caller, int], Thread | None] = lambda caller, tid: (
            self.machine.find_thread(tid)
        )
        """Gives a task of the host that looks for itself by this tid one of the machine."""
        self.adopted: dict[Process, int] = {}
        """Processes of the machine that stand for one of the host, and its pid there."""
        self.sandboxed = False
        """Whether real processes (the adopted ones) live in a namespace with the simulated ones."""
        self.real_procfs = ""
        """Where their real /proc is, as a link from the root of this one leads to it; nothing: in
        its place, with simulated files bound over it."""
        self.journal: Callable[[int, int], bytes] = lambda size, offset: b""
        """Returns so many bytes, from this one on, of the lines of the journal since it was
        mounted; nothing without one."""
        self.watch: Callable[[int], object] = lambda host_pid: None
        """Sees to it that a process of the host departs when it is gone."""

    def require_running(self) -> None:
        """Refuse with EIO when the machine has panicked; ctl says so, whatever was written to."""
        try:
            self.machine.require_running()
        except Refused as refused:
            self.answer_refusal(refused)
            raise

    def set_clock(self, speed: Fraction, *, manual: bool = False) -> None:
        """Let the clock go at a speed from now on, or stand still."""
        self.clock_speed, self.manual_clock = speed, manual
        self.clock_ratio, self.clock_rest = speed.as_integer_ratio(), 0

    def answer_refusal(self, refused: Refused) -> None:
        """Let ctl say why a write was refused."""
        self.answer = f"{refused.name}: {refused.why}\n"

    def act(self, host_pid: int, thread: Thread) -> None:
        """Let a process of the host act as a task until it is gone."""
        self.acting[host_pid] = thread
        self.watch(host_pid)

    def replace_machine(self, machine: Machine) -> None:
        """Speak for another machine from now on; nobody acts as anybody any more."""
        self.machine = machine
        self.answer = "ok\n"
        self.question = ""
        self.acting.clear()
        self.adopted.clear()

    def find_thread(self, tid: int, caller: Caller) -> Thread | None:
        """Return the task with this tid; a task of the host that looks for itself gets one."""
        thread = self.machine.find_thread(tid)
        if thread is not None and thread.process not in self.adopted:
            return thread
        return self.adopt(caller, tid) if tid in (caller.tgid, caller.tid) else thread

    def hides(self, thread: Thread, caller: Caller, level: HidePid) -> bool:
        """Say whether a task is out of the caller's reach at this level of hidepid.

        They are those that the caller may not ptrace (has_pid_permissions).
        """
        return self.hidepid >= level and not may_read(caller, thread)
