# SPDX-License-Identifier: MIT
"""How a task is scheduled: sched, schedstat, autogroup."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from dataclasses import replace

from fakeproc.kernel.capability import CAP_SYS_NICE
from fakeproc.kernel.details import details_of
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.task import Caller, Thread, encode_name
from fakeproc.kernel.task_view import nice_of, policy, rt_priority
from fakeproc.procfs.node import Seek
from fakeproc.procfs.task.node import Of, TaskFile, TaskRow, require_there, user_mm

_WEIGHTS = (
    *(88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916),
    *(9548, 7620, 6100, 4904, 3906, 3121, 2501, 1991, 1586, 1277),
    *(1024, 820, 655, 526, 423, 335, 272, 215, 172, 137),
    *(110, 87, 70, 56, 45, 36, 29, 23, 18, 15),
)
"""The weight of a task by its nice value, from -20 on: each step is worth about 10 % of a CPU."""

_BASE_SLICE_NS = 700_000
_MOST_CPUS_THAT_COUNT = 8
_NICE = re.compile(rb"[+-]?\d{1,10}\n?", re.ASCII)

_NS_PER_MS = 1_000_000


def render_sched(machine: Machine, thread: Thread) -> bytes:
    """Return what the scheduler keeps of a task."""
    count = len(thread.process.threads)
    head = encode_name(f"{thread.comm} ({thread.tid}, #threads: {count})\n{'-' * 67}\n")
    lines = [f"{name:<45}:{value:>21}" for name, value in _values(machine, thread)]
    return head + "\n".join([*lines, *_numa_lines(machine)]).encode() + b"\n"


def _values(machine: Machine, thread: Thread) -> Iterator[tuple[str, int | str]]:
    profile, start_ns = machine.profile, thread.start_time_ns
    yield "se.exec_start", _in_ms(start_ns)
    yield "se.vruntime", _in_ms(0)
    yield "se.sum_exec_runtime", _in_ms(_ran_ns(machine, thread))
    yield "se.nr_migrations", 0
    yield "nr_switches", 0
    yield "nr_voluntary_switches", 0
    yield "nr_involuntary_switches", 0
    yield "se.load.weight", _WEIGHTS[nice_of(thread.process) + 20] * profile.load_weight_scale
    runnable = profile.sched_runnable_lines
    for kind in ("load_sum", *(["runnable_sum"] if runnable else []), "util_sum"):
        yield f"se.avg.{kind}", 0
    for kind in ("load_avg", *(["runnable_avg"] if runnable else []), "util_avg"):
        yield f"se.avg.{kind}", 0
    yield "se.avg.last_update_time", start_ns >> 10 << 10
    for name in _UTIL_EST[profile.sched_util_est]:
        yield name, 0
    yield "policy", policy(thread.process)
    realtime = rt_priority(thread.process)
    yield "prio", 99 - realtime if realtime else 120 + nice_of(thread.process)
    if profile.sched_slice_line:
        yield "se.slice", _slice_ns(machine)
    yield "clock-delta", 0
    if user_mm(thread) is not None:
        yield "mm->numa_scan_seq", 0
    yield "numa_pages_migrated", 0
    yield "numa_preferred_nid", -1
    yield "total_numa_faults", 0


_UTIL_EST = {
    "none": (),
    "ewma, enqueued": ("se.avg.util_est.ewma", "se.avg.util_est.enqueued"),
    "one": ("se.avg.util_est",),
}


def _in_ms(ns: int) -> str:
    """Return nanoseconds as milliseconds with six digits behind the point."""
    return f"{ns // _NS_PER_MS}.{ns % _NS_PER_MS:06d}"


def _slice_ns(machine: Machine) -> int:
    """Return how long a task runs at a stretch: longer, the more CPUs there are (by log2)."""
    cpus = min(machine.hardware.cpus, _MOST_CPUS_THAT_COUNT)
    return _BASE_SLICE_NS * cpus.bit_length()


def _numa_lines(machine: Machine) -> Iterator[str]:
    yield "current_node=0, numa_group_id=0"
    for node in range(len(machine.hardware.node_pages)):
        faults = "task_private=0 task_shared=0 group_private=0 group_shared=0"
        yield f"numa_faults node={node} {faults}"


def store_sched(machine: Machine, thread: Thread, caller: Caller, data: bytes) -> int:
    """Clear the counters, whatever is written; there is nothing in them."""
    require_there(machine, thread)
    return len(data)


def render_schedstat(machine: Machine, thread: Thread) -> bytes:
    """Return the time on a CPU and that of waiting for one (ns), and how often it was on one."""
    return b"%d 0 0\n" % _ran_ns(machine, thread)


def _ran_ns(machine: Machine, thread: Thread) -> int:
    times = machine.cpu_accounting.of_thread(thread, machine.now_ns)
    return times.user_ns + times.system_ns


# -- autogroup ---------------------------------------------------------------------


def render_autogroup(machine: Machine, thread: Thread) -> bytes:
    """Return the group of its session and the nice value of that; nothing without a session."""
    session = thread.process.session
    if not session:
        return b""
    nice = details_of(thread.process).autogroup_nice
    return b"/autogroup-%d nice %d\n" % (session, nice)


def store_autogroup(machine: Machine, thread: Thread, caller: Caller, data: bytes) -> int:
    """Give the group another nice value; EPERM for going down without CAP_SYS_NICE."""
    require_there(machine, thread)
    if not _NICE.fullmatch(data) or not -20 <= int(data) <= 19:
        raise Refused(errno.EINVAL, f"autogroup: {data[:40]!r}: accepted are -20 to 19.")
    nice = int(data)
    if nice < 0 and not caller.credentials.capable(CAP_SYS_NICE):
        raise Refused(errno.EPERM, f"autogroup: {nice}: takes CAP_SYS_NICE.")
    for process in machine.processes.values():
        if process.session == thread.process.session and not process.is_kthread:
            machine.set_details(process, replace(details_of(process), autogroup_nice=nice))
    return len(data)


ROWS: dict[str, TaskRow] = {
    "sched": TaskFile(
        reflects="nice value, policy, when it was created, for how long it ran; counters are 0",
        mode=0o644,
        render=render_sched,
        store=store_sched,
        seek=Seek.SEQ,
    ),
    "schedstat": TaskFile(reflects="for how long it ran", render=render_schedstat, seek=Seek.SEQ),
    "autogroup": TaskFile(
        reflects="its session, and a nice value as it was written",
        of=Of.PROCESS,
        mode=0o644,
        render=render_autogroup,
        store=store_autogroup,
        seek=Seek.SEQ,
    ),
}
