# SPDX-License-Identifier: MIT
"""What happens on a machine that tools are at work on: a `Chronicle` looks, and never acts.

It is told of signals and deaths, and looks at memory and pressure by itself.
"""

from __future__ import annotations

import signal
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from fakeproc.kernel.available import available
from fakeproc.kernel.badness import presented
from fakeproc.kernel.explain import forecast
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.oom import Constraint, OomRequest, Verdict, badness_in, candidates
from fakeproc.kernel.task import PAGE_KIB, Process
from fakeproc.sandbox.report import (
    Cause,
    Collateral,
    KernelChoice,
    KernelKill,
    Kill,
    Report,
    Sample,
    Sender,
    Signal,
    Victim,
    Why,
)

MOST_SAMPLES = 2_000
"""With more than that they are thinned out evenly."""

MOST_ENTRIES = 1_000
"""How many kills are told of the tools, how many of the kernel, and deaths beside one kill."""

SAMPLE_INTERVAL_NS = 100_000_000
"""How often what `Chronicle.sample` sees is kept; less often once there is much of it."""

GROUP_GAP_NS = 100_000_000
"""Signals of one tool to members of one process group belong together if no more than this
lies between them: kill(2) of a group reaches them one by one."""

_MOST_CMDLINE = 4_096
"""How many characters are kept of a tool's command line."""

_EXIT_SIGNAL = 0x7F
"""The part of an exit code that is the signal (WTERMSIG)."""


