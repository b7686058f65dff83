# SPDX-License-Identifier: MIT
"""Plays scenarios in a live kernel and on a mount, and makes what differs small."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tests.conformance.goldens import Recording, Scenario
from tests.conformance.runner import Tally, play
from tests.conformance.shrink import shrink


class Kernel(Protocol):
    """Something that plays scenarios: a `LiveKernel`, or what stands in for one."""

    given_up: dict[str, str]

    def record(self, scenarios: Sequence[Scenario], group: str) -> Recording:
        """Return what happened; `given_up` tells why a scenario is not in it."""


@dataclass
class Compared:
    """What became of scenarios of a group in both places."""

    tally: Tally
    internal_errors: int
    differing: list[Scenario]
    given_up: dict[str, str]
    """Those that did not come to their end in the kernel, with the reason."""


def compare(kernel: Kernel, scenarios: Sequence[Scenario], group: str) -> Compared:
    """Play scenarios in a kernel, then on a mount."""
    recording = kernel.record(scenarios, group)
    [tally], internal_errors = play([recording])
    names = {difference.scenario for difference in tally.differences}
    differing = [scenario for scenario in scenarios if scenario["id"] in names]
    return Compared(tally, internal_errors, differing, dict(kernel.given_up))


def total(parts: Iterable[Compared]) -> Compared:
    """Add up what became of the parts of a group."""
    first, *others = parts
    for part in others:
        first.tally.add(part.tally)
        first.internal_errors += part.internal_errors
        first.differing += part.differing
        first.given_up |= part.given_up
    return first


def smallest(kernel: Kernel, scenario: Scenario) -> Scenario:
    """Return the smallest scenario found that still differs; the one given, if none does."""

    def judge(candidates: Sequence[Scenario]) -> list[bool]:
        named = [{**one, "id": str(number)} for number, one in enumerate(candidates)]
        differing = compare(kernel, named, "smaller").differing
        return [one in differing for one in named]

    return {**shrink(scenario, judge), "id": scenario["id"]}
