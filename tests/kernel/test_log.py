# SPDX-License-Identifier: MIT
"""The kernel log: a ring of bounded size, printed as /proc/kmsg prints it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fakeproc.kernel.log import DEFAULT_BYTES, KERNEL, USER, KernelLog, Level, Record
from fakeproc.kernel.machine import Machine


def filled(log: KernelLog, count: int) -> KernelLog:
    for number in range(count):
        log.printk(Level.INFO, f"line {number}", number)
    return log


@pytest.mark.parametrize(
    ("level", "time_ns", "text"),
    [
        (Level.WARNING, 0, "<4>[    0.000000] hello\n"),
        (Level.INFO, 1_234_567_899, "<6>[    1.234567] hello\n"),
        (Level.INFO, 99_999_000_001_000, "<6>[99999.000001] hello\n"),
        (Level.INFO, 100_000_000_000_000, "<6>[100000.000000] hello\n"),
    ],
)
def test_a_record_prints_its_level_and_time(level: Level, time_ns: int, text: str) -> None:
    log = KernelLog()
    log.printk(level, "hello", time_ns)
    assert log.render() == text


def test_records_are_numbered_and_printed_in_order() -> None:
    log = filled(KernelLog(), 3)
    assert [(record.sequence, record.text) for record in log.since()] == [
        (0, "line 0"),
        (1, "line 1"),
        (2, "line 2"),
    ]
    assert log.render() == "".join(record.render() for record in log.since())
    assert log.next_sequence == 3


def test_a_reader_gets_what_it_has_not_seen() -> None:
    log = filled(KernelLog(), 3)
    assert [record.text for record in log.since(2)] == ["line 2"]
    assert log.since(log.next_sequence) == []


def test_the_ring_keeps_the_newest_that_fit() -> None:
    line = len("<6>[    0.000000] line 0\n")
    log = filled(KernelLog(size_bytes=3 * line + 5), 9)
    assert [record.sequence for record in log.since()] == [6, 7, 8]
    assert log.next_sequence == 9


def test_a_ring_that_is_exactly_full_loses_nothing() -> None:
    line = len("<6>[    0.000000] line 0\n")
    log = filled(KernelLog(size_bytes=3 * line), 3)
    assert len(log.since()) == 3


def test_the_newest_record_stays_however_long_it_is() -> None:
    log = filled(KernelLog(size_bytes=40), 1)
    log.printk(Level.WARNING, "x" * 100, 0)
    assert [len(record.text) for record in log.since()] == [100]


def test_the_ring_stays_bounded_under_a_flood() -> None:
    log = filled(KernelLog(), 20_000)
    assert DEFAULT_BYTES - 100 < len(log.render()) <= DEFAULT_BYTES
    assert log.since()[-1].sequence == 19_999


@pytest.mark.parametrize("time_ns", [0, 99_999_999_999_999, 100_000_000_000_000])
@pytest.mark.parametrize("facility", [KERNEL, USER])
@pytest.mark.parametrize("text", ["", "plain", "caf\xe9", "cut \udcc3"])
def test_a_record_takes_as_much_as_it_prints(time_ns: int, facility: int, text: str) -> None:
    record = Record(1, Level.ERR, time_ns, text, facility)
    assert record.size_bytes == len(record.render().encode(errors="surrogateescape"))


@pytest.mark.parametrize("rows", [0, 1, 100, 4000, 20_000])
def test_a_table_given_backwards_leaves_what_printing_it_leaves(rows: int) -> None:
    printed, backwards = filled(KernelLog(), 5), filled(KernelLog(), 5)
    for row in range(rows):
        printed.printk(Level.INFO, f"row {row}", 7)
    asked: list[int] = []

    def texts() -> Iterator[str]:
        for row in reversed(range(rows)):
            asked.append(row)
            yield f"row {row}"

    backwards.printk_backwards(Level.INFO, texts(), 7)
    assert backwards.render() == printed.render()
    assert len(asked) <= DEFAULT_BYTES // len("<6>[    0.000000] row 9999\n") + 1


def test_the_machine_prints_the_time_of_its_own_clock() -> None:
    machine = Machine()
    machine.advance(2_500_000_000)
    machine.advance(-1)
    machine.printk(Level.WARNING, "now")
    assert machine.log.render() == "<4>[    2.500000] now\n"
