# SPDX-License-Identifier: MIT
"""Requests per second: a client in C opens, reads or writes, and closes one file."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path

from benchmarks import servers
from benchmarks.interleave import Absent, Contender, Missing, compare
from benchmarks.report import Table

REFERENCE = "C, constant"


@dataclass(frozen=True, slots=True)
class _Peer:
    """Who answers: a file to read while it serves, and one beside it to write to."""

    name: str
    served: AbstractContextManager[Path]
    written: str | None = None


def measure(*, quick: bool) -> list[Table]:
    """Measure with client and servers on one core, and with them on another one than it."""
    cpus = sorted(os.sched_getaffinity(0))
    tables = _measure("one core for both", {cpus[0]}, {cpus[0]}, quick=quick)
    if len(cpus) > 1 and not quick:
        tables += _measure("a core each", {cpus[0]}, {cpus[1]}, quick=quick)
    return tables


def _measure(where: str, client: set[int], server: set[int], *, quick: bool) -> list[Table]:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        program = _compiled_client(folder)
        with servers.pinned(server):
            files = [(peer, _started(stack, peer)) for peer in _peers(folder)]

        def client_of(peer: _Peer, file: Path | Missing, mode: str) -> Contender | Absent:
            if isinstance(file, Missing):
                return Absent(peer.name, str(file))
            if isinstance(program, Missing):
                return Absent(peer.name, str(program))
            path = file.with_name(peer.written) if mode == "write" and peer.written else file
            command = [os.fspath(program), mode, os.fspath(path), "20" if quick else "100"]
            return Contender(peer.name, lambda: _run(command, client))

        reads = [client_of(peer, file, "read") for peer, file in files]
        writes = [client_of(peer, file, "write") for peer, file in files if peer.written]
        return [
            compare(f"{what}, {where}", "per s", who, against=REFERENCE, rounds=1 if quick else 11)
            for what, who in (
                ("open, read oom_score, close", reads),
                ("open, write oom_score_adj, close", writes),
            )
        ]


def _compiled_client(folder: Path) -> Path | Missing:
    try:
        return servers.compiled(folder, "client.c")
    except Missing as missing:
        return missing


def _run(command: list[str], cpus: set[int]) -> float:
    with servers.pinned(cpus):
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _peers(folder: Path) -> Iterator[_Peer]:
    for binding in ("fusepy", "mfusepy"):
        served = servers.fakeproc(folder, binding, file="100013/oom_score")
        yield _Peer(f"fakeproc, {binding}", served, "oom_score_adj")
    yield _Peer(REFERENCE, servers.constant(folder), "value")
    for binding, module in (("fusepy", "fuse"), ("mfusepy", "mfusepy")):
        served = servers.constant_of_binding(folder, module)
        yield _Peer(f"{binding}, constant", served, "value")
    yield _Peer("lxcfs, meminfo", servers.lxcfs(folder))
    yield _Peer("real /proc", nullcontext(Path("/proc/self/oom_score")), "oom_score_adj")
    yield _Peer("real meminfo", nullcontext(Path("/proc/meminfo")))


def _started(stack: ExitStack, peer: _Peer) -> Path | Missing:
    try:
        return stack.enter_context(peer.served)
    except Missing as missing:
        return missing
