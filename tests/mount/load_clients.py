# SPDX-License-Identifier: MIT
"""The clients of `tests.mount.load`: what each kind does, and which errnos it may meet.

A kind is a generator: it goes on by one round with each ``next``, and may be left after any.
"""

from __future__ import annotations

import errno
import mmap
import os
import random
import select
import signal
import struct
import time
from collections.abc import Callable, Iterator, Set
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypedDict, TypeVar

from tests.mount import NOBODY, put
from tests.mount.forked import Forked
from tests.mount.walker import allowed_errnos

MOST_TASKS = 120
"""From how many on nobody makes more; a client may be about to."""
_FEW_TASKS = 40
"""Down to how many they are killed."""
FIRST_PID = 100_000
"""From here on are those of the machine, the lowest made by nobody in particular."""
_OWN_PIDS = 40_000
"""How many pids a client has for itself."""

_CTL = Path("fakeproc/ctl")
_GONE = {errno.ENOENT, errno.ESRCH}
_SLEEP_S = 0.05
"""How long a client with little to do waits, for time or for the mount."""
_PAUSE_S = 1.0
"""How long it is from one OOM to the next."""
_KEPT = 50
"""How many descriptors a client keeps."""
_STUCK_S = 120.0
"""How long a visitor may be busy."""

_T = TypeVar("_T")


class Told(TypedDict):
    """What a client tells in the end."""

    kind: str
    calls: dict[str, int]
    refusals: dict[str, int]
    slowest_s: dict[str, float]
    wrong: list[str]


class Board:
    """What each client is doing at the moment, for who watches over them."""

    _SLOT = struct.Struct("d24s")

    def __init__(self, clients: int) -> None:
        self._memory = mmap.mmap(-1, clients * self._SLOT.size)

    def begin(self, number: int, call: str) -> None:
        """Note that a client begins a call."""
        name = call.encode()[:24]
        self._SLOT.pack_into(self._memory, number * self._SLOT.size, time.monotonic(), name)

    def end(self, number: int) -> None:
        """Note that it has come back."""
        self._SLOT.pack_into(self._memory, number * self._SLOT.size, 0.0, b"")

    def look(self, number: int) -> tuple[float, str]:
        """Return for how long a client has been in a call, in seconds, and in which."""
        since_s, name = self._SLOT.unpack_from(self._memory, number * self._SLOT.size)
        return (time.monotonic() - since_s if since_s else 0.0), name.rstrip(b"\0").decode()


class Client:
    """One client: it chooses what to do, and keeps count of what comes of it."""

    def __init__(self, kind: str, number: int, seed: str, board: Board) -> None:
        self.kind = kind
        self.number = number
        self.choose = random.Random(f"{seed} {number}")
        self._board = board
        self.told: Told = {"kind": kind, "calls": {}, "refusals": {}, "slowest_s": {}, "wrong": []}
        self._pids: list[int] = []
        self._next_pid = 2 * FIRST_PID + number * _OWN_PIDS

    def run(self, end_s: float) -> Told:
        """Do one round after the other until the time is over."""
        for _ in KINDS[self.kind][1](self):
            if time.monotonic() > end_s:
                break
        return self.told

    def call(
        self, what: str, action: Callable[[], _T], allowed: Set[int] = frozenset(), on: str = ""
    ) -> _T | None:
        """Make a call, and note what comes of it; None when it is refused as it may be."""
        told = self.told
        told["calls"][what] = told["calls"].get(what, 0) + 1
        self._board.begin(self.number, what)
        began_s = time.monotonic()
        try:
            return action()
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, str(error))
            told["refusals"][name] = told["refusals"].get(name, 0) + 1
            if error.errno not in allowed:
                told["wrong"].append(f"{self.kind}: {what} {on}: {error}")
            return None
        finally:
            took_s = time.monotonic() - began_s
            told["slowest_s"][what] = max(told["slowest_s"].get(what, 0.0), took_s)
            self._board.end(self.number)

    def on_file(self, operation: str, path: str, action: Callable[[], _T]) -> _T | None:
        """Make a call whose errnos `tests.mount.walker` knows."""
        return self.call(operation, action, allowed_errnos(operation, path), path)

    def ctl(self, command: str, *allowed: int) -> bool:
        """Give ctl a command; say whether it was taken."""
        verb = command.split()[0]
        done = self.call(verb, lambda: put(_CTL, command.encode()), {*allowed}, command)
        return done is not None

    def pids(self) -> list[int]:
        """Return the pids that there were a moment ago; there is always init."""
        if not self._pids or self.choose.random() < 0.1:
            names = self.call("list", lambda: os.listdir(".")) or []
            self._pids = [int(name) for name in names if name.isdigit()]
        return self._pids

    def victim(self) -> int:
        """Return the pid of somebody of the machine's own, or one that is never there."""
        return self.choose.choice([pid for pid in self.pids() if pid >= FIRST_PID] or [FIRST_PID])

    def count_tasks(self) -> int:
        """Return how many processes there are."""
        status = self.call("stat", lambda: os.stat("."))
        return status.st_nlink - 2 if status else MOST_TASKS

    def own_pid(self) -> int:
        """Return a pid that nobody has had."""
        self._next_pid += 1
        return self._next_pid


