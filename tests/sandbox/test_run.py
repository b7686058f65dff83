# SPDX-License-Identifier: MIT
"""`fakeproc run` as people and scripts use it: exit codes, signals, files and time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require_fuse, wait_until
from tests.sandbox.runs import begun, nothing_left, run, run_line, sh

_LIMIT_S = 20.0
_REFUSED = 1

_WAIT = "while :; do sleep 0.05; done"


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path) -> Iterator[None]:
    require_fuse()
    folder = tmp_path / "stock"
    folder.mkdir()
    with nothing_left(folder):
        yield


# -- How it ends -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("true", 0),
        ("exit 3", 3),
        ("kill -TERM $$", 128 + signal.SIGTERM),
        ("kill -KILL $$", 128 + signal.SIGKILL),
        # Its process group: not that of fakeproc.
        ("kill -KILL 0", 128 + signal.SIGKILL),
    ],
)
def test_exit_code_is_that_of_the_command(script: str, code: int) -> None:
    done = sh(script)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


@pytest.mark.parametrize(
    ("command", "code", "why"),
    [
        ("/nonexistent", 127, "No such file or directory"),
        ("no-such-program", 127, "No such file or directory"),
        ("/etc/passwd", 126, "Permission denied"),
    ],
)
def test_command_that_cannot_be_run(command: str, code: int, why: str) -> None:
    done = run("--", command)
    assert done.returncode == code
    assert done.stderr == f"fakeproc: {command}: cannot be run: {why}.\n"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--scenario", "no-such"], "'no-such'"),
        (["--scenario", "/nonexistent.toml"], "/nonexistent.toml"),
        (["--duration", "soon"], "soon"),
        (["--speed", "-1"], "speed -1"),
        (["--report", "/nonexistent/report"], "/nonexistent/report"),
    ],
)
def test_refusal_is_a_sentence_and_runs_nothing(options: list[str], named: str) -> None:
    done = run(*options, "--", "echo", "run")
    assert (done.returncode, done.stdout) == (_REFUSED, "")
    assert done.stderr.startswith("fakeproc: ")
    assert done.stderr.count("\n") == 1
    assert named in done.stderr


def test_unknown_view_is_wrong_usage() -> None:
    done = run("--view", "both", "--", "echo", "run")
    assert (done.returncode, done.stdout) == (2, "")


def test_duration_ends_the_command_well() -> None:
    done = run("-q", "--duration", "2s", "--speed", "20", "--", "sleep", "1000")
    assert (done.returncode, done.stderr) == (0, "")


def test_duration_ends_a_command_that_ignores_sigterm() -> None:
    script = f"trap '' TERM; echo ignores; {_WAIT}"
    done = sh(script, "--duration", "1s", "--speed", "20")
    assert (done.returncode, done.stdout) == (0, "ignores\n")


def test_background_children_end_with_the_command() -> None:
    # `nothing_left` looks for them.
    assert sh("sleep 1000 & setsid sleep 1000 & exit 4").returncode == 4


# -- What it prints ----------------------------------------------------------------------


def test_report_is_json(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    done = run("--report", file, "--", "sh", "-c", "exit 5")
    report = json.loads(file.read_text())
    assert done.returncode == 5
    assert report["command"] == ["sh", "-c", "exit 5"]
    assert report["exit_status"] == 5
    assert report["kills"] == []


def test_summary_goes_to_stderr_unless_quiet() -> None:
    done = run("--", "echo", "out")
    assert done.stdout == "out\n"
    assert "Nobody was killed" in done.stderr
    assert run("-q", "--", "echo", "out").stderr == ""


def test_report_names_who_was_killed(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    sh("kill -9 100013", "--report", file)
    [kill] = json.loads(file.read_text())["kills"]
    assert (kill["victim"]["pid"], kill["victim"]["comm"]) == (100013, "nightly-job")


# -- What the command has ----------------------------------------------------------------


def test_standard_input_and_output_are_those_of_fakeproc() -> None:
    done = run("-q", "--", "sh", "-c", "cat; echo err >&2", given="one\ntwo\n")
    assert (done.stdout, done.stderr) == ("one\ntwo\n", "err\n")


def test_environment_and_working_directory_are_kept(tmp_path: Path) -> None:
    done = run(
        *("-q", "--", "sh", "-c", 'pwd; echo "$KEPT"; echo "$FAKEPROC"'),
        cwd=tmp_path,
        env={**os.environ, "KEPT": "as it was", "PYTHONPATH": os.getcwd()},
    )
    assert done.stdout.splitlines() == [os.fspath(tmp_path), "as it was", "/proc/driver"]


def test_proc_is_the_simulated_one() -> None:
    done = sh("cat /proc/100013/comm /proc/uptime; head -n 1 $FAKEPROC/fakeproc/ps | wc -l")
    name, uptime, lines = done.stdout.splitlines()
    assert name == "nightly-job"
    assert 3600 <= float(uptime.split()[0]) < 3700
    assert lines.strip() == "1"


def test_manual_clock_stands_still_until_it_is_moved() -> None:
    script = """
        cat /proc/uptime
        sleep 0.2
        cat /proc/uptime
        echo +5s > $FAKEPROC/fakeproc/clock
        cat /proc/uptime
    """
    done = sh(script, "--clock", "manual")
    before, later, moved = [float(line.split()[0]) for line in done.stdout.splitlines()]
    assert before == later
    assert moved == before + 5


def test_speed_is_that_of_the_clock() -> None:
    script = "cut -d' ' -f1 /proc/uptime; sleep 0.2; cut -d' ' -f1 /proc/uptime"
    before, later = map(float, sh(script, "--speed", "100").stdout.split())
    assert later - before >= 19


# -- Signals -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT"])
def test_signal_reaches_the_command(name: str) -> None:
    script = f"trap 'echo got {name}; exit 9' {name}; echo ready; {_WAIT}"
    process = begun(script)
    process.send_signal(signal.Signals[f"SIG{name}"])
    out, errors = process.communicate(timeout=_LIMIT_S)
    assert (process.returncode, out, errors) == (9, f"got {name}\n", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_command_that_ignores_the_signal_is_killed_after_the_grace(number: signal.Signals) -> None:
    process = begun(f"trap '' TERM HUP; sleep 1000 & echo ready; {_WAIT}")
    process.send_signal(number)
    _, errors = process.communicate(timeout=_LIMIT_S)
    assert (process.returncode, errors) == (128 + signal.SIGKILL, "")


def test_command_decides_what_an_interrupt_means() -> None:
    process = begun(f"trap 'echo once more' INT; trap 'exit 6' TERM; echo ready; {_WAIT}")
    assert process.stdout
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "once more\n"
    process.terminate()
    process.communicate(timeout=_LIMIT_S)
    assert process.returncode == 6


def test_ctrl_c_on_a_terminal_reaches_the_command_once() -> None:
    script = f"trap 'echo got' INT; trap 'exit 7' TERM; echo ready; {_WAIT}"
    master, slave = os.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", *run_line("-q", "--", "sh", "-c", script)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    screen = b""

    def shows(text: bytes) -> bool:
        nonlocal screen
        screen += os.read(master, 4096)
        return text in screen

    try:
        wait_until(lambda: shows(b"ready"), "the start")
        os.write(master, b"\x03")
        wait_until(lambda: shows(b"got"), "the interrupt")
        # To the runner only: what it were to pass on of the interrupt would come before this.
        process.terminate()
        assert process.wait(_LIMIT_S) == 7
        assert screen.count(b"got") == 1, screen
    finally:
        os.close(master)
