# SPDX-License-Identifier: MIT
"""From what was read of the host to a scenario, as `fakeproc.scenario.build` takes it."""

from __future__ import annotations

import heapq
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fakeproc.kernel.badness import (
    OOM_SCORE_ADJ_MIN,
    counted_pages,
    points_for,
    presented,
)
from fakeproc.kernel.profile import AnyKernelConfig, Profile, nearest_name
from fakeproc.kernel.task import PAGE_KIB, MemorySizes, State
from fakeproc.snapshot.cgroups import HostMemcg
from fakeproc.snapshot.fit import fitted_sizes
from fakeproc.snapshot.host import KTHREADD_PID, Host
from fakeproc.snapshot.process import HostProcess
from fakeproc.snapshot.redact import Plain

_INIT_PID = 1
_OLDEST_MOUNTED = (4, 4)
_MOST_CPUS = 1024
_CONTAINER = "/container"
_STATES = {"R": "R", "D": "D", "T": "T", "t": "T", "Z": "Z", "X": "Z"}
"""States of the host, and what a scenario calls them; the others are asleep."""
_SIZE_KEYS = {
    "anon": "anon_pages",
    "file": "file_pages",
    "shmem": "shmem_pages",
    "swap": "swap_entries",
    "size": "total_vm_pages",
    "pte": "pte_pages",
    "pmd": "pmd_pages",
}


