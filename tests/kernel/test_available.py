# SPDX-License-Identifier: MIT
"""MemAvailable by the kernel's formula, against captures of a real one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fakeproc.kernel.available import ZoneMarks, available, available_pages, totalreserve_pages
from fakeproc.kernel.machine import Hardware, Machine, sizes_for
from fakeproc.kernel.profile import PROFILE_NAMES, KernelConfig

CAPTURES = sorted((Path(__file__).parent / "available_captures").glob("*.json"))

ZONES = (
    ZoneMarks(managed_pages=1000, low_pages=10, high_pages=20, lowmem_reserve_pages=(0, 30, 40)),
    ZoneMarks(managed_pages=100, low_pages=20, high_pages=40, lowmem_reserve_pages=(0, 0, 90)),
)


def zone_marks(zoneinfo: str) -> list[ZoneMarks]:
    """Return the zones of /proc/zoneinfo that have memory."""
    zones = [zone for zone in re.split("^Node ", zoneinfo, flags=re.M) if "pages free" in zone]
    return [
        ZoneMarks(
            number(zone, "managed"),
            number(zone, "low"),
            number(zone, "high"),
            [int(pages) for pages in re.findall(r"protection: \((.*)\)", zone)[0].split(",")],
        )
        for zone in zones
    ]


def number(zone: str, name: str) -> int:
    return int(re.findall(rf"^ +{name} +(\d+)$", zone, re.M)[0])


def test_there_are_captures() -> None:
    assert len(CAPTURES) >= 8


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_it_is_what_a_real_kernel_says(path: Path) -> None:
    capture = json.loads(path.read_text())
    kib = {name: int(n) for name, n in re.findall(r"^(\S+): +(\d+)", capture["meminfo"], re.M)}
    pages = available_pages(
        zone_marks(capture["zoneinfo"]),
        free_pages=kib["MemFree"] // 4,
        file_pages=(kib["Active(file)"] + kib["Inactive(file)"]) // 4,
        reclaimable_pages=kib["KReclaimable"] // 4,
    )
    assert pages * 4 == kib["MemAvailable"]


def test_the_reserves_are_what_each_zone_keeps_at_most() -> None:
    assert totalreserve_pages(ZONES) == (20 + 40) + 100


@pytest.mark.parametrize(
    ("free", "file", "reclaimable", "expected"),
    [
        (1000, 0, 0, 1000 - 160),
        (1000, 60, 0, 1000 - 160 + 30),
        (1000, 61, 0, 1000 - 160 + 31),
        (1000, 400, 0, 1000 - 160 + 370),
        (1000, 400, 20, 1000 - 160 + 370 + 10),
        (160, 0, 0, 0),
        (100, 0, 0, 0),
        (100, 100, 0, 100 - 160 + 70),
    ],
)
def test_half_of_the_cache_or_the_low_watermarks_are_in_use(
    free: int, file: int, reclaimable: int, expected: int
) -> None:
    pages = available_pages(ZONES, free_pages=free, file_pages=file, reclaimable_pages=reclaimable)
    assert pages == expected


def test_before_4_5_only_the_low_watermarks_were_kept() -> None:
    pages = available_pages(
        ZONES, free_pages=1000, file_pages=400, reclaimable_pages=20, keeps_reserves=False
    )
    assert pages == 1000 - 30 + 370 + 10


def machine_with_cache(kernel: str) -> Machine:
    machine = Machine(KernelConfig(kernel), Hardware(ram_pages=262144, swap_pages=0))
    machine.spawn("cat", sizes=sizes_for(file_pages=100_000))
    return machine


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
def test_the_reserves_of_a_machine_follow_the_sysctl(kernel: str) -> None:
    """The marks are a quarter and a half above it; the cache keeps another low one."""
    machine = machine_with_cache(kernel)
    before = available(machine)
    more_kib = machine.sysctls["vm/min_free_kbytes"] + 16384
    machine.store_sysctl("vm/min_free_kbytes", str(more_kib).encode())
    low_pages, high_pages = 4096 * 5 // 4, 4096 * 6 // 4
    kept_pages = low_pages if kernel == "4.4" else high_pages
    assert before - available(machine) == pytest.approx(kept_pages + low_pages, abs=8)


def test_what_a_task_takes_is_not_available() -> None:
    machine = machine_with_cache("6.18")
    before, free = available(machine), machine.free_pages
    machine.spawn("hog", sizes=sizes_for(anon_pages=20_000))
    assert before - available(machine) == free - machine.free_pages > 20_000
