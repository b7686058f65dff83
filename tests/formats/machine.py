# SPDX-License-Identifier: MIT
"""A simulated machine, and a task of each kind on it."""

from __future__ import annotations

from fakeproc.kernel.machine import Machine
from fakeproc.kernel.profile import KernelConfig
from fakeproc.procfs.tree import Procfs
from tests.formats.view import Simulated, View, view


def simulated_tasks(machine: Machine) -> dict[str, str]:
    """Make a task of each kind on the machine; give their directories."""
    process = machine.spawn("sleep", cmdline=(b"sleep", b"600"))
    zombie = machine.spawn("true", parent=process.leader)
    machine.exit_group(zombie)
    leader = machine.spawn("a) b (c")
    thread = machine.clone_thread(leader.leader)
    machine.exit_thread(leader.leader)
    assert zombie.is_zombie
    return {
        "process": f"{process.pid}",
        "thread": f"{leader.pid}/task/{thread.tid}",
        "kthread": "2",
        "zombie": f"{zombie.pid}",
        "exited-leader": f"{leader.pid}",
    }


def simulated_view(kernel: str = "6.18") -> View:
    """Take a view of a simulated machine, as root sees it."""
    machine = Machine(KernelConfig(kernel))
    tasks = simulated_tasks(machine)
    machine.advance(90 * 10**9)
    return view(Simulated(Procfs(machine), machine.root), tasks)
