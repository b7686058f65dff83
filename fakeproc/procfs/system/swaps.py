# SPDX-License-Identifier: MIT
"""swaps: the swap areas."""

from __future__ import annotations

from fakeproc.kernel.machine import Machine
from fakeproc.kernel.task import PAGE_KIB
from fakeproc.procfs.system.node import SystemFile, SystemRow


def render_swaps(machine: Machine) -> bytes:
    """Return the table of swap areas, sizes in kB."""
    lines = ["Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority"]
    for area, used_pages in machine.memory.swap_used():
        name = area.name + " " * max(40 - len(area.name), 1)
        kind = "partition" if area.name.startswith("/dev/") else "file\t"
        size_kib, used_kib = area.size_pages * PAGE_KIB, used_pages * PAGE_KIB
        lines.append(
            f"{name}{kind}\t{size_kib}\t{_wide(size_kib)}{used_kib}\t{_wide(used_kib)}"
            f"{area.priority}"
        )
    return ("\n".join(lines) + "\n").encode()


def _wide(kib: int) -> str:
    return "\t" if kib < 10_000_000 else ""


ROWS: dict[str, SystemRow] = {
    "swaps": SystemFile(reflects="the swap areas", render=render_swaps),
}
