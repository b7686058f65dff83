# SPDX-License-Identifier: MIT
"""A snapshot of the test machine, mounted: each process has the score that it has there.

The scores may differ by one (`TOLERANCE`): one may move while it is read.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from fakeproc.snapshot.command import TOLERANCE
from fakeproc.snapshot.kcmp import group_by_mm
from tests.conftest import Mounted, wait_until
from tests.mount import NOBODY, require_root

_COMMAND = [sys.executable, "-m", "fakeproc", "scenario", "snapshot"]

_CLONE_VM, _CLONE_VFORK = 0x100, 0x4000
_HELPER = """
import ctypes, mmap, os, sys, threading, time
flags, size = int(sys.argv[1]), int(sys.argv[2])
libc = ctypes.CDLL(None)
name = os.fsencode(sys.argv[3])
if name:
    libc.prctl(15, name, 0, 0, 0)
memory = mmap.mmap(-1, size)
memory.write(b"x" * size)
if flags:
    # Something of C that only sleeps: it shares all with this interpreter, even its stack.
    stack = mmap.mmap(-1, 65536)
    top = ctypes.addressof(ctypes.c_char.from_buffer(stack)) + 65536
    pause = ctypes.cast(libc.pause, ctypes.c_void_p)
    libc.clone.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    clone = lambda: libc.clone(pause, top, flags | 17, None)
    threading.Thread(target=clone, daemon=True).start()
else:
    for _ in range(2):
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
print("ready", flush=True)
time.sleep(1000)
"""


def host_file(pid: int, name: str) -> str:
    return Path("/proc", str(pid), name).read_text(errors="replace")


def children_of(pid: int) -> list[int]:
    """Return the children of all threads of a process."""
    tasks = Path("/proc", str(pid), "task").iterdir()
    children = []
    for task in tasks:
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended meanwhile
            children += (task / "children").read_text().split()
    return [int(child) for child in children]


@contextmanager
def helper(flags: int = 0, size: int = 2**20, name: bytes = b"") -> Iterator[int]:
    """Run a process of this size and name; with flags it has a child on its mm."""
    words = [sys.executable, "-c", _HELPER, str(flags), str(size)]
    command = [*map(os.fsencode, words), name]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        child: list[int] = []
        try:
            if flags:
                wait_until(lambda: bool(children_of(process.pid)), "cloning")
                child = children_of(process.pid)
            yield process.pid
        finally:
            for pid in (*child, process.pid):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def zombie() -> Iterator[int]:
    """Leave a child unreaped."""
    process = subprocess.Popen(["true"])
    try:
        wait_until(lambda: "Z (zombie)" in host_file(process.pid, "status"), "dying")
        yield process.pid
    finally:
        process.wait()


def write_adj(pid: int, value: int) -> None:
    Path("/proc", str(pid), "oom_score_adj").write_text(str(value))


def host_scores() -> dict[tuple[int, str], int]:
    """Return the scores of the host's processes; each is told by pid and when it started."""
    scores = {}
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            start = host_file(int(pid), "stat").rpartition(")")[2].split()[19]
            scores[int(pid), start] = int(host_file(int(pid), "oom_score"))
        except OSError:
            continue
    return scores


def take(path: Path, *options: str, **how: Any) -> dict[str, Any]:
    """Take a snapshot; return what is in it."""
    subprocess.run([*_COMMAND, "-o", path, *options], check=True, **how)
    return tomllib.loads(path.read_text())


def by_pid(data: dict[str, Any]) -> dict[int, dict[str, Any]]:
    return {process["pid"]: process for process in data["process"]}


def disagreeing(mounted: Mounted, scores: dict[tuple[int, str], int]) -> set[int]:
    """Return whose score in a mount is not that of the host; those who are not in it are not."""
    shown = {pid: mounted / pid / "oom_score" for pid, _ in scores}
    return {
        pid
        for (pid, _), score in scores.items()
        if shown[pid].exists() and abs(int(shown[pid].read_text()) - score) > TOLERANCE
    }


