# SPDX-License-Identifier: MIT
"""A `Report` for people: two dozen lines of plain ASCII."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from textwrap import fill

from fakeproc.sandbox.report import Cause, KernelKill, Kill, Report, Sample, Sender, Why
from fakeproc.units import align

_WIDTH = 92
_MOST_KILLS = 4
_MOST_KERNEL_KILLS = 2
_MOST_NAMES = 3
_MOST_ROWS = 12
_BAR = 20
_NO_BREAK = "\N{NO-BREAK SPACE}"
"""Between a number and its unit, until the lines are broken."""

_EVENLY = (1 / 2, 1 / 4, 3 / 4, 1 / 8, 3 / 8, 5 / 8, 7 / 8, 1 / 16, 5 / 16, 9 / 16, 13 / 16)
"""Parts of a run, those first that say most about it."""


def summary(report: Report) -> str:
    """Return what happened, in lines that end with a newline each."""
    paragraphs = [*_kernel_kills(report), *_kills(report), _extremes(report)]
    if report.panic:
        paragraphs.append(f"The machine has panicked: {_ascii(report.panic)}.")
    text = "".join(_paragraph(text) for text in paragraphs) + _table(report)
    return text.replace(_NO_BREAK, " ")


def _paragraph(text: str) -> str:
    return fill(text, _WIDTH, subsequent_indent="  ", break_on_hyphens=False) + "\n"


# -- Kills -------------------------------------------------------------------------


def _kills(report: Report) -> Iterator[str]:
    if not report.kills:
        if not report.kernel_kills:
            yield f"Nobody was killed in {report.simulated_s:.1f} s."
        else:
            yield "No tool has sent a signal."
    for kill in report.kills[:_MOST_KILLS]:
        yield f"{_what(kill)} {_why(kill)}"
        yield f"  {_outcome(kill)} {_collateral(kill)}"
    if more := len(report.kills[_MOST_KILLS:]):
        yield f"... and {more} more, which the report lists."


def _what(kill: Kill) -> str:
    signals = [kill.signals[0].name]
    for sent in kill.signals[1:]:
        signals.append(f"{sent.name} {_s(sent.at_s - kill.at_s)} later")
    return (
        f"{_tool(kill.sender)} sent {_listed(signals)} to "
        f"{_name(kill.victim.pid, kill.victim.comm)} after {_s(kill.at_s)}:"
    )


def _why(kill: Kill) -> str:
    victim, choice = kill.victim, kill.kernel_choice
    score, rss = f"oom_score {victim.oom_score}", f"RSS {_size(victim.rss_kb)}"
    if victim.rank_by_oom_score is not None and victim.rank_by_rss is not None:
        score += f" ({_ordinal(victim.rank_by_oom_score)} of {victim.candidates})"
        rss += f" ({_ordinal(victim.rank_by_rss)})"
    dying = " It was dying already." if kill.was_dying else ""
    if choice.same:
        kernel = "The kernel would have killed the same."
    elif choice.pid is not None:
        kernel = f"The kernel would have killed {_name(choice.pid, choice.comm or '')}."
    else:
        kernel = f"The kernel would have killed nobody ({choice.outcome})."
    return f"{score}, adj {victim.oom_score_adj}, {rss}.{dying} {kernel}"


def _outcome(kill: Kill) -> str:
    if kill.died_at_s is None:
        return "It is alive."
    died = f"It died {_after(kill.died_at_s - kill.at_s)}"
    if kill.cause is not Cause.TOOL:
        died += f", not of that ({_CAUSES[kill.cause]})" if kill.cause else ""
    if kill.relief_s is None or kill.available_after_kb is None:
        return f"{died}; that brought no relief (available {_size(kill.available_kb)})."
    change = f"{_size(kill.available_kb)} -> {_size(kill.available_after_kb)}"
    return f"{died}. Memory was back {_after(kill.relief_s)} (available {change})."


_CAUSES = {
    Cause.OTHER_TOOL: "another tool was first",
    Cause.KERNEL: "the kernel's OOM killer",
    Cause.EXIT: "it exited",
    Cause.SIGNAL: "a signal from elsewhere",
}

_REASONS = {
    Why.PROCESS_GROUP: "of its process group",
    Why.SHARED_MM: "on its memory",
    Why.OOM_GROUP: "by memory.oom.group",
    Why.RELIEF_UNDERWAY: "although relief was on the way",
}


def _collateral(kill: Kill | KernelKill) -> str:
    if not kill.collateral:
        return "Collateral: none."
    parts = []
    for why, reason in _REASONS.items():
        names = [_name(dead.pid, dead.comm) for dead in kill.collateral if dead.why is why]
        if names:
            more = [f"{len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else []
            parts.append(f"{_listed([*names[:_MOST_NAMES], *more])} {reason}")
    return f"Collateral: {'; '.join(parts)}."


def _kernel_kills(report: Report) -> Iterator[str]:
    for kill in report.kernel_kills[:_MOST_KERNEL_KILLS]:
        name = _name(kill.pid, kill.comm)
        if kill.constraint == "CONSTRAINT_MEMCG":
            who = "The kernel's OOM killer, in a memory cgroup at its limit, killed"
        elif any(tool.at_s < kill.at_s for tool in report.kills):
            who = "The kernel's OOM killer killed"
        else:
            who = "The kernel's OOM killer was faster than any tool: it killed"
        yield f"{who} {name} ({_size(kill.memory_kb)}) after {_s(kill.at_s)}. {_collateral(kill)}"
    if more := len(report.kernel_kills[_MOST_KERNEL_KILLS:]):
        yield f"... and {more} more by the kernel."


# -- Memory over time --------------------------------------------------------------


def _extremes(report: Report) -> str:
    lowest, strongest = report.lowest, report.strongest
    share = 100 * lowest.available_kb / max(report.ram_kb, 1)
    text = f"Lowest available: {_size(lowest.available_kb)} ({share:.1f} %) at {_s(lowest.at_s)}; "
    if not strongest.some_avg10_percent:
        return text + "no memory pressure."
    at = _s(strongest.at_s)
    return text + f"memory pressure some avg10 up to {strongest.some_avg10_percent:.2f} at {at}."


def _table(report: Report) -> str:
    """Return memory at the beginning, at the end, around the kills and evenly between."""
    rows = [["at", "available", "swap free", "some avg10", "available of RAM"]]
    for sample in _chosen_samples(report):
        cells = [
            _size(sample.available_kb),
            _size(sample.swap_free_kb),
            f"{sample.some_avg10_percent:.2f}",
            _bar(sample.available_kb, report.ram_kb),
        ]
        if cells != rows[-1][1:]:
            rows.append([_s(sample.at_s), *cells])
    return align(rows)


def _bar(part_kb: int, whole_kb: int) -> str:
    marks = min(round(_BAR * part_kb / max(whole_kb, 1)), _BAR)
    return f"[{'#' * marks}{' ' * (_BAR - marks)}]"


def _chosen_samples(report: Report) -> list[Sample]:
    samples = report.samples
    times = [sample.at_s for sample in samples]
    wanted = [0.0, report.simulated_s]
    for kill in report.kills[:_MOST_KILLS]:
        wanted += [kill.at_s, kill.at_s + (kill.relief_s or 0)]
    wanted += [kill.at_s for kill in report.kernel_kills[:_MOST_KERNEL_KILLS]]
    wanted += [report.simulated_s * part for part in _EVENLY]
    # The lowest comes first: at its time there may be another one, after a kill.
    chosen = {report.lowest: None}
    for at_s in wanted:
        if len(chosen) < _MOST_ROWS:
            chosen[samples[max(bisect_right(times, at_s) - 1, 0)]] = None
    return sorted(chosen, key=lambda sample: sample.at_s)


# -- Words -------------------------------------------------------------------------


def _size(kb: int) -> str:
    """Write a size for people: ``1.9 GB``, ``212 MB``, ``96 kB``."""
    if kb >= 1024**2:
        return f"{kb / 1024**2:.1f}{_NO_BREAK}GB"
    return f"{kb / 1024:.0f}{_NO_BREAK}MB" if kb >= 1024 else f"{kb}{_NO_BREAK}kB"


def _s(seconds: float) -> str:
    digits = 1 if seconds >= 0.1 or not seconds else 3
    return f"{seconds:.{digits}f}{_NO_BREAK}s"


def _after(seconds: float) -> str:
    return f"after {_s(seconds)}" if seconds else "at once"


def _tool(sender: Sender | None) -> str:
    return "Somebody" if sender is None else f"{_ascii(sender.comm)} (pid {sender.pid})"


def _name(pid: int, comm: str) -> str:
    return f"{pid} {_ascii(comm)}"


def _ascii(text: str) -> str:
    """Return a name so that it can do nothing to a terminal."""
    escaped = text.encode("unicode_escape").decode("ascii")
    return escaped.replace("\\\\", "\\") or "(no name)"


def _ordinal(number: int) -> str:
    teens = 10 <= number % 100 <= 20
    ending = "th" if teens else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _listed(words: Sequence[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
