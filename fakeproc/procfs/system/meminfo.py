# SPDX-License-Identifier: MIT
"""meminfo: the memory of the machine, in kB."""

from __future__ import annotations

from fakeproc.kernel.available import available
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.task import PAGE_KIB
from fakeproc.procfs.system.node import SystemFile, SystemRow


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


ROWS: dict[str, SystemRow] = {
    "meminfo": SystemFile(reflects="the memory of the machine, in kB", render=render_meminfo),
}
