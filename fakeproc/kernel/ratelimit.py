# SPDX-License-Identifier: MIT
"""How often the kernel says the same thing: so many times in an interval (lib/ratelimit.c)."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_INTERVAL_NS = 5_000_000_000
DEFAULT_BURST = 10


@dataclass(slots=True)
class RateLimit:
    """Let a burst through in each interval; count what it holds back (struct ratelimit_state).

    An interval begins with the first request after the last one is over, not by the clock.
    """

    interval_ns: int = DEFAULT_INTERVAL_NS
    burst: int = DEFAULT_BURST
    begin_ns: int | None = None
    printed: int = 0
    missed: int = 0

    def roll_over(self, now_ns: int) -> int:
        """Begin a new interval if the last is over; return how many it had held back."""
        if self.begin_ns is None:
            self.begin_ns = now_ns
        if now_ns <= self.begin_ns + self.interval_ns:
            return 0
        missed, self.missed = self.missed, 0
        self.begin_ns, self.printed = now_ns, 0
        return missed

    def has_room(self, now_ns: int) -> bool:
        """Say whether a request now would be let through; asking changes nothing."""
        is_over = self.begin_ns is None or now_ns > self.begin_ns + self.interval_ns
        return is_over or self.printed < self.burst

    def take(self) -> bool:
        """Say whether one more may be printed in this interval."""
        if self.printed >= self.burst:
            self.missed += 1
            return False
        self.printed += 1
        return True
