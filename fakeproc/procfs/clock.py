# SPDX-License-Identifier: MIT
"""/proc/fakeproc/clock: the machine's time, and who moves it."""

from __future__ import annotations

import errno
from enum import StrEnum

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.task import Caller
from fakeproc.procfs.session import Session
from fakeproc.units import ACCEPTED_DURATIONS, parse_duration_ns

_NS_PER_S = 1_000_000_000


class ClockMode(StrEnum):
    """What moves the clock."""

    REAL = "real"
    """The clock of the host."""
    MANUAL = "manual"
    """Only a write to this file."""


def render(session: Session) -> str:
    """Return the seconds since boot, and the mode."""
    seconds, ns = divmod(session.machine.now_ns, _NS_PER_S)
    mode = ClockMode.MANUAL if session.manual_clock else ClockMode.REAL
    return f"time: {seconds}.{ns:09d}\nmode: {mode}\n"


def store(session: Session, caller: Caller, data: bytes) -> int:
    """Take a mode, or a time to let pass, ``+500ms``; EINVAL, with the reason in ctl, otherwise.

    What falls due in that time has happened when the write returns.
    """
    text = data.decode(errors="replace").strip()
    try:
        if text in list(ClockMode):
            session.manual_clock = text == ClockMode.MANUAL
        else:
            session.machine.advance(_parse(text))
    except Refused as refused:
        session.answer_refusal(refused)
        raise
    session.answer = "ok\n"
    return len(data)


def _parse(text: str) -> int:
    if not text.startswith("+"):
        raise Refused(
            errno.EINVAL,
            f"clock: {text!r}: accepted: {', '.join(ClockMode)}, or + and {ACCEPTED_DURATIONS}.",
        )
    return parse_duration_ns("clock: +", text[1:])
