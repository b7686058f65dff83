# SPDX-License-Identifier: MIT
"""/proc/fakeproc/oom_trigger: invoke the OOM killer, and read its last verdict."""

from __future__ import annotations

import errno

from fakeproc.kernel import oom
from fakeproc.kernel.errors import Refused, not_known
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.memcg import Memcg
from fakeproc.kernel.numa import parse_list
from fakeproc.kernel.oom import OomRequest, Outcome, Verdict
from fakeproc.kernel.task import Caller, Process, Thread
from fakeproc.procfs.session import Session
from fakeproc.units import format_pages, parse_integer

_KEYS = ("pid", "order", "gfp_mask", "memcg", "nodemask")
_MAX_ORDER = 10
"""The largest block that the kernel hands out (MAX_ORDER); -1 is for sysrq alone."""


def store(session: Session, caller: Caller, data: bytes) -> int:
    """Invoke it for an allocation as described: ``pid=100 order=2 gfp_mask=0xcc0 memcg=/web``.

    A bare ``1`` stands for no option.  EINVAL, with the reason in ctl, for anything else.
    """
    request = read_request(session, "oom_trigger", data.decode(errors="replace"))
    session.machine.out_of_memory(request)
    session.answer = render(session)
    return len(data)


def read_request(session: Session, file: str, text: str) -> OomRequest:
    """Return the allocation that the options describe; EINVAL, also for ctl, if they do not."""
    try:
        return _request(session.machine, parse_options(file, text))
    except Refused as refused:
        invalid = Refused(errno.EINVAL, refused.why)
        session.answer_refusal(invalid)
        raise invalid from None


def parse_options(file: str, text: str) -> dict[str, str]:
    """Return the options in a text; EINVAL, which names the file, for what is none."""
    options: dict[str, str] = {}
    for word in text.split():
        key, equals, value = word.partition("=")
        if word == "1":
            continue
        if key not in _KEYS:
            raise not_known(f"{file}: option", key, _KEYS)
        if not equals:
            raise Refused(errno.EINVAL, f"{file}: {word}: accepted is {key}=VALUE.")
        if key in options:
            raise Refused(
                errno.EINVAL,
                f"{file}: {word}: accepted is one {key}=, and there was {key}="
                f"{options[key]} before.",
            )
        options[key] = value
    return options


def _request(machine: Machine, options: dict[str, str]) -> OomRequest:
    gfp_mask = nodemask = None
    if "gfp_mask" in options:
        text = options["gfp_mask"]
        gfp_mask = parse_integer("gfp_mask", text, 0, 2**32 - 1, hexadecimal=True)
    if "nodemask" in options:
        nodemask = parse_list("nodemask", options["nodemask"], machine.hardware.nodes)
    return oom.allocation(
        machine,
        allocating=_allocating(machine, options.get("pid", "1")),
        gfp_mask=gfp_mask,
        order=parse_integer("order", options.get("order", "0"), 0, _MAX_ORDER, hexadecimal=True),
        memcg=_memcg(machine, options["memcg"]) if "memcg" in options else None,
        nodemask=nodemask,
    )


def _allocating(machine: Machine, text: str) -> Thread:
    pid = parse_integer("pid", text, 1, 2**31 - 1, hexadecimal=True)
    thread = machine.find_thread(pid)
    if thread is None:
        raise Refused(errno.EINVAL, f"pid={text}: no such task; accepted is the pid of one.")
    if thread.exiting:
        raise Refused(errno.EINVAL, f"pid={text}: has exited; accepted is a task that runs.")
    return thread


def _memcg(machine: Machine, path: str) -> Memcg:
    try:
        memcg = machine.memcg(path)
    except Refused as refused:
        raise Refused(errno.EINVAL, f"{refused.why} Accepted is the path of one.") from None
    if memcg is machine.root_memcg:
        raise Refused(errno.EINVAL, f"memcg={path}: the root group has no limit; leave it out.")
    return memcg


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
        "freed": format_pages(verdict.freed_at_once_pages),
        "freed_later": format_pages(max(verdict.freed_pages - verdict.freed_at_once_pages, 0)),
        "reaped": " ".join(str(thread.tid) for thread in verdict.reaped) or "none",
    }


def _named(process: Process) -> str:
    return f"{process.pid} ({process.comm})"
