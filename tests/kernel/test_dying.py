# SPDX-License-Identifier: MIT
"""Dying that takes time: holds, the reaper of each generation, the next OOM's view of it.

The tables follow section 6 of the reference; what was seen on a real kernel says so.
"""

from __future__ import annotations

import errno
import signal

import pytest

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import CloneFlags, Hardware, Machine, sizes_for
from fakeproc.kernel.oom import OomRequest, Outcome, Verdict
from fakeproc.kernel.profile import PROFILE_NAMES, KernelConfig
from fakeproc.kernel.task import Hold, Process, State

MS = 1_000_000
S = 1000 * MS
SHARED = CloneFlags(vm=True)

EARLY = ("4.7", "series", "series-as-posted", "4.8")
"""They clear TIF_MEMDIE when the reaper is done."""
NO_DELAY = ("4.9", "4.14", "4.19", "5.0", "5.4", "5.10", "5.15")
DELAY = ("6.1", "6.18")
SINCE_5_15 = ("5.15", *DELAY)
assert ("4.4", *EARLY, *NO_DELAY, *DELAY) == PROFILE_NAMES


def machine_of(kernel: str) -> Machine:
    """Return a machine with a large task, 100, and a small one, 101."""
    machine = Machine(KernelConfig(kernel), Hardware(ram_pages=65536), first_pid=100)
    machine.spawn("large", sizes=sizes_for(anon_pages=1000, file_pages=50, shmem_pages=64))
    machine.spawn("small", sizes=sizes_for(anon_pages=500))
    return machine


def trigger(machine: Machine) -> Verdict:
    totalpages = machine.hardware.totalpages
    return machine.out_of_memory(OomRequest(totalpages, allocating=machine.init.leader))


def victim_of(kernel: str, hold: Hold, for_ns: int | None = None) -> tuple[Machine, Process]:
    """Return a machine whose large task has just been killed, but is held."""
    machine = machine_of(kernel)
    victim = machine.process(100)
    machine.hold(victim.leader, hold, for_ns=for_ns)
    assert trigger(machine).killed == [victim]
    return machine, victim


def reaper_lines(machine: Machine) -> list[str]:
    lines = machine.log.render().splitlines()
    return [line.partition("oom_reaper: ")[2] for line in lines if "oom_reaper: " in line]


# -- The next OOM while a victim is dying ------------------------------------------

WAITS, NEXT, AGAIN, LET_THROUGH = "waits", "next", "again", "let through"


def second_trigger(machine: Machine) -> str:
    """Trigger again; say what that comes to."""
    verdict = trigger(machine)
    if verdict.outcome is Outcome.WAITING:
        return WAITS
    assert verdict.chosen is not None
    if verdict.outcome is Outcome.BYPASSED:
        assert verdict.chosen.pid == 100
        return LET_THROUGH
    return {100: AGAIN, 101: NEXT}[verdict.chosen.pid]


def rows(kernels: tuple[str, ...], hold: Hold, *cells: tuple[int, str]) -> list[object]:
    return [
        pytest.param(kernel, hold, after_ms, expected, id=f"{kernel}-{hold.value}-{after_ms}")
        for kernel in kernels
        for after_ms, expected in cells
    ]


@pytest.mark.parametrize(
    ("kernel", "hold", "after_ms", "expected"),
    [
        # No reaper: the victim alone can end it.
        *rows(("4.4",), Hold.AT_EXIT, (0, WAITS), (60_000, WAITS)),
        *rows(("4.4",), Hold.MMAP_LOCK, (0, WAITS), (60_000, WAITS)),
        # The reaper has been there before the next allocation fails.
        *rows((*EARLY, *NO_DELAY), Hold.AT_EXIT, (0, NEXT), (3000, NEXT)),
        *rows((*EARLY, *NO_DELAY), Hold.STUCK, (0, NEXT), (3000, NEXT)),
        # Two seconds of grace (6.18: the second allocator waited 2.03 s).
        *rows(DELAY, Hold.AT_EXIT, (0, WAITS), (1999, WAITS), (2000, NEXT)),
        *rows(DELAY, Hold.STUCK, (1999, WAITS), (2000, NEXT)),
        # Ten tries, a tenth of a second apart.  4.7 does not see that it is dying.
        *rows(("4.7",), Hold.MMAP_LOCK, (0, WAITS), (999, WAITS), (1000, AGAIN)),
        *rows(EARLY[1:], Hold.MMAP_LOCK, (0, WAITS), (999, WAITS), (1000, LET_THROUGH)),
        *rows(NO_DELAY, Hold.MMAP_LOCK, (0, WAITS), (999, WAITS), (1000, NEXT)),
        *rows(DELAY, Hold.MMAP_LOCK, (2000, WAITS), (2999, WAITS), (3000, NEXT)),
        # Becoming a victim thaws it.
        *rows(PROFILE_NAMES, Hold.FROZEN, (0, NEXT)),
        # Another SIGKILL ends the dump.
        *rows(PROFILE_NAMES, Hold.COREDUMP, (0, NEXT)),
    ],
)
def test_a_second_trigger(kernel: str, hold: Hold, after_ms: int, expected: str) -> None:
    machine, _ = victim_of(kernel, hold)
    machine.advance(after_ms * MS)
    assert second_trigger(machine) == expected


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
def test_sysrq_waits_for_nobody(kernel: str) -> None:
    machine, _ = victim_of(kernel, Hold.MMAP_LOCK)
    assert machine.sysrq_oom().outcome is not Outcome.WAITING


