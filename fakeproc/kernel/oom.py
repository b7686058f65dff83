# SPDX-License-Identifier: MIT
"""The OOM killer: out_of_memory, selection, killing.

It reads top to bottom as the kernel's does: `out_of_memory` is the entry, `select` finds
the victim, `_kill` kills it with everybody on its mm, and `mark_victim` is what being a
victim means.  What it prints is in `fakeproc.kernel.oom_report`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

from fakeproc.kernel import gfp, oom_report
from fakeproc.kernel.badness import OOM_SCORE_ADJ_MIN, badness, logged_score
from fakeproc.kernel.dying import current_is_dying, will_free_mem
from fakeproc.kernel.log import Level
from fakeproc.kernel.memcg import Memcg
from fakeproc.kernel.numa import ALL_NODES, is_eligible
from fakeproc.kernel.ranking import NO_CANDIDATE, PlaceOf, Ranking, from_the_end
from fakeproc.kernel.task import Mm, Process, Thread

if TYPE_CHECKING:
    from fakeproc.kernel.machine import Machine

SYSRQ_ORDER = -1
"""The order that a manual OOM (sysrq-f) carries."""


class Constraint(StrEnum):
    """What the allocation was restricted to, as the log spells it."""

    NONE = "CONSTRAINT_NONE"
    CPUSET = "CONSTRAINT_CPUSET"
    MEMORY_POLICY = "CONSTRAINT_MEMORY_POLICY"
    MEMCG = "CONSTRAINT_MEMCG"


@dataclass(frozen=True, slots=True)
class OomRequest:
    """An allocation that found no memory (struct oom_control); `allocation` makes one.

    ``allocating`` is the task that made it; None stands for the kernel worker of a
    sysrq.  ``totalpages`` is the memory in question.
    """

    totalpages: int
    allocating: Thread | None = None
    gfp_mask: int | None = None
    """None: GFP_KERNEL, whatever its bits are in this version."""
    order: int = 0
    memcg: Memcg | None = None
    nodemask: int | None = None
    """The nodes of the memory policy, where that is what constrains it."""
    mems_allowed: int = ALL_NODES
    """The nodes that the cpuset of the allocating task allows."""
    cpuset_limited: bool = False
    """Whether the cpuset of the allocating task refuses some node that has memory."""

    @property
    def is_sysrq(self) -> bool:
        """Say whether a person asked for it."""
        return self.order == SYSRQ_ORDER

    @property
    def constraint(self) -> Constraint:
        """What the OOM is restricted to."""
        if self.memcg is not None:
            return Constraint.MEMCG
        if self.nodemask is not None:
            return Constraint.MEMORY_POLICY
        return Constraint.CPUSET if self.cpuset_limited else Constraint.NONE

    @property
    def message(self) -> str:
        """How the lines about the kill begin."""
        return "Memory cgroup out of memory" if self.memcg is not None else "Out of memory"


class Outcome(StrEnum):
    """What an invocation came to."""

    KILLED = "killed"
    BYPASSED = "bypassed"
    """The task was dying anyway: marked, and nothing printed."""
    PASSED = "passed"
    """The task was dying anyway, and may go over the limit of its memcg: nothing is done."""
    NOFS = "nofs"
    """The allocation cannot wait for file systems, so it is too early to kill."""
    WAITING = "waiting"
    """An earlier victim is still dying: nothing is done."""
    NOBODY = "nobody"
    """No task may be killed."""
    ASLEEP = "asleep"
    """oom_kill_disable: the task waits for room, and nothing is printed."""
    EXITING = "exiting"
    """The chosen one has given up its memory meanwhile."""
    PANICKED = "panicked"


@dataclass(slots=True)
class Verdict:
    """The answer of the OOM killer."""

    outcome: Outcome
    constraint: Constraint
    chosen: Process | None = None
    points: int = 0
    """Of the chosen one, in pages."""
    victims: list[Thread] = field(default_factory=list)
    """The tasks of "Killed process" lines, in order."""
    killed: list[Process] = field(default_factory=list)
    """Everybody who was sent SIGKILL, victims and those who share their mm."""
    let_through: Thread | None = None
    """Who was only marked, because it is dying anyway."""
    mms: dict[Mm, int] = field(default_factory=dict)
    """What the mm of each of them held before, in memory and in swap (pages)."""
    freed_at_once_pages: int = 0
    """What had come free when the OOM killer was done."""

    @property
    def freed_pages(self) -> int:
        """What has come free by now, in memory and in swap."""
        return sum(max(before - mm.held_pages, 0) for mm, before in self.mms.items())

    @property
    def reaped(self) -> list[Thread]:
        """Those of them whose memory the reaper has taken by now."""
        marked = [*self.victims, *([self.let_through] if self.let_through else [])]
        return [thread for thread in marked if thread.oom_reaped]


@dataclass(frozen=True, slots=True)
class Decision:
    """What an invocation comes to, before anything is done about it."""

    outcome: Outcome
    thread: Thread | None = None
    """The chosen one, or the dying one that is let through."""
    points: int = 0
    message: str = ""


def allocation(
    machine: Machine,
    *,
    allocating: Thread | None = None,
    gfp_mask: int | None = None,
    order: int = 0,
    memcg: Memcg | None = None,
    nodemask: int | None = None,
) -> OomRequest:
    """Describe an allocation that found no memory, with its constraint (constrained_alloc).

    ``nodemask`` are the nodes that a memory policy lets it use.  A page fault has no
    mask and no list of zones, and __GFP_THISNODE takes no other node: both are without
    a constraint.  Cpusets are hardwalls here (cpuset.mem_hardwall), so that GFP_KERNEL
    does not get past them; only a victim does.
    """
    hardware = machine.hardware
    mems = allocating.placement.mems if allocating else ALL_NODES
    request = OomRequest(hardware.totalpages, allocating, gfp_mask, order, memcg, mems_allowed=mems)
    if memcg is not None:
        return replace(request, totalpages=machine.memcg_totalpages(memcg))
    if gfp_mask == 0 or _has_flag(machine, request, "THISNODE"):
        return request
    if nodemask is not None and hardware.nodes & ~nodemask:
        total = hardware.totalpages_of(nodemask)
        return replace(request, nodemask=nodemask, totalpages=total)
    if hardware.nodes & ~mems and not (allocating and allocating.memdie):
        return replace(request, cpuset_limited=True, totalpages=hardware.totalpages_of(mems))
    return request


def _has_flag(machine: Machine, request: OomRequest, flag: str) -> bool:
    """Say whether the mask of an allocation has this flag; that of None is GFP_KERNEL."""
    version = machine.profile.version
    mask = request.gfp_mask
    if mask is None:
        mask = gfp.mask_of(version, "GFP_KERNEL")
    return bool(mask & gfp.bits(version)[flag])


def out_of_memory(machine: Machine, request: OomRequest) -> Verdict:
    """Find memory by killing, or find a reason not to."""
    decision = decide(machine, request)
    if decision.outcome is Outcome.PANICKED:
        return _panic_on_oom(machine, request)
    if decision.outcome is Outcome.NOBODY:
        return _nobody(machine, request)
    if decision.thread is None:
        return Verdict(decision.outcome, request.constraint)
    if decision.outcome is Outcome.BYPASSED:
        return _bypass(machine, request, decision.thread)
    return _kill(machine, request, decision.thread, decision.points, decision.message)


def decide(machine: Machine, request: OomRequest) -> Decision:
    """Say what an invocation would come to; this changes nothing."""
    current = request.allocating
    if current is not None and _is_let_pass(machine, request, current):
        return Decision(Outcome.PASSED)
    if current is not None and current_is_dying(
        machine.profile, current, machine.processes.values()
    ):
        return Decision(Outcome.BYPASSED, current)
    if _is_too_early(machine, request):
        return Decision(Outcome.NOFS)
    if _must_panic(machine, request):
        return Decision(Outcome.PANICKED)
    if current is not None and _kills_allocating_task(machine, request, current):
        # It was not rated: its score prints as 0.
        message = "Out of memory (oom_kill_allocating_task)"
        return _unless_dying(machine, current, 0, message)
    selection = select(machine, request)
    if selection.aborted:
        return Decision(Outcome.WAITING)
    if selection.process is None:
        return Decision(Outcome.NOBODY)
    chosen = _found_as(machine, request, selection.process)
    return _unless_dying(machine, chosen, selection.points, request.message)


def _is_let_pass(machine: Machine, request: OomRequest, current: Thread) -> bool:
    """Say whether a dying task's charge goes over the limit (mem_cgroup_out_of_memory)."""
    if request.memcg is None or not machine.profile.memcg_lets_dying_pass:
        return False
    return current.process.oom_mm is not None or current.fatal_pending or current.exiting


