# SPDX-License-Identifier: MIT
"""Why whom, in one or two sentences; and what to know before one believes it."""

from __future__ import annotations

from collections.abc import Collection

from fakeproc.kernel.badness import counted_pages
from fakeproc.kernel.explain import Candidate
from fakeproc.kernel.oom import Outcome
from fakeproc.kernel.profile import Profile
from fakeproc.kernel.task import Process
from fakeproc.report.generation import Rules
from fakeproc.report.judgement import Judgement
from fakeproc.report.parse import Report, Scope
from fakeproc.report.rebuild import BOOT_PIDS, Circumstances, is_child_sacrifice
from fakeproc.report.total import Total

_NEAR = 0.03
"""Points that differ by less may have been the other way round when the choice was made."""


def reason_for(judgement: Judgement, presumed: Collection[int], total: Total) -> str:
    """Say why the logged one was chosen, or why the report does not bear that out."""
    report = judgement.report
    if not report.rows:
        return (
            "The log holds no row of the table of tasks (it was cut off, rate-limited, or "
            "vm.oom_dump_tasks is 0), so that nothing can be said about the choice."
        )
    if report.nobody:
        return _why_nobody(judgement, presumed)
    predicted = judgement.predicted
    if report.panic and report.chosen is None:
        return f"The machine panicked ({report.panic}); without that: {_why_chosen(judgement)}"
    if predicted is None:
        return "No task of the table may be killed." + _logged_anyhow(judgement)
    if report.chosen is None:
        return f"The log does not say who was chosen. {_why_chosen(judgement)}"
    if judgement.agrees:
        notes = [_why_chosen(judgement), _why_killed(judgement), *_assumed(judgement, total)]
        return " ".join(filter(None, notes))
    return _why_not(judgement, presumed)


def reason_of_change(judgement: Judgement) -> str:
    """Say why somebody would be chosen under other circumstances than the logged ones."""
    if judgement.predicted is None:
        return "No task of the table could be killed."
    row = judgement.report.row_of(judgement.logged)
    logged = judgement.candidate(row.tgid) if row is not None else None
    notes = [_why_chosen(judgement)]
    if logged is not None and logged.process is not judgement.predicted:
        has = _points(judgement.machine.profile, logged.points) if logged.points else "no points"
        why = f" ({logged.why_not})" if logged.why_not else ""
        notes.append(f"{spell(logged.process)} would have had {has}{why}.")
    if judgement.machine.profile.child_sacrifice:
        notes.append(
            "Until 5.0 a child of the chosen one may die in its place; a report does not say "
            "whose child a task is."
        )
    return " ".join(notes)


def _why_nobody(judgement: Judgement, presumed: Collection[int]) -> str:
    if judgement.predicted is None:
        return "Nobody could be killed: every task of the table is out of the running."
    names = _spell_all(judgement, presumed)
    if not presumed:
        return (
            f"The log says that nobody could be killed, but {spell(judgement.predicted)} is in "
            "the table and could be; the report does not say why it was not."
        )
    return (
        "The log says that nobody could be killed: whatever is not at -1000 must have been a "
        f"victim of earlier OOMs, its memory reaped and hidden already ({names})."
    )


def _logged_anyhow(judgement: Judgement) -> str:
    if judgement.logged is None:
        return ""
    return f" The log names {judgement.logged.comm} ({judgement.logged.pid}) nevertheless."


# -- Why the predicted one ---------------------------------------------------------


def _why_chosen(judgement: Judgement) -> str:
    predicted, profile = judgement.predicted, judgement.machine.profile
    if predicted is None:
        return "no task of the table may be killed."
    name = spell(predicted)
    if judgement.explanation.outcome is not Outcome.KILLED:
        return f"{name} is dying already."
    if judgement.report.kills_allocating:
        return f"{name} asked for the memory, and vm.oom_kill_allocating_task is set."
    if predicted.oom_origin:
        return (
            f"{name} is in swapoff(2): swapoff is an OOM origin and taken before all others, "
            "whatever its size."
        )
    ranking = judgement.explanation.ranking
    first = judgement.candidate(predicted.pid)
    if first is None or first.points is None:
        return f"{name} was chosen."
    ties = [c for c in ranking if c.points == first.points]
    if len(ties) > 1:
        return _why_of_equals(judgement, first, len(ties))
    why = f"{name} had the most points: {_breakdown(judgement, first)}"
    behind = [c for c in ranking if c is not first]
    if not behind:
        return f"{why}; nobody else could be chosen."
    return f"{why}; the next, {spell(behind[0].process)}, had {_points(profile, behind[0].points)}."


