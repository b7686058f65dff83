# SPDX-License-Identifier: MIT
"""Machines of many processes, no two alike; as a program, what making one costs.

    python -m benchmarks.population 100000

prints a line of JSON: the seconds that it took and the bytes of memory for each process.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path

from fakeproc.kernel.machine import CloneFlags, Hardware, Machine, sizes_for
from fakeproc.scenario.load import paused_collector

ADJS = (-1000, -900, -500, 0, 0, 0, 0, 0, 100, 300, 500, 1000)
ONE_IN_SHARES = 100
"""So many processes have one that shares the mm with them."""


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


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Make a machine and print what that took."""
    count = int(sys.argv[1])
    populate(100)
    before_bytes, before_s = _resident_bytes(), time.perf_counter()
    machine = populate(count)
    took_s = time.perf_counter() - before_s
    used_bytes = (_resident_bytes() - before_bytes) / len(machine.processes)
    print(json.dumps({"load_s": took_s, "bytes_per_process": used_bytes}))


if __name__ == "__main__":
    main()
