# SPDX-License-Identifier: MIT
"""The load averages: by fixed times, whoever looks, and as the kernel rounds."""

from __future__ import annotations

from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakeproc.kernel.loadavg import LoadAverage, power
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.task import Hold

PERIOD = 5_004_000_000

CHANGES = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 5)), max_size=8)
"""When, in tenths of a period after the last one, and how many tasks run from then on."""


def test_power_is_the_kernels() -> None:
    assert [power(1884, n) for n in (0, 1, 2, 3, 10)] == [2048, 1884, 1733, 1594, 888]


def test_it_changes_every_five_seconds_and_a_tick() -> None:
    load = LoadAverage()
    load.change(0, 2)
    assert load.render(PERIOD - 1) == "0.00 0.00 0.00"
    assert load.render(PERIOD) == "0.16 0.03 0.01"
    assert load.render(2 * PERIOD - 1) == "0.16 0.03 0.01"
    assert load.render(2 * PERIOD) == "0.31 0.07 0.02"


@pytest.mark.parametrize(("column", "minutes"), [(0, 1), (1, 5), (2, 15)])
def test_it_tends_to_the_number_of_tasks_and_back_to_nothing(column: int, minutes: int) -> None:
    load = LoadAverage()
    load.change(0, 4)
    span, long_after = 12 * minutes * PERIOD, 20_000 * PERIOD
    assert float(load.render(span).split()[column]) == pytest.approx(4 * (1 - exp(-1)), abs=0.04)
    load.change(long_after, 0)
    assert load.render(long_after) == "4.00 4.00 4.00"
    fallen = float(load.render(long_after + span).split()[column])
    assert fallen == pytest.approx(4 * exp(-1), abs=0.04)
    assert load.render(2 * long_after) == "0.00 0.00 0.00"


@given(CHANGES, st.lists(st.integers(0, 4000)))
def test_neither_asking_nor_saying_the_same_again_changes_it(
    changes: list[tuple[int, int]], asked: list[int]
) -> None:
    quiet, watched = LoadAverage(), LoadAverage()
    active, now = 0, 0
    times = sorted(asked)
    for after, number in changes:
        now += after * PERIOD // 10
        while times and times[0] * PERIOD // 10 <= now:
            time = times.pop(0) * PERIOD // 10
            watched.render(time)
            watched.change(time, active)
        quiet.change(now, number)
        watched.change(now, number)
        active = number
    for later in (0, PERIOD, 100 * PERIOD):
        assert quiet.render(now + later) == watched.render(now + later)


def test_who_waits_uninterruptibly_counts() -> None:
    machine = Machine()
    first, second = (machine.spawn(name).leader for name in "ab")
    machine.hold(first, Hold.STUCK)
    machine.hold(second, Hold.STUCK, for_ns=PERIOD + 1)
    machine.advance(2 * PERIOD)
    assert machine.load_average.render(machine.now_ns) == "0.23 0.05 0.02"
    machine.release(first)
    machine.advance(PERIOD)
    assert machine.load_average.render(machine.now_ns) == "0.21 0.05 0.02"
