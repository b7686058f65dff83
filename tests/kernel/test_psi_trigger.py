# SPDX-License-Identifier: MIT
"""PSI triggers: what they accept, and when they tell."""

from __future__ import annotations

import errno

import pytest

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.profile import KernelConfig, named
from fakeproc.kernel.psi import PERIOD_NS
from fakeproc.kernel.psi_trigger import Trigger, TriggerRequest, cut_to_buffer, read_request

MS = 1_000_000
S = 1000 * MS

ACCEPTED = (
    (b"some 150000 2000000\0", 150_000),
    (b"some 150000 2000000\n", 150_000),
    (b"some150000 2000000\n", 150_000),
    (b"some  150000\t2000000\n", 150_000),
    (b"some 1000001 2000000\n", 1_000_001),
    (b"some 2000000 2000000\n", 2_000_000),
    (b"some 010 2000000\n", 10),
    (b"some 4294967297 2000000\n", 1),
    (b"some 1 4296967296\n", 1),
    (b"some 1 2000000 trailing words beyond the buffer\n", 1),
    (b"some 1 2000000x\n", 1),
)
"""What 6.18 takes from who has no CAP_SYS_RESOURCE, and the stall in it; the window is 2 s."""

REFUSED = (
    b"some 150000 2000000",
    b" some 150000 2000000\n",
    b"some 0 2000000\n",
    b"some 2000001 2000000\n",
    b"some 1 0\n",
    b"some 1 10000001\n",
    b"some 1 20000000\n",
    b"some 1 3000000\n",
    b"some 18446744073709551617 2000000\n",
    b"some 000000000000000000001 2000000\n",
    b"some 0x10 2000000\n",
    b"some +1 2000000\n",
    b"some -1 2000000\n",
    b"some 1\0 2000000\n",
    b"some 1,2000000\n",
    b"SOME 1 2000000\n",
    b"some\n",
    b"s",
    b"\0",
)
"""What it refuses (seen there)."""


@pytest.mark.parametrize(("data", "stall_us"), ACCEPTED, ids=repr)
def test_it_reads_what_the_kernel_reads(data: bytes, stall_us: int) -> None:
    found = read_request(cut_to_buffer(data), named("6.18"), privileged=False)
    assert found == TriggerRequest(False, stall_us * 1000, 2 * S)


@pytest.mark.parametrize("data", REFUSED, ids=repr)
def test_it_refuses_what_the_kernel_refuses(data: bytes) -> None:
    with pytest.raises(Refused) as refused:
        read_request(cut_to_buffer(data), named("6.18"), privileged=False)
    assert refused.value.error == errno.EINVAL


@pytest.mark.parametrize(
    ("kernel", "privileged", "window_us", "accepted"),
    [
        ("6.18", True, 1, True),
        ("6.18", False, 1_000_000, False),
        ("6.18", False, 10_000_000, True),
        ("6.1", True, 499_999, False),
        ("6.1", True, 500_000, True),
    ],
)
def test_which_windows_there_are(
    kernel: str, privileged: bool, window_us: int, accepted: bool
) -> None:
    data = b"full 1 %d\n" % window_us
    if accepted:
        found = read_request(data, named(kernel), privileged=privileged)
        assert found == TriggerRequest(True, 1000, window_us * 1000)
        return
    with pytest.raises(Refused, match=str(window_us)):
        read_request(data, named(kernel), privileged=privileged)


# -- When they tell ----------------------------------------------------------------


class Watched:
    """A machine with a trigger on memory."""

    def __init__(
        self, stall_ns: int, window_ns: int, *, full: bool = False, privileged: bool = True
    ) -> None:
        self.machine = Machine(KernelConfig("6.18"))
        self.pressure = self.machine.pressure["memory"]
        request = TriggerRequest(full, stall_ns, window_ns)
        self.trigger = Trigger(self.machine, self.pressure, request, privileged=privileged)

    def stall(self, length_ns: int, *, full: bool = False) -> None:
        """Let a task wait from now on; it is known when it is over."""
        start_ns = self.machine.now_ns
        self.machine.advance(length_ns)
        self.pressure.stall(start_ns, length_ns, full=full)

    def run(self, until_ns: int, step_ns: int = 10 * MS) -> list[int]:
        """Let time pass; return when (in ms) there were events."""
        events = []
        while self.machine.now_ns < until_ns:
            self.machine.advance(step_ns)
            if self.trigger.event:
                events.append(self.machine.now_ns // MS)
                self.trigger.event = False
        return events

    def stall_on(self, until_ns: int, share: float) -> list[int]:
        """Stall for this share of each 20 ms; return when (in ms) there were events."""
        events = []
        while self.machine.now_ns < until_ns:
            self.stall(int(20 * MS * share))
            events += self.run(self.machine.now_ns // (20 * MS) * 20 * MS + 20 * MS)
        return events


def test_a_stall_below_the_threshold_is_not_told() -> None:
    watched = Watched(150 * MS, S)
    watched.stall(140 * MS)
    assert watched.run(20 * S) == []


def test_one_stall_is_told_once() -> None:
    watched = Watched(150 * MS, S)
    watched.run(5 * S)
    watched.stall(160 * MS)
    assert watched.run(30 * S) == [5170]


def test_it_tells_once_a_window_while_it_lasts() -> None:
    watched = Watched(100 * MS, 2 * S)
    events = watched.stall_on(10 * S, 0.1)
    assert events == [1000, 3000, 5000, 7000, 9000]
    # Its threshold had been reached once more when the stalls came to an end.
    assert watched.run(30 * S) == [11000]


def test_stalls_that_are_spread_thin_are_not_told() -> None:
    watched = Watched(100 * MS, S)
    assert watched.stall_on(20 * S, 0.05) == []


def test_an_event_that_came_too_early_is_told_later() -> None:
    """Growth is known at 0.16 s and at 0.4 s; of the second one is told a window later."""
    watched = Watched(150 * MS, S)
    watched.stall(160 * MS)
    assert watched.run(220 * MS) == [170]
    watched.stall(180 * MS)
    (later,) = watched.run(10 * S)
    assert 1160 <= later <= 1300


def test_the_full_line_has_its_own() -> None:
    watched = Watched(150 * MS, S, full=True)
    watched.stall(500 * MS)
    assert watched.run(3 * S) == []
    watched.stall(500 * MS, full=True)
    assert watched.run(10 * S) == [3510]


def test_without_a_right_the_averages_decide_when() -> None:
    watched = Watched(150 * MS, 2 * S, privileged=False)
    watched.run(4500 * MS)
    watched.stall(160 * MS)
    (event,) = watched.run(30 * S)
    third_period = 3 * PERIOD_NS // MS
    assert third_period <= event <= third_period + 10


def test_a_closed_one_tells_nothing_and_leaves_nothing() -> None:
    watched = Watched(150 * MS, S)
    watched.stall(200 * MS)
    assert watched.machine.events.pending()
    watched.trigger.close()
    assert not watched.machine.events.pending()
    watched.stall(500 * MS)
    assert watched.run(5 * S) == []
    assert not watched.machine.events.pending()


def test_it_costs_nothing_while_there_are_no_stalls() -> None:
    for privileged in (True, False):
        watched = Watched(150 * MS, 2 * S, privileged=privileged)
        assert not watched.machine.events.pending()
        watched.stall(200 * MS)
        assert watched.machine.events.pending()
        watched.run(60 * S, S)
        assert not watched.machine.events.pending()
