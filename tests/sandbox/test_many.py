# SPDX-License-Identifier: MIT
"""Many processes, and machines in which much happens: none of it disturbs the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakeproc.sandbox import Sandbox
from tests.conftest import require_fuse
from tests.sandbox.runs import nothing_left, sh

_MANY = 2000


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path) -> Iterator[None]:
    require_fuse()
    folder = tmp_path / "stock"
    folder.mkdir()
    with nothing_left(folder):
        yield


def _no_bug(sandbox: Sandbox) -> None:
    stats = sandbox.read("fakeproc/stats")
    assert "internal_errors 0\n" in stats, stats


def _adjustments(sandbox: Sandbox, name: str) -> list[str]:
    """Return oom_score_adj of those with this name."""
    heading, *rows = map(str.split, sandbox.read("fakeproc/ps").splitlines())
    return [row[heading.index("oom_score_adj")] for row in rows if row[-1] == name]


def test_two_thousand_processes(tmp_path: Path) -> None:
    scenario = tmp_path / "many.toml"
    process = f'[[process]]\nname = "worker"\ncount = {_MANY}\nrss = "1M"\n'
    scenario.write_text(f'version = 1\n[machine]\nram = "16G"\n{process}')
    script = """
        cat /proc/[0-9]*/comm | grep -c worker
        kill -9 100100
        while kill -0 100100 2> /dev/null; do sleep 0.01; done
        cat /proc/[0-9]*/comm | grep -c worker
        grep internal_errors $FAKEPROC/fakeproc/stats
    """
    done = sh(script, "--scenario", scenario)
    assert done.stdout.splitlines() == [str(_MANY), str(_MANY - 1), "internal_errors 0"]


def test_fork_storm() -> None:
    with Sandbox("fork-storm", speed="10") as sandbox:
        sandbox.run(["sleep", "2"])
        listed = sandbox.run(["sh", "-c", "cat /proc/[0-9]*/comm"]).stdout
        assert "apache2" in listed
        _no_bug(sandbox)


def test_stuck_victim() -> None:
    with Sandbox("stuck-victim", speed="10") as sandbox:
        sandbox.wait_until(lambda: "oom_reaper: unable to reap" in sandbox.read("fakeproc/kmsg"))
        # It has been killed, but it cannot end yet.
        assert sandbox.run(["sh", "-c", "kill -0 100100"]).returncode == 0
        sandbox.wait_until(lambda: "nfs-client" not in sandbox.read("fakeproc/ps"))
        assert sandbox.run(["sh", "-c", "kill -0 100100"]).returncode == 1
        _no_bug(sandbox)


def test_reboot() -> None:
    with Sandbox() as sandbox:
        guest = sandbox.popen(["sleep", "1000"])
        sandbox.run(["sh", "-c", "kill -9 100013"])
        sandbox.wait_until(lambda: "nightly-job" not in sandbox.read("fakeproc/ps"))
        sandbox.control("reboot")
        assert sandbox.run(["sh", "-c", "kill -0 100013 && cat /proc/100013/comm"]).stdout
        assert guest.poll() is None
        _no_bug(sandbox)


def test_guest_that_the_kernel_chooses() -> None:
    with Sandbox() as sandbox:
        choose = "echo 1000 > /proc/self/oom_score_adj; exec sleep 1000"
        guest = sandbox.popen(["sh", "-c", choose])
        sandbox.wait_until(lambda: _adjustments(sandbox, "sleep") == ["1000"])
        sandbox.write("fakeproc/oom_trigger", "1")
        assert guest.wait(20) == -9
        _no_bug(sandbox)
