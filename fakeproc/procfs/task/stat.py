# SPDX-License-Identifier: MIT
"""stat: a task in numbers."""

from __future__ import annotations

from fakeproc.kernel import task_view as view
from fakeproc.kernel.details import details_of
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.ptrace import may_read
from fakeproc.kernel.task import PAGE_BYTES, Caller, Thread, encode_name
from fakeproc.procfs.node import Seek
from fakeproc.procfs.task.memory import addresses
from fakeproc.procfs.task.node import TaskFile, TaskRow, parent_pid, user_sizes

CLOCK_TICKS_PER_S = 100
RLIM_INFINITY = 2**64 - 1

_SIGNAL_BITS = 2**31 - 1
"""What stat shows of a mask of signals."""


def render_stat(machine: Machine, thread: Thread) -> bytes:
    """Return the 52 fields of proc(5), as root sees them."""
    return render_stat_for(machine, thread, machine.root)


def render_stat_for(machine: Machine, thread: Thread, reader: Caller) -> bytes:
    """Return the 52 fields of proc(5); some are not for every reader."""
    process = thread.process
    sizes = user_sizes(thread)
    readable = may_read(reader, thread)
    code, data = addresses(machine, thread, reader)
    start_ticks = thread.start_time_ns * CLOCK_TICKS_PER_S // 1_000_000_000
    fields = (
        *_identity(machine, thread),
        *(0,) * 4,  # faults
        *_times_in_ticks(machine, thread),
        *(view.priority(process), view.nice_of(process), len(process.threads), 0, start_ticks),
        *(sizes.total_vm_pages * PAGE_BYTES, sizes.rss_pages, RLIM_INFINITY),
        *(*code, 0, 0),  # no registers
        *_signals(machine, thread),
        *(int(readable and bool(view.wchan(machine.profile, thread))), 0, 0),
        *(view.exit_signal(thread), view.processor(machine, thread)),
        *(view.rt_priority(process), view.policy(process), 0, 0, 0),
        *data,
        process.exit_code if thread.exiting and readable else 0,
    )
    numbers = " ".join(map(str, fields))
    return b"%d (%s) %s\n" % (thread.tid, encode_name(thread.comm), numbers.encode())


def _identity(machine: Machine, thread: Thread) -> tuple[str | int, ...]:
    """Return state, parent, groups, terminal and flags."""
    process = thread.process
    letter, _ = view.shown_state(machine.profile, thread)
    return (
        letter,
        *(parent_pid(thread), process.pgrp, process.session),
        *(details_of(process).tty_number, view.foreground_group(process)),
        view.flags_of(machine.profile, thread),
    )


def _signals(machine: Machine, thread: Thread) -> tuple[int, int, int, int]:
    """Return the lower 31 bits of what waits for the task, and what it blocks, ignores, catches."""
    pending = view.private_pending(thread)
    ignored = view.ignored_signals(machine, thread.process)
    return pending & _SIGNAL_BITS, 0, ignored & _SIGNAL_BITS, 0


def _times_in_ticks(machine: Machine, thread: Thread) -> tuple[int, int, int, int]:
    """Return utime, stime, cutime and cstime; a leader speaks for its group."""
    cpu, process = machine.cpu_accounting, thread.process
    own = cpu.of_group if thread.is_leader else None
    times = own(process, machine.now_ns) if own else cpu.of_thread(thread, machine.now_ns)
    children = cpu.of_children(process)
    return (
        ticks(times.user_ns),
        ticks(times.system_ns),
        ticks(children.user_ns),
        ticks(children.system_ns),
    )


def ticks(ns: int) -> int:
    """Return a time in USER_HZ, whole ticks."""
    return ns * CLOCK_TICKS_PER_S // 1_000_000_000


ROWS: dict[str, TaskRow] = {
    "stat": TaskFile(
        reflects="state, parent, times, sizes: 52 fields",
        render=render_stat,
        render_for=render_stat_for,
        seek=Seek.SEQ,
    ),
}
