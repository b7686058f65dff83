# SPDX-License-Identifier: MIT
"""oom_badness and oom_score, kernel by kernel (reference, section 4)."""

from __future__ import annotations

import itertools

import pytest

from fakeproc.kernel import badness
from fakeproc.kernel.capability import CAP_SYS_ADMIN
from fakeproc.kernel.machine import CloneFlags, Hardware, Machine, sizes_for
from fakeproc.kernel.profile import PROFILE_NAMES, KernelConfig, named
from fakeproc.kernel.task import Credentials, MemorySizes, Process

# 4.3: 4 GiB without swap.  Rss, swap, page tables and oom_score_adj; then badness and
# oom_score up to 4.16 for a user, the same for CAP_SYS_ADMIN, in 4.17 to 5.8, since 5.9.
TOTAL = 1_048_576
WORKED_EXAMPLES = """
262144      0  600     0 |  262744  250 |  254862  243 |  262744  250 |  262744  833
262144      0  600    -1 |  261696  249 |  253814  242 |  261696  249 |  261696  832
262144      0  600   500 |  786744  750 |  778862  742 |  786744  750 |  786744 1166
262144      0  600  -300 |       1    0 |       1    0 |       1    0 |  -51656  634
262144      0  600  -999 |       1    0 |       1    0 |       1    0 | -784208  168
     0      0   10     0 |      10    0 |      10    0 |      10    0 |      10  666
     0      0   10  1000 | 1048010  999 | 1048010  999 | 1048010  999 | 1048010 1332
     0      0   10  -500 |       1    0 |       1    0 |       1    0 | -523990  334
1000000      0 2000  1000 | 2050000 1955 | 2019940 1926 | 2050000 1955 | 2050000 1970
262144 131072  900     0 |  394116  375 |  382293  364 |  394116  375 |  394116  916
"""

# 4.2, seen on 6.1: 25021 pages in all, 2549 of them the process's.
REAL_SAMPLES = {0: 734, 100: 800, 500: 1067, 1000: 1400, -500: 402, -999: 69, -1000: 0}

USER = Credentials(1000, 1000, 0)
ADMIN = Credentials(1000, 1000, CAP_SYS_ADMIN)
ROOT_WITHOUT_CAPABILITIES = Credentials(0, 0, 0)


def machine_of(kernel: str, total: int = TOTAL) -> Machine:
    return Machine(KernelConfig(kernel), Hardware(total, 0), first_pid=100)


def process_with(
    machine: Machine,
    *,
    adj: int = 0,
    anon: int = 0,
    swap: int = 0,
    tables: int = 0,
    credentials: Credentials = USER,
) -> Process:
    """Add a process with exactly these pages; more than fits is allowed here."""
    process = machine.spawn("web", credentials=credentials, sizes=MemorySizes())
    assert process.mm is not None
    process.mm.sizes = MemorySizes(anon + swap, anon, swap_entries=swap, pte_pages=tables)
    process.oom_score_adj = adj
    return process


def points(machine: Machine, process: Process) -> int | None:
    return badness.badness(machine.profile, process, machine.hardware.totalpages, cpus=2)


def examples() -> list[list[list[int]]]:
    """Return the rows of the table, each as its groups of numbers."""
    rows = WORKED_EXAMPLES.strip().splitlines()
    return [[[int(cell) for cell in group.split()] for group in row.split("|")] for row in rows]


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
@pytest.mark.parametrize("example", examples(), ids=lambda groups: str(groups[0]))
@pytest.mark.parametrize("credentials", [USER, ADMIN], ids=["user", "admin"])
def test_worked_examples(kernel: str, example: list[list[int]], credentials: Credentials) -> None:
    (rss, swap, tables, adj), old_user, old_admin, middle, recent = example
    machine = machine_of(kernel)
    process = process_with(
        machine, adj=adj, anon=rss, swap=swap, tables=tables, credentials=credentials
    )
    version = named(kernel).version
    old = old_admin if credentials is ADMIN else old_user
    expected = recent if version >= (5, 9) else middle if version >= (4, 17) else old
    assert [points(machine, process), machine.oom_score(process)] == expected


@pytest.mark.parametrize("adj", REAL_SAMPLES)
def test_samples_of_a_real_6_1(adj: int) -> None:
    machine = machine_of("6.1", 25021)
    process = process_with(machine, adj=adj, anon=2500, tables=49)
    assert machine.oom_score(process) == REAL_SAMPLES[adj]


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
def test_the_discount_follows_the_capability_and_not_the_uid(kernel: str) -> None:
    machine = machine_of(kernel)
    scores = [
        points(machine, process_with(machine, anon=100_000, credentials=credentials))
        for credentials in (USER, ROOT_WITHOUT_CAPABILITIES, ADMIN)
    ]
    discount = 3000 if named(kernel).version < (4, 17) else 0
    assert scores == [100_000, 100_000, 100_000 - discount]


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
def test_who_is_never_chosen(kernel: str) -> None:
    machine = machine_of(kernel)
    user = process_with(machine, anon=1024)
    zombie = process_with(machine, anon=1024)
    machine.exit_group(zombie)
    never = (
        machine.init,
        machine.process(2),
        machine.kthread("aio", use_mm=user.mm),
        process_with(machine, anon=1024, adj=-1000),
        zombie,
    )
    assert [points(machine, process) for process in never] == [None] * len(never)
    assert [machine.oom_score(process) for process in never] == [0] * len(never)
    assert points(machine, user) == 1024


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
def test_an_exited_leader_with_a_living_thread_can_be_chosen(kernel: str) -> None:
    machine = machine_of(kernel)
    process = process_with(machine, anon=1024)
    machine.clone_thread(process.leader)
    machine.exit_thread(process.leader)
    assert points(machine, process) == 1024


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
def test_a_hidden_mm_is_out_of_sight_since_4_6(kernel: str) -> None:
    machine = machine_of(kernel)
    process = process_with(machine, anon=1024)
    assert process.mm is not None
    process.mm.hidden = True
    assert points(machine, process) == (1024 if kernel == "4.4" else None)


