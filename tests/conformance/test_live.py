# SPDX-License-Identifier: MIT
"""The same scenarios in a live kernel and on a mount: nothing may differ."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.conformance.live import LiveKernel
from tests.conformance.live_scenarios import SCENARIOS
from tests.conformance.runner import run_recording
from tests.conformance.uml import Missing, find_uml
from tests.conformance.world import World
from tests.conftest import wait_until


def test_the_mount_does_what_the_live_kernel_does(live: LiveKernel, tmp_path: Path) -> None:
    recording = live.record(SCENARIOS, "live")
    assert live.given_up == {}
    with World(tmp_path) as world:
        tally = run_recording(world, recording)
        another = run_recording(world, replace(recording, kernel="4.9"))
        assert world.procfs.stats.internal_errors == 0
    assert "\n".join(map(str, tally.differences)) == ""
    assert tally.ran == tally.agreed == len(SCENARIOS)

    # The control: 4.9 sacrifices a child of whom it has chosen.
    victims = [d for d in another.differences if d.step.endswith(", killed")]
    assert "oom_children/sharing-and-forked-child" in {d.scenario for d in victims}


def test_what_cannot_be_played_is_given_up_alone(live: LiveKernel) -> None:
    """The kernel panics in the first: it is booted again for the others."""
    crash = {"op": "write", "target": "A", "file": "../sysrq-trigger", "data": "c"}
    scenarios = [
        {"id": "crash", "tasks": [{"name": "A"}], "steps": [crash]},
        {"id": "unknown", "tasks": [{"name": "A"}], "steps": [{"op": "dance"}]},
        {"id": "fine", "tasks": [{"name": "A"}], "steps": [{"op": "snapshot"}]},
    ]
    recording = live.record(scenarios, "some")
    assert live.given_up == {
        "crash": "Kernel panic - not syncing: sysrq triggered crash",
        "unknown": "Unable: unknown op dance",
    }
    assert [scenario["id"] for scenario, _ in recording.pairs] == ["fine"]


def test_what_is_no_kernel_is_missing() -> None:
    with LiveKernel(Path("/bin/true")) as live, pytest.raises(Missing, match="does not come up"):
        live.record(SCENARIOS[:1], "live")


@pytest.mark.parametrize("path", ["/nowhere/linux", "/etc/passwd", "/bin"])
def test_a_binary_that_cannot_be_run_is_missing(path: str) -> None:
    with pytest.raises(Missing, match=rf"^{path}: no User-Mode Linux binary"):
        find_uml(Path(path))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_leaves_no_kernel(
    live: LiveKernel, tmp_path: Path, number: signal.Signals
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.conformance", "--live"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TMPDIR": os.fspath(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # A shell in the background would have it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        wait_until(lambda: len(_kernels_in(tmp_path)) > 1, "a kernel with a process")
        process.send_signal(number)
        assert process.wait(20) == {signal.SIGINT: 130}.get(number, -number)
    wait_until(lambda: not _kernels_in(tmp_path), "the end of the kernels")


def _kernels_in(folder: Path) -> list[int]:
    """Return the processes of kernels whose files are in a folder."""
    word = f"uml_dir={folder}/"
    running = psutil.process_iter(["cmdline"])
    return [p.pid for p in running if any(w.startswith(word) for w in p.info["cmdline"] or ())]
