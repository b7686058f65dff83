# SPDX-License-Identifier: MIT
"""The counters of memory management, as /proc/vmstat and /proc/zoneinfo name and order them.

The names are those of a recorded 6.18; the version beside a row is where it came or went.  What
the machine does not model is 0.  meminfo, vmstat and zoneinfo all take their numbers from here,
so that they agree to the page: a real kernel keeps some of them by CPU and lets them differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from fakeproc.kernel.available import dirty_thresholds
from fakeproc.kernel.fields import Field, fields
from fakeproc.kernel.profile import Profile, Version
from fakeproc.kernel.task import PAGE_KIB
from fakeproc.kernel.zones import KERNEL_STACK_PAGES, MAX_ORDER, Zone, used_pages, zones

if TYPE_CHECKING:
    from fakeproc.kernel.machine import Build, Machine

_MEMMAP_PER_PAGE = 64
"""Pages whose descriptors (struct page) fill one page."""

# -- Which there are ---------------------------------------------------------------

# Until 4.8 all of it was the zone's.
_OF_A_ZONE_4_4: Sequence[Field] = fields(
    "nr_free_pages nr_alloc_batch nr_inactive_anon nr_active_anon nr_inactive_file nr_active_file"
    " nr_unevictable nr_mlock nr_anon_pages nr_mapped nr_file_pages nr_dirty nr_writeback"
    " nr_slab_reclaimable nr_slab_unreclaimable nr_page_table_pages nr_kernel_stack nr_unstable"
    " nr_bounce nr_vmscan_write nr_vmscan_immediate_reclaim nr_writeback_temp nr_isolated_anon"
    " nr_isolated_file nr_shmem nr_dirtied nr_written nr_pages_scanned"
)

_NUMA = "numa_hit numa_miss numa_foreign numa_interleave numa_local numa_other"

_BEHIND_NUMA_4_4: Sequence[Field] = fields(
    "workingset_refault workingset_activate workingset_nodereclaim nr_anon_transparent_hugepages"
    " nr_free_cma"
)

_OF_A_ZONE: Sequence[Field] = (
    *fields("nr_free_pages"),
    *fields("nr_free_pages_blocks", since=(6, 16)),
    *fields(
        "nr_zone_inactive_anon nr_zone_active_anon nr_zone_inactive_file nr_zone_active_file"
        " nr_zone_unevictable nr_zone_write_pending nr_mlock"
    ),
    *fields("nr_slab_reclaimable nr_slab_unreclaimable", until=(4, 13)),  # 385386cff4c6
    *fields("nr_page_table_pages", until=(5, 11)),  # f0c0c115fb81
    *fields("nr_kernel_stack", until=(5, 9)),  # 991e7673859e
    *fields("nr_bounce", until=(6, 16)),
    *fields("nr_zspages"),
    *fields(_NUMA, until=(4, 14)),
    *fields("nr_free_cma"),
    *fields(_NUMA, since=(4, 14)),
)

_OF_A_NODE: Sequence[Field] = (
    *fields(
        "nr_inactive_anon nr_active_anon nr_inactive_file nr_active_file nr_unevictable",
    ),
    *fields("nr_slab_reclaimable nr_slab_unreclaimable", since=(4, 13)),
    *fields("nr_isolated_anon nr_isolated_file"),
    *fields("nr_pages_scanned", until=(4, 12)),
    *fields("workingset_nodes", since=(4, 20)),
    *fields("workingset_refault workingset_activate", until=(5, 9)),
    *fields("workingset_restore", since=(4, 20), until=(5, 9)),
    *fields(
        "workingset_refault_anon workingset_refault_file workingset_activate_anon"
        " workingset_activate_file workingset_restore_anon workingset_restore_file",
        since=(5, 9),  # 170b04b7ae49
    ),
    *fields("workingset_nodereclaim nr_anon_pages nr_mapped nr_file_pages nr_dirty nr_writeback"),
    *fields("nr_writeback_temp", until=(6, 16)),
    *fields("nr_shmem nr_shmem_hugepages nr_shmem_pmdmapped"),
    *fields("nr_file_hugepages nr_file_pmdmapped", since=(5, 4)),
    *fields("nr_anon_transparent_hugepages"),
    *fields("nr_unstable", until=(5, 8)),  # 8d92890bd6b8
    *fields("nr_vmscan_write nr_vmscan_immediate_reclaim nr_dirtied nr_written"),
    *fields("nr_throttled_written", since=(5, 17)),
    *fields("nr_indirectly_reclaimable", since=(4, 17), until=(4, 20)),
    *fields("nr_kernel_misc_reclaimable", since=(4, 20)),
    *fields("nr_foll_pin_acquired nr_foll_pin_released", since=(5, 7)),
    *fields("nr_kernel_stack", since=(5, 9)),
    *fields("nr_page_table_pages", since=(5, 11)),
    *fields("nr_sec_page_table_pages", since=(6, 1)),  # ebc97a52b5d6
    *fields("nr_iommu_pages", since=(6, 11)),
    *fields("nr_swapcached", since=(5, 12)),
    *fields("pgpromote_success", since=(5, 18)),
    *fields("pgpromote_candidate", since=(6, 1)),
    *fields("pgpromote_candidate_nrl", since=(6, 18)),
    *fields("pgdemote_kswapd pgdemote_direct pgdemote_khugepaged", since=(6, 10)),
    *fields("pgdemote_proactive", since=(6, 16)),
    *fields("nr_hugetlb", since=(6, 13)),
    *fields("nr_balloon_pages", since=(6, 16)),
    *fields("nr_kernel_file_pages", since=(6, 18)),
)

_LIMITS: Sequence[Field] = (
    *fields("nr_dirty_threshold nr_dirty_background_threshold"),
    *fields("nr_memmap_pages nr_memmap_boot_pages", since=(6, 11)),
)


def _by_zone(name: str, *, since: Version = (0, 0), until: Version = (99, 0)) -> list[Field]:
    """Return the fields of a counter that each zone has; Device only since 6.1."""
    names = " ".join(f"{name}_{zone}" for zone in ("dma", "dma32", "normal", "movable"))
    return [
        *fields(names, since=since, until=until),
        *(fields(f"{name}_device", since=(6, 1)) if until > (6, 1) else ()),
    ]


_EVENTS: Sequence[Field] = (
    *fields("pgpgin pgpgout pswpin pswpout"),
    *_by_zone("pgalloc"),
    # 7cc30fcfd2a8, "mm: vmstat: account per-zone stalls and pages skipped during reclaim".
    *_by_zone("allocstall", since=(4, 8)),
    *_by_zone("pgskip", since=(4, 8)),
    *fields("pgfree pgactivate pgdeactivate"),
    *fields("pglazyfree", since=(4, 12)),
    *fields("pgfault pgmajfault"),
    *fields("pglazyfreed", since=(4, 5)),
    *_by_zone("pgrefill", until=(4, 8)),
    *_by_zone("pgsteal_kswapd", until=(4, 8)),
    *_by_zone("pgsteal_direct", until=(4, 8)),
    *_by_zone("pgscan_kswapd", until=(4, 8)),
    *_by_zone("pgscan_direct", until=(4, 8)),
    *fields("pgrefill", since=(4, 8)),
    *fields("pgreuse", since=(5, 13)),
    *fields("pgsteal_kswapd pgsteal_direct", since=(4, 8)),
    *fields("pgsteal_khugepaged", since=(6, 3)),
    *fields("pgsteal_proactive", since=(6, 16)),
    *fields("pgdemote_kswapd pgdemote_direct", since=(5, 15), until=(6, 10)),
    *fields("pgdemote_khugepaged", since=(6, 3), until=(6, 10)),
    *fields("pgscan_kswapd pgscan_direct", since=(4, 8)),
    *fields("pgscan_khugepaged", since=(6, 3)),
    *fields("pgscan_proactive", since=(6, 16)),
    *fields("pgscan_direct_throttle"),
    *fields("pgscan_anon pgscan_file pgsteal_anon pgsteal_file", since=(5, 8)),
    *fields("zone_reclaim_success", since=(6, 10)),
    *fields(
        "zone_reclaim_failed pginodesteal slabs_scanned kswapd_inodesteal"
        " kswapd_low_wmark_hit_quickly kswapd_high_wmark_hit_quickly pageoutrun"
    ),
    *fields("allocstall", until=(4, 8)),
    *fields("pgrotated drop_pagecache drop_slab"),
    *fields("oom_kill", since=(4, 13)),
    *fields(
        "numa_pte_updates numa_huge_pte_updates numa_hint_faults numa_hint_faults_local"
        " numa_pages_migrated pgmigrate_success pgmigrate_fail"
    ),
    *fields("thp_migration_success thp_migration_fail thp_migration_split", since=(5, 9)),
    *fields(
        "compact_migrate_scanned compact_free_scanned compact_isolated compact_stall compact_fail"
        " compact_success"
    ),
    *fields("compact_daemon_wake", since=(4, 6)),
    *fields("compact_daemon_migrate_scanned compact_daemon_free_scanned", since=(4, 12)),
    *fields(
        "htlb_buddy_alloc_success htlb_buddy_alloc_fail unevictable_pgs_culled"
        " unevictable_pgs_scanned unevictable_pgs_rescued unevictable_pgs_mlocked"
        " unevictable_pgs_munlocked unevictable_pgs_cleared unevictable_pgs_stranded"
        " thp_fault_alloc thp_fault_fallback"
    ),
    *fields("thp_fault_fallback_charge", since=(5, 7)),
    *fields("thp_collapse_alloc thp_collapse_alloc_failed"),
    *fields("thp_file_alloc", since=(4, 8)),
    *fields("thp_file_fallback thp_file_fallback_charge", since=(5, 7)),
    *fields("thp_file_mapped", since=(4, 8)),
    *fields("thp_split", until=(4, 5)),
    *fields("thp_split_page thp_split_page_failed thp_deferred_split_page", since=(4, 5)),
    *fields("thp_underused_split_page", since=(6, 12)),
    *fields("thp_split_pmd", since=(4, 5)),
    *fields(
        "thp_scan_exceed_none_pte thp_scan_exceed_swap_pte thp_scan_exceed_share_pte", since=(5, 17)
    ),
    *fields("thp_split_pud", since=(4, 13)),
    *fields("thp_zero_page_alloc thp_zero_page_alloc_failed"),
    *fields("thp_swpout thp_swpout_fallback", since=(4, 14)),
    *fields("balloon_inflate balloon_deflate balloon_migrate"),
    *fields("swap_ra swap_ra_hit", since=(4, 14)),
    *fields("swpin_zero swpout_zero", since=(6, 12)),
    *fields("ksm_swpin_copy", since=(5, 18)),
    *fields("cow_ksm", since=(5, 19)),
    *fields("zswpin zswpout", since=(5, 19)),
    *fields("zswpwb", since=(6, 8)),
    *fields("direct_map_level2_splits direct_map_level3_splits", since=(5, 13)),
    *fields("direct_map_level2_collapses direct_map_level3_collapses", since=(6, 15)),
    # Not counted any more, but kept for who looks for it (8d92890bd6b8).
    *fields("nr_unstable", since=(5, 8)),
)


@dataclass(frozen=True, slots=True)
class _Layout:
    """The names that a kernel has, in its order."""

    of_a_zone: tuple[str, ...]
    of_a_node: tuple[str, ...]
    behind: tuple[str, ...]


@lru_cache(maxsize=16)
def _layout(profile: Profile, build: Build) -> _Layout:
    def names(*tables: Sequence[Field]) -> tuple[str, ...]:
        there = (field.name for table in tables for field in table if field.is_in(profile.version))
        return tuple(name for name in there if _is_built(name, build))

    if not profile.lru_of_the_node:
        of_a_zone = names(_OF_A_ZONE_4_4, fields(_NUMA), _BEHIND_NUMA_4_4)
        return _Layout(of_a_zone, (), names(_LIMITS, _EVENTS))
    return _Layout(names(_OF_A_ZONE), names(_OF_A_NODE), names(_LIMITS, _EVENTS))


def _is_built(name: str, build: Build) -> bool:
    if not build.numa and name.startswith(("numa_", "zone_reclaim_")):
        return False
    if not build.transparent_hugepages and name.startswith("thp_"):
        return False
    if not build.hugetlb and name.startswith("htlb_"):
        return False
    if not build.compaction and name.startswith("compact_"):
        return False
    return build.dma_zones or not name.endswith(("_dma", "_dma32", "_device"))


def zone_stat_names(machine: Machine) -> Sequence[str]:
    """Return the counters that a zone has, in the kernel's order."""
    return _layout(machine.profile, machine.build).of_a_zone


