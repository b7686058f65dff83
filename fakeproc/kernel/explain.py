# SPDX-License-Identifier: MIT
"""Why whom: the ranking of an OOM, who is out of the running, and who would die.

Nothing here changes anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fakeproc.kernel import oom
from fakeproc.kernel.badness import why_never
from fakeproc.kernel.oom import OomRequest, Outcome
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
    ranking: list[Candidate] = field(default_factory=list)
    """Those who could be chosen, most points first."""
    excluded: list[Candidate] = field(default_factory=list)


def explain(machine: Machine, request: OomRequest) -> Explanation:
    """Rank the candidates of an OOM, and say what it would come to."""
    decision = oom.decide(machine, request)
    chosen = decision.thread.process if decision.thread else None
    seen = [_candidate(machine, request, p) for p in oom.candidates(machine, request)]
    ranking = [candidate for candidate in seen if candidate.points is not None]
    ranking.sort(key=lambda candidate: (-(candidate.points or 0), candidate.process is not chosen))
    excluded = [candidate for candidate in seen if candidate.points is None]
    victim, dying = chosen, []
    if chosen is not None and decision.outcome is Outcome.KILLED:
        if machine.profile.child_sacrifice:
            victim = oom.sacrifice_child(machine, request, chosen)
        dying = _dying_with(machine, request, victim or chosen)
    return Explanation(decision.outcome, chosen, victim, dying, ranking, excluded)


def _candidate(machine: Machine, request: OomRequest, process: Process) -> Candidate:
    points = oom.badness_in(machine, request, process)
    if points is not None:
        return Candidate(process, points)
    why = why_never(machine.profile, process) or "its memory belongs to another memcg"
    return Candidate(process, None, why)


def _dying_with(machine: Machine, request: OomRequest, victim: Process) -> list[Process]:
    """Return the victim, those on its mm who are not spared, and the rest of its oom.group."""
    dying = dict.fromkeys([victim, *_unspared_sharers(machine, victim)])
    group = oom.oom_group_of(victim, request.memcg)
    if machine.profile.memory_oom_group and group is not None:
        for member in oom.members_to_kill(group):
            if member.mm is not None:
                dying |= dict.fromkeys([member, *_unspared_sharers(machine, member)])
    return list(dying)


def _unspared_sharers(machine: Machine, process: Process) -> list[Process]:
    sharers = process.mm.processes if process.mm else ()
    return [p for p in sharers if p is not process and oom.is_spared(machine, p) is None]
