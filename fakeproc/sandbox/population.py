# SPDX-License-Identifier: MIT
"""The guests: real processes in the sandbox, each of which stands on the machine as well.

The host is the truth about a guest: who it is, how much memory it has, which threads, whether
it lives.  `Population` looks there and has the machine follow.  The one thing that goes the
other way is that a guest dies that the simulated kernel has killed.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from fakeproc.callers import adopted_parent, host_status, real_credentials
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.task import MemorySizes, Process
from fakeproc.mounts import HOST_PROC
from fakeproc.procfs.inputs import Adopt, Depart
from fakeproc.sandbox.protocol import Server
from fakeproc.snapshot.process import sizes_in

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Guest:
    """A real process of the sandbox."""

    host_pid: int
    """Its pid where the server is; the machine has it under that of the sandbox."""
    pidfd: int
    told: Adopt
    """What the machine knows of it."""
    process: Process
    """What stands for it on the machine; a reboot replaces it."""
    tids: dict[int, int]
    """Its tasks: the server's tid and that of the sandbox."""
    sizes: MemorySizes | None = None
    """What it had when the machine was last told; None: not told yet."""
    execs: bool = False
    """It was about to call execve(2) when it was last seen, so that it may be another program."""
    killed: bool = False
    """The simulated kernel has killed it, and so it has been killed."""


@dataclass(frozen=True, slots=True)
class _Sight:
    """What the host shows of a guest at one moment."""

    guest: Guest
    adopt: Adopt
    sizes: MemorySizes | None
    """None: it has no memory any more, or does not show it."""
    tids: dict[int, int]


