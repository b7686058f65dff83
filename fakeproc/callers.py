# SPDX-License-Identifier: MIT
"""Who calls: processes of the host, and the task of the machine that each stands for.

A process of the host may act as a task (`become` in ctl), and so do its descendants.
One that looks for itself (through /proc/self, say) is adopted: it gets a task with its
own pid and name, which goes when the process goes.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Mapping
from functools import cached_property, lru_cache

import psutil

from fakeproc.journal import Recorder
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.numa import ANYWHERE
from fakeproc.kernel.task import Caller, Credentials, TaskCaller, Thread, truncate_comm
from fakeproc.mounts import HOST_PROC
from fakeproc.procfs.inputs import Adopt, Depart
from fakeproc.procfs.tree import Procfs

"""Where the host's real /proc is, as the server sees it: never our own mount."""

_CLOCK_SLACK_S = 1.0
"""How exactly the time of a process and that of a file can be compared."""


def host_status(tid: int) -> dict[str, str]:
    """Return the fields of the real status file of a task; none if it is gone.

    psutil gives neither NSpid nor the capabilities.
    """
    try:
        data = (HOST_PROC / str(tid) / "status").read_bytes()
    except OSError:
        return {}
    # A name may hold any line break but this one, and what looks like a field behind it.
    lines = data.decode(errors="surrogateescape").split("\n")
    pairs = (line.partition(":\t") for line in lines)
    return {name: value for name, _, value in pairs}


def real_credentials(status: Mapping[str, str], full_capabilities: int) -> Credentials:
    """Return the effective ids and capabilities that a status file tells.

    Root has every capability of the machine, whatever the host has left it.
    """
    uid, gid = (int(status[field].split()[1]) for field in ("Uid", "Gid"))
    held = int(status["CapEff"], 16) if uid else full_capabilities
    return Credentials(uid, gid, held & full_capabilities)


@lru_cache(maxsize=256)
def _credentials(uid: int, gid: int, capabilities: int) -> Credentials:
    """Return these credentials; the same object each time, as making one takes a while."""
    return Credentials(uid, gid, capabilities)


class HostCaller:
    """A `Caller` that is a task of the host; what the host says of it is read when asked."""

    placement = ANYWHERE

    def __init__(self, credentials: Credentials, host_tid: int) -> None:
        self.credentials = credentials
        self.host_tid = host_tid

    @cached_property
    def _status(self) -> dict[str, str]:
        return host_status(self.host_tid) if self.host_tid else {}

    @property
    def host_pid(self) -> int:
        """The thread group, as the server's pid namespace numbers it."""
        return int(self._status.get("Tgid", self.host_tid))

    @property
    def tid(self) -> int:
        """The task, as its own pid namespace numbers it (the last of NSpid)."""
        return self._in_own_namespace("NSpid", self.host_tid)

    @property
    def tgid(self) -> int:
        """The thread group, as its own pid namespace numbers it (the last of NStgid)."""
        return self._in_own_namespace("NStgid", self.host_tid)

    @property
    def comm(self) -> str:
        """The name."""
        return self._status.get("Name", "unknown")

    def _in_own_namespace(self, field: str, default: int) -> int:
        return int(self._status.get(field, str(default)).split()[-1])


def adopted_parent(procfs: Procfs, host_pid: int) -> int:
    """Return the pid of the adopted process whose child this process of the host is, or 0."""
    parent = int(host_status(host_pid).get("PPid", 0))
    # Those adopted before a reboot are not of this machine, nor among these.
    adopted = (process for process, pid in procfs.adopted.items() if pid == parent)
    return next((process.pid for process in adopted if process.leader.alive), 0)


