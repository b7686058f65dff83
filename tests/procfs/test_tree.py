# SPDX-License-Identifier: MIT
"""The tree of /proc: what there is, who may use it, and what each file says."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import dedent
from uuid import UUID

import pytest

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import CloneFlags, Hardware, Machine, sizes_for
from fakeproc.kernel.profile import PROFILE_NAMES, KernelConfig, named
from fakeproc.kernel.sysctl import SYSCTLS
from fakeproc.kernel.task import Caller, Credentials, Hold, MemorySizes, State, TaskCaller, Thread
from fakeproc.procfs.node import Directory, File, Link, OpenFile, open_file
from fakeproc.procfs.session import HidePid
from fakeproc.procfs.tree import Procfs

USER = TaskCaller(Credentials(1000, 1000, 0), tid=71, tgid=70, comm="sh")
OOM_FILES = {"oom_adj": 0o644, "oom_score": 0o444, "oom_score_adj": 0o644}
TASK_FILES = {
    **OOM_FILES,
    "cgroup": 0o444,
    "cmdline": 0o444,
    "comm": 0o644,
    "stat": 0o444,
    "statm": 0o444,
    "status": 0o444,
}


class Proc:
    """A machine with two tasks and a thread, and its files without a mount."""

    def __init__(self, kernel: str = "series") -> None:
        hardware = Hardware(ram_pages=262144, swap_pages=65536, cpus=2, hostname="box")
        self.machine = Machine(KernelConfig(kernel), hardware, first_pid=100)
        self.procfs = Procfs(self.machine)
        self.web = self.machine.spawn(
            "web",
            credentials=Credentials(33, 34, 0),
            sizes=sizes_for(anon_pages=1000, file_pages=50, shmem_pages=20, swap_entries=8),
            cmdline=(b"web", b"-d"),
        )
        self.thread = self.machine.clone_thread(self.web.leader)
        self.machine.spawn("other", pid=5000)

    def lines(self, path: str) -> list[str]:
        return self.read(path).splitlines()

    def file(self, path: str, caller: Caller | None = None) -> File:
        node = self.procfs.lookup(path, caller or self.machine.root)
        assert isinstance(node, File)
        return node

    def directory(self, path: str, caller: Caller | None = None) -> Directory:
        node = self.procfs.lookup(path, caller or self.machine.root)
        assert isinstance(node, Directory)
        return node

    def names(self, path: str, caller: Caller | None = None) -> list[str]:
        caller = caller or self.machine.root
        return [name for name, _ in self.directory(path, caller).entries(caller)]

    def read(self, path: str) -> str:
        return self.file(path).render().decode(errors="surrogateescape")

    def write(self, path: str, data: bytes, caller: Caller | None = None) -> int:
        return self.file(path).store(caller or self.machine.root, data)

    def status(self, tid: int) -> dict[str, str]:
        lines = self.read(f"/{tid}/status").splitlines()
        return dict(line.split(":\t", 1) for line in lines)

    def stat(self, tid: int) -> tuple[str, list[str]]:
        """Return name and the other fields of stat: between first ``(`` and last ``)``."""
        text = self.read(f"/{tid}/stat")
        before, after = text.index("("), text.rindex(")")
        assert text.endswith("\n")
        return text[before + 1 : after], [text[: before - 1], *text[after + 2 :].split()]


@pytest.fixture
def proc() -> Proc:
    return Proc()


@contextmanager
def refusal(error: int) -> Iterator[None]:
    with pytest.raises(Refused) as refused:
        yield
    assert refused.value.error == error


# -- Looking up --------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/999",
        "/0",
        "/0100",
        "/+100",
        "/-1",
        "/99999999999",
        "/١",
        "/100/nothing",
        "/100/task/nothing",
        "/100/task/5000",
        "/100/task/1",
        "/100/task/0101",
        "/100/task/101/task",
        "/sys/vm/nothing",
        "/fakeproc/nothing",
        "/101/task/999/comm",
    ],
)
def test_what_is_not_there(proc: Proc, path: str) -> None:
    with refusal(errno.ENOENT):
        proc.procfs.lookup(path, proc.machine.root)


@pytest.mark.parametrize(
    "path", ["/meminfo/x", "/100/comm/x", "/sys/vm/swappiness/x/y", "/self/comm"]
)
def test_what_is_no_directory(proc: Proc, path: str) -> None:
    """A link is none either: the kernel of the host follows those."""
    with refusal(errno.ENOTDIR):
        proc.procfs.lookup(path, proc.machine.root)


def test_a_thread_is_reachable_but_not_listed(proc: Proc) -> None:
    assert "101" not in proc.names("/")
    assert proc.names("/101") == proc.names("/100")
    assert proc.names("/101/task") == proc.names("/100/task") == ["100", "101"]
    proc.write("/101/oom_score_adj", b"260")
    assert proc.read("/100/oom_score_adj") == proc.read("/100/task/101/oom_score_adj") == "260\n"


def test_a_path_may_have_more_slashes_than_it_needs(proc: Proc) -> None:
    assert proc.read("//100///comm") == "web\n"


# -- Directories -------------------------------------------------------------------


def test_the_root_lists_files_then_links_then_pids(proc: Proc) -> None:
    """The fixed names as procfs keeps them: short ones first (seen on 6.18)."""
    names = proc.names("/")
    fixed = names[: names.index("self")]
    assert fixed == sorted(fixed, key=lambda name: (len(name), name))
    assert {"fakeproc", "meminfo", "sys", "sysrq-trigger"} <= set(fixed)
    assert names[len(fixed) :] == ["self", "thread-self", "1", "2", "100", "5000"]


def test_pids_are_listed_in_ascending_order(proc: Proc) -> None:
    for pid in (450, 300):
        proc.machine.spawn("x", pid=pid)
    pids = [int(name) for name in proc.names("/") if name.isdigit()]
    assert pids == [1, 2, 100, 300, 450, 5000]


def test_a_process_has_its_files_and_its_threads(proc: Proc) -> None:
    names = proc.names("/100")
    assert names[0] == "task"
    assert {*TASK_FILES} <= {*names}
    assert {*TASK_FILES} <= {*proc.names("/100/task/101")}
    assert "task" not in proc.names("/100/task/101")


def test_threads_are_listed_leader_first(proc: Proc) -> None:
    proc.machine.clone_thread(proc.web.leader, tid=90)
    assert proc.names("/100/task") == ["100", "101", "90"]


def test_sys_and_fakeproc_list_their_files(proc: Proc) -> None:
    there = {name for name, row in SYSCTLS.items() if row.is_in(proc.machine.profile.version)}
    expected = {name.removeprefix("vm/") for name in there if name.startswith("vm/")}
    assert expected <= set(proc.names("/sys/vm"))
    assert proc.names("/sys/vm") == sorted(proc.names("/sys/vm"))
    assert proc.names("/fakeproc") == [
        *(
            "cgroup",
            "clock",
            "ctl",
            "devkmsg",
            "explain",
            "explain-kernels",
            "explain-kernels.json",
            "explain.json",
            "journal",
            "kernel",
            "kmsg",
            "oom_trigger",
            "ps",
            "ps.json",
            "state.toml",
            "stats",
        )
    ]


@pytest.mark.parametrize("path", ["/", "/100", "/100/task", "/100/task/101", "/sys/vm"])
def test_what_is_listed_can_be_looked_up_and_is_what_it_says(proc: Proc, path: str) -> None:
    root = proc.machine.root
    for name, kind in proc.directory(path).entries(root):
        node = proc.procfs.lookup(f"{path}/{name}", root)
        assert stat.S_IFMT(node.attributes().mode) == kind
        kinds = {stat.S_IFDIR: Directory, stat.S_IFREG: File, stat.S_IFLNK: Link}
        assert isinstance(node, kinds[kind])


def test_self_and_thread_self_are_the_callers(proc: Proc) -> None:
    for name, target in (("self", "70"), ("thread-self", "70/task/71")):
        link = proc.procfs.lookup(f"/{name}", USER)
        assert isinstance(link, Link)
        assert link.target(USER) == target


def test_a_process_of_the_host_that_looks_for_itself_may_be_adopted(proc: Proc) -> None:
    with refusal(errno.ENOENT):
        proc.procfs.lookup("/70", USER)
    asked: list[int] = []

    def adopt(caller: Caller, tid: int) -> Thread:
        asked.append(tid)
        return proc.machine.spawn(caller.comm, pid=caller.tgid).leader

    proc.procfs.adopt = adopt
    with refusal(errno.ENOENT):
        proc.procfs.lookup("/72", USER)
    assert proc.file("/70/comm", USER).render() == b"sh\n"
    assert proc.file("/70/comm").render() == b"sh\n"
    assert asked == [70]


# -- Modes and owners --------------------------------------------------------------


@pytest.mark.parametrize("directory", ["/100", "/100/task/101", "/101"])
@pytest.mark.parametrize("name", TASK_FILES)
def test_task_files_belong_to_the_task(proc: Proc, directory: str, name: str) -> None:
    attributes = proc.file(f"{directory}/{name}").attributes()
    assert attributes.mode == stat.S_IFREG | TASK_FILES[name]
    assert (attributes.uid, attributes.gid, attributes.nlink) == (33, 34, 1)


def test_directories_are_read_only_and_belong_to_the_task(proc: Proc) -> None:
    for path in ("/100", "/100/task", "/100/task/101"):
        attributes = proc.directory(path).attributes()
        assert attributes.mode == stat.S_IFDIR | 0o555
        assert (attributes.uid, attributes.gid) == (33, 34)
    root = proc.directory("/").attributes()
    assert (root.mode, root.uid) == (stat.S_IFDIR | 0o555, 0)
    assert proc.directory("/sys/vm").attributes().uid == 0


@pytest.mark.parametrize("why", ["not dumpable", "zombie", "kernel thread", "exited leader"])
def test_files_belong_to_root_when_the_task_has_no_mm_to_show(proc: Proc, why: str) -> None:
    machine, process = proc.machine, proc.web
    if why == "not dumpable":
        assert process.mm is not None
        process.mm.dumpable = False
    elif why == "zombie":
        machine.exit_group(process)
    elif why == "kernel thread":
        process = machine.kthread("kswapd0")
        machine.set_credentials(process.threads, Credentials(33, 34, 0))
    else:
        machine.exit_thread(process.leader)
        assert proc.file("/101/oom_score_adj").attributes().uid == 33
    attributes = proc.file(f"/{process.pid}/oom_score_adj").attributes()
    assert (attributes.mode, attributes.uid, attributes.gid) == (stat.S_IFREG | 0o644, 0, 0)


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("/meminfo", 0o444),
        ("/version", 0o444),
        ("/vmstat", 0o444),
        ("/sys/vm/panic_on_oom", 0o644),
        ("/sys/vm/overcommit_ratio", 0o644),
        ("/sys/kernel/osrelease", 0o444),
        ("/fakeproc/ctl", 0o600),
        ("/fakeproc/kernel", 0o644),
        ("/fakeproc/kmsg", 0o444),
        ("/fakeproc/ps", 0o444),
    ],
)
def test_files_of_the_machine_belong_to_root(proc: Proc, path: str, mode: int) -> None:
    attributes = proc.file(path).attributes()
    assert attributes.mode == stat.S_IFREG | mode
    assert (attributes.uid, attributes.gid) == (0, 0)


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR])
def test_who_may_open_an_oom_file_for_writing(proc: Proc, flags: int) -> None:
    owner = TaskCaller(Credentials(33, 34, 0))
    only_group = TaskCaller(Credentials(1000, 34, 0))
    weak_root = TaskCaller(Credentials(0, 0, 0))
    file = proc.file("/100/oom_score_adj")
    for caller in (owner, proc.machine.root):
        assert open_file(file, flags, caller).file is file
    for caller in (USER, only_group, weak_root):
        with refusal(errno.EACCES):
            open_file(file, flags, caller)
        assert open_file(file, os.O_RDONLY, caller).read(99, 0) == b"0\n"


def test_oom_score_is_opened_by_root_but_takes_no_write(proc: Proc) -> None:
    file = open_file(proc.file("/100/oom_score"), os.O_WRONLY, proc.machine.root)
    with refusal(errno.EINVAL):
        file.write(proc.machine.root, b"5")
    with refusal(errno.EACCES):
        open_file(proc.file("/100/oom_score"), os.O_WRONLY, TaskCaller(Credentials(33, 34, 0)))


def test_a_read_only_sysctl_stays_so_for_root(proc: Proc) -> None:
    with refusal(errno.EACCES):
        open_file(proc.file("/sys/kernel/osrelease"), os.O_WRONLY, proc.machine.root)
    open_file(proc.file("/sys/vm/swappiness"), os.O_WRONLY, TaskCaller(Credentials(0, 0, 0)))


def test_direct_io_is_refused(proc: Proc) -> None:
    with refusal(errno.EINVAL):
        open_file(proc.file("/100/oom_score_adj"), os.O_RDWR | os.O_DIRECT, proc.machine.root)


def test_nobody_executes_a_file(proc: Proc) -> None:
    for path in ("/100/oom_score_adj", "/meminfo", "/sys/vm/swappiness", "/fakeproc/ctl"):
        with refusal(errno.EACCES):
            proc.file(path).require_access(proc.machine.root, os.X_OK)
    proc.directory("/100").require_access(USER, os.R_OK | os.X_OK)


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/meminfo", errno.EIO),
        ("/uptime", errno.EIO),
        ("/100/stat", errno.EINVAL),
        ("/100/status", errno.EINVAL),
        ("/100/cmdline", errno.EINVAL),
        ("/100/cgroup", errno.EINVAL),
        ("/fakeproc/kmsg", errno.EINVAL),
    ],
)
def test_files_that_take_no_write(proc: Proc, path: str, error: int) -> None:
    """The errno of the kernel's own files were seen on 6.18."""
    with refusal(error):
        proc.write(path, b"x")


