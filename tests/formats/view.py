# SPDX-License-Identifier: MIT
"""What is in a /proc, real or simulated: every entry with mode, owner, target and content."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.task import Caller
from fakeproc.procfs.node import Directory, File, Link, open_file
from fakeproc.procfs.tree import CONTROL_DIRECTORY, Procfs

_MOST = 1 << 20
"""No file is read further than so many bytes."""

# Reading takes away what others wait for, or takes long.
_NOT_READ = re.compile(r"kmsg|kpage\w+|kallsyms|.*/pagemap|.*/mem|bus/pci/.*")

# Threads have a view of their own; net/ is the same in every task.
_NOT_ENTERED = re.compile(r".*/task/<tid>|(?:thread|kthread|zombie|exited-leader)/net")

# What a machine has of its own, in the names that stand for all of them.
_NORMAL: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(f"(?:{pattern})$"), normal)
    for pattern, normal in (
        (r"^irq/\d+", "irq/<n>"),
        (r"^irq/<n>/(?!node|spurious|smp_|affinity|effective).*", "irq/<n>/<handler>"),
        (r"^fs/(ext4|jbd2)/[^/]+", r"fs/\1/<device>"),
        (r"^bus/pci/(?!devices)[^/]+", "bus/pci/<bus>"),
        (r"^bus/pci/<bus>/.*", "bus/pci/<bus>/<device>"),
        (r"/dev_snmp6/[^/]+", "/dev_snmp6/<interface>"),
        (r"^sys/net/(ipv[46])/(conf|neigh)/[^/]+", r"sys/net/\1/\2/<interface>"),
        (r"/nf_log/\d+", "/nf_log/<family>"),
        (r"/(fd|fdinfo)/\d+", r"/\1/<fd>"),
        (r"/map_files/[0-9a-f]+-[0-9a-f]+", "/map_files/<range>"),
        (r"/task/\d+", "/task/<tid>"),
    )
)


def normal(path: str) -> str:
    """Return the path with a placeholder for each name that differs from machine to machine."""
    for pattern, replacement in _NORMAL:
        path = pattern.sub(replacement, path)
    return path


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, directory or link, as root sees it."""

    mode: int
    uid: int = 0
    gid: int = 0
    nlink: int = 1
    target: str = ""
    content: bytes | None = None
    """None if it cannot be read, or was not."""
    error: str = ""
    """The errno of reading it."""

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.mode)


class Source(Protocol):
    """A /proc that can be walked."""

    def list(self, path: str) -> list[tuple[str, int]]:
        """Return names and types of a directory, in the order of readdir."""

    def entry(self, path: str, *, read: bool) -> Entry:
        """Return an entry; its content only if asked."""


View = dict[str, Entry]
"""Entries by their normal path, in the order of readdir, each directory before what is in it."""

TASKS = ("process", "thread", "kthread", "zombie", "exited-leader")
"""The tasks that a view has directories of, beside the machine's files."""


def view(source: Source, tasks: Mapping[str, str]) -> View:
    """Walk a /proc: the machine's files, and the directories of some tasks."""
    seen = view_of_machine(source)
    for kind in TASKS:
        _walk(source, tasks[kind], kind, seen)
    return seen


def view_of_machine(source: Source) -> View:
    """Walk the files of the machine."""
    seen: View = {}
    _walk(source, "", "", seen)
    return seen


def view_of_task(source: Source, path: str) -> View:
    """Walk the directory of one task, as if it was the one called ``process``."""
    seen: View = {}
    _walk(source, path, "process", seen)
    return seen


def _walk(source: Source, path: str, name: str, seen: View) -> None:
    for child, type_ in source.list(path):
        below = f"{path}/{child}".lstrip("/")
        shown = normal(f"{name}/{child}".lstrip("/"))
        if shown in seen or (not path and (child.isdecimal() or child == CONTROL_DIRECTORY)):
            continue
        try:
            entry = source.entry(below, read=not _NOT_READ.fullmatch(shown))
        except FileNotFoundError:
            continue  # one of the machine's own, gone meanwhile
        assert stat.S_IFMT(entry.mode) == type_, f"{below}: d_type"
        seen[shown] = entry
        if entry.is_directory and not _NOT_ENTERED.fullmatch(shown):
            _walk(source, below, shown, seen)


class Mounted:
    """A /proc that is mounted somewhere."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def list(self, path: str) -> list[tuple[str, int]]:
        try:
            with os.scandir(self._root / path) as entries:
                return [(entry.name, _type(entry)) for entry in entries]
        except OSError:
            return []  # net/ of a zombie: EINVAL

    def entry(self, path: str, *, read: bool) -> Entry:
        where = self._root / path
        status = where.lstat()
        owner = (status.st_mode, status.st_uid, status.st_gid, status.st_nlink)
        try:
            if stat.S_ISLNK(status.st_mode):
                return Entry(*owner, target=os.readlink(where))
            if stat.S_ISREG(status.st_mode) and status.st_mode & 0o444 and read:
                return Entry(*owner, content=b"".join(_chunks(where)))
        except OSError as error:
            return Entry(*owner, error=errno.errorcode[error.errno or 0])
        return Entry(*owner)


def _type(entry: os.DirEntry[str]) -> int:
    if entry.is_symlink():
        return stat.S_IFLNK
    return stat.S_IFDIR if entry.is_dir(follow_symlinks=False) else stat.S_IFREG


def _chunks(path: Path) -> Iterator[bytes]:
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as file:
        left = _MOST
        while left > 0 and (chunk := file.read(min(left, 1 << 16))):
            left -= len(chunk)
            yield chunk


class Simulated:
    """The files of a simulated machine, without a mount."""

    def __init__(self, procfs: Procfs, caller: Caller) -> None:
        self._procfs = procfs
        self._caller = caller

    def list(self, path: str) -> list[tuple[str, int]]:
        node = self._procfs.lookup("/" + path, self._caller)
        if not isinstance(node, Directory):
            return []
        try:
            return list(node.entries(self._caller))
        except Refused:
            return []

    def entry(self, path: str, *, read: bool) -> Entry:
        node = self._procfs.lookup("/" + path, self._caller)
        attributes = node.attributes()
        owner = (attributes.mode, attributes.uid, attributes.gid, attributes.nlink)
        try:
            if isinstance(node, Link):
                return Entry(*owner, target=node.target(self._caller))
            if isinstance(node, File) and attributes.mode & 0o444 and read:
                content = open_file(node, os.O_RDONLY, self._caller).read(_MOST, 0)
                return Entry(*owner, content=content)
        except Refused as refused:
            return Entry(*owner, error=refused.name)
        return Entry(*owner)
