# SPDX-License-Identifier: MIT
"""psutil, told by PROCFS_PATH where the mount is: all of its calls that read files.

Those that ask the kernel by pid (nice, ionice, cpu_affinity, rlimit, send_signal, wait)
would ask the host's, about another process.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from typing import Any

import pytest

from fakeproc.kernel.available import available
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.task import PAGE_BYTES, Process
from fakeproc.kernel.task_view import shown_state
from fakeproc.procfs.task.node import user_sizes
from fakeproc.procfs.task.stat import CLOCK_TICKS_PER_S
from tests.conftest import Mounted
from tests.tools.conftest import (
    AGE_S,
    NS_PER_S,
    Table,
    machine_file,
    machine_link,
    machine_names,
    user_name,
)

_PSUTIL = """
import json, sys
import psutil

psutil.PROCFS_PATH = sys.argv[1]
OF_PROCESSES = (
    "name", "exe", "cmdline", "cwd", "environ", "status", "ppid", "username", "uids", "gids",
    "terminal", "create_time", "memory_info", "memory_full_info", "cpu_times", "cpu_num",
    "num_threads", "threads", "num_fds", "open_files", "io_counters", "num_ctx_switches",
    "memory_percent",
)
OF_THE_SYSTEM = (
    "pids", "virtual_memory", "swap_memory", "boot_time", "cpu_times", "cpu_stats", "cpu_count",
    "disk_partitions", "disk_io_counters", "net_io_counters", "net_connections",
)

