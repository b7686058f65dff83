# SPDX-License-Identifier: MIT
"""The files of /proc/<pid> and /proc/<pid>/task/<tid>.

`TASK_FILES` says which there are: to add one, write the function that renders it and
add a row.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable
from dataclasses import dataclass

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.numa import ANYWHERE, MAX_NODES, Placement, format_bitmap, format_list
from fakeproc.kernel.task import PAGE_BYTES, PAGE_KIB, Caller, MemorySizes, Thread, encode_name
from fakeproc.procfs.node import Attributes, File, Seek
from fakeproc.procfs.session import Session

CLOCK_TICKS_PER_S = 100
RLIM_INFINITY = 2**64 - 1

# Flags of the ninth field of stat.
PF_EXITING = 0x00000004
PF_KTHREAD = 0x00200000

Render = Callable[[Machine, Thread], bytes]
RenderFor = Callable[[Machine, Thread, Placement], bytes]
Store = Callable[[Machine, Thread, Caller, bytes], int]


@dataclass(frozen=True, slots=True)
class TaskFile:
    """A row of the table: permission bits, what reading gives, what writing does."""

    mode: int
    render: Render
    store: Store | None = None
    seek: Seek = Seek.GENERIC
    render_for: RenderFor | None = None
    """What reading gives, where that depends on the cpuset of the reader."""


class TaskNode(File):
    """A file of one task.  Owner as the task's; ESRCH once the task is gone.

    It asks the session for the machine: after a reboot the task is not of that one any more.
    """

    def __init__(self, session: Session, thread: Thread, row: TaskFile, reader: Placement) -> None:
        self._session = session
        self._thread = thread
        self._row = row
        self._reader = reader
        self.seek = row.seek

    def attributes(self) -> Attributes:
        """Return the row's mode with the task's owner."""
        uid, gid = self._thread.process.owner(self._thread)
        return Attributes(stat.S_IFREG | self._row.mode, uid, gid)

    def require_there(self) -> None:
        """Refuse with ESRCH for a task that is gone."""
        _require_there(self._session.machine, self._thread)

    def render(self) -> bytes:
        """Return the content; ESRCH for a task that is gone."""
        self.require_there()
        machine = self._session.machine
        if self._row.render_for is not None:
            return self._row.render_for(machine, self._thread, self._reader)
        return self._row.render(machine, self._thread)

    def store(self, caller: Caller, data: bytes) -> int:
        """Write; EINVAL where the file takes no writes, whoever opened it (seen on 6.1)."""
        if self._row.store is None:
            raise Refused(errno.EINVAL)
        self._session.require_running()
        return self._row.store(self._session.machine, self._thread, caller, data)

    def takes_input(self) -> bool:
        """Say whether the file takes writes and the task is there."""
        thread = self._session.machine.find_thread(self._thread.tid)
        return self._row.store is not None and thread is self._thread


def _require_there(machine: Machine, thread: Thread) -> None:
    if machine.find_thread(thread.tid) is not thread:
        raise Refused(errno.ESRCH, f"/proc/{thread.tid}: the task is gone.")


# -- The OOM files -----------------------------------------------------------------


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


def render_oom_score(machine: Machine, thread: Thread, reader: Placement = ANYWHERE) -> bytes:
    """Return the badness as a person may read it."""
    return b"%d\n" % machine.oom_score(thread.process, reader)


# -- Names -------------------------------------------------------------------------


def render_comm(machine: Machine, thread: Thread) -> bytes:
    """Return the task's name."""
    return encode_name(thread.comm) + b"\n"


def store_comm(machine: Machine, thread: Thread, caller: Caller, data: bytes) -> int:
    """Rename the task; EINVAL for a caller outside its thread group."""
    _require_there(machine, thread)
    if caller.tgid != thread.process.pid:
        raise Refused(errno.EINVAL, f"/proc/{thread.tid}/comm: only its own threads may write it.")
    name = data.split(b"\0")[0]
    machine.rename(thread, name.decode(errors="surrogateescape"))
    return len(data)


def render_cmdline(machine: Machine, thread: Thread) -> bytes:
    """Return the arguments, each with its NUL; nothing without an mm."""
    if thread.mm is None or thread.process.is_kthread:
        return b""
    return b"".join(argument + b"\0" for argument in thread.mm.cmdline)


def render_cgroup(machine: Machine, thread: Thread) -> bytes:
    """Return the path in the one (version 2) hierarchy."""
    return encode_name(f"0::{thread.process.memcg.path}\n")


# -- stat, statm, status -----------------------------------------------------------


def _user_sizes(thread: Thread) -> MemorySizes:
    """Return what the memory fields show: nothing for kernel threads and the dead."""
    if thread.mm is None or thread.process.is_kthread:
        return MemorySizes()
    return thread.mm.sizes


def _ppid(thread: Thread) -> int:
    parent = thread.process.real_parent
    return parent.process.pid if parent else 0


def render_stat(machine: Machine, thread: Thread) -> bytes:
    """Return the 52 fields of proc(5)."""
    process = thread.process
    sizes = _user_sizes(thread)
    start_ticks = thread.start_time_ns * CLOCK_TICKS_PER_S // 1_000_000_000
    flags = (PF_KTHREAD if process.is_kthread else 0) | (PF_EXITING if thread.exiting else 0)
    before = (thread.state.value, _ppid(thread), process.pgrp, process.session, 0, -1, flags)
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
    sizes = _user_sizes(thread)
    shared = sizes.file_pages + sizes.shmem_pages
    data = sizes.anon_pages + sizes.swap_entries
    fields = (sizes.total_vm_pages, sizes.rss_pages, shared, 0, 0, data, 0)
    return (" ".join(map(str, fields)) + "\n").encode()


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