@dataclass(frozen=True)
class Snapshot:
    """A host, and how it is to be written down."""

    host: Host
    redaction: Plain

    @cached_property
    def kernel(self) -> str:
        """The release whose rules are the host's, by a name that a scenario accepts."""
        version = self.host.version
        return nearest_name(version) if version < _OLDEST_MOUNTED else "{}.{}".format(*version)

    @cached_property
    def profile(self) -> Profile:
        """Its rules."""
        return AnyKernelConfig(self.kernel).profile

    @cached_property
    def totalpages(self) -> int:
        """What the scores are thousandths of."""
        return self.host.memory.ram_pages + self.host.memory.swap_pages

    @cached_property
    def by_pid(self) -> dict[int, HostProcess]:
        """The processes."""
        return {process.pid: process for process in self.host.processes}

    @cached_property
    def pids(self) -> dict[int, int]:
        """What pid each has in the scenario: its own, but 1 and 2 are taken there.

        In a pid namespace of its own the host has others under these.
        """
        pids = {process.pid: process.pid for process in self.host.processes}
        if not self.host.sees_init:
            tids = (thread.tid for p in self.host.processes for thread in p.threads)
            free = max((*pids, *tids, KTHREADD_PID)) + 1
            taken = (pid for pid in (_INIT_PID, KTHREADD_PID) if pid in pids)
            pids.update({pid: free + place for place, pid in enumerate(taken)})
        return pids

    @cached_property
    def group_of(self) -> dict[int, tuple[int, ...]]:
        """The pids on the same mm, for each that is not alone on it."""
        return {pid: group for group in self.host.mm_groups for pid in group}

    @cached_property
    def vforked(self) -> frozenset[int]:
        """Who is taken to be in vfork: on the mm of its parent, and without a score for that.

        The kernel shows vfork to nobody.  Before 4.8 such a child has a score as well, and
        where the mms could not be compared their sizes must do; then the parent must be in
        uninterruptible sleep, as one that waits for its child is.
        """
        return frozenset(process.pid for process in self.host.processes if self._in_vfork(process))

    @cached_property
    def hidden(self) -> frozenset[int]:
        """Whose mm is out of the OOM killer's sight: nobody on it has a score."""
        return frozenset(
            process.pid
            for process in self.host.processes
            if process.pid not in self.vforked
            and self._lacks_score(process)
            and not any(self.by_pid[pid].oom_score for pid in self.group_of.get(process.pid, ()))
        )

    def parent_of(self, process: HostProcess) -> HostProcess | None:
        """Return the parent if it can be one in the scenario; otherwise init is."""
        parent = self.by_pid.get(process.parent_pid)
        if parent is None or parent.mm_tid is None or self.is_init(parent):
            return None
        return parent

    def is_init(self, process: HostProcess) -> bool:
        """Say whether it is global init."""
        return process.pid == _INIT_PID and self.host.sees_init

    def in_order(self) -> Iterator[HostProcess]:
        """Walk the processes in order of creation, each behind its parent.

        Those in vfork come last: from then on their parents can create nobody.
        """
        children: dict[int | None, list[HostProcess]] = {}
        for process in self.host.processes:
            parent = self.parent_of(process)
            children.setdefault(parent.pid if parent else None, []).append(process)
        ready = [self._place(process) for process in children.get(None, [])]
        heapq.heapify(ready)
        while ready:
            *_, pid = heapq.heappop(ready)
            yield self.by_pid[pid]
            for child in children.get(pid, []):
                heapq.heappush(ready, self._place(child))

    def _place(self, process: HostProcess) -> tuple[bool, int, int]:
        return (process.pid in self.vforked, *process.order)

    def _in_vfork(self, process: HostProcess) -> bool:
        parent = self.parent_of(process)
        if parent is None or process.mm_tid is None:
            return False
        waits = parent.state == State.DISK_SLEEP
        if process.pid not in self.host.compared or parent.pid not in self.host.compared:
            return waits and process.sizes == parent.sizes and self._lacks_score(process)
        if parent.pid not in self.group_of.get(process.pid, ()):
            return False
        if self.profile.vfork_exempt == "none":
            return waits
        return self._lacks_score(process) and not self._lacks_score(parent)

    def _lacks_score(self, process: HostProcess) -> bool:
        """Say whether the host shows 0 where the sizes make for more, and adj is not why."""
        if process.mm_tid is None or process.oom_score or self.is_init(process):
            return False
        if process.oom_score_adj == OOM_SCORE_ADJ_MIN or not process.score_stood_still:
            return False
        pages = counted_pages(self.profile, process.sizes, self.host.cpus)
        points = points_for(
            self.profile, pages, process.oom_score_adj, process.credentials, self.totalpages
        )
        # A score of 1 may be one of 0 that has been read a moment later.
        return presented(self.profile, points, self.totalpages) > 1

    # -- What is written ---------------------------------------------------------------

    def data(self) -> dict[str, Any]:
        """Return the scenario."""
        sysctls: dict[str, dict[str, int]] = {}
        for name, value in self.host.sysctls.items():
            folder, _, file = name.partition("/")
            sysctls.setdefault(folder, {})[file] = value
        swap_areas = list(self._swap_areas())
        return {
            "version": 1,
            "machine": self._machine(),
            "sysctl": sysctls,
            **({"swap": swap_areas} if swap_areas else {}),
            "memcg": list(self._memcgs()),
            "process": list(self._processes()),
        }

    def _machine(self) -> dict[str, Any]:
        host = self.host
        table: dict[str, Any] = {
            "kernel": self.kernel,
            "ram": _size(host.memory.ram_pages),
            "cpus": min(host.cpus, _MOST_CPUS),
            "hostname": self.redaction.hostname(host.hostname),
            "cgroup_version": host.cgroup_version,
            "uptime_s": host.uptime_s,
        }
        if not host.swap_areas:
            table["swap"] = _size(host.memory.swap_pages)
        if self.is_oversubscribed:
            return {**table, "oversubscribed": True}
        return {**table, **self._kernels_share()}

    def _kernels_share(self) -> dict[str, Any]:
        """Return slab and page cache; the cache that is mapped the processes have.

        As much is left free as on the host, or more: it counts a page once that several map.
        """
        memory = self.host.memory
        rest = memory.ram_pages - memory.free_pages - memory.slab_pages - self._used.ram_pages
        cache = max(min(memory.cache_pages, rest), 0)
        dirty = min(memory.dirty_pages, cache)
        return {
            "cache": _size(cache - dirty),
            "cache_dirty": _size(dirty),
            "slab": _size(memory.slab_pages),
            "slab_reclaimable": _size(memory.slab_reclaimable_pages),
        }

    @cached_property
    def is_oversubscribed(self) -> bool:
        """Say whether shared pages, which each process counts, add up to more than there is."""
        memory, used = self.host.memory, self._used
        return (
            used.ram_pages + memory.slab_pages > memory.ram_pages * 9 // 10
            or used.swap_entries > memory.swap_pages
        )

    @cached_property
    def _used(self) -> MemorySizes:
        """The sum over all mms."""
        owners = (p for p in self.host.processes if self._owner(p) is None)
        return sum(map(self.fitted, owners), MemorySizes())

    def _swap_areas(self) -> Iterator[dict[str, Any]]:
        for number, area in enumerate(self.host.swap_areas, 1):
            table: dict[str, Any] = {
                "name": self.redaction.swap_area(area.name, number),
                "size": _size(area.size_pages),
            }
            # Those below 0 the kernel gives itself, by the order in which areas are switched on.
            if area.priority >= 0:
                table["priority"] = area.priority
            yield table

    def _memcgs(self) -> Iterator[dict[str, Any]]:
        top = self.host.limits_everybody
        for memcg in ((top,) if top else ()) + self.host.memcgs:
            yield self._memcg(memcg)

    def _memcg(self, memcg: HostMemcg) -> dict[str, Any]:
        table: dict[str, Any] = {"path": self._group(memcg.path)}
        if memcg.limit_pages is not None:
            table["limit"] = _size(memcg.limit_pages)
        if memcg.swap_limit_pages is not None:
            table["swap_limit"] = _size(memcg.swap_limit_pages)
        if memcg.oom_group:
            table["oom_group"] = True
        if memcg.oom_kill_disable:
            table["oom_kill_disable"] = True
        return table

    def _group(self, path: str) -> str:
        """Return a group's path; the root of a container is a group like others."""
        above = _CONTAINER if self.host.limits_everybody is not None else ""
        inside = self.redaction.path(path).strip("/")
        return f"{above}/{inside}".rstrip("/") or "/"

    def _processes(self) -> Iterator[dict[str, Any]]:
        for process in self.in_order():
            if process.is_kthread:
                if process.pid != KTHREADD_PID:
                    yield {**self._named(process), "kthread": True}
            elif self.is_init(process):
                yield {**self._named(process), **self._memory(process), **self._standing(process)}
            else:
                yield self._process(process)

    def _process(self, process: HostProcess) -> dict[str, Any]:
        parent = self.parent_of(process)
        table = self._named(process)
        if parent is not None:
            table["parent"] = self.pids[parent.pid]
        table |= {
            "uid": process.credentials.uid,
            "gid": process.credentials.gid,
            "caps": f"{process.credentials.capabilities:#x}",
            **self._mm(process, parent),
            **self._standing(process),
        }
        # One that is about to exit gives up its mm before it is a zombie.
        state = "Z" if process.mm_tid is None else _STATES.get(process.state)
        # Who waits for a child in vfork sleeps so by itself.
        waits = process.state == State.DISK_SLEEP and process.pid in self._vfork_parents
        if state is not None and not waits:
            table["state"] = state
        return table

    @cached_property
    def _vfork_parents(self) -> frozenset[int]:
        return frozenset(self.by_pid[pid].parent_pid for pid in self.vforked)

    def _named(self, process: HostProcess) -> dict[str, Any]:
        name = self.redaction.name(process.name) or "?"
        return {"name": name, "pid": self.pids[process.pid]}

    def _standing(self, process: HostProcess) -> dict[str, Any]:
        """Return its value, its cgroup and its threads."""
        table: dict[str, Any] = {"oom_score_adj": process.oom_score_adj}
        table["memcg"] = self._group(process.memcg_path)
        if process.threads:
            table["thread"] = [
                {"tid": thread.tid}
                if thread.name == process.name
                else {"tid": thread.tid, "name": self.redaction.name(thread.name) or "?"}
                for thread in process.threads
            ]
        return table

    def _mm(self, process: HostProcess, parent: HostProcess | None) -> dict[str, Any]:
        """Return the memory, or whose memory it is on."""
        if process.pid in self.vforked:
            return {"vm": "shared", "vfork": True}
        owner = self._owner(process)
        if owner is None:
            return self._memory(process)
        if parent is not None and parent.pid in self.group_of[process.pid]:
            return {"vm": "shared"}
        return {"mm": self.pids[owner]}

    def _memory(self, process: HostProcess) -> dict[str, Any]:
        sizes = self.fitted(process)
        table: dict[str, Any] = {
            key: _size(getattr(sizes, field)) for key, field in _SIZE_KEYS.items()
        }
        if sizes.mlocked_pages:
            table["mlocked"] = _size(sizes.mlocked_pages)
        if process.cmdline and not self.redaction.hides_command_lines:
            table["cmdline"] = shlex.join(process.cmdline)
        if process.pid in self.hidden:
            table["hidden"] = True
        return table

    def fitted(self, process: HostProcess) -> MemorySizes:
        """Return the sizes with which it has its score; see `fitted_sizes`."""
        if process.pid in self.hidden or process.oom_score_adj == OOM_SCORE_ADJ_MIN:
            return process.sizes
        return fitted_sizes(self.profile, process, totalpages=self.totalpages, cpus=self.host.cpus)

    def _owner(self, process: HostProcess) -> int | None:
        """Return the pid of the first on its mm, unless it is that one."""
        first = self._owners.get(process.pid, process.pid)
        return None if first == process.pid else first

    @cached_property
    def _owners(self) -> dict[int, int]:
        first: dict[int, int] = {}
        for process in self.in_order():
            for pid in self.group_of.get(process.pid, ()):
                first.setdefault(pid, process.pid)
        return first


def _size(pages: int) -> str:
    return f"{pages * PAGE_KIB}k"
