# SPDX-License-Identifier: MIT
"""What processes do by themselves, step by step."""

from __future__ import annotations

import errno
import signal

import pytest

from fakeproc.kernel.behaviour import Behaviour, BehaviourKind, parse
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import CloneFlags, Hardware, Machine, sizes_for
from fakeproc.kernel.profile import KernelConfig
from fakeproc.kernel.task import Hold, Process, State

MIB_PAGES = 256
MS = 1_000_000
SECOND = 1000 * MS


def make(kernel: str = "6.1", *, ram_mib: int = 256, swap_mib: int = 64, cpus: int = 2) -> Machine:
    hardware = Hardware(ram_pages=ram_mib * MIB_PAGES, swap_pages=swap_mib * MIB_PAGES, cpus=cpus)
    return Machine(KernelConfig(kernel), hardware, first_pid=100)


def spawn(machine: Machine, mib: int, words: str = "") -> Process:
    """Start a process of so many MiB that does what the words say."""
    process = machine.spawn("task", sizes=sizes_for(anon_pages=mib * MIB_PAGES))
    if words:
        machine.behave(process, parse(dict(word.split("=") for word in words.split())))
    return process


def mib_of(process: Process) -> float:
    """Return what a process has, swap included."""
    assert process.mm is not None
    return (process.mm.sizes.rss_pages + process.mm.sizes.swap_entries) / MIB_PAGES


def total_us(machine: Machine, resource: str, line: int = 0) -> int:
    text = machine.pressure[resource].render(machine.now_ns).splitlines()[line]
    return int(text.rpartition("=")[2])


# -- Growing -----------------------------------------------------------------------


def test_growth_is_by_the_rate_in_steps_of_a_tenth_of_a_second() -> None:
    machine = make()
    process = spawn(machine, 1, "behaviour=grow rate=20M/s")
    sizes = []
    for _ in range(4):
        machine.advance(100 * MS)
        sizes.append(mib_of(process))
    assert sizes == [3, 5, 7, 9]
    machine.advance(50 * MS)
    assert mib_of(process) == 9


def test_a_slow_rate_adds_up_over_the_steps() -> None:
    machine = make()
    process = spawn(machine, 1, "behaviour=grow rate=12k/s")
    machine.advance(10 * SECOND)
    assert process.mm is not None
    assert process.mm.sizes.anon_pages == MIB_PAGES + 30


def test_growth_ends_at_until_and_the_process_lives_on() -> None:
    machine = make()
    process = spawn(machine, 1, "behaviour=grow rate=20M/s until=10M")
    machine.advance(5 * SECOND)
    assert mib_of(process) == 10
    assert process.leader.state is State.RUNNING


def test_a_saw_gives_back_what_it_took_and_begins_again() -> None:
    machine = make()
    process = spawn(machine, 5, "behaviour=sawtooth rate=20M/s period=1s")
    seen = []
    for _ in range(25):
        machine.advance(100 * MS)
        seen.append(mib_of(process))
    assert seen[9] == 25
    assert seen[10] == 5
    assert max(seen[11:]) == 25
    assert seen[21] == 5


def test_stopped_held_and_waiting_processes_do_not_grow() -> None:
    machine = make()
    process = spawn(machine, 1, "behaviour=grow rate=20M/s")
    for stop, go_on in (
        (
            lambda: machine.kill(machine.root, process, signal.SIGSTOP),
            lambda: machine.kill(machine.root, process, signal.SIGCONT),
        ),
        (
            lambda: machine.hold(process.leader, Hold.STUCK),
            lambda: machine.release(process.leader),
        ),
    ):
        stop()
        before = mib_of(process)
        machine.advance(SECOND)
        assert mib_of(process) == before
        go_on()
        machine.advance(SECOND)
        assert mib_of(process) == before + 20


def test_a_process_put_to_sleep_grows_no_more() -> None:
    machine = make()
    process = spawn(machine, 1, "behaviour=grow rate=20M/s")
    machine.advance(SECOND)
    machine.behave(process, None)
    assert process.leader.state is State.SLEEPING
    assert machine.living.behaviour_of(process) is None
    machine.advance(SECOND)
    assert mib_of(process) == 21


def test_the_steps_of_the_dead_end_with_them() -> None:
    machine = make()
    process = spawn(machine, 1, "behaviour=grow rate=20M/s")
    machine.exit_group(process)
    assert machine.living.all() == []
    assert machine.events.pop(10 * SECOND) is None


def test_growth_past_all_memory_ends_in_an_oom_of_the_one_that_grew() -> None:
    machine = make()
    process = spawn(machine, 1, "behaviour=grow rate=100M/s")
    machine.advance(20 * SECOND)
    assert process.is_zombie
    assert machine.last_verdict is not None
    assert machine.last_verdict.victims == [process.leader]
    assert machine.memory.counters.pswpout > 0
    assert total_us(machine, "memory") > 0


