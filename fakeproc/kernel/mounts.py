# SPDX-License-Identifier: MIT
"""What the simulated machine has mounted: the table that a Debian of its kind boots with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fakeproc.kernel.task import PAGE_KIB

if TYPE_CHECKING:
    from fakeproc.kernel.machine import Machine

ROOT_PARTITION, ROOT_DEVICE = "vda1", (254, 1)
"""Where the root file system is: beside the swap, /dev/vda2."""
ROOT_ID = 27
DEV_ID = 24
_SYS_ID, _CGROUP_ID = 22, 29
_NOTHING_ALLOWED = "nosuid,nodev,noexec,relatime"


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount: its id and that of the one it is on, where, and of what."""

    id: int
    parent_id: int
    device: tuple[int, int]
    point: str
    options: str
    fstype: str
    source: str
    super_options: str = "rw"


def mounts_of(machine: Machine) -> Iterator[Mount]:
    """Walk over all mounts in the order in which they were made."""
    ram_kib = machine.hardware.ram_pages * PAGE_KIB
    yield Mount(_SYS_ID, ROOT_ID, (0, 20), "/sys", f"rw,{_NOTHING_ALLOWED}", "sysfs", "sysfs")
    yield Mount(23, ROOT_ID, (0, 21), "/proc", f"rw,{_NOTHING_ALLOWED}", "proc", "proc")
    dev = f"rw,size={ram_kib // 2}k,nr_inodes={ram_kib // 2 // PAGE_KIB},mode=755"
    yield Mount(DEV_ID, ROOT_ID, (0, 5), "/dev", "rw,nosuid,relatime", "devtmpfs", "udev", dev)
    pts = "rw,gid=5,mode=620,ptmxmode=000"
    pts_options = "rw,nosuid,noexec,relatime"
    yield Mount(25, DEV_ID, (0, 22), "/dev/pts", pts_options, "devpts", "devpts", pts)
    run = f"rw,size={ram_kib // 10}k,mode=755"
    yield Mount(26, ROOT_ID, (0, 23), "/run", f"rw,{_NOTHING_ALLOWED}", "tmpfs", "tmpfs", run)
    root = "rw,errors=remount-ro"
    yield Mount(ROOT_ID, 1, ROOT_DEVICE, "/", "rw,relatime", "ext4", f"/dev/{ROOT_PARTITION}", root)
    yield Mount(28, DEV_ID, (0, 24), "/dev/shm", "rw,nosuid,nodev", "tmpfs", "tmpfs")
    yield from _cgroups(machine)


def hierarchies(machine: Machine) -> dict[str, int]:
    """Return the controllers that have a hierarchy of version 1, and its number."""
    if machine.build.cgroup_version == 2:
        return {}
    return {"memory": 1, "cpuset": 2} if machine.build.cpusets else {"memory": 1}


def _cgroups(machine: Machine) -> Iterator[Mount]:
    folder, options = "/sys/fs/cgroup", f"rw,{_NOTHING_ALLOWED}"
    if machine.build.cgroup_version == 2:
        yield Mount(_CGROUP_ID, _SYS_ID, (0, 25), folder, options, "cgroup2", "cgroup2")
        return
    ro = "ro,nosuid,nodev,noexec"
    yield Mount(_CGROUP_ID, _SYS_ID, (0, 25), folder, ro, "tmpfs", "tmpfs", "ro,mode=755")
    unified = f"{folder}/unified"
    yield Mount(30, _CGROUP_ID, (0, 26), unified, options, "cgroup2", "cgroup2")
    for name, number in hierarchies(machine).items():
        device, point = (0, 26 + number), f"{folder}/{name}"
        above, super_options = _CGROUP_ID, f"rw,{name}"
        yield Mount(30 + number, above, device, point, options, "cgroup", "cgroup", super_options)
