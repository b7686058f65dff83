# SPDX-License-Identifier: MIT
"""The write path of /proc/<pid>/oom_adj and oom_score_adj, and reading them back.

Both files go through one helper, `set_oom_adj` (patch 2 of the series); they differ
only in their scale and in how far a caller without CAP_SYS_RESOURCE may go down.
"""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING

from fakeproc.kernel.badness import OOM_SCORE_ADJ_MAX, OOM_SCORE_ADJ_MIN
from fakeproc.kernel.capability import CAP_SYS_RESOURCE
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.log import Level
from fakeproc.kernel.profile import Profile
from fakeproc.kernel.task import Caller, Mm, Process, Thread

if TYPE_CHECKING:
    from fakeproc.kernel.machine import Machine

OOM_DISABLE = -17
OOM_ADJUST_MAX = 15
PROC_NUMBUF = 13
"""Size of the buffer that both files read into, with its final NUL."""

# The kernel's ctype table is Latin-1: the no-break space counts, UTF-8's does not.
_KERNEL_SPACE = b" \t\n\v\f\r\xa0"
_NUMBER = re.compile(rb"([+-]?)(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*))")


def parse_int(text: bytes) -> int:
    """Read a number as kstrtoint with base 0 does: decimal, 0x hexadecimal, 0 octal.

    EINVAL for anything else, ERANGE for what does not fit into 32 bits with sign.
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise Refused(errno.EINVAL, f"{text!r}: not a decimal, 0x hexadecimal or 0 octal number.")
    value = _value(match)
    if not -(2**31) <= value < 2**31:
        raise Refused(errno.ERANGE, f"{value}: does not fit into 32 bits.")
    return value


def cut_to_number(data: bytes, bits: int) -> bytes:
    """Return what kstrto*_from_user looks at of a write: a sign, so many digits, a newline."""
    return data[: bits + 2]


def parse_unsigned(data: bytes) -> int:
    """Read what was written as kstrtouint_from_user with base 0 does: one newline may follow.

    EINVAL for what is no number or below 0, ERANGE for what does not fit into 32 bits.
    """
    match = _NUMBER.fullmatch(cut_to_number(data, 32).removesuffix(b"\n"))
    if match is None or match[1] == b"-":
        raise Refused(errno.EINVAL, f"{data[:40]!r}: not a number of 0 or more.")
    value = _value(match)
    if value >= 2**32:
        raise Refused(errno.ERANGE, f"{value}: does not fit into 32 bits.")
    return value


def _value(match: re.Match[bytes]) -> int:
    sign, hexadecimal, octal, decimal = match.groups()
    digits, base = (hexadecimal, 16) if hexadecimal else (octal, 8) if octal else (decimal, 10)
    return int(digits, base) * (-1 if sign == b"-" else 1)


def parse_write(data: bytes) -> tuple[int, int]:
    """Return the number in what was written, and how many bytes of it were taken.

    Only the first 12 bytes are looked at, and their count is what write(2) returns; a
    NUL ends the text.  The same in every kernel here.
    """
    taken = min(len(data), PROC_NUMBUF - 1)
    text = data[:taken].split(b"\0")[0].strip(_KERNEL_SPACE)
    return parse_int(text), taken


def legacy_to_score_adj(oom_adj: int) -> int:
    """Scale -17..15 to -1000..1000, dividing toward zero as C does."""
    if oom_adj == OOM_ADJUST_MAX:
        return OOM_SCORE_ADJ_MAX
    return int(oom_adj * OOM_SCORE_ADJ_MAX / -OOM_DISABLE)


def legacy_from_score_adj(profile: Profile, oom_score_adj: int) -> int:
    """Return what oom_adj reads: -17..15, and 16 for 942..999 before 5.10."""
    if oom_score_adj == OOM_SCORE_ADJ_MAX:
        return OOM_ADJUST_MAX
    value = int(oom_score_adj * -OOM_DISABLE / OOM_SCORE_ADJ_MAX)
    return min(value, OOM_ADJUST_MAX) if profile.oom_adj_read_clamped else value


def store(machine: Machine, thread: Thread, caller: Caller, data: bytes, *, legacy: bool) -> int:
    """Handle a write to one of the files of this task; return the bytes taken.

    EINVAL or ERANGE for a bad value, then ESRCH for a task that is gone, EINVAL for
    a task without an mm (before patch 1), EACCES for going down without the right to.
    """
    value, taken = parse_write(data)
    _check_range(value, legacy=legacy)
    if legacy:
        value = legacy_to_score_adj(value)
    set_oom_adj(machine, thread, caller, value, legacy=legacy)
    return taken


def _check_range(value: int, *, legacy: bool) -> None:
    name = "oom_adj" if legacy else "oom_score_adj"
    low = OOM_DISABLE if legacy else OOM_SCORE_ADJ_MIN
    high = OOM_ADJUST_MAX if legacy else OOM_SCORE_ADJ_MAX
    if not low <= value <= high:
        raise Refused(errno.EINVAL, f"{name}: {value}: accepted are {low} to {high}.")


def set_oom_adj(
    machine: Machine, thread: Thread, caller: Caller, value: int, *, legacy: bool
) -> None:
    """Set oom_score_adj of a task's process and, since patch 3, of all that share its mm.

    Sharers are not asked: neither their owner nor their minimum counts (every kernel
    since the series, as posted and as merged).
    """
    process = thread.process
    if machine.find_thread(thread.tid) is not thread:
        raise Refused(errno.ESRCH, f"/proc/{thread.tid}: the task is gone.")
    if not takes_writes(machine.profile, thread):
        raise Refused(errno.EINVAL, f"/proc/{thread.tid}: the task has no mm (until patch 1).")
    privileged = caller.credentials.capable(CAP_SYS_RESOURCE)
    _check_permission(process, value, legacy=legacy, privileged=privileged)
    if legacy:
        _warn_once(machine, thread, caller)
    followers = reached_with(machine.profile, thread)
    _commit(machine, process, value, legacy=legacy, privileged=privileged)
    for sharer in followers:
        if machine.profile.propagate_log:
            _log_update(machine, sharer, value, thread)
        _commit(machine, sharer, value, legacy=legacy, privileged=privileged)


def takes_writes(profile: Profile, thread: Thread) -> bool:
    """Say whether the files of a task can be written: until patch 1 that took an mm."""
    return thread.mm is not None or not profile.write_needs_task_mm


def reached_with(profile: Profile, thread: Thread) -> list[Process]:
    """Return the other processes that a write to this task sets, in order of creation."""
    shared_mm = _mm_to_propagate_to(profile, thread)
    return [] if shared_mm is None else _followers(profile, thread.process, shared_mm)


def _check_permission(process: Process, value: int, *, legacy: bool, privileged: bool) -> None:
    """Refuse to go below what the caller may: the minimum, or for oom_adj the present value."""
    floor = process.oom_score_adj if legacy else process.oom_score_adj_min
    if not privileged and value < floor:
        raise Refused(
            errno.EACCES,
            f"/proc/{process.pid}: {value} is below {floor}, which takes CAP_SYS_RESOURCE.",
        )


def _commit(
    machine: Machine, process: Process, value: int, *, legacy: bool, privileged: bool
) -> None:
    machine.change_oom_score_adj(process, value)
    # A privileged write moves the minimum as well, upwards too; oom_adj leaves it alone.
    if privileged and not legacy:
        process.oom_score_adj_min = value


def _warn_once(machine: Machine, thread: Thread, caller: Caller) -> None:
    """Print the deprecation of oom_adj, once per boot, for the first permitted write."""
    if machine.deprecated_warned:
        return
    machine.deprecated_warned = True
    tid = thread.tid
    machine.printk(
        Level.WARNING,
        f"{caller.comm} ({caller.tid}): /proc/{tid}/oom_adj is deprecated, "
        f"please use /proc/{tid}/oom_score_adj instead.",
    )


def _mm_to_propagate_to(profile: Profile, thread: Thread) -> Mm | None:
    """Return the mm whose users must follow a write to this task, if any must.

    The exact task opened counts: one in vfork stays alone, until it has its own mm.
    """
    if not profile.propagate_to_sharers or thread.vfork_done:
        return None
    mm = thread.process.mm
    if mm is None:
        return None
    if profile.propagate_trigger == "MULTIPROCESS":
        return mm if mm.multiprocess else None
    if profile.propagate_trigger == "users>1":
        return mm if mm.users > 1 else None
    return None


def _followers(profile: Profile, target: Process, mm: Mm) -> list[Process]:
    """Return the thread groups that a write to ``target`` reaches, in order of creation.

    The posting of the series reached the target itself and global init; the merged
    form skips both.
    """

    def follows(process: Process) -> bool:
        if process is target and not profile.propagate_hits_own_group:
            return False
        if process.is_global_init and not profile.propagate_hits_init:
            return False
        return not process.is_kthread and not process.leader.vfork_done

    followers = [process for process in mm.processes if follows(process)]
    return sorted(followers, key=lambda process: process.sequence)


def _log_update(machine: Machine, sharer: Process, value: int, target: Thread) -> None:
    machine.printk(
        Level.INFO,
        f"updating oom_score_adj for {sharer.pid} ({sharer.comm}) "
        f"from {sharer.oom_score_adj} to {value} because it shares mm with "
        f"{target.tid} ({target.comm}). Report if this is unexpected.",
    )
