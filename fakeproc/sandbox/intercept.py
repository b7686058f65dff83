# SPDX-License-Identifier: MIT
"""What tools ask the kernel and not /proc: sysinfo(2), statfs(2), syslog(2) (--intercept)."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import PurePosixPath

from fakeproc.callers import host_status, real_credentials
from fakeproc.kernel.capability import CAP_SYSLOG
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.log import Record
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.meminfo import meminfo
from fakeproc.mounts import HOST_PROC
from fakeproc.sandbox.guest_memory import handed_over, read_string
from fakeproc.sandbox.protocol import Server
from fakeproc.sandbox.seccomp import GO_ON, Answer, Call, Notification
from fakeproc.sandbox.statfs import (
    CGROUP2_SUPER_MAGIC,
    FUSE_SUPER_MAGIC,
    PROC_SUPER_MAGIC,
    disguised,
    statfs,
    type_of,
)

_PROC, _CGROUP = PurePosixPath("/proc"), PurePosixPath("/sys/fs/cgroup")

# struct sysinfo of 64 bits: uptime, loads, six sizes, procs, high memory, unit.
_SYSINFO = struct.Struct("=q3Q6QH6xQQI4x")
_NS_PER_S = 1_000_000_000

_SYSLOG_READ_ALL, _SYSLOG_READ_CLEAR, _SYSLOG_CLEAR, _SYSLOG_SIZE_BUFFER = 3, 4, 5, 10


class Intercept:
    """Answers those calls from the machine."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._cleared = 0
        """The first record that dmesg --clear has left."""
        self._cleared_of = server.procfs.machine
        self.answers: dict[Call, Callable[[Notification], Answer]] = {
            Call.SYSINFO: self._sysinfo,
            Call.STATFS: self._statfs,
            Call.FSTATFS: self._fstatfs,
            Call.SYSLOG: self._syslog,
        }

    def _sysinfo(self, call: Notification) -> Answer:
        with self._server.locked():
            data = sysinfo(self._server.procfs.machine)
        return handed_over(call, call.args[0], data)

    # -- statfs ------------------------------------------------------------------------

    def _statfs(self, call: Notification) -> Answer:
        if not call.is_valid:
            return GO_ON
        path = read_string(call.tid, call.args[0])
        if path is None:
            return GO_ON
        seen = _as_the_server_sees(call.tid, path)
        return _statfs_of(call, seen) if seen else GO_ON

    def _fstatfs(self, call: Notification) -> Answer:
        seen = HOST_PROC / str(call.tid) / "fd" / str(call.int_arg(0))
        try:
            is_ours = _magic_of(os.readlink(seen)) is not None
        except OSError:
            return GO_ON
        return _statfs_of(call, os.fspath(seen)) if is_ours else GO_ON

    # -- The log -----------------------------------------------------------------------

    def _syslog(self, call: Notification) -> Answer:
        """Answer as do_syslog does, for who reads all of the log; the rest takes a daemon."""
        action, buffer, size = call.int_arg(0), call.args[1], call.int_arg(2)
        status = host_status(call.tid)
        with self._server.locked():
            machine = self._server.procfs.machine
            _require_may_read_log(machine, status, action)
            if action == _SYSLOG_SIZE_BUFFER:
                return Answer(machine.log.size_bytes)
            if action == _SYSLOG_CLEAR:
                self._clear()
                return Answer()
            if action not in (_SYSLOG_READ_ALL, _SYSLOG_READ_CLEAR):
                return GO_ON
            if not buffer or size < 0:
                return Answer(error=errno.EINVAL)
            lines = [record.render().encode(errors="surrogateescape") for record in self._shown()]
            if action == _SYSLOG_READ_CLEAR:
                self._clear()
        data = b"".join(_last_that_fit(lines, size))
        return handed_over(call, buffer, data, value=len(data))

    def _shown(self) -> list[Record]:
        machine = self._server.procfs.machine
        since = self._cleared if machine is self._cleared_of else 0
        return machine.log.since(since)

    def _clear(self) -> None:
        self._cleared_of = self._server.procfs.machine
        self._cleared = self._cleared_of.log.next_sequence


def _require_may_read_log(machine: Machine, status: Mapping[str, str], action: int) -> None:
    """Refuse with EPERM as check_syslog_permissions does: everybody may read, if that is on."""
    restricted = machine.kept_sysctls.text("kernel/dmesg_restrict") != "0"
    if action in (_SYSLOG_READ_ALL, _SYSLOG_SIZE_BUFFER) and not restricted:
        return
    full = machine.full_capabilities
    if not status or not real_credentials(status, full).capable(CAP_SYSLOG):
        raise Refused(errno.EPERM)


def sysinfo(machine: Machine) -> bytes:
    """Return a struct sysinfo, with sizes in bytes (do_sysinfo, si_meminfo, si_swapinfo)."""
    kib = {name: value for name, value, _ in meminfo(machine)}
    names = ("MemTotal", "MemFree", "Shmem", "Buffers", "SwapTotal", "SwapFree")
    # A second that has begun counts.
    uptime_s = -(-machine.now_ns // _NS_PER_S)
    loads = machine.load_average.sysinfo(machine.now_ns)
    sizes = (kib[name] * 1024 for name in names)
    # 16 bits.
    procs = machine.thread_count & 0xFFFF
    return _SYSINFO.pack(uptime_s, *loads, *sizes, procs, 0, 0, 1)


def _last_that_fit(lines: list[bytes], size: int) -> list[bytes]:
    """Return the last whole lines that fit into so many bytes."""
    first, room = len(lines), size
    while first and len(lines[first - 1]) <= room:
        first -= 1
        room -= len(lines[first])
    return lines[first:]


# -- Paths -------------------------------------------------------------------------


def _as_the_server_sees(tid: int, path: bytes) -> str | None:
    """Return the way to a file that a guest names; None where it cannot be a simulated one.

    The server looks no others up, so that no other file system can make it wait.  Links
    outside /proc and the cgroups that lead there are not followed.
    """
    name = os.fsdecode(path)
    folder = HOST_PROC / str(tid)
    if not name.startswith("/"):
        with suppress(OSError):
            name = os.path.join(os.readlink(folder / "cwd"), name)
    name = os.path.normpath("/" + name.lstrip("/"))
    if _magic_of(name) is None:
        return None
    # The link leads to whoever looks, and that is not to be the server.
    own = host_status(tid).get("NStgid", "0").split()[:2][-1]
    if PurePosixPath(name).parts[2:3] == ("self",):
        name = name.replace("/proc/self", f"/proc/{own}", 1)
    return f"{folder}/root{name}"


def _magic_of(path: str) -> int | None:
    """Return which file system the simulated one at a path stands for; None: for none."""
    where = PurePosixPath(path)
    if where.is_relative_to(_PROC):
        return PROC_SUPER_MAGIC
    return CGROUP2_SUPER_MAGIC if where.is_relative_to(_CGROUP) else None


def _statfs_of(call: Notification, path: str) -> Answer:
    """Answer for a file that is simulated; the kernel answers for any other, and for none."""
    try:
        data, where = statfs(path)
    except OSError:
        return GO_ON
    # Where the guest has it, whichever links led there.
    magic = _magic_of(where)
    if magic is None or type_of(data) != FUSE_SUPER_MAGIC:
        return GO_ON
    return handed_over(call, call.args[1], disguised(data, magic))
