# SPDX-License-Identifier: MIT
"""/proc/pressure: which kernels have it, what it says, and the triggers that it takes."""

from __future__ import annotations

import errno
import os
import select
import stat

import pytest

from fakeproc.kernel.capability import CAP_SYS_RESOURCE
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.profile import PROFILE_NAMES, KernelConfig, named
from fakeproc.kernel.task import Caller, Credentials, TaskCaller
from fakeproc.procfs.node import ALWAYS_READY, Directory, File, OpenFile, open_file
from fakeproc.procfs.pressure import NO_TRIGGER
from fakeproc.procfs.tree import Procfs

NAMES = ["io", "cpu", "memory"]
QUIET = "avg10=0.00 avg60=0.00 avg300=0.00 total=0"


def procfs_of(kernel: str) -> Procfs:
    return Procfs(Machine(KernelConfig(kernel)))


def file(procfs: Procfs, name: str) -> File:
    node = procfs.lookup(f"/pressure/{name}", procfs.machine.root)
    assert isinstance(node, File)
    return node


def names(procfs: Procfs, path: str) -> list[str]:
    node = procfs.lookup(path, procfs.machine.root)
    assert isinstance(node, Directory)
    return [name for name, _ in node.entries(procfs.machine.root)]


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
def test_it_is_there_since_4_20(kernel: str) -> None:
    procfs = procfs_of(kernel)
    has_it = named(kernel).version >= (4, 20)
    assert ("pressure" in names(procfs, "/")) == has_it
    if has_it:
        assert names(procfs, "/pressure") == NAMES
    for path in ("/pressure", *(f"/pressure/{name}" for name in NAMES)):
        if has_it:
            procfs.lookup(path, procfs.machine.root)
            continue
        with pytest.raises(Refused) as refused:
            procfs.lookup(path, procfs.machine.root)
        assert refused.value.error == errno.ENOENT


@pytest.mark.parametrize("kernel", ["5.0", "5.10", "5.15", "6.18"])
def test_the_cpu_has_a_full_line_since_5_13(kernel: str) -> None:
    procfs = procfs_of(kernel)
    both = f"some {QUIET}\nfull {QUIET}\n"
    shown = {name: file(procfs, name).render().decode() for name in NAMES}
    cpu = both if kernel in ("5.15", "6.18") else f"some {QUIET}\n"
    assert shown == {"cpu": cpu, "io": both, "memory": both}


def test_it_says_how_long_tasks_have_waited() -> None:
    procfs = procfs_of("6.18")
    procfs.machine.pressure["memory"].stall(0, 1_500_000_000, full=False)
    procfs.machine.advance(3_000_000_000)
    assert file(procfs, "memory").render().decode() == (
        f"some avg10=13.40 avg60=2.42 avg300=0.50 total=1500000\nfull {QUIET}\n"
    )
    assert file(procfs, "io").render().decode() == f"some {QUIET}\nfull {QUIET}\n"


# -- Triggers ----------------------------------------------------------------------

TRIGGER = b"some 150000 1000000\0"
USER = TaskCaller(Credentials(1000, 1000))


@pytest.fixture
def procfs() -> Procfs:
    """Return a 6.18 whose waiters can be woken."""
    made = procfs_of("6.18")
    made.has_poll = True
    return made


def opened(procfs: Procfs, name: str = "memory", caller: Caller | None = None) -> OpenFile:
    return open_file(file(procfs, name), os.O_RDWR, caller or procfs.machine.root)


def refusal(descriptor: OpenFile, data: bytes, caller: Caller = USER) -> int:
    with pytest.raises(Refused) as refused:
        descriptor.write(caller, data)
    return refused.value.error


def stall(procfs: Procfs) -> None:
    """Let memory be short for a fifth of a second, and the trigger look at it."""
    procfs.machine.pressure["memory"].stall(procfs.machine.now_ns, 200_000_000, full=False)
    procfs.machine.advance(400_000_000)


