# SPDX-License-Identifier: MIT
"""stat and statm: a task in numbers."""

from __future__ import annotations

from fakeproc.kernel.machine import Machine
from fakeproc.kernel.task import PAGE_BYTES, Thread, encode_name
from fakeproc.procfs.node import Seek
from fakeproc.procfs.task.node import TaskFile, TaskRow, parent_pid, user_sizes

CLOCK_TICKS_PER_S = 100
RLIM_INFINITY = 2**64 - 1

# Flags of the ninth field of stat.
PF_EXITING = 0x00000004
PF_KTHREAD = 0x00200000


def render_stat(machine: Machine, thread: Thread) -> bytes:
    """Return the 52 fields of proc(5)."""
    process = thread.process
    sizes = user_sizes(thread)
    start_ticks = thread.start_time_ns * CLOCK_TICKS_PER_S // 1_000_000_000
    flags = (PF_KTHREAD if process.is_kthread else 0) | (PF_EXITING if thread.exiting else 0)
    before = (thread.state.value, parent_pid(thread), process.pgrp, process.session, 0, -1, flags)
    faults_and_times = (0,) * 4 + (0,) * 4
    scheduling = (20, 0, len(process.threads), 0, start_ticks)
    memory = (sizes.total_vm_pages * PAGE_BYTES, sizes.rss_pages, RLIM_INFINITY)
    addresses_and_signals = (0,) * 9
    wchan_and_swap = (0,) * 3
    exit_signal = 17 if thread.is_leader else -1
    behind = (exit_signal, 0, 0, 0, 0, 0, 0) + (0,) * 7
    exit_code = process.exit_code if thread.exiting else 0
    fields = (
        *before,
        *faults_and_times,
        *scheduling,
        *memory,
        *addresses_and_signals,
        *wchan_and_swap,
        *behind,
        exit_code,
    )
    numbers = " ".join(map(str, fields))
    return b"%d (%s) %s\n" % (thread.tid, encode_name(thread.comm), numbers.encode())


def render_statm(machine: Machine, thread: Thread) -> bytes:
    """Return seven numbers of pages; all zero without an mm."""
    sizes = user_sizes(thread)
    shared = sizes.file_pages + sizes.shmem_pages
    data = sizes.anon_pages + sizes.swap_entries
    fields = (sizes.total_vm_pages, sizes.rss_pages, shared, 0, 0, data, 0)
    return (" ".join(map(str, fields)) + "\n").encode()


ROWS: dict[str, TaskRow] = {
    "stat": TaskFile(
        reflects="state, parent, times, sizes: 52 fields", render=render_stat, seek=Seek.SEQ
    ),
    "statm": TaskFile(reflects="sizes, in pages", render=render_statm, seek=Seek.SEQ),
}
