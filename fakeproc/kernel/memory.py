# SPDX-License-Identifier: MIT
"""The memory of the machine beside what its tasks hold: page cache, slab, swap areas.

`Memory` keeps the account; whoever takes memory as a page fault does asks `allocate`.  How
room is made is in `fakeproc.kernel.reclaim`; what all of this leaves out is in docs/model.rst.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import IntFlag, StrEnum
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from fakeproc.kernel import gfp, oom, reclaim
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.memcg import Memcg
from fakeproc.kernel.task import PAGE_KIB, PTRS_PER_TABLE, MemorySizes, Thread
from fakeproc.kernel.zones import Watermarks, machine_watermarks

if TYPE_CHECKING:
    from fakeproc.kernel.machine import Machine

FIRST_SWAP_AREA = "/dev/vda2"
"""The name of the area that a machine with swap boots with."""

_FIRST_PRIORITY = -2
"""What swapon without a priority gives; each later one gets less by one (4.14 and later)."""

OOM_RETRY_NS = 100_000_000
"""How long a task waits that found no memory and whose OOM killed nobody at once."""


class MemoryKind(StrEnum):
    """What a task takes memory for, as `MemorySizes` calls it."""

    ANON = "anon_pages"
    FILE = "file_pages"
    SHMEM = "shmem_pages"


class DropCaches(IntFlag):
    """The bits of vm.drop_caches."""

    PAGECACHE = 1
    SLAB = 2
    QUIETLY = 4


@dataclass(frozen=True, slots=True)
class SwapArea:
    """A swap device or file; a higher priority is used first."""

    name: str
    size_pages: int
    priority: int


@dataclass(frozen=True, slots=True)
class Allocation:
    """How many pages a task got, and how long it waited for them."""

    pages: int = 0
    stalled_ns: int = 0

    def then(self, pages: int = 0, stalled_ns: int = 0) -> Allocation:
        """Return this with more of both."""
        return Allocation(self.pages + pages, self.stalled_ns + stalled_ns)


@dataclass(slots=True)
class Counters:
    """What /proc/vmstat counts, in pages, since boot."""

    written: int = 0
    """Dirty pages that reclaim wrote (part of pgpgout)."""
    pswpin: int = 0
    pswpout: int = 0
    pgfault: int = 0
    pgmajfault: int = 0
    pgscan_kswapd: int = 0
    pgscan_direct: int = 0
    pgsteal_kswapd: int = 0
    pgsteal_direct: int = 0
    allocstall: int = 0
    """How often a task had to make room itself."""
    workingset_refault_anon: int = 0
    """Swapped pages that a running task wanted back."""
    workingset_refault_file: int = 0
    """Dropped page cache that a running task wanted back."""
    pgfree: int = 0
    """What came free, of whatever it was."""
    drop_pagecache: int = 0
    """How often somebody has had the page cache dropped, and the slab."""
    drop_slab: int = 0


@dataclass(slots=True, eq=False, repr=False)
class Memory:
    """The account of RAM and swap.

    Free is what neither a task, nor the page cache, nor the slab has, and what the three have
    adds up to the RAM.
    """

    _machine: Machine
    cache_clean_pages: int = 0
    """Page cache that no task maps; what tasks map is theirs (`MemorySizes.file_pages`)."""
    cache_dirty_pages: int = 0
    cache_evicted_pages: int = 0
    """Page cache that has been reclaimed, and that those who run want back."""
    slab_reclaimable_pages: int = 0
    slab_unreclaimable_pages: int = 0
    swap_areas: list[SwapArea] = field(default_factory=list)
    """In the order in which they were switched on."""
    counters: Counters = field(default_factory=Counters)
    kswapd_is_awake: bool = False
    _watermarks: tuple[tuple[object, ...], Watermarks] | None = None

    def __post_init__(self) -> None:
        hardware = self._machine.hardware
        self.slab_unreclaimable_pages = hardware.slab_pages
        if hardware.swap_pages:
            area = SwapArea(FIRST_SWAP_AREA, hardware.swap_pages, _FIRST_PRIORITY)
            self.swap_areas.append(area)

    # -- What there is -------------------------------------------------------------

    @property
    def cache_pages(self) -> int:
        """Page cache that no task maps."""
        return self.cache_clean_pages + self.cache_dirty_pages

    @property
    def slab_pages(self) -> int:
        """What the kernel has for itself."""
        return self.slab_reclaimable_pages + self.slab_unreclaimable_pages

    @property
    def unclaimed_pages(self) -> int:
        """RAM that nobody has.

        Below 0 forked tasks share so much: a fork copies on write, but both of them count it.
        """
        return self._machine.hardware.ram_pages - self.taken_pages

    @property
    def taken_pages(self) -> int:
        """What tasks, page cache and slab have together."""
        return self._machine.used.ram_pages + self.cache_pages + self.slab_pages

    @property
    def pgalloc(self) -> int:
        """What has ever been allocated since boot, in pages."""
        return self.taken_pages + self.counters.pgfree

    @property
    def free_pages(self) -> int:
        """RAM that nobody has (never negative)."""
        return max(self.unclaimed_pages, 0)

    @property
    def shared_pages(self) -> int:
        """What is counted for several tasks and is there once.

        0 unless forks fill the RAM, or the machine was oversubscribed from the start.
        """
        return max(-self.unclaimed_pages, 0)

    @property
    def watermarks(self) -> Watermarks:
        """The marks of all zones together."""
        machine = self._machine
        depend_on = (
            machine.sysctls["vm/min_free_kbytes"],
            machine.sysctls["vm/watermark_scale_factor"],
            machine.profile,
            machine.hardware,
        )
        # Every page fault asks for them, and they hardly ever change.
        if self._watermarks is None or self._watermarks[0] != depend_on:
            self._watermarks = depend_on, machine_watermarks(machine)
        return self._watermarks[1]

    def swap_used(self) -> Iterator[tuple[SwapArea, int]]:
        """Return each area with the pages in it, as /proc/swaps lists them.

        Swap fills like water: the areas of the highest priority first, those of the same
        priority by their sizes.
        """
        left = self._machine.hardware.swap_pages - self._machine.free_swap_entries
        used: dict[SwapArea, int] = {}
        by_priority = sorted(self.swap_areas, key=attrgetter("priority"), reverse=True)
        for _, group in groupby(by_priority, key=attrgetter("priority")):
            areas = list(group)
            for number, area in enumerate(areas):
                room = sum(other.size_pages for other in areas[number:])
                used[area] = min(left, room) * area.size_pages // max(room, 1)
                left -= used[area]
        return ((area, used[area]) for area in self.swap_areas)

    # -- What a person sets --------------------------------------------------------

    def set_cache(self, *, clean_pages: int, dirty_pages: int) -> None:
        """Fill the page cache up to so much, or drop from it; ENOMEM when it does not fit."""
        more_pages = clean_pages + dirty_pages - self.cache_pages
        self._require_room("cache", more_pages)
        self.counters.pgfree += max(-more_pages, 0)
        self.cache_clean_pages, self.cache_dirty_pages = clean_pages, dirty_pages
        self.cache_evicted_pages = 0

    def set_slab(self, *, reclaimable_pages: int, unreclaimable_pages: int) -> None:
        """Let the kernel have so much for itself; ENOMEM when it does not fit."""
        more_pages = reclaimable_pages + unreclaimable_pages - self.slab_pages
        self._require_room("slab", more_pages)
        self.counters.pgfree += max(-more_pages, 0)
        self.slab_reclaimable_pages = reclaimable_pages
        self.slab_unreclaimable_pages = unreclaimable_pages

    def _require_room(self, what: str, more_pages: int) -> None:
        if more_pages > self.free_pages:
            raise Refused(
                errno.ENOMEM,
                f"{what}: {more_pages * PAGE_KIB} kB more, but {self.free_pages * PAGE_KIB} kB "
                "are free.",
            )

    def swapon(self, name: str, size_pages: int, priority: int | None = None) -> None:
        """Switch a swap area on; EBUSY when it is on, EINVAL when it has no page."""
        if any(area.name == name for area in self.swap_areas):
            raise Refused(errno.EBUSY, f"swapon {name}: is on already.")
        if size_pages < 1:
            raise Refused(errno.EINVAL, f"swapon {name}: accepted is a size of a page or more.")
        if priority is None:
            lowest = min((area.priority for area in self.swap_areas), default=0)
            priority = min(lowest - 1, _FIRST_PRIORITY)
        self._set_swap_areas([*self.swap_areas, SwapArea(name, size_pages, priority)])

    def swapoff(self, name: str) -> None:
        """Switch a swap area off: what the others cannot hold comes back into memory.

        EINVAL when it is not on, ENOMEM when there is no room for its pages.  The kernel
        brings all of them back and lets reclaim swap out anew; the end is the same.
        """
        remaining = [area for area in self.swap_areas if area.name != name]
        if len(remaining) == len(self.swap_areas):
            names = ", ".join(area.name for area in self.swap_areas) or "none"
            raise Refused(errno.EINVAL, f"swapoff {name}: is not on; accepted: {names}.")
        room = sum(area.size_pages for area in remaining)
        too_many = self._machine.used.swap_entries - room
        if too_many > self.free_pages + self.cache_clean_pages:
            raise Refused(
                errno.ENOMEM,
                f"swapoff {name}: {too_many * PAGE_KIB} kB must come back into memory, but "
                f"{self.free_pages * PAGE_KIB} kB are free.",
            )
        reclaim.swap_in_anywhere(self._machine, too_many)
        self._set_swap_areas(remaining)

    def _set_swap_areas(self, areas: list[SwapArea]) -> None:
        self.swap_areas = areas
        swap_pages = sum(area.size_pages for area in areas)
        self._machine.hardware = replace(self._machine.hardware, swap_pages=swap_pages)

    def evict(self, *, clean_pages: int, dirty_pages: int = 0) -> None:
        """Drop page cache, the dirty part of it after writing; somebody will miss it."""
        self.cache_clean_pages -= clean_pages
        self.cache_dirty_pages -= dirty_pages
        self.cache_evicted_pages += clean_pages + dirty_pages
        self.counters.pgfree += clean_pages + dirty_pages

    def shrink_slab(self, pages: int) -> None:
        """Let the kernel give up so much of what it can do without."""
        self.slab_reclaimable_pages -= pages
        self.counters.pgfree += pages

    def drop_caches(self, what: int) -> None:
        """Drop clean page cache that no task maps, reclaimable slab, or both (drop_caches.c)."""
        if what & DropCaches.PAGECACHE:
            self.evict(clean_pages=self.cache_clean_pages)
            self.counters.drop_pagecache += 1
        if what & DropCaches.SLAB:
            self.shrink_slab(self.slab_reclaimable_pages)
            self.counters.drop_slab += 1

    def make_way(self) -> None:
        """Drop clean cache for what has just been taken without asking."""
        if self.cache_clean_pages and (missing := -self.unclaimed_pages) > 0:
            self.evict(clean_pages=min(missing, self.cache_clean_pages))

    # -- What a page fault does ----------------------------------------------------

    def available_pages(self, thread: Thread) -> int:
        """Return how much a task may take before somebody must make room; may be below 0.

        That is what is free above the min watermark; a victim may have all (ALLOC_OOM).
        """
        reserve = 0 if thread.memdie else self.watermarks.min_pages
        return self.unclaimed_pages - reserve

    def allocate(
        self, thread: Thread, pages: int, kind: MemoryKind = MemoryKind.ANON
    ) -> Allocation:
        """Let a task take memory as page faults do; its mm grows by what it gets.

        Free memory first, then reclaim, then the OOM killer with this task as the
        allocating one, until it has all, or nothing helps at once.
        """
        taken = Allocation()
        while taken.pages < pages and can_fault(thread):
            room = self.obtain(thread, pages - taken.pages)
            taken = taken.then(room.pages, room.stalled_ns)
            if not room.pages:
                break
            mm = thread.mm
            assert mm is not None
            self.counters.pgfault += room.pages
            self._machine.resize(mm, grown(mm.sizes, kind, room.pages))
        return taken

    def obtain(self, thread: Thread, pages: int, *, all_at_once: bool = False) -> Allocation:
        """Make room for a task that needs so many pages, and page tables for them.

        Return for how many there is room, and how long that took; the task takes them
        next.  It may have been killed for it.  ``all_at_once`` is for what is of no use in
        part: as if no page fault in between could have gone on.
        """
        enough = pages if all_at_once else 1
        reclaimed = reclaim.Reclaimed()
        room, waited_ns = 0, 0
        while can_fault(thread):
            room, group, more = self._room(thread, pages, enough)
            reclaimed += more
            if room >= enough or not self._out_of_memory(thread, group):
                break
        if room < enough:
            room, waited_ns = 0, OOM_RETRY_NS
        stalled_ns = reclaimed.took_ns + waited_ns if can_fault(thread) else 0
        if stalled_ns:
            self._machine.stalls.wait(thread.process, stalled_ns, reclaimed.disk_ns)
        return Allocation(min(room, pages), stalled_ns)

    def _room(
        self, thread: Thread, pages: int, enough: int
    ) -> tuple[int, Memcg | None, reclaim.Reclaimed]:
        """Return for how much there is room after reclaim, and what has been reclaimed for it.

        The second value is the group under whose limit there is not enough, if that is why.
        """
        reclaimed = reclaim.Reclaimed()
        room = pages
        tables = pages // PTRS_PER_TABLE + 1
        for group in thread.process.memcg.ancestors():
            if group.limit_pages is None:
                continue
            below, more = reclaim.within(self._machine, group, pages + tables)
            reclaimed += more
            room = min(room, below - tables)
            if room < enough:
                return room, group, reclaimed
        missing = room + tables - self.available_pages(thread)
        if missing > 0:
            reclaimed += reclaim.directly(self._machine, missing)
        reclaim.wake_kswapd(self._machine, room)
        return min(room, self.available_pages(thread) - tables), None, reclaimed

    def _out_of_memory(self, thread: Thread, group: Memcg | None) -> bool:
        """Invoke the OOM killer for a task; return whether it is worth while to try again."""
        machine = self._machine
        before, earlier = machine.memory_in_use, machine.last_verdict
        mask = None if group is not None else gfp.anonymous_fault_mask(machine.profile)
        verdict = machine.out_of_memory(
            oom.allocation(machine, allocating=thread, memcg=group, gfp_mask=mask)
        )
        if verdict.outcome is oom.Outcome.WAITING:
            # It is asked again and again; what it waits for is the news.
            machine.last_verdict = earlier or verdict
        return not machine.panicked and machine.memory_in_use < before


def can_fault(thread: Thread) -> bool:
    """Say whether a task can still take memory: it has an mm and is not on its way out."""
    return thread.mm is not None and not (thread.exiting or thread.process.group_exit)


def grown(sizes: MemorySizes, kind: MemoryKind, pages: int) -> MemorySizes:
    """Return sizes with so much more of a kind, in memory that was mapped for it."""
    values = {kind.value: getattr(sizes, kind) + pages}
    return replace(
        sizes,
        total_vm_pages=sizes.total_vm_pages + pages,
        pte_pages=sizes.pte_pages + _tables(sizes, pages),
        **values,
    )


def shrunk(sizes: MemorySizes, pages: int) -> MemorySizes:
    """Return sizes with so much less anonymous memory: resident first, then swapped."""
    resident = min(pages, sizes.anon_pages)
    anon = sizes.anon_pages - resident
    swapped = min(pages - resident, sizes.swap_entries)
    return replace(
        sizes,
        total_vm_pages=sizes.total_vm_pages - resident - swapped,
        anon_pages=anon,
        mlocked_pages=min(sizes.mlocked_pages, anon),
        swap_entries=sizes.swap_entries - swapped,
        pte_pages=max(sizes.pte_pages + _tables(sizes, -resident - swapped), 0),
    )


def _tables(sizes: MemorySizes, pages: int) -> int:
    """Return by how many page tables an address space grows with so many pages."""
    in_use = sizes.rss_pages + sizes.swap_entries
    return (in_use + pages) // PTRS_PER_TABLE - in_use // PTRS_PER_TABLE
