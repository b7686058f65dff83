# SPDX-License-Identifier: MIT
"""The host's memory cgroups: where they are, and what limits them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fakeproc.kernel.task import PAGE_BYTES
from fakeproc.snapshot.process import lines_of

_NO_LIMIT_BYTES = 2**52
"""What version 1 shows where there is none is far above; no machine has as much."""


@dataclass(frozen=True, slots=True)
class HostMemcg:
    """A group, by its path as /proc/<pid>/cgroup has it."""

    path: str
    limit_pages: int | None = None
    swap_limit_pages: int | None = None
    oom_group: bool = False
    oom_kill_disable: bool = False

    @property
    def is_plain(self) -> bool:
        """Say whether nothing is set for it."""
        return self == HostMemcg(self.path)


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """The mounted hierarchy that has the memory controller."""

    version: int
    mountpoint: Path
    root: str
    """Which of its groups is mounted there."""

    @property
    def controller(self) -> str:
        """What /proc/<pid>/cgroup calls it."""
        return "memory" if self.version == 1 else ""

    def read(self, path: str) -> HostMemcg:
        """Return a group; without limits where it cannot be seen from here."""
        inside = path.removeprefix(self.root.rstrip("/"))
        folder = self.mountpoint / inside.lstrip("/")
        return _version_1(folder, path) if self.version == 1 else _version_2(folder, path)


def find_hierarchy(proc: Path) -> Hierarchy | None:
    """Return where the memory controller is; None: it is mounted nowhere in sight."""
    found = None
    for fields, kind, options in _mounts(proc):
        mountpoint = Path(unescape(fields[4]))
        if kind == "cgroup" and "memory" in options:
            return Hierarchy(1, mountpoint, unescape(fields[3]))
        if kind == "cgroup2" and "memory" in _read(mountpoint / "cgroup.controllers").split():
            found = Hierarchy(2, mountpoint, unescape(fields[3]))
    return found


def with_ancestors(paths: set[str]) -> list[str]:
    """Return the groups of these paths and all above them but the root, sorted."""
    above = {os.fspath(parent) for path in paths for parent in PurePosixPath(path).parents}
    return sorted((paths | above) - {"/", "."})


def unescape(field: str) -> str:
    """Return a name of mountinfo or swaps as it is."""
    for octal, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(octal, character)
    return field


def _mounts(proc: Path) -> Iterator[tuple[list[str], str, list[str]]]:
    """Walk the mounts: the fields before the dash, the type, the options of the file system."""
    for line in lines_of(proc / "self" / "mountinfo", errors="surrogateescape"):
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        yield before.split(" "), kind, options.split(",")


def _version_1(folder: Path, path: str) -> HostMemcg:
    limit = _limit(folder / "memory.limit_in_bytes")
    both = _limit(folder / "memory.memsw.limit_in_bytes")
    control = _read(folder / "memory.oom_control")
    return HostMemcg(
        path,
        limit,
        max(both - limit, 0) if limit is not None and both is not None else None,
        oom_kill_disable="oom_kill_disable 1" in control,
    )


def _version_2(folder: Path, path: str) -> HostMemcg:
    return HostMemcg(
        path,
        _limit(folder / "memory.max"),
        _limit(folder / "memory.swap.max"),
        oom_group=_read(folder / "memory.oom.group").strip() == "1",
    )


def _limit(file: Path) -> int | None:
    text = _read(file).strip()
    if not text.isdecimal() or int(text) >= _NO_LIMIT_BYTES:
        return None
    return int(text) // PAGE_BYTES


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
