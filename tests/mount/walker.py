# SPDX-License-Identifier: MIT
"""A program that opens every file of a mount with many workers, and does all it can with them.

    python -m tests.mount.walker FOLDER SECONDS SEED

Meanwhile processes come and go.  It ends with an error when a system call gives an errno
that is none of its own, when something hangs, when a file was never opened, or when the
server has an error to tell of.  FAKEPROC_FUSE names the binding.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import random
import re
import select
import stat
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypedDict

from fakeproc.mount import BINDING_VARIABLE
from tests.conftest import Mounted
from tests.mount import NOBODY, put
from tests.mount.forked import Forked

WORKERS = 6
"""Processes, every other one of them as nobody; each has two threads."""
_FIRST_PID = 1_000_000
"""Of the processes that come and go."""
_SLACK_S = 60
"""How long after its time a worker may be busy with what it has begun."""
_READS = 40
_SIZES = (1, 3, 17, 100, 511, 1023, 4095, 4096, 4097, 65536)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_ssize_t

GONE = {errno.ENOENT, errno.ESRCH, errno.ENODEV}
"""What the files of a task, or of a group, give when it is gone."""

ALLOWED = {
    "list": {errno.ENOENT},
    "readlink": {errno.ENOENT, errno.ESRCH},
    "open": {errno.ENOENT, errno.ESRCH},
    "read": GONE,
    "pread": GONE,
    # From the end the kernel asks for the attributes of the path first.
    "seek": {errno.EINVAL, errno.ENOENT},
    "stat": {errno.ENOENT},
    "map": {errno.ENODEV, errno.EACCES},
    "poll": set[int](),
    "truncate": {errno.ENOENT},
    "write": GONE
    | {errno.EINVAL, errno.ERANGE, errno.EIO, errno.EBUSY, errno.EOPNOTSUPP, errno.EPERM},
}
"""The errnos of each operation; whether access may be refused, `may_be_refused` says."""

_CONTENT_OF_ITS_OWN = re.compile(r"(mem|pagemap|kmsg|kpage\w+|stable_secret)$")
"""Files that are not text as a whole: reading ends where it may, and with EIO where nothing is."""

_RENDERED_ANEW = re.compile(r"/oom(_score)?_adj$")
"""No seq files: what is written while they are read may make them longer."""

_WITH_EINVAL = {
    "list": re.compile(r"/net$"),
    "open": re.compile(r"(mounts|mountinfo|mountstats)$"),
    "read": re.compile(r"(clear_refs|pagemap|devkmsg)$|/attr/"),
}
"""What gives EINVAL by itself: to open or list of a zombie, or to read at all or in odd pieces."""

_SLEEPS = re.compile(r"fakeproc/devkmsg$")
"""Where who reads waits for more."""

_SPARED = re.compile(r"fakeproc/(ctl|clock)$|sysrq-trigger$")
"""What only the parent writes to: the rest would be over too soon."""


_BINDING_ROOT = re.compile(r"/timens_offsets$|/net/")


def may_be_refused(path: str) -> bool:
    """Say whether access may be refused: to nobody everywhere, to root where it binds root too.

    So do a mode of sys/, and the lists of net/, to who would write.
    """
    return os.geteuid() != 0 or path.startswith("sys/") or bool(_BINDING_ROOT.search(path))


def allowed_errnos(operation: str, path: str) -> set[int]:
    """Return the errnos that an operation on this file may give the present user."""
    allowed = set(ALLOWED[operation])
    if operation != "poll" and may_be_refused(path):
        allowed |= {errno.EACCES, errno.EPERM}
    if _CONTENT_OF_ITS_OWN.search(path):
        allowed |= {errno.EIO, errno.EAGAIN, errno.EACCES, errno.EPIPE}
    with_einval = _WITH_EINVAL.get(operation.removeprefix("p"))
    if with_einval is not None and with_einval.search(path):
        allowed.add(errno.EINVAL)
    return allowed


class Told(TypedDict):
    """What a worker tells in the end."""

    calls: dict[str, int]
    refusals: dict[str, int]
    seen: list[str]
    wrong: list[str]
    uid: int


class Walk:
    """One thread's way through the tree, and what it has met."""

    def __init__(self, seed: str, end_s: float) -> None:
        self._choose = random.Random(seed)
        self._end_s = end_s
        self.calls: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.seen: set[str] = set()
        self.wrong: list[str] = []

    def run(self, first: list[str]) -> None:
        """Visit these files, however long it takes, and then any, until the time is over."""
        for one in first:
            self._visit(one)
        paths: Iterator[str] = iter(())
        while time.monotonic() < self._end_s:
            path = next(paths, None)
            if path is None:
                paths = self._files(self._choose.choice((".", ".", "self", "thread-self")))
                continue
            self._visit(path)

    def attempt(self, operation: str, path: str, action: Callable[[], object]) -> object:
        """Do something; note what comes of it.  None when it is refused."""
        self.calls[operation] += 1
        try:
            return action()
        except OSError as error:
            number = error.errno or 0
            self.refusals[f"{operation} {errno.errorcode.get(number, number)}"] += 1
            if number not in allowed_errnos(operation, path):
                self.wrong.append(f"{operation} {path}: {error}")
            return None

    def _files(self, folder: str) -> Iterator[str]:
        """Walk a tree in any order, links aside."""
        found = self.attempt("list", folder, lambda: list(os.scandir(folder)))
        entries: list[os.DirEntry[str]] = found if isinstance(found, list) else []
        self._choose.shuffle(entries)
        for entry in entries:
            path = entry.path.removeprefix("./")
            if entry.is_dir(follow_symlinks=False):
                yield from self._files(path)
            elif entry.is_symlink():
                self.attempt("readlink", path, partial(os.readlink, path))
            else:
                yield path

    def _visit(self, path: str) -> None:
        modes = [os.O_RDONLY, os.O_RDWR, os.O_WRONLY]
        self._choose.shuffle(modes)
        for flags in modes:
            extra = self._choose.choice((0, os.O_NONBLOCK, os.O_TRUNC if flags else 0))
            if _SLEEPS.search(path):
                extra = os.O_NONBLOCK
            fd = self.attempt("open", path, partial(os.open, path, flags | extra | os.O_NOFOLLOW))
            if isinstance(fd, int):
                self._use(path, fd, flags)
                return

    def _use(self, path: str, fd: int, flags: int) -> None:
        self.seen.add(_pattern(path))
        try:
            if flags != os.O_WRONLY:
                self._read(path, fd)
            if flags != os.O_RDONLY and not _SPARED.search(path):
                self._write(path, fd)
            self._ask(path, fd)
        finally:
            os.close(fd)

    def _read(self, path: str, fd: int) -> None:
        for _ in range(2):
            size, ended = self._choose.choice(_SIZES), False
            for _ in range(_READS):
                chunk = self.attempt("read", path, partial(os.read, fd, size))
                if not isinstance(chunk, bytes) or not chunk:
                    break
                may_go_on = _CONTENT_OF_ITS_OWN.search(path) or _RENDERED_ANEW.search(path)
                if ended and not may_go_on:
                    self.wrong.append(f"read {path}: {len(chunk)} bytes after the end")
                ended = len(chunk) < size
            offset = self._choose.choice((0, 0, 1, 50, 4096, 1 << 31))
            self.attempt("pread", path, partial(os.pread, fd, size, offset))
            self.attempt("seek", path, lambda: os.lseek(fd, 0, os.SEEK_SET))

    def _write(self, path: str, fd: int) -> None:
        for _ in range(2):
            data = self._draw(path)
            self.attempt("write", path, partial(os.write, fd, data))

    def _draw(self, path: str) -> bytes:
        """Return something to write: now and then what the file takes."""
        choose = self._choose
        name = path.rpartition("/")[2]
        fitting = {
            "oom_score_adj": b"%d" % choose.randint(-1000, 1000),
            "oom_adj": b"%d\n" % choose.randint(-17, 15),
            "comm": b"name %d" % choose.randrange(100),
            "kernel": choose.choice((b"6.18", b"patch 3", b"no-patch 3")),
            "oom_trigger": b"order=%d" % choose.randrange(4),
            "explain": b"order=1",
            "memory.max": choose.choice((b"max", b"64M")),
        }
        if path.startswith("pressure/"):
            fitting[name] = b"some %d 2000000\0" % choose.randint(1, 2_000_000)
        if name in fitting and choose.random() < 0.7:
            return fitting[name]
        # None of these fits into the memory of the machine, or changes it for good.
        any_of = (b"0", b"1\n", b"-1", b"5", b"abc", b"0x10", b"9" * 30, b"\0", b"\n")
        noise = choose.randbytes(choose.choice((1, 40, 4096, 5000)))
        return noise if choose.random() < 0.2 else choose.choice(any_of)

    def _ask(self, path: str, fd: int) -> None:
        whence = self._choose.choice((os.SEEK_CUR, os.SEEK_END))
        self.attempt("seek", path, lambda: os.lseek(fd, self._choose.choice((0, 7)), whence))
        self.attempt("stat", path, lambda: self._check_kind(path))
        self.attempt("map", path, lambda: _map(fd))
        poll = select.poll()
        poll.register(fd, select.POLLIN | select.POLLPRI)
        self.attempt("poll", path, lambda: poll.poll(0))
        if self._choose.random() < 0.1:
            self.attempt("truncate", path, lambda: os.truncate(path, 0))

    def _check_kind(self, path: str) -> None:
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            self.wrong.append(f"stat {path}: {found}")