class Chronicle:
    """Watches a machine from now on; `finish` tells what it has seen.

    Preconditions of every method: nobody else uses the machine meanwhile, and its time has
    been let pass up to now.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._began_ns = machine.now_ns
        self._earlier_ns = 0
        """How long the machines ran that were rebooted."""
        self._samples = _Samples()
        self._kills: dict[tuple[Process, str | None], _Kill] = {}
        """By victim and tool, in order."""
        self._kills_of: dict[Process, list[_Kill]] = {}
        """Those whose victim is alive."""
        self._awaited: list[_Kill] = []
        """Those that have brought no relief yet."""
        self._ranks: _Ranks | None = None
        self._kernel_kills: list[_KernelKill] = []
        self._killed_by_kernel: dict[Process, _KernelKill] = {}
        """Who is dying of the kernel's OOM killer."""
        self._deaths: Counter[Cause] = Counter()
        self._left_out = 0
        self._watch()

    def rebooted(self, machine: Machine) -> None:
        """Go on with the machine that has taken the place of this one."""
        self._look()
        self._machine.oom_kill_history = None
        self._earlier_ns = self._elapsed_ns
        self._began_ns = machine.now_ns
        self._kills_of.clear()
        self._awaited.clear()
        self._killed_by_kernel.clear()
        self._ranks = None
        self._machine = machine
        self._watch()

    def sample(self) -> None:
        """Look at memory and pressure; it does not matter if this comes too often."""
        if self._elapsed_ns >= self._samples.next_ns:
            self._look()
        elif self._awaited:
            self._notice_relief(available(self._machine) * PAGE_KIB)

    def signalled(self, process: Process, signo: int, sender: Sender | None) -> None:
        """Note that a tool sends a signal to a process, before it takes effect.

        Signal 0 is none, and a zombie takes none any more: neither is noted.
        """
        if signo == 0 or process.is_zombie or process.reaped:
            return
        sender = _cleaned(sender)
        kill = self._kills.get((process, _tool_of(sender)))
        if kill is None:
            if len(self._kills) == MOST_ENTRIES:
                self._left_out += 1
                return
            kill = self._new_kill(process, sender)
        kill.count(signo, self._elapsed_ns)

    def died(self, process: Process) -> None:
        """Note that a process has died and given back its memory, by whatever cause."""
        self._take_kernel_kills()
        killer = self._killer_of(process)
        cause = Cause.TOOL if killer else self._cause_of(process)
        self._deaths[cause] += 1
        if self._ranks is not None:
            self._ranks.forget(process)
        kills = self._kills_of.pop(process, [])
        for kill in kills:
            kill.died_ns = self._elapsed_ns
            kill.cause = Cause.OTHER_TOOL if killer and kill is not killer else cause
        entry = self._killed_by_kernel.pop(process, None)
        if entry is not None and entry.process is process:
            entry.died_ns = self._elapsed_ns
        if kills or entry:
            self._look()
        else:
            self.sample()

    def finish(self, command: Sequence[str], exit_status: int, wall_s: float) -> Report:
        """Tell all of it; ``wall_s`` is how long it took in seconds of the real clock."""
        self._look()
        machine = self._machine
        kills = _told(self._kills.values())
        kernel_kills = [kill.told() for kill in self._kernel_kills]
        return Report(
            command=tuple(map(_text, command)),
            exit_status=exit_status,
            wall_s=round(wall_s, 3),
            simulated_s=_seconds(self._elapsed_ns),
            kernel=machine.config.base,
            ram_kb=machine.hardware.ram_pages * PAGE_KIB,
            swap_kb=machine.hardware.swap_pages * PAGE_KIB,
            panic=machine.panicked or None,
            lowest=self._samples.lowest,
            strongest=self._samples.strongest,
            kills=tuple(kills),
            kernel_kills=tuple(kernel_kills),
            deaths={cause.value: self._deaths[cause] for cause in Cause if cause.is_own},
            left_out=self._left_out,
            samples=tuple(self._samples.taken()),
        )

    # -- Looking -------------------------------------------------------------------

    @property
    def _elapsed_ns(self) -> int:
        return self._at_ns(self._machine.now_ns)

    def _at_ns(self, machine_ns: int) -> int:
        """Return what a time of the machine's clock is since the run began."""
        return self._earlier_ns + machine_ns - self._began_ns

    def _watch(self) -> None:
        self._machine.oom_kill_history = []
        self._look()

    def _look(self) -> int:
        """Note memory, pressure, and whom the OOM killer has killed; return MemAvailable (kB)."""
        self._take_kernel_kills()
        sample = _sample(self._machine, _seconds(self._elapsed_ns))
        self._samples.add(self._elapsed_ns, sample)
        self._notice_relief(sample.available_kb)
        return sample.available_kb

    def _notice_relief(self, available_kb: int) -> None:
        for kill in self._awaited:
            enough_kb = kill.available_kb + kill.victim.rss_kb / 2
            if kill.died_ns is not None and available_kb >= enough_kb:
                kill.relief_ns, kill.available_after_kb = self._elapsed_ns, available_kb
        self._awaited = [kill for kill in self._awaited if kill.relief_ns is None]

    # -- Kills of tools ------------------------------------------------------------

    def _new_kill(self, process: Process, sender: Sender | None) -> _Kill:
        available_kb = self._look()
        machine, tool = self._machine, _tool_of(sender)
        request = OomRequest(machine.hardware.totalpages)
        kill = _Kill(
            process,
            sender,
            self._elapsed_ns,
            _victim(machine, process, self._present_ranks(request)),
            _kernel_choice(machine, request, process),
            available_kb,
            was_dying=_is_dying(process),
            pgrp=process.pgrp,
            rushed_past=[other for other in self._awaited if other.is_underway(tool)],
        )
        last = next(reversed(self._kills.values()), None)
        if last is not None and last.is_of_group(kill):
            kill.join(last.first_of_group or last)
        self._kills[process, tool] = kill
        self._kills_of.setdefault(process, []).append(kill)
        self._awaited.append(kill)
        return kill

    def _present_ranks(self, request: OomRequest) -> _Ranks:
        """Return the ranks of not long ago: whoever kills a thousand must not wait for them."""
        now_ns = self._elapsed_ns
        if self._ranks is None or now_ns - self._ranks.taken_ns > SAMPLE_INTERVAL_NS:
            self._ranks = _Ranks.of(self._machine, request, now_ns)
        return self._ranks

    def _killer_of(self, process: Process) -> _Kill | None:
        """Return the kill that a dead process died of: the first with the signal that ended it."""
        signo = process.exit_code & _EXIT_SIGNAL
        fitting = [kill for kill in self._kills_of.get(process, ()) if signo in kill.effective]
        return min(fitting, key=lambda kill: kill.effective[signo], default=None)

    # -- Kills of the kernel -------------------------------------------------------

    def _take_kernel_kills(self) -> None:
        history, self._machine.oom_kill_history = self._machine.oom_kill_history, []
        for machine_ns, verdict in history or ():
            kill = _kernel_kill(verdict, self._at_ns(machine_ns))
            self._killed_by_kernel |= dict.fromkeys(verdict.killed, kill)
            if len(self._kernel_kills) == MOST_ENTRIES:
                self._left_out += 1
            else:
                self._kernel_kills.append(kill)

    def _cause_of(self, process: Process) -> Cause:
        # A victim from before the run is in no history, but it keeps its oom_mm.
        if process in self._killed_by_kernel or process.oom_mm is not None:
            return Cause.KERNEL
        return Cause.SIGNAL if process.exit_code & _EXIT_SIGNAL else Cause.EXIT