# -- hidepid -----------------------------------------------------------------------


@pytest.mark.parametrize("level", HidePid)
def test_what_others_see_of_a_task(proc: Proc, level: HidePid) -> None:
    """Seen on 6.1: 1 leaves the directory only, 2 and 4 nothing (reference 2.1)."""
    proc.procfs.hidepid = level
    paths = ("/100", "/100/comm", "/100/task/101/oom_adj", "/101/oom_score")
    errors = {
        HidePid.OFF: [0, 0, 0, 0],
        HidePid.NO_ACCESS: [0, errno.EPERM, errno.EPERM, errno.EPERM],
    }.get(level, [errno.ENOENT] * 4)
    for path, error in zip(paths, errors, strict=True):
        if error:
            with refusal(error):
                proc.procfs.lookup(path, USER)
        else:
            proc.procfs.lookup(path, USER)
    assert ("100" in proc.names("/", USER)) == (level < HidePid.INVISIBLE)


@pytest.mark.parametrize("level", HidePid)
def test_root_and_the_owner_see_everything(proc: Proc, level: HidePid) -> None:
    proc.procfs.hidepid = level
    for caller in (proc.machine.root, TaskCaller(Credentials(33, 34, 0))):
        assert proc.file("/100/comm", caller).render() == b"web\n"
        assert "100" in proc.names("/", caller)


