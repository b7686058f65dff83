# SPDX-License-Identifier: MIT
"""Plays scenarios in a live kernel and on a mount, and makes what differs small."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Protocol

from tests.conformance.goldens import Recording, Scenario
from tests.conformance.runner import Tally, play
from tests.conformance.shrink import shrink

_PIECE = 40
"""Scenarios that a kernel is given at once."""


class Kernel(Protocol):
    """Something that plays scenarios: a `LiveKernel`, or what stands in for one."""

    def end(self) -> None:
        """Let no more come of what is being recorded."""

    @property
    def given_up(self) -> dict[str, str]:
        """Scenarios that are not in the last recording, with the reason."""

    def record(self, scenarios: Sequence[Scenario], group: str) -> Recording:
        """Return what happened in those that came to their end."""


@dataclass
class Compared:
    """What became of scenarios of a group in both places."""

    tally: Tally
    internal_errors: int
    differing: list[Scenario]
    given_up: dict[str, str]
    """Those that did not come to their end in the kernel, with the reason."""
    varying: list[str] = field(default_factory=list)
    """Those that differed once, and agreed when they were played again."""

    def add(self, other: Compared) -> None:
        """Count what became of another part of the group."""
        self.tally.add(other.tally)
        self.internal_errors += other.internal_errors
        self.differing += other.differing
        self.given_up |= other.given_up
        self.varying += other.varying

    def keep_to(self, again: Compared) -> None:
        """Keep to what happened again: a kernel may do one or the other, or have been too slow."""
        differ_again = {scenario["id"] for scenario in again.differing}
        kept = [s for s in self.differing if s["id"] in differ_again | again.given_up.keys()]
        self.varying += [s["id"] for s in self.differing if s not in kept]
        late = [s for s in again.differing if s["id"] in self.given_up]
        names = {scenario["id"] for scenario in kept}
        late_names = {scenario["id"] for scenario in late}
        self.tally.differences = [d for d in self.tally.differences if d.scenario in names]
        self.tally.differences += [d for d in again.tally.differences if d.scenario in late_names]
        self.tally.ran += len(self.given_up.keys() - again.given_up.keys())
        self.given_up = {n: why for n, why in self.given_up.items() if n in again.given_up}
        self.differing = kept + late
        self.tally.agreed = self.tally.ran - len(self.differing)
        self.internal_errors += again.internal_errors


def compare(
    kernel: Kernel, scenarios: Sequence[Scenario], group: str, *, at_once: bool = False
) -> Iterator[Compared]:
    """Play scenarios in a kernel and on a mount; yield what became of one part after the other.

    While the kernel is busy with one, the mount plays the one before.  What differs or comes to
    no end is played a second time, unless ``at_once``.
    """
    kernel_lock = Lock()
    parts = [scenarios[at : at + _PIECE] for at in range(0, len(scenarios), _PIECE)]

    def record(part: Sequence[Scenario]) -> tuple[Recording, dict[str, str]]:
        with kernel_lock:
            return kernel.record(part, group), dict(kernel.given_up)

    with ThreadPoolExecutor(1) as recorder:
        try:
            for part, (recording, given_up) in zip(parts, recorder.map(record, parts), strict=True):
                compared = _compared(recording, given_up)
                doubtful = [s for s in part if s in compared.differing or s["id"] in given_up]
                if doubtful and not at_once:
                    compared.keep_to(_compared(*record(doubtful)))
                yield compared
        except BaseException:
            kernel.end()
            raise


def _compared(recording: Recording, given_up: dict[str, str]) -> Compared:
    """Play on a mount what a kernel has recorded."""
    [tally], internal_errors = play([recording])
    names = {difference.scenario for difference in tally.differences}
    differing = [scenario for scenario, _ in recording.pairs if scenario["id"] in names]
    return Compared(tally, internal_errors, differing, given_up)


def smallest(kernel: Kernel, scenario: Scenario) -> Scenario:
    """Return the smallest scenario found that still differs; the one given, if none does."""

    def judge(candidates: Sequence[Scenario]) -> list[bool]:
        named = [{**one, "id": str(number)} for number, one in enumerate(candidates)]
        [compared] = compare(kernel, named, "smaller", at_once=True)
        return [one in compared.differing for one in named]

    return {**shrink(scenario, judge), "id": scenario["id"]}
