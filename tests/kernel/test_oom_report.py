# SPDX-License-Identifier: MIT
"""Whole reports of each generation, literally, and the shape of what a real 6.1 prints.

tests/kernel/oom_reports/<kernel>-<kind>.txt are the reports of `machine_of`, each line with
its level; real-6.1-*.txt were printed by Linux 6.1.176 (user-mode Linux), without the stack.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from fakeproc.kernel.machine import USER_MODE_LINUX, Build, Hardware, Machine, sizes_for
from fakeproc.kernel.memcg import Memcg
from fakeproc.kernel.oom import OomRequest
from fakeproc.kernel.profile import PROFILE_NAMES, KernelConfig
from fakeproc.kernel.show_mem import lines
from fakeproc.kernel.task import Credentials
from fakeproc.kernel.zones import MAX_ORDER, zones

REPORTS = Path(__file__).parent / "oom_reports"
KERNELS = ("4.7", "4.14", "5.4", "6.1", "6.18")
KINDS = ("global", "memcg-v1", "memcg-v2")


def machine_of(kernel: str, build: Build | None = None) -> Machine:
    """Return a machine of 32 MiB with two programs; 200 pages are the kernel's."""
    hardware = Hardware(ram_pages=8192 - 200, swap_pages=4096, present_pages=8192)
    machine = Machine(KernelConfig(kernel), hardware, build=build)
    machine.store_sysctl("vm/min_free_kbytes", b"716")
    machine.spawn(
        "web",
        credentials=Credentials(33, 33),
        sizes=sizes_for(anon_pages=1024, file_pages=192, shmem_pages=64),
    )
    machine.spawn("db", sizes=sizes_for(anon_pages=4096, swap_entries=128))
    return machine


def processes(machine: Machine) -> list[int]:
    """Return the pids of the two programs."""
    return sorted(machine.processes)[-2:]


def text_of(machine: Machine) -> str:
    """Return the log, the level before each line."""
    records = machine.log.since()
    return "".join(
        f"<{record.level}>{line}\n" for record in records for line in record.text.split("\n")
    )


def group_of(machine: Machine) -> Memcg:
    """Return /a with a limit of 24 MiB, where /a/b holds the second program."""
    below = machine.make_memcg("/a/b")
    group = machine.memcg("/a")
    machine.set_memcg_limit(group, 6144)
    machine.join_memcg(machine.processes[processes(machine)[0]], group)
    machine.join_memcg(machine.processes[processes(machine)[1]], below)
    return group


def report(kernel: str, kind: str, build: Build | None = None) -> str:
    """Let the first program run out of memory; return what is logged."""
    if kind == "memcg-v2":
        build = Build(cgroup_version=2)
    machine = machine_of(kernel, build)
    group = None if kind == "global" else group_of(machine)
    pages = machine.hardware.totalpages if group is None else machine.memcg_totalpages(group)
    thread = machine.processes[processes(machine)[0]].leader
    machine.out_of_memory(OomRequest(pages, thread, memcg=group))
    return text_of(machine)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_whole_reports(kernel: str, kind: str) -> None:
    assert report(kernel, kind) == (REPORTS / f"{kernel}-{kind}.txt").read_text()


# -- Against a real kernel -----------------------------------------------------------


def shape(text: str) -> list[str]:
    """Return the lines with every number, name and kind of free block taken out."""
    text = re.sub(r" \([A-Z]+\)(?= )", "", text)
    text = re.sub(r"^(<6>\[ *\d+\] .*) \S+$", r"\1 name", text, flags=re.MULTILINE)
    text = re.sub(r"\b(init|web|db)\b", "name", text)
    text = re.sub(r"-?\d[\d.]*", "0", text)
    text = re.sub(r"(?<=\S) +| +(?=0)", " ", text)
    rows = [line.rstrip() for line in text.splitlines()]
    # Of the table of tasks one row is like another.
    return [row for number, row in enumerate(rows) if rows[number - 1] != row or "[ 0]" not in row]


