# SPDX-License-Identifier: MIT
"""Capabilities as bit sets, in the order of the kernel's capability.h."""

import errno
from functools import cache

from fakeproc.kernel.errors import Refused

NAMES = (
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",  # since 5.8
    "bpf",  # since 5.8
    "checkpoint_restore",  # since 5.9
)

CAP_AUDIT_CONTROL = 1 << NAMES.index("audit_control")
CAP_DAC_OVERRIDE = 1 << NAMES.index("dac_override")
CAP_KILL = 1 << NAMES.index("kill")
CAP_SETUID = 1 << NAMES.index("setuid")
CAP_SYS_ADMIN = 1 << NAMES.index("sys_admin")
CAP_SYS_NICE = 1 << NAMES.index("sys_nice")
CAP_SYS_PTRACE = 1 << NAMES.index("sys_ptrace")
CAP_SYSLOG = 1 << NAMES.index("syslog")
CAP_SYS_RESOURCE = 1 << NAMES.index("sys_resource")
CAP_SYSLOG = 1 << NAMES.index("syslog")

_ACCEPTED = "all, none, 0xHEX, +NAME,NAME (only these) or -NAME,NAME (all but these)"


@cache
def full_set(version: tuple[int, int]) -> int:
    """Return every capability that a kernel of this version knows."""
    count = 41 if version >= (5, 9) else 40 if version >= (5, 8) else 38
    return (1 << count) - 1


def after_exec(uid: int, full: int) -> int:
    """Return what a task of this user holds once it has execed: root all, others nothing.

    That is for files without capabilities of their own, and without inheritable, ambient or
    bounded ones (capabilities(7)), none of which are modelled.  Seen on 6.1.
    """
    return 0 if uid else full


def parse(text: str, full: int) -> int:
    """Read a set of capabilities as a person writes it; EINVAL for anything else."""
    if text in ("all", "none"):
        return full if text == "all" else 0
    if text.startswith("0x"):
        try:
            return int(text, 16) & full
        except ValueError:
            raise _unknown(text) from None
    sign, names = text[:1], text[1:].split(",")
    if sign not in ("+", "-") or any(name not in NAMES for name in names):
        raise _unknown(text)
    named = sum({1 << NAMES.index(name) for name in names})
    return (named if sign == "+" else ~named) & full


def _unknown(text: str) -> Refused:
    return Refused(errno.EINVAL, f"caps={text}: not a set of capabilities; accepted: {_ACCEPTED}.")
