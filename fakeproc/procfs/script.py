# SPDX-License-Identifier: MIT
"""Lines that do something to a machine without anybody at the mount: events of a scenario.

A line is a command of ctl, ``trigger [KEY=VALUE ...]`` for oom_trigger, or ``write PATH VALUE``
for a file of the mount.  Root of the machine does it.
"""

from __future__ import annotations

import errno
import os
import shlex

from fakeproc.kernel.errors import Refused, not_known
from fakeproc.kernel.log import Level
from fakeproc.kernel.machine import Machine
from fakeproc.procfs import ctl, oom_trigger
from fakeproc.procfs.node import File, open_file
from fakeproc.procfs.tree import Procfs

_TRIGGER, _WRITE = "trigger", "write"
_NOT_HERE = ("become", "help", "reboot")
"""Commands of ctl for who sits at the mount."""

LINES = (*(name for name in ctl.COMMANDS if name not in _NOT_HERE), _TRIGGER, _WRITE)
"""The words with which a line may begin."""


def require_known(line: str) -> None:
    """Refuse a line (EINVAL) that can never be done: what it says is not known or not there.

    Whether its values are accepted shows only when it is done.
    """
    words = _split(line)
    name = words[0] if words else ""
    if name not in LINES:
        raise not_known("line", name, LINES)
    if name == _TRIGGER:
        oom_trigger.parse_options(_TRIGGER, " ".join(words[1:]))
    elif name == _WRITE:
        _path_and_value(words)
    else:
        ctl.parse_arguments(name, ctl.COMMANDS[name], words[1:])


def perform(machine: Machine, line: str) -> None:
    """Do what a line says; the kernel log tells of one that is refused.

    Nothing can be done to a machine that has panicked.
    """
    if machine.panicked:
        return
    try:
        _perform(machine, line)
    except Refused as refused:
        machine.printk(Level.WARNING, f"fakeproc: {line}: {refused.name}: {refused.why}")


def _perform(machine: Machine, line: str) -> None:
    words = _split(line)
    procfs = Procfs(machine)
    if words[0] == _TRIGGER:
        oom_trigger.store(procfs, machine.root, " ".join(words[1:]).encode())
    elif words[0] == _WRITE:
        path, value = _path_and_value(words)
        node = procfs.lookup(f"/{path}", machine.root)
        if not isinstance(node, File):
            raise Refused(errno.EISDIR, f"write {path}: is no file.")
        open_file(node, os.O_WRONLY, machine.root).write(machine.root, value.encode())
    else:
        ctl.run(procfs, machine.root, line.encode())


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError as error:
        raise Refused(errno.EINVAL, f"cannot be read: {error}.") from None


def _path_and_value(words: list[str]) -> tuple[str, str]:
    if len(words) < 3:
        raise Refused(errno.EINVAL, "write: accepted is write PATH VALUE.")
    return words[1].strip("/"), " ".join(words[2:])
