# SPDX-License-Identifier: MIT
"""What counts as a find: whatever a target raises, and what takes it more than a second."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType

from tests.fuzz.worlds import boot_all, forget_all

LIMIT_S = 1.0
"""The time of the processor that a short input may take."""


class TooSlow(BaseException):
    """The target has not come to an end in time; nothing in between is to catch it."""


@dataclass(frozen=True, slots=True)
class Find:
    """An internal error: what was raised, where, and by which input."""

    kind: str
    """The same for the same bug: the exception and the place."""
    data: bytes
    trace: str
    before: tuple[bytes, ...] = ()
    """What had been accepted before; without it the same input finds nothing."""


def try_out(run: Callable[[bytes], None], data: bytes, limit_s: float = LIMIT_S) -> Find | None:
    """Run a target on an input, on the machines as they are; return its find, if any.

    It is tried again on new machines, as one that needs no others before is easier to repeat.
    """
    find = _tried(run, data, limit_s)
    if find is None:
        return None
    before = tuple(forget_all())
    again = _tried(run, data, limit_s)
    forget_all()
    return again or replace(find, before=before)


def try_alone(run: Callable[[bytes], None], data: bytes, limit_s: float = LIMIT_S) -> Find | None:
    """Run a target on an input and on new machines, as a corpus is tried out."""
    boot_all()
    return try_out(run, data, limit_s)


def _tried(run: Callable[[bytes], None], data: bytes, limit_s: float) -> Find | None:
    try:
        with _limited(limit_s):
            run(data)
    except (Exception, TooSlow) as error:
        return Find(_kind(error), data, "".join(traceback.format_exception(error)))
    return None


@contextmanager
def _limited(limit_s: float) -> Iterator[None]:
    """Raise `TooSlow` in the block when it has used up so much time of the processor.

    Preconditions: this is the main thread, where signals are handled.
    """
    signal.setitimer(signal.ITIMER_VIRTUAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise TooSlow("takes more than its time")


def _kind(error: BaseException) -> str:
    if isinstance(error, TooSlow | RecursionError):
        # Where it was when that came about says little.
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "fakeproc" in f.filename]
        where = frames[min(len(frames) - 1, 6)] if frames else None
    else:
        where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{where.filename.rpartition('/')[2]}:{where.lineno}" if where else "?"
    return f"{type(error).__name__} at {place}"


signal.signal(signal.SIGVTALRM, _too_slow)