def test_4_8_gives_up_when_it_has_failed_twice() -> None:
    machine, victim = victim_of("4.8", Hold.MMAP_LOCK)
    machine.advance(1 * S)
    assert reaper_lines(machine) == ["unable to reap pid:100 (large)"]
    assert second_trigger(machine) == LET_THROUGH
    machine.advance(1 * S)
    assert reaper_lines(machine)[1:] == [
        "unable to reap pid:100 (large)",
        "giving up pid:100 (large)",
    ]
    assert victim.mm is not None
    assert victim.mm.sizes.anon_pages == 1000
    assert second_trigger(machine) == NEXT


@pytest.mark.parametrize("kernel", EARLY[:3])
def test_before_4_8_it_never_gives_up(kernel: str) -> None:
    machine, _ = victim_of(kernel, Hold.MMAP_LOCK)
    for _ in range(3):
        machine.advance(1 * S)
        assert second_trigger(machine) != NEXT
    assert reaper_lines(machine) == ["unable to reap pid:100 (large)"] * 3


@pytest.mark.parametrize("kernel", NO_DELAY)
def test_since_4_9_what_cannot_be_reaped_is_hidden_with_its_memory(kernel: str) -> None:
    machine, victim = victim_of(kernel, Hold.MMAP_LOCK)
    machine.advance(1 * S)
    assert victim.mm is not None
    assert (victim.mm.hidden, victim.mm.sizes.anon_pages) == (True, 1000)
    assert reaper_lines(machine) == ["unable to reap pid:100 (large)"]


@pytest.mark.parametrize("kernel", DELAY)
def test_who_lets_go_of_the_lock_in_time_dies_by_itself(kernel: str) -> None:
    machine, victim = victim_of(kernel, Hold.MMAP_LOCK, 2450 * MS)
    machine.advance(2449 * MS)
    assert not victim.is_zombie
    machine.advance(1 * MS)
    assert victim.is_zombie
    machine.advance(5 * S)
    assert reaper_lines(machine) == []
    assert second_trigger(machine) == NEXT


def test_another_thread_may_hold_the_lock() -> None:
    machine = machine_of("4.9")
    victim = machine.process(100)
    other = machine.clone_thread(victim.leader)
    machine.hold(victim.leader, Hold.AT_EXIT)
    machine.hold(other, Hold.MMAP_LOCK, for_ns=450 * MS)
    trigger(machine)
    machine.advance(499 * MS)
    assert reaper_lines(machine) == []
    machine.advance(1 * MS)
    assert reaper_lines(machine)[0].startswith("reaped process 100 (large)")


@pytest.mark.parametrize("kernel", ["4.19", "5.15"])
def test_one_reaper_has_one_victim_at_a_time(kernel: str) -> None:
    machine = machine_of(kernel)
    group = machine.make_memcg("/web")
    group.oom_group = True
    for pid, hold in ((100, Hold.MMAP_LOCK), (101, Hold.AT_EXIT)):
        machine.join_memcg(machine.process(pid), group)
        machine.hold(machine.process(pid).leader, hold)
    assert {process.pid for process in trigger(machine).killed} == {100, 101}
    machine.advance(999 * MS)
    assert reaper_lines(machine) == []
    machine.advance(1 * MS)
    assert [line[:16] for line in reaper_lines(machine)] == ["unable to reap p", "reaped process 1"]


# -- What the reaper takes ---------------------------------------------------------


