# SPDX-License-Identifier: MIT
"""children: who a thread has made, and still has."""

from __future__ import annotations

from fakeproc.kernel.machine import Machine
from fakeproc.kernel.task import Thread
from fakeproc.procfs.node import Seek
from fakeproc.procfs.task.node import Of, TaskFile, TaskRow


def render_children(machine: Machine, thread: Thread) -> bytes:
    """Return the pids, each with a blank behind it."""
    children = thread.process.children
    return b"".join(b"%d " % child.pid for child in children if child.real_parent is thread)


ROWS: dict[str, TaskRow] = {
    "children": TaskFile(
        reflects="the pids of its children", of=Of.THREAD, render=render_children, seek=Seek.SEQ
    ),
}