def plain(value):
    if hasattr(value, "_asdict"):
        return {name: plain(item) for name, item in value._asdict().items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value

def ask(call):
    try:
        return plain(call())
    except psutil.Error as error:
        return {"error": type(error).__name__}

def look(process):
    found = {name: ask(getattr(process, name)) for name in OF_PROCESSES}
    found["children"] = ask(lambda: sorted(child.pid for child in process.children()))
    found["parents"] = ask(lambda: [parent.pid for parent in process.parents()])
    found["memory_maps"] = ask(lambda: process.memory_maps(grouped=False))
    found["is_running"] = process.is_running()
    return found

print(json.dumps({
    "processes": {process.pid: look(process) for process in psutil.process_iter()},
    "percpu": plain(psutil.cpu_times(percpu=True)),
    **{name: plain(getattr(psutil, name)()) for name in OF_THE_SYSTEM},
}))
"""

_STATUS = {
    "S": "sleeping",
    "R": "running",
    "D": "disk-sleep",
    "Z": "zombie",
    "T": "stopped",
    "I": "idle",
}

Found = dict[str, Any]


def _python(code: str, mounted: Mounted) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, mounted.path],
        env=mounted.env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def looks() -> dict[int, Found]:
    """Return what has been seen, by the table."""
    return {}


@pytest.fixture
def found(table: Table, looks: dict[int, Found]) -> Found:
    """Return all that psutil says; it is asked once."""
    if id(table) not in looks:
        looks[id(table)] = json.loads(_python(_PSUTIL, table.mounted))
    return looks[id(table)]


def _each(table: Table, found: Found) -> list[tuple[Process, Found]]:
    processes = table.machine.processes
    return [(process, found["processes"][str(pid)]) for pid, process in processes.items()]


def _status(table: Table, process: Process) -> dict[str, str]:
    lines = machine_file(table.machine, f"{process.pid}/status").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _stat(table: Table, process: Process, number: int) -> int:
    """Return a field of stat, counted as proc(5) does."""
    text = machine_file(table.machine, f"{process.pid}/stat")
    return int(text.rpartition(") ")[2].split()[number - 3])


def _link(table: Table, path: str) -> str | None:
    try:
        return machine_link(table.machine, path)
    except Refused:
        return None


def test_who_they_are(table: Table, found: Found) -> None:
    processes = table.machine.processes
    assert [pid for pid in found["pids"] if pid in processes] == sorted(processes)
    for process, seen in _each(table, found):
        credentials = process.leader.credentials
        assert seen["name"] == process.comm
        assert seen["status"] == _STATUS[shown_state(table.machine.profile, process.leader)[0]]
        assert seen["username"] == user_name(credentials.uid)
        for ids, number in (("uids", credentials.uid), ("gids", credentials.gid)):
            assert seen[ids] == dict.fromkeys(("real", "effective", "saved"), number)
        assert seen["num_threads"] == len(process.threads)
        assert [thread["id"] for thread in seen["threads"]] == [t.tid for t in process.threads]
        assert seen["is_running"]


def test_the_family(table: Table, found: Found) -> None:
    for process, seen in _each(table, found):
        parents = []
        parent = process.real_parent
        while parent is not None:
            parents.append(parent.process.pid)
            parent = parent.process.real_parent
        assert seen["ppid"] == (parents[0] if parents else 0)
        assert seen["parents"] == parents
        children = [pid for pid in seen["children"] if pid in table.machine.processes]
        assert children == sorted(child.pid for child in process.children)


def test_what_they_run(table: Table, found: Found) -> None:
    # Since 6.16 who has no mm, and so no environment, cannot be asked for it.
    needs_mm = table.machine.profile.mem_open_needs_mm
    for process, seen in _each(table, found):
        gone = "ZombieProcess" if process.is_zombie else "NoSuchProcess"
        if needs_mm and process.mm is None:
            assert seen["environ"] == {"error": gone}
        else:
            pairs = machine_file(table.machine, f"{process.pid}/environ").split("\0")
            assert seen["environ"] == dict(pair.split("=", 1) for pair in pairs if pair)
        if process.is_zombie:
            assert seen["cmdline"] == {"error": gone}
            continue
        words = machine_file(table.machine, f"{process.pid}/cmdline").removesuffix("\0")
        # Where there is only one word psutil takes blanks for the ends of words.
        assert seen["cmdline"] == (words.split("\0" if "\0" in words else " ") if words else [])
        assert seen["exe"] == (_link(table, f"{process.pid}/exe") or "")
        assert seen["cwd"] == _link(table, f"{process.pid}/cwd")


def test_what_they_have_open(table: Table, found: Found) -> None:
    for process, seen in _each(table, found):
        numbers = machine_names(table.machine, f"{process.pid}/fd")
        assert seen["num_fds"] == len(numbers)
        links = {_link(table, f"{process.pid}/fd/{number}") for number in numbers}
        assert {opened["path"] for opened in seen["open_files"]} <= links


def test_their_memory(table: Table, found: Found) -> None:
    for process, seen in _each(table, found):
        sizes = user_sizes(process.leader)
        memory, full = seen["memory_info"], seen["memory_full_info"]
        rss, vms = sizes.rss_pages * PAGE_BYTES, sizes.total_vm_pages * PAGE_BYTES
        assert (memory["rss"], memory["vms"]) == (rss, vms)
        assert memory["shared"] == (sizes.file_pages + sizes.shmem_pages) * PAGE_BYTES
        share = 100 * sizes.rss_pages / table.machine.hardware.ram_pages
        assert seen["memory_percent"] == pytest.approx(share)
        if process.mm is None or process.is_kthread:
            assert seen["memory_maps"] in ([], {"error": "ZombieProcess"})
            continue
        assert full["swap"] == sizes.swap_entries * PAGE_BYTES
        # The sizes of smaps are rounded to kB, one by one.
        assert full["uss"] <= full["pss"] <= rss
        assert sum(area["rss"] for area in seen["memory_maps"]) == rss
        assert sum(area["swap"] for area in seen["memory_maps"]) == full["swap"]


def test_their_time(table: Table, found: Found) -> None:
    machine = table.machine
    for process, seen in _each(table, found):
        ticks = {name: _stat(table, process, number) for name, number in _TIMES.items()}
        shown = seen["cpu_times"]
        assert {name: shown[name] for name in ticks} == {
            name: number / CLOCK_TICKS_PER_S for name, number in ticks.items()
        }
        assert seen["cpu_num"] == _stat(table, process, 39)
        began_s = found["boot_time"] + process.leader.start_time_ns / NS_PER_S
        assert seen["create_time"] == pytest.approx(began_s, abs=0.01)
        switches = _status(table, process)
        assert seen["num_ctx_switches"] == {
            "voluntary": int(switches["voluntary_ctxt_switches"]),
            "involuntary": int(switches["nonvoluntary_ctxt_switches"]),
        }
    assert found["boot_time"] == pytest.approx(
        time.time() - machine.now_ns / NS_PER_S, abs=60 + 2 * AGE_S
    )


_TIMES = {"user": 14, "system": 15, "children_user": 16, "children_system": 17}


def test_what_they_read_and_write(table: Table, found: Found) -> None:
    for process, seen in _each(table, found):
        lines = machine_file(table.machine, f"{process.pid}/io").splitlines()
        io = {name: int(number) for name, number in (line.split(": ") for line in lines)}
        assert seen["io_counters"] == {
            "read_count": io["syscr"],
            "write_count": io["syscw"],
            "read_bytes": io["read_bytes"],
            "write_bytes": io["write_bytes"],
            "read_chars": io["rchar"],
            "write_chars": io["wchar"],
        }


def test_the_memory(table: Table, found: Found) -> None:
    machine = table.machine
    memory, swap = found["virtual_memory"], found["swap_memory"]
    assert memory["total"] == machine.hardware.ram_pages * PAGE_BYTES
    assert memory["free"] == machine.memory.free_pages * PAGE_BYTES
    assert memory["available"] == available(machine) * PAGE_BYTES
    assert memory["shared"] == machine.used.shmem_pages * PAGE_BYTES
    assert memory["slab"] == machine.memory.slab_pages * PAGE_BYTES
    used_pages = machine.hardware.swap_pages - machine.free_swap_entries
    assert swap["total"] == machine.hardware.swap_pages * PAGE_BYTES
    assert swap["used"] == used_pages * PAGE_BYTES
    counters = machine.memory.counters
    assert (swap["sin"], swap["sout"]) == (
        counters.pswpin * PAGE_BYTES,
        counters.pswpout * PAGE_BYTES,
    )


def test_the_cpus(table: Table, found: Found) -> None:
    lines = machine_file(table.machine, "stat").splitlines()
    cpus = [line.split()[1:] for line in lines if re.match(r"cpu\d", line)]
    assert len(found["percpu"]) == len(cpus) == table.machine.hardware.cpus
    for seen, ticks in zip(
        [found["cpu_times"], *found["percpu"]], [lines[0].split()[1:], *cpus], strict=True
    ):
        for name, number in zip(("user", "nice", "system", "idle", "iowait"), ticks, strict=False):
            assert seen[name] == int(number) / CLOCK_TICKS_PER_S
    counts = dict(line.split(" ")[:2] for line in lines)
    assert found["cpu_stats"]["ctx_switches"] >= int(counts["ctxt"])
    assert found["cpu_stats"]["interrupts"] >= int(counts["intr"])
    assert found["cpu_count"] == table.machine.hardware.cpus


def test_disks_and_networks(table: Table, found: Found) -> None:
    """As the machine's files have them; psutil looks disks up in the host's /sys."""
    lines = (line.split(":") for line in machine_file(table.machine, "1/net/dev").splitlines()[2:])
    totals = [[int(number) for number in numbers.split()] for _, numbers in lines]
    network = found["net_io_counters"]
    assert network is not None
    assert network["bytes_recv"] == sum(numbers[0] for numbers in totals)
    assert network["bytes_sent"] == sum(numbers[8] for numbers in totals)
    mounts = [line.split() for line in machine_file(table.machine, "1/mounts").splitlines()]
    shown = {
        (part["device"], part["mountpoint"], part["fstype"]) for part in found["disk_partitions"]
    }
    assert shown <= {(words[0], words[1], words[2]) for words in mounts}
    assert found["net_connections"] == []


def test_psutil_misses_who_is_gone(own_table: Table) -> None:
    mounted = own_table.mounted
    pid = mounted.control("spawn name=short")
    script = (
        "import sys, psutil\n"
        "psutil.PROCFS_PATH = sys.argv[1]\n"
        f"process = psutil.Process({pid})\n"
        "with open(sys.argv[1] + '/fakeproc/ctl', 'w') as ctl:\n"
        f"    ctl.write('exit {pid}\\nreap {pid}\\n')\n"
        "assert not process.is_running()\n"
        "try:\n"
        "    process.name()\n"
        "    process.status()\n"
        "except psutil.NoSuchProcess:\n"
        "    print('gone')\n"
    )
    assert _python(script, mounted) == "gone\n"
