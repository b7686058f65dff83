# SPDX-License-Identifier: MIT
"""sysstat: sar, pidstat, mpstat and iostat."""

from __future__ import annotations

import re

import pytest

from fakeproc.kernel.available import available
from fakeproc.kernel.task import PAGE_KIB, State
from fakeproc.procfs.task.node import user_sizes
from tests.tools.conftest import Table, machine_file


def _average(table: Table, *options: str) -> dict[str, float]:
    """Return the averages that sar prints of an interval."""
    lines = table.rows("sar", *options, "1", "1")
    header, values = lines[2], next(words for words in lines if words[:1] == ["Average:"])
    return dict(zip(header[1:], map(float, values[1:]), strict=True))


def test_sar_of_memory(table: Table) -> None:
    shown, machine = _average(table, "-r"), table.machine
    meminfo = table.meminfo
    assert shown["kbmemfree"] == machine.memory.free_pages * PAGE_KIB
    assert shown["kbavail"] == available(machine) * PAGE_KIB
    assert shown["kbcached"] == meminfo["Cached"]
    assert shown["kbcommit"] == meminfo["Committed_AS"]
    assert shown["kbactive"] == meminfo["Active"]
    assert shown["kbinact"] == meminfo["Inactive"]
    assert shown["kbdirty"] == meminfo["Dirty"]


def test_sar_of_swap(table: Table) -> None:
    shown, machine = _average(table, "-S"), table.machine
    assert shown["kbswpfree"] == machine.free_swap_entries * PAGE_KIB
    used_pages = machine.hardware.swap_pages - machine.free_swap_entries
    assert shown["kbswpused"] == used_pages * PAGE_KIB


def test_sar_of_the_queue(table: Table) -> None:
    shown, machine = _average(table, "-q"), table.machine
    averages = machine.load_average.render(machine.now_ns).split()
    names = ("ldavg-1", "ldavg-5", "ldavg-15")
    assert [shown[name] for name in names] == [float(text) for text in averages]
    assert shown["blocked"] == machine.count_in_state(State.DISK_SLEEP)
    assert 0 <= shown["plist-sz"] - machine.thread_count <= 3  # with sar and what it started


def test_sar_of_swapping(own_table: Table) -> None:
    """In a second less is swapped out than while sar is started, waits for it, and ends."""
    mounted = own_table.mounted

    def swapped_out() -> int:
        return int(re.findall(r"^pswpout (\d+)$", mounted.read("vmstat"), re.MULTILINE)[0])

    (mounted / "fakeproc/clock").write_text("real")
    mounted.control("spawn name=leak rss=2700M behaviour=grow rate=2G/s")
    before = swapped_out()
    shown = _average(own_table, "-W")
    assert 0 < shown["pswpout/s"] < 1.1 * (swapped_out() - before)


def _cpu_of_one_s(table: Table) -> dict[str, float]:
    header, values = table.rows("mpstat", "1", "1")[2:4]
    return dict(zip(header[2:], map(float, values[2:]), strict=True))


def test_mpstat_of_who_runs(own_table: Table) -> None:
    """One task runs without a pause, the others sleep: one CPU is busy."""
    (own_table.mounted / "fakeproc/clock").write_text("real")
    shown = _cpu_of_one_s(own_table)
    share = 100 / own_table.machine.hardware.cpus
    busy = 100 - shown["%idle"] - shown["%iowait"]
    assert busy == pytest.approx(share, rel=0.25)
    assert shown["%usr"] == pytest.approx(share, rel=0.25)


def test_mpstat_since_boot(table: Table) -> None:
    header, values = table.rows("mpstat")[2:4]
    shown = dict(zip(header[2:], map(float, values[2:]), strict=True))
    ticks = [int(n) for n in machine_file(table.machine, "stat").splitlines()[0].split()[1:]]
    for name, number in (("%usr", 0), ("%nice", 1), ("%sys", 2), ("%idle", 3), ("%iowait", 4)):
        assert shown[name] == pytest.approx(100 * ticks[number] / sum(ticks), abs=0.01)


def test_pidstat(table: Table) -> None:
    lines = table.rows("pidstat", "-h", "-r", "-p", "ALL")
    header = next(words[1:] for words in lines if words[:1] == ["#"])
    rows = [dict(zip(header, words, strict=False)) for words in lines if words[1:2] != []]
    shown = {int(row["PID"]): row for row in rows if row.get("PID", "").isdigit()}
    for process in table.machine.processes.values():
        row, sizes = shown[process.pid], user_sizes(process.leader)
        assert int(row["UID"]) == process.leader.credentials.uid
        assert int(row["VSZ"]) == sizes.total_vm_pages * PAGE_KIB
        assert int(row["RSS"]) == sizes.rss_pages * PAGE_KIB
        assert row["Command"] == process.comm.split()[0]
