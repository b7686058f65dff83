# SPDX-License-Identifier: MIT
"""The OOM reaper: frees a victim's memory while the victim cannot.

Since 4.6.  A victim is queued when it is killed; two seconds later (since 5.18, at once
before) the reaper tries to take its memory, ten times, a tenth of a second apart, while
somebody holds the mmap lock for write.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from fakeproc.kernel.dying import will_free_mem
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.log import Level
from fakeproc.kernel.oom import unmark_victim
from fakeproc.kernel.task import PAGE_KIB, Hold, Mm, Process, Thread

if TYPE_CHECKING:
    from fakeproc.kernel.machine import Machine

MAX_TRIES = 10
TRY_INTERVAL_NS = 100_000_000


@dataclass(slots=True)
class Reaping:
    """What the reaper has to do for a victim."""

    thread: Thread
    mm: Mm | None
    due_ns: int
    """When it is taken up, by the machine's clock."""
    failures: int = 0
    """How often the mmap lock was held."""


class Reaper:
    """The kernel thread oom_reaper and its queue.

    It is one thread: while it tries one victim again, the others wait.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._queue: list[Reaping] = []
        """Everybody who has not been done with."""
        self._ready: list[Reaping] = []
        """Those of them whose time has come; the first one is being tried."""
        self._at_once: list[Reaping] = []
        """Those of them whose time comes when the OOM killer is done."""

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
        due_ns = self._machine.now_ns + profile.reaper_delay_s * 1_000_000_000
        entry = Reaping(thread, mm, due_ns)
        self._queue.append(entry)
        if profile.reaper_delay_s:
            self._machine.events.at(due_ns, partial(self._take_up, entry))
        else:
            self._at_once.append(entry)

    def take_up_at_once(self) -> None:
        """Begin with those that do not have to wait: the OOM killer is done."""
        while self._at_once:
            self._take_up(self._at_once.pop(0))

    @property
    def plans(self) -> tuple[Reaping, ...]:
        """Everybody who has not been done with, in order."""
        return tuple(self._queue)

    def restore(self, plan: Reaping) -> None:
        """Go on with somebody who had been queued, when the next try is due."""
        self._queue.append(plan)
        late_ns = self._machine.now_ns - plan.due_ns
        due_ns = plan.due_ns
        if late_ns >= 0:
            due_ns += late_ns - late_ns % TRY_INTERVAL_NS + TRY_INTERVAL_NS
        self._machine.events.at(due_ns, partial(self._take_up, plan))

    def plan_for(self, mm: Mm) -> Reaping | None:
        """Return what is going to be done about an mm, or None if nothing is."""
        return next((entry for entry in self._queue if self._mm_of(entry) is mm), None)

    def _take_up(self, entry: Reaping) -> None:
        self._ready.append(entry)
        if len(self._ready) == 1:
            self._work()

    def _work(self) -> None:
        """Go on with the first of those that are ready, and then with the next."""
        while self._ready:
            entry = self._ready[0]
            if not self._try(entry):
                self._machine.events.at(self._machine.now_ns + TRY_INTERVAL_NS, self._work)
                return
            self._ready.remove(entry)
            self._queue.remove(entry)

    def _try(self, entry: Reaping) -> bool:
        """Try once; return whether the entry is done with."""
        mm = self._mm_of(entry)
        if mm is None:
            return True
        if entry.failures == MAX_TRIES:
            self._give_up(entry.thread, mm)
            return True
        if is_mmap_locked(mm):
            entry.failures += 1
            return False
        self._reap(entry.thread, mm)
        return True

    def _mm_of(self, entry: Reaping) -> Mm | None:
        """Return the mm if it still has users.

        Since 4.9 the reaper holds on to it; before it looks for one that the victim's
        own threads still have.
        """
        if self._machine.profile.inflight_rule.startswith("oom_mm"):
            mm = entry.mm
            return mm if mm is not None and mm.users and not mm.hidden else None
        return entry.thread.process.mm

    def _reap(self, thread: Thread, mm: Mm) -> None:
        take_memory(self._machine, mm)
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

    def _give_up(self, thread: Thread, mm: Mm) -> None:
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

    def _done_with(self, thread: Thread) -> None:
        if self._machine.profile.reaper_after.startswith("clear memdie"):
            unmark_victim(thread)


def is_mmap_locked(mm: Mm) -> bool:
    """Say whether a task holds the mm's mmap lock for write."""
    return any(t.hold is Hold.MMAP_LOCK and t.mm is mm for p in mm.processes for t in p.threads)


def take_memory(machine: Machine, mm: Mm) -> None:
    """Take what is anonymous or private (__oom_reap_task_mm): files and swap count as private.

    Shared memory and page tables stay, and until 5.18 what is under mlock.
    """
    keeps = 0 if machine.profile.reap_mlocked else mm.sizes.mlocked_pages
    anon = min(mm.sizes.anon_pages, keeps)
    rest = replace(mm.sizes, anon_pages=anon, mlocked_pages=anon, file_pages=0, swap_entries=0)
    machine.resize(mm, rest)


def process_mrelease(machine: Machine, process: Process, flags: int) -> None:
    """Do what process_mrelease(2) does (since 5.15): reap who is dying anyway.

    As the reaper does it, but nothing is printed and the mm stays in the OOM killer's sight.
    Once the reaper has been there it succeeds without effect.  ENOSYS before 5.15, EINVAL for
    flags and for who is not dying, ESRCH for who has no mm (6.1 and 6.18), and EAGAIN where
    the call would wait for the mmap lock.
    """
    if not machine.profile.process_mrelease:
        raise Refused(errno.ENOSYS, "mrelease: process_mrelease came with 5.15.")
    if flags:
        raise Refused(errno.EINVAL, f"flags={flags}: accepted is 0.")
    thread = process.find_mm_thread()
    if thread is None or thread.mm is None:
        raise Refused(errno.ESRCH, f"mrelease {process.pid}: has no memory.")
    mm = thread.mm
    if not will_free_mem(machine.profile, thread, machine.processes.values()):
        if mm.hidden:
            return
        raise Refused(
            errno.EINVAL, f"mrelease {process.pid}: is not dying, or shares its mm with who is not."
        )
    if is_mmap_locked(mm):
        raise Refused(errno.EAGAIN, f"mrelease {process.pid}: its mmap lock is held.")
    take_memory(machine, mm)
