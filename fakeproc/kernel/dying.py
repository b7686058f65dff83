# SPDX-License-Identifier: MIT
"""Who is on the way out: the tests behind the bypass of the OOM killer.

A task that will free its memory soon needs no killing: it is marked as a victim, gets
access to the reserves, and nothing is logged.  The forms of the test are those of 4.4
and 4.7, of patch 6 as posted, and of patch 6 as merged.
"""

from __future__ import annotations

from collections.abc import Iterable

from fakeproc.kernel.profile import Profile
from fakeproc.kernel.task import Mm, Process, Thread


def will_free_mem(profile: Profile, thread: Thread, processes: Iterable[Process]) -> bool:
    """Say whether a task's group will free its memory by itself (task_will_free_mem).

    ``processes`` are all of the machine: as posted, patch 6 looked at every one of them
    instead of at those that share the mm.  It also looked for any thread with an mm,
    where the other forms ask the very task (an exited leader has none).
    """
    if profile.will_free_scope == "unfiltered":
        with_mm = thread.process.find_mm_thread()
        return with_mm is not None and _will_free_as_posted(with_mm, processes)
    if thread.mm is None:
        return False
    if profile.will_free_scope == "group":
        return _exiting(thread)
    return _will_free_as_merged(profile, thread.process, thread.mm)


def _exiting(thread: Thread) -> bool:
    """Until 4.7: PF_EXITING with the mm still there, alone or with the whole group."""
    process = thread.process
    if not thread.exiting or thread.mm is None or process.coredumping:
        return False
    return len(process.threads) == 1 or process.group_exit


def _dying_as_posted(thread: Thread) -> bool:
    process = thread.process
    if process.coredumping or not (thread.exiting or thread.fatal_pending):
        return False
    return len(process.threads) == 1 or process.group_exit or thread.fatal_pending


def _will_free_as_posted(thread: Thread, processes: Iterable[Process]) -> bool:
    if not _dying_as_posted(thread):
        return False
    if thread.mm is not None and thread.mm.users <= 1:
        return True
    # The defect: nothing asks who shares the mm, so init, first of all, spoils it.
    return all(_dying_as_posted(process.leader) for process in processes)


def _dying(process: Process) -> bool:
    """Since 4.8: the group exits, or its only thread does; a core dump may linger."""
    if process.coredumping:
        return False
    alone = len(process.threads) == 1
    return process.group_exit or (alone and process.leader.exiting)


def _will_free_as_merged(profile: Profile, process: Process, mm: Mm) -> bool:
    if not _dying(process):
        return False
    if mm.hidden and profile.will_free_false_if_hidden:
        return False
    if mm.users <= 1:
        return True
    return all(_dying(sharer) for sharer in mm.processes if sharer is not process)


def current_is_dying(profile: Profile, thread: Thread, processes: Iterable[Process]) -> bool:
    """Say whether the allocating task itself is let pass instead of a victim."""
    if profile.current_bypass == "fatal or exiting":
        return thread.mm is not None and (thread.fatal_pending or _exiting(thread))
    return will_free_mem(profile, thread, processes)
