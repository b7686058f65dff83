# SPDX-License-Identifier: MIT
"""The options of earlyoom in a sandbox: each changes who dies, or how, as its manual says."""

from __future__ import annotations

import re
from pathlib import Path

from fakeproc.sandbox import Sandbox
from tests.conftest import wait_until
from tests.sandbox.tools.conftest import (
    EARLYOOM,
    Started,
    assert_relieved,
    at_work,
    living,
    pid_of,
)
from tests.sandbox.tools.scenarios import grow, small

FAMILY = """
[machine]
ram = "1G"
swap = "0"

[[process]]
name = "bystander"
uid = 1000
rss = "50M"

[[process]]
name = "make"
uid = 1000
rss = "30M"
"""


def _with_children(sandbox_of: Started) -> Sandbox:
    """Return a machine with a process and its two children, which are in its group."""
    sandbox = sandbox_of(FAMILY)
    for name in ("compiler", "linker"):
        sandbox.control(f"clone parent={pid_of(sandbox, 'make')} name={name}")
    return sandbox


def _victim(sandbox_of: Started, folder: Path, *options: str, growing: str = "hog") -> str:
    """Let a process grow until memory is short; return who has died."""
    sandbox = sandbox_of(small())
    with at_work(sandbox, EARLYOOM, folder, *options) as daemon:
        before = living(sandbox)
        grow(sandbox, growing, "580M")
        wait_until(lambda: not before.keys() <= living(sandbox).keys(), "a kill")
        [victim] = (name for pid, name in before.items() if pid not in living(sandbox))
        daemon.wait_for_reports()
        assert_relieved(sandbox, victim, before)
    return victim


def test_prefer(sandbox_of: Started, tmp_path: Path) -> None:
    """A name that matches gets 300 more; here that is enough."""
    assert _victim(sandbox_of, tmp_path, "--prefer", "^bystander$") == "bystander"


def test_prefer_that_matches_nobody(sandbox_of: Started, tmp_path: Path) -> None:
    assert _victim(sandbox_of, tmp_path, "--prefer", "^bystand$") == "hog"


def test_avoid(sandbox_of: Started, tmp_path: Path) -> None:
    """A name that matches gets 300 less."""
    assert _victim(sandbox_of, tmp_path, "--avoid", "^hog$") == "bystander"


def test_sigterm_above_the_second_limit(sandbox_of: Started, tmp_path: Path) -> None:
    sandbox = sandbox_of(small())
    with at_work(sandbox, EARLYOOM, tmp_path, "-m", "25,2", "-s", "100,100") as daemon:
        grow(sandbox, "hog", "580M")
        wait_until(lambda: "hog" not in living(sandbox).values(), "a kill")
        assert daemon.signals == ["SIGTERM"]
    [kill] = sandbox.report()["kills"]
    assert [signal["name"] for signal in kill["signals"]] == ["SIGTERM"]


def test_sigkill_below_the_second_limit(sandbox_of: Started, tmp_path: Path) -> None:
    sandbox = sandbox_of(small())
    with at_work(sandbox, EARLYOOM, tmp_path, "-m", "25,25", "-s", "100,100") as daemon:
        grow(sandbox, "hog", "580M")
        wait_until(lambda: "hog" not in living(sandbox).values(), "a kill")
        assert daemon.signals == ["SIGKILL"]
    [kill] = sandbox.report()["kills"]
    assert [signal["name"] for signal in kill["signals"]] == ["SIGKILL"]


def test_spares_all_while_swap_is_free(sandbox_of: Started, tmp_path: Path) -> None:
    """Both must be short; -s 10 is the default."""
    sandbox = sandbox_of(small())
    with at_work(sandbox, EARLYOOM, tmp_path, "-m", "20", "-s", "10") as daemon:
        before = living(sandbox)
        grow(sandbox, "hog", "580M")
        daemon.wait_for_reports()
        assert living(sandbox) == before
        sandbox.control(f"set {pid_of(sandbox, 'bystander')} swap=580M")
        wait_until(lambda: not before.keys() <= living(sandbox).keys(), "a kill")
        # What is in swap counts: 250M and 580M are more than 580M.
        assert_relieved(sandbox, "bystander", before)
        daemon.wait_for(r"low memory! at or below SIG(TERM|KILL) limits")


def test_kills_a_whole_group(sandbox_of: Started, tmp_path: Path) -> None:
    sandbox = _with_children(sandbox_of)
    with at_work(sandbox, EARLYOOM, tmp_path, "-g") as daemon:
        before = living(sandbox)
        group = pid_of(sandbox, "make")
        grow(sandbox, "compiler", "650M")
        wait_until(lambda: len(living(sandbox)) <= len(before) - 3, "three deaths")
        daemon.wait_for_reports()
        died = [name for pid, name in before.items() if pid not in living(sandbox)]
        assert died == ["make", "compiler", "linker"]
        daemon.wait_for(rf"killing whole process group {group} \(-g flag is active\)")
    [kill] = sandbox.report()["kills"]
    assert kill["victim"]["comm"] == "compiler"
    beside = {(other["comm"], other["why"]) for other in kill["collateral"]}
    assert beside == {("make", "process group"), ("linker", "process group")}


def test_kills_only_the_victim_of_a_group(sandbox_of: Started, tmp_path: Path) -> None:
    """Without -g: the counterpart of the test above."""
    sandbox = _with_children(sandbox_of)
    with at_work(sandbox, EARLYOOM, tmp_path) as daemon:
        before = living(sandbox)
        grow(sandbox, "compiler", "650M")
        wait_until(lambda: "compiler" not in living(sandbox).values(), "a kill")
        daemon.wait_for_reports()
        assert_relieved(sandbox, "compiler", before)


def test_calls_a_script_for_each_kill(sandbox_of: Started, tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = tmp_path / "script"
    script.write_text(f'#!/bin/sh\necho "$EARLYOOM_PID $EARLYOOM_NAME $EARLYOOM_UID" >> {told}\n')
    script.chmod(0o755)
    sandbox = sandbox_of(small())
    pid = pid_of(sandbox, "hog")
    with at_work(sandbox, EARLYOOM, tmp_path, "-n", "-N", str(script)) as daemon:
        grow(sandbox, "hog", "580M")
        wait_until(lambda: told.exists() and told.read_text().endswith("\n"), "a call")
        assert told.read_text() == f"{pid} hog 1000\n"
        assert "Notifying through D-Bus" in daemon.said


def test_protects_itself(sandbox_of: Started, tmp_path: Path) -> None:
    """Its own score is simulated, and so is that of the other processes beside it."""
    sandbox = sandbox_of(small())
    with at_work(sandbox, EARLYOOM, tmp_path, "-p"):
        pid = pid_of(sandbox, "earlyoom")
        assert sandbox.read(f"{pid}/oom_score_adj") == "-100\n"


def test_says_how_large_the_machine_is(sandbox_of: Started, tmp_path: Path) -> None:
    sandbox = sandbox_of(small())
    with at_work(sandbox, EARLYOOM, tmp_path) as daemon:
        assert re.search(r"^mem total: 1024 MiB, swap total:  600 MiB$", daemon.said, re.M)
