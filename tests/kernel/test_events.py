# SPDX-License-Identifier: MIT
"""The event queue: what is due first comes first, and nothing that was cancelled."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fakeproc.kernel.events import EventQueue
from fakeproc.kernel.machine import Machine


def ignore() -> None:
    """Do nothing."""


@given(st.lists(st.integers(0, 5), max_size=20))
def test_events_come_by_time_and_then_as_they_were_scheduled(times: list[int]) -> None:
    queue = EventQueue()
    events = [queue.at(time, ignore) for time in times]
    popped = []
    while (event := queue.pop(5)) is not None:
        popped.append(event)
    assert popped == sorted(events, key=lambda event: event.due_ns)


def test_nothing_comes_before_its_time() -> None:
    queue = EventQueue()
    event = queue.at(10, ignore)
    assert queue.pop(9) is None
    assert queue.pop(10) is event
    assert queue.pop(10) is None


def test_a_cancelled_event_never_comes() -> None:
    queue = EventQueue()
    first, second = queue.at(1, ignore), queue.at(2, ignore)
    first.cancel()
    assert queue.pop(10) is second
    assert queue.pop(10) is None


def test_what_was_cancelled_is_not_kept_until_it_is_due() -> None:
    queue = EventQueue()
    kept = [queue.at(10**9 + number, ignore) for number in range(100)]
    for _ in range(10_000):
        queue.at(10**12, ignore).cancel()
    assert queue.pending() == kept
    assert len(queue._heap) < 2500


def test_a_panic_ends_the_time_however_it_is_cut() -> None:
    machine = Machine()
    seen: list[int] = []
    machine.events.at(20, lambda: machine.panic("test"))
    machine.events.at(30, lambda: seen.append(machine.now_ns))
    machine.advance(100)
    machine.advance(100)
    assert (seen, machine.now_ns) == ([], 20)


def test_the_clock_stands_at_each_event_when_it_happens() -> None:
    machine = Machine()
    seen: list[int] = []
    machine.events.at(30, lambda: seen.append(machine.now_ns))
    machine.events.at(10, lambda: seen.append(machine.now_ns))
    machine.events.at(10, lambda: machine.events.at(20, lambda: seen.append(machine.now_ns)))
    machine.advance(25)
    assert (seen, machine.now_ns) == ([10, 20], 25)
    machine.advance(25)
    assert (seen, machine.now_ns) == ([10, 20, 30], 50)
