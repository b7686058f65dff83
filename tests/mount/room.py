# SPDX-License-Identifier: MIT
"""A place where an ordinary user mounts, with fusermount3 and without allow_other.

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
from pathlib import Path

import fakeproc
from fakeproc.mount import BINDING_VARIABLE
from tests.mount import NOBODY

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
