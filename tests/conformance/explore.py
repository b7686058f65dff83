# SPDX-License-Identifier: MIT
"""Plays scenarios in a live kernel and on a mount, and makes what differs small."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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

    def add(self, other: Compared) -> None:
        """Count what became of another part of the group."""
        self.tally.add(other.tally)
        self.internal_errors += other.internal_errors
        self.differing += other.differing
        self.given_up |= other.given_up


def compare(kernel: Kernel, scenarios: Sequence[Scenario], group: str) -> Iterator[Compared]:
    """Play scenarios in a kernel and on a mount; yield what became of one part after the other.

    While the kernel is busy with one, the mount plays the one before.
    """
    parts = [scenarios[at : at + _PIECE] for at in range(0, len(scenarios), _PIECE)]

    def record(part: Sequence[Scenario]) -> tuple[Recording, dict[str, str]]:
        return kernel.record(part, group), dict(kernel.given_up)

    with ThreadPoolExecutor(1) as recorder:
        try:
            for recording, given_up in recorder.map(record, parts):
                [tally], internal_errors = play([recording])
                names = {difference.scenario for difference in tally.differences}
                differing = [one for one, _ in recording.pairs if one["id"] in names]
                yield Compared(tally, internal_errors, differing, given_up)
        except BaseException:
            kernel.end()
            raise


def smallest(kernel: Kernel, scenario: Scenario) -> Scenario:
    """Return the smallest scenario found that still differs; the one given, if none does."""

    def judge(candidates: Sequence[Scenario]) -> list[bool]:
        named = [{**one, "id": str(number)} for number, one in enumerate(candidates)]
        [compared] = compare(kernel, named, "smaller")
        return [one in compared.differing for one in named]

    return {**shrink(scenario, judge), "id": scenario["id"]}
