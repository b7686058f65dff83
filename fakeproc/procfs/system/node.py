# SPDX-License-Identifier: MIT
"""The kinds of rows of the table of the machine's files, and the nodes that they become."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable
from dataclasses import dataclass

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.profile import Profile
from fakeproc.kernel.task import Caller
from fakeproc.procfs.node import Attributes, File, Link, Node, Seek
from fakeproc.procfs.session import Session
from fakeproc.procfs.static import EmptyDirectory

Render = Callable[[Machine], bytes]
Store = Callable[[Machine, Caller, bytes], int]


def _always(profile: Profile) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemFile:
    """A row: permission bits, what the file reflects (for the README), reading, writing."""

    reflects: str
    mode: int = 0o444
    render: Render
    store: Store | None = None
    there: Callable[[Profile], bool] = _always
    """Which kernels have it."""

    def node(self, session: Session, path: str) -> Node:
        """Return the file."""
        return SystemNode(session, path, self)


def constant(reflects: str, text: str = "", mode: int = 0o444) -> SystemFile:
    """Return the row of a file that always says the same."""
    return SystemFile(reflects=reflects, mode=mode, render=lambda machine: text.encode())


ALWAYS_EMPTY = "nothing: always empty"
"""What such a file reflects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemLink:
    """A row: a symbolic link, the same for everybody."""

    reflects: str
    target: str
    there: Callable[[Profile], bool] = _always

    def node(self, session: Session, path: str) -> Node:
        """Return the link."""
        return SystemLinkNode(session, self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemFolder:
    """A row: a directory in which there is nothing but what other rows put there."""

    reflects: str = ALWAYS_EMPTY
    mode: int = 0o555
    there: Callable[[Profile], bool] = _always

    def node(self, session: Session, path: str) -> Node:
        """Return the directory."""
        return EmptyDirectory(self.mode)


SystemRow = SystemFile | SystemLink | SystemFolder


class SystemNode(File):
    """A file of the machine, owned by root."""

    def __init__(self, session: Session, path: str, row: SystemFile) -> None:
        self._session = session
        self._row = row
        self._is_sysctl = path.startswith("sys/")
        self.seek = Seek.DEFAULT if self._is_sysctl else Seek.SEQ

    def is_there(self) -> bool:
        """Say whether the present kernel has the file."""
        return self._row.there(self._session.machine.profile)

    def attributes(self) -> Attributes:
        """Return the row's mode; root's, as all of them are."""
        return Attributes(stat.S_IFREG | self._row.mode)

    def render(self) -> bytes:
        """Return the content."""
        return self._row.render(self._session.machine)

    def store(self, caller: Caller, data: bytes) -> int:
        """Write; EIO where the file takes no writes (seen on meminfo, 6.18)."""
        if self._row.store is None:
            raise Refused(errno.EIO)
        self._session.require_running()
        return self._row.store(self._session.machine, caller, data)

    def takes_input(self) -> bool:
        """Say whether the file takes writes."""
        return self._row.store is not None

    def require_chmod(self, caller: Caller) -> None:
        """Let root, but not for a sysctl (proc_notify_change, proc_sys_setattr)."""
        self.require_chown(caller)

    def require_chown(self, caller: Caller) -> None:
        """Let root, but not for a sysctl."""
        if self._is_sysctl:
            raise Refused(errno.EPERM)
        self.require_root(caller)

    def _overridden(self, caller: Caller) -> bool:
        # A sysctl's mode binds root as well (test_perm in proc_sysctl.c asks no capability).
        return not self._is_sysctl and super()._overridden(caller)


class SystemLinkNode(Link):
    """A link, owned by root."""

    def __init__(self, session: Session, row: SystemLink) -> None:
        self._session = session
        self._row = row

    def is_there(self) -> bool:
        """Say whether the present kernel has it."""
        return self._row.there(self._session.machine.profile)

    def target(self, caller: Caller) -> str:
        """Return where it leads."""
        return self._row.target