def _is_too_early(machine: Machine, request: OomRequest) -> bool:
    """Say whether nobody is killed because reclaim has not tried everything.

    Without __GFP_FS it could not wait for file systems.  A page fault that comes here
    has no mask, and says nothing about that.
    """
    rule = machine.profile.nofs_returns
    if rule == "never" or request.gfp_mask == 0 or _has_flag(machine, request, "FS"):
        return False
    if request.memcg is not None and machine.profile.nofs_spares_memcg:
        return False
    return rule == "always" or not _has_flag(machine, request, "NOFAIL")


def _unless_dying(machine: Machine, chosen: Thread, points: int, message: str) -> Decision:
    """Kill the chosen one, but let it through when its memory will come free anyway."""
    if will_free_mem(machine.profile, chosen, machine.processes.values()):
        return Decision(Outcome.BYPASSED, chosen)
    return Decision(Outcome.KILLED, chosen, points, message)


def badness_in(machine: Machine, request: OomRequest, process: Process) -> int | None:
    """Return a process's points in this OOM; None when it must not die."""
    memcg = request.memcg if machine.profile.memcg_of_mm_owner else None
    if memcg is not None and not memcg.is_charged_for(process):
        return None
    if not is_eligible(machine.profile, request, process):
        return None
    return badness(machine.profile, process, request.totalpages, machine.hardware.cpus)


