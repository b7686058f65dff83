# SPDX-License-Identifier: MIT
"""The block about memory in the report of a global OOM (show_mem), in each generation's form.

Each line is a table of fields: a row names one, and the versions that print it.  What the
machine does not model is 0.  The forms are those of reports from 4.4 to 6.12 and of the
recorded 6.1; the version beside a row is where it came or went.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from fakeproc.kernel.fields import Field, fields
from fakeproc.kernel.log import Level
from fakeproc.kernel.numa import ALL_NODES
from fakeproc.kernel.task import PAGE_KIB
from fakeproc.kernel.zones import (
    KERNEL_STACK_PAGES,
    Zone,
    lowmem_reserve,
    used_pages,
    watermarks,
    zones,
)

if TYPE_CHECKING:
    from fakeproc.kernel.machine import Machine

_LRU = "active_anon inactive_anon active_file inactive_file unevictable"

# Of the whole machine, in pages: each list a line.
_SUMMARY: Sequence[Sequence[Field]] = (
    fields("active_anon inactive_anon isolated_anon"),
    fields("active_file inactive_file isolated_file"),
    [
        *fields("unevictable dirty writeback"),
        *fields("unstable", until=(5, 8)),  # 8d92890bd6b8
    ],
    fields("slab_reclaimable slab_unreclaimable"),
    [*fields("mapped shmem pagetables"), *fields("bounce", until=(6, 1))],
    fields("sec_pagetables bounce", since=(6, 1)),  # ebc97a52b5d6
    fields("kernel_misc_reclaimable", since=(5, 15)),  # eb2169cee36f
    fields("free free_pcp free_cma"),
)

_THP = "shmem_thp shmem_pmdmapped anon_thp"

# Since 4.8 (599d0c954f91) the lists of pages are the node's.
_NODE: Sequence[Field] = (
    *fields(f"{_LRU} isolated(anon) isolated(file) mapped dirty writeback shmem"),
    *(Field(name, until=(6, 6), form="{}: {}kB") for name in _THP.split()),
    *fields(_THP, since=(6, 6)),
    *fields("writeback_tmp"),
    *fields("unstable", until=(5, 8)),
    *fields("kernel_stack", since=(5, 9)),  # 991e7673859e
    *fields("pagetables", since=(5, 11)),  # f0c0c115fb81
    *fields("sec_pagetables", since=(6, 1)),
    Field("pages_scanned", until=(4, 12), form="{}:{}"),
    Field("all_unreclaimable?", form="{} no"),
    *fields("Balloon", since=(6, 16)),
)

_ZONE: Sequence[Field] = (
    *fields("free"),
    *fields("boost", since=(6, 1)),  # seen on 6.1, not on 5.15
    *fields("min low high"),
    Field("reserved_highatomic", since=(5, 5), form="{}:{}KB"),
    Field("free_highatomic", since=(6, 16), form="{}:{}KB"),
    *fields(_LRU),
    *fields("isolated(anon) isolated(file)", until=(4, 8)),
    *fields("writepending", since=(4, 8)),
    *fields("zspages", since=(6, 18)),
    *fields("present managed mlocked"),
    *fields("dirty writeback mapped shmem", until=(4, 8)),
    *fields("slab_reclaimable slab_unreclaimable", until=(4, 13)),  # 385386cff4c6
    *fields("kernel_stack", until=(5, 9)),
    *fields("pagetables", until=(5, 11)),
    *fields("unstable", until=(4, 8)),
    *fields("bounce free_pcp local_pcp free_cma"),
    *fields("writeback_tmp", until=(4, 8)),
    Field("pages_scanned", until=(4, 8), form="{}:{}"),
    Field("all_unreclaimable?", until=(4, 8), form="{} no"),
)


def lines(machine: Machine, mems_allowed: int = ALL_NODES) -> Iterator[tuple[Level, str]]:
    """Return the records of the block with their levels, from ``Mem-Info:`` on.

    Of nodes and zones there are those that the cpuset of the allocating task allows.
    """
    totals = _totals(machine)
    populated = zones(machine)
    shown = [zone for zone in populated if mems_allowed >> zone.node & 1]
    nodes = list(dict.fromkeys(zone.node for zone in shown))
    yield Level.WARNING, "Mem-Info:"
    yield Level.WARNING, _summary(machine, totals)
    if machine.profile.lru_of_the_node:
        for node in nodes:
            of_node = [
                _zone_values(machine, zone, populated) for zone in shown if zone.node == node
            ]
            values = {name: sum(zone[name] for zone in of_node) for name in of_node[0]}
            yield Level.WARNING, f"Node {node} {_render(machine, _NODE, values)}"
    for zone in shown:
        values_shown = _render(machine, _ZONE, _zone_values(machine, zone, populated))
        yield Level.WARNING, f"{_prefix(machine, zone)}{zone.name} {values_shown}"
        reserve = " ".join(map(str, lowmem_reserve(machine, populated, zone)))
        yield Level.WARNING, f"lowmem_reserve[]: {reserve}"
    for zone in shown:
        yield Level.WARNING, f"{_prefix(machine, zone)}{zone.name}: {_free_list(zone)}"
    if machine.build.hugetlb:
        sizes = "hugepages_total=0 hugepages_free=0 hugepages_surp=0 hugepages_size=2048kB"
        for node in nodes:
            yield Level.INFO, f"Node {node} {sizes}"
    for line in _footer(machine):
        yield Level.WARNING, line
    yield from _slab_table(machine, totals)


def _totals(machine: Machine) -> dict[str, int]:
    """Return every counter of the machine that is not 0, in pages, by its name in the log."""
    used, memory = machine.used, machine.memory
    return used_pages(machine) | {
        "inactive_file": memory.cache_pages,
        "mapped": used.file_pages,
        "shmem": used.shmem_pages,
        "free": machine.free_pages,
    }


def _kib(pages: Mapping[str, int]) -> dict[str, int]:
    return {name: count * PAGE_KIB for name, count in pages.items()}


def _render(machine: Machine, row: Sequence[Field], values: Mapping[str, int]) -> str:
    version, build = machine.profile.version, machine.build
    hidden = () if build.transparent_hugepages else _THP.split()
    there = (f for f in row if f.is_in(version) and f.name not in hidden)
    return " ".join(field.form.format(field.name, values.get(field.name, 0)) for field in there)


def _summary(machine: Machine, totals: Mapping[str, int]) -> str:
    version = machine.profile.version
    groups = ([field for field in line if field.is_in(version)] for line in _SUMMARY)
    texts = (" ".join(f"{f.name}:{totals.get(f.name, 0)}" for f in group) for group in groups)
    return "\n ".join(filter(None, texts))


def _zone_values(machine: Machine, zone: Zone, populated: Sequence[Zone]) -> dict[str, int]:
    """Return a zone's fields in kB; the tasks' stacks all lie in the last one."""
    used, marks = zone.used, watermarks(machine, zone)
    stacks = KERNEL_STACK_PAGES * machine.thread_count if zone is populated[-1] else 0
    pages = dict(used) | {
        "inactive_file": used["inactive_file"] + used["dirty"],
        "free": zone.free_pages,
        "present": zone.present_pages,
        "managed": zone.managed_pages,
        "mlocked": used["unevictable"],
        "mapped": used["active_file"],
        "shmem": used["inactive_anon"],
        "kernel_stack": stacks,
        "min": marks.min_pages,
        "low": marks.low_pages,
        "high": marks.high_pages,
    }
    return _kib(pages)


def _prefix(machine: Machine, zone: Zone) -> str:
    return f"Node {zone.node} " if machine.build.numa else ""


def _free_list(zone: Zone) -> str:
    """Return the free blocks by size, all of them movable, and their sum."""
    counts = (
        f"{count}*{PAGE_KIB << order}kB{' (M)' if count else ''}"
        for order, count in enumerate(zone.free_blocks)
    )
    return f"{' '.join(counts)} = {zone.free_pages * PAGE_KIB}kB"


def _footer(machine: Machine) -> Iterator[str]:
    used, hardware = machine.used, machine.hardware
    cache = used.file_pages + used.shmem_pages + machine.memory.cache_pages
    yield f"{cache} total pagecache pages"
    yield "0 pages in swap cache"
    if machine.profile.swap_cache_stats:
        yield "Swap cache stats: add 0, delete 0, find 0/0"
    yield f"Free swap  = {machine.free_swap_entries * PAGE_KIB}kB"
    yield f"Total swap = {hardware.swap_pages * PAGE_KIB}kB"
    yield f"{hardware.present_pages} pages RAM"
    yield "0 pages HighMem/MovableOnly"
    yield f"{hardware.present_pages - hardware.ram_pages} pages reserved"
    if machine.build.memory_failure:
        yield "0 pages hwpoisoned"


def _slab_table(machine: Machine, totals: Mapping[str, int]) -> Iterator[tuple[Level, str]]:
    """Return the table of slabs, which is there when they take more than all pages on the lists.

    The machine has one cache.
    """
    slab = totals["slab_unreclaimable"]
    on_lists = sum(totals[name] for name in _LRU.split())
    if not machine.profile.unreclaimable_slab_table or slab <= on_lists:
        return
    yield Level.INFO, "Unreclaimable slab info:"
    yield Level.INFO, "Name                      Used          Total"
    yield Level.INFO, f"{'kmalloc-64':<17} {slab * PAGE_KIB:10d}KB {slab * PAGE_KIB:10d}KB"
