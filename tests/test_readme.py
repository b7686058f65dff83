# SPDX-License-Identifier: MIT
"""The transcript in README.rst, line by line, in a real shell."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakeproc.mount import BINDING_VARIABLE
from fakeproc.mounts import is_mounted, unmount

README = Path(__file__).parents[1] / "README.rst"
_PROMPT = "$ "
_END = "-- end of output --"


def transcript() -> list[tuple[str, str]]:
    """Return the commands of the transcript, each with the output it shows."""
    text = README.read_text()
    between = text.split(".. transcript begins")[1].split(".. transcript ends")[0]
    steps: list[tuple[str, str]] = []
    for line in between.splitlines():
        if not line.startswith("    "):
            continue
        shown = line.removeprefix("    ")
        if shown.startswith(_PROMPT):
            steps.append((shown.removeprefix(_PROMPT), ""))
        else:
            command, output = steps[-1]
            steps[-1] = (command, output + shown + "\n")
    return steps


def run_in_shell(commands: list[str], folder: Path, env: dict[str, str]) -> list[str]:
    """Run commands in one interactive bash, as a person types them; return each output."""
    lines = "".join(f"{command}\necho '{_END}'\n" for command in commands)
    done = subprocess.run(
        ["bash", "--norc", "--noprofile", "--noediting", "-i"],
        input=lines,
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        start_new_session=True,
    )
    # Without a terminal bash says so first, and at the end it exits.
    output = done.stdout.partition("no job control in this shell\n")[2]
    return output.split(_END + "\n")[: len(commands)]


@pytest.fixture
def environment(tmp_path: Path, binding: str) -> Iterator[dict[str, str]]:
    """Return an environment in which `fakeproc` runs this project; unmount at the end."""
    tools = tmp_path / "bin"
    tools.mkdir()
    command = tools / "fakeproc"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fakeproc "$@"\n')
    command.chmod(0o755)
    path = f"{tools}:{os.environ['PATH']}"
    yield {**os.environ, BINDING_VARIABLE: binding, "PATH": path, "PS1": "", "LC_ALL": "C"}
    if is_mounted(tmp_path / "proc"):
        unmount(tmp_path / "proc")


def test_transcript(tmp_path: Path, environment: dict[str, str]) -> None:
    steps = transcript()
    assert len(steps) > 15
    outputs = run_in_shell([command for command, _ in steps], tmp_path, environment)
    assert list(zip((command for command, _ in steps), outputs, strict=True)) == steps
