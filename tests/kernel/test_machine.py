# SPDX-License-Identifier: MIT
"""The life of tasks: creating, exec, exit, reaping, signals, vfork, and who shares an mm."""

from __future__ import annotations

import dataclasses
import errno
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from fakeproc.kernel.capability import CAP_KILL
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import (
    FIRST_PID,
    CloneFlags,
    Hardware,
    Machine,
    default_sizes,
    sizes_for,
)
from fakeproc.kernel.profile import KernelConfig
from fakeproc.kernel.task import Credentials, MemorySizes, Mm, Process, State, TaskCaller, Thread

FORK = CloneFlags()
SHARED = CloneFlags(vm=True)
VFORK = CloneFlags(vm=True, vfork=True)
SIBLING = CloneFlags(parent=True)
USER = Credentials(1000, 1000, 0)


@pytest.fixture
def machine() -> Machine:
    return Machine(first_pid=100)


@contextmanager
def refusal(error: int) -> Iterator[None]:
    """Expect a refusal with this errno and a sentence that says why."""
    with pytest.raises(Refused) as refused:
        yield
    assert refused.value.error == error
    assert refused.value.why.endswith(".")


def mm_of(process: Process) -> Mm:
    assert process.mm is not None
    return process.mm


def dead(machine: Machine) -> Process:
    process = machine.spawn("dead")
    machine.exit_group(process)
    return process


def walk_of_users(machine: Machine, mm: Mm) -> tuple[int, set[Process]]:
    """Return mm_users and the thread groups of an mm by looking at every task."""
    threads = [thread for thread in machine.threads() if thread.mm is mm]
    return len(threads), {thread.process for thread in threads}


# -- Boot --------------------------------------------------------------------------


def test_a_machine_boots_with_init_and_kthreadd() -> None:
    machine = Machine()
    assert [(process.pid, process.comm) for process in machine.processes.values()] == [
        (1, "systemd"),
        (2, "kthreadd"),
    ]
    assert machine.init.is_global_init
    assert machine.init.leader.credentials.capabilities == machine.full_capabilities
    assert machine.process(2).is_kthread
    assert machine.process(2).mm is None
    assert machine.spawn("web").pid == FIRST_PID == 100_000


def test_the_boot_time_follows_from_the_wall_clock(machine: Machine) -> None:
    machine.advance(100 * 10**9)
    machine.set_boot_time(1_700_000_100 * 10**9)
    assert machine.hardware.boot_time_s == 1_700_000_000


# -- spawn -------------------------------------------------------------------------


def test_spawn_makes_a_child_of_init_in_its_own_session(machine: Machine) -> None:
    process = machine.spawn("web", sizes=sizes_for(anon_pages=500), cmdline=(b"web", b"-d"))
    assert (process.pid, process.comm, process.leader.tid) == (100, "web", 100)
    assert process.real_parent is machine.init.leader
    assert process in machine.init.children
    assert (process.pgrp, process.session) == (100, 100)
    assert process.leader.state is State.SLEEPING
    assert mm_of(process).sizes.anon_pages == 500
    assert mm_of(process).cmdline == (b"web", b"-d")
    assert mm_of(process).users == 1


def test_spawn_inherits_what_fork_inherits(machine: Machine) -> None:
    parent = machine.spawn("parent", credentials=USER)
    parent.oom_score_adj, parent.oom_score_adj_min = 300, 200
    machine.join_memcg(parent, machine.make_memcg("/user"))
    child = machine.spawn("child", parent=parent.leader)
    assert child.real_parent is parent.leader
    assert child.leader.credentials == USER
    assert (child.oom_score_adj, child.oom_score_adj_min) == (300, 200)
    assert child.memcg is parent.memcg
    assert child.memcg.path == "/user"
    assert child.mm is not parent.mm


@pytest.mark.parametrize(
    ("name", "comm"),
    [("x" * 20, "x" * 15), ("a) b (c", "a) b (c"), ("é" * 8, "é" * 7 + "\udcc3")],
)
def test_names_are_cut_to_15_bytes(machine: Machine, name: str, comm: str) -> None:
    assert machine.spawn(name).comm == comm


def test_a_program_without_arguments_has_its_name_as_the_first(machine: Machine) -> None:
    assert mm_of(machine.spawn("web")).cmdline == (b"web",)


