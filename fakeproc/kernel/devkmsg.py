# SPDX-License-Identifier: MIT
"""/dev/kmsg: the kernel log record by record, and records of programs' own.

Rules: Documentation/ABI/testing/dev-kmsg and kernel/printk/printk.c; what reading, seeking
and poll(2) do was seen on 6.18.
"""

from __future__ import annotations

import errno
import os
import re
import select

from fakeproc.kernel.capability import CAP_SYSLOG
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.kept_sysctls import KEPT
from fakeproc.kernel.log import USER, Level
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.ratelimit import RateLimit
from fakeproc.kernel.task import Caller

LINE_MAX_BYTES = 1024 - 32
"""The longest write (LOG_LINE_MAX, as long as it was that: up to 6.2)."""

_PREFIX = re.compile(rb"<(\d{1,10})>")
_LIMIT = "kernel/printk_devkmsg"

HAS_RECORDS = select.POLLIN | select.POLLRDNORM
HAS_LOST = select.POLLERR | select.POLLPRI


class Devkmsg:
    """What one open of /dev/kmsg remembers (struct devkmsg_user): which record comes next."""

    def __init__(self, machine: Machine, flags: int, caller: Caller) -> None:
        """Begin with the first record of the log.

        EPERM where ``kernel.dmesg_restrict`` keeps the log from readers without CAP_SYSLOG,
        or ``kernel.printk_devkmsg`` (since 4.9) is off.
        """
        if _limit(machine) == "off":
            raise Refused(errno.EPERM)
        reads = flags & os.O_ACCMODE != os.O_WRONLY
        restricted = machine.kept_sysctls.text("kernel/dmesg_restrict") != "0"
        if reads and restricted and not caller.credentials.capable(CAP_SYSLOG):
            raise Refused(errno.EPERM)
        self.machine = machine
        self._blocks = not flags & os.O_NONBLOCK
        self._limit = RateLimit()
        self._next = machine.log.first_sequence
        self._told = 0
        """Up to which record poll(2) has told of."""

    def read(self, size: int) -> bytes:
        """Return the next record, whole.

        EAGAIN when there is none, EPIPE once when the next one has been overwritten.  EINVAL
        when it is longer than ``size``; it is passed over nevertheless.

        A log without any record, which no kernel has, ends at once for who would not wait:
        dmesg takes EAGAIN for the first record to mean that it has to ask the host's kernel.
        """
        log = self.machine.log
        if self._has_lost():
            self._next = log.first_sequence
            raise Refused(errno.EPIPE)
        record = log.record(self._next)
        if record is None:
            if log.next_sequence == 0 and not self._blocks:
                return b""
            raise Refused(errno.EAGAIN)
        self._next += 1
        text = record.render_extended()
        if len(text) > size:
            raise Refused(errno.EINVAL)
        return text

    def seek_first(self) -> None:
        """Go to the first record (SEEK_SET; and SEEK_DATA, as nobody clears the log)."""
        self._next = self.machine.log.first_sequence

    def seek(self, sequence: int) -> None:
        """Go to the record of this number: SEEK_END to the one that is not there yet."""
        self._next = sequence

    def poll(self) -> int:
        """Return what poll(2) sees: POLLIN for a record, POLLERR too if some are lost."""
        log = self.machine.log
        self._told = log.next_sequence
        if self._has_lost():
            return HAS_RECORDS | HAS_LOST
        return HAS_RECORDS if log.record(self._next) else 0

    def has_news(self) -> bool:
        """Say whether there is a record of which poll(2) has not told."""
        return self.machine.log.next_sequence > max(self._told, self._next)

    def may_write(self) -> bool:
        """Say whether a write is let through: of all, ten in five seconds (since 4.9)."""
        return _limit(self.machine) == "on" or self._limit.has_room(self.machine.now_ns)

    def write(self, data: bytes) -> int:
        """Append a record, or drop it when there are too many; nobody is told of that."""
        require_line(data)
        if _limit(self.machine) == "ratelimit":
            self._limit.roll_over(self.machine.now_ns)
            if not self._limit.take():
                return len(data)
        return write(self.machine, data)

    def _has_lost(self) -> bool:
        return self._next < self.machine.log.first_sequence


def require_line(data: bytes) -> None:
    """Refuse a write that is too long for a record, with EINVAL."""
    if len(data) > LINE_MAX_BYTES:
        raise Refused(errno.EINVAL)


def write(machine: Machine, data: bytes) -> int:
    """Append what a program has written, ``<priority>text``, to the log; return its length.

    Without a priority it is a warning.  Facility 0 is the kernel's own: it becomes 1, user
    (devkmsg_write).  EINVAL when it is too long.
    """
    require_line(data)
    line = data.split(b"\0")[0]
    level, facility = Level.WARNING, USER
    prefix = _PREFIX.match(line)
    if prefix is not None:
        priority = int(prefix[1]) & 0xFFFFFFFF
        level, facility = Level(priority & 7), priority >> 3 & 0xFF or USER
        line = line[prefix.end() :]
    text = line.removesuffix(b"\n").decode(errors="surrogateescape")
    machine.printk(level, text, facility=facility)
    return len(data)


def _limit(machine: Machine) -> str:
    """Return how writes are limited: on, off or ratelimit; on where that did not exist."""
    is_there = KEPT[_LIMIT].since <= machine.profile.version
    return machine.kept_sysctls.text(_LIMIT) if is_there else "on"
