# SPDX-License-Identifier: MIT
"""/proc/fakeproc/cgroup/: the memory cgroups as cgroupfs shows them.

`CGROUP_FILES` is the table: to add a file, write the function that renders it and add a
row.  The names are those of version 2; memory.oom_control is version 1's.
"""

from __future__ import annotations

import errno
import re
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from fakeproc.kernel import memcg_stat
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.memcg import Memcg, MemcgEvents
from fakeproc.kernel.profile import Profile
from fakeproc.kernel.task import PAGE_BYTES, Caller, Thread
from fakeproc.procfs.node import Attributes, Directory, File, Node
from fakeproc.procfs.pressure import DescriptorTrigger, TriggerFile, render_pressure
from fakeproc.procfs.session import Session

_NUMBER = r"(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)"
_MEMPARSE = re.compile(f"{_NUMBER}?([kKmMgGtTpPeE]?)", re.ASCII)
_PID = re.compile(f"[+]?{_NUMBER}", re.ASCII)
_INT_MAX = 2**31 - 1
_SHIFTS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50, "E": 60}

Store = Callable[[Session, Caller, Memcg, str], None]


@dataclass(frozen=True, slots=True)
class CgroupFile:
    """A row of the table: what reading gives, what writing does, and where the file is."""

    render: Callable[[Session, Memcg], str]
    store: Store | None = None
    on_root: bool = False
    there: Callable[[Profile], bool] = lambda profile: True
    pressure: str = ""
    """Of a pressure file, the resource."""

    def node(self, session: Session, memcg: Memcg) -> CgroupNode:
        """Return the file of a group."""
        kind = CgroupPressureNode if self.pressure else CgroupNode
        return kind(session, memcg, self)

    def is_in(self, session: Session, memcg: Memcg) -> bool:
        """Say whether this group has the file, in this kernel."""
        return (self.on_root or memcg.parent is not None) and self.there(session.machine.profile)


class CgroupNode(File):
    """A file of one group, owned by root; ENODEV once the group is gone."""

    def __init__(self, session: Session, memcg: Memcg, row: CgroupFile) -> None:
        self._session = session
        self._memcg = memcg
        self._row = row

    def attributes(self) -> Attributes:
        """Return 0644 or, where nothing can be written, 0444."""
        takes_writes = self._row.store or self._row.pressure
        return Attributes(stat.S_IFREG | (0o644 if takes_writes else 0o444))

    def render(self) -> bytes:
        """Return the content."""
        self.require_there()
        return self._row.render(self._session, self._memcg).encode(errors="surrogateescape")

    def store(self, caller: Caller, data: bytes) -> int:
        """Write; EINVAL where the file takes no writes (seen on 6.1).  ctl says why not."""
        self.require_there()
        if self._row.store is None:
            raise Refused(errno.EINVAL)
        self._session.require_running()
        try:
            self._row.store(self._session, caller, self._memcg, _text(data))
        except Refused as refused:
            self._session.answer_refusal(refused)
            raise
        return len(_cut(data))

    def takes_input(self) -> bool:
        """Say whether the file takes writes and the group is there."""
        there = self._memcg.is_below(self._session.machine.root_memcg)
        return self._row.store is not None and there

    def prepare(self, caller: Caller, data: bytes) -> None:
        """Let who joins by its own pid be adopted."""
        if self._row.store is _store_procs:
            with suppress(Refused):
                _named_thread(self._session, caller, _text(data))

    def require_there(self) -> None:
        """Refuse with ENODEV when the group has been removed, or the machine rebooted."""
        if not self._memcg.is_below(self._session.machine.root_memcg):
            raise Refused(errno.ENODEV)


class CgroupPressureNode(TriggerFile, CgroupNode):
    """A pressure file of a group; what is written to it is its descriptor's trigger."""

    def opened(self, flags: int, caller: Caller) -> File:
        """Give the descriptor room for a trigger."""
        node = CgroupPressureNode(self._session, self._memcg, self._row)
        path = f"{self._memcg.path}: {self._row.pressure}.pressure"
        node.trigger = DescriptorTrigger(self._session, path, flags, caller)
        return node

    def store(self, caller: Caller, data: bytes) -> int:
        """Set the trigger; ENODEV once the group is gone, EINVAL where there are none."""
        self.require_there()
        if self.trigger is None or not self._session.machine.profile.psi_triggers:
            raise Refused(errno.EINVAL)
        self.trigger.set(self._memcg.pressure, self._row.pressure, _cut(data))
        return len(_cut(data))