# -- Open files --------------------------------------------------------------------


def test_a_pass_of_reading_sees_one_content(proc: Proc) -> None:
    file = OpenFile(proc.file("/100/comm"))
    web = proc.machine.process(100).leader
    proc.machine.rename(web, "123")
    assert file.read(2, 0) == b"12"
    proc.machine.rename(web, "987")
    assert file.read(99, 2) == b"3\n"
    assert file.read(99, 4) == b""
    assert file.read(99, 0) == b"987\n"


@pytest.mark.parametrize(("name", "rest"), [("oom_adj", b"13\n"), ("oom_score_adj", b"823\n")])
def test_the_written_files_give_what_is_there_at_each_read(
    proc: Proc, name: str, rest: bytes
) -> None:
    """They are no seq files: a write shows before a pass is over.  Seen on 6.1."""
    file = OpenFile(proc.file(f"/100/{name}"))
    assert file.read(1, 0) == b"0"
    proc.write("/100/oom_score_adj", b"-823")
    assert file.read(9, 1) == rest


def test_a_write_goes_to_the_file_wherever_the_descriptor_stands(proc: Proc) -> None:
    file = OpenFile(proc.file("/100/oom_score_adj"))
    assert file.write(proc.machine.root, b"10") == 2
    assert file.write(proc.machine.root, b"20\n") == 3
    assert file.read(99, 0) == b"20\n"


@pytest.mark.parametrize("name", TASK_FILES)
def test_an_open_file_of_a_task_that_is_gone(proc: Proc, name: str) -> None:
    file = OpenFile(proc.file(f"/100/{name}"))
    proc.machine.exit_group(proc.web)
    file.read(99, 0)
    proc.machine.reap(proc.web)
    with refusal(errno.ESRCH):
        file.read(99, 0)
    with refusal(errno.ENOENT):
        proc.procfs.lookup(f"/100/{name}", proc.machine.root)


