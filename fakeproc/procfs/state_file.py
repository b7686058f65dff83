# SPDX-License-Identifier: MIT
"""/proc/fakeproc/state.toml: the machine as it is now, as a scenario that carries on from here.

What it does not hold begins anew in the machine that is made of it: the kernel log and its rate
limit, the last verdict, the averages of pressure and load, what a behaviour has done of its present
step or tooth, and whether kswapd is awake.  Numbers of mms and of places in the order of creation
are other ones, in the same order.  Everything else is the same.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator
from typing import Any

from fakeproc.kernel import behaviour, details, numa
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.memcg import Memcg
from fakeproc.kernel.memory import SwapArea
from fakeproc.kernel.numa import ALL_NODES, ANYWHERE, Placement, PolicyMode
from fakeproc.kernel.profile import PATCHES, render_value
from fakeproc.kernel.sysctl import LOWMEM_RESERVE_RATIO, VECTOR
from fakeproc.kernel.task import (
    PAGE_KIB,
    Credentials,
    Hold,
    MemorySizes,
    Mm,
    Process,
    State,
    Thread,
    encode_name,
)
from fakeproc.procfs.session import Session
from fakeproc.toml import dump_scenario

_Table = dict[str, Any]


def render(session: Session) -> str:
    """Return the state as TOML."""
    machine = session.machine
    return dump_scenario(
        state_of(machine),
        [
            f"The state of a machine at {_duration(machine.now_ns)} after its boot; fakeproc mount "
            "--scenario FILE carries on from here.",
            "The kernel log, averages and steps of behaviours that are under way begin anew.",
        ],
    )


def state_of(machine: Machine) -> _Table:
    """Return the state as the data of a scenario."""
    return _given(
        version=1,
        machine=_machine(machine),
        sysctl=_sysctls(machine),
        state=_memory_of_the_machine(machine),
        swap=[_swap_area(area) for area in machine.memory.swap_areas],
        memcg=[_memcg(machine, group) for group in machine.root_memcg.subtree() if group.parent],
        process=[_process(machine, process) for process in machine.processes.values()],
        event=list(_events(machine)),
    )


def _given(**values: Any) -> _Table:
    """Return what is not nothing: neither None nor False, no empty text and no empty list."""
    return {
        key: value for key, value in values.items() if value not in (None, False, "", [], {}, 0)
    }


def _size(pages: int | None) -> str | None:
    return None if pages is None else f"{pages * PAGE_KIB}k"


def _used(pages: int) -> str | None:
    return _size(pages) if pages else None


def _duration(ns: int) -> str:
    for unit, factor in (("s", 1_000_000_000), ("ms", 1_000_000)):
        if ns % factor == 0:
            return f"{ns // factor}{unit}"
    return f"{ns}ns"


def _lasting(ns: int | None) -> str | None:
    return None if ns is None else _duration(ns)


# -- The machine -------------------------------------------------------------------


def _machine(machine: Machine) -> _Table:
    hardware, memory = machine.hardware, machine.memory
    nodes = [_size(pages) for pages in hardware.node_pages]
    ends_ns = machine.ends_ns
    slab_pages = memory.slab_unreclaimable_pages + memory.slab_reclaimable_pages
    return {
        **({"nodes": nodes} if len(nodes) > 1 else {"ram": nodes[0]}),
        "swap": "0",
        "cpus": hardware.cpus,
        "hostname": hardware.hostname,
        "cgroup_version": machine.build.cgroup_version,
        "first_pid": machine.first_pid,
        "uptime": _duration(machine.now_ns),
        **_kernel(machine),
        **_given(
            cache=_used(memory.cache_clean_pages),
            cache_dirty=_used(memory.cache_dirty_pages),
            cache_evicted=_used(memory.cache_evicted_pages),
            slab_reclaimable=_used(memory.slab_reclaimable_pages),
            oversubscribed=hardware.oversubscribed,
            end=None if ends_ns is None else _duration(max(ends_ns - machine.now_ns, 0)),
        ),
        "slab": _size(slab_pages),
    }


def _kernel(machine: Machine) -> _Table:
    config = machine.config
    original = type(config)(config.base)
    patches = [number for number in PATCHES if config.has_patch(number)]
    differs = any(config.has_patch(n) != original.has_patch(n) for n in PATCHES)
    switches = {name: render_value(value) for name, value in config.switches.items()}
    return {
        "kernel": config.base,
        **({"patches": patches} if differs else {}),
        **_given(switches=switches),
    }


def _sysctls(machine: Machine) -> _Table:
    """Return the values that are not those of boot."""
    table: _Table = {}
    kept = machine.kept_sysctls.changed()
    for name, value in {**machine.sysctls.changed(), **kept}.items():
        folder, _, file = name.partition("/")
        table.setdefault(folder, {})[file] = value
    ratios = machine.sysctls.lowmem_reserve_ratio
    if ratios != LOWMEM_RESERVE_RATIO:
        folder, _, file = VECTOR.partition("/")
        table.setdefault(folder, {})[file] = list(ratios)
    return table


def _memory_of_the_machine(machine: Machine) -> _Table:
    """Return what the machine remembers beside its tasks."""
    by_creation = list(machine.processes.values())
    attached = sorted(by_creation, key=lambda process: process.attached)
    counters = dataclasses.asdict(machine.memory.counters)
    return {
        "forks": machine.forks,
        "last_pid": machine.last_pid,
        "next_pid": machine.next_pid,
        **_given(
            oom_kills=machine.oom_kills,
            audit_sessions=machine.audit_sessions,
            deprecated_warned=machine.deprecated_warned,
            panicked=machine.panicked,
            attached=[p.pid for p in attached] if attached != by_creation else [],
            oom_origins=[process.pid for process in machine.oom_origins],
            behaving=[
                process.pid
                for process, _ in machine.living.all()
                if process.leader.mm is not None and not process.group_exit
            ],
            marked=[
                {"pid": process.pid, "since": _duration(since_ns)}
                for process, since_ns in machine.marked.items()
                if machine.processes.get(process.pid) is process
            ],
            reaping=list(_reaping(machine)),
            counters=_given(**counters),
            **_event_counts(machine.root_memcg),
        ),
    }


def _reaping(machine: Machine) -> Iterator[_Table]:
    for plan in machine.reaper.plans:
        if machine.find_thread(plan.thread.tid) is plan.thread:
            user = next(iter(plan.mm.processes), None) if plan.mm else None
            yield {
                "tid": plan.thread.tid,
                "mm": user.pid if user else 0,
                "due": _duration(plan.due_ns),
                "failures": plan.failures,
            }


def _swap_area(area: SwapArea) -> _Table:
    return {"name": area.name, "size": _size(area.size_pages), "priority": area.priority}


def _memcg(machine: Machine, group: Memcg) -> _Table:
    # Who was made to wait in a group that is not its own, and died, is still among them.
    waiting = [t.tid for t in group.oom_waiters if machine.find_thread(t.tid) is t]
    return {
        "path": group.path,
        **_given(limit=_size(group.limit_pages), swap_limit=_size(group.swap_limit_pages)),
        **_given(
            oom_group=group.oom_group,
            oom_kill_disable=group.oom_kill_disable,
            failcnt=group.failcnt,
            waiting=waiting,
            **_event_counts(group),
        ),
    }


def _event_counts(group: Memcg) -> _Table:
    counts = {
        "events": list(dataclasses.astuple(group.events)),
        "local_events": list(dataclasses.astuple(group.local_events)),
    }
    return {key: values for key, values in counts.items() if any(values)}


def _events(machine: Machine) -> Iterator[_Table]:
    """Return the lines that are still to be done, at the time from now on."""
    for event in machine.events.pending():
        if event.line:
            yield {"at": _duration(event.due_ns - machine.now_ns), "do": event.line}


# -- Processes ---------------------------------------------------------------------


def _process(machine: Machine, process: Process) -> _Table:
    leader, parent = process.leader, process.real_parent
    children = list(process.children)
    does = None if leader.mm is None else machine.living.behaviour_of(process)
    threads = [_thread(machine, thread, process.leader) for thread in process.threads[1:]]
    return {
        **_thread(machine, leader, None),
        **_given(
            parent=parent.tid if parent else None,
            kthread=process.is_kthread,
            oom_score_adj=process.oom_score_adj,
            oom_score_adj_min=process.oom_score_adj_min,
        ),
        **_mm(process),
        **_given(
            memcg=process.memcg.path if process.memcg.parent else None,
            behaviour=_behaviour(does) if does and not process.group_exit else None,
            group_exit=process.group_exit,
            exit_code=process.exit_code,
            pgrp=process.pgrp,
            session=process.session,
            oom_victims=process.oom_victims,
            oom_origin=process.oom_origin,
            coredumping=process.coredumping,
            ignores_sigchld=process.ignores_sigchld,
            children=_pids(children) if children != _by_creation(children) else [],
            thread=threads,
        ),
        **details.given(details.details_of(process)),
        **_oom_mm(process),
        **_stopped(machine, process),
    }


def _stopped(machine: Machine, process: Process) -> _Table:
    if not machine.is_stopped(process):
        return {}
    return {"pending_signals": machine.pending_signals(process)}


def _by_creation(processes: list[Process]) -> list[Process]:
    return sorted(processes, key=lambda process: process.sequence)


def _pids(processes: list[Process]) -> list[int]:
    return [process.pid for process in processes]


def _behaviour(does: behaviour.Behaviour) -> _Table:
    words = behaviour.options_of(does)
    table: _Table = {"kind": words.pop("behaviour")}
    for key, text in words.items():
        table[key] = int(text) if key == "max" else {"yes": True}.get(text, text)
    return table


def _oom_mm(process: Process) -> _Table:
    if process.oom_mm is None:
        return {}
    user = next(iter(process.oom_mm.processes), None)
    return {"oom_mm": user.pid if user else 0}


def _mm(process: Process) -> _Table:
    """Return the memory of a process, or whose it uses; of several the first one has it."""
    mm = process.mm
    if mm is None:
        return {}
    first = next(iter(mm.processes))
    if first is not process:
        return {"mm": first.pid}
    return {
        **_sizes(mm.sizes),
        **_cmdline(process, mm),
        **({} if mm.dumpable else {"dumpable": False}),
        **_given(hidden=mm.hidden, not_reapable=mm.not_reapable, multiprocess=mm.multiprocess),
    }


def _sizes(sizes: MemorySizes) -> _Table:
    return {
        **_given(
            anon=_used(sizes.anon_pages),
            file=_used(sizes.file_pages),
            shmem=_used(sizes.shmem_pages),
            swap=_used(sizes.swap_entries),
            mlocked=_used(sizes.mlocked_pages),
        ),
        "size": _size(sizes.total_vm_pages),
        "pte": _size(sizes.pte_pages),
        "pmd": _size(sizes.pmd_pages),
    }


def _cmdline(process: Process, mm: Mm) -> _Table:
    if mm.cmdline == (encode_name(process.comm),):
        return {}
    try:
        text = shlex.join(word.decode() for word in mm.cmdline)
    except UnicodeDecodeError:
        text = ""
    if text and "\0" not in text and [word.encode() for word in shlex.split(text)] == [*mm.cmdline]:
        return {"cmdline": text}
    return {"cmdline_hex": b"".join(word + b"\0" for word in mm.cmdline).hex()}


def _thread(machine: Machine, thread: Thread, leader: Thread | None) -> _Table:
    """Return a task; a leader (which has none) by its pid, others by their tids."""
    state = thread.state.value
    plain = State.ZOMBIE if thread.exiting else State.SLEEPING
    hold = thread.hold.value.replace(" ", "-") if thread.hold is not Hold.NONE else None
    return {
        **_name(thread.comm),
        ("tid" if leader else "pid"): thread.tid,
        **_credentials(machine, thread.credentials, leader.credentials if leader else None),
        **_placement(machine, thread.placement),
        **_given(
            state=state if state != plain or thread.exiting else None,
            start=_duration(thread.start_time_ns) if thread.start_time_ns else None,
            hold=hold,
            hold_for=_lasting(machine.holds.for_ns(thread)) if hold else None,
            vfork_of=thread.vfork_parent.tid if thread.vfork_parent else None,
            fatal_pending=thread.fatal_pending,
            memdie=thread.memdie,
            oom_reaped=thread.oom_reaped,
        ),
    }


def _name(comm: str) -> _Table:
    try:
        comm.encode()
        if comm and "\0" not in comm:
            return {"name": comm}
    except UnicodeEncodeError:
        pass
    return {"name": "?", "name_hex": encode_name(comm).hex()}


def _credentials(machine: Machine, own: Credentials, leader: Credentials | None) -> _Table:
    if own == leader:
        return {}
    full = machine.full_capabilities
    caps = {0: "none", full: "all"}.get(own.capabilities, f"{own.capabilities:#x}")
    return {"uid": own.uid, "gid": own.gid, "caps": caps}


def _placement(machine: Machine, placement: Placement) -> _Table:
    if placement == ANYWHERE:
        return {}
    nodes = machine.hardware.nodes
    table: _Table = {"cpuset": placement.cpuset}
    if placement.mems != ALL_NODES:
        table["mems_allowed"] = numa.format_list(placement.mems & nodes)
    if placement.mode is not PolicyMode.NONE:
        table["mempolicy"] = f"{placement.mode}:{numa.format_list(placement.policy_nodes)}"
    return table