def steady(
    before: dict[tuple[int, str], int], after: dict[tuple[int, str], int]
) -> dict[tuple[int, str], int]:
    return {who: score for who, score in before.items() if after.get(who) == score}


def test_every_process_has_the_score_that_the_host_shows(
    mount: Callable[..., Mounted], tmp_path: Path
) -> None:
    require_root()
    with ExitStack() as started:
        big = started.enter_context(helper(size=300 * 2**20))
        raised = started.enter_context(helper())
        lowered = started.enter_context(helper(size=2**26))
        never = started.enter_context(helper())
        gone = started.enter_context(zombie())
        write_adj(raised, 500)
        # Root lacks CAP_SYS_RESOURCE in many a container.
        with suppress(PermissionError):
            write_adj(lowered, -400)
            write_adj(never, -1000)
        mine = {big, raised, lowered, never, gone}
        # Others may use their time to grow and shrink again between two looks at them.
        for _ in range(3):
            before = host_scores()
            data = take(tmp_path / "host.toml")
            scores = steady(before, host_scores())
            mounted = mount("--scenario", os.fspath(tmp_path / "host.toml"))
            wrong = disagreeing(mounted, scores)
            assert not wrong & mine
            if not wrong:
                break
        assert not wrong
        assert mine < {pid for pid, _ in scores} & by_pid(data).keys()
        meminfo = mounted.read("meminfo").splitlines()
        host_lines = Path("/proc/meminfo").read_text().splitlines()
        for line in host_lines:
            if line.startswith(("MemTotal:", "SwapTotal:")):
                assert line in meminfo
        assert mounted.read(f"{raised}/oom_score_adj") == "500\n"
        assert "State:\tZ (zombie)" in mounted.read(f"{gone}/status")
        assert len(by_pid(data)[big]["thread"]) == 2
        assert mounted.read(f"{big}/status").count("Threads:\t3") == 1
        assert mounted.read("sys/vm/swappiness") == Path("/proc/sys/vm/swappiness").read_text()
        parent = [line for line in mounted.read(f"{big}/status").splitlines() if "PPid" in line]
        assert parent == [f"PPid:\t{os.getpid()}"]


def require_kcmp() -> None:
    if not group_by_mm([os.getpid()]):
        pytest.skip("kcmp(2) is not to be had: no CONFIG_KCMP, or a seccomp filter")


def test_processes_on_one_mm_are_found(tmp_path: Path) -> None:
    require_kcmp()
    with helper(_CLONE_VM) as pid, helper() as other:
        (sharer,) = children_of(pid)
        processes = by_pid(take(tmp_path / "host.toml"))
    assert processes[sharer]["vm"] == "shared"
    assert processes[sharer]["parent"] == pid
    assert "anon" not in processes[sharer]
    assert "anon" in processes[pid]
    assert "vm" not in processes[other]


def test_a_child_in_vfork_is_told_by_its_score(tmp_path: Path) -> None:
    require_kcmp()
    with helper(_CLONE_VM | _CLONE_VFORK) as pid:
        (child,) = children_of(pid)
        data = take(tmp_path / "host.toml")
    assert by_pid(data)[child]["vfork"] is True
    head = (tmp_path / "host.toml").read_text().partition("\nversion")[0]
    assert f"# taken to be in vfork, which shows nowhere: {child}\n" in head


def test_names_of_all_kinds_load(mount: Callable[..., Mounted], tmp_path: Path) -> None:
    names = [b'"q\'uote" ]', b"two\nlines", b"\xff\xfe", b"[x] = # \\"]
    with ExitStack() as started:
        pids = [started.enter_context(helper(name=name)) for name in names]
        take(tmp_path / "host.toml")
    mounted = mount("--scenario", os.fspath(tmp_path / "host.toml"))
    shown = [(mounted / pid / "comm").read_bytes().removesuffix(b"\n") for pid in pids]
    assert shown == [names[0], names[1], b"\\xff\\xfe", names[3]]


