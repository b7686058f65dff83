# SPDX-License-Identifier: MIT
"""The OOM killer's files: oom_adj, oom_score and oom_score_adj."""

from __future__ import annotations

from fakeproc.kernel.machine import Machine
from fakeproc.kernel.task import Caller, Thread
from fakeproc.procfs.node import Seek
from fakeproc.procfs.task.node import Render, RenderRange, TaskFile, TaskRow


def render_oom_adj(machine: Machine, thread: Thread) -> bytes:
    """Return the legacy value."""
    return b"%d\n" % machine.oom_adj(thread.process)


def store_oom_adj(machine: Machine, thread: Thread, caller: Caller, data: bytes) -> int:
    """Set by the legacy scale."""
    return machine.store_oom_adj(thread, caller, data)


def render_oom_score_adj(machine: Machine, thread: Thread) -> bytes:
    """Return the value, the process's for all of its threads."""
    return b"%d\n" % thread.process.oom_score_adj


def store_oom_score_adj(machine: Machine, thread: Thread, caller: Caller, data: bytes) -> int:
    """Set it."""
    return machine.store_oom_score_adj(thread, caller, data)


def render_oom_score(machine: Machine, thread: Thread) -> bytes:
    """Return the badness as a person may read it."""
    return b"%d\n" % machine.oom_score(thread.process)


def render_oom_score_for(machine: Machine, thread: Thread, reader: Caller) -> bytes:
    """The same, as it is where the cpuset of the reader counts."""
    return b"%d\n" % machine.oom_score(thread.process, reader.placement)


def _each_time(render: Render) -> RenderRange:
    """Render for each read, as these two do: the others are seq files.  Seen on 6.1."""

    def render_range(
        machine: Machine, thread: Thread, reader: Caller, size: int, offset: int
    ) -> bytes:
        return render(machine, thread)[offset : offset + size]

    return render_range


ROWS: dict[str, TaskRow] = {
    "oom_score": TaskFile(
        reflects="the badness, 0 to 2000",
        render=render_oom_score,
        seek=Seek.SEQ,
        render_for=render_oom_score_for,
    ),
    "oom_adj": TaskFile(
        reflects="the same as oom_score_adj on the legacy scale, -17 to 15",
        mode=0o644,
        render=render_oom_adj,
        render_range=_each_time(render_oom_adj),
        store=store_oom_adj,
    ),
    "oom_score_adj": TaskFile(
        reflects="what is added to the badness, -1000 to 1000",
        mode=0o644,
        render=render_oom_score_adj,
        render_range=_each_time(render_oom_score_adj),
        store=store_oom_score_adj,
        seek=Seek.DEFAULT,
    ),
}
