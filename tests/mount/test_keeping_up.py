# SPDX-License-Identifier: MIT
"""A machine that takes longer than the time that passes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from fakeproc.callers import Callers
from fakeproc.journal import Recorder
from fakeproc.kernel.machine import Machine
from fakeproc.operations import Operations
from fakeproc.procfs.tree import Procfs

MS = 1_000_000


@dataclass
class Host:
    """A host whose clock goes on only while the machine works, or when a test lets it."""

    now_ns: int = 0
    ns_per_simulated_ns: float = 0


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    """Return the host on whose clock the mount looks."""
    host = Host()
    monkeypatch.setattr(time, "monotonic_ns", lambda: host.now_ns)
    return host


@pytest.fixture
def passes(host: Host, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], int]:
    """Return a function that makes a request some time (ns) after the last one was answered.

    It returns how much of the machine's time has passed then.
    """
    procfs = Procfs(Machine())
    advance = procfs.machine.advance

    def work(ns: int) -> None:
        advance(ns)
        host.now_ns += int(ns * host.ns_per_simulated_ns)

    monkeypatch.setattr(procfs.machine, "advance", work)
    recorder = Recorder(procfs, None)
    operations = Operations(
        procfs, Callers(procfs, recorder), recorder, lambda: (0, 0, 0), lambda: None
    )

    def request(after_ns: int) -> int:
        host.now_ns += after_ns
        before_ns = procfs.machine.now_ns
        operations.begin()
        return procfs.machine.now_ns - before_ns

    return request


def test_a_request_never_waits_longer_than_the_one_before(
    host: Host, passes: Callable[[int], int]
) -> None:
    host.ns_per_simulated_ns = 3
    assert [passes(ns * MS) for ns in (1000, 0, 0, 0)] == [1000 * MS] * 4


def test_a_machine_that_keeps_up_loses_no_time(host: Host, passes: Callable[[int], int]) -> None:
    host.ns_per_simulated_ns = 0.5
    assert [passes(ns * MS) for ns in (1000, 0, 0)] == [1000 * MS, 500 * MS, 250 * MS]


def test_a_short_delay_is_made_up_for(host: Host, passes: Callable[[int], int]) -> None:
    host.ns_per_simulated_ns = 3
    assert [passes(ns * MS) for ns in (10, 0)] == [10 * MS, 30 * MS]
