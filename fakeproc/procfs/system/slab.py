# SPDX-License-Identifier: MIT
"""slabinfo and vmallocinfo: what the kernel has for itself."""

from __future__ import annotations

from dataclasses import dataclass

from fakeproc.kernel.machine import Machine
from fakeproc.procfs.system.node import SystemFile, SystemRow

_HEADER = """\
slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>\
 : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>
"""


@dataclass(frozen=True, slots=True)
class _Cache:
    """A cache of SLUB: size and layout of its objects (those of a recorded 6.18)."""

    name: str
    object_bytes: int
    objects_per_slab: int
    pages_per_slab: int


_INODES = _Cache("ext4_inode_cache", 1128, 14, 4)
_DENTRIES = _Cache("dentry", 192, 21, 1)
_SMALL = _Cache("kmalloc-64", 64, 64, 1)


def slabs(machine: Machine) -> dict[_Cache, int]:
    """Return how many slabs each cache has; all of them are full.

    What can be reclaimed is inodes, three quarters of it, and dentries, two for each inode; the
    rest is in the cache that the log of an OOM names.
    """
    memory = machine.memory
    inodes = memory.slab_reclaimable_pages * 3 // 4 // _INODES.pages_per_slab
    dentries = memory.slab_reclaimable_pages - inodes * _INODES.pages_per_slab
    return {_INODES: inodes, _DENTRIES: dentries, _SMALL: memory.slab_unreclaimable_pages}


def render_slabinfo(machine: Machine) -> bytes:
    """Return a line for each cache."""
    lines = [_HEADER]
    for cache, count in slabs(machine).items():
        objects = count * cache.objects_per_slab
        lines.append(
            f"{cache.name:<17} {objects:6d} {objects:6d} {cache.object_bytes:6d}"
            f" {cache.objects_per_slab:4d} {cache.pages_per_slab:4d}"
            f" : tunables {0:4d} {0:4d} {0:4d} : slabdata {count:6d} {count:6d} {0:6d}\n"
        )
    return "".join(lines).encode()


ROWS: dict[str, SystemRow] = {
    "slabinfo": SystemFile(
        reflects="the slab: inodes and dentries what is reclaimable, kmalloc-64 the rest",
        mode=0o400,
        render=render_slabinfo,
    ),
    "vmallocinfo": SystemFile(
        reflects="nothing: always empty, as VmallocUsed is 0",
        mode=0o400,
        render=lambda machine: b"",
    ),
}