class Callers:
    """Turns what FUSE says of a caller into a `Caller`, and keeps adopted processes.

    ``owner_uid`` made the mount: it is root of the machine, like uid 0.  With
    ``real_capabilities`` root holds only the capabilities that the host gives it.
    """

    def __init__(
        self,
        procfs: Procfs,
        recorder: Recorder,
        *,
        owner_uid: int | None = None,
        real_capabilities: bool = False,
    ) -> None:
        self._procfs = procfs
        self._recorder = recorder
        self._owner_uid = os.getuid() if owner_uid is None else owner_uid
        self._real_capabilities = real_capabilities
        self._request_uid = -1
        self._watched: dict[int, int] = {}
        """Processes of the host that are adopted: pidfd and pid."""
        self._poll = select.poll()
        procfs.may_become = lambda caller: self._is_root(self._request_uid)
        procfs.adopt = self._adopt
        procfs.watch = self._watch_if_possible

    def identify(self, uid: int, gid: int, tid: int) -> Caller:
        """Return the caller of a request: the task it acts as, or itself."""
        self._request_uid = uid
        acting = self._acting_as(tid)
        if acting is not None:
            thread, host_pid = acting
            return TaskCaller.of(thread, host_pid)
        return HostCaller(self._credentials(uid, gid, tid), tid)

    def resume(self, since_s: float) -> None:
        """Go on with the processes that an earlier server knew, up to then (wall clock).

        Those that are gone depart: the pid may be another one's by now.
        """
        for host_pid in sorted({*self._procfs.adopted.values(), *self._procfs.acting}):
            if not self._find_again(host_pid, since_s):
                self._depart(host_pid)

    def _find_again(self, host_pid: int, since_s: float) -> bool:
        """Watch a process; say whether it is none that was started later."""
        try:
            self._watch(host_pid)
            return float(psutil.Process(host_pid).create_time()) <= since_s + _CLOCK_SLACK_S
        except (OSError, psutil.Error):
            return False

    def bury(self) -> None:
        """Let the tasks of adopted processes go that are gone from the host."""
        if not self._watched:
            return
        for pidfd, _ in self._poll.poll(0):
            # What cannot be recorded now is tried again with the next request.
            with contextlib.suppress(Refused):
                self._depart(self._watched[pidfd])
                self._poll.unregister(pidfd)
                os.close(pidfd)
                del self._watched[pidfd]

    def _depart(self, host_pid: int) -> None:
        depart = Depart(host_pid)
        if host_pid in self._procfs.acting or host_pid in self._procfs.adopted.values():
            with self._recorder.recorded(lambda: depart, durable=False):
                depart.apply(self._procfs)

    def close(self) -> None:
        """Release what the adopted processes are watched with."""
        for pidfd in self._watched:
            os.close(pidfd)
        self._watched.clear()

    def _is_root(self, uid: int) -> bool:
        return uid in (0, self._owner_uid)

    def _credentials(self, uid: int, gid: int, tid: int) -> Credentials:
        full, is_root = self._procfs.machine.full_capabilities, self._is_root(uid)
        if self._real_capabilities:
            held = int(host_status(tid).get("CapEff", "0"), 16) & full
        else:
            held = full if is_root else 0
        return _credentials(0, 0, held) if is_root else _credentials(uid, gid, held)

    def _acting_as(self, tid: int) -> tuple[Thread, int] | None:
        """Return the task that this caller or an ancestor of it acts as, and its own pid."""
        acting = self._procfs.acting
        if not acting:
            return None
        status = host_status(tid)
        host_pid = pid = int(status.get("Tgid", tid))
        while pid > 1:
            thread = acting.get(pid)
            if thread is not None and thread.alive:
                return thread, host_pid
            pid = int(status.get("PPid", 0))
            status = host_status(pid)
        return None

    def _adopt(self, caller: Caller, tid: int) -> Thread | None:
        """Return the task that stands for the caller; make it if need be.

        It goes by the caller's name, also when that has changed with an exec.
        """
        if not isinstance(caller, HostCaller) or not caller.host_pid:
            return None
        machine = self._procfs.machine
        try:
            if caller.tgid not in machine.processes:
                self._watch(caller.host_pid)
                self._record_adoption(caller, caller.tgid)
            thread = machine.find_thread(tid)
            renamed = tid == caller.tid and thread and thread.comm != truncate_comm(caller.comm)
            if thread is None or renamed:
                thread = self._record_adoption(caller, tid)
        except OSError:
            return None
        return thread

    def _record_adoption(self, caller: HostCaller, tid: int) -> Thread:
        adopt = Adopt(
            host_pid=caller.host_pid,
            pid=caller.tgid,
            tid=tid,
            comm=caller.comm,
            credentials=caller.credentials,
            parent=adopted_parent(self._procfs, caller.host_pid),
        )
        with self._recorder.recorded(lambda: adopt, durable=False):
            return adopt.apply(self._procfs)

    def _watch_if_possible(self, host_pid: int) -> None:
        """Hear of the end of a process, if it is there and there are descriptors enough."""
        with contextlib.suppress(OSError):
            self._watch(host_pid)

    def _watch(self, host_pid: int) -> None:
        """Hear of the end of a process."""
        if host_pid not in self._watched.values():
            pidfd = os.pidfd_open(host_pid)
            self._watched[pidfd] = host_pid
            self._poll.register(pidfd, select.POLLIN)
