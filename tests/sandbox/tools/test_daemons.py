# SPDX-License-Identifier: MIT
"""Earlyoom and nohang in a sandbox: they kill whom their rule selects, and memory comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.sandbox.tools.conftest import (
    VIEWS,
    Started,
    Tool,
    assert_relieved,
    assert_reported,
    at_work,
    living,
    pid_of,
    sees_relief,
)
from tests.sandbox.tools.scenarios import CASES, Case, grow, small


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_kills_whom_its_rule_selects(
    sandbox_of: Started, tool: Tool, case: Case, tmp_path: Path
) -> None:
    """Then it goes on looking at the memory, and leaves everybody else alone."""
    sandbox = sandbox_of(case.scenario)
    with at_work(sandbox, tool, tmp_path) as daemon:
        assert not daemon.signals
        before = living(sandbox)
        case.shorten(sandbox)
        wait_until(lambda: case.victim not in living(sandbox).values(), "a kill")
        daemon.wait_for_reports()
        assert_relieved(sandbox, case.victim, before)
        assert sees_relief(sandbox)
        report = sandbox.report()
        assert_reported(report, tool, case.victim, *daemon.signals)
        assert report["kills"][0]["victim"]["rank_by_oom_score"] == 1
        assert len(daemon.signals) == 1


@pytest.mark.parametrize("view", VIEWS)
def test_relieves_in_each_view(sandbox_of: Started, tool: Tool, view: str, tmp_path: Path) -> None:
    sandbox = sandbox_of(small(), view=view)
    with at_work(sandbox, tool, tmp_path) as daemon:
        before = living(sandbox)
        grow(sandbox, "hog", "700M")
        wait_until(lambda: "hog" not in living(sandbox).values(), "a kill")
        daemon.wait_for_reports()
        assert_relieved(sandbox, "hog", before)
        assert sees_relief(sandbox)


def test_keeps_up_with_a_running_clock(sandbox_of: Started, tool: Tool, tmp_path: Path) -> None:
    """Nothing waits for the daemon here: it must be quicker than the kernel's OOM killer."""
    sandbox = sandbox_of("desktop", manual_clock=False, speed="10")
    with at_work(sandbox, tool, tmp_path) as daemon:
        before = living(sandbox)
        wait_until(lambda: "leaking-tab" not in living(sandbox).values(), "a kill")
        assert_relieved(sandbox, "leaking-tab", before)
        assert_reported(sandbox.report(), tool, "leaking-tab", *daemon.signals)


def test_kills_again_when_memory_is_short_again(
    sandbox_of: Started, tool: Tool, tmp_path: Path
) -> None:
    sandbox = sandbox_of(small())
    with at_work(sandbox, tool, tmp_path) as daemon:
        for victim, anon in (("hog", "700M"), ("bystander", "900M")):
            before = living(sandbox)
            grow(sandbox, victim, anon)
            wait_until(lambda: victim not in living(sandbox).values(), "a kill")  # noqa: B023
            daemon.wait_for_reports()
            assert_relieved(sandbox, victim, before)
    assert [kill["victim"]["comm"] for kill in sandbox.report()["kills"]] == ["hog", "bystander"]


def test_waits_for_a_victim_that_takes_long_to_exit(
    sandbox_of: Started, tool: Tool, tmp_path: Path
) -> None:
    """Its memory is there as long as it is: nobody else dies meanwhile."""
    sandbox = sandbox_of(
        small().replace(
            'name = "hog"\n', 'name = "hog"\nbehaviour = { kind = "constant", exit_delay = "2s" }\n'
        )
    )
    with at_work(sandbox, tool, tmp_path) as daemon:
        before = living(sandbox)
        pid = pid_of(sandbox, "hog")
        grow(sandbox, "hog", "600M")
        wait_until(lambda: sandbox.report()["kills"] != [], "a signal")
        sandbox.write("fakeproc/clock", "+1s")
        assert sandbox.run(["kill", "-0", str(pid)]).returncode == 0
        assert not sees_relief(sandbox)
        sandbox.write("fakeproc/clock", "+1s")
        wait_until(lambda: sandbox.run(["kill", "-0", str(pid)]).returncode == 1, "its end")
        daemon.wait_for_reports()
        assert_relieved(sandbox, "hog", before)
        [kill] = sandbox.report()["kills"]
        assert kill["relief_s"] == pytest.approx(2, abs=0.2)
        assert kill["victim"]["comm"] == "hog"


def test_ends_who_ignores_sigterm(sandbox_of: Started, tool: Tool, tmp_path: Path) -> None:
    """First SIGTERM, and when that was in vain SIGKILL."""
    ignoring = 'name = "hog"\nbehaviour = { kind = "constant", ignore_sigterm = true }\n'
    sandbox = sandbox_of(small().replace('name = "hog"\n', ignoring))
    patience = {"nohang": ["max_soft_exit_time = 0.3"], "earlyoom": []}
    with at_work(sandbox, tool, tmp_path, *patience[tool.name]) as daemon:
        before = living(sandbox)
        grow(sandbox, "hog", "520M")
        wait_until(lambda: "SIGTERM" in daemon.signals, "SIGTERM")
        if tool.name == "earlyoom":
            # It gives a victim ten seconds: less memory than its other limit is quicker.
            grow(sandbox, "hog", "700M")
        wait_until(lambda: "hog" not in living(sandbox).values(), "a kill")
        daemon.wait_for_reports()
        assert_relieved(sandbox, "hog", before)
    [kill] = sandbox.report()["kills"]
    assert [signal["name"] for signal in kill["signals"]] == ["SIGTERM", "SIGKILL"]


def test_spares_everybody_while_there_is_memory(
    sandbox_of: Started, tool: Tool, tmp_path: Path
) -> None:
    sandbox = sandbox_of(small())
    with at_work(sandbox, tool, tmp_path) as daemon:
        before = living(sandbox)
        grow(sandbox, "hog", "400M")
        daemon.wait_for_reports()
        assert living(sandbox) == before
    assert not sandbox.report()["kills"]


def test_two_machines_at_once(sandbox_of: Started, tool: Tool, tmp_path: Path) -> None:
    """A daemon acts on its own.  The fixture ends the first one before the second."""
    first, second = sandbox_of(small()), sandbox_of(small())
    with at_work(first, tool, tmp_path) as daemon:
        for sandbox in (first, second):
            grow(sandbox, "hog", "580M")
        wait_until(lambda: "hog" not in living(first).values(), "a kill")
        daemon.wait_for_reports()
    assert "hog" in living(second).values()
    assert not second.report()["kills"]
