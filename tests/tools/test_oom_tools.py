# SPDX-License-Identifier: MIT
"""Tools about the OOM killer: choom, earlyoom, nohang and its oom-sort."""

from __future__ import annotations

import re
import subprocess

from fakeproc.kernel.task import PAGE_KIB, Process
from fakeproc.procfs.task.node import user_sizes
from tests.tools.conftest import UNPACKED, Table

MIB_PAGES = 1024 // PAGE_KIB


# -- choom -------------------------------------------------------------------------


def test_choom_shows(table: Table) -> None:
    for process in table.machine.processes.values():
        assert table.run("choom", "-p", str(process.pid)) == (
            f"pid {process.pid}'s current OOM score: {table.machine.oom_score(process)}\n"
            f"pid {process.pid}'s current OOM score adjust value: {process.oom_score_adj}\n"
        )


def test_choom_sets(own_table: Table) -> None:
    app, helper = own_table.pid("app"), own_table.pid("app-helper")
    assert own_table.run("choom", "-p", str(app), "-n", "-250") == (
        f"pid {app}'s OOM score adjust value changed from 0 to -250\n"
    )
    assert own_table.mounted.read(f"{app}/oom_score_adj") == "-250\n"
    assert own_table.mounted.read(f"{helper}/oom_score_adj") == "-250\n"


def test_choom_hears_of_a_bad_value(own_table: Table) -> None:
    pid = own_table.pid("nightly-job")
    done = own_table.try_run("choom", "-p", str(pid), "-n", "5000")
    assert done.returncode == 1
    assert "failed to set score adjust value: Invalid argument" in done.stderr
    assert own_table.mounted.read(f"{pid}/oom_score_adj") == "300\n"


def test_choom_starts_a_program(own_table: Table) -> None:
    lines = own_table.run("choom", "-n", "70", "--", "cat", "/proc/self/oom_score_adj")
    assert lines == "70\n"


# -- earlyoom ----------------------------------------------------------------------


def _victim_of_earlyoom(table: Table) -> Process:
    """Return who has the highest oom_score; of equals the largest, of those the first."""

    def rank(process: Process) -> tuple[int, int]:
        rss = process.mm.sizes.rss_pages if process.mm else 0
        return table.machine.oom_score(process), rss

    return max(table.machine.processes.values(), key=rank)


def _announcement(table: Table, process: Process) -> str:
    rss_mib = process.mm.sizes.rss_pages // MIB_PAGES if process.mm else 0
    return (
        f'sending SIGTERM to process {process.pid} uid {process.leader.credentials.uid} "'
        f'{process.comm}": badness {table.machine.oom_score(process)}, VmRSS {rss_mib} MiB'
    )


