# SPDX-License-Identifier: MIT
"""Nodes, cpusets and memory policies: masks, inheritance, and who counts in a constrained OOM."""

from __future__ import annotations

import errno
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakeproc.kernel import gfp, numa, oom
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.explain import explain
from fakeproc.kernel.machine import CloneFlags, Hardware, Machine, sizes_for
from fakeproc.kernel.numa import ALL_NODES, ANYWHERE, Placement, PolicyMode
from fakeproc.kernel.oom import Constraint, OomRequest, Outcome
from fakeproc.kernel.profile import KernelConfig
from fakeproc.kernel.task import Process

NODE_PAGES = (30_000, 20_000)
SWAP_PAGES = 1000


def make_machine(kernel: str = "6.1") -> Machine:
    """Return a machine of two nodes."""
    hardware = Hardware(node_pages=NODE_PAGES, swap_pages=SWAP_PAGES)
    return Machine(KernelConfig(kernel), hardware, first_pid=100)


def spawn(machine: Machine, name: str, rss_pages: int, **options: str) -> Process:
    """Return a process with this placement."""
    process = machine.spawn(name, sizes=sizes_for(anon_pages=rss_pages))
    machine.place(process.leader, numa.changed(ANYWHERE, options, machine.hardware.nodes))
    return process


def victims(machine: Machine, request: OomRequest) -> list[str]:
    return [victim.comm for victim in machine.out_of_memory(request).victims]


def log_line(machine: Machine, pattern: str) -> str:
    """Return the only line of the log with this in it."""
    (line,) = re.findall(rf"^.*\] (.*{pattern}.*)$", machine.log.render(), re.MULTILINE)
    return str(line)


# -- Masks -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (0b1, "0"),
        (0b11, "0-1"),
        (0b101, "0,2"),
        (0b1110, "1-3"),
        (0b1101_1011, "0-1,3-4,6-7"),
        (1 << 63, "63"),
        (ALL_NODES, "0-63"),
    ],
)
def test_lists_are_those_of_the_kernel(mask: int, text: str) -> None:
    assert numa.format_list(mask) == text
    assert numa.parse_list("nodemask", text, ALL_NODES) == mask


@settings(deadline=None)
@given(st.integers(1, ALL_NODES))
def test_every_mask_reads_back(mask: int) -> None:
    assert numa.parse_list("nodemask", numa.format_list(mask), ALL_NODES) == mask


@pytest.mark.parametrize(
    "text", ["", ",", "0,", "-1", "1-", "1-0", "0x1", "a", "0 1", "2", "0-9999"]
)
def test_what_is_no_list_of_the_nodes_there_are_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        numa.parse_list("nodemask", text, 0b11)
    assert refused.value.error == errno.EINVAL
    assert refused.value.why == (
        f"nodemask={text}: accepted is a list of nodes such as 0, 0-1 or 0,2; the machine has 0-1."
    )


@pytest.mark.parametrize(
    ("mask", "bits", "text"),
    [
        (1, 1, "1"),
        (3, 2, "3"),
        (0xFF, 12, "0ff"),
        (3, 64, "00000000,00000003"),
        ((1 << 40) - 1, 40, "ff,ffffffff"),
    ],
)
def test_bitmaps_are_those_of_the_kernel(mask: int, bits: int, text: str) -> None:
    assert numa.format_bitmap(mask, bits) == text


# -- Placement ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mems_allowed": "2"}, "mems_allowed=2: accepted is a list of nodes"),
        ({"mempolicy": "bind"}, "mempolicy=bind=: accepted is a list of nodes"),
        ({"mempolicy": "bnid:0"}, "mempolicy=bnid:0: accepted are none, bind:NODES"),
        ({"mempolicy": "bind:2"}, "mempolicy=bind:2: the task's cpuset allows 0-1"),
        ({"mems_allowed": "0", "mempolicy": "bind:1"}, "the task's cpuset allows 0;"),
        ({"cpuset": "slice"}, "cpuset=slice: accepted is a path such as /slice."),
        ({"cpuset": "/a\nb"}, "accepted is a path such as /slice."),
    ],
)
def test_a_bad_placement_is_refused(options: dict[str, str], words: str) -> None:
    with pytest.raises(Refused, match=re.escape(words)) as refused:
        numa.changed(ANYWHERE, options, 0b11)
    assert refused.value.error == errno.EINVAL


