# SPDX-License-Identifier: MIT
"""mounts, mountinfo, mountstats: what is mounted, the same for every task."""

from __future__ import annotations

import errno

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.mounts import Mount, mounts_of
from fakeproc.kernel.task import Caller, Thread
from fakeproc.procfs.node import Seek
from fakeproc.procfs.task.node import Of, Render, TaskFile, TaskRow


def require_alive(machine: Machine, thread: Thread, caller: Caller) -> None:
    """Refuse with EINVAL for a task that has exited: it is in no namespace (seen on 6.18)."""
    if thread.exiting:
        raise Refused(errno.EINVAL)


def render_mounts(machine: Machine, thread: Thread) -> bytes:
    """Return the lines of /etc/mtab."""
    return "".join(_mtab_line(mount) for mount in mounts_of(machine)).encode()


def _mtab_line(mount: Mount) -> str:
    return f"{mount.source} {mount.point} {mount.fstype} {_all_options(mount)} 0 0\n"


def _all_options(mount: Mount) -> str:
    """Return the options of the mount and those of its file system, read-only or not once."""
    own = mount.super_options.partition(",")[2]
    access, _, flags = mount.options.partition(",")
    return ",".join(filter(None, (access, flags, own)))


def render_mountinfo(machine: Machine, thread: Thread) -> bytes:
    """Return ids, device, root and place, options; type, source, options of the file system."""
    return "".join(_info_line(mount) for mount in mounts_of(machine)).encode()


def _info_line(mount: Mount) -> str:
    major, minor = mount.device
    return (
        f"{mount.id} {mount.parent_id} {major}:{minor} / {mount.point} {mount.options} - "
        f"{mount.fstype} {mount.source} {mount.super_options}\n"
    )


def render_mountstats(machine: Machine, thread: Thread) -> bytes:
    """Return a line each; none of them has statistics."""
    lines = (
        f"device {mount.source} mounted on {mount.point} with fstype {mount.fstype}\n"
        for mount in mounts_of(machine)
    )
    return "".join(lines).encode()


def _row(render: Render, mode: int = 0o444, of: Of = Of.BOTH) -> TaskFile:
    return TaskFile(
        reflects="the mounts of a Debian, with the cgroups of the machine",
        of=of,
        mode=mode,
        render=render,
        require=require_alive,
        seek=Seek.SEQ,
    )


ROWS: dict[str, TaskRow] = {
    "mounts": _row(render_mounts),
    "mountinfo": _row(render_mountinfo),
    "mountstats": _row(render_mountstats, 0o400, Of.PROCESS),
}
