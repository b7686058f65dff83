# SPDX-License-Identifier: MIT
"""`fakeproc mount -f` that holds its machine against what must be true, when the mount is gone.

    python -m tests.mount.checked_server [options of fakeproc mount] MOUNT

On SIGUSR1 it says what its threads are doing.  LOAD_FAULT in the environment lets it go wrong,
to see that somebody notices: ``eio``, ``leak``, ``hang`` or ``unsound``.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import fakeproc.cli
from fakeproc.journal import Journal, read_file
from fakeproc.mount import MountOptions, serve_alone
from fakeproc.procfs.control import CONTROL_FILES
from fakeproc.procfs.session import Session
from fakeproc.procfs.tree import Procfs
from tests.state import dump
from tests.test_conservation import require_agreement, require_sound

FAULT_VARIABLE = "LOAD_FAULT"

_LEAK_BYTES = 1 << 25
_leaked: list[bytearray] = []


def serve_checked(
    procfs: Procfs, path: Path, options: MountOptions, *, journal: Journal | None
) -> None:
    """Serve; then require that the machine is sound, and that its journal makes it again."""
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    if os.environ.get(FAULT_VARIABLE) == "unsound":
        procfs.machine.memory.counters.pgmajfault = -1_000_000
    serve_alone(procfs, path, options, journal=journal)
    require_sound(procfs.machine, forked=True)
    require_agreement(procfs.machine, {})
    if journal is not None:
        replayed = read_file(Path(journal.contents.name)).replayed()
        assert dump(replayed) == dump(procfs)


# -- Faults ------------------------------------------------------------------------


def _raise(session: Session) -> str:
    raise RuntimeError("a fault that was asked for")


def _leak(session: Session) -> str:
    _leaked.append(bytearray(os.urandom(_LEAK_BYTES)))
    return ""


def _hang(session: Session) -> str:
    time.sleep(3600)
    return ""


_RENDER = {"eio": _raise, "leak": _leak, "hang": _hang}


def main() -> int:
    """Mount as the command line says; return the exit status."""
    render = _RENDER.get(os.environ.get(FAULT_VARIABLE, ""))
    if render is not None:
        # It is read after each OOM.
        row = CONTROL_FILES["oom_trigger"]
        CONTROL_FILES["oom_trigger"] = replace(row, render=render)
    fakeproc.cli.serve_alone = serve_checked  # type: ignore[assignment, attr-defined]
    return fakeproc.cli.main(["mount", "-f", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
