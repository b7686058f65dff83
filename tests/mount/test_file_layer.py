# SPDX-License-Identifier: MIT
"""What no file of procfs has for itself: opening, names, directories, what cannot be done."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from tests.conftest import Mounted
from tests.mount import NOBODY, call_as, opened, put, refused, require_root, waiting_process
from tests.mount.battery import BATTERY, Place, run_on

EXPECTED = {name: expected for name, (_, expected) in BATTERY.items()}


def test_the_battery_on_the_host() -> None:
    require_root()
    with waiting_process() as pid:
        assert run_on(Place(Path("/proc"), pid)) == EXPECTED


def test_the_battery_on_a_mount(mount: Callable[..., Mounted]) -> None:
    require_root()
    mounted = mount("--kernel", "6.18")
    place = Place(mounted.path, mounted.control("spawn name=web rss=10M"))
    assert run_on(place) == EXPECTED


# -- Who is not root ---------------------------------------------------------------


def test_nobody_changes_no_attributes(mounted: Mounted) -> None:
    require_root()
    actions: tuple[Callable[[str, int], None], ...] = (
        lambda name, root: os.chmod(name, 0o777, dir_fd=root),
        lambda name, root: os.chown(name, NOBODY, NOBODY, dir_fd=root),
        lambda name, root: os.utime(name, (0, 0), dir_fd=root),
    )
    with opened(mounted.path, os.O_PATH) as root:
        for action, name in product(actions, ("meminfo", "1/comm", "sys/vm/panic_on_oom")):
            with refused(errno.EPERM):
                call_as(NOBODY, partial(action, name, root))


# -- Directories -------------------------------------------------------------------


def _read_from(folder: int, start: int) -> list[tuple[str, int]]:
    """List a directory from a place on; return each name and the place behind it (getdents64)."""
    os.lseek(folder, start, os.SEEK_SET)
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(4096)
    found: list[tuple[str, int]] = []
    while (size := libc.syscall(217, folder, buffer, len(buffer))) > 0:
        at = 0
        while at < size:
            behind = int.from_bytes(buffer.raw[at + 8 : at + 16], "little")
            length = int.from_bytes(buffer.raw[at + 16 : at + 18], "little")
            name = buffer.raw[at + 19 : at + length].split(b"\0")[0]
            found.append((name.decode(), behind))
            at += length
    if size < 0:
        raise OSError(number := ctypes.get_errno(), os.strerror(number))
    return found


def test_a_listing_goes_on_from_any_place(mounted: Mounted) -> None:
    """The way of telldir and seekdir."""
    for path in (mounted.path, mounted / "1", mounted / "sys/vm"):
        with opened(path, os.O_RDONLY | os.O_DIRECTORY) as folder:
            whole = _read_from(folder, 0)
            assert [name for name, _ in whole[:2]] == [".", ".."]
            for number, (_, behind) in enumerate(whole):
                assert _read_from(folder, behind) == whole[number + 1 :]


def test_a_rewound_directory_shows_who_has_come(mounted: Mounted) -> None:
    with opened(mounted.path, os.O_RDONLY | os.O_DIRECTORY) as folder:
        before = os.listdir(folder)
        pid = mounted.control("spawn name=new")
        assert os.listdir(folder) == [*before, pid]


def test_a_kept_directory_of_a_reaped_task(mounted: Mounted) -> None:
    """Listing it gives ENOENT, which readdir(3) takes for the end.

    So does opening (the kernel: ESRCH, which FUSE cannot tell from a path).
    """
    pid = mounted.control("spawn name=web")
    with (
        opened(mounted / pid, os.O_RDONLY | os.O_DIRECTORY) as folder,
        opened(mounted / pid / "task", os.O_RDONLY | os.O_DIRECTORY) as threads,
    ):
        assert "oom_score" in os.listdir(folder)
        assert os.listdir(threads) == [pid]
        mounted.control(f"exit {pid}")
        mounted.control(f"reap {pid}")
        for kept in (folder, threads):
            with refused(errno.ENOENT):
                _read_from(kept, 0)
        with refused(errno.ENOENT):
            os.open("oom_score", os.O_RDONLY, dir_fd=folder)
    assert pid not in os.listdir(mounted.path)


# -- What a descriptor sees --------------------------------------------------------


def test_a_snapshot_stays_for_reads_that_go_on(mounted: Mounted) -> None:
    """A reader in small pieces, as lmkd's is, does not mix two states of the machine."""
    with opened(mounted / "meminfo") as fd, opened(mounted / "meminfo") as other:
        pieces = [os.read(fd, 100)]
        mounted.control("spawn name=hog rss=1G")
        pieces += iter(lambda: os.read(fd, 100), b"")
        assert sum(map(len, pieces)) == len(os.read(other, 1 << 16))
        free_kib = [
            int(text.split(b"MemFree:")[1].split()[0])
            for text in (b"".join(pieces), os.pread(fd, 1 << 16, 0))
        ]
    assert free_kib[0] - free_kib[1] >= 1 << 20


def test_owners_are_those_of_the_task(mounted: Mounted) -> None:
    pid = mounted.control("spawn name=web uid=33 gid=44 rss=1M")
    paths: list[Any] = [mounted / pid, mounted / pid / "task", mounted / pid / "task" / pid]
    paths += [entry.path for entry in os.scandir(mounted / pid)]
    for path in paths:
        found = os.lstat(path)
        assert (found.st_uid, found.st_gid) == (33, 44), path


def test_two_write_through_one_directory(mounted: Mounted) -> None:
    """As choom does: openat in a directory that it keeps."""
    with opened(mounted / "1", os.O_PATH | os.O_DIRECTORY) as folder:
        for value in (b"5", b"6"):
            fd = os.open("oom_score_adj", os.O_WRONLY, dir_fd=folder)
            os.write(fd, value)
            os.close(fd)
            assert mounted.read("1/oom_score_adj") == f"{value.decode()}\n"
    put(mounted / "1/oom_score_adj", b"0")
