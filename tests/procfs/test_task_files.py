# SPDX-License-Identifier: MIT
"""The files of /proc/<pid> that say who a task is: formats, rights, and what states make of them.

Expectations that are marked so were seen on a real 6.18.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakeproc.kernel.details import (
    Details,
    changed,
    details_of,
    exe_path,
    tty_device,
    tty_name,
)
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import CloneFlags, Hardware, Machine
from fakeproc.kernel.profile import KernelConfig
from fakeproc.kernel.task import Caller, Credentials, Hold, Process, TaskCaller, Thread
from fakeproc.procfs.node import Directory, File, Link
from fakeproc.procfs.state_file import state_of
from fakeproc.procfs.tree import Procfs
from fakeproc.scenario.load import build

NOBODY = TaskCaller(Credentials(65534, 65534), tid=71, tgid=70, comm="sh")


class Proc:
    """A machine of 6.18 with a web server, and its files."""

    def __init__(self, kernel: str = "6.18") -> None:
        hardware = Hardware(ram_pages=262144, swap_pages=0)
        self.machine = Machine(KernelConfig(kernel), hardware, first_pid=100)
        self.procfs = Procfs(self.machine)
        self.web = self.machine.spawn("web", credentials=Credentials(33, 33))

    def node(self, path: str, caller: Caller | None = None) -> object:
        return self.procfs.lookup(path, caller or self.machine.root)

    def read(self, path: str, caller: Caller | None = None) -> bytes:
        """Open and read."""
        node = self.node(path, caller)
        assert isinstance(node, File)
        caller = caller or self.machine.root
        node.require_access(caller, os.R_OK)
        return node.opened(os.O_RDONLY, caller).render()

    def write(self, path: str, data: bytes, caller: Caller | None = None) -> int:
        node = self.node(path, caller)
        assert isinstance(node, File)
        return node.store(caller or self.machine.root, data)

    def link(self, path: str, caller: Caller | None = None) -> str:
        node = self.node(path, caller)
        assert isinstance(node, Link)
        return node.target(caller or self.machine.root)

    def names(self, path: str, caller: Caller | None = None) -> list[str]:
        node = self.node(path, caller)
        assert isinstance(node, Directory)
        return [name for name, _ in node.entries(caller or self.machine.root)]

    def zombie(self) -> Process:
        self.machine.exit_group(self.web)
        return self.web

    def stat(self, tid: int) -> list[str]:
        return self.read(f"/{tid}/stat").decode().rpartition(")")[2].split()


@pytest.fixture
def proc() -> Proc:
    return Proc()


def error_of(action: Callable[[], object]) -> int:
    """Return the errno with which something is refused; 0 if it is not."""
    try:
        action()
    except Refused as refused:
        return refused.error
    return 0


# -- What there is -----------------------------------------------------------------


def test_a_zombie_reads_as_on_a_real_kernel(proc: Proc) -> None:
    """Reference 2.5, and seen on 6.18."""
    pid = proc.zombie().pid
    links = {name: error_of(lambda: proc.link(f"/{pid}/{name}")) for name in ("exe", "cwd", "root")}  # noqa: B023
    assert set(links.values()) == {errno.ENOENT}
    assert error_of(lambda: proc.read(f"/{pid}/environ")) == errno.ESRCH
    assert error_of(lambda: proc.read(f"/{pid}/mounts")) == errno.EINVAL
    assert proc.names(f"/{pid}/fd") == proc.names(f"/{pid}/fdinfo") == []
    for name in ("timens_offsets", "coredump_filter", "timers", "stack"):
        assert proc.read(f"/{pid}/{name}") == b"", name
    assert proc.read(f"/{pid}/syscall") == b"-1 0x0 0x0\n"
    assert proc.read(f"/{pid}/wchan") == b"0"
    assert proc.link(f"/{pid}/ns/user") == "user:[4026531837]"
    assert error_of(lambda: proc.link(f"/{pid}/ns/mnt")) == errno.ENOENT
    assert error_of(lambda: proc.write(f"/{pid}/coredump_filter", b"1")) == errno.ESRCH


def test_a_kernel_thread_reads_as_on_a_real_kernel(proc: Proc) -> None:
    """Seen on 6.18."""
    pid = proc.machine.kthread("kworker/0:0H").pid
    assert error_of(lambda: proc.link(f"/{pid}/exe")) == errno.ENOENT
    assert proc.link(f"/{pid}/cwd") == "/"
    assert error_of(lambda: proc.read(f"/{pid}/environ")) == errno.ESRCH
    assert proc.read(f"/{pid}/wchan") == b"worker_thread"
    assert proc.read(f"/{pid}/autogroup") == proc.read(f"/{pid}/arch_status") == b""
    assert b"State:\tI (idle)\n" in proc.read(f"/{pid}/status")
    assert b"SigIgn:\tffffffffffffffff\n" in proc.read(f"/{pid}/status")
    fields = proc.stat(pid)
    assert (fields[0], int(fields[6]), fields[15], fields[16]) == ("I", 0x4208060, "0", "-20")


def test_an_old_kernel_opens_environ_of_who_has_none() -> None:
    proc = Proc("6.1")
    assert proc.read(f"/{proc.zombie().pid}/environ") == b""


@pytest.mark.parametrize(
    ("kernel", "missing"),
    [
        ("4.4", {"timerslack_ns", "timens_offsets", "patch_state", "arch_status"}),
        ("4.14", {"timens_offsets", "arch_status"}),
        ("6.18", set()),
    ],
)
def test_files_come_with_their_kernels(kernel: str, missing: set[str]) -> None:
    there = set(Proc(kernel).names("/100"))
    asked = {"timerslack_ns", "timens_offsets", "patch_state", "arch_status"}
    assert asked - there == missing


@pytest.mark.parametrize(("kernel", "count"), [("4.4", 6), ("4.9", 7), ("4.14", 8), ("6.18", 10)])
def test_namespaces_come_with_their_kernels(kernel: str, count: int) -> None:
    assert len(Proc(kernel).names("/100/ns")) == count


# -- Who may -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "error"),
    [
        *((f"/100/{name}", errno.EACCES) for name in ("environ", "io", "syscall", "stack")),
        ("/100/fd/0", errno.EACCES),
        ("/100/timerslack_ns", errno.EPERM),
        ("/100/limits", 0),
        ("/100/sched", 0),
    ],
)
def test_what_a_stranger_may_read(proc: Proc, path: str, error: int) -> None:
    """Seen on 6.18, as user nobody."""
    assert error_of(lambda: proc.read(path, NOBODY)) == error


def test_what_a_stranger_may_follow(proc: Proc) -> None:
    for path in ("/100/exe", "/100/cwd", "/100/root", "/100/ns/mnt"):
        assert error_of(lambda: proc.link(path, NOBODY)) == errno.EACCES, path  # noqa: B023
    assert error_of(lambda: proc.names("/100/fd", NOBODY)) == errno.EACCES
    assert error_of(lambda: proc.names("/100/ns", NOBODY)) == errno.EACCES
    assert proc.read("/100/wchan", NOBODY) == b"0"


def test_the_owner_may_unless_it_is_not_dumpable(proc: Proc) -> None:
    owner = TaskCaller(Credentials(33, 33))
    assert proc.link("/100/exe", owner) == "/usr/bin/web"
    assert proc.names("/100/fd", owner) == ["0", "1", "2"]
    assert proc.web.mm is not None
    proc.web.mm.dumpable = False
    assert error_of(lambda: proc.link("/100/exe", owner)) == errno.EACCES
    assert proc.link("/100/exe") == "/usr/bin/web"


# -- What is written ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("coredump_filter", b"0x7f\n", b"0000007f\n"),
        ("coredump_filter", b"33", b"00000021\n"),
        ("coredump_filter", b"abc", errno.EINVAL),
        ("coredump_filter", b"-1", errno.EINVAL),
        ("coredump_filter", b"99999999999\n", errno.ERANGE),
        ("coredump_filter", b"10\n\n", errno.EINVAL),
        ("timerslack_ns", b"1000\n", b"1000\n"),
        ("timerslack_ns", b"0", b"50000\n"),
        ("timerslack_ns", b"0x10", errno.EINVAL),
        ("autogroup", b"5\n", b"/autogroup-100 nice 5\n"),
        ("autogroup", b"100", errno.EINVAL),
        ("loginuid", b"5\n", b"5"),
        ("loginuid", b" 7", errno.EINVAL),
        ("uid_map", b"x", errno.EPERM),
        ("setgroups", b"allow\n", b"allow\n"),
        ("setgroups", b"deny\n", errno.EPERM),
        ("setgroups", b"x", errno.EINVAL),
        ("timens_offsets", b"boottime 1 1\n", errno.EACCES),
        ("limits", b"x", errno.EINVAL),
        ("attr/current", b"x", errno.EINVAL),
    ],
)
def test_writes_by_the_task_itself(proc: Proc, name: str, data: bytes, expected: object) -> None:
    """Seen on 6.18, as root."""
    caller = TaskCaller(proc.machine.root.credentials, tid=100, tgid=100)
    error = error_of(lambda: proc.write(f"/100/{name}", data, caller))
    assert (error or proc.read(f"/100/{name}")) == expected


def test_a_login_begins_an_audit_session_that_children_inherit(proc: Proc) -> None:
    caller = TaskCaller(proc.machine.root.credentials, tid=100, tgid=100)
    assert error_of(lambda: proc.write("/100/loginuid", b"5")) == errno.EPERM
    proc.write("/100/loginuid", b"1000", caller)
    child = proc.machine.clone(proc.web.leader, CloneFlags())
    assert proc.read(f"/{child.pid}/loginuid") == b"1000"
    assert proc.read(f"/{child.pid}/sessionid") == b"1"


# -- Details -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cmdline", "path"),
    [
        ((b"/sbin/init", b"x"), "/sbin/init"),
        ((b"-bash",), "/usr/bin/bash"),
        ((b"nginx: master process",), "/usr/bin/nginx"),
        ((b"(odd)",), "/usr/bin/web"),
    ],
)
def test_the_program_follows_from_the_command_line(
    proc: Proc, cmdline: tuple[bytes, ...], path: str
) -> None:
    proc.machine.exec(proc.web.leader, "web", cmdline=cmdline)
    assert exe_path(proc.web) == path


def test_what_fork_and_exec_make_of_details(proc: Proc) -> None:
    told = changed(Details(), {"exe": "/opt/web", "cwd": "/srv", "nice": 5, "tty": "pts/3"})
    proc.machine.set_details(proc.web, told)
    child = proc.machine.clone(proc.web.leader, CloneFlags())
    assert child.details is proc.web.details
    proc.machine.exec(child.leader, "cat")
    assert (exe_path(child), details_of(child).cwd) == ("/usr/bin/cat", "/srv")
    other = proc.machine.spawn("daemon", parent=proc.web.leader)
    assert (details_of(other).tty, details_of(other).nice) == ("", 5)


@pytest.mark.parametrize(
    ("tty", "device", "number"),
    [
        ("pts/1", (136, 1), 34817),
        ("pts/300", (137, 44), 35116),
        ("tty1", (4, 1), 1025),
        ("ttyS0", (4, 64), 1088),
        ("console", (5, 1), 1281),
    ],
)
def test_device_numbers_of_terminals(tty: str, device: tuple[int, int], number: int) -> None:
    assert tty_device(tty) == device
    assert Details(tty=tty).tty_number == number
    assert tty_name(number) == tty


@pytest.mark.parametrize(
    "values",
    [{"exe": "x"}, {"cwd": "/\0"}, {"nice": 20}, {"tty": "pts/"}, {"environ": {"A=": "x"}}],
)
def test_details_that_cannot_be(values: dict[str, object]) -> None:
    with pytest.raises(Refused, match=f"{next(iter(values))}: .*accepted"):
        changed(Details(), values)


def test_details_survive_a_state_file(proc: Proc) -> None:
    values = {
        "exe": "/bin/x", "root": "/jail", "environ": {}, "nice": -3, "tty": "pts/0",
        "coredump_filter": 0, "login_uid": 0, "audit_session": 1, "timer_slack_ns": 7,
    }  # fmt: skip
    proc.machine.set_details(proc.web, changed(Details(), values))
    proc.machine.audit_sessions = 1
    again = build(state_of(proc.machine))
    assert again.process(100).details == proc.web.details
    assert again.audit_sessions == 1


# -- Flags and signals -------------------------------------------------------------


def test_a_killed_task_that_is_stuck_has_sigkill_pending(proc: Proc) -> None:
    proc.machine.hold(proc.web.leader, Hold.STUCK)
    proc.machine.kill(proc.machine.root, proc.web, 9)
    status = proc.read("/100/status").decode()
    assert "SigPnd:\t0000000000000100\nShdPnd:\t0000000000000100\n" in status
    assert proc.read("/100/wchan") == b"jbd2_log_wait_commit"


def test_flags_tell_forks_threads_and_the_dead(proc: Proc) -> None:
    """Values as on 6.18."""
    thread = proc.machine.clone_thread(proc.web.leader)
    assert int(proc.stat(100)[6]) == 0x400000
    assert int(proc.stat(thread.tid)[6]) == 0x400040
    assert (proc.stat(100)[35], proc.stat(thread.tid)[35]) == ("17", "-1")
    proc.machine.kill(proc.machine.root, proc.web, 9)
    assert int(proc.stat(100)[6]) == 0x40840C


# -- They agree with each other ----------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("ctxe"), st.integers(0, 30)), max_size=15))
def test_files_agree_about_families(todo: list[tuple[str, int]]) -> None:
    proc = Proc()
    machine = proc.machine
    for what, chosen in todo:
        threads = list(machine.threads())
        _do(machine, what, threads[chosen % len(threads)])
    children: dict[int, set[int]] = {}
    for process in machine.processes.values():
        fields = proc.stat(process.pid)
        status = dict(
            re.findall(r"^(\w+):\t(.*)$", proc.read(f"/{process.pid}/status").decode(), re.M)
        )
        tids = proc.names(f"/{process.pid}/task")
        assert status["Threads"] == fields[17] == str(len(tids))
        assert (status["Tgid"], status["PPid"]) == (str(process.pid), fields[1])
        assert status["NStgid"] == status["NSpid"] == status["Pid"] == str(process.pid)
        assert status["State"][0] == fields[0]
        if process.leader.mm is not None:
            owner = proc.procfs.lookup(f"/{process.pid}", machine.root).attributes().uid
            assert status["Uid"].split()[1] == str(owner)
        children.setdefault(int(fields[1]), set()).add(process.pid)
        for tid in tids:
            told = proc.read(f"/{process.pid}/task/{tid}/children").decode().split()
            assert {machine.process(int(pid)).real_parent for pid in told} <= {
                machine.thread(int(tid))
            }
    for pid, expected in children.items():
        listed = {
            int(child)
            for tid in (proc.names(f"/{pid}/task") if pid else ())
            for child in proc.read(f"/{pid}/task/{tid}/children").split()
        }
        assert listed == expected or not pid


def _do(machine: Machine, what: str, thread: Thread) -> None:
    """Clone, add a thread, exec or exit, if that can be done."""
    actions: dict[str, Callable[[], object]] = {
        "c": lambda: machine.clone(thread, CloneFlags()),
        "t": lambda: machine.clone_thread(thread),
        "x": lambda: machine.exec(thread, "y"),
        "e": lambda: machine.exit_thread(thread),
    }
    error_of(actions[what])
