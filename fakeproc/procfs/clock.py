# SPDX-License-Identifier: MIT
"""/proc/fakeproc/clock: the machine's time, and who moves it how fast."""

from __future__ import annotations

import errno
import re
from enum import StrEnum
from fractions import Fraction

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.task import Caller
from fakeproc.procfs.session import Session
from fakeproc.units import ACCEPTED_DURATIONS, LONGEST_NS, parse_duration_ns

_NS_PER_S = 1_000_000_000

_SPEED = re.compile(r"\d{1,6}(?:\.\d{1,6})?", re.ASCII)
_SLOWEST, _FASTEST = Fraction(1, 1000), Fraction(10_000)
ACCEPTED_SPEEDS = "a number from 0.001 to 10000, how many seconds pass in one of the host's"

REAL_SPEED = Fraction(1)


class ClockMode(StrEnum):
    """What moves the clock."""

    REAL = "real"
    """The clock of the host."""
    MANUAL = "manual"
    """Only a write to this file."""
    SCALED = "scaled"
    """The clock of the host, at another speed."""


def mode(session: Session) -> ClockMode:
    """Return what moves the clock now."""
    if session.manual_clock:
        return ClockMode.MANUAL
    return ClockMode.REAL if session.clock_speed == REAL_SPEED else ClockMode.SCALED


def render(session: Session) -> str:
    """Return the seconds since boot, the mode, and the speed: 0 when the clock stands still."""
    seconds, ns = divmod(session.machine.now_ns, _NS_PER_S)
    speed = 0 if session.manual_clock else session.clock_speed
    return f"time: {seconds}.{ns:09d}\nmode: {mode(session)}\nspeed: {float(speed):.10g}\n"


def pass_host_time(session: Session, host_ns: int) -> None:
    """Let the machine's time go on by what has passed on the host.

    A part of a nanosecond that is left at a fractional speed is kept for the next time.
    """
    if session.manual_clock:
        return
    # In integers: with Fraction this would take longer than most requests.
    numerator, denominator = session.clock_ratio
    ns, session.clock_rest = divmod(host_ns * numerator + session.clock_rest, denominator)
    session.machine.advance(ns)


def store(session: Session, caller: Caller, data: bytes) -> int:
    """Take a mode, ``speed 10``, or a time to let pass, ``+500ms``.

    EINVAL, with the reason in ctl, for anything else.  What falls due in the time that
    passes has happened when the write returns.
    """
    text = data.decode(errors="replace").strip()
    try:
        if text in (ClockMode.REAL, ClockMode.MANUAL):
            session.set_clock(REAL_SPEED, manual=text == ClockMode.MANUAL)
        elif text.split()[:1] == ["speed"]:
            session.set_clock(parse_speed(text.removeprefix("speed").strip()))
        else:
            session.machine.advance(_time_to_pass(session, text))
    except Refused as refused:
        session.answer_refusal(refused)
        raise
    session.answer = "ok\n"
    return len(data)


def is_speed(speed: Fraction) -> bool:
    """Say whether a clock goes that fast."""
    return _SLOWEST <= speed <= _FASTEST


def parse_speed(text: str) -> Fraction:
    """Return a speed; EINVAL, with a sentence, for what is none."""
    speed = Fraction(text) if _SPEED.fullmatch(text) else Fraction(0)
    if not is_speed(speed):
        raise Refused(errno.EINVAL, f"speed {text}: accepted is {ACCEPTED_SPEEDS}.")
    return speed


def _time_to_pass(session: Session, text: str) -> int:
    if not text.startswith("+"):
        raise Refused(
            errno.EINVAL,
            f"clock: {text!r}: accepted: real, manual, speed 10, or + and {ACCEPTED_DURATIONS}.",
        )
    ns = parse_duration_ns("clock: +", text[1:])
    if session.machine.now_ns + ns > LONGEST_NS:
        latest_h = LONGEST_NS // _NS_PER_S // 3600
        raise Refused(errno.EINVAL, f"clock: {text}: too late; a machine runs {latest_h}h at most.")
    return ns