def node_stat_names(machine: Machine) -> Sequence[str]:
    """Return the counters that a node has; none until 4.8."""
    return _layout(machine.profile, machine.build).of_a_node


# -- What they are -----------------------------------------------------------------


def gauges(used: Mapping[str, int]) -> dict[str, int]:
    """Return what follows from the pages in use, of the machine, a node or a zone."""
    anon = used["active_anon"] + used["unevictable"]
    inactive_file = used["inactive_file"] + used["dirty"]
    return {
        "nr_inactive_anon": used["inactive_anon"],
        "nr_zone_inactive_anon": used["inactive_anon"],
        "nr_active_anon": used["active_anon"],
        "nr_zone_active_anon": used["active_anon"],
        "nr_inactive_file": inactive_file,
        "nr_zone_inactive_file": inactive_file,
        "nr_active_file": used["active_file"],
        "nr_zone_active_file": used["active_file"],
        "nr_unevictable": used["unevictable"],
        "nr_zone_unevictable": used["unevictable"],
        "nr_mlock": used["unevictable"],
        "nr_zone_write_pending": used["dirty"],
        "nr_slab_reclaimable": used["slab_reclaimable"],
        "nr_slab_unreclaimable": used["slab_unreclaimable"],
        "nr_anon_pages": anon,
        "nr_mapped": used["active_file"] + used["inactive_anon"],
        "nr_file_pages": used["active_file"] + inactive_file + used["inactive_anon"],
        "nr_dirty": used["dirty"],
        "nr_shmem": used["inactive_anon"],
        "nr_page_table_pages": used["pagetables"],
    }


