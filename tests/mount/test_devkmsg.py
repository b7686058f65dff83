# SPDX-License-Identifier: MIT
"""/proc/fakeproc/devkmsg through a mount: who reads it sleeps, polls, seeks and writes."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import Mounted, wait_until
from tests.mount import opened, put, refused
from tests.mount.test_pressure import on_libfuse_3

ENOUGH = 8192
MANUAL = ("--kernel", "6.18", "--clock", "manual")


@pytest.fixture
def manual(mount: Callable[..., Mounted]) -> Mounted:
    return mount(*MANUAL)


@contextmanager
def sleeping(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that copies records, and sleeps when there is none."""
    command = ["dd", f"if={path}", "bs=8k", "status=none"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as reader:
        try:
            yield reader
        finally:
            reader.kill()


def line_of(reader: subprocess.Popen[bytes]) -> bytes:
    """Return the next line; fail when there is none in time."""
    assert reader.stdout is not None
    assert select.select([reader.stdout], [], [], 10)[0], "nothing came"
    return os.read(reader.stdout.fileno(), ENOUGH)


def test_each_read_gives_a_record(manual: Mounted) -> None:
    devkmsg = manual / "fakeproc/devkmsg"
    with opened(devkmsg, os.O_RDWR | os.O_NONBLOCK) as fd:
        assert os.read(fd, ENOUGH) == b""
        for data in (b"<3>one", b"two\n"):
            assert os.write(fd, data) == len(data)
        start = b"3600000000"
        assert os.read(fd, ENOUGH) == b"11,0," + start + b",-;one\n"
        with refused(errno.EINVAL):
            os.read(fd, 5)
        with refused(errno.EAGAIN):
            os.read(fd, ENOUGH)
    assert manual.read("fakeproc/kmsg") == "<11>[ 3600.000000] one\n<12>[ 3600.000000] two\n"


def test_seeking(manual: Mounted) -> None:
    devkmsg = manual / "fakeproc/devkmsg"
    for data in (b"one", b"two"):
        put(devkmsg, data)
    with opened(devkmsg, os.O_RDONLY | os.O_NONBLOCK) as fd:
        os.lseek(fd, 0, os.SEEK_END)
        for _ in range(2):
            with refused(errno.EAGAIN):
                os.read(fd, ENOUGH)
        put(devkmsg, b"three")
        assert os.read(fd, ENOUGH).endswith(b";three\n")
        for whence in (os.SEEK_SET, os.SEEK_DATA):
            assert os.lseek(fd, 0, whence) == 0
            assert os.read(fd, ENOUGH).endswith(b";one\n")
            assert os.read(fd, ENOUGH).endswith(b";two\n")
    assert devkmsg.stat().st_size == 0


def test_who_finds_nothing_sleeps_until_there_is_something(manual: Mounted) -> None:
    devkmsg = manual / "fakeproc/devkmsg"
    with sleeping(devkmsg) as first, sleeping(devkmsg) as second:
        for number in range(3):
            put(devkmsg, b"line %d" % number)
            for reader in (first, second):
                assert line_of(reader).endswith(b";line %d\n" % number)
        assert manual.read("meminfo")
    # Nobody sleeps any more; the threads that served meanwhile still do.
    assert manual.control("spawn name=web")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_who_sleeps(manual: Mounted, number: signal.Signals) -> None:
    devkmsg = manual / "fakeproc/devkmsg"
    put(devkmsg, b"line")
    with sleeping(devkmsg) as reader:
        line_of(reader)
        reader.send_signal(number)
        assert reader.wait(10) == -number


def test_who_removes_what_somebody_reads_is_not_in_the_way(manual: Mounted) -> None:
    devkmsg = manual / "fakeproc/devkmsg"
    put(devkmsg, b"line")
    with sleeping(devkmsg) as reader:
        line_of(reader)
        with subprocess.Popen(["rm", "-f", devkmsg], stderr=subprocess.DEVNULL) as remover:
            assert manual.read("meminfo")
            reader.terminate()
            assert reader.wait(10) == -signal.SIGTERM
            remover.wait(10)
    assert devkmsg.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("first_stays", [True, False])
def test_the_server_can_be_ended_while_somebody_sleeps(
    manual: Mounted, number: signal.Signals, first_stays: bool
) -> None:
    """Who slept first did so in libfuse's own thread, the others in another one."""
    devkmsg = manual / "fakeproc/devkmsg"
    put(devkmsg, b"line")
    with sleeping(devkmsg) as first, sleeping(devkmsg) as second:
        for reader in (first, second):
            line_of(reader)
        if not first_stays:
            first.kill()
            first.wait(10)
        manual.server.send_signal(number)
        for reader in (first, second):
            assert reader.wait(10) != 0
    assert manual.server.wait(10) == 0
    assert "Traceback" not in manual.errors()


@on_libfuse_3
def test_poll_tells_of_a_record(manual: Mounted) -> None:
    devkmsg = manual / "fakeproc/devkmsg"
    ready = select.POLLIN | select.POLLRDNORM
    with opened(devkmsg, os.O_RDONLY | os.O_NONBLOCK) as fd, select.epoll() as epoll:
        poll = select.poll()
        poll.register(fd, ready)
        epoll.register(fd, select.EPOLLIN | select.EPOLLET)
        assert poll.poll(0) == epoll.poll(0) == []
        for text in (b"one", b"two"):
            put(devkmsg, text)
            assert epoll.poll(10) == [(fd, select.EPOLLIN)]
            assert poll.poll(0) == [(fd, ready)]
            assert os.read(fd, ENOUGH).endswith(b";%s\n" % text)
            assert poll.poll(0) == []


def test_a_reboot_begins_the_log_anew(manual: Mounted) -> None:
    devkmsg = manual / "fakeproc/devkmsg"
    for text in (b"old", b"older"):
        put(devkmsg, text)
    with opened(devkmsg, os.O_RDONLY | os.O_NONBLOCK) as fd:
        os.read(fd, ENOUGH)
        manual.control("reboot")
        assert os.read(fd, ENOUGH) == b""
        put(devkmsg, b"new")
        assert os.read(fd, ENOUGH).endswith(b";new\n")


def test_what_is_written_is_in_the_journal(mount: Callable[..., Mounted], tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    mounted = mount(*MANUAL, "--journal", os.fspath(journal))
    with opened(mounted / "fakeproc/devkmsg", os.O_WRONLY) as fd:
        for _ in range(12):
            os.write(fd, b"line")
    shown = mounted.read("fakeproc/kmsg")
    mounted.stop()
    again = mount("--journal", os.fspath(journal))
    assert shown == again.read("fakeproc/kmsg")
    assert len(shown.splitlines()) == 10


def test_the_server_is_left_alone_by_too_many_sleepers(manual: Mounted) -> None:
    """The one too many is refused, as a reader with O_NONBLOCK; the others sleep on."""
    devkmsg = manual / "fakeproc/devkmsg"
    readers = [subprocess.Popen(["dd", f"if={devkmsg}", "status=none"]) for _ in range(33)]
    try:
        wait_until(lambda: any(r.poll() is not None for r in readers), "a refusal")
        assert [r.poll() for r in readers if r.poll() is not None] == [1]
        assert manual.read("meminfo")
    finally:
        for reader in readers:
            reader.kill()
            reader.wait(10)
