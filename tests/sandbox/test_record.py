# SPDX-License-Identifier: MIT
"""Who killed whom, why, and what it was good for, told by those who know it."""

from __future__ import annotations

import json
import pickle
import re
import signal
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakeproc.kernel.behaviour import Behaviour, BehaviourKind
from fakeproc.kernel.machine import CloneFlags, Hardware, Machine, sizes_for
from fakeproc.kernel.profile import KernelConfig
from fakeproc.kernel.task import Hold, Process
from fakeproc.procfs.node import File
from fakeproc.procfs.tree import Procfs
from fakeproc.sandbox import record
from fakeproc.sandbox.record import MOST_ENTRIES, MOST_SAMPLES, Chronicle
from fakeproc.sandbox.report import (
    Cause,
    Collateral,
    KernelChoice,
    KernelKill,
    Kill,
    Report,
    Sample,
    Sender,
    Signal,
    Victim,
    Why,
)
from fakeproc.sandbox.summary import summary
from fakeproc.scenario import load_scenario
from tests.sandbox.history import EARLYOOM, NOHANG, NS_PER_S, History
from tests.state import dump
from tests.test_oom_properties import Row, build, kernels, tables

DOCS = Path(__file__).parents[2] / "docs" / "sandbox.rst"


def machine_of(*rss_mib: int) -> tuple[History, list[Process]]:
    """Return a machine of 1 GiB with processes of these sizes."""
    machine = Machine(hardware=Hardware(ram_pages=2**18, swap_pages=0))
    made = [machine.spawn("job", sizes=sizes_for(anon_pages=mib * 256)) for mib in rss_mib]
    return History(machine), made


def test_a_kill_that_does_what_it_should() -> None:
    history = History(load_scenario("desktop"))
    history.pass_time(10)
    tab = history.machine.process(100200)
    rss_kb = tab.mm.sizes.rss_pages * 4 if tab.mm else 0
    history.kill(tab)
    history.pass_time(5)
    report = history.finish()
    (kill,) = report.kills
    assert (kill.at_s, kill.sender) == (10.0, EARLYOOM)
    assert kill.victim.pid == 100200
    assert (kill.victim.comm, kill.victim.uid, kill.victim.oom_score_adj) == (
        "leaking-tab",
        1000,
        300,
    )
    assert (kill.victim.rss_kb, kill.victim.rank_by_rss) == (rss_kb, 1)
    assert (kill.victim.rank_by_oom_score, kill.victim.candidates) == (1, 7)
    assert kill.signals == (Signal(15, "SIGTERM", 10.0, 10.0, 1),)
    assert kill.kernel_choice == KernelChoice("killed", 100200, "leaking-tab", same=True)
    assert (kill.died_at_s, kill.cause, kill.relief_s) == (10.0, Cause.TOOL, 0.0)
    assert kill.available_after_kb is not None
    assert kill.available_after_kb >= kill.available_kb + rss_kb / 2
    assert kill.collateral == ()
    assert report.lowest.available_kb == kill.available_kb
    assert report.deaths == {"tool": 1, "kernel": 0, "exit": 0, "signal": 0}
    assert (report.simulated_s, report.kernel_kills) == (15.0, ())


def test_another_than_the_kernel_would_have_killed() -> None:
    history, (large, small) = machine_of(100, 50)
    history.kill(small)
    (kill,) = history.finish().kills
    assert kill.kernel_choice == KernelChoice("killed", large.pid, "job", same=False)
    assert (kill.victim.rank_by_oom_score, kill.victim.rank_by_rss) == (2, 2)


def test_who_is_not_in_the_running_has_no_rank() -> None:
    history, (spared, _) = machine_of(100, 50)
    history.machine.change_oom_score_adj(spared, -1000)
    history.kill(spared)
    (kill,) = history.finish().kills
    assert (kill.victim.rank_by_oom_score, kill.victim.rank_by_rss) == (None, None)
    assert (kill.victim.candidates, kill.victim.oom_score) == (1, 0)


