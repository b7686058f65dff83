# SPDX-License-Identifier: MIT
"""Negative controls: what the tests of daemons demand does not hold where it must not.

Without stand-ins a daemon's signal reaches nobody; turned around, a scenario has another victim.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Mounted, require_fuse, wait_until
from tests.mount import require_root
from tests.sandbox.tools.conftest import (
    NOHANG,
    Daemon,
    Started,
    Tool,
    assert_relieved,
    assert_reported,
    at_work,
    living,
    recorded,
)
from tests.sandbox.tools.scenarios import grow, small

_NO_SUCH_PROCESS = {
    "earlyoom": "kill failed: No such process",
    "nohang": "Selected process died before corrective action",
}

_ON_PROC = 'mount --bind "$0" /proc && exec "$@"'


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Mounted]:
    """Mount the scenario of the daemons' tests, without a sandbox."""
    require_fuse()
    require_root()
    scenario = tmp_path / "scenario.toml"
    scenario.write_text(f"version = 1\n{small()}")
    (tmp_path / "proc").mkdir()
    options = ("--clock", "manual", "--scenario", os.fspath(scenario))
    mounted = Mounted(tmp_path / "proc", "mfusepy", *options)
    try:
        yield mounted
        mounted.stop()
    finally:
        mounted.kill()


def test_nobody_dies_without_stand_ins(mounted: Mounted, tool: Tool, tmp_path: Path) -> None:
    """In a pid namespace of its own, with only the mount on its /proc."""
    private = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
    command = [*private, "sh", "-c", _ON_PROC, os.fspath(mounted.path), *tool.argv(tmp_path)]
    with recorded() as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        daemon = Daemon(tool, output)
        try:
            daemon.wait_for_reports(1)
            before = living(mounted)
            grow(mounted, "hog", "600M")
            daemon.wait_for(_NO_SUCH_PROCESS[tool.name])
            assert "hog" in living(mounted).values()
            with pytest.raises(AssertionError):
                assert_relieved(mounted, "hog", before)
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(small("bystander", "hog"), id="another one is the largest"),
        pytest.param(small("hog", "bystander", 500), id="another one has a higher adj"),
    ],
)
def test_turned_around_another_one_dies(
    sandbox_of: Started, tool: Tool, scenario: str, tmp_path: Path
) -> None:
    """The counterpart of the case "largest"."""
    sandbox = sandbox_of(scenario)
    growing = next(name for name in living(sandbox).values() if name in ("hog", "bystander"))
    with at_work(sandbox, tool, tmp_path) as daemon:
        before = living(sandbox)
        grow(sandbox, growing, "600M")
        wait_until(lambda: not before.keys() <= living(sandbox).keys(), "a kill")
        daemon.wait_for_reports()
        assert_relieved(sandbox, "bystander", before)
        with pytest.raises(AssertionError):
            assert_relieved(sandbox, "hog", before)
        report = sandbox.report()
        with pytest.raises(AssertionError):
            assert_reported(report, tool, "hog", *daemon.signals)


def test_adj_written_while_it_runs_changes_the_victim(
    sandbox_of: Started, tool: Tool, tmp_path: Path
) -> None:
    sandbox = sandbox_of(small())
    with at_work(sandbox, tool, tmp_path) as daemon:
        before = living(sandbox)
        hog = next(pid for pid, name in before.items() if name == "hog")
        done = sandbox.run(["sh", "-c", f"echo -900 > /proc/{hog}/oom_score_adj"])
        assert done.returncode == 0, done.stderr
        grow(sandbox, "hog", "520M")
        wait_until(lambda: not before.keys() <= living(sandbox).keys(), "a kill")
        daemon.wait_for_reports()
        assert_relieved(sandbox, "bystander", before)


def test_a_dry_run_relieves_nobody(sandbox_of: Started, tmp_path: Path) -> None:
    """A daemon that only says that it kills: the report has no kill either."""
    sandbox = sandbox_of(small())
    with at_work(sandbox, NOHANG, tmp_path, "min_badness = 900") as daemon:
        before = living(sandbox)
        grow(sandbox, "hog", "600M")
        daemon.wait_for("nothing to do")
        with pytest.raises(AssertionError):
            assert_relieved(sandbox, "hog", before)
        with pytest.raises((AssertionError, ValueError)):
            assert_reported(sandbox.report(), NOHANG, "hog")
