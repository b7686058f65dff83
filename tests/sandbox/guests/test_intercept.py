# SPDX-License-Identifier: MIT
"""sysinfo(2), statfs(2) and syslog(2), asked by busybox and by hand."""

from __future__ import annotations

import errno
import os
import sys

import pytest

from fakeproc.kernel.log import Level
from fakeproc.sandbox.statfs import CGROUP2_SUPER_MAGIC, FUSE_SUPER_MAGIC, PROC_SUPER_MAGIC
from tests.conftest import Mounted
from tests.sandbox.guests.conftest import Inside, require

SYSINFO = """
import ctypes, struct
libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(b"\\xff" * 128, 128)
assert libc.sysinfo(buffer) == 0
print(*struct.unpack_from("=q3Q6QH6xQQI", buffer))
print(buffer.raw[112:] == b"\\xff" * 16)
"""


def test_sysinfo_is_that_of_the_machine(inside: Inside) -> None:
    hog = inside.spawn("hog", 101)
    inside.machine.set_state(hog.leader, type(hog.leader.state).DISK_SLEEP)
    inside.machine.advance(61_500_000_000)
    numbers, untouched = inside.python(SYSINFO, intercept=True)
    uptime, one, five, fifteen, total, free, _, _, swap, free_swap, procs, *rest = map(
        int, numbers.split()
    )
    hardware = inside.machine.hardware
    assert uptime == 62
    averages = inside.machine.load_average.render(inside.machine.now_ns)
    shown = " ".join(f"{load / 65536:.2f}" for load in (one, five, fifteen))
    assert shown == averages
    assert one > five > fifteen > 0
    assert total == hardware.ram_pages * 4096
    assert 0 < free < total
    assert swap == free_swap == hardware.swap_pages * 4096
    # init, kthreadd, hog, and who asks.
    assert procs == 4
    assert rest == [0, 0, 1]
    assert untouched == "True"


def test_without_it_sysinfo_is_that_of_the_host(inside: Inside) -> None:
    (numbers, _) = inside.python(SYSINFO)
    total, unit = int(numbers.split()[4]), int(numbers.split()[-1])
    assert total * unit == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("intercept", [True, False])
def test_busybox_free_shows_it(inside: Inside, intercept: bool) -> None:
    require("busybox")
    done = inside.run("busybox", "free", "-k", intercept=intercept)
    # The other columns are made of /proc/meminfo as well, which is the host's here.
    total = done.stdout.splitlines()[1].removeprefix("Mem:").lstrip()
    assert total.startswith(str(inside.machine.hardware.ram_pages * 4)) == intercept


@pytest.mark.parametrize("call", ["sysinfo(8)", "sysinfo(text)", "klogctl(3, 8, 100)"])
def test_a_bad_pointer_is_a_fault(inside: Inside, call: str) -> None:
    inside.machine.printk(Level.INFO, "hello")
    (line,) = inside.python(
        f"""
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        # Where its code is, nobody may write.
        text = ctypes.cast(libc.getpid, ctypes.c_void_p)
        print(libc.{call}, ctypes.get_errno())
        """,
        intercept=True,
    )
    assert line == f"-1 {errno.EFAULT}"


# -- The log -----------------------------------------------------------------------


def test_busybox_dmesg_shows_the_log(inside: Inside) -> None:
    require("busybox")
    inside.machine.printk(Level.INFO, "hello")
    done = inside.run("busybox", "dmesg", intercept=True)
    assert done.stdout.splitlines()[-1].endswith("] hello")
    assert done.stdout.count("\n") == len(inside.machine.log.since())