def _identity_lines(machine: Machine, thread: Thread) -> list[_Line]:
    process = thread.process
    uid, gid = thread.credentials.uid, thread.credentials.gid
    # The umask belongs to what a task gives up when it exits.
    umask: list[_Line] = [] if thread.exiting else [((4, 7), "Umask:\t0022")]
    return [
        (_ALWAYS, f"Name:\t{_escape(thread.comm)}"),
        *umask,
        (_ALWAYS, f"State:\t{thread.state.value} ({thread.state.description})"),
        (_ALWAYS, f"Tgid:\t{process.pid}"),
        (_ALWAYS, "Ngid:\t0"),
        (_ALWAYS, f"Pid:\t{thread.tid}"),
        (_ALWAYS, f"PPid:\t{_ppid(thread)}"),
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
    if thread.mm is None or thread.process.is_kthread:
        return []
    sizes = thread.mm.sizes

    def line(name: str, pages: int) -> str:
        return f"{name}:\t{pages * PAGE_KIB:8d} kB"

    lines: list[_Line] = [
        (_ALWAYS, line("VmPeak", sizes.total_vm_pages)),
        (_ALWAYS, line("VmSize", sizes.total_vm_pages)),
        (_ALWAYS, line("VmLck", sizes.mlocked_pages)),
        (_ALWAYS, line("VmPin", 0)),
        (_ALWAYS, line("VmHWM", sizes.rss_pages)),
        (_ALWAYS, line("VmRSS", sizes.rss_pages)),
        ((4, 5), line("RssAnon", sizes.anon_pages)),
        ((4, 5), line("RssFile", sizes.file_pages)),
        ((4, 5), line("RssShmem", sizes.shmem_pages)),
        (_ALWAYS, line("VmData", sizes.anon_pages + sizes.swap_entries)),
        (_ALWAYS, line("VmStk", 33)),
        (_ALWAYS, line("VmExe", 1)),
        (_ALWAYS, line("VmLib", 0)),
    ]
    # One kind of page table is what is printed since 4.15, where they are counted together.
    if machine.profile.table_format == "nr_ptes":
        lines += [(_ALWAYS, line("VmPTE", sizes.pte_pages))]
        lines += [(_ALWAYS, line("VmPMD", sizes.pmd_pages))]
    else:
        lines += [(_ALWAYS, line("VmPTE", sizes.pagetable_pages))]
    return [
        *lines,
        (_ALWAYS, line("VmSwap", sizes.swap_entries)),
        ((4, 4), line("HugetlbPages", 0)),
        ((4, 15), f"CoreDumping:\t{int(thread.process.coredumping)}"),
        ((5, 0), "THP_enabled:\t1"),
        ((6, 4), "untag_mask:\t0xffffffffffffffff"),
    ]


def _signal_lines(machine: Machine, thread: Thread) -> list[_Line]:
    pending = machine.pending_signals(thread.process)
    return [
        (_ALWAYS, f"Threads:\t{len(thread.process.threads)}"),
        (_ALWAYS, "SigQ:\t0/31388"),
        (_ALWAYS, f"SigPnd:\t{0:016x}"),
        (_ALWAYS, f"ShdPnd:\t{pending:016x}"),
        *((_ALWAYS, f"{name}:\t{0:016x}") for name in ("SigBlk", "SigIgn", "SigCgt")),
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
    # A machine of one node runs a kernel without NUMA, whose masks have one bit.
    mems_bits = 1 if hardware.nodes == 1 else MAX_NODES
    return [
        (_ALWAYS, f"Cpus_allowed:\t{format_bitmap(cpus, hardware.cpus)}"),
        (_ALWAYS, f"Cpus_allowed_list:\t{format_list(cpus)}"),
        (_ALWAYS, f"Mems_allowed:\t{format_bitmap(mems, mems_bits)}"),
        (_ALWAYS, f"Mems_allowed_list:\t{format_list(mems)}"),
        (_ALWAYS, "voluntary_ctxt_switches:\t0"),
        (_ALWAYS, "nonvoluntary_ctxt_switches:\t0"),
    ]


TASK_FILES: dict[str, TaskFile] = {
    "cgroup": TaskFile(0o444, render_cgroup, seek=Seek.SEQ),
    "cmdline": TaskFile(0o444, render_cmdline),
    "comm": TaskFile(0o644, render_comm, store_comm, seek=Seek.SEQ),
    "oom_adj": TaskFile(0o644, render_oom_adj, store_oom_adj),
    "oom_score": TaskFile(0o444, render_oom_score, seek=Seek.SEQ, render_for=render_oom_score),
    "oom_score_adj": TaskFile(0o644, render_oom_score_adj, store_oom_score_adj, Seek.DEFAULT),
    "stat": TaskFile(0o444, render_stat, seek=Seek.SEQ),
    "statm": TaskFile(0o444, render_statm, seek=Seek.SEQ),
    "status": TaskFile(0o444, render_status, seek=Seek.SEQ),
}
"""The files of a task, the same for a process and for one thread of it."""
