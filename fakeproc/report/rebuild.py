# SPDX-License-Identifier: MIT
"""From a report to a machine: by way of a scenario, so that it can be mounted as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fakeproc.kernel.machine import Machine
from fakeproc.kernel.oom import OomRequest
from fakeproc.kernel.profile import KernelConfig, render_value
from fakeproc.kernel.task import PAGE_KIB, Thread, truncate_comm
from fakeproc.report.parse import Report, Scope, Style
from fakeproc.report.table import TaskRow
from fakeproc.report.total import Total
from fakeproc.scenario import build

BOOT_PIDS = frozenset({1, 2})
"""Init and kthreadd: every machine has them, and a table lists neither."""

_UNKNOWN_MEMCG = "/memcg"
_SWITCHES = ("admin_discount_base", "child_sacrifice", "rss_in_batches")
"""What `generation` may have set otherwise than the release has it."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a report leaves open, and what options change; tasks by the pid of their group."""

    config: KernelConfig
    total: Total
    unprivileged: frozenset[int] = frozenset()
    """Root's that lack CAP_SYS_ADMIN, as in a container; only the uid is printed."""
    hidden: frozenset[int] = frozenset()
    """Victims of earlier OOMs, whose memory is out of the OOM killer's sight."""
    vforked: Mapping[int, int] = field(default_factory=dict)
    """Children in vfork, which run on the memory of their parents, and those."""
    scores: Mapping[int, int] = field(default_factory=dict)
    """Other values of oom_score_adj than those of the table."""


def scenario_of(report: Report, given: Circumstances) -> dict[str, Any]:
    """Return the scenario of the report, as `fakeproc.scenario.build` takes it."""
    total = given.total
    memcg = report.scope is Scope.MEMCG
    reference = {state.name: state.value for state in type(given.config)(given.config.base).states}
    switches = {
        state.name: render_value(state.value)
        for state in given.config.states
        if state.name in _SWITCHES and state.value != reference[state.name]
    }
    machine = {
        "kernel": given.config.base,
        "swap": _size(total.swap_pages),
        "oversubscribed": True,
        "switches": switches,
    }
    if not memcg:
        machine["ram"] = _size(total.pages - total.swap_pages)
    return {
        "version": 1,
        "machine": machine,
        "memcg": _memcgs(report, total),
        "process": _processes(report, given),
    }


def memcg_path(report: Report) -> str | None:
    """Return the cgroup that was out of memory, under a name that can be typed; None: none was."""
    return _typeable(report.memcg_path) if report.scope is Scope.MEMCG else None


def _typeable(path: str | None) -> str:
    words = "_".join((path or "").replace("\0", "").split())
    return words if words.startswith("/") and words.strip("/") else _UNKNOWN_MEMCG


def _memcgs(report: Report, total: Total) -> list[dict[str, Any]]:
    path, group = memcg_path(report), report.group_path and _typeable(report.group_path)
    groups: list[dict[str, Any]] = []
    if path is not None:
        limit_pages = total.pages - total.swap_pages
        # A limit of nothing counts as one page.
        limit_pages = 0 if report.memory.memcg_limit_kb == 0 else limit_pages
        groups.append(
            {"path": path, "limit": _size(limit_pages), "swap_limit": _size(total.swap_pages)}
        )
    if group is not None and group == path:
        groups[0]["oom_group"] = True
    elif group is not None:
        groups.append({"path": group, "oom_group": True})
    return groups


def _processes(report: Report, given: Circumstances) -> list[dict[str, Any]]:
    """Return the processes in the order of the table, children that are known in their parent."""
    chosen, killed = report.row_of(report.chosen), report.row_of(report.killed)
    sharers = {row.tgid for task in report.sharers if (row := report.row_of(task)) is not None}
    tables: dict[int, dict[str, Any]] = {}
    for row in report.rows:
        if row.tgid not in BOOT_PIDS:
            tables[row.tgid] = _process(report, given, row)
    if killed is not None:
        for pid in sharers & tables.keys() - {killed.tgid}:
            _put_into(tables.get(killed.tgid), _sharing(tables.pop(pid)))
    for pid, parent in given.vforked.items():
        _put_into(tables.get(parent), {**_sharing(tables.pop(pid)), "vfork": True})
    if is_child_sacrifice(report) and chosen and killed and killed.tgid in tables:
        _put_into(tables.get(chosen.tgid), tables.pop(killed.tgid))
    return list(tables.values())


