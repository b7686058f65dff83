# SPDX-License-Identifier: MIT
"""What those who look after the guests ask of the server that has the machine."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from fakeproc.kernel.task import Process
from fakeproc.procfs.tree import Procfs
from fakeproc.sandbox.report import Sender


class Server(Protocol):
    """The server, as the guests' thread sees it."""

    @property
    def procfs(self) -> Procfs:
        """The machine and who is who on it; only to be used while it is `locked`."""

    @property
    def unbound_files(self) -> Mapping[bytes, str]:
        """Simulated files for which there is nothing to bind them over, and where they are."""

    def locked(self) -> AbstractContextManager[None]:
        """Hold the server's lock, which cannot be taken twice.

        Inside the machine is at the present; what has changed is passed on at the end.
        """

    def bind_guest(self, pid: int) -> None:
        """Wait until the files about the OOM killer that this guest has are the simulated ones.

        Preconditions: the caller does not hold the lock.
        """

    def note_kill(self, sender: Sender, pid: int, signo: int) -> None:
        """Hear that a guest is about to send a simulated process a signal.

        Preconditions: the caller holds the lock.
        """

    def note_arrival(self, process: Process, signo: int) -> None:
        """Hear that a simulated process gets a signal for which it has no stand-in.

        Preconditions: the caller holds the lock.
        """