# -- clone -------------------------------------------------------------------------


def test_fork_copies_the_mm(machine: Machine) -> None:
    parent = machine.spawn("web", sizes=sizes_for(anon_pages=500))
    mm_of(parent).dumpable = False
    child = machine.clone(parent.leader, FORK)
    assert child.mm is not parent.mm
    assert mm_of(child).sizes == mm_of(parent).sizes
    assert mm_of(child).cmdline == mm_of(parent).cmdline
    assert not mm_of(child).dumpable
    machine.resize(mm_of(child), sizes_for(anon_pages=7))
    assert mm_of(parent).sizes.anon_pages == 500


def test_fork_leaves_out_what_a_fault_can_fill(machine: Machine) -> None:
    """Of files the child has what it runs, of shared memory nothing, and no locks (seen on 6.1)."""
    held = sizes_for(
        anon_pages=500, file_pages=5000, shmem_pages=1024, swap_entries=9, mlocked_pages=20
    )
    parent = machine.spawn("web", sizes=held)
    child = mm_of(machine.clone(parent.leader, FORK)).sizes
    assert (child.anon_pages, child.swap_entries) == (500, 9)
    assert (child.file_pages, child.shmem_pages, child.mlocked_pages) == (300, 0, 0)
    assert child.total_vm_pages == held.total_vm_pages
    assert child.pte_pages == held.pte_pages - (4700 + 1024) // 512
    assert mm_of(parent).sizes == held


def test_clone_vm_shares_the_mm(machine: Machine) -> None:
    parent = machine.spawn("web")
    child = machine.clone(parent.leader, SHARED)
    assert child.mm is parent.mm
    assert mm_of(parent).users == 2
    assert list(mm_of(parent).processes) == [parent, child]
    assert mm_of(parent).multiprocess


def test_only_clone_vm_without_vfork_marks_the_mm_multiprocess(machine: Machine) -> None:
    parent = machine.spawn("web")
    machine.clone_thread(parent.leader)
    child = machine.clone(parent.leader, VFORK)
    assert not mm_of(parent).multiprocess
    machine.exec(child.leader, "worker")
    machine.clone(parent.leader, SHARED)
    assert mm_of(parent).multiprocess
    assert not mm_of(machine.clone(parent.leader, FORK)).multiprocess


def test_clone_copies_names_groups_and_credentials(machine: Machine) -> None:
    parent = machine.spawn("web", credentials=USER)
    child = machine.clone(parent.leader, FORK)
    assert (child.comm, child.pgrp, child.session) == ("web", parent.pgrp, parent.session)
    assert child.leader.credentials == USER


def test_clone_parent_makes_a_sibling(machine: Machine) -> None:
    parent = machine.spawn("parent")
    child = machine.clone(parent.leader, FORK)
    sibling = machine.clone(child.leader, SIBLING)
    assert sibling.real_parent is parent.leader
    assert list(parent.children) == [child, sibling]
    assert not child.children


def test_init_has_no_parent_to_share(machine: Machine) -> None:
    with refusal(errno.EINVAL):
        machine.clone(machine.init.leader, SIBLING)


# -- Threads -----------------------------------------------------------------------


def test_a_thread_is_a_task_of_its_group(machine: Machine) -> None:
    process = machine.spawn("web", credentials=USER)
    machine.rename(process.leader, "main")
    thread = machine.clone_thread(process.leader)
    assert (thread.tid, thread.comm, thread.process) == (101, "main", process)
    assert not thread.is_leader
    assert process.leader.is_leader
    assert thread.mm is process.mm
    assert thread.credentials == USER
    assert machine.thread(101) is thread
    assert 101 not in machine.processes
    assert (mm_of(process).users, len(mm_of(process).processes)) == (2, 1)


def test_names_belong_to_threads_and_credentials_to_all_of_them(machine: Machine) -> None:
    process = machine.spawn("web")
    thread = machine.clone_thread(process.leader)
    machine.rename(thread, "worker")
    machine.set_credentials(process.threads, USER)
    assert (process.comm, thread.comm) == ("web", "worker")
    assert thread.credentials == process.leader.credentials == USER


# -- Kernel threads ----------------------------------------------------------------