def test_equal_placements_are_one_object() -> None:
    bound = numa.changed(ANYWHERE, {"mempolicy": "bind:1"}, 0b11)
    assert numa.changed(ANYWHERE, {"mempolicy": "bind:1"}, 0b11) is bound
    assert numa.changed(bound, {"mempolicy": "none", "mems_allowed": "0-1"}, 0b11) is ANYWHERE


def test_a_policy_is_cut_to_the_cpuset_and_moves_with_it() -> None:
    placement = numa.changed(ANYWHERE, {"mems_allowed": "0-1", "mempolicy": "bind:1-3"}, 0b1111)
    assert placement.policy_nodes == 0b0010
    moved = numa.changed(placement, {"mems_allowed": "2-3"}, 0b1111)
    assert (moved.mode, moved.policy_nodes) == (PolicyMode.BIND, 0b1000)
    assert numa.changed(moved, {"mems_allowed": "1"}, 0b1111).policy_nodes == 0b0010


def test_fork_clone_and_thread_inherit_and_exec_keeps() -> None:
    machine = make_machine()
    parent = spawn(machine, "parent", 10, mems_allowed="1", mempolicy="bind:1", cpuset="/slice")
    placement = parent.leader.placement
    assert placement == Placement("/slice", 0b10, PolicyMode.BIND, 0b10)
    assert machine.spawn("child", parent=parent.leader).leader.placement is placement
    sibling = machine.clone(parent.leader, CloneFlags(vm=True, parent=True))
    assert sibling.real_parent is machine.init.leader
    assert sibling.leader.placement is placement
    thread = machine.clone_thread(parent.leader)
    assert thread.placement is placement
    machine.place(thread, numa.changed(placement, {"mempolicy": "none"}, 0b11))
    machine.exec(thread, "execed")
    assert parent.leader.placement == Placement("/slice", 0b10)


def test_an_exited_leader_has_no_policy_any_more() -> None:
    machine = make_machine()
    process = spawn(machine, "half", 10, mems_allowed="1", mempolicy="bind:1")
    machine.clone_thread(process.leader)
    machine.exit_thread(process.leader)
    assert process.leader.placement == Placement(mems=0b10)


# -- The constraint ----------------------------------------------------------------


def test_nodes_make_up_the_ram() -> None:
    hardware = Hardware(node_pages=NODE_PAGES, swap_pages=SWAP_PAGES)
    assert (hardware.ram_pages, hardware.present_pages, hardware.nodes) == (50_000, 50_000, 0b11)
    assert Hardware(ram_pages=7).node_pages == (7,)


@pytest.mark.parametrize(
    ("mems", "nodemask", "constraint", "total"),
    [
        ("0-1", None, Constraint.NONE, 51_000),
        ("0-1", 0b11, Constraint.NONE, 51_000),
        ("0-1", 0b10, Constraint.MEMORY_POLICY, 21_000),
        ("0", None, Constraint.CPUSET, 31_000),
        ("0", 0b11, Constraint.CPUSET, 31_000),
        ("0", 0b10, Constraint.MEMORY_POLICY, 21_000),
    ],
)
def test_what_constrains_says_what_memory_it_is_about(
    mems: str, nodemask: int | None, constraint: Constraint, total: int
) -> None:
    machine = make_machine()
    current = spawn(machine, "current", 10, mems_allowed=mems)
    request = oom.allocation(machine, allocating=current.leader, nodemask=nodemask)
    assert (request.constraint, request.totalpages) == (constraint, total)


def test_a_memcg_comes_before_everything_else() -> None:
    machine = make_machine()
    group = machine.make_memcg("/web")
    group.limit_pages = 500
    current = spawn(machine, "current", 10, mems_allowed="0")
    request = oom.allocation(machine, allocating=current.leader, memcg=group, nodemask=0b1)
    assert (request.constraint, request.totalpages) == (Constraint.MEMCG, 500 + SWAP_PAGES)