@pytest.mark.parametrize("name", NAMES)
def test_no_trigger_is_taken_where_nobody_can_be_told(name: str) -> None:
    procfs = procfs_of("6.18")
    pressure = file(procfs, name)
    assert pressure.attributes().mode == stat.S_IFREG | 0o666
    before = pressure.render()
    assert refusal(opened(procfs, name), TRIGGER) == errno.EOPNOTSUPP
    assert "libfuse 3" in procfs.answer
    assert pressure.render() == before


def test_an_event_is_seen_once(procfs: Procfs) -> None:
    descriptor = opened(procfs)
    assert descriptor.file.poll() == NO_TRIGGER
    assert descriptor.write(USER, TRIGGER) == len(TRIGGER)
    assert descriptor.file.poll() == ALWAYS_READY
    stall(procfs)
    assert descriptor.file.has_event()
    assert descriptor.file.poll() == ALWAYS_READY | select.POLLPRI
    assert not descriptor.file.has_event()
    assert descriptor.file.poll() == ALWAYS_READY


def test_each_descriptor_has_one_of_its_own(procfs: Procfs) -> None:
    one, other = opened(procfs), opened(procfs)
    one.write(USER, TRIGGER)
    assert refusal(one, TRIGGER) == refusal(one, b"nonsense") == errno.EBUSY
    assert other.file.poll() == NO_TRIGGER
    assert refusal(other, b"nonsense") == errno.EINVAL
    assert other.write(USER, b"some 300000 1000000\n") == 20
    stall(procfs)
    assert (one.file.has_event(), other.file.has_event()) == (True, False)


def test_closing_ends_it(procfs: Procfs) -> None:
    descriptor = opened(procfs)
    descriptor.write(USER, TRIGGER)
    descriptor.file.closed()
    procfs.machine.pressure["memory"].stall(0, 200_000_000, full=False)
    assert not procfs.machine.events.pending()


def test_a_reboot_ends_it_and_tells_so(procfs: Procfs) -> None:
    descriptor = opened(procfs)
    descriptor.write(USER, TRIGGER)
    procfs.replace_machine(procfs.machine.rebooted())
    assert descriptor.file.has_event()
    assert descriptor.file.poll() == NO_TRIGGER
    assert descriptor.write(USER, TRIGGER) == len(TRIGGER)
    stall(procfs)
    assert descriptor.file.poll() == ALWAYS_READY | select.POLLPRI


def test_who_opened_it_decides_which_windows_there_are(procfs: Procfs) -> None:
    """As file->f_cred does: a descriptor may be passed on."""
    assert opened(procfs).write(USER, TRIGGER) == len(TRIGGER)
    assert refusal(opened(procfs, caller=USER), TRIGGER, procfs.machine.root) == errno.EINVAL
    assert opened(procfs, caller=USER).write(USER, b"some 150000 2000000\0") == 20


def test_until_6_4_opening_it_for_writing_takes_a_right() -> None:
    procfs = procfs_of("6.1")
    with pytest.raises(Refused) as refused:
        opened(procfs, caller=USER)
    assert refused.value.error == errno.EPERM
    assert open_file(file(procfs, "memory"), os.O_RDONLY, USER)
    assert opened(procfs, caller=TaskCaller(Credentials(1000, 1000, CAP_SYS_RESOURCE)))


def test_the_cpu_has_full_triggers_with_the_full_line() -> None:
    for kernel, has_full in (("5.10", False), ("5.15", True)):
        procfs = procfs_of(kernel)
        procfs.has_poll = True
        data = b"full 150000 1000000\0"
        if has_full:
            assert opened(procfs, "cpu").write(USER, data) == len(data)
        else:
            assert refusal(opened(procfs, "cpu"), data) == errno.EINVAL


def test_before_5_2_there_are_none() -> None:
    procfs = procfs_of("5.0")
    procfs.has_poll = True
    assert refusal(opened(procfs), TRIGGER) == errno.EIO


def test_it_comes_and_goes_with_the_kernel() -> None:
    procfs = procfs_of("4.19")
    assert "pressure" not in names(procfs, "/")
    procfs.machine.set_kernel(KernelConfig("5.0"))
    assert names(procfs, "/pressure") == NAMES
