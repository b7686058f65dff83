# SPDX-License-Identifier: MIT
"""What a task is called, and to which group it belongs: comm, cmdline, cgroup."""

from __future__ import annotations

import errno

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.mounts import hierarchies
from fakeproc.kernel.task import Caller, Thread, encode_name
from fakeproc.procfs.node import Seek
from fakeproc.procfs.task.node import TaskFile, TaskRow, require_there


def render_comm(machine: Machine, thread: Thread) -> bytes:
    """Return the task's name."""
    return encode_name(thread.comm) + b"\n"


def store_comm(machine: Machine, thread: Thread, caller: Caller, data: bytes) -> int:
    """Rename the task; EINVAL for a caller outside its thread group."""
    require_there(machine, thread)
    if caller.tgid != thread.process.pid:
        raise Refused(errno.EINVAL, f"/proc/{thread.tid}/comm: only its own threads may write it.")
    name = data.split(b"\0")[0]
    machine.rename(thread, name.decode(errors="surrogateescape"))
    return len(data)


def render_cmdline(machine: Machine, thread: Thread) -> bytes:
    """Return the arguments, each with its NUL; nothing without an mm."""
    if thread.mm is None or thread.process.is_kthread:
        return b""
    return b"".join(argument + b"\0" for argument in thread.mm.cmdline)


def render_cgroup(machine: Machine, thread: Thread) -> bytes:
    """Return the path in each hierarchy, the newest first (proc_cgroup_show).

    Beside version 1 the same groups are in the hierarchy of version 2, as systemd has them.
    """
    group = thread.process.memcg.path
    paths = {"memory": group, "cpuset": thread.placement.cpuset}
    lines = [f"{number}:{name}:{paths[name]}\n" for name, number in hierarchies(machine).items()]
    return encode_name("".join(reversed(lines)) + f"0::{group}\n")


ROWS: dict[str, TaskRow] = {
    "comm": TaskFile(
        reflects="the name; its own threads may write it",
        mode=0o644,
        render=render_comm,
        store=store_comm,
        seek=Seek.SEQ,
    ),
    "cmdline": TaskFile(reflects="the arguments", render=render_cmdline),
    "cgroup": TaskFile(
        reflects="the memory cgroup and the cpuset",
        render=render_cgroup,
        seek=Seek.SEQ,
    ),
}
