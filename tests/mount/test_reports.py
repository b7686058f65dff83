# SPDX-License-Identifier: MIT
"""From a report in a log to a mounted machine whose OOM killer chooses the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fakeproc.cli import main
from tests.conftest import Mounted
from tests.report import path_of


@pytest.mark.parametrize(
    ("identity", "trigger", "chosen", "victim"),
    [
        ("020", "1", "26794 (bash)", "27019 (sudo)"),
        ("021", "1", "27030 (swapoff)", "27030 (swapoff)"),
        ("028", None, "30866 (oom)", "30866 (oom)"),
    ],
)
def test_a_report_mounts_and_its_victim_dies(
    mount: Callable[..., Mounted],
    tmp_path: Path,
    identity: str,
    trigger: str | None,
    chosen: str,
    victim: str,
) -> None:
    scenario = tmp_path / "report.toml"
    assert main(["explain", "--dmesg", str(path_of(identity)), "--to-scenario", str(scenario)]) == 0
    mounted = mount("--scenario", str(scenario))
    if trigger is None:
        line = next(line for line in scenario.read_text().splitlines() if line.startswith("path"))
        trigger = f"memcg={json.loads(line.partition('= ')[2])}"
    (mounted / "fakeproc/oom_trigger").write_text(trigger)
    verdict = mounted.read("fakeproc/oom_trigger").splitlines()
    assert f"chosen: {chosen}" in verdict
    assert f"victim: {victim}" in verdict
