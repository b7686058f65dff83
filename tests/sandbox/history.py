# SPDX-License-Identifier: MIT
"""Tools at work on a machine in memory, as a sandbox tells a `Chronicle` of them."""

from __future__ import annotations

import signal

from fakeproc.kernel.machine import Machine
from fakeproc.kernel.oom import OomRequest, Verdict
from fakeproc.kernel.task import Process
from fakeproc.sandbox.record import Chronicle
from fakeproc.sandbox.report import Report, Sender

NS_PER_S = 1_000_000_000
EARLYOOM = Sender(3001, "earlyoom", ("earlyoom", "-r", "1"))
NOHANG = Sender(3002, "nohang", ("/usr/bin/python3", "/usr/sbin/nohang"))


class History:
    """A machine, and who watches it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.chronicle = Chronicle(machine)
        self._living = self._now_living()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and look ten times a second."""
        left_ns = int(seconds * NS_PER_S)
        while left_ns > 0:
            step_ns = min(left_ns, NS_PER_S // 10)
            self.machine.advance(step_ns)
            left_ns -= step_ns
            self._bury()
            self.chronicle.sample()

    def kill(
        self, process: Process, sender: Sender | None = EARLYOOM, signo: int = signal.SIGTERM
    ) -> None:
        """Let a tool send a signal."""
        self._living |= self._now_living()
        self.chronicle.signalled(process, signo, sender)
        self.machine.kill(self.machine.root, process, signo)
        self._bury()

    def out_of_memory(self) -> Verdict:
        """Let init ask for memory where there is none left."""
        self._living |= self._now_living()
        machine = self.machine
        request = OomRequest(machine.hardware.totalpages, machine.init.leader)
        verdict = machine.out_of_memory(request)
        self._bury()
        return verdict

    def exit(self, process: Process) -> None:
        """Let a process exit by itself."""
        self.machine.exit_group(process)
        self._bury()

    def finish(self) -> Report:
        """Return the report."""
        return self.chronicle.finish(["earlyoom", "-r", "1"], 0, 1.5)

    def _now_living(self) -> dict[Process, None]:
        processes = self.machine.processes.values()
        return {process: None for process in processes if not process.is_zombie}

    def _bury(self) -> None:
        """Tell of the dead, and reap them as their parents do."""
        now_living = self._now_living()
        for process in self._living:
            if process not in now_living:
                self.chronicle.died(process)
                if not process.reaped:
                    self.machine.reap(process)
        self._living = now_living
