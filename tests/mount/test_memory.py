# SPDX-License-Identifier: MIT
"""A machine that runs out of memory by itself, through a mount."""

from __future__ import annotations

from collections.abc import Callable

from tests.conftest import Mounted


def kib(mounted: Mounted, name: str) -> int:
    """Return a line of meminfo."""
    lines = dict(line.split()[:2] for line in mounted.read("meminfo").splitlines())
    return int(lines[f"{name}:"])


def test_a_leak_takes_cache_and_swap_and_dies(mount: Callable[..., Mounted]) -> None:
    mounted = mount("--clock", "manual", "--kernel", "6.1")
    free, swap = kib(mounted, "MemFree"), kib(mounted, "SwapFree")
    mounted.control("cache clean=1G dirty=100M")
    assert kib(mounted, "MemFree") == free - 1124 * 1024
    mounted.control("spawn name=leak pid=200000 rss=100M behaviour=grow rate=200M/s")

    def advance(seconds: int) -> None:
        (mounted / "fakeproc/clock").write_text(f"+{seconds}s")

    advance(10)
    cached = kib(mounted, "Cached")
    assert cached >= 1124 * 1024
    assert kib(mounted, "SwapFree") == swap
    advance(10)
    assert kib(mounted, "Cached") < cached - 800 * 1024
    assert kib(mounted, "SwapFree") < swap - 600 * 1024
    assert "some avg10=0.00" not in mounted.read("pressure/memory")
    advance(60)
    assert "State:\tZ" in mounted.read("200000/status")
    assert "leak invoked oom-killer" in mounted.read("fakeproc/kmsg")
    assert "victim: 200000 (leak)" in mounted.read("fakeproc/oom_trigger")
    assert mounted.read("swaps").split()[5:7] == ["/dev/vda2", "partition"]
