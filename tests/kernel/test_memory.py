# SPDX-License-Identifier: MIT
"""Page cache, slab, swap areas, and how room is made for a page fault."""

from __future__ import annotations

import errno
from dataclasses import astuple

import pytest

from fakeproc.kernel import gfp
from fakeproc.kernel.behaviour import Behaviour, BehaviourKind
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import USER_MODE_LINUX, Hardware, Machine, sizes_for
from fakeproc.kernel.memory import MemoryKind, SwapArea
from fakeproc.kernel.oom import Outcome
from fakeproc.kernel.profile import KernelConfig, named
from fakeproc.kernel.reclaim import DISK_NS
from fakeproc.kernel.task import PAGE_KIB, Hold, Process
from fakeproc.kernel.zones import default_min_free_kib

RAM, SWAP = 25_000, 10_000
MIN = 800


def make(kernel: str = "6.1", *, swap_pages: int = SWAP) -> Machine:
    """Return a machine of 25000 pages with 800 of them below the min watermark."""
    hardware = Hardware(ram_pages=RAM, swap_pages=swap_pages)
    machine = Machine(KernelConfig(kernel), hardware, first_pid=100, build=USER_MODE_LINUX)
    machine.store_sysctl("vm/min_free_kbytes", b"%d" % (MIN * PAGE_KIB))
    return machine


def spawn(machine: Machine, name: str, pages: int, mlocked_pages: int = 0) -> Process:
    return machine.spawn(name, sizes=sizes_for(anon_pages=pages, mlocked_pages=mlocked_pages))


def pages_of(process: Process) -> tuple[int, int]:
    """Return what a process has in memory and in swap, of anonymous pages."""
    assert process.mm is not None
    return process.mm.sizes.anon_pages, process.mm.sizes.swap_entries


def used_by_area(machine: Machine) -> dict[str, int]:
    return {area.name: pages for area, pages in machine.memory.swap_used()}


# -- The account -------------------------------------------------------------------


def test_what_cache_and_slab_take_is_not_free() -> None:
    machine = make()
    free = machine.free_pages
    machine.memory.set_cache(clean_pages=1000, dirty_pages=200)
    machine.memory.set_slab(reclaimable_pages=300, unreclaimable_pages=250)
    assert machine.free_pages == free - 1200 - 300
    machine.memory.set_cache(clean_pages=0, dirty_pages=200)
    assert machine.free_pages == free - 200 - 300


def test_cache_and_slab_that_do_not_fit_are_refused() -> None:
    machine = make()
    memory = machine.memory
    with pytest.raises(Refused) as refused:
        memory.set_cache(clean_pages=machine.free_pages, dirty_pages=1)
    assert refused.value.error == errno.ENOMEM
    with pytest.raises(Refused):
        memory.set_slab(reclaimable_pages=RAM, unreclaimable_pages=0)
    assert memory.cache_pages == memory.slab_reclaimable_pages == 0


def test_clean_cache_gives_way_to_what_a_person_starts() -> None:
    machine = make()
    machine.memory.set_cache(clean_pages=5000, dirty_pages=1000)
    sizes = sizes_for(anon_pages=machine.free_pages + 3000)
    machine.spawn("web", sizes=sizes)
    assert machine.free_pages == 0
    assert machine.memory.cache_dirty_pages == 1000
    assert machine.memory.cache_clean_pages == 5000 - 3000 - sizes.pagetable_pages
    with pytest.raises(Refused):  # dirty pages must be written first
        spawn(machine, "db", machine.memory.cache_clean_pages + 1)


def test_swap_fills_by_priority_and_evenly_within_one() -> None:
    machine = make(swap_pages=1000)
    memory = machine.memory
    memory.swapon("/fast", 500, 10)
    memory.swapon("/a", 300, 5)
    memory.swapon("/b", 900, 5)
    memory.swapon("/last", 100)
    assert machine.hardware.swap_pages == 2800
    assert memory.swap_areas[0] == SwapArea("/dev/vda2", 1000, -2)
    assert memory.swap_areas[-1].priority == -3
    process = machine.spawn("x", sizes=sizes_for(swap_entries=900))
    assert used_by_area(machine) == {"/dev/vda2": 0, "/fast": 500, "/a": 100, "/b": 300, "/last": 0}
    assert process.mm is not None
    machine.resize(process.mm, sizes_for(swap_entries=2750))
    assert list(used_by_area(machine).values()) == [1000, 500, 300, 900, 50]