# -- Swap --------------------------------------------------------------------------


def test_a_process_that_uses_what_is_in_swap_reads_it_back() -> None:
    machine = make()
    process = machine.spawn("task", sizes=sizes_for(anon_pages=5000, swap_entries=5000))
    machine.behave(process, Behaviour(BehaviourKind.CONSTANT))
    machine.advance(SECOND)
    counters = machine.memory.counters
    assert process.mm is not None
    # A quarter of what is left and a page in each of ten steps.
    assert 4700 < counters.pswpin == 5000 - process.mm.sizes.swap_entries < 4750
    assert counters.pgmajfault == counters.workingset_refault_anon == counters.pswpin
    # What takes 20 us a page is a stall of both, and full: nobody else runs.
    for resource in ("memory", "io"):
        assert total_us(machine, resource, line=1) == pytest.approx(20 * counters.pswpin, rel=0.15)
    machine.advance(100 * SECOND)
    assert process.mm.sizes.swap_entries == 0


# -- Page cache --------------------------------------------------------------------


def test_dropped_cache_is_read_back_by_who_runs() -> None:
    machine = make()
    machine.memory.set_cache(clean_pages=100 * MIB_PAGES, dirty_pages=0)
    leak = spawn(machine, 1, "behaviour=grow rate=100M/s until=200M")
    machine.advance(3 * SECOND)
    memory, counters = machine.memory, machine.memory.counters
    gone = memory.cache_evicted_pages
    assert gone > 0
    assert counters.workingset_refault_file > 0
    assert total_us(machine, "memory") > 0
    machine.exit_group(leak)
    machine.advance(SECOND)
    assert memory.cache_evicted_pages == gone  # nobody runs, so nobody misses it
    machine.behave(spawn(machine, 1), Behaviour(BehaviourKind.CONSTANT))
    stalled_us, read = total_us(machine, "io"), counters.workingset_refault_file
    machine.advance(SECOND)
    back = gone - memory.cache_evicted_pages
    # A 512th of what is left in each of ten steps, at 20 us a page.
    assert gone * 9 // 512 < back < gone * 10 // 512 + 1
    assert counters.workingset_refault_file - read == back
    assert total_us(machine, "io") - stalled_us == pytest.approx(20 * back, rel=0.15)


def test_nobody_dies_for_page_cache_and_who_sets_it_is_missed_by_nobody() -> None:
    machine = make(swap_mib=0)
    spawn(machine, 230)
    machine.memory.cache_evicted_pages = 200 * MIB_PAGES
    machine.behave(spawn(machine, 1), Behaviour(BehaviourKind.CONSTANT))
    machine.advance(10 * SECOND)
    assert machine.last_verdict is None
    assert machine.free_pages >= machine.memory.watermarks.min_pages
    machine.memory.set_cache(clean_pages=0, dirty_pages=0)
    assert machine.memory.cache_evicted_pages == 0


def test_two_that_do_not_fit_thrash() -> None:
    machine = make(ram_mib=128, swap_mib=256)
    machine.store_sysctl("vm/min_free_kbytes", b"1024")
    for _ in range(2):
        spawn(machine, 1, "behaviour=grow rate=50M/s until=100M")
    machine.advance(10 * SECOND)
    before = machine.memory.counters.pswpin
    machine.advance(10 * SECOND)
    assert machine.memory.counters.pswpin - before > 10_000
    assert machine.last_verdict is None
    some, full = machine.pressure["memory"].render(machine.now_ns).splitlines()
    assert float(some.split("avg10=")[1].split()[0]) > 50
    # Both wait at once for a part of that time.
    assert 5 < float(full.split("avg10=")[1].split()[0]) < float(some.split("avg10=")[1].split()[0])


def test_a_stall_is_full_while_all_that_run_are_in_one() -> None:
    machine = make(cpus=8)
    first, second = (spawn(machine, 1, "behaviour=constant") for _ in range(2))
    machine.stalls.wait(first, 50 * MS)
    machine.advance(10 * MS)
    machine.stalls.wait(second, 30 * MS, 20 * MS)
    machine.stalls.wait(second, 5 * MS)
    machine.advance(90 * MS)
    assert (total_us(machine, "memory"), total_us(machine, "memory", line=1)) == (50_000, 35_000)
    assert (total_us(machine, "io"), total_us(machine, "io", line=1)) == (20_000, 20_000)


def test_more_that_run_than_cpus_wait_for_one() -> None:
    for count, waits in ((2, False), (3, True)):
        machine = make()
        for _ in range(count):
            spawn(machine, 1, "behaviour=constant")
        machine.advance(5 * SECOND)
        assert (total_us(machine, "cpu") > 4_000_000) == waits


# -- Children ----------------------------------------------------------------------


