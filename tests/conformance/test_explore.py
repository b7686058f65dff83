# SPDX-License-Identifier: MIT
"""What differs once is played again; only what happens twice counts."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.conformance.explore import Compared, compare
from tests.conformance.goldens import Observation, Recording, Scenario, recordings

GOLDENS = Path(__file__).parents[1] / "goldens"
_RECORDED = next(recordings(GOLDENS, ["6.1"], ["parse"]))
RIGHT = replace(_RECORDED, pairs=_RECORDED.pairs[:3])
SCENARIOS = [scenario for scenario, _ in RIGHT.pairs]
NAMES = [scenario["id"] for scenario in SCENARIOS]
LATE = {NAMES[1]: "too slow"}


class Recorded:
    """Stands in for a kernel: it did this, and when it was asked again, that."""

    def __init__(self, *done: tuple[Recording, dict[str, str]]) -> None:
        self._done = list(done)
        self.given_up: dict[str, str] = {}

    def record(self, scenarios: Sequence[Scenario], group: str) -> Recording:
        recording, self.given_up = self._done.pop(0)
        asked = {scenario["id"] for scenario in scenarios}
        assert asked >= self.given_up.keys()
        return replace(recording, pairs=[p for p in recording.pairs if p[0]["id"] in asked])

    def end(self) -> None:
        raise AssertionError("nothing has been interrupted")


def wrong(observed: Observation) -> Observation:
    other = copy.deepcopy(observed)
    other["steps"][0]["ret"] = 4711
    return other


def with_a_wrong_first() -> Recording:
    first, *others = RIGHT.pairs
    return replace(RIGHT, pairs=[(first[0], wrong(first[1])), *others])


def without_the_late() -> Recording:
    return replace(RIGHT, pairs=[pair for pair in RIGHT.pairs if pair[0]["id"] not in LATE])


def compared(*done: tuple[Recording, dict[str, str]]) -> Compared:
    [result] = compare(Recorded(*done), SCENARIOS, "some")
    assert result.tally.agreed + len(result.differing) == result.tally.ran
    assert {d.scenario for d in result.tally.differences} == {s["id"] for s in result.differing}
    return result


def test_what_differs_twice_differs() -> None:
    result = compared((with_a_wrong_first(), {}), (with_a_wrong_first(), {}))
    assert result.differing == SCENARIOS[:1]
    assert (result.tally.ran, result.varying) == (3, [])


def test_what_agrees_the_second_time_varies() -> None:
    result = compared((with_a_wrong_first(), {}), (RIGHT, {}))
    assert result.varying == NAMES[:1]
    assert (result.tally.ran, result.tally.agreed) == (3, 3)


def test_who_was_late_gets_a_second_chance() -> None:
    result = compared((without_the_late(), LATE), (RIGHT, {}))
    assert result.given_up == {}
    assert (result.tally.ran, result.tally.agreed) == (3, 3)


def test_who_is_late_twice_is_given_up() -> None:
    result = compared((without_the_late(), LATE), (without_the_late(), LATE))
    assert result.given_up == LATE
    assert (result.tally.ran, result.tally.agreed) == (2, 2)


def test_what_differs_after_it_was_late_differs() -> None:
    late = replace(
        RIGHT, pairs=[(s, wrong(o)) if s["id"] in LATE else (s, o) for s, o in RIGHT.pairs]
    )
    result = compared((without_the_late(), LATE), (late, {}))
    assert result.differing == SCENARIOS[1:2]
    assert (result.tally.ran, result.given_up) == (3, {})
