# SPDX-License-Identifier: MIT
"""Messages between the processes of a sandbox: JSON in packets, with file descriptors."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from typing import Any

Message = dict[str, Any]

_PACKET_BYTES = 128 * 1024
_MAX_FDS = 8


class Closed(Exception):
    """The other end is gone."""


class Channel:
    """One end of a connection."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end

    @staticmethod
    def pair() -> tuple[Channel, Channel]:
        """Return both ends of a new connection."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return Channel(one), Channel(other)

    def fileno(self) -> int:
        """Return the descriptor, to wait on it."""
        return self.socket.fileno()

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send a message and copies of descriptors; `Closed` when nobody hears it."""
        try:
            socket.send_fds(self.socket, [json.dumps(message).encode()], fds)
        except (BrokenPipeError, ConnectionResetError):
            raise Closed from None

    def receive(self) -> tuple[Message, list[int]]:
        """Wait for a message; the descriptors are the caller's to close."""
        try:
            data, fds, _, _ = socket.recv_fds(self.socket, _PACKET_BYTES, _MAX_FDS)
        except ConnectionResetError:
            raise Closed from None
        if not data:
            raise Closed
        for fd in fds:
            os.set_inheritable(fd, False)
        return json.loads(data), fds

    def ask(self, message: Message, fds: Sequence[int] = ()) -> tuple[Message, list[int]]:
        """Send a message and wait for the answer."""
        self.send(message, fds)
        return self.receive()

    def close(self) -> None:
        """Close this end."""
        self.socket.close()

    def hang_up(self) -> None:
        """Close this end, and every copy of it that a process forked since may hold."""
        self.socket.shutdown(socket.SHUT_RDWR)
        self.close()


def data_descriptor(data: bytes) -> int:
    """Return a descriptor from which this much data can be read that fits in no packet."""
    fd = os.memfd_create("data")
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def take_data(fd: int) -> bytes:
    """Read all of it, and close it."""
    with os.fdopen(fd, "rb") as file:
        file.seek(0)
        return file.read()
