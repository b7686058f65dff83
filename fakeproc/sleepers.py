# SPDX-License-Identifier: MIT
"""Who sleeps in read(2) on a file of the mount until there is something to read.

Neither libfuse can answer a read later.  So the thread that serves it waits, and others go on
with its loop meanwhile: as many threads as there are sleepers, and two more.  (One is not
enough: libfuse keeps who removes the file that is read waiting as well.)
"""

from __future__ import annotations

import ctypes
import errno
import signal
import threading
import time
from typing import Any, NoReturn

from fakeproc.kernel.errors import Refused

MOST = 32
"""How many may sleep at once; the next one is not let to."""

_AWAKE = 2
"""How many threads serve while somebody sleeps."""

_PERIOD_S = 0.02
"""How late a sleeper may notice that there is something, or that it is interrupted."""

_JOIN_S = 1.0


class Sleepers:
    """The threads that serve, and those of them that wait with a reader."""

    def __init__(self, libfuse: Any) -> None:
        self._libfuse = libfuse
        pointer, number = ctypes.c_void_p, ctypes.c_int
        self._session_of = ctypes.CFUNCTYPE(pointer, pointer)(("fuse_get_session", libfuse))
        self._serve = ctypes.CFUNCTYPE(number, pointer)(("fuse_session_loop", libfuse))
        self._is_over = ctypes.CFUNCTYPE(number, pointer)(("fuse_session_exited", libfuse))
        self._end = ctypes.CFUNCTYPE(None, pointer)(("fuse_session_exit", libfuse))
        self._is_interrupted = ctypes.CFUNCTYPE(number)(("fuse_interrupted", libfuse))
        self._lock = threading.Lock()
        self._asleep = 0
        self._threads: list[threading.Thread] = []
        """Those that serve besides libfuse's own."""
        self._ended = False
        """Whether the loop of one of them is over: the mount is gone, or the server is to end."""
        self._closed = False

    def sleep(self) -> None:
        """Wait a moment in an upcall, while others are served.

        EINTR when the reader has a signal to see to, or the server ends; EAGAIN when there are
        too many already.

        Preconditions: no lock is held.
        """
        session = self._session_of(self._libfuse.fuse_get_context().contents.fuse)
        with self._lock:
            if self._asleep >= MOST:
                raise Refused(errno.EAGAIN)
            self._asleep += 1
            while self._asleep + _AWAKE > len(self._threads) + 1:
                self._start(session)
        try:
            time.sleep(_PERIOD_S)
        finally:
            with self._lock:
                self._asleep -= 1
        if self._closed:
            _stay()
        if self._ended:
            # Its loop took back that the session is over, so this thread's would not see it.
            self._end(session)
        if self._is_over(session) or self._is_interrupted():
            raise Refused(errno.EINTR)

    def close(self) -> None:
        """Let nobody return to libfuse, which is about to free what they would use."""
        self._closed = True
        end = time.monotonic() + _JOIN_S
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0))

    def _start(self, session: int) -> None:
        thread = threading.Thread(target=self._run, args=(session,), name="server", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self, session: int) -> None:
        # Signals are for libfuse's own thread, whose loop they end.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        self._serve(session)
        self._ended = True


def _stay() -> NoReturn:
    """Wait for the end of the process."""
    while True:
        time.sleep(3600)