@pytest.mark.parametrize("kernel", ["4.4", "4.9", "4.14", "4.19", "6.1"])
@pytest.mark.parametrize("mask", ["page fault", "this node"])
def test_what_has_no_list_of_zones_has_no_constraint(kernel: str, mask: str) -> None:
    """Whom it may kill still depends on the cpuset."""
    machine = make_machine(kernel)
    spawn(machine, "elsewhere", 900, mems_allowed="1")
    current = spawn(machine, "current", 10, mems_allowed="0")
    bits = gfp.bits(machine.profile.version)
    gfp_mask = 0 if mask == "page fault" else bits["THISNODE"] | bits["FS"]
    request = oom.allocation(machine, allocating=current.leader, gfp_mask=gfp_mask, nodemask=0b10)
    assert (request.constraint, request.totalpages) == (Constraint.NONE, 51_000)
    assert not numa.is_eligible(machine.profile, request, machine.process(100))


def test_a_victim_gets_past_its_cpuset() -> None:
    machine = make_machine()
    current = spawn(machine, "current", 10, mems_allowed="0")
    oom.mark_victim(machine, current.leader)
    assert oom.allocation(machine, allocating=current.leader).constraint is Constraint.NONE


# -- Who counts --------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["4.4", "4.7", "series", "4.9", "5.4", "6.18"])
def test_a_cpuset_spares_who_shares_no_node_with_it(kernel: str) -> None:
    machine = make_machine(kernel)
    spawn(machine, "elsewhere", 900, mems_allowed="1")
    spawn(machine, "overlapping", 100)
    current = spawn(machine, "current", 10, mems_allowed="0")
    assert victims(machine, oom.allocation(machine, allocating=current.leader)) == ["overlapping"]


def test_one_thread_on_the_nodes_is_enough() -> None:
    machine = make_machine()
    process = spawn(machine, "mixed", 900, mems_allowed="1")
    thread = machine.clone_thread(process.leader)
    machine.place(thread, ANYWHERE)
    current = spawn(machine, "current", 10, mems_allowed="0")
    assert victims(machine, oom.allocation(machine, allocating=current.leader)) == ["mixed"]


@pytest.mark.parametrize("kernel", ["4.4", "5.10", "5.15", "6.1"])
@pytest.mark.parametrize(
    ("policy", "counts"),
    [("none", True), ("preferred:0", True), ("bind:0", False), ("bind:0-1", True)],
)
def test_a_policy_counts_by_its_nodes(kernel: str, policy: str, counts: bool) -> None:
    """Its cpuset does not: the largest is on node 0 alone."""
    machine = make_machine(kernel)
    spawn(machine, "small", 100)
    spawn(machine, "large", 900, mempolicy=policy)
    request = oom.allocation(machine, allocating=machine.init.leader, nodemask=0b10)
    assert victims(machine, request) == ["large" if counts else "small"]


@pytest.mark.parametrize(("kernel", "victim"), [("5.10", "small"), ("5.15", "large")])
def test_who_interleaves_may_have_memory_anywhere_since_5_14(kernel: str, victim: str) -> None:
    machine = make_machine(kernel)
    spawn(machine, "small", 100)
    spawn(machine, "large", 900, mempolicy="interleave:0")
    request = oom.allocation(machine, allocating=machine.init.leader, nodemask=0b10)
    assert victims(machine, request) == [victim]


@pytest.mark.parametrize(
    ("kernel", "victim"), [("4.7", "inside"), ("5.0", "inside"), ("5.4", "far")]
)
def test_a_memcg_asks_for_the_cpuset_until_5_3(kernel: str, victim: str) -> None:
    machine = make_machine(kernel)
    group = machine.make_memcg("/web")
    members = [
        spawn(machine, "far", 900, mems_allowed="1"),
        spawn(machine, "inside", 100, mems_allowed="0"),
    ]
    for member in members:
        machine.join_memcg(member, group)
    request = oom.allocation(machine, allocating=members[1].leader, memcg=group)
    assert victims(machine, request) == [victim]
    assert ("] far" in machine.log.render() or " far\n" in machine.log.render()) == (
        victim == "far"
    )


