# SPDX-License-Identifier: MIT
"""The files under /proc/sys: defaults, ranges, and how a write is read (reference, section 8)."""

from __future__ import annotations

import errno

import pytest

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.sysctl import SYSCTLS, SysctlTable

DEFAULTS = {
    "vm/panic_on_oom": 0,
    "vm/oom_kill_allocating_task": 0,
    "vm/oom_dump_tasks": 1,
    "vm/overcommit_memory": 0,
    "vm/overcommit_ratio": 50,
    "vm/overcommit_kbytes": 0,
    "vm/swappiness": 60,
    "kernel/pid_max": 4_194_304,
}

RANGES = {
    "vm/panic_on_oom": (0, 2),
    "vm/overcommit_memory": (0, 2),
    "vm/oom_kill_allocating_task": (-(2**31), 2**31 - 1),
    "vm/oom_dump_tasks": (-(2**31), 2**31 - 1),
    "vm/swappiness": (0, 200),
    "kernel/pid_max": (301, 4_194_304),
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_values_at_boot(name: str) -> None:
    assert SysctlTable()[name] == DEFAULTS[name]


def test_each_default_is_in_its_own_range() -> None:
    off = {"vm/dirty_background_bytes", "vm/dirty_bytes"}  # 0 reads, and cannot be written
    assert {name for name, row in SYSCTLS.items() if not row.accepts(row.default)} == off
    assert dict(SysctlTable().items()) == {name: row.default for name, row in SYSCTLS.items()}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"10", 10),
        (b"10\n", 10),
        (b" \t10\n", 10),
        (b"0x10", 16),
        (b"0X1f", 31),
        (b"010", 8),
        (b"0", 0),
        (b"-5", -5),
        (b"-0x5\n", -5),
    ],
)
def test_numbers_in_every_base(text: bytes, value: int) -> None:
    sysctls = SysctlTable()
    assert sysctls.store("vm/oom_dump_tasks", text) == len(text)
    assert sysctls["vm/oom_dump_tasks"] == value


@pytest.mark.parametrize("text", [b"\n", b"x", b"+5", b"5x", b"08", b"0x", b"- 5", b"--5", b"1e2"])
def test_what_does_not_begin_with_a_number_is_refused(text: bytes) -> None:
    sysctls = SysctlTable()
    with pytest.raises(Refused) as refused:
        sysctls.store("vm/oom_dump_tasks", text)
    assert refused.value.error == errno.EINVAL
    assert sysctls["vm/oom_dump_tasks"] == 1


@pytest.mark.parametrize("name", RANGES)
def test_the_ends_of_a_range_are_in_it(name: str) -> None:
    sysctls = SysctlTable()
    for value in RANGES[name]:
        sysctls.store(name, b"%d\n" % value)
        assert sysctls[name] == value


@pytest.mark.parametrize("name", RANGES)
def test_what_is_outside_of_the_range_is_refused_with_the_range(name: str) -> None:
    low, high = RANGES[name]
    sysctls = SysctlTable()
    for value in (low - 1, high + 1, 10**19):
        with pytest.raises(Refused, match=f"accepted are {low} to {high}") as refused:
            sysctls.store(name, b"%d" % value)
        assert refused.value.error == errno.EINVAL
    assert sysctls[name] == SYSCTLS[name].default


def test_the_two_forms_of_the_overcommit_limit_exclude_each_other() -> None:
    sysctls = SysctlTable()
    sysctls.store("vm/overcommit_kbytes", b"1000")
    assert (sysctls["vm/overcommit_ratio"], sysctls["vm/overcommit_kbytes"]) == (0, 1000)
    sysctls.store("vm/overcommit_ratio", b"80")
    assert (sysctls["vm/overcommit_ratio"], sysctls["vm/overcommit_kbytes"]) == (80, 0)


def test_setting_overcommit_kbytes_to_nothing_leaves_the_ratio() -> None:
    sysctls = SysctlTable()
    sysctls.store("vm/overcommit_kbytes", b"0")
    assert (sysctls["vm/overcommit_ratio"], sysctls["vm/overcommit_kbytes"]) == (50, 0)


@pytest.mark.parametrize("limit", ["vm/dirty", "vm/dirty_background"])
def test_the_two_forms_of_the_dirty_limits_exclude_each_other(limit: str) -> None:
    sysctls = SysctlTable()
    sysctls.store(f"{limit}_bytes", b"1048576")
    assert (sysctls[f"{limit}_ratio"], sysctls[f"{limit}_bytes"]) == (0, 1048576)
    assert sysctls.changed() == {f"{limit}_bytes": 1048576}
    sysctls.store(f"{limit}_ratio", b"30")
    assert sysctls.changed() == {f"{limit}_ratio": 30}


@pytest.mark.parametrize(
    ("text", "ratios"),
    [
        (b"1", (1, 256, 32, 0, 0)),
        (b"1 2\t3 4 5\n", (1, 2, 3, 4, 5)),
        (b"-1 0 3\n", (0, 0, 3, 0, 0)),
        (b"1 2 3 4 5 6\n", (1, 2, 3, 4, 5)),
    ],
)
def test_lowmem_reserve_ratio_takes_a_number_for_each_zone(
    text: bytes, ratios: tuple[int, ...]
) -> None:
    sysctls = SysctlTable()
    assert 0 < sysctls.store("vm/lowmem_reserve_ratio", text) <= len(text)
    assert sysctls.lowmem_reserve_ratio == ratios


@pytest.mark.parametrize("text", [b"", b"\n", b"x", b"1 x", b"1 2 3x"])
def test_bad_ratios_change_nothing(text: bytes) -> None:
    sysctls = SysctlTable()
    with pytest.raises(Refused) as refused:
        sysctls.store("vm/lowmem_reserve_ratio", text)
    assert refused.value.error == errno.EINVAL
    assert sysctls.lowmem_reserve_ratio == (256, 256, 32, 0, 0)


def test_each_machine_has_its_own_values() -> None:
    one, other = Machine(), Machine()
    assert one.store_sysctl("vm/swappiness", b"10\n") == 3
    assert (one.sysctls["vm/swappiness"], other.sysctls["vm/swappiness"]) == (10, 60)
