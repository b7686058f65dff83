# SPDX-License-Identifier: MIT
"""What follows from what was read of the host, and what can only be guessed."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from fakeproc.kernel.badness import OOM_SCORE_ADJ_MIN, counted_pages, points_for, presented
from fakeproc.kernel.profile import AnyKernelConfig, Profile, nearest_name
from fakeproc.kernel.task import MemorySizes, State
from fakeproc.snapshot.fit import fitted_sizes
from fakeproc.snapshot.host import KTHREADD_PID, Host
from fakeproc.snapshot.process import HostProcess

_INIT_PID = 1
_OLDEST_MOUNTED = (4, 4)


@dataclass(frozen=True)
class Structure:
    """What follows from what was read of a host: the rules, the order, who shares with whom."""

    host: Host

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
    def vfork_parents(self) -> frozenset[int]:
        """Who waits for a child in vfork."""
        return frozenset(self.by_pid[pid].parent_pid for pid in self.vforked)

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

    @cached_property
    def is_oversubscribed(self) -> bool:
        """Say whether shared pages, which each process counts, add up to more than there is."""
        memory, used = self.host.memory, self.used
        return (
            used.ram_pages + memory.slab_pages > memory.ram_pages * 9 // 10
            or used.swap_entries > memory.swap_pages
        )

    @cached_property
    def used(self) -> MemorySizes:
        """The sum over all mms."""
        owners = (p for p in self.host.processes if self.owner_of(p) is None)
        return sum(map(self.fitted, owners), MemorySizes())

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

    def fitted(self, process: HostProcess) -> MemorySizes:
        """Return the sizes with which it has its score; see `fitted_sizes`."""
        if process.pid in self.hidden or process.oom_score_adj == OOM_SCORE_ADJ_MIN:
            return process.sizes
        return fitted_sizes(self.profile, process, totalpages=self.totalpages, cpus=self.host.cpus)

    def owner_of(self, process: HostProcess) -> int | None:
        """Return the pid of the first on its mm, unless it is that one."""
        first = self._owners.get(process.pid, process.pid)
        return None if first == process.pid else first

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

    @cached_property
    def _owners(self) -> dict[int, int]:
        first: dict[int, int] = {}
        for process in self.in_order():
            for pid in self.group_of.get(process.pid, ()):
                first.setdefault(pid, process.pid)
        return first
