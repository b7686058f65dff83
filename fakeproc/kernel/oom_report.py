# SPDX-License-Identifier: MIT
"""What the OOM killer prints, in the words of each generation.

`header` is the report (dump_header): who asked, the memory, the table of tasks, and since
5.0 a line that sums it up.  `killed_line` is the line about a victim.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from fakeproc.kernel import gfp
from fakeproc.kernel.log import Level
from fakeproc.kernel.memcg import Memcg
from fakeproc.kernel.numa import format_list, is_eligible, node_list
from fakeproc.kernel.task import PAGE_BYTES, PAGE_KIB, MemorySizes, Process, Thread

if TYPE_CHECKING:
    from fakeproc.kernel.machine import Machine
    from fakeproc.kernel.oom import OomRequest

SYSRQ_WORKER = "kworker/0:1"
"""The kernel thread that runs a manual OOM."""

_NO_LIMIT_KIB = 9007199254740988
"""How the kernel prints a limit that is not there (PAGE_COUNTER_MAX in kB)."""


def limited_header(machine: Machine, request: OomRequest, chosen: Thread) -> None:
    """Print the report of a kill, ten in five seconds (``oom_rs`` in oom_kill_process).

    The reports of who kills nobody are not limited (seen on 6.1).
    """
    missed = machine.report_limit.roll_over(machine.now_ns)
    if missed:
        machine.printk(Level.WARNING, f"oom_kill_process: {missed} callbacks suppressed")
    if machine.report_limit.take():
        header(machine, request, chosen)


def header(machine: Machine, request: OomRequest, chosen: Thread | None) -> None:
    """Print the report; ``chosen`` is None when nobody is going to be killed."""
    _print_invoked(machine, request)
    if request.memcg is not None:
        _print_memcg(machine, request.memcg, chosen.process if chosen else None)
    else:
        _print_mem_info(machine, request)
    if machine.sysctls["vm/oom_dump_tasks"]:
        _print_tasks(machine, request)
    if chosen is not None and machine.profile.oom_kill_summary_line:
        _print_summary(machine, request, chosen)


def _print_invoked(machine: Machine, request: OomRequest) -> None:
    current = request.allocating
    comm = current.comm if current else SYSRQ_WORKER
    value = current.process.oom_score_adj if current else 0
    version = machine.profile.version
    mask = request.gfp_mask
    if mask is None:
        mask = gfp.mask_of(version, "GFP_KERNEL")
    text = f"gfp_mask={mask:#x}"
    if machine.profile.gfp_names:
        text += f"({gfp.spell(version, mask)})"
    if machine.profile.header_nodemask:
        text += f", nodemask={_header_nodemask(machine, request)}"
    gap = " " if machine.profile.header_nodemask_form == "(null), two spaces" else ""
    machine.printk(
        Level.WARNING,
        f"{comm} invoked oom-killer: {text}, {gap}order={request.order}, oom_score_adj={value}",
    )
    if machine.profile.header_nodemask and not machine.build.compaction and request.order:
        machine.printk(Level.WARNING, "COMPACTION is disabled!!!")
    if machine.build.cpusets and not machine.profile.oom_kill_summary_line:
        name, mems = _cpuset(machine, request)
        machine.printk(Level.WARNING, f"{comm} cpuset={name} mems_allowed={mems}")
    tid = current.tid if current else 0
    release = machine.profile.release
    machine.printk(Level.WARNING, f"CPU: 0 PID: {tid} Comm: {comm} Not tainted {release} #1")
    if request.is_sysrq:
        machine.printk(Level.WARNING, "Workqueue: events moom_callback")


def _header_nodemask(machine: Machine, request: OomRequest) -> str:
    if request.nodemask is None and machine.profile.header_nodemask_form == "mems_allowed":
        return _cpuset(machine, request)[1]
    return _nodemask(request)


def _nodemask(request: OomRequest) -> str:
    return "(null)" if request.nodemask is None else format_list(request.nodemask)


def _cpuset(machine: Machine, request: OomRequest) -> tuple[str, str]:
    """Return name and nodes of the allocating task's cpuset."""
    name = request.allocating.placement.cpuset_name if request.allocating else "/"
    return name, format_list(request.mems_allowed & machine.hardware.nodes)


# -- Memory ------------------------------------------------------------------------


