# SPDX-License-Identifier: MIT
"""How long ten minutes of the built-in scenarios take without a mount."""

from __future__ import annotations

import time
from functools import partial

from benchmarks.interleave import Contender, take_turns, three_digits
from benchmarks.report import Table
from fakeproc.scenario import load_scenario
from fakeproc.scenario.load import builtin_names

SIMULATED_S = 600
SIMULATED_S_IF_QUICK = 60


def measure(*, quick: bool) -> list[Table]:
    """Run all of them in turns."""
    rounds = 1 if quick else 7
    simulated_s = SIMULATED_S_IF_QUICK if quick else SIMULATED_S
    contenders = [Contender(name, partial(_run_ms, name, simulated_s)) for name in builtin_names()]
    spreads = take_turns(contenders, rounds=rounds, warm_ups=0 if quick else 1)
    rows = [
        [
            name,
            three_digits(spread.median),
            spread.extremes(three_digits),
            three_digits(simulated_s * 1000 / spread.median),
        ]
        for name, spread in spreads.items()
    ]
    columns = ("", "CPU ms", "min..max", "simulated s per s")
    return [Table(f"{simulated_s} simulated seconds ({rounds} rounds)", columns, rows)]


def _run_ms(name: str, simulated_s: int) -> float:
    machine = load_scenario(name)
    begin_ns = time.process_time_ns()
    machine.advance(simulated_s * 1_000_000_000)
    return (time.process_time_ns() - begin_ns) / 1e6