def _bypass(machine: Machine, request: OomRequest, thread: Thread) -> Verdict:
    """Let a dying task finish: it is marked, the reaper may help, nothing is printed."""
    mark_victim(machine, thread)
    if _reaps_after_bypass(machine, thread):
        machine.reaper.queue(thread)
    verdict = Verdict(Outcome.BYPASSED, request.constraint, thread.process, let_through=thread)
    if thread.mm is not None:
        verdict.mms[thread.mm] = thread.mm.held_pages
    return verdict


def _reaps_after_bypass(machine: Machine, thread: Thread) -> bool:
    if machine.profile.reaper_after_bypass == "if all dying":
        mm = thread.process.mm
        return mm is not None and all(p.group_exit for p in mm.processes)
    return machine.profile.reaper_after_bypass == "always"


# -- Panic -------------------------------------------------------------------------


def _must_panic(machine: Machine, request: OomRequest) -> bool:
    """panic_on_oom: 1 spares an OOM with a constraint, 2 nothing; sysrq never panics."""
    setting = machine.sysctls["vm/panic_on_oom"]
    if request.is_sysrq or setting == 0:
        return False
    return setting == 2 or request.constraint is Constraint.NONE


def _panic_on_oom(machine: Machine, request: OomRequest) -> Verdict:
    oom_report.header(machine, request, None)
    kind = "compulsory" if machine.sysctls["vm/panic_on_oom"] == 2 else "system-wide"
    machine.panic(f"Out of memory: {kind} panic_on_oom is enabled")
    return Verdict(Outcome.PANICKED, request.constraint)


_NOBODY_FOR_SYSRQ = {
    "none": "",
    "disabled": " because killer is disabled",
    "not-eligible": ". No task eligible",
}


def is_deadly(request: OomRequest) -> bool:
    """Say whether the machine panics when there is nobody to kill."""
    return not request.is_sysrq and request.memcg is None


def _nobody(machine: Machine, request: OomRequest) -> Verdict:
    """Nobody may be killed: a global OOM is the end, others only say so (since 4.19)."""
    always = machine.profile.log_no_killable == "always"
    deadly = is_deadly(request)
    if always:
        oom_report.header(machine, request, None)
        machine.printk(Level.WARNING, "Out of memory and no killable processes...")
    elif deadly:
        oom_report.header(machine, request, None)
    if request.is_sysrq and (why := _NOBODY_FOR_SYSRQ[machine.profile.sysrq_nobody_line]):
        machine.printk(Level.INFO, f"sysrq: OOM request ignored{why}")
    if not deadly:
        return Verdict(Outcome.NOBODY, request.constraint)
    machine.panic(
        "System is deadlocked on memory" if always else "Out of memory and no killable processes..."
    )
    return Verdict(Outcome.PANICKED, request.constraint)


# -- Selection ---------------------------------------------------------------------


ORIGIN_POINTS = 2**64 - 1
"""What an OOM origin has, more than anybody else can (ULONG_MAX)."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What the search for a victim came to."""

    process: Process | None = None
    points: int = 0
    aborted: bool = False
    """An earlier victim is still dying."""


