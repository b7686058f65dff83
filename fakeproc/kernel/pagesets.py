# SPDX-License-Identifier: MIT
"""What the page allocator keeps for each CPU, and how it groups pages in blocks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fakeproc.kernel.zones import Zone, watermarks

if TYPE_CHECKING:
    from fakeproc.kernel.machine import Machine

_HIGHEST_BATCH = 64
_LEAST_FRACTION = 8
"""Of a zone, at most this part is on the lists of CPUs (MIN_PERCPU_PAGELIST_HIGH_FRACTION)."""

_MOST_DELTA = 125


def pageset(machine: Machine, zone: Zone) -> dict[str, int]:
    """Return the marks of a CPU's list of free pages, in pages; there is never one on it.

    The rules are those of zone_batchsize and zone_highsize, and give what a recorded 6.18 shows.
    """
    batch = _batch(machine, zone)
    if not machine.profile.pcp_high_of_the_zone:
        return {"count": 0, "high": 6 * batch, "batch": batch}
    least, most = _high_marks(machine, zone, batch)
    marks = {"count": 0, "high": least, "batch": batch}
    return marks | ({"high_min": least, "high_max": most} if machine.profile.pcp_high_tuned else {})


def _batch(machine: Machine, zone: Zone) -> int:
    """Return how many pages go to a list at a time, less than a power of two by one."""
    highest = _HIGHEST_BATCH if machine.profile.pcp_batch_doubled else _HIGHEST_BATCH // 2
    batch = max(min(zone.managed_pages // 1024 // 4, highest), 1)
    return max((1 << (batch + batch // 2).bit_length() - 1) - 1, 1)


def _high_marks(machine: Machine, zone: Zone, batch: int) -> tuple[int, int]:
    cpus = machine.hardware.cpus
    most = zone.managed_pages // _LEAST_FRACTION // cpus
    if fraction := machine.sysctls["vm/percpu_pagelist_high_fraction"]:
        least = most = zone.managed_pages // fraction // cpus
    else:
        least = watermarks(machine, zone).low_pages // cpus
    return max(least, 4 * batch), max(most, 4 * batch)


def stat_threshold(machine: Machine, zone: Zone) -> int:
    """Return by how much a CPU's part of a counter may be off (calculate_normal_threshold)."""
    blocks_of_128_mib = zone.managed_pages >> 15
    threshold = 2 * machine.hardware.cpus.bit_length() * (1 + blocks_of_128_mib.bit_length())
    return min(threshold, _MOST_DELTA)


def inactive_ratio(zone: Zone) -> int:
    """Return how much more active than inactive anonymous memory a zone aims at (until 4.10)."""
    gib = zone.managed_pages >> 18
    return math.isqrt(10 * gib) if gib else 1


def page_block_types(zone: Zone, order: int) -> dict[str, int]:
    """Return how many page blocks of a zone are kept for what, by the names of migrate types."""
    blocks = -(-zone.present_pages >> order)
    unmovable = -(-(zone.used["slab_unreclaimable"] + zone.used["pagetables"]) >> order)
    unmovable = min(unmovable, blocks)
    reclaimable = min(-(-zone.used["slab_reclaimable"] >> order), blocks - unmovable)
    return {
        "Unmovable": unmovable,
        "Movable": blocks - unmovable - reclaimable,
        "Reclaimable": reclaimable,
        "HighAtomic": 0,
        "Isolate": 0,
    }
