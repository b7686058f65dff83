# SPDX-License-Identifier: MIT
"""From a scenario file to a machine.

The keys are those of the two tables below; anything else is refused with a sentence
that names the file, the key and what is accepted.
"""

from __future__ import annotations

import errno
import gc
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from functools import lru_cache, partial
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from fakeproc.kernel import capability, numa
from fakeproc.kernel.errors import Refused, not_known
from fakeproc.kernel.machine import (
    FIRST_PID,
    Build,
    CloneFlags,
    Hardware,
    Machine,
    default_sizes,
    sizes_for,
)
from fakeproc.kernel.memcg import Memcg
from fakeproc.kernel.numa import MAX_NODES, PLACEMENT_KEYS
from fakeproc.kernel.profile import AnyKernelConfig, KernelConfig, render_value
from fakeproc.kernel.task import Credentials, MemorySizes, Process, Thread
from fakeproc.units import SIZE_KEYS, parse_pages

BUILTIN = "server"
"""The scenario that is mounted when none is named."""

VERSION = 1

_Default = TypeVar("_Default", int, None)

_MACHINE_KEYS = {
    "ram": str,
    "nodes": list,
    "swap": str,
    "cpus": int,
    "hostname": str,
    "kernel": str,
    "cgroup_version": int,
    "uptime_s": int,
    "first_pid": int,
    "oversubscribed": bool,
    "switches": dict,
}
_MEMCG_KEYS = {"path": str, "limit": str, "swap_limit": str, "oom_group": bool}
_PROCESS_KEYS = {
    "name": str,
    "pid": int,
    "uid": int,
    "gid": int,
    "caps": str,
    "oom_score_adj": int,
    "cmdline": str,
    "threads": int,
    "count": int,
    "vm": str,
    "vfork": bool,
    "kthread": bool,
    "memcg": str,
    "hidden": bool,
    "oom_origin": bool,
    "process": list,
    **dict.fromkeys(PLACEMENT_KEYS, str),
    **dict.fromkeys(SIZE_KEYS, str),
}


def load_scenario(source: str | Path | None = None, config: KernelConfig | None = None) -> Machine:
    """Return the machine of a scenario file, or of the built-in scenario.

    ``config`` overrides the kernel that the scenario names.  `Refused` (EINVAL) says what
    is wrong, and where.
    """
    name, text = _read(source)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Refused(errno.EINVAL, f"{name}: is no TOML: {error}.") from None
    try:
        with paused_collector():
            return build(data, config)
    except Refused as refused:
        raise Refused(refused.error, f"{name}: {refused.why}") from None


