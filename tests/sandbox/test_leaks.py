# SPDX-License-Identifier: MIT
"""However a sandbox ends, nothing of it is left, and nothing outside of it is hit.

FAKEPROC_RUNS says how many sandboxes are made and interrupted.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import require_fuse
from tests.sandbox.runs import begun, nothing_left, run_line, sh

_RUNS = int(os.environ.get("FAKEPROC_RUNS", "12"))
_SIDE_BY_SIDE = 4
_LONGEST_LIFE_S = 1.0
_LIMIT_S = 20.0
_SERVER_HAS_DIED = 1

_COMMAND = "sleep 1000 & kill -9 100013; echo ready; exec sleep 1000"


@pytest.fixture(autouse=True)
def stock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    require_fuse()
    folder = tmp_path / "stock"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", os.fspath(folder))
    with nothing_left(folder):
        yield


# -- Who may be killed at any time -------------------------------------------------------


def _runner(pid: int) -> int:
    return pid


def _server(pid: int) -> int:
    [server] = _children(pid)
    return server


def _supervisor(pid: int) -> int:
    return next(child for child in _children(_server(pid)) if _is_inside(child))


def _children(pid: int) -> list[int]:
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(word) for children in lists for word in children.read_text().split()]


def _is_inside(pid: int) -> bool:
    return os.readlink(f"/proc/{pid}/ns/pid") != os.readlink("/proc/self/ns/pid")


_ROLES: list[Callable[[int], int]] = [_runner, _server, _supervisor]


@pytest.mark.parametrize("role", _ROLES)
def test_killing_a_part_ends_all(role: Callable[[int], int]) -> None:
    process = begun(_COMMAND)
    os.kill(role(process.pid), signal.SIGKILL)
    _, errors = process.communicate(timeout=_LIMIT_S)
    assert "Traceback" not in errors, errors
    if role is not _runner:
        assert process.returncode == _SERVER_HAS_DIED
        # The command's own last words may come before: its calls are not answered any more.
        assert errors.endswith("fakeproc: The sandbox's server has died.\n"), errors


def test_stopped_runner_that_is_killed_leaves_nothing() -> None:
    process = begun(_COMMAND)
    process.send_signal(signal.SIGSTOP)
    process.kill()
    process.communicate(timeout=_LIMIT_S)


def test_interrupted_at_any_moment() -> None:
    chance = random.Random(6)
    for number in range(_RUNS):
        _interrupted_run(chance.uniform(0, _LONGEST_LIFE_S), chance, number)


def test_several_at_once() -> None:
    # Each kills its own: what it waits for does not come from another one's.
    script = "kill -9 100013; while kill -0 100013 2> /dev/null; do sleep 0.01; done; exit 8"
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        for done in pool.map(sh, [script] * _SIDE_BY_SIDE):
            assert (done.returncode, done.stdout) == (8, "")


def _interrupted_run(life_s: float, chance: random.Random, number: int) -> None:
    """Run one to its end, or interrupt it by one of three signals to one of its parts."""
    process = subprocess.Popen(
        run_line("-q", "--", "sh", "-c", _COMMAND if number % 3 else "true"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    if number % 3:
        with suppress(subprocess.TimeoutExpired):
            # A moment of its life, not a wait for something.
            process.wait(life_s)
        number_sent = chance.choice([signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
        role = chance.choice(_ROLES) if number_sent == signal.SIGKILL else _runner
        try:
            os.kill(role(process.pid), number_sent)
        except (OSError, ValueError, StopIteration):
            # That part is not there yet, or not any more.
            process.kill()
    try:
        _, errors = process.communicate(timeout=_LIMIT_S)
    except subprocess.TimeoutExpired:
        # Python itself may lose a SIGINT while it imports, and says so; a person presses again.
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=_LIMIT_S)
        assert b"Exception ignored" in errors, errors.decode()
        return
    if process.returncode > 0:
        assert b"Traceback" not in errors, errors.decode()


# -- Nobody outside is hit ---------------------------------------------------------------


@pytest.fixture
def sentinels() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes outside, each the leader of a process group."""
    made = [subprocess.Popen(["sleep", "1000"], start_new_session=True) for _ in range(5)]
    try:
        yield made
    finally:
        for process in made:
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    "script",
    [
        "for pid in $PIDS; do kill -9 $pid; done",
        "kill -9 $PIDS; kill -9 -1",
        "for pid in $PIDS; do kill -TERM $pid; done",
        "kill -9 -1",
        "pkill -9 victim",
        "exec pkill -9 .",
    ],
)
def test_processes_outside_with_the_same_pids_live_on(
    script: str,
    sentinels: list[subprocess.Popen[bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pids = [sentinel.pid for sentinel in sentinels]
    scenario, report = tmp_path / "scenario.toml", tmp_path / "report.json"
    scenario.write_text("version = 1\n" + "".join(map(_victim, pids)))
    monkeypatch.setenv("PIDS", " ".join(map(str, pids)))
    sh(script, "--scenario", scenario, "--report", report)
    killed = {kill["victim"]["pid"] for kill in json.loads(report.read_text())["kills"]}
    assert killed >= set(pids)
    assert [sentinel.poll() for sentinel in sentinels] == [None] * len(sentinels)


def _victim(pid: int) -> str:
    return f'[[process]]\nname = "victim"\npid = {pid}\nrss = "1M"\n'
