# SPDX-License-Identifier: MIT
"""Namespaces: who may make them, whose ids they know, and the mounts in them."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
from pathlib import Path

from fakeproc.mount import require_fuse
from fakeproc.mounts import MountError
from fakeproc.sandbox.lacking import Lacking

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000

_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_SLAVE = 0x80000

_PR_SET_PDEATHSIG = 1

_SUBORDINATE = {"uid": Path("/etc/subuid"), "gid": Path("/etc/subgid")}

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Go into new namespaces; of pids, the next child does."""
    _check(_libc.unshare(flags))


def enter_mounts(namespace: int) -> None:
    """Go into the mount namespace that a descriptor stands for."""
    _check(_libc.setns(namespace, CLONE_NEWNS))


def bind(source: str, target: str) -> None:
    """Mount what is at one path at another as well."""
    _mount(source, target, _MS_BIND)


def keep_mounts_private() -> None:
    """Let no mount of this namespace show in another one.

    What is unmounted outside goes here as well, if mounts are shared there: a sandbox keeps
    nothing busy.
    """
    _mount("none", "/", _MS_REC | _MS_SLAVE)


def die_with_parent(signal_number: int) -> None:
    """Be sent a signal when the thread that has made this process is gone."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0))


def _mount(source: str, target: str, flags: int) -> None:
    _check(_libc.mount(os.fsencode(source), os.fsencode(target), None, flags, None))


def _check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


# -- Whether it may be ---------------------------------------------------------------


def require_device() -> None:
    """Raise `Lacking` unless this user can open the FUSE device."""
    try:
        require_fuse()
    except MountError as error:
        raise Lacking(str(error)) from None


def require_own_proc() -> None:
    """Raise `Lacking` where /proc is not about this process's pid namespace."""
    if os.readlink("/proc/self") != str(os.getpid()):
        raise Lacking(
            "/proc: is that of another pid namespace; mount one for this, as "
            "`unshare --mount-proc` does."
        )


def new_namespaces() -> None:
    """Make a user and a mount namespace, and go there; `Lacking` where that is forbidden."""
    try:
        unshare(CLONE_NEWUSER | CLONE_NEWNS)
    except OSError as error:
        raise Lacking(_why_none(error.errno or 0)) from None


def _why_none(number: int) -> str:
    if number == errno.ENOSPC or _sysctl("user/max_user_namespaces") == "0":
        return "User namespaces: none are allowed; `sysctl user.max_user_namespaces=10000` as root."
    if _sysctl("kernel/unprivileged_userns_clone") == "0":
        return (
            "User namespaces: only root may make them; `sysctl kernel.unprivileged_userns_clone=1` "
            "as root, or run fakeproc as root."
        )
    if number == errno.EINVAL:
        return "User namespaces: this kernel has none (CONFIG_USER_NS)."
    return (
        f"User namespaces: {os.strerror(number)}; in a container, start it with "
        "`--security-opt seccomp=unconfined`, or with the capability CAP_SYS_ADMIN."
    )


def _sysctl(name: str) -> str:
    try:
        return (Path("/proc/sys") / name).read_text().strip()
    except OSError:
        return ""


# -- Whose ids they know -------------------------------------------------------------


def map_ids(pid: int) -> bool:
    """Say whose ids the user namespace of a process knows; return whether only root's.

    Root gives all ids that it has itself.  Others have the ids that /etc/subuid and /etc/subgid
    give them, by way of newuidmap(1) and newgidmap(1); without these everybody in the sandbox is
    root.  `Lacking` where not even that may be.
    """
    if os.getuid() == 0 and all(_map_all(pid, kind) for kind in ("uid", "gid")):
        return False
    if all(_map_subordinate(pid, kind) for kind in ("uid", "gid")):
        return False
    try:
        _write(pid, "uid_map", f"0 {os.getuid()} 1")
        _write(pid, "setgroups", "deny")
        _write(pid, "gid_map", f"0 {os.getgid()} 1")
    except PermissionError as error:
        raise Lacking(
            f"User namespaces: uid {os.getuid()} may not be mapped into one: {error.strerror}; "
            "run fakeproc as another user, or with the capabilities CAP_SETUID and CAP_SETGID."
        ) from None
    return True


def _map_all(pid: int, kind: str) -> bool:
    """Map each id of this user namespace to itself; in a container these are not all there are."""
    lines = Path(f"/proc/self/{kind}_map").read_text().splitlines()
    ranges = [(first, count) for first, _, count in map(str.split, lines)]
    try:
        _write(pid, f"{kind}_map", "".join(f"{first} {first} {n}\n" for first, n in ranges))
    except PermissionError:
        return False
    return True


def _map_subordinate(pid: int, kind: str) -> bool:
    tool = shutil.which(f"new{kind}map")
    given = _subordinate(kind)
    if tool is None or given is None:
        return False
    own = os.getuid() if kind == "uid" else os.getgid()
    first, count = given
    command = [tool, str(pid), "0", str(own), "1", "1", str(first), str(count)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _subordinate(kind: str) -> tuple[int, int] | None:
    """Return the first of the ids that this user may give away, and how many they are."""
    import pwd

    try:
        user = pwd.getpwuid(os.getuid()).pw_name
        lines = _SUBORDINATE[kind].read_text().splitlines()
    except (KeyError, OSError):
        return None
    for line in lines:
        who, _, numbers = line.partition(":")
        first, _, count = numbers.partition(":")
        if who in (user, str(os.getuid())) and first.isdecimal() and count.isdecimal():
            return int(first), int(count)
    return None


def _write(pid: int, name: str, text: str) -> None:
    Path(f"/proc/{pid}/{name}").write_text(text)