def test_a_new_task_with_the_pid_of_an_old_one_is_another(proc: Proc) -> None:
    file = OpenFile(proc.file("/100/oom_score_adj"))
    proc.machine.exit_group(proc.web)
    proc.machine.reap(proc.web)
    proc.machine.spawn("new", pid=100)
    with refusal(errno.ESRCH):
        file.read(99, 0)
    with refusal(errno.ESRCH):
        file.write(proc.machine.root, b"5")
    assert proc.read("/100/oom_score_adj") == "0\n"


# -- Names -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["web", "a) b (c", ")", "(", "((", ") R 1 (", "a b", "tab\tbar", "é", "\udcff"]
)
def test_any_name_can_be_read_back_from_stat_and_comm(proc: Proc, name: str) -> None:
    proc.machine.rename(proc.web.leader, name)
    assert proc.read("/100/comm") == f"{name}\n"
    comm, fields = proc.stat(100)
    assert comm == name
    assert len(fields) == 51
    assert fields[:4] == ["100", "S", "1", "100"]


def test_a_name_that_would_break_a_line_is_escaped_in_status(proc: Proc) -> None:
    proc.machine.rename(proc.web.leader, "a\nb\\c")
    assert proc.status(100)["Name"] == "a\\nb\\\\c"


def test_comm_is_written_by_its_own_threads_only(proc: Proc) -> None:
    own = TaskCaller.of(proc.thread)
    assert proc.write("/100/comm", b"new name", own) == 8
    assert proc.read("/100/comm") == "new name\n"
    assert proc.read("/101/comm") == "web\n"
    assert proc.write("/100/task/101/comm", b"x" * 40, own) == 40
    assert proc.read("/101/comm") == "x" * 15 + "\n"
    for stranger in (proc.machine.root, USER, TaskCaller.of(proc.machine.init.leader)):
        with refusal(errno.EINVAL):
            proc.write("/100/comm", b"stolen", stranger)
    assert proc.read("/100/comm") == "new name\n"


def test_a_name_ends_at_the_first_nul(proc: Proc) -> None:
    assert proc.write("/100/comm", b"ab\0cd", TaskCaller.of(proc.thread)) == 5
    assert proc.read("/100/comm") == "ab\n"


def test_cmdline_and_cgroup(proc: Proc) -> None:
    assert proc.read("/100/cmdline") == "web\0-d\0"
    assert proc.read("/100/cgroup") == "2:cpuset:/\n1:memory:/\n0::/\n"
    proc.machine.join_memcg(proc.web, proc.machine.make_memcg("/a/b"))
    assert proc.read("/100/cgroup") == "2:cpuset:/\n1:memory:/a/b\n0::/a/b\n"
    proc.machine.build = dataclasses.replace(proc.machine.build, cgroup_version=2)
    assert proc.read("/100/cgroup") == "0::/a/b\n"
    assert proc.read("/2/cmdline") == ""


# -- stat, statm, status -----------------------------------------------------------


def test_stat_has_52_fields(proc: Proc) -> None:
    assert proc.file("/100/stat", USER).render().decode() == (
        "100 (web) S 1 100 100 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 2 0 0 6512640 1070 "
        "18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
    )


def test_start_time_is_in_ticks_since_boot(proc: Proc) -> None:
    proc.machine.advance(12_345_678_901)
    pid = proc.machine.spawn("late").pid
    assert proc.stat(pid)[1][20] == "1234"


def test_statm_is_in_pages(proc: Proc) -> None:
    assert proc.read("/100/statm") == "1590 1070 70 5 0 1037 0\n"


@pytest.mark.parametrize("kind", ["zombie", "kthread", "borrowing kthread"])
def test_statm_is_seven_zeros_without_memory_of_its_own(proc: Proc, kind: str) -> None:
    borrowed = proc.web.mm if kind == "borrowing kthread" else None
    process = proc.web if kind == "zombie" else proc.machine.kthread("aio", use_mm=borrowed)
    if kind == "zombie":
        proc.machine.exit_group(process)
    assert proc.read(f"/{process.pid}/statm") == "0 0 0 0 0 0 0\n"
    assert not any(name.startswith(("Vm", "Rss")) for name in proc.status(process.pid))
    assert proc.read(f"/{process.pid}/cmdline") == ""


def test_status_of_the_series(proc: Proc) -> None:
    expected = """\
        Name:\tweb
        Umask:\t0022
        State:\tS (sleeping)
        Tgid:\t100
        Ngid:\t0
        Pid:\t100
        PPid:\t1
        TracerPid:\t0
        Uid:\t33\t33\t33\t33
        Gid:\t34\t34\t34\t34
        FDSize:\t64
        Groups:\t{space}
        NStgid:\t100
        NSpid:\t100
        NSpgid:\t100
        NSsid:\t100
        VmPeak:\t    6360 kB
        VmSize:\t    6360 kB
        VmLck:\t       0 kB
        VmPin:\t       0 kB
        VmHWM:\t    4280 kB
        VmRSS:\t    4280 kB
        RssAnon:\t    4000 kB
        RssFile:\t     200 kB
        RssShmem:\t      80 kB
        VmData:\t    4016 kB
        VmStk:\t     132 kB
        VmExe:\t      20 kB
        VmLib:\t    1528 kB
        VmPTE:\t      24 kB
        VmPMD:\t      12 kB
        VmSwap:\t      32 kB
        HugetlbPages:\t       0 kB
        Threads:\t2
        SigQ:\t0/4096
        SigPnd:\t0000000000000000
        ShdPnd:\t0000000000000000
        SigBlk:\t0000000000000000
        SigIgn:\t0000000000000000
        SigCgt:\t0000000000000000
        CapInh:\t0000000000000000
        CapPrm:\t0000000000000000
        CapEff:\t0000000000000000
        CapBnd:\t0000003fffffffff
        CapAmb:\t0000000000000000
        Seccomp:\t0
        Cpus_allowed:\t3
        Cpus_allowed_list:\t0-1
        Mems_allowed:\t{mems}
        Mems_allowed_list:\t0
        voluntary_ctxt_switches:\t0
        nonvoluntary_ctxt_switches:\t0
    """
    assert proc.read("/100/status") == dedent(expected).format(
        space=" ", mems="00000000," * 31 + "00000001"
    )


