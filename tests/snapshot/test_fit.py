# SPDX-License-Identifier: MIT
"""Sizes that have the score that the host showed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fakeproc.kernel.badness import counted_pages, points_for, presented
from fakeproc.kernel.machine import sizes_for
from fakeproc.kernel.profile import Profile, named
from fakeproc.kernel.task import MemorySizes
from fakeproc.snapshot.fit import fitted_sizes, held_back_pages
from fakeproc.snapshot.process import HostProcess
from tests.snapshot.hosts import host_process

MODERN, OLD = named("6.18"), named("6.1")
_SIZES = st.builds(
    sizes_for,
    anon_pages=st.integers(0, 2**20),
    file_pages=st.integers(0, 2**16),
    shmem_pages=st.integers(0, 2**16),
    swap_entries=st.integers(0, 2**16),
)


def score_of(profile: Profile, process: HostProcess, pages: int, totalpages: int) -> int:
    points = points_for(profile, pages, process.oom_score_adj, process.credentials, totalpages)
    return presented(profile, points, totalpages)


def score_with(
    profile: Profile, process: HostProcess, sizes: MemorySizes, totalpages: int, cpus: int
) -> int:
    return score_of(profile, process, counted_pages(profile, sizes, cpus), totalpages)


@given(
    sizes=_SIZES,
    amiss=st.floats(-0.99, 0.99),
    adj=st.integers(-999, 1000),
    totalpages=st.integers(2**14, 2**26),
    cpus=st.sampled_from([1, 2, 64, 512]),
)
def test_the_score_is_the_same_whatever_the_cpus_hold_back(
    sizes: MemorySizes, amiss: float, adj: int, totalpages: int, cpus: int
) -> None:
    counted = counted_pages(MODERN, sizes, cpus)
    read = counted + int(amiss * held_back_pages(MODERN, cpus))
    # Page tables it always knows to the page.
    read = max(read, sizes.pagetable_pages)
    plain = host_process(30, sizes=sizes, oom_score_adj=adj)
    score = score_of(MODERN, plain, read, totalpages)
    process = host_process(30, sizes=sizes, oom_score_adj=adj, oom_score=score)
    fitted = fitted_sizes(MODERN, process, totalpages=totalpages, cpus=cpus)
    assert fitted.problem() == ""
    assert score_with(MODERN, process, fitted, totalpages, cpus) == score


@given(sizes=_SIZES, totalpages=st.integers(2**21, 2**24))
def test_sizes_that_have_the_score_stay(sizes: MemorySizes, totalpages: int) -> None:
    plain = host_process(30, sizes=sizes)
    score = score_with(MODERN, plain, sizes, totalpages, 2)
    process = host_process(30, sizes=sizes, oom_score=score)
    assert fitted_sizes(MODERN, process, totalpages=totalpages, cpus=2) == sizes


def test_what_the_cpus_cannot_explain_stays_as_it_is() -> None:
    process = host_process(30, sizes=sizes_for(anon_pages=320), oom_score=900)
    for profile in (MODERN, OLD):
        assert fitted_sizes(profile, process, totalpages=2**21, cpus=2) == process.sizes


def test_a_score_that_moved_says_nothing() -> None:
    process = host_process(30, oom_score=667, score_stood_still=False)
    assert fitted_sizes(MODERN, process, totalpages=2**16, cpus=64) == process.sizes
