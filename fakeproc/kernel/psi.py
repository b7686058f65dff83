# SPDX-License-Identifier: MIT
"""Pressure stall information, /proc/pressure/: how long tasks waited for what they lacked.

The arithmetic is that of kernel/sched/psi.c (4.20 and later), held against recorded traces.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from copy import copy
from operator import itemgetter

from fakeproc.kernel.loadavg import FIXED_1, TICK_NS, decay_towards, power, render_fixed

PERIOD_NS = 2_000_000_000 + TICK_NS
"""How often the averages are brought up to date."""

_WINDOWS_S = (10, 60, 300)
_DECAY = (1677, 1981, 2034)  # exp(-2 s / window)

_LATENESS_NS = 30_000_000_000
"""How long after its beginning a stall may be told without being late for its period."""


class Averages:
    """The averages of one line of a pressure file."""

    def __init__(self, now_ns: int = 0, period_ns: int = PERIOD_NS) -> None:
        self._period_ns = period_ns
        self._values = (0, 0, 0)
        self._averaged_ns = 0
        self.last_ns = now_ns
        """When they changed last."""
        self.next_ns = now_ns + period_ns
        """When they are to change next."""

    def update(self, now_ns: int, total_ns: int) -> None:
        """Bring them up to date; nothing happens before `next_ns` (update_averages).

        ``total_ns`` is the stall time since boot.  Periods that have been missed count as
        without a stall.  What has grown by more than the time that is looked at, because
        it was told late, counts in the next period.
        """
        if now_ns < self.next_ns:
            return
        missed = (now_ns - self.next_ns) // self._period_ns
        elapsed_ns = now_ns - (self.last_ns + missed * self._period_ns)
        sample_ns = min(total_ns - self._averaged_ns, elapsed_ns)
        active = sample_ns * 100 // elapsed_ns * FIXED_1
        self._averaged_ns += sample_ns
        self.last_ns = now_ns
        self.next_ns += (missed + 1) * self._period_ns
        ten, sixty, three_hundred = (
            decay_towards(decay_towards(value, power(decay, missed), 0), decay, active)
            if missed
            else decay_towards(value, decay, active)
            for value, decay in zip(self._values, _DECAY, strict=True)
        )
        self._values = (ten, sixty, three_hundred)

    def run(self, until_ns: int, total_ns: int) -> None:
        """Update them at each time that is due until then, with the same total."""
        while self.next_ns <= until_ns:
            at_rest = not any(self._values) and total_ns == self._averaged_ns
            self.update(self.last_update_by(until_ns) if at_rest else self.next_ns, total_ns)

    def last_update_by(self, until_ns: int) -> int:
        """Return the last time by then at which an update is due; before `next_ns` if none."""
        return until_ns - (until_ns - self.next_ns) % self._period_ns

    @property
    def avg10_percent(self) -> float:
        """The average over ten seconds, cut off as `render` does."""
        return self._values[0] * 100 // FIXED_1 / 100

    def render(self) -> str:
        """Return ``avg10=0.00 avg60=0.00 avg300=0.00``, in percent."""
        pairs = zip(_WINDOWS_S, self._values, strict=True)
        return " ".join(f"avg{window}={render_fixed(value)}" for window, value in pairs)


class Line:
    """One line: its averages as of a while ago, and the stalls since."""

    def __init__(self) -> None:
        self.watchers: list[Callable[[int], None]] = []
        """Called with the beginning of each stall, before it counts."""
        self._averages = Averages()
        self._averaged_total_ns = 0
        self._stalls: list[tuple[int, int]] = []
        """Beginning and end of what came after the averages: disjoint, in order."""
        self._shown = self._averages
        """How far they have been worked out for those who asked, until there is another stall."""

    def add(self, start_ns: int, end_ns: int) -> None:
        """Note a stall; what overlaps others counts once."""
        for watch in self.watchers:
            watch(start_ns)
        self._settle(start_ns - _LATENESS_NS)
        self._shown = self._averages
        start_ns = max(start_ns, self._averages.last_ns)
        if start_ns >= end_ns:
            return
        stalls = self._stalls
        if not stalls or stalls[-1][1] < start_ns:
            stalls.append((start_ns, end_ns))  # as nearly all are told
            return
        first = bisect_left(stalls, (start_ns,))
        if first and stalls[first - 1][1] >= start_ns:
            first -= 1
        last = first
        while last < len(stalls) and stalls[last][0] <= end_ns:
            start_ns, end_ns = min(start_ns, stalls[last][0]), max(end_ns, stalls[last][1])
            last += 1
        stalls[first:last] = [(start_ns, end_ns)]

    def render(self, now_ns: int) -> str:
        """Return averages and total as they are now; nothing changes by asking."""
        total_ns = self.total_ns(now_ns)
        return f"{self._shown.render()} total={total_ns // 1000}"

    def total_ns(self, now_ns: int) -> int:
        """Return the stall time since boot."""
        if self._shown is self._averages or now_ns < self._shown.last_ns:
            self._shown = copy(self._averages)
        return self._average(self._shown, now_ns)

    def avg10_percent(self, now_ns: int) -> float:
        """Return the average over ten seconds as it is now; nothing changes by asking."""
        self.total_ns(now_ns)
        return self._shown.avg10_percent

    def _settle(self, until_ns: int) -> None:
        """Average the periods that are over by then, and forget their stalls."""
        if until_ns < self._averages.next_ns:
            return
        last_ns = self._averages.last_update_by(until_ns)
        self._averaged_total_ns = self._average(self._averages, last_ns)
        stalls = self._stalls
        del stalls[: bisect_right(stalls, last_ns, key=itemgetter(1))]
        if stalls:
            start_ns, end_ns = stalls[0]
            stalls[0] = (max(start_ns, last_ns), end_ns)

    def _average(self, averages: Averages, until_ns: int) -> int:
        """Bring averages up to date, period by period; return the total by then."""
        total_ns = self._averaged_total_ns
        for start_ns, end_ns in self._stalls:
            if start_ns >= until_ns:
                break
            end_ns = min(end_ns, until_ns)
            averages.run(start_ns, total_ns)
            while averages.next_ns <= end_ns:
                averages.update(averages.next_ns, total_ns + averages.next_ns - start_ns)
            total_ns += end_ns - start_ns
        averages.run(until_ns, total_ns)
        return total_ns


class Pressure:
    """A pressure file: the stalls of tasks on one resource.

    The averages are those of a kernel on which something runs in every period, so that its
    clock never stops: whoever watches them is enough for that.  They change at fixed times,
    every `PERIOD_NS` since boot.
    """

    def __init__(self, *, has_full: bool = True) -> None:
        self._has_full = has_full
        self._some = Line()
        self._full = Line()

    def stall(self, start_ns: int, duration_ns: int, *, full: bool) -> None:
        """Tell of a task that waited; ``full`` if no other task could run meanwhile.

        Times are of the machine's clock.  Stalls of several tasks at once count once.  A
        stall may be told when it begins, and counts as far as it has come, or when it is over:
        it counts in the periods in which it was, but for what lies more than half a minute
        before the beginning of another that has been told.
        """
        end_ns = start_ns + duration_ns
        self._some.add(start_ns, end_ns)
        if full and self._has_full:
            self._full.add(start_ns, end_ns)

    def render(self, now_ns: int) -> str:
        """Return the two lines of the file; nothing changes by asking."""
        return f"some {self._some.render(now_ns)}\nfull {self._full.render(now_ns)}\n"

    def line(self, *, full: bool) -> Line:
        """Return one of the two lines."""
        return self._full if full else self._some


def all_pressures(*, is_group: bool = False) -> dict[str, Pressure]:
    """Return what a machine has, or a group, by the names of the files.

    For the CPU, ``full`` is not defined for the whole machine, and stays 0.
    """
    return {"memory": Pressure(), "cpu": Pressure(has_full=is_group), "io": Pressure()}
