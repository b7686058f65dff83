# SPDX-License-Identifier: MIT
"""sys/: the sysctls that the simulated kernel only keeps, and those that tell who it is."""

from __future__ import annotations

import errno
import hashlib
import os
from functools import partial

from fakeproc.kernel import capability
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.kept_sysctls import KEPT, Kept
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.profile import Profile
from fakeproc.kernel.task import Caller
from fakeproc.kernel.task_view import descriptor_count
from fakeproc.procfs.system.node import SystemFile, SystemRow
from fakeproc.procfs.system.sysctl import store_sysctl


def _render(name: str, machine: Machine) -> bytes:
    text = machine.kept_sysctls.text(name)
    if not text and name.endswith("/stable_secret"):
        raise Refused(errno.EIO, f"sys/{name}: there is none until one is written.")
    return f"{text}\n".encode(errors="surrogateescape")


def _row(name: str, kept: Kept) -> SystemFile:
    def there(profile: Profile) -> bool:
        return kept.since <= profile.version

    return SystemFile(
        reflects="nothing: keeps what is written",
        mode=kept.mode,
        render=partial(_render, name),
        store=partial(store_sysctl, name) if kept.mode & 0o222 else None,
        there=there,
    )


def _uuid(number: bytes) -> bytes:
    """Return 16 bytes as a random UUID is written (version 4 of RFC 4122)."""
    digits = bytearray(number)
    digits[6] = digits[6] & 0x0F | 0x40
    digits[8] = digits[8] & 0x3F | 0x80
    text = digits.hex()
    parts = (text[:8], text[8:12], text[12:16], text[16:20], text[20:])
    return ("-".join(parts) + "\n").encode()


def _render_boot_id(machine: Machine) -> bytes:
    boot = f"{machine.hardware.boot_time_s} {machine.hardware.ram_pages}"
    return _uuid(hashlib.sha256(boot.encode()).digest()[:16])


def _render_uuid(machine: Machine) -> bytes:
    return _uuid(os.urandom(16))


def _render_file_nr(machine: Machine) -> bytes:
    # Who has exited has none open; nobody counts those, so all are looked at.
    opened = sum(descriptor_count(process.leader) for process in machine.processes.values())
    return f"{opened}\t0\t{machine.kept_sysctls.text('fs/file-max')}\n".encode()


def _render_last_pid(machine: Machine) -> bytes:
    return b"%d\n" % machine.last_pid


def _store_last_pid(machine: Machine, caller: Caller, data: bytes) -> int:
    # pid_ns_ctl_handler asks for CAP_SYS_ADMIN or, since 5.9, CAP_CHECKPOINT_RESTORE.
    if not caller.credentials.capable(capability.CAP_SYS_ADMIN):
        raise Refused(errno.EPERM, "sys/kernel/ns_last_pid: needs CAP_SYS_ADMIN.")
    return machine.store_last_pid(data)


ROWS: dict[str, SystemRow] = {
    **{f"sys/{name}": _row(name, kept) for name, kept in KEPT.items()},
    "sys/fs/file-nr": SystemFile(
        reflects="the open files of all tasks, and fs.file-max", render=_render_file_nr
    ),
    "sys/kernel/ns_last_pid": SystemFile(
        reflects="the newest pid; the next one follows it",
        mode=0o666,
        render=_render_last_pid,
        store=_store_last_pid,
    ),
    "sys/kernel/random/boot_id": SystemFile(reflects="the boot", render=_render_boot_id),
    "sys/kernel/random/uuid": SystemFile(reflects="a new UUID with each read", render=_render_uuid),
}
