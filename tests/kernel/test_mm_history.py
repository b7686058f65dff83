# SPDX-License-Identifier: MIT
"""High-water marks, and what has been referenced."""

from __future__ import annotations

import pytest

from fakeproc.kernel.machine import CloneFlags, Machine, sizes_for
from fakeproc.kernel.mm_history import ClearRefs
from fakeproc.kernel.ptrace import may_read
from fakeproc.kernel.task import Credentials, MemorySizes, Mm, TaskCaller


def machine_with(sizes: MemorySizes) -> tuple[Machine, Mm]:
    machine = Machine()
    mm = machine.spawn("web", sizes=sizes).mm
    assert mm is not None
    return machine, mm


def test_the_marks_stay_when_the_memory_goes() -> None:
    large, small = sizes_for(anon_pages=1000), sizes_for(anon_pages=10)
    machine, mm = machine_with(large)
    history = machine.mm_history
    assert history.peak_rss_pages(mm) == 1000
    machine.resize(mm, small)
    assert history.peak_rss_pages(mm) == 1000
    assert history.peak_vm_pages(mm) == large.total_vm_pages
    machine.resize(mm, sizes_for(anon_pages=2000))
    assert history.peak_rss_pages(mm) == 2000


def test_a_fork_begins_anew_and_so_does_a_reset() -> None:
    machine, mm = machine_with(sizes_for(anon_pages=1000))
    machine.resize(mm, sizes_for(anon_pages=10))
    (process,) = mm.processes
    child = machine.clone(process.leader, CloneFlags())
    assert child.mm is not None
    assert machine.mm_history.peak_rss_pages(child.mm) == 10
    machine.mm_history.clear_refs(mm, ClearRefs.MM_HIWATER_RSS)
    assert machine.mm_history.peak_rss_pages(mm) == 10
    assert machine.mm_history.peak_vm_pages(mm) > mm.sizes.total_vm_pages


@pytest.mark.parametrize(
    ("what", "idle"),
    [
        (ClearRefs.ALL, (100, 50)),
        (ClearRefs.ANON, (100, 0)),
        (ClearRefs.MAPPED, (0, 50)),
        (ClearRefs.SOFT_DIRTY, (0, 0)),
    ],
)
def test_what_comes_after_clear_refs_has_been_referenced(
    what: ClearRefs, idle: tuple[int, int]
) -> None:
    machine, mm = machine_with(sizes_for(anon_pages=100, file_pages=30, shmem_pages=20))
    machine.mm_history.clear_refs(mm, what)
    assert machine.mm_history.idle_pages(mm) == idle
    machine.resize(mm, sizes_for(anon_pages=40, file_pages=90))
    machine.resize(mm, sizes_for(anon_pages=200, file_pages=90))
    assert machine.mm_history.idle_pages(mm) == (min(idle[0], 40), idle[1])


def test_an_mm_that_is_gone_is_forgotten_and_not_counted() -> None:
    machine, mm = machine_with(sizes_for(anon_pages=100))
    (process,) = mm.processes
    machine.clone_thread(process.leader)
    assert machine.mm_count == 2
    machine.mm_history.clear_refs(mm, ClearRefs.ALL)
    machine.exit_group(process)
    assert machine.mm_count == 1
    assert machine.mm_history.idle_pages(mm) == (0, 0)


# -- Who may look at it ------------------------------------------------------------

PLAIN = Credentials(1000, 1000, 0)


@pytest.mark.parametrize(
    ("caller", "may"),
    [
        (PLAIN, True),
        (Credentials(1000, 1001, 0), False),
        (Credentials(1001, 1000, 0), False),
        (Credentials(0, 0, 0), False),
        (Credentials(0, 0, 1 << 19), True),
    ],
)
def test_ptrace_access_is_by_user_and_group_or_capability(caller: Credentials, may: bool) -> None:
    process = Machine().spawn("web", credentials=PLAIN)
    assert may_read(TaskCaller(caller), process.leader) == may


def test_ptrace_access_needs_a_dumpable_mm_and_the_capabilities() -> None:
    machine = Machine()
    process = machine.spawn("web", credentials=PLAIN)
    other = TaskCaller(PLAIN, tid=5, tgid=5)
    machine.set_credentials(process.threads, Credentials(1000, 1000, 1))
    assert not may_read(other, process.leader)
    machine.set_credentials(process.threads, PLAIN)
    assert process.mm is not None
    process.mm.dumpable = False
    assert not may_read(other, process.leader)
    assert may_read(TaskCaller.of(process.leader), process.leader)
