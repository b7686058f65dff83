# SPDX-License-Identifier: MIT
"""meminfo: the memory of the machine, in kB."""

from __future__ import annotations

from fakeproc.kernel.machine import Machine
from fakeproc.kernel.meminfo import meminfo
from fakeproc.procfs.system.node import SystemFile, SystemRow


def render_meminfo(machine: Machine) -> bytes:
    """Return a line for each field: those in kB first, the huge pages last."""
    lines = (f"{name + ':':<16}{value:8d}{unit}\n" for name, value, unit in meminfo(machine))
    return "".join(lines).encode()


ROWS: dict[str, SystemRow] = {
    "meminfo": SystemFile(reflects="the memory of the machine, in kB", render=render_meminfo),
}
