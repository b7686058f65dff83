# SPDX-License-Identifier: MIT
"""What if: the options that change a report, or the rules by which it is judged."""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from fakeproc.kernel.badness import OOM_SCORE_ADJ_MAX, OOM_SCORE_ADJ_MIN
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.task import PAGE_KIB
from fakeproc.report.generation import Rules, rules_named, rules_of
from fakeproc.report.judgement import Judgement
from fakeproc.report.parse import Report, Scope
from fakeproc.report.total import total_of, with_sizes
from fakeproc.report.verdict import judge, judge_changed
from fakeproc.units import parse_pages

_KERNEL = "--kernel"


@dataclass(frozen=True, slots=True)
class ScoreChange:
    """``--set NAME=VALUE`` or ``PID=VALUE``: another oom_score_adj."""

    task: str
    value: int

    def pids_in(self, report: Report) -> list[int]:
        """Return whom it means, by the pids of the groups: one pid, or all of that name."""
        if self.task.isdigit():
            pids = [row.tgid for row in report.rows if int(self.task) in (row.tgid, row.tid)]
            if pids:
                return pids
        return [row.tgid for row in report.rows if row.comm == self.task]


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The options of one command; sizes in kB."""

    changes: tuple[ScoreChange, ...] = ()
    ram_kb: int | None = None
    swap_kb: int | None = None
    limit_kb: int | None = None
    kernel: Rules | None = None
    words: tuple[str, ...] = ()
    """The options as they were typed."""

    @property
    def is_empty(self) -> bool:
        """Say whether nothing is to be changed."""
        return not self.words


def what_if(
    changes: Sequence[str],
    *,
    ram: str | None,
    swap: str | None,
    limit: str | None,
    kernel: str | None,
) -> WhatIf:
    """Read the options; `Refused` (EINVAL) for a value that cannot be."""
    sizes = {"--ram": ram, "--swap": swap, "--limit": limit}
    words = [f"--set {text}" for text in changes]
    words += [f"{name} {text}" for name, text in sizes.items() if text is not None]
    words += [f"{_KERNEL} {kernel}"] if kernel is not None else []
    return WhatIf(
        changes=tuple(map(_change, changes)),
        ram_kb=_kb("--ram", ram),
        swap_kb=_kb("--swap", swap),
        limit_kb=_kb("--limit", limit),
        kernel=rules_named(kernel) if kernel is not None else None,
        words=tuple(words),
    )


def _change(text: str) -> ScoreChange:
    task, equals, value = text.rpartition("=")
    if not equals or not task or re.fullmatch(r"[+-]?\d{1,9}", value) is None:
        raise Refused(
            errno.EINVAL,
            f"--set {text}: accepted is NAME=VALUE or PID=VALUE, postgres=-900 for example.",
        )
    if not OOM_SCORE_ADJ_MIN <= int(value) <= OOM_SCORE_ADJ_MAX:
        raise Refused(
            errno.EINVAL,
            f"--set {text}: oom_score_adj {value}: accepted are {OOM_SCORE_ADJ_MIN} to "
            f"{OOM_SCORE_ADJ_MAX}.",
        )
    return ScoreChange(task, int(value))


def _kb(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_pages(text) * PAGE_KIB
    except Refused as refused:
        raise Refused(refused.error, f"{name} {refused.why}") from None


def require_use(options: WhatIf, reports: Sequence[Report]) -> None:
    """Refuse (EINVAL) an option that changes none of the reports."""
    for change in options.changes:
        if not any(change.pids_in(report) for report in reports):
            raise _no_such_task(change, reports)
    about_memcg = [report.scope is Scope.MEMCG for report in reports]
    if options.limit_kb is not None and not any(about_memcg):
        raise Refused(
            errno.EINVAL,
            "--limit: the whole machine was out of memory, no cgroup; accepted are --ram and "
            "--swap.",
        )
    if options.ram_kb is not None and all(about_memcg):
        raise Refused(
            errno.EINVAL,
            "--ram: a cgroup was out of memory, whatever the machine has; accepted are --limit "
            "and --swap.",
        )


def _no_such_task(change: ScoreChange, reports: Sequence[Report]) -> Refused:
    names = list(dict.fromkeys(row.comm for report in reports for row in report.rows if row.comm))
    near = get_close_matches(change.task, names, n=1)
    hint = f" (nearest: {near[0]})" if near else ""
    what = "pid" if change.task.isdigit() else "task"
    return Refused(
        errno.EINVAL,
        f"--set {change.task}={change.value}: the report has no {what} {change.task}{hint}; "
        "accepted is a name or a pid of its table.",
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """What there is to say about one report."""

    number: int
    """Its place in the log, from 1."""
    as_logged: Judgement
    changed: Judgement | None = None
    """With the options; None: there are none."""
    options: WhatIf = WhatIf()

    @property
    def judgement(self) -> Judgement:
        """The one that was asked for."""
        return self.changed or self.as_logged


def answer(number: int, report: Report, options: WhatIf) -> Answer:
    """Judge a report as it is, and as the options change it."""
    rules = rules_of(report)
    if options.kernel is not None and report.release is None:
        # The text does not name its kernel: the option does, and changes nothing.
        rules = options.kernel
        words = tuple(word for word in options.words if not word.startswith(_KERNEL))
        options = replace(options, kernel=None, words=words)
    base = judge(report, rules)
    if options.is_empty:
        return Answer(number, base)
    return Answer(number, base, _changed(base, report, options), options)


def _changed(base: Judgement, report: Report, options: WhatIf) -> Judgement:
    scores = {pid: c.value for c in options.changes for pid in c.pids_in(report)}
    given = replace(base.given, scores=scores, hidden=base.given.hidden | base.presumed_hidden)
    memcg = report.scope is Scope.MEMCG
    sizes = {
        "ram_kb": None if memcg else options.ram_kb,
        "swap_kb": options.swap_kb,
        "limit_kb": options.limit_kb if memcg else None,
    }
    if any(size is not None for size in sizes.values()):
        report = with_sizes(report, **sizes)
        total = total_of(report)
        given = replace(given, total=total)
    rules = options.kernel or base.rules
    if options.kernel is not None:
        given = replace(given, config=rules.config)
    return judge_changed(base, report, rules, given)
