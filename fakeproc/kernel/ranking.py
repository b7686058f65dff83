# SPDX-License-Identifier: MIT
"""Who has the most points, without asking everybody.

The kernel walks all tasks to find the victim.  Here every change to what the badness looks
at is announced (`Rankings.changed`), and the candidates are kept in heaps, so that finding
the first takes the same time however many there are.  That it is the one that a plain walk
finds is a property test.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterable, Mapping

from fakeproc.kernel.task import Process

# An entry is one number that sorts as (-points, place, pid) would: a million tuples would
# take three times the memory.
_PID_BITS = 32
_PLACE_BITS = 80
_LAST_PLACE = (1 << _PLACE_BITS) - 1

_MANY_CHANGES = 1024
_MOST_RANKINGS = 16

PointsOf = Callable[[Process], int | None]
"""Returns a candidate's points, None for who must not be chosen."""

PlaceOf = Callable[[Process], int]
"""Returns a candidate's place in a tie, the smaller one first, or `NO_CANDIDATE`."""

NO_CANDIDATE = -1


def from_the_end(place_of: PlaceOf) -> PlaceOf:
    """Let the last one win a tie."""

    def place_from_the_end(process: Process) -> int:
        place = place_of(process)
        return place if place == NO_CANDIDATE else _LAST_PLACE - place

    return place_from_the_end


class Ranking:
    """The candidates of one kind of OOM, the first of them on top of a heap.

    A change pushes another entry; one that is no longer true is dropped when it comes up.
    """

    def __init__(
        self, processes: Mapping[int, Process], points_of: PointsOf, place_of: PlaceOf
    ) -> None:
        self._processes = processes
        self._points_of = points_of
        self._place_of = place_of
        self._heap: list[int] = []
        self._stale: dict[Process, None] = {}
        """Who has changed since an entry was made of it."""

    def __len__(self) -> int:
        return len(self._heap)

    def fill(self, candidates: Iterable[Process]) -> None:
        """Start again with these."""
        entries = (self._entry_of(process) for process in candidates)
        self._heap = [entry for entry in entries if entry is not None]
        heapq.heapify(self._heap)

    def note(self, changed: Mapping[Process, None]) -> None:
        """Note who has changed; what they are now is asked when it matters, or there are many."""
        self._stale.update(changed)
        if len(self._stale) >= _MANY_CHANGES:
            self.catch_up()

    def catch_up(self) -> None:
        """Take in what those that have changed are now."""
        stale, self._stale = self._stale, {}
        for process in stale:
            self.push(process)

    def push(self, process: Process) -> None:
        """Take in what a process is now."""
        entry = self._entry_of(process)
        if entry is None:
            return
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._processes) + _MANY_CHANGES:
            named = dict.fromkeys(map(self._process_of, self._heap))
            self.fill(process for process in named if process is not None)

    def first(self, passes: Callable[[Process], bool]) -> Process | None:
        """Return the first candidate that passes, or None."""
        passed_over: list[int] = []
        found = None
        while self._heap and found is None:
            entry = self._heap[0]
            process = self._process_of(entry)
            if process is None or self._entry_of(process) != entry:
                heapq.heappop(self._heap)
            elif passes(process):
                found = process
            else:
                passed_over.append(heapq.heappop(self._heap))
        for entry in passed_over:
            heapq.heappush(self._heap, entry)
        return found

    def _entry_of(self, process: Process) -> int | None:
        place = self._place_of(process)
        if place == NO_CANDIDATE:
            return None
        points = self._points_of(process)
        if points is None:
            return None
        return (-points << _PLACE_BITS | place) << _PID_BITS | process.pid

    def _process_of(self, entry: int) -> Process | None:
        return self._processes.get(entry & ((1 << _PID_BITS) - 1))


class Rankings:
    """The rankings that there are, by what the OOM is about; they are made when asked for."""

    def __init__(self) -> None:
        self._by_scope: dict[Hashable, Ranking] = {}
        self._changed: dict[Process, None] = {}

    def changed(self, process: Process) -> None:
        """Note that something has changed by which a process is ranked.

        A process changes often while it is made, so that this only takes note of it.
        """
        if len(self._changed) >= _MANY_CHANGES:
            self._pass_on()
        self._changed[process] = None

    def of(self, scope: Hashable, make: Callable[[], Ranking]) -> Ranking:
        """Return the ranking of this scope, up to date."""
        self._pass_on()
        ranking = self._by_scope.pop(scope, None) or make()
        ranking.catch_up()
        self._by_scope[scope] = ranking
        if len(self._by_scope) > _MOST_RANKINGS:
            del self._by_scope[next(iter(self._by_scope))]
        return ranking

    def forget(self, which: Callable[[Hashable], bool] = lambda scope: True) -> None:
        """Make those of these scopes anew when they are asked for."""
        for scope in [scope for scope in self._by_scope if which(scope)]:
            del self._by_scope[scope]

    def _pass_on(self) -> None:
        changed, self._changed = self._changed, {}
        for ranking in self._by_scope.values():
            ranking.note(changed)