def _cut(data: bytes) -> bytes:
    """Return what is taken of a write: a page at most (kernfs_fop_write_iter)."""
    return data[:PAGE_BYTES]


def _text(data: bytes) -> str:
    """Return what was written, without the space around it (strstrip)."""
    text = _cut(data).split(b"\0")[0].decode(errors="surrogateescape")
    return text.strip(" \t\n\v\f\r")


class CgroupDirectory(Directory):
    """A group: its files, and the groups below it, which mkdir makes and rmdir removes."""

    def __init__(self, session: Session, memcg: Memcg | None = None) -> None:
        self._session = session
        self._group = memcg

    @property
    def _memcg(self) -> Memcg:
        """The group; the root is that of whichever machine there is."""
        return self._group or self._session.machine.root_memcg

    def attributes(self) -> Attributes:
        """Return root's 0755, and a link from each group below (seen on 6.1)."""
        return Attributes(stat.S_IFDIR | 0o755, nlink=len(self._memcg.children) + 2)

    def entries(self, caller: Caller) -> Iterable[tuple[str, int]]:
        """Return the files, then the groups in the order in which they were made."""
        for name, row in CGROUP_FILES.items():
            if row.is_in(self._session, self._memcg):
                yield name, stat.S_IFREG
        for name in self._memcg.children:
            yield name, stat.S_IFDIR

    def child(self, name: str, caller: Caller) -> Node:
        """Return a file or a group; ENOENT if there is none."""
        row = CGROUP_FILES.get(name)
        if row is not None and row.is_in(self._session, self._memcg):
            return row.node(self._session, self._memcg)
        below = self._memcg.children.get(name)
        if below is None:
            raise Refused(errno.ENOENT)
        return CgroupDirectory(self._session, below)

    def make_directory(self, name: str, caller: Caller) -> None:
        """Make a group below; EINVAL for a name with a line break (cgroup_mkdir)."""
        self._prepare_change(caller)
        if "\n" in name:
            raise Refused(errno.EINVAL)
        self._session.machine.make_memcg(f"{self._memcg.path}/{name}")

    def remove_directory(self, name: str, caller: Caller) -> None:
        """Remove a group below; EBUSY while it has members or groups (seen on 6.1)."""
        self._prepare_change(caller)
        below = self._memcg.children.get(name)
        if below is None:
            raise Refused(errno.ENOTDIR)
        self._session.machine.remove_memcg(below)

    def _prepare_change(self, caller: Caller) -> None:
        self.require_access(caller, 3)
        self._session.require_running()


# -- Members -----------------------------------------------------------------------


def _render_procs(session: Session, memcg: Memcg) -> str:
    pids = (process.pid for process in memcg.members if not process.is_zombie)
    return "".join(f"{pid}\n" for pid in pids)


def _store_procs(session: Session, caller: Caller, memcg: Memcg, text: str) -> None:
    """Move a process here, the writer itself for 0: EINVAL, ESRCH."""
    thread = _named_thread(session, caller, text)
    if thread.process.is_kthread:
        raise Refused(
            errno.EINVAL, f"cgroup.procs: {thread.tid}: a kernel thread stays where it is."
        )
    # The dead stay where they died.
    if not thread.process.is_zombie:
        session.machine.join_memcg(thread.process, memcg)


def _named_thread(session: Session, caller: Caller, text: str) -> Thread:
    if not _PID.fullmatch(text):
        raise Refused(errno.EINVAL, f"cgroup.procs: {text!r}: accepted is a pid, or 0.")
    number = _integer(text.removeprefix("+"))
    if number > _INT_MAX:
        raise Refused(errno.EINVAL, f"cgroup.procs: {text[:40]}: accepted is a pid, or 0.")
    pid = number or caller.tgid
    thread = session.find_thread(pid, caller)
    if thread is None:
        raise Refused(errno.ESRCH, f"cgroup.procs: {pid}: no such process.")
    return thread


# -- Numbers -----------------------------------------------------------------------


def _integer(text: str) -> int:
    """Read a number that `_NUMBER` accepts: hexadecimal, octal or decimal."""
    octal = len(text) > 1 and text[0] == "0" and text[1] not in "xX"
    return int(text, 8 if octal else 0)


def _switch(text: str, file: str) -> bool:
    if text not in ("0", "1"):
        raise Refused(errno.EINVAL, f"{file}: {text!r}: accepted are 0 and 1.")
    return text == "1"


def _store_max(session: Session, caller: Caller, memcg: Memcg, text: str) -> None:
    session.machine.set_memcg_limit(memcg, parse_limit(text))


