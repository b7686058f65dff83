# SPDX-License-Identifier: MIT
"""An OOM of each constraint, and those that are turned away, from a shell on a real mount."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Mounted

SCENARIO = """
version = 1

[machine]
kernel = "6.1"
nodes = ["2G", "1G"]
swap = "0"

[[process]]
name = "left"
rss = "300M"
mems_allowed = "0"
cpuset = "/left"

[[process]]
name = "right"
rss = "600M"
mems_allowed = "1"
mempolicy = "bind:1"

[[process]]
name = "both"
rss = "200M"
"""

PREPARE = """
    ctl() { echo "$@" > fakeproc/ctl && cat fakeproc/ctl; }
    trigger() { echo "$@" > fakeproc/oom_trigger || { cat fakeproc/ctl; return; }
        sed -n '/^victim\\|^constraint\\|^outcome/s/.*: //p' fakeproc/oom_trigger; }
"""


@pytest.fixture
def two_nodes(mount: Callable[..., Mounted], tmp_path: Path) -> Mounted:
    """Return the scenario above, mounted."""
    path = tmp_path / "nodes.toml"
    path.write_text(SCENARIO)
    return mount("--scenario", str(path))


def run(mounted: Mounted, script: str) -> list[str]:
    done = mounted.sh(PREPARE + script, shell="bash")
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()


def test_the_cpuset_of_who_asks_confines_the_oom(two_nodes: Mounted) -> None:
    script = """
        trigger pid=100000
        grep -c 'constraint=CONSTRAINT_CPUSET,nodemask=(null),cpuset=left,mems_allowed=0,' \
            fakeproc/kmsg
        grep Mems_allowed_list 100001/status
    """
    assert run(two_nodes, script) == [
        *("killed", "100000 (left)", "CONSTRAINT_CPUSET", "1", "Mems_allowed_list:\t1")
    ]


def test_a_memory_policy_confines_the_oom(two_nodes: Mounted) -> None:
    script = """
        trigger nodemask=0
        trigger nodemask=0
        ctl set 100001 mems_allowed=0-1 mempolicy=interleave:1
        trigger nodemask=0
    """
    assert run(two_nodes, script) == [
        *("killed", "100000 (left)", "CONSTRAINT_MEMORY_POLICY"),
        *("killed", "100002 (both)", "CONSTRAINT_MEMORY_POLICY"),
        "ok",
        *("killed", "100001 (right)", "CONSTRAINT_MEMORY_POLICY"),
    ]


def test_a_memcg_confines_the_oom_whatever_the_nodes(two_nodes: Mounted) -> None:
    script = """
        ctl memcg /web limit=64M; ctl join 100001 /web
        trigger memcg=/web nodemask=0 pid=100000
    """
    expected = ["ok", "ok", "killed", "100001 (right)", "CONSTRAINT_MEMCG"]
    assert run(two_nodes, script) == expected


def test_without_a_constraint_the_largest_dies(two_nodes: Mounted) -> None:
    script = "trigger nodemask=0-1; trigger nodemask=2"
    done = two_nodes.sh(PREPARE + script, shell="bash")
    assert done.stdout.splitlines() == [
        *("killed", "100001 (right)", "CONSTRAINT_NONE"),
        "EINVAL: nodemask=2: accepted is a list of nodes such as 0, 0-1 or 0,2; the machine "
        "has 0-1.",
    ]
    assert "Invalid argument" in done.stderr


def test_who_is_turned_away_and_who_is_first(two_nodes: Mounted) -> None:
    script = """
        trigger gfp_mask=0xc40
        ctl set 100002 oom_origin=yes
        grep ^reason: fakeproc/explain
        trigger 1
    """
    assert run(two_nodes, script) == [
        *("nofs", "none", "CONSTRAINT_NONE"),
        "ok",
        "reason: it is in swapoff, or unmerges KSM pages (oom_origin): taken before all others",
        *("killed", "100002 (both)", "CONSTRAINT_NONE"),
    ]


def test_explain_is_asked_by_writing_to_it(two_nodes: Mounted) -> None:
    script = """
        echo nodemask=1 > fakeproc/explain
        head -3 fakeproc/explain
        grep left fakeproc/explain
        echo pid=100000 > fakeproc/explain
        grep right fakeproc/explain
        echo 1 > fakeproc/explain
        head -1 fakeproc/explain
    """
    lines = run(two_nodes, script)
    assert lines[:3] == ["request: nodemask=1", "outcome: killed", "chosen: 100001 (right)"]
    assert lines[3].split()[-1] == "left"
    assert lines[4:] == [
        "  100001 (right): not on the allowed nodes (cpuset): it may use 1, the allocating task 0",
        "outcome: killed",
    ]


@pytest.mark.parametrize(("kernel", "seen"), [("4.9", "0"), ("6.1", "not 0")])
def test_the_score_depended_on_the_readers_cpuset(
    two_nodes: Mounted, kernel: str, seen: str
) -> None:
    script = f"""
        echo {kernel} > fakeproc/kernel
        ctl become 100000
        [ "$(< 100001/oom_score)" = 0 ] && echo 0 || echo not 0
        ctl become none
    """
    assert run(two_nodes, script) == ["ok", seen, "ok"]