def _map(fd: int) -> None:
    if _libc.mmap(None, 4096, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0) == -1:
        raise OSError(ctypes.get_errno(), "mmap")


def _pattern(path: str) -> str:
    """Return a path without pids, so that one task's files are all tasks'."""
    path = re.sub(r"^(thread-self|self(/task/\d+)?|\d+(/task/\d+)?)(?=/)", _kind_of_task, path)
    return re.sub(r"(fd|fdinfo|map_files)/[^/]+$", r"\1/N", path)


def _kind_of_task(found: re.Match[str]) -> str:
    return "TID" if "task" in found[0] or found[0] == "thread-self" else "PID"


# -- The processes -----------------------------------------------------------------


def _work(mounted: Mounted, number: int, seed: str, end_s: float) -> Told:
    os.chdir(mounted.path)
    if number % 2:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    walks = [Walk(f"{seed} {number} {thread}", end_s) for thread in range(2)]
    # One of each kind, so that none is left out: init's, as that stays.
    found = sorted(walks[0]._files("."), key=lambda path: path.startswith("1/"))
    files = sorted({_pattern(path): path for path in found}.values())
    share = number // 2 * 2
    slices = [files[(share + thread) :: WORKERS] for thread in range(2)]
    threads = [
        threading.Thread(target=walk.run, args=(part,))
        for walk, part in zip(walks, slices, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        "calls": sum((walk.calls for walk in walks), Counter[str]()),
        "refusals": sum((walk.refusals for walk in walks), Counter[str]()),
        "seen": sorted(set[str]().union(*(walk.seen for walk in walks))),
        "wrong": [sentence for walk in walks for sentence in walk.wrong],
        "uid": os.geteuid(),
    }


def _stir(mounted: Mounted, choose: random.Random, end_s: float) -> int:
    """Let processes come and go until then; return how many there were."""
    alive: list[int] = []
    count = 0
    ctl = mounted / "fakeproc/ctl"
    while time.monotonic() < end_s:
        with suppress(OSError):
            if len(alive) < 10:
                uid = choose.choice((0, 33, NOBODY))
                alive.append(_FIRST_PID + count)
                count += 1
                # The answer may be one to somebody else: what ctl shows is everybody's.
                put(ctl, b"spawn name=web pid=%d uid=%d rss=5M" % (alive[-1], uid))
                put(ctl, b"thread %d" % alive[-1])
            else:
                pid = alive.pop(choose.randrange(len(alive)))
                put(ctl, b"exit %d\nreap %d" % (pid, pid))
            if choose.random() < 0.02:
                (mounted / "sysrq-trigger").write_bytes(b"f")
        if "panicked" in mounted.read("fakeproc/explain"):
            put(ctl, b"reboot")
            alive.clear()
    return count


def main(folder: Path, seconds: float, seed: str) -> int:
    """Walk; print the figures; return the exit status."""
    path = folder / "proc"
    path.mkdir()
    binding = os.environ.get(BINDING_VARIABLE, "mfusepy")
    mounted = Mounted(path, binding, "--kernel", "6.18", "--scenario", "swap-thrash")
    try:
        os.chdir(path)
        everything = {_pattern(name) for name in Walk(seed, 0)._files(".")}
        os.chdir("/")
        end_s = time.monotonic() + seconds
        workers = [
            Forked(partial(_work, mounted, number, seed, end_s)) for number in range(WORKERS)
        ]
        processes = _stir(mounted, random.Random(seed), end_s)
        results = [worker.result(end_s + _SLACK_S) for worker in workers]
        upcalls = mounted.read("fakeproc/stats").split()[1]
        mounted.stop()
    finally:
        mounted.kill()
    return _report(results, everything, f"{processes} processes, {upcalls} upcalls")


def _report(results: list[Told | None], everything: set[str], summary: str) -> int:
    told = [result for result in results if result is not None]
    calls: Counter[str] = Counter()
    refusals: Counter[str] = Counter()
    seen: set[str] = set()
    wrong: list[str] = []
    for result in told:
        calls.update(result["calls"])
        refusals.update(result["refusals"])
        wrong += result["wrong"]
        if result["uid"] == 0:
            seen |= set(result["seen"])
    unseen = sorted(everything - seen)
    print(f"{summary}, {calls.total()} calls, {len(seen)} kinds of files")
    print("calls:", dict(calls.most_common()))
    print("refused:", dict(refusals.most_common()))
    print("wrong:", *sorted(set(wrong))[:50], sep="\n  ")
    print("never opened:", *unseen)
    hung = len(results) - len(told)
    print("hung or failed:", hung)
    return 1 if wrong or unseen or hung else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]))
