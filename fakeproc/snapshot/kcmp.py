# SPDX-License-Identifier: MIT
"""Which tasks of the host run on one mm: kcmp(2), which neither Python nor psutil has."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Sequence
from functools import cmp_to_key

_NUMBERS = {
    "x86_64": 312, "i686": 349, "aarch64": 272, "riscv64": 272, "loongarch64": 272,
    "armv7l": 378, "ppc64le": 354, "s390x": 343,
}  # fmt: skip
_KCMP_VM = 1
# By what it returns: equal, less, greater.
_ORDER = {0: 0, 1: -1, 2: 1}


def group_by_mm(tids: Sequence[int]) -> list[list[int]]:
    """Return the tasks of each mm; they must have one.

    Left out is whom this process may not compare (that takes the right to trace it), and who
    has gone.  kcmp orders what it compares, so that sorting finds the equal ones.
    """
    able = [tid for tid in tids if _may_compare(tid)]
    try:
        able.sort(key=cmp_to_key(_compare))
        groups: list[list[int]] = []
        for tid in able:
            if groups and _compare(groups[-1][0], tid) == 0:
                groups[-1].append(tid)
            else:
                groups.append([tid])
    except OSError:
        # One has gone meanwhile: again, without it.
        return group_by_mm(able)
    return groups


def _may_compare(tid: int) -> bool:
    try:
        return _compare(tid, tid) == 0
    except OSError:
        return False


def _compare(one: int, other: int) -> int:
    number = _NUMBERS.get(platform.machine())
    if number is None:
        raise OSError(f"kcmp: its number on {platform.machine()} is not known")
    result = _libc.syscall(number, one, other, _KCMP_VM, 0, 0)
    if result not in _ORDER:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return _ORDER[result]


_libc = ctypes.CDLL(None, use_errno=True)
