# SPDX-License-Identifier: MIT
"""status: a task in words."""

from __future__ import annotations

from fakeproc.kernel import task_view
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.numa import format_bitmap, format_list
from fakeproc.kernel.task import Thread, encode_name
from fakeproc.procfs.node import Seek
from fakeproc.procfs.task.limits import max_processes
from fakeproc.procfs.task.memory import status_lines
from fakeproc.procfs.task.node import TaskFile, TaskRow, parent_pid, user_mm


def render_status(machine: Machine, thread: Thread) -> bytes:
    """Return the lines that this kernel prints, tabs and widths as it does."""
    version = machine.profile.version
    groups = (
        _identity_lines(machine, thread),
        _memory_lines(machine, thread),
        _signal_lines(machine, thread),
        _security_lines(machine, thread),
        _placement_lines(machine, thread),
    )
    lines = [line for group in groups for since, line in group if since <= version]
    return encode_name("".join(line + "\n" for line in lines))


# A line and the version that introduced it.
_Line = tuple[tuple[int, int], str]
_ALWAYS = (0, 0)

_NODES_OF_THE_BUILD = 1024
"""The bits of a mask of nodes (MAX_NUMNODES), as x86-64 is built."""


def _identity_lines(machine: Machine, thread: Thread) -> list[_Line]:
    process = thread.process
    uid, gid = thread.credentials.uid, thread.credentials.gid
    # The umask belongs to what a task gives up when it exits.
    umask: list[_Line] = [] if thread.exiting else [((4, 7), "Umask:\t0022")]
    letter, word = task_view.shown_state(machine.profile, thread)
    return [
        (_ALWAYS, f"Name:\t{_escape(thread.comm)}"),
        *umask,
        (_ALWAYS, f"State:\t{letter} ({word})"),
        (_ALWAYS, f"Tgid:\t{process.pid}"),
        (_ALWAYS, "Ngid:\t0"),
        (_ALWAYS, f"Pid:\t{thread.tid}"),
        (_ALWAYS, f"PPid:\t{parent_pid(thread)}"),
        (_ALWAYS, "TracerPid:\t0"),
        (_ALWAYS, f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}"),
        (_ALWAYS, f"Gid:\t{gid}\t{gid}\t{gid}\t{gid}"),
        (_ALWAYS, "FDSize:\t" + ("0" if thread.exiting else "64")),
        (_ALWAYS, "Groups:\t "),
        ((4, 1), f"NStgid:\t{process.pid}"),
        ((4, 1), f"NSpid:\t{thread.tid}"),
        ((4, 1), f"NSpgid:\t{process.pgrp}"),
        ((4, 1), f"NSsid:\t{process.session}"),
        ((6, 9), f"Kthread:\t{int(process.is_kthread)}"),
    ]


def _escape(name: str) -> str:
    """Escape what would break the line."""
    return name.replace("\\", "\\\\").replace("\n", "\\n")


def _memory_lines(machine: Machine, thread: Thread) -> list[_Line]:
    if user_mm(thread) is None:
        return []
    return [
        *status_lines(machine, thread),
        ((4, 15), f"CoreDumping:\t{int(thread.process.coredumping)}"),
        ((5, 0), "THP_enabled:\t1"),
        ((6, 4), "untag_mask:\t0xffffffffffffffff"),
    ]


def _signal_lines(machine: Machine, thread: Thread) -> list[_Line]:
    process = thread.process
    pending = task_view.shared_pending(machine, process)
    return [
        (_ALWAYS, f"Threads:\t{len(process.threads)}"),
        (_ALWAYS, f"SigQ:\t0/{max_processes(machine)}"),
        (_ALWAYS, f"SigPnd:\t{task_view.private_pending(thread):016x}"),
        (_ALWAYS, f"ShdPnd:\t{pending:016x}"),
        (_ALWAYS, f"SigBlk:\t{0:016x}"),
        (_ALWAYS, f"SigIgn:\t{task_view.ignored_signals(machine, process):016x}"),
        (_ALWAYS, f"SigCgt:\t{0:016x}"),
    ]


def _security_lines(machine: Machine, thread: Thread) -> list[_Line]:
    held = thread.credentials.capabilities
    return [
        (_ALWAYS, f"CapInh:\t{0:016x}"),
        (_ALWAYS, f"CapPrm:\t{held:016x}"),
        (_ALWAYS, f"CapEff:\t{held:016x}"),
        (_ALWAYS, f"CapBnd:\t{machine.full_capabilities:016x}"),
        ((4, 3), f"CapAmb:\t{0:016x}"),
        ((4, 10), "NoNewPrivs:\t0"),
        (_ALWAYS, "Seccomp:\t0"),
        ((5, 9), "Seccomp_filters:\t0"),
        ((4, 17), "Speculation_Store_Bypass:\tvulnerable"),
        ((5, 11), "SpeculationIndirectBranch:\tconditional enabled"),
    ]


def _placement_lines(machine: Machine, thread: Thread) -> list[_Line]:
    hardware = machine.hardware
    cpus = (1 << hardware.cpus) - 1
    mems = thread.placement.mems & hardware.nodes
    mems_bits = _NODES_OF_THE_BUILD if machine.build.numa else 1
    return [
        (_ALWAYS, f"Cpus_allowed:\t{format_bitmap(cpus, hardware.cpus)}"),
        (_ALWAYS, f"Cpus_allowed_list:\t{format_list(cpus)}"),
        (_ALWAYS, f"Mems_allowed:\t{format_bitmap(mems, mems_bits)}"),
        (_ALWAYS, f"Mems_allowed_list:\t{format_list(mems)}"),
        (_ALWAYS, "voluntary_ctxt_switches:\t0"),
        (_ALWAYS, "nonvoluntary_ctxt_switches:\t0"),
    ]


ROWS: dict[str, TaskRow] = {
    "status": TaskFile(
        reflects="ids, state, sizes, signals, capabilities", render=render_status, seek=Seek.SEQ
    ),
}
