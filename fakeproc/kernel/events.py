# SPDX-License-Identifier: MIT
"""What happens later: one queue for the whole machine."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True, order=True)
class Event:
    """Something that falls due at a time of the machine's clock."""

    due_ns: int
    sequence: int
    """Of those that are due at once, the one that was scheduled first comes first."""
    action: Callable[[], object] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)
    line: str = field(default="", compare=False)
    """What a scenario calls it; nothing for what the machine does by itself."""

    def cancel(self) -> None:
        """Let it never happen."""
        self.cancelled = True


_FEW = 1024


class EventQueue:
    """A heap of events; the machine takes out what is due as its clock goes on."""

    def __init__(self) -> None:
        self._heap: list[Event] = []
        self._next_sequence = 0
        self._most = _FEW
        """At how many events those that were cancelled are looked for."""

    def at(self, due_ns: int, action: Callable[[], object], *, line: str = "") -> Event:
        """Schedule an action; return the event, which can be cancelled."""
        event = Event(due_ns, self._next_sequence, action, line=line)
        self._next_sequence += 1
        heapq.heappush(self._heap, event)
        if len(self._heap) > self._most:
            self._drop_cancelled()
        return event

    def pending(self) -> list[Event]:
        """Return what is still going to happen, in order."""
        return sorted(event for event in self._heap if not event.cancelled)

    def next_due_ns(self) -> int | None:
        """Return when the next one falls due, or None."""
        while self._heap and self._heap[0].cancelled:
            heapq.heappop(self._heap)
        return self._heap[0].due_ns if self._heap else None

    def pop(self, until_ns: int) -> Event | None:
        """Take out the next event that is due by this time, or return None."""
        while self._heap and (self._heap[0].due_ns <= until_ns or self._heap[0].cancelled):
            event = heapq.heappop(self._heap)
            if not event.cancelled:
                return event
        return None

    def _drop_cancelled(self) -> None:
        """Drop what was cancelled: it would stay, with all that it is about, until it were due."""
        self._heap = [event for event in self._heap if not event.cancelled]
        heapq.heapify(self._heap)
        self._most = max(2 * len(self._heap), _FEW)
