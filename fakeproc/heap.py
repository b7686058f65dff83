# SPDX-License-Identifier: MIT
"""The heap of a server that runs for long: what it has freed goes back to the host."""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

_LARGE_BYTES = 1 << 16


def keep_compact() -> None:
    """Let all threads share one heap, and let what is large have pages of its own.

    Each thread that serves would have a heap, and keep there what the largest file has ever
    taken; they take turns anyhow.  And pages of their own are given back when the content of a
    file is dropped, instead of leaving holes.  A C library that knows neither is let be.

    Preconditions: called before there are other threads.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
