# SPDX-License-Identifier: MIT
"""Whatever happens on a machine: no page is lost, none comes from nowhere, time cuts nothing."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.events import Event
from fakeproc.kernel.machine import Hardware, Machine
from fakeproc.kernel.profile import PROFILE_NAMES, KernelConfig
from fakeproc.kernel.task import PAGE_KIB, MemorySizes, Mm
from fakeproc.procfs.node import File
from fakeproc.procfs.system import SYSTEM_ENTRIES
from fakeproc.procfs.system.meminfo import render_meminfo
from fakeproc.procfs.system.node import SystemFile
from fakeproc.procfs.tree import Procfs
from tests.state import dump

MS = 1_000_000
MIB_PAGES = 256
HARDWARE = Hardware(
    ram_pages=64 * MIB_PAGES, swap_pages=16 * MIB_PAGES, present_pages=66 * MIB_PAGES
)

# -- What may happen ---------------------------------------------------------------

pids = st.integers(100, 108).map(str)
few_mib = st.integers(1, 30).map("{}M".format)
rates = st.integers(1, 200).map("{}M/s".format)
traits = st.sampled_from(
    ["", "", "", "ignore_sigterm=yes", "exit_delay=300ms", "stuck=yes", "mlocked=1M"]
)
behaviours = st.one_of(
    st.just("behaviour=constant"),
    st.builds("behaviour=grow rate={} until={}".format, rates, few_mib),
    st.builds("behaviour=grow rate={}".format, rates),
    st.builds(
        "behaviour=sawtooth rate={} period={}ms".format, rates, st.sampled_from([150, 400, 1000])
    ),
    st.builds(
        "behaviour=fork-storm children={}/s max={} child={}".format,
        st.integers(1, 40),
        st.integers(1, 8),
        few_mib,
    ),
    st.builds(
        "behaviour=fork-storm children={}/s max={}".format, st.integers(1, 9), st.integers(1, 4)
    ),
)
growers = st.builds("spawn rss={} behaviour=grow rate={}".format, few_mib, rates)
kinds = st.sampled_from(["file", "shmem", "rss", "swap"])
commands = st.one_of(
    st.builds("spawn rss={} {}={} {} {}".format, few_mib, kinds, few_mib, behaviours, traits),
    st.builds("spawn rss={} {} {}".format, few_mib, behaviours, traits),
    st.builds("spawn {}={}".format, kinds, few_mib),
    st.builds("behave {} {}".format, pids, st.one_of(behaviours, st.just("none"))),
    st.builds("cache clean={} dirty={}".format, few_mib, few_mib),
    st.builds("slab reclaimable={}".format, few_mib),
    st.builds("swapon /swap{} size={}".format, st.integers(0, 3), few_mib),
    st.builds("swapon /swap{} size={} priority=5".format, st.integers(0, 3), few_mib),
    st.builds(
        "swapoff {}".format, st.sampled_from(["/dev/vda2", "/swap0", "/swap1", "/swap2", "/swap3"])
    ),
    st.builds("memcg /web limit={}".format, few_mib),
    st.builds("join {} /web".format, pids),
    st.builds("kill {} {}".format, pids, st.sampled_from(["TERM", "KILL", "STOP", "CONT"])),
    st.builds("hold {} {}".format, pids, st.sampled_from(["stuck for=700ms", "at-exit"])),
    st.builds("release {}".format, pids),
    st.builds("set {} {}={}".format, pids, kinds, few_mib),
    st.builds("exec {} rss={}".format, pids, few_mib),
    st.builds("thread {}".format, pids),
)
forks = st.builds(
    "clone parent={} vm={}".format, pids, st.sampled_from(["shared", "copied", "copied"])
)
sysctls = st.builds(
    "{}={}".format,
    st.sampled_from(["vm/swappiness", "vm/vfs_cache_pressure"]),
    st.sampled_from([0, 60, 100, 200]),
)
FIRST = ["cache clean=10M dirty=4M", "slab reclaimable=2M", "memcg /web limit=20M"]
kernels = st.sampled_from(PROFILE_NAMES)


def scripts(*more: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    """Return strategies for commands and settings, each with a time to let pass behind it.

    It begins with cache and a task that grows, so that memory gets short in most of them.
    """
    times = st.sampled_from([1, 50, 333, 1000, 2500]).map("+{}".format)
    what = st.one_of(commands, commands, growers, sysctls, *more)
    steps = st.lists(st.tuples(what, times), min_size=1, max_size=12)
    begin = st.tuples(growers, st.just("+500"))
    return st.tuples(begin, steps).map(
        lambda script: [*FIRST, *script[0], *(line for step in script[1] for line in step)]
    )


nodes = st.sampled_from(
    [
        HARDWARE,
        Hardware(node_pages=(20 * MIB_PAGES + 1, 30 * MIB_PAGES, 13 * MIB_PAGES + 7), swap_pages=9),
    ]
)
"""One node, or three whose shares of anything are no whole numbers."""

FILES = ("meminfo", "vmstat", "zoneinfo", "buddyinfo", "slabinfo", "swaps")
SAME = {
    "MemFree": "nr_free_pages",
    "Cached": "nr_file_pages",
    "Active(anon)": "nr_active_anon",
    "Inactive(anon)": "nr_inactive_anon",
    "Active(file)": "nr_active_file",
    "Inactive(file)": "nr_inactive_file",
    "Unevictable": "nr_unevictable",
    "Mlocked": "nr_mlock",
    "Dirty": "nr_dirty",
    "AnonPages": "nr_anon_pages",
    "Mapped": "nr_mapped",
    "Shmem": "nr_shmem",
    "SReclaimable": "nr_slab_reclaimable",
    "SUnreclaim": "nr_slab_unreclaimable",
    "PageTables": "nr_page_table_pages",
}
"""Lines of meminfo, and the counters of vmstat that they are."""


class World:
    """A machine that is looked at after every event and every command."""

    def __init__(self, kernel: str, *, watched: bool = True, hardware: Hardware = HARDWARE) -> None:
        self.machine = Machine(KernelConfig(kernel), hardware, first_pid=100)
        self.procfs = Procfs(self.machine)
        if watched:
            self._watch_events()

    def _watch_events(self) -> None:
        events = self.machine.events
        schedule = events.at

        def at(due_ns: int, action: Callable[[], object]) -> Event:
            def watched() -> None:
                action()
                require_sound(self.machine)

            return schedule(due_ns, watched)

        events.at = at  # type: ignore[method-assign, assignment]

    def do(self, line: str) -> None:
        """Run a command, a setting or a time; what is refused is refused."""
        try:
            if line.startswith("+"):
                self.machine.advance(int(line) * MS)
            elif "/" in line.partition("=")[0] and not line.startswith(("swap", "join", "memcg")):
                name, value = line.split("=")
                self.machine.store_sysctl(name, value.encode())
            else:
                file = self.procfs.lookup("/fakeproc/ctl", self.machine.root)
                assert isinstance(file, File)
                file.store(self.machine.root, line.encode())
        except Refused:
            pass


def mms_of(machine: Machine) -> list[Mm]:
    found = {thread.mm: None for thread in machine.threads() if thread.mm}
    return list(found)


def require_sound(machine: Machine, *, forked: bool = False) -> None:
    """Require that everything adds up, and that nothing is negative."""
    memory, used, hardware = machine.memory, machine.used, machine.hardware
    sizes = [mm.sizes for mm in mms_of(machine)]
    assert used == sum(sizes, MemorySizes())
    assert not [each for each in sizes if each.problem()]
    assert min(memory.cache_clean_pages, memory.cache_dirty_pages) >= 0
    assert min(memory.slab_reclaimable_pages, memory.slab_unreclaimable_pages) >= 0
    assert min(dataclasses.astuple(memory.counters)) >= 0
    tasks = used.anon_pages + used.file_pages + used.shmem_pages + used.pagetable_pages
    claimed = memory.free_pages + memory.cache_pages + tasks + memory.slab_pages
    reserved = hardware.present_pages - hardware.ram_pages
    assert claimed - memory.shared_pages + reserved == hardware.present_pages
    in_areas = [(area.size_pages, pages) for area, pages in memory.swap_used()]
    assert all(0 <= pages <= size for size, pages in in_areas)
    assert sum(size for size, _ in in_areas) == hardware.swap_pages
    assert sum(pages for _, pages in in_areas) + machine.free_swap_entries == hardware.swap_pages
    if not forked:
        assert memory.shared_pages == 0
        assert used.swap_entries <= hardware.swap_pages


@settings(deadline=None)
@given(kernels, scripts())
def test_ram_and_swap_add_up_at_every_event(kernel: str, script: list[str]) -> None:
    world = World(kernel)
    for line in script:
        world.do(line)
        require_sound(world.machine)


@settings(deadline=None)
@given(kernels, scripts(forks))
def test_forks_share_what_does_not_fit_twice(kernel: str, script: list[str]) -> None:
    world = World(kernel, watched=False)
    for line in script:
        world.do(line)
        require_sound(world.machine, forked=True)


@settings(deadline=None)
@given(kernels, scripts(forks))
def test_how_time_is_cut_changes_nothing(kernel: str, script: list[str]) -> None:
    whole, cut = World(kernel, watched=False), World(kernel, watched=False)
    for line in script:
        whole.do(line)
        for part in pieces(line):
            cut.do(part)
    assert dump(cut.procfs) == dump(whole.procfs)
    now_ns = whole.machine.now_ns
    for name, pressure in whole.machine.pressure.items():
        assert cut.machine.pressure[name].render(now_ns) == pressure.render(now_ns)


def pieces(line: str) -> list[str]:
    """Cut a time into uneven parts; leave a command whole."""
    if not line.startswith("+"):
        return [line]
    ms = int(line)
    first = ms // 3
    return [f"+{first}", *["+1"] * min(7, ms - first), f"+{max(ms - first - 7, 0)}"]


@settings(deadline=None)
@given(kernels, scripts())
def test_a_death_frees_what_the_task_held_alone(kernel: str, script: list[str]) -> None:
    machine = (world := World(kernel)).machine
    for line in script:
        world.do(line)
    for pid in [pid for pid in machine.processes if pid > 2]:
        process = machine.processes[pid]
        if process.is_zombie or process.mm is None or machine.panicked:
            continue
        alone = process.mm.users == sum(thread.alive for thread in process.threads)
        held, free = process.mm.sizes, (machine.free_pages, machine.free_swap_entries)
        world.do(f"release {pid}")
        machine.behave(process, None) if not process.group_exit else None
        world.do(f"exit {pid}")
        gone = process.is_zombie or process.reaped
        expected = (held.ram_pages, held.swap_entries) if alone and gone else (0, 0)
        now = (machine.free_pages, machine.free_swap_entries)
        assert (now[0] - free[0], now[1] - free[1]) == expected


@settings(deadline=None)
@given(kernels, scripts())
def test_meminfo_adds_up(kernel: str, script: list[str]) -> None:
    world = World(kernel)
    for line in script:
        world.do(line)
    lines = [line.split() for line in render_meminfo(world.machine).decode().splitlines()]
    kib = {words[0].rstrip(":"): int(words[1]) for words in lines}
    parts = ("MemFree", "AnonPages", "Cached", "Slab", "PageTables")
    assert sum(kib[part] for part in parts) == kib["MemTotal"] == HARDWARE.ram_pages * PAGE_KIB
    assert kib["Active"] == kib["Active(anon)"] + kib["Active(file)"]
    assert kib["Inactive"] == kib["Inactive(anon)"] + kib["Inactive(file)"]
    listed = kib["Active"] + kib["Inactive"] + kib["Unevictable"]
    assert listed == kib["AnonPages"] + kib["Cached"]


@settings(deadline=None, max_examples=25)
@given(kernels, nodes, scripts(forks))
def test_the_files_about_memory_agree(kernel: str, hardware: Hardware, script: list[str]) -> None:
    world = World(kernel, watched=False, hardware=hardware)
    before: dict[str, int] = {}
    for line in script:
        world.do(line)
        before = require_agreement(world.machine, before)


def content(path: str, machine: Machine) -> str:
    row = SYSTEM_ENTRIES[path]
    assert isinstance(row, SystemFile)
    return row.render(machine).decode()


def require_agreement(machine: Machine, before: dict[str, int]) -> dict[str, int]:
    """Hold meminfo, vmstat, zoneinfo, buddyinfo, slabinfo and swaps against each other.

    Return vmstat; what it counts has not become less than before.
    """
    text = {path: content(path, machine) for path in FILES}
    kib = {name: int(value) for name, value in re.findall(r"(\S+): +(\d+)", text["meminfo"])}
    vmstat = {name: int(value) for name, value in map(str.split, text["vmstat"].splitlines())}
    zones = re.split("^Node ", text["zoneinfo"], flags=re.M)[1:]

    for line, counter in SAME.items():
        assert kib[line] == vmstat[counter] * PAGE_KIB, line
    assert kib["Active"] == (vmstat["nr_active_anon"] + vmstat["nr_active_file"]) * PAGE_KIB
    assert kib["Inactive"] == (vmstat["nr_inactive_anon"] + vmstat["nr_inactive_file"]) * PAGE_KIB
    assert kib["KernelStack"] == vmstat["nr_kernel_stack"] == 16 * machine.thread_count
    assert vmstat["nr_anon_pages"] == sum(mm.sizes.anon_pages for mm in mms_of(machine))
    assert kib["MemAvailable"] <= kib["MemTotal"]

    for name in set(re.findall(r"^ {4,6}(n\w+|working\w+) +\d+$", text["zoneinfo"], re.M)):
        parts = sum(int(n) for n in re.findall(rf"^ {{4,6}}{name} +(\d+)$", text["zoneinfo"], re.M))
        assert parts == vmstat[name], name
    for name, whole in (("free", vmstat["nr_free_pages"]), ("managed", machine.hardware.ram_pages)):
        found = [re.search(rf"^ +(?:pages )?{name} +(\d+)$", zone, re.M) for zone in zones]
        assert sum(int(match[1]) for match in found if match) == whole
    blocks = [line.split()[4:] for line in text["buddyinfo"].splitlines()]
    free = sum(int(count) << order for row in blocks for order, count in enumerate(row))
    assert free == vmstat["nr_free_pages"]
    caches = [line.split() for line in text["slabinfo"].splitlines()[2:]]
    assert sum(int(row[5]) * int(row[14]) for row in caches) * PAGE_KIB == kib["Slab"]
    areas = [line.split() for line in text["swaps"].splitlines()[1:]]
    assert sum(int(row[2]) for row in areas) == kib["SwapTotal"]
    assert sum(int(row[3]) for row in areas) == kib["SwapTotal"] - kib["SwapFree"]

    for name, value in before.items():
        assert name.startswith("nr_") or value <= vmstat[name], name
    return vmstat
