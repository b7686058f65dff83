# SPDX-License-Identifier: MIT
"""The files of an address space as programs read them from a mount."""

from __future__ import annotations

import errno
import os
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import Mounted

WEB = "100003"


@pytest.fixture
def proc(mount: Callable[..., Mounted]) -> Mounted:
    return mount("--kernel", "6.18")


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def mapping(proc: Mounted, name: str) -> tuple[int, int]:
    line = next(line for line in proc.read(f"{WEB}/maps").splitlines() if name in line)
    start, end = line.split()[0].split("-")
    return int(start, 16), int(end, 16)


def test_pagemap_is_read_where_one_seeks(proc: Mounted) -> None:
    start, end = mapping(proc, "[heap]")
    with opened(proc / f"{WEB}/pagemap") as fd:
        assert os.lseek(fd, start // 4096 * 8, os.SEEK_SET) == start // 4096 * 8
        size = min((end - start) // 4096 * 8, 1 << 20)
        data = b""
        while len(data) < size:
            part = os.read(fd, min(65536, size - len(data)))
            assert part
            data += part
        present = sum(word >> 63 for (word,) in struct.iter_unpack("<Q", data))
        block = proc.read(f"{WEB}/smaps").partition("[heap]")[2]
        rss = re.search(r"Rss: +(\d+) kB", block)
        assert rss is not None
        assert present == int(rss[1]) // 4
        with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
            os.lseek(fd, 0, os.SEEK_END)


def test_mem_has_what_is_mapped(proc: Mounted) -> None:
    start, end = mapping(proc, "[heap]")
    with opened(proc / f"{WEB}/mem") as fd:
        assert os.pread(fd, 16, start) == bytes(16)
        assert os.pread(fd, 16, end - 4) == bytes(4)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            os.pread(fd, 16, start - 16)


def test_the_links_of_map_files_can_be_listed_and_read(proc: Mounted) -> None:
    folder = proc / f"{WEB}/map_files"
    targets = {os.readlink(folder / name) for name in os.listdir(folder)}
    files = {line[73:] for line in proc.read(f"{WEB}/maps").splitlines() if line[73:74] == "/"}
    assert targets == files


def test_clear_refs_from_a_shell(proc: Mounted) -> None:
    done = proc.sh(f"echo 1 > {WEB}/clear_refs && grep Referenced {WEB}/smaps_rollup")
    assert done.stdout.split() == ["Referenced:", "0", "kB"]
    done = proc.sh(f"echo 9 > {WEB}/clear_refs; cat 2/smaps_rollup; cat 2/maps")
    assert done.stdout == ""
    assert "Invalid argument" in done.stderr or "I/O error" in done.stderr
    assert "No such process" in done.stderr