def test_sigterm_and_sigkill_are_one_kill_and_count_from_the_first() -> None:
    history, (job,) = machine_of(100)
    history.machine.hold(job.leader, Hold.STUCK)
    history.kill(job)
    history.pass_time(2)
    history.kill(job, signo=signal.SIGKILL)
    history.kill(job, signo=signal.SIGKILL)
    history.pass_time(1)
    history.machine.release(job.leader)
    history.pass_time(0.1)
    (kill,) = history.finish().kills
    assert [(s.name, s.at_s, s.count) for s in kill.signals] == [
        ("SIGTERM", 0.0, 1),
        ("SIGKILL", 2.0, 2),
    ]
    assert (kill.died_at_s, kill.relief_s) == (3.1, 3.1)


def test_who_survives_is_told_too_but_signal_0_is_none() -> None:
    history, (one, other) = machine_of(100, 50)
    history.kill(one, signo=signal.SIGSTOP)
    history.kill(other, signo=0)
    (kill,) = history.finish().kills
    assert (kill.died_at_s, kill.cause, kill.relief_s) == (None, None, None)


def test_relief_that_never_comes() -> None:
    """The memory of who shares it with a living process stays."""
    history, (job,) = machine_of(100)
    history.machine.clone(job.leader, CloneFlags(vm=True))
    history.kill(job, signo=signal.SIGKILL)
    history.pass_time(5)
    (kill,) = history.finish().kills
    assert (kill.died_at_s, kill.relief_s, kill.available_after_kb) == (0.0, None, None)


@pytest.mark.parametrize(
    ("second_tool", "after_s", "expected"),
    [
        (EARLYOOM, 0.5, [Why.RELIEF_UNDERWAY]),
        (Sender(3009, "earlyoom"), 0.5, [Why.RELIEF_UNDERWAY]),
        (NOHANG, 0.5, []),
        (EARLYOOM, 1.5, []),
    ],
)
def test_a_second_process_killed_while_the_first_is_dying(
    second_tool: Sender, after_s: float, expected: list[Why]
) -> None:
    history, (first, second) = machine_of(200, 50)
    history.machine.hold(first.leader, Hold.AT_EXIT, for_ns=NS_PER_S)
    history.kill(first)
    history.pass_time(after_s)
    history.kill(second, second_tool)
    history.pass_time(2)
    one, two = history.finish().kills
    assert [(dead.pid, dead.why) for dead in one.collateral] == [
        (second.pid, why) for why in expected
    ]
    assert two.collateral == ()


def test_a_second_kill_is_right_where_the_first_brings_no_relief() -> None:
    history, (first, second) = machine_of(200, 50)
    history.machine.hold(first.leader, Hold.STUCK)
    history.kill(first)
    history.pass_time(1)
    history.kill(second)
    history.pass_time(5)
    assert [kill.collateral for kill in history.finish().kills] == [(), ()]


def test_a_second_kill_is_right_where_the_first_ignores_the_signal() -> None:
    history, (first, second) = machine_of(200, 50)
    history.machine.behave(first, Behaviour(BehaviourKind.CONSTANT, ignores_sigterm=True))
    history.kill(first)
    history.pass_time(1)
    history.kill(second)
    history.kill(first, signo=signal.SIGKILL)
    one, two = history.finish().kills
    assert (one.relief_s, two.relief_s) == (1.0, 0.0)
    assert one.collateral == two.collateral == ()


def test_the_dead_have_no_rank_any_more() -> None:
    history, (first, second, _) = machine_of(200, 100, 50)
    history.kill(first)
    history.kill(second)
    one, two = (kill.victim for kill in history.finish().kills)
    assert (one.rank_by_oom_score, one.rank_by_rss, one.candidates) == (1, 1, 3)
    assert (two.rank_by_oom_score, two.rank_by_rss, two.candidates) == (1, 1, 2)


def test_a_process_group_dies_under_the_one_that_was_meant() -> None:
    history, jobs = machine_of(20, 100, 30)
    for job in jobs:
        job.pgrp = jobs[0].pid
    for job in jobs:
        history.kill(job)
        history.pass_time(0.01)
    (kill,) = history.finish().kills
    assert kill.victim.pid == jobs[1].pid
    assert kill.victim.rank_by_oom_score == 1
    assert [(dead.pid, dead.why) for dead in kill.collateral] == [
        (jobs[0].pid, Why.PROCESS_GROUP),
        (jobs[2].pid, Why.PROCESS_GROUP),
    ]
    assert kill.collateral[0].memory_kb == 20 * 1024