@pytest.mark.parametrize("kind", ["global", "memcg-v1", "memcg-v2"])
def test_a_report_of_6_1_has_the_fields_of_a_real_one_in_their_order(kind: str) -> None:
    build = replace(USER_MODE_LINUX, cgroup_version=2 if kind == "memcg-v2" else 1)
    machine = machine_of("6.1", build)
    group = None if kind == "global" else group_of(machine)
    mask = 0x140CCA if group is None else 0xCC0
    thread = machine.processes[processes(machine)[0]].leader
    machine.out_of_memory(OomRequest(6144, thread, gfp_mask=mask, memcg=group))
    real = (REPORTS / f"real-6.1-{kind}.txt").read_text()
    assert shape(text_of(machine)) == shape(real)


# -- The numbers ---------------------------------------------------------------------


@pytest.mark.parametrize("build", [Build(), USER_MODE_LINUX])
@pytest.mark.parametrize("ram_pages", [1000, 4096, 5000, 2_000_000])
def test_the_zones_add_up_to_the_machine(build: Build, ram_pages: int) -> None:
    hardware = Hardware(ram_pages=ram_pages, present_pages=ram_pages + 100)
    machine = Machine(KernelConfig("6.1"), hardware, build=build)
    machine.spawn("web", sizes=sizes_for(anon_pages=ram_pages // 4, file_pages=20, shmem_pages=3))
    found = zones(machine)
    assert sum(zone.present_pages for zone in found) == hardware.present_pages
    assert sum(zone.managed_pages for zone in found) == hardware.ram_pages
    assert sum(zone.free_pages for zone in found) == machine.free_pages
    for zone in found:
        assert zone.free_pages + sum(zone.used.values()) == zone.managed_pages
        blocks = zone.free_blocks
        assert len(blocks) == MAX_ORDER + 1
        assert sum(count << order for order, count in enumerate(blocks)) == zone.free_pages
    anon = sum(zone.used["active_anon"] for zone in found)
    assert anon == machine.used.anon_pages


def test_two_nodes_share_what_is_used_and_have_the_zones_of_their_addresses() -> None:
    gib_pages = 1024**3 // 4096
    hardware = Hardware(node_pages=(3 * gib_pages, 2 * gib_pages))
    machine = Machine(KernelConfig("6.1"), hardware)
    machine.spawn("web", sizes=sizes_for(anon_pages=1_000_001))
    found = zones(machine)
    assert [(zone.node, zone.name) for zone in found] == [
        *((0, "DMA"), (0, "DMA32"), (1, "DMA32"), (1, "Normal"))
    ]
    assert sum(zone.managed_pages for zone in found) == hardware.ram_pages
    assert sum(zone.free_pages for zone in found) == machine.free_pages
    assert sum(zone.used["active_anon"] for zone in found) == machine.used.anon_pages


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
def test_the_line_of_the_node_is_the_sum_of_the_zones(kernel: str) -> None:
    machine = machine_of(kernel)
    block = "\n".join(text for _, text in lines(machine))
    by_zone = re.findall(r"^Node 0 DMA\S* free:.*\bactive_anon:(\d+)kB", block, re.MULTILINE)
    assert len(by_zone) == 2
    pages = re.search(r"^active_anon:(\d+) ", block, re.MULTILINE)
    assert pages
    assert int(pages[1]) * 4 == sum(map(int, by_zone))
    node = re.search(r"^Node 0 active_anon:(\d+)kB", block, re.MULTILINE)
    assert (node is not None) == machine.profile.lru_of_the_node
    assert node is None or int(node[1]) == sum(map(int, by_zone))


def test_cache_and_slab_are_in_the_report_by_zone_and_in_sum() -> None:
    machine = machine_of("6.1")
    machine.memory.set_cache(clean_pages=300, dirty_pages=40)
    machine.memory.set_slab(reclaimable_pages=50, unreclaimable_pages=79)
    texts = [text for _, text in lines(machine)]
    assert " active_file:492 inactive_file:340 isolated_file:0\n unevictable:0 dirty:40" in texts[1]
    assert " slab_reclaimable:50 slab_unreclaimable:79\n" in texts[1]
    assert "inactive_file:1360kB" in texts[2]
    assert "dirty:160kB" in texts[2]
    assert f"{492 + 64 + 340} total pagecache pages" in texts


@pytest.mark.parametrize(
    ("kernel", "marks"),
    [("4.4", (1000, 1248, 1496)), ("4.7", (1000, 3000, 5000)), ("6.1", (1000, 3000, 5000))],
)
def test_watermarks_follow_the_scale_factor_since_4_6(
    kernel: str, marks: tuple[int, int, int]
) -> None:
    hardware = Hardware(ram_pages=50_000)
    machine = Machine(KernelConfig(kernel), hardware, build=USER_MODE_LINUX)
    machine.store_sysctl("vm/min_free_kbytes", b"1000")
    machine.store_sysctl("vm/watermark_scale_factor", b"100")
    block = "\n".join(text for _, text in lines(machine))
    found = re.search(r"min:(\d+)kB low:(\d+)kB high:(\d+)kB", block)
    assert found
    assert tuple(map(int, found.groups())) == marks


@pytest.mark.parametrize(("kernel", "there"), [("4.14", False), ("4.19", True), ("6.18", True)])
def test_slabs_larger_than_all_lists_are_shown(kernel: str, there: bool) -> None:
    machine = Machine(KernelConfig(kernel), Hardware(ram_pages=100_000))
    text = "\n".join(line for _, line in lines(machine))
    table = (
        "Unreclaimable slab info:\n"
        "Name                      Used          Total\n"
        "kmalloc-64              4000KB       4000KB"
    )
    assert (table in text) == there
    machine.spawn("web", sizes=sizes_for(anon_pages=5000))
    assert "Unreclaimable" not in "\n".join(line for _, line in lines(machine))


LINES_OF_REAL_KERNELS = {
    ("4.4", "Node 0 DMA free:"): (
        "free min low high active_anon inactive_anon active_file inactive_file unevictable "
        "isolated(anon) isolated(file) present managed mlocked dirty writeback mapped shmem "
        "slab_reclaimable slab_unreclaimable kernel_stack pagetables unstable bounce free_pcp "
        "local_pcp free_cma writeback_tmp pages_scanned all_unreclaimable?"
    ),
    ("4.9", "Node 0 active"): (
        "active_anon inactive_anon active_file inactive_file unevictable isolated(anon) "
        "isolated(file) mapped dirty writeback shmem shmem_thp shmem_pmdmapped anon_thp "
        "writeback_tmp unstable pages_scanned all_unreclaimable?"
    ),
    ("4.9", "Node 0 DMA free:"): (
        "free min low high active_anon inactive_anon active_file inactive_file unevictable "
        "writepending present managed mlocked slab_reclaimable slab_unreclaimable kernel_stack "
        "pagetables bounce free_pcp local_pcp free_cma"
    ),
    ("5.10", "Node 0 active"): (
        "active_anon inactive_anon active_file inactive_file unevictable isolated(anon) "
        "isolated(file) mapped dirty writeback shmem shmem_thp shmem_pmdmapped anon_thp "
        "writeback_tmp kernel_stack all_unreclaimable?"
    ),
    ("5.10", "Node 0 DMA free:"): (
        "free min low high reserved_highatomic active_anon inactive_anon active_file "
        "inactive_file unevictable writepending present managed mlocked pagetables bounce "
        "free_pcp local_pcp free_cma"
    ),
}
"""What reports that users posted have: Ubuntu's 4.4.0-104, 4.9.0 and 5.10.6."""


@pytest.mark.parametrize(("kernel", "begin"), LINES_OF_REAL_KERNELS)
def test_the_fields_are_those_of_reports_from_the_field(kernel: str, begin: str) -> None:
    text = next(line for _, line in lines(machine_of(kernel)) if line.startswith(begin))
    names = re.findall(r"([a-z_()A-Z]+\??)(?=[: ] ?(?:\d|no\b))", text.split(" ", 2)[2])
    fields = [name for name in names if name != "DMA"]
    assert fields == LINES_OF_REAL_KERNELS[kernel, begin].split()
