# SPDX-License-Identifier: MIT
"""`Guests`: the thread that looks after the real processes in the sandbox.

It answers what their seccomp filter asks about, has the machine follow them ten times a
second, and buries them.
"""

from __future__ import annotations

import logging
import math
import os
import select
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable

from fakeproc.kernel.errors import Refused
from fakeproc.sandbox.guest_memory import read_string
from fakeproc.sandbox.intercept import Intercept
from fakeproc.sandbox.population import Population
from fakeproc.sandbox.protocol import Server
from fakeproc.sandbox.seccomp import GO_ON, Answer, Call, Notification, receive
from fakeproc.sandbox.signals import Signals

log = logging.getLogger(__name__)

_PATH_ARGUMENT = {Call.OPEN: 0, Call.OPENAT: 1}
"""Where the calls that have their flags behind it have the path."""

MEASURE_INTERVAL_S = 0.1
"""How often the machine is told what has become of the guests."""


class Guests:
    """Looks after the guests of a sandbox, in a thread of its own between start and close.

    Any thread may call `add` and `end_killed`.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._population = Population(server)
        self._answers: dict[Call, Callable[[Notification], Answer]] = {
            **dict.fromkeys(Call, self._open),
            **dict.fromkeys((Call.EXECVE, Call.EXECVEAT), self._exec),
            **Signals(server, self._population).answers,
            **Intercept(server).answers,
        }
        self._listeners: set[int] = set()
        self._added: deque[int] = deque()
        self._wakeup = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stops = False
        self._thread = threading.Thread(target=self._run, name="guests", daemon=True)

    def start(self) -> None:
        """Begin to answer and to measure."""
        self._thread.start()

    def add(self, listener: int) -> None:
        """Answer what comes by this listener too, and close it when nobody is left behind it."""
        self._added.append(listener)
        os.eventfd_write(self._wakeup, 1)

    def end_killed(self) -> None:
        """Kill the guests that the simulated kernel has killed.

        Preconditions: the server is locked.
        """
        self._population.end_killed()

    def close(self) -> None:
        """End the thread; what is asked from then on fails with ENOSYS."""
        self._stops = True
        os.eventfd_write(self._wakeup, 1)
        if self._thread.is_alive():
            self._thread.join()
        for fd in (*self._listeners, *self._added, self._wakeup):
            os.close(fd)
        self._population.close()

    # -- The thread --------------------------------------------------------------------

    def _run(self) -> None:
        measure_at = time.monotonic()
        while not self._stops:
            while self._added:
                self._listeners.add(self._added.popleft())
            ready = self._wait(max(measure_at - time.monotonic(), 0))
            if any(guest.pidfd in ready for guest in self._population):
                self._guarded(self._population.bury)
            for listener in self._listeners & ready.keys():
                self._serve(listener, ready[listener])
            if time.monotonic() >= measure_at:
                self._guarded(self._population.measure)
                measure_at = time.monotonic() + MEASURE_INTERVAL_S

    def _wait(self, seconds: float) -> dict[int, int]:
        """Wait until there is something to do; return the descriptors and their events."""
        poll = select.poll()
        poll.register(self._wakeup, select.POLLIN)
        for fd in self._listeners:
            poll.register(fd, select.POLLIN)
        for guest in self._population:
            poll.register(guest.pidfd, select.POLLIN)
        ready = dict(poll.poll(math.ceil(seconds * 1000)))
        if self._wakeup in ready:
            os.eventfd_read(self._wakeup)
        return ready

    def _serve(self, listener: int, events: int) -> None:
        if events & select.POLLIN:
            self._guarded(lambda: self._answer(listener))
        else:
            self._listeners.remove(listener)
            os.close(listener)

    def _answer(self, listener: int) -> None:
        call = receive(listener)
        if call is not None:
            call.answer(self._guarded(lambda: self._answers[call.call](call)) or GO_ON)

    def _guarded(self, action: Callable[[], Answer | None]) -> Answer | None:
        """Do something; a bug is logged and counted, as one of an upcall is."""
        try:
            return action()
        except Refused as refused:
            return Answer(error=refused.error)
        except Exception:
            stats = self._server.procfs.stats
            stats.internal_errors += 1
            stats.last_error = traceback.format_exc().replace("\n", "\\n")
            log.exception("looking after the guests failed")
            return None

    # -- The calls that are no one's else ----------------------------------------------

    def _exec(self, call: Notification) -> Answer:
        """Let who becomes another program be known, with its files in place before it runs."""
        self._population.meet(call.tid, execs=True)
        return GO_ON

    def _open(self, call: Notification) -> Answer:
        """Let who opens a file for writing be known: it may be its own oom_score_adj.

        A file that could not be bound, as the host's kernel has none, is opened for it.
        """
        self._population.meet(call.tid)
        argument = _PATH_ARGUMENT.get(call.call)
        if argument is None:
            return GO_ON
        path = read_string(call.tid, call.args[argument]) or b""
        unbound = self._server.unbound_files.get(path)
        if unbound is None:
            return GO_ON
        flags = call.int_arg(argument + 1)
        descriptor = os.open(unbound, flags & os.O_ACCMODE | os.O_CLOEXEC)
        return Answer(descriptor=descriptor, descriptor_flags=flags & os.O_CLOEXEC)