def test_a_kernel_thread_is_a_child_of_kthreadd_without_an_mm(machine: Machine) -> None:
    kthread = machine.kthread("kswapd0")
    assert kthread.is_kthread
    assert kthread.mm is None
    assert kthread.real_parent is machine.process(2).leader
    assert (kthread.pgrp, kthread.session) == (0, 0)


def test_a_kernel_thread_can_borrow_an_mm_and_keeps_it_alive(machine: Machine) -> None:
    process = machine.spawn("web", sizes=sizes_for(anon_pages=500))
    mm = mm_of(process)
    kthread = machine.kthread("aio", use_mm=mm)
    assert (mm.users, set(mm.processes)) == (2, {process, kthread})
    before = machine.used.anon_pages
    machine.exit_group(process)
    assert (mm.users, set(mm.processes)) == (1, {kthread})
    assert machine.used.anon_pages == before


@pytest.mark.parametrize("name", ["kthreadd", "kswapd0", "aio"])
def test_what_a_kernel_thread_does_not_do(machine: Machine, name: str) -> None:
    """Not even one that has borrowed an mm."""
    kthread = machine.process(2)
    if name != "kthreadd":
        borrowed = machine.init.mm if name == "aio" else None
        kthread = machine.kthread(name, use_mm=borrowed)
    attempts: dict[Callable[[], object], int] = {
        lambda: machine.clone(kthread.leader, SHARED): errno.EINVAL,
        lambda: machine.clone_thread(kthread.leader): errno.EINVAL,
        lambda: machine.exec(kthread.leader, "x"): errno.EINVAL,
        lambda: machine.exit_group(kthread): errno.EPERM,
        lambda: machine.exit_thread(kthread.leader): errno.EPERM,
        lambda: machine.reap(kthread): errno.EAGAIN,
    }
    for attempt, error in attempts.items():
        with refusal(error):
            attempt()
    assert not machine.kill(machine.root, kthread, signal.SIGKILL)
    assert kthread.leader.alive


# -- exec --------------------------------------------------------------------------


def test_exec_gives_a_new_mm_and_keeps_the_adjustment(machine: Machine) -> None:
    process = machine.spawn("web")
    sharer = machine.clone(process.leader, SHARED)
    sharer.oom_score_adj, sharer.oom_score_adj_min = 345, 200
    machine.exec(sharer.leader, "worker", sizes_for(anon_pages=9), (b"worker", b"-v"))
    assert sharer.mm is not process.mm
    assert (sharer.comm, mm_of(sharer).cmdline) == ("worker", (b"worker", b"-v"))
    assert mm_of(sharer).sizes.anon_pages == 9
    assert (sharer.oom_score_adj, sharer.oom_score_adj_min) == (345, 200)
    assert (mm_of(process).users, list(mm_of(process).processes)) == (1, [process])


def test_exec_makes_the_process_dumpable_and_single(machine: Machine) -> None:
    process = machine.spawn("web")
    mm_of(process).dumpable = False
    mm_of(process).hidden = True
    machine.clone(process.leader, SHARED)
    machine.exec(process.leader, "worker")
    mm = mm_of(process)
    assert (mm.dumpable, mm.hidden, mm.multiprocess, mm.users) == (True, False, False, 1)


@pytest.mark.parametrize("uid", [0, 1000])
def test_exec_gives_root_all_capabilities_and_takes_those_of_others(
    machine: Machine, uid: int
) -> None:
    process = machine.spawn("web")
    held = Credentials(uid, 5, CAP_KILL)
    machine.set_credentials(process.threads, held)
    machine.exec(process.leader, "worker")
    after = Credentials(uid, 5, 0 if uid else machine.full_capabilities)
    assert process.leader.credentials == after != held


def test_exec_ends_all_other_threads(machine: Machine) -> None:
    process = machine.spawn("web")
    others = [machine.clone_thread(process.leader) for _ in range(3)]
    machine.exec(process.leader, "worker")
    assert process.threads == [process.leader]
    assert all(machine.find_thread(thread.tid) is None for thread in others)


