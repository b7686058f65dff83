# SPDX-License-Identifier: MIT
"""The supervisor, in real namespaces, with real signals from real shells."""

from __future__ import annotations

from tests.sandbox.conftest import FIRST_PID, Supervised


def test_signals_are_told_and_the_killed_are_held(supervised: Supervised) -> None:
    assert supervised.spawn(*range(FIRST_PID, FIRST_PID + 3)) == []
    script = "kill -TERM 100000; kill -9 100001; kill -0 100000 && kill -0 100001 && echo alive"
    assert supervised.sh(script) == "alive\n"
    assert supervised.seen == [
        {"signalled": 100000, "signo": 15, "sender": 2, "uid": 0},
        {"killed": 100001},
    ]
    assert supervised.end(100001) == [100001]
    assert supervised.sh("kill -0 100001 2>/dev/null || echo gone") == "gone\n"