def _events(machine: Machine) -> dict[str, int]:
    """Return what has happened since boot; nodes and zones have their parts of it."""
    counters = machine.memory.counters
    written = counters.written + counters.pswpout
    allocated = machine.memory.pgalloc
    return {
        "nr_vmscan_write": written,
        "nr_written": written,
        "workingset_refault": counters.workingset_refault_file,
        "workingset_refault_anon": counters.workingset_refault_anon,
        "workingset_refault_file": counters.workingset_refault_file,
        "numa_hit": allocated,
        "numa_local": allocated,
    }


def global_stats(machine: Machine) -> dict[str, int]:
    """Return all that vmstat shows, by name, but for what is 0."""
    counters, memory = machine.memory.counters, machine.memory
    swapped = counters.pswpout
    stolen = counters.pgsteal_kswapd + counters.pgsteal_direct
    scanned = counters.pgscan_kswapd + counters.pgscan_direct
    populated = zones(machine)
    limit, background = dirty_thresholds(machine, populated)
    top = populated[-1].name.lower()
    of_zones = {
        f"{name}_{top}": getattr(counters, name)
        for name in ("pgsteal_kswapd", "pgsteal_direct", "pgscan_kswapd", "pgscan_direct")
    }
    return {
        "nr_free_pages": memory.free_pages,
        "nr_free_pages_blocks": sum(_in_page_blocks(machine, zone) for zone in populated),
        **gauges(used_pages(machine)),
        **_events(machine),
        "nr_kernel_stack": kernel_stack_kib(machine),
        "nr_dirty_threshold": limit,
        "nr_dirty_background_threshold": background,
        "nr_memmap_boot_pages": machine.hardware.present_pages // _MEMMAP_PER_PAGE,
        "pgpgin": (counters.pswpin + counters.workingset_refault_file) * PAGE_KIB,
        "pgpgout": (swapped + counters.written) * PAGE_KIB,
        "pswpin": counters.pswpin,
        "pswpout": swapped,
        f"pgalloc_{top}": memory.pgalloc,
        # A page fault asks for a movable page, for which there is a zone of its own.
        "allocstall_movable": counters.allocstall,
        "allocstall": counters.allocstall,
        "pgfree": counters.pgfree,
        "pgfault": counters.pgfault + counters.pgmajfault,
        "pgmajfault": counters.pgmajfault,
        **of_zones,
        "pgsteal_kswapd": counters.pgsteal_kswapd,
        "pgsteal_direct": counters.pgsteal_direct,
        "pgscan_kswapd": counters.pgscan_kswapd,
        "pgscan_direct": counters.pgscan_direct,
        "pgscan_anon": swapped,
        "pgscan_file": scanned - swapped,
        "pgsteal_anon": swapped,
        "pgsteal_file": stolen - swapped,
        "drop_pagecache": counters.drop_pagecache,
        "drop_slab": counters.drop_slab,
        "oom_kill": machine.oom_kills,
    }


