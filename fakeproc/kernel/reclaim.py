# SPDX-License-Identifier: MIT
"""How room is made: page cache is dropped or written, anonymous memory goes to swap.

Tasks do it themselves when free memory is down to the min watermark (direct reclaim), and
kswapd does from the low one on, until free memory is at the high one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from fakeproc.kernel.memcg import Memcg
from fakeproc.kernel.memcg_stat import usage_of
from fakeproc.kernel.ranking import Ranking
from fakeproc.kernel.task import Process

if TYPE_CHECKING:
    from fakeproc.kernel.machine import Machine

SCAN_NS = 500
"""What it takes to look at a page and drop it."""

DISK_NS = 20_000
"""What it takes to write a page or to read it: 200 MB a second."""

CLUSTER_PAGES = 32
"""What direct reclaim tries to make free at the least (SWAP_CLUSTER_MAX)."""

_KSWAPD_PAGES = 2048
"""What kswapd does at a time."""

_SCOPE = "swap-out"
_IDLE = 1 << 60


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """What a round of reclaim came to, in pages."""

    dropped: int = 0
    """Clean page cache and slab."""
    written: int = 0
    """Dirty page cache."""
    swapped: int = 0

    @property
    def pages(self) -> int:
        """What came free."""
        return self.dropped + self.written + self.swapped

    def __add__(self, other: Reclaimed) -> Reclaimed:
        return Reclaimed(
            self.dropped + other.dropped, self.written + other.written, self.swapped + other.swapped
        )

    @property
    def disk_ns(self) -> int:
        """How long the disk was busy."""
        return (self.written + self.swapped) * DISK_NS

    @property
    def took_ns(self) -> int:
        """How long all of it took."""
        return self.pages * SCAN_NS + self.disk_ns


def directly(machine: Machine, pages: int) -> Reclaimed:
    """Make room for a task that cannot go on without."""
    return _count_direct(machine, _reclaim(machine, max(pages, CLUSTER_PAGES)))


def within(machine: Machine, group: Memcg, pages: int) -> tuple[int, Reclaimed]:
    """Make room below a memcg's limit; return what there is, and what has been reclaimed.

    It holds no page cache of its own here, so that its members are swapped out.
    """
    limit = group.limit_pages
    assert limit is not None
    room = limit - usage_of(machine, group).memory_pages
    if room >= pages:
        return room, Reclaimed()
    swapped = _swap_out_members(machine, group, max(pages - room, CLUSTER_PAGES))
    if not swapped:
        return room, Reclaimed()
    group.failcnt += 1
    group.count("max")
    return room + swapped, _count_direct(machine, Reclaimed(swapped=swapped))


def _count_direct(machine: Machine, reclaimed: Reclaimed) -> Reclaimed:
    counters = machine.memory.counters
    counters.allocstall += 1
    counters.pgscan_direct += reclaimed.pages
    counters.pgsteal_direct += reclaimed.pages
    return reclaimed


# -- kswapd ------------------------------------------------------------------------


def wake_kswapd(machine: Machine, pages: int) -> None:
    """Let kswapd begin when taking so many pages goes below the low watermark."""
    memory = machine.memory
    if memory.kswapd_is_awake or memory.unclaimed_pages - pages >= memory.watermarks.low_pages:
        return
    memory.kswapd_is_awake = True
    machine.events.at(machine.now_ns + 1, partial(_run_kswapd, machine))


def _run_kswapd(machine: Machine) -> None:
    """Do a part of the work, and the next one when that is done."""
    memory = machine.memory
    missing = memory.watermarks.high_pages - memory.unclaimed_pages
    reclaimed = _reclaim(machine, min(missing, _KSWAPD_PAGES)) if missing > 0 else Reclaimed()
    if not reclaimed.pages:
        memory.kswapd_is_awake = False
        return
    memory.counters.pgscan_kswapd += reclaimed.pages
    memory.counters.pgsteal_kswapd += reclaimed.pages
    machine.stalls.tell("memory", reclaimed.took_ns)
    machine.events.at(machine.now_ns + reclaimed.took_ns, partial(_run_kswapd, machine))


# -- What is reclaimed -------------------------------------------------------------


def _reclaim(machine: Machine, pages: int) -> Reclaimed:
    """Take so many pages from the cache and from the tasks, as far as there are any."""
    memory, used = machine.memory, machine.used
    shrinks_slab = machine.sysctls["vm/vfs_cache_pressure"] > 0
    slab = memory.slab_reclaimable_pages if shrinks_slab else 0
    cache = memory.cache_pages + slab
    anon = min(used.anon_pages - used.mlocked_pages, machine.free_swap_entries)
    from_anon = _anon_part(pages, anon, cache, machine.sysctls["vm/swappiness"])
    clean = min(pages - from_anon, memory.cache_clean_pages)
    from_slab = min(pages - from_anon - clean, slab)
    dirty = min(pages - from_anon - clean - from_slab, memory.cache_dirty_pages)
    memory.evict(clean_pages=clean, dirty_pages=dirty)
    memory.shrink_slab(from_slab)
    memory.counters.written += dirty
    return Reclaimed(clean + from_slab, dirty, _swap_out(machine, from_anon))


def _anon_part(pages: int, anon_pages: int, cache_pages: int, swappiness: int) -> int:
    """Return how many of so many pages are to be anonymous ones.

    Both sides give by their size, the anonymous one times swappiness and the other times
    200 - swappiness, as get_scan_count does where neither side has cost more than the
    other.  What one side cannot give the other does.
    """
    anon_weight, cache_weight = anon_pages * swappiness, cache_pages * (200 - swappiness)
    share = pages * anon_weight // max(anon_weight + cache_weight, 1)
    from_cache = min(pages - min(share, anon_pages), cache_pages)
    return min(pages - from_cache, anon_pages)


def _evictable(process: Process) -> int:
    sizes = process.mm.sizes if process.mm else None
    return sizes.anon_pages - sizes.mlocked_pages if sizes else 0


def _swap_out(machine: Machine, pages: int) -> int:
    """Swap out anonymous memory; return how much.

    Who sleeps gives before who runs (its pages are older), who has most before who has
    less, who was created first at last.
    """

    def points_of(process: Process) -> int | None:
        evictable = _evictable(process)
        if not evictable:
            return None
        return evictable if machine.living.runs_on(process.mm) else evictable | _IDLE

    def make() -> Ranking:
        ranking = Ranking(machine.processes, points_of, lambda process: process.sequence)
        ranking.fill(machine.processes.values())
        return ranking

    done = 0
    while done < pages:
        process = machine.rankings.of(_SCOPE, make).first(lambda process: True)
        if process is None:
            break
        done += _swap_out_of(machine, process, pages - done)
    return done


def _swap_out_members(machine: Machine, group: Memcg, pages: int) -> int:
    """Swap out members of a memcg, who has most first; return how much."""
    done = 0
    pages = min(pages, machine.free_swap_entries)
    if group.swap_limit_pages is not None:
        pages = min(pages, group.swap_limit_pages - usage_of(machine, group).swap_entries)
    for process in _by_size(group.processes()):
        done += _swap_out_of(machine, process, pages - done)
    return done


def _by_size(processes: Iterable[Process]) -> list[Process]:
    return sorted(processes, key=lambda process: (-_evictable(process), process.sequence))


def _swap_out_of(machine: Machine, process: Process, most_pages: int) -> int:
    mm = process.mm
    pages = min(_evictable(process), most_pages)
    if mm is None or pages <= 0:
        return 0
    machine.resize(mm, mm.sizes.swapped_out(pages))
    machine.memory.counters.pswpout += pages
    return pages


# -- Coming back -------------------------------------------------------------------


def swap_in(machine: Machine, process: Process, most_pages: int) -> int:
    """Bring pages of a process back from swap; return how many.  There is room for them."""
    mm = process.mm
    pages = min(mm.sizes.swap_entries, most_pages) if mm else 0
    if mm is None or not pages:
        return 0
    machine.resize(mm, mm.sizes.swapped_out(-pages))
    machine.memory.counters.pswpin += pages
    return pages


def refault(machine: Machine, most_pages: int) -> tuple[int, Reclaimed]:
    """Read page cache back that has been dropped; return how much, and what went for it.

    Nobody is killed for it: what there is no room for stays where it is.
    """
    memory = machine.memory
    reclaimed = Reclaimed()
    missing = most_pages - (memory.unclaimed_pages - memory.watermarks.min_pages)
    if missing > 0:
        reclaimed = directly(machine, missing)
    room = max(memory.unclaimed_pages - memory.watermarks.min_pages, 0)
    pages = min(most_pages, memory.cache_evicted_pages, room)
    wake_kswapd(machine, pages)
    memory.cache_clean_pages += pages
    memory.cache_evicted_pages -= pages
    return pages, reclaimed


def swap_in_anywhere(machine: Machine, pages: int) -> None:
    """Bring so many pages back, from whoever was created first on."""
    left = pages
    for process in machine.processes.values():
        if left <= 0:
            break
        left -= swap_in(machine, process, left)
