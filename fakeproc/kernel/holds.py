# SPDX-License-Identifier: MIT
"""What keeps tasks from dying, and for how long."""

from __future__ import annotations

import errno
import signal
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.events import Event
from fakeproc.kernel.task import Hold, Process, State, Thread

if TYPE_CHECKING:
    from fakeproc.kernel.machine import Machine

CORE_DUMPED = 0x80
"""The bit of an exit code that tells of a core (WCOREDUMP)."""


@dataclass(slots=True)
class _Held:
    awake: State
    """What the task was, running or sleeping."""
    for_ns: int | None
    release: Event | None = None


class Holds:
    """The tasks that are held; `Thread.hold` says how each of them is."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._held: dict[Thread, _Held] = {}

    def place(self, thread: Thread, kind: Hold, for_ns: int | None) -> None:
        """Hold a task; what held it before does so no more.

        The time that is left runs from now on; for `Hold.AT_EXIT` from when the task stops
        there.
        """
        if kind is Hold.COREDUMP:
            self._dump_core(thread.process)
        awake = self._let_go(thread)
        thread.hold = kind
        self._held[thread] = _Held(awake, for_ns)
        if kind is not Hold.AT_EXIT:
            self._count_down(thread)
        self._machine.settle(thread, awake)
        self._machine.die_if_killed(thread.process)

    def release(self, thread: Thread) -> None:
        """Let a task go on; if it must die, it does."""
        if thread.hold is Hold.COREDUMP:
            self.end_dump(thread.process)
        self._machine.settle(thread, self._let_go(thread))
        self._machine.die_if_killed(thread.process)

    def thaw(self, thread: Thread) -> None:
        """Take a task out of the freezer, so that it can die."""
        if thread.hold is Hold.FROZEN:
            self.release(thread)

    def stop_at_exit(self, thread: Thread) -> None:
        """Let a killed task stop on its way out, before it gives anything back."""
        self._machine.set_state(thread, State.TRACED)
        thread.fatal_pending = False
        if self._held[thread].release is None:
            self._count_down(thread)

    def end_dump(self, process: Process) -> None:
        """Let a process that dumps core do so no more; nothing happens to another one."""
        process.coredumping = False
        for thread in process.threads:
            if thread.hold is Hold.COREDUMP:
                self._let_go(thread)

    def forget(self, thread: Thread) -> None:
        """Drop what is known of a task that exits."""
        self._let_go(thread)

    def left_ns(self, thread: Thread) -> int | None:
        """Return how long the hold still lasts, or None when no time has been set."""
        held = self._held.get(thread)
        if held is None or held.release is None:
            return None
        return held.release.due_ns - self._machine.now_ns

    def for_ns(self, thread: Thread) -> int | None:
        """Return how long the hold lasts, from now on or from when it stops; None: for good."""
        held = self._held.get(thread)
        if held is None or held.release is not None:
            return self.left_ns(thread)
        return held.for_ns

    def restore(self, thread: Thread, kind: Hold, for_ns: int | None) -> None:
        """Hold a task as it was held before; nothing comes of it."""
        thread.hold = kind
        self._held[thread] = _Held(State.SLEEPING, for_ns)
        if kind is not Hold.AT_EXIT or thread.state is State.TRACED:
            self._count_down(thread)

    def _let_go(self, thread: Thread) -> State:
        """End the hold, if there is one; return what the task did before."""
        thread.hold = Hold.NONE
        held = self._held.pop(thread, None)
        if held is None:
            return thread.state if thread.state is State.RUNNING else State.SLEEPING
        if held.release is not None:
            held.release.cancel()
        return held.awake

    def _count_down(self, thread: Thread) -> None:
        held = self._held[thread]
        if held.for_ns is not None:
            due_ns = self._machine.now_ns + held.for_ns
            held.release = self._machine.events.at(due_ns, partial(self.release, thread))

    def _dump_core(self, process: Process) -> None:
        """Kill a process as by SIGABRT; its threads keep the mm until the core is written."""
        if process.group_exit:
            raise Refused(errno.EINVAL, f"{process.pid}: is dying already, it dumps no core.")
        self._machine.begin_group_exit(process, signal.SIGABRT | CORE_DUMPED)
        process.coredumping = True
        for thread in process.threads:
            if thread.alive and thread.hold is Hold.NONE:
                thread.hold = Hold.COREDUMP
                thread.fatal_pending = False