def test_members_of_a_group_that_are_killed_one_by_one_stand_for_themselves() -> None:
    history, jobs = machine_of(20, 100)
    for job in jobs:
        job.pgrp = jobs[0].pid
        history.kill(job)
        history.pass_time(1)
    assert [kill.collateral for kill in history.finish().kills] == [(), ()]


def test_the_kernel_is_faster() -> None:
    history = History(load_scenario("desktop"))
    history.pass_time(60)
    report = history.finish()
    (kill,) = report.kernel_kills
    assert (kill.pid, kill.comm, kill.uid) == (100200, "leaking-tab", 1000)
    assert kill.memory_kb > 3 * 1024**2
    assert kill.died_at_s is not None
    assert 0 <= kill.died_at_s - kill.at_s <= 0.1
    assert report.kills == ()
    assert report.deaths["kernel"] == 1
    assert report.strongest.some_avg10_percent > 0


def test_a_tool_signals_who_is_dying_of_the_kernel() -> None:
    history, (job,) = machine_of(100)
    history.machine.hold(job.leader, Hold.AT_EXIT, for_ns=NS_PER_S)
    history.out_of_memory()
    history.pass_time(0.5)
    history.kill(job, signo=signal.SIGKILL)
    history.pass_time(1)
    report = history.finish()
    (kill,) = report.kills
    assert (kill.was_dying, kill.cause) == (True, Cause.KERNEL)
    assert report.kernel_kills[0].died_at_s == kill.died_at_s == 1.0


def test_the_kernel_waits_for_whom_the_tool_has_killed() -> None:
    """Such a victim is marked, but it was the tool that killed it."""
    history, (job,) = machine_of(100)
    history.machine.hold(job.leader, Hold.AT_EXIT, for_ns=NS_PER_S)
    history.kill(job)
    assert not history.out_of_memory().killed
    assert job.oom_mm is not None
    history.pass_time(1)
    report = history.finish()
    assert report.kills[0].cause is Cause.TOOL
    assert report.kernel_kills == ()


def test_who_shares_the_memory_dies_with_the_victim_of_the_kernel() -> None:
    history, (job,) = machine_of(100)
    sharer = history.machine.clone(job.leader, CloneFlags(vm=True))
    history.out_of_memory()
    report = history.finish()
    (kill,) = report.kernel_kills
    (dead,) = kill.collateral
    assert {kill.pid, dead.pid} == {job.pid, sharer.pid}
    assert (dead.why, dead.memory_kb) == (Why.SHARED_MM, 0)
    assert report.deaths["kernel"] == 2


def test_a_memcg_dies_as_a_whole() -> None:
    history = History(load_scenario("containers"))
    history.pass_time(30)
    in_groups = [kill for kill in history.finish().kernel_kills if kill.collateral]
    assert in_groups
    for kill in in_groups:
        assert kill.constraint == "CONSTRAINT_MEMCG"
        assert all(dead.why is Why.OOM_GROUP and dead.memory_kb for dead in kill.collateral)


def test_every_death_has_its_cause() -> None:
    history, (twice, exits, unknown, by_somebody) = machine_of(10, 20, 30, 40)
    history.machine.hold(twice.leader, Hold.AT_EXIT, for_ns=NS_PER_S)
    history.kill(twice)
    history.kill(twice, NOHANG)
    history.exit(exits)
    history.machine.kill(history.machine.root, unknown, signal.SIGKILL)
    history.kill(by_somebody, None)
    history.pass_time(1)
    report = history.finish()
    assert report.deaths == {"tool": 2, "kernel": 0, "exit": 1, "signal": 1}
    assert [(kill.sender, kill.cause) for kill in report.kills] == [
        (EARLYOOM, Cause.TOOL),
        (NOHANG, Cause.OTHER_TOOL),
        (None, Cause.TOOL),
    ]


