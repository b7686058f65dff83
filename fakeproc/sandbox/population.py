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
from dataclasses import dataclass

from fakeproc.callers import HOST_PROC, adopted_parent, host_status, real_credentials
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.task import MemorySizes, Process
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
        with self._server.locked():
            adopt = self._look(host_pid)
            # A pidfd that has fired: what was read may be of another process of that pid.
            if adopt is None or _has_ended(pidfd):
                return None
            process = self._apply(adopt)
            if process is None:
                return None
            guest = Guest(host_pid, pidfd, adopt, process, {host_pid: adopt.pid})
            self._guests[host_pid] = guest
            return guest

    def _apply(self, adopt: Adopt) -> Process | None:
        """Let the machine know of a guest; None where it does not take it."""
        procfs = self._server.procfs
        known = procfs.machine.processes.get(adopt.pid)
        if known is not None and procfs.adopted.get(known) != adopt.host_pid:
            log.warning("guest %d (%s): a simulated process has its pid", adopt.pid, adopt.comm)
            return None
        try:
            return adopt.apply(procfs).process
        except Refused as refused:
            log.info("guest %d (%s): is not known: %s", adopt.pid, adopt.comm, refused.why)
            return None

    def _look(self, host_pid: int, status: Mapping[str, str] | None = None) -> Adopt | None:
        """Read who a process of the host is; None if it has gone.

        Preconditions: the server is locked.
        """
        procfs = self._server.procfs
        status = status or host_status(host_pid)
        folder = HOST_PROC / str(host_pid)
        try:
            comm = (folder / "comm").read_bytes().removesuffix(b"\n")
            words = (folder / "cmdline").read_bytes().removesuffix(b"\0").split(b"\0")
            pid = sandbox_pid(status["NSpid"])
            return Adopt(
                host_pid=host_pid,
                pid=pid,
                tid=pid,
                comm=_text(comm),
                credentials=real_credentials(status, procfs.machine.full_capabilities),
                parent=adopted_parent(procfs, host_pid),
                cmdline=tuple(map(_text, words)) if words != [b""] else (),
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
                adopt = self._look(guest.host_pid)
                process = self._apply(adopt) if adopt else None
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
        if not guests:
            return
        with self._server.locked():
            for guest in guests:
                if guest.process in self._server.procfs.adopted:
                    self._compare(guest)
            self.end_killed()

    def _compare(self, guest: Guest) -> None:
        """Tell the machine what has changed about a guest.

        What does not fit into its memory stays as it was, and is tried again.
        """
        status = host_status(guest.host_pid)
        adopt = self._look(guest.host_pid, status)
        if adopt is None or guest.process.group_exit:
            return
        if adopt != guest.told:
            self._tell_name(guest, adopt)
        self._follow_threads(guest)
        mm = guest.process.mm
        if mm is None or "VmSize" not in status:
            return
        # Only what has changed there: what the machine does with its pages (swapping) stays.
        sizes = sizes_in(HOST_PROC / str(guest.host_pid), status)
        if sizes != guest.sizes:
            with suppress(Refused):
                self._machine.resize(mm, sizes)
                guest.sizes = sizes

    def _tell_name(self, guest: Guest, adopt: Adopt) -> None:
        if self._apply(adopt) is None:
            return
        if adopt.credentials != guest.told.credentials:
            self._machine.set_credentials(guest.process.threads, adopt.credentials)
        guest.told = adopt

    def _follow_threads(self, guest: Guest) -> None:
        here = _tasks(guest.host_pid)
        for tid in sorted(here - guest.tids.keys()):
            status = host_status(tid)
            if "NSpid" in status:
                guest.tids[tid] = sandbox_pid(status["NSpid"])
                self._by_tid[tid] = guest
                with suppress(Refused):
                    self._machine.clone_thread(guest.process.leader, tid=guest.tids[tid])
        for tid in guest.tids.keys() - here - {guest.host_pid}:
            self._by_tid.pop(tid, None)
            thread = self._machine.find_thread(guest.tids.pop(tid))
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


def _text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


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
