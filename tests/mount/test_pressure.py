# SPDX-License-Identifier: MIT
"""/proc/pressure and the load through a mount."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from tests.conftest import Mounted
from tests.mount import opened, put, refused

QUIET = "avg10=0.00 avg60=0.00 avg300=0.00 total=0"


def test_pressure_can_be_read_and_takes_no_triggers(mount: Callable[..., Mounted]) -> None:
    mounted = mount("--kernel", "6.18")
    assert sorted(os.listdir(mounted / "pressure")) == ["cpu", "io", "memory"]
    for name in os.listdir(mounted / "pressure"):
        path = mounted / "pressure" / name
        assert path.stat().st_mode & 0o7777 == 0o666
        assert path.read_text() == f"some {QUIET}\nfull {QUIET}\n"
        with opened(path, os.O_RDWR) as fd, refused(errno.EOPNOTSUPP):
            os.write(fd, b"some 150000 1000000\0")
    assert "internal_errors 0" in mounted.read("fakeproc/stats")


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
