# SPDX-License-Identifier: MIT
"""The way into the OOM killer: who is turned away, who is taken first, and who is named."""

from __future__ import annotations

import re

import pytest

from fakeproc.kernel import gfp, numa, oom
from fakeproc.kernel.explain import explain
from fakeproc.kernel.machine import CloneFlags, Hardware, Machine, sizes_for
from fakeproc.kernel.oom import Outcome
from fakeproc.kernel.profile import KernelConfig
from fakeproc.kernel.task import Hold, Process


def make_machine(kernel: str) -> Machine:
    """Return a machine with somebody to kill."""
    machine = Machine(KernelConfig(kernel), Hardware(50_000, 0), first_pid=100)
    spawn(machine, "large", 900)
    return machine


def spawn(machine: Machine, name: str, rss_pages: int) -> Process:
    return machine.spawn(name, sizes=sizes_for(anon_pages=rss_pages))


def mask(machine: Machine, *flags: str) -> int:
    bits = gfp.bits(machine.profile.version)
    return sum(bits[flag] for flag in ("DIRECT_RECLAIM", *flags))


# -- Without __GFP_FS --------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "plain", "nofail", "memcg"),
    [
        ("4.4", "killed", "killed", "killed"),
        ("4.7", "nofs", "killed", "killed"),
        ("series", "nofs", "killed", "killed"),
        ("4.8", "nofs", "killed", "killed"),
        ("4.9", "nofs", "killed", "nofs"),
        ("4.14", "nofs", "nofs", "nofs"),
        ("5.0", "nofs", "nofs", "nofs"),
        ("5.4", "nofs", "nofs", "killed"),
        ("6.1", "nofs", "nofs", "killed"),
    ],
)
def test_without_fs_nobody_is_killed(kernel: str, plain: str, nofail: str, memcg: str) -> None:
    for flags, in_memcg, outcome in [
        (("IO",), False, plain),
        (("IO", "NOFAIL"), False, nofail),
        (("IO",), True, memcg),
        (("IO", "FS"), False, "killed"),
        (("IO", "FS"), True, "killed"),
    ]:
        machine = make_machine(kernel)
        group = machine.make_memcg("/web") if in_memcg else None
        machine.join_memcg(machine.process(100), machine.make_memcg("/web"))
        request = oom.allocation(
            machine,
            allocating=machine.init.leader,
            gfp_mask=mask(machine, *flags),
            memcg=group,
        )
        verdict = machine.out_of_memory(request)
        assert verdict.outcome.value == outcome, (flags, in_memcg)
        assert bool(machine.log.render()) == (outcome == "killed")


@pytest.mark.parametrize("kernel", ["4.7", "4.9", "6.1"])
def test_a_page_fault_is_not_turned_away(kernel: str) -> None:
    machine = make_machine(kernel)
    request = oom.allocation(machine, allocating=machine.init.leader, gfp_mask=0)
    assert machine.out_of_memory(request).outcome is Outcome.KILLED


def test_it_comes_after_the_bypass_and_before_the_panic() -> None:
    machine = make_machine("6.1")
    machine.store_sysctl("vm/panic_on_oom", b"2")
    request = oom.allocation(
        machine, allocating=machine.process(100).leader, gfp_mask=mask(machine, "IO")
    )
    assert oom.decide(machine, request).outcome is Outcome.NOFS
    machine.hold(machine.process(100).leader, Hold.STUCK)
    machine.kill(machine.root, machine.process(100), 9)
    assert oom.decide(machine, request).outcome is Outcome.BYPASSED


# -- A dying task in a memcg -------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "outcome"),
    [("5.0", "killed"), ("5.4", "passed"), ("6.1", "passed"), ("6.18", "killed")],
)
def test_a_dying_tasks_charge_is_let_pass(kernel: str, outcome: str) -> None:
    """SIGKILL is pending, but somebody alive shares the mm, so that it is no bypass."""
    machine = make_machine(kernel)
    dying, group = machine.process(100), machine.make_memcg("/web")
    sharer = machine.clone(dying.leader, CloneFlags(vm=True))
    for process in (dying, sharer, spawn(machine, "other", 2000)):
        machine.join_memcg(process, group)
    machine.hold(dying.leader, Hold.STUCK)
    machine.kill(machine.root, dying, 9)
    request = oom.allocation(machine, allocating=dying.leader, memcg=group)
    foretold = explain(machine, request)
    verdict = machine.out_of_memory(request)
    assert verdict.outcome.value == foretold.outcome.value == outcome
    assert not dying.leader.memdie
    if outcome == "passed":
        assert foretold.reason.startswith("the allocating task is dying already")
        assert not verdict.killed
        everywhere = oom.allocation(machine, allocating=dying.leader)
        assert machine.out_of_memory(everywhere).outcome is Outcome.KILLED