def test_swapoff_brings_back_what_the_others_cannot_hold() -> None:
    machine = make(swap_pages=1000)
    machine.memory.swapon("/more", 400)
    first = machine.spawn("a", sizes=sizes_for(swap_entries=500))
    second = machine.spawn("b", sizes=sizes_for(swap_entries=300))
    machine.memory.swapoff("/dev/vda2")
    assert pages_of(first) == (400, 100)
    assert pages_of(second) == (0, 300)
    assert used_by_area(machine) == {"/more": 400}
    assert machine.memory.counters.pswpin == 400


def test_swapoff_without_room_is_refused_and_changes_nothing() -> None:
    machine = make(swap_pages=1000)
    process = machine.spawn("a", sizes=sizes_for(swap_entries=500))
    spawn(machine, "b", machine.free_pages - 300)
    with pytest.raises(Refused) as refused:
        machine.memory.swapoff("/dev/vda2")
    assert refused.value.error == errno.ENOMEM
    assert pages_of(process) == (0, 500)
    with pytest.raises(Refused) as refused:
        machine.memory.swapoff("/none")
    assert "accepted: /dev/vda2" in refused.value.why
    with pytest.raises(Refused) as refused:
        machine.memory.swapon("/dev/vda2", 10)
    assert refused.value.error == errno.EBUSY


def test_a_reboot_has_the_swap_of_before() -> None:
    machine = make(swap_pages=1000)
    machine.memory.swapon("/more", 400)
    assert machine.rebooted().hardware.swap_pages == 1000


