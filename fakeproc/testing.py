# SPDX-License-Identifier: MIT
"""What the pytest plugin hands to tests: machines in memory, and mounted ones."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.mounts import MountError, answers, is_mounted, unmount
from fakeproc.procfs.node import File
from fakeproc.procfs.tree import Procfs

_LIMIT_S = 20.0
_GRACE_S = 2.0
_POLL_S = 0.01

_SERVER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
if os.getppid() != int(sys.argv.pop(1)):
    sys.exit(1)
from fakeproc.cli import main
sys.exit(main())
"""
"""The command line, for a process that ends, and unmounts, when its parent dies."""


def read_of(machine: Machine) -> Callable[[str], str]:
    """Return a function that reads the files of a machine's /proc, as its root does."""
    procfs = Procfs(machine)

    def read(name: str) -> str:
        node = procfs.lookup(f"/{name}", machine.root)
        if not isinstance(node, File):
            raise Refused(errno.EISDIR)
        return node.render().decode(errors="surrogateescape")

    return read


class Mount:
    """The files of a mount."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __truediv__(self, name: str | int) -> Path:
        """Return a path inside the mount."""
        return self.path / str(name)

    def read(self, name: str) -> str:
        """Read a file of the mount."""
        return (self.path / name).read_text(errors="surrogateescape")

    def write(self, name: str, text: str) -> None:
        """Write to a file of the mount; OSError where it is refused."""
        (self.path / name).write_text(text)

    def control(self, command: str) -> str:
        """Give ctl a command; return the answer.  A refusal raises OSError."""
        fd = os.open(self.path / "fakeproc" / "ctl", os.O_RDWR)
        try:
            os.write(fd, command.encode())
            return os.pread(fd, 65536, 0).decode().strip()
        finally:
            os.close(fd)


class CannotMount(Exception):
    """Say in one sentence what this machine lacks for a mount."""


class MountedMachine(Mount):
    """A machine that a server of its own mounts, until `close`, or until this process ends."""

    def __init__(
        self,
        folder: Path,
        scenario: str,
        *,
        kernel: str | None = None,
        speed: str = "1",
        manual_clock: bool = False,
    ) -> None:
        """Mount the machine of a scenario (its text) in an empty folder; return when it is up.

        `CannotMount` says what is lacking.

        Preconditions: scenario, kernel and speed are good.
        """
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            raise CannotMount("/dev/fuse cannot be opened by this user: a mount takes FUSE.")
        super().__init__(folder / "proc")
        self.path.mkdir()
        file = folder / "scenario.toml"
        file.write_text(scenario)
        clock = ["--clock", "manual"] if manual_clock else ["--speed", speed]
        wanted = ["--scenario", os.fspath(file), *(["--kernel", kernel] if kernel else []), *clock]
        self._errors = folder / "stderr"
        python = [sys.executable, "-P", "-c", _SERVER, str(os.getpid())]
        with self._errors.open("wb") as errors:
            # In a group of its own: a Ctrl-C is for the tests, which unmount then.
            self._server = subprocess.Popen(
                [*python, "mount", "--foreground", *wanted, os.fspath(self.path)],
                stdin=subprocess.DEVNULL,
                stderr=errors,
                process_group=0,
            )
        try:
            self._wait_until_up()
        except BaseException:
            self.close()
            raise

    def _wait_until_up(self) -> None:
        end = time.monotonic() + _LIMIT_S
        while not (is_mounted(self.path) and answers(self.path)):
            if self._server.poll() is not None:
                said = self._errors.read_text(errors="replace").strip()
                raise CannotMount(said.removeprefix("fakeproc: ") or "The mount cannot be made.")
            if time.monotonic() > end:
                raise CannotMount(f"{self.path}: is not mounted after {_LIMIT_S:.0f} s.")
            time.sleep(_POLL_S)

    def close(self) -> None:
        """Unmount, whatever has happened to the mount and its server."""
        end = time.monotonic() + _GRACE_S
        # A process that the test has just ended may hold the mount for a moment.
        while self._server.poll() is None and is_mounted(self.path) and time.monotonic() < end:
            with contextlib.suppress(MountError):
                unmount(self.path)
                self._server.wait(_GRACE_S)
            time.sleep(_POLL_S)
        if self._server.poll() is None:
            self._server.kill()
            self._server.wait()
        if is_mounted(self.path):
            unmount(self.path)
