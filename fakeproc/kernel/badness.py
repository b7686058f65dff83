# SPDX-License-Identifier: MIT
"""oom_badness and its presentation in /proc/<pid>/oom_score."""

from dataclasses import replace

from fakeproc.kernel.capability import CAP_SYS_ADMIN
from fakeproc.kernel.profile import Profile
from fakeproc.kernel.task import Credentials, MemorySizes, Process, Thread

OOM_SCORE_ADJ_MIN = -1000
OOM_SCORE_ADJ_MAX = 1000


def in_vfork(profile: Profile, thread: Thread) -> bool:
    """Say whether the task is exempt because it borrows its parent's mm until it execs.

    Since patch 4 of the series.  As posted, any CLONE_VFORK child counts; as merged in
    4.8, only one that really shares the mm of its real parent (a CLONE_PARENT child
    therefore stays selectable).
    """
    if profile.vfork_exempt == "none" or not thread.vfork_done:
        return False
    if profile.vfork_exempt == "done-only":
        return True
    real_parent = thread.process.real_parent
    return real_parent is not None and real_parent.mm is thread.mm


def counted_sizes(profile: Profile, sizes: MemorySizes, cpus: int) -> MemorySizes:
    """Return an mm's sizes as the OOM killer reads them, for its choice and for its log.

    Since 6.2 (f1a7941243c1, "mm: convert mm's rss stats into percpu_counter") it reads
    each kind without what the CPUs have not yet handed in, which they do in batches.
    Here pages come one at a time to one CPU, as in the recordings of 6.18.
    """
    if not profile.rss_in_batches:
        return sizes
    batch = rss_batch_pages(cpus)
    kinds = ("anon_pages", "file_pages", "shmem_pages", "swap_entries")
    return replace(sizes, **{kind: getattr(sizes, kind) // batch * batch for kind in kinds})


def rss_batch_pages(cpus: int) -> int:
    """Return how much of a kind a CPU may hold back (percpu_counter_batch)."""
    return max(32, 2 * cpus)


def counted_pages(profile: Profile, sizes: MemorySizes, cpus: int) -> int:
    """Return how much of an mm the badness counts: resident, swapped, page tables."""
    counted = counted_sizes(profile, sizes, cpus)
    return counted.rss_pages + counted.swap_entries + counted.pagetable_pages


def why_never(profile: Profile, process: Process) -> str | None:
    """Return why the process must not be chosen, in words, or None when it may be."""
    return _why_never(profile, process, process.find_mm_thread())


def _why_never(profile: Profile, process: Process, thread: Thread | None) -> str | None:
    if process.is_global_init:
        return "is init"
    if process.is_kthread:
        return "is a kernel thread"
    if thread is None or thread.mm is None:
        return "has no memory: it has exited"
    if process.oom_score_adj == OOM_SCORE_ADJ_MIN:
        return "oom_score_adj is -1000"
    if in_vfork(profile, thread):
        return "is vforked: the memory is its parent's (patch 4)"
    if thread.mm.hidden and profile.hidden_mm_flag != "none":
        return "its memory has been reaped, or cannot be"
    return None


def badness(profile: Profile, process: Process, totalpages: int, cpus: int) -> int | None:
    """Return the points of a thread group in pages, or None when it must never die.

    Until 3.4 they are no pages but thousandths of the memory, 1 to 1000.

    ``totalpages`` is the memory that the OOM is about: RAM and swap, or a memcg's
    limit; ``cpus`` are those of the machine.  Never chosen are global init, kernel
    threads, groups without an mm, those at -1000, those whose mm is hidden (since 4.6),
    and tasks in vfork (patch 4).
    """
    thread = process.find_mm_thread()
    if thread is None or thread.mm is None or _why_never(profile, process, thread) is not None:
        return None
    pages = counted_pages(profile, thread.mm.sizes, cpus)
    return points_for(profile, pages, process.oom_score_adj, thread.credentials, totalpages)


def points_for(
    profile: Profile, pages: int, adj: int, credentials: Credentials, totalpages: int
) -> int:
    """Return the points of a task that may be chosen, by what the OOM killer counts of its mm."""
    points = pages
    # Removed in 4.17: root's processes were thought to be worth more.
    if profile.admin_discount_3pct and credentials.capable(CAP_SYS_ADMIN):
        if profile.admin_discount_base == "all memory":
            adj -= 30
        else:
            points -= points * 3 // 100
    if profile.points_per_mille:
        return min(max(points * 1000 // totalpages + adj, 1), 1000)
    points += adj * (totalpages // 1000)
    # Since 5.9 points keep their sign, so that negative processes rank among themselves.
    return points if profile.badness_signed else max(points, 1)


def oom_score(profile: Profile, process: Process, totalpages: int, cpus: int) -> int:
    """Return what /proc/<pid>/oom_score prints: 0 to about 2000."""
    points = badness(profile, process, totalpages, cpus)
    return 0 if points is None else presented(profile, points, totalpages)


def presented(profile: Profile, points: int, totalpages: int) -> int:
    """Return points as oom_score presents them."""
    if profile.score_presentation == "x*1000/total":
        return logged_score(profile, points, totalpages)
    return _divide(1000 + _divide(points * 1000, totalpages), 3, times=2)


def logged_score(profile: Profile, points: int, totalpages: int) -> int:
    """Return the score of the line "Kill process", in thousandths of the memory (until 5.0)."""
    if profile.points_per_mille:
        return points
    # In unsigned longs: the most points there are overflow, and the log shows it.
    return points * 1000 % 2**64 // totalpages % 2**32


def _divide(numerator: int, denominator: int, *, times: int = 1) -> int:
    """Divide as C does, toward zero."""
    quotient = abs(numerator * times) // denominator
    return quotient if numerator >= 0 else -quotient
