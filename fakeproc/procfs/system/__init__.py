# SPDX-License-Identifier: MIT
"""The files of /proc that speak for the machine as a whole: `SYSTEM_ENTRIES` is their table.

To add one, write the function that renders it in the module it belongs to, and add a row
to that module's ``ROWS``.
"""

from __future__ import annotations

from fakeproc.procfs.system import (
    disks,
    facilities,
    hardware,
    identity,
    kept_sysctl,
    meminfo,
    pressure,
    slab,
    swaps,
    sysctl,
    sysrq,
    time,
    vmstat,
    zones,
)
from fakeproc.procfs.system.node import SystemRow

_MODULES = (
    disks,
    facilities,
    hardware,
    identity,
    kept_sysctl,
    meminfo,
    pressure,
    slab,
    swaps,
    sysctl,
    sysrq,
    time,
    vmstat,
    zones,
)

SYSTEM_ENTRIES: dict[str, SystemRow] = {
    path: row for module in _MODULES for path, row in module.ROWS.items()
}
"""The files of the machine, by their path in /proc."""
