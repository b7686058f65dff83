# SPDX-License-Identifier: MIT
"""Machines whose memory runs short, and whom a daemon should kill there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fakeproc.sandbox import Sandbox
from tests.sandbox.tools.conftest import Stage, pid_of, run_short

SMALL = """
[machine]
ram = "1G"
swap = "600M"

[[process]]
name = "init-script"
rss = "5M"

[[process]]
name = "{growing}"
uid = 1000
rss = "200M"

[[process]]
name = "{other}"
uid = 1000
rss = "250M"
oom_score_adj = {adj}
"""
"""One process that `grow` lets grow, and another one."""


def small(growing: str = "hog", other: str = "bystander", adj: int = 0) -> str:
    """Return the scenario with these names and the other one's oom_score_adj."""
    return SMALL.format(growing=growing, other=other, adj=adj)


def grow(stage: Stage, name: str, anon: str) -> None:
    """Let a process have so much."""
    stage.control(f"set {pid_of(stage, name)} anon={anon}")


@dataclass(frozen=True)
class Case:
    """A scenario, how it runs short, and who has the highest oom_score then."""

    scenario: str
    victim: str
    shorten: Callable[[Sandbox], None] = run_short


CASES = {
    "leak": Case("desktop", "leaking-tab"),
    "largest is protected": Case("database", "nightly-job"),
    "what is in swap counts": Case(
        small("bystander", "hog").replace('rss = "250M"', 'rss = "200M"\nswap = "500M"'),
        "hog",
        lambda sandbox: grow(sandbox, "bystander", "600M"),
    ),
    "two that thrash": Case("swap-thrash", "compile"),
    "job with a positive adj": Case(
        "server", "nightly-job", lambda sandbox: grow(sandbox, "nightly-job", "5500M")
    ),
    "largest": Case(small(), "hog", lambda sandbox: grow(sandbox, "hog", "600M")),
    "largest has a negative adj": Case(
        small("bystander", "hog", 600), "hog", lambda sandbox: grow(sandbox, "bystander", "600M")
    ),
}
