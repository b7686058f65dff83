# SPDX-License-Identifier: MIT
"""What the host's kernel remembers of a mount is dropped when it is too much."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fakeproc import dentries
from fakeproc.dentries import Dentries, drop
from tests.conftest import Mounted
from tests.mount import require_root


@pytest.fixture
def dropped(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the mounts whose paths are dropped; nothing else happens to them."""
    mounts: list[Path] = []
    monkeypatch.setattr(dentries, "drop", mounts.append)
    return mounts


def look_up(noted: Dentries, names: range) -> None:
    for name in names:
        noted.note(f"/{name}")
        for thread in threading.enumerate():
            if thread.name == "dentries":
                thread.join()


def test_so_many_paths_are_remembered_and_no_more(dropped: list[Path]) -> None:
    noted = Dentries(Path("/mnt"), lambda: 10)
    look_up(noted, range(10))
    look_up(noted, range(10))
    assert dropped == []
    look_up(noted, range(10, 32))
    assert dropped == [Path("/mnt")] * 2


def test_who_may_not_drop_them_does_not_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Path] = []

    def refuse(mountpoint: Path) -> None:
        tried.append(mountpoint)
        raise PermissionError

    monkeypatch.setattr(dentries, "drop", refuse)
    look_up(Dentries(Path("/mnt"), lambda: 10), range(100))
    assert tried == [Path("/mnt")]


def test_a_mount_whose_paths_are_dropped_is_asked_for_them_again(
    mount: Callable[..., Mounted],
) -> None:
    require_root()
    mounted = mount("--clock", "manual")

    def upcalls_to_look() -> int:
        before = count(mounted)
        os.stat(mounted / "1/oom_score")
        return count(mounted) - before

    def count(mounted: Mounted) -> int:
        return int(os.pread(stats, 4096, 0).split()[1])

    stats = os.open(mounted / "fakeproc/stats", os.O_RDONLY)
    with (mounted / "100013/oom_score_adj").open() as kept:
        first, warm = upcalls_to_look(), upcalls_to_look()
        drop(mounted.path)
        assert upcalls_to_look() == first > warm == upcalls_to_look()
        assert kept.read() == "300\n"
    os.close(stats)
