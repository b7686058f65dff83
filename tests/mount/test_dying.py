# SPDX-License-Identifier: MIT
"""Dying that takes time, the clock, and the reboot, through a mount."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from tests.conftest import Mounted, wait_until
from tests.mount import opened, put, refused

CONTROL = "ctl() { echo $@ > fakeproc/ctl; }; "


def test_a_manual_clock_goes_when_it_is_moved(mount: Callable[..., Mounted]) -> None:
    mounted = mount("--clock", "manual", "--kernel", "6.1")
    assert mounted.read("fakeproc/clock") == "time: 3600.000000000\nmode: manual\nspeed: 0\n"
    script = """
        ctl hold 100013 at-exit for=5s; echo 1 > fakeproc/oom_trigger
        echo 1 > fakeproc/oom_trigger; grep outcome fakeproc/oom_trigger
        echo +1999ms > fakeproc/clock; grep -c oom_reaper fakeproc/kmsg
        echo +1ms > fakeproc/clock; grep -c oom_reaper fakeproc/kmsg
        grep State 100013/status; echo +3s > fakeproc/clock; grep State 100013/status
        cat uptime; echo fast > fakeproc/clock; cat fakeproc/ctl
    """
    done = mounted.sh(CONTROL + script)
    assert done.stdout.splitlines() == [
        "outcome: waiting",
        "0",
        "1",
        "State:\tt (tracing stop)",
        "State:\tZ (zombie)",
        "3605.00 7210.00",
        "EINVAL: clock: 'fast': accepted: real, manual, speed 10, or + and a time such as "
        "500ms, 5s or 2m.",
    ]


def test_a_clock_may_be_stopped_and_go_on(mounted: Mounted) -> None:
    def time() -> str:
        return mounted.read("fakeproc/clock")

    assert time() != time()
    (mounted / "fakeproc/clock").write_text("manual")
    assert time() == time()
    (mounted / "fakeproc/clock").write_text("real")
    assert time() != time()


def test_a_clock_may_go_faster(mount: Callable[..., Mounted]) -> None:
    """An hour in a second and less, which is time enough to die."""
    mounted = mount("--speed", "10000")
    assert mounted.read("fakeproc/clock").endswith("\nmode: scaled\nspeed: 10000\n")
    mounted.control("hold 100013 at-exit for=1h")
    mounted.control("kill 100013 SIGKILL")
    wait_until(lambda: "zombie" in mounted.read("100013/status"), "the end of the hold")
    (mounted / "fakeproc/clock").write_text("speed 0.5")
    assert mounted.read("fakeproc/clock").endswith("\nmode: scaled\nspeed: 0.5\n")
    with refused(errno.EINVAL):
        put(mounted / "fakeproc/clock", b"speed 0")


def test_what_was_open_before_a_reboot_is_gone(mounted: Mounted) -> None:
    adj, score = mounted / "100013/oom_score_adj", mounted / "100013/oom_score"
    folder = os.open(mounted / "100013", os.O_RDONLY)
    with (
        opened(adj, os.O_RDWR) as written,
        opened(score) as rated,
        opened(mounted / "uptime") as up,
    ):
        assert os.pread(written, 100, 0) == b"300\n"
        mounted.control("reboot")
        for fd in (written, rated):
            with refused(errno.ESRCH):
                os.pread(fd, 100, 0)
        with refused(errno.ESRCH):
            os.write(written, b"500")
        assert float(os.pread(up, 100, 0).split()[0]) >= 3600
    assert "oom_score_adj" in os.listdir(folder)
    os.close(folder)
    assert adj.read_text() == "300\n"


def test_a_shell_lives_on_after_a_reboot(mounted: Mounted) -> None:
    """It was adopted by the machine that is gone, and so is its child by the new one."""
    script = """
        cat self/comm; echo 300 > self/oom_score_adj; ctl reboot; sh -c 'cat self/oom_score_adj'
        grep internal_errors fakeproc/stats
    """
    assert mounted.sh(CONTROL + script).stdout.splitlines() == ["cat", "0", "internal_errors 0"]
