# SPDX-License-Identifier: MIT
"""System calls in a live kernel, and what tasks do with files by them; runs in that kernel."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple, Protocol

OPEN_FLAGS = {
    "rdonly": os.O_RDONLY,
    "wronly": os.O_WRONLY,
    "rdwr": os.O_RDWR,
    "append": os.O_APPEND,
    "trunc": os.O_TRUNC,
    "creat": os.O_CREAT,
    "excl": os.O_EXCL,
    "nonblock": os.O_NONBLOCK,
}
"""The flags of scenarios."""

_STAT_SIZE = 144


class Call(IntEnum):
    """System calls of x86_64, the only architecture that User-Mode Linux runs on."""

    READ = 0
    WRITE = 1
    OPEN = 2
    CLOSE = 3
    FSTAT = 5
    LSEEK = 8
    MMAP = 9
    RT_SIGACTION = 13
    RT_SIGPROCMASK = 14
    PREAD64 = 17
    PWRITE64 = 18
    WRITEV = 20
    EXECVE = 59
    EXIT = 60
    WAIT4 = 61
    FTRUNCATE = 77
    PTRACE = 101
    SETRESUID = 117
    SETRESGID = 119
    CAPSET = 126
    MLOCKALL = 151
    PRCTL = 157
    EXIT_GROUP = 231

    # What actor.c has besides.
    CLONE = -1
    """Flags of clone(2), and the addresses of the names of the new task's FIFOs, or 0, 0."""
    TOUCH = -2
    """Address, length, whether to write."""
    HOG = -3
    """Limit and step in kB; the result is how much it took."""


class Pointer(NamedTuple):
    """An argument that is the address of a place in the buffer."""

    offset: int = 0


class Caller(Protocol):
    """Something that makes system calls."""

    buffer: int
    """The address of its buffer."""

    def call(
        self, number: int, *arguments: int | Pointer, payload: bytes = b"", room: int = 0
    ) -> tuple[int, bytes]:
        """Make a system call; return its result, -errno included, and the buffer's beginning."""


def errno_name(result: int) -> str:
    """Return the symbolic name of a negative result."""
    return errno.errorcode[-result]


def failing(result: int) -> int | str:
    """Return a result as recordings have it."""
    return errno_name(result) if result < 0 else result


def open_file(caller: Caller, path: str, flags: list[str]) -> int:
    """Open a file; return the descriptor or -errno."""
    bits = 0
    for flag in flags:
        bits |= OPEN_FLAGS[flag]
    return caller.call(Call.OPEN, Pointer(), bits, 0o644, payload=path.encode() + b"\0")[0]


def close_file(caller: Caller, fd: int) -> None:
    """Close it."""
    caller.call(Call.CLOSE, fd)


def operate(caller: Caller, fd: int, operation: list[Any]) -> Any:
    """Do one operation of a scenario on a descriptor; return what a recording says of it."""
    name, *arguments = operation
    return _OPERATIONS[name](caller, fd, *arguments)


def _write(caller: Caller, fd: int, text: str) -> int | str:
    data = text.encode("latin-1")
    return failing(caller.call(Call.WRITE, fd, Pointer(), len(data), payload=data)[0])


def _writebad(caller: Caller, fd: int, size: int) -> int | str:
    return failing(caller.call(Call.WRITE, fd, 1, size)[0])


def _pwrite(caller: Caller, fd: int, text: str, offset: int) -> int | str:
    data = text.encode("latin-1")
    return failing(caller.call(Call.PWRITE64, fd, Pointer(), len(data), offset, payload=data)[0])


def _writev(caller: Caller, fd: int, segments: list[str]) -> int | str:
    data = [text.encode("latin-1") for text in segments]
    at = caller.buffer + 16 * len(data)
    vector = b""
    for segment in data:
        vector += struct.pack("qq", at, len(segment))
        at += len(segment)
    payload = vector + b"".join(data)
    return failing(caller.call(Call.WRITEV, fd, Pointer(), len(data), payload=payload)[0])


def _read(caller: Caller, fd: int, size: int) -> Any:
    return _read_data(*caller.call(Call.READ, fd, Pointer(), size, room=size))


def _pread(caller: Caller, fd: int, size: int, offset: int) -> Any:
    return _read_data(*caller.call(Call.PREAD64, fd, Pointer(), size, offset, room=size))


def _read_data(result: int, data: bytes) -> Any:
    return failing(result) if result < 0 else {"data": data[:result].decode("latin-1")}


def _lseek(caller: Caller, fd: int, offset: int, whence: int) -> int | str:
    return failing(caller.call(Call.LSEEK, fd, offset, whence)[0])


def _ftruncate(caller: Caller, fd: int, size: int) -> int | str:
    return failing(caller.call(Call.FTRUNCATE, fd, size)[0])


def _fstat(caller: Caller, fd: int) -> Any:
    result, data = caller.call(Call.FSTAT, fd, Pointer(), room=_STAT_SIZE)
    if result < 0:
        return failing(result)
    mode, uid, gid = struct.unpack_from("III", data, 24)
    return {"mode": oct(mode), "uid": uid, "gid": gid, "size": struct.unpack_from("q", data, 48)[0]}


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "write": _write, "writebad": _writebad, "pwrite": _pwrite, "writev": _writev, "read": _read,
    "pread": _pread, "lseek": _lseek, "ftruncate": _ftruncate, "fstat": _fstat,
}  # fmt: skip
