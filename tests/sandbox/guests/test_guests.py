# SPDX-License-Identifier: MIT
"""Real processes that stand on the machine: who they are, what they hold, how they go."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from fakeproc.kernel.machine import Hardware, Machine
from fakeproc.kernel.oom import OomRequest
from fakeproc.kernel.task import PAGE_BYTES, Process
from tests.conftest import wait_until
from tests.sandbox.guests.conftest import COMMAND_PID, Inside

MIB_PAGES = 2**20 // PAGE_BYTES

HOLDS_AS_TOLD = """
import sys
data = []
for line in sys.stdin:
    data[:] = [b"x" * (int(line) << 20)]
"""


def python(script: str) -> tuple[str, ...]:
    return sys.executable, "-I", "-S", "-c", script


def rss(process: Process) -> int:
    return process.mm.sizes.rss_pages if process.mm else 0


def tell(inside: Inside, line: str) -> None:
    stdin = inside.last.process.stdin
    assert stdin
    stdin.write(line + "\n")
    stdin.flush()


def test_the_command_is_known_before_it_runs(inside: Inside) -> None:
    assert inside.run("true").returncode == 0
    assert inside.server.bound == [COMMAND_PID]


def test_a_guest_is_shown_with_who_it_is(inside: Inside) -> None:
    inside.start("sh", "-c", "exec sleep 100")
    guest = inside.wait_for(COMMAND_PID)
    assert guest.mm
    mm = guest.mm
    wait_until(lambda: mm.cmdline == (b"sleep", b"100"), "the exec")
    assert guest.comm == "sleep"
    # As the server sees it, which is outside.
    assert guest.leader.credentials.uid == os.getuid()
    assert guest.real_parent is inside.machine.init.leader
    # Those of the launcher, which has neither inside.
    assert (guest.pgrp, guest.session) == (0, 0)


def test_a_child_has_its_parent_group_and_value(inside: Inside) -> None:
    script = "import os, subprocess, sys\nos.setsid()\nsys.stdin.readline()\n"
    script += "subprocess.run(['sleep', '100'])"
    inside.start(*python(script))
    parent = inside.wait_for(COMMAND_PID)
    with inside.server.locked():
        inside.machine.change_oom_score_adj(parent, 500)
        parent.oom_score_adj_min = -300
    tell(inside, "")
    child = inside.wait_for(COMMAND_PID + 1)
    assert child.real_parent is parent.leader
    assert (child.oom_score_adj, child.oom_score_adj_min) == (500, -300)
    wait_until(lambda: child.comm == "sleep", "the exec")
    assert (child.pgrp, child.session) == (COMMAND_PID, COMMAND_PID)
    assert inside.server.bound == [COMMAND_PID, COMMAND_PID + 1]


def test_who_opens_a_file_for_writing_is_known_by_then(inside: Inside) -> None:
    """A forked child that writes to its own oom_score_adj has never called execve."""
    inside.python(
        """
        import os
        if os.fork() == 0:
            os.open("/dev/null", os.O_WRONLY)
            os._exit(0)
        os.wait()
        """
    )
    assert inside.server.bound == [COMMAND_PID, COMMAND_PID + 1]


def test_a_child_that_does_nothing_is_found(inside: Inside) -> None:
    inside.start(*python("import os, signal\nos.fork()\nsignal.pause()"))
    child = inside.wait_for(COMMAND_PID + 1)
    assert child.real_parent is inside.machine.processes[COMMAND_PID].leader
    wait_until(lambda: child.pid in inside.server.bound, "binding its files")


def test_memory_counts(inside: Inside) -> None:
    inside.start(*python(HOLDS_AS_TOLD))
    guest = inside.wait_for(COMMAND_PID)
    tell(inside, "100")
    wait_until(lambda: rss(guest) > 100 * MIB_PAGES, "growing")
    assert inside.machine.memory_in_use > 100 * MIB_PAGES
    tell(inside, "0")
    wait_until(lambda: rss(guest) < 50 * MIB_PAGES, "shrinking")


def test_what_does_not_fit_is_not_counted(inside: Inside) -> None:
    small = Machine(hardware=Hardware(ram_pages=64 * MIB_PAGES, swap_pages=0))
    inside.server.procfs.replace_machine(small)
    grows = """
