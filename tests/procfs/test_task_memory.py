# SPDX-License-Identifier: MIT
"""The files of an address space: maps, smaps, pagemap and the others, without a mount."""

from __future__ import annotations

import errno
import os
import re
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given, settings

from fakeproc.kernel.machine import Hardware, Machine, sizes_for
from fakeproc.kernel.memory import MemoryKind, grown
from fakeproc.kernel.numa import Placement, PolicyMode
from fakeproc.kernel.profile import KernelConfig
from fakeproc.kernel.task import PAGE_BYTES, PAGE_KIB, Caller, Credentials, Process, TaskCaller
from fakeproc.procfs.node import Directory, File, Link, OpenFile, open_file
from fakeproc.procfs.system.meminfo import render_meminfo
from fakeproc.procfs.tree import Procfs
from tests.procfs.test_tree import refusal
from tests.test_conservation import World, forks, kernels, scripts

USER = TaskCaller(Credentials(1000, 1000, 0), tid=71, tgid=70, comm="sh")
OWNER = TaskCaller(Credentials(33, 34, 0), tid=81, tgid=80, comm="sh")
MMAP_FILES = ("maps", "smaps", "numa_maps")

_LINE = re.compile(
    r"[0-9a-f]{8,}-[0-9a-f]{8,} [r-][w-][x-][ps] [0-9a-f]{8} [0-9a-f]{2}:[0-9a-f]{2} \d+ "
    r"( *(?P<path>\S.*))?"
)


class Proc:
    """A machine with a web server on it, and its files."""

    def __init__(self, kernel: str = "6.18", hardware: Hardware | None = None) -> None:
        self.machine = Machine(KernelConfig(kernel), hardware, first_pid=100)
        self.procfs = Procfs(self.machine)
        self.web = self.machine.spawn(
            "web",
            credentials=Credentials(33, 34, 0),
            sizes=sizes_for(
                anon_pages=1000, file_pages=600, shmem_pages=20, swap_entries=8, mlocked_pages=3
            ),
            cmdline=(b"web", b"-d"),
        )

    def open(self, path: str, caller: Caller | None = None, flags: int = os.O_RDONLY) -> OpenFile:
        caller = caller or self.machine.root
        node = self.procfs.lookup(path, caller)
        assert isinstance(node, File)
        return open_file(node, flags, caller)

    def read(self, path: str, caller: Caller | None = None) -> str:
        return self.open(path, caller).read(1 << 24, 0).decode()

    def numbers(self, path: str) -> Counter[str]:
        """Return the sums of all lines ``Name: N kB``."""
        sums: Counter[str] = Counter()
        for name, value in re.findall(r"^(\w+):\s+(\d+) kB$", self.read(path), re.MULTILINE):
            sums[name] += int(value)
        return sums

    def clear_refs(self, data: bytes) -> int:
        path = "/100/clear_refs"
        return self.open(path, flags=os.O_WRONLY).write(self.machine.root, data)


@pytest.fixture
def proc() -> Proc:
    return Proc()


# -- The form of the files ---------------------------------------------------------


def test_a_mapping_in_smaps_of_6_18(proc: Proc) -> None:
    text = proc.read("/100/smaps")
    stack = text[text.index("[stack]") : text.index("ffffffffff600000")]
    expected = """\
        [stack]
        Size:                132 kB
        KernelPageSize:        4 kB
        MMUPageSize:           4 kB
        Rss:                  16 kB
        Pss:                  16 kB
        Pss_Dirty:            16 kB
        Shared_Clean:          0 kB
        Shared_Dirty:          0 kB
        Private_Clean:         0 kB
        Private_Dirty:        16 kB
        Referenced:           16 kB
        Anonymous:            16 kB
        KSM:                   0 kB
        LazyFree:              0 kB
        AnonHugePages:         0 kB
        ShmemPmdMapped:        0 kB
        FilePmdMapped:         0 kB
        Shared_Hugetlb:        0 kB
        Private_Hugetlb:       0 kB
        Swap:                  0 kB
        SwapPss:               0 kB
        Locked:                0 kB
        THPeligible:           0
        VmFlags: rd wr mr mw me gd ac{space}
    """
    assert stack == dedent(expected).format(space=" ")


