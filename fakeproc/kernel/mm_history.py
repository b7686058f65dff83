# SPDX-License-Identifier: MIT
"""What an address space has been: its high-water marks, and what it has not touched lately.

Most have only grown and nobody has asked: there is nothing to remember of those, the marks
are what they have.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from fakeproc.kernel.task import MemorySizes, Mm


class ClearRefs(IntEnum):
    """What is written to /proc/<pid>/clear_refs."""

    ALL = 1
    ANON = 2
    MAPPED = 3
    SOFT_DIRTY = 4
    MM_HIWATER_RSS = 5
    """Since 4.0."""


@dataclass(slots=True)
class _Past:
    hiwater_rss_pages: int
    hiwater_vm_pages: int
    idle_anon_pages: int = 0
    idle_mapped_pages: int = 0


class MmHistory:
    """The past of all address spaces that have one."""

    def __init__(self) -> None:
        self._past: dict[Mm, _Past] = {}

    def peak_rss_pages(self, mm: Mm) -> int:
        """Return VmHWM: the most it ever had in memory."""
        past = self._past.get(mm)
        return max(mm.sizes.rss_pages, past.hiwater_rss_pages if past else 0)

    def peak_vm_pages(self, mm: Mm) -> int:
        """Return VmPeak: the largest it ever was."""
        past = self._past.get(mm)
        return max(mm.sizes.total_vm_pages, past.hiwater_vm_pages if past else 0)

    def idle_pages(self, mm: Mm) -> tuple[int, int]:
        """Return how much has not been referenced since clear_refs: anonymous, and of files.

        What was there when it was written, as far as it is there still: whether a task has
        come back to a page is not modelled.
        """
        past = self._past.get(mm)
        return (past.idle_anon_pages, past.idle_mapped_pages) if past else (0, 0)

    def resizes(self, mm: Mm, sizes: MemorySizes) -> None:
        """Take note before an mm gets other sizes (update_hiwater_rss)."""
        now = mm.sizes
        shrinks = sizes.rss_pages < now.rss_pages or sizes.total_vm_pages < now.total_vm_pages
        if not shrinks and mm not in self._past:
            return
        past = self._past_of(mm)
        past.hiwater_rss_pages = max(past.hiwater_rss_pages, now.rss_pages)
        past.hiwater_vm_pages = max(past.hiwater_vm_pages, now.total_vm_pages)
        past.idle_anon_pages = min(past.idle_anon_pages, sizes.anon_pages)
        past.idle_mapped_pages = min(past.idle_mapped_pages, _mapped_pages(sizes))

    def clear_refs(self, mm: Mm, what: ClearRefs) -> None:
        """Forget what has been referenced, or the most it ever had in memory.

        Soft-dirty bits are not modelled, as in a kernel without CONFIG_MEM_SOFT_DIRTY.
        """
        past = self._past_of(mm)
        if what in (ClearRefs.ALL, ClearRefs.ANON):
            past.idle_anon_pages = mm.sizes.anon_pages
        if what in (ClearRefs.ALL, ClearRefs.MAPPED):
            past.idle_mapped_pages = _mapped_pages(mm.sizes)
        if what is ClearRefs.MM_HIWATER_RSS:
            past.hiwater_rss_pages = mm.sizes.rss_pages

    def forget(self, mm: Mm) -> None:
        """Drop what is known of an mm that is gone."""
        self._past.pop(mm, None)

    def _past_of(self, mm: Mm) -> _Past:
        now = mm.sizes
        return self._past.setdefault(mm, _Past(now.rss_pages, now.total_vm_pages))


def _mapped_pages(sizes: MemorySizes) -> int:
    return sizes.file_pages + sizes.shmem_pages
