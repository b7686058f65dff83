# SPDX-License-Identifier: MIT
"""procps, but for ps: free, vmstat, top, pgrep, pidof, pmap, uptime, w, slabtop, sysctl."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakeproc.kernel.available import available
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.task import PAGE_BYTES, PAGE_KIB, MemorySizes, Process, State
from fakeproc.kernel.task_view import shown_state
from fakeproc.procfs.inputs import VISITOR_SIZES
from fakeproc.procfs.task.node import user_sizes
from tests.tools.conftest import AGE_S, Table, machine_file, machine_names

UPTIME_S = 93784 + AGE_S
"""What machine.toml says, and how long it has gone on."""


# -- free and vmstat ---------------------------------------------------------------


def _memory_kib(table: Table, *, visitors: int = 0) -> dict[str, int]:
    """Return what free shows of the machine, in kB; a visitor is a tool that has a task there."""
    visited_pages = visitors * table.visitor_bytes // PAGE_BYTES
    machine = table.machine
    memory, used = machine.memory, machine.used
    cached_pages = used.file_pages + used.shmem_pages + memory.cache_pages
    pages = {
        "total": machine.hardware.ram_pages,
        "used": machine.hardware.ram_pages - available(machine) + visited_pages,
        "free": memory.free_pages - visited_pages,
        "shared": used.shmem_pages,
        "buffers": 0,
        "cache": cached_pages + memory.slab_reclaimable_pages,
        "available": available(machine) - visited_pages,
        "swap total": machine.hardware.swap_pages,
        "swap used": machine.hardware.swap_pages - machine.free_swap_entries,
        "swap free": machine.free_swap_entries,
        "slab": memory.slab_pages,
    }
    return {name: count * PAGE_KIB for name, count in pages.items()}


def test_free(table: Table) -> None:
    expected = _memory_kib(table)
    header, mem, swap, comm = table.rows("free", "-wv")
    assert header == ["total", "used", "free", "shared", "buffers", "cache", "available"]
    assert mem == ["Mem:", *(str(expected[name]) for name in header)]
    assert swap == ["Swap:", *(str(expected[f"swap {name}"]) for name in header[:3])]
    limit = expected["total"] // 2 + expected["swap total"]
    committed = table.machine.used.total_vm_pages * PAGE_KIB
    assert comm == ["Comm:", *map(str, (limit, committed, limit - committed))]


def test_free_in_bytes(table: Table) -> None:
    expected = _memory_kib(table)
    header, mem, swap = table.rows("free", "-b")
    shown = dict(zip(header, map(int, mem[1:]), strict=True))
    cache = expected["buffers"] + expected["cache"]
    wanted = {**expected, "buff/cache": cache}
    assert shown == {name: wanted[name] * 1024 for name in header}
    assert int(swap[1]) == expected["swap total"] * 1024


def test_vmstat(table: Table) -> None:
    expected, machine = _memory_kib(table, visitors=1), table.machine
    _, header, values = table.rows("vmstat")
    shown = dict(zip(header, map(int, values), strict=True))
    assert shown["b"] == machine.count_in_state(State.DISK_SLEEP)
    assert shown["r"] == machine.count_in_state(State.RUNNING) == 1
    assert shown["swpd"] == expected["swap used"]
    assert shown["free"] == expected["free"]
    assert shown["buff"] == expected["buffers"]
    assert shown["cache"] == expected["cache"]
    assert sum(shown[name] for name in ("us", "sy", "id", "wa", "st")) in range(98, 103)


def test_vmstat_of_active_memory(table: Table) -> None:
    meminfo = table.meminfo
    _, header, values = table.rows("vmstat", "-a")
    shown = dict(zip(header, map(int, values), strict=True))
    visitor_kib = VISITOR_SIZES.anon_pages * PAGE_KIB
    assert shown["active"] == meminfo["Active"] + visitor_kib
    assert shown["inact"] == meminfo["Inactive"]


def test_vmstat_summary(table: Table) -> None:
    expected, machine = _memory_kib(table, visitors=1), table.machine
    lines = (line.strip().split(" ", 1) for line in table.run("vmstat", "-s").splitlines())
    shown = {what: int(number) for number, what in lines}
    assert shown["K total memory"] == expected["total"]
    assert shown["K used memory"] == expected["used"]
    assert shown["K free memory"] == expected["free"]
    assert shown["K total swap"] == expected["swap total"]
    assert shown["K used swap"] == expected["swap used"]
    counters = machine.memory.counters
    assert shown["pages swapped in"] == counters.pswpin
    assert shown["pages swapped out"] == counters.pswpout
    boot_time = int(re.findall(r"^btime (\d+)$", table.mounted.read("stat"), re.MULTILINE)[0])
    assert shown["boot time"] == boot_time
    ticks = _cpu_ticks(table)
    assert shown["non-nice user cpu ticks"] == ticks[0]
    assert shown["system cpu ticks"] == ticks[2]
    assert shown["idle cpu ticks"] == ticks[3]
    assert shown["forks"] >= machine.forks


def _cpu_ticks(table: Table) -> list[int]:
    """Return user, nice, system, idle ... of all CPUs, in hundredths of a second."""
    return [int(word) for word in machine_file(table.machine, "stat").splitlines()[0].split()[1:]]


def test_vmstat_of_disks(table: Table) -> None:
    """It takes for disks what the host has in /sys/block."""
    rows = [line.split() for line in machine_file(table.machine, "diskstats").splitlines()]
    disks = [words[2:14] for words in rows if Path("/sys/block", words[2]).exists()]
    shown = [words for words in table.rows("vmstat", "-d") if words[1].isdecimal()]
    assert [words[0] for words in shown] == [words[0] for words in disks]
    for words, (_, *numbers) in zip(shown, disks, strict=True):
        assert words[1:9] == numbers[:8]


def test_vmstat_of_slabs(table: Table) -> None:
    lines = table.rows("vmstat", "-m")
    assert lines[0] == ["Cache", "Num", "Total", "Size", "Pages"]
    slabs = {words[0]: list(map(int, words[1:])) for words in lines[1:]}
    rows = [line.split() for line in machine_file(table.machine, "slabinfo").splitlines()[2:]]
    for name, active, total, size, per_slab, *_ in rows:
        assert slabs[name[:24]] == [int(active), int(total), int(size), int(per_slab)]


def test_slabtop(table: Table) -> None:
    rows = [line.split() for line in machine_file(table.machine, "slabinfo").splitlines()[2:]]
    pages = sum(int(words[14]) * int(words[5]) for words in rows)
    assert pages == table.machine.memory.slab_pages
    text = table.run("slabtop", "-o")
    (total_kib,) = re.findall(r"Active / Total Size \(% used\) +: \S+K / (\S+)K", text)
    in_objects_kib = sum(int(words[2]) * int(words[3]) for words in rows) / 1024
    assert float(total_kib) == pytest.approx(in_objects_kib, rel=0.01)
    objects = {words[0]: int(words[2]) for words in rows}
    shown = {words[7]: int(words[0]) for words in (line.split() for line in text.splitlines()[7:])}
    assert shown
    for name, count in shown.items():
        assert objects[name] == count


# -- top ---------------------------------------------------------------------------


def _top_rows(text: str) -> dict[int, dict[str, str]]:
    lines = text.splitlines()
    begin = next(n for n, line in enumerate(lines) if line.lstrip().startswith("PID "))
    names = lines[begin].split()
    width = len(names) - 1
    rows = (dict(zip(names, line.split(None, width), strict=True)) for line in lines[begin + 1 :])
    return {int(row["PID"]): row for row in rows}


def test_top(table: Table) -> None:
    machine = table.machine
    text = table.run("top", "-b", "-n1", "-w", "200")
    rows = _top_rows(text)
    for pid, process in machine.processes.items():
        _assert_top_row(rows[pid], process, machine)
    visitors = len(rows) - len(machine.processes)
    assert 0 <= visitors <= 1  # top itself
    states = [process.leader.state for process in machine.processes.values()]
    stopped, zombies = states.count(State.STOPPED), states.count(State.ZOMBIE)
    assert f"Tasks: {len(rows):3d} total," in text
    assert f"{stopped:3d} stopped, {zombies:3d} zombie" in text
    expected = _memory_kib(table, visitors=visitors)
    memory = {name: f"{kib / 1024:8.1f} {name}" for name, kib in expected.items()}
    assert f"MiB Mem : {memory['total']}," in text
    assert f"{expected['swap used'] / 1024:8.1f} used" in text
    assert f"{expected['available'] / 1024:8.1f} avail Mem" in text


def _assert_top_row(row: dict[str, str], process: Process, machine: Machine) -> None:
    sizes = user_sizes(process.leader)
    assert row["S"] == shown_state(machine.profile, process.leader)[0]
    for column, pages in (
        ("VIRT", sizes.total_vm_pages),
        ("RES", sizes.rss_pages),
        ("SHR", sizes.file_pages + sizes.shmem_pages),
    ):
        # What is too wide for its column is in GiB.
        kib, gib = f"{pages * PAGE_KIB}", f"{pages * PAGE_KIB / 1024**2:.1f}g"
        assert row[column] in (kib, gib)
    assert row["%MEM"] == f"{100 * sizes.rss_pages / machine.hardware.ram_pages:.1f}"
    assert row["COMMAND"] == process.comm


def test_top_of_threads(table: Table) -> None:
    rows = _top_rows(table.run("top", "-H", "-b", "-n1", "-w", "200"))
    for thread in table.machine.threads():
        assert rows[thread.tid]["S"] == shown_state(table.machine.profile, thread)[0]
        assert rows[thread.tid]["COMMAND"] == thread.comm


# -- pgrep, pidof, pmap ------------------------------------------------------------


VSYSCALL_KIB = 4
"""A page that is in maps and belongs to no mm."""


def _pids(table: Table, name: str) -> list[int]:
    return [p.pid for p in table.machine.processes.values() if p.comm == name]


def test_pgrep(table: Table) -> None:
    processes = table.machine.processes.values()
    nginx = _pids(table, "nginx")

    def pgrep(*options: str) -> list[int]:
        return [int(line.split()[0]) for line in table.run("pgrep", *options).splitlines()]

    assert pgrep("nginx") == nginx
    assert pgrep("-u", "33") == [p.pid for p in processes if p.leader.credentials.uid == 33]
    assert pgrep("-P", str(nginx[0])) == [p.pid for p in table.machine.process(nginx[0]).children]
    assert pgrep("-f", "^postgres: ") == _pids(table, "postgres")[1:]
    assert pgrep("--newest", "nginx") == nginx[-1:]
    assert pgrep("--oldest", "nginx") == nginx[:1]
    assert pgrep("-x", r"a\) b \(c") == _pids(table, "a) b (c")
    assert pgrep("-r", "Z") == _pids(table, "cgi")
    assert table.run("pgrep", "-c", "nginx") == f"{len(nginx)}\n"
    assert table.run("pgrep", "-l", "cruncher") == f"{table.pid('cruncher')} cruncher\n"
    assert table.run("pgrep", "-a", "nightly") == (
        f"{table.pid('nightly-job')} python3 /srv/jobs/nightly.py\n"
    )
    assert table.try_run("pgrep", "no-such-name").returncode == 1


def test_pidof(table: Table) -> None:
    assert table.rows("pidof", "nginx") == [[str(pid) for pid in reversed(_pids(table, "nginx"))]]
    assert table.try_run("pidof", "no-such-name").returncode == 1


def _sizes(table: Table, name: str) -> MemorySizes:
    return user_sizes(table.machine.process(table.pid(name)).leader)


@pytest.mark.parametrize("name", ["postgres", "nightly-job", "app", "keyring"])
def test_pmap(table: Table, name: str) -> None:
    sizes = _sizes(table, name)
    text = table.run("pmap", "-x", str(table.pid(name)))
    _, _, kib, rss, dirty = text.splitlines()[-1].split()
    assert int(kib) == sizes.total_vm_pages * PAGE_KIB + VSYSCALL_KIB
    assert int(rss) == sizes.rss_pages * PAGE_KIB
    assert 0 <= int(dirty) <= int(rss)
    plain = table.run("pmap", str(table.pid(name))).splitlines()[-1]
    assert plain.split() == ["total", f"{kib}K"]


@pytest.mark.parametrize("name", ["postgres", "nightly-job", "app", "keyring"])
def test_pmap_of_everything(table: Table, name: str) -> None:
    sizes = _sizes(table, name)
    lines = table.rows("pmap", "-X", str(table.pid(name)))
    shown = dict(zip(lines[1][5:-1], map(int, lines[-1][:-1]), strict=True))
    assert shown["Size"] == sizes.total_vm_pages * PAGE_KIB + VSYSCALL_KIB
    assert shown["Rss"] == sizes.rss_pages * PAGE_KIB
    assert shown["Swap"] == sizes.swap_entries * PAGE_KIB
    assert shown["Locked"] == sizes.mlocked_pages * PAGE_KIB


def test_pmap_of_who_has_no_memory(table: Table) -> None:
    for name in ("kswapd0", "cgi"):
        shown = table.run("pmap", str(table.pid(name))).splitlines()
        assert [line.split() for line in shown[1:]] in ([], [["total", "0K"]])


# -- uptime and w ------------------------------------------------------------------


def test_uptime(table: Table) -> None:
    text = table.run("uptime")
    minutes = UPTIME_S // 60
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    assert f" up {days} day, {hours:2d}:{minutes:02d}," in text
    averages = table.machine.load_average.render(table.machine.now_ns).replace(" ", ", ")
    assert text.endswith(f"load average: {averages}\n")


_UTMP = struct.Struct("<hxxi32s4s32s256shhiii16s20x")
_USER_PROCESS = 7
_WITH_UTMP = 'mkdir -p /run && mount -t tmpfs run /run && cp "$0" /run/utmp && exec w "$@"'


def test_w_shows_what_who_is_logged_in_runs(table: Table, tmp_path: Path) -> None:
    """The login is in utmp, a file of the host; what is in front on its terminal is in /proc."""
    shell = table.pid("bash")
    login = (_USER_PROCESS, shell, b"pts/0", b"0", b"root", b"example.org", 0, 0, shell, 0, 0, b"")
    utmp = tmp_path / "utmp"
    utmp.write_bytes(_UTMP.pack(*login))
    text = table.on_terminals("sh", "-c", _WITH_UTMP, os.fspath(utmp))
    first, header, row = text.splitlines()
    assert first.split(" up ")[1].startswith("1 day,")
    assert "1 user" in first
    assert header.split() == ["USER", "TTY", "FROM", "LOGIN@", "IDLE", "JCPU", "PCPU", "WHAT"]
    assert row.startswith("root     pts/0    example.org")
    assert row.endswith(" -bash")


# -- sysctl ------------------------------------------------------------------------


def _files(machine: Machine, folder: str) -> Iterator[str]:
    for name in machine_names(machine, folder):
        path = f"{folder}/{name}"
        try:
            yield from _files(machine, path)
        except Refused:
            yield path


def test_sysctl_shows_all(table: Table) -> None:
    """It fails at no file, and shows what each of them holds in a line."""
    shown = dict(line.split(" =", 1) for line in table.run("sysctl", "-a").splitlines())
    compared = []
    for path in _files(table.machine, "sys"):
        name = path.removeprefix("sys/").replace("/", "\0").replace(".", "/").replace("\0", ".")
        try:
            lines = machine_file(table.machine, path).splitlines()
        except Refused:
            continue  # only for writing
        if len(lines) == 1 and path not in _ANEW_EACH_TIME and name.split(".")[-1] not in _LEFT_OUT:
            assert shown[name].strip() == lines[0].strip()
            compared.append(name)
    assert len(compared) > 10
    assert shown["kernel.hostname"] == " toolbox"


_LEFT_OUT = ("base_reachable_time", "retrans_time")
"""What sysctl does not show, as it is deprecated."""

_ANEW_EACH_TIME = {
    f"sys/kernel/{name}" for name in ("random/boot_id", "random/uuid", "ns_last_pid")
}


def test_sysctl_changes_the_machine(own_table: Table) -> None:
    assert own_table.run("sysctl", "-w", "vm.swappiness=7") == "vm.swappiness = 7\n"
    assert own_table.mounted.read("sys/vm/swappiness") == "7\n"
    done = own_table.try_run("sysctl", "-w", "vm.panic_on_oom=9")
    assert "Invalid argument" in done.stderr
    assert own_table.mounted.read("sys/vm/panic_on_oom") == "0\n"
