# SPDX-License-Identifier: MIT
"""zoneinfo, buddyinfo and pagetypeinfo: the memory by node and zone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from fakeproc.kernel.fields import Field, fields
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.pagesets import inactive_ratio, page_block_types, pageset, stat_threshold
from fakeproc.kernel.vmstat import (
    node_stat_names,
    node_stats,
    page_block_order,
    zone_stat_names,
    zone_stats,
)
from fakeproc.kernel.zones import (
    MAX_ORDER,
    Zone,
    lowmem_reserve,
    unpopulated,
    watermarks,
    zone_names,
    zones,
)
from fakeproc.procfs.system.node import SystemFile, SystemRow

_FREE_TYPE = "Movable"
"""What all free blocks are, as the log says."""


def render_buddyinfo(machine: Machine) -> bytes:
    """Return how many free blocks of each order each zone has."""
    lines = (
        f"Node {zone.node}, zone {zone.name:>8} {_columns(zone.free_blocks, 6)}\n"
        for zone in zones(machine)
    )
    return "".join(lines).encode()


def render_pagetypeinfo(machine: Machine) -> bytes:
    """Return the free blocks by order, and all page blocks, by what they are kept for."""
    order = page_block_order(machine)
    populated = zones(machine)
    lines = [
        f"Page block order: {order}",
        f"Pages per block:  {1 << order}",
        "",
        f"{'Free pages count per migrate type at order':<43} {_columns(range(MAX_ORDER + 1), 6)}",
    ]
    for zone in populated:
        for kind in page_block_types(zone, order):
            free = zone.free_blocks if kind == _FREE_TYPE else [0] * (MAX_ORDER + 1)
            place = f"Node {zone.node:4d}, zone {zone.name:>8}, type {kind:>12}"
            lines.append(f"{place} {_columns(free, 6)}")
    types = page_block_types(populated[0], order)
    lines += ["", f"{'Number of blocks type':<23}" + "".join(f"{kind:>12} " for kind in types)]
    for zone in populated:
        counts = page_block_types(zone, order).values()
        lines.append(f"Node {zone.node}, zone {zone.name:>8} {_columns(counts, 12)}")
    return ("\n".join(lines) + "\n").encode()


def _columns(counts: Iterable[int], width: int) -> str:
    return "".join(f"{count:{width}d} " for count in counts)


# -- zoneinfo ----------------------------------------------------------------------

_PAGES: Sequence[Field] = (
    *fields("free"),
    *fields("boost", since=(6, 1)),  # as in the log
    *fields("min low high"),
    *fields("promo", since=(6, 17)),
    *fields("scanned", until=(4, 8)),
    *fields("node_scanned", since=(4, 8), until=(4, 12)),
    *fields("spanned present managed"),
    *fields("cma", since=(5, 12)),
)

_LABELS = {"free": "  pages free    ", "node_scanned": "   node_scanned "}
"""How the lines begin that do not begin as the others do."""

_OF_A_LIST_WIDTH = {False: 6, True: 9}
_TAIL: Sequence[Field] = (
    *fields("all_unreclaimable", until=(4, 8)),
    *fields("node_unreclaimable", since=(4, 8)),
    *fields("start_pfn"),
    *fields("inactive_ratio", until=(4, 8)),
    *fields("node_inactive_ratio", since=(4, 8), until=(4, 11)),
)


def render_zoneinfo(machine: Machine) -> bytes:
    """Return every zone of every node: its marks, its counters and its lists by CPU."""
    populated = zones(machine)
    lines: list[str] = []
    for node in range(len(machine.hardware.node_pages)):
        of_node = {zone.name: zone for zone in populated if zone.node == node}
        first = next(iter(of_node))
        for name in zone_names(machine):
            if name not in of_node and not machine.profile.zoneinfo_unpopulated:
                continue
            lines.append(f"Node {node}, zone {name:>8}")
            if name == first and machine.profile.lru_of_the_node:
                stats = node_stats(machine, node, populated)
                lines += ["  per-node stats", *_stat_lines(machine, node_stat_names, stats)]
            lines += _zone_lines(machine, of_node.get(name) or unpopulated(node, name), populated)
    return ("\n".join(lines) + "\n").encode()


def _zone_lines(machine: Machine, zone: Zone, populated: list[Zone]) -> Iterator[str]:
    yield from _page_lines(machine, zone)
    reserve = lowmem_reserve(machine, populated, zone)
    protection = f"        protection: ({', '.join(map(str, reserve))})"
    if not zone.managed_pages:
        yield protection
        return
    stats = _stat_lines(machine, zone_stat_names, zone_stats(machine, zone, populated))
    # "mm, vmstat: suppress pcp stats for unpopulated zones in zoneinfo".
    is_first = machine.profile.zoneinfo_unpopulated
    yield from (protection, *stats) if is_first else (*stats, protection)
    yield "  pagesets"
    width = _OF_A_LIST_WIDTH[machine.profile.pcp_high_tuned]
    for cpu in range(machine.hardware.cpus):
        yield f"    cpu: {cpu}"
        for name, value in pageset(machine, zone).items():
            yield f"              {name + ':':<{width}} {value}"
        yield f"  vm stats threshold: {stat_threshold(machine, zone)}"
    yield from _tail_lines(machine, zone)


def _page_lines(machine: Machine, zone: Zone) -> Iterator[str]:
    marks = watermarks(machine, zone)
    values = {
        "free": zone.free_pages,
        "min": marks.min_pages,
        "low": marks.low_pages,
        "high": marks.high_pages,
        "promo": marks.promo_pages,
        "spanned": zone.present_pages,
        "present": zone.present_pages,
        "managed": zone.managed_pages,
    }
    for field in _PAGES:
        if field.is_in(machine.profile.version):
            label = _LABELS.get(field.name, f"        {field.name:<8}")
            yield f"{label} {values.get(field.name, 0)}"


def _stat_lines(
    machine: Machine, names: Callable[[Machine], Sequence[str]], values: Mapping[str, int]
) -> Iterator[str]:
    indent = " " * (6 if machine.profile.lru_of_the_node else 4)
    return (f"{indent}{name:<12} {values.get(name, 0)}" for name in names(machine))


def _tail_lines(machine: Machine, zone: Zone) -> Iterator[str]:
    ratio = inactive_ratio(zone)
    values = {"start_pfn": zone.start_pfn, "inactive_ratio": ratio, "node_inactive_ratio": ratio}
    width = 20 if machine.profile.lru_of_the_node else 18
    for field in _TAIL:
        if field.is_in(machine.profile.version):
            yield f"  {field.name + ':':<{width}} {values.get(field.name, 0)}"


ROWS: dict[str, SystemRow] = {
    "buddyinfo": SystemFile(
        reflects="the free pages of each zone, in blocks as large as can be",
        render=render_buddyinfo,
    ),
    "pagetypeinfo": SystemFile(
        reflects="the same, all movable; page blocks by what lies in them",
        mode=0o400,
        render=render_pagetypeinfo,
    ),
    "zoneinfo": SystemFile(
        reflects="nodes and zones: watermarks, reserves, pages by their use",
        render=render_zoneinfo,
    ),
}