@pytest.mark.parametrize("leader_has_exited", [False, True])
def test_a_thread_that_execs_becomes_the_leader(machine: Machine, leader_has_exited: bool) -> None:
    process = machine.spawn("web")
    thread = machine.clone_thread(process.leader)
    machine.clone_thread(process.leader)
    child = machine.clone(thread, FORK)
    if leader_has_exited:
        machine.exit_thread(process.leader)
    machine.exec(thread, "worker")
    assert [(t.tid, t.comm, t.alive) for t in process.threads] == [(100, "worker", True)]
    assert process.leader.state is State.SLEEPING
    assert machine.find_thread(thread.tid) is None
    assert child.real_parent is process.leader
    assert mm_of(process).users == 1


# -- exit and reap -----------------------------------------------------------------


def test_exit_leaves_a_zombie_that_wait_takes_away(machine: Machine) -> None:
    parent = machine.spawn("parent")
    process = machine.clone(parent.leader, FORK)
    machine.clone_thread(process.leader)
    machine.exit_group(process, 3 << 8)
    assert process.is_zombie
    assert process.group_exit
    assert process.leader.state is State.ZOMBIE
    assert process.threads == [process.leader]
    assert process.mm is None
    assert machine.reap(process) == 3 << 8
    assert process.reaped
    assert not process.is_zombie
    assert not parent.children
    for look_up in (machine.process, machine.thread):
        with refusal(errno.ESRCH):
            look_up(process.pid)
    assert machine.find_thread(process.pid) is None


def test_a_thread_that_exits_leaves_no_trace(machine: Machine) -> None:
    process = machine.spawn("web")
    thread = machine.clone_thread(process.leader)
    machine.exit_thread(thread)
    assert process.threads == [process.leader]
    assert machine.find_thread(thread.tid) is None
    assert mm_of(process).users == 1
    assert not process.is_zombie


def test_an_exited_leader_stays_while_others_live(machine: Machine) -> None:
    process = machine.spawn("web")
    thread = machine.clone_thread(process.leader)
    mm = mm_of(process)
    machine.exit_thread(process.leader)
    assert process.leader.tid == 100
    assert process.leader.state is State.ZOMBIE
    assert process.leader.mm is None
    assert process.find_mm_thread() is thread
    assert process.mm is mm
    assert list(mm.processes) == [process]
    assert not process.is_zombie
    with refusal(errno.EAGAIN):
        machine.reap(process)
    machine.exit_thread(thread)
    assert process.is_zombie
    assert machine.reap(process) == 0


def test_the_last_thread_to_exit_ends_the_process(machine: Machine) -> None:
    process = machine.spawn("web")
    machine.exit_thread(process.leader)
    assert process.is_zombie
    assert process.group_exit


def test_nobody_exits_twice(machine: Machine) -> None:
    process = dead(machine)
    with refusal(errno.ESRCH):
        machine.exit_group(process)
    with refusal(errno.ESRCH):
        machine.exit_thread(process.leader)
    machine.reap(process)
    with refusal(errno.ESRCH):
        machine.exit_group(process)


def test_init_does_not_exit(machine: Machine) -> None:
    with refusal(errno.EPERM):
        machine.exit_group(machine.init)
    with refusal(errno.EPERM):
        machine.exit_thread(machine.clone_thread(machine.init.leader))


def test_the_dead_make_no_system_calls(machine: Machine) -> None:
    thread = dead(machine).leader
    for call in (
        lambda: machine.spawn("x", parent=thread),
        lambda: machine.clone(thread, FORK),
        lambda: machine.clone_thread(thread),
        lambda: machine.exec(thread, "x"),
    ):
        with refusal(errno.ESRCH):
            call()


# -- Reparenting -------------------------------------------------------------------


def test_orphans_go_to_init(machine: Machine) -> None:
    parent = machine.spawn("parent")
    children = [machine.clone(parent.leader, FORK) for _ in range(2)]
    machine.exit_group(parent)
    assert [child.real_parent for child in children] == [machine.init.leader] * 2
    assert list(machine.init.children) == [parent, *children]
    assert not parent.children


