# SPDX-License-Identifier: MIT
"""Made-up hosts."""

from __future__ import annotations

from typing import Any

from fakeproc.kernel.machine import Machine, sizes_for
from fakeproc.kernel.task import Credentials, MemorySizes, Process
from fakeproc.scenario import build
from fakeproc.snapshot.cgroups import HostMemcg, with_ancestors
from fakeproc.snapshot.host import Host, HostMemory
from fakeproc.snapshot.process import HostProcess
from fakeproc.snapshot.redact import Plain
from fakeproc.snapshot.scenario import Snapshot
from fakeproc.snapshot.structure import Structure

NOTHING_SHOWN = 666
"""The score of a small process since 5.9."""


def host_process(pid: int, name: str = "p", parent: int = 1, **changes: Any) -> HostProcess:
    """Return a small process, with these changes."""
    values: dict[str, Any] = {
        "pid": pid,
        "parent_pid": parent,
        "name": name,
        "cmdline": (name,),
        "state": "S",
        "start_ticks": pid,
        "is_kthread": False,
        "credentials": Credentials(1000, 1000),
        "threads": (),
        "mm_tid": pid,
        "sizes": sizes_for(anon_pages=320),
        "oom_score_adj": 0,
        "oom_score": NOTHING_SHOWN,
        "score_stood_still": True,
        "memcg_path": "/",
        **changes,
    }
    return HostProcess(**values)


def zombie(pid: int, parent: int = 1, **changes: Any) -> HostProcess:
    """Return one that has exited."""
    exited = {"state": "Z", "mm_tid": None, "sizes": MemorySizes(), "oom_score": 0}
    return host_process(pid, "gone", parent, **{**exited, **changes})


MEMORY = HostMemory(
    ram_pages=2**21, free_pages=2**20, cache_pages=2**19, dirty_pages=2**10,
    slab_pages=2**15, slab_reclaimable_pages=2**14, swap_pages=2**18,
)  # fmt: skip
INIT = host_process(1, "init", 0, oom_score=0)
KTHREADD = host_process(
    2, "kthreadd", 0, is_kthread=True, mm_tid=None, sizes=MemorySizes(), oom_score=0
)


def host(*processes: HostProcess, release: str = "6.18.1", **changes: Any) -> Host:
    """Return a host of 8G with init, kthreadd and these processes; all could be compared."""
    everybody = (INIT, KTHREADD, *processes)
    paths = {process.memcg_path for process in processes}
    values: dict[str, Any] = {
        "hostname": "box",
        "release": release,
        "uptime_s": 60,
        "cpus": 2,
        "memory": MEMORY,
        "swap_areas": (),
        "sysctls": {},
        "cgroup_version": 1,
        "limits_everybody": None,
        "memcgs": tuple(HostMemcg(path) for path in with_ancestors(paths)),
        "processes": tuple(sorted(everybody, key=lambda process: process.order)),
        "mm_groups": (),
        "compared": frozenset(process.pid for process in everybody),
        "unreadable": 0,
        "sees_init": True,
        **changes,
    }
    return Host(**values)


def mounted(of: Host, redaction: Plain | None = None) -> Machine:
    """Return the machine of a host's snapshot."""
    return build(Snapshot(Structure(of), redaction or Plain()).data())


def only(machine: Machine, name: str) -> Process:
    """Return the process of a name."""
    (found,) = (process for process in machine.processes.values() if process.comm == name)
    return found