# -- vfork: none, as posted, as merged ---------------------------------------------


EXEMPT = {
    # kernel: exempt are (CLONE_VM|CLONE_VFORK, CLONE_VFORK alone, both with CLONE_PARENT)
    **dict.fromkeys(PROFILE_NAMES, (True, False, False)),
    "4.4": (False, False, False),
    "4.7": (False, False, False),
    "series-as-posted": (True, True, True),
}


@pytest.mark.parametrize("kernel", EXEMPT)
def test_which_vfork_children_are_exempt(kernel: str) -> None:
    """Vectors 29, 32 and 33: as merged, only who shares the mm of its real parent."""
    forms = (
        CloneFlags(vm=True, vfork=True),
        CloneFlags(vfork=True),
        CloneFlags(vm=True, vfork=True, parent=True),
    )
    for flags, exempt in zip(forms, EXEMPT[kernel], strict=True):
        machine = machine_of(kernel)
        parent = process_with(machine, anon=1024)
        child = machine.clone(parent.leader, flags)
        assert points(machine, child) == (None if exempt else 1024), flags
        assert points(machine, parent) == 1024, "the parent itself can be chosen"


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
def test_the_exemption_ends_with_exec_and_with_the_parent(kernel: str) -> None:
    machine = machine_of(kernel)
    for end in ("exec", "parent killed"):
        parent = process_with(machine, anon=1024)
        child = machine.clone(parent.leader, CloneFlags(vm=True, vfork=True))
        if end == "exec":
            machine.exec(child.leader, "worker", MemorySizes(1024, 1024))
        else:
            machine.exit_group(parent, 9)
        assert points(machine, child) == 1024, end


def test_patch_4_alone_brings_the_exemption() -> None:
    machine = machine_of("4.7")
    machine.set_kernel(machine.config.with_patch(4, on=True))
    parent = process_with(machine, anon=1024)
    child = machine.clone(parent.leader, CloneFlags(vm=True, vfork=True))
    assert points(machine, child) is None
    machine.set_kernel(machine.config.with_patch(4, on=False))
    assert points(machine, child) == 1024


# -- The batches of 6.2 and later --------------------------------------------------


@pytest.mark.parametrize(
    ("cpus", "kind", "pages", "counted"),
    [
        (2, "anon_pages", 31, 0),
        (2, "anon_pages", 32, 32),
        (2, "file_pages", 95, 64),
        (2, "shmem_pages", 33, 32),
        (2, "swap_entries", 63, 32),
        (16, "anon_pages", 63, 32),
        (17, "anon_pages", 33, 0),
        (64, "anon_pages", 300, 256),
        (2, "pte_pages", 31, 31),
        (2, "pmd_pages", 3, 3),
    ],
)
def test_6_18_counts_each_kind_in_batches(cpus: int, kind: str, pages: int, counted: int) -> None:
    """A batch is 32 pages, or two for each CPU; page tables are counted exactly."""
    sizes = MemorySizes(10_000, **{kind: pages})
    assert badness.counted_pages(named("6.18"), sizes, cpus) == counted
    assert badness.counted_pages(named("6.1"), sizes, cpus) == pages


def test_the_kinds_are_not_added_up_before_they_are_rounded() -> None:
    sizes = MemorySizes(10_000, anon_pages=31, file_pages=31, shmem_pages=31, swap_entries=31)
    assert badness.counted_pages(named("6.18"), sizes, cpus=2) == 0
    assert badness.counted_pages(named("5.15"), sizes, cpus=2) == 124


# -- Order and presentation --------------------------------------------------------


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
def test_more_memory_and_a_higher_adjustment_are_worse(kernel: str) -> None:
    machine = machine_of(kernel)
    safest_first = [
        process_with(machine, adj=-999, anon=64_000),
        process_with(machine, adj=-900, anon=640),
        process_with(machine, adj=-900, anon=64_000),
        process_with(machine, anon=6400),
        process_with(machine, anon=640_000),
        process_with(machine, anon=640, adj=700),
        process_with(machine, anon=6400, adj=1000),
    ]
    signed = named(kernel).badness_signed
    for a, b in itertools.combinations(safest_first, 2):
        better, worse = points(machine, a), points(machine, b)
        assert better is not None
        assert worse is not None
        tied = better == worse == 1 and not signed
        assert tied or better < worse, (a.oom_score_adj, b.oom_score_adj)
        assert machine.oom_score(a) <= machine.oom_score(b)


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
def test_below_a_thousand_pages_the_adjustment_has_no_effect(kernel: str) -> None:
    machine = machine_of(kernel, 999)
    adjusted = {points(machine, process_with(machine, adj=adj, anon=96)) for adj in (-999, 0, 1000)}
    assert adjusted == {96}
    assert points(machine, process_with(machine, adj=-1000, anon=96)) is None


def test_a_tiny_process_at_minus_999_shows_nearly_nothing() -> None:
    machine = machine_of("6.1", 2_621_440)
    assert machine.oom_score(process_with(machine, adj=-999, tables=1)) in (0, 1)
    assert machine.oom_score(process_with(machine)) == 666


def test_the_score_is_about_ram_and_swap() -> None:
    machine = Machine(KernelConfig("5.4"), Hardware(ram_pages=50_000, swap_pages=50_000))
    process = machine.spawn("web", sizes=sizes_for(anon_pages=20_000, pte_pages=0, pmd_pages=0))
    assert machine.oom_score(process) == 200
