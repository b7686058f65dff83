# SPDX-License-Identifier: MIT
"""From what `fakeproc.procfs.state_file` has written to the machine as it was."""

from __future__ import annotations

import errno
import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from fakeproc.kernel import details, numa, oom
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.memcg import Memcg, MemcgEvents
from fakeproc.kernel.memory import Counters
from fakeproc.kernel.numa import ANYWHERE
from fakeproc.kernel.reaper import Reaping
from fakeproc.kernel.restore import (
    MachineImage,
    MmImage,
    ProcessImage,
    Restorer,
    TaskImage,
)
from fakeproc.kernel.task import (
    Credentials,
    Hold,
    MemorySizes,
    Process,
    State,
    Thread,
    encode_name,
)
from fakeproc.scenario.check import behaviour_of
from fakeproc.scenario.keys import HOLDS
from fakeproc.units import SIZE_KEYS, parse_duration_ns, parse_pages

Table = Mapping[str, Any]

_ROOTS = (1, 2)
"""Init and kthreadd, who have no parent; every machine has them."""

CredentialsOf = Callable[[Credentials, Table], Credentials]


class StateLoader:
    """Puts the processes of a state into a machine that has just been made."""

    def __init__(self, machine: Machine, now_ns: int, credentials: CredentialsOf) -> None:
        self._machine = machine
        self._restorer = Restorer(machine, now_ns)
        self._credentials = credentials
        self._behaving: dict[int, Callable[[], object]] = {}
        self._later: list[Callable[[], object]] = []
        """What needs processes that come later."""

    # -- Processes ---------------------------------------------------------------------

    def add(self, table: Table) -> None:
        """Put in a process."""
        parent = table.get("parent", None if table.get("pid") in _ROOTS else 1)
        base = self._machine.root if parent is None else self._machine.thread(parent)
        leader = self._task(table, base.credentials, State.SLEEPING)
        threads = [
            self._task(each, leader.credentials, State.SLEEPING) for each in table.get("thread", ())
        ]
        process = self._restorer.add(
            ProcessImage(
                tasks=(leader, *threads),
                parent=parent,
                memcg=self._machine.memcg(table.get("memcg", "/")),
                mm=self._mm(table, leader),
                is_kthread=table.get("kthread", False),
                oom_score_adj=table.get("oom_score_adj", 0),
                oom_score_adj_min=table.get("oom_score_adj_min", 0),
                group_exit=table.get("group_exit", False),
                exit_code=table.get("exit_code", 0),
                pgrp=table.get("pgrp", 0),
                session=table.get("session", 0),
                oom_victims=table.get("oom_victims", 0),
                oom_origin=table.get("oom_origin", False),
                coredumping=table.get("coredumping", False),
                ignores_sigchld=table.get("ignores_sigchld", False),
                pending_signals=table.get("pending_signals"),
                details=details.simplest(details.changed(details.STANDARD, table)),
            )
        )
        self._remember(process, table)
        if "behaviour" in table:
            does, tasks = behaviour_of(table["behaviour"]), (leader, *threads)
            self._behaving[process.pid] = partial(self._restorer.behave, process, does, tasks)

    def _task(self, table: Table, base: Credentials, state: State) -> TaskImage:
        name = table.get("name", "?")
        if "name_hex" in table:
            name = bytes.fromhex(table["name_hex"]).decode(errors="surrogateescape")
        return TaskImage(
            tid=table.get("pid") or table.get("tid") or self._restorer.free_pid(),
            comm=name,
            credentials=self._own_credentials(base, table),
            placement=numa.changed(ANYWHERE, table, self._machine.hardware.nodes),
            start_ns=_ns(table.get("start")) or 0,
            state=State(table.get("state", state)),
            fatal_pending=table.get("fatal_pending", False),
            memdie=table.get("memdie", False),
            oom_reaped=table.get("oom_reaped", False),
            hold=HOLDS.get(table.get("hold", ""), Hold.NONE),
            hold_for_ns=_ns(table.get("hold_for")),
        )

    def _own_credentials(self, base: Credentials, table: Table) -> Credentials:
        """Return what the keys say; capabilities of an earlier kernel stay what they were."""
        credentials = self._credentials(base, table)
        if not table.get("caps", "").startswith("0x"):
            return credentials
        return replace(credentials, capabilities=int(table["caps"], 16))

    def _mm(self, table: Table, leader: TaskImage) -> MmImage | int | None:
        if "mm" in table:
            return int(table["mm"])
        if not table.keys() & set(SIZE_KEYS):
            return None
        return MmImage(
            _sizes(table),
            _cmdline(table, leader.comm),
            dumpable=table.get("dumpable", True),
            multiprocess=table.get("multiprocess", False),
            hidden=table.get("hidden", False),
            not_reapable=table.get("not_reapable", False),
        )

    def _remember(self, process: Process, table: Table) -> None:
        """Note what can only be done when all processes are there."""
        for thread, row in zip(process.threads, [table, *table.get("thread", ())], strict=True):
            if "vfork_of" in row:
                self._later.append(partial(self._link_vfork, row["vfork_of"], thread))
        if "children" in table:
            children = table["children"]
            self._later.append(partial(self._restorer.order_children, process, children))
        if "oom_mm" in table:
            self._later.append(partial(self._restorer.set_oom_mm, process, table["oom_mm"]))

    def _link_vfork(self, creator: int, child: Thread) -> None:
        self._restorer.link_vfork(self._machine.thread(creator), child)

    # -- The machine -------------------------------------------------------------------

    def finish(self, data: Table) -> None:
        """Tie the processes together, and set what the machine itself remembers."""
        machine, table = self._machine, data["state"]
        for pid in _ROOTS:
            machine.process(pid)
        if machine.init.leader.mm is None:
            raise Refused(errno.EINVAL, "process 1: init has no memory; accepted is one that runs.")
        for action in self._later:
            action()
        self._restorer.attach_in_order(table.get("attached", ()))
        for pid in table.get("oom_origins", ()):
            machine.set_oom_origin(machine.process(pid), True)
        first = [pid for pid in table.get("behaving", ()) if pid in self._behaving]
        for pid in dict.fromkeys([*first, *self._behaving]):
            self._behaving[pid]()
        for entry in table.get("marked", ()):
            machine.marked[machine.process(entry["pid"])] = _ns(entry["since"]) or 0
        for entry in table.get("reaping", ()):
            self._reap(entry)
        _set_events(machine.root_memcg, table)
        for memcg in data.get("memcg", ()):
            self._set_memcg(memcg)
        self._restorer.finish(
            MachineImage(
                forks=table.get("forks", 0),
                last_pid=table.get("last_pid", 0),
                next_pid=table.get("next_pid", machine.first_pid),
                oom_kills=table.get("oom_kills", 0),
                audit_sessions=table.get("audit_sessions", 0),
                deprecated_warned=table.get("deprecated_warned", False),
                panicked=table.get("panicked", ""),
                counters=Counters(**table.get("counters", {})),
            )
        )

    def _reap(self, entry: Table) -> None:
        machine = self._machine
        mm = machine.process(entry["mm"]).mm if entry["mm"] else None
        thread = machine.thread(entry["tid"])
        machine.reaper.restore(Reaping(thread, mm, _ns(entry["due"]) or 0, entry["failures"]))

    def _set_memcg(self, table: Table) -> None:
        machine = self._machine
        memcg = machine.memcg(table["path"])
        memcg.failcnt = table.get("failcnt", 0)
        _set_events(memcg, table)
        for tid in table.get("waiting", ()):
            thread = machine.thread(tid)
            request = oom.allocation(machine, allocating=thread, memcg=memcg)
            memcg.oom_waiters[thread] = request


def _set_events(memcg: Memcg, table: Table) -> None:
    memcg.events = MemcgEvents(*table.get("events", ()))
    memcg.local_events = MemcgEvents(*table.get("local_events", ()))


def _ns(text: str | None) -> int | None:
    return None if text is None else parse_duration_ns("", text)


def _sizes(table: Table) -> MemorySizes:
    """Return the sizes; what is not given is nothing."""
    return MemorySizes(
        **{SIZE_KEYS[key]: parse_pages(table[key]) for key in SIZE_KEYS if key in table}
    )


def _cmdline(table: Table, comm: str) -> tuple[bytes, ...]:
    if "cmdline_hex" in table:
        return tuple(bytes.fromhex(table["cmdline_hex"]).split(b"\0")[:-1])
    if "cmdline" in table:
        return tuple(word.encode() for word in shlex.split(table["cmdline"]))
    return (encode_name(comm),)
