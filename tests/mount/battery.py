# SPDX-License-Identifier: MIT
"""System calls on a /proc, and what comes of each: the same on a mount as on a real kernel.

`BATTERY` is the table.  Nothing in it changes more of a real /proc than the
oom_score_adj of the process that it is run on.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import stat
import termios
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.mount import opened, put

LONG = "x" * 256
"""One byte more than a name may have."""


@dataclass(frozen=True, slots=True)
class Place:
    """A /proc, and a process in it that is there to be tried on."""

    root: Path
    pid: str

    @property
    def task(self) -> Path:
        """The directory of the process."""
        return self.root / self.pid

    @property
    def adj(self) -> Path:
        """A file that can be written to."""
        return self.task / "oom_score_adj"

    @property
    def score(self) -> Path:
        """A file that cannot."""
        return self.task / "oom_score"

    @property
    def meminfo(self) -> Path:
        """A file of the machine."""
        return self.root / "meminfo"


Action = Callable[[Place], object]


def outcome(action: Action, place: Place) -> object:
    """Return what an action does, the errno by name if it fails."""
    try:
        return action(place)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def run_on(place: Place) -> dict[str, object]:
    """Return what comes of each action of the battery."""
    return {name: outcome(action, place) for name, (action, _) in BATTERY.items()}


def _open(path: Path, flags: int) -> str:
    os.close(os.open(path, flags, 0o644))
    return "ok"


def _through(path: Path, flags: int, action: Callable[[int], object]) -> object:
    with opened(path, flags) as fd:
        return action(fd)


def _written(place: Place, flags: int, data: bytes) -> tuple[int, str]:
    """Write, and return what it took and what is there then."""
    put(place.adj, b"0")
    with opened(place.adj, os.O_WRONLY | flags) as fd:
        taken = os.write(fd, data) if data else 0
    return taken, place.adj.read_text()


def _access(path: Path) -> str:
    return "".join(
        letter
        for letter, mode in (("f", os.F_OK), ("r", os.R_OK), ("w", os.W_OK), ("x", os.X_OK))
        if os.access(path, mode)
    )


def _map(path: Path, flags: int) -> object:
    """Map a page; Python's own mmap looks at the size first, which is 0."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_ssize_t
    with opened(path) as fd:
        if libc.mmap(None, 4096, mmap.PROT_READ, flags, fd, 0) == -1:
            raise OSError(ctypes.get_errno(), "mmap")
    return "mapped"


def _pieces(path: Path, size: int) -> bool:
    """Say whether reads of this size make up the file, none of them short but at the end."""
    with opened(path) as fd:
        chunks = list(iter(lambda: os.read(fd, size), b""))
        whole = os.pread(fd, 1 << 20, 0)
    short = [len(chunk) for chunk in chunks[:-1] if len(chunk) < size]
    return not short and len(b"".join(chunks)) == len(whole)


def _reading(size: int) -> Action:
    return lambda place: (_pieces(place.task / "status", size), _pieces(place.meminfo, size))


def _asking_for(name: str) -> Action:
    return lambda place: os.stat(place.root / name)


def _parent_is_root(place: Place) -> bool:
    with opened(place.task, os.O_RDONLY | os.O_DIRECTORY) as fd:
        return os.path.samestat(os.stat("..", dir_fd=fd), os.stat(place.root))


