# SPDX-License-Identifier: MIT
"""A mounted machine to try scenarios on: the server runs in a thread of this process.

That gives both layers on the same state: the files of the mount, and procfs itself
for what no FUSE server can show.  Only plain system calls of `os` may touch the mount
from here, since they leave the interpreter to the server while they wait.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from fakeproc.kernel.machine import Machine
from fakeproc.kernel.task import Caller, TaskCaller, Thread
from fakeproc.mount import MountOptions, serve
from fakeproc.mounts import is_mounted, unmount
from fakeproc.procfs.node import File, OpenFile
from fakeproc.procfs.tree import Procfs

_READ_SIZE = 65536


class World:
    """A machine, its procfs, and the mount; use it as a context manager."""

    def __init__(self, mountpoint: Path) -> None:
        self.mountpoint = mountpoint
        self.procfs = Procfs(Machine())
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        here = os.getcwd()
        self._thread.start()
        self._ready.wait(20)
        os.chdir(here)  # libfuse changes to the root
        if self._failure is not None:
            raise self._failure
        assert self._ready.is_set(), "the mount did not come up"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if is_mounted(self.mountpoint):
            unmount(self.mountpoint)
        self._thread.join(20)

    def _serve(self) -> None:
        try:
            options = MountOptions(manual_clock=True)
            serve(self.procfs, self.mountpoint, options, on_ready=self._ready.set)
        except BaseException as error:
            self._failure = error
            self._ready.set()

    @property
    def machine(self) -> Machine:
        """The machine at present."""
        return self.procfs.machine

    def restart(self, machine: Machine) -> None:
        """Go on with another machine."""
        self.procfs.replace_machine(machine)

    def path(self, inside: str) -> str:
        """Return the path of a file in the mount."""
        return f"{self.mountpoint}/{inside}"

    def read(self, inside: str) -> str:
        """Read a file through the mount."""
        fd = os.open(self.path(inside), os.O_RDONLY)
        try:
            return os.read(fd, _READ_SIZE).decode(errors="surrogateescape")
        finally:
            os.close(fd)

    def control(self, command: str) -> str:
        """Give a command through the mount; return the answer.  A refusal raises OSError."""
        fd = os.open(self.path("fakeproc/ctl"), os.O_RDWR)
        try:
            os.write(fd, command.encode())
            return os.pread(fd, _READ_SIZE, 0).decode().strip()
        except OSError as error:
            raise OSError(error.errno, f"{command}: {self.procfs.answer.strip()}") from None
        finally:
            os.close(fd)

    def open_below(self, inside: str) -> OpenFile:
        """Open a file one layer below the mount, without asking for rights."""
        node = self.procfs.lookup(inside, self.machine.root)
        assert isinstance(node, File)
        return OpenFile(node)

    def caller_below(self, thread: Thread) -> Caller:
        """Return a task as the caller of that layer."""
        return TaskCaller.of(thread)