def test_the_last_whole_lines_that_fit_are_read(inside: Inside) -> None:
    for text in ("one", "two", "three"):
        inside.machine.printk(Level.INFO, text)
    last = len(inside.machine.log.since()[-1].render())
    lines = inside.python(
        f"""
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        buffer = ctypes.create_string_buffer(b"#" * 200, 200)
        for size in {last}, {last - 1}, 0:
            print(libc.klogctl(3, buffer, size))
        print(buffer.raw[:{last} + 1])
        print(libc.klogctl(10, None, 0))
        print(libc.klogctl(3, None, 10), libc.klogctl(3, buffer, -1), ctypes.get_errno())
        print(libc.klogctl(4, buffer, 200), libc.klogctl(3, buffer, 200))
        """,
        intercept=True,
    )
    log = inside.machine.log
    assert lines == [
        *(str(last), "0", "0"),
        repr(log.since()[-1].render().encode() + b"#"),
        str(log.size_bytes),
        f"-1 -1 {errno.EINVAL}",
        f"{sum(r.size_bytes for r in log.since())} 0",
    ]


@pytest.mark.skipif(os.getuid() != 0, reason="root only: it takes a second user id")
@pytest.mark.parametrize(("restrict", "action"), [(b"0", 5), (b"1", 3)])
def test_who_may_not_is_refused(inside: Inside, restrict: bytes, action: int) -> None:
    inside.machine.store_sysctl("kernel/dmesg_restrict", restrict)
    lines = inside.python(
        f"""
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        buffer = ctypes.create_string_buffer(200)
        print(libc.klogctl({action}, buffer, 200) >= 0)
        os.setuid(1000)
        print(libc.klogctl({action}, buffer, 200), ctypes.get_errno())
        """,
        intercept=True,
    )
    assert lines == ["True", f"-1 {errno.EPERM}"]


# -- statfs ------------------------------------------------------------------------

STATFS = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(120)
for path in sys.argv[1:]:
    for result in (libc.statfs(path.encode(), buffer), libc.fstatfs(os.open(path, 0), buffer)):
        print(hex(struct.unpack_from("=Q", buffer)[0]) if result == 0 else ctypes.get_errno())
"""


@pytest.mark.skipif(os.getuid() != 0, reason="root only: it mounts")
def test_what_is_bound_over_proc_counts_as_procfs(inside: Inside, mounted: Mounted) -> None:
    bind = f"mount --bind {mounted.path}"
    script = f'{bind}/meminfo /proc/meminfo; {bind}/fakeproc/cgroup /sys/fs/cgroup; exec "$@"'
    paths = ["/proc/meminfo", "/proc/uptime", "/sys/fs/cgroup", os.fspath(mounted / "meminfo")]
    command = ["sh", "-c", script, "sh", sys.executable, "-I", "-S", "-c", STATFS, *paths]
    done = inside.run(*command, intercept=True)
    magics = (PROC_SUPER_MAGIC, PROC_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, FUSE_SUPER_MAGIC)
    assert done.stdout.split() == [word for magic in magics for word in [hex(magic)] * 2]
    plain = inside.run(*command)
    magics = (FUSE_SUPER_MAGIC, PROC_SUPER_MAGIC, FUSE_SUPER_MAGIC, FUSE_SUPER_MAGIC)
    assert plain.stdout.split() == [word for magic in magics for word in [hex(magic)] * 2]


@pytest.mark.skipif(os.getuid() != 0, reason="root only: it mounts")
def test_stat_f_takes_it_for_one(inside: Inside, mounted: Mounted) -> None:
    script = f"mount --bind {mounted.path} /proc; cd /proc/sys && stat -f -c '%T %S %l %b' . /proc"
    done = inside.run("sh", "-c", script, intercept=True)
    assert done.stdout.splitlines() == ["proc 4096 255 0"] * 2


def test_what_is_not_simulated_stays_as_it_is(inside: Inside) -> None:
    """There is no mount here: /proc is the real one."""
    lines = inside.python(STATFS, "/proc/meminfo", "/", intercept=True)
    assert lines[:2] == [hex(PROC_SUPER_MAGIC)] * 2
    plain = inside.python(STATFS, "/proc/meminfo", "/")
    assert lines == plain
