# SPDX-License-Identifier: MIT
"""Many clients at one mount: a few seconds of `tests.mount.load`, and that it can fail."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from fakeproc.mounts import find_mounts, unmount
from tests.conftest import require_fuse
from tests.mount import require_root
from tests.mount.checked_server import FAULT_VARIABLE


@pytest.fixture
def folder() -> Path:
    """Return where the programs make their mounts: in memory, as the journal is on a disk."""
    require_fuse()
    require_root()
    return Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(tempfile.gettempdir())


def load(folder: Path, *options: str, fault: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the program with these options."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        try:
            return subprocess.run(
                [sys.executable, "-m", "tests.mount.load", *options],
                env={**os.environ, "TMPDIR": own} | ({FAULT_VARIABLE: fault} if fault else {}),
                cwd=Path(__file__).parents[2],
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
        finally:
            for path in find_mounts():
                if path.is_relative_to(own):
                    unmount(path)


@pytest.mark.parametrize(
    "options",
    [
        ("--binding", "mfusepy", "--journal"),
        ("--binding", "fusepy", "--real-time"),
    ],
    ids=" ".join,
)
def test_many_clients_of_all_kinds_find_nothing_wrong(
    folder: Path, options: tuple[str, ...]
) -> None:
    """In full: ``python -m tests.mount.load``, and with ``--real-time --seconds 120``.

    In so short a time the memory still grows, as the log of the kernel and the caches fill up.
    """
    short = ("--clients", "24", "--seconds", "4", "--settle", "2", "--growth", "25")
    done = load(folder, *options, *short)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("fault", "seconds", "said"),
    [
        ("eio", "1", ("[Errno 5]", "a fault that was asked for")),
        ("hang", "1", ("hangs in",)),
        ("leak", "3", ("memory: grew by",)),
        ("unsound", "1", ("the server: ", "AssertionError")),
    ],
)
def test_the_program_notices_a_server_that_goes_wrong(
    folder: Path, fault: str, seconds: str, said: tuple[str, ...]
) -> None:
    short = ("--clients", "6", "--seconds", seconds, "--settle", "0.5", "--growth", "50")
    done = load(folder, *short, "--hang", "2", fault=fault)
    assert done.returncode == 1, done.stderr
    assert all(part in done.stdout for part in said), done.stdout
