# SPDX-License-Identifier: MIT
"""Whatever the table: who the OOM killer never kills, and what always comes of it."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from fakeproc.kernel.machine import CloneFlags, Hardware, Machine, sizes_for
from fakeproc.kernel.oom import OomRequest, Outcome, Verdict
from fakeproc.kernel.profile import PROFILE_NAMES, KernelConfig
from fakeproc.kernel.task import Hold, Process, Thread

PATCHED = ("series", "4.8", "4.9", "4.14", "4.19", "5.0", "5.4", "5.10", "5.15", "6.1", "6.18")


@dataclass(frozen=True)
class Row:
    """A task of a random table; ``relative`` counts back to its parent, or whose mm it uses."""

    kind: str
    relative: int
    rss_pages: int
    oom_score_adj: int
    threads: int
    memcg: str


adjs = st.one_of(st.just(-1000), st.just(0), st.integers(-1000, 1000))
rows = st.builds(
    Row,
    kind=st.sampled_from(["own", "own", "own", "sharer", "vforked", "kthread", "kthread with mm"]),
    relative=st.integers(1, 4),
    rss_pages=st.integers(10, 3000),
    oom_score_adj=adjs,
    threads=st.integers(1, 3),
    memcg=st.sampled_from(["/", "/", "/web", "/web/front"]),
)
tables = st.lists(rows, min_size=1, max_size=12)
kernels = st.sampled_from(PROFILE_NAMES)


def build(table: list[Row], kernel: str) -> Machine:
    """Return a machine with these tasks, each value as given: nothing propagates.

    The tasks behind a waiting vfork parent get an mm of their own.
    """
    machine = Machine(KernelConfig(kernel), Hardware(ram_pages=65536), first_pid=100)
    made: list[Process] = []
    for row in table:
        relative = made[-row.relative] if row.relative <= len(made) else None
        process = _create(machine, row, relative)
        machine.change_oom_score_adj(process, row.oom_score_adj)
        machine.join_memcg(process, machine.make_memcg(row.memcg))
        if not process.is_kthread:
            for _ in range(row.threads - 1):
                machine.clone_thread(process.leader)
        made.append(process)
    return machine


def _create(machine: Machine, row: Row, relative: Process | None) -> Process:
    mm = relative.mm if relative else None
    if row.kind.startswith("kthread"):
        return machine.kthread("kworker", use_mm=mm if row.kind.endswith("mm") else None)
    if relative is None or row.kind == "own" or relative.is_kthread or relative.leader.vfork_child:
        return machine.spawn("own", sizes=sizes_for(anon_pages=row.rss_pages))
    return machine.clone(relative.leader, CloneFlags(vm=True, vfork=row.kind == "vforked"))


def trigger(machine: Machine, memcg: str = "/") -> Verdict:
    group = None if memcg == "/" else machine.make_memcg(memcg)
    totalpages = machine.hardware.totalpages
    return machine.out_of_memory(
        OomRequest(totalpages, allocating=machine.init.leader, order=0, memcg=group)
    )


def in_vfork(thread: Thread) -> bool:
    parent = thread.vfork_parent
    return parent is not None and parent.mm is thread.mm


def spared(process: Process) -> bool:
    """Say whether nothing may ever kill this one."""
    return process.is_global_init or process.is_kthread


@settings(deadline=None)
@given(tables, kernels, st.sampled_from(["/", "/web"]))
def test_nobody_dies_who_must_not(table: list[Row], kernel: str, memcg: str) -> None:
    machine = build(table, kernel)
    patched = machine.profile.vfork_exempt != "none"
    for _ in range(len(table) + 1):
        unkillable = {p for p in machine.processes.values() if p.oom_score_adj == -1000}
        vforked = {t for t in machine.threads() if in_vfork(t)}
        verdict = trigger(machine, memcg)
        assert not any(spared(process) for process in verdict.killed)
        for victim in verdict.victims:
            assert victim.process not in unkillable
            assert not (patched and victim in vforked)
        if machine.panicked:
            return


@settings(deadline=None)
@given(tables, st.sampled_from(PATCHED))
def test_a_global_oom_ends_in_memory_or_in_a_panic(table: list[Row], kernel: str) -> None:
    machine = build(table, kernel)
    for _ in range(2 * len(table) + 1):
        kept = {p.mm for p in machine.processes.values() if p.is_kthread}
        held = {p: p.mm for p in machine.processes.values()}
        verdict = trigger(machine)
        if verdict.outcome is Outcome.PANICKED:
            assert machine.panicked
            return
        if verdict.outcome is Outcome.WAITING:
            # A kthread keeps a victim's mm: that is the reaper's to free.
            machine.advance(2_000_000_000)
            verdict = trigger(machine)
            assert verdict.outcome is not Outcome.WAITING
            continue
        assert verdict.outcome is Outcome.KILLED
        assert verdict.freed_pages > 0 or held[verdict.victims[0].process] in kept
    raise AssertionError("the tasks never ran out")


@settings(deadline=None)
@given(tables, st.sampled_from(PATCHED))
def test_the_mm_of_a_victim_is_reapable_unless_a_kthread_uses_it(
    table: list[Row], kernel: str
) -> None:
    machine = build(table, kernel)
    for thread in machine.threads():
        if not spared(thread.process):
            machine.hold(thread, Hold.AT_EXIT)
    verdict = trigger(machine)
    mms = {victim: victim.mm for victim in verdict.victims}
    machine.advance(2_000_000_000)
    for victim, mm in mms.items():
        assert mm is not None
        assert victim.oom_reaped or any(spared(process) for process in mm.processes)
        assert mm.sizes.anon_pages == 0 or not victim.oom_reaped


@settings(deadline=None)
@given(tables, kernels)
def test_the_same_table_gives_the_same_log(table: list[Row], kernel: str) -> None:
    logs = []
    for _ in range(2):
        machine = build(table, kernel)
        for _ in range(2 * len(table) + 3):
            trigger(machine)
            machine.advance(1_000_000_000)
        logs.append(machine.log.render())
    assert logs[0] == logs[1]
    assert "Kernel panic" in logs[0]