@pytest.mark.parametrize("kernel", PROFILE_NAMES[1:])
def test_it_takes_what_is_private(kernel: str) -> None:
    """Seen on 6.18: anon and file go, shmem and page tables stay, and the score is 0."""
    machine, victim = victim_of(kernel, Hold.AT_EXIT)
    assert victim.mm is not None
    tables = victim.mm.sizes.pagetable_pages
    machine.advance(2 * S)
    sizes = victim.mm.sizes
    assert (sizes.anon_pages, sizes.file_pages, sizes.swap_entries) == (0, 0, 0)
    assert (sizes.shmem_pages, sizes.pagetable_pages) == (64, tables)
    assert reaper_lines(machine) == [
        "reaped process 100 (large), now anon-rss:0kB, file-rss:0kB, shmem-rss:256kB"
    ]
    assert machine.oom_score(victim) == 0


@pytest.mark.parametrize("kernel", PROFILE_NAMES[1:])
def test_until_5_18_it_leaves_what_is_locked(kernel: str) -> None:
    machine = machine_of(kernel)
    victim = machine.process(100)
    assert victim.mm is not None
    machine.resize(victim.mm, sizes_for(anon_pages=1000, swap_entries=80, mlocked_pages=300))
    machine.hold(victim.leader, Hold.AT_EXIT)
    trigger(machine)
    machine.advance(2 * S)
    left = 0 if kernel in DELAY else 300
    assert (victim.mm.sizes.anon_pages, victim.mm.sizes.mlocked_pages) == (left, left)
    assert victim.mm.sizes.swap_entries == 0


@pytest.mark.parametrize("kernel", DELAY)
def test_it_leaves_alone_who_has_died_within_the_two_seconds(kernel: str) -> None:
    machine, victim = victim_of(kernel, Hold.AT_EXIT, 1 * S)
    machine.advance(10 * S)
    assert victim.is_zombie
    assert reaper_lines(machine) == []


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
def test_own_exit_ends_the_waiting(kernel: str) -> None:
    machine, victim = victim_of(kernel, Hold.MMAP_LOCK)
    machine.release(victim.leader)
    assert second_trigger(machine) == NEXT


@pytest.mark.parametrize("kernel", PROFILE_NAMES[1:])
def test_the_verdict_grows_with_what_comes_later(kernel: str) -> None:
    machine, victim = victim_of(kernel, Hold.AT_EXIT)
    verdict = machine.last_verdict
    assert verdict is not None
    at_once = 0 if kernel in DELAY else 1050
    assert (verdict.freed_at_once_pages, verdict.freed_pages) == (at_once, at_once)
    machine.advance(2 * S)
    assert verdict.reaped == [victim.leader]
    assert (verdict.freed_at_once_pages, verdict.freed_pages) == (at_once, 1050)
    machine.release(victim.leader)
    assert verdict.freed_pages > 1080


@pytest.mark.parametrize("kernel", ["series", "6.1"])
def test_the_verdict_tells_of_who_was_let_through(kernel: str) -> None:
    machine = machine_of(kernel)
    victim = machine.process(100)
    machine.hold(victim.leader, Hold.AT_EXIT)
    machine.kill(machine.root, victim, signal.SIGKILL)
    verdict = trigger(machine)
    assert (verdict.outcome, verdict.let_through) == (Outcome.BYPASSED, victim.leader)
    machine.advance(2 * S)
    assert (verdict.reaped, verdict.freed_pages) == ([victim.leader], 1050)


# -- Holds and their time ----------------------------------------------------------


@pytest.mark.parametrize("hold", [Hold.STUCK, Hold.FROZEN, Hold.MMAP_LOCK])
def test_a_hold_ends_when_its_time_is_over(hold: Hold) -> None:
    machine = machine_of("4.4")
    process = machine.process(100)
    machine.hold(process.leader, hold, for_ns=500 * MS)
    machine.advance(100 * MS)
    machine.kill(machine.root, process, signal.SIGKILL)
    machine.advance(399 * MS)
    assert (process.leader.state, process.is_zombie) == (State.DISK_SLEEP, False)
    machine.advance(1 * MS)
    assert process.is_zombie


def test_an_exit_takes_its_time_from_death_on() -> None:
    machine = machine_of("4.4")
    process = machine.process(100)
    machine.hold(process.leader, Hold.AT_EXIT, for_ns=5 * S)
    machine.advance(60 * S)
    machine.kill(machine.root, process, signal.SIGKILL)
    machine.kill(machine.root, process, signal.SIGKILL)
    machine.advance(5 * S - 1)
    assert (process.leader.state, process.mm is None) == (State.TRACED, False)
    machine.advance(1)
    assert process.is_zombie


