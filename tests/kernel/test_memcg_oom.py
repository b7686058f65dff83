# SPDX-License-Identifier: MIT
"""Counters of memory cgroups, and groups whose OOM killer is disabled."""

from __future__ import annotations

import dataclasses

import pytest

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine, sizes_for
from fakeproc.kernel.memcg import Memcg
from fakeproc.kernel.oom import OomRequest, Outcome, Verdict
from fakeproc.kernel.profile import KernelConfig
from fakeproc.kernel.task import Process, State


class Groups:
    """A machine with /a, which has a limit, and /a/b; two processes are in /a/b."""

    def __init__(self, kernel: str = "6.1") -> None:
        self.machine = Machine(KernelConfig(kernel))
        self.below = self.machine.make_memcg("/a/b")
        self.group = self.machine.memcg("/a")
        self.machine.set_memcg_limit(self.group, 2000)
        self.small = self.member("small", 100)
        self.large = self.member("large", 1000)

    def member(self, name: str, anon_pages: int) -> Process:
        """Make a process in /a/b."""
        process = self.machine.spawn(name, sizes=sizes_for(anon_pages=anon_pages))
        self.machine.join_memcg(process, self.below)
        return process

    def fail(self, process: Process) -> Verdict:
        """Let a charge of a process fail at the limit of /a."""
        return self.machine.out_of_memory(OomRequest(2000, process.leader, memcg=self.group))


def nonzero(events: object) -> dict[str, int]:
    """Return the counters that are not 0."""
    assert dataclasses.is_dataclass(events)
    pairs = ((field.name, getattr(events, field.name)) for field in dataclasses.fields(events))
    return {name: value for name, value in pairs if value}


def shown(memcg: Memcg) -> tuple[dict[str, int], dict[str, int]]:
    """Return the sums and what happened in the group itself."""
    return nonzero(memcg.events), nonzero(memcg.local_events)


def test_oom_counts_where_the_limit_is_and_the_kill_where_the_victim_is() -> None:
    """As read on 6.1: /a has a kill below it, and none of its own."""
    groups = Groups()
    assert groups.fail(groups.small).outcome is Outcome.KILLED
    assert shown(groups.group) == ({"max": 1, "oom": 1, "oom_kill": 1}, {"max": 1, "oom": 1})
    assert shown(groups.below) == ({"oom_kill": 1}, {"oom_kill": 1})
    assert shown(groups.machine.root_memcg) == ({"max": 1, "oom": 1, "oom_kill": 1}, {})
    assert (groups.group.failcnt, groups.below.failcnt) == (1, 0)


@pytest.mark.parametrize(
    ("kernel", "counted"),
    [
        ("4.9", {"max": 1, "oom": 1}),
        ("4.14", {"max": 1, "oom": 1, "oom_kill": 1}),
        ("5.15", {"max": 1, "oom": 1, "oom_kill": 3}),
        ("6.1", {"max": 1, "oom": 1, "oom_kill": 3, "oom_group_kill": 1}),
    ],
)
def test_a_group_kill_counts_its_victims_and_since_5_17_itself(
    kernel: str, counted: dict[str, int]
) -> None:
    """The first victim counts twice (seen on 6.1)."""
    groups = Groups(kernel)
    groups.group.oom_group = True
    groups.fail(groups.small)
    assert nonzero(groups.group.events) == counted


@pytest.mark.parametrize(
    ("kernel", "outcome"), [("6.1", Outcome.PASSED), ("6.18", Outcome.BYPASSED)]
)
def test_the_bypass_counts_no_kill(kernel: str, outcome: Outcome) -> None:
    groups = Groups(kernel)
    groups.small.leader.fatal_pending = groups.small.group_exit = True
    assert groups.fail(groups.small).outcome is outcome
    assert nonzero(groups.group.events) == {"max": 1, "oom": 1}


@pytest.mark.parametrize(("kernel", "logged"), [("4.14", False), ("4.19", True), ("6.18", True)])
def test_a_group_without_anybody_to_kill(kernel: str, logged: bool) -> None:
    groups = Groups(kernel)
    for process in (groups.small, groups.large):
        groups.machine.change_oom_score_adj(process, -1000)
    assert groups.fail(groups.small).outcome is Outcome.NOBODY
    assert nonzero(groups.group.events) == {"max": 1, "oom": 1}
    text = groups.machine.log.render()
    assert ("invoked oom-killer" in text) == logged
    assert ("Out of memory and no killable processes..." in text) == logged
    assert not groups.machine.panicked


