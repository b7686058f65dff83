# SPDX-License-Identifier: MIT
"""What programs in a sandbox see as /proc: which simulated file is bound over which real one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from fakeproc.procfs.system import SYSTEM_ENTRIES
from fakeproc.procfs.tree import CONTROL_DIRECTORY, GUESTS, REAL_PROCFS

FUSE_MOUNTPOINT = "/proc/driver"
"""Where the simulated /proc is mounted at first: an empty directory of every procfs."""

TASK_FILES = (
    *("stat", "statm", "status", "comm", "cmdline", "environ", "cgroup", "io", "limits"),
    *("oom_score", "oom_score_adj", "oom_adj", "maps", "smaps", "smaps_rollup", "wchan"),
    *("task", "fd"),
)
"""What is bound of a simulated process; the rest of its directory is its stand-in's."""

GUEST_FILES = ("oom_score", "oom_score_adj", "oom_adj", "cgroup")
"""What is bound of a real process."""

_LEFT_REAL = {"net", "mounts", "fs", "driver", "bus", "tty", "self", "thread-self", "scsi"}

_MOUNTS_AT_MOST = 60_000
"""Well below fs.mount-max, 100,000 unless it is changed."""

Binds = list[tuple[str, str]]
"""Sources and targets."""


class ViewKind(StrEnum):
    """The two ways to show it."""

    BIND = "bind"
    """The real procfs of the namespace, with simulated files bound over it."""
    OVERMOUNT = "overmount"
    """The simulated /proc, in which a real process is a link to its real directory."""


@dataclass(frozen=True, slots=True)
class View:
    """Where everything is, for programs in the sandbox."""

    kind: ViewKind
    whole_directories: bool = False
    """Whether there are too many processes to bind each of their files."""

    @staticmethod
    def of(kind: ViewKind, processes: int) -> View:
        """Return the view for about so many processes."""
        return View(kind, processes * len(TASK_FILES) > _MOUNTS_AT_MOST)

    @property
    def root(self) -> str:
        """The root of the simulated /proc."""
        return FUSE_MOUNTPOINT if self.kind is ViewKind.BIND else "/proc"

    @property
    def real_procfs(self) -> str:
        """The root of the real one, as a link in the simulated root gives it; nothing: /proc."""
        return "" if self.kind is ViewKind.BIND else REAL_PROCFS

    def of_machine(self, there: Iterable[str]) -> Binds:
        """Return what is bound once; ``there`` are the names in the real root."""
        control = f"{self.root}/{CONTROL_DIRECTORY}"
        outside = [(f"{control}/cgroup", "/sys/fs/cgroup"), (f"{control}/devkmsg", "/dev/kmsg")]
        if self.kind is ViewKind.OVERMOUNT:
            return outside
        names = {path.partition("/")[0] for path in SYSTEM_ENTRIES} & set(there) - _LEFT_REAL
        return [(f"{self.root}/{name}", f"/proc/{name}") for name in sorted(names)] + outside

    def unbound(self, there: Iterable[str]) -> dict[bytes, str]:
        """Return the simulated files that the real root lacks, and where the server has them."""
        if self.kind is ViewKind.OVERMOUNT:
            return {}
        names = {path for path in SYSTEM_ENTRIES if "/" not in path} - set(there)
        return {f"/proc/{name}".encode(): f"{FUSE_MOUNTPOINT}/{name}" for name in names}

    def of_task(self, pid: int) -> Binds:
        """Return what is bound of a simulated process."""
        if self.kind is ViewKind.OVERMOUNT:
            return []
        here = f"{self.root}/{pid}"
        if self.whole_directories:
            return [(here, f"/proc/{pid}")]
        return [(f"{here}/{name}", f"/proc/{pid}/{name}") for name in TASK_FILES]

    def of_guest(self, pid: int) -> Binds:
        """Return what is bound of a real process."""
        simulated = f"{self.root}/{GUESTS}/{pid}"
        real = os.path.join("/proc", self.real_procfs, str(pid))
        return [(f"{simulated}/{name}", f"{real}/{name}") for name in GUEST_FILES]