def test_who_was_a_victim_before_the_run_dies_of_the_kernel() -> None:
    machine = Machine(hardware=Hardware(ram_pages=2**18, swap_pages=0))
    job = machine.spawn("job", sizes=sizes_for(anon_pages=25_600))
    machine.hold(job.leader, Hold.AT_EXIT)
    assert History(machine).out_of_memory().killed
    history = History(machine)
    machine.release(job.leader)
    history.pass_time(0.1)
    report = history.finish()
    assert (report.deaths["kernel"], report.kernel_kills) == (1, ())


def test_a_reboot_goes_on() -> None:
    history, (job,) = machine_of(100)
    history.pass_time(2)
    history.kill(job, signo=signal.SIGSTOP)
    rebooted = history.machine.rebooted()
    history.chronicle.rebooted(rebooted)
    rebooted.advance(3 * NS_PER_S)
    report = history.finish()
    assert report.simulated_s == 5.0
    assert report.kills[0].died_at_s is None
    assert [sample.at_s for sample in report.samples] == sorted(s.at_s for s in report.samples)


def test_samples_are_what_the_files_say() -> None:
    history = History(load_scenario("desktop", KernelConfig("6.18")))
    history.pass_time(25)
    last = history.finish().samples[-1]
    procfs = Procfs(history.machine)
    meminfo, pressure = read(procfs, "/meminfo"), read(procfs, "/pressure/memory")
    for key, value in (
        ("MemAvailable", last.available_kb),
        ("MemFree", last.free_kb),
        ("SwapFree", last.swap_free_kb),
    ):
        assert re.search(rf"^{key}: +{value} kB$", meminfo, re.M)
    for line, avg10, total in (
        ("some", last.some_avg10_percent, last.some_total_us),
        ("full", last.full_avg10_percent, last.full_total_us),
    ):
        assert avg10 > 0
        assert re.search(rf"^{line} avg10={avg10:.2f} .* total={total}$", pressure, re.M)


