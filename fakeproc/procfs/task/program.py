# SPDX-License-Identifier: MIT
"""What a task runs, and where: exe, cwd, root, environ."""

from __future__ import annotations

import errno

from fakeproc.kernel.details import details_of, exe_path
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.task import Caller, Thread, encode_name
from fakeproc.procfs.task.access import require_mm, require_ptrace
from fakeproc.procfs.task.node import TaskFile, TaskLink, TaskRow, user_mm


def exe_target(machine: Machine, thread: Thread, caller: Caller) -> str:
    """Return the program; ENOENT for a task without memory of its own."""
    require_ptrace(machine, thread, caller)
    if user_mm(thread) is None:
        raise Refused(errno.ENOENT)
    return exe_path(thread.process)


def cwd_target(machine: Machine, thread: Thread, caller: Caller) -> str:
    """Return the folder; ENOENT for a task that has exited."""
    _require_folders(machine, thread, caller)
    return details_of(thread.process).cwd


def root_target(machine: Machine, thread: Thread, caller: Caller) -> str:
    """Return the root; ENOENT for a task that has exited."""
    _require_folders(machine, thread, caller)
    return details_of(thread.process).root


def _require_folders(machine: Machine, thread: Thread, caller: Caller) -> None:
    require_ptrace(machine, thread, caller)
    if thread.exiting:
        raise Refused(errno.ENOENT)


def render_environ(machine: Machine, thread: Thread) -> bytes:
    """Return the variables, each with its NUL; nothing without an mm."""
    if user_mm(thread) is None:
        return b""
    return b"".join(encode_name(entry) + b"\0" for entry in details_of(thread.process).environ)


ROWS: dict[str, TaskRow] = {
    "exe": TaskLink(reflects="the program", target=exe_target),
    "cwd": TaskLink(reflects="the folder", target=cwd_target),
    "root": TaskLink(reflects="the root folder", target=root_target),
    "environ": TaskFile(
        reflects="the environment",
        mode=0o400,
        render=render_environ,
        require=require_mm,
        holds_mm=True,
    ),
}
