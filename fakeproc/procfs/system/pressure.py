# SPDX-License-Identifier: MIT
"""pressure/: PSI, the time lost for want of a resource."""

from __future__ import annotations

import errno
from functools import partial

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.task import Caller
from fakeproc.procfs.system.node import SystemFile, SystemRow


def _render_pressure(name: str, machine: Machine) -> bytes:
    text = machine.pressure[name].render(machine.now_ns)
    if name == "cpu" and not machine.profile.psi_cpu_full_line:
        text = text[: text.index("full")]
    return text.encode()


def _refuse_trigger(machine: Machine, caller: Caller, data: bytes) -> int:
    """Refuse: nobody could be told, as libfuse 2 has no poll with priority events."""
    raise Refused(errno.EOPNOTSUPP, "pressure: triggers are not supported; read the averages.")


ROWS: dict[str, SystemRow] = {
    f"pressure/{name}": SystemFile(
        reflects="the time in which tasks were stalled",
        mode=0o666,
        render=partial(_render_pressure, name),
        store=_refuse_trigger,
        there=lambda profile: profile.psi_file,
    )
    for name in ("cpu", "io", "memory")
}
