# SPDX-License-Identifier: MIT
"""Small machines that take one write after the other, and are looked at in between."""

from __future__ import annotations

import dataclasses
import functools
import os
import zlib
from collections.abc import Callable
from fractions import Fraction

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import CloneFlags, Hardware, Machine, sizes_for
from fakeproc.kernel.profile import KernelConfig
from fakeproc.kernel.task import Caller, Credentials, Hold, TaskCaller
from fakeproc.procfs import state_file
from fakeproc.procfs.control import CONTROL_FILES
from fakeproc.procfs.node import Directory, File, open_file
from fakeproc.procfs.tree import Procfs
from tests.state import dump
from tests.test_properties import check_model

APP, SHARER, THREAD, WEB = 100, 101, 102, 103
"""The tasks of the machine: the second shares the first one's mm, the third is its thread."""

KERNELS = ("series", "4.4", "5.10", "6.18")
_CALLERS = 4
FIRST_LETTER = ord("A")
SELECTORS = bytes(range(FIRST_LETTER, FIRST_LETTER + len(KERNELS) * _CALLERS))
"""What a first byte can be: it says which kernel, and who writes; any other does as well."""

checked_in = 64
"""Of so many writes one, by its content, is checked in all that there is to see."""
_MOST_CHANGES = 32
"""After so many accepted writes the machine is made anew."""
_MOST_PROCESSES = 12


class World:
    """A machine of one kernel behind its files.

    What is accepted stays, for a while: the next write finds another machine.
    """

    def __init__(self, kernel: str) -> None:
        self._kernel = kernel
        self.procfs = Procfs(small_machine(kernel))
        self.procfs.has_poll = True
        self.changes: list[bytes] = []
        """What has been accepted since boot."""
        self._digest = _digest(self.procfs)

    def boot(self) -> None:
        """Make the machine anew, if anybody has changed it."""
        if self.changes:
            self.procfs.replace_machine(small_machine(self._kernel))
            self.procfs.set_clock(Fraction(1))
            self._digest = _digest(self.procfs)
            self.changes.clear()

    def callers(self) -> tuple[Caller, ...]:
        """Return who may write: root, a user, one of the tasks, root without capabilities."""
        machine = self.procfs.machine
        thread = machine.find_thread(THREAD)
        return (
            machine.root,
            TaskCaller(Credentials(1000, 1000, 0), 70, 70, "sh", 70),
            machine.root if thread is None else TaskCaller.of(thread, host_pid=71),
            TaskCaller(Credentials(0, 0, 0), 72, 72, "sh", 72),
        )

    def write(self, path: str, caller: Caller, data: bytes, chosen_by: bytes) -> None:
        """Write to a file, through a descriptor that root has opened; see `attempt`.

        Then it is read through the same one, from some offset.
        """
        size, offset = len(data), zlib.crc32(data) >> 20

        def write(procfs: Procfs) -> None:
            node = procfs.lookup(path, procfs.machine.root)
            assert isinstance(node, File)
            opened = open_file(node, os.O_RDWR, procfs.machine.root)
            try:
                taken = opened.write(caller, data)
                assert 0 <= taken <= len(data), f"{taken} of {len(data)} bytes"
                opened.file.poll()
                _refusal_of(lambda _: opened.read(size + 1, offset), procfs)
            finally:
                opened.file.closed()

        self.attempt(write, chosen_by)

    def make_and_remove(self, path: str, caller: Caller, name: str, chosen_by: bytes) -> None:
        """Make a directory and remove it; see `attempt`."""

        def change(procfs: Procfs) -> None:
            node = procfs.lookup(path, procfs.machine.root)
            assert isinstance(node, Directory)
            node.make_directory(name, caller)
            node.remove_directory(name, caller)

        self.attempt(change, chosen_by)

    def attempt(self, action: Callable[[Procfs], object], data: bytes) -> None:
        """Do something; AssertionError if it is refused and has changed something all the same.

        What is accepted must leave a machine that can be looked at.
        """
        thoroughly = zlib.crc32(data) % checked_in == 0
        before = dump(self.procfs) if thoroughly else None
        refused = _refusal_of(action, self.procfs)
        if refused is not None:
            changed = _digest(self.procfs) != self._digest
            changed |= before is not None and dump(self.procfs) != before
            assert not changed, f"changed the machine, but was refused: {refused}"
            return
        self.changes.append(data)
        look_around(self.procfs, thoroughly=thoroughly)
        machine = self.procfs.machine
        full = len(self.changes) >= _MOST_CHANGES or len(machine.processes) > _MOST_PROCESSES
        if full or machine.panicked:
            self.boot()
        else:
            self._digest = _digest(self.procfs)


