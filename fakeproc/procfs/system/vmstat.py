# SPDX-License-Identifier: MIT
"""vmstat: the counters of memory management."""

from __future__ import annotations

from fakeproc.kernel.machine import Machine
from fakeproc.kernel.task import PAGE_KIB
from fakeproc.procfs.system.node import SystemFile, SystemRow


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


ROWS: dict[str, SystemRow] = {
    "vmstat": SystemFile(reflects="the counters of memory management", render=render_vmstat),
}