def test_smaps_rollup_of_6_18(proc: Proc) -> None:
    lines = proc.read("/100/smaps_rollup").splitlines()
    first, *_, last, _ = (
        line.split()[0].split("-") for line in proc.read("/100/maps").splitlines()
    )
    assert lines[0] == f"{first[0]}-{last[1]} ---p 00000000 00:00 0" + " " * 26 + "[rollup]"
    assert [line.split(":")[0] for line in lines[1:]] == [
        *("Rss", "Pss", "Pss_Dirty", "Pss_Anon", "Pss_File", "Pss_Shmem", "Shared_Clean"),
        *("Shared_Dirty", "Private_Clean", "Private_Dirty", "Referenced", "Anonymous", "KSM"),
        *("LazyFree", "AnonHugePages", "ShmemPmdMapped", "FilePmdMapped", "Shared_Hugetlb"),
        *("Private_Hugetlb", "Swap", "SwapPss", "Locked"),
    ]


@pytest.mark.parametrize("where", ["host", "fakeproc"])
def test_lines_of_maps(where: str, proc: Proc) -> None:
    text = Path("/proc/self/maps").read_text() if where == "host" else proc.read("/100/maps")
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        assert match, line
        assert match["path"] is None or line.index(match["path"]) == 73


FIELDS = {
    "4.4": "Rss Pss Shared_Clean Shared_Dirty Private_Clean Private_Dirty Referenced Anonymous "
    "AnonHugePages Shared_Hugetlb Private_Hugetlb Swap SwapPss KernelPageSize MMUPageSize Locked",
    "4.14": "KernelPageSize MMUPageSize Rss Pss Shared_Clean Shared_Dirty Private_Clean "
    "Private_Dirty Referenced Anonymous LazyFree AnonHugePages ShmemPmdMapped Shared_Hugetlb "
    "Private_Hugetlb Swap SwapPss Locked",
    "6.1": "KernelPageSize MMUPageSize Rss Pss Pss_Dirty Shared_Clean Shared_Dirty Private_Clean "
    "Private_Dirty Referenced Anonymous LazyFree AnonHugePages ShmemPmdMapped FilePmdMapped "
    "Shared_Hugetlb Private_Hugetlb Swap SwapPss Locked THPeligible",
}


@pytest.mark.parametrize("kernel", FIELDS)
def test_smaps_grew_over_the_years(kernel: str) -> None:
    lines = Proc(kernel).read("/100/smaps").splitlines()
    names = [line.split(":")[0] for line in lines[1 : 3 + len(FIELDS[kernel].split())]]
    assert names == ["Size", *FIELDS[kernel].split(), "VmFlags"]


@pytest.mark.parametrize(
    ("kernel", "line"),
    [
        ("5.0", "THPeligible:           0"),
        ("5.4", "THPeligible:\t\t0"),
        ("5.10", "THPeligible:    0"),
        ("6.18", "THPeligible:           0"),
    ],
)
def test_thp_eligible_was_printed_in_several_ways(kernel: str, line: str) -> None:
    assert line in Proc(kernel).read("/100/smaps").splitlines()


def test_some_files_came_later() -> None:
    old, middle, new = Proc("series"), Proc("4.14"), Proc("6.18")
    with refusal(errno.ENOENT):
        old.read("/100/smaps_rollup")
    assert "[rollup]" in middle.read("/100/smaps_rollup")
    with refusal(errno.ENOENT):
        middle.read("/100/ksm_stat")
    assert new.read("/100/ksm_stat").splitlines()[::5] == ["ksm_rmap_items 0", "ksm_mergeable: no"]


# -- What they say -----------------------------------------------------------------