ADDED_TO_STATUS = {
    "Umask": (4, 7),
    "RssAnon": (4, 5),
    "NoNewPrivs": (4, 10),
    "CoreDumping": (4, 15),
    "Speculation_Store_Bypass": (4, 17),
    "THP_enabled": (5, 0),
    "Seccomp_filters": (5, 9),
    "Kthread": (6, 9),
}


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
def test_status_grew_over_the_years(kernel: str) -> None:
    proc = Proc(kernel)
    version = named(kernel).version
    status = proc.status(100)
    for name, since in ADDED_TO_STATUS.items():
        assert (name in status) == (version >= since), name
    # Page tables of both levels became one number in 4.15.
    assert status["VmPTE"].split()[0] == ("24" if version < (4, 15) else "36")
    assert ("VmPMD" in status) == (version < (4, 15))
    assert status["CapBnd"] == f"{proc.machine.full_capabilities:016x}"


def test_a_zombie(proc: Proc) -> None:
    proc.machine.kill(proc.machine.root, proc.web, 9)
    status, (_, fields) = proc.status(100), proc.stat(100)
    assert (status["State"], status["FDSize"], status["Threads"]) == ("Z (zombie)", "0", "1")
    assert status["Uid"].split()[0] == "33"
    assert (fields[1], fields[7], fields[20], fields[50]) == ("Z", str(0x408404), "0", "9")
    assert proc.names("/100/task") == ["100"]


def test_a_kernel_thread(proc: Proc) -> None:
    pid = proc.machine.kthread("kswapd0").pid
    status, (comm, fields) = proc.status(pid), proc.stat(pid)
    assert (status["Name"], status["PPid"], status["Tgid"]) == ("kswapd0", "2", str(pid))
    assert (comm, fields[2], fields[3], fields[7]) == ("kswapd0", "2", "0", str(0x00A40840))


def test_an_exited_leader_and_its_living_thread(proc: Proc) -> None:
    proc.machine.exit_thread(proc.web.leader)
    leader, thread = proc.status(100), proc.status(101)
    assert (leader["State"], leader["Threads"], leader["Pid"]) == ("Z (zombie)", "2", "100")
    assert (thread["State"], thread["Tgid"], thread["Pid"]) == ("S (sleeping)", "100", "101")
    assert "VmRSS" not in leader
    assert thread["VmRSS"] == "    4280 kB"
    assert proc.read("/100/statm") == "0 0 0 0 0 0 0\n"
    assert proc.read("/101/statm") == "1590 1070 70 5 0 1037 0\n"
    assert proc.read("/100/oom_score") == proc.read("/101/oom_score") != "0\n"


@pytest.mark.parametrize(
    ("state", "line"),
    [
        (State.RUNNING, "R (running)"),
        (State.SLEEPING, "S (sleeping)"),
        (State.DISK_SLEEP, "D (disk sleep)"),
        (State.STOPPED, "T (stopped)"),
    ],
)
def test_states_in_words(proc: Proc, state: State, line: str) -> None:
    proc.machine.set_state(proc.web.leader, state)
    assert proc.status(100)["State"] == line
    assert proc.stat(100)[1][1] == line[0]


def test_a_parent_that_waits_for_its_vfork_child_sleeps_in_the_disk_state(proc: Proc) -> None:
    proc.machine.clone(proc.web.leader, CloneFlags(vm=True, vfork=True))
    assert proc.stat(100)[1][1] == "D"
    assert proc.stat(101)[1][1] == "S"


# -- The OOM files -----------------------------------------------------------------


def test_the_three_oom_files_speak_of_the_process(proc: Proc) -> None:
    assert proc.write("/100/task/101/oom_adj", b"-17\n") == 4
    for directory in ("/100", "/101", "/100/task/100", "/100/task/101"):
        assert proc.read(f"{directory}/oom_adj") == "-17\n"
        assert proc.read(f"{directory}/oom_score_adj") == "-1000\n"
        assert proc.read(f"{directory}/oom_score") == "0\n"
    assert proc.write("/100/oom_score_adj", b"500         xyz") == 12
    assert proc.read("/100/oom_adj") == "8\n"
    assert proc.read("/100/oom_score") == "502\n"


# -- The machine -------------------------------------------------------------------


def test_loadavg_counts_who_waits_uninterruptibly(proc: Proc) -> None:
    proc.machine.hold(proc.web.leader, Hold.STUCK)
    proc.machine.advance(60_048_000_000)
    assert proc.read("/loadavg") == "0.63 0.18 0.06 1/5 5000\n"


