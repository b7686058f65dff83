# SPDX-License-Identifier: MIT
"""The host: its hardware, its kernel, its processes, read from its real /proc."""

from __future__ import annotations

import errno
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psutil

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.profile import Version
from fakeproc.kernel.sysctl import SYSCTLS, without_idle_ratios
from fakeproc.kernel.task import PAGE_KIB
from fakeproc.snapshot.cgroups import HostMemcg, find_hierarchy, unescape, with_ancestors
from fakeproc.snapshot.kcmp import group_by_mm
from fakeproc.snapshot.process import HostProcess, lines_of, read_pairs, read_process, settled

KTHREADD_PID = 2


@dataclass(frozen=True, slots=True)
class SwapArea:
    """A line of /proc/swaps."""

    name: str
    size_pages: int
    priority: int


@dataclass(frozen=True, slots=True)
class HostMemory:
    """What /proc/meminfo says."""

    ram_pages: int
    free_pages: int = 0
    cache_pages: int = 0
    """Page cache, mapped or not; without shared memory, which swap backs."""
    dirty_pages: int = 0
    slab_pages: int = 0
    slab_reclaimable_pages: int = 0
    swap_pages: int = 0


@dataclass(frozen=True, slots=True)
class Host:
    """What is known of the host."""

    hostname: str
    release: str
    uptime_s: int
    cpus: int
    memory: HostMemory
    swap_areas: tuple[SwapArea, ...]
    sysctls: dict[str, int]
    """By the names of `SYSCTLS`, as far as they could be read and can be had."""
    cgroup_version: int
    limits_everybody: HostMemcg | None
    """The group that looks like the root from here, where it has a limit: a container's."""
    memcgs: tuple[HostMemcg, ...]
    """Those with members and those above them, but for the root."""
    processes: tuple[HostProcess, ...]
    """In order of creation."""
    mm_groups: tuple[tuple[int, ...], ...]
    """The pids that share an mm, where there are several."""
    compared: frozenset[int]
    """The pids of those whose mms could be compared."""
    unreadable: int
    """The processes that are left out, since this user may read nothing of them."""
    sees_init: bool
    """Whether pid 1 is global init; in a pid namespace of its own it is not."""

    @property
    def version(self) -> Version:
        """The kernel's version."""
        found = re.match(r"(\d+)\.(\d+)", self.release)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    @property
    def uncompared_lookalikes(self) -> int:
        """Count who has just the sizes of another one, and could not be compared with it."""
        users = [process for process in self.processes if process.mm_tid is not None]
        alike = Counter(process.sizes for process in users)
        return sum(p.pid not in self.compared and alike[p.sizes] > 1 for p in users)


def read_host() -> Host:
    """Read everything; `Refused` (EINVAL) when /proc is a mount of fakeproc itself.

    The same when it is none of Linux.  A process that goes meanwhile is left out.
    """
    proc = Path(psutil.PROCFS_PATH)
    _require_real(proc)
    try:
        return _read_host(proc)
    except Refused:
        raise
    except OSError as error:
        raise Refused(errno.EINVAL, f"{proc}: cannot be read: {error.strerror}.") from None
    except (ValueError, LookupError, ArithmeticError) as error:
        raise _not_linux(proc, error) from None


def _not_linux(folder: Path, error: Exception) -> Refused:
    return Refused(errno.EINVAL, f"{folder}: is not as Linux writes it: {error}.")


def _read_host(proc: Path) -> Host:
    hierarchy = find_hierarchy(proc)
    read, unreadable = _read_processes(proc, hierarchy.controller if hierarchy else "memory")
    processes = [settled(proc, process) for process in read]
    pid_of = {p.mm_tid: p.pid for p in processes if p.mm_tid is not None}
    groups = [[pid_of[tid] for tid in group] for group in group_by_mm(list(pid_of))]
    paths = with_ancestors({process.memcg_path for process in processes})
    # Elsewhere its group is one of the paths.
    top = hierarchy.read("/") if hierarchy and hierarchy.root == "/" else None
    return Host(
        hostname=_text(proc, "sys/kernel/hostname") or "host",
        release=_text(proc, "sys/kernel/osrelease"),
        uptime_s=int(float(_text(proc, "uptime").split()[0])),
        cpus=psutil.cpu_count() or 1,
        memory=read_memory(proc),
        swap_areas=_swap_areas(proc),
        sysctls=_sysctls(proc),
        cgroup_version=hierarchy.version if hierarchy else 2,
        limits_everybody=None if top is None or top.is_plain else top,
        memcgs=tuple(hierarchy.read(path) if hierarchy else HostMemcg(path) for path in paths),
        processes=tuple(sorted(processes, key=lambda process: process.order)),
        mm_groups=tuple(tuple(group) for group in groups if len(group) > 1),
        compared=frozenset(pid for group in groups for pid in group),
        unreadable=unreadable,
        sees_init=any(p.pid == KTHREADD_PID and p.is_kthread for p in processes),
    )


def read_memory(proc: Path) -> HostMemory:
    """Read the sizes of the host."""
    pairs = read_pairs(proc / "meminfo")

    def pages(name: str) -> int:
        return int(pairs[name].split()[0]) // PAGE_KIB

    return HostMemory(
        ram_pages=pages("MemTotal"),
        free_pages=pages("MemFree"),
        cache_pages=max(pages("Buffers") + pages("Cached") - pages("Shmem"), 0),
        dirty_pages=pages("Dirty") + pages("Writeback"),
        slab_pages=pages("Slab"),
        slab_reclaimable_pages=pages("SReclaimable"),
        swap_pages=pages("SwapTotal"),
    )


def _require_real(proc: Path) -> None:
    if (proc / "fakeproc").exists():
        raise Refused(
            errno.EINVAL, f"{proc}: is a mount of fakeproc; a snapshot is taken of a real host."
        )


def _read_processes(proc: Path, controller: str) -> tuple[list[HostProcess], int]:
    """Return the processes, and how many may not be read."""
    processes, unreadable = [], 0
    for pid in psutil.pids():
        try:
            processes.append(read_process(proc, pid, controller))
        except PermissionError:
            unreadable += 1
        except (FileNotFoundError, ProcessLookupError):
            continue
        except (ValueError, LookupError, ArithmeticError) as error:
            raise _not_linux(proc / str(pid), error) from None
    return processes, unreadable


def _text(proc: Path, name: str) -> str:
    """Return a file of one line; nothing where it cannot be read."""
    try:
        return "\n".join(lines_of(proc / name, errors="replace")).strip()
    except OSError:
        return ""


def _swap_areas(proc: Path) -> tuple[SwapArea, ...]:
    rows = (line.rsplit(maxsplit=4) for line in _text(proc, "swaps").split("\n")[1:])
    return tuple(
        SwapArea(unescape(row[0].strip()), int(row[2]) // PAGE_KIB, int(row[4])) for row in rows
    )


def _sysctls(proc: Path) -> dict[str, int]:
    """Return those of vm/; the others are of no interest to an OOM."""
    values: dict[str, int] = {}
    for name, sysctl in SYSCTLS.items():
        text = _text(proc, f"sys/{name}") if name.startswith("vm/") else ""
        if text.removeprefix("-").isdecimal() and sysctl.low <= int(text) <= sysctl.high:
            values[name] = int(text)
    # The form of a limit that is not in force reads 0, and writing it would put it in force.
    return without_idle_ratios(values)
