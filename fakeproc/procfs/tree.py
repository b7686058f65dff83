# SPDX-License-Identifier: MIT
"""`Procfs`: the tree over a machine, from the root of /proc down."""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterable
from functools import lru_cache

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.task import Caller, Process
from fakeproc.procfs.cgroup_files import CgroupDirectory
from fakeproc.procfs.control import CONTROL_FILES
from fakeproc.procfs.node import Attributes, Directory, Link, Node
from fakeproc.procfs.session import HidePid, Session
from fakeproc.procfs.static import EmptyDirectory, StaticDirectory, alphabetically, by_length, nest
from fakeproc.procfs.system import SYSTEM_ENTRIES
from fakeproc.procfs.task.directory import TaskDirectory, tid_of
from fakeproc.procfs.task.node import Of

CONTROL_DIRECTORY = "fakeproc"
GUESTS = f"{CONTROL_DIRECTORY}/guests"
"""Where the simulated files of real processes are in a sandbox, by pid."""
REAL_PROCFS = f"{CONTROL_DIRECTORY}/real"
"""Where a sandbox may have the real /proc of its namespace mounted."""


class Procfs(Session):
    """The simulated /proc: which node there is under which path."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self._root = _Root(self)

    def lookup(self, path: str, caller: Caller) -> Node:
        """Return the node of an absolute path; ENOENT or ENOTDIR if there is none.

        EACCES where the caller may not search a directory on the way.

        Links in the middle are not followed: a kernel does that.
        """
        node: Node = self._root
        for name in _names_in(path):
            if not isinstance(node, Directory):
                raise Refused(errno.ENOTDIR)
            node.require_search(caller)
            node = node.child(name, caller)
        return node


@lru_cache(maxsize=8192)
def _names_in(path: str) -> tuple[str, ...]:
    return tuple(filter(None, path.split("/")))


class _Root(Directory):
    """/proc itself: fixed names, then self and thread-self, then the pids, ascending."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._fixed = _fixed_nodes(session)

    def attributes(self) -> Attributes:
        return Attributes(stat.S_IFDIR | 0o555, nlink=len(self._session.machine.processes) + 2)

    def require_search(self, caller: Caller) -> None:
        pass

    def entries(self, caller: Caller) -> Iterable[tuple[str, int]]:
        yield from self._fixed.entries(caller)
        for pid, process in sorted(self._session.machine.processes.items()):
            if not self._session.hides(process.leader, caller, HidePid.INVISIBLE):
                yield str(pid), stat.S_IFLNK if self._is_elsewhere(process) else stat.S_IFDIR

    def child(self, name: str, caller: Caller) -> Node:
        tid = tid_of(name)
        if tid is None:
            return self._fixed.child(name, caller)
        thread = self._session.find_thread(tid, caller)
        if thread is None or self._session.hides(thread, caller, HidePid.INVISIBLE):
            raise Refused(errno.ENOENT)
        if self._is_elsewhere(thread.process):
            return _RealProcess(f"{self._session.real_procfs}/{name}")
        return TaskDirectory(self._session, thread, Of.PROCESS)

    def _is_elsewhere(self, process: Process) -> bool:
        """Say whether a process is a real one, whose real directory is to be seen."""
        return bool(self._session.real_procfs) and process in self._session.adopted


class _Guests(Directory):
    """The simulated directories of the real processes in a sandbox."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def is_there(self) -> bool:
        return self._session.sandboxed

    def entries(self, caller: Caller) -> Iterable[tuple[str, int]]:
        return [(str(process.pid), stat.S_IFDIR) for process in self._session.adopted]

    def child(self, name: str, caller: Caller) -> Node:
        process = self._session.machine.processes.get(tid_of(name) or 0)
        if process is None or process not in self._session.adopted:
            raise Refused(errno.ENOENT)
        return TaskDirectory(self._session, process.leader, Of.PROCESS)


class _RealProcfs(EmptyDirectory):
    """An empty directory to mount the real /proc on."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session

    def is_there(self) -> bool:
        return self._session.sandboxed


class _RealProcess(Link):
    """What a real process has in the root where the real /proc is elsewhere."""

    def __init__(self, target: str) -> None:
        self._target = target

    def target(self, caller: Caller) -> str:
        return self._target


def _fixed_nodes(session: Session) -> StaticDirectory:
    rows = SYSTEM_ENTRIES.items()
    files: dict[str, Node] = {path: row.node(session, path) for path, row in rows}
    tables: dict[str, Node] = {
        path: files.pop(path) for path in [*files] if path.startswith("sys/")
    }
    for name, control in CONTROL_FILES.items():
        tables[f"{CONTROL_DIRECTORY}/{name}"] = control.node(session, control)
    tables[f"{CONTROL_DIRECTORY}/cgroup"] = CgroupDirectory(session)
    tables[GUESTS] = _Guests(session)
    tables[REAL_PROCFS] = _RealProcfs(session)
    tree = nest(files) | nest(tables, alphabetically)
    tree = {name: tree[name] for name in sorted(tree, key=by_length)}
    return StaticDirectory({**tree, "self": _Self(), "thread-self": _ThreadSelf()})


class _Self(Link):
    def target(self, caller: Caller) -> str:
        return str(caller.tgid)


class _ThreadSelf(Link):
    def target(self, caller: Caller) -> str:
        return f"{caller.tgid}/task/{caller.tid}"
