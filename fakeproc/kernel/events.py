# SPDX-License-Identifier: MIT
"""What happens later: one queue for the whole machine."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

_FEW = 1024


@dataclass(slots=True, eq=False)
class Event:
    """Something that falls due at a time of the machine's clock."""

    due_ns: int
    action: Callable[[], object]
    line: str = ""
    """What a scenario calls it; nothing for what the machine does by itself."""
    cancelled: bool = False

    def cancel(self) -> None:
        """Let it never happen."""
        self.cancelled = True


class EventQueue:
    """A heap of events; the machine takes out what is due as its clock goes on."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Event]] = []
        """When each falls due, and its number: of those that are due at once, the one that was
        scheduled first comes first."""
        self._scheduled = 0
        self._most = _FEW
        """At how many events those that were cancelled are looked for."""

    def at(self, due_ns: int, action: Callable[[], object], *, line: str = "") -> Event:
        """Schedule an action; return the event, which can be cancelled."""
        event = Event(due_ns, action, line)
        self._scheduled += 1
        heapq.heappush(self._heap, (due_ns, self._scheduled, event))
        if len(self._heap) > self._most:
            self._drop_cancelled()
        return event

    def pending(self) -> list[Event]:
        """Return what is still going to happen, in order."""
        return [event for _, _, event in sorted(self._heap) if not event.cancelled]

    def next_due_ns(self) -> int | None:
        """Return when the next one falls due, or None."""
        while self._heap and self._heap[0][2].cancelled:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop(self, until_ns: int) -> Event | None:
        """Take out the next event that is due by this time, or return None."""
        heap = self._heap
        while heap and heap[0][0] <= until_ns:
            _, _, event = heapq.heappop(heap)
            if not event.cancelled:
                return event
        return None

    def _drop_cancelled(self) -> None:
        """Drop what was cancelled: it would stay, with all that it is about, until it were due."""
        self._heap = [entry for entry in self._heap if not entry[2].cancelled]
        heapq.heapify(self._heap)
        self._most = max(2 * len(self._heap), _FEW)
