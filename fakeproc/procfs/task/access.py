# SPDX-License-Identifier: MIT
"""What files of a task ask of their reader beyond the mode: the rules that several share."""

from __future__ import annotations

import errno

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.ptrace import may_read
from fakeproc.kernel.task import Caller, Thread
from fakeproc.procfs.task.node import Render, RenderFor, user_mm


def require_ptrace(machine: Machine, thread: Thread, caller: Caller) -> None:
    """Refuse with EACCES who may not ptrace the task (PTRACE_MODE_READ_FSCREDS)."""
    if not may_read(caller, thread):
        raise Refused(errno.EACCES, f"/proc/{thread.tid}: belongs to somebody else.")


def require_readable(machine: Machine, thread: Thread, caller: Caller) -> None:
    """Refuse with EACCES who may not ptrace, unless there is no memory to look at."""
    if user_mm(thread) is not None:
        require_ptrace(machine, thread, caller)


def require_mm(machine: Machine, thread: Thread, caller: Caller) -> None:
    """The same, and ESRCH where there is none, by the kernels that ask so early."""
    require_readable(machine, thread, caller)
    if user_mm(thread) is None and machine.profile.mem_open_needs_mm:
        raise Refused(errno.ESRCH)


def require_attach(machine: Machine, thread: Thread, caller: Caller) -> None:
    """Refuse with EPERM who may not attach to the task (lock_trace)."""
    if not may_read(caller, thread):
        raise Refused(errno.EPERM, f"/proc/{thread.tid}: belongs to somebody else.")


def for_tracers(render: Render) -> RenderFor:
    """Let reading fail with EACCES, where the kernel asks only then."""

    def render_for(machine: Machine, thread: Thread, reader: Caller) -> bytes:
        require_ptrace(machine, thread, reader)
        return render(machine, thread)

    return render_for


def for_attachers(render: Render) -> RenderFor:
    """Let reading fail with EPERM, where the kernel asks only then."""

    def render_for(machine: Machine, thread: Thread, reader: Caller) -> bytes:
        require_attach(machine, thread, reader)
        return render(machine, thread)

    return render_for