# -- Readers -----------------------------------------------------------------------


def walk(client: Client) -> Iterator[None]:
    """Read everything, in any order, again and again."""
    while True:
        for path in _files(client, "."):
            _read(client, path)
            yield
        yield


def _files(client: Client, folder: str) -> Iterator[str]:
    found = client.on_file("list", folder, lambda: list(os.scandir(folder))) or []
    client.choose.shuffle(found)
    for entry in found:
        path = entry.path.removeprefix("./")
        if entry.is_dir(follow_symlinks=False):
            yield from _files(client, path)
        elif entry.is_symlink():
            client.on_file("readlink", path, partial(os.readlink, path))
        else:
            yield path


def _read(client: Client, path: str) -> None:
    """Read a file whole, but not more than a few pieces of one that has no end."""
    fd = client.on_file("open", path, lambda: os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    if fd is None:
        return
    try:
        for _ in range(4):
            if not client.on_file("read", path, lambda: os.read(fd, 1 << 16)):
                break
    finally:
        os.close(fd)


_OF_A_TASK = ("oom_score", "oom_score_adj", "oom_adj", "stat", "status", "statm", "smaps", "cgroup")
_OF_ALL = (
    "meminfo",
    "vmstat",
    "stat",
    "version",
    "loadavg",
    "pressure/memory",
    "fakeproc/ps",
    "fakeproc/explain",
    "fakeproc/kmsg",
    "fakeproc/oom_trigger",
    "fakeproc/state.toml",
)


def _any_file(client: Client) -> str:
    if client.choose.random() < 0.2:
        return client.choose.choice(_OF_ALL)
    return f"{client.choose.choice(client.pids())}/{client.choose.choice(_OF_A_TASK)}"


def read_single(client: Client) -> Iterator[None]:
    """Read the files that tools read."""
    while True:
        _read(client, _any_file(client))
        yield


def keep(client: Client) -> Iterator[None]:
    """Keep descriptors, rewind them, read on in them; let one go now and then."""
    kept: list[tuple[str, int]] = []
    while True:
        if len(kept) >= _KEPT:
            os.close(kept.pop(client.choose.randrange(_KEPT))[1])
        path = _any_file(client)
        fd = client.on_file("open", path, partial(os.open, path, os.O_RDONLY))
        if fd is not None:
            kept.append((path, fd))
        for path, fd in client.choose.sample(kept, min(3, len(kept))):
            if client.choose.random() < 0.5:
                client.on_file("seek", path, partial(os.lseek, fd, 0, os.SEEK_SET))
            client.on_file("read", path, partial(os.read, fd, client.choose.choice((1, 100, 4096))))
        yield


# -- Writers -----------------------------------------------------------------------

_GOOD = {"oom_score_adj": (-1000, 1000), "oom_adj": (-17, 15)}
_BAD = {
    b"1001": errno.EINVAL,
    b"-1001": errno.EINVAL,
    b"abc": errno.EINVAL,
    b"0x": errno.EINVAL,
    b"\n": errno.EINVAL,
    b"1 2": errno.EINVAL,
    # Twelve bytes are looked at, and their number fits into no int.
    b"9" * 30: errno.ERANGE,
}
"""What neither file takes, and what it says to that, before it looks for the task."""


def write(client: Client) -> Iterator[None]:
    """Write good values and bad ones; every other writer is nobody."""
    if client.number % 2:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    while True:
        name = client.choose.choice(("oom_adj", "oom_score_adj"))
        _write_value(client, f"{client.choose.choice(client.pids())}/{name}", name)
        yield


def _write_value(client: Client, path: str, name: str) -> None:
    # Nobody may open only what belongs to nobody, and there only go up.
    denied = {errno.EACCES} if os.getuid() else set()
    fd = client.call("open", lambda: os.open(path, os.O_WRONLY), _GONE | denied, path)
    if fd is None:
        return
    try:
        if client.choose.random() < 0.3:
            bad, error = client.choose.choice([*_BAD.items()])
            if client.call("write bad", lambda: os.write(fd, bad), {error}, path) is not None:
                client.told["wrong"].append(f"{path}: {bad!r} was taken")
        else:
            good = b"%d" % client.choose.randint(*_GOOD[name])
            client.call("write", lambda: os.write(fd, good), {errno.ESRCH} | denied, path)
    finally:
        os.close(fd)


def visit(client: Client) -> Iterator[None]:
    """Let processes of the host come, look for themselves, act as a task, and go."""
    while True:
        visitor = Forked(partial(_be_a_visitor, client, client.victim()))
        wrong = client.call("visit", partial(visitor.result, time.monotonic() + _STUCK_S))
        client.told["wrong"] += ["a visitor got stuck"] if wrong is None else wrong
        yield


def _be_a_visitor(client: Client, pid: int) -> list[str]:
    client.told["wrong"] = []
    for path in ("self/oom_score", "self/status", "thread-self/comm"):
        _read(client, path)
    client.call("write", lambda: put(Path("self/oom_score_adj"), b"500"), {errno.ESRCH})
    if client.ctl(f"become {pid}", errno.ESRCH, errno.EINVAL):
        # Whoever it acts as may be gone at once, or belong to another user.
        _read(client, "self/status")
        client.call(
            "write", lambda: put(Path("self/oom_score_adj"), b"700"), {*_GONE, errno.EACCES}
        )
    return client.told["wrong"]


# -- Spawners and killers ----------------------------------------------------------


def spawn(client: Client) -> Iterator[None]:
    """Make processes and threads, let them exec and exit."""
    own: list[int] = []
    while True:
        crowded = client.count_tasks() >= MOST_TASKS
        if crowded and own:
            pid = own.pop(client.choose.randrange(len(own)))
            client.ctl(f"exit {pid}", errno.ESRCH)
            client.ctl(f"reap {pid}", errno.ESRCH, errno.EAGAIN)
        elif crowded:
            time.sleep(_SLEEP_S)
        else:
            pid = client.own_pid()
            if client.ctl(_spawn_command(client, pid), errno.ENOMEM):
                own.append(pid)
            _go_on(client, client.choose.choice(own or [pid]), own)
        yield


def _spawn_command(client: Client, pid: int) -> str:
    choose = client.choose
    options = [f"rss={choose.randint(1, 8)}M", f"uid={choose.choice((0, 33, NOBODY))}"]
    if choose.random() < 0.7:
        options.append(f"pid={pid}")
    if choose.random() < 0.3:
        options.append(f"behaviour=grow rate=20M/s until={choose.randint(10, 40)}M")
    if choose.random() < 0.3:
        options.append(f"oom_score_adj={choose.randint(-1000, 1000)}")
    return f"spawn name=load{client.number} {' '.join(options)}"


def _go_on(client: Client, pid: int, own: list[int]) -> None:
    """Let one of the client's own do something; somebody may have killed it meanwhile."""
    busy = (errno.ESRCH, errno.EAGAIN)
    match client.choose.randrange(7):
        case 0 | 1:
            vm = client.choose.choice(("vm=shared", "vm=copied", "vm=shared vfork=yes"))
            child = client.own_pid()
            if client.ctl(f"clone parent={pid} pid={child} {vm}", *busy):
                own.append(child)
        case 2 | 3:
            client.ctl(f"thread {pid}", *busy)
        case 4:
            client.ctl(f"exec {pid} name=again rss=2M", *busy, errno.ENOMEM)
        case 5:
            client.ctl(f"exit-leader {pid}", errno.ESRCH)
        case _:
            # EINVAL: it has no memory any more.
            client.ctl(f"set {pid} rss=3M", errno.ESRCH, errno.EINVAL, errno.ENOMEM)


def kill(client: Client) -> Iterator[None]:
    """Kill, stop and hold anybody; bury who is dead."""
    while True:
        pid = client.victim()
        if client.count_tasks() > _FEW_TASKS:
            signal_name = client.choose.choice(("SIGKILL", "SIGKILL", "SIGTERM", "STOP", "CONT"))
            client.ctl(f"kill {pid} {signal_name}", errno.ESRCH)
        _hold(client, client.victim())
        for dead in (pid, client.victim(), client.victim()):
            client.ctl(f"reap {dead}", errno.ESRCH, errno.EAGAIN)
        yield


def _hold(client: Client, pid: int) -> None:
    # EINVAL: it is dying already, or not dying yet.
    kind = client.choose.choice(("stuck", "at-exit", "mmap-lock", "frozen", "coredump"))
    match client.choose.randrange(5):
        case 0 | 1:
            time_left = client.choose.choice((10, 200, 3_600_000))
            client.ctl(f"hold {pid} {kind} for={time_left}ms", errno.ESRCH, errno.EINVAL)
        case 2 | 3:
            client.ctl(f"release {pid}", errno.ESRCH)
        case _:
            client.ctl(f"mrelease {pid}", errno.ESRCH, errno.EINVAL, errno.EAGAIN)


# -- Those who wait ----------------------------------------------------------------


def watch_pressure(client: Client) -> Iterator[None]:
    """Set a trigger, wait for it for a moment, and take it away."""
    while True:
        path = f"pressure/{client.choose.choice(('memory', 'io', 'cpu'))}"
        fd = client.call("open", partial(os.open, path, os.O_RDWR | os.O_NONBLOCK), on=path)
        if fd is None:
            yield
            continue
        trigger = b"some %d 1000000\0" % client.choose.randint(1000, 200_000)
        # libfuse 2 could tell nobody.
        client.call("trigger", partial(os.write, fd, trigger), {errno.EOPNOTSUPP}, path)
        poll = select.poll()
        poll.register(fd, select.POLLPRI)
        client.call("poll", partial(poll.poll, _SLEEP_S * 1000))
        os.close(fd)
        yield


def watch_log(client: Client) -> Iterator[None]:
    """Read devkmsg, wait in poll(2) for more, and write to it now and then."""
    path = "fakeproc/devkmsg"
    fd = client.call("open", lambda: os.open(path, os.O_RDWR | os.O_NONBLOCK))
    if fd is None:
        return
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while True:
        # EPIPE: it was overwritten in the meantime.
        record = client.call("record", partial(os.read, fd, 8192), {errno.EAGAIN, errno.EPIPE})
        if record is None:
            client.call("poll", partial(poll.poll, _SLEEP_S * 1000))
        if client.choose.random() < 0.01:
            client.call("write", partial(os.write, fd, b"<4>a client was here"))
        yield


class _Woken(Exception):
    """The alarm has gone off."""


def sleep_in_log(client: Client) -> Iterator[None]:
    """Sleep in read(2) on devkmsg until there is a record, or a signal comes."""

    def wake(number: int, frame: object) -> None:
        raise _Woken

    signal.signal(signal.SIGALRM, wake)
    while True:
        fd = client.call("open", lambda: os.open("fakeproc/devkmsg", os.O_RDONLY))
        if fd is None:
            yield
            continue
        client.call("seek", partial(os.lseek, fd, 0, os.SEEK_END))
        with suppress(_Woken):
            signal.setitimer(signal.ITIMER_REAL, _SLEEP_S)
            # EAGAIN: too many are asleep.
            client.call("sleep", partial(os.read, fd, 8192), {errno.EAGAIN, errno.EPIPE})
            signal.setitimer(signal.ITIMER_REAL, 0)
        os.close(fd)
        yield


# -- Time and the OOM killer -------------------------------------------------------


def trigger(client: Client) -> Iterator[None]:
    """Invoke the OOM killer once a second."""
    file = Path("fakeproc/oom_trigger")
    put(_CTL, b"memcg /load limit=64M")
    next_s = time.monotonic()
    while True:
        if time.monotonic() < next_s:
            time.sleep(_SLEEP_S)
            yield
            continue
        next_s += _PAUSE_S
        pid = client.victim()
        client.ctl(f"join {pid} /load", errno.ESRCH)
        options = client.choose.choice(("1", "order=2", f"pid={pid}", "memcg=/load", "1"))
        # EINVAL: the task is gone.
        gone = {errno.EINVAL} if "pid" in options else set()
        client.call("oom", partial(put, file, options.encode()), gone, options)
        verdict = client.call("read", file.read_text) or ""
        if "panicked" in verdict:
            client.told["wrong"].append(f"the machine has panicked: {options}")
        yield


def move_clock(client: Client) -> Iterator[None]:
    """Let the machine's time pass about as the host's does."""
    last_s = time.monotonic()
    while True:
        time.sleep(0.02)
        now_s = time.monotonic()
        step = b"+%dus" % ((now_s - last_s) * 1_000_000)
        last_s = now_s
        client.call("clock", partial(put, Path("fakeproc/clock"), step))
        yield


Kind = Callable[[Client], Iterator[None]]

KINDS: dict[str, tuple[int, Kind]] = {
    "trigger": (0, trigger),
    "clock": (0, move_clock),
    "walk": (3, walk),
    "read": (3, read_single),
    "keep": (2, keep),
    "write": (4, write),
    "visit": (1, visit),
    "spawn": (3, spawn),
    "kill": (2, kill),
    "pressure": (1, watch_pressure),
    "log": (1, watch_log),
    "sleep": (1, sleep_in_log),
}
"""The kinds of clients, and how many there are of each in so many; of those with 0 there is one."""


def cast(clients: int, *, manual: bool) -> list[str]:
    """Return which kind each client is."""
    alone = ["trigger", *(["clock"] if manual else [])]
    rounds = range(max(share for share, _ in KINDS.values()))
    # One of each kind first, so that a few clients are of different kinds.
    order = [kind for n in rounds for kind, (share, _) in KINDS.items() if n < share]
    return alone + [order[n % len(order)] for n in range(clients - len(alone))]