def test_a_child_elsewhere_is_no_sacrifice() -> None:
    machine = make_machine("4.9")
    parent = spawn(machine, "parent", 900)
    for name, mems in (("far", "1"), ("near", "0")):
        child = machine.spawn(name, parent=parent.leader, sizes=sizes_for(anon_pages=50))
        machine.place(child.leader, numa.changed(ANYWHERE, {"mems_allowed": mems}, 0b11))
    current = spawn(machine, "current", 10, mems_allowed="0")
    assert victims(machine, oom.allocation(machine, allocating=current.leader)) == ["near"]


def test_a_dying_victim_elsewhere_is_not_waited_for() -> None:
    machine = make_machine("4.9")
    far = spawn(machine, "far", 900, mems_allowed="1")
    spawn(machine, "near", 100)
    current = spawn(machine, "current", 10, mems_allowed="0")
    oom.mark_victim(machine, far.leader)
    request = oom.allocation(machine, allocating=machine.init.leader)
    assert oom.decide(machine, request).outcome is Outcome.WAITING
    assert victims(machine, oom.allocation(machine, allocating=current.leader)) == ["near"]


@pytest.mark.parametrize(("setting", "panics"), [(0, False), (1, False), (2, True)])
def test_panic_on_oom_1_spares_what_is_constrained(setting: int, panics: bool) -> None:
    machine = make_machine()
    machine.store_sysctl("vm/panic_on_oom", b"%d" % setting)
    current = spawn(machine, "current", 10, mems_allowed="0")
    machine.out_of_memory(oom.allocation(machine, allocating=current.leader))
    assert bool(machine.panicked) == panics


def test_nobody_on_the_nodes_is_the_end() -> None:
    machine = make_machine()
    spawn(machine, "bound", 900, mempolicy="bind:0")
    request = oom.allocation(machine, allocating=machine.init.leader, nodemask=0b10)
    assert machine.out_of_memory(request).outcome is Outcome.PANICKED
    assert machine.panicked == "System is deadlocked on memory"


def test_oom_kill_allocating_task_kills_only_who_counts() -> None:
    machine = make_machine()
    machine.store_sysctl("vm/oom_kill_allocating_task", b"1")
    spawn(machine, "other", 100)
    current = spawn(machine, "current", 10, mempolicy="bind:0")
    there = oom.allocation(machine, allocating=current.leader, nodemask=0b10)
    assert victims(machine, there) == ["other"]
    here = oom.allocation(machine, allocating=current.leader, nodemask=0b01)
    assert victims(machine, here) == ["current"]


def test_points_and_score_are_of_the_nodes_memory() -> None:
    machine = make_machine("4.19")
    victim = spawn(machine, "victim", 9000, mems_allowed="0")
    machine.change_oom_score_adj(victim, 100)
    verdict = machine.out_of_memory(oom.allocation(machine, allocating=victim.leader))
    pages = victim.oom_mm.sizes.pagetable_pages if victim.oom_mm else 0
    assert verdict.points == 9000 + pages + 100 * 31
    assert f"score {verdict.points * 1000 // 31_000} or" in log_line(machine, "Kill process")


# -- oom_score and its reader ------------------------------------------------------


@pytest.mark.parametrize(("kernel", "hidden"), [("4.4", True), ("5.0", True), ("5.4", False)])
def test_oom_score_is_0_for_a_reader_elsewhere_until_5_3(kernel: str, hidden: bool) -> None:
    machine = make_machine(kernel)
    process = spawn(machine, "far", 9000, mems_allowed="1")
    reader = spawn(machine, "reader", 10, mems_allowed="0").leader
    shown = machine.oom_score(process)
    assert shown > 100
    assert machine.oom_score(process, reader.placement) == (0 if hidden else shown)


# -- The log -----------------------------------------------------------------------

HEADERS = {
    "4.8": ", order=0, oom_score_adj=0",
    "4.9": ", nodemask={mems}, order=0, oom_score_adj=0",
    "4.14": ", nodemask={null},  order=0, oom_score_adj=0",
    "4.19": ", nodemask={null}, order=0, oom_score_adj=0",
    "5.0": ", order=0, oom_score_adj=0",
}


