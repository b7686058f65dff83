# SPDX-License-Identifier: MIT
"""Scenarios in a mount: by name, in real time, and carried on from state.toml."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fakeproc.procfs.node import File
from fakeproc.procfs.tree import Procfs
from fakeproc.scenario import load_scenario
from fakeproc.scenario.load import builtin_names
from tests.conftest import Mounted, wait_until

Mount = Callable[..., Mounted]


SHOWN = ("fakeproc/kmsg", "fakeproc/ps", "fakeproc/explain", "fakeproc/state.toml", "meminfo")
_NS_PER_S = 10**9


def now_ns(mounted: Mounted) -> int:
    seconds, _, fraction = mounted.read("fakeproc/clock").split()[1].partition(".")
    return int(seconds) * _NS_PER_S + int(fraction)


def at_once(name: str, until_ns: int) -> dict[str, str]:
    """Return what the files say after the scenario has run there without a mount or a clock."""
    procfs = Procfs(load_scenario(name))
    procfs.manual_clock = True
    procfs.machine.advance(until_ns - procfs.machine.now_ns)
    root = procfs.machine.root
    nodes = {path: procfs.lookup(f"/{path}", root) for path in SHOWN}
    return {p: n.render().decode() for p, n in nodes.items() if isinstance(n, File)}


def shown(mounted: Mounted) -> dict[str, str]:
    return {path: mounted.read(path) for path in SHOWN}


@pytest.mark.parametrize("name", builtin_names())
def test_it_ends_the_same_in_fast_time_as_at_once(mount: Mount, name: str) -> None:
    ends_ns = load_scenario(name).ends_ns or 0
    mounted = mount("--scenario", name, "--speed", "200")
    wait_until(lambda: now_ns(mounted) >= ends_ns, "the end of the scenario")
    (mounted / "fakeproc/clock").write_text("manual")
    assert shown(mounted) == at_once(name, now_ns(mounted))


@pytest.mark.parametrize("name", builtin_names())
def test_it_ends_the_same_when_it_began_in_real_time(mount: Mount, name: str) -> None:
    mounted = mount("--scenario", name)
    began_ns = now_ns(mounted)
    wait_until(lambda: now_ns(mounted) >= began_ns + _NS_PER_S // 4, "the clock to go on")
    (mounted / "fakeproc/clock").write_text("manual")
    ends_ns = load_scenario(name).ends_ns or now_ns(mounted)
    (mounted / "fakeproc/clock").write_text(f"+{max(ends_ns - now_ns(mounted), 0) // 1000}us")
    assert shown(mounted) == at_once(name, now_ns(mounted))


def test_the_state_is_a_scenario_that_carries_on(mount: Mount, tmp_path: Path) -> None:
    first = mount("--scenario", "stuck-victim", "--clock", "manual")
    (first / "fakeproc/clock").write_text("+10s")
    (first / "1/oom_score_adj").write_text("5")
    saved = tmp_path / "now.toml"
    saved.write_text(first.read("fakeproc/state.toml"))
    second = mount("--scenario", str(saved), "--clock", "manual")
    for file in ("ps", "clock", "kernel", "explain", "state.toml"):
        assert second.read(f"fakeproc/{file}") == first.read(f"fakeproc/{file}")
    for mounted in (first, second):
        (mounted / "fakeproc/clock").write_text("+20s")
    assert second.read("fakeproc/ps") == first.read("fakeproc/ps")
