# SPDX-License-Identifier: MIT
"""state.toml: the machine that is made of it is the one that it was written of."""

from __future__ import annotations

import os
from dataclasses import replace
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.profile import PROFILE_NAMES
from fakeproc.procfs.node import File, open_file
from fakeproc.procfs.state_file import state_of
from fakeproc.procfs.tree import Procfs
from fakeproc.scenario import load_scenario
from fakeproc.scenario.load import builtin_names, find_problems, load_text, run_to_end
from fakeproc.toml import dump_scenario
from tests.state import dump
from tests.test_properties import (
    Step,
    attempt,
    check_address_spaces,
    check_family,
    command,
    nothing,
    small_machine,
    steps,
    tids,
)


def read_state(procfs: Procfs) -> str:
    """Read the file as root does, through the tree."""
    node = procfs.lookup("/fakeproc/state.toml", procfs.machine.root)
    assert isinstance(node, File)
    return open_file(node, os.O_RDONLY, procfs.machine.root).read(2**30, 0).decode()


def comparable(machine: Machine) -> dict[str, Any]:
    """Return the state without what begins anew, and with numbers that are counted alike.

    The mms are numbered as they appear, the processes by their places.
    """
    state = dump(Procfs(machine))
    for name in ("log", "due", "pressure", "load", "question", "acting"):
        del state[name]
    state["memory"].pop("kswapd_is_awake")
    state["hardware"] = replace(machine.hardware, boot_time_s=0)
    numbers: dict[int | None, int | None] = {None: None}
    places = sorted(process["sequence"] for process in state["processes"])
    joined = sorted(process["attached"] for process in state["processes"])
    for process in state["processes"]:
        process["sequence"] = places.index(process["sequence"])
        process["attached"] = joined.index(process["attached"])
        for thread in process["threads"]:
            thread["mm"] = numbers.setdefault(thread["mm"], len(numbers))
    for process in state["processes"]:
        # An mm that is gone is only that.
        process["oom_mm"] = numbers.get(process["oom_mm"], "gone")
    mms = {numbers[mm["id"]]: mm | {"id": numbers[mm["id"]]} for mm in state["mms"]}
    state["mms"] = [mms[number] for number in sorted(mms, key=str)]
    able = [p.pid for p in machine.processes.values() if p.leader.mm and not p.group_exit]
    state["behaviours"] = [(pid, does) for pid, does in state["behaviours"] if pid in able]
    state["marked"] = {
        process.pid: since
        for process, since in machine.marked.items()
        if machine.processes.get(process.pid) is process
    }
    state["held"] = [
        (thread.tid, machine.holds.for_ns(thread)) for thread in machine.threads() if thread.hold
    ]
    for row, group in zip(state["memcgs"], machine.root_memcg.subtree(), strict=True):
        there = [t.tid for t in group.oom_waiters if machine.find_thread(t.tid) is t]
        row["oom_waiters"] = there
    state["ends"] = machine.ends_ns
    state["panicked"] = machine.panicked
    state["stopped"] = [
        (process.pid, machine.pending_signals(process))
        for process in machine.processes.values()
        if machine.is_stopped(process)
    ]
    return state


def assert_carries_on(machine: Machine) -> Machine:
    """Demand that the state of a machine makes the same one; return that."""
    text = read_state(Procfs(machine))
    again = load_text(text, "state.toml")
    assert comparable(again) == comparable(machine)
    assert read_state(Procfs(again)) == text
    return again


# -- Random histories --------------------------------------------------------------

holds = st.builds(
    "hold {} {} {}".format,
    tids,
    st.sampled_from(["at-exit", "stuck", "mmap-lock", "frozen", "coredump"]),
    st.sampled_from(["", "for=1500ms"]),
).map(str.encode)
others = st.one_of(
    holds,
    st.builds("release {}".format, tids).map(str.encode),
    st.builds("kill {} {}".format, tids, st.sampled_from(["9", "STOP", "TERM", "CONT"])).map(
        str.encode
    ),
    command("set", tids, "rss", "swap", "uid", "name"),
    command("kthread", nothing, "use_mm"),
    command("clone", tids.map("parent={} vm=shared vfork=yes".format), "sibling"),
    st.sampled_from(
        [
            b"memcg /web limit=20M",
            b"memcg /web/front oom_group=yes",
            b"memcg /web oom_kill_disable=yes",
            b"join 102 /web",
            b"join 100 /web/front",
            b"join 103 /web",
            b"set 100 oom_origin=yes",
            b"set 104 oom_origin=yes",
            b"set 103 mempolicy=bind:0 cpuset=/slice",
            b"set 100 ignore_sigchld=yes",
            b"behave 103 behaviour=grow rate=20M/s until=150M",
            b"behave 100 behaviour=constant exit_delay=2s",
            b"behave 102 behaviour=fork-storm children=3/s max=4",
            b"swapon /swapfile size=8M",
            b"cache clean=20M dirty=1M",
            b"slab reclaimable=3M unreclaimable=5M",
        ]
    ),
)
triggers = st.sampled_from([b"1", b"pid=100", b"pid=102 memcg=/web", b"memcg=/web/front"])
moments = st.sampled_from([b"+1ms", b"+350ms", b"+2s"])
histories = st.lists(
    st.one_of(
        steps,
        st.tuples(st.just("root"), st.just(True), st.just("/fakeproc/ctl"), others),
        st.tuples(st.just("root"), st.just(True), st.just("/fakeproc/ctl"), others),
        st.tuples(st.just("root"), st.just(True), st.just("/fakeproc/oom_trigger"), triggers),
        st.tuples(st.just("root"), st.just(True), st.just("/fakeproc/clock"), moments),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(PROFILE_NAMES), histories)
def test_whatever_has_happened(kernel: str, history: list[Step]) -> None:
    procfs = Procfs(small_machine(kernel))
    for step in history:
        attempt(procfs, step)
    again = assert_carries_on(procfs.machine)
    check_address_spaces(again, list(again.threads()))
    check_family(list(again.processes.values()))


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(PROFILE_NAMES), histories, histories)
def test_it_goes_on_alike(kernel: str, history: list[Step], more: list[Step]) -> None:
    """The same that happens afterwards has the same effect, but for what the file leaves out."""
    procfs = Procfs(small_machine(kernel))
    for step in history:
        if b"behave" not in step[3]:
            attempt(procfs, step)
    again = Procfs(load_text(read_state(procfs), "state.toml"))
    again.acting = {pid: again.machine.thread(thread.tid) for pid, thread in procfs.acting.items()}
    for step in more:
        if b"behave" in step[3] or b"+" in step[3]:
            continue
        taken, taken_again = attempt(procfs, step), attempt(again, step)
        assert isinstance(taken, Refused) == isinstance(taken_again, Refused)
    assert comparable(again.machine) == comparable(procfs.machine)