def is_child_sacrifice(report: Report) -> bool:
    """Say whether somebody else's row was killed than the chosen one's: its child (until 5.0)."""
    chosen, killed = report.row_of(report.chosen), report.row_of(report.killed)
    if chosen is None or killed is None or chosen.tgid in BOOT_PIDS:
        return False
    return chosen.tgid != killed.tgid and Style.SACRIFICE in report.styles


def _sharing(table: dict[str, Any]) -> dict[str, Any]:
    """Return a process without memory of its own."""
    kept = ("name", "pid", "uid", "caps", "oom_score_adj")
    return {**{key: table[key] for key in kept if key in table}, "vm": "shared"}


def _put_into(parent: dict[str, Any] | None, child: dict[str, Any]) -> None:
    if parent is not None:
        parent.setdefault("process", []).append(child)


def _process(report: Report, given: Circumstances, row: TaskRow) -> dict[str, Any]:
    pte_pages = row.pte_pages + row.pgtables_bytes // (report.memory.page_kb * 1024)
    in_use = row.anon_pages + row.file_pages + row.shmem_pages + row.swap_entries
    table: dict[str, Any] = {
        "name": truncate_comm(row.comm.replace("\0", "")) or "?",
        "pid": row.tgid,
        "uid": min(row.uid, 2**32 - 2),
        "oom_score_adj": given.scores.get(row.tgid, row.oom_score_adj),
        "anon": _size(row.anon_pages),
        "file": _size(row.file_pages),
        "shmem": _size(row.shmem_pages),
        "swap": _size(row.swap_entries),
        "pte": _size(pte_pages),
        "pmd": _size(row.pmd_pages),
        "size": _size(max(row.total_vm_pages, in_use)),
    }
    if row.uid == 0:
        table["caps"] = "-sys_admin" if row.tgid in given.unprivileged else "all"
    if row.tgid in given.hidden:
        table["hidden"] = True
    if is_swapoff(row):
        table["oom_origin"] = True
    memcg = _memcg_of(report, row)
    return table if memcg is None else {**table, "memcg": memcg}


def is_swapoff(row: TaskRow) -> bool:
    """Say whether the task takes memory on behalf of others, and is to pay for that.

    swapoff(2) is the one system call of that name's command; KSM has no such mark.
    """
    return row.comm == "swapoff"


def _memcg_of(report: Report, row: TaskRow) -> str | None:
    if report.group_path is not None:
        dead = [report.killed, *report.also_killed]
        if any(task is not None and task.pid in (row.tid, row.tgid) for task in dead):
            return _typeable(report.group_path)
    return memcg_path(report)


def _size(pages: int) -> str:
    """Write pages of whatever size as that many pages of the simulated machine."""
    return f"{pages * PAGE_KIB}k"


# -- The machine -------------------------------------------------------------------


def machine_of(report: Report, given: Circumstances) -> tuple[Machine, OomRequest]:
    """Return the machine and the OOM, as its trigger would invoke it."""
    machine = build(scenario_of(report, given))
    path = memcg_path(report)
    memcg = machine.memcg(path) if path is not None else None
    totalpages = machine.hardware.totalpages
    if memcg is not None:
        totalpages = machine.memcg_totalpages(memcg)
    allocating = None
    if report.kills_allocating:
        machine.store_sysctl("vm/oom_kill_allocating_task", b"1")
        allocating = _allocating(machine, report)
    return machine, OomRequest(totalpages, allocating, order=report.order or 0, memcg=memcg)


def _allocating(machine: Machine, report: Report) -> Thread | None:
    """Return who asked for the memory; by the words of the log, that is who was killed."""
    pids = [report.allocating_pid, *(task.pid for task in (report.chosen, report.killed) if task)]
    for pid in pids:
        thread = machine.find_thread(pid) if pid is not None else None
        if thread is not None and thread.process.pid not in BOOT_PIDS:
            return thread
    return None
