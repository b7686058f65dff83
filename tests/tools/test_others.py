# SPDX-License-Identifier: MIT
"""Other tools: lsns, glances, pstree, busybox."""

from __future__ import annotations

import json
import re
from collections import Counter
from contextlib import suppress

from fakeproc.kernel.available import available
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.task import PAGE_BYTES, PAGE_KIB
from fakeproc.kernel.task_view import shown_state
from tests.tools.conftest import Table, machine_link

# -- lsns --------------------------------------------------------------------------


def test_lsns(table: Table) -> None:
    """Every namespace, and how many processes are in it."""
    machine = table.machine
    inodes: Counter[tuple[str, str]] = Counter()
    for pid in machine.processes:
        for name in ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts"):
            # Who has exited has left most of them.
            with suppress(Refused):
                kind, inode = machine_link(machine, f"{pid}/ns/{name}").rstrip("]").split(":[")
                inodes[kind, inode] += 1
    shown = table.rows("lsns", "--noheadings", "--output", "TYPE,NS,NPROCS,PID")
    counts = {(words[0], words[1]): int(words[2]) for words in shown}
    for key, count in inodes.items():
        assert 0 <= counts[key] - count <= 1  # lsns itself
    assert all(words[3] == "1" for words in shown if words[0] != "time")


# -- glances -----------------------------------------------------------------------


def test_glances(table: Table) -> None:
    command = (
        *("glances", "--stdout-json", "mem,memswap", "--stop-after", "1"),
        *("--disable-check-update", "--disable-plugin", "cloud,ip,ports"),
    )
    found = json.loads(table.run(*command))
    machine = table.machine
    assert found["mem"]["total"] == machine.hardware.ram_pages * PAGE_BYTES
    assert found["mem"]["available"] <= available(machine) * PAGE_BYTES
    assert found["memswap"]["total"] == machine.hardware.swap_pages * PAGE_BYTES
    used_pages = machine.hardware.swap_pages - machine.free_swap_entries
    assert found["memswap"]["used"] == used_pages * PAGE_BYTES


# -- pstree ------------------------------------------------------------------------


def test_pstree(table: Table) -> None:
    app = table.machine.process(table.pid("app"))
    (helper,) = app.children
    threads = [f"`-{{app}}({thread.tid})" for thread in app.threads[1:]]
    shown = table.run("pstree", "-p", "-A", str(app.pid))
    assert [line.strip() for line in shown.replace("|-{", "`-{").splitlines()] == [
        f"app({app.pid})-+-app-helper({helper.pid})",
        *threads,
    ]


# -- busybox -----------------------------------------------------------------------


def test_busybox_ps(table: Table) -> None:
    lines = table.run("busybox", "ps", "-o", "pid,ppid,user,stat,vsz,rss,comm").splitlines()
    shown = {int(line.split()[0]): line.split(None, 6) for line in lines[1:]}
    for process in table.machine.processes.values():
        words = shown[process.pid]
        assert words[6] == process.comm
        assert words[3][0] == shown_state(table.machine.profile, process.leader)[0]


def test_busybox_top(table: Table) -> None:
    lines = table.run("busybox", "top", "-b", "-n1").splitlines()
    machine = table.machine
    free_kib = machine.memory.free_pages * PAGE_KIB
    (shown_kib,) = re.findall(r"(\d+)K free", lines[0])
    assert 0 <= free_kib - int(shown_kib) <= 64
    averages = machine.load_average.render(machine.now_ns)
    assert lines[2].startswith(f"Load average: {averages} ")
    shown = {words[-1] for words in (line.split() for line in lines[4:] if line)}
    assert {"--all", "/srv/jobs/nightly.py"} <= shown


def test_busybox_pidof(table: Table) -> None:
    pids = [p.pid for p in table.machine.processes.values() if p.comm == "nginx"]
    assert table.rows("busybox", "pidof", "nginx") == [[str(pid) for pid in reversed(pids)]]