def test_meminfo(proc: Proc) -> None:
    expected = """\
        MemTotal:        1048576 kB
        MemFree:         1030520 kB
        MemAvailable:     960204 kB
        Buffers:               0 kB
        Cached:             2680 kB
        SwapCached:            0 kB
        Active:             7400 kB
        Inactive:             80 kB
        Active(anon):       4800 kB
        Inactive(anon):       80 kB
        Active(file):       2600 kB
        Inactive(file):        0 kB
        Unevictable:           0 kB
        Mlocked:               0 kB
        SwapTotal:        262144 kB
        SwapFree:         262112 kB
        Dirty:                 0 kB
        Writeback:             0 kB
        AnonPages:          4800 kB
        Mapped:             2680 kB
        Shmem:                80 kB
        Slab:              10484 kB
        SReclaimable:          0 kB
        SUnreclaim:        10484 kB
        KernelStack:          80 kB
        PageTables:           92 kB
        NFS_Unstable:          0 kB
        Bounce:                0 kB
        WritebackTmp:          0 kB
        CommitLimit:      786432 kB
        Committed_AS:      13656 kB
        VmallocTotal:   34359738367 kB
        VmallocUsed:           0 kB
        VmallocChunk:          0 kB
        AnonHugePages:         0 kB
        HugePages_Total:       0
        HugePages_Free:        0
        HugePages_Rsvd:        0
        HugePages_Surp:        0
        Hugepagesize:       2048 kB
        DirectMap4k:           0 kB
        DirectMap2M:           0 kB
        DirectMap1G:     1048576 kB
    """
    assert proc.read("/meminfo") == dedent(expected)


def test_the_commit_limit_follows_the_sysctls(proc: Proc) -> None:
    def limit() -> str:
        return proc.read("/meminfo").split("CommitLimit:")[1].split()[0]

    proc.write("/sys/vm/overcommit_ratio", b"25")
    assert limit() == str(262144 + 262144)
    proc.write("/sys/vm/overcommit_kbytes", b"4001")
    assert limit() == str(262144 + 4000)


def test_vmstat_counts_victims_since_4_13() -> None:
    for kernel in PROFILE_NAMES:
        text = Proc(kernel).read("/vmstat")
        assert ("oom_kill 0\n" in text) == (named(kernel).version >= (4, 13))
        assert "nr_anon_pages 1200\n" in text


