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
    ALERT = 1
    CRIT = 2
    ERR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6
    DEBUG = 7


KERNEL, USER = 0, 1
"""Facilities of syslog: what the kernel says, and what a program has written to /dev/kmsg."""


@dataclass(frozen=True, slots=True)
class Record:
    """One printk: where in the log it stands, how grave it is, when it was."""

    sequence: int
    level: Level
    time_ns: int
    text: str
    facility: int = KERNEL
    """Who wrote it, by syslog's numbers."""

    @property
    def priority(self) -> int:
        """Facility and level in one, as syslog has them."""
        return self.facility << 3 | self.level

    def render(self) -> str:
        """Return the record as /proc/kmsg prints it, ``<4>[    1.234567] text``."""
        seconds, nanoseconds = divmod(self.time_ns, 1_000_000_000)
        return f"<{self.priority}>[{seconds:5d}.{nanoseconds // 1000:06d}] {self.text}\n"

    def render_extended(self) -> bytes:
        """Return the record as /dev/kmsg gives it, ``4,17,1234567,-;text`` (info_print_ext_header).

        What is not printable ASCII, and the backslash, is escaped (msg_add_ext_text).
        """
        head = f"{self.priority},{self.sequence},{self.time_ns // 1000},-;"
        raw = self.text.encode(errors="surrogateescape")
        return head.encode() + b"".join(map(_escaped, raw)) + b"\n"

    @property
    def size_bytes(self) -> int:
        """How much of the ring it takes: the length of what `render` returns, in bytes."""
        seconds, text = self.time_ns // 1_000_000_000, self.text
        head = len(str(self.priority)) + max(len(str(seconds)), 5) + len("<>[.123456] \n")
        # A large table of tasks is measured line by line: not by making all of it text.
        return head + len(text if text.isascii() else text.encode(errors="surrogateescape"))


def _escaped(byte: int) -> bytes:
    if byte < ord(" ") or byte >= 127 or byte == ord("\\"):
        return b"\\x%02x" % byte
    return bytes((byte,))


class KernelLog:
    """Keep the newest records; the oldest make room, as in the kernel's ring."""

    def __init__(self, size_bytes: int = DEFAULT_BYTES) -> None:
        self.size_bytes = size_bytes
        self._records: deque[Record] = deque()
        self._used_bytes = 0
        self._next_sequence = 0

    def printk(self, level: Level, text: str, time_ns: int, *, facility: int = KERNEL) -> None:
        """Append one record."""
        record = Record(self._next_sequence, level, time_ns, text, facility)
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

    @property
    def first_sequence(self) -> int:
        """The number of the oldest record that the ring still holds."""
        return self._next_sequence - len(self._records)

    def record(self, sequence: int) -> Record | None:
        """Return the record of this number, if the ring holds it."""
        if not self.first_sequence <= sequence < self._next_sequence:
            return None
        return self._records[sequence - self.first_sequence]

    def since(self, sequence: int = 0) -> list[Record]:
        """Return the records from this number on that the ring still holds."""
        return [record for record in self._records if record.sequence >= sequence]

    def render(self) -> str:
        """Return the whole ring as text."""
        return "".join(record.render() for record in self._records)
