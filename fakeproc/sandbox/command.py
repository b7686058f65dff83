# SPDX-License-Identifier: MIT
"""`fakeproc run`: a command in a sandbox, and what came of it."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from fakeproc.output import Output
from fakeproc.sandbox.sandbox import Sandbox, SandboxProcess

_LOOK_S = 0.05
"""How soon a signal to us is passed on."""

_GRACE_S = 2.0
"""How long a command may take to end when it has been told to."""


class _Signals:
    """The signals that somebody sends to us, to be passed on to the command."""

    def __init__(self) -> None:
        self._waiting: list[int] = []
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, self._take)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self._waiting.append(number)

    def taken(self) -> list[int]:
        """Return those since the last time."""
        taken, self._waiting = self._waiting, []
        return taken


def run_command(
    sandbox: Sandbox, command: Sequence[str], report: Path | None, *, quiet: bool
) -> int:
    """Run a command in a new sandbox; return its exit code, or what a shell makes of it.

    A command that is ended because the sandbox has lasted as long as it was to gives 0.
    """
    file = Output(report) if report is not None else None
    signals = _Signals()
    with sandbox:
        with _terminal() as foreground:
            process = sandbox.popen(command, foreground=foreground)
            _wait(sandbox, process, signals)
        if process.failure:
            raise CannotRun(process.returncode or 0, process.failure)
        status = 0 if sandbox.is_over else _as_a_shell_has_it(process.returncode or 0)
        if not quiet:
            sys.stdout.flush()
            sys.stderr.write(sandbox.summary(command, status))
        if file is not None:
            file.write(json.dumps(sandbox.report(command, status), indent=1) + "\n")
    return status


class CannotRun(Exception):
    """The command cannot be run; a sentence says why, and ``code`` is what a shell gives."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


def _as_a_shell_has_it(code: int) -> int:
    return code if code >= 0 else 128 - code


@contextmanager
def _terminal() -> Iterator[bool]:
    """Say whether the command is to have the terminal; take it back at the end."""
    try:
        foreground = os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        foreground = False
    try:
        yield foreground
    finally:
        if foreground:
            # Whoever is in the background would be stopped for it.
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            with suppress(OSError):
                os.tcsetpgrp(0, os.getpgrp())


def _wait(sandbox: Sandbox, process: SandboxProcess, signals: _Signals) -> None:
    """Wait for the command's end; pass on signals, and end it when it is time."""
    kill_at_s = math.inf
    while process.returncode is None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK_S)
        for number in signals.taken():
            process.send_signal(number)
            if number != signal.SIGINT:
                kill_at_s = min(kill_at_s, time.monotonic() + _GRACE_S)
        if sandbox.is_over and kill_at_s == math.inf:
            process.terminate()
            kill_at_s = time.monotonic() + _GRACE_S
        if time.monotonic() > kill_at_s:
            process.kill()