@contextmanager
def paused_collector() -> Iterator[None]:
    """Let Python look for no garbage meanwhile: a machine in the making has none.

    It would go through all of it time and again, which takes a third of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _read(source: str | Path | None) -> tuple[str, str]:
    try:
        if source is None:
            builtin = resources.files("fakeproc.scenario") / "builtin" / f"{BUILTIN}.toml"
            return BUILTIN, builtin.read_text()
        return str(source), Path(source).read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise Refused(errno.EINVAL, f"{source}: cannot be read: {why}.") from None


def build(data: Mapping[str, Any], config: KernelConfig | None = None) -> Machine:
    """Return the machine of a scenario as it is after the TOML has been read."""
    _check(data, {"version": int, "machine": dict, "memcg": list, "process": list}, "the file")
    if data.get("version") != VERSION:
        raise Refused(errno.EINVAL, f"version = {data.get('version')}: accepted is {VERSION}.")
    table = data.get("machine", {})
    _check(table, _MACHINE_KEYS, "[machine]")
    standard = Hardware()
    hardware = Hardware(
        ram_pages=_pages(table, "ram", standard.ram_pages),
        node_pages=_node_pages(table),
        swap_pages=_pages(table, "swap", standard.swap_pages),
        cpus=_integer(table, "cpus", 1, 1024, standard.cpus),
        hostname=table.get("hostname", standard.hostname),
        oversubscribed=table.get("oversubscribed", standard.oversubscribed),
    )
    machine = Machine(
        config or _kernel(table),
        hardware,
        build=Build(cgroup_version=_integer(table, "cgroup_version", 1, 2, Build().cgroup_version)),
        first_pid=_integer(table, "first_pid", 3, 4_000_000, FIRST_PID),
    )
    for memcg in data.get("memcg", []):
        _add_memcg(machine, memcg)
    for process in data.get("process", []):
        _add(machine, None, process)
    machine.advance(_integer(table, "uptime_s", 0, 10**9, 0) * 1_000_000_000)
    machine.boot_again = partial(build, data, config)
    return machine


def _kernel(table: Mapping[str, Any]) -> KernelConfig:
    """Return the kernel of the file: a named one or, for a report, any release since 2.6."""
    config: KernelConfig = AnyKernelConfig(table.get("kernel", KernelConfig().base))
    for name, value in table.get("switches", {}).items():
        config = config.with_switch(name, render_value(value))
    return config


def _add_memcg(machine: Machine, table: object) -> None:
    """Make a cgroup of the file."""
    if not isinstance(table, dict):
        raise Refused(errno.EINVAL, "memcg: accepted is a table, [[memcg]].")
    path = table.get("path", "")
    where = f"memcg {path!r}"
    _check(table, _MEMCG_KEYS, where)
    if not path.startswith("/") or not path.strip("/"):
        raise Refused(errno.EINVAL, f"{where}: accepted is a path such as /web.")
    memcg = machine.make_memcg(path)
    memcg.limit_pages = _pages(table, "limit", None)
    memcg.swap_limit_pages = _pages(table, "swap_limit", None)
    memcg.oom_group = table.get("oom_group", False)


def _memcg(machine: Machine, path: str) -> Memcg:
    try:
        return machine.memcg(path)
    except Refused:
        paths = ", ".join(group.path for group in machine.root_memcg.subtree())
        raise Refused(
            errno.EINVAL, f"memcg = {path!r}: there is no such [[memcg]]; accepted: {paths}."
        ) from None


def _add(machine: Machine, parent: Process | None, table: object) -> None:
    """Create a process of the file, its threads and its children, as often as it says."""
    if not isinstance(table, dict):
        raise Refused(errno.EINVAL, "process: accepted is a table, [[process]].")
    where = f"process {table.get('name', '?')!r}"
    _check(table, _PROCESS_KEYS, where)
    try:
        for _ in range(_integer(table, "count", 1, 1_000_000, 1)):
            process = _create(machine, parent, table)
            for _ in range(_integer(table, "threads", 1, 100_000, 1) - 1):
                machine.clone_thread(process.leader)
            for child in table.get("process", []):
                _add(machine, process, child)
    except Refused as refused:
        if refused.why.startswith("process "):
            raise
        raise Refused(refused.error, f"{where}: {refused.why}") from None


def _create(machine: Machine, parent: Process | None, table: Mapping[str, Any]) -> Process:
    name = table.get("name", "")
    if not name or "\0" in name:
        raise Refused(errno.EINVAL, "name: is missing, or holds a NUL.")
    pid = table.get("pid")
    if table.get("kthread"):
        _refuse_beside(table, "kthread = true", {"name", "pid", "kthread", "count"})
        return machine.kthread(name, pid=pid)
    creator = (parent or machine.init).leader
    process = _clone_or_spawn(machine, creator, parent, table, pid)
    if table.keys() & set(PLACEMENT_KEYS):
        placement = numa.changed(creator.placement, table, machine.hardware.nodes)
        machine.place(process.leader, placement)
    value = _integer(table, "oom_score_adj", -1000, 1000, None)
    if value is not None:
        machine.store_oom_score_adj(process.leader, machine.root, b"%d" % value)
    if "memcg" in table:
        machine.join_memcg(process, _memcg(machine, table["memcg"]))
    if table.get("hidden") and process.mm is not None:
        machine.hide(process.mm)
    if table.get("oom_origin"):
        machine.set_oom_origin(process, True)
    return process


def _clone_or_spawn(
    machine: Machine,
    creator: Thread,
    parent: Process | None,
    table: Mapping[str, Any],
    pid: int | None,
) -> Process:
    shared, vfork = table.get("vm", "own"), table.get("vfork", False)
    if shared not in ("own", "shared"):
        raise Refused(errno.EINVAL, f'vm = "{shared}": accepted: "own", "shared".')
    if shared == "own" and not vfork:
        return machine.spawn(
            table["name"],
            parent=creator,
            pid=pid,
            credentials=_credentials(machine, creator.credentials, table),
            sizes=_sizes(table),
            cmdline=_parse_cmdline(table.get("cmdline", "")),
        )
    own = {*SIZE_KEYS, "cmdline"}
    _refuse_beside(table, 'vm = "shared" or vfork', _PROCESS_KEYS.keys() - own)
    if parent is None:
        raise Refused(errno.EINVAL, 'vm = "shared" and vfork: only for a process in a process.')
    process = machine.clone(creator, CloneFlags(vm=shared == "shared", vfork=vfork), pid=pid)
    machine.rename(process.leader, table["name"])
    machine.set_credentials(process.threads, _credentials(machine, creator.credentials, table))
    return process


def _refuse_beside(table: Mapping[str, Any], what: str, accepted: Set[str]) -> None:
    """Refuse keys that mean nothing beside another one."""
    for key in table:
        if key not in accepted:
            raise Refused(errno.EINVAL, f"{key}: means nothing beside {what}; leave it out.")


def _sizes(table: Mapping[str, Any]) -> MemorySizes:
    return _parse_sizes(tuple((key, table[key]) for key in SIZE_KEYS if key in table))


@lru_cache
def _parse_sizes(given: tuple[tuple[str, str], ...]) -> MemorySizes:
    """Return the sizes that keys and values of a file say; the same for each of a count."""
    pages = {SIZE_KEYS[key]: parse_pages(text) for key, text in given}
    return sizes_for(**pages) if pages else default_sizes()


def _credentials(machine: Machine, base: Credentials, table: Mapping[str, Any]) -> Credentials:
    uid = _integer(table, "uid", 0, 2**32 - 2, base.uid)
    gid = _integer(table, "gid", 0, 2**32 - 2, base.gid if uid == base.uid else uid)
    held = base.capabilities if uid == base.uid else 0
    if "caps" in table:
        held = capability.parse(table["caps"], machine.full_capabilities)
    return Credentials(uid, gid, held)


@lru_cache
def _parse_cmdline(text: str) -> tuple[bytes, ...]:
    try:
        return tuple(word.encode() for word in shlex.split(text))
    except ValueError as error:
        raise Refused(errno.EINVAL, f"cmdline: cannot be read: {error}.") from None


def _check(table: Mapping[str, Any], keys: Mapping[str, type], where: str) -> None:
    for key, value in table.items():
        if key not in keys:
            raise not_known(f"{where}: key", key, keys)
        if type(value) is not keys[key]:
            raise Refused(
                errno.EINVAL, f"{where}: {key} = {value!r}: accepted is a {keys[key].__name__}."
            )


def _pages(table: Mapping[str, Any], key: str, default: _Default) -> int | _Default:
    return parse_pages(table[key]) if key in table else default


def _node_pages(table: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the RAM of each node; none where the file names only the whole of it."""
    if "nodes" not in table:
        return ()
    nodes = table["nodes"]
    if "ram" in table:
        raise Refused(errno.EINVAL, "nodes: they are the ram; leave out one of the two.")
    if not 0 < len(nodes) <= MAX_NODES or not all(isinstance(node, str) for node in nodes):
        raise Refused(
            errno.EINVAL,
            f'nodes = {nodes!r}: accepted are the sizes of 1 to {MAX_NODES} nodes, ["4G", "4G"].',
        )
    pages = tuple(map(parse_pages, nodes))
    if 0 in pages:
        raise Refused(errno.EINVAL, f"nodes = {nodes!r}: accepted are nodes with memory.")
    return pages


def _integer(
    table: Mapping[str, Any], key: str, low: int, high: int, default: _Default
) -> int | _Default:
    value: int | _Default = table.get(key, default)
    if key in table and not low <= table[key] <= high:
        raise Refused(errno.EINVAL, f"{key} = {value}: accepted are {low} to {high}.")
    return value
