# SPDX-License-Identifier: MIT
"""Before the OOM killer of a memory cgroup: counting, and waiting where it is disabled.

``oom_kill_disable`` of version 1 lets the task that found no room sleep (D, killable) until
the limit is raised, a task leaves, or the killer is allowed again (mem_cgroup_oom_synchronize;
seen on 6.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakeproc.kernel.memcg import Memcg
from fakeproc.kernel.oom import OomRequest
from fakeproc.kernel.task import State, Thread

if TYPE_CHECKING:
    from fakeproc.kernel.machine import Machine


def charge_failed(memcg: Memcg, request: OomRequest) -> bool:
    """Count a charge that found no room; return whether its task goes to sleep over it."""
    memcg.failcnt += 1
    memcg.count("max")
    memcg.count("oom")
    thread = request.allocating
    if not memcg.oom_kill_disable or thread is None or thread.fatal_pending or thread.exiting:
        return False
    memcg.oom_waiters[thread] = request
    thread.state = State.DISK_SLEEP
    return True


def wake(memcg: Memcg) -> None:
    """Let who waits for room in this group or one above go on: there is some."""
    for group in memcg.ancestors():
        for thread in group.oom_waiters:
            thread.state = State.SLEEPING
        group.oom_waiters.clear()


def try_again(machine: Machine, memcg: Memcg) -> None:
    """Let the waiters of this group try again: the first kills, and the others have room."""
    requests = list(memcg.oom_waiters.values())
    for thread in memcg.oom_waiters:
        thread.state = State.SLEEPING
    memcg.oom_waiters.clear()
    if requests and not machine.panicked:
        machine.out_of_memory(requests[0])


def stop_waiting(thread: Thread) -> None:
    """Take a task that exits, or leaves for another group, out of all queues."""
    for group in thread.process.memcg.ancestors():
        group.oom_waiters.pop(thread, None)
