# SPDX-License-Identifier: MIT
"""The namespaces of a task, which are the initial ones: ns/, uid_map and its like."""

from __future__ import annotations

import errno
import re
import stat
from collections.abc import Mapping

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.profile import Profile
from fakeproc.kernel.task import Caller, Thread
from fakeproc.procfs.node import Attributes, Directory, File, Link, Node, Seek
from fakeproc.procfs.session import Session
from fakeproc.procfs.task.access import require_ptrace
from fakeproc.procfs.task.folder import Folder
from fakeproc.procfs.task.node import Of, Store, TaskFile, TaskFolder, TaskLink, TaskRow

_FIRST_INODE = 4026531832
_INODES = {
    name: _FIRST_INODE + place
    for place, name in enumerate(("mnt", "net", "time", "cgroup", "pid", "user", "uts", "ipc"))
}
"""The numbers of the initial namespaces (seen on 6.18)."""
_ALLOCATED_INODES = {"mnt": 4026531840, "net": 4026531957}
"""Those of two of them as they were before, when they were taken as they came."""

_SINCE = {"cgroup": 1, "pid_for_children": 2, "time": 3, "time_for_children": 3}
_NAMES = (
    *("net", "uts", "ipc", "pid", "pid_for_children", "user", "mnt", "cgroup"),
    *("time", "time_for_children"),
)
"""What there is, in the order of readdir (seen on 6.18)."""
_OUTLIVE_THE_TASK = ("pid", "user")

_OPENING_REQUESTS = (0xB701, 0xB702)
"""NS_GET_USERNS and NS_GET_PARENT (ioctl_ns(2))."""

_OFFSET = re.compile(rb"(monotonic|boottime|1|7) +-?\d+ +\d+", re.ASCII)


def _links(machine: Machine, thread: Thread) -> Mapping[str, TaskRow]:
    steps = ("six", "cgroup", "pid_for_children", "time")
    step = steps.index(machine.profile.namespaces)
    return {name: _link(name) for name in _NAMES if _SINCE.get(name, 0) <= step}


def _inode(profile: Profile, kind: str) -> int:
    fixed = profile.namespace_inodes == "fixed"
    return _INODES[kind] if fixed else _ALLOCATED_INODES.get(kind, _INODES[kind])


def _link(name: str) -> TaskLink:
    kind = name.removesuffix("_for_children")

    def target(machine: Machine, thread: Thread, caller: Caller) -> str:
        require_ptrace(machine, thread, caller)
        if thread.exiting and name not in _OUTLIVE_THE_TASK:
            raise Refused(errno.ENOENT)
        return f"{kind}:[{_inode(machine.profile, kind)}]"

    return TaskLink(reflects="an initial namespace", target=target)


class _Namespaces(Folder):
    """ns/: links that in procfs lead to their namespace whatever their text says.

    Here a kernel follows the text, so what it names is there too, though not listed.
    """

    def child(self, name: str, caller: Caller) -> Node:
        """Return a link, or the namespace that one of them leads to."""
        kind = name.partition(":")[0]
        if name == kind:
            return super().child(name, caller)
        link = super().child(kind, caller)
        if not isinstance(link, Link) or link.target(caller) != name:
            raise Refused(errno.ENOENT)
        return _Namespace(_inode(self._session.machine.profile, kind))


class _Namespace(File):
    """A namespace, known by its inode number."""

    def __init__(self, inode: int) -> None:
        self._inode = inode

    def attributes(self) -> Attributes:
        """Return what nsfs shows."""
        return Attributes(stat.S_IFREG | 0o444, inode=self._inode)

    def render(self) -> bytes:
        """Refuse: there is nothing to read (EINVAL)."""
        raise Refused(errno.EINVAL)

    def store(self, caller: Caller, data: bytes) -> int:
        """Refuse."""
        raise Refused(errno.EINVAL)

    def ioctl(self, request: int) -> int:
        """Refuse to open what it belongs to: EPERM, as to who is in an inner namespace."""
        raise Refused(errno.EPERM if request in _OPENING_REQUESTS else errno.ENOTTY)


def _ns(session: Session, thread: Thread) -> Directory:
    return _Namespaces(session, thread, _links, mode=0o511)


def render_map(machine: Machine, thread: Thread) -> bytes:
    """Return the map of the initial user namespace: every id is itself."""
    return b"%10d %10d %10d\n" % (0, 0, 2**32 - 1)


def store_map(machine: Machine, thread: Thread, caller: Caller, data: bytes) -> int:
    """Refuse: the initial namespace has its map (EPERM, whatever is written)."""
    raise Refused(errno.EPERM, f"/proc/{thread.tid}: the initial user namespace keeps its map.")


def store_setgroups(machine: Machine, thread: Thread, caller: Caller, data: bytes) -> int:
    """Take ``allow``, which it is; EPERM for ``deny``, EINVAL for the rest."""
    word = data.rstrip(b" \t\n")
    if word == b"deny":
        raise Refused(errno.EPERM, f"/proc/{thread.tid}/setgroups: groups can be set already.")
    if word != b"allow":
        raise Refused(errno.EINVAL, f"/proc/{thread.tid}/setgroups: accepted are allow and deny.")
    return len(data)


def render_offsets(machine: Machine, thread: Thread) -> bytes:
    """Return the clocks of the initial time namespace; nothing for who has exited."""
    if thread.exiting:
        return b""
    return b"monotonic           0         0\nboottime            0         0\n"


def store_offsets(machine: Machine, thread: Thread, caller: Caller, data: bytes) -> int:
    """Refuse: EINVAL for what is none, then EACCES: tasks run in that namespace (ESRCH: dead)."""
    lines = [line for line in data.split(b"\n") if line]
    if not all(_OFFSET.fullmatch(line) for line in lines):
        raise Refused(errno.EINVAL, "timens_offsets: accepted are lines such as boottime 1 0.")
    raise Refused(errno.ESRCH if thread.exiting else errno.EACCES)


def _map(store: Store = store_map) -> TaskFile:
    return TaskFile(
        reflects="every id is itself", mode=0o644, render=render_map, store=store, seek=Seek.SEQ
    )


ROWS: dict[str, TaskRow] = {
    "ns": TaskFolder(reflects="the initial namespaces", directory=_ns),
    "uid_map": _map(),
    "gid_map": _map(),
    "projid_map": _map(),
    "setgroups": TaskFile(
        reflects="groups can be set",
        mode=0o644,
        render=lambda machine, thread: b"allow\n",
        store=store_setgroups,
        seek=Seek.SEQ,
    ),
    "timens_offsets": TaskFile(
        reflects="the clocks of the machine",
        of=Of.PROCESS,
        mode=0o644,
        there=lambda profile: profile.namespaces == "time",
        render=render_offsets,
        store=store_offsets,
        seek=Seek.SEQ,
    ),
}
