# SPDX-License-Identifier: MIT
"""Who may look into whose memory (ptrace_may_access)."""

from __future__ import annotations

from fakeproc.kernel.capability import CAP_SYS_PTRACE
from fakeproc.kernel.task import Caller, Thread


def may_read(caller: Caller, thread: Thread) -> bool:
    """Say whether a caller passes PTRACE_MODE_READ_FSCREDS for a task.

    Its own thread group; or the same user and group, and no capability that the caller lacks,
    unless the mm is not dumpable; or anything with CAP_SYS_PTRACE.
    """
    # The number of a caller comes last: it may have to be looked up.
    return (
        caller.credentials.capable(CAP_SYS_PTRACE)
        or _is_as_privileged(caller, thread)
        or caller.tgid == thread.process.pid
    )


def _is_as_privileged(caller: Caller, thread: Thread) -> bool:
    own, target = caller.credentials, thread.credentials
    if (own.uid, own.gid) != (target.uid, target.gid):
        return False
    if thread.mm is not None and not thread.mm.dumpable:
        return False
    return not target.capabilities & ~own.capabilities
