# SPDX-License-Identifier: MIT
"""htop and atop on a terminal: what the screen shows."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from fakeproc.kernel.task import PAGE_KIB, Process
from tests.tools.conftest import Table, on_proc, program

_LIMIT_S = 20.0


class Screen:
    """A program on a terminal of tmux."""

    def __init__(self, table: Table, *command: str) -> None:
        self._tmux = [program("tmux"), "-f", "/dev/null", "-S", os.fspath(table.home / "tmux")]
        self._environment = table.environment
        words = "exec " + shlex.join(on_proc(table.mounted, *command))
        self._run("new-session", "-d", "-x", "180", "-y", "60", words)

    def _run(self, *words: str) -> str:
        return subprocess.run(
            [*self._tmux, *words],
            env=self._environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=30,
        ).stdout

    def shows(self, pattern: str) -> re.Match[str]:
        """Wait for a line that looks like this."""
        end = time.monotonic() + _LIMIT_S
        while True:
            text = self._run("capture-pane", "-p")
            found = re.search(pattern, text, re.MULTILINE)
            if found:
                return found
            assert time.monotonic() < end, f"{pattern} is not on the screen:\n{text}"
            time.sleep(0.05)

    def close(self) -> None:
        """End the program, which holds the mount; the terminal goes with it, soon."""
        os.kill(int(self._run("display-message", "-p", "#{pane_pid}")), signal.SIGKILL)
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, timeout=30)


Open = Callable[..., Screen]


@pytest.fixture
def screen(table: Table) -> Iterator[Open]:
    """Return a function that runs a program on a terminal."""
    opened: list[Screen] = []

    def open_screen(*command: str) -> Screen:
        opened.append(Screen(table, *command))
        return opened[-1]

    yield open_screen
    for one in opened:
        one.close()


def _simulated(table: Table) -> list[Process]:
    return [process for process in table.machine.processes.values() if process.mm is not None]


def _short(pages: int) -> str:
    """Return a size as htop writes it: kB up to 99999, then MB."""
    kib = pages * PAGE_KIB
    return str(kib) if kib < 100_000 else f"{kib // 1024}M"


def test_htop(table: Table, screen: Open) -> None:
    htop = screen("htop", "--no-color")
    for process in _simulated(table):
        assert process.mm is not None
        sizes = process.mm.sizes
        shared = sizes.file_pages + sizes.shmem_pages
        memory = [_short(pages) for pages in (sizes.total_vm_pages, sizes.rss_pages, shared)]
        numbers = r" +".join(map(re.escape, [*memory, process.leader.state]))
        htop.shows(rf"^ *{process.pid} \S+ +-?\d+ +-?\d+ +{numbers} ")
    swap_mib = (table.machine.hardware.swap_pages - table.machine.free_swap_entries) // 256
    htop.shows(rf"Swp\[.*\b{swap_mib}M/2.00G\]")
    kthreads = [p for p in table.machine.processes.values() if p.is_kthread]
    htop.shows(rf"Tasks: \d+, 2 thr, {len(kthreads)} kthr; 1 running")
    averages = table.machine.load_average.render(table.machine.now_ns)
    htop.shows(rf"Load average: {averages}")


def test_atop(table: Table, screen: Open) -> None:
    """-m shows memory: of a large process every size that it has."""
    # As root it would turn on the host's process accounting.
    atop = screen("setpriv", "--bounding-set", "-sys_pacct", program("atop"), "-m")
    for process in _simulated(table):
        name = re.escape(process.comm[:14])
        row = atop.shows(rf"^ *{process.pid} .* {name}$").group().split()
        assert process.mm is not None
        sizes = process.mm.sizes
        columns = dict(zip(_ATOP_COLUMNS, row, strict=False))
        for column, pages in (
            ("VSIZE", sizes.total_vm_pages),
            ("RSIZE", sizes.rss_pages),
            ("SWAPSZ", sizes.swap_entries),
            ("LOCKSZ", sizes.mlocked_pages),
        ):
            assert _bytes(columns[column]) == pytest.approx(pages * PAGE_KIB * 1024, rel=0.05)
    atop.shows(r"^MEM \| tot +8\.0G ")
    atop.shows(r"^SWP \| tot +2\.0G +\| free +1\.5G ")
    atop.shows(r"\| +#zombie +1 +\|")


_ATOP_COLUMNS = (
    *("PID", "TID", "MINFLT", "MAJFLT", "VSTEXT", "VSLIBS", "VDATA", "VSTACK", "LOCKSZ", "VSIZE"),
    *("RSIZE", "PSIZE", "VGROW", "RGROW", "SWAPSZ"),
)


def _bytes(text: str) -> float:
    found = re.fullmatch(r"([\d.]+)([BKMG])B?", text)
    assert found, text
    return float(found[1]) * float(1024 ** "BKMG".index(found[2]))
