# SPDX-License-Identifier: MIT
"""Scenarios in a mount: by name, in real time, and carried on from state.toml."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fakeproc.scenario import load_scenario
from fakeproc.scenario.load import run_to_end
from tests.conftest import Mounted, wait_until

Mount = Callable[..., Mounted]


def test_it_ends_the_same_in_fast_time_as_at_once(mount: Mount) -> None:
    mounted = mount("--scenario", "stuck-victim", "--speed", "100")
    machine = load_scenario("stuck-victim")
    run_to_end(machine)
    assert machine.ends_ns is not None
    ends_s = machine.ends_ns // 10**9

    def is_over() -> bool:
        return int(mounted.read("fakeproc/clock").split()[1].split(".")[0]) >= ends_s

    wait_until(is_over, "the end of the scenario")
    assert mounted.read("fakeproc/kmsg") == machine.log.render()


def test_it_ends_the_same_in_real_time_as_at_once(mount: Mount) -> None:
    mounted = mount("--scenario", "patch-4")
    machine = load_scenario("patch-4")
    run_to_end(machine)
    wait_until(lambda: "Killed process" in mounted.read("fakeproc/kmsg"), "the kill")
    assert mounted.read("fakeproc/kmsg") == machine.log.render()


def test_the_state_is_a_scenario_that_carries_on(mount: Mount, tmp_path: Path) -> None:
    first = mount("--scenario", "stuck-victim", "--clock", "manual")
    (first / "fakeproc/clock").write_text("+10s")
    (first / "1/oom_score_adj").write_text("5")
    saved = tmp_path / "now.toml"
    saved.write_text(first.read("fakeproc/state.toml"))
    second = mount("--scenario", str(saved), "--clock", "manual")
    for file in ("ps", "clock", "kernel", "explain", "state.toml"):
        assert second.read(f"fakeproc/{file}") == first.read(f"fakeproc/{file}")
    for mounted in (first, second):
        (mounted / "fakeproc/clock").write_text("+20s")
    assert second.read("fakeproc/ps") == first.read("fakeproc/ps")
