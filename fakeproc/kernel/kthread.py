# SPDX-License-Identifier: MIT
"""What the kernel's own threads are like, which their names tell: `KTHREADS` is the table."""

from __future__ import annotations

from dataclasses import dataclass

from fakeproc.kernel.task import Process

PF_WQ_WORKER = 0x00000020
PF_NOFREEZE = 0x00008000
PF_NO_SETAFFINITY = 0x04000000


@dataclass(frozen=True, slots=True)
class Kthread:
    """A kind of kernel thread: where it sleeps, and how it is scheduled (seen on 6.18)."""

    wchan: str
    flags: int = PF_NOFREEZE
    nice: int = 0
    rt_priority: int = 0
    """Of SCHED_FIFO; 0: it is an ordinary task."""
    idles: bool = False
    """Sleeps so that it is no load (TASK_IDLE)."""


_BOUND = PF_NO_SETAFFINITY | PF_NOFREEZE
_WORKER = _BOUND | PF_WQ_WORKER

KTHREADS = {
    "kworker/R-": Kthread("rescuer_thread", _WORKER, nice=-20, idles=True),
    "kworker/": Kthread("worker_thread", _WORKER, idles=True),
    "kthreadd": Kthread("kthreadd"),
    "kswapd": Kthread("kswapd", 0),
    "kcompactd": Kthread("kcompactd", 0),
    "khugepaged": Kthread("khugepaged", 0, nice=19),
    "ksmd": Kthread("ksm_scan_thread", 0, nice=5),
    "oom_reaper": Kthread("oom_reaper", 0),
    "kauditd": Kthread("kauditd_thread", 0),
    "khungtaskd": Kthread("watchdog"),
    "kdevtmpfs": Kthread("devtmpfs_work_loop"),
    "migration/": Kthread("smpboot_thread_fn", _BOUND, rt_priority=99),
    "ksoftirqd/": Kthread("smpboot_thread_fn", _BOUND),
    "cpuhp/": Kthread("smpboot_thread_fn", _BOUND),
    "watchdogd": Kthread("kthread_worker_fn", rt_priority=50),
    "rcu_": Kthread("rcu_gp_kthread", idles=True),
}
"""The kinds by the beginning of the name; the first that fits."""

_ANY = Kthread("kthread_worker_fn")


def kind_of(process: Process) -> Kthread:
    """Return the kind of a kernel thread; workers of high priority have an H in their name."""
    name = process.comm
    for beginning, kind in KTHREADS.items():
        if name.startswith(beginning):
            is_high = beginning == "kworker/" and name.partition("-")[0].endswith("H")
            return Kthread(kind.wchan, kind.flags, nice=-20, idles=True) if is_high else kind
    return _ANY