def require_agreement(procfs: Procfs, process: Process) -> None:
    """Require that all files of a process say the same of its memory."""
    machine = procfs.machine

    def read(name: str) -> str:
        node = procfs.lookup(f"/{process.pid}/{name}", machine.root)
        assert isinstance(node, File)
        return node.render().decode(errors="surrogateescape")

    status = dict(re.findall(r"^(\w+):\s+(\d+) kB$", read("status"), re.MULTILINE))
    statm = [int(word) * PAGE_KIB for word in read("statm").split()]
    stat = read("stat").rpartition(")")[2].split()
    smaps: Counter[str] = Counter()
    for name, value in re.findall(r"^(\w+): +(\d+) kB$", read("smaps"), re.MULTILINE):
        smaps[name] += int(value)
    if not status:
        assert statm == [0] * 7
        assert not smaps
        return
    of = {name: int(value) for name, value in status.items()}
    assert statm[0] == of["VmSize"] == int(stat[20]) // 1024 <= of["VmPeak"]
    assert statm[1] == of["VmRSS"] == int(stat[21]) * PAGE_KIB == smaps["Rss"] <= of["VmHWM"]
    assert smaps["Size"] - PAGE_KIB == of["VmSize"]  # the vsyscall page is none of it
    assert statm[3] == of["VmExe"]
    assert statm[5] == of["VmData"] + of["VmStk"]
    assert smaps["Swap"] == of["VmSwap"]
    assert smaps["Locked"] == of["VmLck"]
    clean = smaps["Shared_Clean"] + smaps["Private_Clean"]
    assert clean + smaps["Private_Dirty"] == smaps["Rss"] >= smaps["Pss"]
    if "RssAnon" in of:
        assert of["RssAnon"] == smaps["Anonymous"]
        assert of["RssAnon"] + of["RssShmem"] == smaps["Private_Dirty"]
        assert of["RssFile"] == clean
    if machine.profile.smaps_rollup:
        rollup = dict(re.findall(r"^(\w+): +(\d+) kB$", read("smaps_rollup"), re.MULTILINE))
        exact = {name for name in rollup if "Pss" not in name}
        assert {name: int(rollup[name]) for name in exact} == {name: smaps[name] for name in exact}
        assert smaps["Pss"] <= int(rollup["Pss"]) <= smaps["Rss"]


@settings(deadline=None, max_examples=40)
@given(kernels, scripts(forks))
def test_the_files_agree_at_every_moment(kernel: str, script: list[str]) -> None:
    world = World(kernel, watched=False)
    for line in script:
        world.do(line)
    machine = world.machine
    for process in list(machine.processes.values()):
        require_agreement(world.procfs, process)
    anon = re.search(r"AnonPages: +(\d+) kB", render_meminfo(machine).decode())
    mms = {thread.mm for thread in machine.threads() if thread.mm}
    assert anon is not None
    assert int(anon[1]) == sum(mm.sizes.anon_pages for mm in mms) * PAGE_KIB
    assert machine.mm_count == len(mms)


def test_libraries_are_shared_by_all_and_nothing_else(proc: Proc) -> None:
    before = proc.numbers("/100/smaps_rollup")
    assert before["Shared_Clean"] > 0
    assert before["Pss_Anon"] == 4000
    proc.machine.spawn("other")
    after = proc.numbers("/100/smaps_rollup")
    assert (after["Rss"], after["Shared_Clean"]) == (before["Rss"], before["Shared_Clean"])
    assert after["Pss_File"] < before["Pss_File"]
    assert after["Pss"] == after["Pss_Anon"] + after["Pss_File"] + after["Pss_Shmem"]


def test_who_shares_an_mm_has_its_memory_once_and_shows_the_same(proc: Proc) -> None:
    # Seen on 6.18: the pages of an mm that two processes use are Private_Dirty, Pss is Rss.
    before = proc.read("/100/smaps_rollup")
    thread = proc.machine.clone_thread(proc.web.leader)
    assert proc.read("/100/smaps_rollup") == before
    assert proc.read(f"/100/task/{thread.tid}/smaps_rollup") == before


def test_high_water_marks_are_in_status(proc: Proc) -> None:
    assert proc.web.mm is not None
    proc.machine.resize(proc.web.mm, sizes_for(anon_pages=10))
    status = proc.numbers("/100/status")
    assert (status["VmRSS"], status["VmHWM"]) == (40, 6480)
    proc.clear_refs(b"5\n")
    assert proc.numbers("/100/status")["VmHWM"] == 40


def test_clear_refs_shows_in_referenced(proc: Proc) -> None:
    rss = proc.numbers("/100/smaps")["Rss"]
    assert proc.numbers("/100/smaps")["Referenced"] == rss
    assert proc.clear_refs(b"2") == 1
    assert proc.numbers("/100/smaps_rollup")["Referenced"] == rss - 4000
    assert proc.clear_refs(b" 1\n\n") == 4
    assert proc.numbers("/100/smaps")["Referenced"] == 0
    assert proc.web.mm is not None
    proc.machine.resize(proc.web.mm, grown(proc.web.mm.sizes, MemoryKind.ANON, 5))
    assert proc.numbers("/100/smaps")["Referenced"] == 20


