# SPDX-License-Identifier: MIT
"""The settings of nohang in a sandbox: each changes who dies, or how, as its comments say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.sandbox.tools.conftest import (
    NOHANG,
    Started,
    assert_relieved,
    at_work,
    living,
    pid_of,
)
from tests.sandbox.tools.scenarios import grow

SERVICES = """
[machine]
ram = "1G"
swap = "600M"

[[memcg]]
path = "/web.service"

[[process]]
name = "hog"
uid = 1000
rss = "200M"
cmdline = "/opt/hog --all"

[[process]]
name = "bystander"
uid = 1001
rss = "250M"
cmdline = "/opt/tab --type=renderer"
exe = "/opt/tab"
cwd = "/home/ann"
environ = { ROLE = "tab" }
memcg = "/web.service"
"""


def _victim(sandbox_of: Started, folder: Path, *rules: str, scenario: str = SERVICES) -> str:
    """Let one process grow until memory is short; return who has died.

    The links exe and cwd are simulated only in the view overmount: links cannot be bound over.
    """
    sandbox = sandbox_of(scenario, view="overmount")
    with at_work(sandbox, NOHANG, folder, *rules) as daemon:
        before = living(sandbox)
        grow(sandbox, "hog", "580M")
        wait_until(lambda: not before.keys() <= living(sandbox).keys(), "a kill")
        [victim] = (name for pid, name in before.items() if pid not in living(sandbox))
        daemon.wait_for_reports()
        assert_relieved(sandbox, victim, before)
    return victim


@pytest.mark.parametrize(
    "rule",
    [
        "@BADNESS_ADJ_RE_NAME 500 /// ^bystander$",
        "@BADNESS_ADJ_RE_NAME -300 /// ^hog$",
        "@BADNESS_ADJ_RE_CMDLINE 500 /// --type=renderer",
        "@BADNESS_ADJ_RE_UID -300 /// ^1000$",
        "@BADNESS_ADJ_RE_UID 500 /// ^1001$",
        "@BADNESS_ADJ_RE_REALPATH 500 /// ^/opt/tab$",
        "@BADNESS_ADJ_RE_CWD 500 /// ^/home/",
        "@BADNESS_ADJ_RE_ENVIRON 500 /// ROLE=tab",
        "@BADNESS_ADJ_RE_CGROUP_V2 500 /// /web\\.service$",
    ],
)
def test_rule_changes_the_victim(sandbox_of: Started, tmp_path: Path, rule: str) -> None:
    assert _victim(sandbox_of, tmp_path, rule) == "bystander"


@pytest.mark.parametrize(
    "rule",
    [
        "@BADNESS_ADJ_RE_NAME 500 /// ^bystand$",
        "@BADNESS_ADJ_RE_CMDLINE 500 /// --type=gpu",
        "@BADNESS_ADJ_RE_UID 500 /// ^1002$",
        "@BADNESS_ADJ_RE_REALPATH 500 /// ^/opt/tabs$",
        "@BADNESS_ADJ_RE_CWD 500 /// ^/root",
        "@BADNESS_ADJ_RE_ENVIRON 500 /// ROLE=none",
        "@BADNESS_ADJ_RE_CGROUP_V2 500 /// /db\\.service$",
    ],
)
def test_rule_that_matches_nobody(sandbox_of: Started, tmp_path: Path, rule: str) -> None:
    """The counterpart of the test above: without the rule the largest one dies."""
    assert _victim(sandbox_of, tmp_path, rule) == "hog"


def test_positive_adj_can_be_ignored(sandbox_of: Started, tmp_path: Path) -> None:
    scenario = SERVICES.replace('name = "bystander"\n', 'name = "bystander"\noom_score_adj = 600\n')
    rule = "ignore_positive_oom_score_adj = {}"
    for value, victim in (("False", "bystander"), ("True", "hog")):
        assert _victim(sandbox_of, tmp_path, rule.format(value), scenario=scenario) == victim


@pytest.mark.parametrize(("soft", "hard"), [("40 %", "2 %"), ("40 %", "40 %")])
def test_thresholds_choose_the_signal(
    sandbox_of: Started, tmp_path: Path, soft: str, hard: str
) -> None:
    sandbox = sandbox_of(SERVICES)
    limits = (f"soft_threshold_min_mem = {soft}", f"hard_threshold_min_mem = {hard}")
    with at_work(sandbox, NOHANG, tmp_path, *limits) as daemon:
        grow(sandbox, "hog", "580M")
        wait_until(lambda: "hog" not in living(sandbox).values(), "a kill")
        expected = ["SIGKILL" if soft == hard else "SIGTERM"]
        assert daemon.signals == expected
    [kill] = sandbox.report()["kills"]
    assert [signal["name"] for signal in kill["signals"]] == expected


def test_leaves_alone_whose_badness_is_small(sandbox_of: Started, tmp_path: Path) -> None:
    sandbox = sandbox_of(SERVICES)
    with at_work(sandbox, NOHANG, tmp_path, "min_badness = 900") as daemon:
        before = living(sandbox)
        grow(sandbox, "hog", "580M")
        daemon.wait_for(r"badness \(\d+\) < min_badness \(900\); nothing to do")
        daemon.wait_for_reports()
        assert living(sandbox) == before
        assert not daemon.signals
    assert not sandbox.report()["kills"]


def test_soft_action_takes_the_place_of_sigterm(sandbox_of: Started, tmp_path: Path) -> None:
    """The command that it runs is a guest too: its kill reaches the machine."""
    told = tmp_path / "told"
    script = tmp_path / "action"
    script.write_text(f'#!/bin/sh\necho "$@" > {told}\nkill -TERM $1\n')
    script.chmod(0o755)
    sandbox = sandbox_of(SERVICES)
    pid = pid_of(sandbox, "hog")
    rule = f"@SOFT_ACTION_RE_NAME ^hog$ /// {script} $PID $NAME"
    soft_only = "hard_threshold_min_mem = 0 %"
    with at_work(sandbox, NOHANG, tmp_path, rule, soft_only) as daemon:
        before = living(sandbox)
        grow(sandbox, "hog", "580M")
        wait_until(lambda: "hog" not in living(sandbox).values(), "a kill")
        daemon.wait_for_reports()
        assert_relieved(sandbox, "hog", before)
        assert told.read_text() == f"{pid} hog\n"
        assert not daemon.signals
    [kill] = sandbox.report()["kills"]
    assert kill["sender"]["comm"] == "action"


def test_runs_a_program_after_sigkill(sandbox_of: Started, tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = tmp_path / "after"
    script.write_text(f'#!/bin/sh\necho "$@" > {told}\n')
    script.chmod(0o755)
    sandbox = sandbox_of(SERVICES)
    pid = pid_of(sandbox, "hog")
    settings = (f"post_kill_exe = {script} $PID $NAME", "hard_threshold_min_mem = 20 %")
    with at_work(sandbox, NOHANG, tmp_path, *settings):
        grow(sandbox, "hog", "580M")
        wait_until(lambda: told.exists() and told.read_text().endswith("\n"), "a call")
        assert told.read_text() == f"{pid} hog\n"
