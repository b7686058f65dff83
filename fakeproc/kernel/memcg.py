# SPDX-License-Identifier: MIT
"""Memory cgroups: a tree of groups, each with its members and its limit."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING

from fakeproc.kernel.psi import Pressure, all_pressures
from fakeproc.kernel.task import Process, Thread

if TYPE_CHECKING:
    from fakeproc.kernel.oom import OomRequest


@dataclass(slots=True)
class MemcgEvents:
    """The counters of memory.events, in the order of the file."""

    low: int = 0
    high: int = 0
    max: int = 0
    """Charges that the limit refused at first."""
    oom: int = 0
    """Those that reached the OOM path."""
    oom_kill: int = 0
    """Victims, whose group ever was out of memory (since 4.13)."""
    oom_group_kill: int = 0
    """Kills of a whole group (since 5.17)."""


@dataclass(slots=True, eq=False, repr=False)
class Memcg:
    """A memory cgroup."""

    name: str = ""
    parent: Memcg | None = None
    limit_pages: int | None = None
    """memory.max, or memory.limit_in_bytes; None: no limit."""
    swap_limit_pages: int | None = None
    """memory.swap.max, or what memory.memsw.limit_in_bytes leaves for swap; None: no limit."""
    oom_group: bool = False
    """memory.oom.group (since 4.19): all members die together."""
    children: dict[str, Memcg] = field(default_factory=dict)
    everybody: Mapping[int, Process] | None = None
    """For the root: all processes of the machine.  It keeps no list of its own."""
    _members: dict[Process, None] = field(default_factory=dict)
    events: MemcgEvents = field(default_factory=MemcgEvents)
    """What happened in this group and below it."""
    local_events: MemcgEvents = field(default_factory=MemcgEvents)
    """What happened in this group itself."""
    failcnt: int = 0
    """Charges that hit this group's limit."""
    oom_kill_disable: bool = False
    """memory.oom_control of version 1: nobody is killed, who allocates waits."""
    oom_waiters: dict[Thread, OomRequest] = field(default_factory=dict)
    """Who waits for room in this group, each with the allocation that failed."""

    stalls: dict[str, Pressure] | None = None
    """The pressure files, once somebody has waited or asked; `pressure` gives them."""

    def __repr__(self) -> str:
        return f"<Memcg {self.path}>"

    @property
    def path(self) -> str:
        """The path from the root, ``/`` for the root itself."""
        names = [group.name for group in self.ancestors()]
        return "/".join(reversed(names)) or "/"

    @property
    def pressure(self) -> dict[str, Pressure]:
        """The pressure files by name: memory, cpu, io; of the root, those of the machine."""
        if self.stalls is None:
            self.stalls = all_pressures(is_group=True)
        return self.stalls

    @property
    def members(self) -> Collection[Process]:
        """The processes in this very group, in the order in which they were attached."""
        if self.everybody is None:
            return self._members.keys()
        own = [process for process in self.everybody.values() if process.memcg is self]
        return sorted(own, key=attrgetter("attached"))

    def attach(self, process: Process) -> None:
        """Take in a process, behind those that are there already."""
        if self.everybody is None:
            self._members[process] = None

    def detach(self, process: Process) -> None:
        """Let a process go."""
        if self.everybody is None:
            del self._members[process]

    def is_below(self, root: Memcg) -> bool:
        """Say whether this group is part of the tree of this root: it may have been removed."""
        group = self
        while group.parent is not None:
            if group.parent.children.get(group.name) is not group:
                return False
            group = group.parent
        return group is root

    def subtree(self) -> Iterator[Memcg]:
        """Walk this group and those below, each before its children."""
        to_come = [self]
        while to_come:
            group = to_come.pop()
            yield group
            to_come += reversed(group.children.values())

    def ancestors(self) -> Iterator[Memcg]:
        """Walk from this group up to the root."""
        group: Memcg | None = self
        while group is not None:
            yield group
            group = group.parent

    def count(self, event: str) -> None:
        """Count an event of `MemcgEvents` here, and in the sums of all groups above."""
        _increment(self.local_events, event)
        for group in self.ancestors():
            _increment(group.events, event)

    @property
    def under_oom(self) -> bool:
        """Say whether somebody waits for room here or in a group above."""
        return any(group.oom_waiters for group in self.ancestors())

    def is_charged_for(self, process: Process) -> bool:
        """Say whether the mm belongs to this subtree: its first user does (mm->owner)."""
        mm = process.mm
        return mm is not None and self in next(iter(mm.processes)).memcg.ancestors()

    def processes(self) -> Iterator[Process]:
        """Walk the members of the subtree, group by group."""
        for group in self.subtree():
            yield from group.members


def _increment(events: MemcgEvents, event: str) -> None:
    setattr(events, event, getattr(events, event) + 1)