# Seen on 6.18.
@pytest.mark.parametrize("data", [b"0", b"6", b"x", b"2 3", b"0x1", b"", b"-1"])
def test_clear_refs_takes_1_to_5(proc: Proc, data: bytes) -> None:
    with refusal(errno.EINVAL):
        proc.clear_refs(data)
    assert proc.numbers("/100/smaps")["Referenced"] == proc.numbers("/100/smaps")["Rss"]


def test_numa_maps_has_all_pages_on_nodes_that_the_policy_allows() -> None:
    proc = Proc(hardware=Hardware(node_pages=(1 << 18, 1 << 18)))
    total = r" N(\d)=(\d+)"
    assert {node for node, _ in re.findall(total, proc.read("/100/numa_maps"))} == {"0"}
    proc.machine.place(proc.web.leader, Placement(mode=PolicyMode.INTERLEAVE, policy_nodes=0b11))
    text = proc.read("/100/numa_maps")
    assert sum(int(pages) for _, pages in re.findall(total, text)) == 1620
    assert "interleave:0-1 heap anon=" in text
    assert "file=/dev/zero\\040(deleted) dirty=20 active=0 N0=10 N1=10" in text
    assert "file=/usr/bin/web mapped=2 N0=1 N1=1 kernelpagesize_kB=4" in text


# -- Page by page ------------------------------------------------------------------


def mappings(proc: Proc) -> Iterator[tuple[int, int, str]]:
    for line in proc.read("/100/maps").splitlines()[:-1]:
        start, end = (int(word, 16) for word in line.split()[0].split("-"))
        yield start, end, line


