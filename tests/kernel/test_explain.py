# SPDX-License-Identifier: MIT
"""What explain says is what then happens; and it changes nothing."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from fakeproc.kernel.explain import explain
from fakeproc.kernel.oom import OomRequest
from fakeproc.procfs.node import File
from fakeproc.procfs.tree import Procfs
from fakeproc.scenario import load_scenario
from tests.state import dump
from tests.test_oom_properties import Row, build, kernels, tables


@settings(deadline=None)
@given(tables, kernels, st.sampled_from(["/", "/web"]), st.booleans())
def test_it_foretells_every_verdict(
    table: list[Row], kernel: str, memcg: str, grouped: bool
) -> None:
    machine = build(table, kernel)
    machine.make_memcg("/web").oom_group = grouped
    group = machine.make_memcg(memcg) if memcg != "/" else None
    request = OomRequest(machine.hardware.totalpages, machine.init.leader, memcg=group)
    procfs = Procfs(machine)
    for _ in range(len(table)):
        before = dump(procfs)
        foretold = explain(machine, request)
        assert dump(procfs) == before
        verdict = machine.out_of_memory(request)
        assert foretold.outcome is verdict.outcome
        assert foretold.chosen is verdict.chosen
        assert set(foretold.dying) == set(verdict.killed)
        if verdict.victims:
            assert foretold.victim is verdict.victims[0].process
            assert foretold.ranking[0].process is foretold.chosen
        if machine.panicked:
            return


def read(procfs: Procfs, path: str) -> str:
    file = procfs.lookup(path, procfs.machine.root)
    assert isinstance(file, File)
    return file.render().decode()


def test_the_table_for_people() -> None:
    lines = read(Procfs(load_scenario()), "/fakeproc/explain").splitlines()
    assert lines[:6] == [
        "outcome: killed",
        "chosen: 100013 (nightly-job)",
        "victim: 100013 (nightly-job)",
        "killed: 100013 (nightly-job)",
        "",
        "   pid    rss  swap  pgtables  oom_score_adj   points  oom_score  name",
    ]
    assert lines[6].split() == [
        *("100013", "2G", "500M", "5124k", "300", "1439869", "549", "nightly-job")
    ]
    assert "  100001 (sshd): oom_score_adj is -1000" in lines
    assert "  1 (systemd): is init" in lines
    assert "  2 (kthreadd): is a kernel thread" in lines


def test_the_same_for_programs() -> None:
    procfs = Procfs(load_scenario())
    data = json.loads(read(procfs, "/fakeproc/explain.json"))
    assert data["kernel"] == "series"
    assert data["killed"] == [{"pid": 100013, "comm": "nightly-job"}]
    points = [row["points"] for row in data["ranking"]]
    assert points == sorted(points, reverse=True)
    assert {row["pid"] for row in data["ranking"] + data["excluded"]} == set(
        procfs.machine.processes
    )