# -- Watermarks --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ram_kib", "kernel", "huge_pages", "expected_kib"),
    [
        (64, "6.1", False, 128),
        (32_000, "4.9", False, 715),
        (16 * 1024**2, "4.9", False, 16384),
        (1024**3, "4.19", False, 65536),
        (1024**3, "6.1", False, 131072),
        (4 * 1024**3, "6.1", False, 262144),
        (8 * 1024**2, "6.1", True, 67584),
        (2 * 1024**2, "6.1", True, 45056),
        (256 * 1024, "6.1", True, 13107),
        (1024**3, "6.1", True, 131072),
    ],
)
def test_min_free_kbytes_grows_with_the_square_root_of_the_ram(
    ram_kib: int, kernel: str, *, huge_pages: bool, expected_kib: int
) -> None:
    hardware = Hardware(ram_pages=ram_kib // PAGE_KIB)
    build = None if huge_pages else USER_MODE_LINUX
    machine = Machine(KernelConfig(kernel), hardware, build=build)
    assert default_min_free_kib(machine) == expected_kib
    assert machine.sysctls["vm/min_free_kbytes"] == expected_kib


def test_the_marks_of_the_machine_are_the_sums_of_its_zones() -> None:
    machine = make()
    assert astuple(machine.memory.watermarks) == (800, 1000, 1200)
    machine.store_sysctl("vm/watermark_scale_factor", b"1000")
    assert astuple(machine.memory.watermarks) == (800, 800 + 2500, 800 + 5000)


# -- A page fault ------------------------------------------------------------------


def test_free_memory_comes_first() -> None:
    machine = make()
    machine.memory.set_cache(clean_pages=2000, dirty_pages=0)
    process = spawn(machine, "grower", 100)
    taken = machine.allocate(process.leader, 5000)
    assert (taken.pages, taken.stalled_ns) == (5000, 0)
    assert pages_of(process) == (5100, 0)
    assert machine.memory.cache_clean_pages == 2000
    assert machine.memory.counters.pgfault == 5000


@pytest.mark.parametrize("kind", MemoryKind)
def test_a_task_takes_any_kind_with_the_page_tables_for_it(kind: MemoryKind) -> None:
    machine = make()
    process = spawn(machine, "grower", 100)
    assert process.mm is not None
    before = process.mm.sizes
    machine.allocate(process.leader, 1024, kind)
    after = process.mm.sizes
    assert getattr(after, kind) == getattr(before, kind) + 1024
    assert after.pte_pages == before.pte_pages + 2
    assert after.total_vm_pages == before.total_vm_pages + 1024


@pytest.mark.parametrize(
    ("swappiness", "from_cache", "from_swap"),
    [
        (0, 1000, 0),
        # 4000 idle pages by swappiness against 2000 by 200 - swappiness.
        (60, 539, 461),
        (100, 334, 666),
        (200, 0, 1000),
    ],
)
def test_reclaim_takes_from_both_sides_by_size_and_swappiness(
    swappiness: int, from_cache: int, from_swap: int
) -> None:
    machine = make()
    machine.store_sysctl("vm/swappiness", b"%d" % swappiness)
    idle = spawn(machine, "idle", 4000)
    process = machine.spawn("grower", sizes=sizes_for(file_pages=10))
    machine.memory.set_cache(clean_pages=2000, dirty_pages=0)
    machine.allocate(process.leader, machine.memory.available_pages(process.leader) + 1000)
    # Page tables need some pages more.
    assert 2000 - machine.memory.cache_clean_pages == pytest.approx(from_cache, abs=50)
    assert pages_of(idle)[1] == pytest.approx(from_swap, abs=50)


def fill(machine: Machine, process: Process, left_pages: int = 0) -> None:
    """Let a process take all that there is above the min watermark but so much."""
    machine.allocate(process.leader, machine.memory.available_pages(process.leader) - left_pages)


def test_what_one_side_cannot_give_the_other_does() -> None:
    machine = make(swap_pages=300)
    machine.store_sysctl("vm/swappiness", b"0")
    spawn(machine, "idle", 4000)
    process = machine.spawn("grower")
    machine.memory.set_cache(clean_pages=400, dirty_pages=200)
    taken = machine.allocate(
        process.leader, machine.memory.available_pages(process.leader) + 600 + 200
    )
    assert taken.stalled_ns
    assert machine.memory.cache_pages == 0
    assert 200 <= machine.used.swap_entries <= 300
    assert machine.memory.available_pages(process.leader) >= 0


def test_slab_is_shrunk_unless_vfs_cache_pressure_is_0() -> None:
    for pressure, left in ((b"100", 0), (b"0", 500)):
        machine = make(swap_pages=0)
        machine.store_sysctl("vm/vfs_cache_pressure", pressure)
        machine.memory.set_slab(reclaimable_pages=500, unreclaimable_pages=100)
        machine.memory.set_cache(clean_pages=0, dirty_pages=700)
        process = machine.spawn("grower")
        machine.allocate(process.leader, machine.memory.available_pages(process.leader) + 600)
        assert machine.memory.slab_reclaimable_pages == left


def test_who_sleeps_and_has_most_is_swapped_out_first_and_mlocked_stays() -> None:
    machine = make()
    small, large = spawn(machine, "small", 2000), spawn(machine, "large", 3000)
    locked = spawn(machine, "locked", 6000, mlocked_pages=6000)
    grower = spawn(machine, "grower", 8000)
    machine.behave(grower, Behaviour(BehaviourKind.CONSTANT))
    fill(machine, grower)
    before, _ = pages_of(grower)
    machine.allocate(grower.leader, 2500)
    assert pages_of(large)[1] >= 2500
    assert (pages_of(small), pages_of(locked)) == ((2000, 0), (6000, 0))
    machine.allocate(grower.leader, 2600)
    assert pages_of(large) == (0, 3000)
    assert pages_of(small) == (0, 2000)
    assert pages_of(grower)[1] > 0  # now it must give of its own
    assert sum(pages_of(grower)) == before + 5100
    assert pages_of(locked) == (6000, 0)


def test_the_disk_takes_time_and_dropping_hardly_any() -> None:
    stalls = []
    for clean, dirty in ((2000, 0), (0, 2000)):
        machine = make(swap_pages=0)
        machine.memory.set_cache(clean_pages=clean, dirty_pages=dirty)
        process = machine.spawn("grower")
        fill(machine, process)
        taken = machine.allocate(process.leader, 1000)
        assert taken.pages == 1000
        stalls.append(taken.stalled_ns)
        written = machine.memory.counters.written
        machine.advance(1_000_000_000)
        for resource, waited in (("memory", True), ("io", bool(dirty))):
            total = machine.pressure[resource].render(machine.now_ns).split("\n")[0].split("=")[-1]
            assert (int(total) > 0) == waited
    assert stalls[1] - stalls[0] == pytest.approx(1000 * DISK_NS, rel=0.01)
    assert written == pytest.approx(1000, abs=60)


def test_kswapd_wakes_below_low_and_works_up_to_high() -> None:
    machine = make(swap_pages=0)
    machine.memory.set_cache(clean_pages=3000, dirty_pages=0)
    process = machine.spawn("grower")
    fill(machine, process, left_pages=201)
    machine.advance(1_000_000)
    assert machine.memory.counters.pgscan_kswapd == 0
    machine.allocate(process.leader, 100)
    assert machine.free_pages < machine.memory.watermarks.low_pages
    machine.advance(1_000_000_000)
    assert machine.free_pages == machine.memory.watermarks.high_pages
    counters = machine.memory.counters
    assert counters.pgsteal_kswapd == 3000 - machine.memory.cache_clean_pages
    assert (counters.allocstall, counters.pgsteal_direct) == (0, 0)
    assert not machine.memory.kswapd_is_awake


def test_nothing_left_to_reclaim_invokes_the_oom_killer_for_the_task() -> None:
    machine = make(swap_pages=0)
    hog, grower = spawn(machine, "hog", 12_000), spawn(machine, "grower", 100)
    fill(machine, grower)
    taken = machine.allocate(grower.leader, 500)
    assert taken.pages == 500
    assert machine.last_verdict is not None
    assert machine.last_verdict.chosen is hog
    assert machine.last_verdict.outcome is Outcome.KILLED
    assert "grower invoked oom-killer: gfp_mask=0x140dca" in machine.log.render()


@pytest.mark.parametrize(
    ("kernel", "spelled"),
    [
        ("4.9", "0x24280ca(GFP_HIGHUSER_MOVABLE|__GFP_ZERO)"),
        ("4.14", "0x14280ca(GFP_HIGHUSER_MOVABLE|__GFP_ZERO)"),
        ("4.19", "0x6280ca(GFP_HIGHUSER_MOVABLE|__GFP_ZERO)"),
        ("5.10", "0x100dca(GFP_HIGHUSER_MOVABLE|__GFP_ZERO)"),
        ("6.1", "0x140dca(GFP_HIGHUSER_MOVABLE|__GFP_COMP|__GFP_ZERO)"),
    ],
)
def test_a_page_fault_asks_as_in_reports_of_its_generation(kernel: str, spelled: str) -> None:
    mask = gfp.anonymous_fault_mask(named(kernel))
    assert f"{mask:#x}({gfp.spell(named(kernel).version, mask)})" == spelled


def test_the_victim_may_be_the_one_that_asked() -> None:
    machine = make(swap_pages=0)
    grower = spawn(machine, "grower", 100)
    taken = machine.allocate(grower.leader, RAM)
    assert grower.is_zombie
    assert taken.pages > RAM // 2


def test_while_a_victim_is_dying_the_task_waits_and_the_verdict_stays() -> None:
    machine = make("4.4", swap_pages=0)  # which has no reaper
    hog, grower = spawn(machine, "hog", 12_000), spawn(machine, "grower", 100)
    machine.hold(hog.leader, Hold.AT_EXIT)
    fill(machine, grower)
    for _ in range(3):
        assert machine.allocate(grower.leader, 500).pages == 0
    assert machine.last_verdict is not None
    assert machine.last_verdict.outcome is Outcome.KILLED
    assert machine.log.render().count("invoked oom-killer") == 1
    machine.release(hog.leader)
    assert machine.allocate(grower.leader, 500).pages == 500


# -- Memory cgroups ----------------------------------------------------------------


def test_a_limit_swaps_out_members_only_and_then_kills_one_of_them() -> None:
    machine = make(swap_pages=500)
    outside = spawn(machine, "outside", 9000)
    group = machine.make_memcg("/web")
    other, grower = spawn(machine, "other", 1000), spawn(machine, "grower", 10)
    for process in (other, grower):
        machine.join_memcg(process, group)
    machine.set_memcg_limit(group, 2000)
    machine.allocate(grower.leader, 1200)
    assert 0 < pages_of(other)[1] + pages_of(grower)[1] <= 500
    assert group.events.max == 1
    assert group.events.oom == 0
    machine.allocate(grower.leader, 1200)
    assert group.events.oom > 0
    assert "Memory cgroup out of memory" in machine.log.render()
    assert other.is_zombie or grower.is_zombie
    assert pages_of(outside) == (9000, 0)


def test_with_oom_kill_disable_the_task_sleeps_in_its_group() -> None:
    machine = make(swap_pages=0)
    group = machine.make_memcg("/web")
    grower = spawn(machine, "grower", 10)
    machine.join_memcg(grower, group)
    machine.set_memcg_limit(group, 500)
    machine.set_oom_kill_disable(group, on=True)
    taken = machine.allocate(grower.leader, 1000)
    assert taken.pages < 500
    assert grower.leader.state == "D"
    assert not grower.is_zombie
