# SPDX-License-Identifier: MIT
"""version, and who the machine says it is under sys/kernel."""

from __future__ import annotations

from fakeproc.kernel.machine import Machine
from fakeproc.kernel.sysctl import first_line
from fakeproc.kernel.task import Caller
from fakeproc.procfs.system.node import SystemFile, SystemRow

_LONGEST_HOSTNAME = 64


def kernel_version(machine: Machine) -> str:
    """Return what `uname -v` shows."""
    return f"#1 SMP simulated by fakeproc ({machine.profile.name})"


def render_version(machine: Machine) -> bytes:
    """Return the line of /proc/version."""
    release = machine.profile.release
    host = machine.hardware.hostname
    built = f"(fakeproc@{host}) (no compiler)"
    return f"Linux version {release} {built} {kernel_version(machine)}\n".encode()


def _render_osrelease(machine: Machine) -> bytes:
    return f"{machine.profile.release}\n".encode()


def _render_kernel_version(machine: Machine) -> bytes:
    return f"{kernel_version(machine)}\n".encode()


def _store_hostname(machine: Machine, caller: Caller, data: bytes) -> int:
    # proc_do_uts_string: up to 64 bytes of the first line.
    name = first_line(data)[:_LONGEST_HOSTNAME]
    machine.set_hostname(name.decode(errors="replace"))
    return len(data)


ROWS: dict[str, SystemRow] = {
    "version": SystemFile(reflects="the kernel", render=render_version),
    "sys/kernel/hostname": SystemFile(
        reflects="the host's name",
        mode=0o644,
        render=lambda machine: f"{machine.hardware.hostname}\n".encode(),
        store=_store_hostname,
    ),
    "sys/kernel/osrelease": SystemFile(
        reflects="the kernel's release",
        render=_render_osrelease,
    ),
    "sys/kernel/ostype": SystemFile(reflects="Linux", render=lambda machine: b"Linux\n"),
    "sys/kernel/version": SystemFile(
        reflects="the kernel's build",
        render=_render_kernel_version,
    ),
}
