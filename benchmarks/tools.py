# SPDX-License-Identifier: MIT
"""Tools that read all of /proc: on a mount, and on the real one with as many processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import servers
from benchmarks.interleave import Absent, Contender, Missing, compare
from benchmarks.report import Table

ROUNDS = {100: 7, 1_000: 7, 10_000: 2}
"""How often each is measured, by the number of processes."""

REFERENCE = "real /proc"

_TIMED = servers.HERE / "timed.py"
_UNPACKED = servers.HERE.parent / ".venv" / "tools"
_PATH = f"{_UNPACKED / 'usr/bin'}:{os.environ['PATH']}:/usr/sbin:/sbin"

_ITERATE = "import psutil; [p.info for p in psutil.process_iter(['name', 'status', 'memory_info'])]"
_ON_PROC = 'mount --bind "$0" /proc && exec "$@"'


@dataclass(frozen=True, slots=True)
class _Tool:
    name: str
    command: Sequence[str]
    word: str = ""
    """What it says when it has looked at all processes, where it does not end then."""


_TOOLS = (
    _Tool("ps -e", ("ps", "-e")),
    # Above what there is, so that it looks for a victim at once.
    _Tool("earlyoom", ("earlyoom", "--dryrun", "-r", "0", "-m", "99", "-s", "100"), "to process "),
    _Tool("psutil.process_iter", (sys.executable, "-c", _ITERATE)),
)


def measure(*, quick: bool) -> list[Table]:
    """Measure each tool on tables of each size, with tools and servers on one core."""
    sizes = {100: 2} if quick else ROUNDS
    with servers.pinned({min(os.sched_getaffinity(0))}):
        return [table for count, rounds in sizes.items() for table in _measure(count, rounds)]


def _measure(count: int, rounds: int) -> list[Table]:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        places: list[tuple[str, Sequence[str] | Missing]] = []
        for who, place in (
            *((f"fakeproc, {b}", _on_mount(folder, b, count)) for b in ("fusepy", "mfusepy")),
            (REFERENCE, _among_real_ones(folder, count)),
        ):
            try:
                places.append((who, stack.enter_context(place)))
            except Missing as missing:
                places.append((who, missing))
        tables = []
        for tool in _TOOLS:
            contenders = [_contender(who, place, tool) for who, place in places]
            title = f"{tool.name}, {count:,} processes"
            if tool is _TOOLS[0]:
                # The kernel knows no name yet.
                first = compare(
                    f"{title}, first run", "ms", contenders, against=REFERENCE, rounds=1, warm_ups=0
                )
                tables.append(first)
            tables.append(compare(title, "ms", contenders, against=REFERENCE, rounds=rounds))
        return tables


def _contender(who: str, place: Sequence[str] | Missing, tool: _Tool) -> Contender | Absent:
    if isinstance(place, Missing):
        return Absent(who, str(place))
    program = shutil.which(tool.command[0], path=_PATH)
    if program is None:
        return Absent(who, f"{tool.command[0]} is not installed")
    timed = [sys.executable, "-S", os.fspath(_TIMED), tool.word, program, *tool.command[1:]]

    def turn() -> float:
        done = subprocess.run([*place, *timed], capture_output=True, text=True, check=True)
        return float(done.stdout) * 1e3

    return Contender(who, turn)


@contextmanager
def _on_mount(folder: Path, binding: str, count: int) -> Iterator[Sequence[str]]:
    """Mount a machine; return how to run a command where that is /proc."""
    if os.geteuid() != 0:
        raise Missing("mounting over /proc takes root")
    scenario = folder / f"{binding}.toml"
    # Beside them there are init and kthreadd.
    scenario.write_text(
        f'version = 1\n[machine]\nram = "{8 * count}M"\n'
        f'[[process]]\nname = "sleeper"\ncount = {count - 2}\nrss = "2M"\n'
    )
    options = ("--scenario", os.fspath(scenario))
    with servers.fakeproc(folder, binding, *options, file="stat") as file:
        private = ["unshare", "--mount", "--propagation", "private"]
        yield [*private, "sh", "-c", _ON_PROC, os.fspath(file.parent)]


@contextmanager
def _among_real_ones(folder: Path, count: int) -> Iterator[Sequence[str]]:
    """Start real processes in a pid namespace; return how to run a command there."""
    if os.geteuid() != 0:
        raise Missing("a pid namespace takes root")
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    program = servers.compiled(folder, "sleepers.c")
    with subprocess.Popen(
        [*command, os.fspath(program), str(count)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as unshare:
        try:
            assert unshare.stdout is not None
            assert unshare.stderr is not None
            if not unshare.stdout.readline():
                raise Missing(f"{count:,} real processes: {unshare.stderr.read().strip()}")
            [first] = psutil.Process(unshare.pid).children()
            yield ["nsenter", "--target", str(first.pid), "--pid", "--mount"]
        finally:
            unshare.kill()
