# SPDX-License-Identifier: MIT
"""Who calls: processes of the host, and the task of the machine that each stands for.

A process of the host may act as a task (`become` in ctl), and so do its descendants.
One that looks for itself (through /proc/self, say) is adopted: it gets a task with its
own pid and name, which goes when the process goes.
"""

from __future__ import annotations

import os
import select
from functools import cached_property
from pathlib import Path

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import sizes_for
from fakeproc.kernel.numa import ANYWHERE
from fakeproc.kernel.task import Caller, Credentials, Process, TaskCaller, Thread, truncate_comm
from fakeproc.procfs.session import Session

HOST_PROC = Path("/proc")
"""Where the host's real /proc is, as the server sees it: never our own mount."""


def host_status(tid: int) -> dict[str, str]:
    """Return the fields of the real status file of a task; none if it is gone.

    psutil gives neither NSpid nor the capabilities.
    """
    try:
        text = (HOST_PROC / str(tid) / "status").read_text(errors="surrogateescape")
    except OSError:
        return {}
    pairs = (line.partition(":\t") for line in text.splitlines())
    return {name: value for name, _, value in pairs}


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


class Callers:
    """Turns what FUSE says of a caller into a `Caller`, and keeps adopted processes.

    ``owner_uid`` made the mount: it is root of the machine, like uid 0.  With
    ``real_capabilities`` root holds only the capabilities that the host gives it.
    """

    def __init__(
        self, session: Session, *, owner_uid: int | None = None, real_capabilities: bool = False
    ) -> None:
        self._session = session
        self._owner_uid = os.getuid() if owner_uid is None else owner_uid
        self._real_capabilities = real_capabilities
        self._request_uid = -1
        self._adopted: dict[int, Process] = {}
        self._poll = select.poll()
        session.may_become = lambda caller: self._is_root(self._request_uid)
        session.adopt = self._adopt

    def identify(self, uid: int, gid: int, tid: int) -> Caller:
        """Return the caller of a request: the task it acts as, or itself."""
        self._request_uid = uid
        acting = self._acting_as(tid)
        if acting is not None:
            thread, host_pid = acting
            return TaskCaller.of(thread, host_pid)
        return HostCaller(self._credentials(uid, gid, tid), tid)

    def bury(self) -> None:
        """Let the tasks of adopted processes go that are gone from the host."""
        if not self._adopted:
            return
        for pidfd, _ in self._poll.poll(0):
            self._poll.unregister(pidfd)
            os.close(pidfd)
            process = self._adopted.pop(pidfd)
            self._session.adopted.discard(process)
            machine = self._session.machine
            if machine.processes.get(process.pid) is process:
                if not process.is_zombie:
                    machine.exit_group(process)
                machine.reap(process)

    def close(self) -> None:
        """Release what the adopted processes are watched with."""
        for pidfd in self._adopted:
            os.close(pidfd)
        self._adopted.clear()

    def _is_root(self, uid: int) -> bool:
        return uid in (0, self._owner_uid)

    def _credentials(self, uid: int, gid: int, tid: int) -> Credentials:
        full = self._session.machine.full_capabilities
        if self._real_capabilities:
            held = int(host_status(tid).get("CapEff", "0"), 16) & full
        else:
            held = full if self._is_root(uid) else 0
        return Credentials(0, 0, held) if self._is_root(uid) else Credentials(uid, gid, held)

    def _acting_as(self, tid: int) -> tuple[Thread, int] | None:
        """Return the task that this caller or an ancestor of it acts as, and its own pid."""
        acting = self._session.acting
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
        machine = self._session.machine
        try:
            process = machine.processes.get(caller.tgid) or self._adopt_process(caller)
            thread = machine.find_thread(tid) or machine.clone_thread(process.leader, tid=tid)
        except (OSError, Refused):
            return None
        if tid == caller.tid:
            machine.rename(thread, caller.comm)
        return thread

    def _adopt_process(self, caller: HostCaller) -> Process:
        """Make a process, as the child of the caller's adopted parent if it has one."""
        pidfd = os.pidfd_open(caller.host_pid)
        try:
            process = self._session.machine.spawn(
                truncate_comm(caller.comm),
                parent=self._adopted_parent(caller.host_pid),
                pid=caller.tgid,
                credentials=caller.credentials,
                sizes=sizes_for(),
            )
        except Refused:
            os.close(pidfd)
            raise
        self._adopted[pidfd] = process
        self._session.adopted.add(process)
        self._poll.register(pidfd, select.POLLIN)
        return process

    def _adopted_parent(self, host_pid: int) -> Thread | None:
        parent = int(host_status(host_pid).get("PPid", 0))
        process = self._session.machine.processes.get(parent)
        # Those adopted before a reboot are not of this machine, nor in this set.
        if process is None or process not in self._session.adopted or process.leader.exiting:
            return None
        return process.leader