def parse_limit(text: str) -> int | None:
    """Return a limit in pages, rounded down, None for ``max`` (page_counter_memparse).

    A number as the kernel's memparse reads it: 0x10k, 4096, 64M; EINVAL for the rest.
    """
    if text == "max":
        return None
    match = _MEMPARSE.fullmatch(text)
    if match is None:
        raise Refused(
            errno.EINVAL, f"memory.max: {text!r}: accepted: max, or bytes such as 67108864 or 64M."
        )
    limit_bytes = _integer(match[1] or "0") << _SHIFTS[match[2].upper()]
    return None if limit_bytes >= memcg_stat.NO_LIMIT_BYTES else limit_bytes // PAGE_BYTES


def _render_max(session: Session, memcg: Memcg) -> str:
    return "max\n" if memcg.limit_pages is None else f"{memcg.limit_pages * PAGE_BYTES}\n"


def _render_current(session: Session, memcg: Memcg) -> str:
    return f"{memcg_stat.usage_of(session.machine, memcg).memory_pages * PAGE_BYTES}\n"


def _render_swap_current(session: Session, memcg: Memcg) -> str:
    return f"{memcg_stat.usage_of(session.machine, memcg).swap_entries * PAGE_BYTES}\n"


def _render_stat(session: Session, memcg: Memcg) -> str:
    lines = memcg_stat.stat_lines(session.machine, memcg, cgroup_version=2)
    return "".join(f"{line}\n" for line in lines)


# -- Out of memory -----------------------------------------------------------------


def _render_oom_group(session: Session, memcg: Memcg) -> str:
    return f"{memcg.oom_group:d}\n"


def _store_oom_group(session: Session, caller: Caller, memcg: Memcg, text: str) -> None:
    memcg.oom_group = _switch(text, "memory.oom.group")


def _render_events(session: Session, memcg: Memcg) -> str:
    hierarchical = session.machine.profile.memory_events_hierarchical
    events = memcg.events if hierarchical else memcg.local_events
    return _event_lines(session, events)


def _render_local_events(session: Session, memcg: Memcg) -> str:
    return _event_lines(session, memcg.local_events)


def _event_lines(session: Session, events: MemcgEvents) -> str:
    profile = session.machine.profile
    names = ["low", "high", "max", "oom"]
    names += ["oom_kill"] if profile.count_oom_kill else []
    names += ["oom_group_kill"] if profile.oom_group_kill_event else []
    return "".join(f"{name} {getattr(events, name)}\n" for name in names)


def _render_pressure(resource: str, session: Session, memcg: Memcg) -> str:
    return render_pressure(session.machine, memcg.pressure, resource)


def _pressure_row(resource: str) -> CgroupFile:
    """Return a row of a pressure file (2ce7135adc9a, 4.20)."""
    return CgroupFile(
        partial(_render_pressure, resource),
        on_root=True,
        there=lambda profile: profile.psi_file,
        pressure=resource,
    )


def _render_oom_control(session: Session, memcg: Memcg) -> str:
    text = f"oom_kill_disable {memcg.oom_kill_disable:d}\nunder_oom {memcg.under_oom:d}\n"
    if session.machine.profile.count_oom_kill:
        text += f"oom_kill {memcg.local_events.oom_kill}\n"
    return text


def _store_oom_control(session: Session, caller: Caller, memcg: Memcg, text: str) -> None:
    session.machine.set_oom_kill_disable(memcg, on=_switch(text, "memory.oom_control"))


CGROUP_FILES: dict[str, CgroupFile] = {
    "cgroup.procs": CgroupFile(_render_procs, _store_procs, on_root=True),
    "cpu.pressure": _pressure_row("cpu"),
    "io.pressure": _pressure_row("io"),
    "memory.current": CgroupFile(_render_current),
    "memory.events": CgroupFile(_render_events),
    "memory.events.local": CgroupFile(
        _render_local_events, there=lambda profile: profile.memory_events_local
    ),
    "memory.max": CgroupFile(_render_max, _store_max),
    "memory.oom.group": CgroupFile(
        _render_oom_group, _store_oom_group, there=lambda profile: profile.memory_oom_group
    ),
    "memory.oom_control": CgroupFile(_render_oom_control, _store_oom_control, on_root=True),
    "memory.pressure": _pressure_row("memory"),
    "memory.stat": CgroupFile(_render_stat, on_root=True),
    "memory.swap.current": CgroupFile(_render_swap_current),
}
"""The files of a group, by name."""
