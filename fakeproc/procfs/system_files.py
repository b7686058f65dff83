# SPDX-License-Identifier: MIT
"""The files of /proc that speak for the machine as a whole.

`SYSTEM_FILES` says which there are, by path: to add one, write the function that
renders it and add a row.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from fakeproc.kernel.available import available
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.profile import Profile
from fakeproc.kernel.sysctl import SYSCTLS
from fakeproc.kernel.task import PAGE_KIB, Caller, State
from fakeproc.procfs.node import Attributes, File, Seek
from fakeproc.procfs.session import Session
from fakeproc.procfs.task_files import CLOCK_TICKS_PER_S

NS_PER_S = 1_000_000_000

Render = Callable[[Machine], bytes]
Store = Callable[[Machine, Caller, bytes], int]


@dataclass(frozen=True, slots=True)
class SystemFile:
    """A row: permission bits, what reading gives, what writing does, which kernels have it."""

    mode: int
    render: Render
    store: Store | None = None
    there: Callable[[Profile], bool] = lambda profile: True


class SystemNode(File):
    """A file of the machine, owned by root."""

    def __init__(self, session: Session, path: str, row: SystemFile) -> None:
        self._session = session
        self._row = row
        self._is_sysctl = path.startswith("sys/")
        self.seek = Seek.DEFAULT if self._is_sysctl else Seek.SEQ

    def is_there(self) -> bool:
        """Say whether the present kernel has the file."""
        return self._row.there(self._session.machine.profile)

    def attributes(self) -> Attributes:
        """Return the row's mode; root's, as all of them are."""
        return Attributes(stat.S_IFREG | self._row.mode)

    def render(self) -> bytes:
        """Return the content."""
        return self._row.render(self._session.machine)

    def store(self, caller: Caller, data: bytes) -> int:
        """Write; EIO where the file takes no writes (seen on meminfo, 6.18)."""
        if self._row.store is None:
            raise Refused(errno.EIO)
        self._session.require_running()
        return self._row.store(self._session.machine, caller, data)

    def takes_input(self) -> bool:
        """Say whether the file takes writes."""
        return self._row.store is not None

    def _overridden(self, caller: Caller) -> bool:
        # A sysctl's mode binds root as well (test_perm in proc_sysctl.c asks no capability).
        return not self._is_sysctl and super()._overridden(caller)


# -- Memory ------------------------------------------------------------------------


def render_meminfo(machine: Machine) -> bytes:
    """Return the lines of a current kernel: those in kB first, the huge pages last."""
    used, hardware, memory = machine.used, machine.hardware, machine.memory
    active_anon = used.anon_pages - used.mlocked_pages
    cached = used.file_pages + used.shmem_pages + memory.cache_pages
    overcommit = hardware.ram_pages * machine.sysctls["vm/overcommit_ratio"] // 100
    kbytes = machine.sysctls["vm/overcommit_kbytes"]
    commit_limit = (kbytes // PAGE_KIB if kbytes else overcommit) + hardware.swap_pages
    pages = {
        "MemTotal": hardware.ram_pages,
        "MemFree": memory.free_pages,
        "MemAvailable": available(machine),
        "Buffers": 0,
        "Cached": cached,
        "SwapCached": 0,
        "Active": active_anon + used.file_pages,
        "Inactive": used.shmem_pages + memory.cache_pages,
        "Active(anon)": active_anon,
        "Inactive(anon)": used.shmem_pages,
        "Active(file)": used.file_pages,
        "Inactive(file)": memory.cache_pages,
        "Unevictable": used.mlocked_pages,
        "Mlocked": used.mlocked_pages,
        "SwapTotal": hardware.swap_pages,
        "SwapFree": machine.free_swap_entries,
        "Dirty": memory.cache_dirty_pages,
        "Writeback": 0,
        "AnonPages": used.anon_pages,
        "Mapped": used.file_pages,
        "Shmem": used.shmem_pages,
        "KReclaimable": memory.slab_reclaimable_pages,
        "Slab": memory.slab_pages,
        "SReclaimable": memory.slab_reclaimable_pages,
        "SUnreclaim": memory.slab_unreclaimable_pages,
        "KernelStack": 4 * machine.thread_count,
        "PageTables": used.pagetable_pages,
        "NFS_Unstable": 0,
        "Bounce": 0,
        "WritebackTmp": 0,
        "CommitLimit": commit_limit,
        "Committed_AS": used.total_vm_pages,
    }
    kib = {name: count * PAGE_KIB for name, count in pages.items()}
    kib |= {"VmallocTotal": 34359738367, "VmallocUsed": 0, "VmallocChunk": 0, "Percpu": 0}
    kib |= {"AnonHugePages": 0, "ShmemHugePages": 0, "ShmemPmdMapped": 0}
    lines = [f"{name + ':':<16}{value:8d} kB" for name, value in kib.items()]
    huge = ("HugePages_Total", "HugePages_Free", "HugePages_Rsvd", "HugePages_Surp")
    lines += [f"{name + ':':<16}{0:8d}" for name in huge]
    lines += [f"{'Hugepagesize:':<16}{2048:8d} kB", f"{'Hugetlb:':<16}{0:8d} kB"]
    return ("\n".join(lines) + "\n").encode()


def render_vmstat(machine: Machine) -> bytes:
    """Return the counters that tools look at."""
    profile, used, memory = machine.profile, machine.used, machine.memory
    events = memory.counters
    counters = {
        "nr_free_pages": memory.free_pages,
        "nr_inactive_anon": used.shmem_pages,
        "nr_active_anon": used.anon_pages,
        "nr_inactive_file": memory.cache_pages,
        "nr_active_file": used.file_pages,
        "nr_anon_pages": used.anon_pages,
        "nr_mapped": used.file_pages,
        "nr_file_pages": used.file_pages + used.shmem_pages + memory.cache_pages,
        "nr_dirty": memory.cache_dirty_pages,
        "nr_shmem": used.shmem_pages,
        "nr_page_table_pages": used.pagetable_pages,
        "pgpgin": (events.pswpin + events.workingset_refault_file) * PAGE_KIB,
        "pgpgout": (events.pswpout + events.written) * PAGE_KIB,
        "pswpin": events.pswpin,
        "pswpout": events.pswpout,
        # A page fault asks for a movable page, for which there is a zone of its own.
        "allocstall_movable" if profile.allocstall_by_zone else "allocstall": events.allocstall,
        "pgfault": events.pgfault + events.pgmajfault,
        "pgmajfault": events.pgmajfault,
        "pgsteal_kswapd": events.pgsteal_kswapd,
        "pgsteal_direct": events.pgsteal_direct,
        "pgscan_kswapd": events.pgscan_kswapd,
        "pgscan_direct": events.pgscan_direct,
    }
    if profile.refaults_of_anon:
        counters["workingset_refault_anon"] = events.workingset_refault_anon
        counters["workingset_refault_file"] = events.workingset_refault_file
    else:
        counters["workingset_refault"] = events.workingset_refault_file
    if profile.count_oom_kill:
        counters["oom_kill"] = machine.oom_kills
    return "".join(f"{name} {value}\n" for name, value in counters.items()).encode()


# -- Time, load, version -----------------------------------------------------------


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


def _kernel_version(machine: Machine) -> str:
    return f"#1 SMP simulated by fakeproc ({machine.profile.name})"


def render_version(machine: Machine) -> bytes:
    """Return the line of /proc/version."""
    release = machine.profile.release
    host = machine.hardware.hostname
    return f"Linux version {release} (fakeproc@{host}) {_kernel_version(machine)}\n".encode()


def render_cpuinfo(machine: Machine) -> bytes:
    """Return one short block for each CPU."""
    block = (
        "processor\t: {}\nvendor_id\t: fakeproc\nmodel name\t: simulated\ncpu MHz\t\t: 1000.000\n"
    )
    blocks = [block.format(n) for n in range(machine.hardware.cpus)]
    return "\n".join(blocks + [""]).encode()


# -- pressure/ ---------------------------------------------------------------------


def _render_pressure(name: str, machine: Machine) -> bytes:
    text = machine.pressure[name].render(machine.now_ns)
    if name == "cpu" and not machine.profile.psi_cpu_full_line:
        text = text[: text.index("full")]
    return text.encode()


def _refuse_trigger(machine: Machine, caller: Caller, data: bytes) -> int:
    """Refuse: nobody could be told, as libfuse 2 has no poll with priority events."""
    raise Refused(errno.EOPNOTSUPP, "pressure: triggers are not supported; read the averages.")


# -- sys/ --------------------------------------------------------------------------


def _render_sysctl(name: str, machine: Machine) -> bytes:
    return b"%d\n" % machine.sysctls[name]


def _store_sysctl(name: str, machine: Machine, caller: Caller, data: bytes) -> int:
    return machine.store_sysctl(name, data)


# -- sysrq-trigger -----------------------------------------------------------------


def _render_nothing(machine: Machine) -> bytes:
    return b""


def store_sysrq_trigger(machine: Machine, caller: Caller, data: bytes) -> int:
    """Run the command of the first character: ``f`` invokes the OOM killer."""
    if data[:1] == b"f":
        machine.sysrq_oom()
    return len(data)


def render_swaps(machine: Machine) -> bytes:
    """Return the table of swap areas, sizes in kB."""
    lines = ["Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority"]
    for area, used_pages in machine.memory.swap_used():
        name = area.name + " " * max(40 - len(area.name), 1)
        kind = "partition" if area.name.startswith("/dev/") else "file\t"
        size_kib, used_kib = area.size_pages * PAGE_KIB, used_pages * PAGE_KIB
        lines.append(
            f"{name}{kind}\t{size_kib}\t{_wide(size_kib)}{used_kib}\t{_wide(used_kib)}"
            f"{area.priority}"
        )
    return ("\n".join(lines) + "\n").encode()


def _wide(kib: int) -> str:
    return "\t" if kib < 10_000_000 else ""


SYSTEM_FILES: dict[str, SystemFile] = {
    "sysrq-trigger": SystemFile(0o200, _render_nothing, store_sysrq_trigger),
    "cpuinfo": SystemFile(0o444, render_cpuinfo),
    "loadavg": SystemFile(0o444, render_loadavg),
    "meminfo": SystemFile(0o444, render_meminfo),
    "stat": SystemFile(0o444, render_stat),
    "swaps": SystemFile(0o444, render_swaps),
    "uptime": SystemFile(0o444, render_uptime),
    "version": SystemFile(0o444, render_version),
    "vmstat": SystemFile(0o444, render_vmstat),
    **{
        f"pressure/{name}": SystemFile(
            0o666,
            partial(_render_pressure, name),
            _refuse_trigger,
            there=lambda profile: profile.psi_file,
        )
        for name in ("cpu", "io", "memory")
    },
    "sys/kernel/hostname": SystemFile(
        0o444, lambda machine: f"{machine.hardware.hostname}\n".encode()
    ),
    "sys/kernel/osrelease": SystemFile(
        0o444, lambda machine: f"{machine.profile.release}\n".encode()
    ),
    "sys/kernel/ostype": SystemFile(0o444, lambda machine: b"Linux\n"),
    "sys/kernel/version": SystemFile(
        0o444, lambda machine: f"{_kernel_version(machine)}\n".encode()
    ),
    **{
        f"sys/{name}": SystemFile(
            0o644, partial(_render_sysctl, name), partial(_store_sysctl, name)
        )
        for name in SYSCTLS
    },
}
"""The files of the machine, by their path in /proc."""
