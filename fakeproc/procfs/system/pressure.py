# SPDX-License-Identifier: MIT
"""pressure/: PSI, the time lost for want of a resource, and who is told of it."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from functools import partial

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.psi_trigger import cut_to_buffer
from fakeproc.kernel.task import Caller
from fakeproc.procfs.node import File, Node
from fakeproc.procfs.pressure import DescriptorTrigger, TriggerFile, render_pressure
from fakeproc.procfs.session import Session
from fakeproc.procfs.system.node import SystemFile, SystemNode, SystemRow


class PressureNode(TriggerFile, SystemNode):
    """A pressure file; what is written to it is its descriptor's trigger."""

    def __init__(self, session: Session, path: str, row: SystemFile) -> None:
        super().__init__(session, path, row)
        self._path = path

    def opened(self, flags: int, caller: Caller) -> File:
        """Give the descriptor room for a trigger."""
        node = PressureNode(self._session, self._path, self._row)
        node.trigger = DescriptorTrigger(self._session, self._path, flags, caller)
        return node

    def store(self, caller: Caller, data: bytes) -> int:
        """Set the trigger; EIO where there are none."""
        machine = self._session.machine
        if self.trigger is None or not machine.profile.psi_triggers:
            raise Refused(errno.EIO)
        resource = self._path.rpartition("/")[2]
        self.trigger.set(machine.pressure, resource, cut_to_buffer(data))
        return len(data)


@dataclass(frozen=True, slots=True, kw_only=True)
class PressureFile(SystemFile):
    """A row: a pressure file."""

    def node(self, session: Session, path: str) -> Node:
        """Return the file."""
        return PressureNode(session, path, self)


def _render_pressure(name: str, machine: Machine) -> bytes:
    return render_pressure(machine, machine.pressure, name).encode()


ROWS: dict[str, SystemRow] = {
    f"pressure/{name}": PressureFile(
        reflects="the time in which tasks were stalled; takes triggers",
        mode=0o666,
        render=partial(_render_pressure, name),
        there=lambda profile: profile.psi_file,
    )
    for name in ("cpu", "io", "memory")
}
