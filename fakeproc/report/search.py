# SPDX-License-Identifier: MIT
"""What a report leaves open, and under which circumstances the log is borne out.

The swap of the system, the capabilities of root, whose memory was gone already: what is likely is
tried out, and the kernel's own rules say whom they would choose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from fakeproc.kernel.badness import logged_score
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.oom import OomRequest, badness_in, decide
from fakeproc.kernel.profile import KernelConfig
from fakeproc.report.generation import Rules
from fakeproc.report.parse import Report
from fakeproc.report.rebuild import BOOT_PIDS, Circumstances, is_swapoff, machine_of
from fakeproc.report.total import MOST_PAGES, Total


@dataclass(frozen=True, slots=True)
class _Trial:
    given: Circumstances
    chosen: int | None
    """The pid of the chosen one's group."""
    score: int | None
    """Its score as the log prints it."""


def search(report: Report, rules: Rules, total: Total) -> Circumstances:
    """Return the first circumstances that the log bears out best."""
    row = report.row_of(report.chosen)
    first: _Trial | None = None
    without_score: _Trial | None = None
    for trial in _trials(report, rules, total):
        first = first or trial
        if row is None and not report.nobody:
            break
        if row is None and trial.chosen is None:
            return trial.given
        if row is not None and trial.chosen == row.tgid:
            if report.score is None or trial.score == report.score or is_swapoff(row):
                return trial.given
            without_score = without_score or trial
    assert first is not None
    return (without_score or first).given


def _trials(report: Report, rules: Rules, total: Total) -> Iterator[_Trial]:
    """Try what is likely first: the report as it is, then those whom the log has seen die."""
    profile = rules.config.profile
    plain, seen = _Setting(), _Setting(hidden=_seen_dying(report))
    if profile.hidden_mm_flag == "none":
        seen = plain
    settings = dict.fromkeys([plain, seen])
    for setting in settings:
        yield from _with_totals(report, rules.config, total, setting, _likely_totals)
    if profile.vfork_exempt != "none" and (twins := _twins(report)):
        setting = _Setting(vforked=twins)
        yield from _with_totals(report, rules.config, total, setting, _likely_totals)
    for config in rules.alternatives:
        yield from _with_totals(report, config, total, plain, _likely_totals)
    if not total.is_known:
        for setting in settings:
            yield from _with_totals(report, rules.config, total, setting, _other_totals)


@dataclass(frozen=True, slots=True)
class _Setting:
    """Whose memory is gone, or somebody else's."""

    hidden: frozenset[int] = frozenset()
    vforked: tuple[tuple[int, int], ...] = ()


def _twins(report: Report) -> tuple[tuple[int, int], ...]:
    """Return those who have exactly the memory of one before them, and those: children in vfork.

    Nothing else in a table tells who borrows an mm until it execs, and is exempt (since 4.8).
    """
    twins: dict[int, int] = {}
    first: dict[tuple[int, ...], int] = {}
    for row in report.rows:
        memory = (row.total_vm_pages, row.rss_pages, row.swap_entries, row.pgtables_bytes)
        parent = first.setdefault((*memory, row.pte_pages, row.uid, row.oom_score_adj), row.tgid)
        if parent != row.tgid and parent not in twins.values():
            twins[row.tgid] = parent
    return tuple(pair for pair in twins.items() if BOOT_PIDS.isdisjoint(pair))


def _seen_dying(report: Report) -> frozenset[int]:
    """Return those of the table who were killed or reaped before, but for the logged one."""
    row = report.row_of(report.chosen)
    return frozenset(
        other.tgid
        for other in report.rows
        if other is not row
        and ({(other.tid, other.comm), (other.tgid, other.comm)} & report.earlier_victims)
    )


_Totals = Callable[[Report, Machine, OomRequest, Total], list[int]]


def _with_totals(
    report: Report, config: KernelConfig, total: Total, setting: _Setting, totals: _Totals
) -> Iterator[_Trial]:
    for unprivileged in _unprivileged(report, config):
        given = Circumstances(config, total, unprivileged, setting.hidden, dict(setting.vforked))
        machine, request = machine_of(report, given)
        for pages in totals(report, machine, request, total):
            decision = decide(machine, replace(request, totalpages=pages))
            process = decision.thread.process if decision.thread else None
            yield _Trial(
                replace(given, total=total.at(pages)),
                process.pid if process else None,
                logged_score(machine.profile, decision.points, pages) if process else None,
            )


def _unprivileged(report: Report, config: KernelConfig) -> Iterator[frozenset[int]]:
    """Return which of root's tasks may lack the capability that brings a discount (until 4.16)."""
    yield frozenset()
    root = frozenset(row.tgid for row in report.rows if row.uid == 0)
    if not config.profile.admin_discount_3pct or not root:
        return
    yield root
    row = report.row_of(report.chosen)
    if row is not None and row.uid == 0:
        yield frozenset({row.tgid})


def _likely_totals(
    report: Report, machine: Machine, request: OomRequest, total: Total
) -> list[int]:
    """Return what the report says, and what the logged score says."""
    if total.is_known:
        return [total.pages]
    return list(dict.fromkeys([*_totals_by_score(report, machine, request, total), total.pages]))


def _other_totals(report: Report, machine: Machine, request: OomRequest, total: Total) -> list[int]:
    """Return sizes from the lowest to the highest possible, each a good third more."""
    totals, more = [total.lowest], 256
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
