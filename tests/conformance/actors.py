# SPDX-License-Identifier: MIT
"""Lets tasks of a live kernel make system calls; runs in that kernel, next to `recorder`.

`Actor` is a task that runs actor.c, `Own` the recorder itself: both make a call by number
and have a buffer for what the call reads or fills.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
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


_PR_SET_NAME = 15
_REPLY_LIMIT_S = 20.0
_POLL_MS = 20
_BUFFER_SIZE = 8192
_STAT_SIZE = 144
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class Gone(Exception):
    """An actor died or stopped instead of replying."""


class Slow(Exception):
    """An actor did not reply in time."""


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


class Own:
    """The recorder as a caller."""

    def __init__(self) -> None:
        self._memory = ctypes.create_string_buffer(_BUFFER_SIZE)
        self.buffer = ctypes.addressof(self._memory)

    def call(
        self, number: int, *arguments: int | Pointer, payload: bytes = b"", room: int = 0
    ) -> tuple[int, bytes]:
        """See `Caller`."""
        ctypes.memmove(self._memory, payload, len(payload))
        result = _libc.syscall(*map(ctypes.c_long, (number, *_addresses(self.buffer, arguments))))
        if result < 0:
            result = -ctypes.get_errno()
        return result, self._memory.raw[:room]


def mount(source: str, target: str, kind: str, options: str = "") -> None:
    """Mount a file system; make the mountpoint if it is missing."""
    os.makedirs(target, exist_ok=True)
    arguments = (text.encode() for text in (source, target, kind))
    if _libc.mount(*arguments, 0, options.encode() or None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot mount {kind} on {target}: {os.strerror(number)}")


def swapon(device: str) -> None:
    """Make a block device swap space of the first version, and use it."""
    with open(device, "r+b") as file:
        pages = file.seek(0, os.SEEK_END) // 4096
        file.seek(1024)
        file.write(struct.pack("III", 1, pages - 1, 0))
        file.seek(4086)
        file.write(b"SWAPSPACE2")
    if _libc.swapon(device.encode(), 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot use {device} as swap: {os.strerror(number)}")


def _addresses(buffer: int, arguments: Sequence[int | Pointer]) -> list[int]:
    return [buffer + a.offset if isinstance(a, Pointer) else a for a in arguments]


@dataclass
class Actor:
    """A task that runs actor.c."""

    name: str
    channel: Channel
    tid: int = 0
    tgid: int = 0
    buffer: int = 0
    _owed: int = field(default=0, init=False)
    """Replies not read yet: a vforking parent gives its own when the child is done."""

    def call(
        self, number: int, *arguments: int | Pointer, payload: bytes = b"", room: int = 0
    ) -> tuple[int, bytes]:
        """See `Caller`.  Raises `Gone`, `Slow`."""
        self.ask(number, *arguments, payload=payload, room=room)
        return self.reply(room)

    def ask(
        self, number: int, *arguments: int | Pointer, payload: bytes = b"", room: int = 0
    ) -> None:
        """Make a request and do not wait for the reply."""
        while self._owed:
            self.reply()
        words = [number, *_addresses(self.buffer, arguments)]
        words += [0] * (7 - len(words))
        self._owed += 1
        self.channel.send(struct.pack("9q", *words, len(payload), room) + payload)

    def reply(self, room: int = 0, limit_s: float = _REPLY_LIMIT_S) -> tuple[int, bytes]:
        """Wait for a reply."""
        data = self.channel.receive(8 + room, self, limit_s)
        self._owed -= 1
        return struct.unpack_from("q", data)[0], data[8:]

    def greet(self) -> None:
        """Wait for the task to be there, or to be there again after an exec."""
        data = self.channel.receive(16, None, _REPLY_LIMIT_S)
        self.tid, self.buffer = struct.unpack("qq", data)
        self._owed = 0

    def rename(self, comm: str) -> None:
        """Change the task's comm."""
        self.call(Call.PRCTL, _PR_SET_NAME, Pointer(), payload=comm.encode() + b"\0")

    def answers(self) -> bool:
        """Say whether the task is still there to reply."""
        try:
            stat = Path(f"/proc/{self.tgid}/task/{self.tid}/stat").read_text()
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] not in ("Z", "X", "t")


class Channel:
    """The two FIFOs of an actor."""

    def __init__(self, stem: str) -> None:
        self.names = (f"{stem}.in", f"{stem}.out")
        for name in self.names:
            os.mkfifo(name)
            os.chmod(name, 0o666)  # an actor of another user opens them again when it execs
        self._in, self._out = (os.open(name, os.O_RDWR | os.O_CLOEXEC) for name in self.names)

    def close(self) -> None:
        """Remove the FIFOs."""
        for fd, name in zip((self._in, self._out), self.names, strict=True):
            os.close(fd)
            os.unlink(name)

    def payload(self) -> bytes:
        """Return the two names as C strings, one after the other."""
        return b"".join(name.encode() + b"\0" for name in self.names)

    def send(self, data: bytes) -> None:
        """Write."""
        os.write(self._in, data)

    def receive(self, size: int, actor: Actor | None, limit_s: float) -> bytes:
        """Read so many bytes; raise `Gone` when the actor cannot give them any more."""
        data = b""
        waits = round(limit_s * 1000 / _POLL_MS)  # by the clock a stopped machine would be late
        poll = select.poll()
        poll.register(self._out, select.POLLIN)
        while len(data) < size:
            if poll.poll(_POLL_MS):
                data += os.read(self._out, size - len(data))
                continue
            if actor is not None and not actor.answers():
                raise Gone(f"{actor.name} is gone")
            waits -= 1
            if waits < 0:
                raise Slow("no reply")
        return data


# -- Files --------------------------------------------------------------------------


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
