# SPDX-License-Identifier: MIT
"""Odd input at every door: endless numbers, foreign digits, empty words, names that are no text."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.log import KernelLog, Level
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.sysctl import SysctlTable
from fakeproc.kernel.task import Credentials, TaskCaller
from fakeproc.procfs.node import File, OpenFile
from fakeproc.procfs.tree import Procfs
from fakeproc.scenario import load_scenario
from fakeproc.units import parse_pages


def file(procfs: Procfs, path: str) -> File:
    node = procfs.lookup(path, procfs.machine.root)
    assert isinstance(node, File)
    return node


@pytest.fixture
def procfs() -> Procfs:
    return Procfs(Machine(first_pid=100))


@pytest.mark.parametrize("text", [b"9" * 30, b"9" * 5000, b"0" * 30 + b"5"])
def test_a_number_longer_than_the_buffer_is_refused(text: bytes) -> None:
    """proc_get_long takes 21 characters (seen on 6.18: EINVAL)."""
    sysctls = SysctlTable()
    with pytest.raises(Refused) as refused:
        sysctls.store("vm/oom_dump_tasks", text)
    assert refused.value.error == errno.EINVAL


def test_a_write_ends_short_behind_the_first_number() -> None:
    """Seen on 6.18: "5 x" to swappiness returns 2 and sets 5."""
    sysctls = SysctlTable()
    assert sysctls.store("vm/swappiness", b"5 x") == 2
    assert sysctls["vm/swappiness"] == 5


def test_a_nul_does_not_end_a_number() -> None:
    with pytest.raises(Refused):
        SysctlTable().store("vm/swappiness", b"5\0x")


@pytest.mark.parametrize("text", ["9" * 400, "9" * 400 + "G"])
def test_an_endless_size_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        parse_pages(text)


def test_digits_are_ascii() -> None:
    with pytest.raises(Refused):
        parse_pages("３M")


def test_an_empty_pid_is_refused(procfs: Procfs) -> None:
    for command in (b"clone parent=", b"spawn parent=", b"kthread use_mm="):
        with pytest.raises(Refused) as refused:
            file(procfs, "/fakeproc/ctl").store(procfs.machine.root, command)
        assert refused.value.error == errno.EINVAL


def test_a_task_whose_name_is_no_text_can_exec(procfs: Procfs) -> None:
    ctl = file(procfs, "/fakeproc/ctl")
    for command in ("spawn name=éééééééééé", "exec 100"):
        assert ctl.store(procfs.machine.root, command.encode()) == len(command.encode())
    mm = procfs.machine.process(100).mm
    assert mm is not None
    assert mm.cmdline == (("é" * 7).encode() + b"\xc3",)


def test_a_task_without_a_name_can_be_changed(procfs: Procfs) -> None:
    procfs.machine.spawn("web")
    procfs.machine.rename(procfs.machine.thread(100), "")
    for command in (b"set 100 rss=1M", b"thread 100", b"clone parent=100", b"exec 100"):
        file(procfs, "/fakeproc/ctl").store(procfs.machine.root, command)


def test_a_value_given_by_an_ordinary_user_leaves_the_minimum(procfs: Procfs) -> None:
    user = TaskCaller(Credentials(1000, 1000, 0))
    file(procfs, "/fakeproc/ctl").store(user, b"spawn oom_score_adj=100")
    file(procfs, "/100/oom_score_adj").store(user, b"0")


@pytest.mark.parametrize("pid", ["1_00", " 100", "１００"])
def test_only_digits_are_a_pid(procfs: Procfs, pid: str) -> None:
    procfs.machine.spawn("web")
    with pytest.raises(Refused):
        file(procfs, "/fakeproc/ctl").store(procfs.machine.root, f"exit '{pid}'".encode())


@pytest.mark.parametrize("digits", [5000, 4301])
def test_an_endless_patch_number_is_refused(procfs: Procfs, digits: int) -> None:
    with pytest.raises(Refused):
        file(procfs, "/fakeproc/kernel").store(procfs.machine.root, b"patch " + b"9" * digits)


def test_a_thread_that_has_exited_takes_no_write(procfs: Procfs) -> None:
    """Seen on 6.18: ESRCH, and EINVAL for a bad value."""
    machine = procfs.machine
    process = machine.spawn("web")
    thread = machine.clone_thread(process.leader)
    opened = OpenFile(file(procfs, f"/100/task/{thread.tid}/oom_score_adj"))
    machine.exit_thread(thread)
    for data, error in ((b"5", errno.ESRCH), (b"x", errno.EINVAL)):
        with pytest.raises(Refused) as refused:
            opened.write(machine.root, data)
        assert refused.value.error == error
    assert process.oom_score_adj == 0


def test_a_zombie_has_no_umask(procfs: Procfs) -> None:
    """Seen on 6.18; nor has anything in 4.4."""
    procfs.machine.exit_group(procfs.machine.spawn("web"))
    assert b"Umask" not in file(procfs, "/100/status").render()


def test_comm_keeps_a_newline(procfs: Procfs) -> None:
    """Seen on 6.18: echo ab > comm; cat comm prints an empty line behind it."""
    own = TaskCaller.of(procfs.machine.spawn("web").leader)
    assert file(procfs, "/100/comm").store(own, b"ab\n") == 3
    assert file(procfs, "/100/comm").render() == b"ab\n\n"


def test_the_size_is_in_bytes() -> None:
    log = KernelLog(size_bytes=100)
    for _ in range(3):
        log.printk(Level.INFO, "é" * 20, 0)
    assert len(log.render().encode()) <= 100


@pytest.mark.parametrize("line", ["oom_score_adj = 5", "rss = '1M'", "uid = 5", "threads = 1"])
def test_what_a_kernel_thread_cannot_have_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(f"version = 1\n[[process]]\nname = 'k'\nkthread = true\n{line}\n")
    with pytest.raises(Refused):
        load_scenario(path)


@pytest.mark.parametrize("line", ["rss = '1M'", "cmdline = 'x -d'"])
def test_what_a_sharer_cannot_have_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(
        "version = 1\n[[process]]\nname = 'p'\n[[process.process]]\nname = 'c'\n"
        f"vm = 'shared'\n{line}\n"
    )
    with pytest.raises(Refused):
        load_scenario(path)


def test_a_nul_in_a_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text('version = 1\n[[process]]\nname = "a\\u0000b"\n')
    with pytest.raises(Refused):
        load_scenario(path)
