# SPDX-License-Identifier: MIT
"""Every recording in tests/goldens agrees, on both bindings; and the runner can tell."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fakeproc.mount import BINDING_VARIABLE
from tests.conformance.goldens import known, profile_name

REPOSITORY = Path(__file__).parents[2]
GOLDENS = REPOSITORY / "tests" / "goldens"
KERNELS, GROUPS = known(GOLDENS)


def conformance(binding: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command behind scripts/conformance."""
    return subprocess.run(
        [sys.executable, "-m", "tests.conformance", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, BINDING_VARIABLE: binding},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_recording_agrees(binding: str, kernel: str) -> None:
    done = conformance(binding, "--goldens", os.fspath(GOLDENS), "--kernel", kernel)
    assert done.returncode == 0, done.stdout + done.stderr
    index = json.loads((GOLDENS / "index.json").read_text())[kernel]
    rows = {row.split()[1]: row.split()[2:5] for row in done.stdout.splitlines()[1:]}
    expected = {g: [str(n["complete"]), str(n["complete"]), "0"] for g, n in index.items()}
    assert rows == expected


def test_groups_are_all_there() -> None:
    assert set(GROUPS) >= {
        "parse", "fd", "mapping", "perm", "sharing", "random_writes", "score",
        "oom_select", "oom_tie", "oom_share", "oom_children", "oom_sysctl", "oom_dying",
        "oom_mixed", "oom_hog", "memcg", "random_tables", "random_dying", "random_hogs",
    }  # fmt: skip
    assert set(KERNELS) >= {"4.7-rc3", "4.7-rc3-oomv2", "4.8.15", "4.9", "6.1", "6.18"}


@pytest.fixture
def one_recording(tmp_path: Path) -> Path:
    """Return a folder that holds one recording only, as another project may have it."""
    folder = tmp_path / "recordings"
    (folder / "scenarios").mkdir(parents=True)
    (folder / "4.9").mkdir()
    shutil.copy(GOLDENS / "scenarios" / "mapping.json", folder / "scenarios")
    shutil.copy(GOLDENS / "4.9" / "mapping.json", folder / "4.9")
    (folder / "index.json").write_text(json.dumps({"4.9": {"mapping": {"scenarios": 3}}}))
    return folder


def test_a_changed_value_is_a_difference(binding: str, one_recording: Path) -> None:
    file = one_recording / "4.9" / "mapping.json"
    text = file.read_text()
    assert text.count('"-999\\n"') == 1
    file.write_text(text.replace('"-999\\n"', '"-998\\n"'))
    done = conformance(binding, "--goldens", os.fspath(one_recording))
    assert done.returncode == 1
    assert done.stdout.splitlines()[1].split()[2:5] == ["3", "2", "1"]
    assert "recorded:" in done.stdout
    assert "-998" in done.stdout


def test_another_kernel_differs(binding: str, one_recording: Path) -> None:
    """4.9 prints oom_adj 16 for 942 to 999, 6.1 does not."""
    (one_recording / "4.9").rename(one_recording / "6.1")
    (one_recording / "index.json").write_text(json.dumps({"6.1": {"mapping": {}}}))
    assert conformance(binding, "--goldens", os.fspath(one_recording)).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kernel", "3.0"], "3.0: not there; accepted: 4.7-rc3,"),
        (["--group", "nothing"], "nothing: not there; accepted: parse,"),
        (["--goldens", "/nowhere"], "/nowhere: no folder of recordings"),
    ],
)
def test_what_is_not_there_is_a_usage_error(arguments: list[str], message: str) -> None:
    done = conformance("fusepy", "--goldens", os.fspath(GOLDENS), *arguments)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize(
    ("kernel", "profile"),
    [
        ("4.7-rc3", "4.7"),
        ("4.7-rc3-oomv2", "series-as-posted"),
        ("4.8.15", "4.8"),
        ("5.12", "5.10"),
        ("6.18", "6.18"),
        ("6.1-live", "6.1"),
    ],
)
def test_profile_of_a_folder(kernel: str, profile: str) -> None:
    assert profile_name(kernel) == profile
