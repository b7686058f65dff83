# SPDX-License-Identifier: MIT
"""The index of the OOM killer finds whom a walk over all tasks finds, after any history."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakeproc.kernel import numa, oom
from fakeproc.kernel.capability import CAP_SYS_ADMIN
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import CloneFlags, Hardware, Machine, sizes_for
from fakeproc.kernel.oom import SYSRQ_ORDER, OomRequest
from fakeproc.kernel.profile import PROFILE_NAMES, KernelConfig
from fakeproc.kernel.ranking import NO_CANDIDATE, Ranking, from_the_end
from fakeproc.kernel.task import Credentials, Hold, Process, Thread

GROUPS = ("/", "/web", "/web/front", "/web/back", "/web/front/deep", "/db")
ADJS = (-1000, -999, -900, 0, 0, 0, 300, 1000)


@dataclass(frozen=True)
class Step:
    """One thing that happens: ``which`` counts back through the tasks there are."""

    what: str
    which: int
    number: int


def thread_at(machine: Machine, which: int) -> Thread:
    """Return one of the tasks, the newest most often: init and kthreadd refuse much."""
    threads = list(machine.threads())
    return threads[-1 - which % len(threads)]


def spawn(machine: Machine, step: Step) -> None:
    parent = thread_at(machine, step.which)
    machine.spawn("new", parent=parent, sizes=sizes_for(anon_pages=step.number % 7 * 100))


def clone(machine: Machine, step: Step) -> None:
    flags = CloneFlags(vm=True, vfork=step.number % 2 == 0, parent=step.number % 3 == 0)
    machine.clone(thread_at(machine, step.which), flags)


def resize(machine: Machine, step: Step) -> None:
    mm = thread_at(machine, step.which).process.mm
    if mm is not None:
        machine.resize(mm, sizes_for(anon_pages=step.number % 900))


def become(machine: Machine, step: Step) -> None:
    bits = CAP_SYS_ADMIN if step.number % 2 else 0
    process = thread_at(machine, step.which).process
    machine.set_credentials(process.threads, Credentials(1000, 1000, bits))


def write(machine: Machine, step: Step) -> None:
    value = ADJS[step.number % len(ADJS)]
    machine.store_oom_score_adj(thread_at(machine, step.which), machine.root, str(value).encode())


def join(machine: Machine, step: Step) -> None:
    group = machine.make_memcg(GROUPS[step.number % len(GROUPS)])
    machine.join_memcg(thread_at(machine, step.which).process, group)


def kill(machine: Machine, step: Step) -> None:
    machine.kill(machine.root, thread_at(machine, step.which).process, 9)


def reap(machine: Machine, step: Step) -> None:
    machine.reap(thread_at(machine, step.which).process)


def trigger(machine: Machine, step: Step) -> None:
    machine.out_of_memory(requests(machine)[step.number % 7])


def place(machine: Machine, step: Step) -> None:
    policies = ("none", "bind:0", "bind:1", "interleave:1", "preferred:0")
    options = {"mempolicy": policies[step.number % 5]}
    if step.number % 3 == 0:
        options["mems_allowed"] = ("0", "1", "0-1")[step.number % 7 % 3]
    thread = thread_at(machine, step.which)
    machine.place(thread, numa.changed(thread.placement, options, machine.hardware.nodes))


def mark_origin(machine: Machine, step: Step) -> None:
    process = thread_at(machine, step.which).process
    if not (process.is_global_init or process.is_kthread or process.is_zombie):
        machine.set_oom_origin(process, step.number % 2 == 0)


def change_kernel(machine: Machine, step: Step) -> None:
    machine.set_kernel(KernelConfig(PROFILE_NAMES[step.number % len(PROFILE_NAMES)]))


ACTIONS: Mapping[str, Callable[[Machine, Step], object]] = {
    "spawn": spawn,
    "clone": clone,
    "resize": resize,
    "become": become,
    "write": write,
    "join": join,
    "kill": kill,
    "reap": reap,
    "place": place,
    "origin": mark_origin,
    "trigger": trigger,
    "change kernel": change_kernel,
    "thread": lambda machine, step: machine.clone_thread(thread_at(machine, step.which)),
    "exec": lambda machine, step: machine.exec(thread_at(machine, step.which), "execed"),
    "exit thread": lambda machine, step: machine.exit_thread(thread_at(machine, step.which)),
    "kthread": lambda machine, step: machine.kthread(
        "kworker", use_mm=thread_at(machine, step.which).mm
    ),
    "hold": lambda machine, step: machine.hold(thread_at(machine, step.which), Hold.AT_EXIT),
    "release": lambda machine, step: machine.release(thread_at(machine, step.which)),
    "time": lambda machine, step: machine.advance(step.number * 10_000_000),
}
steps = st.builds(
    Step,
    what=st.sampled_from([*ACTIONS, "spawn", "clone", "write", "write", "join", "place", "resize"]),
    which=st.integers(0, 12),
    number=st.integers(0, 1000),
)


def requests(machine: Machine) -> list[OomRequest]:
    """Return an OOM of each kind."""
    total = machine.hardware.totalpages
    groups = [machine.make_memcg("/web"), machine.make_memcg("/web/front")]
    return [
        OomRequest(total, machine.init.leader),
        OomRequest(total, order=SYSRQ_ORDER),
        *(OomRequest(2000, machine.init.leader, memcg=group) for group in groups),
        oom.allocation(machine, allocating=machine.init.leader, nodemask=0b10),
        oom.allocation(machine, allocating=thread_at(machine, 0)),
        replace(OomRequest(2000, memcg=groups[0]), mems_allowed=0b1),
    ]


def populated(kernel: str) -> Machine:
    """Return a machine with a few tasks of each kind."""
    machine = Machine(KernelConfig(kernel), Hardware(node_pages=(32768, 32768)), first_pid=100)
    for number in range(4):
        parent = machine.spawn("own", sizes=sizes_for(anon_pages=100 * number))
        machine.clone(parent.leader, CloneFlags(vm=True, vfork=number == 3))
        machine.join_memcg(parent, machine.make_memcg(GROUPS[number]))
    return machine


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(PROFILE_NAMES), st.lists(steps, min_size=20, max_size=30))
def test_it_finds_whom_a_walk_finds(kernel: str, history: list[Step]) -> None:
    machine = populated(kernel)
    for step in history:
        try:
            ACTIONS[step.what](machine, step)
        except Refused:
            continue
        for request in requests(machine):
            walked = oom.select_by_walk(machine, request)
            assert oom.select(machine, request) == walked, (step, request)


def numbered(pid: int, machine: Machine) -> Process:
    return machine.spawn(str(pid), pid=pid)


def test_many_changes_of_one_task_leave_few_entries() -> None:
    machine = Machine(first_pid=100)
    process = numbered(100, machine)
    points = {process: 0}
    ranking = Ranking(machine.processes, points.get, lambda process: process.sequence)
    for changed in range(10_000):
        points[process] = changed
        ranking.push(process)
    assert len(ranking) < 3000
    assert ranking.first(lambda process: True) is process


@pytest.mark.parametrize(("last", "winner"), [(False, 101), (True, 103)])
def test_a_tie_is_decided_by_the_place(last: bool, winner: int) -> None:
    machine = Machine(first_pid=100)
    places = {numbered(103, machine): 3, numbered(101, machine): 1, numbered(102, machine): 2}
    outsider = numbered(104, machine)

    def place_of(process: Process) -> int:
        return places.get(process, NO_CANDIDATE)

    ranking = Ranking(
        machine.processes, lambda process: -5, from_the_end(place_of) if last else place_of
    )
    ranking.fill([*places, outsider])
    assert ranking.first(lambda process: True) is machine.processes[winner]


def test_whom_it_passes_over_is_still_there_afterwards() -> None:
    machine = Machine(first_pid=100)
    small, large = numbered(100, machine), numbered(101, machine)
    points = {small: 1, large: 2}
    ranking = Ranking(machine.processes, points.get, lambda process: process.sequence)
    ranking.fill([small, large])
    assert ranking.first(lambda process: process is not large) is small
    assert ranking.first(lambda process: True) is large
    assert ranking.first(lambda process: False) is None
    assert ranking.first(lambda process: True) is large
