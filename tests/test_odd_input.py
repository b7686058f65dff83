# SPDX-License-Identifier: MIT
"""Odd input at every door: endless numbers, foreign digits, empty words, names that are no text."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from fakeproc.callers import host_status
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.log import KernelLog, Level
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.sysctl import SysctlTable
from fakeproc.kernel.task import Credentials, TaskCaller
from fakeproc.procfs import state_file
from fakeproc.procfs.node import Directory, File, OpenFile
from fakeproc.procfs.tree import Procfs
from fakeproc.scenario import load_scenario
from fakeproc.scenario.load import load_text
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


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/" + "a" * 256, errno.ENAMETOOLONG),
        ("/a" * 2048, errno.ENAMETOOLONG),
        ("/a\0", errno.EINVAL),
    ],
)
def test_a_group_has_a_path_that_system_calls_take(procfs: Procfs, path: str, error: int) -> None:
    with pytest.raises(Refused) as refused:
        procfs.machine.make_memcg(path)
    assert refused.value.error == error
    assert not procfs.machine.root_memcg.children


def test_groups_may_lie_as_deep_as_paths_go(procfs: Procfs) -> None:
    path = "/a" * 2047
    assert procfs.machine.make_memcg(path).path == path
    text = state_file.render(procfs)
    assert load_text(text, "state.toml").memcg(path).path == path


def test_a_write_to_a_group_ends_after_a_page(procfs: Procfs) -> None:
    """As of all files that kernfs has (kernfs_fop_write_iter)."""
    procfs.machine.make_memcg("/web")
    limit = file(procfs, "/fakeproc/cgroup/web/memory.max")
    assert limit.store(procfs.machine.root, b"9" * 5000) == 4096


def test_a_pid_that_is_no_int_is_none(procfs: Procfs) -> None:
    """kstrtoint in cgroup_procs_write_start: EINVAL, where ESRCH is for numbers of nobody."""
    members = file(procfs, "/fakeproc/cgroup/cgroup.procs")
    for text, error in ((b"2147483647", errno.ESRCH), (b"2147483648", errno.EINVAL)):
        with pytest.raises(Refused) as refused:
            members.store(procfs.machine.root, text)
        assert refused.value.error == error


def test_of_a_number_the_kernel_looks_at_the_beginning(procfs: Procfs) -> None:
    """kstrtouint_from_user copies 34 bytes, kstrtoull_from_user 66."""
    procfs.machine.spawn("web")
    root = procfs.machine.root
    for name, bits in (("coredump_filter", 32), ("timerslack_ns", 64)):
        with pytest.raises(Refused) as refused:
            file(procfs, f"/100/{name}").store(root, b"9" * 5000)
        assert refused.value.error == errno.ERANGE
        digits = b"5".rjust(bits + 2, b"0")
        assert file(procfs, f"/100/{name}").store(root, digits + b"x") == bits + 3


def test_a_text_of_digits_is_still_that_text_in_a_state(procfs: Procfs) -> None:
    file(procfs, "/sys/kernel/core_pattern").store(procfs.machine.root, b"007")
    again = load_text(state_file.render(procfs), "state.toml")
    assert again.kept_sysctls.text("kernel/core_pattern") == "007"


def test_the_clock_stops_where_a_state_could_not_be_read_any_more(procfs: Procfs) -> None:
    clock = file(procfs, "/fakeproc/clock")
    clock.store(procfs.machine.root, b"+1281023h")
    with pytest.raises(Refused) as refused:
        clock.store(procfs.machine.root, b"+1h")
    assert refused.value.why == "clock: +1h: too late; a machine runs 1281023h at most."
    assert load_text(state_file.render(procfs), "state.toml").now_ns == procfs.machine.now_ns


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a = " + "[" * 3000, "is nested too deeply; accepted are 200 tables and arrays."),
        ("a" + ".a" * 300 + " = 1", "is nested too deeply; accepted are 200 tables and arrays."),
        ("version = " + "9" * 5000, "a number is too long; accepted are integers of 64 bits."),
        ("version = 0x" + "f" * 5000, "a number is too long; accepted are integers of 64 bits."),
    ],
)
def test_toml_that_python_could_not_handle(text: str, why: str) -> None:
    with pytest.raises(Refused) as refused:
        load_text(text, "x.toml")
    assert refused.value.why == f"x.toml: {why}"


@pytest.mark.parametrize("name", [b"x\x0cUmask:\t7", b"x\rUmask:\t7", b"x\x1cUmask:\t7"])
def test_a_name_cannot_pass_for_a_field_of_status(name: bytes) -> None:
    found: list[dict[str, str]] = []

    def rename_and_look() -> None:
        Path("/proc/thread-self/comm").write_bytes(name)
        found.append(host_status(threading.get_native_id()))

    thread = threading.Thread(target=rename_and_look)
    thread.start()
    thread.join()
    assert found[0]["Name"] == name.decode()


def test_a_state_is_text_whatever_names_are(procfs: Procfs) -> None:
    root, process = procfs.machine.root, procfs.machine.spawn("web")
    groups = procfs.lookup("/fakeproc/cgroup", root)
    assert isinstance(groups, Directory)
    groups.make_directory("a\udcff", root)
    procfs.machine.join_memcg(process, procfs.machine.memcg("/a\udcff"))
    file(procfs, "/sys/kernel/core_pattern").store(root, b"core\xff")
    text = state_file.render(procfs).encode().decode()
    again = load_text(text, "state.toml")
    assert again.process(100).memcg.path == r"/a\udcff"
    assert again.kept_sysctls.text("kernel/core_pattern") == r"core\udcff"
