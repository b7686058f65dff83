# SPDX-License-Identifier: MIT
"""/proc/fakeproc/oom_trigger: invoke the OOM killer, and read its last verdict."""

from __future__ import annotations

import errno

from fakeproc.kernel.errors import Refused, not_known
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.oom import OomRequest, Outcome, Verdict
from fakeproc.kernel.task import Caller, Process, Thread
from fakeproc.procfs.session import Session
from fakeproc.units import format_pages

_KEYS = ("pid", "order", "gfp_mask", "memcg", "nodemask")
_MAX_ORDER = 10


def store(session: Session, caller: Caller, data: bytes) -> int:
    """Invoke it for an allocation as described: ``pid=100 order=2 gfp_mask=0xcc0 memcg=/web``.

    A bare ``1`` stands for no option.  EINVAL, with the reason in ctl, for anything else.
    """
    try:
        request = _request(session.machine, data.decode(errors="replace"))
    except Refused as refused:
        invalid = Refused(errno.EINVAL, refused.why)
        session.answer_refusal(invalid)
        raise invalid from None
    session.machine.out_of_memory(request)
    session.answer = render(session)
    return len(data)


def _request(machine: Machine, text: str) -> OomRequest:
    words = [word for word in text.split() if word != "1"]
    options: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if key not in _KEYS or not equals:
            raise not_known("oom_trigger: option", key, _KEYS)
        options[key] = value
    memcg = machine.memcg(options["memcg"]) if "memcg" in options else None
    totalpages = machine.hardware.totalpages
    if memcg is not None:
        totalpages = machine.memcg_totalpages(memcg)
    if options.get("nodemask", "0") != "0":
        raise Refused(errno.EINVAL, "nodemask: the machine has one node, 0.")
    pid = _number(options, "pid", 1, 1, 2**31 - 1)
    return OomRequest(
        totalpages=totalpages,
        allocating=_allocating(machine, pid),
        gfp_mask=_number(options, "gfp_mask", 0, 0, 2**32 - 1) if "gfp_mask" in options else None,
        order=_number(options, "order", 0, 0, _MAX_ORDER),
        memcg=memcg,
    )


def _allocating(machine: Machine, pid: int) -> Thread:
    thread = machine.thread(pid)
    if thread.exiting:
        raise Refused(errno.EINVAL, f"pid={pid}: has exited; it allocates nothing.")
    return thread


def _number(options: dict[str, str], key: str, default: int, low: int, high: int) -> int:
    text = options.get(key)
    if text is None:
        return default
    try:
        value = int(text, 0)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise Refused(errno.EINVAL, f"{key}={text}: accepted is a number, {low} to {high}.")
    return value


def render(session: Session) -> str:
    """Return the last verdict, ``key: value`` lines."""
    verdict = session.machine.last_verdict
    if verdict is None:
        return "outcome: none yet\n"
    return "".join(f"{key}: {value}\n" for key, value in _lines(verdict).items())


def _lines(verdict: Verdict) -> dict[str, str]:
    return {
        "outcome": verdict.outcome.value,
        "victim": ", ".join(_named(thread.process) for thread in verdict.victims) or "none",
        "chosen": _named(verdict.chosen) if verdict.chosen else "none",
        "killed": " ".join(str(process.pid) for process in verdict.killed) or "none",
        "points": str(verdict.points),
        "constraint": verdict.constraint.value,
        "bypass": "yes" if verdict.outcome is Outcome.BYPASSED else "no",
        "freed": format_pages(verdict.freed_pages),
        "reaped": " ".join(str(t.tid) for t in verdict.victims if t.oom_reaped) or "none",
    }


def _named(process: Process) -> str:
    return f"{process.pid} ({process.comm})"
