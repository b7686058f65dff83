# SPDX-License-Identifier: MIT
"""uptime, loadavg, stat, interrupts and softirqs: what time has brought."""

from __future__ import annotations

from fakeproc.kernel.cputime import CpuTimes
from fakeproc.kernel.loadavg import TICK_NS
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.task import State
from fakeproc.procfs.system.node import SystemFile, SystemRow
from fakeproc.procfs.task.stat import ticks

NS_PER_HUNDREDTH = 10_000_000

NR_IRQS = 424
"""The interrupts of a machine with one I/O APIC (arch_probe_nr_irqs; seen on 6.18)."""

TIMER = "TIMER"
SOFTIRQS = (
    *("HI", TIMER, "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU"),
)

ARCHITECTURE_INTERRUPTS = (
    ("NMI", "Non-maskable interrupts"),
    ("LOC", "Local timer interrupts"),
    ("SPU", "Spurious interrupts"),
    ("PMI", "Performance monitoring interrupts"),
    ("IWI", "IRQ work interrupts"),
    ("RTR", "APIC ICR read retries"),
    ("RES", "Rescheduling interrupts"),
    ("CAL", "Function call interrupts"),
    ("TLB", "TLB shootdowns"),
    ("TRM", "Thermal event interrupts"),
    ("HYP", "Hypervisor callback interrupts"),
    ("ERR", ""),
    ("MIS", ""),
    ("PIN", "Posted-interrupt notification event"),
    ("NPI", "Nested posted-interrupt event"),
    ("PIW", "Posted-interrupt wakeup event"),
)
"""What 6.18 counts on a virtual machine; those without words are of no CPU."""


def render_uptime(machine: Machine) -> bytes:
    """Return seconds since boot, and the idle seconds of all CPUs."""
    up = machine.now_ns // NS_PER_HUNDREDTH
    idle = machine.cpu_accounting.total(machine.now_ns).idle_ns // NS_PER_HUNDREDTH
    return b"%d.%02d %d.%02d\n" % (*divmod(up, 100), *divmod(idle, 100))


def render_loadavg(machine: Machine) -> bytes:
    """Return three averages, running and all tasks, and the last pid given out."""
    averages = machine.load_average.render(machine.now_ns)
    running = _procs_running(machine)
    return f"{averages} {running}/{machine.thread_count} {machine.last_pid}\n".encode()


def render_stat(machine: Machine) -> bytes:
    """Return CPU times in ticks, interrupts, boot time and task counters."""
    now_ns, cpu = machine.now_ns, machine.cpu_accounting
    each = cpu.of_each_cpu(now_ns)
    interrupts = sum(timer_interrupts(machine))
    softirqs = " ".join(str(interrupts * (name == TIMER)) for name in SOFTIRQS)
    lines = [
        f"cpu  {_render_cpu(cpu.total(now_ns))}",
        *(f"cpu{number} {_render_cpu(times)}" for number, times in enumerate(each)),
        f"intr {interrupts}" + " 0" * NR_IRQS,
        f"ctxt {machine.forks + cpu.switches(now_ns)}",
        f"btime {machine.hardware.boot_time_s}",
        f"processes {machine.forks}",
        f"procs_running {_procs_running(machine)}",
        f"procs_blocked {machine.count_in_state(State.DISK_SLEEP)}",
        f"softirq {interrupts} {softirqs}",
    ]
    return ("\n".join(lines) + "\n").encode()


def render_softirqs(machine: Machine) -> bytes:
    """Return the table of softirqs by CPU (show_softirqs)."""
    counts = timer_interrupts(machine)
    rows = [
        f"{name:>12}:" + "".join(f" {count * (name == TIMER):10d}" for count in counts)
        for name in SOFTIRQS
    ]
    heads = " " * 20 + "".join(f"CPU{number:<8d}" for number in range(len(counts)))
    return ("\n".join([heads, *rows]) + "\n").encode()


def render_interrupts(machine: Machine) -> bytes:
    """Return the interrupts of x86 by CPU: the tick, and devices that have none (6.18)."""
    counts = timer_interrupts(machine)
    zeros = [0] * len(counts)
    heads = " " * 11 + "".join(f"CPU{number:<8d}" for number in range(len(counts)))
    lines = [heads]
    for name, words in ARCHITECTURE_INTERRUPTS:
        numbers = counts if name == "LOC" else zeros
        if words:
            lines.append(f"{name}: {_columns(numbers)}   {words}")
        else:
            lines.append(f"{name}: {0:10d}")
    return ("\n".join(lines) + "\n").encode()


def timer_interrupts(machine: Machine) -> list[int]:
    """Return how often each CPU had a tick; a CPU that idles has none (nohz)."""
    each = machine.cpu_accounting.of_each_cpu(machine.now_ns)
    return [times.busy_ns // TICK_NS for times in each]


def _columns(numbers: list[int]) -> str:
    return " ".join(f"{number:10d}" for number in numbers)


def _render_cpu(times: CpuTimes) -> str:
    """Return ten columns, of which nice, irq, softirq, steal and the guests' stay 0."""
    user, system = ticks(times.user_ns), ticks(times.system_ns)
    return f"{user} 0 {system} {ticks(times.idle_ns)} {ticks(times.iowait_ns)} 0 0 0 0 0"


def _procs_running(machine: Machine) -> int:
    """Return how many tasks run; at least one, which is the one that reads."""
    return max(machine.count_in_state(State.RUNNING), 1)


ROWS: dict[str, SystemRow] = {
    "interrupts": SystemFile(
        reflects="ticks of busy CPUs (LOC); of others 0", render=render_interrupts
    ),
    "loadavg": SystemFile(
        reflects="who runs or waits for the disk; the last pid", render=render_loadavg
    ),
    "softirqs": SystemFile(
        reflects="ticks of busy CPUs (TIMER); of others 0", render=render_softirqs
    ),
    "stat": SystemFile(
        reflects="the CPUs' time, ticks, switches, the boot time, forks", render=render_stat
    ),
    "uptime": SystemFile(
        reflects="the machine's clock; for how long its CPUs were idle", render=render_uptime
    ),
}
