# SPDX-License-Identifier: MIT
"""Every write to the three files, on the host's own /proc and on a mount, side by side.

The mount is of the host's generation, and root holds there what the host has left it.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import product
from pathlib import Path

import pytest

from fakeproc.kernel.profile import nearest_name
from tests.conftest import Mounted
from tests.mount import NOBODY, call_as, opened, put, require_root, waiting_process
from tests.mount.battery import Action, Place, outcome
from tests.writes import WRITES

FILES = ("oom_adj", "oom_score_adj", "oom_score")
TEXTS = [data for data in WRITES if data]
"""A write of nothing never reaches a FUSE server."""
NUMBERS = [*range(-20, 20), 57, 58, 59, 300, 500, 941, 942, 999, 1000, 1001, -59, -999, -1000]
FLAGS = (os.O_APPEND, os.O_TRUNC, os.O_CREAT | os.O_TRUNC, os.O_CREAT | os.O_EXCL, os.O_NONBLOCK)
FEW_TEXTS = (b"5\n", b"-5", b"400 ", b"300             x", b"nan", b"5\x007", b"99999999999")


def actions() -> Iterator[tuple[str, Action]]:
    """Return what is tried, each by its name."""
    numbers = [str(number).encode() for number in NUMBERS]
    for file, data in product(FILES, (*TEXTS, *numbers)):
        yield f"{file}: {data!r}", partial(_write, file, 0, data)
    for file, data, flags in product(FILES, FEW_TEXTS, FLAGS):
        yield f"{file}: {data!r} with flags {flags:#o}", partial(_write, file, flags, data)
    # FUSE has no word for ESPIPE, which the kernel answers to a pwrite(2) of a seq file.
    for file, data, offset in product(FILES[:2], FEW_TEXTS, (1, 4096, 1 << 31, -1)):
        yield f"{file}: {data!r} at {offset}", partial(_pwrite, file, data, offset)
    for file in FILES:
        yield f"{file}: twice", partial(_twice, file)
        yield f"{file}: by a thread's path", partial(_by_thread, file)


def _write(file: str, flags: int, data: bytes, place: Place) -> int:
    with opened(place.task / file, os.O_WRONLY | flags) as fd:
        return os.write(fd, data)


def _pwrite(file: str, data: bytes, offset: int, place: Place) -> int:
    with opened(place.task / file, os.O_WRONLY) as fd:
        return os.pwrite(fd, data, offset)


def _twice(file: str, place: Place) -> tuple[int, int]:
    with opened(place.task / file, os.O_WRONLY) as fd:
        return os.write(fd, b"11"), os.write(fd, b"6\n")


def _by_thread(file: str, place: Place) -> int:
    return put(place.task / "task" / place.pid / file, b"7")


def results(place: Place, start: bytes, writer: int) -> list[tuple[str, object, str, str]]:
    """Let a user do every action, each from this value on; return what came of it."""

    def result(name: str, action: Action) -> tuple[str, object, str, str]:
        put(place.adj, start)
        done = call_as(writer, partial(outcome, action, place))
        return name, done, place.adj.read_text(), (place.task / "oom_adj").read_text()

    return [result(name, action) for name, action in actions()]


def allows(place: Place, data: bytes) -> bool:
    """Say whether a value can be written."""
    return outcome(lambda p: put(p.adj, data), place) == len(data)


def require_usual_start(host: Place) -> None:
    """Skip where the test's own processes do not start with a value and a minimum of 0."""
    status = Path("/proc/self/status").read_text()
    privileged = int(status.split("CapEff:")[1].split()[0], 16) >> 24 & 1
    if not allows(host, b"0") or allows(host, b"-1") != bool(privileged):
        pytest.skip("oom_score_adj_min of this process is not 0: run the tests from another shell")


@contextmanager
def both(mount: Callable[..., Mounted], uid: int) -> Iterator[tuple[Place, Place]]:
    """Yield a process of the host and one of a mount that are alike."""
    require_root()
    release = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])
    mounted = mount("--caps", "real", "--kernel", nearest_name((release[0], release[1])))
    with ExitStack() as stack:
        host = Place(Path("/proc"), stack.enter_context(waiting_process(uid)))
        require_usual_start(host)
        pid = mounted.control(f"spawn name=cat rss=1M uid={uid} gid={uid}")
        # Not every user may go through the folders above the mount.
        root = stack.enter_context(opened(mounted.path, os.O_PATH))
        yield host, Place(Path(f"/proc/self/fd/{root}"), pid)


@pytest.mark.parametrize(
    ("writer", "owner", "start"),
    [(0, 0, b"0"), (0, 0, b"500"), (NOBODY, NOBODY, b"300"), (NOBODY, 0, b"0")],
)
def test_writes_do_the_same(
    mount: Callable[..., Mounted], writer: int, owner: int, start: bytes
) -> None:
    with both(mount, owner) as (host, simulated):
        on_host, on_mount = (results(place, start, writer) for place in (host, simulated))
    assert [pair for pair in zip(on_host, on_mount, strict=True) if pair[0] != pair[1]] == []
