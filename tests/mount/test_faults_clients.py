# SPDX-License-Identifier: MIT
"""Clients that never read on, are killed while they write, or find the server stopped."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.conftest import Mounted, wait_until
from tests.mount import opened, put
from tests.mount.load import rss_kib
from tests.mount.test_pressure import on_libfuse_3

Mount = Callable[..., Mounted]

MANUAL = ("--kernel", "6.18", "--clock", "manual")
DESCRIPTORS = 10_000

HOARDER = """
import os, resource, sys
path, count = sys.argv[1], int(sys.argv[2])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
kept = [os.open(path, os.O_RDONLY) for _ in range(count)]
print(*{os.read(fd, 1) for fd in kept}, flush=True)
sys.stdin.read(1)
print(*{os.read(fd, 1 << 20) == os.pread(fd, 1 << 20, 1) for fd in kept[:100]}, flush=True)
sys.stdin.read()
"""
"""Opens a file so often, and reads a byte each time; told so, it reads on in some of them."""


@contextmanager
def client(*command: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program, and leave nothing of it."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    """Return the next line that a client prints."""
    assert process.stdout is not None
    return process.stdout.readline()


# -- Who never reads on ------------------------------------------------------------


@pytest.mark.parametrize("binding", ["mfusepy"])
def test_ten_thousand_descriptors_that_are_kept(mount: Mount) -> None:
    """Whatever they have not read is kept for the last of them only, up to 32 MB."""
    mounted = mount(*MANUAL)
    for _ in range(20):
        put(mounted / "fakeproc/devkmsg", b"x" * 900)
    path = os.fspath(mounted / "fakeproc/kmsg")
    unread_kib = DESCRIPTORS * len(mounted.read("fakeproc/kmsg")) // 1024
    before_kib = rss_kib(mounted.server.pid)
    with client(sys.executable, "-c", HOARDER, path, str(DESCRIPTORS)) as hoarder:
        assert line_of(hoarder) == "b'<'\n"
        grown_kib = rss_kib(mounted.server.pid) - before_kib
        assert grown_kib < unread_kib // 2
        put(mounted / "100013/oom_score_adj", b"17")
        assert mounted.read("100013/oom_score_adj") == "17\n"
        assert hoarder.stdin is not None
        hoarder.stdin.write("\n")
        hoarder.stdin.flush()
        assert line_of(hoarder) == "True\n"


@on_libfuse_3
def test_a_poller_that_never_comes_back(mount: Mount) -> None:
    mounted = mount(*MANUAL)
    path = os.fspath(mounted / "fakeproc/devkmsg")
    script = "import select, sys; p = select.poll(); p.register(open(sys.argv[1], 'rb'), 2)\n"
    script += "print(flush=True); p.poll()"
    with client(sys.executable, "-c", script, path) as poller:
        line_of(poller)
        poller.send_signal(signal.SIGSTOP)
        for number in range(100):
            put(Path(path), b"record %d" % number)
        assert mounted.read("fakeproc/kmsg").count("record") == 100


# -- Who is killed while it writes -------------------------------------------------

SPAWNER = """
while :; do
    printf 'spawn pid=%d\\nspawn pid=%d\\n' "$2" "$(($2 + 1))" >"$1" && echo "$2"
    set -- "$1" "$(($2 + 2))"
done
"""
"""Makes two processes with each write, and tells the first pid of those that it was told of."""


def test_a_client_killed_in_a_write_loses_nothing_and_leaves_nothing_half_done(
    mount: Mount, tmp_path: Path
) -> None:
    mounted = mount(*MANUAL, "--journal", os.fspath(tmp_path / "journal"))
    choose = random.Random(1)
    made_before = pids(mounted)
    for first in range(200_000, 200_000 + 40 * 1000, 1000):
        with client("sh", "-c", SPAWNER, "-", str(mounted / "fakeproc/ctl"), str(first)) as writer:
            told = [line_of(writer) for _ in range(choose.randint(1, 3))]
            writer.kill()
            assert writer.stdout is not None
            told += writer.stdout.readlines()
        writer.wait()
        made = pids(mounted) - made_before
        made_before |= made
        acknowledged = {int(line) + n for line in told for n in (0, 1)}
        under_way = {max(acknowledged) + n for n in (1, 2)}
        assert made in (acknowledged, acknowledged | under_way)
    shown = mounted.read("fakeproc/ps")
    mounted.crash()
    assert mount("--journal", os.fspath(tmp_path / "journal")).read("fakeproc/ps") == shown


def pids(mounted: Mounted) -> set[int]:
    """Return the pids that there are."""
    return {int(name) for name in os.listdir(mounted.path) if name.isdigit()}


# -- A server that is stopped ------------------------------------------------------


@contextmanager
def stopped(mounted: Mounted) -> Iterator[None]:
    """Let the server stand still in the block."""
    mounted.server.send_signal(signal.SIGSTOP)
    server = psutil.Process(mounted.server.pid)
    wait_until(lambda: server.status() == psutil.STATUS_STOPPED, "stopping the server")
    try:
        yield
    finally:
        mounted.server.send_signal(signal.SIGCONT)


def wait_asleep(process: subprocess.Popen[str]) -> None:
    """Wait until a client sleeps, and is not going to end."""
    asleep = (psutil.STATUS_SLEEPING, psutil.STATUS_DISK_SLEEP)
    wait_until(lambda: psutil.Process(process.pid).status() in asleep, "waiting for the server")
    assert process.poll() is None


def test_clients_of_a_stopped_server_wait_and_lose_nothing(mount: Mount) -> None:
    mounted = mount(*MANUAL)
    file = os.fspath(mounted / "100013/oom_score_adj")
    with opened(Path(file), os.O_RDWR) as fd:
        script = "read go; echo 123 >&3 && echo done"
        with subprocess.Popen(
            ["sh", "-c", f"exec 3<>{file}; echo ready; {script}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            assert line_of(writer) == "ready\n"
            with stopped(mounted):
                assert writer.stdin is not None
                writer.stdin.write("go\n")
                writer.stdin.flush()
                wait_asleep(writer)
            assert line_of(writer) == "done\n"
        assert os.read(fd, 10) == b"123\n"


def test_a_client_of_a_stopped_server_can_be_killed(mount: Mount) -> None:
    mounted = mount(*MANUAL)
    file = mounted / "100013/oom_score_adj"
    before = file.read_text()
    with stopped(mounted), client("sh", "-c", f"echo 123 > {file}") as writer:
        wait_asleep(writer)
        writer.kill()
        assert writer.wait(20) == -signal.SIGKILL
    assert file.read_text() in (before, "123\n")
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        put(file, b"1001")
    put(file, b"321")
    assert file.read_text() == "321\n"
