# SPDX-License-Identifier: MIT
"""What the OOM killer prints, in the words of each generation.

`header` is the report (dump_header): who asked, the memory, the table of tasks, and since
5.0 a line that sums it up.  `killed_line` is the line about a victim.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from fakeproc.kernel import gfp, memcg_stat, show_mem
from fakeproc.kernel.log import Level
from fakeproc.kernel.memcg import Memcg
from fakeproc.kernel.numa import format_list, is_eligible
from fakeproc.kernel.task import PAGE_BYTES, PAGE_KIB, Process, Thread

if TYPE_CHECKING:
    from fakeproc.kernel.machine import Machine
    from fakeproc.kernel.oom import OomRequest

SYSRQ_WORKER = "kworker/0:1"
"""The kernel thread that runs a manual OOM."""

_NO_LIMIT_KIB = memcg_stat.NO_LIMIT_BYTES // 1024


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
        for level, line in show_mem.lines(machine, request.mems_allowed):
            machine.printk(level, line)
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
    uid = current.credentials.uid if current else 0
    who = f"UID: {uid} PID: {tid}" if machine.profile.cpu_line_uid else f"PID: {tid}"
    machine.printk(Level.WARNING, f"CPU: 0 {who} Comm: {comm} Not tainted {release} #1")
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


def _print_memcg(machine: Machine, memcg: Memcg, chosen: Process | None) -> None:
    """Print usage and limit of the memcg that is out of memory, and its counters."""
    if not machine.profile.oom_kill_summary_line:
        if chosen is not None:
            text = f"Task in {chosen.memcg.path} killed as a result of limit of {memcg.path}"
        else:
            text = f"Memory limit reached of cgroup {memcg.path}"
        machine.printk(Level.INFO, text)
    usage, limit = memcg_stat.usage_of(machine, memcg), _NO_LIMIT_KIB
    if memcg.limit_pages is not None:
        limit = memcg.limit_pages * PAGE_KIB
    used, swapped = usage.memory_pages * PAGE_KIB, usage.swap_entries * PAGE_KIB
    lines = [f"memory: usage {used}kB, limit {limit}kB, failcnt {memcg.failcnt}"]
    version = machine.build.cgroup_version
    if version == 2 and machine.profile.memcg_stats != "one line":
        lines.append(f"swap: usage {swapped}kB, limit {_NO_LIMIT_KIB}kB, failcnt 0")
    else:
        kernel = usage.kernel_pages * PAGE_KIB
        lines += [
            f"memory+swap: usage {used + swapped}kB, limit {_NO_LIMIT_KIB}kB, failcnt 0",
            f"kmem: usage {kernel}kB, limit {_NO_LIMIT_KIB}kB, failcnt 0",
        ]
    for line in [*lines, *_memcg_stats(machine, memcg)]:
        machine.printk(Level.INFO, line)


def _memcg_stats(machine: Machine, memcg: Memcg) -> Iterable[str]:
    """Return the counters: a line for each group below, or memory.stat of the group."""
    title, form = "Memory cgroup stats for", machine.profile.memcg_stats
    if form == "one line":
        return [f"{title} {g.path}: {memcg_stat.one_line(machine, g)}" for g in memcg.subtree()]
    # Until 6.5 it was that of version 2 whichever version there was (seen on 6.1).
    version = machine.build.cgroup_version if form == "memory.stat of its version" else 2
    return [f"{title} {memcg.path}:", *memcg_stat.stat_lines(machine, memcg, version)]


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
    rows = (_row(machine, thread) for thread in _last_first(machine, request))
    machine.log.printk_backwards(Level.INFO, rows, machine.now_ns)


def _last_first(machine: Machine, request: OomRequest) -> Iterator[Thread]:
    """Walk the table from its end: a task with an mm of each process that the OOM is about.

    Until 5.3 a memcg's table is in order of creation as well.
    """
    memcg = request.memcg
    owned = memcg if machine.profile.memcg_of_mm_owner else None
    processes = reversed(machine.processes.values())
    if memcg is not None and owned is None:
        processes = reversed(list(memcg.processes()))
    for process in processes:
        thread = process.find_mm_thread()
        if thread is None or process.is_global_init or process.is_kthread:
            continue
        if owned is not None and not owned.is_charged_for(process):
            continue
        if is_eligible(machine.profile, request, process):
            yield thread


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