def test_another_hold_takes_the_place_of_the_first() -> None:
    machine = machine_of("4.4")
    leader = machine.process(100).leader
    machine.hold(leader, Hold.STUCK, for_ns=1 * S)
    machine.hold(leader, Hold.FROZEN)
    machine.advance(2 * S)
    assert (leader.hold, leader.state) == (Hold.FROZEN, State.DISK_SLEEP)


def test_a_killed_task_that_is_held_at_exit_instead_gets_there() -> None:
    machine = machine_of("4.4")
    process = machine.process(100)
    machine.hold(process.leader, Hold.STUCK)
    machine.kill(machine.root, process, signal.SIGKILL)
    machine.hold(process.leader, Hold.AT_EXIT)
    assert process.leader.state is State.TRACED


def test_a_release_by_hand_leaves_nothing_for_the_clock() -> None:
    machine = machine_of("4.4")
    leader = machine.process(100).leader
    machine.hold(leader, Hold.STUCK, for_ns=1 * S)
    machine.release(leader)
    machine.hold(leader, Hold.STUCK)
    machine.advance(2 * S)
    assert leader.hold is Hold.STUCK


@pytest.mark.parametrize("hold", [Hold.STUCK, Hold.FROZEN, Hold.MMAP_LOCK, Hold.AT_EXIT])
def test_release_gives_back_the_state_that_there_was(hold: Hold) -> None:
    machine = machine_of("4.4")
    running, stopped = machine.process(100), machine.process(101)
    parent = machine.spawn("parent")
    machine.clone(parent.leader, CloneFlags(vm=True, vfork=True))
    machine.set_state(running.leader, State.RUNNING)
    machine.kill(machine.root, stopped, signal.SIGSTOP)
    before = {}
    for process in (running, stopped, parent):
        before[process] = process.leader.state
        machine.hold(process.leader, hold)
        machine.release(process.leader)
    assert {process: process.leader.state for process in before} == before
    assert list(before.values()) == [State.RUNNING, State.STOPPED, State.DISK_SLEEP]


@pytest.mark.parametrize(
    ("before", "number", "after"),
    [((), signal.SIGSTOP, State.STOPPED), ((signal.SIGSTOP,), signal.SIGCONT, State.SLEEPING)],
)
def test_what_a_held_task_was_sent_shows_when_it_is_released(
    before: tuple[int, ...], number: int, after: State
) -> None:
    machine = machine_of("4.4")
    process = machine.process(100)
    for earlier in before:
        machine.kill(machine.root, process, earlier)
    machine.hold(process.leader, Hold.STUCK)
    machine.kill(machine.root, process, number)
    states = [process.leader.state]
    machine.release(process.leader)
    assert [*states, process.leader.state] == [State.DISK_SLEEP, after]


def test_a_held_vfork_parent_does_not_wake_with_its_child() -> None:
    machine = machine_of("4.4")
    parent = machine.spawn("parent")
    child = machine.clone(parent.leader, CloneFlags(vm=True, vfork=True))
    machine.hold(parent.leader, Hold.STUCK)
    machine.exit_group(child)
    states = [parent.leader.state]
    machine.release(parent.leader)
    assert [*states, parent.leader.state] == [State.DISK_SLEEP, State.SLEEPING]


# -- Stopped tasks -----------------------------------------------------------------


def test_sigkill_ends_a_stopped_process() -> None:
    machine = machine_of("4.4")
    process = machine.process(100)
    machine.kill(machine.root, process, signal.SIGSTOP)
    machine.kill(machine.root, process, signal.SIGKILL)
    assert process.exit_code == signal.SIGKILL
    assert process.is_zombie


def test_another_signal_waits_until_it_goes_on() -> None:
    """Seen on 6.1: T, SIGTERM in ShdPnd, and death by it at SIGCONT."""
    machine = machine_of("4.4")
    process = machine.process(100)
    for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT):
        machine.kill(machine.root, process, number)
    assert (process.leader.state, machine.pending_signals(process)) == (State.STOPPED, 0x4002)
    machine.kill(machine.root, process, signal.SIGCONT)
    assert (process.is_zombie, process.exit_code) == (True, signal.SIGINT)


def test_who_is_dying_takes_no_more_signals() -> None:
    machine = machine_of("4.4")
    process = machine.process(100)
    machine.hold(process.leader, Hold.AT_EXIT)
    machine.kill(machine.root, process, signal.SIGKILL)
    assert not machine.kill(machine.root, process, signal.SIGTERM)
    assert not machine.kill(machine.root, process, signal.SIGSTOP)
    assert (process.exit_code, process.leader.state) == (signal.SIGKILL, State.TRACED)


