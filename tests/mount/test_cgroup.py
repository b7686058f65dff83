# SPDX-License-Identifier: MIT
"""fakeproc/cgroup on real mounts, from real shells."""

from __future__ import annotations

import errno
import os

import pytest

from tests.conftest import Mounted
from tests.mount import put, refused


def test_a_group_from_mkdir_to_rmdir(mounted: Mounted) -> None:
    script = """
        cd fakeproc/cgroup
        mkdir web web/front
        echo 64M > web/memory.max
        echo 100006 > web/front/cgroup.procs
        cat web/memory.max web/front/cgroup.procs
        grep memory ../../100006/cgroup
        rmdir web 2>&1; rmdir web/front 2>&1; mkdir web 2>&1
        echo 100006 > cgroup.procs
        rmdir web/front web
        ls
    """
    done = mounted.sh(script)
    assert done.stdout.splitlines() == [
        "67108864",
        "100006",
        "1:memory:/web/front",
        "rmdir: failed to remove 'web': Device or resource busy",
        "rmdir: failed to remove 'web/front': Device or resource busy",
        "mkdir: cannot create directory 'web': File exists",
        *("cgroup.procs", "memory.oom_control", "memory.stat"),
    ]
    assert done.stderr == ""


def test_a_shell_joins_and_its_children_with_it(mounted: Mounted) -> None:
    script = """
        mkdir fakeproc/cgroup/mine
        echo $$ > fakeproc/cgroup/mine/cgroup.procs
        grep memory self/cgroup
        grep -c . fakeproc/cgroup/mine/cgroup.procs
        grep -q "^$$\\$" fakeproc/cgroup/mine/cgroup.procs && echo found
        echo 0 > fakeproc/cgroup/cgroup.procs
        grep memory self/cgroup
    """
    done = mounted.sh(script, shell="bash")
    assert done.stderr == ""
    first, members, found, last = done.stdout.splitlines()
    assert (first, found, last) == ("1:memory:/mine", "found", "1:memory:/")
    assert int(members) >= 1


def test_counters_of_an_oom(mounted: Mounted) -> None:
    script = """
        echo 6.1 > fakeproc/kernel
        cd fakeproc/cgroup
        mkdir web; echo 64M > web/memory.max; echo 1 > web/memory.oom.group
        for pid in 100005 100006 100007; do echo $pid > web/cgroup.procs; done
        echo memcg=/web pid=100006 > ../oom_trigger
        cat web/memory.events
        wc -c < web/cgroup.procs
        rmdir web && echo removed
    """
    done = mounted.sh(script)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        *("low 0", "high 0", "max 1", "oom 1", "oom_kill 4", "oom_group_kill 1"),
        "0",
        "removed",
    ]


def test_a_disabled_killer_lets_the_task_wait(mounted: Mounted) -> None:
    mounted.control("memcg /web limit=64M oom_kill_disable=yes")
    mounted.control("join 100006 /web")
    before = mounted.read("fakeproc/kmsg")
    put(mounted / "fakeproc/oom_trigger", b"memcg=/web pid=100006")
    assert mounted.read("fakeproc/oom_trigger").startswith("outcome: asleep\n")
    assert "State:\tD" in mounted.read("100006/status")
    control = mounted / "fakeproc/cgroup/web/memory.oom_control"
    assert control.read_text().splitlines() == ["oom_kill_disable 1", "under_oom 1"]
    put(mounted / "fakeproc/cgroup/web/memory.max", b"128M")
    assert "State:\tS" in mounted.read("100006/status")
    assert control.read_text().splitlines() == ["oom_kill_disable 1", "under_oom 0"]
    assert mounted.read("fakeproc/kmsg") == before


def test_errors_reach_the_caller(mounted: Mounted) -> None:
    cgroup = mounted / "fakeproc/cgroup"
    os.mkdir(cgroup / "web")
    for data, number in ((b"2", errno.EINVAL), (b"99999", errno.ESRCH), (b"x", errno.EINVAL)):
        with refused(number):
            put(cgroup / "web/cgroup.procs", data)
    with refused(errno.EINVAL):
        put(cgroup / "web/memory.max", b"lots")
    assert "accepted: max, or bytes" in mounted.read("fakeproc/ctl")
    with refused(errno.EINVAL):
        put(cgroup / "web/memory.events", b"0")
    with refused(errno.ENOENT):
        os.mkdir(cgroup / "none" / "below")
    with refused(errno.EINVAL):
        os.mkdir(cgroup / "web" / "x\ny")
    with refused(errno.ENOTDIR):
        os.rmdir(cgroup / "web" / "memory.max")
    with refused(errno.EPERM):
        os.unlink(cgroup / "web" / "memory.max")
    with refused(errno.ENOENT):
        os.mkdir(mounted / "elsewhere")
    with refused(errno.EPERM):
        os.rmdir(mounted / "fakeproc" / "cgroup")


def test_a_file_of_a_group_that_is_gone(mounted: Mounted) -> None:
    """ENODEV, where the request arrives: libfuse 2 no longer has a path for the file."""
    path = mounted / "fakeproc/cgroup/web"
    os.mkdir(path)
    fd = os.open(path / "memory.max", os.O_RDONLY)
    try:
        os.rmdir(path)
        with pytest.raises(OSError, match=r"Errno") as caught:
            os.read(fd, 100)
        assert caught.value.errno in (errno.ENODEV, errno.ENOENT)
    finally:
        os.close(fd)
    with refused(errno.ENOENT):
        os.stat(path)


def test_after_a_reboot_the_groups_are_the_new_machines(mounted: Mounted) -> None:
    mounted.sh("mkdir fakeproc/cgroup/web").check_returncode()
    held = os.open(mounted / "fakeproc/cgroup/web/memory.max", os.O_RDWR)
    mounted.control("reboot")
    with refused(errno.ENODEV):
        os.write(held, b"1M")
    os.close(held)
    script = """
        cd fakeproc/cgroup
        mkdir web db; echo 64M > web/memory.max; cat web/memory.max; rmdir web; ls
    """
    done = mounted.sh(script)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        *("67108864", "cgroup.procs", "db", "memory.oom_control", "memory.stat"),
    ]
