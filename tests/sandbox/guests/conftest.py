# SPDX-License-Identifier: MIT
"""A server without a mount, and commands that really run beside its simulated processes."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

import pytest

from fakeproc.kernel.machine import Machine
from fakeproc.kernel.task import Process
from fakeproc.procfs.tree import Procfs
from fakeproc.sandbox.guests import Guests
from fakeproc.sandbox.report import Sender
from fakeproc.sandbox.seccomp import INSTALL_FLAGS, architecture, filter_program
from tests.conftest import wait_until
from tests.sandbox.guests.launch import LACKS

LAUNCH = Path(__file__).with_name("launch.py")
LIMIT_S = 30
COMMAND_PID = 301


class FakeServer:
    """What the guests' thread needs of a server, around a machine in memory."""

    def __init__(self) -> None:
        self.procfs = Procfs(Machine())
        self.lock = threading.Lock()
        self.bound: list[int] = []
        self.noted: list[tuple[Sender, int, int]] = []
        self.unbound_files: Mapping[bytes, str] = {}

    @contextmanager
    def locked(self) -> Iterator[None]:
        assert self.lock.acquire(timeout=LIMIT_S), "the lock is held for good"
        try:
            yield
        finally:
            self.lock.release()

    def bind_guest(self, pid: int) -> None:
        # What binds looks up names in the mount, which takes the lock.
        with self.locked():
            assert pid in self.procfs.machine.processes
        self.bound.append(pid)

    def note_kill(self, sender: Sender, pid: int, signo: int) -> None:
        assert self.lock.locked()
        self.noted.append((sender, pid, signo))

    def note_arrival(self, process: Process, signo: int) -> None:
        assert self.lock.locked()
        assert (process.pid, signo) in [kill[1:] for kill in self.noted]


class Running:
    """A command inside."""

    def __init__(self, process: subprocess.Popen[str], to_launcher: socket.socket) -> None:
        self.process = process
        self._to_launcher = to_launcher

    def end(self, text: str = "") -> subprocess.CompletedProcess[str]:
        """Let it read this, wait for its end, and return what it has said."""
        output, errors = self.process.communicate(text, timeout=LIMIT_S)
        ended = self._to_launcher.recv(65536) or b"{}"
        self.stand_ins = {int(pid): status for pid, status in json.loads(ended).items()}
        return subprocess.CompletedProcess((), self.process.returncode, output, errors)

    def kill(self) -> None:
        self._to_launcher.close()
        self.process.kill()
        self.process.communicate(timeout=LIMIT_S)


class Inside:
    """Where the commands run."""

    def __init__(self) -> None:
        self.server = FakeServer()
        self.guests = Guests(self.server)
        self.guests.start()
        self.stand_ins: dict[int, int] = {}
        """How those of the last command that was run have ended: wait statuses."""
        self._started: list[Running] = []

    @property
    def machine(self) -> Machine:
        return self.server.procfs.machine

    def spawn(self, name: str, pid: int) -> Process:
        """Make a simulated process."""
        with self.server.locked():
            return self.machine.spawn(name, pid=pid)

    def start(
        self, *argv: str, stand_ins: tuple[int, ...] = (), intercept: bool = False
    ) -> Running:
        """Start a command, with real processes that have these pids beside it."""
        ours, launchers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = filter_program(intercept=intercept).hex()
        with launchers:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", os.fspath(LAUNCH), str(launchers.fileno())),
                    *(program, str(INSTALL_FLAGS), ",".join(map(str, stand_ins)), *argv),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                pass_fds=[launchers.fileno()],
            )
        running = Running(process, ours)
        self._started.append(running)
        message, listeners, _, _ = socket.recv_fds(ours, 4096, 1)
        if message.startswith(LACKS):
            pytest.skip(f"namespaces: {message[1:].decode()}")
        assert listeners, process.communicate()[1]
        self.guests.add(listeners[0])
        return running

    def run(
        self, *argv: str, stand_ins: tuple[int, ...] = (), intercept: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        running = self.start(*argv, stand_ins=stand_ins, intercept=intercept)
        done = running.end()
        self.stand_ins = running.stand_ins
        return done

    def python(
        self, script: str, *argv: str, stand_ins: tuple[int, ...] = (), intercept: bool = False
    ) -> list[str]:
        """Run a script that must not fail; return its lines."""
        command = (sys.executable, "-I", "-S", "-c", dedent(script), *argv)
        done = self.run(*command, stand_ins=stand_ins, intercept=intercept)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    @property
    def last(self) -> Running:
        """The command that was started last."""
        return self._started[-1]

    def forget_ended(self) -> None:
        """Close what is left of the commands."""
        while self._started:
            self._started.pop().kill()

    def wait_for(self, pid: int) -> Process:
        """Wait until a guest is known, by its pid inside."""
        wait_until(lambda: pid in self.machine.processes, f"the coming of guest {pid}")
        return self.machine.processes[pid]

    def close(self) -> None:
        self.forget_ended()
        self.guests.close()


@pytest.fixture
def inside() -> Iterator[Inside]:
    """Return where commands run whose filter is answered; no bug may have happened there."""
    if architecture() is None:
        pytest.skip("the numbers of this machine's system calls are not known")
    place = Inside()
    try:
        yield place
    finally:
        place.close()
    assert not place.server.procfs.stats.last_error


def require(tool: str) -> str:
    """Return a tool, or skip."""
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    return tool
