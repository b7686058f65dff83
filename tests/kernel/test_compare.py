# SPDX-License-Identifier: MIT
"""Every kernel on one state: each says what it would do, and the switch named is the one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakeproc.kernel.compare import Comparison, PatchEffect, compare, seen_by
from fakeproc.kernel.explain import forecast
from fakeproc.kernel.machine import CloneFlags, Machine, sizes_for
from fakeproc.kernel.oom import OomRequest, Outcome
from fakeproc.kernel.profile import PATCHES, PROFILE_NAMES, KernelConfig, render_value
from fakeproc.kernel.task import Hold, Process, Thread
from fakeproc.procfs.node import File
from fakeproc.procfs.tree import Procfs
from fakeproc.scenario import load_scenario
from tests.state import dump
from tests.test_oom_properties import Row, build, kernels, tables, trigger


def request_of(machine: Machine, allocating: Thread | None = None) -> OomRequest:
    allocating = allocating or machine.init.leader
    return OomRequest(machine.hardware.totalpages, allocating=allocating)


def compared(machine: Machine, allocating: Thread | None = None) -> Comparison:
    return compare(machine, request_of(machine, allocating))


def history(table: list[Row], kernel: str, *, held: bool) -> Machine:
    """Return a machine on which one victim has died, or is dying."""
    machine = build(table, kernel)
    if held:
        for thread in machine.threads():
            machine.hold(thread, Hold.AT_EXIT)
    trigger(machine)
    return machine


@settings(deadline=None, max_examples=30)
@given(tables, kernels, st.booleans())
def test_it_foretells_what_each_kernel_does(table: list[Row], kernel: str, held: bool) -> None:
    machine = history(table, kernel, held=held)
    procfs = Procfs(machine)
    if machine.panicked:
        return
    before = dump(procfs)
    found = compared(machine)
    assert dump(procfs) == before
    assert [name for row in found.agreements for name in row.kernels] == list(PROFILE_NAMES)
    for row in found.agreements:
        for name in row.kernels:
            same = history(table, kernel, held=held)
            same.set_kernel(KernelConfig(name))
            verdict = trigger(same)
            chosen = verdict.chosen.pid if verdict.chosen else None
            assert verdict.outcome is row.forecast.outcome
            assert chosen == (row.forecast.chosen.pid if row.forecast.chosen else None)
            assert {p.pid for p in verdict.killed} == {p.pid for p in row.forecast.dying}


@settings(deadline=None, max_examples=50)
@given(tables, kernels, st.booleans())
def test_no_switch_that_it_names_can_be_left_out(table: list[Row], kernel: str, held: bool) -> None:
    machine = history(table, kernel, held=held)
    found = compared(machine)
    assert len(found.boundaries) == len(found.agreements) - 1
    for boundary in found.boundaries:
        later = forecast(seen_by(machine, KernelConfig(boundary.later)), request_of(machine))
        for left_out in (None, *boundary.changes):
            config = KernelConfig(boundary.earlier)
            for change in boundary.changes:
                if change is not left_out:
                    value = render_value(change.after.value)
                    config = config.with_switch(change.after.name, value)
            reached = forecast(seen_by(machine, config), request_of(machine))
            assert (reached == later) == (left_out is None)


# -- The states of the cover letter ------------------------------------------------


@pytest.fixture
def machine() -> Machine:
    """The built-in scenario."""
    return load_scenario()


def effect(found: Comparison, number: int) -> PatchEffect:
    return found.patches[number - 1]


def parting_patches(found: Comparison) -> set[int]:
    """Return the patches with which the verdict is another one."""
    return {patch.number for patch in found.patches if patch.without != patch.present}


def named_origins(found: Comparison) -> list[list[str]]:
    return [[change.after.origin for change in boundary.changes] for boundary in found.boundaries]


def test_on_the_built_in_scenario_all_agree(machine: Machine) -> None:
    found = compared(machine)
    assert [row.kernels for row in found.agreements] == [PROFILE_NAMES]
    assert found.agreements[0].forecast.chosen is machine.process(100013)
    assert found.boundaries == []
    assert [patch.number for patch in found.patches] == list(PATCHES)
    assert parting_patches(found) == set()


def test_1_who_has_an_exited_leader_can_be_written(machine: Machine) -> None:
    half = machine.spawn("half")
    machine.clone_thread(half.leader)
    machine.exit_thread(half.leader)
    found = compared(machine)
    assert half in effect(found, 1).accepted
    assert all(not patch.accepted for patch in found.patches[1:])


def test_2_only_moves_code(machine: Machine) -> None:
    assert effect(compared(machine), 2).is_none


def test_3_a_write_reaches_who_shares_the_mm(machine: Machine) -> None:
    found = compared(machine)
    app, helper = machine.process(100008), machine.process(100012)
    assert effect(found, 3).reached == ((app, (helper,)), (helper, (app,)))
    assert all(not patch.reached for patch in found.patches if patch.number != 3)


def test_4_the_vforked_child_of_an_unkillable_parent(machine: Machine) -> None:
    parent = machine.spawn("parent", sizes=sizes_for(anon_pages=524288))
    machine.change_oom_score_adj(parent, -1000)
    child = machine.clone(parent.leader, CloneFlags(vm=True, vfork=True))
    machine.change_oom_score_adj(child, 900)
    found = compared(machine)
    assert parting_patches(found) == {4}
    assert effect(found, 4).without.chosen is child
    assert effect(found, 4).present.chosen is machine.process(100013)
    assert named_origins(found) == [["patch 4"]]
    assert found.boundaries[0].later == "series"


def test_5_a_victim_that_shares_its_mm_with_an_unkillable_process(machine: Machine) -> None:
    app, helper = machine.process(100008), machine.process(100012)
    machine.change_oom_score_adj(helper, -1000)
    machine.change_oom_score_adj(app, 900)
    found = compared(machine)
    assert parting_patches(found) == {5}
    assert effect(found, 5).without.dying == (app,)
    assert effect(found, 5).present.dying == (app, helper)
    assert named_origins(found) == [["patch 5"]]


def stuck_and_killed(machine: Machine) -> Process:
    app = machine.process(100008)
    machine.hold(app.leader, Hold.STUCK)
    machine.kill(machine.root, app, 9)
    return app


def test_6_a_dying_task_whose_mm_is_used_by_who_is_not(machine: Machine) -> None:
    app = stuck_and_killed(machine)
    found = compared(machine, app.leader)
    assert parting_patches(found) == {6}
    assert effect(found, 6).without.outcome is Outcome.BYPASSED
    assert effect(found, 6).present.outcome is Outcome.KILLED
    assert ["patch 6"] in named_origins(found)


# -- The files ---------------------------------------------------------------------


def read(procfs: Procfs, path: str) -> str:
    file = procfs.lookup(path, procfs.machine.root)
    assert isinstance(file, File)
    return file.render().decode()


def test_the_table_for_people(machine: Machine) -> None:
    stuck_and_killed(machine)
    procfs = Procfs(machine)
    procfs.question = "pid=100008"
    text = read(procfs, "/fakeproc/explain-kernels")
    lines = text.splitlines()
    assert lines[0] == "request: pid=100008"
    assert lines[1].split() == ["kernel", "outcome", "chosen", "victim", "killed"]
    assert lines[2].split()[:2] == ["4.4-4.7", "bypassed"]
    assert lines[3].split()[:4] == ["series", "to", "6.18", "killed"]
    assert (
        "\n4.7 to series: current_bypass fatal or exiting -> will_free "
        '(patch 6, "mm, oom: fortify task_will_free_mem")\n' in text
    )
    assert (
        "  6 mm, oom: fortify task_will_free_mem\n"
        "      without: bypassed: 100008 (app)\n"
        "      with:    killed: 100013 (nightly-job)\n" in text
    )
