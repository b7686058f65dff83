# SPDX-License-Identifier: MIT
"""Random scenarios in a live kernel and on a mount: nothing may differ, and what does is found."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from fakeproc.kernel import oom_adj
from tests.conformance import generate
from tests.conformance.explore import compare, smallest
from tests.conformance.goldens import Scenario, recordings
from tests.conformance.live import LiveKernel
from tests.conformance.runner import play
from tests.conformance.save import save

REPOSITORY = Path(__file__).parents[2]
COUNT = 20
SEED_VARIABLE = "FAKEPROC_SEED"

SHARERS: Scenario = {
    "id": "sharers",
    "tasks": [
        {"name": "A", "anon_kb": 1024},
        {"name": "B", "parent": "A", "create": "vm"},
        {"name": "W", "uid": 0, "caps": "-sys_resource"},
    ],
    "steps": [
        {"op": "write", "target": "A", "file": "oom_score_adj", "data": "500", "by": "W"},
        {"op": "exec", "target": "B"},
    ],
}


def test_random_scenarios_agree(live: LiveKernel) -> None:
    seed = int(os.environ.get(SEED_VARIABLE, random.randrange(1_000_000)))
    print(f"{SEED_VARIABLE}={seed}")
    made = [generate.scenario(seed, number) for number in range(COUNT)]
    [compared] = compare(live, made, "random")
    again = f"scripts/conformance --random {COUNT} --seed {seed}"
    assert not compared.tally.differences, "\n".join(map(str, compared.tally.differences)) + again
    assert not compared.given_up, f"{compared.given_up}: {again}"
    assert compared.internal_errors == 0, again
    assert compared.tally.agreed == COUNT


def test_a_wrong_rule_is_found_made_small_and_saved(
    live: LiveKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule of patch 3: who shares the mm follows a write."""
    monkeypatch.setattr(oom_adj, "reached_with", lambda profile, thread: [])
    [compared] = compare(live, [SHARERS], "random")
    assert compared.differing == [SHARERS]

    small = smallest(live, SHARERS)
    assert [task["name"] for task in small["tasks"]] == ["A", "B"]
    [step] = small["steps"]
    assert (step["op"], step["target"]) == ("write", "A")

    recording = live.record([small], "random")
    assert save(recording, tmp_path)
    assert not save(recording, tmp_path)
    saved = list(recordings(tmp_path, [f"{live.kernel}-live"], ["found"]))
    [tally], _ = play(saved)
    assert (tally.ran, tally.differed) == (1, 1)
    monkeypatch.undo()
    [tally], _ = play(saved)
    assert (tally.ran, tally.differed) == (1, 0)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--random", "x"], "argument --random: x: no number of scenarios; accepted: 1, 2, ..."),
        (["--random", "0"], "argument --random: 0: no number of scenarios; accepted: 1, 2, ..."),
        (["--random", "1", "--seed", "x"], "argument --seed: x: no seed; accepted: a whole number"),
        (["--live", "--uml", "/nowhere"], "/nowhere: no User-Mode Linux binary that can be run."),
    ],
)
def test_what_cannot_be_done_is_a_usage_error(arguments: list[str], sentence: str) -> None:
    command = [sys.executable, "-m", "tests.conformance", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(f"{sentence}\n")
