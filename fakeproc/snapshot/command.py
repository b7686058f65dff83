# SPDX-License-Identifier: MIT
"""`fakeproc scenario snapshot`: reads the host, tries the scenario out, writes it."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from fakeproc.kernel.errors import Refused
from fakeproc.output import Output
from fakeproc.scenario import build
from fakeproc.scenario.load import Misplaced
from fakeproc.snapshot.host import Host, read_host
from fakeproc.snapshot.redact import Plain, Redacted
from fakeproc.snapshot.scenario import Snapshot
from fakeproc.snapshot.structure import Structure
from fakeproc.toml import dump_scenario

TOLERANCE = 1
"""By how much a score may differ from the host's: one may move while it is read."""

_MOST_TRIES = 3


def write_snapshot(out: Path | None, *, redact: bool, pid: int | None = None) -> None:
    """Write the host, or the tree of one process of it, to a file or to standard output.

    `Refused` says why it cannot be taken or written; ESRCH for a pid that is not there.
    """
    text = _take(redact=redact, pid=pid)
    if out is None:
        sys.stdout.write(text)
        return
    Output(out).write(text)


def _take(*, redact: bool, pid: int | None) -> str:
    """Return the text; what was read of a host in motion may not go together: then again."""
    for tries_left in reversed(range(_MOST_TRIES)):
        host = read_host()
        if pid is not None:
            host = subtree(host, pid)
        try:
            return snapshot_text(host, Redacted() if redact else Plain())
        except Misplaced:
            if not tries_left:
                raise
    raise AssertionError("there is at least one try")


def subtree(host: Host, pid: int) -> Host:
    """Return a host of which only a process and those below it are left; ESRCH without one."""
    wanted = {pid}
    tree = []
    for process in Structure(host).in_order():
        if process.pid in wanted or process.parent_pid in wanted:
            wanted.add(process.pid)
            tree.append(process)
    if not any(process.pid == pid for process in tree):
        raise Refused(errno.ESRCH, f"--pid {pid}: there is no such process that can be read.")
    groups = (tuple(pid for pid in group if pid in wanted) for group in host.mm_groups)
    return replace(
        host,
        processes=tuple(tree),
        mm_groups=tuple(group for group in groups if len(group) > 1),
    )


def snapshot_text(host: Host, redaction: Plain) -> str:
    """Return the scenario; its head says what was found, what was guessed and what is missing.

    `Misplaced` when it does not load.
    """
    structure = Structure(host)
    data = Snapshot(structure, redaction).data()
    head = [
        *_found(structure, redaction),
        *_scores(structure, data),
        *_guessed(structure),
    ]
    return dump_scenario(data, head)


def _found(structure: Structure, redaction: Plain) -> Iterator[str]:
    host = structure.host
    release = structure.kernel if redaction.hides_command_lines else host.release
    threads = sum(1 + len(process.threads) for process in host.processes)
    yield f"A host with Linux {release}, {host.uptime_s} s after boot."
    yield f"processes: {len(host.processes)}; their threads: {threads}"
    if structure.kernel != ".".join(map(str, host.version)):
        yield f"The kernel is older than any that is mounted: {structure.kernel} stands for it."
    if host.unreadable:
        yield f"left out, since their files may not be read: {host.unreadable}"
    if host.mm_groups:
        sharers = sum(map(len, host.mm_groups))
        yield f"mms with several processes (kcmp): {len(host.mm_groups)}; on them: {sharers}"
    if not host.sees_init:
        yield "Init is not in sight (a pid namespace, or hidepid)."
        for pid, given in structure.pids.items():
            if pid != given:
                yield f"pid {pid} is {given} here."


def _scores(structure: Structure, data: dict[str, Any]) -> Iterator[str]:
    """Say how near the scores of the scenario are to those of the host."""
    machine = build(data)
    pids, processes = structure.pids, structure.host.processes
    off = [
        abs(machine.oom_score(machine.processes[pids[process.pid]]) - process.oom_score)
        for process in processes
    ]
    near = sum(0 < distance <= TOLERANCE for distance in off)
    far = sum(distance > TOLERANCE for distance in off)
    yield f"oom_score as on the host: {off.count(0)}; off by {TOLERANCE}: {near}; by more: {far}"
    moved = sum(not process.score_stood_still for process in processes)
    if moved:
        yield f"scores that moved while they were read: {moved}"


def _guessed(structure: Structure) -> Iterator[str]:
    host = structure.host
    if host.uncompared_lookalikes:
        yield (
            "just as large as others, so perhaps on their mms, which could not be compared: "
            f"{host.uncompared_lookalikes}"
        )
    if structure.vforked:
        yield f"taken to be in vfork, which shows nowhere: {_pids(structure, structure.vforked)}"
    if structure.hidden:
        hidden = _pids(structure, structure.hidden)
        yield f"without a score, so taken to be hidden from the OOM killer: {hidden}"
    yield "The least oom_score_adj of each shows nowhere: it is taken to be the present one."
    if structure.is_oversubscribed:
        yield "Pages that several map count for each: the sizes exceed the machine."


def _pids(structure: Structure, pids: frozenset[int]) -> str:
    return ", ".join(str(structure.pids[pid]) for pid in sorted(pids))
