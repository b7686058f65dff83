# SPDX-License-Identifier: MIT
"""Sizes and times as people write them."""

import errno
import re
from fractions import Fraction

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.task import PAGE_BYTES

_SIZE = re.compile(r"(\d{1,40}(?:\.\d{1,9})?)([kKMGT]?)(?:i?B)?", re.ASCII)
_FACTORS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_LARGEST_PAGES = 2**52 // PAGE_BYTES

_DURATION = re.compile(r"(\d{1,20}(?:\.\d{1,9})?)(ns|us|ms|s|m|h)", re.ASCII)
_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
LONGEST_NS = 2**62
"""The longest time that can be given, and the latest of a machine: some 146 years."""

SIZE_KEYS = {
    "rss": "anon_pages",
    "anon": "anon_pages",
    "file": "file_pages",
    "shmem": "shmem_pages",
    "swap": "swap_entries",
    "size": "total_vm_pages",
    "pte": "pte_pages",
    "pmd": "pmd_pages",
    "mlocked": "mlocked_pages",
}
"""Words for the memory of a process, and what `MemorySizes` calls it.

``rss`` is all of it anonymous; ``size`` is the address space.
"""

ACCEPTED_SIZES = "a size such as 300M, 1.5G, 64k or 4096 (bytes)"


def parse_pages(text: str) -> int:
    """Return how many pages a size takes, rounded up; EINVAL for what is no size."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise Refused(errno.EINVAL, f"{text!r}: accepted is {ACCEPTED_SIZES}.")
    size_bytes = float(match[1]) * _FACTORS[match[2].upper()]
    pages = -int(-size_bytes // PAGE_BYTES)
    if pages > _LARGEST_PAGES:
        raise Refused(errno.EINVAL, f"{text!r}: too large; accepted is {ACCEPTED_SIZES}.")
    return pages


_DECIMAL = re.compile(r"-?\d{1,18}", re.ASCII)
_HEXADECIMAL = re.compile(r"0[xX][0-9a-fA-F]{1,16}", re.ASCII)


def parse_integer(key: str, text: str, low: int, high: int, *, hexadecimal: bool = False) -> int:
    """Return a number of this range; EINVAL, with a sentence that names the key, if it is none.

    It is decimal, or hexadecimal with 0x where that is allowed.
    """
    value = low - 1
    if _DECIMAL.fullmatch(text):
        value = int(text)
    elif hexadecimal and _HEXADECIMAL.fullmatch(text):
        value = int(text, 16)
    if not low <= value <= high:
        raise Refused(errno.EINVAL, f"{key}={text}: accepted is a number, {low} to {high}.")
    return value


ACCEPTED_DURATIONS = "a time such as 500ms, 5s or 2m"


def parse_duration_ns(name: str, text: str) -> int:
    """Return how many nanoseconds a time has; EINVAL, which names it, for what is none."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise Refused(errno.EINVAL, f"{name}{text}: accepted is {ACCEPTED_DURATIONS}.")
    ns = int(Fraction(match[1]) * _NANOSECONDS[match[2]])
    if ns > LONGEST_NS:
        raise Refused(errno.EINVAL, f"{name}{text}: too long; accepted is {ACCEPTED_DURATIONS}.")
    return ns


def align(rows: list[list[str]]) -> str:
    """Return a table: columns flush right, but for the last one."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(_align_row(row, widths) + "\n" for row in rows)


def _align_row(row: list[str], widths: list[int]) -> str:
    numbers = [cell.rjust(width) for cell, width in zip(row[:-1], widths, strict=False)]
    return "  ".join([*numbers, row[-1]])


def format_pages(pages: int) -> str:
    """Write a number of pages as a short size, ``300M``."""
    kib = pages * (PAGE_BYTES // 1024)
    for unit, factor in (("G", 1024**2), ("M", 1024)):
        if kib >= 10 * factor or (kib and kib % factor == 0):
            return f"{kib // factor}{unit}"
    return f"{kib}k"