import sys, threading
sys.stdin.readline()
data = b"x" * (100 << 20)
threading.Thread(target=sys.stdin.readline).start()
"""
    inside.start(*python(grows))
    guest = inside.wait_for(COMMAND_PID)
    wait_until(lambda: rss(guest) > MIB_PAGES, "the first look")
    tell(inside, "")
    wait_until(lambda: len(guest.threads) == 2, "a look after it has grown")
    assert MIB_PAGES < rss(guest) < 64 * MIB_PAGES


def test_threads_come_and_go(inside: Inside) -> None:
    script = """
import sys, threading
ends = threading.Event()
threads = [threading.Thread(target=ends.wait) for _ in range(3)]
for thread in threads: thread.start()
sys.stdin.readline()
ends.set()
for thread in threads: thread.join()
sys.stdin.readline()
"""
    inside.start(*python(script))
    guest = inside.wait_for(COMMAND_PID)
    wait_until(lambda: len(guest.threads) == 4, "the threads")
    tids = [thread.tid for thread in guest.threads]
    assert tids == [COMMAND_PID, *range(COMMAND_PID + 1, COMMAND_PID + 4)]
    tell(inside, "")
    wait_until(lambda: len(guest.threads) == 1, "their end")


def test_a_guest_that_has_ended_departs(inside: Inside) -> None:
    running = inside.start("sleep", "100")
    guest = inside.wait_for(COMMAND_PID)
    before = inside.machine.memory_in_use
    running.process.send_signal(signal.SIGKILL)
    wait_until(lambda: guest.reaped, "its departure")
    assert COMMAND_PID not in inside.machine.processes
    assert not inside.server.procfs.adopted
    assert inside.machine.memory_in_use < before


@pytest.mark.parametrize("passed_on", [True, False])
def test_a_guest_that_the_machine_kills_is_killed(inside: Inside, passed_on: bool) -> None:
    """By the server at once, and otherwise at the next look."""
    running = inside.start("sleep", "100")
    guest = inside.wait_for(COMMAND_PID)
    with inside.server.locked():
        inside.machine.change_oom_score_adj(guest, 1000)
        verdict = inside.machine.out_of_memory(OomRequest(inside.machine.hardware.totalpages))
        assert verdict.victims == [guest.leader]
        if passed_on:
            inside.guests.end_killed()
    assert running.end().returncode == -signal.SIGKILL & 0xFF


def test_guests_outlive_a_reboot(inside: Inside) -> None:
    inside.start("sleep", "100")
    before = inside.wait_for(COMMAND_PID)
    with inside.server.locked():
        inside.server.procfs.replace_machine(Machine())
    after = inside.wait_for(COMMAND_PID)
    assert after is not before
    assert inside.server.procfs.adopted.keys() == {after}
    wait_until(lambda: rss(after) > 10, "the next look")


def test_a_simulated_process_is_never_taken_for_a_guest(inside: Inside) -> None:
    """The sandbox steers pids apart; where that fails the machine stays as it is."""
    simulated = inside.spawn("hog", COMMAND_PID)
    assert inside.run("true").returncode == 0
    assert inside.machine.processes[COMMAND_PID] is simulated
    assert simulated.comm == "hog"
    assert inside.server.bound == []


def test_a_bug_leaves_nobody_waiting(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inside.server, "bind_guest", lambda pid: 1 // 0)
    stats = inside.server.procfs.stats
    assert inside.run("true").returncode == 0
    assert stats.internal_errors == 1
    assert "ZeroDivisionError" in stats.last_error
    stats.last_error = ""


def test_nothing_is_left(inside: Inside) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        inside.run("sh", "-c", "true & wait")
    inside.forget_ended()
    wait_until(lambda: not inside.server.procfs.adopted, "their departure")
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before, "closing descriptors")
