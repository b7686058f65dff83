# SPDX-License-Identifier: MIT
"""The host's memory cgroups, of both versions, from made-up folders."""

from __future__ import annotations

from pathlib import Path

from fakeproc.snapshot.cgroups import HostMemcg, find_hierarchy, with_ancestors

_PAGE_COUNTER_MAX = "9223372036854771712\n"


def write_mounts(tmp_path: Path, *lines: str) -> Path:
    (tmp_path / "self").mkdir()
    text = "".join(f"{line}\n" for line in lines)
    (tmp_path / "self" / "mountinfo").write_text(text)
    return tmp_path


def test_version_1(tmp_path: Path) -> None:
    proc = write_mounts(
        tmp_path,
        "22 27 0:21 / /proc rw - proc proc rw",
        "30 24 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu",
        f"35 31 0:32 / {tmp_path}/mem\\040ory rw,relatime shared:1 - cgroup cgroup rw,memory",
        f"36 31 0:33 / {tmp_path} rw - cgroup2 cgroup2 rw",
    )
    group = tmp_path / "mem ory" / "web"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text("1048576\n")
    (group / "memory.memsw.limit_in_bytes").write_text("3145728\n")
    (group / "memory.oom_control").write_text("oom_kill_disable 1\nunder_oom 0\n")
    hierarchy = find_hierarchy(proc)
    assert hierarchy is not None
    assert (hierarchy.version, hierarchy.controller) == (1, "memory")
    assert hierarchy.read("/web") == HostMemcg("/web", 256, 512, oom_kill_disable=True)


def test_version_1_without_limits(tmp_path: Path) -> None:
    proc = write_mounts(tmp_path, f"35 31 0:32 / {tmp_path} rw - cgroup cgroup rw,memory")
    (tmp_path / "memory.limit_in_bytes").write_text(_PAGE_COUNTER_MAX)
    (tmp_path / "memory.memsw.limit_in_bytes").write_text("1048576\n")
    hierarchy = find_hierarchy(proc)
    assert hierarchy is not None
    assert hierarchy.read("/").is_plain


def test_version_2_in_a_container(tmp_path: Path) -> None:
    """The mount has the container's group at its top; paths are those of the host."""
    top = tmp_path / "cgroup"
    proc = write_mounts(
        tmp_path, f"36 31 0:33 /docker/1234 {top} ro - cgroup2 cgroup2 rw,nsdelegate"
    )
    inside = top / "web"
    inside.mkdir(parents=True)
    (top / "cgroup.controllers").write_text("cpu memory pids\n")
    (inside / "memory.max").write_text("4096\n")
    (inside / "memory.swap.max").write_text("max\n")
    (inside / "memory.oom.group").write_text("1\n")
    hierarchy = find_hierarchy(proc)
    assert hierarchy is not None
    assert (hierarchy.version, hierarchy.controller) == (2, "")
    found = hierarchy.read("/docker/1234/web")
    assert found == HostMemcg("/docker/1234/web", 1, oom_group=True)


def test_a_hierarchy_without_the_controller_is_none(tmp_path: Path) -> None:
    proc = write_mounts(tmp_path, f"36 31 0:33 / {tmp_path} rw - cgroup2 cgroup2 rw")
    (tmp_path / "cgroup.controllers").write_text("cpu pids\n")
    assert find_hierarchy(proc) is None


def test_groups_above_are_groups_too() -> None:
    assert with_ancestors({"/a/b/c", "/", "/d"}) == ["/a", "/a/b", "/a/b/c", "/d"]