def entries(proc: Proc, caller: Caller | None = None) -> list[int]:
    opened = proc.open("/100/pagemap", caller)
    found: list[int] = []
    for start, end, _ in mappings(proc):
        size, offset = ((end - start) // PAGE_BYTES * 8, start // PAGE_BYTES * 8)
        data = opened.read(size, offset)
        assert len(data) == size
        found += struct.unpack(f"<{size // 8}Q", data)
    return found


def test_pagemap_has_the_pages_of_smaps(proc: Proc) -> None:
    words = entries(proc)
    assert sum(word >> 63 for word in words) == 1620
    assert sum(word >> 62 & 1 for word in words) == 8
    assert sum(word >> 61 & 1 for word in words) == 620
    alone = 1620 - proc.numbers("/100/smaps")["Shared_Clean"] // PAGE_KIB
    assert sum(word >> 56 & 1 for word in words) == alone


def test_where_pages_are_is_for_cap_sys_admin_only(proc: Proc) -> None:
    frames = (1 << 55) - 1
    assert any(word & frames for word in entries(proc))
    assert not any(word & frames for word in entries(proc, OWNER))
    assert [word & ~frames for word in entries(proc)] == entries(proc, OWNER)


def test_pagemap_is_read_in_whole_entries_up_to_the_end_of_user_space(proc: Proc) -> None:
    opened = proc.open("/100/pagemap")
    for size, offset in ((8, 3), (7, 8)):
        with refusal(errno.EINVAL):
            opened.read(size, offset)
    assert opened.read(16, 0) == bytes(16)
    last = ((1 << 47) // PAGE_BYTES - 2) * 8
    assert (len(opened.read(16, last)), opened.read(16, last + 8)) == (8, b"")
    assert opened.read(16, 1 << 60) == b""


def test_a_read_across_mappings_is_what_two_reads_are(proc: Proc) -> None:
    (_, heap_end, _) = next(found for found in mappings(proc) if "[heap]" in found[2])
    opened, middle = proc.open("/100/pagemap"), heap_end // PAGE_BYTES * 8
    assert opened.read(800, middle - 400) == opened.read(400, middle - 400) + opened.read(
        400, middle
    )


def test_mem_is_zeros_where_something_is_mapped(proc: Proc) -> None:
    opened = proc.open("/100/mem")
    found = {line.split()[-1]: (start, end) for start, end, line in mappings(proc)}
    start, end = found["[heap]"]
    assert opened.read(8, start) == bytes(8)
    assert opened.read(8, end - 4) == bytes(4)
    for address in (0, start - 4, end, found["[vvar]"][0], 1 << 62):
        with refusal(errno.EIO):
            opened.read(8, address)
    with refusal(errno.EIO):
        proc.open("/100/mem", flags=os.O_RDWR).write(proc.machine.root, b"1")


def test_auxv_says_where_the_program_is(proc: Proc) -> None:
    data = proc.open("/100/auxv").read(4096, 0)
    values = dict(struct.iter_unpack("<QQ", data))
    assert data.endswith(bytes(16))
    found = {line.split()[-1]: start for start, _, line in reversed(list(mappings(proc)))}
    assert values[33] == found["[vdso]"]
    assert values[7] == found["/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"]
    assert values[3] == found["/usr/bin/web"] + 64
    assert (values[6], values[11], values[13]) == (4096, 33, 34)


# -- Who may read them, and of whom ------------------------------------------------


@pytest.mark.parametrize("name", [*MMAP_FILES, "smaps_rollup", "auxv", "pagemap", "mem"])
def test_they_are_for_who_may_ptrace(proc: Proc, name: str) -> None:
    proc.open(f"/100/{name}", OWNER)
    with refusal(errno.EACCES):
        proc.open(f"/100/{name}", USER)


@pytest.mark.parametrize("kind", ["kthread", "zombie"])
def test_without_an_mm_they_are_empty_or_cannot_be_opened(proc: Proc, kind: str) -> None:
    process = proc.web if kind == "zombie" else proc.machine.kthread("aio", use_mm=proc.web.mm)
    if kind == "zombie":
        proc.machine.exit_group(process)
    for name in (*MMAP_FILES, "ksm_stat", "ksm_merging_pages"):
        assert proc.read(f"/{process.pid}/{name}") == ""
    for name in ("smaps_rollup", "auxv", "pagemap", "mem"):
        with refusal(errno.ESRCH):
            proc.open(f"/{process.pid}/{name}")
    folder = proc.procfs.lookup(f"/{process.pid}/map_files", proc.machine.root)
    assert isinstance(folder, Directory)
    assert not list(folder.entries(proc.machine.root))


def test_before_6_16_reading_says_that_there_is_no_mm() -> None:
    proc = Proc("6.1")
    for name in ("auxv", "pagemap", "mem"):
        assert proc.read(f"/2/{name}") == ""
    opened = proc.open("/2/smaps_rollup")
    with refusal(errno.ESRCH):
        opened.read(100, 0)


def test_addresses_in_stat_are_for_who_may_ptrace(proc: Proc) -> None:
    def fields(caller: Caller) -> list[int]:
        words = proc.read("/100/stat", caller).rpartition(")")[2].split()
        return [int(words[number - 3]) for number in (26, 27, 28, *range(45, 52))]

    assert fields(USER) == [1, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert fields(proc.machine.root) == fields(OWNER)
    assert all(fields(OWNER))
    code, end = fields(OWNER)[:2]
    assert any(start == code and line.split()[1] == "r-xp" for start, _, line in mappings(proc))
    assert (end - code) // 1024 == proc.numbers("/100/status")["VmExe"]


def test_map_files_leads_to_the_files(proc: Proc) -> None:
    folder = proc.procfs.lookup("/100/map_files", OWNER)
    assert isinstance(folder, Directory)
    links = dict(folder.entries(OWNER))
    of_files = [line for _, _, line in mappings(proc) if " /" in line]
    assert [*links] == [line.split()[0] for line in of_files]
    for line in of_files:
        link = folder.child(line.split()[0], OWNER)
        assert isinstance(link, Link)
        assert line.endswith(link.target(OWNER))
        writable = "rw-s" in line
        assert link.attributes().mode & 0o777 == (0o600 if writable else 0o400)
    for name in ("1-2", "abc", "0" + next(iter(links))):
        with refusal(errno.ENOENT):
            folder.child(name, OWNER)
    for ask in (lambda: folder.entries(USER), lambda: folder.child("1-2", USER)):
        with refusal(errno.EACCES):
            ask()
