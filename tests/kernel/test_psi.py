# SPDX-License-Identifier: MIT
"""Pressure: the kernel's arithmetic on recorded traces, and stalls that overlap."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakeproc.kernel.machine import Machine
from fakeproc.kernel.psi import PERIOD_NS, Averages, Pressure

TRACES = sorted((Path(__file__).parent / "psi_traces").glob("*.json"))
S = 1_000_000_000

STALLS = st.lists(st.tuples(st.integers(0, 200), st.integers(1, 60), st.booleans()), max_size=12)
"""Beginning and length in tenths of a second, and whether nobody else ran."""


def load(path: Path) -> tuple[int, list[tuple[int, dict[str, tuple[str, int]]]]]:
    """Return the period of a trace, and its samples: time, and averages and total by line."""
    trace: dict[str, Any] = json.loads(path.read_text())
    samples = []
    for before_ns, after_ns, text in trace["samples"]:
        lines = {}
        for line in text.splitlines():
            name, averages, total = (
                line.replace(" total=", ";").replace(" avg10", ";avg10").split(";")
            )
            lines[name] = (averages, int(total) * 1000)
        samples.append(((before_ns + after_ns) // 2, lines))
    return trace["period_ns"], samples


def told(pressure: Pressure, stalls: list[tuple[int, int, bool]]) -> Pressure:
    for start, length, full in stalls:
        pressure.stall(start * S // 10, length * S // 10, full=full)
    return pressure


# -- Recorded traces ---------------------------------------------------------------


def test_there_are_traces_of_each_resource() -> None:
    assert [path.stem for path in TRACES] == ["6.18-cpu", "6.18-io", "6.18-memory"]


@pytest.mark.parametrize("line", ["some", "full"])
@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_the_averages_are_those_of_a_real_kernel_to_the_last_digit(path: Path, line: str) -> None:
    period_ns, samples = load(path)
    averages = Averages(period_ns=period_ns)
    shown = []
    for now_ns, lines in samples:
        averages.update(now_ns, lines[line][1])
        shown.append(averages.render())
    assert shown == [lines[line][0] for _, lines in samples]


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_a_trace_holds_stalls_and_a_time_in_which_the_clock_stopped(path: Path) -> None:
    period_ns, samples = load(path)
    assert samples[-1][1]["some"][1] > 5 * S
    times = [now_ns for now_ns, _ in samples]
    gaps = [later - now for now, later in zip(times, times[1:], strict=False)]
    assert sum(gap > 7 * period_ns for gap in gaps) == 1


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_stalls_give_what_the_kernel_showed_until_its_clock_stopped(path: Path) -> None:
    """Here the clock goes on, as on a machine that somebody watches."""
    _, samples = load(path)
    pressure = Pressure()
    end_ns = 0
    before = {"some": 0, "full": 0}
    for now_ns, lines in samples:
        start_ns, end_ns = end_ns, end_ns + PERIOD_NS
        if now_ns > end_ns + S:
            break
        totals = {line: total_ns for line, (_, total_ns) in lines.items()}
        more = {line: totals[line] - before[line] for line in totals}
        pressure.stall(start_ns, more["full"], full=True)
        pressure.stall(start_ns, more["some"], full=False)
        before = totals
        assert pressure.render(end_ns) == "".join(
            f"{line} {averages} total={total_ns // 1000}\n"
            for line, (averages, total_ns) in lines.items()
        )
    assert end_ns > 10 * PERIOD_NS


# -- The averages ------------------------------------------------------------------


def test_nothing_changes_between_two_updates() -> None:
    averages = Averages()
    averages.update(PERIOD_NS - 1, S)
    assert averages.render() == "avg10=0.00 avg60=0.00 avg300=0.00"
    averages.update(PERIOD_NS, S)
    assert averages.render() == "avg10=8.87 avg60=1.60 avg300=0.33"
    averages.update(2 * PERIOD_NS - 1, 2 * S)
    assert averages.render() == "avg10=8.87 avg60=1.60 avg300=0.33"


def test_what_is_more_than_the_time_counts_in_the_next_period() -> None:
    late, in_time = Averages(), Averages()
    late.update(PERIOD_NS, PERIOD_NS + S)
    in_time.update(PERIOD_NS, PERIOD_NS)
    assert late.render() == in_time.render()
    for averages in (late, in_time):
        averages.update(2 * PERIOD_NS, PERIOD_NS + S)
    assert late.render() == in_time.render()


@settings(deadline=None)
@given(st.integers(1, PERIOD_NS), st.integers(0, 3000))
def test_running_skips_nothing_that_would_have_shown(stall_ns: int, periods: int) -> None:
    steps, run = Averages(), Averages()
    for averages in (steps, run):
        averages.update(PERIOD_NS, stall_ns)
    for period in range(2, periods + 2):
        steps.update(period * PERIOD_NS, stall_ns)
    run.run((periods + 1) * PERIOD_NS + 5, stall_ns)
    assert (run.render(), run.next_ns) == (steps.render(), steps.next_ns)


# -- Stalls ------------------------------------------------------------------------


def test_the_file_to_the_letter() -> None:
    pressure = Pressure()
    assert pressure.render(5 * S) == (
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    )
    pressure.stall(0, 1_503_000_999, full=False)
    pressure.stall(0, 1_002_000_000, full=True)
    assert pressure.render(PERIOD_NS) == (
        "some avg10=13.58 avg60=2.45 avg300=0.51 total=1503000\n"
        "full avg10=9.05 avg60=1.63 avg300=0.34 total=1002000\n"
    )


def test_stalls_at_the_same_time_count_once() -> None:
    pressure = told(Pressure(), [(0, 10, False), (5, 10, True), (12, 3, False), (30, 1, False)])
    assert [line.split("=")[-1] for line in pressure.render(4 * S).splitlines()] == [
        "1600000",
        "1000000",
    ]


def test_a_stall_that_lasts_counts_as_far_as_it_has_come() -> None:
    pressure = Pressure()
    pressure.stall(S, 4 * S, full=False)
    totals = [pressure.render(t * S).split("\n")[0].split("=")[-1] for t in (1, 2, 4, 5, 6)]
    assert totals == ["0", "1000000", "3000000", "4000000", "4000000"]


def test_a_stall_of_no_length_is_none() -> None:
    pressure = Pressure()
    pressure.stall(S, 0, full=True)
    assert pressure.render(9 * S) == Pressure().render(9 * S)


@settings(deadline=None, max_examples=50)
@given(STALLS, st.permutations(range(12)), st.lists(st.integers(0, 400), max_size=3))
def test_neither_the_order_in_which_they_are_told_nor_asking_matters(
    stalls: list[tuple[int, int, bool]], order: list[int], asked: list[int]
) -> None:
    straight = told(Pressure(), stalls)
    shuffled = Pressure()
    for index in order:
        for time in asked:
            shuffled.render(time * S // 10)
        told(shuffled, stalls[index : index + 1])
    for time in (*range(0, 300, 23), 5000, 40_000, 100):
        assert straight.render(time * S // 10) == shuffled.render(time * S // 10)


@given(STALLS)
def test_the_total_is_the_time_covered_and_full_is_part_of_some(
    stalls: list[tuple[int, int, bool]],
) -> None:
    pressure = told(Pressure(), stalls)
    covered = {t for start, length, _ in stalls for t in range(start, start + length)}
    full = {t for start, length, is_full in stalls if is_full for t in range(start, start + length)}
    totals = [int(line.split("=")[-1]) for line in pressure.render(100 * S).splitlines()]
    assert totals == [len(covered) * 100_000, len(full) * 100_000]


def test_what_has_been_settled_neither_changes_nor_counts_twice() -> None:
    pressure = told(Pressure(), [(0, 15, True), (600, 10, True)])
    before = pressure.render(600 * S // 10)
    told(pressure, [(0, 15, True)])
    assert pressure.render(600 * S // 10) == before


def test_much_of_it_at_all_times_takes_no_more_memory() -> None:
    pressure = Pressure()
    for step in range(20_000):
        pressure.stall(step * S // 50, S // 100, full=False)
    assert pressure.render(400 * S).startswith("some avg10=49.")
    assert pressure.render(400 * S).split("\n")[0].endswith(" total=200000000")
    kept = pressure._some._stalls
    assert len(kept) <= 50 * (30 + 3)


# -- The machine -------------------------------------------------------------------


def test_a_machine_has_three_and_full_is_not_defined_for_the_cpu() -> None:
    machine = Machine()
    assert list(machine.pressure) == ["memory", "cpu", "io"]
    for pressure in machine.pressure.values():
        pressure.stall(0, S, full=True)
    shown = {name: pressure.render(3 * S) for name, pressure in machine.pressure.items()}
    assert shown["memory"] == shown["io"]
    assert shown["cpu"] == (
        "some avg10=8.87 avg60=1.60 avg300=0.33 total=1000000\n"
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    )


@pytest.mark.parametrize("cuts_ns", [[40 * S], [S] * 40, [PERIOD_NS] * 19 + [1_924_000_000]])
def test_how_time_is_cut_makes_no_difference(cuts_ns: list[int]) -> None:
    machine = Machine()

    def wait_for_memory() -> None:
        machine.pressure["memory"].stall(machine.now_ns - S // 3, S // 3, full=True)
        if machine.now_ns < 30 * S:
            machine.events.at(machine.now_ns + S * 7 // 10, wait_for_memory)

    machine.events.at(S, wait_for_memory)
    for ns in cuts_ns:
        machine.advance(ns)
        machine.pressure["memory"].render(machine.now_ns)
    assert machine.now_ns == 40 * S
    assert machine.pressure["memory"].render(machine.now_ns).splitlines()[0] == (
        "some avg10=21.31 avg60=16.33 avg300=4.48 total=14333333"
    )
