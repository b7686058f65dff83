# SPDX-License-Identifier: MIT
"""Sets of capabilities: the numbers of capability.h, and how people write them."""

from __future__ import annotations

import errno

import pytest

from fakeproc.kernel import capability
from fakeproc.kernel.capability import CAP_DAC_OVERRIDE, CAP_KILL, CAP_SYS_ADMIN, CAP_SYS_RESOURCE
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.profile import PROFILE_NAMES, KernelConfig, named
from fakeproc.kernel.task import Credentials

FULL = (1 << 41) - 1


@pytest.mark.parametrize(
    ("bit", "number"),
    [(CAP_DAC_OVERRIDE, 1), (CAP_KILL, 5), (CAP_SYS_ADMIN, 21), (CAP_SYS_RESOURCE, 24)],
)
def test_numbers_are_those_of_the_header(bit: int, number: int) -> None:
    assert bit == 1 << number


def test_the_names_are_in_the_order_of_the_header() -> None:
    assert len(capability.NAMES) == len(set(capability.NAMES)) == 41
    numbers = {"chown": 0, "sys_ptrace": 19, "audit_read": 37, "perfmon": 38, "bpf": 39}
    assert {name: capability.NAMES.index(name) for name in numbers} == numbers
    assert capability.NAMES[40] == "checkpoint_restore"


@pytest.mark.parametrize("name", PROFILE_NAMES)
def test_how_many_there_are_depends_on_the_kernel(name: str) -> None:
    recent = named(name).version >= (5, 9)
    assert capability.full_set(named(name).version) == (1 << (41 if recent else 38)) - 1
    assert Machine(KernelConfig(name)).init.leader.credentials.capabilities == (
        (1 << (41 if recent else 38)) - 1
    )


def test_5_8_brought_two_of_the_three_newest() -> None:
    assert capability.full_set((5, 8)) == (1 << 40) - 1


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("all", FULL),
        ("none", 0),
        ("0x0", 0),
        ("0x1000000", CAP_SYS_RESOURCE),
        ("0xffffffffffffffff", FULL),
        ("+kill", CAP_KILL),
        ("+kill,sys_resource", CAP_KILL | CAP_SYS_RESOURCE),
        ("+kill,kill", CAP_KILL),
        ("-sys_resource", FULL & ~CAP_SYS_RESOURCE),
    ],
)
def test_sets_as_people_write_them(text: str, held: int) -> None:
    assert capability.parse(text, FULL) == held


@pytest.mark.parametrize("text", ["", "ALL", "kill", "+", "+all", "+cap_kill", "-kill,", "0x", "7"])
def test_anything_else_is_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(Refused) as refused:
        capability.parse(text, FULL)
    assert refused.value.error == errno.EINVAL
    assert f"caps={text}:" in refused.value.why
    assert "all, none, 0xHEX, +NAME,NAME" in refused.value.why


def test_a_capability_that_the_kernel_does_not_know_cannot_be_held() -> None:
    assert capability.parse("+bpf,kill", capability.full_set((4, 7))) == CAP_KILL


def test_credentials_say_what_they_hold() -> None:
    credentials = Credentials(0, 0, CAP_KILL | CAP_SYS_ADMIN)
    assert credentials.capable(CAP_KILL)
    assert not credentials.capable(CAP_SYS_RESOURCE)
