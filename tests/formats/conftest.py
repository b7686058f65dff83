# SPDX-License-Identifier: MIT
"""The three sides that are compared: a captured 6.18, the host if it is one, a simulated one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.formats.capture import host_view
from tests.formats.machine import simulated_view
from tests.formats.view import View


@pytest.fixture(scope="session")
def simulated() -> View:
    """Return the view of a simulated machine with 6.18."""
    return simulated_view()


@pytest.fixture(scope="session")
def host() -> View:
    """Return the view of the real /proc, where it is one of 6.18."""
    uname = os.uname()
    if uname.release.split(".")[:2] != ["6", "18"] or uname.machine != "x86_64":
        pytest.skip("the host does not run Linux 6.18 on x86-64: it is compared with the capture")
    if os.geteuid() != 0:
        pytest.skip("only root sees all of the host's /proc")
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    points = {line.split()[1] for line in mounts} - {"/proc/sys/fs/binfmt_misc"}
    covered = [point for point in points if point.startswith("/proc/")]
    if covered or Path("/proc/2/comm").read_text() != "kthreadd\n":
        pytest.skip(f"this is not all of the host's /proc: {covered or 'a pid namespace'}")
    return host_view()
