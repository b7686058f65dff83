# SPDX-License-Identifier: MIT
"""/dev/kmsg: records, places in the log, and what programs write (dev-kmsg of the ABI)."""

from __future__ import annotations

import errno
import os
import select

import pytest

from fakeproc.kernel.devkmsg import LINE_MAX_BYTES, Devkmsg, write
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.log import KernelLog, Level
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.profile import KernelConfig
from fakeproc.kernel.task import Caller, Credentials, TaskCaller

USER = TaskCaller(Credentials(1000, 1000, 0))
ENOUGH = 8192


def opened(machine: Machine, flags: int = os.O_RDWR, caller: Caller | None = None) -> Devkmsg:
    return Devkmsg(machine, flags, caller or machine.root)


def errno_of(reader: Devkmsg, size: int = ENOUGH) -> int | None:
    with pytest.raises(Refused) as refusal:
        reader.read(size)
    return refusal.value.errno


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("hello", b"4,0,1234567,-;hello\n"),
        ("a;b,c", b"4,0,1234567,-;a;b,c\n"),
        ("two\nlines\t\\", b"4,0,1234567,-;two\\x0alines\\x09\\x5c\n"),
        ("\u00e9\udcff\x7f", b"4,0,1234567,-;\\xc3\\xa9\\xff\\x7f\n"),
        ("", b"4,0,1234567,-;\n"),
    ],
)
def test_a_record_has_priority_number_time_and_text(text: str, shown: bytes) -> None:
    machine = Machine()
    machine.log.printk(Level.WARNING, text, 1_234_567_899)
    assert opened(machine).read(ENOUGH) == shown


def test_each_read_gives_one_record_and_then_there_is_none() -> None:
    machine = Machine()
    machine.printk(Level.ERR, "first")
    reader, other = opened(machine), opened(machine)
    machine.printk(Level.INFO, "second")
    assert reader.read(ENOUGH) == b"3,0,0,-;first\n"
    assert reader.read(ENOUGH) == b"6,1,0,-;second\n"
    assert errno_of(reader) == errno.EAGAIN
    machine.printk(Level.INFO, "third")
    assert reader.read(ENOUGH) == b"6,2,0,-;third\n"
    assert other.read(ENOUGH) == b"3,0,0,-;first\n"


def test_an_empty_log_is_at_its_end_for_who_does_not_wait() -> None:
    machine = Machine()
    reader = opened(machine, os.O_RDONLY | os.O_NONBLOCK)
    assert reader.read(ENOUGH) == b""
    assert errno_of(opened(machine, os.O_RDONLY)) == errno.EAGAIN
    machine.printk(Level.INFO, "first")
    assert reader.read(ENOUGH) == b"6,0,0,-;first\n"
    assert errno_of(reader) == errno.EAGAIN


def test_what_is_too_long_for_the_reader_is_passed_over() -> None:
    """Seen on 6.18: the next read gives the one after it."""
    machine = Machine()
    machine.printk(Level.INFO, "a long one")
    machine.printk(Level.INFO, "b")
    reader = opened(machine)
    assert errno_of(reader, 10) == errno.EINVAL
    assert reader.read(len(b"6,1,0,-;b\n")) == b"6,1,0,-;b\n"


def test_who_is_overtaken_is_told_once() -> None:
    machine = Machine()
    machine.log = KernelLog(size_bytes=60)
    machine.printk(Level.INFO, "0")
    reader = opened(machine)
    for number in range(1, 9):
        machine.printk(Level.INFO, str(number))
    assert reader.poll() & select.POLLERR
    assert errno_of(reader) == errno.EPIPE
    first = machine.log.first_sequence
    assert first > 1
    assert reader.read(ENOUGH).endswith(b";%d\n" % first)


def test_seeking_goes_to_the_first_and_behind_the_last() -> None:
    machine = Machine()
    for text in "ab":
        machine.printk(Level.INFO, text)
    reader = opened(machine)
    reader.seek(machine.log.next_sequence)
    assert errno_of(reader) == errno.EAGAIN
    machine.printk(Level.INFO, "c")
    assert reader.read(ENOUGH).endswith(b";c\n")
    reader.seek_first()
    assert reader.read(ENOUGH).endswith(b";a\n")


