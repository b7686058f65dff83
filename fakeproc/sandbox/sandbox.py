# SPDX-License-Identifier: MIT
"""`Sandbox`: a simulated machine in which real programs run."""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import subprocess
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.profile import KernelConfig
from fakeproc.mount import load_binding
from fakeproc.mounts import MountError
from fakeproc.procfs.clock import parse_speed
from fakeproc.procfs.tree import CONTROL_DIRECTORY, Procfs
from fakeproc.sandbox import namespaces
from fakeproc.sandbox.channel import Channel, Closed, Message, data_descriptor, take_data
from fakeproc.sandbox.lacking import Lacking
from fakeproc.sandbox.server import SandboxOptions, be_server
from fakeproc.sandbox.view import ViewKind
from fakeproc.scenario import load_scenario

_POLL_S = 0.02
_GRACE_S = 2.0

Command = Sequence[str | os.PathLike[str]]


class SandboxProcess:
    """A command in a sandbox, much as subprocess.Popen has it."""

    def __init__(self, sandbox: Sandbox, number: int, pid: int, args: Command) -> None:
        self._sandbox = sandbox
        self._number = number
        self.pid = pid
        """Its pid inside."""
        self.args = args
        self.returncode: int | None = None
        """Its exit code, -N for signal N; None while it runs."""
        self.failure = ""
        """Why it could not be run; nothing: it could."""

    def poll(self) -> int | None:
        """Return the exit code if it has ended."""
        self._sandbox._hear(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; subprocess.TimeoutExpired when that takes longer (seconds)."""
        end = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                raise subprocess.TimeoutExpired([os.fspath(arg) for arg in self.args], timeout or 0)
            self._sandbox._hear(left)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it has not ended."""
        if self.poll() is None:
            self._sandbox._ask({"do": "signal", "pid": self.pid, "signo": number})

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _ended(self, message: Message) -> None:
        if "failed" in message:
            self.failure = message["error"]
            self.returncode = 126 if message["errno"] == errno.EACCES else 127
        else:
            self.returncode = os.waitstatus_to_exitcode(message["status"])


class Sandbox:
    """A machine with a real process for each simulated one, until the with block is left.

    What runs inside sees the simulated /proc, and its signals reach the simulated processes.
    ``scenario`` is a built-in name, a file in TOML, or a machine; it goes on from its present
    state.  `Lacking` says which privilege is missing, `Refused` what is wrong with the scenario.
    """

    def __init__(
        self,
        scenario: str | Path | Machine | None = None,
        *,
        kernel: str | KernelConfig | None = None,
        speed: str = "1",
        manual_clock: bool = False,
        view: str = ViewKind.BIND,
        intercept: bool = False,
        duration_ns: int | None = None,
    ) -> None:
        config = KernelConfig(kernel) if isinstance(kernel, str) else kernel
        self._machine = (
            scenario if isinstance(scenario, Machine) else load_scenario(scenario, config)
        )
        self._options = SandboxOptions(
            clock_speed=parse_speed(speed),
            manual_clock=manual_clock,
            view=ViewKind(view),
            intercept=intercept,
            duration_ns=duration_ns,
        )
        self.is_over = False
        """Whether it has lasted as long as it was to (``duration_ns``)."""
        self._server_pid = 0
        self._channel: Channel
        self._answers: deque[tuple[Message, list[int]]] = deque()
        self._running: dict[int, SandboxProcess] = {}
        self._started = 0

    # -- Making and ending it ----------------------------------------------------------

    def start(self) -> None:
        """Make it; return when commands can be run."""
        namespaces.require_device()
        namespaces.require_own_proc()
        load_binding()
        here, there = Channel.pair()
        self._machine.set_boot_time(time.time_ns())
        procfs = Procfs(self._machine)
        with warnings.catch_warnings():
            # Since Python 3.12 fork warns where there are threads; the child uses none of them.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._server_pid = os.fork()
        if self._server_pid == 0:
            here.close()
            be_server(procfs, self._options, there)
        there.close()
        self._channel = here
        try:
            self._introduce()
        except BaseException:
            self.close()
            raise

    def _introduce(self) -> None:
        self._expect("unshared")
        self._channel.send({"only_root_mapped": namespaces.map_ids(self._server_pid)})
        self._expect("ready")

    def _expect(self, what: str) -> None:
        try:
            message, _ = self._channel.receive()
        except Closed:
            raise MountError("The sandbox's server has died (it says why above).") from None
        if "lacking" in message:
            raise Lacking(message["lacking"])
        if what not in message:
            raise MountError(message["error"])

    def close(self) -> None:
        """End everything inside, and the sandbox."""
        if self._server_pid:
            # The servers of later sandboxes are forks that hold copies of it.
            self._channel.hang_up()
            os.waitpid(self._server_pid, 0)
            self._server_pid = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- Running commands --------------------------------------------------------------

    def popen(
        self,
        args: Command,
        *,
        stdin: int = 0,
        stdout: int = 1,
        stderr: int = 2,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        foreground: bool = False,
    ) -> SandboxProcess:
        """Start a command inside, with these descriptors.

        It leads a process group, to which the terminal is given if it is to be in the foreground.
        """
        self._started += 1
        number = self._started
        message = {
            "do": "run",
            "id": number,
            "argv": [os.fspath(arg) for arg in args],
            "env": dict(os.environ if env is None else env),
            "cwd": os.fspath(cwd or os.getcwd()),
            "foreground": foreground,
        }
        answer, _ = self._ask(message, [stdin, stdout, stderr])
        process = SandboxProcess(self, number, answer["pid"], args)
        self._running[number] = process
        return process

    def run(
        self,
        args: Command,
        *,
        timeout: float | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        input: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end; return it with what it has printed.

        subprocess.TimeoutExpired when it takes longer (seconds); it is killed then.
        """
        stdin = data_descriptor(input.encode())
        stdout, stderr = (os.memfd_create(name) for name in ("stdout", "stderr"))
        process = self.popen(args, stdin=stdin, stdout=stdout, stderr=stderr, env=env, cwd=cwd)
        os.close(stdin)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_GRACE_S)
            raise
        finally:
            texts = [take_data(fd).decode(errors="surrogateescape") for fd in (stdout, stderr)]
        return subprocess.CompletedProcess(args, code, *texts)

    # -- Looking at the machine, and changing it ---------------------------------------

    def read(self, path: str) -> str:
        """Read a file of the simulated /proc as its root does."""
        _, [data] = self._ask({"do": "read", "path": path})
        return take_data(data).decode(errors="surrogateescape")

    def write(self, path: str, text: str) -> None:
        """Write to a file of the simulated /proc as its root does; OSError where it is refused."""
        data = data_descriptor(text.encode(errors="surrogateescape"))
        try:
            self._ask({"do": "write", "path": path}, [data])
        finally:
            os.close(data)

    def control(self, command: str) -> str:
        """Give ctl a command; return the answer."""
        self.write(f"{CONTROL_DIRECTORY}/ctl", command)
        return self.read(f"{CONTROL_DIRECTORY}/ctl").strip()

    def report(self, command: Command = (), exit_status: int = 0) -> dict[str, Any]:
        """Return what has happened so far (docs/sandbox.rst)."""
        return self._report(command, exit_status)[1]

    def summary(self, command: Command = (), exit_status: int = 0) -> str:
        """Return the same for people."""
        return self._report(command, exit_status)[0]

    def _report(self, command: Command, exit_status: int) -> tuple[str, dict[str, Any]]:
        words = [os.fspath(word) for word in command]
        ended = {"do": "report", "command": words, "exit_status": exit_status}
        answer, [data] = self._ask(ended)
        return answer["summary"], json.loads(take_data(data))

    def wait_until(self, condition: Callable[[], bool], timeout: float = 20) -> None:
        """Wait for a condition; TimeoutError when it does not come true in time (seconds)."""
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"did not come true in {timeout} s")
            time.sleep(_POLL_S)

    # -- Talking to the server ---------------------------------------------------------

    def _ask(self, message: Message, fds: Sequence[int] = ()) -> tuple[Message, list[int]]:
        self._channel.send(message, fds)
        while not self._answers:
            self._hear(None)
        answer, answer_fds = self._answers.popleft()
        if "errno" in answer:
            raise Refused(answer["errno"], answer["error"])
        if "error" in answer:
            raise MountError(answer["error"])
        return answer, answer_fds

    def _hear(self, timeout: float | None) -> None:
        """Take one message of the server, if there is one in time."""
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        if not poll.poll(None if timeout is None else timeout * 1000):
            return
        try:
            message, fds = self._channel.receive()
        except Closed:
            raise MountError("The sandbox's server has died.") from None
        if "answer" in message:
            self._answers.append((message, fds))
        elif message["event"] == "over":
            self.is_over = True
        else:
            number = message["exited" if "exited" in message else "failed"]
            self._running.pop(number)._ended(message)