# -- Samples -----------------------------------------------------------------------


class _Samples:
    """Samples in order of time, not too many of them, and the extremes of all that came."""

    def __init__(self) -> None:
        self._taken: dict[int, Sample] = {}
        """By time; only the last one of the same time is kept."""
        self._interval_ns = SAMPLE_INTERVAL_NS
        self.next_ns = 0
        """When the next one is due."""
        self.lowest: Sample
        self.strongest: Sample

    def add(self, now_ns: int, sample: Sample) -> None:
        """Take in one; times never go back."""
        if not self._taken:
            self.lowest = self.strongest = sample
        self._taken[now_ns] = sample
        self.lowest = min(self.lowest, sample, key=lambda seen: seen.available_kb)
        self.strongest = max(self.strongest, sample, key=lambda seen: seen.some_avg10_percent)
        if len(self._taken) > MOST_SAMPLES:
            self._thin_out(now_ns)
        self.next_ns = now_ns + self._interval_ns

    def taken(self) -> Collection[Sample]:
        """Return those that are left, in order."""
        return self._taken.values()

    def _thin_out(self, now_ns: int) -> None:
        """Keep at most half of them, evenly, and take them less often."""
        gap_ns = max((now_ns - next(iter(self._taken))) // (MOST_SAMPLES // 2 - 1), 1)
        kept: dict[int, Sample] = {}
        due_ns = 0
        for time_ns, sample in self._taken.items():
            if time_ns >= due_ns:
                kept[time_ns] = sample
                due_ns = time_ns + gap_ns
        self._taken = kept
        self._interval_ns = max(self._interval_ns, gap_ns)


def _sample(machine: Machine, at_s: float) -> Sample:
    pressure = machine.pressure["memory"]
    some, full = pressure.line(full=False), pressure.line(full=True)
    return Sample(
        at_s,
        available_kb=available(machine) * PAGE_KIB,
        free_kb=machine.free_pages * PAGE_KIB,
        swap_free_kb=machine.free_swap_entries * PAGE_KIB,
        some_avg10_percent=some.avg10_percent(machine.now_ns),
        full_avg10_percent=full.avg10_percent(machine.now_ns),
        some_total_us=some.total_ns(machine.now_ns) // 1000,
        full_total_us=full.total_ns(machine.now_ns) // 1000,
    )


# -- Kills of tools ----------------------------------------------------------------


@dataclass(slots=True, eq=False)
class _Kill:
    """A process that a tool has signalled; what of it is in the report is as there."""

    process: Process
    sender: Sender | None
    at_ns: int
    victim: Victim
    kernel_choice: KernelChoice
    available_kb: int
    was_dying: bool
    pgrp: int
    """The victim's process group then."""
    rushed_past: list[_Kill]
    """Earlier ones of the same tool whose victims were dying."""
    first_of_group: _Kill | None = None
    """The first one where the tool has killed a process group; None: this is it."""
    signals: dict[int, Signal] = field(default_factory=dict)
    effective: dict[int, int] = field(default_factory=dict)
    """When each signal came first, of those that came before it was dying (ns)."""
    died_ns: int | None = None
    cause: Cause | None = None
    relief_ns: int | None = None
    available_after_kb: int | None = None

    @property
    def tool(self) -> str | None:
        """Who has sent the signals."""
        return _tool_of(self.sender)

    def count(self, signo: int, now_ns: int) -> None:
        """Note one more signal."""
        at_s = _seconds(now_ns)
        first = self.signals.get(signo)
        if first is None:
            self.signals[signo] = Signal(signo, _signal_name(signo), at_s, at_s, 1)
        else:
            count = first.count + 1
            self.signals[signo] = Signal(signo, first.name, first.at_s, at_s, count)
        if not _is_dying(self.process):
            self.effective.setdefault(signo, now_ns)

    def is_of_group(self, later: _Kill) -> bool:
        """Say whether a later one is of the same process group, and belongs to this one."""
        same = (self.tool, self.pgrp) == (later.tool, later.pgrp) and self.pgrp != 0
        return same and later.at_ns - self.at_ns <= GROUP_GAP_NS

    def join(self, first: _Kill) -> None:
        """Belong to the kill of a process group, which has begun with another member."""
        self.first_of_group = first
        self.available_kb, self.rushed_past = first.available_kb, first.rushed_past

    def is_underway(self, tool: str | None) -> bool:
        """Say whether the victim of this tool is dying, but not dead."""
        mine = tool == self.tool and bool(self.effective)
        return mine and self.died_ns is None and _is_dying(self.process)

    def beside(self, why: Why) -> Collateral:
        """Return it as a death beside another one."""
        memory_kb = self.victim.rss_kb + self.victim.swap_kb
        return Collateral(self.victim.pid, self.victim.comm, memory_kb, why)

    def told(self, collateral: Iterable[Collateral]) -> Kill:
        """Return it as the report tells it."""
        relief_ns = None if self.relief_ns is None else self.relief_ns - self.at_ns
        return Kill(
            at_s=_seconds(self.at_ns),
            sender=self.sender,
            victim=self.victim,
            signals=tuple(self.signals.values()),
            was_dying=self.was_dying,
            available_kb=self.available_kb,
            kernel_choice=self.kernel_choice,
            died_at_s=_maybe_seconds(self.died_ns),
            cause=self.cause,
            relief_s=_maybe_seconds(relief_ns),
            available_after_kb=self.available_after_kb,
            collateral=tuple(collateral),
        )


def _told(kills: Iterable[_Kill]) -> list[Kill]:
    """Return the kills; who died with its process group stands under the one that was meant.

    Which one that was, the signals do not tell: it is taken to be who had the most oom_score.
    """
    groups: dict[_Kill, list[_Kill]] = {}
    for kill in kills:
        groups.setdefault(kill.first_of_group or kill, []).append(kill)
    meant = {
        first: max(members, key=lambda kill: kill.victim.oom_score)
        for first, members in groups.items()
    }
    beside: dict[_Kill, list[Collateral]] = {main: [] for main in meant.values()}
    alone: list[_Kill] = []
    for first, members in groups.items():
        for kill in members:
            if kill is not meant[first] and kill.cause is Cause.TOOL:
                beside[meant[first]].append(kill.beside(Why.PROCESS_GROUP))
            else:
                alone.append(kill)
    for kill in alone:
        for earlier in dict.fromkeys(meant[k.first_of_group or k] for k in kill.rushed_past):
            if earlier.relief_ns is not None and kill.cause is Cause.TOOL:
                beside[earlier].append(kill.beside(Why.RELIEF_UNDERWAY))
    alone.sort(key=lambda kill: kill.at_ns)
    return [kill.told(beside.get(kill, ())) for kill in alone]


@dataclass(slots=True)
class _Ranks:
    """How those whom the OOM killer may choose rank, as of a while ago but for the dead."""

    taken_ns: int
    of_each: dict[Process, tuple[int, int]]
    """oom_score and RSS (kB)."""
    scores: list[int]
    """Of all, in order."""
    rss_kb: list[int]

    @staticmethod
    def of(machine: Machine, request: OomRequest, now_ns: int) -> _Ranks:
        """Look at a machine."""
        profile, total = machine.profile, request.totalpages
        of_each = {
            process: (presented(profile, points, total), _rss_kb(process))
            for process in candidates(machine, request)
            if (points := badness_in(machine, request, process)) is not None
        }
        scores = sorted(score for score, _ in of_each.values())
        return _Ranks(now_ns, of_each, scores, sorted(rss for _, rss in of_each.values()))

    def rank(self, process: Process) -> tuple[int | None, int | None]:
        """Return its place by oom_score and by RSS; None: it must not be chosen."""
        if process not in self.of_each:
            return None, None
        score, rss_kb = self.of_each[process]
        return _rank(self.scores, score), _rank(self.rss_kb, rss_kb)

    def forget(self, process: Process) -> None:
        """Leave out one that is dead."""
        if process not in self.of_each:
            return
        score, rss_kb = self.of_each.pop(process)
        del self.scores[bisect_left(self.scores, score)]
        del self.rss_kb[bisect_left(self.rss_kb, rss_kb)]


def _rank(ordered: Sequence[int], value: int) -> int:
    return len(ordered) - bisect_right(ordered, value) + 1


def _victim(machine: Machine, process: Process, ranks: _Ranks) -> Victim:
    by_score, by_rss = ranks.rank(process)
    return Victim(
        process.pid,
        _text(process.comm),
        process.leader.credentials.uid,
        machine.oom_score(process),
        process.oom_score_adj,
        _rss_kb(process),
        process.mm.sizes.swap_entries * PAGE_KIB if process.mm else 0,
        by_score,
        by_rss,
        len(ranks.of_each),
    )


def _kernel_choice(machine: Machine, request: OomRequest, process: Process) -> KernelChoice:
    found = forecast(machine, request)
    victim = found.victim
    if victim is None:
        return KernelChoice(found.outcome.value, None, None, same=False)
    return KernelChoice(found.outcome.value, victim.pid, _text(victim.comm), victim is process)


def _rss_kb(process: Process) -> int:
    return process.mm.sizes.rss_pages * PAGE_KIB if process.mm else 0


# -- Kills of the kernel -----------------------------------------------------------


@dataclass(slots=True, eq=False)
class _KernelKill:
    process: Process
    at_ns: int
    memory_kb: int
    constraint: Constraint
    collateral: tuple[Collateral, ...]
    died_ns: int | None = None

    def told(self) -> KernelKill:
        """Return it as the report tells it."""
        return KernelKill(
            at_s=_seconds(self.at_ns),
            pid=self.process.pid,
            comm=_text(self.process.comm),
            uid=self.process.leader.credentials.uid,
            memory_kb=self.memory_kb,
            constraint=self.constraint.value,
            died_at_s=_maybe_seconds(self.died_ns),
            collateral=self.collateral,
        )


def _kernel_kill(verdict: Verdict, at_ns: int) -> _KernelKill:
    victim, *others = dict.fromkeys(verdict.killed)
    of_group = {thread.process for thread in verdict.victims}
    unclaimed = dict(verdict.mms)

    def claim(process: Process) -> int:
        mm = process.oom_mm
        return unclaimed.pop(mm, 0) * PAGE_KIB if mm is not None else 0

    memory_kb = claim(victim)
    collateral = [
        Collateral(
            other.pid,
            _text(other.comm),
            claim(other),
            Why.OOM_GROUP if other in of_group else Why.SHARED_MM,
        )
        for other in others[:MOST_ENTRIES]
    ]
    return _KernelKill(victim, at_ns, memory_kb, verdict.constraint, tuple(collateral))


# -- Words and numbers -------------------------------------------------------------


def _is_dying(process: Process) -> bool:
    """Say whether another signal makes no difference; one that dumps core can still be killed."""
    return process.group_exit and not process.coredumping


def _tool_of(sender: Sender | None) -> str | None:
    """Return what a tool is known by: a script that runs kill(1) has another pid each time."""
    return None if sender is None else sender.comm


def _cleaned(sender: Sender | None) -> Sender | None:
    if sender is None:
        return None
    room, cmdline = _MOST_CMDLINE, []
    for argument in sender.cmdline:
        if room <= 0:
            break
        cmdline.append(_text(argument[:room]))
        room -= len(argument) + 1
    return Sender(sender.pid, _text(sender.comm), tuple(cmdline))


def _text(name: str) -> str:
    """Return a name without what is no text in UTF-8, so that every reader of JSON takes it."""
    return name.encode(errors="backslashreplace").decode()


def _signal_name(signo: int) -> str:
    if signal.SIGRTMIN < signo < signal.SIGRTMAX:
        return f"SIGRTMIN+{signo - signal.SIGRTMIN}"
    try:
        return signal.Signals(signo).name
    except ValueError:
        return f"signal {signo}"


def _seconds(ns: int) -> float:
    return round(ns / 1_000_000_000, 3)


def _maybe_seconds(ns: int | None) -> float | None:
    return None if ns is None else _seconds(ns)
