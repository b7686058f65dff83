# SPDX-License-Identifier: MIT
"""The kinds of rows of the table of /proc/<pid>, and the nodes that they become."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.profile import Profile
from fakeproc.kernel.task import Caller, MemorySizes, Mm, Thread
from fakeproc.procfs.node import Attributes, Directory, File, Link, Node, Seek, attributes_of
from fakeproc.procfs.session import Session

Render = Callable[[Machine, Thread], bytes]
RenderFor = Callable[[Machine, Thread, Caller], bytes]
RenderRange = Callable[[Machine, Thread, Caller, int, int], bytes]
Store = Callable[[Machine, Thread, Caller, bytes], int]
Require = Callable[[Machine, Thread, Caller], None]
There = Callable[[Profile], bool]


class Of(Enum):
    """Which directories have the entry."""

    BOTH = "/proc/<pid> and /proc/<pid>/task/<tid>"
    PROCESS = "/proc/<pid>"
    THREAD = "/proc/<pid>/task/<tid>"


def _always(profile: Profile) -> bool:
    return True


def anybody(machine: Machine, thread: Thread, caller: Caller) -> None:
    """Refuse nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """A row of the table: what the entry reflects (for the README), and where it is."""

    reflects: str
    of: Of = Of.BOTH
    there: There = _always
    """Which kernels have it."""

    def node(self, session: Session, thread: Thread, caller: Caller) -> Node:
        """Return what a lookup of the name finds."""
        raise NotImplementedError

    @property
    def type(self) -> int:
        """The file type, as readdir tells it (stat.S_IFREG ...)."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFile(TaskRow):
    """A file: permission bits, what reading gives, what writing does."""

    mode: int = 0o444
    render: Render
    store: Store | None = None
    seek: Seek = Seek.GENERIC
    render_for: RenderFor | None = None
    """What reading gives, where that depends on the reader."""
    render_range: RenderRange | None = None
    """What reading so many bytes at an offset gives, where a pass is not of one content."""
    require: Require = anybody
    """Refuses an open(2) that the mode would let pass: by ptrace access, or ESRCH."""
    holds_mm: bool = False
    """Its descriptor holds the address space (proc_mem_open): it outlives the task, empty."""

    def node(self, session: Session, thread: Thread, caller: Caller) -> Node:
        """Return the file."""
        return TaskNode(session, thread, self, caller)

    @property
    def type(self) -> int:
        """A regular file."""
        return stat.S_IFREG


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLink(TaskRow):
    """A symbolic link: where it leads."""

    target: Callable[[Machine, Thread, Caller], str]
    mode: int = 0o777
    size: int = 0
    """Of a link to an open file (seen on 6.18)."""

    def node(self, session: Session, thread: Thread, caller: Caller) -> Node:
        """Return the link."""
        return TaskLinkNode(session, thread, self)

    @property
    def type(self) -> int:
        """A symbolic link."""
        return stat.S_IFLNK


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFolder(TaskRow):
    """A directory, made anew for each lookup."""

    directory: Callable[[Session, Thread], Directory]

    def node(self, session: Session, thread: Thread, caller: Caller) -> Node:
        """Return the directory."""
        return self.directory(session, thread)

    @property
    def type(self) -> int:
        """A directory."""
        return stat.S_IFDIR


class TaskNode(File):
    """A file of one task.  Owner as the task's; ESRCH once the task is gone.

    It asks the session for the machine: after a reboot the task is not of that one any more.
    """

    def __init__(self, session: Session, thread: Thread, row: TaskFile, reader: Caller) -> None:
        self._session = session
        self._thread = thread
        self._row = row
        self._reader = reader
        self.seek = row.seek

    def attributes(self) -> Attributes:
        """Return the row's mode with the task's owner."""
        uid, gid = self._thread.process.owner(self._thread)
        return attributes_of(stat.S_IFREG | self._row.mode, uid, gid)

    def require_there(self) -> None:
        """Refuse with ESRCH for a task that is gone, unless the descriptor outlives it."""
        if not self._row.holds_mm:
            require_there(self._session.machine, self._thread)

    def render(self) -> bytes:
        """Return the content; ESRCH for a task that is gone."""
        self.require_there()
        machine = self._session.machine
        if self._row.render_for is not None:
            return self._row.render_for(machine, self._thread, self._reader)
        return self._row.render(machine, self._thread)

    def read_range(self, size: int, offset: int) -> bytes | None:
        """Return a part of a file of which a pass need not be of one content."""
        if self._row.render_range is None:
            return None
        self.require_there()
        machine = self._session.machine
        return self._row.render_range(machine, self._thread, self._reader, size, offset)

    def opened(self, flags: int, caller: Caller) -> File:
        """Return the file; refuse by what it asks, beside its mode, of who opens it."""
        self._row.require(self._session.machine, self._thread, caller)
        return self

    def store(self, caller: Caller, data: bytes) -> int:
        """Write; EINVAL where the file takes no writes, whoever opened it (seen on 6.1)."""
        if self._row.store is None:
            raise Refused(errno.EINVAL)
        self._session.require_running()
        return self._row.store(self._session.machine, self._thread, caller, data)

    def takes_input(self) -> bool:
        """Say whether the file takes writes and the task is there."""
        thread = self._session.machine.find_thread(self._thread.tid)
        return self._row.store is not None and thread is self._thread


def require_there(machine: Machine, thread: Thread) -> None:
    """Refuse with ESRCH for a task that is gone."""
    if machine.find_thread(thread.tid) is not thread:
        raise Refused(errno.ESRCH, f"/proc/{thread.tid}: the task is gone.")


class TaskLinkNode(Link):
    """A link of one task."""

    def __init__(self, session: Session, thread: Thread, row: TaskLink) -> None:
        self._session = session
        self._thread = thread
        self._row = row

    def attributes(self) -> Attributes:
        """Return the row's mode with the task's owner."""
        uid, gid = self._thread.process.owner(self._thread)
        return Attributes(stat.S_IFLNK | self._row.mode, uid, gid, size=self._row.size)

    def target(self, caller: Caller) -> str:
        """Return where it leads; ESRCH for a task that is gone."""
        require_there(self._session.machine, self._thread)
        return self._row.target(self._session.machine, self._thread, caller)


def user_mm(thread: Thread) -> Mm | None:
    """Return the address space of a task (get_task_mm): what a kernel thread borrowed is not."""
    return None if thread.process.is_kthread else thread.mm


def user_sizes(thread: Thread) -> MemorySizes:
    """Return what the memory fields show: nothing for kernel threads and the dead."""
    mm = user_mm(thread)
    return MemorySizes() if mm is None else mm.sizes


def parent_pid(thread: Thread) -> int:
    """Return the pid of the process whose child this is; 0 for those that have none."""
    parent = thread.process.real_parent
    return parent.process.pid if parent else 0
