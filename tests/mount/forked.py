# SPDX-License-Identifier: MIT
"""Forked clients: processes that work on a mount, and tell in the end what they have met."""

from __future__ import annotations

import json
import os
import select
import signal
import time
import traceback
from collections.abc import Callable
from typing import Any


class Forked:
    """A process that does some work; what that returns is the answer.

    For programs of their own: pytest's workers have several threads, and must not fork.
    """

    def __init__(self, work: Callable[[], object]) -> None:
        self._answer, answer = os.pipe()
        self._is_over = False
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._answer)
            _run(work, answer)
        os.close(answer)

    def fileno(self) -> int:
        """Return what select(2) takes: it can be read from when there is an answer."""
        return self._answer

    def result(self, until_s: float) -> Any:
        """Return the answer, from JSON; None if there is none by then, or the work has failed."""
        text = b""
        while select.select([self._answer], [], [], max(until_s - time.monotonic(), 0))[0]:
            part = os.read(self._answer, 1 << 16)
            if not part:
                self._bury()
                return json.loads(text) if text else None
            text += part
        self.kill()
        return None

    def kill(self) -> None:
        """End it, whatever it is doing, unless it has ended."""
        if not self._is_over:
            os.kill(self.pid, signal.SIGKILL)
            self._bury()

    def _bury(self) -> None:
        self._is_over = True
        os.close(self._answer)
        os.waitpid(self.pid, 0)


def _run(work: Callable[[], object], answer: int) -> None:
    """Be the client, in the child of a fork; never returns."""
    try:
        with os.fdopen(answer, "w") as out:
            json.dump(work(), out)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
