# SPDX-License-Identifier: MIT
"""The OOM reaper: frees a victim's memory while the victim cannot.

Since 4.6.  A victim is queued when it is killed; two seconds later (since 5.18, at once
before) the reaper tries to take its memory, ten times, a tenth of a second apart, while
somebody holds the mmap lock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fakeproc.kernel.log import Level
from fakeproc.kernel.oom import unmark_victim
from fakeproc.kernel.task import PAGE_KIB, Mm, Thread

if TYPE_CHECKING:
    from fakeproc.kernel.machine import Machine

MAX_TRIES = 10
TRY_INTERVAL_NS = 100_000_000


@dataclass(slots=True)
class _Entry:
    thread: Thread
    mm: Mm | None
    due_ns: int
    tries: int = 0


class Reaper:
    """The kernel thread oom_reaper and its queue."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._queue: list[_Entry] = []

    def queue(self, thread: Thread) -> None:
        """Queue a victim, once for each mm."""
        profile = self._machine.profile
        if profile.reaper_after == "none":
            return
        mm = thread.mm
        if any(entry.thread is thread for entry in self._queue):
            return
        if profile.inflight_rule.startswith("oom_mm") and any(e.mm is mm for e in self._queue):
            return
        delay_ns = profile.reaper_delay_s * 1_000_000_000
        self._queue.append(_Entry(thread, mm, self._machine.now_ns + delay_ns))

    def next_due_ns(self) -> int | None:
        """Return when the reaper has something to do next, or None."""
        return min((entry.due_ns for entry in self._queue), default=None)

    def run(self) -> None:
        """Do what is due by now."""
        for entry in [e for e in self._queue if e.due_ns <= self._machine.now_ns]:
            if self._try(entry):
                self._queue.remove(entry)

    def _try(self, entry: _Entry) -> bool:
        """Try once; return whether the entry is done with."""
        mm = self._mm_of(entry)
        if mm is None:
            return True
        if any(thread.holds_mmap_lock for p in mm.processes for thread in p.threads):
            entry.tries += 1
            entry.due_ns += TRY_INTERVAL_NS
            return entry.tries >= MAX_TRIES and self._give_up(entry.thread, mm)
        self._reap(entry.thread, mm)
        return True

    def _mm_of(self, entry: _Entry) -> Mm | None:
        """Return the mm if it still has users.

        Since 4.9 the reaper holds on to it; before it looks for one that the victim's
        own threads still have.
        """
        if self._machine.profile.inflight_rule.startswith("oom_mm"):
            mm = entry.mm
            return mm if mm is not None and mm.users and not mm.hidden else None
        return entry.thread.process.mm

    def _reap(self, thread: Thread, mm: Mm) -> None:
        """Take what is anonymous or private; shared memory and page tables stay."""
        keeps = mm.sizes.mlocked_pages if not self._machine.profile.reap_mlocked else 0
        anon = min(mm.sizes.anon_pages, keeps)
        self._machine.resize(mm, replace(mm.sizes, anon_pages=anon, file_pages=0, swap_entries=0))
        sizes = self._machine.counted_sizes(mm)
        self._machine.printk(
            Level.INFO,
            f"oom_reaper: reaped process {thread.tid} ({thread.comm}), "
            f"now anon-rss:{sizes.anon_pages * PAGE_KIB}kB, "
            f"file-rss:{sizes.file_pages * PAGE_KIB}kB, "
            f"shmem-rss:{sizes.shmem_pages * PAGE_KIB}kB",
        )
        self._machine.hide(mm)
        thread.oom_reaped = True
        self._done_with(thread)

    def _give_up(self, thread: Thread, mm: Mm) -> bool:
        """Leave a victim alone after the last try; what that means is the generation's."""
        self._machine.printk(
            Level.INFO, f"oom_reaper: unable to reap pid:{thread.tid} ({thread.comm})"
        )
        rule = self._machine.profile.reaper_after
        if rule == "set SKIP":
            self._machine.hide(mm)
        elif rule.endswith("give up on 2nd"):
            if mm.not_reapable:
                self._machine.printk(
                    Level.INFO, f"oom_reaper: giving up pid:{thread.tid} ({thread.comm})"
                )
                self._machine.hide(mm)
            mm.not_reapable = True
        self._done_with(thread)
        return True

    def _done_with(self, thread: Thread) -> None:
        if self._machine.profile.reaper_after.startswith("clear memdie"):
            unmark_victim(thread)