class Population:
    """Everybody who is a guest.

    Preconditions: one thread calls these methods, without the server's lock, but for
    `end_killed`.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._guests: dict[int, Guest] = {}
        """By the server's pid; changes only while the server is locked."""
        self._by_tid: dict[int, Guest] = {}
        self._machine = server.procfs.machine
        """The machine that knows them."""

    def __iter__(self) -> Iterator[Guest]:
        return iter(list(self._guests.values()))

    # -- Who comes ---------------------------------------------------------------------

    def meet(self, tid: int, *, execs: bool = False) -> Guest | None:
        """Let the process of a task (by the server's number) be known to the machine.

        None where that cannot be: it has gone, its pid is a simulated one's, or there is no
        room for it.
        """
        guest = self._by_tid.get(tid) or self._find(tid)
        if guest is None or self._server.procfs.machine is not self._machine:
            self._readmit()
            guest = guest or self._admit(tid)
        elif guest.execs:
            self._follow([guest])
        if guest is not None:
            guest.execs = execs
        return guest

    def _find(self, tid: int) -> Guest | None:
        """Return the guest that has a task which was not there when it was last looked at."""
        guest = self._guests.get(int(host_status(tid).get("Tgid", tid)))
        if guest is not None:
            self._by_tid[tid] = guest
        return guest

    def _admit(self, tid: int) -> Guest | None:
        host_pid = int(host_status(tid).get("Tgid", 0))
        try:
            pidfd = os.pidfd_open(host_pid)
        except OSError:
            return None
        guest = self._adopt(host_pid, pidfd)
        if guest is None:
            os.close(pidfd)
            return None
        self._by_tid[tid] = guest
        self._server.bind_guest(guest.told.pid)
        return guest

    def _adopt(self, host_pid: int, pidfd: int) -> Guest | None:
        adopt = self._look(host_pid, host_status(host_pid))
        # A pidfd that has fired: what was read may be of another process of that pid.
        if adopt is None or _has_ended(pidfd):
            return None
        with self._server.locked():
            process = self._apply(adopt)
            if process is None:
                return None
            guest = Guest(host_pid, pidfd, adopt, process, {host_pid: adopt.pid})
            self._guests[host_pid] = guest
            return guest

    def _apply(self, adopt: Adopt) -> Process | None:
        """Let the machine know of a guest; None where it does not take it.

        Preconditions: the server is locked.
        """
        procfs = self._server.procfs
        adopt = replace(adopt, parent=adopted_parent(procfs, adopt.host_pid))
        known = procfs.machine.processes.get(adopt.pid)
        if known is not None and procfs.adopted.get(known) != adopt.host_pid:
            log.debug("guest %d (%s): a simulated process has its pid", adopt.pid, adopt.comm)
            return None
        try:
            return adopt.apply(procfs).process
        except Refused as refused:
            log.debug("guest %d (%s): is not known: %s", adopt.pid, adopt.comm, refused.why)
            return None

    def _look(self, host_pid: int, status: Mapping[str, str]) -> Adopt | None:
        """Read who a process of the host is, but for its parent; None if it has gone."""
        folder = HOST_PROC / str(host_pid)
        full = self._server.procfs.machine.full_capabilities
        try:
            comm = (folder / "comm").read_bytes().removesuffix(b"\n")
            pid = sandbox_pid(status["NSpid"])
            return Adopt(
                host_pid=host_pid,
                pid=pid,
                tid=pid,
                comm=comm.decode(errors="surrogateescape"),
                credentials=real_credentials(status, full),
                parent=0,
                cmdline=host_cmdline(host_pid),
                pgrp=sandbox_pid(status["NSpgid"]),
                session=sandbox_pid(status["NSsid"]),
            )
        except (OSError, KeyError):
            return None

    def _readmit(self) -> None:
        """Let a machine that has booted again know of those who are still there."""
        with self._server.locked():
            procfs = self._server.procfs
            if procfs.machine is self._machine:
                return
            self._machine = procfs.machine
            for guest in list(self._guests.values()):
                guest.sizes, guest.killed = None, False
                guest.tids = {guest.host_pid: guest.told.pid}
                process = self._apply(guest.told)
                if process is None:
                    self._forget(guest)
                else:
                    guest.process = process

    # -- What becomes of them ----------------------------------------------------------

    def measure(self) -> None:
        """Have the machine follow the guests: names, memory, threads, and who is new or gone.

        Whoever is new is measured the next time: a child of vfork(2) that has not called
        execve(2) yet would count its parent's memory a second time.
        """
        self._readmit()
        self.bury()
        known = list(self._guests.values())
        waiting = list(known)
        while waiting:
            # Their children may have children.
            waiting = [child for guest in waiting for child in self._admit_children(guest)]
        self._follow(known)

    def _admit_children(self, guest: Guest) -> list[Guest]:
        children = [pid for pid in _children(guest.host_pid) if pid not in self._guests]
        return [child for pid in children if (child := self._admit(pid))]

    def _follow(self, guests: list[Guest]) -> None:
        sights = [sight for guest in guests if (sight := self._see(guest))]
        if not sights:
            return
        with self._server.locked():
            for sight in sights:
                process = sight.guest.process
                if process in self._server.procfs.adopted and not process.group_exit:
                    self._tell(sight)
            self.end_killed()

    def _see(self, guest: Guest) -> _Sight | None:
        """Look at a guest; None if it has gone."""
        status = host_status(guest.host_pid)
        adopt = self._look(guest.host_pid, status)
        if adopt is None:
            return None
        folder = HOST_PROC / str(guest.host_pid)
        sizes = sizes_in(folder, status) if "VmSize" in status else None
        tids: dict[int, int] = {}
        for tid in sorted(_tasks(guest.host_pid)):
            number = guest.tids.get(tid) or _number_inside(tid)
            if number:
                tids[tid] = number
        return _Sight(guest, adopt, sizes, tids)

    def _tell(self, sight: _Sight) -> None:
        """Tell the machine what has changed about a guest.

        What does not fit into its memory stays as it was, and is tried again.
        """
        guest, machine = sight.guest, self._machine
        if sight.adopt != guest.told:
            self._tell_name(guest, sight.adopt)
        self._tell_threads(guest, sight.tids)
        mm = guest.process.mm
        # Only what has changed there: what the machine does with its pages (swapping) stays.
        if mm is not None and sight.sizes is not None and sight.sizes != guest.sizes:
            with suppress(Refused):
                machine.resize(mm, sight.sizes)
                guest.sizes = sight.sizes

    def _tell_name(self, guest: Guest, adopt: Adopt) -> None:
        if self._apply(adopt) is None:
            return
        if adopt.credentials != guest.told.credentials:
            self._machine.set_credentials(guest.process.threads, adopt.credentials)
        guest.told = adopt

    def _tell_threads(self, guest: Guest, tids: dict[int, int]) -> None:
        before, guest.tids = guest.tids, {guest.host_pid: guest.told.pid, **tids}
        for tid in guest.tids.keys() - before.keys():
            self._by_tid[tid] = guest
        for tid in before.keys() - guest.tids.keys():
            self._by_tid.pop(tid, None)
        numbers = set(guest.tids.values())
        for number in sorted(numbers.difference(before.values())):
            with suppress(Refused):
                self._machine.clone_thread(guest.process.leader, tid=number)
        for number in sorted(set(before.values()) - numbers):
            thread = self._machine.find_thread(number)
            if thread is not None and thread.process is guest.process and thread.alive:
                self._machine.exit_thread(thread)

    # -- Who goes ----------------------------------------------------------------------

    def bury(self) -> None:
        """Let those depart from the machine that have ended on the host."""
        ended = [guest for guest in self._guests.values() if _has_ended(guest.pidfd)]
        if not ended:
            return
        with self._server.locked():
            for guest in ended:
                Depart(guest.host_pid).apply(self._server.procfs)
                self._forget(guest)

    def _forget(self, guest: Guest) -> None:
        del self._guests[guest.host_pid]
        os.close(guest.pidfd)
        self._by_tid = {tid: other for tid, other in self._by_tid.items() if other is not guest}

    def end_killed(self) -> None:
        """Kill those that the simulated kernel has killed.

        Preconditions: the server is locked; any thread may call it.
        """
        if self._server.procfs.machine is not self._machine:
            return
        for guest in self._guests.values():
            if guest.process.group_exit and not guest.killed:
                guest.killed = True
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(guest.pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Forget everybody; the machine is left as it is."""
        for guest in list(self._guests.values()):
            self._forget(guest)


def _has_ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def sandbox_pid(numbers: str) -> int:
    """Return the number inside the sandbox of these (NSpid and the like), one a pid namespace.

    The first is the server's own, the next the sandbox's; further ones are of namespaces that
    a guest has made.
    """
    return int(numbers.split()[:2][-1])


def host_cmdline(host_pid: int) -> tuple[str, ...]:
    """Return the command line of a process of the host; OSError if it has gone."""
    data = (HOST_PROC / str(host_pid) / "cmdline").read_bytes().removesuffix(b"\0")
    return tuple(data.decode(errors="surrogateescape").split("\0")) if data else ()


def _number_inside(tid: int) -> int:
    """Return the number of a task inside the sandbox, or 0 if it has gone."""
    return sandbox_pid(host_status(tid).get("NSpid", "0"))


def _tasks(host_pid: int) -> set[int]:
    """Return the tids of a process; none if it has gone."""
    try:
        return set(map(int, os.listdir(HOST_PROC / str(host_pid) / "task")))
    except OSError:
        return set()


def _children(host_pid: int) -> list[int]:
    """Return the children of a process; none where the kernel does not tell them."""
    children: list[int] = []
    for tid in _tasks(host_pid):
        try:
            text = (HOST_PROC / str(host_pid) / "task" / str(tid) / "children").read_text()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESRCH):
                raise
            continue
        children.extend(map(int, text.split()))
    return children
