# SPDX-License-Identifier: MIT
"""Where something is mounted, may be, and how it is unmounted; knows neither procfs nor libfuse."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil

FSTYPE = "fuse.fakeproc"
HOST_PROC = Path("/proc")

FUSERMOUNTS = ("fusermount3", "fusermount")
"""What mounts and unmounts for ordinary users."""

_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8

_libc = ctypes.CDLL(None, use_errno=True)


class MountError(Exception):
    """A mount cannot be made or removed; the message is a sentence for a person."""


def find_mounts() -> list[Path]:
    """Return the mount points of fakeproc, dead ones included, without touching them."""
    return [Path(p.mountpoint) for p in psutil.disk_partitions(all=True) if p.fstype == FSTYPE]


def is_mounted(mountpoint: Path) -> bool:
    """Say whether there is a fakeproc mount, dead or alive; no file of it is touched."""
    return resolve(mountpoint) in find_mounts()


def answers(mountpoint: Path) -> bool:
    """Say whether the mount is alive."""
    try:
        return (mountpoint / "fakeproc" / "stats").exists()
    except OSError:
        return False


def resolve(mountpoint: Path) -> Path:
    """Return the absolute path without links; the last part, which may be dead, is not asked.

    `MountError` where the links on the way lead in a circle, say.
    """
    try:
        path = mountpoint.absolute()
        return path.resolve() if path.name == ".." else path.parent.resolve() / path.name
    except (OSError, RuntimeError) as error:
        # Until Python 3.12 a circle is a RuntimeError.
        why = error.strerror if isinstance(error, OSError) else os.strerror(errno.ELOOP)
        raise MountError(f"{mountpoint}: cannot be found: {why}.") from None


def require_free(mountpoint: Path) -> None:
    """Raise `MountError` unless something can be mounted there: an existing folder, no mount.

    /proc is not for it: the server looks its callers up there, and would wait for itself.
    Nor is /, which nobody would see, nor a link, which others may turn.
    """
    path = resolve(mountpoint)
    if path == Path("/"):
        raise MountError(f"{mountpoint}: nobody would see what is mounted there; mount below it.")
    if path == HOST_PROC:
        raise MountError(
            f"{mountpoint}: the server needs the host's own there; mount elsewhere, and bind that "
            "to /proc for a tool in a mount namespace of its own (README: Tools)."
        )
    if is_mounted(mountpoint):
        state = "has a mount whose server died" if _is_dead(path) else "is mounted already"
        raise MountError(f"{mountpoint}: {state}; `fakeproc umount {mountpoint}` removes it.")
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = 0
    except OSError as error:
        raise MountError(f"{mountpoint}: cannot be looked at: {error.strerror}.") from None
    if stat.S_ISLNK(mode):
        raise MountError(
            f"{mountpoint}: is a link; name the folder that it leads to: {os.path.realpath(path)}."
        )
    if not stat.S_ISDIR(mode):
        raise MountError(f"{mountpoint}: is no folder; make it first.")


def _is_dead(mountpoint: Path) -> bool:
    """Say whether the server of a mount has died; what others may not enter has not."""
    try:
        os.stat(mountpoint)
    except OSError as error:
        return error.errno == errno.ENOTCONN
    return False


def unmount(mountpoint: Path) -> None:
    """Unmount, also when the server is dead; `MountError` when it is busy or not mounted."""
    path = resolve(mountpoint)
    if not is_mounted(path):
        raise MountError(f"{mountpoint}: no fakeproc is mounted there.")
    owner_uid = _mounted_by(path)
    if os.getuid() not in (0, owner_uid):
        raise MountError(
            f"{mountpoint}: was mounted by uid {owner_uid}; only that user and root may unmount it."
        )
    lazy = _is_dead(path)
    unmount_it = _unmount_as_root if os.getuid() == 0 else _unmount_as_user
    failure = unmount_it(path, lazy=lazy)
    if not failure or not is_mounted(path):
        return
    if "busy" in failure:
        failure = f"it is busy; `fuser -vm {mountpoint}` lists who works in it"
    raise MountError(f"{mountpoint}: cannot be unmounted: {failure}.")


def _mounted_by(path: Path) -> int:
    """Return who has made a mount, as its options say."""
    options = {p.mountpoint: p.opts for p in psutil.disk_partitions(all=True) if p.fstype == FSTYPE}
    words = options.get(os.fspath(path), "").split(",")
    return next((int(w.removeprefix("user_id=")) for w in words if w.startswith("user_id=")), 0)


def _unmount_as_root(path: Path, *, lazy: bool) -> str:
    """Unmount what is at this very path, whatever others move meanwhile; return why it fails."""
    parent = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        folder = f"{HOST_PROC}/self/fd/{parent}"
        if os.readlink(folder) != os.fspath(path.parent):
            return "the folder that it is in has been moved"
        flags = _UMOUNT_NOFOLLOW | (_MNT_DETACH if lazy else 0)
        if _libc.umount2(os.fsencode(f"{folder}/{path.name}"), flags) < 0:
            return os.strerror(ctypes.get_errno())
        return ""
    finally:
        os.close(parent)


def _unmount_as_user(path: Path, *, lazy: bool) -> str:
    """Let fusermount unmount; return why it fails."""
    tool = next(filter(shutil.which, FUSERMOUNTS), None)
    if tool is None:
        return "fusermount3 is not installed; it comes with the package fuse3"
    command = [tool, "-u", *(["-z"] if lazy else []), os.fspath(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
    return (done.stderr.strip() or f"{tool} fails") if done.returncode else ""


@contextlib.contextmanager
def claimed(mountpoint: Path) -> Iterator[None]:
    """Keep other servers from mounting there, for the length of the block."""
    require_free(mountpoint)
    try:
        folder = os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise MountError(f"{mountpoint}: cannot be opened: {error.strerror}.") from None
    try:
        # Where a file system knows no locks, who is first is not looked at.
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(folder)
        raise MountError(f"{mountpoint}: another server is just being mounted there.") from None
    except OSError:
        pass
    try:
        # It may have been finished between the check and the lock.
        require_free(mountpoint)
        yield
    finally:
        os.close(folder)