def select(machine: Machine, request: OomRequest) -> Selection:
    """Find who has the most points (select_bad_process), as `select_by_walk` does."""
    if awaited_victim(machine, request) is not None:
        return Selection(aborted=True)
    marked = [p for p in _marked(machine, request) if not request.is_sysrq]
    passed_over = {p for p in marked if _inflight(machine, p) is _Inflight.SKIP}
    origins = [p for p in machine.oom_origins if p not in passed_over]
    if origins := [p for p in origins if is_candidate(machine, request, p)]:
        # Each overwrites the one before.
        return Selection(max(origins, key=place_in(machine, request)), ORIGIN_POINTS)
    process = ranking(machine, request).first(lambda process: process not in passed_over)
    if process is None:
        return Selection()
    return Selection(process, badness_in(machine, request, process) or 0)


def awaited_victim(machine: Machine, request: OomRequest) -> Process | None:
    """Return an earlier victim that is still dying, so that nobody else is chosen; or None."""
    if request.is_sysrq:
        return None
    for process in _marked(machine, request):
        if _inflight(machine, process) is _Inflight.ABORT:
            return process
    return None


def select_by_walk(machine: Machine, request: OomRequest) -> Selection:
    """Find the same as the kernel does: walk the candidates; the largest wins."""
    best = Selection()
    origin = False
    last_wins = _tie(machine, request) == "last"
    for process in candidates(machine, request):
        if not is_eligible(machine.profile, request, process):
            continue
        if not request.is_sysrq:
            inflight = _inflight(machine, process)
            if inflight is _Inflight.ABORT:
                return Selection(aborted=True)
            if inflight is _Inflight.SKIP:
                continue
        if process.oom_origin:
            best, origin = Selection(process, ORIGIN_POINTS), True
            continue
        points = badness_in(machine, request, process)
        if points is None or origin:
            continue
        better = best.process is None or points > best.points
        if better or (last_wins and points == best.points):
            best = Selection(process, points)
    return best


@dataclass(frozen=True, slots=True)
class _Scope:
    """What two requests must have in common to rank the candidates alike."""

    memcg: Memcg | None
    totalpages: int
    nodemask: int | None
    mems_allowed: int


def is_about_a_memcg(scope: object) -> bool:
    """Say whether the order of groups matters to a ranking of this scope."""
    return isinstance(scope, _Scope) and scope.memcg is not None


def ranking(machine: Machine, request: OomRequest) -> Ranking:
    """Return the candidates by their points, those with as many in the order of the walk."""
    scope = _Scope(request.memcg, request.totalpages, request.nodemask, request.mems_allowed)

    def make() -> Ranking:
        place_of = place_in(machine, request)
        if _tie(machine, request) == "last":
            place_of = from_the_end(place_of)
        made = Ranking(machine.processes, partial(badness_in, machine, request), place_of)
        made.fill(candidates(machine, request))
        return made

    return machine.rankings.of(scope, make)


def _marked(machine: Machine, request: OomRequest) -> list[Process]:
    """Return the candidates that have been marked as victims."""
    for process in [p for p in machine.marked if _is_over(p)]:
        del machine.marked[process]
    return [process for process in machine.marked if is_candidate(machine, request, process)]


def _is_over(victim: Process) -> bool:
    """Say whether no later OOM will meet this victim, nor wait for it."""
    if victim.reaped:
        return True
    mm = victim.oom_mm
    return victim.is_zombie and not victim.oom_victims and (mm is None or mm.hidden)


def is_candidate(machine: Machine, request: OomRequest, process: Process) -> bool:
    """Say whether the OOM is about this process: its memcg, and its nodes."""
    if request.memcg is not None and request.memcg not in process.memcg.ancestors():
        return False
    return is_eligible(machine.profile, request, process)


def place_in(machine: Machine, request: OomRequest) -> PlaceOf:
    """Return what tells a process's place in the walk: by creation, or group by group."""
    if request.memcg is None:
        return lambda process: process.sequence
    if machine.profile.memcg_walk == "all tasks":
        within = set(request.memcg.subtree())
        return lambda process: process.sequence if process.memcg in within else NO_CANDIDATE
    groups = {group: number for number, group in enumerate(request.memcg.subtree())}

    def place_of(process: Process) -> int:
        number = groups.get(process.memcg)
        return NO_CANDIDATE if number is None else number << 40 | process.attached

    if machine.profile.memcg_walk == "newest first":
        return from_the_end(place_of)
    return place_of


def candidates(machine: Machine, request: OomRequest) -> Iterable[Process]:
    """Return the processes that the OOM is about, in the kernel's order."""
    if request.memcg is None:
        return machine.processes.values()
    members = request.memcg.processes()
    if machine.profile.memcg_walk == "as attached":
        return members
    return sorted(members, key=place_in(machine, request))


