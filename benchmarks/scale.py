# SPDX-License-Identifier: MIT
"""How cost and size grow from a thousand processes to as many as there are pids."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from benchmarks.interleave import Contender, compare
from benchmarks.population import OPERATIONS
from benchmarks.report import Table

COUNTS = (1_000, 10_000, 100_000, 1_000_000, 4_000_000)
"""PID_MAX_LIMIT is 4,194,304, and the first pid 100,000."""

_MOST_IF_QUICK = 10_000


def measure(*, quick: bool) -> list[Table]:
    """Measure machines of all sizes, each in a process of its own, in turns."""
    counts = [count for count in COUNTS if not quick or count <= _MOST_IF_QUICK]
    with ExitStack() as stack:
        workers = {count: stack.enter_context(_worker(count)) for count in counts}
        made = {count: json.loads(_line_of(worker)) for count, worker in workers.items()}
        return [_made(made), *(_grown(name, workers, quick=quick) for name in OPERATIONS)]


@contextmanager
def _worker(count: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks.population", str(count)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1) as worker:
        yield worker


def _line_of(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    return worker.stdout.readline()


def _ask(worker: subprocess.Popen[str], operation: str) -> float:
    assert worker.stdin is not None
    worker.stdin.write(f"{operation}\n")
    return float(_line_of(worker))


def _made(made: dict[int, dict[str, float]]) -> Table:
    rows = [
        [
            f"{count:,}",
            f"{cost['load_s']:.3g}",
            f"{cost['load_s'] / count * 1e6:.1f}",
            f"{cost['bytes_per_process']:.0f}",
        ]
        for count, cost in made.items()
    ]
    columns = ("processes", "made in, CPU s", "us each", "bytes each")
    return Table("Making a machine", columns, rows)


def _grown(name: str, workers: dict[int, subprocess.Popen[str]], *, quick: bool) -> Table:
    contenders = [
        Contender(f"{count:,}", partial(_ask, worker, name)) for count, worker in workers.items()
    ]
    first = contenders[0].name
    title = name[0].upper() + name[1:]
    return compare(title, "us", contenders, against=first, rounds=3 if quick else 15)
