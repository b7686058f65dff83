# SPDX-License-Identifier: MIT
"""Sysctls that are only kept: what a write may be, what is read then."""

import errno

import pytest

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.kept_sysctls import KEPT, parse
from fakeproc.kernel.machine import Hardware, Machine
from fakeproc.kernel.sysctl import SYSCTLS


def test_no_file_is_both_kept_and_obeyed() -> None:
    assert not set(KEPT) & set(SYSCTLS)


@pytest.mark.parametrize("name", [name for name, row in KEPT.items() if row.range])
def test_what_a_file_holds_at_boot_can_be_written(name: str) -> None:
    text = KEPT[name].default
    if name in ("kernel/max_rcu_stall_to_panic",):  # 0, which only the kernel itself sets
        text = "1"
    assert parse(name, text, text.encode()) == (text, len(text))


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("net/core/somaxconn", b"128\n", "128"),
        ("kernel/printk", b"7", "7\t4\t1\t7"),
        ("kernel/printk", b"1 2 3 4\n", "1\t2\t3\t4"),
        ("kernel/sem", b"1 2 3 4 5", "1\t2\t3\t4"),
        ("kernel/domainname", b"example.org\nmore", "example.org"),
        ("kernel/domainname", b"a" * 80, "a" * 64),
        ("kernel/core_pattern", b"|/bin/x %p\n", "|/bin/x %p"),
        ("net/ipv4/tcp_congestion_control", b"reno\n", "reno"),
        ("net/ipv4/conf/lo/rp_filter", b"0x2", "2"),
        ("fs/file-max", b"18446744073709551615", "18446744073709551615"),
    ],
)
def test_a_write_is_read_back(name: str, data: bytes, text: str) -> None:
    machine = Machine()
    machine.store_sysctl(name, data)
    assert machine.kept_sysctls.text(name) == text


@pytest.mark.parametrize(
    ("name", "data", "number"),
    [
        ("net/core/somaxconn", b"-1", errno.EINVAL),
        ("net/core/somaxconn", b"2147483648", errno.EINVAL),
        ("net/core/somaxconn", b"x", errno.EINVAL),
        ("fs/protected_symlinks", b"2", errno.EINVAL),
        ("kernel/printk", b"1 x", errno.EINVAL),
        ("net/ipv4/tcp_congestion_control", b"warp", errno.ENOENT),
        ("kernel/printk_devkmsg", b"maybe", errno.EINVAL),
    ],
)
def test_what_is_refused_changes_nothing(name: str, data: bytes, number: int) -> None:
    machine = Machine()
    before = machine.kept_sysctls.text(name)
    with pytest.raises(Refused) as refused:
        machine.store_sysctl(name, data)
    assert refused.value.error == number
    assert machine.kept_sysctls.text(name) == before
    assert machine.kept_sysctls.changed() == {}


def test_only_what_differs_from_boot_is_remembered() -> None:
    machine = Machine()
    machine.store_sysctl("net/core/somaxconn", b"128")
    machine.store_sysctl("kernel/domainname", b"lab")
    assert machine.kept_sysctls.changed() == {"net/core/somaxconn": 128, "kernel/domainname": "lab"}
    machine.store_sysctl("net/core/somaxconn", b"4096")
    machine.store_sysctl("kernel/domainname", b"(none)")
    assert machine.kept_sysctls.changed() == {}


def test_limits_follow_the_size_of_the_machine() -> None:
    """The figures of a real machine of 24,661,652 KiB with 192,729 threads (6.18)."""
    machine = Machine(hardware=Hardware(node_pages=(24_661_652 // 4,)))
    machine.store_sysctl("kernel/threads-max", b"192729")
    text = machine.kept_sysctls.text
    assert text("fs/file-max") == "2466165"
    assert text("user/max_pid_namespaces") == "96364"
    assert int(text("fs/epoll/max_user_watches")) == pytest.approx(5_491_489, rel=1e-3)
    assert int(text("fs/inotify/max_user_watches")) == pytest.approx(192_536, rel=1e-3)
    assert int(text("fs/fanotify/max_user_marks")) == pytest.approx(205_039, rel=1e-3)
