# SPDX-License-Identifier: MIT
"""Contenders take turns (A B C, A B C, ...), so that what slows the machine slows all of them.

A ratio is taken within a round, between two turns that are neighbours in time; what is told is
the median of those, not the ratio of the medians.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.report import Table


class Missing(Exception):
    """What a contender needs and this machine lacks; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Contender:
    """Something to be measured; each call of ``turn`` returns one figure."""

    name: str
    turn: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Absent:
    """A contender that cannot take part, and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Spread:
    """What the turns of a contender gave, in their order."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    def over(self, other: Spread) -> Spread:
        """Return the ratios to another one, round by round."""
        pairs = zip(self.values, other.values, strict=True)
        return Spread(tuple(mine / theirs for mine, theirs in pairs))

    def extremes(self, show: Callable[[float], str]) -> str:
        """Return the smallest and the largest, for people."""
        return f"{show(min(self.values))}..{show(max(self.values))}"


def take_turns(
    contenders: Sequence[Contender], *, rounds: int, warm_ups: int = 1
) -> dict[str, Spread]:
    """Measure in turns; return the figures of each, without those of the first rounds."""
    figures: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for _ in range(warm_ups + rounds):
        for contender in contenders:
            gc.collect()
            figures[contender.name].append(contender.turn())
    return {name: Spread(tuple(values[warm_ups:])) for name, values in figures.items()}


def three_digits(value: float) -> str:
    """Write a figure with three digits, or as a whole number."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def compare(
    title: str,
    unit: str,
    contenders: Sequence[Contender | Absent],
    *,
    against: str,
    rounds: int,
    warm_ups: int = 1,
    show: Callable[[float], str] = three_digits,
) -> Table:
    """Return the table of contenders that take turns, with their ratios to one of them.

    The row of one that is absent says what is missing.
    """
    present = [contender for contender in contenders if isinstance(contender, Contender)]
    spreads = take_turns(present, rounds=rounds, warm_ups=warm_ups)
    reference = spreads.get(against)
    rows, missing = [], []
    for contender in contenders:
        if isinstance(contender, Absent):
            rows.append([contender.name, "-", "-", "-", f"missing: {contender.why}"])
            missing.append(contender.why)
            continue
        spread = spreads[contender.name]
        ratios = [] if reference is None else [spread.over(reference)]
        rows.append(
            [
                contender.name,
                show(spread.median),
                spread.extremes(show),
                "".join(f"{ratio.median:.2f}" for ratio in ratios) or "-",
                "".join(ratio.extremes("{:.2f}".format) for ratio in ratios) or "-",
            ]
        )
    columns = ("", unit, "min..max", f"x {against}", "min..max")
    return Table(f"{title} ({rounds} rounds)", columns, rows, missing=bool(missing))
