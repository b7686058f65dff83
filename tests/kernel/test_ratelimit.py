# SPDX-License-Identifier: MIT
"""The rate limit of reports: ten in five seconds; what is held back is counted (seen on 6.1)."""

from __future__ import annotations

import re

import pytest

from fakeproc.kernel.machine import Hardware, Machine, sizes_for
from fakeproc.kernel.oom import OomRequest
from fakeproc.kernel.profile import PROFILE_NAMES, KernelConfig
from fakeproc.kernel.ratelimit import DEFAULT_INTERVAL_NS, RateLimit

SUPPRESSED = "oom_kill_process: 5 callbacks suppressed"


def test_a_burst_passes_and_the_rest_is_counted_until_the_interval_is_over() -> None:
    limit = RateLimit(interval_ns=100, burst=2)
    assert limit.roll_over(1000) == 0
    assert [limit.take() for _ in range(5)] == [True, True, False, False, False]
    assert limit.roll_over(1100) == 0  # the interval's last moment belongs to it
    assert not limit.take()
    assert limit.roll_over(1101) == 4
    assert [limit.take() for _ in range(3)] == [True, True, False]


def test_an_interval_begins_with_a_request_and_not_by_the_clock() -> None:
    limit = RateLimit(interval_ns=100, burst=1)
    for now_ns in (0, 500):
        limit.roll_over(now_ns)
        assert limit.take()
    assert limit.roll_over(590) == 0
    assert not limit.take()


def kill_one(machine: Machine) -> list[str]:
    """Let a new process run out of memory; return what is logged about it."""
    before = machine.log.next_sequence
    hog = machine.spawn("hog", sizes=sizes_for(anon_pages=20_000))
    machine.out_of_memory(OomRequest(machine.hardware.totalpages, hog.leader))
    assert hog.is_zombie
    return [record.text for record in machine.log.since(before)]


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
def test_the_eleventh_kill_has_only_the_lines_about_the_victim(kernel: str) -> None:
    machine = Machine(KernelConfig(kernel), Hardware(ram_pages=100_000))
    for _ in range(10):
        assert "invoked oom-killer" in kill_one(machine)[0]
    for _ in range(5):
        suppressed = [text for text in kill_one(machine) if "reaped" not in text]
        assert not re.search("invoked|Mem-Info|oom-kill:|total_vm", " ".join(suppressed))
        assert "Killed process" in suppressed[-1]
        assert len(suppressed) == (2 if machine.profile.child_sacrifice else 1)
    machine.advance(DEFAULT_INTERVAL_NS + 1)
    first, second, *_ = kill_one(machine)
    assert first == SUPPRESSED
    assert "invoked oom-killer" in second
    assert "suppressed" not in "".join(kill_one(machine))


def test_reports_of_who_kills_nobody_are_not_limited() -> None:
    """A task that is alone in its group and unkillable makes a report each time (seen on 6.1)."""
    machine = Machine(KernelConfig("6.1"))
    process = machine.spawn("stubborn")
    machine.change_oom_score_adj(process, -1000)
    group = machine.make_memcg("/a")
    machine.set_memcg_limit(group, 1000)
    machine.join_memcg(process, group)
    for _ in range(12):
        machine.out_of_memory(OomRequest(1000, process.leader, memcg=group))
    text = machine.log.render()
    assert text.count("invoked oom-killer") == 12
    assert text.count("Out of memory and no killable processes...") == 12
    assert (group.events.oom, group.events.oom_kill) == (12, 0)


def test_a_reboot_begins_anew() -> None:
    machine = Machine(KernelConfig("6.1"), Hardware(ram_pages=100_000))
    for _ in range(11):
        kill_one(machine)
    assert "invoked" in kill_one(machine.rebooted())[0]
