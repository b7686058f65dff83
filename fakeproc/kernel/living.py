# SPDX-License-Identifier: MIT
"""What processes do by themselves: grow, shrink, fork, and use what they have.

A process with a behaviour takes a step every `STEP_NS`, an event of the machine's queue, so
that what comes of it does not depend on how time is cut.  A step that has to wait for memory
longer than that comes as much later.
"""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from fakeproc.kernel import reclaim
from fakeproc.kernel.behaviour import Behaviour, BehaviourKind
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.events import Event
from fakeproc.kernel.memory import can_fault, shrunk
from fakeproc.kernel.task import Hold, Mm, Process, State, Thread, sizes_for

if TYPE_CHECKING:
    from fakeproc.kernel.machine import Machine

STEP_NS = 100_000_000
"""How often a process with a behaviour does something."""

_NS_PER_S = 1_000_000_000

_TOUCHED = 4
"""One page in so many of an address space is wanted in each step."""

_FILES_TOUCHED = 512
"""One page in so many of the page cache that has been dropped is wanted in each step."""

_MOST_FAULTS = STEP_NS // reclaim.DISK_NS
"""How many pages the disk can bring back in a step."""


@dataclass(slots=True)
class _Life:
    """A process with a behaviour."""

    behaviour: Behaviour
    event: Event
    base_pages: int
    """What it had when its tooth of the saw began."""
    tooth_ends_ns: int = 0
    credit: int = 0
    """What is due to it, in pages or children times nanoseconds a second."""


