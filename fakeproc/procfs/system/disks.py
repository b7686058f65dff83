# SPDX-License-Identifier: MIT
"""partitions and diskstats: a disk with the root file system, and where there is swap."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from fakeproc.kernel.machine import Machine
from fakeproc.kernel.mounts import ROOT_DEVICE, ROOT_PARTITION
from fakeproc.kernel.reclaim import DISK_NS
from fakeproc.kernel.task import PAGE_BYTES, PAGE_KIB
from fakeproc.procfs.system.node import SystemFile, SystemRow

ROOT_KIB = 64 * 1024**2
"""The size of the root file system, of which the machine knows nothing else."""

_SECTORS_PER_PAGE = PAGE_BYTES // 512
_PARTITION_KIB = 1024
"""What a disk has before its first partition."""

_COLUMNS = 14
"""Of diskstats, those that every kernel has."""

_MINORS_PER_DISK = 16
_MAJORS = {"sd": 8, "vd": 254}
_MAJOR_OTHERS = 259  # blkext
_NAME = re.compile(r"(?P<kind>sd|vd)(?P<letter>[a-z])(?P<partition>\d*)")


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk or a partition, and what has gone over it, in pages."""

    name: str
    major: int
    minor: int
    size_kib: int
    pages_read: int = 0
    pages_written: int = 0

    def render_partition(self) -> str:
        """Return the line of partitions (show_partition)."""
        return f"{self.major:4d}  {self.minor:7d} {self.size_kib:10d} {self.name}\n"

    def render_stat(self) -> str:
        """Return the columns that every kernel has (diskstats_show).

        Each page is a request of its own, and takes `reclaim.DISK_NS`.
        """
        reads, writes = self.pages_read, self.pages_written
        read_ms, write_ms = reads * DISK_NS // 1_000_000, writes * DISK_NS // 1_000_000
        fields = (
            *(reads, 0, reads * _SECTORS_PER_PAGE, read_ms),
            *(writes, 0, writes * _SECTORS_PER_PAGE, write_ms),
            *(0, read_ms + write_ms, read_ms + write_ms),
        )
        return f"{self.major:4d} {self.minor:7d} {self.name} " + " ".join(map(str, fields))


def disks(machine: Machine) -> list[Disk]:
    """Return the disks and partitions, ordered by their numbers.

    Reading from swap is counted where the first swap device is.
    """
    counters = machine.memory.counters
    files = Disk(
        ROOT_PARTITION,
        *ROOT_DEVICE,
        ROOT_KIB,
        counters.workingset_refault_file,
        counters.written,
    )
    swap = [device for device in _swap_devices(machine) if device.name != files.name]
    partitions = [files, *swap]
    by_disk: dict[str, list[Disk]] = {}
    for partition in partitions:
        by_disk.setdefault(_disk_of(partition.name), []).append(partition)
    # A device that is not partitioned is in the list already.
    whole = [_sum(name, parts) for name, parts in by_disk.items() if name != parts[0].name]
    return sorted([*partitions, *whole], key=lambda disk: (disk.major, disk.minor))


def _swap_devices(machine: Machine) -> Iterator[Disk]:
    counters = machine.memory.counters
    pages = counters.pswpin, counters.pswpout
    for number, area in enumerate(machine.memory.swap_areas):
        if not area.name.startswith("/dev/"):
            continue
        name = area.name.removeprefix("/dev/").replace("/", "!")
        yield Disk(name, *_numbers(name, number), area.size_pages * PAGE_KIB, *pages)
        pages = 0, 0


def _numbers(name: str, otherwise: int) -> tuple[int, int]:
    """Return the major and minor number of a device; of one of unknown kind, these are made up."""
    match = _NAME.fullmatch(name)
    if match is None:
        return _MAJOR_OTHERS, otherwise
    disk = ord(match["letter"]) - ord("a")
    return _MAJORS[match["kind"]], disk * _MINORS_PER_DISK + int(match["partition"] or 0)


def _disk_of(name: str) -> str:
    """Return the disk that a partition is on; of one of unknown kind, it is a disk itself."""
    match = _NAME.fullmatch(name)
    return f"{match['kind']}{match['letter']}" if match else name


def _sum(name: str, partitions: list[Disk]) -> Disk:
    return Disk(
        name,
        *_numbers(name, 0),
        _PARTITION_KIB + sum(partition.size_kib for partition in partitions),
        sum(partition.pages_read for partition in partitions),
        sum(partition.pages_written for partition in partitions),
    )


def render_partitions(machine: Machine) -> bytes:
    """Return the table of block devices, sizes in kB."""
    lines = (disk.render_partition() for disk in disks(machine))
    return ("major minor  #blocks  name\n\n" + "".join(lines)).encode()


def render_diskstats(machine: Machine) -> bytes:
    """Return a line for each disk and partition; of discards and flushes there are none."""
    newer = " 0" * (machine.profile.diskstats_columns - _COLUMNS)
    return "".join(f"{disk.render_stat()}{newer}\n" for disk in disks(machine)).encode()


ROWS: dict[str, SystemRow] = {
    "diskstats": SystemFile(
        reflects="pages read and written, for swap and for files", render=render_diskstats
    ),
    "partitions": SystemFile(
        reflects="the swap devices, and a disk for the rest", render=render_partitions
    ),
}
