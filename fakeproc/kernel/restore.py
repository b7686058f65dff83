# SPDX-License-Identifier: MIT
"""Putting tasks into a machine as they were, whatever had made them so.

The door of `Machine` lets things happen; this is for what has happened already: zombies,
victims, whose parent is gone, who shares an mm with whom.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import dataclass

from fakeproc.kernel import oom
from fakeproc.kernel.behaviour import Behaviour
from fakeproc.kernel.cputime import CpuAccounting
from fakeproc.kernel.details import Details
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.memcg import Memcg
from fakeproc.kernel.memory import Counters
from fakeproc.kernel.numa import ANYWHERE, Placement
from fakeproc.kernel.oom import OomRequest
from fakeproc.kernel.task import Credentials, Hold, MemorySizes, Mm, Process, State, Thread


@dataclass(frozen=True, slots=True)
class TaskImage:
    """A task as it was."""

    tid: int
    comm: str
    credentials: Credentials
    placement: Placement = ANYWHERE
    start_ns: int = 0
    state: State = State.SLEEPING
    """A zombie has exited."""
    fatal_pending: bool = False
    memdie: bool = False
    oom_reaped: bool = False
    hold: Hold = Hold.NONE
    hold_for_ns: int | None = None
    """How long the hold lasts from now on, or from when it stops at its exit; None: for good."""


@dataclass(frozen=True, slots=True)
class MmImage:
    """An address space as it was."""

    sizes: MemorySizes
    cmdline: tuple[bytes, ...]
    dumpable: bool = True
    multiprocess: bool = False
    hidden: bool = False
    not_reapable: bool = False


@dataclass(frozen=True, slots=True)
class ProcessImage:
    """A thread group as it was."""

    tasks: tuple[TaskImage, ...]
    """The leader first."""
    parent: int | None
    """The task that is its parent."""
    memcg: Memcg
    mm: MmImage | int | None
    """Its memory, or whose it is; a task that has exited has none."""
    is_kthread: bool = False
    oom_score_adj: int = 0
    oom_score_adj_min: int = 0
    group_exit: bool = False
    exit_code: int = 0
    pgrp: int = 0
    session: int = 0
    oom_victims: int = 0
    oom_origin: bool = False
    coredumping: bool = False
    ignores_sigchld: bool = False
    pending_signals: int | None = None
    """The signals that wait until it goes on, as a mask; None: it is not stopped."""
    details: Details | None = None


@dataclass(frozen=True, slots=True)
class MachineImage:
    """What the machine itself remembers; pages and numbers."""

    forks: int = 0
    last_pid: int = 0
    next_pid: int = 0
    oom_kills: int = 0
    audit_sessions: int = 0
    deprecated_warned: bool = False
    panicked: str = ""
    counters: Counters | None = None


class Restorer:
    """Fills a machine that has just been made, and has nothing running yet."""

    def __init__(self, machine: Machine, now_ns: int) -> None:
        machine.now_ns = now_ns
        machine.processes.clear()
        machine.used = MemorySizes()
        machine._busy.clear()
        machine.cpu_accounting = CpuAccounting(machine.hardware.cpus, now_ns)
        machine._last_number = 0
        self._machine = machine

    def add(self, image: ProcessImage) -> Process:
        """Put in a process; its parent, and whose mm it uses, are there already.

        EEXIST for a pid that is taken, ESRCH for somebody who is not there.
        """
        machine = self._machine
        pid = image.tasks[0].tid
        taken: set[int] = set()
        for task in image.tasks:
            if task.tid in taken or machine.find_thread(task.tid) is not None:
                raise Refused(errno.EEXIST, f"pid={task.tid}: is taken.")
            taken.add(task.tid)
        parent = None if image.parent is None else machine.thread(image.parent)
        number = machine._next_number()
        process = Process(pid, number, parent, image.memcg, attached=number)
        mm = self._mm(image.mm, number)
        machine.processes[pid] = process
        image.memcg.attach(process)
        if parent is not None:
            parent.process.add_child(process)
        _copy_fields(image, process)
        for task in image.tasks:
            self._add_task(process, task, mm)
        machine.set_oom_origin(process, image.oom_origin)
        if image.pending_signals is not None:
            machine._stopped[process] = image.pending_signals
        return process

    def free_pid(self) -> int:
        """Return the next pid that is free."""
        return self._machine._allocate_pid(None)

    def _mm(self, image: MmImage | int | None, number: int) -> Mm | None:
        if image is None:
            return None
        if isinstance(image, int):
            mm = self._machine.process(image).mm
            if mm is None:
                raise Refused(errno.EINVAL, f"mm = {image}: has no mm.")
            return mm
        problem = image.sizes.problem()
        if problem:
            raise Refused(errno.EINVAL, f"memory: {problem}.")
        self._machine._charge(image.sizes)
        return Mm(
            number,
            image.sizes,
            cmdline=image.cmdline,
            dumpable=image.dumpable,
            multiprocess=image.multiprocess,
            hidden=image.hidden,
            not_reapable=image.not_reapable,
        )

    def _add_task(self, process: Process, image: TaskImage, mm: Mm | None) -> None:
        machine = self._machine
        thread = Thread(
            image.tid,
            image.comm,
            process,
            image.credentials,
            image.start_ns,
            exiting=image.state is State.ZOMBIE,
            fatal_pending=image.fatal_pending,
            memdie=image.memdie,
            oom_reaped=image.oom_reaped,
            placement=image.placement,
        )
        if image.tid == process.pid:
            process.leader = thread
        else:
            process.add_thread(thread)
            machine._other_threads[thread.tid] = thread
        machine.set_state(thread, image.state)
        if mm is not None and thread.alive:
            machine._join_mm(thread, mm)
        if image.hold is not Hold.NONE:
            machine.holds.restore(thread, image.hold, image.hold_for_ns)

    # -- When all are there ------------------------------------------------------------

    def link_vfork(self, creator: Thread, child: Thread) -> None:
        """Let a task wait for the exec or exit of another one."""
        creator.vfork_child, child.vfork_parent = child, creator
        self._machine._in_vfork[child] = None

    def behave(self, process: Process, does: Behaviour, tasks: Iterable[TaskImage]) -> None:
        """Give a process its behaviour, and let its tasks be as they were under it."""
        machine = self._machine
        machine.behave(process, does)
        for thread, image in zip(process.threads, tasks, strict=True):
            machine.holds.forget(thread)
            machine.set_state(thread, image.state)
            if image.hold is not Hold.NONE:
                machine.holds.restore(thread, image.hold, image.hold_for_ns)

    def order_children(self, process: Process, children: Iterable[int]) -> None:
        """Put the children of a process into this order; the others come before.

        EINVAL for who is none of them.
        """
        for pid in children:
            child = self._machine.process(pid)
            if child not in process.children:
                raise Refused(errno.EINVAL, f"children: {pid} is no child of {process.pid}.")
            process.remove_child(child)
            process.add_child(child)

    def attach_in_order(self, pids: Iterable[int]) -> None:
        """Attach processes to their groups anew, in this order."""
        for pid in pids:
            process = self._machine.process(pid)
            process.memcg.detach(process)
            process.memcg.attach(process)
            process.attached = self._machine._next_number()

    def set_oom_mm(self, process: Process, pid: int) -> None:
        """Let a victim remember its mm: that of a process, or with 0 one that is gone."""
        gone = Mm(self._machine._next_number(), hidden=True)
        process.oom_mm = self._machine.process(pid).mm if pid else gone

    def finish(self, image: MachineImage) -> None:
        """Set what the machine itself remembers, and rank the tasks anew."""
        machine = self._machine
        machine.forks, machine.last_pid = image.forks, image.last_pid
        machine._next_pid = image.next_pid
        machine.oom_kills = image.oom_kills
        machine.audit_sessions = image.audit_sessions
        machine.deprecated_warned = image.deprecated_warned
        machine.panicked = image.panicked
        if image.counters is not None:
            machine.memory.counters = image.counters
        machine.rankings.forget()
        oom.ranking(machine, OomRequest(machine.hardware.totalpages))


def _copy_fields(image: ProcessImage, process: Process) -> None:
    """Copy what both call by the same name."""
    for name in _COPIED:
        setattr(process, name, getattr(image, name))


_COPIED = (
    "is_kthread",
    "oom_score_adj",
    "oom_score_adj_min",
    "group_exit",
    "exit_code",
    "pgrp",
    "session",
    "oom_victims",
    "coredumping",
    "ignores_sigchld",
    "details",
)
