# SPDX-License-Identifier: MIT
"""Whatever is written, by whomever: no bug, no half-done refusal, one outcome, a sound model."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.log import Level
from fakeproc.kernel.machine import Hardware, Machine, sizes_for
from fakeproc.kernel.oom_adj import legacy_to_score_adj
from fakeproc.kernel.profile import HISTORY, PROFILE_NAMES, KernelConfig, named, render_value
from fakeproc.kernel.task import (
    Caller,
    Credentials,
    MemorySizes,
    Process,
    State,
    TaskCaller,
    Thread,
)
from fakeproc.procfs.node import Directory, File, open_file
from fakeproc.procfs.system import SYSTEM_ENTRIES
from fakeproc.procfs.system.node import ALWAYS_EMPTY
from fakeproc.procfs.task.net import NET_ROWS
from fakeproc.procfs.tree import Procfs
from tests.state import dump

PROPAGATING = tuple(name for name in PROFILE_NAMES if named(name).propagate_to_sharers)

# -- A machine that is quickly full and has short pids -----------------------------

FIRST_PID = 100
TIDS = (100, 100, 101, 102, 103, 103, 104, 104, 105, 106, 107, 1, 2)
"""Pids and tids to try: those of the first tasks more often."""
USER_UID = 1000


def small_machine(kernel: str = "series") -> Machine:
    """Return 256 MiB, 64 MiB of swap and a few tasks: 100 and 101 share an mm."""
    machine = Machine(
        KernelConfig(kernel),
        Hardware(ram_pages=65536, swap_pages=16384),
        first_pid=FIRST_PID,
    )
    procfs = Procfs(machine)
    for command in (
        b"spawn name=app rss=40M uid=1000",
        b"clone parent=100 vm=shared",
        b"thread 101",
        b"spawn name=web rss=10M uid=33 oom_score_adj=100",
    ):
        write(procfs, machine.root, "/fakeproc/ctl", command)
    return machine


def caller_named(machine: Machine, name: str | int) -> Caller:
    """Return a caller by name; a number is a task, or root when there is none."""
    if isinstance(name, int):
        thread = machine.find_thread(name)
        return TaskCaller.of(thread, host_pid=name) if thread else machine.root
    everything = machine.full_capabilities
    return {
        "root": machine.root,
        "root without capabilities": TaskCaller(Credentials(0, 0, 0)),
        "user": TaskCaller(Credentials(USER_UID, USER_UID, 0), 70, 70, "sh", 70),
        "capable user": TaskCaller(Credentials(33, 33, everything), 71, 71, "nginx", 71),
    }[name]


def write(
    procfs: Procfs, caller: Caller, path: str, data: bytes, opener: Caller | None = None
) -> int:
    """Open a file (as the opener, if it is another one) and write to it once."""
    opener = opener or caller
    node = procfs.lookup(path, opener)
    assert isinstance(node, File)
    return open_file(node, os.O_WRONLY, opener).write(caller, data)


# -- What may be tried -------------------------------------------------------------

tids = st.sampled_from([*TIDS, 999])
callers = st.one_of(
    st.sampled_from(["root", "root", "root without capabilities", "user", "capable user"]),
    st.sampled_from(TIDS),
)
numbers = st.one_of(
    st.integers(-20, 20), st.integers(-1005, 1005), st.integers(-(2**33), 2**33)
).map(str)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)

sizes = st.sampled_from(["0", "4096", "64k", "1M", "30M", "300M", "1.5G", "9T", "1e3", "-1", "x"])
yes_or_no = st.sampled_from(["yes", "no", "no", "maybe"])
names = st.one_of(st.sampled_from(["web", "a) b (c", "x" * 20]), texts.filter(bool))
option_values: dict[str, st.SearchStrategy[str]] = {
    **dict.fromkeys(("rss", "anon", "file", "shmem", "swap", "size", "pte", "pmd"), sizes),
    **dict.fromkeys(("uid", "gid"), st.sampled_from(["0", "33", "1000", "4294967295", "root"])),
    **dict.fromkeys(("thread", "vfork", "sibling", "dumpable"), yes_or_no),
    **dict.fromkeys(("parent", "use_mm"), tids.map(str)),
    **dict.fromkeys(("pid", "tid"), st.sampled_from(["0", "1", "105", "4194304", "-3", "x"])),
    **dict.fromkeys(("name", "cmdline"), names),
    "caps": st.sampled_from(["all", "none", "0x0", "-sys_resource", "+kill,sys_admin", "+all"]),
    "oom_score_adj": numbers,
    "status": st.sampled_from(["0", "3", "255", "256"]),
    "vm": st.sampled_from(["shared", "shared", "copied", "own"]),
}
clone_keys = ("vm", "vfork", "thread", "sibling", "name", "pid")
memory_keys = ("rss", "file", "shmem", "swap", "size", "pte")


def options(*keys: str) -> st.SearchStrategy[str]:
    """Return strategies for key=value words, each key given or not."""
    pairs = st.fixed_dictionaries({}, optional={key: option_values[key] for key in keys})
    return pairs.map(lambda given: " ".join(f"{key}={quoted(given[key])}" for key in given))


def quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def command(verb: str, words: st.SearchStrategy[Any], *keys: str) -> st.SearchStrategy[bytes]:
    return st.builds(lambda word, rest: f"{verb} {word} {rest}".encode(), words, options(*keys))


nothing = st.just("")
signals = st.sampled_from(["SIGTERM", "9", "STOP", "CONT", "0", "CHLD", "65", "SIGNOT"])
commands = st.one_of(
    command("spawn", nothing, "parent", "name", "uid", "caps", "oom_score_adj", "rss"),
    command("spawn", nothing, *option_values),
    command("clone", tids.map("parent={}".format), *clone_keys),
    command("clone", tids.map("parent={} vm=shared".format)),
    command("clone", tids.map("parent={} vm=shared vfork=yes".format)),
    command("clone", nothing, "parent", *clone_keys),
    command("thread", tids, "name", "tid"),
    command("exec", tids, "name", "cmdline", *memory_keys),
    command("exit", tids, "status"),
    command("exit-leader", tids),
    command("reap", tids),
    command("kthread", nothing, "name", "use_mm", "pid"),
    st.builds(lambda tid, signal: f"kill {tid} {signal}".encode(), tids, signals),
    command("set", tids, "dumpable", "name", "rss", "swap"),
    command("set", tids, "name", "uid", "gid", "caps", "dumpable", *memory_keys),
    command("become", st.one_of(tids, st.just("none"))),
    st.sampled_from([b"help", b"spwan", b"", b"# nothing", b"exit", b"exec 100 'x", b"\xff"]),
)

switch_values = [
    f"{name}={render_value(change.value)}"
    for name, changes in HISTORY.items()
    for change in changes
]
kernel_lines = st.one_of(
    st.sampled_from([*PROFILE_NAMES, "kernel 4.4", "kernel 9.9", "# nothing"]),
    st.sampled_from(switch_values),
    st.builds("{} {}".format, st.sampled_from(["patch", "no-patch"]), st.integers(0, 7)),
)
kernel_writes = st.lists(kernel_lines, max_size=3).map(lambda lines: "\n".join(lines).encode())

junk = st.binary(max_size=40)
oom_data = st.one_of(numbers.map(str.encode), st.sampled_from([b"0x10", b" 8\n", b"-17"]), junk)
sysctl_data = st.one_of(numbers.map(str.encode), st.sampled_from([b"0x1", b"301\n"]), junk)
oom_paths = st.one_of(
    st.builds("/{}/{}".format, tids, st.sampled_from(["oom_adj", "oom_score_adj"])),
    st.builds("/{0}/task/{0}/oom_score_adj".format, tids),
    st.builds("/{}/task/{}/oom_adj".format, tids, tids),
)
sysctl_paths = st.sampled_from(
    ["/sys/vm/" + name for name in ("swappiness", "overcommit_ratio", "overcommit_kbytes")]
    + ["/sys/vm/panic_on_oom", "/sys/kernel/pid_max", "/sys/kernel/osrelease"]
)
other_paths = st.one_of(
    st.builds("/{}/{}".format, tids, st.sampled_from(["comm", "oom_score", "stat"])),
    st.sampled_from(["/meminfo", "/fakeproc/ps", "/fakeproc/kmsg", "/version"]),
)
writes = st.one_of(
    st.tuples(st.just("/fakeproc/ctl"), commands),
    st.tuples(st.just("/fakeproc/ctl"), commands),
    st.tuples(oom_paths, oom_data),
    st.tuples(st.just("/fakeproc/kernel"), kernel_writes),
    st.tuples(st.one_of(st.just("/fakeproc/kernel"), st.just("/fakeproc/ctl")), junk),
    st.tuples(sysctl_paths, sysctl_data),
    st.tuples(other_paths, junk),
)
# With a descriptor from root, the write is checked alone; without, opening is as well.
steps = st.builds(
    lambda caller, has_descriptor, target: (caller, has_descriptor, *target),
    callers,
    st.booleans(),
    writes,
)
Step = tuple[str | int, bool, str, bytes]


def attempt(procfs: Procfs, step: Step) -> int | Refused:
    """Do a step; return the bytes taken, or the refusal.  Anything else is a bug."""
    name, has_descriptor, path, data = step
    caller = caller_named(procfs.machine, name)
    opener = procfs.machine.root if has_descriptor else caller
    try:
        return write(procfs, caller, path, data, opener)
    except Refused as refused:
        return refused


# -- The model against a plain walk ------------------------------------------------


def check_model(machine: Machine) -> None:
    """Compare every index and every sum with what a walk over all tasks finds."""
    processes = list(machine.processes.values())
    threads = [thread for process in processes for thread in process.threads]
    assert Counter(map(id, threads)) == Counter(map(id, machine.threads()))
    assert all(machine.find_thread(thread.tid) is thread for thread in threads)
    check_address_spaces(machine, threads)
    check_family(processes)
    for state in (State.RUNNING, State.DISK_SLEEP):
        assert machine.count_in_state(state) == sum(t.state is state for t in threads)
    for thread in threads:
        check_vfork(thread)
        assert len(os.fsencode(thread.comm)) <= 15
        assert not thread.exiting or thread.mm is None
        assert thread.process.group_exit == thread.process.is_zombie
    for process in processes:
        assert -1000 <= process.oom_score_adj_min <= 1000
        assert -1000 <= process.oom_score_adj <= 1000


def check_address_spaces(machine: Machine, threads: list[Thread]) -> None:
    mms = {id(thread.mm): thread.mm for thread in threads if thread.mm}
    used = MemorySizes()
    for mm in mms.values():
        on_it = [thread for thread in threads if thread.mm is mm]
        assert mm.users == len(on_it)
        assert set(mm.processes) == {thread.process for thread in on_it}
        assert mm.sizes.problem() == ""
        used += mm.sizes
    assert machine.used == used


def check_family(processes: list[Process]) -> None:
    for process in processes:
        children = [
            other
            for other in processes
            if other.real_parent and other.real_parent.process is process
        ]
        assert set(process.children) == set(children)
        parent = process.real_parent
        assert (parent is None) == (process.pid in (1, 2))
        assert parent is None or (parent.alive and parent in parent.process.threads)


def check_vfork(thread: Thread) -> None:
    waiting, child = thread.vfork_parent, thread.vfork_child
    assert waiting is None or (waiting.vfork_child is thread and waiting.alive)
    assert child is None or (child.vfork_parent is thread and child.alive)
    if not thread.hold.is_uninterruptible:
        assert (thread.state == "D") == (child is not None)


def files(procfs: Procfs, path: str = "") -> Iterator[tuple[str, File]]:
    """Walk the tree as root; links are left alone.

    So are the hundreds of sysctls of the network, which are all kept in one way.
    """
    root = procfs.machine.root
    directory = procfs.lookup(path, root)
    assert isinstance(directory, Directory)
    *_, owner, name = ["", *path.split("/")]
    if name == "net" and owner.isdecimal() and procfs.machine.thread(int(owner)).exiting:
        return  # It cannot be listed: EINVAL.
    for name, kind in directory.entries(root):
        node = directory.child(name, root)
        assert stat.S_IFMT(node.attributes().mode) == kind
        if isinstance(node, Directory) and (path, name) != ("/sys", "net"):
            yield from files(procfs, f"{path}/{name}")
        elif isinstance(node, File):
            yield f"{path}/{name}", node


def is_always_empty(path: str) -> bool:
    """Say whether the tables promise a file to be empty; dev_mcast is, as lo is in no group."""
    name = path.partition("/net/")[2]
    row = SYSTEM_ENTRIES.get(path.removeprefix("/")) or NET_ROWS.get(name)
    return name == "dev_mcast" or (row is not None and row.reflects == ALWAYS_EMPTY)


# -- The properties ----------------------------------------------------------------


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(PROFILE_NAMES), st.lists(steps, max_size=25))
def test_refusals_change_nothing_and_nothing_else_is_raised(kernel: str, todo: list[Step]) -> None:
    procfs = Procfs(small_machine(kernel))
    before = dump(procfs)
    for step in todo:
        refused = isinstance(attempt(procfs, step), Refused)
        after = dump(procfs)
        assert not refused or after == before, step
        check_model(procfs.machine)
        before = after


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(PROFILE_NAMES), st.lists(steps, max_size=25))
def test_the_accepted_part_of_a_history_alone_gives_the_same_state(
    kernel: str, todo: list[Step]
) -> None:
    procfs, again, accepted_only = (Procfs(small_machine(kernel)) for _ in range(3))
    for step in todo:
        taken = attempt(procfs, step)
        assert str(attempt(again, step)) == str(taken)
        if not isinstance(taken, Refused):
            caller, has_descriptor, path, data = step
            assert attempt(accepted_only, (caller, has_descriptor, path, data[:taken])) == taken
    assert dump(again) == dump(procfs)
    assert dump(accepted_only) == dump(procfs)


MAY_BE_EMPTY = (
    "/cmdline",
    "/compact_memory",
    "/drop_caches",
    "/journal",
    "/kmsg",
    "/fakeproc/devkmsg",
    "/stat_refresh",
    "/sysrq-trigger",
    "/vmallocinfo",
)


@settings(deadline=None, max_examples=40)
@given(st.lists(steps, max_size=20))
def test_every_file_can_be_read_after_any_history(todo: list[Step]) -> None:
    procfs = Procfs(small_machine())
    for step in todo:
        attempt(procfs, step)
    before = dump(procfs)
    for path, file in files(procfs):
        if path[1].isdigit():
            # Of a task: may be empty, end anyhow, or be for another kernel or reader.
            with suppress(Refused):
                file.render()
            continue
        content = file.render()
        may_be_empty = path.endswith(MAY_BE_EMPTY) or is_always_empty(path)
        assert content.endswith((b"\n", b"\0")) or (may_be_empty and not content), path
    assert dump(procfs) == before


@settings(deadline=None)
@given(st.data(), callers, st.binary(max_size=200))
def test_arbitrary_bytes_to_any_writable_file(
    data: st.DataObject, caller: str | int, written: bytes
) -> None:
    procfs = Procfs(small_machine())
    writable = [path for path, node in files(procfs) if node.attributes().mode & 0o222]
    step = (caller, True, data.draw(st.sampled_from(writable)), written)
    before = dump(procfs)
    taken = attempt(procfs, step)
    if isinstance(taken, Refused):
        assert dump(procfs) == before
    else:
        assert 0 <= taken <= len(written)
    check_model(procfs.machine)


# -- Propagation -------------------------------------------------------------------


def reached(machine: Machine, thread: Thread) -> set[int]:
    """Say whose value a write to this task sets, by a plain walk over all processes.

    All that share its mm, but for: init as a follower, kernel threads, processes whose
    leader is in vfork.  Zombies have no mm.  A task in vfork stays alone, as does one
    whose mm has only one user or, since 5.10, was never shared by other than vfork.
    """
    profile, process, mm = machine.profile, thread.process, thread.process.mm
    if mm is None or thread.vfork_done or not profile.propagate_to_sharers:
        return {process.pid}
    if profile.propagate_trigger == "MULTIPROCESS" and not mm.multiprocess:
        return {process.pid}
    return {process.pid} | {
        other.pid
        for other in machine.processes.values()
        if other.mm is mm
        and not other.is_kthread
        and not other.leader.vfork_done
        and (profile.propagate_hits_init or not other.is_global_init)
    }


def adjustments(machine: Machine) -> dict[int, int]:
    return {pid: process.oom_score_adj for pid, process in machine.processes.items()}


# What decides who shares an mm: few commands, on a task that is counted from the newest.
sharing_commands = (
    "clone parent={} vm=shared",
    "clone parent={} vm=copied",
    "thread {}",
    "exec {}",
    "exit {}",
    "exit-leader {}",
    "reap {}",
)
vfork_commands = (
    "clone parent={} vm=shared vfork=yes",
    "clone parent={} vm=shared vfork=yes sibling=yes",
    "clone parent=1 vm=shared",
    "kthread use_mm={}",
)
places = st.integers(0, 5)
valid_values = st.integers(-17, 15)
oom_writes = st.tuples(places, st.sampled_from(["oom_adj", "oom_score_adj"]), valid_values)
FamilyStep = tuple[int, str, int | None]


def family_steps(*templates: str) -> st.SearchStrategy[list[FamilyStep]]:
    """Return strategies for such commands, and writes to the oom files between them."""
    done = st.tuples(places, st.sampled_from(templates), st.none())
    return st.lists(st.one_of(done, oom_writes), min_size=3, max_size=25)


def attempt_in_family(procfs: Procfs, step: FamilyStep) -> tuple[Thread, int | Refused]:
    """Do a step as root; return the task that it was about, and what came of it."""
    place, what, value = step
    threads = list(procfs.machine.threads())
    thread = threads[-1 - place % len(threads)]
    path, data = "/fakeproc/ctl", what.format(thread.tid).encode()
    if value is not None:
        path, data = f"/{thread.tid}/{what}", b"%d" % value
    return thread, attempt(procfs, ("root", False, path, data))


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(PROFILE_NAMES), family_steps(*sharing_commands, *vfork_commands))
def test_a_write_reaches_all_sharers_that_it_should_and_nobody_else(
    kernel: str, todo: list[FamilyStep]
) -> None:
    procfs = Procfs(small_machine(kernel))
    machine = procfs.machine
    for step in todo:
        before = adjustments(machine)
        thread, taken = attempt_in_family(procfs, step)
        check_model(machine)
        _, name, value = step
        if value is None:
            continue
        if isinstance(taken, Refused):
            assert adjustments(machine) == before
            continue
        value = legacy_to_score_adj(value) if name == "oom_adj" else value
        assert adjustments(machine) == before | dict.fromkeys(reached(machine, thread), value)


@pytest.mark.parametrize("kernel", PROPAGATING)
@settings(deadline=None, max_examples=40)
@given(family_steps(*sharing_commands))
def test_sharers_always_agree_where_there_is_no_vfork(kernel: str, todo: list[FamilyStep]) -> None:
    """Except on init's mm: init does not follow, and its new children begin with its value."""
    procfs = Procfs(small_machine(kernel))
    for step in todo:
        attempt_in_family(procfs, step)
        values: dict[int, set[int]] = {}
        for process in procfs.machine.processes.values():
            if process.mm is not None and process.mm is not procfs.machine.init.mm:
                values.setdefault(process.mm.id, set()).add(process.oom_score_adj)
        assert all(len(agreed) == 1 for agreed in values.values())


def test_a_value_that_differs_shows_in_the_dump() -> None:
    """The comparisons above are worth nothing if the dump overlooks something."""
    machine = small_machine()
    procfs = Procfs(machine)
    mm = machine.process(100).mm
    assert mm is not None
    seen = [dump(procfs)]
    changes = (
        lambda: machine.change_oom_score_adj(machine.process(100), 5),
        lambda: setattr(machine.process(100), "oom_score_adj_min", 5),
        lambda: machine.rename(machine.thread(102), "x"),
        lambda: machine.resize(mm, sizes_for(anon_pages=7)),
        lambda: setattr(mm, "dumpable", False),
        lambda: machine.store_sysctl("vm/swappiness", b"61"),
        lambda: machine.set_kernel(machine.config.with_patch(4, on=False)),
        lambda: machine.printk(Level.INFO, "x"),
        lambda: machine.advance(1),
    )
    for change in changes:
        change()
        seen.append(dump(procfs))
    assert all(now != then for then, now in zip(seen, seen[1:], strict=False))
