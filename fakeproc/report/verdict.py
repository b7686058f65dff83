# SPDX-License-Identifier: MIT
"""Whom the kernel would have chosen by a report, whether the log agrees, and why.

What the report leaves open is taken as `search` finds it.
"""

from __future__ import annotations

from dataclasses import replace

from fakeproc.kernel.explain import explain
from fakeproc.kernel.oom import decide
from fakeproc.kernel.task import Process
from fakeproc.report.generation import Rules
from fakeproc.report.judgement import Judgement
from fakeproc.report.parse import Report
from fakeproc.report.reason import reason_for, reason_of_change, warnings_of
from fakeproc.report.rebuild import Circumstances, machine_of
from fakeproc.report.search import search
from fakeproc.report.total import total_of


def judge(report: Report, rules: Rules) -> Judgement:
    """Say whom these rules would choose by the report as it is."""
    total = total_of(report)
    given = search(report, rules, total)
    if given.config.base != rules.name:
        rules = replace(rules, config=given.config, source=f"{rules.source} and the logged choice")
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