class Living:
    """The processes that have a behaviour."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._lives: dict[Process, _Life] = {}
        self._counted_ns = -1
        """When it was last looked whether there are enough CPUs."""

    def behaviour_of(self, process: Process) -> Behaviour | None:
        """Return what a process does by itself; None: it sleeps."""
        life = self._lives.get(process)
        return life.behaviour if life else None

    def all(self) -> list[tuple[Process, Behaviour]]:
        """Return the processes that have a behaviour, in the order in which they got it."""
        return [(process, life.behaviour) for process, life in self._lives.items()]

    def running(self) -> Iterator[Process]:
        """Walk those that nothing but memory holds up."""
        return (process for process in self._lives if process.leader.state is State.RUNNING)

    def runs_on(self, mm: Mm | None) -> bool:
        """Say whether a process that uses its memory is on this mm."""
        lives = self._lives
        return mm is not None and not lives.keys().isdisjoint(mm.processes)

    def ignores(self, process: Process, number: int) -> bool:
        """Say whether a process does not care about a signal."""
        life = self._lives.get(process)
        return number == signal.SIGTERM and life is not None and life.behaviour.ignores_sigterm

    def set(self, process: Process, behaviour: Behaviour | None) -> None:
        """Give a process a behaviour, another one, or none; see `Machine.behave`."""
        if behaviour is not None:
            _require_able(process, behaviour)
        self._end(process)
        if behaviour is None:
            return
        machine = self._machine
        event = machine.events.at(machine.now_ns + STEP_NS, partial(self._step, process))
        self._lives[process] = _Life(
            behaviour, event, _held_pages(process), machine.now_ns + behaviour.period_ns
        )
        for thread in _living_threads(process):
            if behaviour.stuck:
                machine.hold(thread, Hold.STUCK)
            elif behaviour.exit_delay_ns:
                machine.hold(thread, Hold.AT_EXIT, for_ns=behaviour.exit_delay_ns)
        machine.settle(process.leader, State.RUNNING)
        machine.rankings.changed(process)

    def forget(self, process: Process) -> None:
        """Let a process that has exited do nothing any more."""
        life = self._lives.pop(process, None)
        if life is not None:
            life.event.cancel()

    def _end(self, process: Process) -> None:
        """Let a process sleep, held by nothing that its behaviour brought."""
        life = self._lives.get(process)
        if life is None:
            return
        self.forget(process)
        brought = Hold.STUCK if life.behaviour.stuck else Hold.AT_EXIT
        if life.behaviour.stuck or life.behaviour.exit_delay_ns:
            for thread in _living_threads(process):
                if thread.hold is brought:
                    self._machine.release(thread)
        if process.leader.alive:
            self._machine.settle(process.leader)
        self._machine.rankings.changed(process)

    # -- A step --------------------------------------------------------------------

    def _step(self, process: Process) -> None:
        life, thread = self._lives[process], process.leader
        machine = self._machine
        if thread.alive:
            machine.settle(thread, State.RUNNING)
        waited_ns = 0
        if thread.state is State.RUNNING and can_fault(thread):
            self._wait_for_a_cpu()
            waited_ns = self._use_memory(thread)
            waited_ns += self._act(thread, life)
        if self._lives.get(process) is life:
            due_ns = machine.now_ns + max(STEP_NS, waited_ns)
            life.event = machine.events.at(due_ns, partial(self._step, process))

    def _wait_for_a_cpu(self) -> None:
        """Tell of the time for which somebody waits, where more run than there are CPUs."""
        now_ns, cpus = self._machine.now_ns, self._machine.hardware.cpus
        if self._counted_ns == now_ns:
            return  # Everybody who takes a step now would say the same.
        self._counted_ns = now_ns
        if len(list(islice(self.running(), cpus + 1))) > cpus:
            self._machine.stalls.tell("cpu", STEP_NS)

    def _use_memory(self, thread: Thread) -> int:
        """Touch a part of the address space and of files; return how long that took (ns)."""
        waited_ns = self._touch_pages(thread)
        return waited_ns + self._read_files(thread)

    def _read_files(self, thread: Thread) -> int:
        """Read a part of the page cache that is gone; return how long that took (ns)."""
        machine = self._machine
        wanted = min(machine.memory.cache_evicted_pages // _FILES_TOUCHED, _MOST_FAULTS)
        if not wanted or not can_fault(thread):
            return 0
        back, reclaimed = reclaim.refault(machine, wanted)
        machine.memory.counters.workingset_refault_file += back
        return self._read_from_disk(thread, back, reclaimed)

    def _read_from_disk(self, thread: Thread, pages: int, reclaimed: reclaim.Reclaimed) -> int:
        """Let a task wait for so many pages, and for the room for them; return how long (ns)."""
        machine = self._machine
        machine.memory.counters.pgmajfault += pages
        read_ns = pages * reclaim.DISK_NS
        took_ns = read_ns + reclaimed.took_ns
        if took_ns:
            machine.stalls.wait(thread.process, took_ns, read_ns + reclaimed.disk_ns)
        return took_ns

    def _touch_pages(self, thread: Thread) -> int:
        """Touch a part of the address space; return how long what is in swap took (ns)."""
        machine, mm = self._machine, thread.mm
        if mm is None or not mm.sizes.swap_entries:
            return 0
        wanted = min(mm.sizes.swap_entries // _TOUCHED + 1, _MOST_FAULTS)
        room = machine.memory.obtain(thread, wanted)
        back = reclaim.swap_in(machine, thread.process, room.pages) if can_fault(thread) else 0
        machine.memory.counters.workingset_refault_anon += back
        return room.stalled_ns + self._read_from_disk(thread, back, reclaim.Reclaimed())

    def _act(self, thread: Thread, life: _Life) -> int:
        """Do what the behaviour is about; return how long it had to wait for memory (ns)."""
        match life.behaviour.kind:
            case BehaviourKind.GROW:
                return self._grow(thread, life)
            case BehaviourKind.SAWTOOTH:
                return self._saw(thread, life)
            case BehaviourKind.FORK_STORM:
                return self._fork(thread, life)
            case BehaviourKind.CONSTANT:
                return 0

    def _grow(self, thread: Thread, life: _Life) -> int:
        behaviour = life.behaviour
        pages = _due(life, behaviour.rate_pages_per_s)
        if behaviour.until_pages is not None:
            pages = min(pages, behaviour.until_pages - _held_pages(thread.process))
        if pages <= 0 or not can_fault(thread):
            return 0
        taken = self._machine.allocate(thread, pages)
        life.credit -= taken.pages * _NS_PER_S
        return taken.stalled_ns

    def _saw(self, thread: Thread, life: _Life) -> int:
        machine, mm = self._machine, thread.mm
        if machine.now_ns <= life.tooth_ends_ns or mm is None:
            return self._grow(thread, life)
        grown_pages = max(_held_pages(thread.process) - life.base_pages, 0)
        machine.resize(mm, shrunk(mm.sizes, grown_pages))
        life.tooth_ends_ns = machine.now_ns + life.behaviour.period_ns
        life.credit = 0
        return 0

    def _fork(self, thread: Thread, life: _Life) -> int:
        """Make the children that are due, when there is room for them, and wait for dead ones."""
        machine, process = self._machine, thread.process
        for dead in [child for child in process.children if child.is_zombie]:
            machine.reap(dead)
        room = life.behaviour.max_children - len(process.children)
        waited_ns = 0
        for _ in range(min(_due(life, life.behaviour.children_per_s), room)):
            child, took_ns = self._fork_one(thread)
            waited_ns += took_ns
            if child is None:
                break
            life.credit -= _NS_PER_S
            machine.allocate(child.leader, _anon_pages_of_child(thread, life.behaviour))
        return waited_ns

    def _fork_one(self, thread: Thread) -> tuple[Process | None, int]:
        """Make a child without anonymous memory; return it, and how long that took.

        None when there is no room for it, no pid, or the parent may not fork.
        """
        machine, mm = self._machine, thread.mm
        if mm is None:
            return None, 0
        sizes = sizes_for(file_pages=mm.sizes.file_pages, shmem_pages=mm.sizes.shmem_pages)
        room = machine.memory.obtain(thread, sizes.ram_pages, all_at_once=True)
        if not room.pages or not can_fault(thread):
            return None, room.stalled_ns
        try:
            child = machine.spawn(
                thread.comm,
                parent=thread,
                credentials=thread.credentials,
                sizes=sizes,
                cmdline=mm.cmdline,
            )
        except Refused:
            return None, room.stalled_ns
        return child, room.stalled_ns


def _require_able(process: Process, behaviour: Behaviour) -> None:
    mm = process.mm
    if mm is None or process.is_kthread or process.leader.mm is None:
        raise Refused(errno.EINVAL, f"behave {process.pid}: has no memory to do it with.")
    if process.is_global_init and (behaviour.stuck or behaviour.exit_delay_ns):
        raise Refused(errno.EINVAL, "behave 1: init does not exit, nor get stuck.")
    if process.group_exit:
        raise Refused(errno.EINVAL, f"behave {process.pid}: is dying.")


def _living_threads(process: Process) -> list[Thread]:
    return [thread for thread in process.threads if thread.alive]


def _held_pages(process: Process) -> int:
    mm = process.mm
    return mm.sizes.rss_pages + mm.sizes.swap_entries if mm else 0


def _anon_pages_of_child(parent: Thread, behaviour: Behaviour) -> int:
    if behaviour.child_pages is not None:
        return behaviour.child_pages
    return parent.mm.sizes.anon_pages if parent.mm else 0


def _due(life: _Life, rate_per_s: float) -> int:
    """Return how many whole pages, or children, are due; what was not to be had does not add up."""
    if life.credit < _NS_PER_S:
        life.credit += int(rate_per_s * STEP_NS)
    return life.credit // _NS_PER_S
