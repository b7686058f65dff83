# SPDX-License-Identifier: MIT
"""Record how the averages of a real kernel follow the stalls of a cgroup.

    python tests/kernel/psi_traces/record.py memory|io|cpu FILE

Needs root, a cgroup of version 2 with pressure files and, for memory, the memory controller
of version 1.  Takes a minute and a half.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNIFIED = Path("/sys/fs/cgroup/unified")
MEMORY = Path("/sys/fs/cgroup/memory")
NAME = "psi-trace"

PERIOD_NS = 2_004_000_000
MARGIN_NS = 150_000
"""How far behind the time of an update to read: mkdir says not quite when they began."""

MEMORY_LIMIT = 8 * 1024**2
FILE_SIZE = 8 * MEMORY_LIMIT
SLOT_S = 0.1
WORKERS = 3

PHASES = ((6, 1.0), (4, 0.35), (5, 0.0), (7, 0.6), (6, 0.05))
"""For so many periods the tasks work so much of the time; then again from the first."""
PERIODS = 40
IDLE = range(16, 23)
"""In these nobody runs, nobody reads: the kernel's own clock stops, and has to catch up."""


def main() -> None:
    """Record one resource."""
    resource, path = sys.argv[1:]
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    with group(UNIFIED), group(MEMORY):
        # The last thing before the group: its clock starts when it is made.
        earliest_ns = time.monotonic_ns()
        (UNIFIED / NAME / "trace").mkdir()
        begin_ns = time.monotonic_ns()
        try:
            samples = record(resource, begin_ns)
        finally:
            (UNIFIED / NAME / "trace").rmdir()
    trace = {
        "kernel": os.uname().release,
        "resource": resource,
        "period_ns": PERIOD_NS,
        "begin_uncertain_by_ns": begin_ns - earliest_ns,
        "samples": samples,
    }
    Path(path).write_text(json.dumps(trace, indent=1) + "\n")


@contextmanager
def group(hierarchy: Path) -> Iterator[None]:
    """Have a group while the block runs."""
    (hierarchy / NAME).mkdir()
    try:
        yield
    finally:
        (hierarchy / NAME).rmdir()


def record(resource: str, begin_ns: int) -> list[list[object]]:
    """Read the file right after each update is due, which makes the kernel do it at once."""
    (MEMORY / NAME / "memory.limit_in_bytes").write_text(str(MEMORY_LIMIT))
    workers = [start_worker(resource, number) for number in range(WORKERS)]
    file = os.open(UNIFIED / NAME / "trace" / f"{resource}.pressure", os.O_RDONLY)
    samples: list[list[object]] = []
    try:
        for period in range(1, PERIODS + 1):
            if period == IDLE.start - 2:
                signal_all(workers, signal.SIGSTOP)
            due_ns = begin_ns + period * PERIOD_NS + MARGIN_NS
            while (left_ns := due_ns - time.monotonic_ns()) > 0:
                time.sleep(max(left_ns - 3_000_000, 0) / 1e9)
            if period in IDLE:
                continue
            before_ns = time.monotonic_ns()
            text = os.pread(file, 4096, 0).decode()
            after_ns = time.monotonic_ns()
            samples.append([before_ns - begin_ns, after_ns - begin_ns, text])
            if period == IDLE.stop:
                signal_all(workers, signal.SIGCONT)
    finally:
        signal_all(workers, signal.SIGKILL)
        for worker in workers:
            os.waitpid(worker, 0)
        os.close(file)
    return samples


def signal_all(pids: list[int], number: int) -> None:
    """Send a signal to each."""
    for pid in pids:
        os.kill(pid, number)


def start_worker(resource: str, number: int) -> int:
    """Start a task in the groups that works as `PHASES` say; return its pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        (UNIFIED / NAME / "trace" / "cgroup.procs").write_text("0")
        if resource == "memory":
            (MEMORY / NAME / "cgroup.procs").write_text("0")
        work(resource, number)
    finally:
        os._exit(1)


def work(resource: str, number: int) -> None:
    """Write a file that does not fit into memory, write through to the disk, or count."""
    with tempfile.TemporaryFile(dir="/var/tmp") as file:
        offset = number
        while True:
            for periods, share in PHASES:
                end = time.monotonic() + periods * PERIOD_NS / 1e9
                while time.monotonic() < end:
                    slot_end = time.monotonic() + SLOT_S * share
                    while time.monotonic() < slot_end:
                        offset = step(resource, file.fileno(), offset)
                    time.sleep(SLOT_S * (1 - share))


def step(resource: str, file: int, offset: int) -> int:
    """Do a little of the work; return where to go on."""
    if resource != "cpu":
        os.pwrite(file, bytes(mmap.PAGESIZE), offset * mmap.PAGESIZE % FILE_SIZE)
    if resource == "io":
        os.fdatasync(file)
    return offset + 7919


if __name__ == "__main__":
    main()
