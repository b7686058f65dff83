# SPDX-License-Identifier: MIT
"""Kernels before 4.4, of which there are reports but no mounts (reference, section 12)."""

from __future__ import annotations

import errno

import pytest

from fakeproc.kernel.badness import badness, logged_score
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Hardware, Machine, sizes_for
from fakeproc.kernel.oom import OomRequest, select, select_by_walk
from fakeproc.kernel.profile import PROFILE_NAMES, AnyKernelConfig, KernelConfig
from fakeproc.kernel.task import Credentials, Process

TOTAL = 1_000_000
USER = Credentials(1000, 1000, 0)


def machine_of(kernel: str) -> Machine:
    return Machine(AnyKernelConfig(kernel), Hardware(ram_pages=TOTAL, swap_pages=0))


def spawn(machine: Machine, pages: int, *, adj: int = 0, root: bool = False) -> Process:
    """Make a process of so many pages, page tables included."""
    sizes = sizes_for(anon_pages=pages, pte_pages=0, pmd_pages=0)
    process = machine.spawn("x", sizes=sizes, credentials=None if root else USER)
    machine.store_oom_score_adj(process.leader, machine.root, b"%d" % adj)
    return process


def points(kernel: str, pages: int, *, adj: int = 0, root: bool = False) -> int | None:
    machine = machine_of(kernel)
    return badness(machine.profile, spawn(machine, pages, adj=adj, root=root), TOTAL, 1)


@pytest.mark.parametrize(
    ("kernel", "pages", "adj", "root", "expected"),
    [
        # Per mille until 3.4: root 30 less, 1 to 1000.
        ("2.6", 250_000, 0, False, 250),
        ("3.4", 250_999, 0, False, 250),
        ("3.4", 250_000, 0, True, 220),
        ("3.4", 250_000, 100, False, 350),
        ("3.4", 250_000, 900, False, 1000),
        ("3.4", 250_000, -900, False, 1),
        ("3.4", 10, 0, True, 1),
        # In pages since 3.5; root 3 % of all memory less until 3.13, of its own since.
        ("3.5", 250_000, 0, False, 250_000),
        ("3.5", 250_000, 0, True, 220_000),
        ("3.13", 20_000, 0, True, 1),
        ("3.14", 250_000, 0, True, 242_500),
        ("4.16", 250_000, 0, True, 242_500),
        ("4.17", 250_000, 0, True, 250_000),
        # Signed since 5.9.
        ("5.8", 250_000, -900, False, 1),
        ("5.9", 250_000, -900, False, -650_000),
    ],
)
def test_points(kernel: str, pages: int, adj: int, root: bool, expected: int) -> None:
    assert points(kernel, pages, adj=adj, root=root) == expected


def test_the_score_that_the_log_prints() -> None:
    assert logged_score(AnyKernelConfig("3.2").profile, 847, TOTAL) == 847
    assert logged_score(AnyKernelConfig("3.10").profile, 847_000, TOTAL) == 847


@pytest.mark.parametrize(
    ("kernel", "winner"), [("3.2", 0), ("3.5", 0), ("3.6", 2), ("4.3", 2), ("4.4", 0), ("5.3", 2)]
)
def test_who_wins_a_tie_in_a_cgroup(kernel: str, winner: int) -> None:
    """The first of all tasks; of the cgroup from the newest on; in order; the last one."""
    machine = machine_of(kernel)
    web = machine.make_memcg("/web")
    members = [spawn(machine, 1000) for _ in range(3)]
    for process in members:
        machine.join_memcg(process, web)
    request = OomRequest(TOTAL, memcg=web)
    assert select(machine, request).process is members[winner]


@pytest.mark.parametrize("kernel", ["2.6", "3.2", "3.6", "3.10", "3.16", "4.2", "5.8", "6.12"])
def test_the_index_finds_whom_a_walk_finds(kernel: str) -> None:
    machine = machine_of(kernel)
    web, below = machine.make_memcg("/web"), machine.make_memcg("/web/below")
    for number in range(12):
        process = spawn(machine, 1000 + number % 3, root=number % 2 == 0)
        machine.join_memcg(process, below if number % 4 else web)
    for memcg in (None, web, below):
        request = OomRequest(TOTAL, memcg=memcg)
        assert select(machine, request) == select_by_walk(machine, request)


# -- Releases without a name of their own ------------------------------------------


def test_a_release_has_what_had_changed_by_then() -> None:
    assert AnyKernelConfig("5.2").profile.tie_global == "first"
    assert AnyKernelConfig("5.3").profile.tie_global == "last"
    assert AnyKernelConfig("5.8").base == "5.8"
    assert AnyKernelConfig("5.8").with_switch("tie_global", "first").base == "5.8"


@pytest.mark.parametrize("name", PROFILE_NAMES)
def test_a_name_is_what_it_is_elsewhere(name: str) -> None:
    assert AnyKernelConfig(name).profile == KernelConfig(name).profile


@pytest.mark.parametrize("name", ["2.5", "1.0", "0.0"])
def test_kernels_of_other_rules_are_refused(name: str) -> None:
    with pytest.raises(Refused, match="accepted are 2.6 and later") as refused:
        AnyKernelConfig(name)
    assert refused.value.error == errno.EINVAL


def test_a_mount_offers_names_only() -> None:
    with pytest.raises(Refused):
        KernelConfig("5.8")