def test_watching_changes_nothing() -> None:
    def run(*, watched: bool) -> dict[str, Any]:
        machine = load_scenario("desktop")
        chronicle = Chronicle(machine) if watched else None
        for _ in range(350):
            machine.advance(NS_PER_S // 10)
            if chronicle is not None:
                chronicle.sample()
                chronicle.signalled(machine.process(100010), signal.SIGTERM, EARLYOOM)
        if chronicle is not None:
            chronicle.finish([], 0, 0)
        return dump(Procfs(machine))

    assert run(watched=True) == run(watched=False)


def test_samples_are_thinned_out_evenly() -> None:
    machine = Machine()
    chronicle = Chronicle(machine)
    for _ in range(5 * MOST_SAMPLES):
        machine.advance(NS_PER_S // 10)
        chronicle.sample()
    samples = chronicle.finish([], 0, 0).samples
    assert MOST_SAMPLES / 4 <= len(samples) <= MOST_SAMPLES
    gaps = [b.at_s - a.at_s for a, b in zip(samples, samples[1:], strict=False)]
    assert max(gaps) <= 4 * sorted(gaps)[len(gaps) // 2]


def test_looking_too_often_does_not_matter() -> None:
    machine = Machine()
    chronicle = Chronicle(machine)
    for _ in range(1000):
        machine.advance(NS_PER_S // 1000)
        chronicle.sample()
    assert len(chronicle.finish([], 0, 0).samples) == 11


def test_lists_are_full_at_some_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "MOST_ENTRIES", 3)
    history, jobs = machine_of(*[10] * 8)
    for job in jobs[:5]:
        history.kill(job)
    for _ in jobs[5:]:
        history.out_of_memory()
    report = history.finish()
    assert (len(report.kills), len(report.kernel_kills), report.left_out) == (3, 3, 2)
    assert (report.deaths["tool"], report.deaths["signal"], report.deaths["kernel"]) == (3, 2, 3)


def test_names_that_are_no_text() -> None:
    machine = Machine()
    job = machine.spawn("a\udcff\x1b[31m\n")
    history = History(machine)
    history.kill(job, Sender(3, "\udcfe", ("\udcfd", "x" * 100_000, "y")))
    report = history.chronicle.finish(["\udcfc"], 0, 0)
    text = json.dumps(report.to_json())
    text.encode()
    assert "\\ud" not in text.replace("\\\\", "")
    assert len(text) < 10_000
    assert re.fullmatch(r"[ -~\n]*", summary(report))


def test_it_can_be_pickled() -> None:
    history, (job,) = machine_of(10)
    history.kill(job)
    report = history.finish()
    assert pickle.loads(pickle.dumps(report)) == report


# -- Whatever happens ----------------------------------------------------------------

senders = st.sampled_from([None, EARLYOOM, NOHANG, Sender(3003, "earlyoom")])
steps = st.tuples(
    st.sampled_from(["signal", "signal", "time", "oom", "exit", "hold"]),
    st.integers(0, 20),
    st.sampled_from([0, 1, 9, 9, 15, 15, 17, 18, 19, 34, 35, 64]),
    senders,
    st.sampled_from([0.0, 0.01, 0.1, 1.0, 7.0]),
)


@settings(deadline=None)
@given(tables, kernels, st.lists(steps, max_size=20))
def test_arbitrary_histories(
    table: list[Row], kernel: str, taken: list[tuple[str, int, int, Sender | None, float]]
) -> None:
    history = History(build(table, kernel))
    machine = history.machine
    began = len(machine.processes)
    for what, number, signo, sender, seconds in taken:
        processes = list(machine.processes.values())
        process = processes[number % len(processes)]
        mortal = not (process.is_global_init or process.is_kthread or process.is_zombie)
        if what == "signal":
            history.kill(process, sender, signo)
        elif what == "time":
            history.pass_time(seconds)
        elif what == "oom" and not machine.panicked:
            history.out_of_memory()
        elif what == "exit" and mortal:
            history.exit(process)
        elif what == "hold" and mortal and process.leader.alive:
            machine.hold(process.leader, Hold.AT_EXIT, for_ns=int(seconds * NS_PER_S))
    report = history.finish()
    assert json.loads(json.dumps(report.to_json())) == json.loads(json.dumps(report.to_json()))
    assert re.fullmatch(r"[ -~\n]*", summary(report))
    assert sum(report.deaths.values()) == began - len(machine.processes)
    assert len(report.kills) <= MOST_ENTRIES
    for kill in report.kills:
        check(kill, report)


def check(kill: Kill, report: Report) -> None:
    """Assert what is true of every kill."""
    assert 0 <= kill.at_s <= report.simulated_s
    assert report.lowest.available_kb <= kill.available_kb
    assert (kill.died_at_s is None) == (kill.cause is None)
    if kill.died_at_s is not None:
        assert kill.at_s <= kill.died_at_s <= report.simulated_s
    if kill.relief_s is not None:
        assert kill.died_at_s is not None
        assert kill.available_after_kb is not None
        assert kill.at_s + kill.relief_s >= kill.died_at_s - 0.001
    rank = kill.victim.rank_by_oom_score
    assert rank is None or 1 <= rank <= kill.victim.candidates


# -- The documentation ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("The report", Report),
        ("``kills``", Kill),
        ("``victim``", Victim),
        ("``kernel_choice``", KernelChoice),
        ("``signals``", Signal),
        ("``sender``", Sender),
        ("``collateral``", Collateral),
        ("``kernel_kills``", KernelKill),
        ("``samples``", Sample),
    ],
)
def test_every_key_is_documented(heading: str, kind: type[Any]) -> None:
    section = re.split(rf"^{re.escape(heading)}\n[-~]+\n", DOCS.read_text(), flags=re.M)[1]
    own = re.split(r"\n~+\n", section)[0]
    documented = re.findall(r"^``(\w+)``  ", own, re.M)
    keys = [field.name for field in fields(kind)]
    assert documented == (["schema_version", *keys] if kind is Report else keys)


def test_every_word_is_documented() -> None:
    text = DOCS.read_text()
    assert [word for word in [*Cause, *Why] if f"``{word}``" not in text] == []


def read(procfs: Procfs, path: str) -> str:
    file = procfs.lookup(path, procfs.machine.root)
    assert isinstance(file, File)
    return file.render().decode()
