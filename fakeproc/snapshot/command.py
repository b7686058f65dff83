# SPDX-License-Identifier: MIT
"""`fakeproc scenario snapshot`: reads the host, tries the scenario out, writes it."""

from __future__ import annotations

import errno
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from fakeproc.kernel.errors import Refused
from fakeproc.scenario import build
from fakeproc.snapshot.host import Host, read_host
from fakeproc.snapshot.redact import Plain, Redacted
from fakeproc.snapshot.scenario import Snapshot
from fakeproc.toml import dump_scenario

TOLERANCE = 1
"""By how much a score may differ from the host's: one may move while it is read."""


def write_snapshot(out: Path | None, *, redact: bool, pid: int | None = None) -> None:
    """Write the host, or the tree of one process of it, to a file or to standard output.

    `Refused` says why it cannot be taken or written; ESRCH for a pid that is not there.
    """
    host = read_host()
    if pid is not None:
        host = subtree(host, pid)
    text = snapshot_text(host, Redacted() if redact else Plain())
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.write_text(text)
    except OSError as error:
        raise Refused(errno.EINVAL, f"{out}: cannot be written: {error.strerror}.") from None


def subtree(host: Host, pid: int) -> Host:
    """Return a host of which only a process and those below it are left."""
    wanted = {pid}
    tree = []
    for process in Snapshot(host, Plain()).in_order():
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
    """Return the scenario; its head says what was found, what was guessed and what is missing."""
    snapshot = Snapshot(host, redaction)
    data = snapshot.data()
    return dump_scenario(data, list(_head(snapshot, data)))


def _head(snapshot: Snapshot, data: dict[str, Any]) -> Iterator[str]:
    host = snapshot.host
    if snapshot.redaction.hides_command_lines:
        yield "A host; names, paths and command lines are redacted."
    else:
        yield f"{host.hostname.splitlines()[0]}, Linux {host.release}"
    threads = sum(1 + len(process.threads) for process in host.processes)
    yield f"{len(host.processes)} processes, {threads} threads; taken {host.uptime_s} s after boot."
    if snapshot.kernel != ".".join(map(str, host.version)):
        yield f"The kernel is older than any that is mounted: {snapshot.kernel} stands for it."
    if host.unreadable:
        yield f"{host.unreadable} processes of others may not be read; they are left out."
    yield from _scores(snapshot, data)
    yield from _sharing(snapshot)
    yield (
        "The least oom_score_adj that each may have unprivileged is shown nowhere: "
        "it is taken to be the present one."
    )
    if not host.sees_init:
        yield "Init is not in sight (a pid namespace, or hidepid): pid 1 is another one here."
        for pid, given in snapshot.pids.items():
            if pid != given:
                yield f"pid {pid} is {given} here."
    if snapshot.is_oversubscribed:
        yield "Pages that several share count for each: the sizes exceed the machine."


def _scores(snapshot: Snapshot, data: dict[str, Any]) -> Iterator[str]:
    """Say how near the scores of the scenario are to those of the host."""
    machine = build(data)
    off: Counter[int] = Counter()
    for process in snapshot.host.processes:
        simulated = machine.processes[snapshot.pids[process.pid]]
        off[abs(machine.oom_score(simulated) - process.oom_score)] += 1
    far = sum(count for distance, count in off.items() if distance > TOLERANCE)
    near = sum(count for distance, count in off.items() if 0 < distance <= TOLERANCE)
    line = f"oom_score: as on the host for {off[0]} processes"
    if near:
        line += f", off by {TOLERANCE} for {near}"
    if far:
        line += f", by more for {far}"
    yield line + "."
    moved = sum(not process.score_stood_still for process in snapshot.host.processes)
    if moved:
        yield f"The score of {moved} processes moved while it was read."


def _sharing(snapshot: Snapshot) -> Iterator[str]:
    host = snapshot.host
    sharers = sum(map(len, host.mm_groups))
    if sharers:
        yield f"{sharers} processes share an mm with others (kcmp): {len(host.mm_groups)} mms."
    if host.uncompared_lookalikes:
        yield (
            f"{host.uncompared_lookalikes} processes have the sizes of another one and may share "
            "its mm: that could not be compared, and is taken not to be so."
        )
    if snapshot.vforked:
        pids = ", ".join(str(snapshot.pids[pid]) for pid in sorted(snapshot.vforked))
        yield f"Taken to be in vfork, which the kernel shows to nobody: {pids}."
    if snapshot.hidden:
        pids = ", ".join(str(snapshot.pids[pid]) for pid in sorted(snapshot.hidden))
        yield f"Without a score, so taken to be hidden from the OOM killer: {pids}."