# -- oom_kill_disable ------------------------------------------------------------------


def asleep(groups: Groups) -> None:
    """Disable the killer and let the small process wait."""
    groups.machine.set_oom_kill_disable(groups.group, on=True)
    before = groups.machine.log.next_sequence
    assert groups.fail(groups.small).outcome is Outcome.ASLEEP
    assert groups.small.leader.state is State.DISK_SLEEP
    # Everything below is under_oom as well (seen on 6.1), and nothing is said.
    assert groups.group.under_oom
    assert groups.below.under_oom
    assert not groups.machine.root_memcg.under_oom
    assert groups.machine.log.next_sequence == before
    assert nonzero(groups.group.events) == {"max": 1, "oom": 1}


def awake(groups: Groups) -> None:
    """The process goes on, and nobody has died."""
    assert groups.small.leader.state is State.SLEEPING
    assert not groups.group.under_oom
    assert "Killed" not in groups.machine.log.render()


@pytest.mark.parametrize("pages", [3000, None])
def test_a_higher_limit_wakes(pages: int | None) -> None:
    groups = Groups()
    asleep(groups)
    groups.machine.set_memcg_limit(groups.group, 1000)
    assert groups.group.under_oom
    groups.machine.set_memcg_limit(groups.group, pages)
    awake(groups)


def test_a_task_that_exits_makes_room() -> None:
    groups = Groups()
    asleep(groups)
    groups.machine.exit_group(groups.large)
    awake(groups)


def test_a_task_that_leaves_makes_room() -> None:
    groups = Groups()
    asleep(groups)
    groups.machine.join_memcg(groups.large, groups.machine.root_memcg)
    awake(groups)


def test_what_happens_elsewhere_does_not_wake() -> None:
    groups = Groups()
    asleep(groups)
    other = groups.machine.make_memcg("/c")
    groups.machine.set_memcg_limit(other, 5)
    groups.machine.set_memcg_limit(other, 10)
    groups.machine.exit_group(groups.machine.spawn("elsewhere"))
    assert groups.group.under_oom


def test_the_killer_is_let_loose_again() -> None:
    groups = Groups()
    asleep(groups)
    groups.machine.set_oom_kill_disable(groups.group, on=False)
    assert groups.large.is_zombie
    assert groups.small.leader.state is State.SLEEPING
    assert nonzero(groups.group.events) == {"max": 2, "oom": 2, "oom_kill": 1}


def test_the_sleeper_can_be_killed() -> None:
    groups = Groups()
    asleep(groups)
    groups.machine.kill(groups.machine.root, groups.small, 9)
    assert groups.small.is_zombie
    assert not groups.group.under_oom


def test_a_global_oom_is_not_disabled() -> None:
    groups = Groups()
    groups.machine.set_oom_kill_disable(groups.group, on=True)
    request = OomRequest(groups.machine.hardware.totalpages, groups.small.leader)
    assert groups.machine.out_of_memory(request).outcome is Outcome.KILLED


# -- The tree --------------------------------------------------------------------------


def test_the_root_group_has_neither_limit_nor_oom() -> None:
    machine = Machine(KernelConfig("6.1"))
    with pytest.raises(Refused, match=r"\[Errno 22\] memcg=/: the root group has no limit"):
        machine.set_memcg_limit(machine.root_memcg, 5)
    with pytest.raises(Refused, match=r"\[Errno 22\]"):
        machine.set_oom_kill_disable(machine.root_memcg, on=True)
    with pytest.raises(Refused, match=r"\[Errno 16\]"):
        machine.remove_memcg(machine.root_memcg)
    assert machine.root_memcg.limit_pages is None


def test_only_an_empty_group_can_be_removed() -> None:
    groups = Groups()
    for group in (groups.group, groups.below):
        with pytest.raises(Refused, match=r"\[Errno 16\]"):
            groups.machine.remove_memcg(group)
    for process in (groups.small, groups.large):
        groups.machine.exit_group(process)
    # The dead do not count (seen on 6.1), and can still be reaped.
    groups.machine.remove_memcg(groups.below)
    groups.machine.reap(groups.small)
    assert not groups.group.children
    groups.machine.remove_memcg(groups.group)
    assert [group.path for group in groups.machine.root_memcg.subtree()] == ["/"]
