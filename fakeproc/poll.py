# SPDX-License-Identifier: MIT
"""Who waits in poll(2) on a file of the mount, and the timer that wakes them.

libfuse 3 only.  mfusepy passes poll upcalls on, but has no call to answer them later:
`Waiting` makes that one itself.
"""

from __future__ import annotations

import ctypes
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from fakeproc.kernel.errors import Refused
from fakeproc.procfs.node import File

_TICK_S = 0.02
"""How late a waiter may be woken when nobody makes a request."""


class Waiting:
    """The descriptors on which somebody waits for an event.

    While there are any, a thread calls ``tick``: time may bring about what they wait for when
    no request comes in.  Every upcall holds ``lock``, and ``tick`` takes it.

    Preconditions: the methods are called with the lock held.
    """

    def __init__(self, libfuse: Any, lock: threading.Lock, tick: Callable[[], object]) -> None:
        self._notify = _function(libfuse, "fuse_notify_poll")
        self._destroy = _function(libfuse, "fuse_pollhandle_destroy")
        self._lock = lock
        self._tick = tick
        self._waiting: dict[int, tuple[File, int]] = {}
        """By descriptor: the file, and libfuse's handle of whoever waits."""
        self._thread: threading.Thread | None = None

    def poll(self, fh: int, file: File, handle: int | None) -> int:
        """Return what poll(2) sees; remember the handle, if there is one, until it is answered."""
        events = file.poll()
        if handle is None:
            return events
        self.forget(fh)
        if file.has_events and not events & select.POLLERR:
            self._waiting[fh] = file, handle
            self._keep_ticking()
        else:
            self._destroy(handle)
        return events

    def wake(self) -> None:
        """Wake those for whom there is something to see; they poll again."""
        for fh, (file, handle) in list(self._waiting.items()):
            if file.has_event():
                self._notify(handle)
                self.forget(fh)

    def forget(self, fh: int) -> None:
        """Drop what is known of a descriptor."""
        known = self._waiting.pop(fh, None)
        if known is not None:
            self._destroy(known[1])

    def close(self) -> None:
        """Drop everything, so that the thread ends."""
        for fh in list(self._waiting):
            self.forget(fh)

    def _keep_ticking(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="poll timer", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(_TICK_S)
            # What goes wrong has been logged and counted, as in an upcall.
            with suppress(Refused):
                self._tick()
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return


def _function(libfuse: Any, name: str) -> Callable[[int], object]:
    """Return a function of libfuse that takes a poll handle."""
    function: Callable[[int], object] = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(
        (name, libfuse)
    )
    return function
