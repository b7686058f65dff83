# SPDX-License-Identifier: MIT
"""The same strict parser accepts each file of the real 6.18 and of the simulated one.

Which names are in a file, and in which order, has to be the same as well.
"""

from __future__ import annotations

import re

import pytest

from fakeproc.kernel.machine import Hardware, Machine
from fakeproc.kernel.profile import PROFILE_NAMES, KernelConfig
from fakeproc.procfs.tree import Procfs
from fakeproc.scenario.load import load_scenario
from tests.formats.formats import captured, format_of
from tests.formats.machine import simulated_tasks, simulated_view
from tests.formats.printf import FormatError, Whole
from tests.formats.view import Simulated, View, view, view_of_machine, view_of_task

# What comes with hardware, firmware or a file system.
_OF_THE_HOST = re.compile(r"(?:fs|bus)/.*")


def problems(seen: View) -> list[str]:
    """Return what is wrong with the contents of a view, and with the names in them."""
    found = []
    for path, entry in seen.items():
        if entry.content is None:
            continue
        format_ = format_of(path)
        if format_ is None:
            found.append(f"{path}: no format")
            continue
        try:
            names = format_.parse(entry.content)
        except FormatError as error:
            found.append(f"{path}: {error}")
            continue
        real = captured().get(path)
        if real is not None and real.content is not None and names != format_.parse(real.content):
            found.append(f"{path}: other names than in the capture")
    return found


def test_the_capture_is_as_the_formats_say() -> None:
    assert sum(entry.content is not None for entry in captured().values()) > 500
    assert problems(captured()) == []


def test_the_host_is_as_the_formats_say(host: View) -> None:
    # A kernel of another configuration has other sysctls.
    compared = {
        path: entry
        for path, entry in host.items()
        if not _OF_THE_HOST.fullmatch(path) and (not path.startswith("sys/") or path in captured())
    }
    assert problems(compared) == []


def test_the_simulated_machine_is_as_the_formats_say(simulated: View) -> None:
    assert problems(simulated) == []


def test_reading_fails_with_the_same_errno(simulated: View) -> None:
    found = {
        path: (entry.error, captured()[path].error)
        for path, entry in simulated.items()
        if path in captured()
    }
    assert {path: both for path, both in found.items() if both[0] != both[1]} == {}


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
def test_every_kernels_files_can_be_read(kernel: str) -> None:
    seen = simulated_view(kernel)
    assert sum(entry.content is not None for entry in seen.values()) > 60
    unended = [
        path
        for path, entry in seen.items()
        if entry.content
        and not entry.content.endswith(b"\n")
        and not isinstance(format_of(path), Whole)
    ]
    assert unended == []


_NODES = (1 << 20, 1 << 19)
_MACHINES = (
    Hardware(ram_pages=1 << 14, swap_pages=0, cpus=1),
    Hardware(ram_pages=1 << 28, swap_pages=1 << 24, cpus=12, hostname="a-host"),
    Hardware(ram_pages=sum(_NODES), node_pages=_NODES, cpus=4),
)


@pytest.mark.parametrize("hardware", _MACHINES, ids=["small", "large", "two nodes"])
def test_other_machines_are_as_the_formats_say(hardware: Hardware) -> None:
    machine = Machine(KernelConfig("6.18"), hardware=hardware)
    machine.memory.swapon("/swap file", 1 << 10, priority=7)
    tasks = simulated_tasks(machine)
    assert problems(view(Simulated(Procfs(machine), machine.root), tasks)) == []


@pytest.mark.parametrize(
    "name", ["desktop", "containers", "stuck-victim", "swap-thrash", "patch-4"]
)
def test_every_task_of_a_scenario_is_as_the_formats_say(name: str) -> None:
    machine = load_scenario(name, KernelConfig("6.18"))
    source = Simulated(Procfs(machine), machine.root)
    for _ in range(4):
        machine.advance(15 * 10**9)
        for thread in machine.threads():
            path = f"{thread.process.pid}/task/{thread.tid}"
            assert problems(view_of_task(source, path)) == [], path
        assert problems(view_of_machine(source)) == []
