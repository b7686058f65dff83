# SPDX-License-Identifier: MIT
"""An ordinary user mounts, with fusermount3 and without allow_other.

/dev/fuse is often root's alone, so all of it happens in a mount namespace of its own,
where a device node that everybody may open lies over it.  The interpreter and the
project are bound into that namespace's tmpfs too: they may lie below a folder that only
root can enter.  A pid namespace goes with it, so that nothing survives the test.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import fakeproc
from fakeproc.mount import BINDING_VARIABLE
from tests.mount import NOBODY, require_root

_SETUP = """
set -e
cd "$ROOM"
mount -t tmpfs -o dev,mode=755 tmpfs "$ROOM"
cd "$ROOM"
mkdir base prefix project home mnt
mount --bind "$BASE" base
mount --bind "$PREFIX" prefix
mount --bind "$PROJECT" project
mknod fuse c 10 229
chmod 666 fuse
mount --bind fuse /dev/fuse
chown "$USER_ID:$USER_ID" home mnt
cd home
as_user() {
    setpriv --reuid="$USER_ID" --regid="$USER_ID" --clear-groups \\
        env HOME="$ROOM/home" PYTHONDONTWRITEBYTECODE=1 LD_LIBRARY_PATH="$ROOM/base/lib" \\
        PYTHONPATH="$ROOM/project:$ROOM/prefix/$PACKAGES" \\
        MNT="$ROOM/mnt" PYTHON="$ROOM/base/$INTERPRETER" sh -c "$1"
}
"""

_USER_SETUP = """
fakeproc() { "$PYTHON" -m fakeproc "$@"; }
fakeproc mount "$MNT" || exit 9
"""


class Room:
    """A namespace for each script: first root's part, which may call `as_user`."""

    def __init__(self, folder: Path, binding: str) -> None:
        self.mountpoint = folder / "mnt"
        package = Path(fakeproc.__file__).resolve().parent
        base = os.path.realpath(sys.base_prefix)
        self._env = {
            "PATH": os.environ["PATH"],
            "LC_ALL": "C",
            BINDING_VARIABLE: binding,
            "ROOM": os.fspath(folder),
            "BASE": base,
            "PREFIX": sys.prefix,
            "PROJECT": os.fspath(package.parent),
            "PACKAGES": os.path.relpath(sysconfig.get_path("purelib"), sys.prefix),
            "INTERPRETER": os.path.relpath(os.path.realpath(sys.executable), base),
            "USER_ID": str(NOBODY),
        }

    def run(self, as_user: str, as_root_then: str = "") -> list[str]:
        """Mount and run a script as the user, then one as root; return what they print."""
        return self.run_scripts(_USER_SETUP + as_user, as_root_then)

    def run_scripts(self, as_user: str, as_root_then: str = "") -> list[str]:
        """Run a script as the user, then one as root; return what they print."""
        namespace = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        script = f'{_SETUP}\nas_user "$USER_SCRIPT"\n{as_root_then}'
        done = subprocess.run(
            [*namespace, "sh", "-c", script],
            env={**self._env, "USER_SCRIPT": as_user},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout.splitlines()


@pytest.fixture
def room(binding: str) -> Iterator[Room]:
    """Return a place in a folder that every user may enter."""
    require_root()
    with tempfile.TemporaryDirectory(prefix="fakeproc-test-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        yield Room(Path(folder), binding)


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
