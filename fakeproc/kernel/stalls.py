# SPDX-License-Identifier: MIT
"""Who waits for memory or the disk, and until when: what the pressure files are told."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fakeproc.kernel.cputime import Mode
from fakeproc.kernel.memcg import Memcg
from fakeproc.kernel.psi import Pressure
from fakeproc.kernel.task import Process, Thread

if TYPE_CHECKING:
    from fakeproc.kernel.machine import Machine


class Stalls:
    """The waits of processes, one behind the other for each of them.

    A stall is full while every process that runs is in one: of the machine, or of the group
    whose files they are.  The pressure files know of it when it is over.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._until_ns: dict[Process, int] = {}

    def wait(self, process: Process, duration_ns: int, disk_ns: int = 0) -> None:
        """Let a process wait for memory for so long, and in that time for the disk."""
        start_ns = max(self._machine.now_ns, self._until_ns.get(process, 0))
        end_ns = self._until_ns[process] = start_ns + duration_ns
        for group in process.memcg.ancestors():
            full_until_ns = self._others_wait_until(process, group, start_ns, end_ns)
            self._tell(group.pressure["memory"], start_ns, end_ns, full_until_ns)
            self._tell(group.pressure["io"], start_ns, start_ns + disk_ns, full_until_ns)
        self._spend(process.leader, start_ns, start_ns + disk_ns, end_ns)

    def tell(self, resource: str, duration_ns: int) -> None:
        """Tell of a wait from now on in which others could run."""
        now_ns = self._machine.now_ns
        self._tell(self._machine.pressure[resource], now_ns, now_ns + duration_ns, now_ns)

    def forget(self, process: Process) -> None:
        """Drop what is known of a process that has exited."""
        self._until_ns.pop(process, None)

    def _spend(self, thread: Thread, start_ns: int, on_cpu_ns: int, end_ns: int) -> None:
        """Let a task be off the CPU for the disk, then reclaim memory on it, then go on."""
        at = self._machine.events.at
        if on_cpu_ns > start_ns:
            at(start_ns, partial(self._set_mode, thread, Mode.DISK_WAIT))
        if end_ns > on_cpu_ns:
            at(on_cpu_ns, partial(self._set_mode, thread, Mode.SYSTEM))
        at(end_ns, partial(self._set_mode, thread, Mode.USER))

    def _set_mode(self, thread: Thread, mode: Mode) -> None:
        self._machine.cpu_accounting.set_mode(thread, mode, self._machine.now_ns)

    def _others_wait_until(self, process: Process, group: Memcg, start_ns: int, end_ns: int) -> int:
        """Return until when nobody else of the group runs.

        ``start_ns`` if somebody does from the beginning.
        """
        until_ns = end_ns
        for other in self._machine.living.running():
            if other is not process and group in other.memcg.ancestors():
                until_ns = min(until_ns, self._until_ns.get(other, 0))
                if until_ns <= start_ns:
                    return start_ns
        return until_ns

    def _tell(self, pressure: Pressure, start_ns: int, end_ns: int, full_until_ns: int) -> None:
        stall, at = pressure.stall, self._machine.events.at
        full_ns = min(full_until_ns, end_ns) - start_ns
        if full_ns > 0:
            at(start_ns + full_ns, partial(stall, start_ns, full_ns, full=True))
        if end_ns - start_ns > max(full_ns, 0):
            at(end_ns, partial(stall, start_ns, end_ns - start_ns, full=False))