def test_redacted_nothing_that_names_a_process_is_left(tmp_path: Path) -> None:
    with helper(name=b"very-secret") as pid:
        data = take(tmp_path / "host.toml", "--redact")
    text = (tmp_path / "host.toml").read_text()
    assert "very-secret" not in text
    assert sys.executable not in text
    assert data["machine"]["hostname"] == "host"
    assert all(process["name"].startswith("name-") for process in data["process"])
    assert "cmdline" not in by_pid(data)[pid]


# The modules are there before the rights are gone: the interpreter may lie where only root is.
_AS_NOBODY = f"""
import os, sys
import fakeproc.snapshot.command
from fakeproc.cli import main
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
sys.exit(main(sys.argv[1:]))
"""


def as_nobody(*wrapper: str) -> str:
    """Return the snapshot that a user without rights takes."""
    command = [*wrapper, sys.executable, "-c", _AS_NOBODY, "scenario", "snapshot"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_an_ordinary_user_sees_the_scores_and_cannot_compare(
    mount: Callable[..., Mounted], tmp_path: Path
) -> None:
    require_root()
    with helper(_CLONE_VM) as pid:
        (sharer,) = children_of(pid)
        before = host_scores()
        text = as_nobody()
        scores = steady(before, host_scores())
    (tmp_path / "host.toml").write_text(text)
    processes = by_pid(tomllib.loads(text))
    assert "vm" not in processes[sharer]
    assert "so perhaps on their mms, which could not be compared" in text
    mounted = mount("--scenario", os.fspath(tmp_path / "host.toml"))
    mine = {pid, sharer}
    assert mine < {pid for pid, _ in scores} & processes.keys()
    assert not disagreeing(mounted, scores) & mine


def test_what_may_not_be_read_is_counted() -> None:
    """Under hidepid=1 the others' processes are listed, and none of their files opens."""
    require_root()
    hidden = 'mount -t proc -o hidepid=1 proc /proc && exec "$0" "$@"'
    text = as_nobody("unshare", "--mount", "sh", "-c", hidden)
    assert "# left out, since their files may not be read: " in text
    assert len(tomllib.loads(text)["process"]) == 1


def test_in_a_pid_namespace(tmp_path: Path) -> None:
    require_root()
    path = tmp_path / "host.toml"
    inside = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    subprocess.run([*inside, *_COMMAND, "-o", path], check=True)
    (process,) = tomllib.loads(path.read_text())["process"]
    assert process["pid"] == 3
    assert "# pid 1 is 3 here.\n" in path.read_text()
    assert "# oom_score as on the host: 1; off by 1: 0; by more: 0\n" in path.read_text()


def test_a_tree_of_it(tmp_path: Path) -> None:
    with helper() as pid:
        data = take(tmp_path / "host.toml", "--pid", str(pid))
    assert list(by_pid(data)) == [pid]


def test_no_snapshot_is_taken_of_a_snapshot(mounted: Mounted) -> None:
    require_root()
    over = 'mount --bind "$0" /proc && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", over, mounted.path, *_COMMAND],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        "fakeproc: /proc: is a mount of fakeproc; a snapshot is taken of a real host.\n"
    )


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "host.toml"
    done = subprocess.run([*_COMMAND, "-o", path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"fakeproc: {path}: cannot be written: No such file or directory.\n"


def test_kcmp_finds_whom_it_may_compare() -> None:
    require_kcmp()
    with helper(_CLONE_VM) as pid, helper() as other, zombie() as gone:
        (sharer,) = children_of(pid)
        groups = group_by_mm([other, sharer, os.getpid(), pid])
        assert sorted(map(sorted, groups)) == sorted(
            [[os.getpid()], sorted([pid, sharer]), [other]]
        )
        assert gone
    assert group_by_mm([pid]) == []