def _refusal_of(action: Callable[[Procfs], object], procfs: Procfs) -> Refused | None:
    try:
        action(procfs)
    except Refused as refused:
        require_refusal(refused)
        return refused
    return None


_config = functools.cache(KernelConfig)
_HARDWARE = Hardware(ram_pages=65536, swap_pages=16384)


def small_machine(kernel: str) -> Machine:
    """Return 256 MiB, 64 MiB of swap, a few tasks and a group."""
    machine = Machine(_config(kernel), _HARDWARE, first_pid=APP)
    sizes = sizes_for(anon_pages=10240)
    app = machine.spawn("app", credentials=Credentials(1000, 1000, 0), sizes=sizes)
    machine.clone(app.leader, CloneFlags(vm=True))
    machine.clone_thread(app.leader)
    web = machine.spawn("web", credentials=Credentials(33, 33, 0), sizes=sizes)
    group = machine.make_memcg("/web")
    machine.set_memcg_limit(group, 16384)
    machine.join_memcg(web, group)
    return machine


_worlds: dict[str, World] = {}


def select(data: bytes) -> tuple[World, Caller, bytes]:
    """Return the world and the caller that the first byte stands for, and what follows it."""
    number = (data[0] if data else 0) - FIRST_LETTER
    kernel = KERNELS[number // _CALLERS % len(KERNELS)]
    if kernel not in _worlds:
        _worlds[kernel] = World(kernel)
    world = _worlds[kernel]
    return world, world.callers()[number % _CALLERS], data[1:]


def boot_all() -> None:
    """Make every machine anew: what has been written before counts no more."""
    for world in _worlds.values():
        world.boot()


def forget_all() -> list[bytes]:
    """Drop every machine, after a find; return what had been accepted before."""
    changes = [data for world in _worlds.values() for data in world.changes]
    _worlds.clear()
    return changes


def require_refusal(refused: Refused) -> None:
    """Demand what a refusal promises: an errno of the kernel, a sentence that can be shown."""
    assert refused.name.startswith("E"), f"no errno: {refused.error}"
    refused.why.encode(errors="surrogatepass")


def look_around(procfs: Procfs, *, thoroughly: bool) -> None:
    """Look at a machine that has taken something in, now and a moment later."""
    machine = procfs.machine
    names = ["ctl", "oom_trigger"]
    if thoroughly:
        # Who is held has not died yet, which the model of the properties does not know.
        if all(thread.hold is Hold.NONE for thread in machine.threads()):
            check_model(machine)
        names += ["ps", "ps.json", "kmsg", "devkmsg", "clock", "kernel"]
        state_file.render(procfs).encode()
    for name in names:
        CONTROL_FILES[name].render(procfs).encode(errors="surrogateescape")
    machine.advance(1_000_000)


def _digest(procfs: Procfs) -> object:
    """Return what most changes would show in; `dump` costs ten times as much."""
    machine = procfs.machine
    return (
        *(machine.log.next_sequence, machine.now_ns, machine.forks, machine.last_pid),
        *(machine.oom_kills, machine.config, machine.audit_sessions, machine.last_verdict),
        dataclasses.astuple(machine.used),
        machine.sysctls.items(),
        machine.sysctls.lowmem_reserve_ratio,
        machine.kept_sysctls.changed(),
        [
            (process.pid, process.oom_score_adj, process.oom_score_adj_min, process.memcg)
            for process in machine.processes.values()
        ],
        [(group.name, group.limit_pages) for group in machine.root_memcg.children.values()],
        tuple(procfs.acting),
        *(procfs.question, procfs.clock_speed, procfs.manual_clock),
    )
