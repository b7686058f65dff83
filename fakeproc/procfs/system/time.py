# SPDX-License-Identifier: MIT
"""uptime, loadavg and stat: what time has brought."""

from __future__ import annotations

from fakeproc.kernel.machine import Machine
from fakeproc.kernel.task import State
from fakeproc.procfs.system.node import SystemFile, SystemRow
from fakeproc.procfs.task.stat import CLOCK_TICKS_PER_S

NS_PER_S = 1_000_000_000


def render_uptime(machine: Machine) -> bytes:
    """Return seconds since boot, and the idle seconds of all CPUs."""
    hundredths = machine.now_ns // (NS_PER_S // 100)
    idle = hundredths * machine.hardware.cpus
    return b"%d.%02d %d.%02d\n" % (*divmod(hundredths, 100), *divmod(idle, 100))


def render_loadavg(machine: Machine) -> bytes:
    """Return three averages, running and all tasks, and the last pid given out."""
    running = max(machine.count_in_state(State.RUNNING), 1)
    averages = machine.load_average.render(machine.now_ns)
    return f"{averages} {running}/{machine.thread_count} {machine.last_pid}\n".encode()


def render_stat(machine: Machine) -> bytes:
    """Return CPU times in ticks (all idle), boot time and task counters."""
    cpus = machine.hardware.cpus
    ticks = machine.now_ns * CLOCK_TICKS_PER_S // NS_PER_S
    lines = [
        f"cpu  0 0 0 {ticks * cpus} 0 0 0 0 0 0",
        *(f"cpu{n} 0 0 0 {ticks} 0 0 0 0 0 0" for n in range(cpus)),
        "intr 0",
        f"ctxt {machine.forks}",
        f"btime {machine.hardware.boot_time_s}",
        f"processes {machine.forks}",
        f"procs_running {max(machine.count_in_state(State.RUNNING), 1)}",
        f"procs_blocked {machine.count_in_state(State.DISK_SLEEP)}",
        "softirq 0 0 0 0 0 0 0 0 0 0 0",
    ]
    return ("\n".join(lines) + "\n").encode()


ROWS: dict[str, SystemRow] = {
    "loadavg": SystemFile(
        reflects="who runs or waits for the disk; the last pid", render=render_loadavg
    ),
    "stat": SystemFile(reflects="the CPUs' time, the boot time, forks", render=render_stat),
    "uptime": SystemFile(reflects="the machine's clock", render=render_uptime),
}
