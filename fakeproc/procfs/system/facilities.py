# SPDX-License-Identifier: MIT
"""What the kernel can do, how it was started, and the lists that it keeps: most are empty here."""

from __future__ import annotations

from fakeproc.kernel.loadavg import TICK_NS
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.mounts import ROOT_PARTITION, hierarchies
from fakeproc.procfs.system.node import (
    ALWAYS_EMPTY,
    SystemFile,
    SystemFolder,
    SystemLink,
    SystemRow,
    constant,
)

_FILESYSTEMS = """\
nodev\tsysfs
nodev\ttmpfs
nodev\tproc
nodev\tcgroup
nodev\tcgroup2
nodev\tcpuset
nodev\tdevtmpfs
nodev\tbinfmt_misc
nodev\tdebugfs
nodev\ttracefs
nodev\tsecurityfs
nodev\tsockfs
nodev\tbpf
nodev\tpipefs
nodev\tramfs
nodev\thugetlbfs
nodev\tdevpts
\text3
\text2
\text4
\tsquashfs
nodev\tautofs
\tfuseblk
nodev\tfuse
nodev\tfusectl
nodev\toverlay
nodev\tmqueue
nodev\tpstore
"""

_CONTROLLERS = (
    *("cpuset", "cpu", "cpuacct", "blkio", "memory", "devices", "freezer", "net_cls"),
    *("perf_event", "net_prio", "hugetlb", "pids"),
)
"""In the order of cgroup_subsys.h."""

_CRYPTO = """\
name         : crc32c
driver       : crc32c-generic
module       : kernel
priority     : 100
refcnt       : 1
selftest     : passed
internal     : no
type         : shash
blocksize    : 1
digestsize   : 4

"""

_SYMBOLS = (
    *("T _text", "T _stext", "T out_of_memory", "t oom_kill_process", "t oom_reaper"),
    *("T _etext", "D init_task", "B _end"),
)


def render_cmdline(machine: Machine) -> bytes:
    """Return what the boot loader told the kernel."""
    release = machine.profile.release
    return f"BOOT_IMAGE=/boot/vmlinuz-{release} root=/dev/{ROOT_PARTITION} ro quiet\n".encode()


def render_cgroups(machine: Machine) -> bytes:
    """Return the controllers, with the number of groups of the one that the machine has."""
    groups = len(list(machine.root_memcg.subtree()))
    numbers = hierarchies(machine)
    lines = ["#subsys_name\thierarchy\tnum_cgroups\tenabled"]
    for name in _CONTROLLERS:
        count = groups if name == "memory" else 1
        lines.append(f"{name}\t{numbers.get(name, 0)}\t{count}\t1")
    return ("\n".join(lines) + "\n").encode()


def render_kmsg(machine: Machine) -> bytes:
    """Return the log and then the end: a server of one thread cannot let a reader wait."""
    return machine.log.render().encode(errors="surrogateescape")


def render_kallsyms(machine: Machine) -> bytes:
    """Return a few symbols with the addresses that nobody but root would be shown."""
    return "".join(f"{0:016x} {symbol}\n" for symbol in _SYMBOLS).encode()


def render_schedstat(machine: Machine) -> bytes:
    """Return for each CPU the time in which it ran tasks, as the seventh of nine numbers (ns)."""
    each = machine.cpu_accounting.of_each_cpu(machine.now_ns)
    lines = [f"version {machine.profile.schedstat_version}", f"timestamp {_jiffies(machine)}"]
    lines += [f"cpu{n} 0 0 0 0 0 0 {times.busy_ns} 0 0" for n, times in enumerate(each)]
    return ("\n".join(lines) + "\n").encode()


