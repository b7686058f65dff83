# SPDX-License-Identifier: MIT
"""`fakeproc explain --dmesg`: what it prints, its exit codes, and the example of the README."""

from __future__ import annotations

import io
import json
import shlex
import sys
from pathlib import Path

import pytest

from fakeproc.cli import main
from fakeproc.scenario import load_scenario
from tests.report import IDS, path_of, text_of

ROOT = Path(__file__).parents[2]


def explain(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = main(["explain", *map(str, arguments)])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_what_a_person_reads(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = explain(capsys, "--dmesg", path_of("020"))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[:6] == [
        "kernel: 3.12.0+; judged by the rules of 3.12, known from the text (3.12.0+)",
        "out of memory: the whole machine (global), RAM and swap 15G (3999684 pages)",
        "asked: systemd (1), order 0, 0x200da",
        "logged: bash (26794) was chosen (score 0), sudo (27019) was killed",
        "predicted: bash (26794): the log agrees",
        "why: bash (26794) had the most points: 909 pages of memory + 0 for oom_score_adj 0; the "
        "next, trinity (13744), had 702 points. sudo (27019) died in place of its parent bash "
        "(26794), which was chosen: until 5.0 a child with memory of its own is sacrificed.",
    ]
    assert lines[7].split() == [
        *("pid", "uid", "rss", "swap", "pgtables", "oom_score_adj", "points", "name")
    ]
    assert lines[8].split() == ["26794", "1000", "3128k", "452k", "56k", "0", "909", "bash"]
    assert "  oom_score_adj is -1000: systemd-udevd (219), sshd (350)" in lines


def test_what_is_not_in_the_log_is_not_made_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = "Memory cgroup out of memory: Killed process 63214 (uwsgi) total-vm:8kB, anon-rss:4kB"
    invoked = "uwsgi invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=986"
    log = tmp_path / "log"
    log.write_text(f"[ 7063.247407] {killed}\n[ 7093.543707] {invoked}\n")
    code, out, _ = explain(capsys, "--dmesg", log)
    assert code == 0
    assert [line for line in out.splitlines() if line.startswith(("report ", "out of"))] == [
        "report 1 of 2, line 1",
        "out of memory: the cgroup (not named), limit not in the report",
        "report 2 of 2, line 2",
        "out of memory: the whole machine (global), RAM and swap not in the report",
    ]


@pytest.mark.parametrize("identity", IDS)
def test_every_report_can_be_printed(identity: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = explain(capsys, "--dmesg", path_of(identity), "--swap", "2G")
    assert code == 0
    assert "\nwhy: " in out


def test_the_keys_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = explain(capsys, "--json", "--dmesg", path_of("033"))
    data = json.loads(out)
    keys = "predicted logged agrees reason ranking constraint kernel complete".split()
    assert data.keys() >= set(keys)
    for key in ("predicted", "logged"):
        assert data[key] == {"pid": 4528, "comm": "mysqld", "points": 143340, "score": 279}
    assert (data["agrees"], data["complete"]) == (True, True)
    assert (data["constraint"], data["kernel"]) == ("global", "4.4.0-104-generic")
    assert data["ranking"][0] == {
        "pid": 4528, "comm": "mysqld", "uid": 112, "rss": 142999 * 4096, "swap": 0,
        "pgtables": 341 * 4096, "oom_score_adj": 0, "points": 143340,
    }  # fmt: skip


def test_several_reports_are_a_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "kern.log"
    log.write_text(text_of("033") + text_of("095"))
    _, out, _ = explain(capsys, "--json", "--dmesg", log)
    assert [one["logged"]["pid"] for one in json.loads(out)] == [4528, 996]
    _, out, _ = explain(capsys, "--json", "--dmesg", log, "--report", "2")
    assert json.loads(out)["logged"]["pid"] == 996
    _, out, _ = explain(capsys, "--dmesg", log)
    assert out.startswith("report 1 of 2, line 1\n")
    behind = len(text_of("033").splitlines()) + 1
    assert f"\nreport 2 of 2, line {behind}\n" in out
    # An option is for the reports that it fits.
    code, out, _ = explain(capsys, "--json", "--dmesg", log, "--set", "mysqld=-1000")
    changed = json.loads(out)
    assert code == 0
    assert [one["predicted"]["pid"] for one in changed] == [8403, 996]


def test_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = text_of("063").encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    code, out, _ = explain(capsys, "--json", "--dmesg", "-")
    assert (code, json.loads(out)["logged"]["comm"]) == (0, "python3")


def test_a_scenario_goes_to_standard_output_or_to_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, printed, _ = explain(capsys, "--dmesg", path_of("059"), "--to-scenario")
    target = tmp_path / "report.toml"
    code, out, _ = explain(capsys, "--dmesg", path_of("059"), "--to-scenario", target)
    assert (code, out) == (0, "")
    assert target.read_text() == printed
    assert 18524 in load_scenario(target).processes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dmesg", "/nonexistent"], "/nonexistent: cannot be read: No such file or directory."),
        (["--dmesg", "/"], "/: cannot be read: Is a directory."),
        (["--dmesg", "/dev/null"], "/dev/null: holds no report of the OOM killer."),
        (["--dmesg", path_of("063"), "--report", "2"], "holds 1; accepted are 1 to 1."),
        (["--dmesg", path_of("063"), "--set", "pyton3=1"], "nearest: python3"),
        (["--dmesg", path_of("063"), "--to-scenario", "/nonexistent/x"], "cannot be written"),
        (["--dmesg", path_of("063"), "--", "/mnt"], "/mnt: means nothing beside --dmesg"),
        (["--dmesg", path_of("063"), "--kernels"], "--kernels: means nothing beside --dmesg"),
        (["--dmesg", path_of("063"), "--json", "--to-scenario"], "--json: means nothing beside"),
        (["--set", "a=1"], "--set: goes with --dmesg FILE only."),
        (["--to-scenario"], "--to-scenario: goes with --dmesg FILE only."),
        (["--kernel", "6.1"], "--kernel: goes with --dmesg FILE only."),
        (["--ram", "1G"], "--ram: goes with --dmesg FILE only."),
        (["--report", "1"], "--report: goes with --dmesg FILE only."),
    ],
)
def test_refusals_are_one_sentence_and_exit_code_1(
    arguments: list[str | Path], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = explain(capsys, *arguments)
    assert (code, out) == (1, "")
    assert err.startswith("fakeproc: ")
    assert err.count("\n") == 1
    assert message in err


def test_the_example_of_the_readme(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command between the marks, with the first lines of what it prints."""
    text = (ROOT / "README.rst").read_text()
    between = text.split(".. report begins")[1].split(".. report ends")[0]
    steps = between.split("    $ fakeproc ")[1:]
    assert steps
    monkeypatch.chdir(ROOT)
    for step in steps:
        command, *shown = [line.removeprefix("    ") for line in step.rstrip().splitlines()]
        main(shlex.split(command.partition(" | ")[0]))
        printed = capsys.readouterr().out.splitlines()
        assert [line for line in printed if line in shown] == [line for line in shown if line]
