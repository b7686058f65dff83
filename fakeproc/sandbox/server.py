# SPDX-License-Identifier: MIT
"""The server of a sandbox: it has the machine, serves its files, and runs commands inside.

It is forked by whoever makes the sandbox (`fakeproc.sandbox.Sandbox`), and stays outside of the pid
namespace, where /proc is the host's.  Its main thread answers FUSE; the thread `Server._run` makes
the sandbox and then listens to the owner and to the supervisor, and lets time go on.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NoReturn

from fakeproc.callers import Callers
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.task import Process
from fakeproc.mount import MountOptions, serve
from fakeproc.mounts import HOST_PROC, MountError
from fakeproc.operations import Operations
from fakeproc.procfs.clock import REAL_SPEED
from fakeproc.procfs.node import File, open_file
from fakeproc.procfs.tree import Procfs
from fakeproc.sandbox import namespaces
from fakeproc.sandbox.binder import Binder, start_binder
from fakeproc.sandbox.channel import Channel, Closed, Message, data_descriptor, take_data
from fakeproc.sandbox.guests import Guests
from fakeproc.sandbox.lacking import Lacking
from fakeproc.sandbox.record import Chronicle
from fakeproc.sandbox.report import Sender
from fakeproc.sandbox.seccomp import filter_program
from fakeproc.sandbox.stand_ins import StandIns, Supervisor
from fakeproc.sandbox.summary import summary
from fakeproc.sandbox.view import FUSE_MOUNTPOINT, View, ViewKind

log = logging.getLogger(__name__)

_TERMINAL_SIGNALS = {
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT),
    *(signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
}
"""What is meant for the command, or for its owner who passes it on."""

_SHORTEST_TICK_S = 0.005
_LONGEST_TICK_S = 0.25

_ARRIVAL_S = 0.2
"""How long a signal may take from kill(2) to its process."""

_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """How a sandbox is made."""

    clock_speed: Fraction = REAL_SPEED
    manual_clock: bool = False
    view: ViewKind = ViewKind.BIND
    intercept: bool = False
    """Whether sysinfo(2), statfs(2) and syslog(2) are answered by the machine as well."""
    duration_ns: int | None = None
    """How long it lasts, in the machine's time; None: until its owner ends it."""