def _found_as(machine: Machine, request: OomRequest, process: Process) -> Thread:
    """Return the task of a chosen process that the scan came upon, which the log names.

    That is the leader, unless the scan goes by threads and the leader has exited: then
    every thread takes the place of the one before it.
    """
    profile, leader = machine.profile, process.leader
    unit = profile.scan_unit_global if request.memcg is None else profile.scan_unit_memcg
    if unit == "process" or leader.mm is not None:
        return leader
    return next((t for t in reversed(process.threads) if t.mm is not None), leader)


def _tie(machine: Machine, request: OomRequest) -> str:
    profile = machine.profile
    return profile.tie_memcg if request.memcg is not None else profile.tie_global


class _Inflight(StrEnum):
    NO = "no"
    ABORT = "abort"
    SKIP = "skip"


def _inflight(machine: Machine, process: Process) -> _Inflight:
    """Say what an earlier victim means for the scan: wait for it, or look past it."""
    rule = machine.profile.inflight_rule
    if rule == "oom_mm, SKIP skipped":
        if process.oom_mm is None:
            return _Inflight.NO
        return _Inflight.SKIP if process.oom_mm.hidden else _Inflight.ABORT
    if rule == "memdie":
        marked = any(thread.memdie for thread in process.threads)
        exiting = machine.profile.exiting_task_aborts_scan and any(
            thread.exiting and thread.mm is not None for thread in process.threads
        )
        return _Inflight.ABORT if marked or exiting else _Inflight.NO
    if not process.oom_victims:
        return _Inflight.NO
    mm = process.mm
    if rule == "victims, REAPED skipped" and mm is not None and mm.hidden:
        return _Inflight.SKIP
    return _Inflight.ABORT


def _kills_allocating_task(machine: Machine, request: OomRequest, current: Thread) -> bool:
    """vm.oom_kill_allocating_task: kill who asked, if it may be killed at all."""
    if not machine.sysctls["vm/oom_kill_allocating_task"] or request.memcg is not None:
        return False
    process = current.process
    if process.is_global_init or process.is_kthread or current.mm is None:
        return False
    killable = process.oom_score_adj != OOM_SCORE_ADJ_MIN
    return killable and is_eligible(machine.profile, request, process)


# -- Killing -----------------------------------------------------------------------


def _kill(
    machine: Machine, request: OomRequest, chosen: Thread, points: int, message: str
) -> Verdict:
    """Kill the chosen one, or a child in its place, and all on the victim's mm."""
    oom_report.limited_header(machine, request, chosen)
    verdict = Verdict(Outcome.KILLED, request.constraint, chosen.process, points)
    victim = chosen.process
    if machine.profile.child_sacrifice:
        score = logged_score(machine.profile, points, request.totalpages)
        machine.printk(
            Level.ERR,
            f"{message}: Kill process {chosen.tid} ({chosen.comm}) "
            f"score {score} or sacrifice child",
        )
        victim = sacrifice_child(machine, request, chosen)
    _kill_victim(machine, victim, message, verdict)
    if machine.profile.memory_oom_group:
        _kill_group(machine, request, victim, message, verdict)
    return verdict


def sacrifice_child(machine: Machine, request: OomRequest, chosen: Thread) -> Process:
    """Return the child with most points, if it has memory of its own (until 5.0)."""
    # The mm of the task that was chosen, which an exited leader has no more.
    mm = chosen.mm
    victim, most = chosen.process, 0
    for child in chosen.process.children:
        if child.mm is mm and mm is not None:
            continue
        points = badness_in(machine, request, child)
        if points is not None and points > most:
            victim, most = child, points
    return victim


def _kill_victim(machine: Machine, process: Process, message: str, verdict: Verdict) -> None:
    """Kill one victim and everybody who shares its mm (__oom_kill_process)."""
    thread = process.find_mm_thread()
    if thread is None or thread.mm is None:
        if machine.profile.already_exiting_line:
            machine.printk(
                Level.INFO,
                f"{message}: OOM victim {process.pid} ({process.comm}) is already exiting. "
                "Skip killing the task",
            )
        if not verdict.victims:
            verdict.outcome = Outcome.EXITING
        return
    mm = thread.mm
    verdict.mms[mm] = mm.held_pages
    if machine.profile.count_oom_kill:
        machine.oom_kills += 1
        process.memcg.count("oom_kill")
    machine.send_sigkill(process)
    mark_victim(machine, thread)
    oom_report.killed_line(machine, thread, message)
    verdict.victims.append(thread)
    verdict.killed.append(process)
    if _kill_sharers(machine, thread, mm, verdict):
        machine.reaper.queue(thread)


