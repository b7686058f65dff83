# SPDX-License-Identifier: MIT
"""The table of tasks of a report."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from fakeproc.report.lines import ROW_START

_LARGEST_PID = 4_194_303
_LARGEST_PAGES = 2**36
"""More than this, 256 TiB, no machine has: such a row is garbled."""


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A row of the table of tasks; sizes in pages of the machine that printed it."""

    tid: int
    """The thread whose row it is: the leader, or who is left of the group."""
    tgid: int
    uid: int
    total_vm_pages: int
    rss_pages: int
    anon_pages: int
    file_pages: int
    shmem_pages: int
    pte_pages: int
    pmd_pages: int
    pgtables_bytes: int
    swap_entries: int
    oom_score_adj: int
    comm: str


@dataclass(slots=True)
class Table:
    """The lines of a table as they come, from its header on."""

    columns: list[str] = field(default_factory=list)
    """Between the pid and the name; nothing: the header is not in the log."""
    lines: list[str] = field(default_factory=list)
    has_title: bool = False
    has_header: bool = False
    cut: bool = False
    """Something says that rows were left out."""

    def rows(self) -> tuple[list[TaskRow], int]:
        """Return the rows, each group once, and how many lines cannot be read."""
        columns = self.known_columns()
        rows: dict[int, TaskRow] = {}
        garbled = 0
        for line in self.lines:
            row = _row(line, columns)
            if row is None:
                garbled += 1
            else:
                rows.setdefault(row.tgid, row)
        return list(rows.values()), garbled

    def known_columns(self) -> list[str]:
        """Return the columns, by the numbers in the rows where there is no header."""
        return self.columns or _guess_columns(self.lines)


_BY_COUNT = {
    6: ["uid", "tgid", "total_vm", "rss", "cpu", "oom_adj"],
    8: ["uid", "tgid", "total_vm", "rss", "nr_ptes", "nr_pmds", "swapents", "oom_score_adj"],
    9: [
        *("uid", "tgid", "total_vm", "rss", "nr_ptes", "nr_pmds", "nr_puds", "swapents"),
        "oom_score_adj",
    ],
    10: [
        *("uid", "tgid", "total_vm", "rss", "rss_anon", "rss_file", "rss_shmem"),
        *("pgtables_bytes", "swapents", "oom_score_adj"),
    ],
}
_SEVEN = ["uid", "tgid", "total_vm", "rss"]


def _row(line: str, columns: list[str]) -> TaskRow | None:
    start = re.match(r"\[ *(\d{1,10})\]", line)
    words = line[start.end() :].split(None, len(columns)) if start else []
    if start is None or not columns or len(words) < len(columns):
        return None
    try:
        cell = dict(zip(columns, map(int, words[: len(columns)]), strict=True))
    except ValueError:
        return None
    tid, rss = int(start[1]), cell.get("rss", 0)
    tgid = cell.get("tgid", tid)
    adj = cell.get("oom_score_adj", _score_adj(cell.get("oom_adj", 0)))
    if not (0 < tid <= _LARGEST_PID and 0 < tgid <= _LARGEST_PID and -1000 <= adj <= 1000):
        return None
    sizes = [value for name, value in cell.items() if "adj" not in name and name != "uid"]
    if any(not 0 <= value < _LARGEST_PAGES for value in sizes):
        return None
    split = "rss_anon" in cell
    return TaskRow(
        tid=tid,
        tgid=tgid,
        uid=cell.get("uid", 0) % 2**32,
        total_vm_pages=cell.get("total_vm", 0),
        rss_pages=rss,
        anon_pages=cell["rss_anon"] if split else rss,
        file_pages=cell.get("rss_file", 0),
        shmem_pages=cell.get("rss_shmem", 0),
        pte_pages=cell.get("nr_ptes", 0),
        pmd_pages=cell.get("nr_pmds", 0) + cell.get("nr_puds", 0),
        pgtables_bytes=cell.get("pgtables_bytes", 0),
        swap_entries=cell.get("swapents", 0),
        oom_score_adj=adj,
        comm=words[len(columns)].strip() if len(words) > len(columns) else "",
    )


def _score_adj(oom_adj: int) -> int:
    """Return a value of the legacy scale on the other one, where only that is printed."""
    return 1000 if oom_adj == 15 else int(oom_adj * 1000 / 17)


def _guess_columns(lines: list[str]) -> list[str]:
    """Return the columns of a table whose head is cut off, by the numbers in its rows."""
    numbers = []
    for line in lines:
        row = ROW_START.match(line)
        if row is not None and line[row.end() :].strip():
            numbers.append([int(word) for word in row[2].split()])
    counts = [len(row) for row in numbers]
    if not counts:
        return []
    count = max(set(counts), key=counts.count)
    if count != 7:
        return _BY_COUNT.get(count, [])
    cells = [row for row in numbers if len(row) == 7]
    if all(row[4] < 1024 and -17 <= row[5] <= 15 and abs(row[6]) <= 1000 for row in cells) and any(
        (row[5] == -17) == (row[6] == -1000) for row in cells if row[5] or row[6]
    ):
        return [*_SEVEN, "cpu", "oom_adj", "oom_score_adj"]
    if all(row[4] % 1024 == 0 for row in cells):
        return [*_SEVEN, "pgtables_bytes", "swapents", "oom_score_adj"]
    return [*_SEVEN, "nr_ptes", "swapents", "oom_score_adj"]