class Server:
    """The whole of it, in the child of a fork."""

    def __init__(self, procfs: Procfs, options: SandboxOptions, owner: Channel) -> None:
        self.procfs = procfs
        self._options = options
        self._owner = owner
        self._owner_pid = os.getppid()
        self._up = threading.Event()
        self._operations: Operations
        self._supervisor: Supervisor
        self._binder: Binder
        self._stand_ins: StandIns
        self._view = View.of(options.view, len(procfs.machine.processes))
        self._began_ns = procfs.machine.now_ns
        self._began_s = time.monotonic()
        self._is_over = False
        self._chronicle = Chronicle(procfs.machine)
        self._machine = procfs.machine
        """The machine that the chronicle is about."""
        self._announced: dict[tuple[int, int], Sender] = {}
        """Who has been seen to send a signal that has not arrived yet, by pid and signal."""
        self.unbound_files = self._view.unbound(os.listdir(HOST_PROC))
        self._guests = Guests(self)
        procfs.sandboxed = True
        procfs.real_procfs = self._view.real_procfs

    # -- Making it -------------------------------------------------------------------

    def run(self) -> None:
        """Make the sandbox and serve it until the mount is gone."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _TERMINAL_SIGNALS)
        namespaces.new_namespaces()
        answer, _ = self._owner.ask({"unshared": True})
        namespaces.keep_mounts_private()
        self._binder = start_binder([self._owner])
        thread = threading.Thread(target=self._run, name="sandbox", daemon=True)
        thread.start()
        self._serve(only_root_mapped=answer["only_root_mapped"])

    def _serve(self, *, only_root_mapped: bool) -> None:
        options = MountOptions(
            allow_other=True,
            manual_clock=self._options.manual_clock,
            clock_speed=self._options.clock_speed,
            only_root_mapped=only_root_mapped,
        )
        serve(
            self.procfs,
            Path(FUSE_MOUNTPOINT),
            options,
            on_ready=self._up.set,
            attach=self._attach,
        )

    def _attach(self, operations: Operations, callers: Callers) -> None:
        self._operations = operations

    def _run(self) -> None:
        """Make the sandbox, then listen until it is over; ends the server."""
        with _last_words(self._owner), contextlib.ExitStack() as at_end:
            at_end.callback(self._tear_down)
            self._up.wait()
            # This thread can start no others when it has made the pid namespace.
            self._guests.start()
            self._set_up()
            self._owner.send({"ready": True})
            self._listen()

    def _set_up(self) -> None:
        self._supervisor = Supervisor()
        self._supervisor.prepare(self._view.kind)
        namespace = os.open(HOST_PROC / str(self._supervisor.process.pid) / "ns/mnt", os.O_RDONLY)
        self._binder.enter(namespace)
        os.close(namespace)
        bound = self._binder.bind(self._view.of_machine(os.listdir(HOST_PROC)))
        self._stand_ins = StandIns(self.procfs, self._supervisor, self._binder, self._view)
        self._stand_ins.on_death = self._chronicle.died
        with self.locked():
            self._stand_ins.begin()
            self._supervisor.set_last_pid(self._stand_ins.guest_pids_begin() - 1)
            self._operations.keep_up = self._keep_up
        bound.result()
        self._stand_ins.bound.result()

    def _tear_down(self) -> None:
        """End everything inside; the mounts go with the last process that sees them."""
        if hasattr(self, "_supervisor"):
            self._supervisor.kill()
        os.kill(self._binder.pid, signal.SIGKILL)
        os.waitpid(self._binder.pid, 0)

    # -- What the guests' thread needs -----------------------------------------------

    def locked(self) -> AbstractContextManager[None]:
        """Hold the machine, which is at the present; what has changed is passed on afterwards."""
        return self._operations.between_upcalls()

    def bind_guest(self, pid: int) -> None:
        """Wait until the files about the OOM killer that a guest has are the simulated ones."""
        self._binder.bind(self._view.of_guest(pid)).result()

    def note_kill(self, sender: Sender, pid: int, signo: int) -> None:
        """Hear who is about to send a simulated process a signal."""
        self._announced[pid, signo] = sender

    def note_arrival(self, process: Process, signo: int, sender_pid: int = 0) -> None:
        """Hear that a simulated process gets a signal now."""
        sender = self._announced.pop((process.pid, signo), None) or self._guest(sender_pid)
        self._chronicle.signalled(process, signo, sender)

    def _keep_up(self) -> None:
        machine = self.procfs.machine
        if machine is not self._machine:
            self._machine = machine
            self._chronicle.rebooted(machine)
        self._stand_ins.keep_up()
        self._guests.end_killed()
        self._chronicle.sample()

    # -- Listening -------------------------------------------------------------------

    def _listen(self) -> None:
        owner_is_gone = os.pidfd_open(self._owner_pid)
        handlers = {
            self._owner.fileno(): self._answer_owner,
            self._supervisor.events.fileno(): self._hear_supervisor,
            owner_is_gone: self._stop,
        }
        poll = select.poll()
        for fd in handlers:
            poll.register(fd, select.POLLIN)
        while True:
            ready = poll.poll(self._tick_s() * 1000)
            for fd, _ in ready:
                handlers[fd]()
            self._tick()

    def _stop(self) -> None:
        raise Closed

    def _tick_s(self) -> float:
        """Return how long to wait until something of the machine falls due."""
        procfs = self.procfs
        due_ns = procfs.machine.events.next_due_ns()
        if procfs.manual_clock or due_ns is None:
            return _LONGEST_TICK_S
        wait_s = float((due_ns - procfs.machine.now_ns) / procfs.clock_speed) / _NS_PER_S
        return min(max(wait_s, _SHORTEST_TICK_S), _LONGEST_TICK_S)

    def _tick(self) -> None:
        with self.locked():
            pass
        duration_ns = self._options.duration_ns
        lasted_ns = self.procfs.machine.now_ns - self._began_ns
        if duration_ns is not None and lasted_ns >= duration_ns and not self._is_over:
            self._is_over = True
            self._owner.send({"event": "over"})

    def _hear_supervisor(self) -> None:
        message, _ = self._supervisor.events.receive()
        if "signalled" in message:
            self._signalled(message["signalled"], message["signo"], message["sender"])
        elif "killed" in message:
            self._signalled(message["killed"], signal.SIGKILL, 0)
        else:
            self._await_arrivals()
            self._owner.send({"event": "command", **message})

    def _await_arrivals(self) -> None:
        """Hear of what a command has sent last: its end may be told before that.

        What cannot arrive, such as a second SIGKILL, is forgotten.
        """
        poll = select.poll()
        poll.register(self._supervisor.events, select.POLLIN)
        end = time.monotonic() + _ARRIVAL_S
        while self._announced and poll.poll(max(end - time.monotonic(), 0) * 1000):
            self._hear_supervisor()
        self._announced.clear()

    def _signalled(self, pid: int, number: int, sender_pid: int) -> None:
        with self.locked():
            process = self._stand_ins.process(pid)
            if process is None:
                self._announced.pop((pid, number), None)
                return
            self.note_arrival(process, number, sender_pid)
            self._stand_ins.signalled(process, number)

    def _guest(self, pid: int) -> Sender | None:
        """Return a real process inside as a sender, as far as it is known."""
        process = self.procfs.machine.processes.get(pid)
        return Sender(pid, process.comm) if process in self.procfs.adopted else None

    # -- What the owner asks ---------------------------------------------------------

    def _answer_owner(self) -> None:
        message, fds = self._owner.receive()
        try:
            answer, answer_fds = getattr(self, f"_do_{message['do']}")(message, fds)
        except OSError as error:
            answer, answer_fds = _refusal(error), []
        finally:
            for fd in fds:
                os.close(fd)
        self._owner.send({"answer": True, **answer}, answer_fds)
        for fd in answer_fds:
            os.close(fd)

    def _do_run(self, message: Message, fds: list[int]) -> tuple[Message, list[int]]:
        env = {**message["env"], "FAKEPROC": self._view.root}
        program = filter_program(intercept=self._options.intercept)
        command = {**message, "env": env, "filter": program.hex()}
        with self.locked():
            answer, listeners = self._supervisor.start(command, fds)
        for listener in listeners:
            self._guests.add(listener)
        return answer, []

    def _do_signal(self, message: Message, fds: list[int]) -> tuple[Message, list[int]]:
        with self.locked():
            self._supervisor.signal(message["pid"], message["signo"])
        return {}, []

    def _do_read(self, message: Message, fds: list[int]) -> tuple[Message, list[int]]:
        with self.locked():
            data = self._file(message["path"]).render()
        return {}, [data_descriptor(data)]

    def _do_write(self, message: Message, fds: list[int]) -> tuple[Message, list[int]]:
        data = take_data(os.dup(fds[0]))
        with self.locked():
            file = self._file(message["path"])
            open_file(file, os.O_WRONLY, self.procfs.machine.root).write(
                self.procfs.machine.root, data
            )
        return {}, []

    def _do_report(self, message: Message, fds: list[int]) -> tuple[Message, list[int]]:
        with self.locked():
            wall_s = time.monotonic() - self._began_s
            report = self._chronicle.finish(message["command"], message["exit_status"], wall_s)
        return {"summary": summary(report)}, [
            data_descriptor(json.dumps(report.to_json()).encode())
        ]

    def _file(self, path: str) -> File:
        node = self.procfs.lookup(path, self.procfs.machine.root)
        if not isinstance(node, File):
            raise IsADirectoryError(21, f"{path}: is no file.")
        return node


def be_server(procfs: Procfs, options: SandboxOptions, owner: Channel) -> NoReturn:
    """Be the server of a sandbox, in the child of a fork."""
    with _last_words(owner):
        Server(procfs, options, owner).run()
    raise AssertionError("unreachable: the process has ended")


@contextlib.contextmanager
def _last_words(owner: Channel) -> Iterator[None]:
    """End the process after the block, however that ends; tell the owner why."""
    status = 1
    try:
        yield
        status = 0
    except Closed:
        status = 0
    except (Lacking, MountError) as error:
        with contextlib.suppress(Closed):
            owner.send({"lacking" if isinstance(error, Lacking) else "error": str(error)})
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _refusal(error: OSError) -> Message:
    why = error.why if isinstance(error, Refused) else error.strerror
    return {"errno": error.errno, "error": why}
