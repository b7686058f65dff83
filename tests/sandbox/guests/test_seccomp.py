# SPDX-License-Identifier: MIT
"""The filter, run here instruction by instruction, and the listener, on real calls."""

from __future__ import annotations

import os
import struct

import pytest

from fakeproc.sandbox import seccomp
from fakeproc.sandbox.seccomp import INTERCEPTED, Architecture, Call, filter_program

ARCHITECTURES = seccomp._ARCHITECTURES
ALLOW, NOTIFY = 0x7FFF0000, 0x7FC00000
OPENS = {Call.OPEN, Call.OPENAT}
I386 = 0x40000003
MMAP = {"x86_64": 9, "aarch64": 222}


def run_filter(program: bytes, number: int, arch: int, args: tuple[int, ...] = ()) -> int:
    """Do what the kernel does with such a program (the opcodes are those of linux/filter.h)."""
    data = struct.pack("=IIQ6Q", number, arch, 0, *args, *(0,) * (6 - len(args)))
    instructions = list(struct.iter_unpack("=HBBI", program))
    at = accumulator = 0
    while True:
        code, then, otherwise, value = instructions[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif code == 0x54:
            accumulator &= value
        elif code == 0x15:
            at += then if accumulator == value else otherwise
        elif code == 0x35:
            at += then if accumulator >= value else otherwise
        else:
            assert code == 0x06
            return int(value)


@pytest.fixture(params=ARCHITECTURES)
def arch(request: pytest.FixtureRequest) -> Architecture:
    return ARCHITECTURES[request.param]


@pytest.mark.parametrize("intercept", [False, True])
def test_it_asks_about_the_calls_that_are_answered(arch: Architecture, intercept: bool) -> None:
    program = filter_program(intercept=intercept, of=arch)
    asked = {
        call
        for call, number in arch.numbers.items()
        if run_filter(program, number, arch.audit) == NOTIFY
    }
    expected = arch.numbers.keys() - OPENS - (set() if intercept else INTERCEPTED)
    assert asked == expected


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_it_lets_other_calls_and_other_abis_pass(name: str) -> None:
    arch = ARCHITECTURES[name]
    program = filter_program(intercept=True, of=arch)
    kill = arch.numbers[Call.KILL]
    assert run_filter(program, MMAP[name], arch.audit) == ALLOW
    assert run_filter(program, kill, I386) == ALLOW
    assert run_filter(program, kill | 0x40000000, arch.audit) == ALLOW


@pytest.mark.parametrize(
    ("flags", "answer"),
    [
        (os.O_RDONLY, ALLOW),
        (os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY, ALLOW),
        (os.O_WRONLY, NOTIFY),
        (os.O_RDWR | os.O_CREAT, NOTIFY),
        # The kernel takes an int; what is above it in the register does not count.
        (0xFFFFFFFF00000000 | os.O_RDONLY, ALLOW),
        (0xFFFFFFFF00000000 | os.O_WRONLY, NOTIFY),
    ],
)
def test_it_asks_about_opening_for_writing(arch: Architecture, flags: int, answer: int) -> None:
    program = filter_program(intercept=False, of=arch)
    for call, at in ((Call.OPEN, 1), (Call.OPENAT, 2)):
        if call in arch.numbers:
            args = (0,) * at + (flags,)
            assert run_filter(program, arch.numbers[call], arch.audit, args) == answer
