# SPDX-License-Identifier: MIT
"""The built-in scenarios: what each of them is for, the same every time."""

from __future__ import annotations

import json
import re
import tomllib

import jsonschema
import pytest

from fakeproc.kernel.machine import Machine
from fakeproc.kernel.profile import PROFILE_NAMES, KernelConfig
from fakeproc.procfs.tree import Procfs
from fakeproc.scenario import load_scenario
from fakeproc.scenario.load import (
    builtin_names,
    builtin_text,
    describe,
    find_problems,
    run_to_end,
)
from fakeproc.scenario.schema import shipped_text
from tests.state import dump

NAMES = builtin_names()
_VICTIM = re.compile(r"[Kk]illed process (\d+) \((.+?)\)")


def run(name: str, config: KernelConfig | None = None) -> Machine:
    machine = load_scenario(name, config)
    run_to_end(machine)
    return machine


def victims(machine: Machine) -> list[str]:
    return [match[2] for match in _VICTIM.finditer(machine.log.render())]


def test_there_are_those_that_people_want() -> None:
    assert len(NAMES) >= 10
    assert {"server", "desktop", "containers", *(f"patch-{n}" for n in range(1, 7))} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_sound_and_says_what_it_is(name: str) -> None:
    text = builtin_text(name)
    assert find_problems(text, name) == []
    jsonschema.validate(tomllib.loads(text), json.loads(shipped_text()))
    assert 20 < len(describe(text)) <= 95
    assert describe(text).endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_to_its_end_the_same_way_twice(name: str) -> None:
    once, again = run(name), run(name)
    assert once.log.render() == again.log.render()
    assert dump(Procfs(once)) == dump(Procfs(again))
    assert once.ends_ns in (None, once.now_ns)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_same_however_time_is_cut(name: str) -> None:
    machine = load_scenario(name)
    while machine.ends_ns is not None and machine.now_ns < machine.ends_ns:
        machine.advance(min(700_000_000, machine.ends_ns - machine.now_ns))
    assert machine.log.render() == run(name).log.render()


@pytest.mark.parametrize("name", NAMES)
def test_it_begins_again_after_a_reboot(name: str) -> None:
    machine = run(name).rebooted()
    run_to_end(machine)
    assert machine.log.render() == run(name).log.render()


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
@pytest.mark.parametrize("name", ["containers", "desktop", "patch-5"])
def test_it_runs_on_every_kernel(name: str, kernel: str) -> None:
    machine = run(name, KernelConfig(kernel))
    assert victims(machine)
    assert not machine.panicked


# -- What each of them shows -------------------------------------------------------


def test_desktop_the_tab_dies_when_the_cache_has_given_way() -> None:
    machine = run("desktop")
    assert victims(machine) == ["leaking-tab"]
    assert machine.memory.cache_clean_pages < load_scenario("desktop").memory.cache_clean_pages


def test_fork_storm_children_die_until_somebody_ends_it() -> None:
    machine = run("fork-storm")
    assert set(victims(machine)) == {"report.cgi"}
    assert "sshd" in {process.comm for process in machine.processes.values()}
    assert machine.process(100150).is_zombie


def test_database_the_job_dies_each_time_though_it_is_not_the_largest() -> None:
    machine = run("database")
    assert victims(machine) == ["nightly-job", "nightly-job"]


def test_containers_die_in_their_groups() -> None:
    machine = run("containers")
    events = {
        path: machine.memcg(f"/kubepods/{path}").local_events for path in ("web", "batch", "db")
    }
    assert [events[path].oom_kill > 0 for path in events] == [True, True, False]
    assert sorted(victims(machine)) == ["batch", "php-fpm", "worker", "worker", "worker"]
    assert "mysqld" in {process.comm for process in machine.processes.values()}


def test_swap_thrash_pages_go_out_and_come_back() -> None:
    machine = run("swap-thrash")
    assert machine.memory.counters.pswpout > 0
    assert machine.memory.counters.workingset_refault_anon > 0
    assert machine.sysctls["vm/swappiness"] == 10
    assert victims(machine) == []


def test_stuck_victim_another_one_dies_as_well() -> None:
    machine = run("stuck-victim")
    assert victims(machine) == ["nfs-client", "importer"]
    assert "oom_reaper: unable to reap pid:100100" in machine.log.render()
    assert machine.process(100100).is_zombie


def test_ten_thousand() -> None:
    machine = run("ten-thousand")
    assert len(machine.processes) > 10_000
    assert victims(machine) == ["php-fpm", "php-fpm"]


# -- The six patches ---------------------------------------------------------------


def with_and_without(number: int) -> tuple[Machine, Machine]:
    name = f"patch-{number}"
    return run(name), run(name, KernelConfig().with_patch(number, on=False))


def test_patch_1_the_write_is_refused_without_it() -> None:
    patched, before = with_and_without(1)
    assert "EINVAL" not in patched.log.render()
    assert "fakeproc: write 100100/oom_adj 5: EINVAL" in before.log.render()
    assert patched.process(100100).oom_score_adj == 294
    assert before.process(100100).oom_score_adj == 0


def test_patch_2_makes_no_difference() -> None:
    patched, before = with_and_without(2)
    assert patched.log.render() == before.log.render()
    assert patched.process(100101).oom_score_adj == 176
    assert victims(patched) == ["app"]


def test_patch_3_without_it_the_sharer_is_left_behind() -> None:
    patched, before = with_and_without(3)
    assert patched.process(100101).oom_score_adj == -1000
    assert before.process(100101).oom_score_adj == 0
    assert victims(patched) == ["bystander"]


def test_patch_4_without_it_the_child_dies_in_vain() -> None:
    patched, before = with_and_without(4)
    assert victims(patched) == ["nightly-job"]
    assert victims(before) == ["child"]
    assert before.last_verdict is not None
    assert before.last_verdict.freed_pages == 0


def test_patch_5_without_it_nothing_comes_free() -> None:
    patched, before = with_and_without(5)
    freed = [m.last_verdict.freed_pages for m in (patched, before) if m.last_verdict]
    assert freed[0] > 0 == freed[1]
    assert victims(patched) == victims(before) == ["app"]


def test_patch_6_without_it_nobody_is_killed() -> None:
    patched, before = with_and_without(6)
    assert victims(patched) == ["nightly-job"]
    assert victims(before) == []
