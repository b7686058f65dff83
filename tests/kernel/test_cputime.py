# SPDX-License-Identifier: MIT
"""CPU time: nothing is lost or won, whoever looks, and it goes to those who run."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakeproc.kernel.behaviour import Behaviour, BehaviourKind
from fakeproc.kernel.cputime import CpuTimes, Mode, Times
from fakeproc.kernel.machine import CloneFlags, Hardware, Machine
from fakeproc.kernel.task import Process, State

SECOND = 1_000_000_000

STEPS = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.sampled_from([*State, *Mode]),
        st.integers(0, 3 * SECOND),
    ),
    max_size=20,
)
"""Which task, what it does from then on, and how long until the next step (ns)."""


def machine_of(cpus: int = 2) -> Machine:
    return Machine(hardware=Hardware(cpus=cpus))


def running(machine: Machine, count: int) -> list[Process]:
    processes = [machine.spawn("busy") for _ in range(count)]
    for process in processes:
        machine.set_state(process.leader, State.RUNNING)
    return processes


def times_of(machine: Machine, process: Process) -> Times:
    return machine.cpu_accounting.of_thread(process.leader, machine.now_ns)


def sum_of(times: CpuTimes) -> int:
    return times.busy_ns + times.idle_ns + times.iowait_ns


# -- Who gets what -----------------------------------------------------------------


def test_a_machine_on_which_nobody_runs_is_idle() -> None:
    machine = machine_of()
    machine.advance(5 * SECOND)
    assert machine.cpu_accounting.total(machine.now_ns) == CpuTimes(idle_ns=10 * SECOND)


@pytest.mark.parametrize(("count", "share_ns"), [(1, 6 * SECOND), (2, 6 * SECOND), (3, 4 * SECOND)])
def test_tasks_share_the_cpus_and_none_has_more_than_one(count: int, share_ns: int) -> None:
    machine = machine_of(cpus=2)
    processes = running(machine, count)
    machine.advance(6 * SECOND)
    assert {times_of(machine, process) for process in processes} == {Times(share_ns)}


def test_a_single_task_keeps_the_first_cpu_busy() -> None:
    machine = machine_of(cpus=2)
    (process,) = running(machine, 1)
    machine.advance(SECOND)
    first, second = machine.cpu_accounting.of_each_cpu(machine.now_ns)
    assert first == CpuTimes(user_ns=SECOND)
    assert second == CpuTimes(idle_ns=SECOND)
    assert machine.cpu_accounting.last_cpu(process.leader) == 0


@pytest.mark.parametrize("state", [state for state in State if state is not State.RUNNING])
def test_who_does_not_run_has_no_time(state: State) -> None:
    machine = machine_of()
    (process,) = running(machine, 1)
    machine.advance(SECOND)
    machine.set_state(process.leader, state)
    machine.advance(SECOND)
    assert times_of(machine, process) == Times(user_ns=SECOND)


def test_reclaim_is_system_time_and_the_disk_is_waited_for() -> None:
    machine = machine_of(cpus=1)
    (process,) = running(machine, 1)
    machine.stalls.wait(process, 3 * SECOND, disk_ns=2 * SECOND)
    machine.advance(4 * SECOND)
    expected = CpuTimes(user_ns=SECOND, system_ns=SECOND, iowait_ns=2 * SECOND)
    assert machine.cpu_accounting.total(machine.now_ns) == expected
    assert times_of(machine, process) == Times(SECOND, SECOND)


# -- Where it goes -----------------------------------------------------------------


def test_a_zombie_keeps_its_time_and_who_waits_for_it_gets_it() -> None:
    machine = machine_of()
    parent = machine.spawn("parent")
    child = machine.clone(parent.leader, CloneFlags())
    machine.set_state(child.leader, State.RUNNING)
    machine.advance(SECOND)
    machine.exit_group(child)
    assert machine.cpu_accounting.of_group(child, machine.now_ns) == Times(SECOND)
    assert machine.cpu_accounting.of_children(parent) == Times()
    machine.reap(child)
    assert machine.cpu_accounting.of_children(parent) == Times(SECOND)


def test_who_ignores_its_children_gets_no_time_of_theirs() -> None:
    machine = machine_of()
    parent = machine.spawn("parent")
    parent.ignores_sigchld = True
    child = machine.clone(parent.leader, CloneFlags())
    machine.set_state(child.leader, State.RUNNING)
    machine.advance(SECOND)
    machine.exit_group(child)
    assert child.reaped
    assert machine.cpu_accounting.of_children(parent) == Times()


def test_a_group_keeps_the_time_of_threads_that_are_gone() -> None:
    machine = machine_of()
    process = machine.spawn("app")
    thread = machine.clone_thread(process.leader)
    machine.set_state(thread, State.RUNNING)
    machine.advance(SECOND)
    machine.exit_thread(thread)
    assert times_of(machine, process) == Times()
    assert machine.cpu_accounting.of_group(process, machine.now_ns) == Times(SECOND)


def test_a_growing_process_under_pressure_loses_time_to_the_kernel() -> None:
    machine = Machine(hardware=Hardware(ram_pages=20_000, swap_pages=50_000, cpus=1))
    hog = machine.spawn("hog")
    machine.behave(hog, Behaviour(BehaviourKind.GROW, rate_pages_per_s=5_000))
    machine.advance(10 * SECOND)
    total = machine.cpu_accounting.total(machine.now_ns)
    assert min(total.user_ns, total.system_ns, total.iowait_ns) > 0
    assert sum_of(total) == 10 * SECOND


def test_who_never_ran_is_not_remembered() -> None:
    machine = machine_of()
    for _ in range(100):
        machine.spawn("idle")
    machine.advance(SECOND)
    assert not machine.cpu_accounting._accounts


# -- Whatever happens --------------------------------------------------------------


@settings(deadline=None)
@given(STEPS, st.integers(1, 4))
def test_the_time_of_the_cpus_adds_up_and_never_falls(
    steps: list[tuple[int, State | Mode, int]], cpus: int
) -> None:
    machine = machine_of(cpus)
    processes = running(machine, 6)
    cpu = machine.cpu_accounting
    before = cpu.of_each_cpu(machine.now_ns)
    switches = 0
    for number, does, wait_ns in steps:
        thread = processes[number].leader
        if isinstance(does, State):
            machine.set_state(thread, does)
        else:
            cpu.set_mode(thread, does, machine.now_ns)
        machine.advance(wait_ns)
        total, each = cpu.total(machine.now_ns), cpu.of_each_cpu(machine.now_ns)
        assert sum_of(total) == cpus * machine.now_ns
        for past, present in zip(before, each, strict=True):
            assert present.user_ns >= past.user_ns >= 0
            assert present.system_ns >= past.system_ns >= 0
            assert present.idle_ns >= past.idle_ns >= 0
            assert present.iowait_ns >= past.iowait_ns >= 0
            assert abs(sum_of(present) - machine.now_ns) <= 4 * cpus
        taken = [times_of(machine, process) for process in processes]
        assert sum(times.user_ns for times in taken) <= total.user_ns
        assert sum(times.system_ns for times in taken) == total.system_ns
        assert cpu.switches(machine.now_ns) >= switches
        before, switches = each, cpu.switches(machine.now_ns)


@settings(deadline=None)
@given(STEPS, st.lists(st.integers(0, 20 * SECOND), max_size=5))
def test_asking_changes_nothing(
    steps: list[tuple[int, State | Mode, int]], asked: list[int]
) -> None:
    machines = machine_of(), machine_of()
    for machine, looks in zip(machines, ([], asked), strict=True):
        processes = running(machine, 6)
        for number, does, wait_ns in steps:
            if isinstance(does, State):
                machine.set_state(processes[number].leader, does)
            else:
                machine.cpu_accounting.set_mode(processes[number].leader, does, machine.now_ns)
            for ahead_ns in looks:
                machine.cpu_accounting.of_each_cpu(machine.now_ns + ahead_ns)
                machine.cpu_accounting.of_thread(processes[0].leader, machine.now_ns + ahead_ns)
            machine.advance(wait_ns)
    one, other = (machine.cpu_accounting.of_each_cpu(machine.now_ns) for machine in machines)
    assert one == other