# -- Core dumps --------------------------------------------------------------------


def dumping(kernel: str, for_ns: int | None = None) -> tuple[Machine, Process]:
    machine = machine_of(kernel)
    process = machine.process(100)
    machine.clone_thread(process.leader)
    machine.hold(process.leader, Hold.COREDUMP, for_ns=for_ns)
    return machine, process


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
def test_who_dumps_core_does_not_count_as_dying(kernel: str) -> None:
    """It is chosen and killed with a report; who is merely dying would be let through."""
    machine, process = dumping(kernel)
    assert process.group_exit
    verdict = trigger(machine)
    assert (verdict.outcome, verdict.killed) == (Outcome.KILLED, [process])
    assert "Killed process 100 (large)" in machine.log.render()


def test_a_dump_keeps_the_memory_of_all_threads_until_it_is_over() -> None:
    machine, process = dumping("6.1", 3 * S)
    machine.advance(3 * S - 1)
    assert process.mm is not None
    assert process.mm.users == 2
    machine.advance(1)
    assert (process.is_zombie, process.exit_code) == (True, signal.SIGABRT | 0x80)


def test_only_sigkill_ends_a_dump() -> None:
    """Seen on 6.1, with a helper behind a pipe that does not read."""
    machine, process = dumping("6.1")
    assert not machine.kill(machine.root, process, signal.SIGTERM)
    assert not process.is_zombie
    assert machine.kill(machine.root, process, signal.SIGKILL)
    assert (process.is_zombie, process.exit_code) == (True, signal.SIGKILL)


def test_init_kthreads_and_the_dying_dump_no_core() -> None:
    machine, process = dumping("6.1")
    for held, error in ((machine.init, errno.EPERM), (process, errno.EINVAL)):
        with pytest.raises(Refused) as refused:
            machine.hold(held.leader, Hold.COREDUMP)
        assert refused.value.error == error
    assert not machine.init.group_exit


# -- process_mrelease --------------------------------------------------------------


def mrelease_error(machine: Machine, process: Process, flags: int = 0) -> int:
    with pytest.raises(Refused) as refused:
        machine.process_mrelease(process, flags)
    return refused.value.error


@pytest.mark.parametrize("kernel", SINCE_5_15)
def test_mrelease_takes_the_memory_of_who_is_dying(kernel: str) -> None:
    """Seen on 6.1 and 6.18: nothing printed, not hidden, as often as one likes."""
    machine = machine_of(kernel)
    process = machine.process(100)
    machine.hold(process.leader, Hold.AT_EXIT)
    machine.kill(machine.root, process, signal.SIGKILL)
    for _ in range(2):
        machine.process_mrelease(process)
    assert process.mm is not None
    assert (process.mm.sizes.anon_pages, process.mm.sizes.shmem_pages) == (0, 64)
    assert not process.mm.hidden
    assert machine.log.render() == ""


@pytest.mark.parametrize("kernel", SINCE_5_15)
def test_mrelease_errors(kernel: str) -> None:
    machine = machine_of(kernel)
    process = machine.process(100)
    assert mrelease_error(machine, process) == errno.EINVAL
    assert mrelease_error(machine, process, flags=1) == errno.EINVAL
    assert mrelease_error(machine, machine.process(2)) == errno.ESRCH
    sharer = machine.clone(process.leader, SHARED)
    machine.hold(process.leader, Hold.AT_EXIT)
    machine.kill(machine.root, process, signal.SIGKILL)
    assert mrelease_error(machine, process) == errno.EINVAL
    machine.hold(sharer.leader, Hold.MMAP_LOCK)
    machine.kill(machine.root, sharer, signal.SIGKILL)
    assert mrelease_error(machine, process) == errno.EAGAIN
    machine.release(sharer.leader)
    machine.process_mrelease(process)
    machine.release(process.leader)
    assert mrelease_error(machine, process) == errno.ESRCH


@pytest.mark.parametrize("kernel", PROFILE_NAMES[: PROFILE_NAMES.index("5.15")])
def test_mrelease_came_with_5_15(kernel: str) -> None:
    machine = machine_of(kernel)
    assert mrelease_error(machine, machine.process(100), flags=1) == errno.ENOSYS


@pytest.mark.parametrize("kernel", SINCE_5_15)
def test_mrelease_succeeds_where_the_reaper_has_been(kernel: str) -> None:
    machine, victim = victim_of(kernel, Hold.AT_EXIT)
    machine.advance(2 * S)
    machine.process_mrelease(victim)
    assert len(reaper_lines(machine)) == 1
