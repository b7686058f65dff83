# SPDX-License-Identifier: MIT
"""`Procfs`: the tree over a machine, from the root of /proc down."""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterable

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.task import Caller, Thread
from fakeproc.procfs.cgroup_files import CgroupDirectory
from fakeproc.procfs.control import CONTROL_FILES
from fakeproc.procfs.node import Attributes, Directory, Link, Node
from fakeproc.procfs.session import HidePid, Session
from fakeproc.procfs.system_files import SYSTEM_FILES, SystemNode
from fakeproc.procfs.task_files import TASK_FILES, TaskNode

CONTROL_DIRECTORY = "fakeproc"


class Procfs(Session):
    """The simulated /proc: which node there is under which path."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self._root = _Root(self)

    def lookup(self, path: str, caller: Caller) -> Node:
        """Return the node of an absolute path; ENOENT or ENOTDIR if there is none.

        Links in the middle are not followed: a kernel does that.
        """
        node: Node = self._root
        for name in filter(None, path.split("/")):
            if not isinstance(node, Directory):
                raise Refused(errno.ENOTDIR)
            node = node.child(name, caller)
        return node


class _Static(Directory):
    """A directory whose names are fixed, made of nested dictionaries.

    Of a directory in which the present kernel has nothing, it has nothing at all.
    """

    def __init__(self, nodes: dict[str, Node]) -> None:
        self._nodes = nodes

    def entries(self, caller: Caller) -> Iterable[tuple[str, int]]:
        nodes = self._nodes.items()
        return [(name, stat.S_IFMT(n.attributes().mode)) for name, n in nodes if n.is_there()]

    def child(self, name: str, caller: Caller) -> Node:
        node = self._nodes.get(name)
        if node is None or not node.is_there():
            raise Refused(errno.ENOENT)
        return node

    def is_there(self) -> bool:
        return any(node.is_there() for node in self._nodes.values())


class _Root(Directory):
    """/proc itself: fixed names, then self and thread-self, then the pids, ascending."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._fixed = _fixed_nodes(session)

    def attributes(self) -> Attributes:
        return Attributes(stat.S_IFDIR | 0o555, nlink=len(self._session.machine.processes) + 2)

    def entries(self, caller: Caller) -> Iterable[tuple[str, int]]:
        yield from self._fixed.entries(caller)
        for pid, process in sorted(self._session.machine.processes.items()):
            if not self._session.hides(process.leader, caller, HidePid.INVISIBLE):
                yield str(pid), stat.S_IFDIR

    def child(self, name: str, caller: Caller) -> Node:
        tid = _tid(name)
        if tid is None:
            return self._fixed.child(name, caller)
        thread = self._session.find_thread(tid, caller)
        if thread is None or self._session.hides(thread, caller, HidePid.INVISIBLE):
            raise Refused(errno.ENOENT)
        return _TaskDirectory(self._session, thread, with_task=True)


def _tid(name: str) -> int | None:
    """Read a name that is a number as procfs writes it; leading zeros make it none."""
    if name.isascii() and name.isdecimal() and name[0] != "0" and len(name) <= 10:
        return int(name)
    return None


def _fixed_nodes(session: Session) -> _Static:
    files: dict[str, Node] = {
        path: SystemNode(session, path, row) for path, row in SYSTEM_FILES.items()
    }
    for name, control in CONTROL_FILES.items():
        files[f"{CONTROL_DIRECTORY}/{name}"] = control.node(session, control)
    files[f"{CONTROL_DIRECTORY}/cgroup"] = CgroupDirectory(session)
    tree = _nest(files)
    return _Static({**tree, "self": _Self(), "thread-self": _ThreadSelf()})


def _nest(files: dict[str, Node]) -> dict[str, Node]:
    """Turn paths into directories of directories, in alphabetical order."""
    here: dict[str, Node] = {}
    below: dict[str, dict[str, Node]] = {}
    for path, node in files.items():
        head, _, rest = path.partition("/")
        if rest:
            below.setdefault(head, {})[rest] = node
        else:
            here[head] = node
    here |= {name: _Static(_nest(nodes)) for name, nodes in below.items()}
    return dict(sorted(here.items()))


class _Self(Link):
    def target(self, caller: Caller) -> str:
        return str(caller.tgid)


class _ThreadSelf(Link):
    def target(self, caller: Caller) -> str:
        return f"{caller.tgid}/task/{caller.tid}"


class _TaskDirectory(Directory):
    """/proc/<pid>, or /proc/<pid>/task/<tid>, which has no task/ of its own."""

    def __init__(self, session: Session, thread: Thread, *, with_task: bool) -> None:
        self._session = session
        self._thread = thread
        self._with_task = with_task

    def attributes(self) -> Attributes:
        uid, gid = self._thread.process.owner(self._thread)
        return Attributes(stat.S_IFDIR | 0o555, uid, gid, nlink=9 if self._with_task else 7)

    def entries(self, caller: Caller) -> Iterable[tuple[str, int]]:
        if self._with_task:
            yield "task", stat.S_IFDIR
        for name in TASK_FILES:
            yield name, stat.S_IFREG

    def child(self, name: str, caller: Caller) -> Node:
        if self._session.hides(self._thread, caller, HidePid.NO_ACCESS):
            raise Refused(errno.EPERM)
        if name == "task" and self._with_task:
            return _ThreadList(self._session, self._thread)
        row = TASK_FILES.get(name)
        if row is None:
            raise Refused(errno.ENOENT)
        return TaskNode(self._session, self._thread, row, caller.placement)


class _ThreadList(Directory):
    """/proc/<pid>/task: the threads of the group, the leader first."""

    def __init__(self, session: Session, thread: Thread) -> None:
        self._session = session
        self._thread = thread

    def attributes(self) -> Attributes:
        uid, gid = self._thread.process.owner(self._thread)
        nlink = len(self._thread.process.threads) + 2
        return Attributes(stat.S_IFDIR | 0o555, uid, gid, nlink)

    def entries(self, caller: Caller) -> Iterable[tuple[str, int]]:
        return [(str(thread.tid), stat.S_IFDIR) for thread in self._thread.process.threads]

    def child(self, name: str, caller: Caller) -> Node:
        tid = _tid(name)
        thread = None if tid is None else self._session.find_thread(tid, caller)
        if thread is None or thread.process is not self._thread.process:
            raise Refused(errno.ENOENT)
        return _TaskDirectory(self._session, thread, with_task=False)
