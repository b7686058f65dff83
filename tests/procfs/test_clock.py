# SPDX-License-Identifier: MIT
"""fakeproc/clock: reading the time, moving it, and who moves it otherwise."""

from __future__ import annotations

import errno

import pytest

from fakeproc.kernel.errors import Refused
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
    assert clock.read() == "time: 3600.000000000\nmode: real\n"
    clock.write("+1500us\n")
    assert clock.read() == "time: 3600.001500000\nmode: real\n"


def test_the_mode_can_be_set(clock: Clock) -> None:
    for mode in ("manual", "real"):
        clock.write(mode)
        assert clock.read() == f"time: 3600.000000000\nmode: {mode}\n"
        assert clock.procfs.manual_clock == (mode == "manual")


def test_what_falls_due_has_happened_when_the_write_returns(clock: Clock) -> None:
    clock.write("hold 100013 stuck for=5s\nkill 100013 SIGKILL\n", "ctl")
    clock.write("+4999ms")
    assert not clock.procfs.machine.process(100013).is_zombie
    clock.write("+1ms")
    assert clock.procfs.machine.process(100013).is_zombie


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fast", "clock: 'fast': accepted: real, manual, or + and a time such as 500ms"),
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
