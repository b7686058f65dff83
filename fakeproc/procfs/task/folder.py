# SPDX-License-Identifier: MIT
"""`Folder`: a directory of a task that holds rows of its own, such as fd/ and ns/."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Mapping

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.task import Caller, Thread
from fakeproc.procfs.node import Attributes, Directory, Node
from fakeproc.procfs.session import Session
from fakeproc.procfs.task.node import Require, TaskRow, anybody

RowsOf = Callable[[Machine, Thread], Mapping[str, TaskRow]]


class Folder(Directory):
    """A directory with these permission bits, its entries made when they are asked for."""

    def __init__(
        self,
        session: Session,
        thread: Thread,
        rows_of: RowsOf,
        *,
        mode: int = 0o555,
        size: int = 0,
        require: Require = anybody,
    ) -> None:
        self._session = session
        self._thread = thread
        self._rows_of = rows_of
        self._mode = mode
        self._size = size
        self._require = require

    def attributes(self) -> Attributes:
        """Return the mode with the task's owner."""
        uid, gid = self._thread.process.owner(self._thread)
        return Attributes(stat.S_IFDIR | self._mode, uid, gid, nlink=2, size=self._size)

    def require_access(self, caller: Caller, wanted: int) -> None:
        """Refuse by the mode, and by what else it asks; a task's own threads may all."""
        if caller.tgid == self._thread.process.pid:
            return
        super().require_access(caller, wanted)
        self._require(self._session.machine, self._thread, caller)

    def entries(self, caller: Caller) -> Iterable[tuple[str, int]]:
        """Return the entries that the present kernel has."""
        self.require_access(caller, os.R_OK)
        return [(name, row.type) for name, row in self._rows().items()]

    def child(self, name: str, caller: Caller) -> Node:
        """Return an entry; ENOENT for none."""
        self.require_access(caller, os.X_OK)
        row = self._rows().get(name)
        if row is None:
            raise Refused(errno.ENOENT)
        return row.node(self._session, self._thread, caller)

    def _rows(self) -> dict[str, TaskRow]:
        machine = self._session.machine
        rows = self._rows_of(machine, self._thread)
        return {name: row for name, row in rows.items() if row.there(machine.profile)}
