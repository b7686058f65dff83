# SPDX-License-Identifier: MIT
"""pressure/: PSI, the time lost for want of a resource, and who is told of it."""

from __future__ import annotations

import errno
import os
import select
from dataclasses import dataclass
from functools import partial

from fakeproc.kernel.capability import CAP_SYS_RESOURCE
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.psi_trigger import Trigger, read_request
from fakeproc.kernel.task import Caller
from fakeproc.procfs.node import ALWAYS_READY, File, Node
from fakeproc.procfs.session import Session
from fakeproc.procfs.system.node import SystemFile, SystemNode, SystemRow

_NO_TRIGGER = ALWAYS_READY | select.POLLERR | select.POLLPRI


class PressureNode(SystemNode):
    """A pressure file: each descriptor may have one trigger, which goes when it is closed.

    A reboot ends it as well: poll(2) sees an error then, and another can be set.
    """

    has_events = True

    def __init__(self, session: Session, path: str, row: SystemFile) -> None:
        super().__init__(session, path, row)
        self._path = path
        self._trigger: Trigger | None = None
        self._privileged = False

    def opened(self, flags: int, caller: Caller) -> File:
        """Give the descriptor a trigger of its own; EPERM until 6.4 without CAP_SYS_RESOURCE."""
        node = PressureNode(self._session, self._path, self._row)
        node._privileged = caller.credentials.capable(CAP_SYS_RESOURCE)
        profile = self._session.machine.profile
        needs_right = profile.psi_triggers and not profile.psi_unprivileged_trigger
        if needs_right and not node._privileged and flags & os.O_ACCMODE != os.O_RDONLY:
            raise Refused(errno.EPERM)
        return node

    def store(self, caller: Caller, data: bytes) -> int:
        """Set the trigger; EBUSY if there is one, EOPNOTSUPP where nobody could be told."""
        session, machine = self._session, self._session.machine
        if not machine.profile.psi_triggers:
            raise Refused(errno.EIO)
        session.require_running()
        try:
            self._set_trigger(machine, data)
        except Refused as refused:
            session.answer_refusal(refused)
            raise
        return len(data)

    def _set_trigger(self, machine: Machine, data: bytes) -> None:
        if not self._session.has_poll:
            raise Refused(
                errno.EOPNOTSUPP, f"{self._path}: triggers take libfuse 3 (fakeproc[fuse3])."
            )
        if self._live_trigger() is not None:
            raise Refused(errno.EBUSY, f"{self._path}: this descriptor has a trigger.")
        resource = self._path.rpartition("/")[2]
        request = read_request(data, machine.profile, privileged=self._privileged)
        if request.full and resource == "cpu" and not machine.profile.psi_cpu_full_line:
            raise Refused(errno.EINVAL, f"{self._path}: full: accepted is some.")
        self._trigger = Trigger(
            machine, machine.pressure[resource], request, privileged=self._privileged
        )

    def takes_input(self) -> bool:
        """Say no: a trigger is its descriptor's alone."""
        return False

    def closed(self) -> None:
        """Take the trigger away."""
        if self._trigger is not None:
            self._trigger.close()

    def poll(self) -> int:
        """Return POLLPRI once for each event, POLLERR without a trigger (psi_trigger_poll)."""
        trigger = self._live_trigger()
        if trigger is None:
            return _NO_TRIGGER
        happened, trigger.event = trigger.event, False
        return ALWAYS_READY | select.POLLPRI if happened else ALWAYS_READY

    def has_event(self) -> bool:
        """Say whether poll(2) would see an event."""
        trigger = self._live_trigger()
        return trigger is None or trigger.event

    def _live_trigger(self) -> Trigger | None:
        trigger = self._trigger
        return trigger if trigger and trigger.machine is self._session.machine else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PressureFile(SystemFile):
    """A row: a pressure file."""

    def node(self, session: Session, path: str) -> Node:
        """Return the file."""
        return PressureNode(session, path, self)


def _render_pressure(name: str, machine: Machine) -> bytes:
    text = machine.pressure[name].render(machine.now_ns)
    if name == "cpu" and not machine.profile.psi_cpu_full_line:
        text = text[: text.index("full")]
    return text.encode()


ROWS: dict[str, SystemRow] = {
    f"pressure/{name}": PressureFile(
        reflects="the time in which tasks were stalled; takes triggers",
        mode=0o666,
        render=partial(_render_pressure, name),
        there=lambda profile: profile.psi_file,
    )
    for name in ("cpu", "io", "memory")
}
