# SPDX-License-Identifier: MIT
"""fakeproc/clock: reading the time, moving it, and who moves it otherwise."""

from __future__ import annotations

import errno
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.log import Level
from fakeproc.procfs.clock import pass_host_time
from fakeproc.procfs.node import File
from fakeproc.procfs.tree import Procfs
from fakeproc.scenario import load_scenario
from tests.state import dump


class Clock:
    """The file, and the machine behind it."""

    def __init__(self) -> None:
        self.procfs = Procfs(load_scenario())

    def read(self, name: str = "clock") -> str:
        return self._file(name).render().decode()

    def write(self, text: str, name: str = "clock") -> None:
        store = self._file(name).store
        assert store(self.procfs.machine.root, text.encode()) == len(text.encode())

    def _file(self, name: str) -> File:
        file = self.procfs.lookup(f"/fakeproc/{name}", self.procfs.machine.root)
        assert isinstance(file, File)
        return file


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_it_tells_time_and_mode(clock: Clock) -> None:
    assert clock.read() == "time: 3600.000000000\nmode: real\nspeed: 1\n"
    clock.write("+1500us\n")
    assert clock.read() == "time: 3600.001500000\nmode: real\nspeed: 1\n"


@pytest.mark.parametrize(
    ("written", "mode", "speed", "passed"),
    [
        ("manual", "manual", "0", "3600.000000000"),
        ("real", "real", "1", "3602.500000000"),
        ("speed 10", "scaled", "10", "3625.000000000"),
        ("speed 0.5\n", "scaled", "0.5", "3601.250000000"),
        (" speed  0.001 ", "scaled", "0.001", "3600.002500000"),
        ("speed 10000", "scaled", "10000", "28600.000000000"),
        ("speed 1.0", "real", "1", "3602.500000000"),
    ],
)
def test_mode_and_speed_can_be_set(
    clock: Clock, written: str, mode: str, speed: str, passed: str
) -> None:
    for before in ("manual", "speed 7", "real"):
        clock.write(before)
    clock.write(written)
    assert clock.read() == f"time: 3600.000000000\nmode: {mode}\nspeed: {speed}\n"
    pass_host_time(clock.procfs, 2_500_000_000)
    assert clock.read().startswith(f"time: {passed}\nmode: {mode}\n")


def test_a_part_of_a_nanosecond_is_not_lost(clock: Clock) -> None:
    clock.write("speed 0.3")
    for _ in range(1000):
        pass_host_time(clock.procfs, 1)
    assert clock.read().startswith("time: 3600.000000300\n")


KILLS = "hold 100003 at-exit for=7s\nkill 100003 SIGKILL\nhold 100008 stuck for=12345ms\n"
"""A victim that takes its time, and a task that sleeps uninterruptibly."""
STALLS_NS = (300_000_000, 2_000_000_001, 9_999_999_999)


def lived(settings: str, host_times_ns: list[int]) -> tuple[dict[str, Any], str]:
    """Return state and log of a machine on which a lot happens while the clock goes."""
    clock = Clock()
    clock.write("6.1", "kernel")
    clock.write(settings)
    clock.write("1", "oom_trigger")
    clock.write(KILLS, "ctl")
    machine = clock.procfs.machine
    for ns in STALLS_NS:
        stall = partial(machine.pressure["memory"].stall, machine.now_ns + ns, ns, full=True)
        machine.events.at(machine.now_ns + ns, stall)
        machine.events.at(machine.now_ns + ns, partial(machine.printk, Level.INFO, f"at {ns}"))
    for host_ns in host_times_ns:
        if settings == "manual":
            clock.write(f"+{host_ns}ns")
        pass_host_time(clock.procfs, host_ns)
        clock.read("explain")
    return dump(clock.procfs), machine.log.render()


