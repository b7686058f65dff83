# SPDX-License-Identifier: MIT
"""CPU time: who has had how much of the CPUs, and what they did for the rest.

The tasks that run share the CPUs evenly, and none has more than one.  Nothing ticks: what a
task has had is read off a clock of shares, and only a task that has run is remembered at all.
Asking changes nothing, so that the numbers do not depend on who looked and when.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum

from fakeproc.kernel.loadavg import TICK_NS
from fakeproc.kernel.task import Process, Thread


class Mode(IntEnum):
    """What a task that runs does at the moment: a number, as each stall counts by it."""

    USER = 0
    """Its own code."""
    SYSTEM = 1
    """In the kernel it reclaims memory."""
    DISK_WAIT = 2
    """It is off the CPU until the disk has answered."""


@dataclass(frozen=True, slots=True)
class Times:
    """The CPU time of tasks, in nanoseconds."""

    user_ns: int = 0
    system_ns: int = 0

    def __add__(self, other: Times) -> Times:
        return Times(self.user_ns + other.user_ns, self.system_ns + other.system_ns)


@dataclass(slots=True)
class CpuTimes:
    """What a CPU, or all of them, did, in nanoseconds; together it is the time since boot."""

    user_ns: int = 0
    system_ns: int = 0
    idle_ns: int = 0
    iowait_ns: int = 0
    """Idle, while a task waited for the disk."""

    @property
    def busy_ns(self) -> int:
        """The time in which a task was on it."""
        return self.user_ns + self.system_ns

    def add(self, other: CpuTimes) -> None:
        """Count what another one did as well."""
        self.user_ns += other.user_ns
        self.system_ns += other.system_ns
        self.idle_ns += other.idle_ns
        self.iowait_ns += other.iowait_ns


@dataclass(slots=True)
class _Account:
    """What a task has had, as of a reading of the clock of shares."""

    share_ns: int
    mode: Mode | None
    """None: it does not run."""
    times: Times = Times()

    def at(self, share_ns: int) -> Times:
        gained_ns, times = share_ns - self.share_ns, self.times
        if gained_ns and self.mode is Mode.USER:
            return Times(times.user_ns + gained_ns, times.system_ns)
        if gained_ns and self.mode is Mode.SYSTEM:
            return Times(times.user_ns, times.system_ns + gained_ns)
        return times


class CpuAccounting:
    """The CPUs of a machine since it booted."""

    def __init__(self, cpus: int, now_ns: int = 0) -> None:
        """Begin; the CPUs have been idle until now."""
        self._cpus = cpus
        self._changed_ns = now_ns
        self._share_ns = 0
        """The CPU time of a task that has been on a CPU, or in the queue for one, since boot."""
        self._running: dict[Thread, Mode] = {}
        self._count = [0] * len(Mode)
        """How many of those that run are in each mode."""
        self._wanted = 0
        """How many of them are on a CPU, or in the queue for one."""
        self._accounts: dict[Thread, _Account] = {}
        self._exited: dict[Process, Times] = {}
        """Of the threads of a group that are gone."""
        self._children: dict[Process, Times] = {}
        """Of the children that a group has waited for, and of theirs."""
        self._by_load = [CpuTimes() for _ in range(cpus + 1)]
        """What all CPUs did while so many of them were busy."""
        self._by_load[0].idle_ns = cpus * now_ns
        self._switches = 0
        self._crowded_ns = 0

    # -- What happens ------------------------------------------------------------------

    def start(self, thread: Thread, now_ns: int) -> None:
        """Let a task run from now on."""
        self._enter(thread, Mode.USER, now_ns)
        self._switches += 1

    def stop(self, thread: Thread, now_ns: int) -> None:
        """Let a task that runs do so no more."""
        self._enter(thread, None, now_ns)
        self._switches += 1

    def set_mode(self, thread: Thread, mode: Mode, now_ns: int) -> None:
        """Let a task do something else, if it runs."""
        if self._running.get(thread, mode) is not mode:
            self._enter(thread, mode, now_ns)

    def exited(self, thread: Thread) -> None:
        """Leave the time of a thread that is gone to its group (the sums of signal_struct)."""
        account = self._accounts.pop(thread, None)
        if account is not None:
            so_far = self._exited.get(thread.process, Times())
            self._exited[thread.process] = so_far + account.times

    def reaped(self, process: Process, parent: Process | None) -> None:
        """Forget a group; who has waited for it gets its time, and that of its children."""
        times = self._children.pop(process, Times()) + self._exited.pop(process, Times())
        for thread in process.threads:
            account = self._accounts.pop(thread, None)
            if account is not None:
                times += account.times
        if parent is not None and times != Times():
            self._children[parent] = self.of_children(parent) + times

    # -- What has come of it -----------------------------------------------------------

    def of_thread(self, thread: Thread, now_ns: int) -> Times:
        """Return what one task has had."""
        account = self._accounts.get(thread)
        return account.at(self._share_at(now_ns)) if account else Times()

    def of_group(self, process: Process, now_ns: int) -> Times:
        """Return what all threads of a group have had, those that are gone included."""
        times = self._exited.get(process, Times())
        for thread in process.threads:
            times += self.of_thread(thread, now_ns)
        return times

    def of_children(self, process: Process) -> Times:
        """Return what the children that a group has waited for have had."""
        return self._children.get(process, Times())

    def total(self, now_ns: int) -> CpuTimes:
        """Return what all CPUs together did."""
        total = CpuTimes()
        for times in self._loads_at(now_ns):
            total.add(times)
        return total

    def of_each_cpu(self, now_ns: int) -> list[CpuTimes]:
        """Return what each CPU did: the first ones are busy, as many as are needed."""
        each = [CpuTimes() for _ in range(self._cpus)]
        for busy, times in enumerate(self._loads_at(now_ns)):
            at_work = CpuTimes(times.user_ns // max(busy, 1), times.system_ns // max(busy, 1))
            at_rest = max(self._cpus - busy, 1)
            rest = CpuTimes(idle_ns=times.idle_ns // at_rest, iowait_ns=times.iowait_ns // at_rest)
            for number, cpu in enumerate(each):
                cpu.add(at_work if number < busy else rest)
        return each

    def last_cpu(self, thread: Thread) -> int:
        """Return the CPU that a task is on, or was on last."""
        if len(self._running) <= self._cpus and thread in self._running:
            return list(self._running).index(thread)
        return thread.tid % self._cpus

    def switches(self, now_ns: int) -> int:
        """Return how often a CPU went from one task to another one.

        Where more tasks run than there are CPUs, they take turns at each tick.
        """
        crowded_ns = self._crowded_ns
        if self._is_crowded:
            crowded_ns += (now_ns - self._changed_ns) * self._cpus
        return self._switches + crowded_ns // TICK_NS

    # -- How it is done ----------------------------------------------------------------

    @property
    def _is_crowded(self) -> bool:
        return self._wanted > self._cpus

    def _enter(self, thread: Thread, mode: Mode | None, now_ns: int) -> None:
        """Settle everybody's time, and let a task do something else."""
        self._catch_up(now_ns)
        before = self._running.get(thread)
        if before is not None:
            self._count[before] -= 1
        if mode is None:
            self._running.pop(thread, None)
        else:
            self._running[thread] = mode
            self._count[mode] += 1
        self._wanted = self._count[Mode.USER] + self._count[Mode.SYSTEM]
        account = self._accounts.get(thread)
        if account is None:
            account = self._accounts[thread] = _Account(self._share_ns, None)
        account.times = account.at(self._share_ns)
        account.share_ns, account.mode = self._share_ns, mode

    def _catch_up(self, now_ns: int) -> None:
        if now_ns == self._changed_ns:
            return
        if self._is_crowded:
            self._crowded_ns += (now_ns - self._changed_ns) * self._cpus
        busy, times = self._since_change(now_ns)
        self._by_load[busy].add(times)
        self._share_ns = self._share_at(now_ns)
        self._changed_ns = now_ns

    def _share_at(self, now_ns: int) -> int:
        """Return the clock of shares; it stands still while nobody is on a CPU."""
        elapsed_ns = now_ns - self._changed_ns
        if not self._wanted:
            return self._share_ns
        if self._is_crowded:
            elapsed_ns = elapsed_ns * self._cpus // self._wanted
        return self._share_ns + elapsed_ns

    def _since_change(self, now_ns: int) -> tuple[int, CpuTimes]:
        """Return how many CPUs have been busy since the last change, and what all of them did."""
        gained_ns = self._share_at(now_ns) - self._share_ns
        available_ns = self._cpus * (now_ns - self._changed_ns)
        busy = min(self._wanted, self._cpus)
        waiting = min(self._count[Mode.DISK_WAIT], self._cpus - busy)
        system_ns = self._count[Mode.SYSTEM] * gained_ns
        iowait_ns = waiting * (now_ns - self._changed_ns)
        if self._is_crowded:
            # What does not divide evenly was spent all the same.
            return busy, CpuTimes(user_ns=available_ns - system_ns, system_ns=system_ns)
        user_ns = self._count[Mode.USER] * gained_ns
        idle_ns = available_ns - user_ns - system_ns - iowait_ns
        return busy, CpuTimes(user_ns, system_ns, idle_ns, iowait_ns)

    def _loads_at(self, now_ns: int) -> Iterator[CpuTimes]:
        """Walk what the CPUs did, by how many of them were busy."""
        busy_now, latest = self._since_change(now_ns)
        for busy, times in enumerate(self._by_load):
            if busy == busy_now:
                times = replace(times)
                times.add(latest)
            yield times
