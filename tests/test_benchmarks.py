# SPDX-License-Identifier: MIT
"""The benchmarks work, and their contenders take turns; how fast anything is is not tested."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.interleave import Absent, Contender, Spread, compare, take_turns
from benchmarks.population import OPERATIONS
from benchmarks.report import Table
from fakeproc.scenario.load import builtin_names
from tests.conftest import require_fuse

REPOSITORY = Path(__file__).parents[1]


def counted(name: str, log: list[str], figures: list[float]) -> Contender:
    """Return a contender that notes its turns and has these figures in store."""

    def turn() -> float:
        log.append(name)
        return figures.pop(0)

    return Contender(name, turn)


def test_contenders_take_turns_and_the_first_round_does_not_count() -> None:
    log: list[str] = []
    contenders = [counted("a", log, [99, 1, 3]), counted("b", log, [99, 2, 2])]

    assert take_turns(contenders, rounds=2) == {"a": Spread((1, 3)), "b": Spread((2, 2))}
    assert "".join(log) == "ababab"


def test_ratios_are_taken_within_a_round() -> None:
    """The machine is ten times as slow in the last round, and the ratio is the same."""
    contenders = [
        counted("ours", [], [99, 50, 50, 5]),
        counted("theirs", [], [99, 100, 100, 10]),
    ]
    table = compare("title", "per s", contenders, against="theirs", rounds=3)

    assert list(table.rows[0]) == ["ours", "50", "5..50", "0.50", "0.50..0.50"]
    assert not table.missing


def test_a_row_says_what_is_missing() -> None:
    ours, lxcfs = Contender("ours", lambda: 1.0), Absent("lxcfs", "lxcfs is not installed")
    table = compare("title", "per s", [ours, lxcfs], against="lxcfs", rounds=1)

    assert table.missing
    assert list(table.rows[1]) == ["lxcfs", "-", "-", "-", "missing: lxcfs is not installed"]
    assert list(table.rows[0])[3:] == ["-", "-"], "there is nothing to compare it with"


def test_tables_for_the_documents() -> None:
    table = Table("Some figures", ("", "per s"), [["fakeproc", "12"], ["C", "345"]])
    assert table.rst() == (
        "Some figures:\n\n"
        "========  =====\n"
        "\\         per s\n"
        "========  =====\n"
        "fakeproc  12\n"
        "C         345\n"
        "========  =====\n"
    )


def quick_run(*sections: str) -> subprocess.CompletedProcess[str]:
    """Run these sections; a status of 1 says that something is missing to compare with."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", *sections],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert not done.stderr
    assert done.returncode == ("missing: " in done.stdout)
    return done


def test_quick_run() -> None:
    require_fuse()
    if shutil.which("cc") is None:
        pytest.skip("cc is not installed: the client cannot be built (benchmarks/run installs it)")
    done = quick_run("rate")
    assert done.stdout.startswith("Measured with ``benchmarks/run --quick rate`` at ")
    for name in ("fakeproc, fusepy", "fakeproc, mfusepy", "real /proc"):
        rates = re.findall(rf"{name} +([\d,.]+) +[\d,.]+\.\.[\d,.]+  ", done.stdout)
        assert len(rates) == 2, done.stdout
        assert all(float(rate.replace(",", "")) > 0 for rate in rates)


def test_quick_run_of_the_start() -> None:
    require_fuse()
    done = quick_run("start")
    for name in ("fakeproc, as installed", "fakeproc, no .pyc files", "python -c pass"):
        assert re.search(rf"^ *{name} +[\d.]+ ", done.stdout, re.MULTILINE), done.stdout


def test_quick_run_without_a_mount() -> None:
    """Each row has figures: machines of two sizes, and all built-in scenarios."""
    done = quick_run("headless", "scale")
    for name in builtin_names():
        assert re.search(rf"^ *{name} +[\d,.e-]+ ", done.stdout, re.MULTILINE), done.stdout
    grown = re.findall(r"^ *(?:1|10),000 +([\d,.e-]+) ", done.stdout, re.MULTILINE)
    assert len(grown) == 2 * (1 + len(OPERATIONS)), done.stdout
    assert all(float(figure.replace(",", "")) > 0 for figure in grown)
