# SPDX-License-Identifier: MIT
"""Lists of the files that are served, in reStructuredText: printed from the tables of rows.

``python -m fakeproc.procfs.listing`` prints the long one.
"""

from __future__ import annotations

import re
import stat
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from fakeproc.kernel.profile import PROFILE_NAMES, Profile, named
from fakeproc.procfs.system import SYSTEM_ENTRIES
from fakeproc.procfs.system.node import SystemFile, SystemRow
from fakeproc.procfs.task.directory import ENTRIES
from fakeproc.procfs.task.node import Of, TaskFile, TaskRow

_WIDTH = 43
_FEW = 10
"""The short list has no more names in a row; of more only their folders, and how many there are."""
_VARIOUS = "various"
_OF = {Of.BOTH: "", Of.PROCESS: "of processes", Of.THREAD: "of threads"}
_INTERFACE = re.compile(r"(?<=conf/|eigh/)(?:all|default|lo)(?=/)")


@dataclass(frozen=True, slots=True)
class Listed:
    """A row of a list: an entry, or several that reflect the same."""

    names: tuple[str, ...]
    mode: str
    reflects: str
    where: str
    """Which directories have it, and which kernels; nothing if all do."""


def task_rows() -> list[Listed]:
    """Return the entries of /proc/<pid> and /proc/<pid>/task/<tid>, in the kernel's order."""
    return [_task_row(name, row) for name, row in ENTRIES.items()]


def root_rows() -> list[Listed]:
    """Return the files of the machine, but for the sysctls."""
    return [_system_row(path, row) for path, row in _system() if not path.startswith("sys/")]


def sysctl_rows() -> list[Listed]:
    """Return the files below sys/, named from there."""
    rows = [(path.removeprefix("sys/"), row) for path, row in _system() if path.startswith("sys/")]
    return [_system_row(path, row) for path, row in rows]


def _system() -> list[tuple[str, SystemRow]]:
    return sorted(SYSTEM_ENTRIES.items())


def _task_row(name: str, row: TaskRow) -> Listed:
    mode = stat.filemode(row.mode)[1:] if isinstance(row, TaskFile) else ""
    kind = {stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}.get(row.type, mode)
    where = ", ".join(filter(None, (_OF[row.of], kernels(row.there))))
    return Listed((name,), kind, row.reflects, where)


def _system_row(path: str, row: SystemRow) -> Listed:
    mode = stat.filemode(row.mode)[1:] if isinstance(row, SystemFile) else "link"
    name = _INTERFACE.sub("<interface>", path)
    return Listed((name,), mode, row.reflects, kernels(row.there))


def kernels(there: Callable[[Profile], bool]) -> str:
    """Say which of the kernels have an entry; nothing if all do."""
    having = [there(named(name)) for name in PROFILE_NAMES]
    if all(having):
        return ""
    first = having.index(True) if any(having) else 0
    last = len(having) - having[::-1].index(True) - 1 if any(having) else 0
    if first == 0:
        return f"to {PROFILE_NAMES[last]}"
    if last == len(having) - 1:
        return f"from {PROFILE_NAMES[first]}"
    return f"{PROFILE_NAMES[first]} to {PROFILE_NAMES[last]}"


def joined(rows: Iterable[Listed]) -> list[Listed]:
    """Make one row of all that reflect the same, have the same mode and are in the same kernels."""
    names: dict[Listed, dict[str, None]] = {}
    for row in rows:
        names.setdefault(replace(row, names=()), {}).update(dict.fromkeys(row.names))
    return [replace(row, names=tuple(of_it)) for row, of_it in names.items()]


def shortened(rows: Iterable[Listed]) -> list[Listed]:
    """Make one row of all that reflect the same, with no more than a few names."""
    same: dict[str, list[Listed]] = {}
    for row in joined(rows):
        same.setdefault(row.reflects, []).append(row)
    return [_shortened(group) for group in same.values()]


def _shortened(rows: list[Listed]) -> Listed:
    names = [name for row in rows for name in row.names]
    if len(names) > _FEW:
        folders = Counter(name.partition("/")[0] for name in names)
        names = [f"{folder}/ ({count})" for folder, count in folders.items()]
    mode, *others = {row.mode for row in rows}
    where = {row.where for row in rows}
    return Listed(
        tuple(names),
        _VARIOUS if others else mode,
        rows[0].reflects,
        where.pop() if len(where) == 1 else "",
    )


def table(rows: Iterable[Listed]) -> str:
    """Return a table in reStructuredText."""
    lines = [("mode", "files", "what they reflect")]
    lines += [line for row in rows for line in _lines(row)]
    # A name is never broken: the longest may be wider than its column.
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    head, *body = [_line(line, widths) for line in lines]
    rule = "  ".join("=" * width for width in widths)
    return "\n".join([rule, head, rule, *body, rule, ""])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _lines(row: Listed) -> Iterator[tuple[str, str, str]]:
    names = ", ".join(re.sub(r"^[^ ]+", r"``\g<0>``", name) for name in row.names)
    told = f"{row.reflects} ({row.where})" if row.where else row.reflects
    return zip_longest([row.mode], _wrap(names), _wrap(told), fillvalue="")


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, break_on_hyphens=False, break_long_words=False)


_SECTIONS = (
    ("``/proc/<pid>`` and ``/proc/<pid>/task/<tid>``", task_rows),
    ("``/proc``", root_rows),
    ("``/proc/sys``", sysctl_rows),
)


def short_list() -> str:
    """Return the list for README."""
    return "\n".join(f"{title}:\n\n{table(shortened(rows()))}" for title, rows in _SECTIONS)


def long_list() -> str:
    """Return the list with every name."""
    return "\n".join(
        f"{title}\n{'-' * len(title)}\n\n{table(joined(rows()))}" for title, rows in _SECTIONS
    )


if __name__ == "__main__":
    print(long_list(), end="")
