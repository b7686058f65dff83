# SPDX-License-Identifier: MIT
"""Writing oom_adj and oom_score_adj: parsing, scaling, permission, sharers, the log."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable

import pytest

from fakeproc.kernel.capability import CAP_SYS_RESOURCE
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import CloneFlags, Machine
from fakeproc.kernel.oom_adj import (
    legacy_from_score_adj,
    legacy_to_score_adj,
    parse_int,
    parse_write,
)
from fakeproc.kernel.profile import PROFILE_NAMES, KernelConfig, named
from fakeproc.kernel.task import Caller, Credentials, Process, TaskCaller, Thread
from tests.writes import WRITES

PROPAGATING = [name for name in PROFILE_NAMES if named(name).propagate_to_sharers]
NOT_PROPAGATING = ["4.4", "4.7"]
USER = TaskCaller(Credentials(1000, 1000, 0), tid=4321, tgid=4321, comm="sh")
RESOURCE = TaskCaller(Credentials(1000, 1000, CAP_SYS_RESOURCE), 4322, 4322, "choom")

EINVAL, ERANGE, EACCES, ESRCH = errno.EINVAL, errno.ERANGE, errno.EACCES, errno.ESRCH

# Stored oom_score_adj and what oom_adj reads then, for each oom_adj written (2.3).
SCALE = {
    -17: (-1000, -17),
    -16: (-941, -15),
    -15: (-882, -14),
    -14: (-823, -13),
    -13: (-764, -12),
    -12: (-705, -11),
    -11: (-647, -10),
    -10: (-588, -9),
    -9: (-529, -8),
    -8: (-470, -7),
    -7: (-411, -6),
    -6: (-352, -5),
    -5: (-294, -4),
    -4: (-235, -3),
    -3: (-176, -2),
    -2: (-117, -1),
    -1: (-58, 0),
    0: (0, 0),
    1: (58, 0),
    2: (117, 1),
    3: (176, 2),
    4: (235, 3),
    5: (294, 4),
    6: (352, 5),
    7: (411, 6),
    8: (470, 7),
    9: (529, 8),
    10: (588, 9),
    11: (647, 10),
    12: (705, 11),
    13: (764, 12),
    14: (823, 13),
    15: (1000, 15),
}

# The values of oom_score_adj that read as one oom_adj, quoted from 2.3.
READS = """
-17: [-1000]; -16: [-999,-942]; -15: [-941,-883]; -14: [-882,-824]; -13: [-823,-765];
-12: [-764,-706]; -11: [-705,-648]; -10: [-647,-589]; -9: [-588,-530]; -8: [-529,-471];
-7: [-470,-412]; -6: [-411,-353]; -5: [-352,-295]; -4: [-294,-236]; -3: [-235,-177];
-2: [-176,-118]; -1: [-117,-59]; 0: [-58,58]; 1: [59,117]; 2: [118,176]; 3: [177,235];
4: [236,294]; 5: [295,352]; 6: [353,411]; 7: [412,470]; 8: [471,529]; 9: [530,588];
10: [589,647]; 11: [648,705]; 12: [706,764]; 13: [765,823]; 14: [824,882]; 15: [883,1000]
"""


def machine_of(kernel: str = "series", **patches: bool) -> Machine:
    """Return a machine; p3=False turns patch 3 off."""
    config = KernelConfig(kernel)
    for name, on in patches.items():
        config = config.with_patch(int(name.removeprefix("p")), on=on)
    return Machine(config, first_pid=100)


def put(machine: Machine, task: Process | Thread, text: str, caller: Caller | None = None) -> int:
    thread = task.leader if isinstance(task, Process) else task
    return machine.store_oom_score_adj(thread, caller or machine.root, text.encode())


def put_legacy(
    machine: Machine, task: Process | Thread, text: str, caller: Caller | None = None
) -> int:
    thread = task.leader if isinstance(task, Process) else task
    return machine.store_oom_adj(thread, caller or machine.root, text.encode())


def sharer_of(machine: Machine, process: Process) -> Process:
    return machine.clone(process.leader, CloneFlags(vm=True))


def vforked_by(machine: Machine, process: Process) -> Process:
    return machine.clone(process.leader, CloneFlags(vm=True, vfork=True))


def values(*processes: Process) -> list[int]:
    return [process.oom_score_adj for process in processes]


def log_lines(machine: Machine) -> list[str]:
    return [record.text for record in machine.log.since()]


# -- Parsing (2.2) -----------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["4.4", "series", "6.18"])
@pytest.mark.parametrize("data", WRITES, ids=repr)
def test_a_write_leaves_the_value_and_returns_the_count(kernel: str, data: bytes) -> None:
    machine = machine_of(kernel)
    process = machine.spawn("web")
    put(machine, process, "77")
    expected = WRITES[data]
    if isinstance(expected, tuple):
        value, taken = expected
        assert machine.store_oom_score_adj(process.leader, machine.root, data) == taken
        assert process.oom_score_adj == value
    else:
        with pytest.raises(Refused) as refused:
            machine.store_oom_score_adj(process.leader, machine.root, data)
        assert refused.value.error == expected
        assert process.oom_score_adj == 77


@pytest.mark.parametrize("data", [data for data, result in WRITES.items() if result != EINVAL])
def test_oom_adj_parses_the_same(data: bytes) -> None:
    expected = WRITES[data]
    if isinstance(expected, tuple):
        assert parse_write(data) == expected
        return
    machine = machine_of()
    with pytest.raises(Refused) as refused:
        machine.store_oom_adj(machine.spawn("web").leader, machine.root, data)
    assert refused.value.error == expected


@pytest.mark.parametrize(
    ("text", "value"), [("010", 8), ("-17", -17), ("15", 15), ("0xf", 15), ("+7", 7)]
)
def test_oom_adj_takes_every_notation(text: str, value: int) -> None:
    machine = machine_of()
    process = machine.spawn("web")
    assert put_legacy(machine, process, text) == len(text)
    assert process.oom_score_adj == SCALE[value][0]


@pytest.mark.parametrize("text", ["-18", "16", "1000", "0x10", "-1000", "2147483647"])
def test_oom_adj_refuses_what_is_outside_its_range(text: str) -> None:
    machine = machine_of()
    process = machine.spawn("web")
    with pytest.raises(Refused, match="accepted are -17 to 15") as refused:
        put_legacy(machine, process, text)
    assert refused.value.error == EINVAL
    assert process.oom_score_adj == 0


@pytest.mark.parametrize("value", [-(2**31), -1, 0, 7, 8, 1000, 2**31 - 1])
def test_numbers_of_32_bits_are_read_in_every_base(value: int) -> None:
    sign, digits = ("-" if value < 0 else ""), abs(value)
    for text in (
        f"{sign}{digits}",
        f"{sign}0x{digits:x}",
        f"{sign}0X{digits:X}",
        f"{sign}0{digits:o}",
    ):
        assert parse_int(text.encode()) == value


# -- Scaling (2.3) -----------------------------------------------------------------


@pytest.mark.parametrize("written", SCALE)
def test_oom_adj_is_stored_as_oom_score_adj_and_read_back(written: int) -> None:
    machine = machine_of()
    process = machine.spawn("web")
    put_legacy(machine, process, str(written))
    assert (process.oom_score_adj, machine.oom_adj(process)) == SCALE[written]
    assert legacy_to_score_adj(written) == SCALE[written][0]


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
def test_every_oom_score_adj_reads_as_the_oom_adj_of_the_table(kernel: str) -> None:
    """Where 5.10 and later print 15 for 942 to 999, older kernels print 16 (reference 13.1)."""
    profile = named(kernel)
    seen = []
    for oom_adj, low, high in re.findall(r"(-?\d+): \[(-?\d+)(?:,(-?\d+))?\]", READS):
        for value in range(int(low), int(high or low) + 1):
            old = 942 <= value <= 999 and profile.version < (5, 10)
            assert legacy_from_score_adj(profile, value) == (16 if old else int(oom_adj)), value
            seen.append(value)
    assert seen == list(range(-1000, 1001))


# -- Permission (2.4) --------------------------------------------------------------


def test_without_capability_oom_score_adj_goes_down_to_the_minimum() -> None:
    machine = machine_of()
    process = machine.spawn("web")
    put(machine, process, "500", USER)
    put(machine, process, "0", USER)
    with pytest.raises(Refused) as refused:
        put(machine, process, "-1", USER)
    assert refused.value.error == EACCES
    assert (process.oom_score_adj, process.oom_score_adj_min) == (0, 0)


def test_a_privileged_write_moves_the_minimum_also_upwards() -> None:
    machine = machine_of()
    process = machine.spawn("web")
    put(machine, process, "300", RESOURCE)
    with pytest.raises(Refused, match="299 is below 300"):
        put(machine, process, "299", USER)
    for text in ("300", "500", "300"):
        put(machine, process, text, USER)
    assert process.oom_score_adj_min == 300


def test_the_capability_counts_and_not_the_uid() -> None:
    machine = machine_of()
    process = machine.spawn("web")
    with pytest.raises(Refused) as refused:
        put(machine, process, "-1", TaskCaller(Credentials(0, 0, 0)))
    assert refused.value.error == EACCES
    put(machine, process, "-1", RESOURCE)
    assert process.oom_score_adj == -1


def test_without_capability_oom_adj_never_lowers_the_present_value() -> None:
    """The scaled value counts: 5 is 294, which is below 300."""
    machine = machine_of()
    process = machine.spawn("web")
    put(machine, process, "300", USER)
    assert process.oom_score_adj_min == 0
    with pytest.raises(Refused) as refused:
        put_legacy(machine, process, "5", USER)
    assert refused.value.error == EACCES
    put_legacy(machine, process, "6", USER)
    put_legacy(machine, process, "6", USER)
    assert process.oom_score_adj == 352


def test_a_privileged_oom_adj_write_leaves_the_minimum() -> None:
    machine = machine_of()
    process = machine.spawn("web")
    put_legacy(machine, process, "5")
    put(machine, process, "0", USER)
    with pytest.raises(Refused):
        put(machine, process, "-1", USER)


def test_minimum_and_present_value_after_both_kinds_of_privileged_writes() -> None:
    machine = machine_of()
    process = machine.spawn("web")
    put(machine, process, "100")
    put_legacy(machine, process, "-17")
    assert (process.oom_score_adj, process.oom_score_adj_min) == (-1000, 100)
    with pytest.raises(Refused):
        put(machine, process, "-1000", USER)
    put_legacy(machine, process, "-17", USER)
    put_legacy(machine, process, "-16", USER)
    assert process.oom_score_adj == -941
    with pytest.raises(Refused):
        put_legacy(machine, process, "-17", USER)


def test_a_child_inherits_value_and_minimum() -> None:
    machine = machine_of()
    process = machine.spawn("web")
    put(machine, process, "200")
    put(machine, process, "600", USER)
    child = machine.clone(process.leader, CloneFlags())
    assert child.oom_score_adj == 600
    put(machine, child, "200", USER)
    with pytest.raises(Refused):
        put(machine, child, "199", USER)


# -- Order of the checks (2.5), and tasks without an mm (2.6, 2.7) -----------------


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
def test_a_bad_value_is_noticed_before_the_process_is_found_gone(kernel: str) -> None:
    machine = machine_of(kernel)
    process = machine.spawn("web")
    machine.exit_group(process)
    machine.reap(process)
    for text, error in (("5", ESRCH), ("x", EINVAL), ("5000", EINVAL), ("2147483648", ERANGE)):
        with pytest.raises(Refused) as refused:
            put(machine, process, text)
        assert refused.value.error == error


def exited_leader(machine: Machine) -> Process:
    process = machine.spawn("web")
    machine.clone_thread(process.leader)
    machine.exit_thread(process.leader)
    return process


def zombie(machine: Machine) -> Process:
    process = machine.spawn("web")
    machine.exit_group(process)
    return process


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
@pytest.mark.parametrize(
    "make",
    [zombie, exited_leader, lambda machine: machine.kthread("kswapd0")],
    ids=["zombie", "exited leader", "kthread"],
)
def test_a_task_without_an_mm_takes_writes_since_patch_1(
    kernel: str, make: Callable[[Machine], Process]
) -> None:
    machine = machine_of(kernel)
    process = make(machine)
    if not machine.profile.write_needs_task_mm:
        put(machine, process, "50")
        put_legacy(machine, process, "3")
        assert process.oom_score_adj == 176
        return
    with pytest.raises(Refused, match="no mm") as refused:
        put(machine, process, "50", USER)
    assert refused.value.error == EINVAL
    assert process.oom_score_adj == 0


def test_before_patch_1_the_exact_task_needs_an_mm() -> None:
    machine = machine_of("4.7")
    process = exited_leader(machine)
    put(machine, process.threads[1], "250")
    kthread = machine.kthread("aio", use_mm=process.mm)
    put(machine, kthread, "100")
    assert values(process, kthread) == [250, 100]


def test_a_missing_mm_is_noticed_before_a_missing_capability() -> None:
    machine = machine_of("4.7")
    with pytest.raises(Refused) as refused:
        put(machine, zombie(machine), "-1", USER)
    assert refused.value.error == EINVAL


# -- Sharers (3.0 to 3.8) ----------------------------------------------------------


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
def test_all_that_share_an_mm_follow_since_patch_3(kernel: str) -> None:
    machine = machine_of(kernel)
    a = machine.spawn("a")
    b = sharer_of(machine, a)
    follows = machine.profile.propagate_to_sharers
    put(machine, a, "111")
    assert values(a, b) == [111, 111 if follows else 0]
    put(machine, b, "222")
    assert values(a, b) == [222 if follows else 111, 222]
    put_legacy(machine, b, "10")
    assert values(a, b) == [588 if follows else 111, 588]


@pytest.mark.parametrize("kernel", PROPAGATING)
def test_a_privileged_write_gives_its_minimum_to_the_sharers(kernel: str) -> None:
    machine = machine_of(kernel)
    a = machine.spawn("a")
    b = sharer_of(machine, a)
    put(machine, a, "300")
    put_legacy(machine, b, "15")
    assert (a.oom_score_adj_min, b.oom_score_adj_min) == (300, 300)
    for process in (a, b):
        with pytest.raises(Refused) as refused:
            put(machine, process, "299", USER)
        assert refused.value.error == EACCES


@pytest.mark.parametrize("kernel", PROPAGATING)
def test_sharers_are_not_asked_for_their_owner_or_minimum(kernel: str) -> None:
    machine = machine_of(kernel)
    a = machine.spawn("a", credentials=USER.credentials)
    b = sharer_of(machine, a)
    machine.set_credentials(b.threads, Credentials(0, 0, 0))
    b.oom_score_adj_min = 800
    put(machine, a, "50", USER)
    assert values(a, b) == [50, 50]
    assert b.oom_score_adj_min == 800


@pytest.mark.parametrize("kernel", PROPAGATING)
def test_a_task_in_vfork_stays_alone(kernel: str) -> None:
    """Vector 30: parent and child in vfork, and a sharer of the parent."""
    machine = machine_of(kernel)
    parent = machine.spawn("p")
    sharer = sharer_of(machine, parent)
    child = vforked_by(machine, parent)
    put(machine, parent, "200")
    assert values(parent, child, sharer) == [200, 0, 200]
    put(machine, child, "300")
    assert values(parent, child, sharer) == [200, 300, 200]
    put(machine, sharer, "400")
    assert values(parent, child, sharer) == [400, 300, 400]


@pytest.mark.parametrize("kernel", PROPAGATING)
def test_after_exec_a_child_keeps_its_value_and_follows_no_more(kernel: str) -> None:
    machine = machine_of(kernel)
    parent = machine.spawn("p")
    child, sharer = sharer_of(machine, parent), sharer_of(machine, parent)
    put(machine, parent, "345")
    machine.exec(child.leader, "worker")
    put(machine, parent, "11")
    assert values(parent, child, sharer) == [11, 345, 11]


@pytest.mark.parametrize("kernel", PROPAGATING)
def test_the_thread_that_is_opened_decides_whether_it_is_in_vfork(kernel: str) -> None:
    """A second thread of the vfork child is in no vfork: its write reaches the parent."""
    machine = machine_of(kernel)
    parent = machine.spawn("p")
    sharer = sharer_of(machine, parent)
    child = vforked_by(machine, parent)
    second = machine.clone_thread(child.leader)
    put(machine, second, "70")
    assert values(parent, child, sharer) == [70, 70, 70]
    put(machine, child.leader, "80")
    assert values(parent, child, sharer) == [70, 80, 70]


@pytest.mark.parametrize("kernel", PROPAGATING)
def test_zombies_and_kernel_threads_do_not_follow(kernel: str) -> None:
    machine = machine_of(kernel)
    a = machine.spawn("a")
    dead, living = sharer_of(machine, a), sharer_of(machine, a)
    kthread = machine.kthread("aio", use_mm=a.mm)
    put(machine, a, "66")
    machine.exit_group(dead)
    put(machine, a, "88")
    assert values(a, dead, living, kthread) == [88, 66, 88, 0]


@pytest.mark.parametrize("kernel", PROPAGATING)
def test_a_sharer_whose_leader_has_exited_follows_and_leads(kernel: str) -> None:
    machine = machine_of(kernel)
    a = machine.spawn("a")
    b = sharer_of(machine, a)
    machine.clone_thread(b.leader)
    machine.exit_thread(b.leader)
    put(machine, a, "333")
    assert values(a, b) == [333, 333]
    put(machine, b.leader, "334")
    assert values(a, b) == [334, 334]


@pytest.mark.parametrize("kernel", PROPAGATING)
def test_init_is_followed_but_follows_only_in_the_posting(kernel: str) -> None:
    machine = machine_of(kernel)
    sharer = sharer_of(machine, machine.init)
    put(machine, sharer, "300")
    assert values(machine.init, sharer) == [300 if kernel == "series-as-posted" else 0, 300]
    put(machine, machine.init, "150")
    assert values(machine.init, sharer) == [150, 150]


@pytest.mark.parametrize("kernel", PROPAGATING)
def test_an_mm_shared_only_through_abandoned_vforks(kernel: str) -> None:
    """The one visible difference of MULTIPROCESS (5.10): there, nobody follows."""
    machine = machine_of(kernel)
    parent = machine.spawn("p")
    second = machine.clone_thread(parent.leader)
    a = machine.clone(parent.leader, CloneFlags(vm=True, vfork=True))
    b = machine.clone(second, CloneFlags(vm=True, vfork=True))
    machine.exit_group(parent)
    put(machine, a, "5")
    assert values(a, b) == [5, 0 if machine.profile.version >= (5, 10) else 5]


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
def test_two_threads_are_one_process_and_print_only_in_the_posting(kernel: str) -> None:
    """The posting took a second thread for a sharer, and logged the process itself."""
    machine = machine_of(kernel)
    process = machine.spawn("web")
    thread = machine.clone_thread(process.leader)
    put(machine, thread, "250")
    expected = (
        f"updating oom_score_adj for {process.pid} (web) from 250 to 250 because it shares mm "
        f"with {thread.tid} (web). Report if this is unexpected."
    )
    assert log_lines(machine) == ([expected] if kernel == "series-as-posted" else [])


# -- The log (2.8) -----------------------------------------------------------------


LOGGING = ("series", "series-as-posted", "4.8", "4.9", "4.14", "4.19")


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
def test_a_line_for_each_sharer_in_order_of_creation(kernel: str) -> None:
    machine = machine_of(kernel)
    a = machine.spawn("a", pid=500)
    b = machine.clone(a.leader, CloneFlags(vm=True), pid=450)
    c = machine.clone(a.leader, CloneFlags(vm=True), pid=600)
    machine.rename(b.leader, "b")
    machine.rename(c.leader, "c d")
    put(machine, a, "0")
    put(machine, c, "-7")

    def line(sharer: str, old: int, new: int, target: str) -> str:
        return (
            f"updating oom_score_adj for {sharer} from {old} to {new} because it shares mm "
            f"with {target}. Report if this is unexpected."
        )

    expected = {
        "series": [
            line("450 (b)", 0, 0, "500 (a)"),
            line("600 (c d)", 0, 0, "500 (a)"),
            line("500 (a)", 0, -7, "600 (c d)"),
            line("450 (b)", 0, -7, "600 (c d)"),
        ],
        "series-as-posted": [
            line("500 (a)", 0, 0, "500 (a)"),
            line("450 (b)", 0, 0, "500 (a)"),
            line("600 (c d)", 0, 0, "500 (a)"),
            line("500 (a)", 0, -7, "600 (c d)"),
            line("450 (b)", 0, -7, "600 (c d)"),
            line("600 (c d)", -7, -7, "600 (c d)"),
        ],
    }
    wanted = expected.get(kernel, expected["series"]) if kernel in LOGGING else []
    assert log_lines(machine) == wanted
    assert all(record.level == 6 for record in machine.log.since())


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
def test_the_deprecation_is_printed_once_per_boot(kernel: str) -> None:
    """Vector 61: a bad value and a refusal neither print it nor use it up."""
    machine = machine_of(kernel)
    process = machine.spawn("web")
    for text, caller in (("16", machine.root), ("x", machine.root), ("-1", USER)):
        with pytest.raises(Refused):
            put_legacy(machine, process, text, caller)
    assert log_lines(machine) == []
    put_legacy(machine, process, "1", USER)
    put_legacy(machine, process, "2", USER)
    put_legacy(machine, machine.spawn("other"), "2")
    pid = process.pid
    assert machine.log.render() == (
        f"<4>[    0.000000] sh (4321): /proc/{pid}/oom_adj is deprecated, "
        f"please use /proc/{pid}/oom_score_adj instead.\n"
    )


def test_the_deprecation_names_the_thread_that_was_opened() -> None:
    machine = machine_of()
    process = machine.spawn("web")
    thread = machine.clone_thread(process.leader)
    put_legacy(machine, thread, "1")
    assert log_lines(machine) == [
        f"swapper (0): /proc/{thread.tid}/oom_adj is deprecated, "
        f"please use /proc/{thread.tid}/oom_score_adj instead."
    ]


def test_oom_score_adj_is_not_deprecated() -> None:
    machine = machine_of()
    put(machine, machine.spawn("web"), "1")
    assert log_lines(machine) == []


# -- Patch by patch ----------------------------------------------------------------


@pytest.mark.parametrize("patch_1", [False, True])
@pytest.mark.parametrize("patch_3", [False, True])
def test_patches_1_and_3_work_on_their_own(patch_1: bool, patch_3: bool) -> None:
    machine = machine_of("4.7", p1=patch_1, p3=patch_3)
    a = machine.spawn("a")
    b = sharer_of(machine, a)
    put(machine, a, "10")
    assert b.oom_score_adj == (10 if patch_3 else 0)
    dead = zombie(machine)
    if patch_1:
        put(machine, dead, "10")
    else:
        with pytest.raises(Refused):
            put(machine, dead, "10")
    assert dead.oom_score_adj == (10 if patch_1 else 0)


@pytest.mark.parametrize("kernel", NOT_PROPAGATING)
def test_before_the_series_sharers_can_differ(kernel: str) -> None:
    machine = machine_of(kernel)
    a = machine.spawn("a")
    b = sharer_of(machine, a)
    put(machine, b, "-1000")
    assert values(a, b) == [0, -1000]
