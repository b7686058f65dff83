# SPDX-License-Identifier: MIT
"""From the sizes that the host shows to those that the OOM killer of the host has read.

Since 6.2 they are not the same: the OOM killer leaves out what the CPUs have not handed in yet,
in either direction, and /proc/<pid>/status of newer ones adds it.  The score that the host shows
tells in which range the OOM killer's number lies.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import replace

from fakeproc.kernel.badness import counted_pages, points_for, presented, rss_batch_pages
from fakeproc.kernel.profile import Profile
from fakeproc.kernel.task import MemorySizes
from fakeproc.snapshot.process import HostProcess

_KINDS = ("anon_pages", "file_pages", "shmem_pages", "swap_entries")


def fitted_sizes(
    profile: Profile, process: HostProcess, *, totalpages: int, cpus: int
) -> MemorySizes:
    """Return the sizes of a process with which it has the score that the host showed.

    What is too much is taken from the kinds of memory, the largest first, and what is then too
    little goes to the page tables, which are counted to the page.  Nothing is changed when more
    is amiss than the CPUs can hold back: then something else is at work.
    """
    sizes = process.sizes
    if not process.score_stood_still:
        return sizes

    def score(pages: int) -> int:
        points = points_for(profile, pages, process.oom_score_adj, process.credentials, totalpages)
        return presented(profile, points, totalpages)

    counted, slack = counted_pages(profile, sizes, cpus), held_back_pages(profile, cpus)
    possible = range(max(counted - slack, 0), counted + slack + 1)
    first = bisect_left(possible, process.oom_score, key=score)
    behind = bisect_right(possible, process.oom_score, key=score)
    if first == behind:
        return sizes
    target = min(max(counted, possible[first]), possible[behind - 1])
    sizes = _reduced(sizes, counted - target, rss_batch_pages(cpus))
    missing = target - counted_pages(profile, sizes, cpus)
    return replace(sizes, pte_pages=max(sizes.pte_pages + missing, 0))


def held_back_pages(profile: Profile, cpus: int) -> int:
    """Return by how much the OOM killer may be wrong about an mm.

    Each CPU hands in what it has of a kind when that reaches the batch.
    """
    return len(_KINDS) * cpus * rss_batch_pages(cpus) if profile.rss_in_batches else 0


def _reduced(sizes: MemorySizes, pages: int, batch: int) -> MemorySizes:
    """Take away at least so many pages, as the OOM killer counts them: in whole batches."""
    for kind in sorted(_KINDS, key=lambda kind: -getattr(sizes, kind)):
        held = getattr(sizes, kind)
        taken = min(held, -(-max(pages, 0) // batch) * batch)
        sizes = replace(sizes, **{kind: held - taken})
        pages -= taken // batch * batch
    return replace(sizes, mlocked_pages=min(sizes.mlocked_pages, sizes.anon_pages))
