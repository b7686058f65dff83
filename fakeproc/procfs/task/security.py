# SPDX-License-Identifier: MIT
"""attr/: the attributes of a security module, of which the machine has none."""

from __future__ import annotations

import errno
from collections.abc import Mapping

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.task import Caller, Thread
from fakeproc.procfs.node import Directory
from fakeproc.procfs.session import Session
from fakeproc.procfs.task.folder import Folder
from fakeproc.procfs.task.node import TaskFile, TaskFolder, TaskRow


def render_attribute(machine: Machine, thread: Thread) -> bytes:
    """Refuse with EINVAL: there is no module that would answer (seen on 6.18)."""
    raise Refused(errno.EINVAL)


def store_attribute(machine: Machine, thread: Thread, caller: Caller, data: bytes) -> int:
    """Refuse: the others' EPERM, or EACCES before 5.13; one's own EINVAL."""
    if caller.tid == thread.tid:
        raise Refused(errno.EINVAL)
    raise Refused(errno.EPERM if machine.profile.attr_write_checks_mm else errno.EACCES)


def _attributes(machine: Machine, thread: Thread) -> Mapping[str, TaskRow]:
    return _ATTRIBUTES


def _attr(session: Session, thread: Thread) -> Directory:
    return Folder(session, thread, _attributes)


def _row(mode: int) -> TaskFile:
    return TaskFile(
        reflects="nothing: there is no security module",
        mode=mode,
        render=render_attribute,
        store=store_attribute if mode & 0o222 else None,
    )


_ATTRIBUTES = {
    "current": _row(0o666),
    "prev": _row(0o444),
    "exec": _row(0o666),
    "fscreate": _row(0o666),
    "keycreate": _row(0o666),
    "sockcreate": _row(0o666),
}

ROWS: dict[str, TaskRow] = {
    "attr": TaskFolder(reflects="nothing: there is no security module", directory=_attr),
}
