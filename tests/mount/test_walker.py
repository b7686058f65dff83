# SPDX-License-Identifier: MIT
"""Every file of a mount under many workers at once: a few seconds of `tests.mount.walker`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from fakeproc.mount import BINDING_VARIABLE
from tests.mount import require_root


def test_many_workers_do_all_they_can_with_every_file(tmp_path: Path, binding: str) -> None:
    """For a minute: ``python -m tests.mount.walker FOLDER 60 SEED``."""
    require_root()
    done = subprocess.run(
        [sys.executable, "-m", "tests.mount.walker", tmp_path, "5", "1"],
        env={**os.environ, BINDING_VARIABLE: binding},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
