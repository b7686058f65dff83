# SPDX-License-Identifier: MIT
"""Whom the kernel would have chosen by a report, whether the log agrees, and why.

What a report leaves open (the swap of the system, the capabilities of root, whose memory was gone
already) is tried out: the first circumstances under which the simulated kernel chooses the logged
one, with the logged score if there is one, are those that are assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from fakeproc.kernel.badness import logged_score
from fakeproc.kernel.explain import explain
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.oom import OomRequest, badness_in, decide
from fakeproc.kernel.profile import KernelConfig
from fakeproc.kernel.task import Process
from fakeproc.report.generation import Rules
from fakeproc.report.judgement import Judgement
from fakeproc.report.parse import Report
from fakeproc.report.reason import reason_for, reason_of_change, warnings_of
from fakeproc.report.rebuild import BOOT_PIDS, Circumstances, is_swapoff, machine_of
from fakeproc.report.total import MOST_PAGES, Total, total_of


def judge(report: Report, rules: Rules) -> Judgement:
    """Say whom these rules would choose by the report as it is."""
    total = total_of(report)
    trial = _search(report, rules, total)
    given = trial.given
    judgement = _judged(report, rules, given)
    presumed = frozenset[int]()
    if judgement.agrees is False and rules.config.profile.hidden_mm_flag != "none":
        presumed = _presumed_victims(judgement)
    reason = reason_for(judgement, presumed, total)
    warnings = warnings_of(report, rules, total, given)
    return replace(judgement, reason=reason, warnings=warnings, presumed_hidden=presumed)


def judge_changed(base: Judgement, report: Report, rules: Rules, given: Circumstances) -> Judgement:
    """Say whom they would choose under other circumstances, those of ``base`` but for options."""
    judgement = _judged(report, rules, given)
    return replace(judgement, reason=reason_of_change(judgement), warnings=base.warnings)


def _judged(report: Report, rules: Rules, given: Circumstances) -> Judgement:
    machine, request = machine_of(report, given)
    found = explain(machine, request)
    return Judgement(
        report, rules, given, machine, request, found, _agrees(report, found.chosen), reason=""
    )


def _agrees(report: Report, chosen: Process | None) -> bool | None:
    if not report.rows or report.panic and report.chosen is None and not report.nobody:
        return None
    if report.nobody:
        return chosen is None
    row = report.row_of(report.chosen)
    if report.chosen is None:
        return None
    return chosen is not None and row is not None and chosen.pid == row.tgid


# -- What the report leaves open ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Trial:
    given: Circumstances
    chosen: int | None
    """The pid of the chosen one's group."""
    score: int | None
    """Its score as the log prints it."""


def _search(report: Report, rules: Rules, total: Total) -> _Trial:
    """Return the first trial that the log bears out best."""
    row = report.row_of(report.chosen)
    first: _Trial | None = None
    without_score: _Trial | None = None
    for trial in _trials(report, rules, total):
        first = first or trial
        if row is None:
            break
        if trial.chosen == row.tgid:
            if report.score is None or trial.score == report.score or is_swapoff(row):
                return trial
            without_score = without_score or trial
    assert first is not None
    return without_score or first


def _trials(report: Report, rules: Rules, total: Total) -> Iterator[_Trial]:
    """Try what is likely first: nobody hidden, then those whom the log has seen die."""
    seen = (
        _seen_dying(report) if rules.config.profile.hidden_mm_flag != "none" else frozenset[int]()
    )
    hidden_sets = [frozenset[int](), seen] if seen else [frozenset[int]()]
    for hidden in hidden_sets:
        yield from _with_totals(report, rules, total, hidden, _likely_totals)
    if twins := _twins(report, rules):
        nobody = frozenset[int]()
        yield from _with_totals(report, rules, total, nobody, _likely_totals, twins)
    if not total.is_known:
        for hidden in hidden_sets:
            yield from _with_totals(report, rules, total, hidden, _other_totals)


def _twins(report: Report, rules: Rules) -> dict[int, int]:
    """Return those who have exactly the memory of one before them: its children in vfork.

    Nothing else in a table tells who borrows an mm until it execs, and is exempt (since 4.8).
    """
    if rules.config.profile.vfork_exempt == "none":
        return {}
    twins: dict[int, int] = {}
    first: dict[tuple[int, ...], int] = {}
    for row in report.rows:
        memory = (row.total_vm_pages, row.rss_pages, row.swap_entries, row.pgtables_bytes)
        parent = first.setdefault((*memory, row.pte_pages, row.uid, row.oom_score_adj), row.tgid)
        if parent != row.tgid and parent not in twins.values() and BOOT_PIDS.isdisjoint(
            (parent, row.tgid)
        ):  # fmt: skip
            twins[row.tgid] = parent
    return twins


