# SPDX-License-Identifier: MIT
"""The lines of /proc/meminfo: which there are in which version, and what they say.

Names and order are those of a recorded 6.18; the version beside a row is where it came.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from fakeproc.kernel.available import available
from fakeproc.kernel.fields import Field, fields
from fakeproc.kernel.task import PAGE_KIB
from fakeproc.kernel.vmstat import gauges, kernel_stack_kib
from fakeproc.kernel.zones import used_pages

if TYPE_CHECKING:
    from fakeproc.kernel.machine import Build, Machine
    from fakeproc.kernel.profile import Version

HUGE_PAGE_KIB = 2048

_VMALLOC_TOTAL_KIB = 34359738367
"""32 TiB less a byte: the vmalloc area of x86-64 with four levels of page tables."""

_COUNTS = {"HugePages_Total", "HugePages_Free", "HugePages_Rsvd", "HugePages_Surp"}
"""The lines that are no sizes."""

_LINES: Sequence[Field] = (
    *fields("MemTotal MemFree MemAvailable Buffers Cached SwapCached Active Inactive"),
    *fields("Active(anon) Inactive(anon) Active(file) Inactive(file) Unevictable Mlocked"),
    *fields("SwapTotal SwapFree"),
    *fields("Zswap Zswapped", since=(5, 19)),
    *fields("Dirty Writeback AnonPages Mapped Shmem"),
    *fields("KReclaimable", since=(4, 20)),
    *fields("Slab SReclaimable SUnreclaim KernelStack PageTables"),
    *fields("SecPageTables", since=(6, 1)),  # ebc97a52b5d6
    *fields("NFS_Unstable Bounce WritebackTmp CommitLimit Committed_AS"),
    *fields("VmallocTotal VmallocUsed VmallocChunk"),
    *fields("Percpu", since=(4, 19)),
    *fields("AnonHugePages"),
    *fields("ShmemHugePages ShmemPmdMapped", since=(4, 8)),
    *fields("FileHugePages FilePmdMapped", since=(5, 4)),
    *fields("Balloon", since=(6, 16)),
    *fields("HugePages_Total HugePages_Free HugePages_Rsvd HugePages_Surp Hugepagesize"),
    *fields("Hugetlb", since=(4, 17)),
    *fields("DirectMap4k DirectMap2M DirectMap1G"),
)

_HUGE_PAGES = ("AnonHuge", "ShmemHuge", "ShmemPmd", "FileHuge", "FilePmd")


@lru_cache(maxsize=64)
def _names(version: Version, build: Build) -> tuple[str, ...]:
    return tuple(f.name for f in _LINES if f.is_in(version) and _is_built(f.name, build))


def _is_built(name: str, build: Build) -> bool:
    if name.startswith("Huge"):
        return build.hugetlb
    return build.transparent_hugepages or not name.startswith(_HUGE_PAGES)


def meminfo(machine: Machine) -> Iterator[tuple[str, int, str]]:
    """Return the names, values and units of the lines, the unit being empty for a count."""
    values = _values_kib(machine)
    for name in _names(machine.profile.version, machine.build):
        yield name, values.get(name, 0), "" if name in _COUNTS else " kB"


def _values_kib(machine: Machine) -> dict[str, int]:
    """Return every line that is not 0, in kB."""
    hardware, stats = machine.hardware, gauges(used_pages(machine))
    slab = stats["nr_slab_reclaimable"] + stats["nr_slab_unreclaimable"]
    pages = {
        "MemTotal": hardware.ram_pages,
        "MemFree": machine.free_pages,
        "MemAvailable": available(machine),
        "Cached": stats["nr_file_pages"],
        "Active": stats["nr_active_anon"] + stats["nr_active_file"],
        "Inactive": stats["nr_inactive_anon"] + stats["nr_inactive_file"],
        "Active(anon)": stats["nr_active_anon"],
        "Inactive(anon)": stats["nr_inactive_anon"],
        "Active(file)": stats["nr_active_file"],
        "Inactive(file)": stats["nr_inactive_file"],
        "Unevictable": stats["nr_unevictable"],
        "Mlocked": stats["nr_mlock"],
        "SwapTotal": hardware.swap_pages,
        "SwapFree": machine.free_swap_entries,
        "Dirty": stats["nr_dirty"],
        "AnonPages": stats["nr_anon_pages"],
        "Mapped": stats["nr_mapped"],
        "Shmem": stats["nr_shmem"],
        "KReclaimable": stats["nr_slab_reclaimable"],
        "Slab": slab,
        "SReclaimable": stats["nr_slab_reclaimable"],
        "SUnreclaim": stats["nr_slab_unreclaimable"],
        "PageTables": stats["nr_page_table_pages"],
        "CommitLimit": _commit_limit_pages(machine),
        "Committed_AS": machine.used.total_vm_pages,
    }
    kib = {name: count * PAGE_KIB for name, count in pages.items()}
    return {
        **kib,
        "KernelStack": kernel_stack_kib(machine),
        "VmallocTotal": _VMALLOC_TOTAL_KIB,
        "Hugepagesize": HUGE_PAGE_KIB,
        **_direct_map_kib(hardware.present_pages * PAGE_KIB),
    }


def _commit_limit_pages(machine: Machine) -> int:
    """Return what may be promised under overcommit_memory 2 (vm_commit_limit)."""
    sysctls, hardware = machine.sysctls, machine.hardware
    if kib := sysctls["vm/overcommit_kbytes"]:
        return kib // PAGE_KIB + hardware.swap_pages
    return hardware.ram_pages * sysctls["vm/overcommit_ratio"] // 100 + hardware.swap_pages


def _direct_map_kib(present_kib: int) -> dict[str, int]:
    """Return how the kernel maps the RAM: with pages as large as fit, from its beginning on."""
    in_huge = present_kib % 2**20 // HUGE_PAGE_KIB * HUGE_PAGE_KIB
    return {
        "DirectMap4k": present_kib % HUGE_PAGE_KIB,
        "DirectMap2M": in_huge,
        "DirectMap1G": present_kib // 2**20 * 2**20,
    }
