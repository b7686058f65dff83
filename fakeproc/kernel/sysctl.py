# SPDX-License-Identifier: MIT
"""The sysctls that the simulated kernel has: one table, and the parsing of a write."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.fields import ALWAYS
from fakeproc.kernel.profile import Version
from fakeproc.kernel.task import PAGE_BYTES

_INT_MIN, _INT_MAX = -(2**31), 2**31 - 1
_ULONG_MAX = 2**64 - 1
# proc_get_long: a number of at most 21 characters, and behind it only these.
_NUMBER = re.compile(
    rb"[ \t\n]*((-?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*))([ \t\n]*)(.*)", re.DOTALL
)
_LONGEST = 21
_LINE_END = re.compile(rb"[\n\0]")


@dataclass(frozen=True, slots=True)
class Sysctl:
    """An integer under /proc/sys: its value at boot and the range that a write may have."""

    default: int
    low: int = _INT_MIN
    high: int = _INT_MAX
    zero_too: bool = False
    """0 is accepted although it is below the range: off."""
    since: Version = ALWAYS

    def accepts(self, value: int) -> bool:
        """Say whether a write may have this value."""
        return self.low <= value <= self.high or (self.zero_too and value == 0)

    def is_in(self, version: Version) -> bool:
        """Say whether this version has it."""
        return self.since <= version


SYSCTLS: Mapping[str, Sysctl] = {
    "kernel/panic": Sysctl(0),
    "kernel/panic_on_oops": Sysctl(0),
    "kernel/pid_max": Sysctl(4_194_304, 301, 4_194_304),
    "kernel/sysrq": Sysctl(1),
    "kernel/threads-max": Sysctl(1_000_000, 20, 1_073_741_823),
    "vm/admin_reserve_kbytes": Sysctl(8192, 0, _ULONG_MAX),
    "vm/dirty_background_bytes": Sysctl(0, 1, _ULONG_MAX),
    "vm/dirty_background_ratio": Sysctl(10, 0, 100),
    "vm/dirty_bytes": Sysctl(0, 2 * PAGE_BYTES, _ULONG_MAX),
    "vm/dirty_ratio": Sysctl(20, 0, 100),
    "vm/min_free_kbytes": Sysctl(67584, 0),  # `default_min_free_kib` says better
    "vm/oom_dump_tasks": Sysctl(1),
    "vm/oom_kill_allocating_task": Sysctl(0),
    "vm/overcommit_kbytes": Sysctl(0, 0, _ULONG_MAX),
    "vm/overcommit_memory": Sysctl(0, 0, 2),
    "vm/overcommit_ratio": Sysctl(50, 0),
    "vm/panic_on_oom": Sysctl(0, 0, 2),
    "vm/percpu_pagelist_high_fraction": Sysctl(0, 8, zero_too=True, since=(5, 14)),
    "vm/swappiness": Sysctl(60, 0, 200),
    "vm/user_reserve_kbytes": Sysctl(131072, 0, _ULONG_MAX),
    "vm/vfs_cache_pressure": Sysctl(100, 0),
    "vm/watermark_scale_factor": Sysctl(10, 1, 3000, since=(4, 6)),
}
"""Name under /proc/sys, value at boot, accepted range (proc_dointvec_minmax)."""

VECTOR = "vm/lowmem_reserve_ratio"
"""The one sysctl here that is several integers."""

LOWMEM_RESERVE_RATIO = (256, 256, 32, 0, 0)
"""What vm.lowmem_reserve_ratio is at boot: of DMA, DMA32, Normal, Movable and Device."""

# The forms of a limit, of which one at most is in force: setting it clears the other.
_FORMS = {
    "vm/overcommit_ratio": "vm/overcommit_kbytes",
    "vm/dirty_background_ratio": "vm/dirty_background_bytes",
    "vm/dirty_ratio": "vm/dirty_bytes",
}
_RATIO_OF = {absolute: ratio for ratio, absolute in _FORMS.items()}


class SysctlTable:
    """The present values."""

    def __init__(self, at_boot: Mapping[str, int] | None = None) -> None:
        """Begin with the defaults, but for what is given."""
        self._values = {name: sysctl.default for name, sysctl in SYSCTLS.items()}
        self._values |= at_boot or {}
        self._at_boot = dict(self._values)
        self.lowmem_reserve_ratio: tuple[int, ...] = LOWMEM_RESERVE_RATIO

    def __getitem__(self, name: str) -> int:
        return self._values[name]

    def items(self) -> list[tuple[str, int]]:
        """Return names and values."""
        return list(self._values.items())

    def changed(self) -> dict[str, int]:
        """Return names and values of those that are not as at boot.

        Writing these gives the same table: the other form of a limit clears the ratio itself.
        """
        changed = {name: value for name, value in self.items() if value != self._at_boot[name]}
        return without_idle_ratios(changed)

    def store(self, name: str, data: bytes) -> int:
        """Handle a write; return the bytes taken: the number and the space behind it.

        EINVAL when it does not begin with a number of the accepted range, or when
        something else than space follows the number at once.  The two forms of a
        limit exclude each other: setting one clears the other.
        """
        if name == VECTOR:
            return self._store_lowmem_reserve_ratio(data)
        value, taken = parse_number(name, data, SYSCTLS[name])
        self._values[name] = value
        if name in _FORMS:
            self._values[_FORMS[name]] = 0
        elif name in _RATIO_OF and value:
            self._values[_RATIO_OF[name]] = 0
        return taken

    def _store_lowmem_reserve_ratio(self, data: bytes) -> int:
        """Take up to as many numbers as there are zones; below 1: its zone keeps nothing."""
        ratios, taken = parse_numbers(VECTOR, self.lowmem_reserve_ratio, data, Sysctl(0))
        self.lowmem_reserve_ratio = tuple(max(ratio, 0) for ratio in ratios)
        return taken


def without_idle_ratios(values: Mapping[str, int]) -> dict[str, int]:
    """Leave out the ratios that another form of the same limit has put out of force."""
    idle = {ratio for ratio, absolute in _FORMS.items() if values.get(absolute)}
    return {name: value for name, value in values.items() if name not in idle}


def parse_number(name: str, data: bytes, sysctl: Sysctl) -> tuple[int, int]:
    """Return the number that a write begins with, and how many bytes it and the space take."""
    match = _NUMBER.fullmatch(data)
    value = _to_int(match) if match else None
    if match is None or value is None or not sysctl.accepts(value):
        raise Refused(
            errno.EINVAL,
            f"sys/{name}: {data[:40]!r}: accepted are {sysctl.low} to {sysctl.high}.",
        )
    return value, match.end(4)


def parse_numbers(
    name: str, present: Iterable[int], data: bytes, sysctl: Sysctl
) -> tuple[list[int], int]:
    """Return what a write makes of several integers, and how many bytes it takes.

    Those that are given replace the first ones; what is behind the last is left (proc_dointvec).
    """
    values = list(present)
    taken = 0
    for place in range(len(values)):
        if taken and not data[taken:].strip():
            break
        values[place], length = parse_number(name, data[taken:], sysctl)
        taken += length
    return values, taken


def first_line(data: bytes) -> bytes:
    """Return what a write leaves in a text: all before the first newline or NUL (proc_dostring)."""
    return _LINE_END.split(data, maxsplit=1)[0]


def _to_int(match: re.Match[bytes]) -> int | None:
    number, sign, digits, space, rest = match.groups()
    if len(number) > _LONGEST or (rest and not space):
        return None
    base = 16 if digits[:2].lower() == b"0x" else 8 if digits[0:1] == b"0" else 10
    return int(digits, base) * (-1 if sign else 1)
