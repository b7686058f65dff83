# SPDX-License-Identifier: MIT
"""How much memory an OOM was about: as the report says, or between which bounds it was."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fakeproc.report.parse import NO_LIMIT_KB, Memory, Report, Scope

MOST_PAGES = 2**34
"""Bounds what is not known: 64 TiB in pages of 4 kB."""


@dataclass(frozen=True, slots=True)
class Total:
    """The memory in question, in pages of the machine that printed the report."""

    pages: int
    """As far as the report tells, or what seems likely."""
    swap_pages: int
    """How much of it is swap."""
    lowest: int
    highest: int
    warning: str = ""
    """What is not in the report, and what is assumed."""

    @property
    def is_known(self) -> bool:
        """Say whether the report leaves nothing open."""
        return self.lowest == self.highest

    def at(self, pages: int) -> Total:
        """Return another one between the bounds."""
        swap = self.swap_pages if self.is_known else max(pages - self.lowest, 0)
        return replace(self, pages=pages, swap_pages=swap)


def total_of(report: Report) -> Total:
    """Return RAM and swap, of the allowed nodes only; or the limit of the cgroup with its swap.

    The rules are those of `Machine.memcg_totalpages` and of constrained_alloc; what is done here
    is to fill in what a report does not say.
    """
    if report.scope is Scope.MEMCG:
        return _of_memcg(report)
    memory = report.memory
    swap_pages = (memory.swap_kb or 0) // memory.page_kb
    managed_kb = [kb for node, kb in memory.managed_kb.items() if node in _nodes(report)]
    if report.scope is not Scope.GLOBAL and managed_kb:
        ram_pages = sum(managed_kb) // memory.page_kb
    elif memory.ram_pages is not None:
        ram_pages = max(memory.ram_pages - (memory.reserved_pages or 0), 1)
    else:
        return _guess(report, "the RAM is not in the report")
    pages = ram_pages + swap_pages
    if memory.swap_kb is not None:
        return Total(pages, swap_pages, pages, pages)
    warning = "the size of the swap is not in the report; assumed is none"
    return Total(pages, swap_pages, ram_pages, MOST_PAGES, warning)


def _nodes(report: Report) -> set[int]:
    """Return the nodes that the allocation could use; all when the report names none."""
    nodes: set[int] = set()
    for part in (report.nodes or "").split(","):
        first, _, last = part.partition("-")
        if first.isdigit() and (last or first).isdigit():
            nodes.update(range(int(first), min(int(last or first), 4096) + 1))
    return nodes or set(report.memory.managed_kb)


def _of_memcg(report: Report) -> Total:
    memory = report.memory
    if memory.memcg_limit_kb is None or memory.memcg_limit_kb >= NO_LIMIT_KB:
        return _guess(report, "the limit of the cgroup is not in the report")
    limit_pages = memory.memcg_limit_kb // memory.page_kb
    lowest = max(limit_pages, 1)
    highest = max(_most_with_swap(memory, limit_pages), lowest)
    if memory.swap_kb is not None:
        highest = max(min(highest, limit_pages + memory.swap_kb // memory.page_kb), lowest)
        return Total(highest, highest - lowest, highest, highest)
    used = max(
        memory.memcg_swap_used_kb // memory.page_kb, sum(r.swap_entries for r in report.rows)
    )
    likely = min(highest, lowest + used)
    if used and highest < MOST_PAGES:
        likely = highest
    warning = "" if lowest == highest else (
        "the report of a cgroup does not say how much swap the system has, which counts towards "
        f"its total; assumed: {'none' if likely == lowest else 'as much as is seen in use'}"
    )  # fmt: skip
    return Total(likely, likely - lowest, lowest, highest, warning)


def _most_with_swap(memory: Memory, limit_pages: int) -> int:
    """Return what memory and swap can come to, by the limit for both (v1) or for swap (v2)."""
    most = MOST_PAGES
    if (memsw_kb := memory.memcg_memsw_limit_kb) is not None and memsw_kb < NO_LIMIT_KB:
        most = min(most, memsw_kb // memory.page_kb)
    if (swap_kb := memory.memcg_swap_limit_kb) is not None and swap_kb < NO_LIMIT_KB:
        most = min(most, limit_pages + swap_kb // memory.page_kb)
    return most


def _guess(report: Report, missing: str) -> Total:
    held = max(sum(row.rss_pages + row.swap_entries for row in report.rows), 1)
    warning = f"{missing}; assumed is what the tasks of the table hold together"
    swap = (report.memory.swap_kb or 0) // report.memory.page_kb
    return Total(max(held, swap + 1), swap, 1, MOST_PAGES, warning)


def with_sizes(
    report: Report, *, ram_kb: int | None, swap_kb: int | None, limit_kb: int | None
) -> Report:
    """Return the report with other totals; None leaves one as it is."""
    memory = report.memory
    if ram_kb is not None:
        memory = replace(
            memory, ram_pages=ram_kb // memory.page_kb, reserved_pages=0, managed_kb={}
        )
    if swap_kb is not None:
        memory = replace(memory, swap_kb=swap_kb)
    if limit_kb is not None:
        memory = replace(memory, memcg_limit_kb=limit_kb)
    return replace(report, memory=memory)