@pytest.mark.parametrize("kernel", HEADERS)
@pytest.mark.parametrize("nodemask", [None, 0b10])
def test_the_header_names_nodes_and_cpuset(kernel: str, nodemask: int | None) -> None:
    machine = make_machine(kernel)
    current = spawn(machine, "current", 10, mems_allowed="0", cpuset="/outer/slice")
    machine.out_of_memory(oom.allocation(machine, allocating=current.leader, nodemask=nodemask))
    policy = None if nodemask is None else "1"
    tail = HEADERS[kernel].format(mems=policy or "0", null=policy or "(null)")
    assert log_line(machine, "invoked oom-killer").endswith(f"(GFP_KERNEL){tail}")
    if kernel != "5.0":
        assert log_line(machine, "cpuset=slice") == "current cpuset=slice mems_allowed=0"


@pytest.mark.parametrize(
    ("nodemask", "expected"),
    [
        (None, "constraint=CONSTRAINT_CPUSET,nodemask=(null),cpuset=slice,mems_allowed=0,"),
        (0b10, "constraint=CONSTRAINT_MEMORY_POLICY,nodemask=1,cpuset=slice,mems_allowed=0,"),
    ],
)
def test_the_summary_names_the_constraint(nodemask: int | None, expected: str) -> None:
    machine = make_machine()
    current = spawn(machine, "current", 10, mems_allowed="0", cpuset="/slice")
    machine.out_of_memory(oom.allocation(machine, allocating=current.leader, nodemask=nodemask))
    assert log_line(machine, "oom-kill:") == (
        f"oom-kill:{expected}global_oom,task_memcg=/,task=current,pid=100,uid=0"
    )


def test_the_table_lists_who_counts() -> None:
    machine = make_machine()
    spawn(machine, "elsewhere", 900, mems_allowed="1")
    current = spawn(machine, "current", 10, mems_allowed="0")
    machine.out_of_memory(oom.allocation(machine, allocating=current.leader))
    rows = re.findall(r"\] \[ +(\d+)\]", machine.log.render())
    assert rows == ["101"]


@pytest.mark.parametrize(
    ("mems", "zones"),
    [
        ("0-1", [("0 DMA", "16384"), ("0 DMA32", "103616"), ("1 DMA32", "80000")]),
        ("1", [("1 DMA32", "80000")]),
    ],
)
def test_the_memory_block_shows_the_nodes_of_the_cpuset(
    mems: str, zones: list[tuple[str, str]]
) -> None:
    machine = make_machine()
    current = spawn(machine, "current", 10, mems_allowed=mems)
    machine.out_of_memory(oom.allocation(machine, allocating=current.leader))
    assert re.findall(r"Node (\d \w+) free.* managed:(\d+)kB", machine.log.render()) == zones


def test_a_manual_oom_is_about_all_nodes() -> None:
    machine = make_machine("4.9")
    spawn(machine, "far", 900, mems_allowed="1")
    verdict = machine.sysrq_oom()
    assert verdict.constraint is Constraint.NONE
    assert [victim.comm for victim in verdict.victims] == ["far"]
    assert "nodemask=0-1, order=-1" in log_line(machine, "invoked oom-killer")


# -- Explain -----------------------------------------------------------------------


def test_explain_names_the_rule() -> None:
    machine = make_machine()
    spawn(machine, "far", 900, mems_allowed="1")
    spawn(machine, "bound", 900, mempolicy="bind:0")
    current = spawn(machine, "current", 10, mems_allowed="0").leader

    def why_not(nodemask: int | None) -> dict[str, str]:
        request = oom.allocation(machine, allocating=current, nodemask=nodemask)
        return {c.process.comm: c.why_not for c in explain(machine, request).excluded}

    assert why_not(None)["far"] == (
        "not on the allowed nodes (cpuset): it may use 1, the allocating task 0"
    )
    assert "bound" not in why_not(None)
    assert why_not(0b10)["bound"] == "its memory policy does not allow node 1"
    assert "far" not in why_not(0b10)