def _kill_sharers(machine: Machine, victim: Thread, mm: Mm, verdict: Verdict) -> bool:
    """Send SIGKILL to the other processes on the mm; return whether it may be reaped.

    Spared are global init and kernel threads and, until patch 5, those at -1000.
    """
    may_reap = True
    for sharer in sorted(mm.processes, key=lambda process: process.sequence):
        if sharer is victim.process:
            continue
        spared = is_spared(machine, sharer)
        if spared is None:
            _warn_of_minus_16(machine, victim, sharer)
            machine.send_sigkill(sharer)
            verdict.killed.append(sharer)
            continue
        may_reap = may_reap and not spared.keeps_reaper_away
        if spared.hides_mm:
            machine.hide(mm)
            machine.printk(
                Level.INFO,
                f"oom killer {victim.tid} ({victim.comm}) has mm pinned by "
                f"{sharer.pid} ({sharer.comm})",
            )
    return may_reap


@dataclass(frozen=True, slots=True)
class _Spared:
    keeps_reaper_away: bool
    hides_mm: bool = False


def is_spared(machine: Machine, sharer: Process) -> _Spared | None:
    """Return how a sharer is spared, or None when it is killed."""
    profile = machine.profile
    if sharer.is_kthread:
        return _Spared("noreap" in profile.sharer_kthread, "hide" in profile.sharer_kthread)
    if sharer.is_global_init:
        return _Spared(keeps_reaper_away=True, hides_mm=profile.sharer_init_hides_mm)
    if sharer.oom_score_adj == OOM_SCORE_ADJ_MIN and profile.sharer_minus1000 != "kill":
        return _Spared("noreap" in profile.sharer_minus1000)
    return None


def _warn_of_minus_16(machine: Machine, victim: Thread, sharer: Process) -> None:
    """Print the warning of the posted patch 5, which compared with the legacy minimum."""
    if machine.profile.warn_when_sharer_adj_minus16 and sharer.oom_score_adj == -16:
        machine.printk(
            Level.WARNING,
            f"{victim.comm} pid={victim.tid} shares mm with oom disabled {sharer.comm} "
            f"pid={sharer.pid}. Seems like misconfiguration, killing anyway! "
            "Report at linux-mm@kvack.org",
        )


def _kill_group(
    machine: Machine, request: OomRequest, victim: Process, message: str, verdict: Verdict
) -> None:
    """Kill all members of the highest memcg with memory.oom.group (since 4.19)."""
    group = oom_group_of(victim, request.memcg)
    if group is None:
        return
    if machine.profile.oom_group_kill_event:
        group.count("oom_group_kill")
    machine.printk(
        Level.INFO,
        f"Tasks in {group.path} are going to be killed due to memory.oom.group set",
    )
    for member in members_to_kill(group):
        _kill_victim(machine, member, message, verdict)


def members_to_kill(group: Memcg) -> list[Process]:
    """Return the members of the memcg, without those at -1000, init and kernel threads."""
    return [
        member
        for member in group.processes()
        if member.oom_score_adj != OOM_SCORE_ADJ_MIN
        and not (member.is_global_init or member.is_kthread)
    ]


def oom_group_of(victim: Process, oom_memcg: Memcg | None) -> Memcg | None:
    """Return the highest memcg with oom.group between the victim's and the OOMing one."""
    found: Memcg | None = None
    for group in victim.memcg.ancestors():
        if group.oom_group:
            found = group
        if group is oom_memcg:
            break
    return found


# -- Being a victim ----------------------------------------------------------------


def mark_victim(machine: Machine, thread: Thread) -> None:
    """Give a task access to the reserves, and thaw it, so that it can die (mark_oom_victim)."""
    if thread.memdie:
        return
    thread.memdie = True
    process = thread.process
    machine.marked.setdefault(process, machine.now_ns)
    # Which of the two is looked at is the generation's business; a change of kernel may come.
    process.oom_mm = process.oom_mm or thread.mm
    process.oom_victims += 1
    machine.holds.thaw(thread)


def unmark_victim(thread: Thread) -> None:
    """Take that back: the task has exited, or has been reaped (exit_oom_victim)."""
    if thread.memdie:
        thread.memdie = False
        thread.process.oom_victims = max(thread.process.oom_victims - 1, 0)
