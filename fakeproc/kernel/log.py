# SPDX-License-Identifier: MIT
"""The kernel log: a ring of bounded size, as printk fills it."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

DEFAULT_BYTES = 256 * 1024
"""Size of the ring, in bytes of printed text (the kernel's log_buf_len)."""


class Level(IntEnum):
    """Levels of printk; the number is what /proc/kmsg prints in angle brackets."""

    EMERG = 0
    ERR = 3
    WARNING = 4
    INFO = 6


@dataclass(frozen=True, slots=True)
class Record:
    """One printk: where in the log it stands, how grave it is, when it was."""

    sequence: int
    level: Level
    time_ns: int
    text: str

    def render(self) -> str:
        """Return the record as /proc/kmsg prints it, ``<4>[    1.234567] text``."""
        seconds, nanoseconds = divmod(self.time_ns, 1_000_000_000)
        return f"<{self.level}>[{seconds:5d}.{nanoseconds // 1000:06d}] {self.text}\n"

    @property
    def size_bytes(self) -> int:
        """How much of the ring it takes."""
        return len(self.render().encode(errors="surrogateescape"))


class KernelLog:
    """Keep the newest records; the oldest make room, as in the kernel's ring."""

    def __init__(self, size_bytes: int = DEFAULT_BYTES) -> None:
        self.size_bytes = size_bytes
        self._records: deque[Record] = deque()
        self._used_bytes = 0
        self._next_sequence = 0

    def printk(self, level: Level, text: str, time_ns: int) -> None:
        """Append one record."""
        record = Record(self._next_sequence, level, time_ns, text)
        self._next_sequence += 1
        self._records.append(record)
        self._used_bytes += record.size_bytes
        while self._used_bytes > self.size_bytes and len(self._records) > 1:
            self._used_bytes -= self._records.popleft().size_bytes

    def printk_backwards(self, level: Level, texts: Iterable[str], time_ns: int) -> None:
        """Append records that come last one first, as far as the ring could hold them.

        Of a table longer than the ring only its end remains; the rest is not even asked for.
        """
        room_bytes = self.size_bytes
        kept: list[str] = []
        for text in texts:
            room_bytes -= Record(0, level, time_ns, text).size_bytes
            kept.append(text)
            if room_bytes < 0:
                break
        for text in reversed(kept):
            self.printk(level, text, time_ns)

    @property
    def next_sequence(self) -> int:
        """The number that the next record will get."""
        return self._next_sequence

    def since(self, sequence: int = 0) -> list[Record]:
        """Return the records from this number on that the ring still holds."""
        return [record for record in self._records if record.sequence >= sequence]

    def render(self) -> str:
        """Return the whole ring as text."""
        return "".join(record.render() for record in self._records)