def test_children_of_a_thread_go_to_another_thread_of_its_group(machine: Machine) -> None:
    process = machine.spawn("web")
    thread, other = machine.clone_thread(process.leader), machine.clone_thread(process.leader)
    child, of_leader = machine.clone(thread, FORK), machine.clone(process.leader, FORK)
    machine.exit_thread(thread)
    assert child.real_parent is process.leader
    machine.exit_thread(process.leader)
    assert {child.real_parent, of_leader.real_parent} == {other}
    assert set(process.children) == {child, of_leader}
    machine.exit_thread(other)
    assert {child.real_parent, of_leader.real_parent} == {machine.init.leader}


def test_a_zombie_child_is_inherited_too(machine: Machine) -> None:
    parent = machine.spawn("parent")
    child = machine.clone(parent.leader, FORK)
    machine.exit_group(child)
    machine.exit_group(parent)
    assert child.real_parent is machine.init.leader
    machine.reap(parent)
    machine.reap(child)
    assert not machine.init.children


# -- vfork -------------------------------------------------------------------------


def in_vfork(machine: Machine, flags: CloneFlags = VFORK) -> tuple[Process, Process]:
    parent = machine.spawn("parent")
    return parent, machine.clone(parent.leader, flags)


@pytest.mark.parametrize("flags", [VFORK, CloneFlags(vfork=True)])
def test_the_creator_waits_for_its_vfork_child(machine: Machine, flags: CloneFlags) -> None:
    parent, child = in_vfork(machine, flags)
    assert parent.leader.state is State.DISK_SLEEP
    assert child.leader.vfork_done
    assert child.leader.vfork_parent is parent.leader
    for call in (
        lambda: machine.clone(parent.leader, FORK),
        lambda: machine.clone_thread(parent.leader),
        lambda: machine.exec(parent.leader, "x"),
        lambda: machine.spawn("x", parent=parent.leader),
    ):
        with refusal(errno.EAGAIN):
            call()


@pytest.mark.parametrize(
    "end",
    [
        lambda machine, child: machine.exec(child.leader, "worker"),
        lambda machine, child: machine.exit_group(child),
        lambda machine, child: machine.kill(machine.root, child, signal.SIGKILL),
    ],
    ids=["exec", "exit", "kill"],
)
def test_vfork_is_over_when_the_child_gives_up_the_mm(
    machine: Machine, end: Callable[[Machine, Process], object]
) -> None:
    parent, child = in_vfork(machine)
    end(machine, child)
    assert parent.leader.state is State.SLEEPING
    assert parent.leader.vfork_child is None
    assert not child.leader.vfork_done
    assert mm_of(parent).users == 1
    machine.clone(parent.leader, FORK)


def test_a_killed_parent_leaves_the_child_on_its_own(machine: Machine) -> None:
    parent, child = in_vfork(machine)
    machine.kill(machine.root, parent, signal.SIGKILL)
    assert parent.is_zombie
    assert not child.leader.vfork_done
    assert child.real_parent is machine.init.leader
    assert mm_of(child).users == 1
    machine.exit_group(child)
    assert parent.leader.state is State.ZOMBIE


def test_only_the_calling_thread_waits(machine: Machine) -> None:
    process = machine.spawn("web")
    other = machine.clone_thread(process.leader)
    first = machine.clone(process.leader, VFORK)
    second = machine.clone(other, VFORK)
    machine.exec(first.leader, "worker")
    assert (process.leader.state, other.state) == (State.SLEEPING, State.DISK_SLEEP)
    assert second.leader.vfork_parent is other


def test_exec_of_another_thread_kills_the_waiting_one(machine: Machine) -> None:
    process = machine.spawn("web")
    waiting = machine.clone_thread(process.leader)
    child = machine.clone(waiting, VFORK)
    machine.exec(process.leader, "worker")
    assert not child.leader.vfork_done
    assert process.threads == [process.leader]


# -- Signals -----------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGRTMAX, 33])
def test_most_signals_end_the_process(machine: Machine, number: int) -> None:
    process = machine.spawn("web")
    machine.clone_thread(process.leader)
    assert machine.kill(machine.root, process, number)
    assert process.is_zombie
    assert machine.reap(process) == number


@pytest.mark.parametrize("number", [0, signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH])
def test_some_signals_have_no_effect(machine: Machine, number: int) -> None:
    process = machine.spawn("web")
    assert not machine.kill(machine.root, process, number)
    assert process.leader.alive


