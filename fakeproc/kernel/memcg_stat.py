# SPDX-License-Identifier: MIT
"""What a memory cgroup says of its memory: usage, and the counters of memory.stat.

Which counters there are, and in which order, is the generation's; the report of a memcg
OOM and the file memory.stat print the same.  What the machine does not model is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fakeproc.kernel.memcg import Memcg
from fakeproc.kernel.profile import Version
from fakeproc.kernel.task import PAGE_BYTES, PAGE_KIB, MemorySizes

if TYPE_CHECKING:
    from fakeproc.kernel.machine import Machine

NO_LIMIT_BYTES = 9223372036854771712
"""How the kernel prints a limit that is not there (PAGE_COUNTER_MAX, in bytes)."""

_V1 = (
    "cache rss rss_huge shmem mapped_file dirty writeback workingset_refault_anon "
    "workingset_refault_file swap swapcached pgpgin pgpgout pgfault pgmajfault inactive_anon "
    "active_anon inactive_file active_file unevictable"
).split()
# The one line of a report had the sizes alone, in kB (seen on 4.7 to 4.9).
_ONE_LINE_LEAVES_OUT = {"swapcached", "pgpgin", "pgpgout", "pgfault", "pgmajfault"}

_V2_FRONT = "anon file kernel kernel_stack pagetables sec_pagetables percpu".split()
_V2_SIZES = (
    "sock vmalloc shmem zswap zswapped file_mapped file_dirty file_writeback swapcached anon_thp "
    "file_thp shmem_thp inactive_anon active_anon inactive_file active_file unevictable "
    "slab_reclaimable slab_unreclaimable"
).split()
_WORKINGSET = (
    "workingset_refault_anon workingset_refault_file workingset_activate_anon "
    "workingset_activate_file workingset_restore_anon workingset_restore_file "
    "workingset_nodereclaim"
).split()
_EVENTS_BEFORE_5_10 = (
    "pgfault pgmajfault workingset_refault workingset_activate workingset_nodereclaim pgrefill "
    "pgscan pgsteal"
).split()
_EVENTS_BEFORE_6_1 = "pgfault pgmajfault pgrefill pgscan pgsteal".split()
_EVENTS = (
    "pgscan pgsteal pgscan_kswapd pgscan_direct pgscan_khugepaged pgscan_proactive pgsteal_kswapd "
    "pgsteal_direct pgsteal_khugepaged pgsteal_proactive pgfault pgmajfault pgrefill"
).split()
_LAST = (
    "pgactivate pgdeactivate pglazyfree pglazyfreed swpin_zero swpout_zero zswpin zswpout zswpwb "
    "thp_fault_alloc thp_collapse_alloc thp_swpout thp_swpout_fallback"
).split()

# When a counter came; the others were always there.
_SINCE: Mapping[str, Version] = {
    "shmem (v1)": (4, 12),
    "workingset_refault_anon (v1)": (5, 9),
    "workingset_refault_file (v1)": (5, 9),
    "swapcached (v1)": (6, 6),
    "percpu": (5, 9),
    "pagetables": (5, 11),
    "file_thp": (5, 11),
    "shmem_thp": (5, 11),
    "swapcached": (5, 12),
    "kernel": (5, 18),
    "vmalloc": (5, 18),
    "zswap": (5, 19),
    "zswapped": (5, 19),
    "zswpin": (5, 19),
    "zswpout": (5, 19),
    "sec_pagetables": (6, 1),
    "pgscan_khugepaged": (6, 3),
    "pgsteal_khugepaged": (6, 3),
    "thp_swpout": (6, 6),
    "thp_swpout_fallback": (6, 6),
    "zswpwb": (6, 8),
    "swpin_zero": (6, 13),
    "swpout_zero": (6, 13),
    "pgscan_proactive": (6, 14),
    "pgsteal_proactive": (6, 14),
}
_THP = {"rss_huge", "anon_thp", "file_thp", "shmem_thp"}


@dataclass(frozen=True, slots=True)
class Usage:
    """What is charged to a memcg and those below it, in pages.

    Page tables are its kernel memory since 4.8 (3e79ec7ddc33).
    """

    memory_pages: int
    swap_entries: int
    kernel_pages: int


def sizes_of(memcg: Memcg, *, hierarchical: bool = True) -> MemorySizes:
    """Add up what the members' address spaces hold, each once."""
    members = memcg.processes() if hierarchical else memcg.members
    mms = {process.mm: None for process in members}
    return sum((mm.sizes for mm in mms if mm is not None), MemorySizes())