def _in_and_out(place: Place) -> tuple[str, bool]:
    """Go into the directory of a process and out of it, in a child."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            os.chdir(place.task)
            comm = Path("comm").read_text()
            os.chdir("..")
            same = os.path.samestat(os.stat("."), os.stat(place.root)) and comm != ""
            os.write(writes, b"1" if same and Path("meminfo").read_text() else b"0")
        os._exit(0)
    os.close(writes)
    os.waitpid(child, 0)
    with os.fdopen(reads, "rb") as answer:
        return "there and back", answer.read() == b"1"


def _kind(path: Path, flags: int) -> int:
    with opened(path, flags) as fd:
        return stat.S_IFMT(os.fstat(fd).st_mode)


def _inode_stays(place: Place) -> bool:
    return all(
        os.lstat(path).st_ino == os.lstat(path).st_ino
        for path in (place.root, place.task, place.adj, place.meminfo, place.root / "self")
    )


def _statvfs(path: Path) -> tuple[int, ...]:
    found = os.statvfs(path)
    return found.f_bsize, found.f_frsize, found.f_blocks, found.f_files, found.f_namemax


def _listed_twice(fd: int) -> bool:
    once = os.listdir(fd)
    return once == os.listdir(fd) and len(once) > 3


_RW, _WO, _RO = os.O_RDWR, os.O_WRONLY, os.O_RDONLY

BATTERY: dict[str, tuple[Action, object]] = {
    # Opening.
    "open a file as directory": (lambda p: _open(p.meminfo, _RO | os.O_DIRECTORY), "ENOTDIR"),
    "open the root for writing": (lambda p: _open(p.root, _WO), "EISDIR"),
    "open a task for reading and writing": (lambda p: _open(p.task, _RW), "EISDIR"),
    "open a directory with O_CREAT": (lambda p: _open(p.task, _RO | os.O_CREAT), "EISDIR"),
    "make a file in the root": (lambda p: _open(p.root / "new", _WO | os.O_CREAT), "ENOENT"),
    "make a file in a task": (lambda p: _open(p.task / "new", _WO | os.O_CREAT), "ENOENT"),
    "make a file in sys/vm": (lambda p: _open(p.root / "sys/vm/new", _WO | os.O_CREAT), "ENOENT"),
    "open with O_CREAT what is there": (lambda p: _open(p.adj, _WO | os.O_CREAT), "ok"),
    "open with O_EXCL what is there": (
        lambda p: _open(p.adj, _WO | os.O_CREAT | os.O_EXCL),
        "EEXIST",
    ),
    "open without blocking": (lambda p: _open(p.adj, _RW | os.O_NONBLOCK), "ok"),
    "open directly": (lambda p: _open(p.adj, _RO | os.O_DIRECT), "EINVAL"),
    "open without a name": (lambda p: _open(p.root, _WO | os.O_TMPFILE), "ENOTSUP"),
    "open a link itself": (lambda p: _open(p.root / "self", _RO | os.O_NOFOLLOW), "ELOOP"),
    "open meminfo for writing": (lambda p: _open(p.meminfo, _WO), "ok"),
    "write to meminfo": (lambda p: put(p.meminfo, b"1"), "EIO"),
    "write to oom_score": (lambda p: put(p.score, b"1"), "EINVAL"),
    # O_PATH and descriptors of directories.
    "O_PATH of a file": (lambda p: _kind(p.adj, os.O_PATH), stat.S_IFREG),
    "O_PATH of a link": (
        lambda p: _kind(p.root / "self", os.O_PATH | os.O_NOFOLLOW),
        stat.S_IFLNK,
    ),
    "O_PATH of a directory": (lambda p: _kind(p.task, os.O_PATH), stat.S_IFDIR),
    "read through O_PATH": (
        lambda p: _through(p.adj, os.O_PATH, lambda fd: os.read(fd, 1)),
        "EBADF",
    ),
    "open relative to O_PATH": (
        lambda p: _through(
            p.task, os.O_PATH, lambda fd: os.close(os.open("oom_score", _RO, dir_fd=fd))
        ),
        None,
    ),
    "read a directory as a file": (
        lambda p: _through(p.task, _RO, lambda fd: os.read(fd, 1)),
        "EISDIR",
    ),
    "the parent of a task is the root": (_parent_is_root, True),
    "chdir into a task and out of it": (_in_and_out, ("there and back", True)),
    "list a directory twice": (lambda p: _through(p.task, _RO, _listed_twice), True),
    # Names.
    "a name of 256 bytes": (lambda p: os.stat(p.task / LONG), "ENOENT"),
    "a name of 256 bytes in the root": (lambda p: os.stat(p.root / LONG), "ENOENT"),
    "a name of 256 bytes in sys": (lambda p: os.stat(p.root / "sys" / LONG), "ENOENT"),
    **{
        f"the pid {name!r}": (_asking_for(name), "ENOENT")
        for name in ("0", "01", "+1", "-1", "1 ", "0x1", "4294967297", "99999999999", "1.0")
    },
    "a name below meminfo": (lambda p: os.stat(p.meminfo / "oom_score"), "ENOTDIR"),
    "a name below a file of a task": (lambda p: os.stat(p.score / "oom_score"), "ENOTDIR"),
    "a file as a directory": (lambda p: os.stat(f"{p.meminfo}/"), "ENOTDIR"),
    "a file of a file with O_CREAT": (
        lambda p: _open(p.meminfo / "x", _WO | os.O_CREAT),
        "ENOTDIR",
    ),
    "readlink of a file": (lambda p: os.readlink(p.meminfo), "EINVAL"),
    "readlink of a directory": (lambda p: os.readlink(p.task), "EINVAL"),
    # Making and removing.
    "mkdir in the root": (lambda p: os.mkdir(p.root / "new"), "ENOENT"),
    "mkdir in a task": (lambda p: os.mkdir(p.task / "new"), "ENOENT"),
    "mkdir in sys": (lambda p: os.mkdir(p.root / "sys/new"), "ENOENT"),
    "mkdir of what is there": (lambda p: os.mkdir(p.task), "EEXIST"),
    "symlink": (lambda p: os.symlink("x", p.task / "new"), "ENOENT"),
    "symlink over a file": (lambda p: os.symlink("x", p.adj), "EEXIST"),
    "mkfifo": (lambda p: os.mkfifo(p.task / "new"), "ENOENT"),
    "link": (lambda p: os.link(p.adj, p.task / "new"), "ENOENT"),
    "link to another file system": (lambda p: os.link(p.adj, "/tmp/new"), "EXDEV"),
    "rename to a new name": (lambda p: os.rename(p.adj, p.task / "new"), "ENOENT"),
    "rename over a file": (lambda p: os.rename(p.adj, p.score), "EPERM"),
    "unlink": (lambda p: os.unlink(p.adj), "EPERM"),
    "unlink of a directory": (lambda p: os.unlink(p.root / "sys"), "EISDIR"),
    "unlink of a file of the machine": (lambda p: os.unlink(p.meminfo), "EPERM"),
    "unlink of nothing": (lambda p: os.unlink(p.task / "new"), "ENOENT"),
    "rmdir": (lambda p: os.rmdir(p.task), "EPERM"),
    "rmdir of a file": (lambda p: os.rmdir(p.meminfo), "ENOTDIR"),
    # Attributes.
    "chmod of a file of a task": (lambda p: os.chmod(p.adj, 0o644), "EPERM"),
    "chmod of a task": (lambda p: os.chmod(p.task, 0o555), "EPERM"),
    "chmod of a file of the machine": (lambda p: os.chmod(p.meminfo, 0o444), None),
    "chmod of a sysctl": (lambda p: os.chmod(p.root / "sys/kernel/osrelease", 0o444), "EPERM"),
    "chown of a file of a task": (lambda p: os.chown(p.adj, 0, 0), None),
    "chown of a file of the machine": (lambda p: os.chown(p.meminfo, 0, 0), None),
    "chown of a sysctl": (lambda p: os.chown(p.root / "sys/kernel/osrelease", 0, 0), "EPERM"),
    "times of a file of a task": (lambda p: os.utime(p.adj), None),
    "times of a file of the machine": (lambda p: os.utime(p.meminfo), None),
    "times of a sysctl": (lambda p: os.utime(p.root / "sys/kernel/osrelease"), None),
    "truncate": (lambda p: os.truncate(p.adj, 7), None),
    "truncate a file of the machine": (lambda p: os.truncate(p.meminfo, 0), None),
    "truncate a directory": (lambda p: os.truncate(p.task, 0), "EISDIR"),
    "ftruncate what is open for reading": (
        lambda p: _through(p.adj, _RO, lambda fd: os.ftruncate(fd, 0)),
        "EINVAL",
    ),
    "access of a task": (lambda p: _access(p.task), "frx"),
    "access of the threads": (lambda p: _access(p.task / "task"), "frwx"),
    "access of a file of a task": (lambda p: _access(p.adj), "frw"),
    "access of a file without a w": (lambda p: _access(p.score), "frw"),
    "access of a file of the machine": (lambda p: _access(p.meminfo), "frw"),
    "access of a sysctl": (lambda p: _access(p.root / "sys/kernel/osrelease"), "fr"),
    "access of nothing": (lambda p: _access(p.root / "new"), ""),
    "inodes stay": (_inode_stays, True),
    "links of a file": (lambda p: os.stat(p.adj).st_nlink, 1),
    "sizes": (lambda p: [os.stat(x).st_size for x in (p.adj, p.meminfo, p.task, p.root)], [0] * 4),
    "blocks": (lambda p: os.stat(p.adj).st_blocks, 0),
    "statfs": (lambda p: _statvfs(p.root), (4096, 4096, 0, 0, 255)),
    "setxattr": (lambda p: os.setxattr(p.adj, "user.x", b"1"), "ENOTSUP"),
    "getxattr": (lambda p: os.getxattr(p.adj, "user.x"), "ENOTSUP"),
    "removexattr": (lambda p: os.removexattr(p.adj, "user.x"), "ENOTSUP"),
    "listxattr": (lambda p: os.listxattr(p.adj), []),
    # Reading, writing, seeking.
    "truncate and write": (lambda p: _written(p, os.O_TRUNC, b"7\n"), (2, "7\n")),
    "create and write": (lambda p: _written(p, os.O_CREAT | os.O_TRUNC, b"8"), (1, "8\n")),
    "append": (lambda p: _written(p, os.O_APPEND, b"9\0"), (2, "9\n")),
    "only truncate": (lambda p: _written(p, os.O_TRUNC, b""), (0, "0\n")),
    **{
        f"read {size} bytes at a time": (_reading(size), (True, True))
        for size in (1, 7, 100, 511, 4095, 4096, 4097)
    },
    "read from what is open for writing": (
        lambda p: _through(p.adj, _WO, lambda fd: os.read(fd, 1)),
        "EBADF",
    ),
    "write to what is open for reading": (
        lambda p: _through(p.adj, _RO, lambda fd: os.write(fd, b"1")),
        "EBADF",
    ),
    "seek to the end": (
        lambda p: _through(p.adj, _RO, lambda fd: os.lseek(fd, 0, os.SEEK_END)),
        0,
    ),
    "seek to the end of a seq file": (
        lambda p: _through(p.meminfo, _RO, lambda fd: os.lseek(fd, 0, os.SEEK_END)),
        "EINVAL",
    ),
    "seek to data in a seq file": (
        lambda p: _through(p.meminfo, _RO, lambda fd: os.lseek(fd, 0, os.SEEK_DATA)),
        "EINVAL",
    ),
    "seek to before the beginning": (
        lambda p: _through(p.meminfo, _RO, lambda fd: os.lseek(fd, -1, os.SEEK_SET)),
        "EINVAL",
    ),
    "pread behind the end": (
        lambda p: _through(p.adj, _RO, lambda fd: os.pread(fd, 10, 5000)),
        b"",
    ),
    # The rest.
    "map a file of a task": (lambda p: _map(p.adj, mmap.MAP_SHARED), "ENODEV"),
    "fsync of a file": (lambda p: _through(p.adj, _RO, os.fsync), "EINVAL"),
    "fsync of a directory": (lambda p: _through(p.task, _RO, os.fsync), "EINVAL"),
    "lock": (lambda p: _through(p.adj, _RW, lambda fd: fcntl.flock(fd, fcntl.LOCK_EX)), None),
    "ioctl": (
        lambda p: _through(p.adj, _RO, lambda fd: fcntl.ioctl(fd, termios.TCGETS, bytes(64))),
        "ENOTTY",
    ),
}
"""By what is done: how, and what a real kernel answers to root (seen on 6.18)."""
