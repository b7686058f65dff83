# SPDX-License-Identifier: MIT
"""Tasks of a live kernel that make system calls; runs in that kernel, next to `recorder`.

`Actor` is a task that runs actor.c, `Own` the recorder itself: both are a `Caller`.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conformance.calls import Call, Pointer, close_file, errno_name, open_file
from tests.conformance.guest import HERE, HOST, state, status

ACTOR, PAGES = "actor", "pages"
"""Files of the job's folder: the program, and what file mappings map."""

_CLONE_FLAGS = {
    "fork": 0,
    "vm": 0x100,  # CLONE_VM
    "vm_sighand": 0x900,  # and CLONE_SIGHAND
    "vfork": 0x4100,  # CLONE_VM and CLONE_VFORK
    "vfork_novm": 0x4000,
    "thread": 0x50F00,  # CLONE_VM, _FS, _FILES, _SIGHAND, _THREAD and _SYSVSEM
}
_MAP_FLAGS = {"anon": 0x22, "shmem": 0x21, "file": 0x02}
_PROT_READ, _PROT_WRITE, _MCL_CURRENT = 1, 2, 1
_PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_SET_NAME = 4, 8, 15
_CAPABILITY_VERSION_3 = 0x20080522
_CAPABILITIES = {"dac_override": 1, "setuid": 7, "sys_admin": 21, "sys_resource": 24}
_SIGNALS = [n for n in range(1, 65) if n not in (signal.SIGKILL, signal.SIGSTOP)]
_SIGSET_SIZE = 8

_REPLY_LIMIT_S = 20.0
_POLL_MS = 20
_BUFFER_SIZE = 8192
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class Gone(Exception):
    """An actor died or stopped instead of replying."""


class Slow(Exception):
    """An actor did not reply in time."""


class Unable(Exception):
    """A scenario cannot be played here; the text says why."""


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


def _addresses(buffer: int, arguments: Sequence[int | Pointer]) -> list[int]:
    return [buffer + a.offset if isinstance(a, Pointer) else a for a in arguments]


class Channel:
    """The two FIFOs of an actor."""

    _made = 0

    def __init__(self) -> None:
        Channel._made += 1
        stem = f"{HERE}/{Channel._made:05}"  # names of one length: they are on a task's stack
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

    def send(self, data: bytes) -> None:
        """Write."""
        os.write(self._in, data)

    def receive(self, size: int, actor: Actor | None, limit_s: float) -> bytes:
        """Read so many bytes.  Raises `Gone` when the actor cannot give them any more, `Slow`."""
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


