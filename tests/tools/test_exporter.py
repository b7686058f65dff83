# SPDX-License-Identifier: MIT
"""prometheus-node-exporter on the mount: every collector that reads /proc succeeds."""

from __future__ import annotations

import re
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fakeproc.kernel.task import State
from fakeproc.procfs.inputs import VISITOR_SIZES
from tests.tools.conftest import Table, machine_file, machine_names, program

COLLECTORS = (
    *("arp", "buddyinfo", "cpu", "diskstats", "entropy", "filefd", "filesystem", "interrupts"),
    *("loadavg", "meminfo", "netstat", "processes", "schedstat", "slabinfo", "sockstat", "softnet"),
    *("stat", "udp_queues", "uname", "vmstat", "zoneinfo"),
)
SINCE_4_20 = ("pressure",)

_FILE_MAX = "sys/fs/file-max"
_SUCCESS = "node_scrape_collector_success"
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")


Metrics = dict[tuple[str, str], float]


@contextmanager
def _exporter(table: Table, collectors: tuple[str, ...]) -> Iterator[str]:
    """Start an exporter of these collectors; yield where it answers."""
    command = [
        program("prometheus-node-exporter"),
        f"--path.procfs={table.mounted.path}",
        "--web.listen-address=127.0.0.1:0",
        "--collector.disable-defaults",
        *(f"--collector.{name}" for name in collectors),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            found = re.search(r'msg="Listening on" address=(\S+)', line)
            if found:
                yield f"http://{found[1]}/metrics"
                break
        else:
            raise AssertionError("it does not listen")
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def metrics(table: Table) -> Metrics:
    """Return what an exporter says, by the name of the metric and its labels."""
    profile = table.machine.profile
    collectors = COLLECTORS + (SINCE_4_20 if profile.psi_file else ())
    with _exporter(table, collectors) as url, urllib.request.urlopen(url, timeout=30) as answer:
        text = answer.read().decode()
    found: Metrics = {}
    for line in text.splitlines():
        sample = _SAMPLE.match(line)
        if sample:
            found[sample[1], sample[2] or ""] = float(sample[3])
    succeeded = {name: found[_SUCCESS, f'collector="{name}"'] for name in collectors}
    assert succeeded == dict.fromkeys(collectors, 1)
    return found


def test_memory(table: Table, metrics: Metrics) -> None:
    """Its collectors run at once: meminfo is read before or after one looks for itself."""
    visited = table.load_machine()
    visited.spawn("exporter", sizes=VISITOR_SIZES)
    texts = [machine_file(machine, "meminfo") for machine in (table.machine, visited)]
    for lines in zip(*(text.splitlines() for text in texts), strict=True):
        (name, _, *unit), *_ = words = [line.replace(":", " ").split() for line in lines]
        metric = f"node_memory_{name.replace('(', '_').rstrip(')')}{'_bytes' if unit else ''}"
        expected = [int(value) * (1024 if unit else 1) for _, value, *_ in words]
        assert metrics[metric, ""] in expected, name


def test_counters(table: Table, metrics: Metrics) -> None:
    counters = dict(line.split() for line in machine_file(table.machine, "vmstat").splitlines())
    for name in ("pgfault", "pgmajfault", "pgpgin", "pgpgout", "pswpin", "pswpout"):
        assert metrics[f"node_vmstat_{name}", ""] == int(counters[name])
    if table.machine.profile.count_oom_kill:
        assert metrics["node_vmstat_oom_kill", ""] == table.machine.oom_kills


def test_load_and_tasks(table: Table, metrics: Metrics) -> None:
    machine = table.machine
    averages = machine.load_average.render(machine.now_ns).split()
    for minutes, value in zip((1, 5, 15), averages, strict=True):
        assert metrics[f"node_load{minutes}", ""] == float(value)
    assert metrics["node_procs_blocked", ""] == machine.count_in_state(State.DISK_SLEEP)
    assert metrics["node_procs_running", ""] == machine.count_in_state(State.RUNNING)
    states = [process.leader.state for process in machine.processes.values()]
    for letter in set(states) - {State.SLEEPING}:
        assert metrics["node_processes_state", f'state="{letter}"'] == states.count(letter)
    threads = metrics["node_processes_threads", ""]
    assert machine.thread_count <= threads <= machine.thread_count + 1


def test_open_files(table: Table, metrics: Metrics) -> None:
    processes = table.machine.processes
    opened = sum(len(machine_names(table.machine, f"{pid}/fd")) for pid in processes)
    # With those of who asks, if it has looked for itself.
    assert opened <= metrics["node_filefd_allocated", ""] <= opened + 3
    assert metrics["node_filefd_maximum", ""] == int(machine_file(table.machine, _FILE_MAX))


def test_pressure(table: Table, metrics: Metrics) -> None:
    if not table.machine.profile.psi_file:
        assert not [name for name, _ in metrics if name.startswith("node_pressure")]
        return
    for resource in ("memory", "io"):
        lines = machine_file(table.machine, f"pressure/{resource}").splitlines()
        some, full = (int(line.rpartition("=")[2]) / 1e6 for line in lines)
        assert metrics[f"node_pressure_{resource}_waiting_seconds_total", ""] == some
        assert metrics[f"node_pressure_{resource}_stalled_seconds_total", ""] == full


def test_cpu_time(table: Table, metrics: Metrics) -> None:
    ticks = machine_file(table.machine, "stat").splitlines()[1].split()[1:]
    for mode, number in zip(("user", "nice", "system", "idle", "iowait"), ticks, strict=False):
        assert metrics["node_cpu_seconds_total", f'cpu="0",mode="{mode}"'] == int(number) / 100