@pytest.mark.parametrize("stop", [signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU])
def test_stop_and_continue_act_on_every_thread(machine: Machine, stop: int) -> None:
    process = machine.spawn("web")
    threads = [process.leader, machine.clone_thread(process.leader)]
    machine.kill(machine.root, process, stop)
    assert [thread.state for thread in threads] == [State.STOPPED] * 2
    machine.kill(machine.root, process, signal.SIGCONT)
    assert [thread.state for thread in threads] == [State.SLEEPING] * 2


def test_a_stop_signal_does_not_wake_who_waits_for_a_vfork(machine: Machine) -> None:
    parent, _ = in_vfork(machine)
    machine.kill(machine.root, parent, signal.SIGSTOP)
    machine.kill(machine.root, parent, signal.SIGCONT)
    assert parent.leader.state is State.DISK_SLEEP


def test_init_and_the_dead_take_no_signal(machine: Machine) -> None:
    for process in (machine.init, dead(machine)):
        assert not machine.kill(machine.root, process, signal.SIGKILL)
    assert machine.init.leader.alive


@pytest.mark.parametrize("number", [-1, signal.SIGRTMAX + 1, 1000])
def test_what_is_no_signal_is_refused(machine: Machine, number: int) -> None:
    with refusal(errno.EINVAL):
        machine.kill(machine.root, machine.init, number)


@pytest.mark.parametrize("number", [0, signal.SIGTERM])
def test_only_ones_own_processes_take_ones_signals(machine: Machine, number: int) -> None:
    own, foreign = machine.spawn("own", credentials=USER), machine.spawn("foreign")
    caller = TaskCaller.of(own.leader)
    with refusal(errno.EPERM):
        machine.kill(caller, foreign, number)
    machine.kill(TaskCaller(Credentials(1000, 1000, CAP_KILL)), foreign, signal.SIGTERM)
    machine.kill(caller, own, signal.SIGTERM)
    assert foreign.is_zombie
    assert own.is_zombie


# -- mm users ----------------------------------------------------------------------


def test_users_and_processes_of_an_mm_are_those_of_a_plain_walk(machine: Machine) -> None:
    a = machine.spawn("a")
    mm = mm_of(a)
    b, c = machine.clone(a.leader, SHARED), machine.clone(a.leader, SHARED)
    second = machine.clone_thread(b.leader)
    kthread = machine.kthread("aio", use_mm=mm)
    third = machine.clone_thread(a.leader)
    vforked = machine.clone(third, VFORK)
    steps: list[Callable[[], object]] = [
        lambda: machine.exit_thread(b.leader),
        lambda: machine.exec(c.leader, "c"),
        lambda: machine.exit_group(vforked),
        lambda: machine.exit_thread(second),
        lambda: machine.exit_group(a),
    ]
    seen = []
    for step in steps:
        step()
        assert (mm.users, set(mm.processes)) == walk_of_users(machine, mm)
        seen.append(mm.users)
    assert seen == [6, 5, 4, 3, 1]
    assert list(mm.processes) == [kthread]


# -- Memory ------------------------------------------------------------------------


def total_of(machine: Machine) -> MemorySizes:
    """Add up all address spaces, each once."""
    mms = {id(thread.mm): thread.mm for thread in machine.threads() if thread.mm}
    return sum((mm.sizes for mm in mms.values()), MemorySizes())


def test_memory_is_counted_once_for_each_mm(machine: Machine) -> None:
    a = machine.spawn("a", sizes=sizes_for(anon_pages=1000, shmem_pages=50, swap_entries=7))
    assert machine.used == total_of(machine)
    shared = machine.clone(a.leader, SHARED)
    copied = machine.clone(a.leader, FORK)
    assert machine.used.anon_pages == total_of(machine).anon_pages == 2000 + 100
    machine.exec(copied.leader, "b", sizes_for(file_pages=3))
    machine.resize(mm_of(a), sizes_for(anon_pages=10))
    assert machine.used == total_of(machine)
    machine.exit_group(a)
    assert machine.used.anon_pages == 10 + 100
    machine.exit_group(shared)
    machine.exit_group(copied)
    assert machine.used == total_of(machine) == default_sizes()


