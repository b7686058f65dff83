# SPDX-License-Identifier: MIT
"""What becomes of processes, told to whoever keeps something real in step with them."""

from __future__ import annotations

from enum import StrEnum

from fakeproc.kernel.task import Process


class Turn(StrEnum):
    """What has become of a process."""

    BORN = "born"
    """It is in the table from now on."""
    DIED = "died"
    """Its last thread has exited: a zombie, unless it has been reaped as well."""
    REAPED = "reaped"
    """It is not in the table any more."""


class Turns:
    """The turns that nobody has taken note of yet, in order; none are kept unless asked for."""

    def __init__(self) -> None:
        self._kept: list[tuple[Turn, Process]] | None = None

    def keep(self) -> None:
        """Keep them from now on."""
        self._kept = []

    def note(self, turn: Turn, process: Process) -> None:
        """Add one, if they are kept."""
        if self._kept is not None:
            self._kept.append((turn, process))

    def take(self) -> list[tuple[Turn, Process]]:
        """Return those since the last time."""
        if not self._kept:
            return []
        taken, self._kept = self._kept, []
        return taken
