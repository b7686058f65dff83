# SPDX-License-Identifier: MIT
"""The load averages, and the arithmetic of the kernel's averages that pressure shares."""

from __future__ import annotations

_FRACTION_BITS = 11
_SI_LOAD_SHIFT = 16
FIXED_1 = 1 << _FRACTION_BITS
"""1.0 as the kernel's averages have it: with 11 binary places."""

TICK_NS = 4_000_000
"""A tick of a kernel with CONFIG_HZ=250, as Debian and Ubuntu build it."""

_PERIOD_NS = 5_000_000_000 + TICK_NS
_DECAY = (1884, 2014, 2037)  # exp(-5 s / 1, 5 and 15 min)
_HALF_OF_A_HUNDREDTH = FIXED_1 // 200


def decay_towards(average: int, decay: int, active: int) -> int:
    """Return the next value of an average; all three are fixed-point numbers.

    Rounded up on the way up, so that it reaches what it tends to, and down on the way
    down (calc_load).
    """
    weighted = average * decay + active * (FIXED_1 - decay)
    if active >= average:
        weighted += FIXED_1 - 1
    return weighted // FIXED_1


def power(decay: int, exponent: int) -> int:
    """Return a fixed-point number to some power, as the kernel rounds (fixed_power_int)."""
    result = FIXED_1
    while exponent:
        if exponent & 1:
            result = _product(result, decay)
        decay = _product(decay, decay)
        exponent >>= 1
    return result


def _product(left: int, right: int) -> int:
    return (left * right + FIXED_1 // 2) >> _FRACTION_BITS


def render_fixed(value: int) -> str:
    """Return a fixed-point number with two places, what is behind them cut off."""
    return f"{value >> _FRACTION_BITS}.{(value % FIXED_1) * 100 >> _FRACTION_BITS:02d}"


class LoadAverage:
    """How many tasks ran or slept uninterruptibly, over 1, 5 and 15 minutes.

    The kernel looks every 5 s and a tick.  Here that is made up for when the number changes
    or somebody asks, with the same result.
    """

    def __init__(self) -> None:
        self._averages = (0, 0, 0)
        self._active = 0
        self._next_ns = _PERIOD_NS

    def change(self, now_ns: int, active: int) -> None:
        """Note that from now on so many tasks run or wait."""
        self._catch_up(now_ns)
        self._active = active

    def render(self, now_ns: int) -> str:
        """Return the three averages as /proc/loadavg has them."""
        self._catch_up(now_ns)
        return " ".join(render_fixed(average + _HALF_OF_A_HUNDREDTH) for average in self._averages)

    def sysinfo(self, now_ns: int) -> tuple[int, int, int]:
        """Return them as sysinfo(2) has them, in units of 1/65536 (SI_LOAD_SHIFT)."""
        self._catch_up(now_ns)
        one, five, fifteen = (a << _SI_LOAD_SHIFT - _FRACTION_BITS for a in self._averages)
        return one, five, fifteen

    def _catch_up(self, now_ns: int) -> None:
        """Look at each time that has been due; the number has been the same at all of them."""
        periods = max((now_ns - self._next_ns) // _PERIOD_NS + 1, 0)
        self._next_ns += periods * _PERIOD_NS
        active = self._active * FIXED_1
        for _ in range(periods):
            before = self._averages
            one, five, fifteen = map(decay_towards, before, _DECAY, (active,) * 3)
            self._averages = (one, five, fifteen)
            if self._averages == before:
                break
