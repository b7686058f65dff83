# SPDX-License-Identifier: MIT
"""What a task can be told: coredump_filter, timerslack_ns, loginuid, and what goes with them."""

from __future__ import annotations

import errno
import re
from dataclasses import replace

from fakeproc.kernel.capability import CAP_AUDIT_CONTROL, CAP_SYS_NICE
from fakeproc.kernel.details import STANDARD, UNSET_ID, details_of
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.oom_adj import cut_to_number, parse_unsigned
from fakeproc.kernel.task import Caller, Thread
from fakeproc.procfs.node import Seek
from fakeproc.procfs.task.access import for_attachers, require_ptrace
from fakeproc.procfs.task.node import Of, TaskFile, TaskRow, require_there, user_mm

_FILTER_BITS = 0x1FF
_DECIMAL = re.compile(rb"\+?(\d+)\n?", re.ASCII)


def _parse_decimal(data: bytes, bits: int) -> int:
    """Read a decimal number as kstrtou*_from_user does; EINVAL, ERANGE."""
    match = _DECIMAL.fullmatch(cut_to_number(data, bits))
    if match is None:
        raise Refused(errno.EINVAL, f"{data[:40]!r}: accepted is a decimal number.")
    value = int(match[1])
    if value >= 2**bits:
        raise Refused(errno.ERANGE, f"{value}: does not fit into {bits} bits.")
    return value


# -- coredump_filter, timerslack_ns ------------------------------------------------


def render_filter(machine: Machine, thread: Thread) -> bytes:
    """Return the bits; nothing for a task without an mm."""
    if user_mm(thread) is None:
        return b""
    return b"%08x\n" % details_of(thread.process).coredump_filter


def store_filter(machine: Machine, thread: Thread, caller: Caller, data: bytes) -> int:
    """Set the bits that there are; ESRCH for a task without an mm."""
    require_there(machine, thread)
    value = parse_unsigned(data)
    if user_mm(thread) is None:
        raise Refused(errno.ESRCH, f"/proc/{thread.tid}/coredump_filter: has no memory to dump.")
    told = replace(details_of(thread.process), coredump_filter=value & _FILTER_BITS)
    machine.set_details(thread.process, told)
    return len(data)


def render_slack(machine: Machine, thread: Thread) -> bytes:
    """Return the slack."""
    return b"%d\n" % details_of(thread.process).timer_slack_ns


def render_slack_for(machine: Machine, thread: Thread, reader: Caller) -> bytes:
    """Return the slack; EPERM for others than the task without CAP_SYS_NICE."""
    _require_nice(thread, reader)
    return render_slack(machine, thread)


def store_slack(machine: Machine, thread: Thread, caller: Caller, data: bytes) -> int:
    """Set the slack; 0 gives back that of init."""
    require_there(machine, thread)
    slack_ns = _parse_decimal(data, 64)
    _require_nice(thread, caller)
    told = replace(details_of(thread.process), timer_slack_ns=slack_ns or STANDARD.timer_slack_ns)
    machine.set_details(thread.process, told)
    return len(data)


def _require_nice(thread: Thread, caller: Caller) -> None:
    if caller.tid != thread.tid and not caller.credentials.capable(CAP_SYS_NICE):
        raise Refused(errno.EPERM, f"/proc/{thread.tid}/timerslack_ns: takes CAP_SYS_NICE.")


# -- loginuid, sessionid -----------------------------------------------------------


def render_login(machine: Machine, thread: Thread) -> bytes:
    """Return who has logged in, without a newline."""
    return b"%d" % details_of(thread.process).login_uid


def store_login(machine: Machine, thread: Thread, caller: Caller, data: bytes) -> int:
    """Set who has logged in, which begins another audit session.

    EPERM for another task's, and for one that is set without CAP_AUDIT_CONTROL.
    """
    require_there(machine, thread)
    if caller.tid != thread.tid:
        raise Refused(errno.EPERM, f"/proc/{thread.tid}/loginuid: only the task may write it.")
    login_uid = _parse_decimal(data, 32)
    told = details_of(thread.process)
    if told.login_uid != UNSET_ID and not caller.credentials.capable(CAP_AUDIT_CONTROL):
        raise Refused(errno.EPERM, f"/proc/{thread.tid}/loginuid: takes CAP_AUDIT_CONTROL.")
    machine.log_in(thread.process, login_uid)
    return len(data)


def render_session(machine: Machine, thread: Thread) -> bytes:
    """Return the audit session, without a newline."""
    return b"%d" % details_of(thread.process).audit_session


# -- What is the same for all ------------------------------------------------------


def render_personality(machine: Machine, thread: Thread) -> bytes:
    """Return that of Linux."""
    return b"00000000\n"


def _nothing(machine: Machine, thread: Thread) -> bytes:
    return b""


def require_timers(machine: Machine, thread: Thread, caller: Caller) -> None:
    """Refuse by ptrace access, where the kernel asks for it."""
    if machine.profile.timers_by_ptrace:
        require_ptrace(machine, thread, caller)


ROWS: dict[str, TaskRow] = {
    "coredump_filter": TaskFile(
        reflects="which mappings a core dump takes",
        of=Of.PROCESS,
        mode=0o644,
        render=render_filter,
        store=store_filter,
    ),
    "timerslack_ns": TaskFile(
        reflects="how late timers may fire, as it was written",
        of=Of.PROCESS,
        there=lambda profile: profile.timerslack_file,
        mode=0o666,
        render=render_slack,
        render_for=render_slack_for,
        store=store_slack,
        seek=Seek.SEQ,
    ),
    "loginuid": TaskFile(
        reflects="who has logged in, as it was written",
        mode=0o644,
        render=render_login,
        store=store_login,
    ),
    "sessionid": TaskFile(reflects="the audit session of that", render=render_session),
    "personality": TaskFile(
        reflects="nothing: always that of Linux",
        mode=0o400,
        render=render_personality,
        render_for=for_attachers(render_personality),
        seek=Seek.SEQ,
    ),
    "timers": TaskFile(
        reflects="nothing: there are no POSIX timers",
        of=Of.PROCESS,
        render=_nothing,
        require=require_timers,
        seek=Seek.SEQ,
    ),
}