# -- What a file holds -------------------------------------------------------------


@pytest.mark.parametrize("name", builtin_names())
def test_of_the_built_in_scenarios(name: str) -> None:
    machine = load_scenario(name)
    assert_carries_on(machine)
    run_to_end(machine)
    assert_carries_on(machine)


def test_a_reboot_of_it_is_the_machine_of_the_file() -> None:
    machine = load_scenario("stuck-victim")
    machine.advance(10 * 10**9)
    again = assert_carries_on(machine)
    run_to_end(again)
    assert comparable(again.rebooted()) == comparable(machine)


def test_what_is_pending_happens_at_its_time() -> None:
    """A victim is stuck, an event is going to release it, the reaper is at its tries."""
    machine = load_text(
        dedent("""\
        version = 1
        [machine]
        kernel = "6.18"
        [[process]]
        name = "app"
        pid = 500
        rss = "900M"
        hold = "mmap-lock"
        hold_for = "20s"
        [[event]]
        at = "1s"
        do = "trigger"
        [[event]]
        at = "30s"
        do = "spawn name=next"
        """),
        "app.toml",
    )
    machine.advance(3_350_000_000)
    again = assert_carries_on(machine)
    for each in (machine, again):
        run_to_end(each)
    assert comparable(again) == comparable(machine)
    behind = machine.log.since(0)[-len(again.log.since(0)) :]
    assert [(r.time_ns, r.text) for r in behind] == [
        (r.time_ns, r.text) for r in again.log.since(0)
    ]
    assert "unable to reap pid:500" in again.log.render()


def test_names_and_arguments_that_are_no_text() -> None:
    machine = load_scenario()
    thread = machine.thread(100_013)
    for name in ("\udcff\udc80", 'a"\\\n\x7f', "", "ä" * 7):
        machine.rename(thread, name)
        assert_carries_on(machine)
    machine.exec(thread, "x", cmdline=(b"\xff", b"", b"a b", b'"'))
    assert_carries_on(machine)


def test_patches_and_switches_of_the_kernel() -> None:
    machine = load_scenario()
    config = machine.config.with_patch(3, on=False).with_switch("tie_global", "last")
    machine.set_kernel(config)
    again = assert_carries_on(machine)
    assert again.config.states == config.states


def test_sysctls_that_are_only_kept() -> None:
    machine = load_scenario()
    changed = {"net/ipv4/conf/lo/rp_filter": 2, "kernel/domainname": "lab", "fs/nr_open": 64}
    for name, value in changed.items():
        machine.store_sysctl(name, str(value).encode())
    assert assert_carries_on(machine).kept_sysctls.changed() == changed


def test_a_machine_that_has_panicked() -> None:
    machine = Machine()
    machine.panic("System is deadlocked on memory")
    assert assert_carries_on(machine).panicked == "System is deadlocked on memory"


def test_it_may_be_edited_as_any_scenario() -> None:
    text = read_state(Procfs(load_scenario()))
    text += '\n[[process]]\nname = "mine"\nanon = "1M"\nsize = "2M"\nparent = 1\n'
    machine = load_text(text, "mine.toml")
    mine = list(machine.processes.values())[-1]
    assert (mine.comm, mine.pid) == ("mine", 100_014)
    with pytest.raises(
        Refused, match=r"^.Errno 22. mine.toml:5: the file: key 'x': not known"
    ) as refused:
        load_text(text.replace("version = 1", "version = 1\nx = 1"), "mine.toml")
    assert refused.value.error == 22


@pytest.mark.parametrize(
    ("pid", "key", "value", "words"),
    [
        (1, "children", [100_008, 1], "[state]: children: 1 is no child of 1."),
        (1, "state", "Z", "[state]: process 1: init has no memory; accepted is one that runs."),
        (100_008, "pid", 100_007, "process 'app': pid=100007: is taken."),
        (100_008, "thread", [{"tid": 100_008}], "process 'app': pid=100008: is taken."),
        (100_008, "parent", 77, "process 'app': 77: no such task."),
        (
            100_012,
            "count",
            2,
            "process 'app-helper': count: means nothing beside [state]; leave it out.",
        ),
        (100_012, "mm", 2, "process 'app-helper': mm = 2: has no mm."),
    ],
)
def test_what_cannot_be_is_refused(pid: int, key: str, value: object, words: str) -> None:
    state = state_of(load_scenario())
    table = next(table for table in state["process"] if table["pid"] == pid)
    table[key] = value
    (problem,) = find_problems(dump_scenario(state), "state.toml")
    assert problem.partition(": ")[2] == words
