# SPDX-License-Identifier: MIT
"""A process of the host, as its files under /proc show it at one moment.

psutil would open each file again for each thing asked, and has not all of it: neither the
kinds of memory nor capabilities, and nothing of the OOM killer.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fakeproc.kernel.details import tty_name
from fakeproc.kernel.task import PAGE_KIB, Credentials, MemorySizes, State

_PF_KTHREAD = 0x00200000
_MOST_TRIES = 3


@dataclass(frozen=True, slots=True)
class HostThread:
    """A thread that is not the leader."""

    tid: int
    name: str


@dataclass(frozen=True, slots=True)
class HostProcess:
    """What is known of a thread group."""

    pid: int
    parent_pid: int
    name: str
    cmdline: tuple[str, ...]
    state: str
    """The letter of its leader's stat."""
    start_ticks: int
    """When it was created, in clock ticks since boot."""
    is_kthread: bool
    credentials: Credentials
    threads: tuple[HostThread, ...]
    mm_tid: int | None
    """The first thread that has an mm, which need not be the leader; None: it has none."""
    sizes: MemorySizes
    oom_score_adj: int
    oom_score: int
    score_stood_still: bool
    """It was the same before and after the sizes were read."""
    memcg_path: str
    """As /proc/<pid>/cgroup has it."""
    exe: str = ""
    """Its program; nothing where that cannot be read."""
    cwd: str = "/"
    nice: int = 0
    tty: str = ""
    """Its terminal, without /dev/; nothing: none, or one of another kind."""

    @property
    def order(self) -> tuple[int, int]:
        """The order of creation; within a tick by pid, which goes up until it wraps."""
        return self.start_ticks, self.pid


def read_process(proc: Path, pid: int, memory_controller: str) -> HostProcess:
    """Read a process; `OSError` when it has gone, or does not let itself be read.

    ``memory_controller`` is how its cgroup file names the hierarchy: ``memory``, or nothing in
    version 2.  The score is read around the sizes, a few times if it moves.
    """
    folder = proc / str(pid)
    for _ in range(_MOST_TRIES):
        score_before = _number(folder / "oom_score")
        status = read_pairs(folder / "status")
        stat = _stat(folder)
        tids = sorted(int(task.name) for task in (folder / "task").iterdir())
        mm_tid, memory = _memory_status(folder, tids, status)
        sizes = sizes_in(folder, memory) if mm_tid is not None else MemorySizes()
        score = _number(folder / "oom_score")
        if score == score_before:
            break
    is_kthread = bool(int(stat[6]) & _PF_KTHREAD)
    return HostProcess(
        pid=pid,
        parent_pid=int(stat[1]),
        name=_name(folder),
        cmdline=() if is_kthread else _cmdline(folder),
        state=stat[0].decode(),
        start_ticks=int(stat[19]),
        is_kthread=is_kthread,
        credentials=Credentials(
            uid=int(status["Uid"].split()[1]),
            gid=int(status["Gid"].split()[1]),
            capabilities=int(status["CapEff"], 16),
        ),
        threads=tuple(_thread(folder, tid) for tid in tids if tid != pid),
        mm_tid=mm_tid,
        sizes=sizes,
        oom_score_adj=_number(folder / "oom_score_adj"),
        oom_score=score,
        score_stood_still=score == score_before,
        memcg_path=_memcg_path(folder, memory_controller),
        exe=_target(folder / "exe"),
        cwd=_target(folder / "cwd") or "/",
        nice=int(stat[16]),
        tty=tty_name(int(stat[4])),
    )


def settled(proc: Path, process: HostProcess) -> HostProcess:
    """Look a second time at one in uninterruptible sleep, which seldom lasts: is it stuck?"""
    if process.state != State.DISK_SLEEP:
        return process
    try:
        state = _stat(proc / str(process.pid))[0].decode()
    except OSError:
        return process
    return process if state == process.state else replace(process, state=State.SLEEPING)


def printable(data: bytes) -> str:
    """Return bytes as text; what is no UTF-8 stands there as ``\\xff``, since TOML is text."""
    return data.decode(errors="backslashreplace")


def read_pairs(file: Path) -> dict[str, str]:
    """Return the fields of a file with a ``Name: value`` in each line."""
    pairs = (line.partition(":") for line in lines_of(file, errors="backslashreplace"))
    return {name: value.strip() for name, _, value in pairs}


def lines_of(file: Path, *, errors: str) -> list[str]:
    """Return the lines of a file of /proc: names in it may hold any other line break."""
    return file.read_bytes().decode(errors=errors).removesuffix("\n").split("\n")


def _number(file: Path) -> int:
    return int(file.read_bytes())


def _name(folder: Path) -> str:
    return printable((folder / "comm").read_bytes().removesuffix(b"\n"))


def _cmdline(folder: Path) -> tuple[str, ...]:
    words = (folder / "cmdline").read_bytes().removesuffix(b"\0").split(b"\0")
    return tuple(map(printable, words)) if words != [b""] else ()


def _target(link: Path) -> str:
    """Return where a link leads, also if that is gone; nothing where it cannot be read."""
    try:
        path = printable(os.readlink(os.fsencode(link)).removesuffix(b" (deleted)"))
    except OSError:
        return ""
    return path if path.startswith("/") else ""


def _stat(folder: Path) -> list[bytes]:
    """Return the fields behind the name, which may hold anything: the state is the first."""
    return (folder / "stat").read_bytes().rpartition(b")")[2].split()


def _thread(folder: Path, tid: int) -> HostThread:
    return HostThread(tid, _name(folder / "task" / str(tid)))


def _memory_status(
    folder: Path, tids: list[int], leader: Mapping[str, str]
) -> tuple[int | None, Mapping[str, str]]:
    """Return the first thread with an mm, and its status: a leader may exit before others."""
    pid = int(folder.name)
    if "VmSize" in leader:
        return pid, leader
    for tid in tids:
        if tid != pid and "VmSize" in (status := read_pairs(folder / "task" / str(tid) / "status")):
            return tid, status
    return None, leader


def sizes_in(folder: Path, status: Mapping[str, str]) -> MemorySizes:
    """Return the sizes that a status file tells; ``folder`` is where it is."""

    def pages(name: str) -> int:
        return int(status.get(name, "0").split()[0]) // PAGE_KIB

    anon, file, shmem = pages("RssAnon"), pages("RssFile"), pages("RssShmem")
    if "RssAnon" not in status:
        # Since 4.5 they are told apart; before, statm knows what is not anonymous.
        file = int((folder / "statm").read_bytes().split()[2])
        anon = max(pages("VmRSS") - file, 0)
    swap = pages("VmSwap")
    return MemorySizes(
        # What is mapped without counting in it (of devices) is resident all the same.
        total_vm_pages=max(pages("VmSize"), anon + file + shmem + swap),
        anon_pages=anon,
        file_pages=file,
        shmem_pages=shmem,
        swap_entries=swap,
        pte_pages=pages("VmPTE"),
        pmd_pages=pages("VmPMD"),
        mlocked_pages=min(pages("VmLck"), anon),
    )


def _memcg_path(folder: Path, controller: str) -> str:
    for line in lines_of(folder / "cgroup", errors="backslashreplace"):
        _, controllers, path = line.split(":", 2)
        # One that begins so lies above the root of this cgroup namespace.
        if controller in controllers.split(",") and not path.startswith("/../"):
            return path.removesuffix(" (deleted)")
    return "/"
