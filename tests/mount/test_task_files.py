# SPDX-License-Identifier: MIT
"""Through a mount: what a task's own folders let whom do, and what programs are told of it."""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from tests.conftest import Mounted
from tests.mount import NOBODY, call_as, opened, put, refused, require_root


def test_folders_of_descriptors_are_their_owners(mounted: Mounted) -> None:
    require_root()
    pid = mounted.control("spawn name=web uid=33 tty=pts/7")
    folder = mounted / f"{pid}/fd"
    assert sorted(os.listdir(folder)) == ["0", "1", "2"]
    link = os.lstat(folder / "0")
    assert (os.readlink(folder / "0"), link.st_size) == ("/dev/pts/7", 64)
    assert (stat.S_IMODE(link.st_mode), link.st_uid) == (0o700, 33)
    with refused(errno.EACCES):
        call_as(NOBODY, lambda: os.listdir(folder))
    with refused(errno.EACCES):
        call_as(NOBODY, lambda: os.readlink(folder / "0"))


def test_links_and_environment_are_as_they_were_given(mounted: Mounted) -> None:
    pid = mounted.control("spawn name=web exe=/opt/web cwd=/srv environ='A=1 B=\"two words\"'")
    assert os.readlink(mounted / f"{pid}/exe") == "/opt/web"
    assert os.readlink(mounted / f"{pid}/cwd") == "/srv"
    assert mounted.read(f"{pid}/environ") == "A=1\0B=two words\0"
    assert mounted.control(f"set {pid} nice=7 exe=/opt/other") == "ok"
    assert mounted.read(f"{pid}/stat").split()[18] == "7"
    assert os.readlink(mounted / f"{pid}/exe") == "/opt/other"


def test_namespaces_are_who_their_links_say(mounted: Mounted) -> None:
    """lsns tells them apart by the inode number, and asks each for its parent."""
    folders = [mounted / f"{pid}/ns" for pid in (1, 100008)]
    for name in os.listdir(folders[0]):
        text = os.readlink(folders[0] / name)
        assert os.readlink(folders[1] / name) == text
        for folder in folders:
            assert f"[{os.stat(folder / name).st_ino}]" in text
    with opened(folders[0] / "uts") as fd:
        for request in (_NS_GET_USERNS, _NS_GET_PARENT):
            with refused(errno.EPERM):
                fcntl.ioctl(fd, request)
        with refused(errno.EINVAL):
            os.read(fd, 1)
    with refused(errno.ENOENT):
        os.stat(folders[0] / "uts:[1]")
    with opened(folders[0]) as fd, refused(errno.ENOTTY):
        fcntl.ioctl(fd, _NS_GET_PARENT)


_NS_GET_USERNS, _NS_GET_PARENT = 0xB701, 0xB702


def test_what_is_written_shows_and_is_in_the_state(mounted: Mounted) -> None:
    pid = mounted.control("spawn name=web")
    put(mounted / f"{pid}/coredump_filter", b"0x7f\n")
    assert mounted.read(f"{pid}/coredump_filter") == "0000007f\n"
    assert "coredump_filter = 127" in mounted.read("fakeproc/state.toml")
