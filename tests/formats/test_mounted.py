# SPDX-License-Identifier: MIT
"""A mount shows what the files of the machine say: entries, modes, types and contents."""

from __future__ import annotations

from collections.abc import Callable

from tests.conftest import Mounted
from tests.formats.test_formats import problems
from tests.formats.view import Mounted as MountedSource
from tests.formats.view import View, view


def tasks_of(mount: Mounted) -> dict[str, str]:
    """Make a task of each kind on the mounted machine; give their directories."""
    process = mount.control("spawn name=sleep")
    zombie = mount.control("spawn name=true")
    mount.control(f"exit {zombie}")
    leader = mount.control("spawn name=leader")
    thread = mount.control(f"thread {leader}")
    mount.control(f"exit-leader {leader}")
    return {
        "process": process,
        "thread": f"{leader}/task/{thread}",
        "kthread": "2",
        "zombie": zombie,
        "exited-leader": leader,
    }


def test_a_mount_shows_the_same(mount: Callable[..., Mounted], simulated: View) -> None:
    mounted = mount("--kernel", "6.18")
    seen = view(MountedSource(mounted.path), tasks_of(mounted))
    # Who looks is a task there, and so may have what the others lack.
    assert list(seen) == list(simulated)
    assert problems(seen) == []
    for path, entry in seen.items():
        ours = simulated[path]
        assert (entry.mode, entry.error) == (ours.mode, ours.error), path
