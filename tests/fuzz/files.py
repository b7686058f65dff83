# SPDX-License-Identifier: MIT
"""The target that reads a folder: /proc of a host, of which a snapshot is taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from unittest.mock import patch

import psutil

from fakeproc.kernel.errors import Refused
from fakeproc.snapshot import cgroups, host
from fakeproc.snapshot.command import snapshot_text, subtree
from fakeproc.snapshot.redact import Plain, Redacted
from tests.fuzz.worlds import require_refusal

_MARK = b"\n== "
"""Behind it come the path of a file and, after a line break, what it holds."""
_PROC = "/proc"


class _MemoryPath(PurePosixPath):
    """A path in a file system that is a dictionary."""

    files: dict[str, bytes] = {}

    def read_bytes(self) -> bytes:
        try:
            return self.files[str(self)]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory") from None

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self.read_bytes().decode(encoding, errors)

    def exists(self) -> bool:
        return str(self) in self.files

    def iterdir(self) -> Iterator[_MemoryPath]:
        names = {name.partition("/")[0] for name in _below(str(self))}
        return iter([self / name for name in sorted(names)])


def _below(folder: str) -> list[str]:
    start = f"{folder}/"
    return [path.removeprefix(start) for path in _MemoryPath.files if path.startswith(start)]


def _pids() -> list[int]:
    names = {name.partition("/")[0] for name in _below(_PROC)}
    return sorted(int(name) for name in names if name.isascii() and name.isdecimal())


def _together(tids: Sequence[int]) -> list[list[int]]:
    """Stand for kcmp(2): those with the same last digit are on one mm."""
    return [[tid for tid in tids if tid % 10 == digit] for digit in {tid % 10 for tid in tids}]


def snapshot(data: bytes) -> None:
    """Take a snapshot of a host with these files, in the clear and redacted."""
    _MemoryPath.files = {}
    for part in (b"\n" + data).split(_MARK)[1:]:
        name, _, content = part.partition(b"\n")
        path = PurePosixPath("/" + name.decode(errors="replace").lstrip("/"))
        _MemoryPath.files[str(path)] = content
    with (
        patch.object(host, "Path", _MemoryPath),
        patch.object(cgroups, "Path", _MemoryPath),
        patch.object(psutil, "PROCFS_PATH", _PROC),
        patch.object(psutil, "pids", _pids),
        patch.object(psutil, "cpu_count", lambda: 2),
        patch.object(host, "group_by_mm", _together),
    ):
        try:
            found = host.read_host()
            for taken in (found, subtree(found, _pids()[-1])) if _pids() else (found,):
                snapshot_text(taken, Plain())
                snapshot_text(taken, Redacted())
        except Refused as refused:
            require_refusal(refused)


def _file(path: str, content: str) -> str:
    return f"== {path}\n{content}\n"


_STATUS = "Name:\tweb\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nCapEff:\t00000000000000ff"
_SIZES = (
    "VmSize:\t4000 kB\nVmLck:\t4 kB\nVmRSS:\t100 kB\nRssAnon:\t40 kB\nRssFile:\t36 kB\n"
    "RssShmem:\t24 kB\nVmPTE:\t44 kB\nVmPMD:\t8 kB\nVmSwap:\t20 kB"
)


def _process(pid: int, parent: int, *, kthread: bool = False, score: int = 0) -> str:
    flags = 0x00200000 if kthread else 4194304
    stat = f"S {parent} 0 0 0 0 {flags} " + "0 " * 12 + f"{pid} " + "0 " * 30
    status = _STATUS if kthread else f"{_STATUS}\n{_SIZES}"
    files = {
        "oom_score": f"{score}", "oom_score_adj": "0", "status": status, "comm": f"p{pid}",
        "stat": f"{pid} (p{pid}) {stat}", "cmdline": "" if kthread else f"p{pid}\0-v\0",
        "cgroup": "4:cpu,memory:/a/b", "statm": "1000 25 15 0 0 0 0",
        f"task/{pid}/comm": f"p{pid}", f"task/{pid}/status": status,
    }  # fmt: skip
    return "".join(_file(f"proc/{pid}/{name}", content) for name, content in files.items())


_MEMINFO = "".join(
    f"{name}: {kib} kB\n"
    for name, kib in {
        "MemTotal": 2000000, "MemFree": 1000000, "Buffers": 1000, "Cached": 5000, "Shmem": 100,
        "Dirty": 10, "Writeback": 0, "Slab": 2000, "SReclaimable": 1000, "SwapTotal": 50000,
    }.items()
)  # fmt: skip
_MACHINE = (
    _file("proc/meminfo", _MEMINFO)
    + _file("proc/uptime", "5000.5 100.0")
    + _file("proc/sys/kernel/osrelease", "6.18.0-x")
    + _file("proc/sys/kernel/hostname", "box")
    + _file("proc/sys/vm/swappiness", "60")
    + _file("proc/swaps", "Filename Type Size Used Priority\n/swap\\040a file 50000 0 -2")
)
_VERSION_1 = _file(
    "proc/self/mountinfo", "30 1 0:2 / /cg rw shared:5 - cgroup cgroup rw,memory"
) + _file("cg/a/b/memory.limit_in_bytes", "100000000")
_VERSION_2 = (
    _file("proc/self/mountinfo", "30 1 0:2 / /cg rw shared:5 - cgroup2 cgroup2 rw")
    + _file("cg/cgroup.controllers", "cpu memory")
    + _file("cg/a/memory.max", "max")
)
_HOST = _MACHINE + _process(1, 0) + _process(2, 0, kthread=True)

SEEDS = tuple(
    text.encode()
    for text in (
        _HOST + _VERSION_1 + _process(50, 1, score=667),
        _HOST + _VERSION_2 + _process(50, 1, score=667) + _process(60, 50, score=0),
        _MACHINE + _VERSION_2 + _process(7, 1),
    )
)
TOKENS = (
    *(b"\n== proc/50/", b"\n== proc/", b"status\n", b"stat\n", b"cgroup\n", b"task/51/comm\nx"),
    *(b"-1", b"0", b"99999999999999999999", b"9" * 4400, b" kB", b"\0", b"\xff", b"\\040", b"max"),
    *(
        b"Z",
        b"D",
        b"VmSize:",
        b"Uid:",
        b"CapEff:",
        b"nan",
        b"inf",
        b"1e400",
        b" - ",
        b"/../",
        b"::",
    ),
)
