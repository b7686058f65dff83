# SPDX-License-Identifier: MIT
"""What the kernel tells of a task in numbers: flags, priority, signals, and where it sleeps."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from fakeproc.kernel import kthread, memcg_oom
from fakeproc.kernel.details import details_of
from fakeproc.kernel.profile import Profile
from fakeproc.kernel.task import Hold, Process, State, Thread

if TYPE_CHECKING:
    from fakeproc.kernel.machine import Machine

PF_EXITING = 0x00000004
PF_POSTCOREDUMP = 0x00000008
PF_FORKNOEXEC = 0x00000040
PF_DUMPCORE = 0x00000200
PF_SIGNALED = 0x00000400
PF_MEMALLOC = 0x00000800
PF_FROZEN = 0x00010000
PF_SWAPWRITE = 0x00800000
PF_KTHREAD = 0x00200000
PF_RANDOMIZE = 0x00400000

SCHED_NORMAL, SCHED_FIFO = 0, 1

_ALL_SIGNALS = 2**64 - 1
_SIGKILL = 1 << (signal.SIGKILL - 1)

# Numbers of x86-64.
_NR_VFORK, _NR_FSYNC, _NR_CLOCK_NANOSLEEP = 58, 74, 230


# -- How it stands -----------------------------------------------------------------


def shown_state(profile: Profile, thread: Thread) -> tuple[str, str]:
    """Return the letter and the word of stat and status: some kernel threads idle."""
    process = thread.process
    sleeps = thread.state is State.SLEEPING and process.is_kthread
    if sleeps and profile.idle_state and kthread.kind_of(process).idles:
        return "I", "idle"
    return thread.state.value, thread.state.description


def flags_of(profile: Profile, thread: Thread) -> int:
    """Return PF_* of a task (the ninth field of stat), as far as the machine knows them."""
    process = thread.process
    if process.is_kthread:
        return PF_KTHREAD | PF_FORKNOEXEC | _kthread_flags(profile, process)
    flags = PF_RANDOMIZE
    if _has_not_execed(thread):
        flags |= PF_FORKNOEXEC
    if thread.hold is Hold.FROZEN and profile.frozen_flag:
        flags |= PF_FROZEN
    if process.coredumping:
        flags |= PF_DUMPCORE
    if thread.exiting:
        flags |= PF_EXITING | kthread.PF_NOFREEZE
        flags |= PF_POSTCOREDUMP if profile.postcoredump_flag else 0
        flags |= PF_SIGNALED if process.exit_code & 0x7F else 0
    return flags


def _kthread_flags(profile: Profile, process: Process) -> int:
    flags = kthread.kind_of(process).flags
    if process.comm.startswith("kswapd"):
        # It always may use the reserves: it is who frees memory.
        flags |= PF_MEMALLOC | profile.kswapd_flag
        flags |= PF_SWAPWRITE if profile.swapwrite_flag else 0
    return flags


def _has_not_execed(thread: Thread) -> bool:
    """Say whether a task runs the program of its creator for certain.

    Threads do, and whoever is on the memory of an earlier process.
    """
    if not thread.is_leader or thread.vfork_done:
        return True
    mm = thread.mm
    return mm is not None and next(iter(mm.processes)) is not thread.process


def exit_signal(thread: Thread) -> int:
    """Return the signal that its end sends to the parent; -1 for a thread."""
    if not thread.is_leader:
        return -1
    return 0 if thread.process.is_kthread and thread.tid == 2 else int(signal.SIGCHLD)


def nice_of(process: Process) -> int:
    """Return the nice value: as somebody has set it, or what its kind of kernel thread has."""
    if process.is_kthread and process.details is None:
        return kthread.kind_of(process).nice
    return details_of(process).nice


def rt_priority(process: Process) -> int:
    """Return the priority among SCHED_FIFO; 0 for an ordinary task."""
    return kthread.kind_of(process).rt_priority if process.is_kthread else 0


def policy(process: Process) -> int:
    """Return the scheduling policy."""
    return SCHED_FIFO if rt_priority(process) else SCHED_NORMAL


def priority(process: Process) -> int:
    """Return the priority that stat shows: 20 and the nice value, below 0 for real time."""
    realtime = rt_priority(process)
    return -1 - realtime if realtime else 20 + nice_of(process)


def processor(machine: Machine, thread: Thread) -> int:
    """Return the CPU on which it was last."""
    return machine.cpu_accounting.last_cpu(thread)


def descriptor_count(thread: Thread) -> int:
    """Return how many files it has open: the three of every program; none when it has exited."""
    return 0 if thread.process.is_kthread or thread.exiting else 3


def foreground_group(process: Process) -> int:
    """Return the process group in front on its terminal, the session leader's; -1: none."""
    return process.session if details_of(process).tty else -1


# -- Signals -----------------------------------------------------------------------


def private_pending(thread: Thread) -> int:
    """Return the signals that wait for this task alone, as a mask."""
    return _SIGKILL if thread.fatal_pending else 0


def shared_pending(machine: Machine, process: Process) -> int:
    """Return the signals that wait for the process: those of a stop, and a SIGKILL on its way."""
    killed = process.group_exit and process.exit_code & 0x7F == signal.SIGKILL
    waits = killed and any(thread.fatal_pending for thread in process.threads)
    return machine.pending_signals(process) | (_SIGKILL if waits else 0)


def ignored_signals(machine: Machine, process: Process) -> int:
    """Return the signals that it ignores; a kernel thread ignores all."""
    if process.is_kthread:
        return _ALL_SIGNALS
    ignored = [signal.SIGCHLD] if process.ignores_sigchld else []
    ignored += [signal.SIGTERM] if machine.living.ignores(process, signal.SIGTERM) else []
    return sum(1 << (number - 1) for number in ignored)


# -- Where it sleeps ---------------------------------------------------------------


def wchan(profile: Profile, thread: Thread) -> str:
    """Return the function of the kernel in which it sleeps; nothing while it runs, or is dead.

    Who sleeps of its own accord is taken to wait for a time to pass.
    """
    if thread.state in (State.RUNNING, State.ZOMBIE):
        return ""
    if thread.process.is_kthread:
        return kthread.kind_of(thread.process).wchan
    if thread.vfork_child is not None:
        return profile.vfork_wchan
    if memcg_oom.is_waiting(thread):
        return "mem_cgroup_oom_synchronize"
    if thread.hold is Hold.FROZEN:
        return "__refrigerator"
    held = {State.STOPPED: "do_signal_stop", State.TRACED: "ptrace_stop"}
    return held.get(
        thread.state, "jbd2_log_wait_commit" if _is_stuck(thread) else "hrtimer_nanosleep"
    )


def system_call(thread: Thread) -> int | None:
    """Return the number of the system call that it is in (x86-64), -1 for none; None: it runs."""
    if thread.state is State.RUNNING:
        return None
    if thread.process.is_kthread:
        return 0
    if thread.state in (State.ZOMBIE, State.STOPPED, State.TRACED) or memcg_oom.is_waiting(thread):
        return -1
    if thread.vfork_child is not None:
        return _NR_VFORK
    return _NR_FSYNC if _is_stuck(thread) else _NR_CLOCK_NANOSLEEP


def _is_stuck(thread: Thread) -> bool:
    return thread.state is State.DISK_SLEEP