def test_meminfo_shows_cache_slab_and_what_is_available(proc: Proc) -> None:
    proc.machine.memory.set_cache(clean_pages=3000, dirty_pages=500)
    proc.machine.memory.set_slab(reclaimable_pages=200, unreclaimable_pages=2621)
    values = dict(line.split()[:2] for line in proc.read("/meminfo").splitlines())
    assert values["Cached:"] == str(2680 + 14000)
    assert values["Inactive(file):"] == "14000"
    assert values["Dirty:"] == "2000"
    assert (values["Slab:"], values["SReclaimable:"], values["SUnreclaim:"]) == (
        ("11284", "800", "10484")
    )
    assert values["MemFree:"] == str(1030520 - 14000 - 800)
    # Half of cache and of slab counts, as the low watermarks are higher than that.
    assert values["MemAvailable:"] == str(1030520 - 14000 - 800 - 71616 + (2600 + 14000 + 800) // 2)


def test_swaps() -> None:
    proc = Proc("6.18")
    proc.machine.memory.swapon("/swapfile", 3_000_000, 5)
    expected = (
        "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
        "/dev/vda2                               partition\t262144\t\t0\t\t-2\n"
        "/swapfile                               file\t\t12000000\t32\t\t5\n"
    )
    assert proc.read("/swaps") == expected


def test_vmstat_counts_what_reclaim_did() -> None:
    for kernel, stalls, of_files in (
        ("4.7", "allocstall", "workingset_refault"),
        ("5.4", "allocstall_movable", "workingset_refault"),
        ("6.1", "allocstall_movable", "workingset_refault_file"),
    ):
        proc = Proc(kernel)
        counters = proc.machine.memory.counters
        for number, name in enumerate(field.name for field in dataclasses.fields(counters)):
            setattr(counters, name, number + 1)
        values = {name: int(value) for name, value in map(str.split, proc.lines("/vmstat"))}
        expected = dataclasses.asdict(counters)
        if kernel == "4.7":
            # Until 4.8 these were counted by zone.
            for name in ("pgscan_kswapd", "pgscan_direct", "pgsteal_kswapd", "pgsteal_direct"):
                assert values[f"{name}_dma32"] == expected.pop(name)
        written, faults = expected.pop("written"), expected.pop("pgfault")
        refaults = expected.pop("workingset_refault_anon"), expected.pop("workingset_refault_file")
        assert values.pop("pgpgin") == 4 * (counters.pswpin + refaults[1])
        assert values.pop("pgpgout") == 4 * (counters.pswpout + written)
        assert values.pop("pgfault") == faults + counters.pgmajfault
        assert values.pop(stalls) == expected.pop("allocstall")
        # Until 5.9 those of anonymous memory are not counted.
        assert values.get("workingset_refault_anon", refaults[0]) == refaults[0]
        assert ("workingset_refault_anon" in values) == (kernel == "6.1")
        assert values[of_files] == refaults[1]
        assert expected.items() <= values.items()


def test_time_and_load(proc: Proc) -> None:
    proc.machine.advance(3_600_129_999_999)
    assert proc.read("/uptime") == "3600.12 7200.25\n"
    assert proc.read("/loadavg") == "0.00 0.00 0.00 1/5 5000\n"
    lines = proc.read("/stat").splitlines()
    assert lines[:3] == [
        "cpu  0 0 0 720025 0 0 0 0 0 0",
        "cpu0 0 0 0 360012 0 0 0 0 0 0",
        "cpu1 0 0 0 360012 0 0 0 0 0 0",
    ]
    assert lines[5:9] == ["btime 1500000000", "processes 5", "procs_running 1", "procs_blocked 0"]


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
def test_the_release_is_the_same_everywhere(kernel: str) -> None:
    proc = Proc(kernel)
    release = named(kernel).release
    assert proc.read("/version").startswith(
        f"Linux version {release} (fakeproc@box) (no compiler) #1 SMP "
    )
    assert proc.read("/sys/kernel/osrelease") == f"{release}\n"
    assert proc.read("/sys/kernel/version") in proc.read("/version")
    assert proc.read("/sys/kernel/ostype") == "Linux\n"
    assert proc.read("/sys/kernel/hostname") == "box\n"


def test_the_machine_can_be_given_another_name(proc: Proc) -> None:
    proc.write("/sys/kernel/hostname", b"other\nmore")
    assert proc.read("/sys/kernel/hostname") == "other\n"
    assert "@other)" in proc.read("/version")


def test_the_next_pid_can_be_chosen(proc: Proc) -> None:
    """As checkpoint and restore do (pid_ns_ctl_handler)."""
    assert proc.read("/sys/kernel/ns_last_pid") == f"{proc.machine.last_pid}\n"
    proc.write("/sys/kernel/ns_last_pid", b"5000")
    assert proc.machine.spawn("next").pid == 5001
    assert proc.read("/sys/kernel/ns_last_pid") == "5001\n"


def test_who_may_not_choose_the_next_pid(proc: Proc) -> None:
    with refusal(errno.EPERM):
        proc.write("/sys/kernel/ns_last_pid", b"5000", USER)


def test_the_boot_has_an_id_and_each_read_a_uuid(proc: Proc) -> None:
    boot_id = proc.read("/sys/kernel/random/boot_id")
    assert UUID(boot_id.strip()).version == 4
    proc.write("/sys/kernel/hostname", b"other")
    assert proc.read("/sys/kernel/random/boot_id") == boot_id
    ones = {proc.read("/sys/kernel/random/uuid") for _ in range(5)}
    assert {UUID(one.strip()).version for one in ones} == {4}
    assert len(ones) == 5


def test_a_sysctl_that_is_only_kept(proc: Proc) -> None:
    proc.write("/sys/net/core/somaxconn", b"100\n")
    assert proc.read("/sys/net/core/somaxconn") == "100\n"
    with refusal(errno.EINVAL):
        proc.write("/sys/net/core/somaxconn", b"-1\n")
    assert proc.read("/sys/net/core/somaxconn") == "100\n"


@pytest.mark.parametrize(("kernel", "there"), [("series", False), ("6.18", True)])
def test_a_sysctl_is_there_since_its_version(kernel: str, there: bool) -> None:
    names = Proc(kernel).names("/sys/net/ipv4")
    assert ("tcp_plb_enabled" in names) == there


@pytest.mark.parametrize("name", SYSCTLS)
def test_every_sysctl_is_a_file(name: str) -> None:
    proc = Proc("6.18")
    # 1 GiB with DMA and DMA32; a 32nd of it
    at_boot = {"vm/min_free_kbytes": 45056, "vm/user_reserve_kbytes": 32768}
    assert proc.read(f"/sys/{name}") == f"{at_boot.get(name, SYSCTLS[name].default)}\n"
    assert proc.write(f"/sys/{name}", b"%d\n" % SYSCTLS[name].high) > 0
    assert proc.read(f"/sys/{name}") == f"{SYSCTLS[name].high}\n"


def test_cpuinfo_has_a_block_for_each_cpu(proc: Proc) -> None:
    *blocks, end = proc.read("/cpuinfo").split("\n\n")
    assert [block.split("\n")[0] for block in blocks] == ["processor\t: 0", "processor\t: 1"]
    assert end == ""


# -- /proc/fakeproc ----------------------------------------------------------------


def test_kernel_shows_what_is_active_and_where_it_comes_from(proc: Proc) -> None:
    lines = proc.read("/fakeproc/kernel").splitlines()
    assert lines[0] == "kernel series"
    assert lines[1] == "patch 1  # proc, oom: drop bogus task_lock and mm check"
    assert "write_needs_task_mm=no  # patch 1" in lines
    assert "tie_global=last  # 4.7" in lines


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
def test_what_kernel_shows_can_be_written_back(kernel: str) -> None:
    proc, other = Proc(kernel), Proc("4.4")
    proc.write("/fakeproc/kernel", b"no-patch 3\ntie_global=first\n")
    shown = proc.read("/fakeproc/kernel")
    assert other.write("/fakeproc/kernel", shown.encode()) == len(shown)
    assert other.machine.profile == proc.machine.profile


@pytest.mark.parametrize(
    ("written", "first", "switch"),
    [
        (b"4.7", "kernel 4.7", "vfork_exempt=none  # 4.4"),
        (b"kernel 6.1\n", "kernel 6.1", "vfork_exempt=done+mm  # patch 4"),
        (b"no-patch 4", "kernel series", "vfork_exempt=none  # 4.4"),
        (b"4.7\npatch 4 # this one\n\n", "kernel 4.7", "vfork_exempt=done+mm  # patch 4"),
        (b"vfork_exempt = done-only", "kernel series", "vfork_exempt=done-only  # set by hand"),
    ],
)
def test_kernel_takes_names_patches_and_switches(
    proc: Proc, written: bytes, first: str, switch: str
) -> None:
    assert proc.write("/fakeproc/kernel", written) == len(written)
    lines = proc.read("/fakeproc/kernel").splitlines()
    assert lines[0] == first
    assert switch in lines
    assert proc.read("/fakeproc/ctl") == "ok\n"


@pytest.mark.parametrize(
    "written",
    [b"4.7\nkernel 9.9", b"no-patch 1\npatch 7", b"4.7\ntie_global=no", b"4.7\ntie=first"],
)
def test_kernel_takes_all_lines_or_none(proc: Proc, written: bytes) -> None:
    before = proc.machine.config
    with refusal(errno.EINVAL):
        proc.write("/fakeproc/kernel", written)
    assert proc.machine.config is before
    assert proc.read("/fakeproc/ctl").startswith("EINVAL: ")


def test_kmsg_is_the_log(proc: Proc) -> None:
    assert proc.read("/fakeproc/kmsg") == ""
    proc.machine.advance(1_500_000_000)
    proc.write("/100/oom_adj", b"0", USER)
    assert proc.read("/fakeproc/kmsg") == (
        "<4>[    1.500000] sh (71): /proc/100/oom_adj is deprecated, "
        "please use /proc/100/oom_score_adj instead.\n"
    )


def test_ps_is_a_table_of_all_tasks(proc: Proc) -> None:
    proc.machine.clone(proc.web.leader, CloneFlags(vm=True))
    proc.machine.exit_group(proc.machine.process(5000))
    expected = """\
         pid  tgid  uid  mm  sharers    rss  swap  oom_score_adj  oom_score  state  name
           1     1    0   1        1  1600k    0k              0          0      S  systemd
           2     2    0   -        0     0k    0k              0          0      S  kthreadd
         100   100   33   3        2  4280k   32k              0          3      S  web
         101   100   33   3        2  4280k   32k              0          3      S  web
        5000  5000    0   -        0     0k    0k              0          0      Z  other
         102   102   33   3        2  4280k   32k              0          3      S  web
    """
    assert proc.read("/fakeproc/ps") == dedent(expected)


def test_ps_json_has_the_same_rows_with_sizes_in_bytes(proc: Proc) -> None:
    rows = json.loads(proc.read("/fakeproc/ps.json"))
    assert [row["pid"] for row in rows] == [1, 2, 100, 101, 5000]
    assert rows[2] == {
        "pid": 100,
        "tgid": 100,
        "uid": 33,
        "mm": 3,
        "sharers": 1,
        "rss": 1070 * 4096,
        "swap": 8 * 4096,
        "oom_score_adj": 0,
        "oom_score": 3,
        "state": "S",
        "name": "web",
    }
    assert rows[1]["mm"] is None


def test_stats_count_and_show_the_last_error(proc: Proc) -> None:
    assert proc.read("/fakeproc/stats") == "upcalls 0\ninternal_errors 0\n"
    proc.procfs.stats.upcalls = 7
    proc.procfs.stats.internal_errors = 1
    proc.procfs.stats.last_error = "boom"
    assert proc.read("/fakeproc/stats") == "upcalls 7\ninternal_errors 1\nlast_error boom\n"


# -- Another machine ---------------------------------------------------------------


def test_files_that_were_open_before_do_nothing_to_the_new_one(proc: Proc) -> None:
    """The same pids are there again, but they are other tasks."""
    caller = TaskCaller.of(proc.web.leader)
    flags = {"stat": os.O_RDONLY, "oom_score": os.O_RDONLY}
    names = [*OOM_FILES, "comm", "stat", "status"]
    files = {
        name: open_file(proc.file(f"/100/{name}"), flags.get(name, os.O_RDWR), proc.machine.root)
        for name in names
    }
    proc.procfs.replace_machine(Proc().machine)
    for name, file in files.items():
        with refusal(errno.ESRCH):
            file.read(4096, 0)
        if name in ("oom_adj", "oom_score_adj", "comm"):
            with refusal(errno.ESRCH):
                file.write(caller, b"5")
    assert proc.read("/100/oom_score_adj") == "0\n"
    assert proc.read("/100/comm") == "web\n"


def test_a_file_of_the_machine_that_was_open_before_speaks_for_the_new_one(proc: Proc) -> None:
    uptime = open_file(proc.file("/uptime"), os.O_RDONLY, proc.machine.root)
    sysctl = open_file(proc.file("/sys/vm/panic_on_oom"), os.O_RDWR, proc.machine.root)
    proc.machine.advance(5_000_000_000)
    assert uptime.read(4096, 0).startswith(b"5.00 ")
    proc.procfs.replace_machine(Machine(first_pid=300))
    assert uptime.read(4096, 0).startswith(b"0.00 ")
    sysctl.write(proc.procfs.machine.root, b"1")
    assert proc.read("/sys/vm/panic_on_oom") == "1\n"


def test_status_shows_what_waits_and_what_dumps_core() -> None:
    proc = Proc("6.1")
    for number in (19, 15):
        proc.machine.kill(proc.machine.root, proc.web, number)
    assert proc.status(100)["ShdPnd"] == "0000000000004000"
    assert proc.status(100)["CoreDumping"] == "0"
    proc.machine.hold(proc.web.leader, Hold.COREDUMP)
    assert proc.status(100)["CoreDumping"] == "1"


def test_locked_memory_is_shown(proc: Proc) -> None:
    mm = proc.web.mm
    assert mm is not None
    proc.machine.resize(mm, sizes_for(anon_pages=1000, mlocked_pages=300))
    assert proc.status(100)["VmLck"].split() == ["1200", "kB"]
    lines = [line.split()[:2] for line in proc.read("/meminfo").splitlines()]
    assert [size for name, size in lines if name in ("Unevictable:", "Mlocked:")] == ["1200"] * 2


def test_the_files_speak_for_the_machine_that_is_there_now(proc: Proc) -> None:
    proc.procfs.acting[70] = proc.web.leader
    proc.write("/fakeproc/ctl", b"spawn")
    other = Machine(first_pid=300)
    other.spawn("fresh", sizes=MemorySizes())
    proc.procfs.replace_machine(other)
    assert proc.names("/")[-3:] == ["1", "2", "300"]
    assert proc.read("/300/comm") == "fresh\n"
    assert proc.read("/fakeproc/ctl") == "ok\n"
    assert proc.procfs.acting == {}
