# SPDX-License-Identifier: MIT
"""seccomp user notification: the filter that asks, and the listener that answers.

Made by hand from seccomp_unotify(2) and the kernel's headers (linux/seccomp.h, linux/filter.h),
so that nothing needs to be installed.  Whoever installs the filter should do so with
`INSTALL_FLAGS`: without the second one any signal would repeat a call that is being answered.
"""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

INSTALL_FLAGS = 1 << 3 | 1 << 5
"""SECCOMP_FILTER_FLAG_NEW_LISTENER (5.0) and _WAIT_KILLABLE_RECV (5.19; EINVAL before)."""


class Call(StrEnum):
    """The system calls that the filter knows, by name."""

    KILL = "kill"
    TKILL = "tkill"
    TGKILL = "tgkill"
    RT_SIGQUEUEINFO = "rt_sigqueueinfo"
    RT_TGSIGQUEUEINFO = "rt_tgsigqueueinfo"
    PIDFD_SEND_SIGNAL = "pidfd_send_signal"
    PROCESS_MRELEASE = "process_mrelease"
    EXECVE = "execve"
    EXECVEAT = "execveat"
    OPEN = "open"
    OPENAT = "openat"
    OPENAT2 = "openat2"
    CREAT = "creat"
    GETSID = "getsid"
    GETPRIORITY = "getpriority"
    SYSINFO = "sysinfo"
    STATFS = "statfs"
    FSTATFS = "fstatfs"
    SYSLOG = "syslog"


INTERCEPTED = frozenset({Call.SYSINFO, Call.STATFS, Call.FSTATFS, Call.SYSLOG})
"""What no file can fake: only asked about with --intercept."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """How an architecture numbers its calls."""

    audit: int
    """AUDIT_ARCH_*, which tells whose numbers they are."""
    numbers: dict[Call, int]
    foreign_bit: int = 0
    """Numbers from here on are those of another ABI (x32)."""


_ARCHITECTURES = {
    "x86_64": Architecture(
        0xC000003E,
        {
            Call.KILL: 62,
            Call.TKILL: 200,
            Call.TGKILL: 234,
            Call.RT_SIGQUEUEINFO: 129,
            Call.RT_TGSIGQUEUEINFO: 297,
            Call.PIDFD_SEND_SIGNAL: 424,
            Call.PROCESS_MRELEASE: 448,
            Call.EXECVE: 59,
            Call.EXECVEAT: 322,
            Call.OPEN: 2,
            Call.OPENAT: 257,
            Call.OPENAT2: 437,
            Call.CREAT: 85,
            Call.GETSID: 124,
            Call.GETPRIORITY: 140,
            Call.SYSINFO: 99,
            Call.STATFS: 137,
            Call.FSTATFS: 138,
            Call.SYSLOG: 103,
        },
        foreign_bit=0x40000000,
    ),
    "aarch64": Architecture(
        0xC00000B7,
        {
            Call.KILL: 129,
            Call.TKILL: 130,
            Call.TGKILL: 131,
            Call.RT_SIGQUEUEINFO: 138,
            Call.RT_TGSIGQUEUEINFO: 240,
            Call.PIDFD_SEND_SIGNAL: 424,
            Call.PROCESS_MRELEASE: 448,
            Call.EXECVE: 221,
            Call.EXECVEAT: 281,
            Call.OPENAT: 56,
            Call.OPENAT2: 437,
            Call.GETSID: 156,
            Call.GETPRIORITY: 141,
            Call.SYSINFO: 179,
            Call.STATFS: 43,
            Call.FSTATFS: 44,
            Call.SYSLOG: 116,
        },
    ),
}


def architecture() -> Architecture | None:
    """Return that of this machine; None where the numbers are not known."""
    return _ARCHITECTURES.get(platform.machine())


# -- The filter --------------------------------------------------------------------

_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000

# struct seccomp_data: the number, the architecture, the instruction, six arguments.
_AT_NUMBER, _AT_ARCHITECTURE, _AT_ARGUMENTS = 0, 4, 16

_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_IF_EQUAL, _IF_AT_LEAST = 0x15, 0x35

_FLAGS_ARGUMENT = {Call.OPEN: 1, Call.OPENAT: 2}
"""Where the calls that open a file have their flags; openat2 has them in memory."""


def filter_program(*, intercept: bool, of: Architecture | None = None) -> bytes:
    """Return an array of struct sock_filter that asks about what `Guests` answers.

    It lets everything else pass, also all calls of another architecture or ABI.  Nothing where
    the numbers of this machine's calls are not known.
    """
    arch = of or architecture()
    if arch is None:
        return b""
    return b"".join(_instructions(arch, intercept))


def _instructions(arch: Architecture, intercept: bool) -> Iterator[bytes]:
    yield _instruction(_LOAD, _AT_ARCHITECTURE)
    yield _instruction(_IF_EQUAL, arch.audit, then=1)
    yield _instruction(_RETURN, _ALLOW)
    yield _instruction(_LOAD, _AT_NUMBER)
    if arch.foreign_bit:
        yield _instruction(_IF_AT_LEAST, arch.foreign_bit, otherwise=1)
        yield _instruction(_RETURN, _ALLOW)
    for call, number in arch.numbers.items():
        if call in _FLAGS_ARGUMENT:
            yield from _if_for_writing(number, _FLAGS_ARGUMENT[call])
        elif intercept or call not in INTERCEPTED:
            yield _instruction(_IF_EQUAL, number, otherwise=1)
            yield _instruction(_RETURN, _NOTIFY)
    yield _instruction(_RETURN, _ALLOW)


def _if_for_writing(number: int, argument: int) -> Iterator[bytes]:
    """Ask when a file is opened for writing."""
    yield _instruction(_IF_EQUAL, number, otherwise=5)
    # The low half: flags are an int, and both architectures are little-endian.
    yield _instruction(_LOAD, _AT_ARGUMENTS + 8 * argument)
    yield _instruction(_AND, os.O_ACCMODE)
    yield _instruction(_IF_EQUAL, os.O_RDONLY, otherwise=1)
    yield _instruction(_RETURN, _ALLOW)
    yield _instruction(_RETURN, _NOTIFY)


def _instruction(code: int, value: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    """Return a struct sock_filter; the jumps say how many of those that follow to pass over."""
    return struct.pack("=HBBI", code, then, otherwise, value)


# -- The listener ------------------------------------------------------------------

_RECV, _SEND, _ID_VALID, _ADDFD = 0xC0502100, 0xC0182101, 0x40082102, 0x40182103
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_RESPONSE = struct.Struct("=QqiI")
_CONTINUE = 1
_ADDITION = struct.Struct("=QIIII")
_ADD_AND_SEND = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller gets."""

    value: int = 0
    error: int = 0
    """An errno; 0: none."""
    goes_on: bool = False
    """The kernel does what was asked for (SECCOMP_USER_NOTIF_FLAG_CONTINUE, 5.5)."""
    descriptor: int = -1
    """One of ours, of which the caller gets a copy (SECCOMP_ADDFD_FLAG_SEND, 5.14); ours is
    closed.  -1: none."""
    descriptor_flags: int = 0
    """O_CLOEXEC, where the caller's is to have it."""


