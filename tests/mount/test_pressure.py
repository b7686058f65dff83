# SPDX-License-Identifier: MIT
"""/proc/pressure and the load through a mount."""

from __future__ import annotations

import errno
import os
import select
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Mounted
from tests.mount import opened, put, refused

TRIGGER = b"some 150000 1000000\0"
MANUAL = ("--kernel", "6.18", "--scenario", "swap-thrash", "--clock", "manual")
QUIET = "avg10=0.00 avg60=0.00 avg300=0.00 total=0"


def test_pressure_can_be_read(mount: Callable[..., Mounted]) -> None:
    mounted = mount("--kernel", "6.18")
    assert sorted(os.listdir(mounted / "pressure")) == ["cpu", "io", "memory"]
    for name in os.listdir(mounted / "pressure"):
        path = mounted / "pressure" / name
        assert path.stat().st_mode & 0o7777 == 0o666
        assert path.read_text() == f"some {QUIET}\nfull {QUIET}\n"


def test_pressure_comes_and_goes_with_the_kernel(mounted: Mounted) -> None:
    """Also for who has seen it before: names are kept in the host's cache for long."""
    for kernel, is_there in (("6.1", True), ("4.19", False), ("5.0", True)):
        put(mounted / "fakeproc/kernel", kernel.encode())
        assert ("pressure" in os.listdir(mounted.path)) == is_there
        if is_there:
            assert "avg10=" in mounted.read("pressure/memory")
            continue
        for path in (mounted / "pressure", mounted / "pressure/memory"):
            with refused(errno.ENOENT):
                path.stat()
        with refused(errno.ENOENT):
            mounted.read("pressure/memory")


def test_the_load_goes_with_the_clock(mount: Callable[..., Mounted]) -> None:
    mounted = mount("--clock", "manual")
    assert mounted.read("loadavg").startswith("0.00 0.00 0.00 ")
    mounted.control("hold 100013 stuck")
    put(mounted / "fakeproc/clock", b"+1h")
    assert mounted.read("loadavg").startswith("1.00 1.00 ")


# -- Triggers ----------------------------------------------------------------------


on_libfuse_3 = pytest.mark.parametrize("binding", ["mfusepy"], indirect=True)
"""For what libfuse 2 has not: somebody who waits is woken."""


def test_libfuse_2_takes_no_triggers(mount: Callable[..., Mounted], binding: str) -> None:
    mounted = mount("--kernel", "6.18")
    with opened(mounted / "pressure/memory", os.O_RDWR) as fd:
        if binding == "mfusepy":
            assert os.write(fd, TRIGGER) == len(TRIGGER)
            return
        with refused(errno.EOPNOTSUPP):
            os.write(fd, TRIGGER)
    assert "libfuse 3" in mounted.read("fakeproc/ctl")


@on_libfuse_3
@pytest.mark.parametrize("flags", [os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_NONBLOCK])
def test_the_write_that_moves_the_clock_tells(mount: Callable[..., Mounted], flags: int) -> None:
    mounted = mount(*MANUAL)
    with opened(mounted / "pressure/memory", flags) as fd, select.epoll() as epoll:
        poll = select.poll()
        poll.register(fd, select.POLLPRI)
        assert poll.poll(0) == [(fd, select.POLLERR | select.POLLPRI)]
        assert os.write(fd, TRIGGER) == len(TRIGGER)
        epoll.register(fd, select.EPOLLPRI)
        assert poll.poll(0) == epoll.poll(0) == []
        put(mounted / "fakeproc/clock", b"+3s")
        assert epoll.poll(10) == [(fd, select.EPOLLPRI)]
        assert epoll.poll(0) == poll.poll(0) == []
        with refused(errno.EBUSY):
            os.write(fd, TRIGGER)