def _why_of_equals(judgement: Judgement, first: Candidate, count: int) -> str:
    profile, memcg = judgement.machine.profile, judgement.report.scope is Scope.MEMCG
    if first.points == 1:
        what = f"{count} tasks come to 1 point or less and are clamped to 1, the least"
    elif first.points == 1000 and profile.points_per_mille:
        what = (
            f"{count} tasks come to 1000 thousandths of the memory or more and are capped at that"
        )
    else:
        what = f"{count} tasks have {_points(profile, first.points)} each"
    wins = profile.tie_memcg if memcg else profile.tie_global
    order = "in the order of creation"
    if memcg and profile.memcg_walk == "newest first":
        order = "of the cgroup, walked from the newest on,"
    elif memcg and profile.memcg_walk == "as attached":
        order = "in the order in which they joined the cgroup"
    return f"{spell(first.process)} won a tie: {what}, and of equals the {wins} one {order} wins."


def _breakdown(judgement: Judgement, candidate: Candidate) -> str:
    """Write points as what they are made of."""
    machine, process = judgement.machine, candidate.process
    assert process.mm is not None
    assert candidate.points is not None
    if machine.profile.points_per_mille:
        return (
            f"{candidate.points} thousandths of the memory, its oom_score_adj of "
            f"{process.oom_score_adj} with it"
        )
    counted = counted_pages(machine.profile, process.mm.sizes, machine.hardware.cpus)
    if candidate.points == 1 and counted != 1:
        return (
            f"1, the least, which {counted} pages of memory come to with oom_score_adj "
            f"{process.oom_score_adj}"
        )
    rest = candidate.points - counted
    if not process.oom_score_adj and rest:
        return f"{candidate.points}: {counted} pages of memory less {-rest}, the discount of root"
    if not process.oom_score_adj:
        return f"{counted} pages of memory + 0 for oom_score_adj 0"
    sign = "+" if rest >= 0 else "-"
    return (
        f"{candidate.points}: {counted} pages of memory {sign} {abs(rest)} for oom_score_adj "
        f"{process.oom_score_adj}"
    )


def _points(profile: Profile, points: int | None) -> str:
    unit = "thousandths" if profile.points_per_mille else "points"
    return f"{points} point" if points == 1 else f"{points} {unit}"


def _why_killed(judgement: Judgement) -> str:
    """Say why another one died than the chosen one."""
    report = judgement.report
    chosen, killed = report.row_of(report.chosen), report.killed
    if killed is None or chosen is None:
        return ""
    if is_child_sacrifice(report):
        return (
            f"{killed.comm} ({killed.pid}) died in place of its parent {chosen.comm} "
            f"({chosen.tgid}), which was chosen: until 5.0 a child with memory of its own is "
            "sacrificed."
        )
    if killed.pid not in (chosen.tgid, report.chosen.pid if report.chosen else 0):
        return f"{killed.comm} ({killed.pid}) is a thread of the same group."
    return ""


def _assumed(judgement: Judgement, total: Total) -> list[str]:
    """Say what had to be assumed for the log to be borne out."""
    report, given = judgement.report, judgement.given
    notes = []
    if given.hidden:
        notes.append(
            f"{_spell_all(judgement, given.hidden)}: victims of earlier OOMs in this log; their "
            "memory is hidden."
        )
    twins = [pid for pid, parent in given.vforked.items() if _is_chosen(judgement, parent)]
    if twins:
        notes.append(
            f"{_spell_all(judgement, twins)}, with exactly the same memory, must be a child in "
            "vfork, which borrows it until it execs and is exempt (since 4.8)."
        )
    unprivileged = [pid for pid in given.unprivileged if _is_chosen(judgement, pid)]
    if judgement.machine.profile.admin_discount_3pct and unprivileged:
        notes.append(
            "It runs as root but must lack CAP_SYS_ADMIN, as in a container: it has no discount."
        )
    if given.total.pages == total.pages and total.lowest == 1 and _matters(report):
        notes.append(f"That hangs on the total: {total.warning}.")
    if given.total.pages != total.pages:
        by = "by the logged score" if report.score is not None else "for the log to be right"
        notes.append(
            f"The total is not in the report; it was about {given.total.pages} pages, {by}."
        )
    return notes