def _print_mem_info(machine: Machine, request: OomRequest) -> None:
    """Print the block about memory: those nodes that the cpuset allows, a zone each."""
    used, hardware = machine.used, machine.hardware
    free, slab = machine.free_pages, hardware.slab_pages
    lines = [
        "Mem-Info:",
        f"active_anon:0 inactive_anon:{used.anon_pages} isolated_anon:0\n"
        f" active_file:0 inactive_file:{used.file_pages} isolated_file:0\n"
        f" unevictable:0 dirty:0 writeback:0\n"
        f" slab_reclaimable:0 slab_unreclaimable:{slab}\n"
        f" mapped:{used.file_pages} shmem:{used.shmem_pages} "
        f"pagetables:{used.pagetable_pages} bounce:0\n"
        f" free:{free} free_pcp:0 free_cma:0",
    ]
    shown = node_list(request.mems_allowed & hardware.nodes)
    if machine.profile.version >= (4, 8):  # since then the lists of pages are the node's
        lines += [_node_line(machine, node) for node in shown]
    for node in shown:
        lines += [_zone_line(machine, node), "lowmem_reserve[]: 0 0"]
    lines += [
        f"{used.file_pages + used.shmem_pages} total pagecache pages",
        "0 pages in swap cache",
        f"Free swap  = {machine.free_swap_entries * PAGE_KIB}kB",
        f"Total swap = {hardware.swap_pages * PAGE_KIB}kB",
        f"{hardware.present_pages} pages RAM",
        "0 pages HighMem/MovableOnly",
        f"{hardware.present_pages - hardware.ram_pages} pages reserved",
    ]
    for line in lines:
        machine.printk(Level.WARNING, line)


def _share_kib(machine: Machine, node: int, pages: int) -> str:
    """Write a node's part of these pages: who has memory where is not modelled."""
    hardware = machine.hardware
    return f"{pages * hardware.node_pages[node] // hardware.ram_pages * PAGE_KIB}kB"


def _node_line(machine: Machine, node: int) -> str:
    used, share = machine.used, partial(_share_kib, machine, node)
    return (
        f"Node {node} active_anon:0kB inactive_anon:{share(used.anon_pages)} "
        f"active_file:0kB inactive_file:{share(used.file_pages)} unevictable:0kB "
        f"isolated(anon):0kB isolated(file):0kB mapped:{share(used.file_pages)} "
        f"dirty:0kB writeback:0kB shmem:{share(used.shmem_pages)} writeback_tmp:0kB "
        "all_unreclaimable? no"
    )


def _zone_line(machine: Machine, node: int) -> str:
    """Return the line of the node's zone, which is named where there are several."""
    hardware, share = machine.hardware, partial(_share_kib, machine, node)
    minimum = machine.sysctls["vm/min_free_kbytes"] // len(hardware.node_pages)
    prefix = f"Node {node} " if len(hardware.node_pages) > 1 else ""
    return (
        f"{prefix}Normal free:{share(machine.free_pages)} min:{minimum}kB "
        f"low:{minimum * 5 // 4}kB high:{minimum * 3 // 2}kB "
        f"present:{share(hardware.present_pages)} "
        f"managed:{share(hardware.ram_pages)} mlocked:0kB"
    )


def _print_memcg(machine: Machine, memcg: Memcg, chosen: Process | None) -> None:
    """Print usage and limit of the memcg that is out of memory, and its counters."""
    if not machine.profile.oom_kill_summary_line:
        if chosen is not None:
            text = f"Task in {chosen.memcg.path} killed as a result of limit of {memcg.path}"
        else:
            text = f"Memory limit reached of cgroup {memcg.path}"
        machine.printk(Level.INFO, text)
    sizes = memcg_sizes(memcg)
    usage = sizes.rss_pages * PAGE_KIB
    limit = _NO_LIMIT_KIB if memcg.limit_pages is None else memcg.limit_pages * PAGE_KIB
    swap = usage + sizes.swap_entries * PAGE_KIB
    lines = [
        f"memory: usage {usage}kB, limit {limit}kB, failcnt {memcg.oom_events}",
        f"memory+swap: usage {swap}kB, limit {_NO_LIMIT_KIB}kB, failcnt 0",
        f"kmem: usage 0kB, limit {_NO_LIMIT_KIB}kB, failcnt 0",
    ]
    stats = f"Memory cgroup stats for {memcg.path}:"
    counters = {"cache": sizes.file_pages + sizes.shmem_pages, "rss": sizes.anon_pages}
    if machine.profile.oom_kill_summary_line:
        lines += [stats, *(f"{name} {pages * PAGE_BYTES}" for name, pages in counters.items())]
    else:
        shown = " ".join(f"{name}:{pages * PAGE_KIB}KB" for name, pages in counters.items())
        lines.append(f"{stats} {shown}")
    for line in lines:
        machine.printk(Level.INFO, line)


