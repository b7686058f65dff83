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
FIRST_PID = 100_000
NOBODY = 65534
ALL_IDS = 4294967295

Message = dict[str, Any]


class Supervised:
    """A supervisor, and the server's side of its two sockets."""

    def __init__(self, *, uid: int) -> None:
        self._commands = 0
        self.rpc, rpc = _sockets()
        self.events, events = _sockets()
        program = open_program()
        ready, tell = os.pipe()
        wait, mapped = os.pipe()
        fds = [rpc.fileno(), events.fileno(), program]
        try:
            self.launcher = subprocess.Popen(
                [
                    sys.executable,
                    *(launch.__file__, str(tell), str(wait)),
                    *(supervisor.__file__, *map(str, fds)),
                ],
                pass_fds=(*fds, tell, wait),
                stderr=subprocess.PIPE,
                **({"user": uid, "group": uid, "extra_groups": []} if uid != os.getuid() else {}),
            )
            os.close(tell)
            said = os.read(ready, 4096)
            if said != b"ready":
                self.launcher.wait()
                _require(f"user namespaces cannot be made: {said.decode(errors='replace')}")
            _map_ids(self.launcher.pid, uid)
            os.write(mapped, b"x")
        finally:
            for fd in (program, ready, wait, mapped):
                os.close(fd)
            rpc.close()
            events.close()

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
        """Make stand-ins; return those that were refused."""
        refused: list[list[int]] = []
        for start in range(0, len(pids), 500):
            who = [[pid, uid, gid, pgrp] for pid in pids[start : start + 500]]
            refused += self.ask("spawn", who=who)["refused"]
        return refused

    def end(self, *pids: int, reap: bool = True) -> list[int]:
        """End stand-ins; return which."""
        gone: list[int] = self.ask("end", who=[[pid, reap] for pid in pids])["gone"]
        return gone

    def run(self, *argv: str, stdout: int = 1, **request: Any) -> Message:
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
            answer = self.ask("run", null.fileno(), stdout, 2, **request)
        return {**answer, "id": self._commands}

    def event(self) -> Message:
        """Return the next event."""
        assert select.select([self.events], [], [], _LIMIT_S)[0], "no event came"
        event: Message = json.loads(self.events.recv(65536))
        return event

    def no_event(self) -> bool:
        """Say whether nothing more has been told of what was there before the last answer."""
        # Events of earlier stops may still be in the making: an answer and a look lie between.
        self.ask("end", who=[])
        self.ask("end", who=[])
        return not select.select([self.events], [], [], 0)[0]

    def output(self, *argv: str, **request: Any) -> str:
        """Run a command until it ends well; return what it has written."""
        output, status = self.result(*argv, **request)
        assert status == 0, (argv, status, output)
        return output

    def result(self, *argv: str, **request: Any) -> tuple[str, int]:
        """Run a command; return what it has written, and its wait status.

        Events of stand-ins that come meanwhile are in `seen`.
        """
        reader, writer = os.pipe()
        with open(reader, errors="replace") as file:
            started = self.run(*argv, stdout=writer, **request)
            os.close(writer)
            assert "pid" in started, started
            output = file.read()
        self.seen: list[Message] = []
        while (event := self.event()).get("exited") != started["id"]:
            assert "failed" not in event, event
            self.seen.append(event)
        return output, event["status"]

    def sh(self, script: str, **request: Any) -> str:
        """Run a shell script to its end; return what it has written."""
        return self.output("sh", "-c", script, **request)

    def namespace_pids(self) -> list[int]:
        """Return the host's pids of all in the supervisor's pid namespace."""
        return [int(p.name) for p in Path("/proc").glob("[0-9]*") if self._is_inside(p)]

    def note_namespace(self) -> None:
        """Remember the namespace, once the supervisor is there."""
        children = Path(f"/proc/{self.launcher.pid}/task/{self.launcher.pid}/children")
        self.pid = int(children.read_text())
        self._namespace = os.readlink(f"/proc/{self.pid}/ns/pid")

    def _is_inside(self, process: Path) -> bool:
        with suppress(OSError):
            return os.readlink(process / "ns/pid") == self._namespace
        return False

    def stop(self) -> int:
        """Let the supervisor end; return its exit code."""
        self.rpc.close()
        code = self.launcher.wait(_LIMIT_S)
        wait_until(lambda: not self.namespace_pids(), "end of the namespace")
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
    count = ALL_IDS if uid == 0 else 1
    process = Path(f"/proc/{pid}")
    if uid:
        (process / "setgroups").write_text("deny")
    (process / "uid_map").write_text(f"0 {uid} {count}")
    (process / "gid_map").write_text(f"0 {uid} {count}")


def _require(lacking: str) -> None:
    """Skip where something is lacking; CI has it and must not skip."""
    if os.environ.get("CI"):
        pytest.fail(lacking)
    pytest.skip(lacking)


@pytest.fixture
def launched() -> Iterator[Callable[..., Supervised]]:
    """Return a function that starts a supervisor, for a user if one is given."""
    made: list[Supervised] = []

    def start(*, uid: int | None = None, view: str = "bind") -> Supervised:
        made.append(Supervised(uid=os.getuid() if uid is None else uid))
        answer = made[-1].ask("prepare", view=view)
        if "error" in answer:
            _require(answer["error"])
        made[-1].note_namespace()
        return made[-1]

    try:
        yield start
        for one in made:
            if one.launcher.poll() is None:
                assert one.stop() == 0
            errors = one.stderr.read().decode()
            assert not errors, errors
    finally:
        for one in made:
            one.kill()


@pytest.fixture
def supervised(launched: Callable[..., Supervised]) -> Supervised:
    """Return a supervisor of this user."""
    return launched()