def _said_by(process: subprocess.Popen[str], what: str) -> list[str]:
    """Return the lines up to the one that begins like this."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if line.startswith(what):
            return lines
    raise AssertionError(f"{what!r} was not said: {lines}")


def test_earlyoom_chooses(table: Table) -> None:
    """The thresholds are above what is there, so that memory is short for earlyoom."""
    with table.started("earlyoom", "--dryrun", "-r", "0", "-m", "90", "-s", "100") as earlyoom:
        lines = _said_by(earlyoom, "sending SIGTERM to")
    machine = table.machine
    ram_mib, swap_mib = (
        pages // MIB_PAGES for pages in (machine.hardware.ram_pages, machine.hardware.swap_pages)
    )
    assert f"mem total: {ram_mib} MiB, swap total: {swap_mib} MiB" in lines
    assert lines[-1] == _announcement(table, _victim_of_earlyoom(table))


def test_earlyoom_prefers(table: Table) -> None:
    options = ("-r", "0", "-m", "90", "-s", "100", "--prefer", "^cruncher$", "--avoid", "nightly")
    with table.started("earlyoom", "--dryrun", *options) as earlyoom:
        lines = _said_by(earlyoom, "sending SIGTERM to")
    cruncher = table.pid("cruncher")
    badness = table.machine.oom_score(table.machine.process(cruncher)) + 300
    assert lines[-1].startswith(f"sending SIGTERM to process {cruncher} uid 1000")
    assert f"badness {badness}," in lines[-1]


def test_earlyoom_wakes_when_memory_goes(own_table: Table) -> None:
    """It keeps meminfo open, and sees the machine run short with its own thresholds."""
    hog = own_table.pid("nightly-job")
    with own_table.started("earlyoom", "--dryrun", "-r", "1") as earlyoom:
        _said_by(earlyoom, "mem avail:")
        own_table.mounted.control(f"set {hog} anon=5600M swap=1900M")
        lines = _said_by(earlyoom, "sending SIGTERM to")
    assert lines[-1].startswith(f'sending SIGTERM to process {hog} uid 1000 "nightly-job": ')
    assert lines[-1].endswith(", VmRSS 5600 MiB")
    score = own_table.mounted.read(f"{hog}/oom_score").strip()
    assert f"badness {score}," in lines[-1]


# -- nohang ------------------------------------------------------------------------

NOHANG_CONFIG = f"{UNPACKED}/etc/nohang/nohang.conf"


def test_nohang_checks_its_settings(table: Table) -> None:
    """It reckons its thresholds from what the machine has."""
    text = table.run("nohang", "--check", "--config", NOHANG_CONFIG)
    total_mib = table.machine.hardware.ram_pages / MIB_PAGES
    assert f"soft_threshold_min_mem:   {total_mib * 0.05:.0f} MiB, 5.0 %" in text
    assert text.rstrip().endswith("config is OK")


def test_nohang_lists_tasks(table: Table) -> None:
    text = table.run("nohang", "--tasks", "--config", NOHANG_CONFIG)
    rows = [line[1:].split() for line in text.splitlines() if re.match(r"# *\d", line)]
    shown = {int(words[0]): words for words in rows}
    machine = table.machine
    with_memory = [
        process
        for process in machine.processes.values()
        if process.mm is not None and not process.is_kthread and process.pid != 1
    ]
    assert list(shown) == [process.pid for process in with_memory]
    for process in with_memory:
        assert process.mm is not None
        assert process.real_parent is not None
        sizes, score = process.mm.sizes, machine.oom_score(process)
        leader = process.leader
        pages = (sizes.total_vm_pages, sizes.rss_pages, sizes.swap_entries)
        numbers = (process.real_parent.process.pid, score, score, process.oom_score_adj)
        assert shown[process.pid][1:] == [
            *(str(number) for number in (*numbers, leader.credentials.uid)),
            leader.state.value,
            *(str(round(count / MIB_PAGES)) for count in pages),
            *process.comm.split(),
        ]


def test_oom_sort(table: Table) -> None:
    machine = table.machine
    shown: dict[int, list[str]] = {}
    for line in table.run("oom-sort").splitlines()[2:]:
        score, adj, uid, pid, rest = line.split(None, 4)
        shown[int(pid)] = [score, adj, uid, rest]
    for process in machine.processes.values():
        sizes = user_sizes(process.leader)
        if process.pid == 1 or not sizes.total_vm_pages:  # it leaves init out
            assert process.pid not in shown
            continue
        score, adj, uid, rest = shown[process.pid]
        assert int(score) == machine.oom_score(process)
        assert int(adj) == process.oom_score_adj
        assert int(uid) == process.leader.credentials.uid
        name, rss, swap = (
            rest[:16].strip(),
            *re.findall(r"(\d+) M", rest[16:])[:2],
        )
        assert name == process.comm
        assert [int(rss), int(swap)] == [
            round(pages / MIB_PAGES) for pages in (sizes.rss_pages, sizes.swap_entries)
        ]
    scores = [int(words[0]) for words in shown.values()]
    assert scores == sorted(scores, reverse=True)
