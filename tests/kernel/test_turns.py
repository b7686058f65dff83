# SPDX-License-Identifier: MIT
"""Who hears of births and deaths, and parents that wait."""

from __future__ import annotations

import signal

from fakeproc.kernel.machine import Machine
from fakeproc.kernel.task import Process
from fakeproc.kernel.turns import Turn


def kill(machine: Machine, process: Process) -> None:
    """Let root kill a process."""
    machine.kill(machine.root, process, signal.SIGKILL)


def test_nothing_is_kept_unless_asked_for() -> None:
    machine = Machine()
    machine.spawn("early")
    machine.turns.keep()
    assert machine.turns.take() == []


def test_each_turn_is_told_once_and_in_order() -> None:
    machine = Machine()
    machine.turns.keep()
    process = machine.spawn("job")
    assert machine.turns.take() == [(Turn.BORN, process)]
    kill(machine, process)
    assert machine.turns.take() == [(Turn.DIED, process)]
    machine.reap(process)
    assert machine.turns.take() == [(Turn.REAPED, process)]
    assert machine.turns.take() == []


def test_a_process_dies_with_its_last_thread() -> None:
    machine = Machine()
    process = machine.spawn("job")
    other = machine.clone_thread(process.leader)
    machine.turns.keep()
    machine.exit_thread(process.leader)
    assert machine.turns.take() == []
    machine.exit_thread(other)
    assert machine.turns.take() == [(Turn.DIED, process)]


def test_parents_that_wait_leave_no_zombie() -> None:
    machine = Machine()
    machine.parents_wait = True
    machine.turns.keep()
    process = machine.spawn("job")
    kill(machine, process)
    assert [turn for turn, _ in machine.turns.take()] == [Turn.BORN, Turn.DIED, Turn.REAPED]
    assert process.pid not in machine.processes


def test_init_waits_for_the_zombies_that_it_is_left() -> None:
    machine = Machine()
    parent = machine.spawn("parent")
    child = machine.spawn("child", parent=parent.leader)
    kill(machine, child)
    machine.parents_wait = True
    assert child.pid in machine.processes
    kill(machine, parent)
    assert child.pid not in machine.processes