def memcg_sizes(memcg: Memcg) -> MemorySizes:
    """Add up what the members' address spaces hold, each once."""
    mms = {process.mm: None for process in memcg.processes()}
    return sum((mm.sizes for mm in mms if mm is not None), MemorySizes())


# -- The table of tasks ------------------------------------------------------------

_TITLE = "Tasks state (memory values in pages):"
_COLUMNS = {
    "nr_ptes": "[ pid ]   uid  tgid total_vm      rss nr_ptes nr_pmds swapents oom_score_adj name",
    "pgtables": "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents "
    "oom_score_adj name",
    "rss split": "[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem "
    "pgtables_bytes swapents oom_score_adj name",
}


def _print_tasks(machine: Machine, request: OomRequest) -> None:
    """Print a row for every process that has an mm and is neither init nor the kernel's."""
    table = machine.profile.table_format
    if table != "nr_ptes":
        machine.printk(Level.INFO, _TITLE)
    machine.printk(Level.INFO, _COLUMNS[table])
    for process in _listed(machine, request):
        thread = process.find_mm_thread()
        if thread is None or process.is_global_init or process.is_kthread:
            continue
        machine.printk(Level.INFO, _row(machine, thread))


def _listed(machine: Machine, request: OomRequest) -> Iterable[Process]:
    """Return those that the OOM is about; until 5.3 in order of creation."""
    memcg = request.memcg
    processes: Iterable[Process] = machine.processes.values()
    if memcg is not None and machine.profile.memcg_of_mm_owner:
        processes = [process for process in processes if memcg.is_charged_for(process)]
    elif memcg is not None:
        processes = memcg.processes()
    return [p for p in processes if is_eligible(machine.profile, request, p)]


def _row(machine: Machine, thread: Thread) -> str:
    table = machine.profile.table_format
    process, mm = thread.process, thread.mm
    assert mm is not None
    sizes, uid = machine.counted_sizes(mm), thread.credentials.uid
    behind = f"{sizes.swap_entries:8d}         {process.oom_score_adj:5d} {thread.comm}"
    if table == "nr_ptes":
        return (
            f"[{thread.tid:5d}] {uid:5d} {process.pid:5d} {sizes.total_vm_pages:8d} "
            f"{sizes.rss_pages:8d} {sizes.pte_pages:7d} {sizes.pmd_pages:7d} {behind}"
        )
    split = ""
    if table == "rss split":
        split = f"{sizes.anon_pages:8d} {sizes.file_pages:8d} {sizes.shmem_pages:9d} "
    return (
        f"[{thread.tid:7d}] {uid:5d} {process.pid:5d} {sizes.total_vm_pages:8d} "
        f"{sizes.rss_pages:8d} {split}{sizes.pagetable_pages * PAGE_BYTES:8d} {behind}"
    )


# -- The lines about the victim ----------------------------------------------------


def _print_summary(machine: Machine, request: OomRequest, chosen: Thread) -> None:
    """Print the line that names the chosen one (since 5.0), its leader as a rule."""
    name, mems = _cpuset(machine, request)
    cpuset = f"cpuset={name},mems_allowed={mems}," if machine.build.cpusets else ""
    scope = f"oom_memcg={request.memcg.path}" if request.memcg is not None else "global_oom"
    machine.printk(
        Level.INFO,
        f"oom-kill:constraint={request.constraint},nodemask={_nodemask(request)},{cpuset}{scope},"
        f"task_memcg={chosen.process.memcg.path},task={chosen.comm},pid={chosen.tid},"
        f"uid={chosen.credentials.uid}",
    )


def killed_line(machine: Machine, victim: Thread, message: str) -> None:
    """Print the line about a victim: what its mm held at that moment."""
    mm = victim.mm
    assert mm is not None
    sizes, form = machine.counted_sizes(mm), machine.profile.killed_line
    text = (
        f"Killed process {victim.tid} ({victim.comm}) "
        f"total-vm:{sizes.total_vm_pages * PAGE_KIB}kB, "
        f"anon-rss:{sizes.anon_pages * PAGE_KIB}kB, file-rss:{sizes.file_pages * PAGE_KIB}kB"
    )
    if form != "no shmem":
        text += f", shmem-rss:{sizes.shmem_pages * PAGE_KIB}kB"
    if form.startswith("message"):
        text = f"{message}: {text}"
    if form.endswith("pgtables"):
        text += (
            f", UID:{victim.credentials.uid} pgtables:{sizes.pagetable_pages * PAGE_KIB}kB "
            f"oom_score_adj:{victim.process.oom_score_adj}"
        )
    machine.printk(Level.ERR, text)
