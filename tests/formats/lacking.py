# SPDX-License-Identifier: MIT
"""What a real 6.18 has that a simulated one lacks, and the other way round, with the reasons."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tests.formats.view import TASKS, View


@dataclass(frozen=True, slots=True)
class Group:
    """Entries of which one can say why they are not there."""

    pattern: str
    reason: str

    def has(self, path: str) -> bool:
        """Say whether an entry belongs to the group."""
        return re.fullmatch(self.pattern, path) is not None


LACKING = (
    Group(r"sys/net/(bridge|(netfilter/)?nf_conntrack.*)", "modules that nothing has loaded"),
    Group(
        r"(sys/)?fs/.*|bus/pci/<bus>|irq/<n>",
        "file systems, devices and interrupts that are not there",
    ),
    Group(r"kpage.*", "page frames are not modelled one by one"),
    Group(r"config\.gz", "Debian's kernels have none"),
)
"""What is lacking; the first group that fits counts."""

EXTRA = (
    Group(r"sysrq-trigger|sys/kernel/sysrq", "with CONFIG_MAGIC_SYSRQ"),
    Group(r"sys/kernel/yama", "with CONFIG_SECURITY_YAMA"),
    Group(r"<pid>/cpu_resctrl_groups", "with CONFIG_X86_CPU_RESCTRL"),
    Group(r"<pid>/patch_state", "with CONFIG_LIVEPATCH"),
    Group(r"schedstat", "with CONFIG_SCHEDSTATS"),
    Group(r"modules", "with CONFIG_MODULES"),
    Group(r"fb|scsi|acpi/wakeup", "with drivers that the captured kernel lacks"),
    Group(r"<pid>/net/.*", "in the first network namespace; the captured process is in another"),
)
"""What a simulated machine has and the captured kernel has not."""


def lacking(seen: View, real: View) -> list[str]:
    """Return what is there only on the real side; of a folder that is lacking, only itself."""
    missing = dict.fromkeys(path for path in real if path not in seen)
    return [path for path in missing if path.rpartition("/")[0] not in missing]


def grouped(paths: Iterable[str], groups: tuple[Group, ...]) -> dict[str, list[str]]:
    """Return paths by the reasons; '' for those of which none is known."""
    reasons: dict[str, list[str]] = {}
    for path in paths:
        reason = next((group.reason for group in groups if group.has(path)), "")
        reasons.setdefault(reason, []).append(path)
    return reasons


def by_task(path: str) -> str:
    """Return a path with <pid> for each kind of task."""
    kind, slash, name = path.partition("/")
    return f"<pid>/{name}" if kind in TASKS and slash else path