def vmstat(machine: Machine) -> Iterator[tuple[str, int]]:
    """Return the names and values of /proc/vmstat, in the order of the kernel's generation."""
    values = global_stats(machine)
    layout = _layout(machine.profile, machine.build)
    names = (*layout.of_a_zone, *layout.of_a_node, *layout.behind)
    return ((name, values.get(name, 0)) for name in names)


def zone_stats(machine: Machine, zone: Zone, populated: Sequence[Zone]) -> dict[str, int]:
    """Return what a zone has of `global_stats`; events are those of the highest of its node."""
    of_node = [other for other in populated if other.node == zone.node]
    events = _events_of_node(machine, zone.node) if zone is of_node[-1] else {}
    return {
        "nr_free_pages": zone.free_pages,
        "nr_free_pages_blocks": _in_page_blocks(machine, zone),
        **gauges(zone.used),
        **events,
        "nr_kernel_stack": kernel_stack_kib(machine) if zone is populated[-1] else 0,
    }


def node_stats(machine: Machine, node: int, populated: Sequence[Zone]) -> dict[str, int]:
    """Return what the zones of a node have together."""
    sums: dict[str, int] = {}
    for zone in populated:
        if zone.node == node:
            for name, value in zone_stats(machine, zone, populated).items():
                sums[name] = sums.get(name, 0) + value
    return sums


def _events_of_node(machine: Machine, node: int) -> dict[str, int]:
    return {name: _turns(machine, node, times) for name, times in _events(machine).items()}


def _turns(machine: Machine, node: int, times: int) -> int:
    """Return how many of these events fell to a node: they walk through the RAM, page by page.

    So the parts add up to the whole, and none ever gets less.
    """
    pages = machine.hardware.node_pages
    rounds, rest = divmod(times, max(sum(pages), 1))
    before = sum(pages[:node])
    return rounds * pages[node] + min(max(rest - before, 0), pages[node])


def _in_page_blocks(machine: Machine, zone: Zone) -> int:
    """Return the free pages that lie in free page blocks, or in larger ones."""
    orders = range(page_block_order(machine), MAX_ORDER + 1)
    return sum(zone.free_blocks[order] << order for order in orders)


def page_block_order(machine: Machine) -> int:
    """Return the size of a page block as a power of two: that of a huge page, if there are any."""
    return 9 if machine.build.hugetlb else MAX_ORDER


def kernel_stack_kib(machine: Machine) -> int:
    """Return what the stacks of all tasks take, in kB."""
    return KERNEL_STACK_PAGES * PAGE_KIB * machine.thread_count
