# SPDX-License-Identifier: MIT
"""Modes, owners, types, links and the order of readdir: the same as on a real 6.18."""

from __future__ import annotations

import re
import stat

import pytest

from tests.formats.formats import captured
from tests.formats.view import TASKS, Entry, View

# There is one of each, for as many as there are; a simulated machine has others.
_ANY = re.compile(r".*<.*")
# Read-only where the kernel has no detector of hard lockups.
_CONFIGURED = ("sys/kernel/nmi_watchdog",)
_ROOT_LINKS = ("mounts", "net", "self", "thread-self")


def common(seen: View, other: View) -> dict[str, tuple[Entry, Entry]]:
    """Return the entries that both have."""
    return {path: (entry, other[path]) for path, entry in seen.items() if path in other}


def differing_modes(seen: View, real: View) -> list[str]:
    """Return the entries whose mode or owner is another one than the real one."""
    return [
        f"{path}: {ours.mode:06o} {ours.uid} {ours.gid}, not {theirs.mode:06o}"
        f" {theirs.uid} {theirs.gid}"
        for path, (ours, theirs) in common(seen, real).items()
        if (ours.mode, ours.uid, ours.gid) != (theirs.mode, theirs.uid, theirs.gid)
        and not _ANY.fullmatch(path)
        and path not in _CONFIGURED
    ]


def order(seen: View, folder: str, names: set[str]) -> list[str]:
    """Return these names of a folder, as readdir gives them."""
    below = [path.rpartition("/") for path in seen]
    return [name for parent, _, name in below if parent == folder and name in names]


def names_of(seen: View, folder: str) -> set[str]:
    """Return the names in a folder."""
    return {path.rpartition("/")[2] for path in seen if path.rpartition("/")[0] == folder}


def misordered(seen: View, real: View) -> list[str]:
    """Return the folders that list what both have in another order."""
    folders = {path for path, entry in seen.items() if entry.is_directory} | {""}
    found = []
    for folder in sorted(folders):
        both = names_of(seen, folder) & names_of(real, folder)
        if order(seen, folder, both) != order(real, folder, both):
            found.append(folder)
    return found


def form(target: str) -> str:
    """Return a link's target with its numbers taken out."""
    return re.sub(r"\d+", "<n>", target)


def test_modes_and_owners(simulated: View) -> None:
    assert differing_modes(simulated, captured()) == []


def test_the_capture_still_holds(host: View) -> None:
    assert len(common(host, captured())) > 900
    assert differing_modes(host, captured()) == []
    assert misordered(host, captured()) == []


def test_the_order_of_readdir(simulated: View) -> None:
    assert misordered(simulated, captured()) == []


@pytest.mark.parametrize("kind", TASKS)
def test_the_number_of_links_of_a_tasks_directories(simulated: View, kind: str) -> None:
    """What tools take for the number of subdirectories."""
    differing = [
        f"{path}: {ours.nlink}, not {theirs.nlink}"
        for path, (ours, theirs) in common(simulated, captured()).items()
        if path.startswith(f"{kind}/") and not path.endswith("/net") and ours.nlink != theirs.nlink
    ]
    assert differing == []


def test_the_number_of_links_of_net(simulated: View) -> None:
    """Which subdirectories it has depends on the configuration; a zombie has none."""
    folders = {name for name in names_of(simulated, "process/net") if is_folder(simulated, name)}
    assert simulated["process/net"].nlink == 2 + len(folders)
    assert simulated["zombie/net"].nlink == captured()["zombie/net"].nlink == 2


def is_folder(seen: View, name: str) -> bool:
    return seen[f"process/net/{name}"].is_directory


def test_where_links_lead(simulated: View) -> None:
    """Those that do not depend on what a process has open, and where."""
    for path, (ours, theirs) in common(simulated, captured()).items():
        if stat.S_ISLNK(theirs.mode) and (path in _ROOT_LINKS or "/ns/" in path):
            assert form(ours.target) == form(theirs.target), path
