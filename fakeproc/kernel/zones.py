# SPDX-License-Identifier: MIT
"""The zones of each node, and how the pages in use lie in them.

The simulated machine knows only sums; here each node gets its share of them, and has them in
its zones as a kernel would have filled those: from the top, so that what is free lies lowest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fakeproc.kernel.task import PAGE_BYTES, PAGE_KIB

if TYPE_CHECKING:
    from fakeproc.kernel.machine import Machine

_DMA_END = 16 * 1024**2 // PAGE_BYTES
_DMA32_END = 4 * 1024**3 // PAGE_BYTES

_LEAST_MIN_FREE_KIB = 128
_PAGE_BLOCK_KIB = 2048

_ZONE_NAMES = ("DMA", "DMA32", "Normal", "Movable", "Device")

KERNEL_STACK_PAGES = 4
"""What each task's kernel stack takes (THREAD_SIZE of x86-64)."""

MAX_ORDER = 10
"""The largest block that the page allocator gives out: 2**10 pages, 4 MiB."""


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone: what it spans, what the kernel manages of it, what is free, who has the rest."""

    node: int
    name: str
    present_pages: int
    managed_pages: int
    free_pages: int
    used: Mapping[str, int]
    """Pages by the names that the log gives them: ``active_anon``, ``pagetables`` ..."""
    start_pfn: int = 0
    """The number of its first page."""

    @property
    def free_blocks(self) -> list[int]:
        """How many free blocks there are of each order: as few and as large as can be."""
        smaller = [self.free_pages >> order & 1 for order in range(MAX_ORDER)]
        return [*smaller, self.free_pages >> MAX_ORDER]


@dataclass(frozen=True, slots=True)
class Watermarks:
    """When a zone, or the machine, is short of memory."""

    min_pages: int
    low_pages: int
    high_pages: int

    @property
    def promo_pages(self) -> int:
        """The mark above high by as much: up to it, pages of slow memory are promoted."""
        return 2 * self.high_pages - self.low_pages


def unpopulated(node: int, name: str) -> Zone:
    """Return a zone of a node that has no memory there."""
    return Zone(node, name, 0, 0, 0, {})


def zone_names(machine: Machine) -> tuple[str, ...]:
    """Return the zones that this build of the kernel knows, whether they have memory or not."""
    return _ZONE_NAMES if machine.build.dma_zones else ("Normal", "Movable")


def used_pages(machine: Machine) -> dict[str, int]:
    """Return what occupies the RAM, by the names of the log; it all adds up to what is not free.

    What is dirty is inactive_file in the log, too.

    What is anonymous, or a file that is mapped, counts as active, shared memory and the rest
    of the page cache as inactive, as in /proc/meminfo.
    """
    used, memory = machine.used, machine.memory
    return {
        "active_anon": used.anon_pages - used.mlocked_pages,
        "inactive_anon": used.shmem_pages,
        "active_file": used.file_pages,
        "inactive_file": memory.cache_clean_pages,
        "dirty": memory.cache_dirty_pages,
        "unevictable": used.mlocked_pages,
        "slab_reclaimable": memory.slab_reclaimable_pages,
        "slab_unreclaimable": memory.slab_unreclaimable_pages,
        "pagetables": used.pagetable_pages,
    }


def zones(machine: Machine) -> list[Zone]:
    """Return the populated zones: node by node, in each the lowest first.

    Together they have what is in use.  Each node's part is rounded, so that it may not quite
    fit: the rest lies where there is room.  What is counted more than once
    (`Memory.shared_pages`) finds none, and counts in the last zone.
    """
    shares = used_pages(machine)
    filled, left = [], dict.fromkeys(shares, 0)
    for node in range(len(machine.hardware.node_pages)):
        of_node = {kind: _share(machine, node, pages) for kind, pages in shares.items()}
        filled += _filled(machine, node, of_node)
        left = {kind: pages + of_node[kind] for kind, pages in left.items()}
    if any(left.values()):
        filled = [_with_more(zone, left, zone.free_pages) for zone in filled]
        filled[-1] = _with_more(filled[-1], left, sum(left.values()))
    return filled


def _filled(machine: Machine, node: int, left: dict[str, int]) -> list[Zone]:
    """Return a node's zones with what they can hold of these pages, which is taken off."""
    present = _present(machine, node)
    reserved = sum(present.values()) - machine.hardware.node_pages[node]
    start = _up_to(machine, node + 1, machine.hardware.present_pages)
    zones_from_top = []
    for name in reversed(present):
        start -= present[name]
        lost = min(reserved, present[name])
        reserved -= lost
        managed = present[name] - lost
        taken, room = _take(left, managed)
        zones_from_top.append(Zone(node, name, present[name], managed, room, taken, start))
    return zones_from_top[::-1]


def _with_more(zone: Zone, left: dict[str, int], room: int) -> Zone:
    """Return a zone with so many of these pages, which are taken off."""
    more, room_left = _take(left, room)
    used = {kind: pages + more[kind] for kind, pages in zone.used.items()}
    return replace(zone, free_pages=max(zone.free_pages - room + room_left, 0), used=used)


