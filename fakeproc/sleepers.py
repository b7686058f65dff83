# SPDX-License-Identifier: MIT
"""Who sleeps in read(2) on a file of the mount until there is something to read.

Neither libfuse can answer a read later.  So the thread that serves it waits, and others take
requests meanwhile: as many threads as there are sleepers, and two more.  (One is not enough:
libfuse keeps who removes the file that is read waiting as well.)

The loop of libfuse's own thread is the one that a signal ends, and then libfuse frees what the
others use: they do not return to it any more, and end with the process.
"""

from __future__ import annotations

import ctypes
import errno
import signal
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from fakeproc.kernel.errors import Refused

MOST = 32
"""How many may sleep at once; the next one is not let to."""

_AWAKE = 2
"""How many threads serve while somebody sleeps."""

_PERIOD_S = 0.02
"""How late a sleeper may notice that there is something, or that it is interrupted."""

_JOIN_S = 0.2
"""How long the others may take to see that the mount is gone."""


class _Buffer(ctypes.Structure):
    """struct fuse_buf, and room for what newer libraries have added to it."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("mem", ctypes.c_void_p),
        ("fd", ctypes.c_int),
        ("pos", ctypes.c_int64),
        ("more", ctypes.c_char * 64),
    )


class _Session:
    """libfuse's session of a mount, which any thread can take requests from."""

    def __init__(self, libfuse: Any) -> None:
        """Find it.

        Preconditions: called in an upcall.
        """
        self._libfuse = libfuse
        self.is_interrupted = self._function("fuse_interrupted", ctypes.c_int, 0)
        self._has_exited = self._function("fuse_session_exited", ctypes.c_int, 1)
        fuse = libfuse.fuse_get_context().contents.fuse
        self._session = self._function("fuse_get_session", ctypes.c_void_p, 1)(fuse)
        self._channel: int | None = None
        """That of libfuse 2, where a session has some."""
        if hasattr(libfuse, "fuse_session_next_chan"):
            next_channel = self._function("fuse_session_next_chan", ctypes.c_void_p, 2)
            self._channel = next_channel(self._session, None)

    def _function(self, name: str, result: Any, arguments: int) -> Any:
        return ctypes.CFUNCTYPE(result, *[ctypes.c_void_p] * arguments)((name, self._libfuse))

    def has_exited(self) -> bool:
        """Say whether libfuse's own loop is to end."""
        return bool(self._has_exited(self._session))

    def serve(self, is_allowed: Callable[[], bool]) -> None:
        """Take requests until the mount is gone, or one may not be handled any more.

        The library's loop would do, but at its end it takes back that the session is over.
        """
        buffer = _Buffer()
        at = ctypes.addressof(buffer)
        size, memory = 0, None
        channels: tuple[ctypes.c_void_p, ...] = ()
        if self._channel is not None:
            size = self._function("fuse_chan_bufsize", ctypes.c_size_t, 1)(self._channel)
            memory = ctypes.create_string_buffer(size)
            channels = (ctypes.c_void_p(self._channel),)
        count = 2 + len(channels)
        receive = self._function("fuse_session_receive_buf", ctypes.c_int, count)
        process = self._function("fuse_session_process_buf", None, count)
        while True:
            if memory is not None:
                buffer.mem, buffer.size, buffer.flags = ctypes.addressof(memory), size, 0
            taken = receive(self._session, at, *map(ctypes.addressof, channels))
            if taken == -errno.EINTR:
                continue
            if taken <= 0 or not is_allowed():
                return
            process(self._session, at, *channels)


class Sleepers:
    """The threads that serve, and those of them that wait with a reader."""

    def __init__(self, libfuse: Any) -> None:
        self._libfuse = libfuse
        self._lock = threading.Lock()
        self._session: _Session | None = None
        self._asleep = 0
        self._threads: list[threading.Thread] = []
        """Those that serve besides libfuse's own."""
        self._closed = False

    def sleep(self) -> None:
        """Wait a moment in an upcall, while others are served.

        EINTR when the reader has a signal to see to, EIO when the server ends; EAGAIN when there
        are too many already.

        Preconditions: no lock is held.
        """
        with self._lock:
            if self._asleep >= MOST:
                raise Refused(errno.EAGAIN)
            session = self._session = self._session or _Session(self._libfuse)
            self._asleep += 1
            while self._asleep + _AWAKE > len(self._threads) + 1:
                self._start(session)
        time.sleep(_PERIOD_S)
        with self._lock:
            self._asleep -= 1
        if self._closed or session.has_exited():
            self._leave()
        if session.is_interrupted():
            raise Refused(errno.EINTR)

    def _leave(self) -> NoReturn:
        """Let libfuse's own thread end its loop, and no other thread go on with theirs."""
        self._closed = True
        if threading.current_thread() in self._threads:
            _stay()
        # What another thread has begun is over by then.
        time.sleep(_PERIOD_S)
        raise Refused(errno.EIO)

    def close(self) -> None:
        """Keep the others from libfuse, which is about to free what they would use."""
        self._closed = True
        end = time.monotonic() + _JOIN_S
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0))

    def _start(self, session: _Session) -> None:
        thread = threading.Thread(target=self._run, args=(session,), name="server", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self, session: _Session) -> None:
        # Signals are for libfuse's own thread, whose loop they end.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        session.serve(lambda: not self._closed)


def _stay() -> NoReturn:
    """Wait for the end of the process."""
    while True:
        time.sleep(3600)
