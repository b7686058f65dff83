# SPDX-License-Identifier: MIT
"""Memory cgroups: a tree of groups, each with its members and its limit."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter

from fakeproc.kernel.task import Process


@dataclass(slots=True, eq=False, repr=False)
class Memcg:
    """A memory cgroup."""

    name: str = ""
    parent: Memcg | None = None
    limit_pages: int | None = None
    """memory.max, or memory.limit_in_bytes; None: no limit."""
    oom_group: bool = False
    """memory.oom.group (since 4.19): all members die together."""
    children: dict[str, Memcg] = field(default_factory=dict)
    everybody: Mapping[int, Process] | None = None
    """For the root: all processes of the machine.  It keeps no list of its own."""
    _members: dict[Process, None] = field(default_factory=dict)
    oom_events: int = 0
    oom_kills: int = 0
    oom_group_kills: int = 0

    def __repr__(self) -> str:
        return f"<Memcg {self.path}>"

    @property
    def path(self) -> str:
        """The path from the root, ``/`` for the root itself."""
        if self.parent is None:
            return "/"
        above = self.parent.path
        return f"{above if above != '/' else ''}/{self.name}"

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

    def subtree(self) -> Iterator[Memcg]:
        """Walk this group and those below, each before its children."""
        yield self
        for child in self.children.values():
            yield from child.subtree()

    def ancestors(self) -> Iterator[Memcg]:
        """Walk from this group up to the root."""
        group: Memcg | None = self
        while group is not None:
            yield group
            group = group.parent

    def is_charged_for(self, process: Process) -> bool:
        """Say whether the mm belongs to this subtree: its first user does (mm->owner)."""
        mm = process.mm
        return mm is not None and self in next(iter(mm.processes)).memcg.ancestors()

    def processes(self) -> Iterator[Process]:
        """Walk the members of the subtree, group by group."""
        for group in self.subtree():
            yield from group.members