def cut(total_ns: int, pieces: int) -> list[int]:
    """Return so many unequal times that add up to this."""
    ends = [total_ns * n * n // pieces**2 for n in range(pieces + 1)]
    return [end - start for start, end in pairwise(ends)]


@pytest.mark.parametrize(
    ("settings", "per_host_second"),
    [("manual", 1), ("real", 1), ("speed 10", 10), ("speed 2.5", 2.5), ("speed 0.4", 0.4)],
)
@pytest.mark.parametrize("pieces", [1, 7, 100])
def test_the_same_happens_at_any_speed(settings: str, per_host_second: float, pieces: int) -> None:
    expected_state, expected_log = lived("manual", [20_000_000_000])
    state, log = lived(settings, cut(int(20_000_000_000 / per_host_second), pieces))
    assert log == expected_log
    assert state == expected_state
    assert [line for line in log.splitlines() if "at 9999999999" in line]


def test_what_falls_due_has_happened_when_the_write_returns(clock: Clock) -> None:
    clock.write("hold 100013 stuck for=5s\nkill 100013 SIGKILL\n", "ctl")
    clock.write("+4999ms")
    assert not clock.procfs.machine.process(100013).is_zombie
    clock.write("+1ms")
    assert clock.procfs.machine.process(100013).is_zombie


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fast", "clock: 'fast': accepted: real, manual, speed 10, or + and a time such as 500ms"),
        ("scaled", "clock: 'scaled': accepted: real, manual, speed 10"),
        ("speed", "speed : accepted is a number from 0.001 to 10000"),
        ("speed 0", "speed 0: accepted is a number"),
        ("speed 0.0009", "speed 0.0009: accepted is a number"),
        ("speed 10000.1", "speed 10000.1: accepted is a number"),
        ("speed -1", "speed -1: accepted is a number"),
        ("speed 1e3", "speed 1e3: accepted is a number"),
        ("speed nan", "speed nan: accepted is a number"),
        ("speed 1 2", "speed 1 2: accepted is a number"),
        ("speed10", "clock: 'speed10': accepted: real"),
        ("speed ٣", "accepted is a number"),
        ("", "clock: '': accepted"),
        ("500ms", "clock: '500ms': accepted"),
        ("-500ms", "clock: '-500ms': accepted"),
        ("+", "clock: +: accepted is a time such as"),
        ("+5", "clock: +5: accepted is a time such as"),
        ("+-5s", "clock: +-5s: accepted is a time such as"),
        ("+99999999999999999999h", "too long"),
        ("manual real", "clock: 'manual real': accepted"),
    ],
)
def test_anything_else_is_refused_and_changes_nothing(clock: Clock, text: str, words: str) -> None:
    before = (dump(clock.procfs), clock.read())
    with pytest.raises(Refused) as refused:
        clock.write(text)
    assert refused.value.error == errno.EINVAL
    assert words in refused.value.why
    assert clock.read("ctl") == f"EINVAL: {refused.value.why}\n"
    assert (dump(clock.procfs), clock.read()) == before


def test_explain_says_who_is_waited_for_and_why(clock: Clock) -> None:
    clock.write("6.1", "kernel")
    clock.write("hold 100013 at-exit for=10s", "ctl")
    clock.write("1", "oom_trigger")
    clock.write("+1200ms")
    assert clock.read("explain").startswith(
        "outcome: waiting\nchosen: none\nvictim: none\nkilled: none\n"
        "reason: an earlier victim is still dying\n"
        "waiting for: 100013 (nightly-job), which has been dying for 1.2 s, held at exit for "
        "8.8 s more; its memory is to be reaped in 0.8 s\n"
    )


@pytest.mark.parametrize(
    ("kernel", "words"),
    [
        ("4.4", "its memory has not been reaped, and will not be"),
        ("4.7", "mmap lock held, 8 of 10 tries have failed"),
        ("4.9", "mmap lock held, 8 of 10 tries have failed"),
    ],
)
def test_explain_says_how_far_the_reaper_is(clock: Clock, kernel: str, words: str) -> None:
    clock.write(kernel, "kernel")
    clock.write("hold 100013 mmap-lock", "ctl")
    clock.write("1", "oom_trigger")
    clock.write("+700ms")
    assert f"100013 (nightly-job), which has been dying for 0.7 s, held mmap lock; {words}" in (
        clock.read("explain").replace("its memory has not been reaped: ", "")
    )


def test_the_verdict_is_kept_up_to_date(clock: Clock) -> None:
    clock.write("6.1", "kernel")
    clock.write("hold 100013 at-exit for=5s", "ctl")
    clock.write("1", "oom_trigger")
    shown = [clock.read("oom_trigger").splitlines()[-3:]]
    for time in ("+2s", "+3s"):
        clock.write(time)
        shown.append(clock.read("oom_trigger").splitlines()[-3:])
    assert shown == [
        ["freed: 0k", "freed_later: 0k", "reaped: none"],
        ["freed: 0k", "freed_later: 2548M", "reaped: 100013"],
        ["freed: 0k", "freed_later: 2553M", "reaped: 100013"],
    ]
