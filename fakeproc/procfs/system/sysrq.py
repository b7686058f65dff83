# SPDX-License-Identifier: MIT
"""sysrq-trigger: the keyboard of an operator."""

from __future__ import annotations

from fakeproc.kernel.machine import Machine
from fakeproc.kernel.task import Caller
from fakeproc.procfs.system.node import SystemFile, SystemRow


def _render_nothing(machine: Machine) -> bytes:
    return b""


def store_sysrq_trigger(machine: Machine, caller: Caller, data: bytes) -> int:
    """Run the command of the first character: ``f`` invokes the OOM killer."""
    if data[:1] == b"f":
        machine.sysrq_oom()
    return len(data)


ROWS: dict[str, SystemRow] = {
    "sysrq-trigger": SystemFile(
        reflects="f invokes the OOM killer",
        mode=0o200,
        render=_render_nothing,
        store=store_sysrq_trigger,
    ),
}
