# SPDX-License-Identifier: MIT
"""Fixtures: a supervisor in namespaces of its own, asked as the server asks it."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import pytest

from fakeproc.sandbox import supervisor
from fakeproc.sandbox.stand_in import open_program
from tests.conftest import wait_until
from tests.sandbox import launch

_LIMIT_S = 20.0
_BATCH = 500
_ALL_IDS = 4294967295
FIRST_PID = 100_000
NOBODY = 65534

Message = dict[str, Any]


class Supervised:
    """A supervisor, and the server's side of its two sockets."""

    def __init__(self, uid: int, *wrapper: str) -> None:
        self._commands = 0
        self.seen: list[Message] = []
        """What was told of stand-ins while a command ran."""
        self.rpc, rpc = _sockets()
        self.events, events = _sockets()
        program = open_program()
        ready, tell = os.pipe()
        wait, mapped = os.pipe()
        fds = (tell, wait, rpc.fileno(), events.fileno(), program)
        self.launcher = subprocess.Popen(
            [
                *(*wrapper, sys.executable, "-I", "-S", launch.__file__),
                *(supervisor.__file__, str(uid), *map(str, fds)),
            ],
            pass_fds=fds,
            stderr=subprocess.PIPE,
        )
        for fd in (tell, wait, program):
            os.close(fd)
        rpc.close()
        events.close()
        with open(ready) as told, open(mapped, "w") as answer:
            said = told.read(len("ready"))
            if said != "ready":
                self.kill()
                # Nothing at all: it has ended with a traceback, on this stderr.
                assert said
                require(f"user namespaces cannot be made here: {said}{told.read()}")
            _map_ids(self.launcher.pid, uid)
            answer.write("x")

    @property
    def stderr(self) -> IO[bytes]:
        """What the supervisor writes of its own accord: only tracebacks."""
        assert self.launcher.stderr
        return self.launcher.stderr

    def ask(self, do: str, *fds: int, **request: Any) -> Message:
        """Ask for this; return the answer, the listener in it."""
        packet = json.dumps({"do": do, **request}).encode()
        socket.send_fds(self.rpc, [packet], fds)
        answer, received, *_ = socket.recv_fds(self.rpc, 65536, 1)
        assert answer, self.stderr.read().decode()
        decoded: Message = json.loads(answer)
        return {**decoded, "listener": received[0]} if received else decoded

    def spawn(self, *pids: int, uid: int = 0, gid: int = 0, pgrp: int = 0) -> list[list[int]]:
        """Make stand-ins; return those that were refused, and the errno."""
        refused: list[list[int]] = []
        for start in range(0, len(pids), _BATCH):
            who = [[pid, uid, gid, pgrp] for pid in pids[start : start + _BATCH]]
            refused += self.ask("spawn", who=who)["refused"]
        return refused

    def end(self, *pids: int, reap: bool = True) -> list[int]:
        """End stand-ins; return which."""
        gone: list[int] = self.ask("end", who=[[pid, reap] for pid in pids])["gone"]
        return gone

    def run(self, *argv: str, stdin: int | None = None, stdout: int = 1, **request: Any) -> Message:
        """Start a command; return the answer, and the command's id in it."""
        self._commands += 1
        request = {
            "id": self._commands,
            "argv": argv,
            "env": {"PATH": os.environ["PATH"], "LC_ALL": "C"},
            "cwd": "/",
            "filter": "",
            **request,
        }
        with open(os.devnull) as null:
            stdin = null.fileno() if stdin is None else stdin
            answer = self.ask("run", stdin, stdout, 2, **request)
        return {**answer, "id": self._commands}

    def event(self) -> Message:
        """Return the next event."""
        assert select.select([self.events], [], [], _LIMIT_S)[0], "no event came"
        event: Message = json.loads(self.events.recv(65536))
        return event

    def told(self, count: int) -> list[Message]:
        """Return so many events, those that were seen already first."""
        while len(self.seen) < count:
            self.seen.append(self.event())
        return self.seen

    def killed(self, count: int) -> list[int]:
        """Return the pids of so many that are told to be killed, and only those."""
        killed = [event["killed"] for event in self.seen if "killed" in event]
        while len(killed) < count:
            event = self.event()
            killed += [event["killed"]] if "killed" in event else []
        return sorted(killed)

    def output(self, *argv: str, **request: Any) -> str:
        """Run a command until it ends well; return what it has written.

        What is told of stand-ins until then is in `seen`, but what it did last may be told later.
        """
        started, output = self.popen(*argv, **request)
        with output:
            written = output.read()
        assert self.exit_status(started["id"]) == 0, (argv, written)
        return written

    def sh(self, script: str, **request: Any) -> str:
        """Run a shell script as `output` does."""
        return self.output("sh", "-c", script, **request)

    def popen(self, *argv: str, **request: Any) -> tuple[Message, IO[str]]:
        """Start a command; return the answer, and what to read its output from."""
        reader, writer = os.pipe()
        started = self.run(*argv, stdout=writer, **request)
        os.close(writer)
        return started, open(reader, errors="surrogateescape")

    def exit_status(self, number: int) -> int:
        """Wait for the end of a command; return its wait status."""
        while (event := self.event()).get("exited") != number:
            assert "failed" not in event, event
            self.seen.append(event)
        status: int = event["status"]
        return status

    def note_namespace(self) -> None:
        """Remember the namespace, once the supervisor is there."""
        children = Path(f"/proc/{self.launcher.pid}/task/{self.launcher.pid}/children")
        self.pid = int(children.read_text())
        self.namespace = os.readlink(f"/proc/{self.pid}/ns/pid")

    def inside(self) -> dict[int, int]:
        """Return all processes of the namespace: their pids on the host, by their pids in it.

        A supervisor that has ended is left out: the host's init may reap it late.
        """
        found: dict[int, int] = {}
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if os.readlink(process / "ns/pid") == self.namespace:
                    pid = int(_status(process, "NSpid").split()[-1])
                    if pid != 1 or _status(process, "State") != "Z (zombie)":
                        found[pid] = int(process.name)
        return found

    def field(self, pid: int, name: str) -> str:
        """Return a field of the real status file of a process of the namespace."""
        return _status(Path(f"/proc/{self.inside()[pid]}"), name)

    def close(self) -> int:
        """Let the supervisor end; return its exit code."""
        self.rpc.close()
        code = self.launcher.wait(_LIMIT_S)
        wait_until(lambda: not self.inside(), "the end of the namespace")
        return code

    def kill(self) -> None:
        """Leave nothing behind, whatever has happened."""
        self.rpc.close()
        self.events.close()
        self.launcher.kill()
        self.launcher.wait()
        self.stderr.close()


