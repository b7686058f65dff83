# SPDX-License-Identifier: MIT
"""vmstat: the counters of memory management."""

from __future__ import annotations

from fakeproc.kernel.machine import Machine
from fakeproc.kernel.vmstat import vmstat
from fakeproc.procfs.system.node import SystemFile, SystemRow


def render_vmstat(machine: Machine) -> bytes:
    """Return a line for each counter that the kernel's generation has."""
    return "".join(f"{name} {value}\n" for name, value in vmstat(machine)).encode()


ROWS: dict[str, SystemRow] = {
    "vmstat": SystemFile(
        reflects="the pages by their use; faults, swapping, reclaim, OOM kills; else 0",
        render=render_vmstat,
    ),
}
