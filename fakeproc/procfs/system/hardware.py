# SPDX-License-Identifier: MIT
"""cpuinfo: what the machine is made of."""

from __future__ import annotations

from fakeproc.kernel.machine import Machine
from fakeproc.procfs.system.node import SystemFile, SystemRow


def render_cpuinfo(machine: Machine) -> bytes:
    """Return one short block for each CPU."""
    block = (
        "processor\t: {}\nvendor_id\t: fakeproc\nmodel name\t: simulated\ncpu MHz\t\t: 1000.000\n"
    )
    blocks = [block.format(n) for n in range(machine.hardware.cpus)]
    return "\n".join(blocks + [""]).encode()


ROWS: dict[str, SystemRow] = {
    "cpuinfo": SystemFile(reflects="the CPUs", render=render_cpuinfo),
}
