# SPDX-License-Identifier: MIT
"""Why whom: the ranking of an OOM, who is out of the running, and who would die.

Nothing here changes anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fakeproc.kernel import oom
from fakeproc.kernel.badness import why_never
from fakeproc.kernel.numa import why_not_eligible
from fakeproc.kernel.oom import Decision, OomRequest, Outcome
from fakeproc.kernel.task import Process

if TYPE_CHECKING:
    from fakeproc.kernel.machine import Machine


@dataclass(frozen=True, slots=True)
class Candidate:
    """A process as the OOM killer sees it."""

    process: Process
    points: int | None
    """In pages; None: it must not be chosen."""
    why_not: str = ""
    """The rule that keeps it out of the running."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What an invocation would come to now."""

    outcome: Outcome
    chosen: Process | None
    victim: Process | None
    """Another than the chosen one where a child dies in its place (until 5.0)."""
    dying: list[Process] = field(default_factory=list)
    """Everybody who would be sent SIGKILL, the victim first."""
    awaited: Process | None = None
    """The earlier victim that is still dying, where the outcome is to wait for it."""
    ranking: list[Candidate] = field(default_factory=list)
    """Those who could be chosen, most points first."""
    excluded: list[Candidate] = field(default_factory=list)
    reason: str = ""
    """What decided, where that was not the ranking."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The verdict of an invocation, without the reasons; two are the same if all of it is."""

    outcome: Outcome
    chosen: Process | None
    victim: Process | None
    dying: tuple[Process, ...] = ()


def forecast(machine: Machine, request: OomRequest) -> Forecast:
    """Say what an OOM would come to; this changes nothing."""
    return _forecast(machine, request, oom.decide(machine, request))


def _forecast(machine: Machine, request: OomRequest, decision: Decision) -> Forecast:
    chosen = decision.thread.process if decision.thread else None
    if decision.outcome is Outcome.NOBODY and oom.is_deadly(request):
        return Forecast(Outcome.PANICKED, None, None)
    if decision.thread is None or chosen is None or decision.outcome is not Outcome.KILLED:
        return Forecast(decision.outcome, chosen, chosen)
    victim = chosen
    if machine.profile.child_sacrifice:
        victim = oom.sacrifice_child(machine, request, decision.thread)
    return Forecast(decision.outcome, chosen, victim, _dying_with(machine, request, victim))


def explain(machine: Machine, request: OomRequest) -> Explanation:
    """Rank the candidates of an OOM, and say what it would come to."""
    decision = oom.decide(machine, request)
    found = _forecast(machine, request, decision)
    chosen = found.chosen
    seen = [_candidate(machine, request, p) for p in oom.candidates(machine, request)]
    ranking = [candidate for candidate in seen if candidate.points is not None]
    ranking.sort(key=lambda candidate: (-(candidate.points or 0), candidate.process is not chosen))
    excluded = [candidate for candidate in seen if candidate.points is None]
    waiting = found.outcome is Outcome.WAITING
    return Explanation(
        found.outcome,
        chosen,
        found.victim,
        list(found.dying),
        oom.awaited_victim(machine, request) if waiting else None,
        ranking,
        excluded,
        _reason(request, decision),
    )


_REASONS = {
    Outcome.BYPASSED: "it is dying already",
    Outcome.PASSED: "the allocating task is dying already, and may go over the limit",
    Outcome.NOFS: "the allocation has no __GFP_FS: reclaim could not wait for file systems",
    Outcome.WAITING: "an earlier victim is still dying",
}


def _reason(request: OomRequest, decision: Decision) -> str:
    if decision.outcome is Outcome.KILLED and decision.points == oom.ORIGIN_POINTS:
        return "it is in swapoff, or unmerges KSM pages (oom_origin): taken before all others"
    if decision.outcome is Outcome.KILLED and decision.message != request.message:
        return "it asked for the memory (vm.oom_kill_allocating_task)"
    return _REASONS.get(decision.outcome, "")


def _candidate(machine: Machine, request: OomRequest, process: Process) -> Candidate:
    profile = machine.profile
    strange = why_not_eligible(profile, request, process)
    if process.oom_origin and strange is None:
        return Candidate(process, oom.ORIGIN_POINTS)
    points = oom.badness_in(machine, request, process)
    if points is not None:
        return Candidate(process, points)
    why = why_never(profile, process) or strange or "its memory belongs to another memcg"
    return Candidate(process, None, why)


def _dying_with(machine: Machine, request: OomRequest, victim: Process) -> tuple[Process, ...]:
    """Return the victim, those on its mm who are not spared, and the rest of its oom.group."""
    dying = dict.fromkeys([victim, *_unspared_sharers(machine, victim)])
    group = oom.oom_group_of(victim, request.memcg)
    if machine.profile.memory_oom_group and group is not None:
        for member in oom.members_to_kill(group):
            if member.mm is not None:
                dying |= dict.fromkeys([member, *_unspared_sharers(machine, member)])
    return tuple(dying)


def _unspared_sharers(machine: Machine, process: Process) -> list[Process]:
    sharers = process.mm.processes if process.mm else ()
    return [p for p in sharers if p is not process and oom.is_spared(machine, p) is None]