@on_libfuse_3
def test_who_waits_is_woken_by_another_one(mount: Callable[..., Mounted]) -> None:
    mounted = mount(*MANUAL)
    for edge in (0, select.EPOLLET):
        with opened(mounted / "pressure/memory", os.O_RDWR) as fd, select.epoll() as epoll:
            os.write(fd, TRIGGER)
            epoll.register(fd, select.EPOLLPRI | edge)
            for _ in range(3):
                assert epoll.poll(0) == []
                put(mounted / "fakeproc/clock", b"+2s")
                assert epoll.poll(10) == [(fd, select.EPOLLPRI)], edge


@on_libfuse_3
def test_time_alone_wakes_who_waits(mount: Callable[..., Mounted]) -> None:
    """No request comes in meanwhile: the server sees to the clock by itself."""
    mounted = mount("--kernel", "6.18", "--scenario", "swap-thrash")
    with opened(mounted / "pressure/memory", os.O_RDWR) as fd:
        os.write(fd, b"some 100000 500000\0")
        poll = select.poll()
        poll.register(fd, select.POLLPRI)
        for _ in range(2):
            assert poll.poll(20_000) == [(fd, select.POLLPRI)]


@on_libfuse_3
def test_a_group_that_goes_wakes_who_waits_with_an_error(mount: Callable[..., Mounted]) -> None:
    mounted = mount("--kernel", "6.18")
    group = mounted / "fakeproc/cgroup/web"
    group.mkdir()
    with opened(group / "memory.pressure", os.O_RDWR) as fd, select.epoll() as epoll:
        os.write(fd, TRIGGER)
        epoll.register(fd, select.EPOLLPRI)
        assert epoll.poll(0) == []
        group.rmdir()
        assert epoll.poll(10) == [(fd, select.EPOLLERR | select.EPOLLPRI)]


@on_libfuse_3
def test_a_reboot_wakes_who_waits_with_an_error(mount: Callable[..., Mounted]) -> None:
    mounted = mount(*MANUAL)
    with opened(mounted / "pressure/memory", os.O_RDWR) as fd, select.epoll() as epoll:
        os.write(fd, TRIGGER)
        epoll.register(fd, select.EPOLLPRI)
        assert epoll.poll(0) == []
        mounted.control("reboot")
        assert epoll.poll(10) == [(fd, select.EPOLLERR | select.EPOLLPRI)]


def test_the_other_files_are_always_ready(mounted: Mounted) -> None:
    for name in ("meminfo", "1/oom_score_adj", "sys/vm/panic_on_oom", "fakeproc/ctl"):
        with opened(mounted / name) as fd:
            poll = select.poll()
            poll.register(fd, 0xFFFF)
            ready = select.POLLIN | select.POLLOUT | select.POLLRDNORM | select.POLLWRNORM
            assert poll.poll(0) == [(fd, ready)], name
            assert select.select([fd], [fd], [fd], 0) == ([fd], [fd], [])


C_CLIENT = r"""
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The example of Documentation/accounting/psi.rst, in our words: two events, then the end. */
int main(int argc, char **argv) {
    const char trigger[] = "some 150000 1000000";
    struct pollfd waits = { .events = POLLPRI };
    waits.fd = open(argv[1], O_RDWR | O_NONBLOCK);
    if (waits.fd < 0 || write(waits.fd, trigger, strlen(trigger) + 1) < 0)
        return 2;
    for (int seen = 0; seen < 2; seen++) {
        if (poll(&waits, 1, 20000) != 1)
            return 3;
        if (waits.revents != POLLPRI)
            return 4;
        puts("event");
    }
    return 0;
}
"""


@on_libfuse_3
def test_a_c_program_is_told(mount: Callable[..., Mounted], tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    program, source = tmp_path / "psi", tmp_path / "psi.c"
    source.write_text(C_CLIENT)
    subprocess.run([compiler, "-o", program, source], check=True)
    mounted = mount("--kernel", "6.18", "--scenario", "swap-thrash")
    done = subprocess.run([program, mounted / "pressure/memory"], stdout=subprocess.PIPE, text=True)
    assert (done.returncode, done.stdout) == (0, "event\nevent\n")
