# SPDX-License-Identifier: MIT
"""Machines of many processes, no two alike; as a program, one of them that can be timed.

    python -m benchmarks.population 100000

prints a line of JSON, what making it cost, and then for each line of input, which is a name of
`OPERATIONS`, the microseconds that this takes.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from fakeproc.kernel import oom
from fakeproc.kernel.machine import CloneFlags, Hardware, Machine, sizes_for
from fakeproc.kernel.oom import OomRequest
from fakeproc.scenario.load import paused_collector

ADJS = (-1000, -900, -500, 0, 0, 0, 0, 0, 100, 300, 500, 1000)
ONE_IN_SHARES = 100
"""So many processes have one that shares the mm with them."""

_TIMES = 100
"""How often an operation is timed for one figure, the median."""


def populate(count: int, seed: int = 1) -> Machine:
    """Return a machine with so many processes of random size and oom_score_adj.

    The names are those of a thousand programs.
    """
    rng = random.Random(seed)
    machine = Machine(hardware=Hardware(ram_pages=2**44, swap_pages=2**44))
    with paused_collector():
        while len(machine.processes) < count:
            _add(machine, rng)
    return machine


def _add(machine: Machine, rng: random.Random) -> None:
    chance = rng.random()
    sizes = sizes_for(
        anon_pages=300 + int(300_000 * chance),
        file_pages=9_000 - int(8_000 * chance),
        swap_entries=int(9_000 * rng.random()),
    )
    process = machine.spawn(f"program{sizes.anon_pages % 1000}", sizes=sizes)
    machine.change_oom_score_adj(process, ADJS[sizes.swap_entries % len(ADJS)])
    if chance * ONE_IN_SHARES < 1:
        machine.clone(process.leader, CloneFlags(vm=True))


# -- What is timed -----------------------------------------------------------------


def _selection(machine: Machine) -> Callable[[], object]:
    """Choose a victim after some task has changed, as before each trigger."""
    request = OomRequest(machine.hardware.totalpages, machine.init.leader)
    pids = itertools.cycle(list(itertools.islice(machine.processes, 2, 1000)))
    values = itertools.cycle((500, 100, 0))

    def select() -> None:
        machine.change_oom_score_adj(machine.processes[next(pids)], next(values))
        oom.select(machine, request)

    return select


def _write(machine: Machine) -> Callable[[], object]:
    """Write to oom_score_adj of a task that shares its mm with another one."""
    shared = next(p for p in machine.processes.values() if p.mm and len(p.mm.processes) == 2)
    values = itertools.cycle((b"500\n", b"100\n"))
    return lambda: machine.store_oom_score_adj(shared.leader, machine.root, next(values))


def _kill(machine: Machine) -> Callable[[], object]:
    """Let a process come, be chosen, killed and waited for; the table of tasks is not printed."""
    machine.store_sysctl("vm/oom_dump_tasks", b"0\n")
    sizes = sizes_for(anon_pages=2**30)

    def kill() -> None:
        process = machine.spawn("hog", sizes=sizes)
        machine.change_oom_score_adj(process, 1000)
        assert machine.sysrq_oom().killed == [process]
        machine.reap(process)

    return kill


def _tick(machine: Machine) -> Callable[[], object]:
    """Let a millisecond pass."""
    return lambda: machine.advance(1_000_000)


OPERATIONS: Mapping[str, Callable[[Machine], Callable[[], object]]] = {
    "selection": _selection,
    "write to a sharer": _write,
    "spawn, OOM kill, reap": _kill,
    "tick of the clock": _tick,
}


def _median_us(operation: Callable[[], object]) -> float:
    times_ns = []
    for _ in range(_TIMES):
        begin_ns = time.perf_counter_ns()
        operation()
        times_ns.append(time.perf_counter_ns() - begin_ns)
    return statistics.median(times_ns) / 1000


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Make a machine, print what that took, and time what is asked for."""
    count = int(sys.argv[1])
    populate(100)
    before_bytes, before_s = _resident_bytes(), time.process_time()
    machine = populate(count)
    took_s = time.process_time() - before_s
    used_bytes = (_resident_bytes() - before_bytes) / len(machine.processes)
    print(json.dumps({"load_s": took_s, "bytes_per_process": used_bytes}), flush=True)
    operations = {name: prepare(machine) for name, prepare in OPERATIONS.items()}
    for line in sys.stdin:
        print(_median_us(operations[line.strip()]), flush=True)


if __name__ == "__main__":
    main()
