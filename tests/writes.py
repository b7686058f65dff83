# SPDX-License-Identifier: MIT
"""What may be written to oom_score_adj, and what comes of it."""

from __future__ import annotations

from errno import EINVAL, ERANGE

WRITES: dict[bytes, tuple[int, int] | int] = {
    b"5": (5, 1),
    b"5\n": (5, 2),
    b" 5 ": (5, 3),
    b"\n5": (5, 2),
    b"5\n\n": (5, 3),
    b"+5": (5, 2),
    b"\v5\f\r\n": (5, 5),
    b"-5": (-5, 2),
    b"0x10": (16, 4),
    b"0X10": (16, 4),
    b"010": (8, 3),
    b"00": (0, 2),
    b"-0": (0, 2),
    b"+0": (0, 2),
    b"5\xa0": (5, 2),
    b"\xa05": (5, 2),
    b"5\xc2\xa0": EINVAL,
    b"08": EINVAL,
    b"0b11": EINVAL,
    b"0o17": EINVAL,
    b"0x": EINVAL,
    b"0xg": EINVAL,
    b"--5": EINVAL,
    b"+-5": EINVAL,
    b"- 5": EINVAL,
    b"+": EINVAL,
    b"5x": EINVAL,
    b"5 6": EINVAL,
    b"5\n6": EINVAL,
    b"1e2": EINVAL,
    b"5.0": EINVAL,
    b"1_0": EINVAL,
    b"5\0": (5, 2),
    b"5\0garbage": (5, 9),
    b"\0": EINVAL,
    b"\x005": EINVAL,
    b"": EINVAL,
    b"\n": EINVAL,
    b"1000": (1000, 4),
    b"-1000": (-1000, 5),
    b"1001": EINVAL,
    b"-1001": EINVAL,
    b"2147483647": EINVAL,
    b"-2147483648": EINVAL,
    b"2147483648": ERANGE,
    b"-2147483649": ERANGE,
    b"4294967295": ERANGE,
    b"99999999999999999999": ERANGE,
    b" " * 11 + b"5": (5, 12),
    b" " * 12 + b"5": EINVAL,
    b"5" + b" " * 12: (5, 12),
    b"1000         xyz": (1000, 12),
    b"9" + b" " * 4095: (9, 12),
    b"0000000000017": (1, 12),
    b"1234567890123": ERANGE,
}
"""What one write(2) does (reference 2.2; seen on 6.1 and 6.18): the value that it leaves and the
count that it returns, or the errno.

Nothing in a row is about fakeproc: written by root to the real /proc/self/oom_score_adj it gives
the same.
"""
