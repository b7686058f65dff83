# SPDX-License-Identifier: MIT
"""/proc/<pid> and /proc/<pid>/task/<tid>: `TASK_ENTRIES` is the table of what is in them.

To add a file, write the function that renders it in the module it belongs to, add a row
to that module's ``ROWS``, and its name to `_ORDER`.
"""

from __future__ import annotations

from fakeproc.procfs.task import (
    activity,
    descriptors,
    family,
    limits,
    maps,
    memory,
    mounts,
    names,
    namespaces,
    net,
    oom,
    pagemap,
    program,
    scheduling,
    security,
    settings,
    smaps,
    stat,
    status,
)
from fakeproc.procfs.task.node import TaskRow

_MODULES = (
    *(activity, descriptors, family, limits, mounts, names, namespaces, oom, program),
    *(maps, memory, net, pagemap, smaps),
    *(scheduling, security, settings, stat, status),
)

_ORDER = (
    *("task", "fd", "map_files", "fdinfo", "ns", "net", "environ", "auxv", "status"),
    *("personality", "limits", "sched", "autogroup", "timens_offsets", "comm", "syscall"),
    *("cmdline", "stat", "statm", "maps", "children", "numa_maps", "mem", "cwd", "root", "exe"),
    *("mounts", "mountinfo", "mountstats", "clear_refs", "smaps", "smaps_rollup", "pagemap"),
    *("attr", "wchan", "stack", "schedstat", "cpuset", "cgroup", "cpu_resctrl_groups"),
    *("oom_score", "oom_adj"),
    *("oom_score_adj", "loginuid", "sessionid", "coredump_filter", "io", "uid_map", "gid_map"),
    *("projid_map", "setgroups", "timers", "timerslack_ns", "patch_state", "arch_status"),
    *("ksm_merging_pages", "ksm_stat"),
)
"""The order of readdir (seen on 6.18)."""

_ROWS = {name: row for module in _MODULES for name, row in module.ROWS.items()}

TASK_ENTRIES: dict[str, TaskRow] = {name: _ROWS[name] for name in _ORDER if name in _ROWS}
"""The entries of a task's directory by name, in the kernel's order."""
