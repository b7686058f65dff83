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
from fakeproc.kernel.task import Thread

if TYPE_CHECKING:
    from fakeproc.kernel.machine import Machine


def charge_failed(machine: Machine, memcg: Memcg, request: OomRequest) -> bool:
    """Count a charge that found no room; return whether its task goes to sleep over it."""
    memcg.failcnt += 1
    memcg.count("max")
    memcg.count("oom")
    thread = request.allocating
    if not memcg.oom_kill_disable or thread is None or thread.fatal_pending or thread.exiting:
        return False
    memcg.oom_waiters[thread] = request
    machine.settle(thread)
    return True


def wake(machine: Machine, memcg: Memcg) -> None:
    """Let who waits for room in this group or one above go on: there is some."""
    for group in memcg.ancestors():
        _wake_all(machine, group)


def try_again(machine: Machine, memcg: Memcg) -> None:
    """Let the waiters of this group try again: the first kills, and the others have room."""
    requests = _wake_all(machine, memcg)
    if requests and not machine.panicked:
        machine.out_of_memory(requests[0])


def _wake_all(machine: Machine, memcg: Memcg) -> list[OomRequest]:
    """Wake who waits in this group; return what they wanted, in order."""
    waiters, memcg.oom_waiters = memcg.oom_waiters, {}
    for thread in waiters:
        machine.settle(thread)
    return list(waiters.values())


def is_waiting(thread: Thread) -> bool:
    """Say whether a task sleeps because its memcg has no room."""
    return any(thread in group.oom_waiters for group in thread.process.memcg.ancestors())


def stop_waiting(thread: Thread) -> None:
    """Take a task that exits, or leaves for another group, out of all queues."""
    for group in thread.process.memcg.ancestors():
        group.oom_waiters.pop(thread, None)