def test_poll_tells_of_what_can_be_read_and_wakes_for_what_is_new() -> None:
    machine = Machine()
    reader = opened(machine)
    assert (reader.poll(), reader.has_news()) == (0, False)
    machine.printk(Level.INFO, "a")
    assert reader.has_news()
    assert (reader.poll(), reader.has_news()) == (select.POLLIN | select.POLLRDNORM, False)
    assert reader.poll()
    reader.read(ENOUGH)
    assert reader.poll() == 0


@pytest.mark.parametrize(
    ("data", "record"),
    [
        (b"hello\n", (1, 4, "hello")),
        (b"<3>hello", (1, 3, "hello")),
        (b"<30>daemon", (3, 6, "daemon")),
        (b"<6>", (1, 6, "")),
        (b"<x>y", (1, 4, "<x>y")),
        (b"<6 y", (1, 4, "<6 y")),
        (b"a\nb\n", (1, 4, "a\nb")),
        (b"a\0b", (1, 4, "a")),
        (b"\xff", (1, 4, "\udcff")),
        (b"<2047>a", (255, 7, "a")),
        (b"<2048>a", (1, 0, "a")),
    ],
)
def test_what_a_program_writes(data: bytes, record: tuple[int, int, str]) -> None:
    machine = Machine()
    assert write(machine, data) == len(data)
    (found,) = machine.log.since()
    assert (found.facility, found.level, found.text) == record


def test_the_old_form_has_the_facility_too() -> None:
    machine = Machine()
    write(machine, b"<6>hello")
    assert machine.log.render() == "<14>[    0.000000] hello\n"


def test_a_line_that_is_too_long_is_refused() -> None:
    machine = Machine()
    assert write(machine, b"x" * LINE_MAX_BYTES) == LINE_MAX_BYTES
    for attempt in (opened(machine).write, lambda data: write(machine, data)):
        with pytest.raises(Refused) as refusal:
            attempt(b"x" * (LINE_MAX_BYTES + 1))
        assert refusal.value.errno == errno.EINVAL
    assert machine.log.next_sequence == 1


@pytest.mark.parametrize(("kernel", "kept"), [("4.8", 12), ("4.9", 10), ("6.18", 10)])
def test_writes_are_limited_to_ten_in_five_seconds(kernel: str, kept: int) -> None:
    machine = Machine(KernelConfig(kernel))
    writer = opened(machine, os.O_WRONLY)
    for number in range(12):
        assert writer.may_write() == (number < kept)
        assert writer.write(b"line") == 4
    assert machine.log.next_sequence == kept
    machine.advance(5_000_000_001)
    assert writer.may_write()
    writer.write(b"line")
    assert machine.log.next_sequence == kept + 1


def test_the_sysctl_lets_all_through_or_nobody() -> None:
    machine = Machine(KernelConfig("6.18"))
    machine.kept_sysctls.store("kernel/printk_devkmsg", b"on\n")
    writer = opened(machine, os.O_WRONLY)
    for _ in range(12):
        writer.write(b"line")
    assert machine.log.next_sequence == 12
    machine.kept_sysctls.store("kernel/printk_devkmsg", b"off\n")
    with pytest.raises(Refused) as refusal:
        opened(machine)
    assert refusal.value.errno == errno.EPERM


def test_dmesg_restrict_keeps_the_log_from_users() -> None:
    machine = Machine()
    opened(machine, os.O_RDONLY, USER)
    machine.kept_sysctls.store("kernel/dmesg_restrict", b"1")
    opened(machine, os.O_RDONLY)
    opened(machine, os.O_WRONLY, USER)
    with pytest.raises(Refused) as refusal:
        opened(machine, os.O_RDONLY, USER)
    assert refusal.value.errno == errno.EPERM
