# SPDX-License-Identifier: MIT
"""Tests through real mounts, and the few helpers that they share."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from fakeproc.testing import Mount

NOBODY = 65534
"""A uid and gid without any rights."""

_T = TypeVar("_T")


def require_root() -> None:
    """Skip where the tests do not run as root; CI does and must not skip."""
    if os.getuid() != 0:
        message = "changing the uid, or making a mount namespace, takes root"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)


@contextmanager
def refused(number: int) -> Iterator[None]:
    """Demand that the block ends with an OSError of this errno."""
    sentence = re.escape(os.strerror(number))
    with pytest.raises(OSError, match=rf"^\[Errno {number}\] {sentence}"):
        yield


@contextmanager
def opened(path: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    """Open a file as open(2) does, for the length of the block."""
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def put(path: Path, data: bytes) -> int:
    """Write with one write(2); return what that returned."""
    with opened(path, os.O_WRONLY) as fd:
        return os.write(fd, data)


def call_as(uid: int, action: Callable[[], _T]) -> _T:
    """Call a function in a thread that accesses files as this user (setfsuid)."""
    with ThreadPoolExecutor(1, initializer=ctypes.CDLL(None).setfsuid, initargs=(uid,)) as pool:
        return pool.submit(action).result()


class View:
    """The mount as another user sees it, whoever may enter the folders above."""

    def __init__(self, mounted: Mount, uid: int) -> None:
        self._uid = uid
        self._root = os.open(mounted.path, os.O_PATH | os.O_DIRECTORY)

    def close(self) -> None:
        """Let the mount go."""
        os.close(self._root)

    def open(self, name: str, flags: int) -> int:
        """Open a file as the user."""
        return call_as(self._uid, lambda: os.open(name, flags, dir_fd=self._root))

    def write(self, fd: int, data: bytes) -> int:
        """Write to a descriptor as the user."""
        return call_as(self._uid, lambda: os.write(fd, data))

    def stat(self, name: str) -> os.stat_result:
        """Ask for a file's attributes as the user."""
        return call_as(self._uid, lambda: os.stat(name, dir_fd=self._root))

    def mkdir(self, name: str) -> None:
        """Make a directory as the user."""
        call_as(self._uid, lambda: os.mkdir(name, dir_fd=self._root))

    def list(self) -> list[str]:
        """List the root as the user."""
        fd = self.open(".", os.O_RDONLY)
        try:
            return call_as(self._uid, lambda: os.listdir(fd))
        finally:
            os.close(fd)

    def put(self, name: str, data: bytes) -> int:
        """Open, write once and close, as the user."""
        fd = self.open(name, os.O_WRONLY)
        try:
            return self.write(fd, data)
        finally:
            os.close(fd)


def fill(path: Path) -> None:
    """Take all the room that there is."""
    with path.open("wb", buffering=0) as file, refused(errno.ENOSPC):
        while True:
            file.write(bytes(1024))


@contextmanager
def waiting_process(uid: int = 0) -> Iterator[str]:
    """Return the pid of a process of this user that does nothing, for the length of the block."""
    pipe = subprocess.PIPE
    with subprocess.Popen(["cat"], stdin=pipe, stdout=pipe, user=uid, group=uid) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        # It has execed when it answers: before that its files are those of Python.
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        yield str(process.pid)
        process.stdin.close()