def usage_of(machine: Machine, memcg: Memcg) -> Usage:
    """Return what is charged to the memcg and those below it."""
    sizes = sizes_of(memcg)
    kernel = sizes.pagetable_pages if machine.profile.memcg_charges_pagetables else 0
    return Usage(sizes.rss_pages + kernel, sizes.swap_entries, kernel)


def one_line(machine: Machine, memcg: Memcg) -> str:
    """Return the sizes of this group alone as the reports until 5.2 had them."""
    sizes = sizes_of(memcg, hierarchical=False)
    values = _v1_values(sizes)
    names = [name for name in _v1_names(machine) if name not in _ONE_LINE_LEAVES_OUT]
    return " ".join(f"{name}:{values.get(name, 0) * PAGE_KIB}KB" for name in names)


def stat_lines(machine: Machine, memcg: Memcg, cgroup_version: int) -> list[str]:
    """Return the lines of memory.stat, sizes in bytes: of version 2 or of version 1."""
    if cgroup_version == 1:
        return _v1_lines(machine, memcg)
    values = _v2_values(sizes_of(memcg))
    return [f"{name} {values.get(name, 0) * PAGE_BYTES}" for name in _v2_names(machine)]


def _v1_lines(machine: Machine, memcg: Memcg) -> list[str]:
    """Return this group's counters, the limits, and those of the subtree as ``total_``."""
    names = _v1_names(machine)
    limits = [group.limit_pages for group in memcg.ancestors() if group.limit_pages is not None]
    limit_bytes = min(limits) * PAGE_BYTES if limits else NO_LIMIT_BYTES
    own = _v1_values(sizes_of(memcg, hierarchical=False))
    total = _v1_values(sizes_of(memcg))
    return [
        *(f"{name} {own.get(name, 0) * PAGE_BYTES}" for name in names),
        f"hierarchical_memory_limit {limit_bytes}",
        f"hierarchical_memsw_limit {NO_LIMIT_BYTES}",
        *(f"total_{name} {total.get(name, 0) * PAGE_BYTES}" for name in names),
    ]


def _v1_names(machine: Machine) -> list[str]:
    return [name for name in _V1 if _is_there(machine, name, f"{name} (v1)")]


def _v2_names(machine: Machine) -> list[str]:
    """Return the names in order; where ``slab`` stood, and the events, has changed."""
    version = machine.profile.version
    if version < (5, 10):
        names = [*_V2_FRONT, "slab", *_V2_SIZES, *_EVENTS_BEFORE_5_10, *_LAST]
    else:
        events = _EVENTS if version >= (6, 1) else _EVENTS_BEFORE_6_1
        names = [*_V2_FRONT, *_V2_SIZES, "slab", *_WORKINGSET, *events, *_LAST]
    return [name for name in names if _is_there(machine, name, name)]


def _is_there(machine: Machine, name: str, row: str) -> bool:
    version = machine.profile.version
    thp = name in _THP or name.startswith("thp_")
    if thp and not machine.build.transparent_hugepages and version >= (5, 10):
        return False
    return _SINCE.get(row, version) <= version


def _v1_values(sizes: MemorySizes) -> dict[str, int]:
    """Return the counters of version 1 that are not 0, in pages."""
    return {
        "cache": sizes.file_pages + sizes.shmem_pages,
        "rss": sizes.anon_pages,
        "shmem": sizes.shmem_pages,
        "mapped_file": sizes.file_pages,
        "swap": sizes.swap_entries,
        "inactive_anon": sizes.shmem_pages,
        "active_anon": sizes.anon_pages,
        "active_file": sizes.file_pages,
    }


def _v2_values(sizes: MemorySizes) -> dict[str, int]:
    """Return the counters of version 2 that are not 0, in pages."""
    return {
        "anon": sizes.anon_pages,
        "file": sizes.file_pages + sizes.shmem_pages,
        "kernel": sizes.pagetable_pages,
        "pagetables": sizes.pagetable_pages,
        "shmem": sizes.shmem_pages,
        "file_mapped": sizes.file_pages,
        "inactive_anon": sizes.shmem_pages,
        "active_anon": sizes.anon_pages,
        "active_file": sizes.file_pages,
    }
