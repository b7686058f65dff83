# SPDX-License-Identifier: MIT
"""What the pressure files of the machine and of groups share: content, descriptors' triggers."""

from __future__ import annotations

import errno
import os
import select

from fakeproc.kernel.capability import CAP_SYS_RESOURCE
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.psi import Pressure
from fakeproc.kernel.psi_trigger import Trigger, read_request
from fakeproc.kernel.task import Caller
from fakeproc.procfs.node import ALWAYS_READY, File
from fakeproc.procfs.session import Session

NO_TRIGGER = ALWAYS_READY | select.POLLERR | select.POLLPRI


class DescriptorTrigger:
    """A descriptor's trigger, if it has one: it goes when that is closed.

    A reboot ends it as well: poll(2) sees an error then, and another can be set.
    """

    def __init__(self, session: Session, path: str, flags: int, caller: Caller) -> None:
        """Refuse opening for writing with EPERM without CAP_SYS_RESOURCE, from 5.2 to 6.3."""
        self._session = session
        self._path = path
        self._privileged = caller.credentials.capable(CAP_SYS_RESOURCE)
        self._trigger: Trigger | None = None
        profile = session.machine.profile
        needs_right = profile.psi_triggers and not profile.psi_unprivileged_trigger
        if needs_right and not self._privileged and flags & os.O_ACCMODE != os.O_RDONLY:
            raise Refused(errno.EPERM)

    def set(self, pressures: dict[str, Pressure], resource: str, data: bytes) -> None:
        """Set the trigger; EBUSY if there is one, EOPNOTSUPP where nobody could be told."""
        self._session.require_running()
        try:
            self._set(pressures, resource, data)
        except Refused as refused:
            self._session.answer_refusal(refused)
            raise

    def _set(self, pressures: dict[str, Pressure], resource: str, data: bytes) -> None:
        machine = self._session.machine
        if not self._session.has_poll:
            raise Refused(
                errno.EOPNOTSUPP, f"{self._path}: triggers take libfuse 3 (fakeproc[fuse3])."
            )
        if self._live() is not None:
            raise Refused(errno.EBUSY, f"{self._path}: this descriptor has a trigger.")
        request = read_request(data, machine.profile, privileged=self._privileged)
        if request.full and not _has_full(machine, resource):
            raise Refused(errno.EINVAL, f"{self._path}: full: accepted is some.")
        self._trigger = Trigger(machine, pressures[resource], request, privileged=self._privileged)

    def close(self) -> None:
        """Take the trigger away."""
        if self._trigger is not None:
            self._trigger.close()

    def poll(self) -> int:
        """Return POLLPRI once for each event, POLLERR without a trigger (psi_trigger_poll)."""
        trigger = self._live()
        if trigger is None:
            return NO_TRIGGER
        happened, trigger.event = trigger.event, False
        return ALWAYS_READY | select.POLLPRI if happened else ALWAYS_READY

    def has_event(self) -> bool:
        """Say whether poll(2) would see an event, or that there is no trigger any more."""
        trigger = self._live()
        return trigger is None or trigger.event

    def _live(self) -> Trigger | None:
        trigger = self._trigger
        return trigger if trigger and trigger.machine is self._session.machine else None


class TriggerFile(File):
    """A file whose descriptors may have a trigger; as a base it stands before the kind of file."""

    has_events = True

    trigger: DescriptorTrigger | None = None
    """The descriptor's; None: no descriptor has this file."""

    def takes_input(self) -> bool:
        """Say no: a trigger is its descriptor's alone."""
        return False

    def closed(self) -> None:
        """Take the trigger away."""
        if self.trigger is not None:
            self.trigger.close()

    def poll(self) -> int:
        """Return what the trigger has to tell; an error once what it watches is gone."""
        return NO_TRIGGER if self.trigger is None or self._is_gone() else self.trigger.poll()

    def has_event(self) -> bool:
        """Say whether it has something to tell."""
        return self.trigger is not None and (self._is_gone() or self.trigger.has_event())

    def _is_gone(self) -> bool:
        try:
            self.require_there()
        except Refused:
            return True
        return False


def render_pressure(machine: Machine, pressures: dict[str, Pressure], resource: str) -> str:
    """Return the content of a pressure file."""
    text = pressures[resource].render(machine.now_ns)
    return text if _has_full(machine, resource) else text[: text.index("full")]


def _has_full(machine: Machine, resource: str) -> bool:
    return resource != "cpu" or machine.profile.psi_cpu_full_line
