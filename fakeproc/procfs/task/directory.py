# SPDX-License-Identifier: MIT
"""The directories of tasks: /proc/<pid>, its task/, and what is below that."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from functools import lru_cache

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.task import Caller, Thread
from fakeproc.procfs.node import Attributes, Directory, Node, attributes_of
from fakeproc.procfs.session import HidePid, Session
from fakeproc.procfs.task import TASK_ENTRIES
from fakeproc.procfs.task.node import Of, TaskFolder, TaskRow

_MODE = stat.S_IFDIR | 0o555


@lru_cache(maxsize=8192)
def tid_of(name: str) -> int | None:
    """Read a name that is a number as procfs writes it; leading zeros make it none."""
    if name.isascii() and name.isdecimal() and name[0] != "0" and len(name) <= 10:
        return int(name)
    return None


class TaskDirectory(Directory):
    """/proc/<pid>, or /proc/<pid>/task/<tid>."""

    def __init__(self, session: Session, thread: Thread, of: Of) -> None:
        self._session = session
        self._thread = thread
        self._of = of

    def attributes(self) -> Attributes:
        """Return the mode of all of them, with the task's owner."""
        uid, gid = self._thread.process.owner(self._thread)
        return attributes_of(_MODE, uid, gid, 9 if self._of is Of.PROCESS else 7)

    def require_access(self, caller: Caller, wanted: int) -> None:
        """Refuse writing to all, with EPERM: the directory is immutable (proc_pid_instantiate)."""
        if wanted & os.W_OK:
            raise Refused(errno.EPERM)
        super().require_access(caller, wanted)

    def require_search(self, caller: Caller) -> None:
        """Refuse nobody: hidepid is about what is in it."""

    def entries(self, caller: Caller) -> Iterable[tuple[str, int]]:
        """Return the entries that the present kernel has."""
        return [(name, row.type) for name, row in ENTRIES.items() if self._has(row)]

    def child(self, name: str, caller: Caller) -> Node:
        """Return an entry; ENOENT for none, EPERM for a task that hidepid keeps closed."""
        if self._session.hides(self._thread, caller, HidePid.NO_ACCESS):
            raise Refused(errno.EPERM)
        row = ENTRIES.get(name)
        if row is None or not self._has(row):
            raise Refused(errno.ENOENT)
        return row.node(self._session, self._thread, caller)

    def _has(self, row: TaskRow) -> bool:
        return row.of in (Of.BOTH, self._of) and row.there(self._session.machine.profile)


class _ThreadList(Directory):
    """/proc/<pid>/task: the threads of the group, the leader first."""

    def __init__(self, session: Session, thread: Thread) -> None:
        self._session = session
        self._thread = thread

    def attributes(self) -> Attributes:
        uid, gid = self._thread.process.owner(self._thread)
        return attributes_of(_MODE, uid, gid, len(self._thread.process.threads) + 2)

    def entries(self, caller: Caller) -> Iterable[tuple[str, int]]:
        return [(str(thread.tid), stat.S_IFDIR) for thread in self._thread.process.threads]

    def child(self, name: str, caller: Caller) -> Node:
        tid = tid_of(name)
        thread = None if tid is None else self._session.find_thread(tid, caller)
        if thread is None or thread.process is not self._thread.process:
            raise Refused(errno.ENOENT)
        return TaskDirectory(self._session, thread, Of.THREAD)


ENTRIES: dict[str, TaskRow] = {
    "task": TaskFolder(
        reflects="the threads", of=Of.PROCESS, directory=lambda s, t: _ThreadList(s, t)
    ),
    **TASK_ENTRIES,
}
"""All entries by name, in the kernel's order."""
