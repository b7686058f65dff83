# SPDX-License-Identifier: MIT
"""What if: other values, other sizes, another kernel; and reports as scenarios."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.oom import OomRequest
from fakeproc.procfs.node import File
from fakeproc.procfs.tree import Procfs
from fakeproc.report.options import WhatIf, answer, require_use, what_if
from fakeproc.report.rebuild import memcg_path
from fakeproc.report.render import data_of, scenario_text_of, text_of
from fakeproc.scenario import load_scenario
from tests.report import IDS, answer_of, report_of
from tests.report.test_parse import HEADER, KILLED, ROWS, only


def options(*changes: str, **sizes: str) -> WhatIf:
    every: dict[str, Any] = dict.fromkeys(("ram", "swap", "limit", "kernel")) | sizes
    return what_if(changes, **every)


def predicted(identity: str, asked: WhatIf) -> tuple[str, int | None]:
    data = data_of(answer_of(identity, asked))
    return data["predicted"]["comm"], data["predicted"]["points"]


def test_another_value_by_name_or_by_pid() -> None:
    assert predicted("095", options("python=-900"))[0] == "dbus-daemon"
    assert predicted("095", options("996=-900")) == ("python", 52448)
    assert predicted("095", options("996=-900", "cron=1000"))[0] == "cron"


def test_memory_weighs_a_value() -> None:
    """200 thousandths of 832 MB are less than what the largest holds, of 16 GB they are more."""
    assert predicted("095", options(ram="16G"))[0] in ("dbus-daemon", "mpris-proxy")
    more = data_of(answer_of("095", options(ram="1G", swap="1G")))
    assert more["totalpages"] == 2 * 1024**3 // 4096


def test_the_limit_of_a_cgroup() -> None:
    data = data_of(answer_of("059", options(limit="2G", swap="0")))
    assert data["totalpages"] == 2 * 1024**3 // 4096
    assert data_of(answer_of("059", options(swap="1G")))["totalpages"] == 146484 + 262144


def test_another_kernel_ranks_below_zero() -> None:
    """In 045 all are at -998: clamped to 1 the first one dies; with a sign the largest does."""
    assert predicted("045", WhatIf()) == ("pause", 1)
    assert predicted("045", options(kernel="6.1"))[0] == "data_sim"


def test_a_kernel_that_the_text_names_is_what_if_and_one_that_it_does_not_is_no_change() -> None:
    named = answer_of("033", options(kernel="6.1"))
    assert named.changed is not None
    assert data_of(named)["kernel"] == "6.1"
    assert data_of(named)["as_logged"]["agrees"] is True
    unnamed = answer_of("059", options(kernel="5.4"))
    assert unnamed.changed is None
    assert data_of(unnamed)["rules_from"] == "--kernel"


def test_it_says_who_would_have_died_instead() -> None:
    text = text_of(answer_of("095", options("python=-900", kernel="6.1")), of=1)
    line = next(line for line in text.splitlines() if line.startswith("as logged:"))
    assert line.startswith("as logged: python (996) died; with --set python=-900 --kernel 6.1: ")
    assert line.endswith("would have died instead")


def test_what_is_presumed_hidden_stays_hidden() -> None:
    report = only(HEADER + ROWS + KILLED.format(pid=1000, comm="small"))
    data = data_of(answer(1, report, options("small=5")))
    assert data["predicted"]["pid"] == 1000
    assert data["as_logged"]["agrees"] is False


@pytest.mark.parametrize(
    ("changes", "sizes", "words"),
    [
        (["postgres"], {}, "--set postgres: accepted is NAME=VALUE or PID=VALUE"),
        (["=5"], {}, "--set =5: accepted is NAME=VALUE"),
        (["cron=x"], {}, "--set cron=x: accepted is NAME=VALUE"),
        (["cron=1001"], {}, "oom_score_adj 1001: accepted are -1000 to 1000."),
        ([], {"ram": "much"}, "--ram 'much': accepted is a size such as 300M"),
        ([], {"kernel": "windows"}, "kernel 'windows': not known"),
        ([], {"kernel": "2.4"}, "kernel '2.4': accepted are 2.6 and later"),
    ],
)
def test_values_that_cannot_be(changes: list[str], sizes: dict[str, str], words: str) -> None:
    with pytest.raises(Refused) as refused:
        options(*changes, **sizes)
    assert refused.value.error == errno.EINVAL
    assert words in refused.value.why


@pytest.mark.parametrize(
    ("identity", "changes", "sizes", "words"),
    [
        ("095", ["pyton=5"], {}, "the report has no task pyton (nearest: python); accepted"),
        ("095", ["4=5"], {}, "the report has no pid 4; accepted is a name or a pid"),
        ("095", [], {"limit": "1G"}, "--limit: the whole machine was out of memory"),
        ("059", [], {"ram": "1G"}, "--ram: a cgroup was out of memory"),
    ],
)
def test_options_that_change_nothing(
    identity: str, changes: list[str], sizes: dict[str, str], words: str
) -> None:
    with pytest.raises(Refused) as refused:
        require_use(options(*changes, **sizes), [report_of(identity)])
    assert refused.value.error == errno.EINVAL
    assert words in refused.value.why


@pytest.mark.parametrize("identity", IDS)
@pytest.mark.parametrize("asked", [WhatIf(), options(swap="1G"), options(kernel="6.18")])
def test_the_scenario_of_a_report_has_the_same_victim(
    identity: str, asked: WhatIf, tmp_path: Path
) -> None:
    found = answer_of(identity, asked)
    path = tmp_path / "report.toml"
    path.write_text(scenario_text_of(found, identity))
    machine = load_scenario(path)
    group = memcg_path(found.judgement.report)
    memcg = machine.memcg(group) if group is not None else None
    totalpages = machine.hardware.totalpages if memcg is None else machine.memcg_totalpages(memcg)
    verdict = machine.out_of_memory(OomRequest(totalpages, machine.init.leader, memcg=memcg))
    explanation = found.judgement.explanation
    if explanation.chosen is None:
        assert machine.panicked
        return
    assert verdict.chosen is not None
    assert explanation.victim is not None
    assert verdict.chosen.pid == explanation.chosen.pid
    assert verdict.victims[0].process.pid == explanation.victim.pid
    assert {p.pid for p in verdict.killed} == {p.pid for p in explanation.dying}


def test_the_kernel_of_a_report_can_be_written_back(tmp_path: Path) -> None:
    path = tmp_path / "report.toml"
    path.write_text(scenario_text_of(answer_of("020"), "020"))
    procfs = Procfs(load_scenario(path))
    file = procfs.lookup("/fakeproc/kernel", procfs.machine.root)
    assert isinstance(file, File)
    before = file.render()
    assert before.startswith(b"kernel 3.12\n")
    assert file.store(procfs.machine.root, before) == len(before)
    assert [line.split(b"#")[0] for line in file.render().splitlines()] == [
        line.split(b"#")[0] for line in before.splitlines()
    ]


def test_odd_names_outlive_the_scenario(tmp_path: Path) -> None:
    rows = ROWS.replace("big", 'a"b\\c\x7f\x01é').replace("small", "")
    found = answer(1, only(HEADER + rows + KILLED.format(pid=2000, comm="x")), WhatIf())
    path = tmp_path / "odd.toml"
    path.write_text(scenario_text_of(found, "a\nb"))
    machine = load_scenario(path)
    assert [machine.processes[pid].comm for pid in (1000, 2000)] == ["?", 'a"b\\c\x7f\x01é']