def _sockets() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _map_ids(pid: int, uid: int) -> None:
    process = Path(f"/proc/{pid}")
    count = 1 if uid else _ALL_IDS
    if uid:
        (process / "setgroups").write_text("deny")
    (process / "uid_map").write_text(f"0 {uid} {count}")
    (process / "gid_map").write_text(f"0 {uid} {count}")


def _status(process: Path, name: str) -> str:
    lines = (process / "status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:"))


def require(lacking: str) -> None:
    """Skip where something is lacking; CI has it and must not skip."""
    if os.environ.get("CI"):
        pytest.fail(lacking)
    pytest.skip(lacking)


@pytest.fixture
def launched() -> Iterator[Callable[..., Supervised]]:
    """Return a function that starts a supervisor, for another user if one is given."""
    made: list[Supervised] = []

    def start(*, uid: int | None = None, view: str = "bind") -> Supervised:
        made.append(Supervised(os.getuid() if uid is None else uid))
        answer = made[-1].ask("prepare", view=view)
        if "error" in answer:
            require(answer["error"])
        made[-1].note_namespace()
        return made[-1]

    try:
        yield start
        for one in made:
            if one.launcher.poll() is None:
                assert one.close() == 0
            errors = one.stderr.read().decode()
            assert not errors, errors
    finally:
        for one in made:
            one.kill()


@pytest.fixture
def supervised(launched: Callable[..., Supervised]) -> Supervised:
    """Return a supervisor of this user, with the view bind."""
    return launched()
