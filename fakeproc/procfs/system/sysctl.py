# SPDX-License-Identifier: MIT
"""sys/: the sysctls that the simulated kernel obeys."""

from __future__ import annotations

from functools import partial

from fakeproc.kernel.machine import Machine
from fakeproc.kernel.profile import Profile
from fakeproc.kernel.sysctl import SYSCTLS, VECTOR, Sysctl, parse_number
from fakeproc.kernel.task import Caller
from fakeproc.kernel.zones import lowmem_reserve_ratios
from fakeproc.procfs.system.node import Store, SystemFile, SystemRow


def _render_sysctl(name: str, machine: Machine) -> bytes:
    return b"%d\n" % machine.sysctls[name]


def store_sysctl(name: str, machine: Machine, caller: Caller, data: bytes) -> int:
    """Write to the file of this name under /proc/sys."""
    return machine.store_sysctl(name, data)


def _is_there(sysctl: Sysctl, profile: Profile) -> bool:
    return sysctl.is_in(profile.version)


def _row(name: str, sysctl: Sysctl) -> SystemFile:
    return SystemFile(
        reflects="a sysctl",
        mode=0o644,
        render=partial(_render_sysctl, name),
        store=partial(store_sysctl, name),
        there=partial(_is_there, sysctl),
    )


# -- sys/vm ------------------------------------------------------------------------


def _render_lowmem_reserve_ratio(machine: Machine) -> bytes:
    return ("\t".join(map(str, lowmem_reserve_ratios(machine))) + "\n").encode()


def _store_drop_caches(machine: Machine, caller: Caller, data: bytes) -> int:
    what, taken = parse_number("vm/drop_caches", data, Sysctl(0, 1, 4))
    machine.drop_caches(caller, what)
    return taken


def _store_compact_memory(machine: Machine, caller: Caller, data: bytes) -> int:
    """Take the command: what is free is in blocks as large as can be already."""
    return parse_number("vm/compact_memory", data, Sysctl(0, 1, 1))[1]


def _store_nr_hugepages(machine: Machine, caller: Caller, data: bytes) -> int:
    """Take the number, of which the kernel allocates as many pages as it can: here none."""
    return parse_number("vm/nr_hugepages", data, Sysctl(0, 0, 2**64 - 1))[1]


def _store_nothing(machine: Machine, caller: Caller, data: bytes) -> int:
    return len(data)


def _command(store: Store, reflects: str, mode: int = 0o200) -> SystemFile:
    return SystemFile(reflects=reflects, mode=mode, render=lambda machine: b"", store=store)


def _constant(text: bytes, reflects: str, store: Store) -> SystemFile:
    return SystemFile(reflects=reflects, mode=0o644, render=lambda machine: text, store=store)


_HUGE_PAGES = _constant(b"0\n", "nothing: there are no huge pages", _store_nr_hugepages)

ROWS: dict[str, SystemRow] = {
    **{f"sys/{name}": _row(name, sysctl) for name, sysctl in SYSCTLS.items()},
    f"sys/{VECTOR}": SystemFile(
        reflects="what each zone keeps from allocations that could go higher",
        mode=0o644,
        render=_render_lowmem_reserve_ratio,
        store=partial(store_sysctl, VECTOR),
    ),
    "sys/vm/compact_memory": _command(_store_compact_memory, "nothing: there is no compaction"),
    "sys/vm/drop_caches": _command(_store_drop_caches, "drops page cache (1), slab (2) or both"),
    "sys/vm/nr_hugepages": _HUGE_PAGES,
    "sys/vm/nr_hugepages_mempolicy": _HUGE_PAGES,
    "sys/vm/numa_zonelist_order": _constant(
        b"Node\n", "nothing: always Node, as since 4.14", _store_nothing
    ),
    "sys/vm/stat_refresh": _command(_store_nothing, "nothing: counters are never late", 0o600),
}
