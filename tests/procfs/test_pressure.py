# SPDX-License-Identifier: MIT
"""/proc/pressure: which kernels have it, what it says, and that it takes no triggers yet."""

from __future__ import annotations

import errno
import stat

import pytest

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.profile import PROFILE_NAMES, KernelConfig, named
from fakeproc.procfs.node import Directory, File
from fakeproc.procfs.tree import Procfs

NAMES = ["cpu", "io", "memory"]
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


@pytest.mark.parametrize("name", NAMES)
def test_everybody_may_write_but_no_trigger_is_taken(name: str) -> None:
    pressure = file(procfs_of("6.18"), name)
    assert pressure.attributes().mode == stat.S_IFREG | 0o666
    before = pressure.render()
    with pytest.raises(Refused) as refused:
        pressure.store(Machine().root, b"some 150000 1000000\0")
    assert refused.value.error == errno.EOPNOTSUPP
    assert pressure.render() == before


def test_it_comes_and_goes_with_the_kernel() -> None:
    procfs = procfs_of("4.19")
    assert "pressure" not in names(procfs, "/")
    procfs.machine.set_kernel(KernelConfig("5.0"))
    assert names(procfs, "/pressure") == NAMES