# -- OOM origins -------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["4.4", "4.9"])
def test_an_origin_is_taken_before_all_others(kernel: str) -> None:
    """Its points are all ones, and overflow in the score: 50000 pages of memory here."""
    machine = make_machine(kernel)
    origin = spawn(machine, "swapoff", 10)
    machine.change_oom_score_adj(origin, -1000)
    machine.set_oom_origin(origin, True)
    verdict = machine.out_of_memory(oom.allocation(machine, allocating=machine.init.leader))
    assert [victim.comm for victim in verdict.victims] == ["swapoff"]
    assert verdict.points == 2**64 - 1
    score = (2**64 - 1) * 1000 % 2**64 // 50_000 % 2**32
    assert f"score {score} or sacrifice child" in machine.log.render()


@pytest.mark.parametrize("kernel", ["4.4", "4.9", "6.1"])
def test_of_several_origins_the_last_is_taken(kernel: str) -> None:
    machine = make_machine(kernel)
    for name in ("first", "second"):
        machine.set_oom_origin(spawn(machine, name, 10), True)
    request = oom.allocation(machine, allocating=machine.init.leader)
    for name in ("second", "first", "large"):
        foretold = explain(machine, request)
        assert foretold.reason.startswith("it is in swapoff") == (name != "large")
        assert foretold.chosen is foretold.ranking[0].process
        verdict = machine.out_of_memory(request)
        assert [victim.comm for victim in verdict.victims] == [name]


def test_an_origin_on_other_nodes_is_left_alone() -> None:
    machine = Machine(KernelConfig("6.1"), Hardware(node_pages=(9000, 9000)), first_pid=100)
    spawn(machine, "large", 900)
    origin = spawn(machine, "swapoff", 10)
    machine.set_oom_origin(origin, True)
    machine.place(origin.leader, numa.changed(numa.ANYWHERE, {"mempolicy": "bind:0"}, 0b11))
    request = oom.allocation(machine, allocating=machine.init.leader, nodemask=0b10)
    verdict = machine.out_of_memory(request)
    assert [victim.comm for victim in verdict.victims] == ["large"]


def test_being_an_origin_is_not_inherited_and_ends_with_the_process() -> None:
    machine = make_machine("6.1")
    origin = spawn(machine, "swapoff", 10)
    machine.set_oom_origin(origin, True)
    assert not machine.spawn("child", parent=origin.leader).oom_origin
    machine.exit_group(origin)
    assert not origin.oom_origin
    assert not machine.oom_origins


# -- Who is named where the scan goes by threads -----------------------------------


@pytest.mark.parametrize(
    ("kernel", "in_memcg", "named"),
    [
        ("4.4", False, 102),
        ("4.7", False, 100),
        ("4.9", False, 100),
        ("4.4", True, 102),
        ("4.7", True, 102),
        ("4.9", True, 102),
        ("5.0", True, 102),
    ],
)
def test_a_scan_by_threads_names_the_last_of_an_exited_leader(
    kernel: str, in_memcg: bool, named: int
) -> None:
    """The one that is killed is the first of them all the same."""
    machine = make_machine(kernel)
    process = machine.process(100)
    for name in ("second", "third"):
        machine.rename(machine.clone_thread(process.leader), name)
    machine.exit_thread(process.leader)
    group = machine.make_memcg("/web")
    machine.join_memcg(process, group)
    request = oom.allocation(
        machine, allocating=machine.init.leader, memcg=group if in_memcg else None
    )
    verdict = machine.out_of_memory(request)
    assert [victim.tid for victim in verdict.victims] == [101]
    log = machine.log.render()
    name = {100: "large", 102: "third"}[named]
    assert f"Kill process {named} ({name}) score" in log
    assert "Killed process 101 (second)" in log
    if kernel == "5.0":
        assert f"task={name},pid={named}," in log


def test_oom_kill_allocating_task_names_the_thread_that_asked() -> None:
    machine = make_machine("6.1")
    thread = machine.clone_thread(machine.process(100).leader)
    machine.rename(thread, "worker")
    machine.store_sysctl("vm/oom_kill_allocating_task", b"1")
    machine.out_of_memory(oom.allocation(machine, allocating=thread))
    assert re.search(r"task=worker,pid=101,", machine.log.render())
    assert "Killed process 100 (large)" in machine.log.render()
