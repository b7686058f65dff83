# SPDX-License-Identifier: MIT
"""The whole state behind a mount as plain data, to compare two of them."""

from __future__ import annotations

import dataclasses
from typing import Any

from fakeproc.kernel.machine import Machine
from fakeproc.kernel.memcg import Memcg
from fakeproc.kernel.task import Mm, Process, Thread
from fakeproc.procfs.tree import Procfs


def dump(procfs: Procfs) -> dict[str, Any]:
    """Return all that the machine is, as plain values."""
    machine = procfs.machine
    mms = {thread.mm.id: thread.mm for thread in machine.threads() if thread.mm}
    return {
        "processes": [dump_process(process) for process in machine.processes.values()],
        "mms": [dump_mm(mm) for _, mm in sorted(mms.items())],
        "sysctls": machine.sysctls.items(),
        "lowmem_reserve_ratio": machine.sysctls.lowmem_reserve_ratio,
        "kernel": (machine.config.base, machine.config.states, machine.profile),
        "hardware": machine.hardware,
        "used": dataclasses.astuple(machine.used),
        "counters": (machine.forks, machine.last_pid, machine.oom_kills, machine.now_ns),
        "tids": sorted(thread.tid for thread in machine.threads()),
        "log": machine.log.render(),
        "pressure": [p.render(machine.now_ns) for p in machine.pressure.values()],
        "load": machine.load_average.render(machine.now_ns),
        "warned": machine.deprecated_warned,
        "memory": dump_memory(machine),
        "behaviours": [(process.pid, does) for process, does in machine.living.all()],
        "memcgs": [dump_memcg(group) for group in machine.root_memcg.subtree()],
        "question": procfs.question,
        "adopted": {process.pid: host_pid for process, host_pid in procfs.adopted.items()},
        "due": [event.due_ns for event in machine.events.pending()],
        "acting": {pid: thread.tid for pid, thread in procfs.acting.items()},
    }


def dump_memory(machine: Machine) -> dict[str, Any]:
    memory = machine.memory
    names = [f.name for f in dataclasses.fields(memory) if not f.name.startswith("_")]
    return {name: getattr(memory, name) for name in names} | {
        "swap_areas": list(memory.swap_areas),
        "counters": dataclasses.astuple(memory.counters),
    }


def dump_process(process: Process) -> dict[str, Any]:
    values = {
        field.name: getattr(process, field.name)
        for field in dataclasses.fields(process)
        if field.name not in ("real_parent", "leader") and not field.name.startswith("_")
    }
    parent = process.real_parent
    return values | {
        "memcg": process.memcg.path,
        "oom_mm": process.oom_mm.id if process.oom_mm else None,
        "real_parent": parent.tid if parent else None,
        "threads": [dump_thread(thread) for thread in process.threads],
        "children": [child.pid for child in process.children],
    }


def dump_memcg(memcg: Memcg) -> dict[str, Any]:
    return {
        "path": memcg.path,
        "limit": memcg.limit_pages,
        "oom_group": memcg.oom_group,
        "members": [process.pid for process in memcg.members],
        "events": dataclasses.astuple(memcg.events),
        "local_events": dataclasses.astuple(memcg.local_events),
        "failcnt": memcg.failcnt,
        "oom_kill_disable": memcg.oom_kill_disable,
        "oom_waiters": [thread.tid for thread in memcg.oom_waiters],
    }


def dump_thread(thread: Thread) -> dict[str, Any]:
    return {
        "tid": thread.tid,
        "comm": thread.comm,
        "credentials": thread.credentials,
        "start": thread.start_time_ns,
        "mm": thread.mm.id if thread.mm else None,
        "state": thread.state,
        "exiting": thread.exiting,
        "fatal_pending": thread.fatal_pending,
        "memdie": thread.memdie,
        "hold": thread.hold,
        "placement": thread.placement,
        "vfork_parent": thread.vfork_parent.tid if thread.vfork_parent else None,
        "vfork_child": thread.vfork_child.tid if thread.vfork_child else None,
    }


def dump_mm(mm: Mm) -> dict[str, Any]:
    names = [f.name for f in dataclasses.fields(mm) if not f.name.startswith("_")]
    return {name: getattr(mm, name) for name in names} | {
        "sizes": dataclasses.astuple(mm.sizes),
        "processes": [process.pid for process in mm.processes],
    }
