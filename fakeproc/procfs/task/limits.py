# SPDX-License-Identifier: MIT
"""limits: the resource limits of a task, which are those that the kernel gives init."""

from __future__ import annotations

from fakeproc.kernel.machine import Machine
from fakeproc.kernel.task import Thread
from fakeproc.procfs.node import Seek
from fakeproc.procfs.task.node import TaskFile, TaskRow

_UNLIMITED = "unlimited"
_Limit = tuple[str, int | str, int | str, str]


def max_processes(machine: Machine) -> int:
    """Return the limits of processes and of pending signals: half of what threads RAM bears.

    A thread may take an eighth of what 16 KiB of stack are of it (set_max_threads).
    """
    return machine.hardware.ram_pages // 64


def render_limits(machine: Machine, thread: Thread) -> bytes:
    """Return the table, soft and hard."""
    header = f"{'Limit':<25} {'Soft Limit':<20} {'Hard Limit':<20} {'Units':<10}\n"
    return (header + "".join(map(_line, _limits(machine)))).encode()


def _line(limit: _Limit) -> str:
    name, soft, hard, units = limit
    return f"{name:<25} {soft:<20} {hard:<20} {f'{units:<10}' if units else ''}\n"


def _limits(machine: Machine) -> list[_Limit]:
    processes = max_processes(machine)
    locked_bytes = machine.profile.mlock_limit_kib * 1024
    return [
        ("Max cpu time", _UNLIMITED, _UNLIMITED, "seconds"),
        ("Max file size", _UNLIMITED, _UNLIMITED, "bytes"),
        ("Max data size", _UNLIMITED, _UNLIMITED, "bytes"),
        ("Max stack size", 8 * 1024**2, _UNLIMITED, "bytes"),
        ("Max core file size", 0, _UNLIMITED, "bytes"),
        ("Max resident set", _UNLIMITED, _UNLIMITED, "bytes"),
        ("Max processes", processes, processes, "processes"),
        ("Max open files", 1024, 4096, "files"),
        ("Max locked memory", locked_bytes, locked_bytes, "bytes"),
        ("Max address space", _UNLIMITED, _UNLIMITED, "bytes"),
        ("Max file locks", _UNLIMITED, _UNLIMITED, "locks"),
        ("Max pending signals", processes, processes, "signals"),
        ("Max msgqueue size", 819200, 819200, "bytes"),
        ("Max nice priority", 0, 0, ""),
        ("Max realtime priority", 0, 0, ""),
        ("Max realtime timeout", _UNLIMITED, _UNLIMITED, "us"),
    ]


ROWS: dict[str, TaskRow] = {
    "limits": TaskFile(
        reflects="the limits of init, which all inherit; processes by the RAM",
        render=render_limits,
        seek=Seek.SEQ,
    ),
}