def _take(left: dict[str, int], room: int) -> tuple[dict[str, int], int]:
    """Take off what there is room for; return that, and the room that remains."""
    taken = {}
    for kind, pages in left.items():
        taken[kind] = min(pages, room)
        left[kind] -= taken[kind]
        room -= taken[kind]
    return taken, room


def _share(machine: Machine, node: int, pages: int) -> int:
    """Return a node's part of these pages, by its RAM; the parts add up to the whole."""
    return _up_to(machine, node + 1, pages) - _up_to(machine, node, pages)


def _up_to(machine: Machine, node: int, pages: int) -> int:
    hardware = machine.hardware
    return pages * sum(hardware.node_pages[:node]) // max(hardware.ram_pages, 1)


def _present(machine: Machine, node: int) -> dict[str, int]:
    """Return the size of each zone that has one, in pages: nodes follow each other."""
    all_pages = machine.hardware.present_pages
    start, end = _up_to(machine, node, all_pages), _up_to(machine, node + 1, all_pages)
    if not machine.build.dma_zones:
        return {"Normal": end - start}
    bounds = (("DMA", 0, _DMA_END), ("DMA32", _DMA_END, _DMA32_END), ("Normal", _DMA32_END, end))
    sizes = {name: min(end, above) - max(start, below) for name, below, above in bounds}
    return {name: size for name, size in sizes.items() if size > 0}


def boot_sysctls(machine: Machine) -> dict[str, int]:
    """Return the sysctls that depend at boot on how much RAM there is.

    Of the two reserves each is a 32nd of it at most (init_user_reserve, init_admin_reserve).
    """
    part_kib = machine.hardware.ram_pages * PAGE_KIB // 32
    return {
        "vm/min_free_kbytes": default_min_free_kib(machine),
        "vm/user_reserve_kbytes": min(part_kib, 131072),
        "vm/admin_reserve_kbytes": min(part_kib, 8192),
    }


def default_min_free_kib(machine: Machine) -> int:
    """Return what vm.min_free_kbytes is at boot: it grows with the square root of the RAM.

    Where there are transparent huge pages khugepaged raises it to 11 page blocks in each
    zone, if that is no more than a twentieth of the RAM (set_recommended_min_free_kbytes).
    """
    ram_kib = machine.hardware.ram_pages * PAGE_KIB
    usual = min(
        max(math.isqrt(ram_kib * 16), _LEAST_MIN_FREE_KIB), machine.profile.min_free_kib_max
    )
    if not machine.build.transparent_hugepages:
        return usual
    nodes = range(len(machine.hardware.node_pages))
    blocks = 11 * sum(len(_present(machine, node)) for node in nodes)
    return max(usual, min(blocks * _PAGE_BLOCK_KIB, ram_kib // 20))


def watermarks(machine: Machine, zone: Zone) -> Watermarks:
    """Return a zone's share of vm.min_free_kbytes, and the two marks above it, in pages.

    They stand a quarter of it apart or, since 4.6 (795ae7a0de6b), vm.watermark_scale_factor
    ten-thousandths of the zone, whichever is more.  Movable has a little even when empty.
    """
    if zone.name == "Movable":
        return Watermarks(*[min(max(zone.managed_pages // 1024, 32), 128)] * 3)
    min_free_pages = machine.sysctls["vm/min_free_kbytes"] // PAGE_KIB
    min_pages = min_free_pages * zone.managed_pages // max(machine.hardware.ram_pages, 1)
    gap_pages = min_pages // 4
    if machine.profile.watermark_scale_factor:
        factor = machine.sysctls["vm/watermark_scale_factor"]
        gap_pages = max(gap_pages, zone.managed_pages * factor // 10_000)
    return Watermarks(*(min_pages + gap_pages * step for step in range(3)))


def machine_watermarks(machine: Machine) -> Watermarks:
    """Return the sums of the marks over all zones, in pages."""
    marks = [watermarks(machine, zone) for zone in zones(machine)]
    return Watermarks(
        sum(mark.min_pages for mark in marks),
        sum(mark.low_pages for mark in marks),
        sum(mark.high_pages for mark in marks),
    )


def lowmem_reserve_ratios(machine: Machine) -> tuple[int, ...]:
    """Return vm.lowmem_reserve_ratio as this kernel has it: until 4.17 four numbers, none 0."""
    ratios = machine.sysctls.lowmem_reserve_ratio
    if machine.profile.lowmem_reserve_may_be_off:
        return ratios
    return tuple(max(ratio, 1) for ratio in ratios[:-1])


def lowmem_reserve(machine: Machine, among: list[Zone], zone: Zone) -> list[int]:
    """Return what a zone keeps from allocations that could go higher, in pages, by zone.

    That is the memory above it divided by its vm.lowmem_reserve_ratio; nothing where that is 0
    or there is none.  Zones without memory count: Movable and, with DMA zones, Device.
    """
    ratio = dict(zip(_ZONE_NAMES, lowmem_reserve_ratios(machine), strict=False)).get(zone.name, 0)
    names = zone_names(machine)
    managed = {other.name: other.managed_pages for other in among if other.node == zone.node}
    above = 0
    reserve = []
    for name in names:
        if names.index(name) > names.index(zone.name):
            above += managed.get(name, 0)
        reserve.append(above // ratio if ratio and zone.managed_pages else 0)
    return reserve
