# SPDX-License-Identifier: MIT
"""Sysctls that the simulated kernel keeps without obeying them: written, and read back.

`KEPT` says which there are.  A write is checked as the kernel checks it; what a machine
remembers is only what differs from boot.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.fields import ALWAYS
from fakeproc.kernel.kept_sysctl_table import TABLE
from fakeproc.kernel.profile import Version
from fakeproc.kernel.sysctl import Sysctl, first_line, parse_numbers
from fakeproc.kernel.task import PAGE_BYTES, PAGE_KIB

if TYPE_CHECKING:
    from fakeproc.kernel.machine import Machine

_RANGES = {
    "int": (-(2**31), 2**31 - 1),
    "natural": (0, 2**31 - 1),
    "uint": (0, 2**32 - 1),
    "ulong": (0, 2**64 - 1),
}
_NUMBERS = re.compile(r"[-\d ]+")
_INTEGER = re.compile(r"0|-?[1-9]\d{0,17}", re.ASCII)
"""What is the same when it has been read as a number and written again."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A file under /proc/sys: what it holds at boot, and what a write may be."""

    default: str
    mode: int
    since: Version
    range: Sysctl | None = None
    """Of each of its integers, of which `default` has all."""
    most_bytes: int = 0
    """Of a text."""
    words: tuple[str, ...] = ()
    """The only ones that it may be."""


def _kept(default: str, accepts: str, notes: str) -> Kept:
    kind, _, argument = accepts.partition(" ")
    found = dict(note.split(" ") for note in notes.split(", ") if note)
    mode = 0o444 if kind == "ro" else int(found.get("mode", "644"), 8)
    major, minor = found["since"].split(".") if "since" in found else ALWAYS
    since = (int(major), int(minor))
    default = "" if default == "-" else default
    if _NUMBERS.fullmatch(default):
        default = default.replace(" ", "\t")
    if kind == "text":
        return Kept(default, mode, since, most_bytes=int(argument))
    if kind == "choice":
        return Kept(default, mode, since, words=tuple(argument.split(",")))
    if kind == "ro":
        return Kept(default, mode, since)
    low, high = _RANGES.get(kind) or map(int, kind.split(".."))
    return Kept(default, mode, since, Sysctl(0, low, high))


_INTERFACES = {"conf": ("all", "default", "lo"), "neigh": ("default", "lo")}


def _names(pattern: str) -> Iterator[str]:
    before, star, after = pattern.partition("*")
    if not star:
        yield pattern
        return
    for interface in _INTERFACES[before.split("/")[-2]]:
        yield f"{before}{interface}{after}"


def _parse() -> Iterator[tuple[str, Kept]]:
    for line in TABLE.splitlines():
        if line and not line.startswith("#"):
            pattern, default, accepts, *notes = line.split("  ")
            row = _kept(default, accepts, "".join(notes))
            yield from ((name, row) for name in _names(pattern))


KEPT: Mapping[str, Kept] = dict(_parse())
"""The files, by their name under /proc/sys."""


_FIXED = {
    "kernel/core_modes": "file\npipe\nsocket",
    # Drawn when the first network card asks for it (netdev_rss_key_fill).
    "net/core/netdev_rss_key": ":".join(["00"] * 52),
}
"""What does not go in the table: contents at boot of several lines, or very long ones."""


class KeptSysctls:
    """The present values of one machine."""

    def __init__(self, machine: Machine) -> None:
        """Begin as at boot."""
        self._machine = machine
        self._changed: dict[str, str] = {}

    def text(self, name: str) -> str:
        """Return what the file holds, without the newline."""
        changed = self._changed.get(name)
        return self._at_boot(name) if changed is None else changed

    def changed(self) -> dict[str, int | str]:
        """Return names and values of those that are not as at boot."""
        return {
            name: int(text) if _INTEGER.fullmatch(text) else text
            for name, text in self._changed.items()
        }

    def store(self, name: str, data: bytes) -> int:
        """Handle a write; return the bytes taken.

        A text ends at the first newline or NUL and is cut to what the file can hold
        (proc_dostring); of several integers those that are given replace the first ones,
        and what is behind the last is left (proc_dointvec).  EINVAL for what is out of range;
        ENOENT for a word that names no algorithm.
        """
        text, taken = parse(name, self.text(name), data)
        self._changed[name] = text
        if text == self._at_boot(name):
            del self._changed[name]
        return taken

    def _at_boot(self, name: str) -> str:
        """Return the value at boot: by the size of the machine, or as the table has it."""
        ram_pages = self._machine.hardware.ram_pages
        file = name.rpartition("/")[2]
        if file.endswith(("_watches", "_marks")):
            return str(_watches(name, ram_pages))
        if name == "kernel/watchdog_cpumask":
            last = self._machine.hardware.cpus - 1
            return f"0-{last}" if last else "0"
        if name == "fs/file-max":
            return str(ram_pages * PAGE_KIB // 10)
        if file.startswith("max_") and file.endswith("_namespaces"):
            return str(self._machine.sysctls["kernel/threads-max"] // 2)
        if name in ("net/ipv4/tcp_mem", "net/ipv4/udp_mem"):
            return _protocol_memory(ram_pages // (16 if "tcp" in name else 8))
        return _FIXED.get(name) or KEPT[name].default


def parse(name: str, present: str, data: bytes) -> tuple[str, int]:
    """Return what a write makes of what the file holds, and the bytes that it takes."""
    row = KEPT[name]
    if row.range is not None:
        values, taken = parse_numbers(name, map(int, present.split()), data, row.range)
        return "\t".join(map(str, values)), taken
    text = first_line(data).decode(errors="surrogateescape")
    text = text[: row.most_bytes - 1] if row.most_bytes else text.strip()
    if row.words and text not in row.words:
        number = errno.ENOENT if name.startswith("net/") else errno.EINVAL
        raise Refused(number, f"sys/{name}: {text[:40]!r}: accepted are {', '.join(row.words)}.")
    return text, len(data)


# What one watch takes on x86-64, in bytes.
_EPOLL_ITEM_BYTES, _INOTIFY_BYTES, _FANOTIFY_BYTES = 184, 1312, 1232


def _watches(name: str, ram_pages: int) -> int:
    """Return how many watches may take 4 % of the RAM (epoll), or 1 % (inotify, fanotify)."""
    ram_bytes = ram_pages * PAGE_BYTES
    if "epoll" in name:
        return ram_bytes // 25 // _EPOLL_ITEM_BYTES
    each = _INOTIFY_BYTES if "inotify" in name else _FANOTIFY_BYTES
    return min(max(ram_bytes // 100 // each, 8192), 1_048_576)


def _protocol_memory(pages: int) -> str:
    """Return the three limits of a protocol's memory, in pages: low, pressure, high."""
    low = pages // 4 * 3
    return f"{low}\t{pages}\t{2 * low}"
