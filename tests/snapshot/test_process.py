# SPDX-License-Identifier: MIT
"""What is read of a process: of made-up files, since no host has all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakeproc.kernel.task import Credentials, MemorySizes
from fakeproc.snapshot.process import HostThread, read_process

_STATUS = """\
Name:\tweb
Uid:\t10\t1000\t1000\t1000
Gid:\t20\t2000\t2000\t2000
CapEff:\t00000000000000ff
"""
_MEMORY = """\
VmSize:\t  4000 kB
VmLck:\t    12 kB
VmRSS:\t   100 kB
RssAnon:\t    40 kB
RssFile:\t    36 kB
RssShmem:\t    24 kB
VmPTE:\t    44 kB
VmPMD:\t     8 kB
VmSwap:\t    20 kB
"""


def write_task(folder: Path, status: str, *, comm: bytes = b"web", state: str = "S") -> None:
    folder.mkdir(parents=True)
    fields = [state, "1", *["0"] * 4, "4194304", *["0"] * 12, "777", *["0"] * 30]
    (folder / "status").write_text(status)
    (folder / "comm").write_bytes(comm + b"\n")
    (folder / "stat").write_bytes(b"50 (" + comm + b") " + " ".join(fields).encode() + b"\n")


def write_process(proc: Path, status: str = _STATUS + _MEMORY, **others: bytes | str) -> Path:
    """Make the files of pid 50; the others are written over those that a process has."""
    folder = proc / "50"
    comm = others.pop("comm", b"web")
    state = others.pop("state", "S")
    assert isinstance(comm, bytes)
    assert isinstance(state, str)
    write_task(folder, status, comm=comm, state=state)
    write_task(folder / "task" / "50", status, comm=comm, state=state)
    files = {
        "cmdline": b"web\0-v\0",
        "oom_score": b"667\n",
        "oom_score_adj": b"-5\n",
        "statm": b"1000 25 15 0 0 0 0\n",
        "cgroup": b"4:cpu,memory:/a/b\n0::/c\n",
        **others,
    }
    for name, content in files.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def test_all_that_is_read(tmp_path: Path) -> None:
    write_process(tmp_path)
    process = read_process(tmp_path, 50, "memory")
    assert (process.pid, process.parent_pid, process.name) == (50, 1, "web")
    assert process.cmdline == ("web", "-v")
    assert (process.state, process.start_ticks, process.is_kthread) == ("S", 777, False)
    assert process.credentials == Credentials(1000, 2000, 0xFF)
    assert process.sizes == MemorySizes(1000, 10, 9, 6, 5, 11, 2, 3)
    assert (process.oom_score_adj, process.oom_score, process.score_stood_still) == (-5, 667, True)
    assert process.memcg_path == "/a/b"
    assert process.threads == ()


def test_version_2_names_the_group_in_the_line_without_controllers(tmp_path: Path) -> None:
    write_process(tmp_path)
    assert read_process(tmp_path, 50, "").memcg_path == "/c"


def test_a_group_above_the_namespace_of_cgroups(tmp_path: Path) -> None:
    write_process(tmp_path, cgroup="0::/../other\n")
    assert read_process(tmp_path, 50, "").memcg_path == "/"


def test_a_group_that_has_been_removed(tmp_path: Path) -> None:
    write_process(tmp_path, cgroup="0::/c (deleted)\n")
    assert read_process(tmp_path, 50, "").memcg_path == "/c"


@pytest.mark.parametrize(
    ("comm", "name"),
    [
        (b"a) S 1 (b", "a) S 1 (b"),
        (b'"quoted" \\', '"quoted" \\'),
        (b"two\nlines", "two\nlines"),
        (b"ends\n", "ends\n"),
        (b"caf\xc3", "caf\\xc3"),
        (b"", ""),
    ],
)
def test_names_of_all_kinds(tmp_path: Path, comm: bytes, name: str) -> None:
    write_process(tmp_path, comm=comm)
    process = read_process(tmp_path, 50, "memory")
    assert process.name == name
    assert (process.state, process.parent_pid, process.start_ticks) == ("S", 1, 777)


@pytest.mark.parametrize(
    ("written", "words"),
    [(b"", ()), (b"\0", ()), (b"one", ("one",)), (b"a\0\0b\0", ("a", "", "b"))],
)
def test_command_lines(tmp_path: Path, written: bytes, words: tuple[str, ...]) -> None:
    write_process(tmp_path, cmdline=written)
    assert read_process(tmp_path, 50, "memory").cmdline == words


def test_before_4_5_the_kinds_follow_from_statm(tmp_path: Path) -> None:
    lines = _MEMORY.splitlines(keepends=True)
    memory = "".join(line for line in lines if not line.startswith("Rss"))
    write_process(tmp_path, _STATUS + memory)
    sizes = read_process(tmp_path, 50, "memory").sizes
    assert (sizes.anon_pages, sizes.file_pages, sizes.shmem_pages) == (10, 15, 0)


def test_an_exited_leader_has_the_memory_of_a_living_thread(tmp_path: Path) -> None:
    folder = write_process(tmp_path, _STATUS, state="Z")
    write_task(folder / "task" / "51", _STATUS, comm=b"gone", state="Z")
    write_task(folder / "task" / "52", _STATUS + _MEMORY, comm=b"alive")
    process = read_process(tmp_path, 50, "memory")
    assert process.state == "Z"
    assert process.mm_tid == 52
    assert process.sizes.anon_pages == 10
    assert process.threads == (HostThread(51, "gone"), HostThread(52, "alive"))


def test_a_zombie_has_no_memory(tmp_path: Path) -> None:
    write_process(tmp_path, _STATUS, state="Z")
    process = read_process(tmp_path, 50, "memory")
    assert process.mm_tid is None
    assert process.sizes == MemorySizes()


def test_what_is_mapped_uncounted_does_not_make_the_address_space_too_small(tmp_path: Path) -> None:
    write_process(tmp_path, _STATUS + _MEMORY.replace("4000 kB", "40 kB"))
    sizes = read_process(tmp_path, 50, "memory").sizes
    assert sizes.problem() == ""


def test_one_that_has_gone(tmp_path: Path) -> None:
    folder = write_process(tmp_path)
    (folder / "status").unlink()
    with pytest.raises(FileNotFoundError):
        read_process(tmp_path, 50, "memory")
