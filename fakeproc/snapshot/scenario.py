# SPDX-License-Identifier: MIT
"""From a host to a scenario, as `fakeproc.scenario.build` takes it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fakeproc.kernel.task import PAGE_KIB, State
from fakeproc.snapshot.cgroups import HostMemcg
from fakeproc.snapshot.host import KTHREADD_PID, Host
from fakeproc.snapshot.process import HostProcess
from fakeproc.snapshot.redact import Plain
from fakeproc.snapshot.structure import Structure
from fakeproc.units import SIZE_KEYS

_MOST_CPUS = 1024
_CONTAINER = "/container"
_STATES = {"R": "R", "D": "D", "T": "T", "t": "T", "Z": "Z", "X": "Z"}
"""States of the host, and what a scenario calls them; the others are asleep."""
_FOLLOW_FROM_OTHERS = ("size", "pte", "pmd")
"""Keys that have a value of their own where a process has none of them."""


@dataclass(frozen=True)
class Snapshot:
    """A host, and how it is to be written down."""

    structure: Structure
    redaction: Plain

    @property
    def host(self) -> Host:
        """What was read."""
        return self.structure.host

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
            "kernel": self.structure.kernel,
            "ram": _size(host.memory.ram_pages),
            "cpus": min(host.cpus, _MOST_CPUS),
            "hostname": self.redaction.hostname(host.hostname),
            "cgroup_version": host.cgroup_version,
            "uptime_s": host.uptime_s,
        }
        if not host.swap_areas:
            table["swap"] = _size(host.memory.swap_pages)
        if self.structure.is_oversubscribed:
            return {**table, "oversubscribed": True}
        return {**table, **self._kernels_share()}

    def _kernels_share(self) -> dict[str, Any]:
        """Return slab and page cache; the cache that is mapped the processes have.

        As much is left free as on the host, or more: it counts a page once that several map.
        """
        memory = self.host.memory
        rest = (
            memory.ram_pages - memory.free_pages - memory.slab_pages - self.structure.used.ram_pages
        )
        cache = max(min(memory.cache_pages, rest), 0)
        dirty = min(memory.dirty_pages, cache)
        return {
            "cache": _size(cache - dirty),
            "cache_dirty": _size(dirty),
            "slab": _size(memory.slab_pages),
            "slab_reclaimable": _size(memory.slab_reclaimable_pages),
        }

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
        for process in self.structure.in_order():
            if process.is_kthread:
                if process.pid != KTHREADD_PID:
                    yield {**self._named(process), "kthread": True}
            elif self.structure.is_init(process):
                yield {
                    **self._named(process),
                    **self._memory(process),
                    **self._standing(process),
                    **self._details(process, None),
                }
            else:
                yield self._process(process)

    def _process(self, process: HostProcess) -> dict[str, Any]:
        parent = self.structure.parent_of(process)
        table = self._named(process)
        if parent is not None:
            table["parent"] = self.structure.pids[parent.pid]
        table |= {
            "uid": process.credentials.uid,
            "gid": process.credentials.gid,
            "caps": f"{process.credentials.capabilities:#x}",
            **self._mm(process, parent),
            **self._standing(process),
            **self._details(process, parent or self.host_init),
        }
        # One that is about to exit gives up its mm before it is a zombie.
        state = "Z" if process.mm_tid is None else _STATES.get(process.state)
        # Who waits for a child in vfork sleeps so by itself.
        waits = process.state == State.DISK_SLEEP and process.pid in self.structure.vfork_parents
        if state is not None and not waits:
            table["state"] = state
        return table

    @property
    def host_init(self) -> HostProcess | None:
        """Global init, whose child is who has no other parent."""
        first = self.structure.by_pid.get(1)
        return first if first is not None and self.structure.is_init(first) else None

    def _details(self, process: HostProcess, parent: HostProcess | None) -> dict[str, Any]:
        """Return folder, nice value and terminal, where it would not have them by itself."""
        names = ("nice", "tty") if self.redaction.hides_command_lines else ("cwd", "nice", "tty")
        standard = {"cwd": "/", "nice": 0, "tty": ""}
        return {
            name: getattr(process, name)
            for name in names
            if any(each and getattr(each, name) != standard[name] for each in (process, parent))
        }

    def _named(self, process: HostProcess) -> dict[str, Any]:
        name = self.redaction.name(process.name) or "?"
        return {"name": name, "pid": self.structure.pids[process.pid]}

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
        if process.pid in self.structure.vforked:
            return {"vm": "shared", "vfork": True}
        owner = self.structure.owner_of(process)
        if owner is None:
            return self._memory(process)
        if parent is not None and parent.pid in self.structure.group_of[process.pid]:
            return {"vm": "shared"}
        return {"mm": self.structure.pids[owner]}

    def _memory(self, process: HostProcess) -> dict[str, Any]:
        sizes = self.structure.fitted(process)
        table: dict[str, Any] = {
            key: _size(pages)
            for key, field in SIZE_KEYS.items()
            if key != "rss" and ((pages := getattr(sizes, field)) or key in _FOLLOW_FROM_OTHERS)
        }
        if process.cmdline and not self.redaction.hides_command_lines:
            table["cmdline"] = shlex.join(process.cmdline)
        if process.exe not in ("", *process.cmdline[:1]) and not self.redaction.hides_command_lines:
            table["exe"] = process.exe
        if process.pid in self.structure.hidden:
            table["hidden"] = True
        return table


def _size(pages: int) -> str:
    return f"{pages * PAGE_KIB}k"
