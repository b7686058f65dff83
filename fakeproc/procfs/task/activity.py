# SPDX-License-Identifier: MIT
"""What a task does, or where it waits: wchan, syscall, stack, io, and the small files beside."""

from __future__ import annotations

import errno

from fakeproc.kernel import task_view
from fakeproc.kernel.capability import CAP_SYS_ADMIN
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.ptrace import may_read
from fakeproc.kernel.task import Caller, Thread, encode_name
from fakeproc.procfs.node import Seek
from fakeproc.procfs.task.access import for_attachers, for_tracers, require_attach
from fakeproc.procfs.task.node import TaskFile, TaskRow

_IO_COUNTERS = (
    *("rchar", "wchar", "syscr", "syscw"),
    *("read_bytes", "write_bytes", "cancelled_write_bytes"),
)


def render_wchan(machine: Machine, thread: Thread) -> bytes:
    """Return the function in which it sleeps, or 0; no newline."""
    return task_view.wchan(machine.profile, thread).encode() or b"0"


def render_wchan_for(machine: Machine, thread: Thread, reader: Caller) -> bytes:
    """Return it to who may ptrace, and 0 to others."""
    return render_wchan(machine, thread) if may_read(reader, thread) else b"0"


def render_syscall(machine: Machine, thread: Thread) -> bytes:
    """Return number, arguments and registers, or ``running``."""
    number = task_view.system_call(thread)
    if number is None:
        return b"running\n"
    return b"%d%s\n" % (number, b" 0x0" * (2 if number == -1 else 8))


def render_stack(machine: Machine, thread: Thread) -> bytes:
    """Return nothing: what the kernel shows of a task that runs."""
    return b""


def render_stack_for(machine: Machine, thread: Thread, reader: Caller) -> bytes:
    """Return it; EACCES without CAP_SYS_ADMIN since 4.19, EPERM for who may not attach."""
    admin = reader.credentials.capable(CAP_SYS_ADMIN)
    if machine.profile.stack_needs_admin and not admin:
        raise Refused(errno.EACCES, f"/proc/{thread.tid}/stack: takes CAP_SYS_ADMIN.")
    require_attach(machine, thread, reader)
    return render_stack(machine, thread)


def render_io(machine: Machine, thread: Thread) -> bytes:
    """Return the counters, all 0."""
    return "".join(f"{name}: 0\n" for name in _IO_COUNTERS).encode()


def render_arch_status(machine: Machine, thread: Thread) -> bytes:
    """Return what x86 tells: it has not used AVX-512."""
    if thread.process.is_kthread:
        return b""
    return b"AVX512_elapsed_ms:\t-1\n"


def render_cpuset(machine: Machine, thread: Thread) -> bytes:
    """Return the path of its cpuset."""
    return encode_name(f"{thread.placement.cpuset}\n")


ROWS: dict[str, TaskRow] = {
    "wchan": TaskFile(
        reflects="the function in which it sleeps, by its state",
        render=render_wchan,
        render_for=render_wchan_for,
        seek=Seek.SEQ,
    ),
    "syscall": TaskFile(
        reflects="the system call in which it sleeps, by its state; registers are 0",
        mode=0o400,
        render=render_syscall,
        render_for=for_attachers(render_syscall),
        seek=Seek.SEQ,
    ),
    "stack": TaskFile(
        reflects="nothing: always empty",
        mode=0o400,
        render=render_stack,
        render_for=render_stack_for,
        seek=Seek.SEQ,
    ),
    "io": TaskFile(
        reflects="nothing: all 0",
        mode=0o400,
        render=render_io,
        render_for=for_tracers(render_io),
        seek=Seek.SEQ,
    ),
    "cpuset": TaskFile(reflects="the cpuset", render=render_cpuset, seek=Seek.SEQ),
    "arch_status": TaskFile(
        reflects="nothing: AVX-512 is never used",
        there=lambda profile: profile.arch_status_file,
        render=render_arch_status,
        seek=Seek.SEQ,
    ),
    "patch_state": TaskFile(
        reflects="nothing: the kernel is not patched",
        there=lambda profile: profile.patch_state_file,
        mode=0o400,
        render=lambda machine, thread: b"-1\n",
        seek=Seek.SEQ,
    ),
    "cpu_resctrl_groups": TaskFile(
        reflects="nothing: resctrl is not mounted",
        there=lambda profile: profile.resctrl_file,
        render=lambda machine, thread: b"res:\nmon:\n",
        seek=Seek.SEQ,
    ),
}
