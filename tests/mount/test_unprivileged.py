# SPDX-License-Identifier: MIT
"""An ordinary user mounts: what works, for whom, and what comes after a crash."""

from __future__ import annotations

from tests.mount import NOBODY
from tests.mount.room import Room


def test_the_demo_as_an_ordinary_user(room: Room) -> None:
    script = """
        id -u
        cd "$MNT"
        echo 500 > 100008/oom_score_adj
        cat 100008/oom_score_adj 100012/oom_score_adj
        echo -500 > 100005/oom_score_adj && cat 100005/oom_score_adj
        echo -1001 | tee 100005/oom_score_adj 2>&1 > /dev/null
        cat self/comm
        cd / && fakeproc umount "$MNT" && ls "$MNT"
    """
    assert room.run(script) == [
        *(str(NOBODY), "500", "500", "-500"),
        *("tee: 100005/oom_score_adj: Invalid argument", "cat"),
    ]


def test_control_files_and_commands(room: Room) -> None:
    script = """
        cd "$MNT"
        echo 'spawn name=web uid=33 oom_score_adj=-500' > fakeproc/ctl && cat fakeproc/ctl
        echo 4.4 > fakeproc/kernel && head -n 1 fakeproc/kernel
        fakeproc ps "$MNT" | grep -c -w -- '-500 .* web'
        echo 3 > 100005/oom_adj
        fakeproc log "$MNT" | grep -c 'sh ([0-9]*): /proc/100005/oom_adj is deprecated'
        grep Uid self/status
        grep internal_errors fakeproc/stats
        cd / && fakeproc umount "$MNT"
    """
    assert room.run(script) == [
        *("100014", "kernel 4.4", "1", "1", "Uid:\t0\t0\t0\t0", "internal_errors 0")
    ]


def test_refusals_are_those_of_an_ordinary_user_after_become(room: Room) -> None:
    script = """
        cd "$MNT"
        echo 'become 100006' > fakeproc/ctl
        echo -1 | tee self/oom_score_adj 2>&1 > /dev/null
        echo 1 | tee 100005/oom_score_adj 2>&1 > /dev/null
        cd / && fakeproc umount "$MNT"
    """
    assert room.run(script) == [
        "tee: self/oom_score_adj: Permission denied",
        "tee: 100005/oom_score_adj: Permission denied",
    ]


def test_nobody_else_can_enter_not_even_root(room: Room) -> None:
    others = """
        cd "$ROOM"
        cat mnt/100005/comm 2>&1 || true
        as_user 'cat "$MNT/100005/comm"'
        umount mnt
    """
    assert room.run("true", others) == [
        "cat: mnt/100005/comm: Permission denied",
        "nginx",
    ]


def test_umount_by_the_user_after_the_server_died(room: Room) -> None:
    script = """
        for process in /proc/[0-9]*; do
            tr '\\0' ' ' < $process/cmdline | grep -q '[m] fakeproc mount' || continue
            kill -9 ${process#/proc/}
        done
        until ls "$MNT" 2>&1 | grep 'Transport endpoint is not connected'; do :; done
        fakeproc mount "$MNT" 2>&1 | sed "s,$MNT,MNT,g"
        fakeproc umount "$MNT" && fakeproc mount "$MNT" && cat "$MNT/1/comm"
        fakeproc umount "$MNT"
    """
    assert room.run(script) == [
        f"ls: cannot access '{room.mountpoint}': Transport endpoint is not connected",
        "fakeproc: MNT: has a mount whose server died; `fakeproc umount MNT` removes it.",
        "systemd",
    ]
