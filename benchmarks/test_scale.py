# SPDX-License-Identifier: MIT
"""Selection, and a write that reaches a sharer, with a thousand to a million processes."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import COUNTS, Scale
from benchmarks.population import populate
from fakeproc.kernel import oom
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.oom import OomRequest


@pytest.fixture(scope="module", params=COUNTS, ids="{:_}".format)
def machine(request: pytest.FixtureRequest) -> Machine:
    """A machine of so many processes."""
    return populate(request.param)


@pytest.fixture
def row(machine: Machine, scale: Scale) -> dict[str, float]:
    """What the summary says of a machine of this size."""
    return scale.row(len(machine.processes))


def test_selection(machine: Machine, row: dict[str, float], benchmark: BenchmarkFixture) -> None:
    """Choose a victim after some task has changed, as before each trigger."""
    request = OomRequest(machine.hardware.totalpages, machine.init.leader)
    pids = itertools.cycle(list(machine.processes)[2:1000])
    values = itertools.cycle((500, 100, 0))

    def select() -> None:
        machine.change_oom_score_adj(machine.processes[next(pids)], next(values))
        oom.select(machine, request)

    benchmark(select)
    assert oom.select(machine, request) == oom.select_by_walk(machine, request)
    row["selection_us"] = benchmark.stats.stats.median * 1e6


def test_write_to_a_sharer(
    machine: Machine, row: dict[str, float], benchmark: BenchmarkFixture
) -> None:
    """Write to oom_score_adj of a task that shares its mm with another one."""
    shared = next(p for p in machine.processes.values() if p.mm and len(p.mm.processes) == 2)
    values = itertools.cycle((b"500\n", b"100\n"))

    def write() -> None:
        machine.store_oom_score_adj(shared.leader, machine.root, next(values))

    benchmark(write)
    row["write_us"] = benchmark.stats.stats.median * 1e6


@pytest.mark.parametrize("count", COUNTS, ids="{:_}".format)
def test_load(count: int, scale: Scale) -> None:
    """Make the machine in a process of its own, and see how much that has grown."""
    command = [sys.executable, "-m", "benchmarks.population", str(count)]
    done = subprocess.run(command, capture_output=True, check=True)
    scale.row(count).update(json.loads(done.stdout))
