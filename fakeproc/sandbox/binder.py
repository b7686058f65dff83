# SPDX-License-Identifier: MIT
"""The binder: makes bind mounts in the sandbox, in a process of its own.

Mounting looks paths up in the simulated /proc, for which the server has to answer: so none
of its own threads may do it that could hold the machine meanwhile.
"""

from __future__ import annotations

import os
import signal
from concurrent.futures import Future, ThreadPoolExecutor

from fakeproc.sandbox import namespaces
from fakeproc.sandbox.channel import Channel, Closed
from fakeproc.sandbox.view import Binds

_BATCH = 200
"""Binds in a message."""


class Binder:
    """The server's side: hands out work, which is done in order."""

    def __init__(self, channel: Channel, pid: int) -> None:
        self._channel = channel
        self.pid = pid
        self._work = ThreadPoolExecutor(max_workers=1, thread_name_prefix="binder")
        # The thread that makes the pid namespace can start no other thread from then on.
        self._work.submit(int).result()

    def enter(self, namespace: int) -> None:
        """Let it work in this mount namespace (a descriptor)."""
        self._channel.ask({}, [namespace])

    def bind(self, binds: Binds) -> Future[None]:
        """Let these be bound; what is not there, or not there any more, is left out."""
        return self._work.submit(self._bind, binds)

    def _bind(self, binds: Binds) -> None:
        for first in range(0, len(binds), _BATCH):
            self._channel.ask({"bind": binds[first : first + _BATCH]})


def start_binder(channels_of_others: list[Channel]) -> Binder:
    """Fork it; it holds none of the others' channels open."""
    here, there = Channel.pair()
    pid = os.fork()
    if pid == 0:
        for channel in [here, *channels_of_others]:
            channel.close()
        _serve(there)
    there.close()
    return Binder(here, pid)


def _serve(channel: Channel) -> None:
    """Be the binder until the server is gone; never returns."""
    try:
        namespaces.die_with_parent(signal.SIGKILL)
        _, [namespace] = channel.receive()
        namespaces.enter_mounts(namespace)
        os.close(namespace)
        channel.send({})
        while True:
            message, _ = channel.receive()
            for source, target in message["bind"]:
                _bind(source, target)
            channel.send({})
    except Closed:
        pass
    finally:
        os._exit(0)


def _bind(source: str, target: str) -> None:
    try:
        namespaces.bind(source, target)
    except OSError:
        # A process that has gone meanwhile, or a file that this host's kernel has not.
        return
