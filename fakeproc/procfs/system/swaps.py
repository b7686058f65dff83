# SPDX-License-Identifier: MIT
"""swaps: the swap areas."""

from __future__ import annotations

from fakeproc.kernel.machine import Machine
from fakeproc.kernel.task import PAGE_KIB
from fakeproc.procfs.system.node import SystemFile, SystemRow

_ESCAPED = {ord(c): f"\\{ord(c):03o}" for c in " \t\n\\"}
"""What seq_file_path writes in octal."""


def render_swaps(machine: Machine) -> bytes:
    """Return the table of swap areas, sizes in kB."""
    tab = "\t\t" if machine.profile.swaps_aligned else "\t"
    lines = [f"Filename\t\t\t\tType\t\tSize{tab}Used{tab}Priority"]
    for area, used_pages in machine.memory.swap_used():
        name = area.name.translate(_ESCAPED)
        name += " " * max(40 - len(name), 1)
        kind = "partition" if area.name.startswith("/dev/") else "file\t"
        size = _column(machine, area.size_pages * PAGE_KIB)
        used = _column(machine, used_pages * PAGE_KIB)
        lines.append(f"{name}{kind}\t{size}{used}{area.priority}")
    return ("\n".join(lines) + "\n").encode()


def _column(machine: Machine, kib: int) -> str:
    return f"{kib}\t\t" if machine.profile.swaps_aligned and kib < 10_000_000 else f"{kib}\t"


ROWS: dict[str, SystemRow] = {
    "swaps": SystemFile(reflects="the swap areas", render=render_swaps),
}