def test_free_memory_is_what_processes_and_the_kernel_leave() -> None:
    machine = Machine(hardware=Hardware(ram_pages=10_000, swap_pages=500))
    assert machine.hardware.slab_pages == 100
    assert machine.free_pages == 10_000 - 100 - default_sizes().ram_pages
    machine.spawn("web", sizes=MemorySizes(200, anon_pages=100, swap_entries=100, pte_pages=1))
    assert machine.free_pages == 10_000 - 100 - default_sizes().ram_pages - 101
    assert machine.free_swap_entries == 400


def test_what_does_not_fit_is_refused_and_changes_nothing() -> None:
    machine = Machine(hardware=Hardware(ram_pages=10_000, swap_pages=500), first_pid=100)
    process = machine.spawn("web", sizes=sizes_for(anon_pages=5000))
    used = dataclasses.replace(machine.used)
    too_much, too_much_swap = sizes_for(anon_pages=9900), sizes_for(swap_entries=501)
    for sizes in (too_much, too_much_swap):
        for call in (
            lambda sizes=sizes: machine.spawn("x", sizes=sizes),
            lambda sizes=sizes: machine.exec(process.leader, "x", sizes),
            lambda sizes=sizes: machine.resize(mm_of(process), sizes),
        ):
            with refusal(errno.ENOMEM):
                call()
    assert machine.used == used
    assert process.comm == "web"
    assert machine.spawn("y").pid == 101


def test_growth_counts_and_shrinking_always_fits() -> None:
    machine = Machine(hardware=Hardware(ram_pages=10_000, swap_pages=0))
    process = machine.spawn("web", sizes=sizes_for(anon_pages=9000))
    machine.resize(mm_of(process), sizes_for(anon_pages=9400))
    machine.clone(process.leader, FORK)
    assert machine.free_pages == 0
    machine.resize(mm_of(process), sizes_for(anon_pages=9300))


@pytest.mark.parametrize(
    "sizes",
    [
        MemorySizes(total_vm_pages=9, anon_pages=10),
        MemorySizes(total_vm_pages=9, anon_pages=5, swap_entries=5),
        MemorySizes(total_vm_pages=9, anon_pages=-1),
        MemorySizes(pte_pages=-1),
    ],
)
def test_sizes_that_cannot_be_are_refused(machine: Machine, sizes: MemorySizes) -> None:
    process = machine.spawn("web")
    with refusal(errno.EINVAL):
        machine.spawn("x", sizes=sizes)
    with refusal(errno.EINVAL):
        machine.resize(mm_of(process), sizes)