@dataclass
class Actor:
    """A task that runs actor.c.  What asks it for something raises `Gone` and `Slow`."""

    name: str
    channel: Channel = field(default_factory=Channel)
    tid: int = 0
    tgid: int = 0
    buffer: int = 0
    _owed: int = field(default=0, init=False)
    """Replies not read yet: a vforking parent gives its own when the child is done."""

    # -- Requests --------------------------------------------------------------------

    def call(
        self, number: int, *arguments: int | Pointer, payload: bytes = b"", room: int = 0
    ) -> tuple[int, bytes]:
        """See `Caller`."""
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

    def answers(self) -> bool:
        """Say whether the task is still there to reply."""
        return state(self.tid)[0] not in ("Z", "X", "g", "t")

    def _greet(self) -> None:
        """Wait for the task to be there, or to be there again after an exec."""
        data = self.channel.receive(16, None, _REPLY_LIMIT_S)
        self.tid, self.buffer = struct.unpack("qq", data)
        self._owed = 0

    # -- Being made ------------------------------------------------------------------

    def start(self) -> None:
        """Make it a child of the recorder."""
        os.posix_spawn(f"{HOST}/{ACTOR}", [ACTOR, *self.channel.names], {})
        self._enter(self.name)

    def become_init(self) -> None:
        """Make it what this process is, pid 1; the recorder goes on in a child."""
        if os.fork():
            os.execv(f"{HOST}/{ACTOR}", [ACTOR, *self.channel.names])
        self._enter(self.name)

    def clone(self, parent: Actor, kind: str) -> None:
        """Let another make it."""
        flags = _CLONE_FLAGS[kind] | (0 if kind == "thread" else signal.SIGCHLD)
        names = [name.encode() + b"\0" for name in self.channel.names]
        second = Pointer(len(names[0]))
        parent.ask(Call.CLONE, flags, Pointer(), second, payload=b"".join(names))
        if not kind.startswith("vfork"):
            result, _ = parent.reply()
            if result < 0:
                raise Unable(f"{self.name}: clone: {errno_name(result)}")
        self._enter(self.name)
        self.tgid = parent.tgid if kind == "thread" else self.tid

    def _enter(self, comm: str) -> None:
        self._greet()
        self.tgid = self.tid
        self.rename(comm)

    # -- Its properties --------------------------------------------------------------

    def rename(self, comm: str) -> None:
        """Change its comm."""
        self.call(Call.PRCTL, _PR_SET_NAME, Pointer(), payload=comm.encode() + b"\0")

    def map(self, kind: str, kb: int) -> int | str:
        """Map memory and touch it page by page; return what a recording says of it."""
        is_file, size = kind == "file", kb * 1024
        fd = open_file(self, f"{HOST}/{PAGES}", ["rdonly"]) if is_file else -1
        protection = _PROT_READ if is_file else _PROT_READ | _PROT_WRITE
        address, _ = self.call(Call.MMAP, 0, size, protection, _MAP_FLAGS[kind], fd, 0)
        if is_file:
            close_file(self, fd)
        if address < 0:
            return errno_name(address)
        self.call(Call.TOUCH, address, size, int(not is_file))
        return "ok"

    def lock(self) -> None:
        """Lock what it has mapped."""
        self.call(Call.MLOCKALL, _MCL_CURRENT)

    def add_thread(self) -> None:
        """Make an idle thread."""
        self.call(Call.CLONE, _CLONE_FLAGS["thread"])

    def take_no_signals(self, how: str) -> None:
        """Block or ignore all signals."""
        if how == "block":
            everything = b"\xff" * _SIGSET_SIZE
            self.call(Call.RT_SIGPROCMASK, 0, Pointer(), 0, _SIGSET_SIZE, payload=everything)
            return
        ignore = struct.pack("4q", int(signal.SIG_IGN), 0, 0, 0)
        for number in _SIGNALS:
            self.call(Call.RT_SIGACTION, number, Pointer(), 0, _SIGSET_SIZE, payload=ignore)

    def set_credentials(self, fields: dict[str, Any]) -> list[list[Any]]:
        """Change user, capabilities and dumpability; return what failed, as it is recorded."""
        if "uid" in fields:
            uid = fields["uid"]
            self.call(Call.PRCTL, _PR_SET_KEEPCAPS, int("caps" in fields))
            result, _ = self.call(Call.SETRESGID, uid, uid, uid)
            if result == 0:
                result, _ = self.call(Call.SETRESUID, uid, uid, uid)
            if result < 0:
                return [[self.name, "setuid", errno_name(result)]]
        if "caps" in fields:
            result = self._set_capabilities(_capabilities(fields["caps"]))
            if result < 0:
                return [[self.name, "capset", errno_name(result)]]
        self.call(Call.PRCTL, _PR_SET_DUMPABLE, int(bool(fields.get("dumpable", 1))))
        return []

    def _set_capabilities(self, held: int) -> int:
        header = struct.pack("II", _CAPABILITY_VERSION_3, 0)
        low, high = held & 0xFFFFFFFF, held >> 32
        data = struct.pack("6I", low, low, 0, high, high, 0)
        return self.call(Call.CAPSET, Pointer(), Pointer(len(header)), payload=header + data)[0]

    def exec(self) -> None:
        """Start the program anew, under the same name."""
        comm = Path(f"/proc/{self.tid}/comm").read_text().rstrip("\n")
        payload, places = b"", []
        for text in (f"{HOST}/{ACTOR}", ACTOR, *self.channel.names):
            places.append(self.buffer + len(payload))
            payload += text.encode() + b"\0"
        payload += bytes(-len(payload) % 8)
        arguments = Pointer(len(payload))
        payload += struct.pack(f"{len(places)}q", *places[1:], 0)
        environment = Pointer(len(payload) - 8)  # none: the end of the arguments
        self.ask(Call.EXECVE, Pointer(), arguments, environment, payload=payload)
        self._greet()
        self.rename(comm)


def _capabilities(text: str) -> int:
    """Read the capabilities of a scenario."""
    every = int(status("self")["CapEff"], 16)
    if text == "none":
        return 0
    named = sum(1 << _CAPABILITIES[name] for name in text[1:].split(","))
    return named if text.startswith("+") else every & ~named
