# SPDX-License-Identifier: MIT
"""Random scenarios are valid and always the same; what is made small stays valid."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.conformance.cast import Cast, valid_part
from tests.conformance.generate import scenario
from tests.conformance.goldens import Scenario
from tests.conformance.runner import STEPS
from tests.conformance.shrink import shrink
from tests.conformance.test_goldens import GOLDENS

MADE = [scenario(seed, number) for seed in (1, 2, 3) for number in range(200)]
NEVER_MADE = {"cont", "join", "mem", "thaw"}


def test_the_same_seed_and_number_make_the_same_scenario() -> None:
    assert [scenario(2, number) for number in range(200)] == MADE[200:400]


def test_other_seeds_and_numbers_make_others() -> None:
    contents = {json.dumps({**made, "id": ""}) for made in MADE}
    assert len(contents) > 0.98 * len(MADE)
    assert len({made["id"] for made in MADE}) == len(MADE)


def test_every_step_finds_whom_it_needs() -> None:
    for made in MADE:
        assert valid_part(made) == made
        assert made["tasks"]
        assert made["steps"]


def test_all_is_made_that_the_runner_can_do() -> None:
    assert {step["op"] for made in MADE for step in made["steps"]} == STEPS - NEVER_MADE
    kinds = {task.get("create") for made in MADE for task in made["tasks"]}
    assert kinds == {None, "fork", "vm", "vm_sighand", "vfork", "vfork_novm", "thread"}


@pytest.mark.parametrize(
    "group", ["random_writes", "random_tables", "random_dying", "random_hogs", "oom_mixed", "perm"]
)
def test_recorded_scenarios_are_valid(group: str) -> None:
    recorded = json.loads((GOLDENS / "scenarios" / f"{group}.json").read_text())["scenarios"]
    assert [valid_part(one) for one in recorded] == recorded


A, B = {"name": "A"}, {"name": "B", "parent": "A", "create": "vfork"}
READ_A: dict[str, Any] = {"op": "read", "target": "A"}


@pytest.mark.parametrize(
    ("tasks", "steps", "valid_steps"),
    [
        ([B], [{"op": "exit", "target": "B"}], 0),
        ([A, B], [{"op": "exit", "target": "A"}], 0),
        ([A, B], [{"op": "exec", "target": "B"}, {"op": "exit", "target": "A"}], 2),
        ([A], [{"op": "kill", "target": "A"}, {**READ_A, "by": "A"}, READ_A], 2),
        ([A], [{"op": "kill", "target": "A"}, {"op": "reap", "target": "A"}, READ_A], 2),
        ([A], [{"op": "reap", "target": "A"}, READ_A], 1),
        ([A], [{"op": "sysrq_f"}, {"op": "exec", "target": "A"}, READ_A], 2),
        ([{**A, "uid": 1}], [{"op": "creds", "target": "A", "uid": 2}], 0),
        ([A], [{"op": "fd", "fd": "x", "do": ["read", 1]}], 0),
        ([A], [{"op": "freeze", "targets": ["A"]}, {**READ_A, "by": "A"}, READ_A], 2),
    ],
)
def test_steps_need_somebody(
    tasks: list[dict[str, Any]], steps: list[dict[str, Any]], valid_steps: int
) -> None:
    part = valid_part({"id": "", "tasks": tasks, "steps": steps})
    assert len(part["steps"]) == valid_steps


# -- Making small ----------------------------------------------------------------------


def _shared_writes(one: Scenario) -> int:
    """Count writes to tasks that were cloned with CLONE_VM."""
    sharers = {task["name"] for task in one["tasks"] if task.get("create") == "vm"}
    return sum(step["op"] == "write" and step["target"] in sharers for step in one["steps"])


def test_what_is_made_small_has_nothing_needless() -> None:
    batches: list[int] = []

    def judge(candidates: Sequence[Scenario]) -> list[bool]:
        batches.append(len(candidates))
        assert [valid_part(one) for one in candidates] == list(candidates)
        return [_shared_writes(one) > 0 for one in candidates]

    large = max(MADE, key=_shared_writes)
    assert _shared_writes(large) > 3
    small = shrink(large, judge)
    [step] = small["steps"]
    assert (step["op"], step["file"], step["data"]) == ("write", "oom_adj", "")
    assert set(step) == {"op", "target", "file", "data"}
    assert len(small["tasks"]) == 2
    assert set().union(*small["tasks"]) == {"name", "parent", "create"}
    # A boot takes seconds, so candidates go in few batches.
    assert len(batches) < 25


def test_what_never_differs_stays_as_it_is() -> None:
    assert shrink(MADE[0], lambda candidates: [False] * len(candidates)) == MADE[0]


def test_who_has_idle_threads_left_is_no_zombie() -> None:
    cast = Cast()
    for task in ({"name": "A"}, {"name": "C", "parent": "A", "threads": 2}):
        cast.create(task)
    cast.do({"op": "exit", "target": "C", "how": "thread"})
    assert cast.reapable() == []