def render_timer_list(machine: Machine) -> bytes:
    """Return the clocks of each CPU, without a timer."""
    boot_ns = machine.hardware.boot_time_s * 1_000_000_000
    offsets = (0, boot_ns, 0, boot_ns) * 2
    lines = [
        "Timer List Version: v0.10",
        "HRTIMER_MAX_CLOCK_BASES: 8",
        f"now at {machine.now_ns} nsecs",
        "",
    ]
    for number in range(machine.hardware.cpus):
        lines.append(f"cpu: {number}")
        for index, offset in enumerate(offsets):
            lines += [f" clock {index}:", f"  .base:       {0:016x}", f"  .index:      {index}"]
            lines += ["  .resolution: 1 nsecs", f"  .offset:     {offset} nsecs"]
            lines.append("active timers:")
        lines += [f"  .{name:15}: {value}" for name, value in _tick_values(machine)]
        lines += [f"jiffies: {_jiffies(machine)}", ""]
    for number in range(machine.hardware.cpus):
        lines += ["Tick Device: mode:     1", f"Per CPU device: {number}"]
        lines += ["Clock Event Device: <NULL>", ""]
    return ("\n".join(lines) + "\n").encode()


def _tick_values(machine: Machine) -> list[tuple[str, str]]:
    """Return what is said of the tick of each CPU: it is on, and has not stopped yet."""
    zero_ns = "0 nsecs"
    return [
        *(("expires_next", zero_ns), ("hres_active", "1"), ("nr_events", "0")),
        *(("nr_retries", "0"), ("nr_hangs", "0"), ("max_hang_time", "0")),
        *(("nohz", "1"), ("highres", "1"), ("last_tick", zero_ns), ("tick_stopped", "0")),
        *(("idle_jiffies", "0"), ("idle_calls", "0"), ("idle_sleeps", "0")),
        *(("idle_entrytime", zero_ns), ("idle_waketime", zero_ns), ("idle_exittime", zero_ns)),
        *(("idle_sleeptime", zero_ns), ("iowait_sleeptime", zero_ns)),
        *(("last_jiffies", f"{_jiffies(machine)}"), ("next_timer", "0")),
        ("idle_expires", zero_ns),
    ]


def _jiffies(machine: Machine) -> int:
    """Return the kernel's count of ticks, which begins five minutes before it overflows 32 bits."""
    return 2**32 + (machine.now_ns - _BEFORE_OVERFLOW_NS) // TICK_NS


_BEFORE_OVERFLOW_NS = 300_000_000_000


_ALWAYS_THE_SAME = "the kernel: always the same"
_NO_IPC = "nothing: there is none"

ROWS: dict[str, SystemRow] = {
    "cgroups": SystemFile(reflects="the controllers, the memory cgroups", render=render_cgroups),
    "cmdline": SystemFile(reflects="the kernel's release", render=render_cmdline),
    "crypto": constant(_ALWAYS_THE_SAME, _CRYPTO),
    "execdomains": constant(_ALWAYS_THE_SAME, "0-0\tLinux           \t[kernel]\n"),
    "filesystems": constant(_ALWAYS_THE_SAME, _FILESYSTEMS),
    "fs/ext4": SystemFolder(),
    "fs/jbd2": SystemFolder(),
    "kallsyms": SystemFile(reflects="a few symbols, all 0", render=render_kallsyms),
    "key-users": constant(ALWAYS_EMPTY),
    "keys": constant(ALWAYS_EMPTY),
    "kmsg": SystemFile(reflects="the kernel log, then the end", mode=0o400, render=render_kmsg),
    "locks": constant(ALWAYS_EMPTY),
    "modules": constant(ALWAYS_EMPTY),
    "mounts": SystemLink(reflects="the reader's mounts", target="self/mounts"),
    "net": SystemLink(reflects="the reader's network", target="self/net"),
    "schedstat": SystemFile(reflects="how long each CPU was busy", render=render_schedstat),
    "sysvipc/msg": constant(
        _NO_IPC,
        "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid"
        "      stime      rtime      ctime\n",
    ),
    "sysvipc/sem": constant(
        _NO_IPC,
        "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n",
    ),
    "sysvipc/shm": constant(
        _NO_IPC,
        "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid"
        "  cgid      atime      dtime      ctime                   rss                  swap\n",
    ),
    "timer_list": SystemFile(
        reflects="the clock, and no timers", mode=0o400, render=render_timer_list
    ),
}
