# SPDX-License-Identifier: MIT
"""fd/ and fdinfo/: the open files of a task, which are the three that every program has."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from fakeproc.kernel.details import details_of
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.mounts import DEV_ID
from fakeproc.kernel.task import Caller, Thread
from fakeproc.kernel.task_view import descriptor_count
from fakeproc.procfs.node import Directory, Seek
from fakeproc.procfs.session import Session
from fakeproc.procfs.task.access import require_ptrace
from fakeproc.procfs.task.folder import Folder
from fakeproc.procfs.task.node import TaskFile, TaskFolder, TaskLink, TaskRow

_LINK_SIZE = 64
_O_LARGEFILE: Final = 0o100000
_NULL_INODE, _PTS_ROOT_INODE = 4, 3


@dataclass(frozen=True, slots=True)
class OpenDescriptor:
    """A descriptor: where it leads, and how it was opened."""

    target: str
    access_mode: int
    inode: int

    @property
    def link_mode(self) -> int:
        """The permission bits of the link, which say what the descriptor may."""
        return {os.O_RDONLY: 0o500, os.O_WRONLY: 0o300}.get(self.access_mode, 0o700)


def descriptors(thread: Thread) -> list[OpenDescriptor]:
    """Return the open files by number: the terminal three times, or /dev/null."""
    tty = details_of(thread.process).tty
    if tty:
        number = int(tty[4:]) if tty.startswith("pts/") else 0
        standard = OpenDescriptor(f"/dev/{tty}", os.O_RDWR, _PTS_ROOT_INODE + number)
        return [standard] * descriptor_count(thread)
    modes = (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)
    files = [OpenDescriptor("/dev/null", mode, _NULL_INODE) for mode in modes]
    return files[: descriptor_count(thread)]


def _links(machine: Machine, thread: Thread) -> Mapping[str, TaskRow]:
    return {str(number): _link(file) for number, file in enumerate(descriptors(thread))}


def _link(file: OpenDescriptor) -> TaskLink:
    def target(machine: Machine, thread: Thread, caller: Caller) -> str:
        require_ptrace(machine, thread, caller)
        return file.target

    return TaskLink(reflects="an open file", target=target, mode=file.link_mode, size=_LINK_SIZE)


def _infos(machine: Machine, thread: Thread) -> Mapping[str, TaskRow]:
    mode = 0o444 if machine.profile.fdinfo_by_ptrace else 0o400
    return {
        str(number): TaskFile(
            reflects="an open file",
            mode=mode,
            render=partial(_render_info, file),
            seek=Seek.SEQ,
            require=require_ptrace,
        )
        for number, file in enumerate(descriptors(thread))
    }


def _render_info(file: OpenDescriptor, machine: Machine, thread: Thread) -> bytes:
    """Return position, flags in octal, and where the file is."""
    text = f"pos:\t0\nflags:\t0{_O_LARGEFILE | file.access_mode:o}\nmnt_id:\t{DEV_ID}\n"
    if machine.profile.fdinfo_inode:
        text += f"ino:\t{file.inode}\n"
    return text.encode()


def _fd(session: Session, thread: Thread) -> Directory:
    size = descriptor_count(thread) if session.machine.profile.fd_size_is_count else 0
    return Folder(session, thread, _links, mode=0o500, size=size)


def _fdinfo(session: Session, thread: Thread) -> Directory:
    if not session.machine.profile.fdinfo_by_ptrace:
        return Folder(session, thread, _infos, mode=0o500)
    return Folder(session, thread, _infos, require=require_ptrace)


ROWS: dict[str, TaskRow] = {
    "fd": TaskFolder(reflects="descriptors 0 to 2: the terminal, or /dev/null", directory=_fd),
    "fdinfo": TaskFolder(reflects="the same descriptors; no position", directory=_fdinfo),
}
