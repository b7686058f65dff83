# SPDX-License-Identifier: MIT
"""Which kernel wrote a report: by its release, or else by the way it prints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from fakeproc.kernel.profile import OLDEST, AnyKernelConfig, KernelConfig, Version
from fakeproc.report.parse import Report, Style

# What a way of printing says about the release, the newest first (reference, section 7).
_BY_STYLE: tuple[tuple[frozenset[Style], Version], ...] = tuple(
    (frozenset(styles), version)
    for styles, version in (
        ((Style.UID_OF_CPU_LINE,), (6, 12)),
        ((Style.RSS_SPLIT,), (6, 8)),
        ((Style.SINCE_6_1, Style.KILLED_MESSAGE), (6, 1)),
        ((Style.SINCE_5_9, Style.KILLED_MESSAGE), (5, 10)),
        ((Style.PGTABLES, Style.SUMMARY, Style.SACRIFICE), (5, 0)),
        ((Style.KILLED_PGTABLES,), (5, 4)),
        ((Style.PGTABLES, Style.SUMMARY, Style.WIDE_PID), (5, 2)),
        # RHEL 8 prints a summary, but the narrow column.
        ((Style.PGTABLES, Style.SUMMARY), (4, 18)),
        ((Style.PGTABLES, Style.WIDE_PID, Style.SACRIFICE), (4, 19)),
        ((Style.PGTABLES, Style.SACRIFICE), (4, 15)),
        ((Style.PGTABLES,), (5, 4)),
        ((Style.SUMMARY,), (5, 4)),
        ((Style.KILLED_MESSAGE,), (5, 4)),
        ((Style.NODEMASK,), (4, 9)),
        ((Style.NR_PMDS, Style.GFP_NAMES), (4, 8)),
        ((Style.NR_PMDS, Style.KILLED_SHMEM), (4, 9)),
        ((Style.NR_PMDS,), (4, 4)),
        ((Style.NR_PTES,), (3, 16)),
        ((Style.OOM_ADJ,), (3, 2)),
    )
)
_ALSO_PRINTED_SO: Mapping[Version, tuple[Version, ...]] = {
    (3, 16): ((3, 12),),
    (4, 4): ((4, 2),),
    (4, 9): ((4, 7),),
    (4, 18): ((5, 3),),
    (5, 2): ((5, 3),),
    # RHEL 8 has the line of the kill of 5.4, but the rules of 4.18.
    (5, 4): ((5, 10), (4, 18)),
}
"""Releases of other rules that a way of printing may stand for as well."""

_NEWEST_KNOWN: Version = (6, 18)


@dataclass(frozen=True, slots=True)
class Rules:
    """The kernel by whose rules a report is judged."""

    config: KernelConfig
    source: str
    """From where that is known: the text, the way it is printed, or --kernel."""
    warning: str = ""
    alternatives: tuple[KernelConfig, ...] = ()
    """Others that print the same, where the text does not name the kernel."""

    @property
    def name(self) -> str:
        """The release, ``5.8``."""
        return self.config.base


def rules_of(report: Report) -> Rules:
    """Return the rules of the kernel that wrote the report."""
    version = _version(report.release)
    if version is not None:
        return _rules(report, version, f"the text ({report.release})")
    guessed = next((v for styles, v in _BY_STYLE if styles <= report.styles), (5, 4))
    others = (_rules(report, other, "").config for other in _ALSO_PRINTED_SO.get(guessed, ()))
    return replace(_rules(report, guessed, "the way it is printed"), alternatives=tuple(others))


def rules_named(name: str) -> Rules:
    """Return the rules of the kernel that an option names; EINVAL for what is none."""
    release = re.fullmatch(r"(\d{1,3}\.\d{1,3})\.\d[\w.+-]*", name)
    config = AnyKernelConfig(release[1] if release else name)
    return Rules(_for_reports(config), "--kernel")


def _version(release: str | None) -> Version | None:
    match = re.match(r"(\d{1,3})\.(\d{1,3})", release or "")
    return (int(match[1]), int(match[2])) if match else None


def _rules(report: Report, version: Version, source: str) -> Rules:
    config = _for_reports(AnyKernelConfig("{}.{}".format(*max(version, OLDEST))))
    release, warning = report.release or "", ""
    if "el7" in release or _prints_like_el7(report):
        # RHEL 7 has the discount of 3.14.
        config = config.with_switch("admin_discount_base", "own use")
    if config.profile.child_sacrifice and _kills_without_choice_line(report):
        # RHEL 8 has bbbe48029720, "mm, oom: remove 'prefer children over parent' heuristic".
        config = config.with_switch("child_sacrifice", "no")
    if version > _NEWEST_KNOWN:
        warning = f"{release} is newer than any kernel known here; the rules are those of 6.18"
    if Style.NO_SCORE_ADJ in report.styles:
        warning = (
            "until 2.6.35 the points came from the address space and the time that a task ran, "
            "which the table does not hold; the rules are those of 2.6.36"
        )
    return Rules(config, source, warning)


def _for_reports(config: KernelConfig) -> KernelConfig:
    """The table holds the sizes as the choice has read them: nothing more is to be rounded."""
    return config.with_switch("rss_in_batches", "no")


def _prints_like_el7(report: Report) -> bool:
    """The line of the kill is that of 4.5, the table that of 3.10."""
    styles = report.styles
    old_table = Style.NR_PTES in styles and Style.NR_PMDS not in styles
    return report.release is None and old_table and Style.KILLED_SHMEM in styles


def _kills_without_choice_line(report: Report) -> bool:
    killed = report.killed is not None and Style.KILLED_MESSAGE in report.styles
    return killed and Style.SACRIFICE not in report.styles
