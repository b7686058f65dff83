# SPDX-License-Identifier: MIT
"""PSI triggers: who wants to be told when stalls take more than so much of a window.

The rules are those of kernel/sched/psi.c (5.2 and later), what it accepts as seen on 6.18.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.psi import PERIOD_NS, Line, Pressure

if TYPE_CHECKING:
    from fakeproc.kernel.events import Event
    from fakeproc.kernel.machine import Machine
    from fakeproc.kernel.profile import Profile

_BUFFER_BYTES = 32
_MAX_WINDOW_US = 10_000_000
_UNPRIVILEGED_STEP_US = 2_000_000
_UPDATES_PER_WINDOW = 10

_NUMBER = rb"[\s\xa0]*(\d+)"
# As sscanf reads "some %u %u": space in the format matches none as well.
_FORM = re.compile(rb"(some|full)" + _NUMBER + _NUMBER)

_ACCEPTED = "some or full, then two numbers of microseconds: a stall, and the window it is in"


@dataclass(frozen=True, slots=True)
class TriggerRequest:
    """What is to be told: that stalls have taken so much of a window."""

    full: bool
    threshold_ns: int
    window_ns: int


def cut_to_buffer(data: bytes) -> bytes:
    """Return what psi_write keeps of a write to /proc/pressure.

    The last byte is lost, as the end of the text takes its place, and so is what does not fit
    into 32 bytes.
    """
    return data[:_BUFFER_BYTES][:-1]


def read_request(data: bytes, profile: Profile, *, privileged: bool) -> TriggerRequest:
    """Read ``some 150000 1000000``, in microseconds; EINVAL for what the kernel does not take.

    Who is not ``privileged`` (CAP_SYS_RESOURCE) may only have windows
    of whole 2 s, for which the averages serve (d82caa273565, 6.4).
    """
    match = _FORM.match(data.split(b"\0")[0])
    if match is None:
        raise Refused(errno.EINVAL, f"pressure: {data!r}: accepted: {_ACCEPTED}.")
    # The kernel reads 64 bits and keeps 32.
    threshold_us, window_us = (int(number) % 2**32 for number in match.groups()[1:])
    min_us = max(profile.psi_window_min_us, 1)
    if not min_us <= window_us <= _MAX_WINDOW_US:
        raise Refused(
            errno.EINVAL, f"pressure: window {window_us}: accepted: {min_us} to {_MAX_WINDOW_US}."
        )
    if not privileged and window_us % _UNPRIVILEGED_STEP_US:
        raise Refused(
            errno.EINVAL,
            f"pressure: window {window_us}: without CAP_SYS_RESOURCE accepted are multiples of "
            f"{_UNPRIVILEGED_STEP_US}.",
        )
    if not 0 < threshold_us <= window_us:
        raise Refused(
            errno.EINVAL,
            f"pressure: stall {threshold_us}: accepted: 1 to {window_us} (the window).",
        )
    return TriggerRequest(match[1] == b"full", threshold_us * 1000, window_us * 1000)


class _Window:
    """How much a total has grown in the window up to now (window_update).

    Of the window before, its growth is taken to have been even.
    """

    def __init__(self, size_ns: int) -> None:
        self._size_ns = size_ns
        self._start_ns = self._start_total_ns = self._earlier_ns = 0

    def begin(self, now_ns: int, total_ns: int, earlier_ns: int = 0) -> None:
        self._start_ns, self._start_total_ns, self._earlier_ns = now_ns, total_ns, earlier_ns

    def grow(self, now_ns: int, total_ns: int) -> int:
        """Return the growth; a window that is over makes way for the next."""
        elapsed_ns = now_ns - self._start_ns
        growth_ns = total_ns - self._start_total_ns
        if elapsed_ns > self._size_ns:
            self.begin(now_ns, total_ns, growth_ns)
            return growth_ns
        return growth_ns + self._earlier_ns * (self._size_ns - elapsed_ns) // self._size_ns


class Trigger:
    """A trigger on one line of a pressure file: `event` is set once its threshold is reached.

    It looks ten times in a window, from the first stall until a window has gone by without
    one; the unprivileged one whenever the averages change.  Between stalls it costs nothing.
    Like the averages it learns of a stall when that is over.
    """

    def __init__(
        self, machine: Machine, pressure: Pressure, request: TriggerRequest, *, privileged: bool
    ) -> None:
        self.machine = machine
        self.event = False
        """Something is to be told; who tells it takes it back."""
        self._line: Line = pressure.line(full=request.full)
        self._request = request
        self._polls = privileged
        self._window = _Window(request.window_ns)
        self._total_ns = self._line.total_ns(machine.now_ns)
        self._window.begin(machine.now_ns, self._total_ns)
        self._is_pending = False
        self._last_event_ns = -request.window_ns
        self._active_until_ns = 0
        self._check: Event | None = None
        self._line.watchers.append(self._on_stall)

    def close(self) -> None:
        """Let it never tell anything again."""
        self._line.watchers.remove(self._on_stall)
        if self._check is not None:
            self._check.cancel()

    def _on_stall(self, start_ns: int) -> None:
        """Begin to look, if it does not; the stall has not been added yet."""
        now_ns = self.machine.now_ns
        self._active_until_ns = now_ns + self._request.window_ns
        if self._check is not None:
            return
        if not self._polls:
            self._look_at(now_ns - now_ns % PERIOD_NS + PERIOD_NS)
            return
        # The kernel forgets the window before when it begins to look (init_triggers).
        self._window.begin(min(start_ns, now_ns), self._line.total_ns(now_ns))
        self._look_at(max(start_ns + self._interval_ns, now_ns))

    @property
    def _interval_ns(self) -> int:
        return self._request.window_ns // _UPDATES_PER_WINDOW

    def _look_at(self, due_ns: int) -> None:
        self._check = self.machine.events.at(due_ns, self._look)

    def _look(self) -> None:
        now_ns = self.machine.now_ns
        self._check = None
        has_grown = self._update(now_ns)
        if not self._polls:
            if has_grown or self._is_pending:
                self._look_at(now_ns + PERIOD_NS)
            return
        if has_grown:
            self._active_until_ns = now_ns + self._request.window_ns
        if now_ns <= self._active_until_ns:
            self._look_at(now_ns + self._interval_ns)

    def _update(self, now_ns: int) -> bool:
        """Set off an event, at most one a window (update_triggers); say whether there were stalls.

        One that comes too early waits until it may (e6df4ead85d9, "psi: fix possible trigger
        missing in the window").
        """
        total_ns = self._line.total_ns(now_ns)
        has_grown = total_ns != self._total_ns
        if has_grown:
            self._total_ns = total_ns
            growth_ns = self._window.grow(now_ns, total_ns)
            self._is_pending |= growth_ns >= self._request.threshold_ns
        if self._is_pending and now_ns >= self._last_event_ns + self._request.window_ns:
            self.event, self._last_event_ns, self._is_pending = True, now_ns, False
        return has_grown
