# SPDX-License-Identifier: MIT
"""The files about the memory of the machine: the form of a recorded 6.18, and what acts."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Build, Hardware, Machine, sizes_for
from fakeproc.kernel.memory import SwapArea
from fakeproc.kernel.profile import PROFILE_NAMES, KernelConfig
from fakeproc.kernel.task import TaskCaller
from fakeproc.procfs.node import File
from fakeproc.procfs.tree import Procfs

RECORDED = Path(__file__).parent / "recorded"
GIB_PAGES = 2**18


class Proc:
    """A machine of 8 GiB and its files without a mount."""

    def __init__(
        self, kernel: str = "6.18", hardware: Hardware | None = None, build: Build | None = None
    ) -> None:
        self.machine = Machine(KernelConfig(kernel), hardware or Hardware(), build=build)
        self.procfs = Procfs(self.machine)

    def file(self, path: str) -> File:
        node = self.procfs.lookup(path, self.machine.root)
        assert isinstance(node, File)
        return node

    def read(self, path: str) -> str:
        return self.file(path).render().decode()

    def write(self, path: str, data: bytes) -> int:
        return self.file(path).store(self.machine.root, data)

    def numbers(self, path: str) -> dict[str, int]:
        """Return the first number of each line by the name before it."""
        return {name: int(n) for name, n in re.findall(r"^(\S+?):? +(\d+)", self.read(path), re.M)}


@pytest.fixture
def proc() -> Proc:
    return Proc()


# -- The form ----------------------------------------------------------------------


def shape(text: str) -> str:
    """Return a text with its numbers made equal."""
    return re.sub(r"\d+", "N", text)


def columns(text: str) -> list[tuple[str, list[int]]]:
    """Return for each line what is in it beside numbers and blanks, and where its numbers end."""
    return [
        (re.sub(r"[ \d]", "", line), [number.end() for number in re.finditer(r"\d+", line)])
        for line in text.splitlines()
    ]


@pytest.mark.parametrize("name", ["vmstat", "zoneinfo"])
def test_the_form_is_that_of_a_recorded_6_18(proc: Proc, name: str) -> None:
    assert shape(proc.read(f"/{name}")) == shape((RECORDED / f"6.18-{name}").read_text())


@pytest.mark.parametrize("name", ["meminfo", "buddyinfo", "pagetypeinfo", "slabinfo"])
def test_the_columns_are_those_of_a_recorded_6_18(proc: Proc, name: str) -> None:
    proc.machine.memory.set_slab(reclaimable_pages=2000, unreclaimable_pages=1000)
    assert columns(proc.read(f"/{name}")) == columns((RECORDED / f"6.18-{name}").read_text())


@pytest.mark.parametrize("name", ["buddyinfo", "pagetypeinfo"])
def test_lines_end_in_a_blank_as_the_kernels_do(proc: Proc, name: str) -> None:
    recorded = (RECORDED / f"6.18-{name}").read_text()
    assert [line[-1:] == " " for line in proc.read(f"/{name}").splitlines()] == [
        line[-1:] == " " for line in recorded.splitlines()
    ]


def test_slabinfo_has_objects_of_the_recorded_sizes(proc: Proc) -> None:
    recorded = (RECORDED / "6.18-slabinfo").read_text().splitlines()
    lines = proc.read("/slabinfo").splitlines()
    assert [line.split()[3:6] for line in lines] == [line.split()[3:6] for line in recorded]


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
def test_every_line_of_vmstat_is_a_name_and_a_number(kernel: str) -> None:
    """So does lmkd read it; a name stands once."""
    lines = [line.split(" ") for line in Proc(kernel).read("/vmstat").splitlines()]
    assert all(len(words) == 2 and words[1].isdecimal() for words in lines)
    assert len({name for name, _ in lines}) == len(lines)


@pytest.mark.parametrize(
    ("line", "since"),
    [
        ("KReclaimable", "4.19"),
        ("ShmemHugePages", "4.8"),
        ("Hugetlb", "4.19"),
        ("Percpu", "4.19"),
        ("FileHugePages", "5.4"),
        ("SecPageTables", "6.1"),
        ("Zswap", "6.1"),
        ("Balloon", "6.18"),
    ],
)
def test_lines_came_with_their_kernels(line: str, since: str) -> None:
    since = "5.0" if line == "KReclaimable" else since
    released = [name for name in PROFILE_NAMES if name[0].isdigit()]
    having = [name for name in released if line in Proc(name).numbers("/meminfo")]
    assert having == released[released.index(since) :]


def test_a_build_without_huge_pages_and_low_zones_has_none_of_their_lines() -> None:
    build = Build(dma_zones=False, transparent_hugepages=False, hugetlb=False, numa=False)
    proc = Proc(build=build)
    assert not {"AnonHugePages", "HugePages_Total"} & proc.numbers("/meminfo").keys()
    names = proc.numbers("/vmstat").keys()
    assert {"pgalloc_normal", "pgalloc_movable"} <= names
    assert not {"pgalloc_dma", "thp_split_page", "numa_hit", "htlb_buddy_alloc_fail"} & names
    assert re.findall(r"zone +(\w+)", proc.read("/zoneinfo")) == ["Normal", "Movable"]


def test_zoneinfo_of_4_7_has_no_nodes_and_only_zones_with_memory() -> None:
    text = Proc("4.7").read("/zoneinfo")
    assert "per-node stats" not in text
    assert re.findall(r"^Node 0, zone +(\w+)$", text, re.M) == ["DMA", "DMA32", "Normal"]
    assert "\n    nr_alloc_batch 0\n" in text
    assert "        protection: (0, 4080, 8176, 8176, 8176)\n  pagesets\n" in text
    assert "              high:  186\n              batch: 31\n" in text
    assert text.endswith("\n  start_pfn:         1048576\n  inactive_ratio:    6\n")


def test_every_node_has_its_zones() -> None:
    hardware = Hardware(node_pages=(6 * GIB_PAGES, 2 * GIB_PAGES))
    text = Proc(hardware=hardware).read("/zoneinfo")
    zones = re.findall(r"^Node (\d), zone +(\w+)$", text, re.M)
    names = ["DMA", "DMA32", "Normal", "Movable", "Device"]
    assert zones == [(node, name) for node in "01" for name in names]
    assert text.count("per-node stats") == 2
    assert re.findall(r"start_pfn: +(\d+)", text) == ["0", "4096", str(2**20), str(6 * GIB_PAGES)]


def test_swaps_with_an_odd_name_and_the_columns_of_older_kernels() -> None:
    proc = Proc("4.7", Hardware(swap_pages=0))
    proc.machine.memory.swap_areas.append(SwapArea("/swap file", 2560, -2))
    assert proc.read("/swaps") == (
        "Filename\t\t\t\tType\t\tSize\tUsed\tPriority\n"
        "/swap\\040file                           file\t\t10240\t0\t-2\n"
    )


# -- What acts ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "cache", "slab", "drops"),
    [(b"1\n", 500, 200, (1, 0)), (b"2", 3500, 0, (0, 1)), (b"3", 500, 0, (1, 1))],
)
def test_drop_caches(
    proc: Proc, what: bytes, cache: int, slab: int, drops: tuple[int, int]
) -> None:
    memory = proc.machine.memory
    memory.set_cache(clean_pages=3000, dirty_pages=500)
    memory.set_slab(reclaimable_pages=200, unreclaimable_pages=100)
    free = memory.free_pages
    assert proc.write("/sys/vm/drop_caches", what) == len(what)
    assert (memory.cache_pages, memory.slab_reclaimable_pages) == (cache, slab)
    assert memory.free_pages - free == 3700 - cache - slab
    vmstat = proc.numbers("/vmstat")
    assert (vmstat["drop_pagecache"], vmstat["drop_slab"]) == drops
    assert vmstat["pgfree"] == 3700 - cache - slab + memory_of_boot(proc)


def memory_of_boot(proc: Proc) -> int:
    """Return what came free when the slab was set to less than it was at boot."""
    return proc.machine.hardware.slab_pages - 300


def test_dropping_caches_is_said_in_the_log_but_for_4(proc: Proc) -> None:
    caller = TaskCaller(proc.machine.root.credentials, 77, 77, "tee")
    for what in (b"3", b"4"):
        proc.file("/sys/vm/drop_caches").store(caller, what)
    assert [record.text for record in proc.machine.log.since(0)] == ["tee (77): drop_caches: 3"]


@pytest.mark.parametrize("name", ["drop_caches", "compact_memory"])
@pytest.mark.parametrize("text", [b"0", b"5", b"x", b""])
def test_commands_that_are_none(proc: Proc, name: str, text: bytes) -> None:
    with pytest.raises(Refused) as refused:
        proc.write(f"/sys/vm/{name}", text)
    assert refused.value.error == errno.EINVAL


def test_lowmem_reserve_ratio_acts_on_protection_and_what_is_available(proc: Proc) -> None:
    assert proc.read("/sys/vm/lowmem_reserve_ratio") == "256\t256\t32\t0\t0\n"
    assert "protection: (0, 4080, 8176, 8176, 8176)" in proc.read("/zoneinfo")
    before = proc.numbers("/meminfo")["MemAvailable"]
    proc.write("/sys/vm/lowmem_reserve_ratio", b"256 128\n")
    assert proc.read("/sys/vm/lowmem_reserve_ratio") == "256\t128\t32\t0\t0\n"
    assert "protection: (0, 0, 8192, 8192, 8192)" in proc.read("/zoneinfo")
    assert before - proc.numbers("/meminfo")["MemAvailable"] == 4 * 4096
    proc.write("/sys/vm/lowmem_reserve_ratio", b"0")
    assert "protection: (0, 0, 0, 0, 0)" in proc.read("/zoneinfo")


def test_lowmem_reserve_ratio_of_older_kernels_is_shorter_and_never_0() -> None:
    proc = Proc("4.14")
    proc.write("/sys/vm/lowmem_reserve_ratio", b"0 256 32 0")
    assert proc.read("/sys/vm/lowmem_reserve_ratio") == "1\t256\t32\t1\n"


def test_min_free_kbytes_acts_on_the_marks(proc: Proc) -> None:
    proc.write("/sys/vm/min_free_kbytes", b"8192")
    proc.write("/sys/vm/watermark_scale_factor", b"1")
    text = proc.read("/zoneinfo")
    assert sum(map(int, re.findall(r"^ +min +(\d+)$", text, re.M)[:3])) == 8192 // 4
    assert "        min      1024\n        low      1280\n        high     1536\n" in text


def test_dirty_thresholds_follow_the_sysctls(proc: Proc) -> None:
    def thresholds() -> tuple[int, int]:
        values = proc.numbers("/vmstat")
        return values["nr_dirty_threshold"], values["nr_dirty_background_threshold"]

    limit, background = thresholds()
    dirtyable = proc.numbers("/meminfo")["MemAvailable"] // 4
    assert limit == pytest.approx(dirtyable * 20 // 100, rel=0.01)
    assert background == pytest.approx(dirtyable * 10 // 100, rel=0.01)
    proc.write("/sys/vm/dirty_bytes", b"8193")
    assert thresholds() == (3, 1)
    proc.write("/sys/vm/dirty_background_bytes", b"4096")
    assert thresholds() == (3, 1)


def test_percpu_pagelist_high_fraction_acts_on_the_lists_of_cpus(proc: Proc) -> None:
    proc.write("/sys/vm/percpu_pagelist_high_fraction", b"8")
    assert f"high_min: {GIB_PAGES * 4 // 8 // 2}\n" in proc.read("/zoneinfo")
    for text in (b"7", b"-1"):
        with pytest.raises(Refused):
            proc.write("/sys/vm/percpu_pagelist_high_fraction", text)


@pytest.mark.parametrize("name", ["nr_hugepages", "nr_hugepages_mempolicy"])
def test_there_is_no_room_for_huge_pages(proc: Proc, name: str) -> None:
    assert proc.write(f"/sys/vm/{name}", b"10\n") == 3
    assert proc.read(f"/sys/vm/{name}") == "0\n"


def test_what_tasks_take_and_give_back_is_counted(proc: Proc) -> None:
    before = proc.numbers("/vmstat")
    task = proc.machine.spawn("hog", sizes=sizes_for(anon_pages=10_000))
    held = task.mm.sizes.ram_pages if task.mm else 0
    proc.machine.exit_group(task)
    after = proc.numbers("/vmstat")
    assert after["pgalloc_normal"] - before["pgalloc_normal"] == held
    assert after["pgfree"] - before["pgfree"] == held
    assert after["numa_hit"] == after["numa_local"] == after["pgalloc_normal"]


def test_modes() -> None:
    proc = Proc()
    modes = {
        "/pagetypeinfo": 0o400,
        "/slabinfo": 0o400,
        "/vmallocinfo": 0o400,
        "/zoneinfo": 0o444,
        "/buddyinfo": 0o444,
        "/sys/vm/drop_caches": 0o200,
        "/sys/vm/compact_memory": 0o200,
        "/sys/vm/stat_refresh": 0o600,
        "/sys/vm/mmap_rnd_bits": 0o600,
        "/sys/vm/lowmem_reserve_ratio": 0o644,
    }
    assert {path: proc.file(path).attributes().mode & 0o7777 for path in modes} == modes
