# SPDX-License-Identifier: MIT
"""Inputs as values: what was recorded of a history gives the same machine once more."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.numa import Placement, PolicyMode
from fakeproc.kernel.profile import PROFILE_NAMES
from fakeproc.kernel.task import Caller, Credentials, TaskCaller
from fakeproc.procfs import clock
from fakeproc.procfs.inputs import (
    Adopt,
    ChangeDirectory,
    Depart,
    Entry,
    Input,
    Nothing,
    Verb,
    Write,
    frozen,
)
from fakeproc.procfs.node import File
from fakeproc.procfs.system import SYSTEM_ENTRIES
from fakeproc.procfs.tree import Procfs
from tests.state import dump
from tests.test_properties import Step, caller_named, files, small_machine, steps, tids

CALLER = TaskCaller(Credentials(1000, 100, 3), 70, 71, "a\udcff b", 72)
ROOT = frozen(small_machine().root)
PLACED = TaskCaller(
    Credentials(), 1, 1, "sh", 1, Placement("/slice", 3, PolicyMode.BIND, policy_nodes=2)
)


def through_json(entry: Entry) -> Entry:
    return Entry.from_json(json.loads(json.dumps(entry.to_json())))


@pytest.mark.parametrize(
    "change",
    [
        Write("/100/oom_adj", b"\0\xff\n5", CALLER, may_become=True),
        Write("/fakeproc/ctl", "spawn name=é".encode(), PLACED, may_become=False),
        ChangeDirectory(Verb.MAKE, "/fakeproc/cgroup/\xe9\udce9", CALLER),
        ChangeDirectory(Verb.REMOVE, "/fakeproc/cgroup/a", PLACED),
        Adopt(5, 6, 7, "sh\udcc3", Credentials(1, 2, 3), parent=4),
        Adopt(5, 6, 6, "sh", Credentials(), 0, cmdline=("sh", "\udcff"), pgrp=0, session=6),
        Depart(5),
        Nothing(),
    ],
)
def test_an_input_can_be_written_and_read(change: Input) -> None:
    entry = Entry(12345678901234567890, change)
    assert through_json(entry) == entry


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"t": "5"}',
        '{"t": true}',
        '{"t": 5, "write": "/x"}',
        '{"t": 5, "write": "/x", "data": "", "caller": {"uid": 0}}',
        '{"t": 5, "mkdir": 7, "caller": {}}',
        '{"t": 5, "depart": null}',
        '{"t": 5, "adopt": 1, "tid": 1, "comm": "x"}',
    ],
)
def test_what_is_none_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=": accepted is a (int|str|bool|dict)"):
        Entry.from_json(json.loads(text))


# -- Histories ---------------------------------------------------------------------

HOLDS = ("stuck", "at-exit", "mmap-lock", "frozen")
verbs = st.sampled_from([Verb.MAKE, Verb.MAKE, Verb.REMOVE])
directories = st.sampled_from(["/fakeproc/cgroup/a", "/fakeproc/cgroup/a/b", "/fakeproc/x"])
clocks = st.sampled_from([b"manual", b"real", b"speed 2.5", b"+700ms", b"x"])
times_ns = st.sampled_from([0, 1, 10**6, 10**8, 5 * 10**8, 3 * 10**9])
held = st.builds(
    "hold {} {} for={}ms\nkill {} SIGKILL".format,
    tids,
    st.sampled_from(HOLDS),
    st.sampled_from([1, 100, 2500]),
    tids,
)
adjusted = st.tuples(
    st.sampled_from([100, 102, "user", "root"]),
    st.just(True),
    st.sampled_from(["/100/oom_adj", "/101/task/102/oom_score_adj", "/103/oom_adj", "/102/comm"]),
    st.sampled_from([b"5", b"15", b"0", b"-3"]),
)
behaviours = st.sampled_from(
    [
        "behaviour=grow rate=20M/s",
        "behaviour=grow rate=7M/s until=60M ignore_sigterm=yes",
        "behaviour=sawtooth rate=30M/s until=90M period=1s",
        "behaviour=fork-storm children=5/s max=20 child=4M",
        "behaviour=constant exit_delay=300ms",
    ]
)
lives = st.one_of(
    st.builds("behave {} {}".format, tids, behaviours),
    st.sampled_from(["cache clean=60M dirty=20M", "swapon /dev/a size=30M", "swapoff /dev/a"]),
)
written = st.one_of(
    steps,
    adjusted,
    st.tuples(st.just("root"), st.just(True), st.just("/fakeproc/clock"), clocks),
    st.tuples(st.just("root"), st.just(True), st.just("/fakeproc/ctl"), held.map(str.encode)),
    st.tuples(st.just("root"), st.just(True), st.just("/fakeproc/ctl"), lives.map(str.encode)),
    st.tuples(st.just("root"), st.just(True), st.just("/fakeproc/ctl"), lives.map(str.encode)),
    st.tuples(
        st.just("root"),
        st.just(True),
        st.just("/fakeproc/oom_trigger"),
        st.sampled_from([b"1", b"order=3", b"pid=100"]),
    ),
    st.tuples(
        st.sampled_from([100, "root"]),
        st.just(True),
        st.sampled_from(["/fakeproc/cgroup/cgroup.procs", "/fakeproc/cgroup/a/cgroup.procs"]),
        st.sampled_from([b"0", b"100", b"7"]),
    ),
)
other_inputs = st.one_of(
    st.builds(ChangeDirectory, verbs, directories, st.sampled_from([ROOT, ROOT, CALLER])),
    st.builds(
        lambda pid, tid, parent: Adopt(pid + 900, pid, tid or pid, "sh", Credentials(), parent),
        st.sampled_from([70, 71]),
        st.sampled_from([0, 80, 81]),
        st.sampled_from([0, 70]),
    ),
    st.builds(Depart, st.sampled_from([970, 971, 70])),
)
moments = st.tuples(st.lists(times_ns, max_size=3), st.booleans(), st.one_of(written, other_inputs))
Moment = tuple[list[int], bool, Step | Input]


def prepared(
    procfs: Procfs, step: Step | Input
) -> tuple[Input | None, Callable[[], object]] | None:
    """Return what is to be recorded of a step, and how it is done; None if it comes to nothing."""
    if not isinstance(step, tuple):
        return step, partial(step.apply, procfs)
    name, has_descriptor, path, data = step
    caller = caller_named(procfs.machine, name)
    opener: Caller = procfs.machine.root if has_descriptor else caller
    try:
        node = procfs.lookup(path, opener)
        node.require_access(opener, 2)
    except Refused:
        return None
    assert isinstance(node, File)
    change = Write(path, data, frozen(caller), may_become=procfs.may_become(caller))
    return change if node.takes_input() else None, partial(node.store, caller, data)


def read(file: File) -> bytes:
    """Return the content, or what stands for it where reading is refused."""
    try:
        return file.render()
    except Refused as refused:
        return refused.name.encode()


def read_everything(procfs: Procfs) -> None:
    for _, file in files(procfs):
        read(file)


def system_files(procfs: Procfs) -> dict[str, bytes]:
    """Return what the files of the machine as a whole say, each time the same."""
    there = {path[1:]: file for path, file in files(procfs)}
    del there["sys/kernel/random/uuid"]
    return {path: read(there[path]) for path in there if path in SYSTEM_ENTRIES}


def history(procfs: Procfs, todo: list[Moment]) -> Iterator[tuple[Entry, bool]]:
    """Live through it, with reads in between; return what is recorded, and if it counts."""
    for passing, reads, step in todo:
        for ns in passing:
            procfs.machine.advance(ns)
            if reads:
                read_everything(procfs)
        change, do = prepared(procfs, step) or (None, bool)
        time_ns, accepted = procfs.machine.now_ns, False
        with suppress(Refused):
            do()
            accepted = True
        if change is not None:
            yield Entry(time_ns, change), accepted


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(PROFILE_NAMES), st.lists(moments, max_size=20))
def test_what_was_recorded_gives_the_same_state_and_log(kernel: str, todo: list[Moment]) -> None:
    procfs = Procfs(small_machine(kernel))
    recorded = list(history(procfs, todo))
    # Refused inputs are taken out of a journal, unless the server dies before it can.
    for which in (recorded, [pair for pair in recorded if pair[1]]):
        again = Procfs(small_machine(kernel))
        for entry, _ in which:
            through_json(entry).replay(again)
        again.machine.advance(procfs.machine.now_ns - again.machine.now_ns)
        assert dump(again) == dump(procfs)
        assert clock.render(again) == clock.render(procfs)
        assert system_files(again) == system_files(procfs)


def test_time_does_not_go_back() -> None:
    procfs = Procfs(small_machine())
    Entry(5, Nothing()).replay(procfs)
    assert procfs.machine.now_ns == 5
    with pytest.raises(ValueError, match="t: 4 is over, it is 5"):
        Entry(4, Nothing()).replay(procfs)


def test_who_is_adopted_is_there_until_it_departs() -> None:
    procfs = Procfs(small_machine())
    before = dump(procfs)["processes"]
    Adopt(970, 70, 70, "sh", Credentials(), parent=0).apply(procfs)
    Adopt(970, 70, 80, "thread", Credentials(), parent=0).apply(procfs)
    process = procfs.machine.process(70)
    assert [thread.comm for thread in process.threads] == ["sh", "thread"]
    assert procfs.adopted == {process: 970}
    Depart(970).apply(procfs)
    assert procfs.adopted == {}
    assert [p["pid"] for p in dump(procfs)["processes"]] == [p["pid"] for p in before]


def test_an_adopted_process_that_is_held_stays_as_what_it_was() -> None:
    procfs = Procfs(small_machine())
    Adopt(970, 70, 70, "sh", Credentials(), parent=0).apply(procfs)
    Write("/fakeproc/ctl", b"hold 70 stuck", ROOT, may_become=True).apply(procfs)
    Depart(970).apply(procfs)
    assert procfs.machine.process(70).group_exit
    assert procfs.adopted == {}