def _is_chosen(judgement: Judgement, pid: int) -> bool:
    return judgement.predicted is not None and judgement.predicted.pid == pid


# -- Why the log says otherwise ----------------------------------------------------


def _why_not(judgement: Judgement, presumed: Collection[int]) -> str:
    report, logged, predicted = judgement.report, judgement.logged, judgement.predicted
    assert logged is not None
    assert predicted is not None
    name = f"{logged.comm} ({logged.pid})"
    row = report.row_of(logged)
    if row is None:
        return (
            f"{name} was chosen but is not in the table: its row is missing. Of the rows that "
            f"there are: {_why_chosen(judgement)}"
        )
    if row.tgid in BOOT_PIDS:
        return f"{name} was chosen, but no kernel kills that pid; the log must be another's."
    candidate = judgement.candidate(row.tgid)
    if candidate is None or candidate.points is None:
        why = candidate.why_not if candidate else "it is not known"
        return (
            f"{name} was chosen, but by the table it must not be: {why}. The row must have "
            f"changed after the choice. {_why_chosen(judgement)}"
        )
    first = judgement.candidate(predicted.pid)
    most = (first.points if first else None) or 0
    gap = most - candidate.points
    lead = (
        f"By the table {spell(predicted)} has the most points, {most}; {name}, which was "
        f"chosen, has {candidate.points}"
    )
    if 0 < gap <= _NEAR * max(abs(most), 1):
        return (
            f"{lead}. They are near: sizes change between the choice and the table, which is "
            "printed after it."
        )
    if gap == 0:
        return f"{lead}: a tie. {_why_of_equals(judgement, candidate, 2)}"
    if presumed:
        return (
            f"{lead}. {_spell_all(judgement, presumed)}: most likely victims of earlier OOMs, "
            "whose memory is reaped and hidden already, though the table still lists them; of the "
            f"others {name} has the most points."
        )
    return (
        f"{lead}. The report does not bear out the choice by the rules of {judgement.rules.name}; "
        "the rows may have changed after it, or the kernel is not quite that one."
    )


# -- Warnings ----------------------------------------------------------------------


def warnings_of(
    report: Report, rules: Rules, total: Total, given: Circumstances
) -> tuple[str, ...]:
    """Say what is missing from the log, and what is assumed in its place."""
    warnings = [f"missing from the log: {part}" for part in report.missing]
    if not report.complete:
        warnings.append("rows of the table are or may be missing: the ranking may be wrong")
    if rules.warning:
        warnings.append(rules.warning)
    if total.warning and _matters(report):
        by_score = given.total.pages != total.pages
        warnings.append(
            f"{total.warning.partition(';')[0]}; taken are {given.total.pages} pages, which the "
            "logged choice bears out" if by_score else total.warning
        )  # fmt: skip
    if report.memory.page_kb != 4:
        warnings.append(f"a page has {report.memory.page_kb} kB there; sizes are given so")
    skipped = [row for row in report.rows if row.tgid in BOOT_PIDS]
    if skipped:
        names = ", ".join(f"{row.comm} ({row.tgid})" for row in skipped)
        warnings.append(f"left out: {names}; the kernel does not list these pids")
    return tuple(warnings)


def _matters(report: Report) -> bool:
    """Say whether the total decides anything: it weighs oom_score_adj."""
    weighed = any(row.oom_score_adj not in (0, -1000) for row in report.rows)
    return weighed or report.score is not None


# -- Names -------------------------------------------------------------------------


def spell(process: Process) -> str:
    """Write a task as it is spoken of."""
    return f"{process.comm} ({process.pid})"


def _spell_all(judgement: Judgement, pids: Collection[int]) -> str:
    names = [spell(judgement.machine.processes[pid]) for pid in sorted(pids)]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