GO_ON = Answer(goes_on=True)


@dataclass(frozen=True, slots=True)
class Notification:
    """A call that waits for an answer."""

    listener: int
    id: int
    tid: int
    """Who calls, as the pid namespace of the listener's process numbers it."""
    call: Call
    args: tuple[int, ...]
    """As the registers have them: 64 bits, without a sign."""

    def int_arg(self, index: int) -> int:
        """Return an argument that is an int."""
        value = self.args[index] & 0xFFFFFFFF
        return value - (value >> 31 << 32)

    @property
    def is_valid(self) -> bool:
        """Say whether the caller still waits, so that its tid is not another one's by now."""
        try:
            fcntl.ioctl(self.listener, _ID_VALID, struct.pack("=Q", self.id))
        except OSError:
            return False
        return True

    def answer(self, answer: Answer) -> None:
        """Answer; who has died meanwhile, or was interrupted, gets none."""
        if answer.descriptor >= 0:
            self._hand_over(answer)
            return
        flags = _CONTINUE if answer.goes_on else 0
        response = _RESPONSE.pack(self.id, answer.value, -answer.error, flags)
        with suppress(FileNotFoundError):
            fcntl.ioctl(self.listener, _SEND, response)

    def _hand_over(self, answer: Answer) -> None:
        flags = answer.descriptor_flags
        addition = _ADDITION.pack(self.id, _ADD_AND_SEND, answer.descriptor, 0, flags)
        try:
            with suppress(FileNotFoundError):
                fcntl.ioctl(self.listener, _ADDFD, addition)
        finally:
            os.close(answer.descriptor)


def receive(listener: int) -> Notification | None:
    """Return the next call; None when the one there was has been given up meanwhile.

    It waits for one: look with poll(2) before.
    """
    data = bytearray(_NOTIFICATION.size)
    try:
        fcntl.ioctl(listener, _RECV, data)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINTR):
            return None
        raise
    number_id, tid, _flags, number, _arch, _ip, *args = _NOTIFICATION.unpack(data)
    return Notification(listener, number_id, tid, _CALLS[number], tuple(args))


def _by_number() -> dict[int, Call]:
    arch = architecture()
    return {number: call for call, number in arch.numbers.items()} if arch else {}


_CALLS = _by_number()
