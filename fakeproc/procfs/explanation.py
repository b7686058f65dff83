# SPDX-License-Identifier: MIT
"""/proc/fakeproc/explain and explain.json: who would die now, and why the others would not.

They are about an OOM for init, unless a write says about which; a write changes nothing else.
"""

from __future__ import annotations

import json
from typing import Any

from fakeproc.kernel.explain import Candidate, explain
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.oom import Constraint
from fakeproc.kernel.reaper import MAX_TRIES
from fakeproc.kernel.task import PAGE_BYTES, Caller, Hold, Process
from fakeproc.procfs.oom_trigger import read_request
from fakeproc.procfs.session import Session
from fakeproc.units import align, format_pages

_COLUMNS = ("pid", "rss", "swap", "pgtables", "oom_score_adj", "points", "oom_score", "name")


def store(session: Session, caller: Caller, data: bytes) -> int:
    """Take the options of oom_trigger as the question from now on; ``1`` is none of them."""
    text = data.decode(errors="replace")
    read_request(session, "explain", text)
    session.question = " ".join(word for word in text.split() if word != "1")
    return len(data)


def data_of(session: Session) -> dict[str, Any]:
    """Explain the OOM in question of the machine as it is; sizes in bytes, points in pages.

    EINVAL, with the reason in ctl, where it cannot come about any more.
    """
    machine = session.machine
    request = read_request(session, "explain", session.question)
    found = explain(machine, request)
    return {
        "request": session.question,
        "kernel": machine.config.base,
        "outcome": "panicked" if machine.panicked else found.outcome.value,
        "reason": found.reason,
        "constraint": request.constraint.value,
        "totalpages": request.totalpages,
        "chosen": name_of(found.chosen),
        "victim": name_of(found.victim),
        "killed": [name_of(process) for process in found.dying],
        "awaited": _awaited(machine, found.awaited),
        "ranking": [_row(machine, candidate) for candidate in found.ranking],
        "excluded": [_row(machine, candidate) for candidate in found.excluded],
    }


def name_of(process: Process | None) -> dict[str, Any] | None:
    """Return how JSON names a process."""
    return None if process is None else {"pid": process.pid, "comm": process.comm}


def _awaited(machine: Machine, victim: Process | None) -> dict[str, Any] | None:
    """Name the victim that the outcome is to wait for, and say what keeps it."""
    if victim is None:
        return None
    why = f"has been dying for {_seconds(machine.now_ns - machine.marked[victim])}"
    holding = next((thread for thread in victim.threads if thread.hold is not Hold.NONE), None)
    if holding is not None:
        left_ns = machine.holds.left_ns(holding)
        why += f", held {holding.hold.value}"
        why += "" if left_ns is None else f" for {_seconds(left_ns)} more"
    return {"pid": victim.pid, "comm": victim.comm, "why": f"{why}; {_unreaped(machine, victim)}"}


def _unreaped(machine: Machine, victim: Process) -> str:
    plan = None if victim.oom_mm is None else machine.reaper.plan_for(victim.oom_mm)
    if plan is None:
        return "its memory has not been reaped, and will not be"
    if plan.failures:
        tries = f"{plan.failures} of {MAX_TRIES}"
        return f"its memory has not been reaped: mmap lock held, {tries} tries have failed"
    return f"its memory is to be reaped in {_seconds(max(plan.due_ns - machine.now_ns, 0))}"


def _seconds(ns: int) -> str:
    return f"{ns / 1_000_000_000:.1f} s"


def _row(machine: Machine, candidate: Candidate) -> dict[str, Any]:
    process, mm = candidate.process, candidate.process.mm
    row = {
        "pid": process.pid,
        "comm": process.comm,
        "rss": mm.sizes.rss_pages * PAGE_BYTES if mm else 0,
        "swap": mm.sizes.swap_entries * PAGE_BYTES if mm else 0,
        "pgtables": mm.sizes.pagetable_pages * PAGE_BYTES if mm else 0,
        "oom_score_adj": process.oom_score_adj,
        "points": candidate.points,
        "oom_score": machine.oom_score(process),
    }
    return row | ({"why_not": candidate.why_not} if candidate.why_not else {})


def render_json(session: Session) -> str:
    """Return it for programs."""
    return json.dumps(data_of(session), indent=1) + "\n"


def render(session: Session) -> str:
    """Return it for people: the verdict, the ranking, who is out of the running."""
    data = data_of(session)
    text = f"request: {data['request']}\n" if data["request"] else ""
    text += f"outcome: {data['outcome']}\n"
    for key in ("chosen", "victim"):
        text += f"{key}: {spell(data[key])}\n"
    text += f"killed: {', '.join(map(spell, data['killed'])) or 'none'}\n"
    if data["constraint"] != Constraint.NONE:
        text += f"constraint: {data['constraint']}\n"
    if data["reason"]:
        text += f"reason: {data['reason']}\n"
    if data["awaited"]:
        text += f"waiting for: {spell(data['awaited'])}, which {data['awaited']['why']}\n"
    text += "\n"
    text += align([list(_COLUMNS), *map(_cells, data["ranking"])])
    if data["excluded"]:
        text += "\nout of the running:\n"
    for row in data["excluded"]:
        text += f"  {spell(row)}: {row['why_not']}\n"
    return text


def spell(task: dict[str, Any] | None) -> str:
    """Return how a person reads it."""
    if task is None:
        return "none"
    return f"{task['pid']} ({task['comm']})".replace("\n", "\\n")


def _cells(row: dict[str, Any]) -> list[str]:
    sizes = {key: format_pages(row[key] // PAGE_BYTES) for key in ("rss", "swap", "pgtables")}
    shown = {**row, **sizes, "name": row["comm"].replace("\n", "\\n")}
    return [str(shown[key]) for key in _COLUMNS]