def _seen_dying(report: Report) -> frozenset[int]:
    """Return those of the table who were killed or reaped before, but for the logged one."""
    row = report.row_of(report.chosen)
    return frozenset(
        other.tgid
        for other in report.rows
        if other is not row
        and ({(other.tid, other.comm), (other.tgid, other.comm)} & report.earlier_victims)
    )


NO_TWINS: Mapping[int, int] = {}
_Totals = Callable[[Report, Machine, OomRequest, Total], list[int]]


def _with_totals(
    report: Report,
    rules: Rules,
    total: Total,
    hidden: frozenset[int],
    totals: _Totals,
    vforked: Mapping[int, int] = NO_TWINS,
) -> Iterator[_Trial]:
    for config, root_is_admin in _readings(report, rules):
        given = Circumstances(config, total, root_is_admin, hidden, vforked)
        machine, request = machine_of(report, given)
        for pages in totals(report, machine, request, total):
            asked = replace(request, totalpages=pages)
            decision = decide(machine, asked)
            process = decision.thread.process if decision.thread else None
            score = logged_score(machine.profile, decision.points, pages) if process else None
            yield _Trial(
                replace(given, total=total.at(pages)), process.pid if process else None, score
            )


def _readings(report: Report, rules: Rules) -> Iterator[tuple[KernelConfig, bool]]:
    """Return what the discount of root may be: who has it is not printed, since when is guessed."""
    profile = rules.config.profile
    yield rules.config, True
    if not profile.admin_discount_3pct or all(row.uid for row in report.rows):
        return
    yield rules.config, False
    if not rules.source.startswith("the text") and (3, 5) <= profile.version < (4, 0):
        yield rules.config.with_switch("admin_discount_base", "all memory"), True


def _likely_totals(
    report: Report, machine: Machine, request: OomRequest, total: Total
) -> list[int]:
    """Return what the report says, and what the logged score says."""
    if total.is_known:
        return [total.pages]
    return list(dict.fromkeys([*_totals_by_score(report, machine, request, total), total.pages]))


def _other_totals(report: Report, machine: Machine, request: OomRequest, total: Total) -> list[int]:
    """Return sizes from the lowest to the highest possible, each a good third more."""
    totals, more = [], 256
    while total.lowest + more < total.highest:
        totals.append(total.lowest + more)
        more += more // 3
    return [*totals, total.highest] if total.highest < MOST_PAGES else totals


def _totals_by_score(
    report: Report, machine: Machine, request: OomRequest, total: Total
) -> list[int]:
    """Return the totals by which the logged one has the logged score: largest, smallest, middle.

    The score falls while the total grows.
    """
    row = report.row_of(report.chosen)
    process = machine.processes.get(row.tgid) if row is not None else None
    if process is None or report.score is None or is_swapoff(row or report.rows[0]):
        return []

    def score_at(pages: int) -> int:
        points = badness_in(machine, replace(request, totalpages=pages), process)
        return logged_score(machine.profile, points or 0, pages)

    wanted = report.score
    smallest = _first(total.lowest, total.highest, lambda pages: score_at(pages) <= wanted)
    if score_at(smallest) != wanted:
        return []
    largest = _first(smallest, total.highest, lambda pages: score_at(pages) < wanted)
    if score_at(largest) != wanted:
        largest -= 1
    if smallest <= total.pages <= largest:
        return [total.pages, largest, smallest] if largest < MOST_PAGES else [total.pages, smallest]
    return [largest, smallest, (largest + smallest) // 2]


def _first(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """Return the first number for which it holds, or ``high``."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _presumed_victims(judgement: Judgement) -> frozenset[int]:
    """Return who must have been out of sight for the log to be right; nobody if that is not it."""
    report, given = judgement.report, judgement.given
    if report.nobody:
        return frozenset(c.process.pid for c in judgement.explanation.ranking)
    row = report.row_of(report.chosen)
    logged = judgement.candidate(row.tgid) if row is not None else None
    if logged is None or logged.points is None:
        return frozenset()
    others = [c for c in judgement.explanation.ranking if c is not logged]
    for least in (logged.points + 1, logged.points):
        bigger = frozenset(c.process.pid for c in others if (c.points or 0) >= least)
        trial = replace(given, hidden=given.hidden | bigger)
        if _chosen_under(report, trial) == logged.process.pid:
            return bigger
    return frozenset()


def _chosen_under(report: Report, given: Circumstances) -> int | None:
    decision = decide(*machine_of(report, given))
    return decision.thread.process.pid if decision.thread else None
