# SPDX-License-Identifier: MIT
"""The sysctls that the simulated kernel has: one table, and the parsing of a write."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from dataclasses import dataclass

from fakeproc.kernel.errors import Refused

_INT_MIN, _INT_MAX = -(2**31), 2**31 - 1
# proc_get_long: a number of at most 21 characters, and behind it only these.
_NUMBER = re.compile(
    rb"[ \t\n]*((-?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*))([ \t\n]*)(.*)", re.DOTALL
)
_LONGEST = 21


@dataclass(frozen=True, slots=True)
class Sysctl:
    """An integer under /proc/sys: its value at boot and the range that a write may have."""

    default: int
    low: int = _INT_MIN
    high: int = _INT_MAX


SYSCTLS: Mapping[str, Sysctl] = {
    "kernel/panic": Sysctl(0),
    "kernel/panic_on_oops": Sysctl(0),
    "kernel/pid_max": Sysctl(4_194_304, 301, 4_194_304),
    "kernel/sysrq": Sysctl(1),
    "kernel/threads-max": Sysctl(1_000_000, 20, 1_073_741_823),
    "vm/admin_reserve_kbytes": Sysctl(8192, 0),
    "vm/min_free_kbytes": Sysctl(67584, 0),  # `default_min_free_kib` says better
    "vm/oom_dump_tasks": Sysctl(1),
    "vm/oom_kill_allocating_task": Sysctl(0),
    "vm/overcommit_kbytes": Sysctl(0, 0),
    "vm/overcommit_memory": Sysctl(0, 0, 2),
    "vm/overcommit_ratio": Sysctl(50, 0),
    "vm/panic_on_oom": Sysctl(0, 0, 2),
    "vm/swappiness": Sysctl(60, 0, 200),
    "vm/user_reserve_kbytes": Sysctl(131072, 0),
    "vm/vfs_cache_pressure": Sysctl(100, 0),
    "vm/watermark_scale_factor": Sysctl(10, 1, 3000),
}
"""Name under /proc/sys, value at boot, accepted range (proc_dointvec_minmax)."""


class SysctlTable:
    """The present values."""

    def __init__(self, at_boot: Mapping[str, int] | None = None) -> None:
        """Begin with the defaults, but for what is given."""
        self._values = {name: sysctl.default for name, sysctl in SYSCTLS.items()}
        self._values |= at_boot or {}
        self._at_boot = dict(self._values)

    def __getitem__(self, name: str) -> int:
        return self._values[name]

    def items(self) -> list[tuple[str, int]]:
        """Return names and values."""
        return list(self._values.items())

    def changed(self) -> dict[str, int]:
        """Return names and values of those that are not as at boot.

        Writing these gives the same table: overcommit_kbytes clears the ratio itself.
        """
        changed = {name: value for name, value in self.items() if value != self._at_boot[name]}
        if changed.get("vm/overcommit_kbytes"):
            changed.pop("vm/overcommit_ratio", None)
        return changed

    def store(self, name: str, data: bytes) -> int:
        """Handle a write; return the bytes taken: the number and the space behind it.

        EINVAL when it does not begin with a number of the accepted range, or when
        something else than space follows the number at once.  The two forms of the
        overcommit limit exclude each other: setting one clears the other.
        """
        value, taken = parse_number(name, data, SYSCTLS[name])
        self._values[name] = value
        if name == "vm/overcommit_ratio":
            self._values["vm/overcommit_kbytes"] = 0
        elif name == "vm/overcommit_kbytes" and value:
            self._values["vm/overcommit_ratio"] = 0
        return taken


def parse_number(name: str, data: bytes, sysctl: Sysctl) -> tuple[int, int]:
    """Return the number that a write begins with, and how many bytes it and the space take."""
    match = _NUMBER.fullmatch(data)
    value = _to_int(match) if match else None
    if match is None or value is None or not sysctl.low <= value <= sysctl.high:
        raise Refused(
            errno.EINVAL,
            f"sys/{name}: {data[:40]!r}: accepted are {sysctl.low} to {sysctl.high}.",
        )
    return value, match.end(4)


def _to_int(match: re.Match[bytes]) -> int | None:
    number, sign, digits, space, rest = match.groups()
    if len(number) > _LONGEST or (rest and not space):
        return None
    base = 16 if digits[:2].lower() == b"0x" else 8 if digits[0:1] == b"0" else 10
    return int(digits, base) * (-1 if sign else 1)