def test_a_fork_storm_makes_children_up_to_as_many() -> None:
    machine = make()
    parent = spawn(machine, 2, "behaviour=fork-storm children=5/s max=12")
    machine.advance(SECOND)
    assert len(parent.children) == 5
    assert {mib_of(child) for child in parent.children} == {2}
    machine.advance(5 * SECOND)
    assert len(parent.children) == 12
    first = next(iter(parent.children))
    machine.exit_group(first)
    machine.advance(SECOND)
    assert first.reaped
    assert len(parent.children) == 12


def test_children_may_have_a_size_of_their_own() -> None:
    machine = make()
    parent = spawn(machine, 10, "behaviour=fork-storm children=20/s max=4 child=1M")
    machine.change_oom_score_adj(parent, 300)
    machine.advance(SECOND)
    assert {mib_of(child) for child in parent.children} == {1}
    assert {child.oom_score_adj for child in parent.children} == {300}
    assert {child.comm for child in parent.children} == {"task"}


def test_a_storm_of_large_children_invokes_the_oom_killer_and_goes_on() -> None:
    machine = make(swap_mib=0)
    parent = spawn(machine, 2, "behaviour=fork-storm children=10/s max=50 child=40M")
    machine.advance(10 * SECOND)
    assert machine.oom_kills > 3
    assert not parent.is_zombie
    assert machine.memory.shared_pages == 0


def test_where_no_pid_is_left_fork_fails() -> None:
    machine = make()
    machine.store_sysctl("kernel/pid_max", b"301")
    parent = spawn(machine, 0, "behaviour=fork-storm children=200/s max=1000 child=4k")
    machine.advance(10 * SECOND)
    assert len(parent.children) == 301 - 100 - 1


# -- Traits ------------------------------------------------------------------------


def test_ignoring_sigterm_leaves_sigkill() -> None:
    machine = make()
    process = spawn(machine, 1, "ignore_sigterm=yes")
    assert not machine.kill(machine.root, process, signal.SIGTERM)
    assert process.leader.alive
    assert machine.kill(machine.root, process, signal.SIGKILL)
    assert process.is_zombie


def test_a_slow_exit_keeps_its_memory_meanwhile() -> None:
    machine = make()
    process = spawn(machine, 50, "exit_delay=3s")
    machine.clone_thread(process.leader)
    machine.kill(machine.root, process, signal.SIGTERM)
    machine.advance(3 * SECOND - 1)
    assert mib_of(process) == 50
    machine.advance(1)
    assert not process.leader.alive


def test_what_is_stuck_is_d_and_dies_when_it_is_stuck_no_more() -> None:
    machine = make()
    process = spawn(machine, 1, "behaviour=grow rate=10M/s stuck=yes")
    assert process.leader.state is State.DISK_SLEEP
    machine.kill(machine.root, process, signal.SIGKILL)
    machine.advance(SECOND)
    assert mib_of(process) == 1
    machine.behave(process, None)
    assert process.is_zombie


def test_another_behaviour_takes_the_traits_of_the_first_away() -> None:
    machine = make()
    process = spawn(machine, 1, "stuck=yes")
    machine.behave(process, parse({"exit_delay": "1s"}))
    assert [thread.hold for thread in process.threads] == [Hold.AT_EXIT]
    machine.behave(process, parse({}))
    assert [thread.hold for thread in process.threads] == [Hold.NONE]
    assert process.leader.state is State.RUNNING


def test_who_cannot_do_anything_by_itself_is_refused() -> None:
    machine = make()
    kthread = machine.kthread("kswapd0")
    zombie = spawn(machine, 1)
    machine.exit_group(zombie)
    dying = spawn(machine, 1)
    machine.hold(dying.leader, Hold.STUCK)
    machine.kill(machine.root, dying, signal.SIGKILL)
    for process in (kthread, zombie, dying):
        with pytest.raises(Refused) as refused:
            machine.behave(process, parse({}))
        assert refused.value.error == errno.EINVAL
    for words in ({"stuck": "yes"}, {"exit_delay": "1s"}):
        with pytest.raises(Refused):
            machine.behave(machine.init, parse(words))
    assert machine.living.all() == []


def test_a_vfork_parent_waits_for_its_child() -> None:
    machine = make()
    parent = spawn(machine, 1, "behaviour=grow rate=10M/s")
    child = machine.clone(parent.leader, CloneFlags(vm=True, vfork=True))
    machine.advance(SECOND)
    assert mib_of(parent) == 1
    machine.exit_group(child)
    machine.advance(SECOND)
    assert mib_of(parent) == 11


# -- Panic -------------------------------------------------------------------------


def test_time_stands_still_when_the_machine_has_panicked_however_it_is_cut() -> None:
    logs = []
    for parts in (1, 10):
        machine = make(swap_mib=0)
        process = spawn(machine, 1, "behaviour=grow rate=100M/s")
        machine.change_oom_score_adj(process, -1000)
        for _ in range(parts):
            machine.advance(20 * SECOND // parts)
        assert machine.panicked
        logs.append((machine.now_ns, machine.log.render()))
    assert logs[0] == logs[1]
