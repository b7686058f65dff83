# SPDX-License-Identifier: MIT
"""Places for mounts: of an ordinary user, and on a disk that is soon full."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mount import require_root
from tests.mount.room import Room


@pytest.fixture
def room(binding: str) -> Iterator[Room]:
    """Return a place in a folder that every user may enter."""
    require_root()
    with tempfile.TemporaryDirectory(prefix="fakeproc-test-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        yield Room(Path(folder), binding)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of 64 KiB."""
    require_root()
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", "-l", path], check=True)
