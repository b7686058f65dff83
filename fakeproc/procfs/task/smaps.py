# SPDX-License-Identifier: MIT
"""smaps, smaps_rollup and numa_maps: what each mapping holds."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from fakeproc.kernel.address_space import Area, Mapping
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.numa import Placement, PolicyMode, format_list, node_list
from fakeproc.kernel.profile import Profile
from fakeproc.kernel.task import PAGE_KIB, Mm, Thread, encode_name
from fakeproc.procfs.node import Seek
from fakeproc.procfs.task.access import require_mm, require_readable
from fakeproc.procfs.task.maps import all_mappings, header, with_path
from fakeproc.procfs.task.memory import space_of
from fakeproc.procfs.task.node import TaskFile, TaskRow, user_mm

_PSS_SHIFT = 12
"""Proportional sizes are summed up with so many bits behind the point."""

# Names in the kernel's order, each with the version that introduced it.
_HELD = (
    ((0, 0), "Rss"),
    ((0, 0), "Pss"),
    ((6, 0), "Pss_Dirty"),
    ((5, 4), "Pss_Anon"),
    ((5, 4), "Pss_File"),
    ((5, 4), "Pss_Shmem"),
    ((0, 0), "Shared_Clean"),
    ((0, 0), "Shared_Dirty"),
    ((0, 0), "Private_Clean"),
    ((0, 0), "Private_Dirty"),
    ((0, 0), "Referenced"),
    ((0, 0), "Anonymous"),
    ((6, 8), "KSM"),
    ((4, 12), "LazyFree"),
    ((0, 0), "AnonHugePages"),
    ((4, 8), "ShmemPmdMapped"),
    ((5, 4), "FilePmdMapped"),
    ((4, 4), "Shared_Hugetlb"),
    ((4, 4), "Private_Hugetlb"),
    ((0, 0), "Swap"),
    ((4, 3), "SwapPss"),
    ((0, 0), "Locked"),
)
_IN_ROLLUP_ONLY = ("Pss_Anon", "Pss_File", "Pss_Shmem")
_PAGE_SIZES = f"KernelPageSize: {PAGE_KIB:8d} kB\nMMUPageSize:    {PAGE_KIB:8d} kB\n"
_THP_ELIGIBLE = {
    "none": "",
    "wide": f"THPeligible:    {0:8d}\n",
    "tabs": "THPeligible:\t\t0\n",
    "narrow": "THPeligible:    0\n",
}


@lru_cache(maxsize=32)
def _form(profile: Profile, *, rollup: bool) -> str:
    """Return the lines behind the header, with places for the numbers in kB."""
    names = [
        name
        for since, name in _HELD
        if since <= profile.version and (rollup or name not in _IN_ROLLUP_ONLY)
    ]
    lines = {name: f"{name + ':':<16}%({name})8d kB\n" for name in names}
    if profile.smaps_thp_eligible == "tabs" and "FilePmdMapped" in lines:
        lines["FilePmdMapped"] = "FilePmdMapped: %(FilePmdMapped)8d kB\n"
    if rollup:
        return "".join(lines.values())
    page_sizes = _PAGE_SIZES
    size = "Size:           %(Size)8d kB\n"
    if profile.smaps_rollup:
        size, page_sizes = size + page_sizes, ""
    locked = lines.pop("Locked")
    held = "".join(lines.values()) + page_sizes + locked
    return size + held + _THP_ELIGIBLE[profile.smaps_thp_eligible] + "VmFlags: %(flags)s\n"


@dataclass(slots=True)
class _Idle:
    """How much of what comes has not been referenced since clear_refs."""

    anon_pages: int
    mapped_pages: int

    def referenced_pages(self, area: Area) -> int:
        """Return how many pages of a mapping have been; the idle ones come first."""
        mapped = area.file_pages + area.shmem_pages
        idle_anon = min(self.anon_pages, area.anon_pages)
        idle_mapped = min(self.mapped_pages, mapped)
        self.anon_pages -= idle_anon
        self.mapped_pages -= idle_mapped
        return area.anon_pages - idle_anon + mapped - idle_mapped


def _held(area: Area, mm_count: int, idle: _Idle) -> dict[str, int]:
    """Return what a mapping holds, in pages; Pss in fixed-point pages.

    An mm counts once, however many processes are on it.  Files that every program maps are
    shared by all; any other page is that of one mm, as the sizes count it.
    """
    shared = area.file_pages if area.everywhere and mm_count > 1 else 0
    one = 1 << _PSS_SHIFT
    pss_file = (area.file_pages - shared) * one + shared * (one // mm_count)
    dirty = area.anon_pages + area.shmem_pages
    return {
        "Size": area.pages,
        "Rss": area.rss_pages,
        "Pss": dirty * one + pss_file,
        "Pss_Dirty": dirty * one,
        "Pss_Anon": area.anon_pages * one,
        "Pss_File": pss_file,
        "Pss_Shmem": area.shmem_pages * one,
        "Shared_Clean": shared,
        "Private_Clean": area.file_pages - shared,
        "Private_Dirty": dirty,
        "Referenced": idle.referenced_pages(area),
        "Anonymous": area.anon_pages,
        "Swap": area.swap_entries,
        "SwapPss": area.swap_entries * one,
        "Locked": dirty * one if area.is_locked else 0,
    }


_FIXED_POINT = frozenset({"Locked", *(name for _, name in _HELD if "Pss" in name)})
_NOTHING = dict.fromkeys(("Size", *(name for _, name in _HELD)), 0)


def _in_kib(held: dict[str, int]) -> dict[str, int]:
    fixed = _FIXED_POINT
    return _NOTHING | {
        name: count * PAGE_KIB >> _PSS_SHIFT if name in fixed else count * PAGE_KIB
        for name, count in held.items()
    }


def _idle_of(machine: Machine, mm: Mm) -> _Idle:
    return _Idle(*machine.mm_history.idle_pages(mm))


def render_smaps(machine: Machine, thread: Thread) -> bytes:
    """Return what each mapping holds; nothing without an mm."""
    mm = user_mm(thread)
    if mm is None:
        return b""
    idle, form = _idle_of(machine, mm), _form(machine.profile, rollup=False)
    blocks = []
    for mapping in all_mappings(machine, thread):
        numbers: dict[str, object] = {**_in_kib(_held(mapping.area, machine.mm_count, idle))}
        numbers["flags"] = mapping.area.flags
        blocks.append(header(mapping) + "\n" + form % numbers)
    return encode_name("".join(blocks))


def render_smaps_rollup(machine: Machine, thread: Thread) -> bytes:
    """Return the sums of smaps; ESRCH without an mm."""
    mm, space = user_mm(thread), space_of(machine, thread)
    if mm is None or space is None:
        raise Refused(errno.ESRCH, f"/proc/{thread.tid}/smaps_rollup: the task has no memory.")
    idle = _idle_of(machine, mm)
    sums: Counter[str] = Counter()
    for mapping in space.mappings:
        sums.update(_held(mapping.area, machine.mm_count, idle))
    first = space.mappings[0].start if space.mappings else 0
    last = space.mappings[-1].end if space.mappings else 0
    line = with_path(f"{first:08x}-{last:08x} ---p 00000000 00:00 0 ", "[rollup]")
    return (line + "\n" + _form(machine.profile, rollup=True) % _in_kib(sums)).encode()


# -- numa_maps ---------------------------------------------------------------------


def _policy(placement: Placement) -> str:
    nodes = format_list(placement.policy_nodes)
    names = {PolicyMode.NONE: "default", PolicyMode.PREFERRED: f"prefer:{nodes}"}
    return names.get(placement.mode, f"{placement.mode}:{nodes}")


def _by_node(pages: int, placement: Placement, existing: int) -> Iterator[tuple[int, int]]:
    """Deal pages out to nodes: evenly where they are interleaved, or all to the first.

    On which nodes they lie is no part of the model.
    """
    nodes = node_list(placement.mems & existing)
    if placement.mode is not PolicyMode.NONE:
        nodes = node_list(placement.policy_nodes & existing) or nodes
    if placement.mode is not PolicyMode.INTERLEAVE:
        nodes = nodes[:1]
    for number, node in enumerate(nodes):
        share = pages // len(nodes) + (number < pages % len(nodes))
        if share:
            yield node, share


def _numa_words(mapping: Mapping, mm_count: int) -> Iterator[str]:
    area = mapping.area
    if mapping.has_file:
        yield f"file={_escape(mapping.path)}"
    elif area.path in ("[heap]", "[stack]"):
        yield area.path[1:-1]
    if not area.rss_pages:
        return
    dirty = area.anon_pages + area.shmem_pages
    if area.anon_pages:
        yield f"anon={area.anon_pages}"
    if dirty:
        yield f"dirty={dirty}"
    if area.rss_pages not in (area.anon_pages, dirty):
        yield f"mapped={area.rss_pages}"
    if area.everywhere and area.file_pages and mm_count > 1:
        yield f"mapmax={mm_count}"
    # As in meminfo: all but shared memory is on the active lists.
    if area.shmem_pages:
        yield f"active={area.rss_pages - area.shmem_pages}"


def _escape(path: str) -> str:
    for character in "\\\n\t= ":
        path = path.replace(character, f"\\{ord(character):03o}")
    return path


def render_numa_maps(machine: Machine, thread: Thread) -> bytes:
    """Return a line for each mapping: its policy, its pages, on which nodes they are."""
    space = space_of(machine, thread)
    if space is None:
        return b""
    placement, existing = thread.placement, machine.hardware.nodes
    lines = []
    for mapping in space.mappings:
        words = [f"{mapping.start:08x}", _policy(placement)]
        words += _numa_words(mapping, machine.mm_count)
        pages = mapping.area.rss_pages
        words += [f"N{node}={share}" for node, share in _by_node(pages, placement, existing)]
        words += [f"kernelpagesize_kB={PAGE_KIB}"] if pages else []
        lines.append(" ".join(words) + "\n")
    return encode_name("".join(lines))


def _has_rollup(profile: Profile) -> bool:
    return profile.smaps_rollup


ROWS: dict[str, TaskRow] = {
    "smaps": TaskFile(
        reflects="the pages of each mapping; their sums are the sizes",
        render=render_smaps,
        seek=Seek.SEQ,
        require=require_readable,
    ),
    "smaps_rollup": TaskFile(
        reflects="the sums of smaps",
        render=render_smaps_rollup,
        seek=Seek.SEQ,
        there=_has_rollup,
        require=require_mm,
    ),
    "numa_maps": TaskFile(
        reflects="the mappings, with the memory policy; all pages on the first node it allows",
        render=render_numa_maps,
        seek=Seek.SEQ,
        require=require_readable,
    ),
}
