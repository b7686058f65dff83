# SPDX-License-Identifier: MIT
"""sys/: the sysctls that the simulated kernel obeys."""

from __future__ import annotations

from functools import partial

from fakeproc.kernel.machine import Machine
from fakeproc.kernel.sysctl import SYSCTLS
from fakeproc.kernel.task import Caller
from fakeproc.procfs.system.node import SystemFile, SystemRow


def _render_sysctl(name: str, machine: Machine) -> bytes:
    return b"%d\n" % machine.sysctls[name]


def _store_sysctl(name: str, machine: Machine, caller: Caller, data: bytes) -> int:
    return machine.store_sysctl(name, data)


ROWS: dict[str, SystemRow] = {
    f"sys/{name}": SystemFile(
        reflects="a sysctl",
        mode=0o644,
        render=partial(_render_sysctl, name),
        store=partial(_store_sysctl, name),
    )
    for name in SYSCTLS
}