def test_page_tables_and_address_space_follow_from_what_is_used() -> None:
    sizes = sizes_for(anon_pages=1000, file_pages=20, swap_entries=4)
    assert (sizes.pte_pages, sizes.pmd_pages, sizes.total_vm_pages) == (1024 // 512 + 4, 3, 1536)
    assert (sizes.rss_pages, sizes.pagetable_pages, sizes.ram_pages) == (1020, 9, 1029)
    given = sizes_for(anon_pages=1000, total_vm_pages=2000, pte_pages=1, pmd_pages=0)
    assert (given.total_vm_pages, given.pagetable_pages) == (2000, 1)


# -- Pids --------------------------------------------------------------------------


def test_pids_ascend_and_skip_what_is_taken(machine: Machine) -> None:
    machine.spawn("a", pid=101)
    pids = [machine.spawn("b").pid, machine.clone_thread(machine.init.leader).tid]
    assert [*pids, machine.kthread("c").pid] == [100, 102, 103]
    assert machine.last_pid == 103


def test_processes_are_kept_in_order_of_creation(machine: Machine) -> None:
    for pid in (5000, 450, 3000):
        machine.spawn("equal", pid=pid)
    assert list(machine.processes) == [1, 2, 5000, 450, 3000]
    sequences = [process.sequence for process in machine.processes.values()]
    assert sequences == sorted(sequences)


def test_a_pid_can_be_asked_for_once(machine: Machine) -> None:
    process = machine.spawn("a", pid=450)
    assert process.pid == 450
    for call in (
        lambda: machine.spawn("b", pid=450),
        lambda: machine.clone(process.leader, FORK, pid=450),
        lambda: machine.clone_thread(process.leader, tid=450),
        lambda: machine.kthread("b", pid=450),
    ):
        with refusal(errno.EEXIST):
            call()


@pytest.mark.parametrize("pid", [-1, 0, 301, 10**9])
def test_a_pid_from_outside_of_pid_max_is_refused(machine: Machine, pid: int) -> None:
    machine.store_sysctl("kernel/pid_max", b"301")
    with refusal(errno.EINVAL):
        machine.spawn("a", pid=pid)
    assert machine.spawn("a", pid=300).pid == 300


def test_pids_start_again_when_pid_max_is_reached() -> None:
    machine = Machine(first_pid=298)
    machine.store_sysctl("kernel/pid_max", b"301")
    processes = [machine.spawn("a") for _ in range(3)]
    machine.exit_group(processes[1])
    machine.reap(processes[1])
    assert [machine.spawn("b").pid] == [299]


def test_without_a_free_pid_nothing_can_be_created() -> None:
    machine = Machine(first_pid=298)
    machine.store_sysctl("kernel/pid_max", b"301")
    processes = [machine.spawn("a") for _ in range(3)]
    used, forks = dataclasses.replace(machine.used), machine.forks
    for call in (
        lambda: machine.spawn("x"),
        lambda: machine.clone(processes[0].leader, SHARED),
        lambda: machine.clone(processes[0].leader, VFORK),
        lambda: machine.clone_thread(processes[0].leader),
        lambda: machine.kthread("x"),
    ):
        with refusal(errno.EAGAIN):
            call()
    assert (machine.used, machine.forks, machine.thread_count) == (used, forks, 5)
    assert processes[0].leader.state is State.SLEEPING


# -- The whole ---------------------------------------------------------------------


def busy_day(kernel: str) -> Machine:
    machine = Machine(KernelConfig(kernel))
    web = machine.spawn("web", sizes=sizes_for(anon_pages=1000))
    machine.advance(1_000_000)
    helper = machine.clone(web.leader, SHARED)
    machine.clone_thread(helper.leader)
    machine.store_oom_adj(web.leader, machine.root, b"5")
    machine.store_oom_score_adj(helper.leader, machine.root, b"-17\n")
    child = machine.clone(web.leader, VFORK)
    machine.exec(child.leader, "worker")
    machine.kill(machine.root, child, signal.SIGTERM)
    machine.reap(child)
    return machine


@pytest.mark.parametrize("kernel", ["4.7", "series", "series-as-posted", "6.18"])
def test_the_same_calls_give_the_same_state_and_log(kernel: str) -> None:
    def state(machine: Machine) -> object:
        return [
            (
                process.pid,
                process.sequence,
                process.oom_score_adj,
                process.oom_score_adj_min,
                [(thread.tid, thread.state, thread.start_time_ns) for thread in process.threads],
                mm_of(process).id if process.mm else None,
            )
            for process in machine.processes.values()
        ]

    one, other = busy_day(kernel), busy_day(kernel)
    assert state(one) == state(other)
    assert one.log.render() == other.log.render() != ""
    assert one.used == other.used


def test_another_kernel_goes_on_with_the_same_tasks(machine: Machine) -> None:
    process = machine.spawn("web")
    sharer = machine.clone(process.leader, SHARED)
    machine.set_kernel(KernelConfig("4.7"))
    machine.store_oom_score_adj(process.leader, machine.root, b"5")
    machine.set_kernel(KernelConfig("4.8"))
    assert (process.oom_score_adj, sharer.oom_score_adj) == (5, 0)
    machine.store_oom_score_adj(process.leader, machine.root, b"6")
    assert (process.oom_score_adj, sharer.oom_score_adj) == (6, 6)


def test_the_owner_of_a_task_is_its_user_while_it_is_dumpable(machine: Machine) -> None:
    process = machine.spawn("web", credentials=USER)
    thread = machine.clone_thread(process.leader)
    assert process.owner(process.leader) == (1000, 1000)
    machine.exit_thread(process.leader)
    assert (process.owner(process.leader), process.owner(thread)) == ((0, 0), (1000, 1000))
    mm_of(process).dumpable = False
    assert process.owner(thread) == (0, 0)
    kthread: Thread = machine.kthread("aio", use_mm=process.mm).leader
    assert kthread.process.owner(kthread) == (0, 0)
