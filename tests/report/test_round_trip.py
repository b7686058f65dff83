# SPDX-License-Identifier: MIT
"""What the simulated kernel prints is read back, and explained as it happened."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakeproc.kernel.machine import Hardware, Machine, sizes_for
from fakeproc.kernel.oom import OomRequest, Outcome
from fakeproc.kernel.profile import PROFILE_NAMES, KernelConfig
from fakeproc.kernel.task import Credentials
from fakeproc.report.options import WhatIf, answer
from tests.report import read

HARDWARE = Hardware(ram_pages=200_000, swap_pages=100_000)


@dataclass(frozen=True)
class Row:
    anon_pages: int
    swap_entries: int
    adj: int
    root: bool


rows = st.builds(
    Row,
    anon_pages=st.integers(100, 9_000),
    swap_entries=st.integers(0, 5_000),
    adj=st.sampled_from([-1000, -998, -500, -17, 0, 0, 0, 5, 200, 1000]),
    root=st.booleans(),
)


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
@settings(deadline=None, max_examples=12)
@given(table=st.lists(rows, min_size=1, max_size=12), memcg=st.booleans())
def test_a_report_of_the_simulation(kernel: str, table: list[Row], memcg: bool) -> None:
    machine = Machine(KernelConfig(kernel), HARDWARE)
    group = machine.make_memcg("/web")
    group.limit_pages = 50_000
    for number, row in enumerate(table):
        process = machine.spawn(
            f"task {number}",
            sizes=sizes_for(anon_pages=row.anon_pages, swap_entries=row.swap_entries),
            credentials=None if row.root else Credentials(1000, 1000, 0),
        )
        machine.store_oom_score_adj(process.leader, machine.root, b"%d" % row.adj)
        if memcg:
            machine.join_memcg(process, group)
    request = OomRequest(
        machine.memcg_totalpages(group) if memcg else HARDWARE.totalpages,
        machine.init.leader,
        memcg=group if memcg else None,
    )
    verdict = machine.out_of_memory(request)
    found = read(machine.log.render())
    if verdict.outcome is Outcome.NOBODY and not found:
        return
    (report,) = found
    data = answer(1, report, WhatIf()).judgement
    assert len(report.rows) == len(table)
    assert report.complete
    if verdict.chosen is None:
        assert (report.nobody, data.predicted) == (True, None)
        return
    assert report.chosen is not None
    assert report.chosen.pid == verdict.chosen.pid
    assert data.agrees is True
    assert report.memory.memcg_limit_kb == (200_000 if memcg else None)
