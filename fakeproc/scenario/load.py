# SPDX-License-Identifier: MIT
"""From a scenario file to a machine.

`fakeproc.scenario.keys` says which keys there are; anything else is refused with a sentence
that names the file, the line, the key and what is accepted.
"""

from __future__ import annotations

import errno
import gc
import re
import shlex
import signal
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fakeproc.kernel import capability, details, numa
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
from fakeproc.kernel.numa import PLACEMENT_KEYS
from fakeproc.kernel.profile import PATCHES, AnyKernelConfig, KernelConfig, render_value
from fakeproc.kernel.task import Credentials, Hold, MemorySizes, Process, State, Thread
from fakeproc.procfs import script
from fakeproc.scenario.check import Problem, behaviour_of, lines_of, problems
from fakeproc.scenario.keys import HOLDS
from fakeproc.scenario.locate import Path as Place
from fakeproc.scenario.locate import line_numbers
from fakeproc.toml import INTEGER_BITS
from fakeproc.units import SIZE_KEYS, parse_duration_ns, parse_pages

BUILTIN = "server"
"""The scenario that is mounted when none is named."""

_NS_PER_S = 1_000_000_000
_AFTER_LAST_EVENT_NS = 10 * _NS_PER_S
"""By then the reaper has done with whom the last event killed."""

_DEEPEST = 200
"""How many tables and arrays may lie in each other: of processes half as many."""

_BUILTIN_FOLDER = Path(__file__).with_name("builtin")
_TOML_LINE = re.compile(r" \(at line (\d+), column \d+\)$")


class Misplaced(Refused):
    """A refusal of something in the data of a scenario: where it stands, and why."""

    def __init__(self, error: int, problem: Problem) -> None:
        super().__init__(error, problem.why)
        self.path = problem.path


# -- The built-in scenarios --------------------------------------------------------


def builtin_names() -> list[str]:
    """Return the names of the scenarios that fakeproc brings along."""
    names = (entry.name for entry in _BUILTIN_FOLDER.iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def builtin_text(name: str) -> str:
    """Return the text of one of them; EINVAL, with those there are, for another name."""
    if name not in builtin_names():
        raise not_known("scenario", name, builtin_names())
    return (_BUILTIN_FOLDER / f"{name}.toml").read_text()


def describe(text: str) -> str:
    """Return what a scenario says about itself: its first line, a comment."""
    first = text.partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


# -- From text to a machine --------------------------------------------------------


def load_scenario(source: str | Path | None = None, config: KernelConfig | None = None) -> Machine:
    """Return the machine of a scenario: a built-in one by its name, or a file.

    ``config`` overrides the kernel that the scenario names.  `Refused` (EINVAL) says what
    is wrong, and where.
    """
    name, text = read_scenario(source)
    return load_text(text, name, config)


def read_scenario(source: str | Path | None) -> tuple[str, str]:
    """Return the name and the text of a scenario; `Refused` (EINVAL) if it cannot be read."""
    if source is None:
        return BUILTIN, builtin_text(BUILTIN)
    name = str(source)
    if name in builtin_names():
        return name, builtin_text(name)
    try:
        return name, Path(source).read_text()
    except FileNotFoundError:
        if "/" in name or name.endswith(".toml"):
            raise Refused(
                errno.EINVAL, f"{name}: cannot be read: No such file or directory."
            ) from None
        raise not_known("scenario", name, builtin_names()) from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise Refused(errno.EINVAL, f"{name}: cannot be read: {why}.") from None


def load_text(text: str, name: str, config: KernelConfig | None = None) -> Machine:
    """Return the machine of the text of a scenario; the name is for messages."""
    data = _parse(text, name)
    found = list(problems(data))
    if found:
        others = f" ({len(found) - 1} more: fakeproc scenario check)" if len(found) > 1 else ""
        raise Refused(errno.EINVAL, _located(name, found[0], line_numbers(text)) + others)
    try:
        return _build(data, config)
    except Misplaced as refused:
        problem = Problem(refused.path, refused.why)
        raise Refused(refused.error, _located(name, problem, line_numbers(text))) from None


def find_problems(text: str, name: str) -> list[str]:
    """Return all that is wrong with a scenario, sentences with file and line; none: it loads."""
    try:
        data = _parse(text, name)
    except Refused as refused:
        return [refused.why]
    found = list(problems(data))
    if not found:
        try:
            _build(data, None)
        except Misplaced as refused:
            found = [Problem(refused.path, refused.why)]
    lines = line_numbers(text) if found else {}
    found.sort(key=lambda problem: _line_of(problem, lines))
    return [_located(name, problem, lines) for problem in found]


def run_to_end(machine: Machine) -> None:
    """Let time pass until the scenario is over; nothing happens where it says no end."""
    if machine.ends_ns is not None:
        machine.advance(machine.ends_ns - machine.now_ns)


def build(data: Mapping[str, Any], config: KernelConfig | None = None) -> Machine:
    """Return the machine of a scenario as it is after the TOML has been read."""
    for problem in problems(data):
        raise Misplaced(errno.EINVAL, problem)
    return _build(data, config)


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        why = str(error)
        at = _TOML_LINE.search(why)
        line = at[1] if at else text.count("\n") + 1
        why = _TOML_LINE.sub("", why)
        raise Refused(errno.EINVAL, f"{name}:{line}: is no TOML: {why}.") from None
    except RecursionError:
        raise _too_deep(name) from None
    except ValueError:
        # Python reads no decimal of more than 4,300 digits, and tomllib does not mind that.
        raise _too_long_a_number(name) from None
    _require_plain(data, name)
    return data


def _require_plain(data: object, name: str) -> None:
    """Refuse what tomllib reads and nobody needs: depths that recursion does not reach."""
    depth, level = 0, [data]
    while level:
        below: list[object] = []
        for value in level:
            if isinstance(value, dict):
                below += value.values()
            elif isinstance(value, list):
                below += value
            elif isinstance(value, int) and value.bit_length() > INTEGER_BITS:
                raise _too_long_a_number(name)
        depth, level = depth + 1, below
        if depth > _DEEPEST:
            raise _too_deep(name)


def _too_deep(name: str) -> Refused:
    return Refused(
        errno.EINVAL, f"{name}: is nested too deeply; accepted are {_DEEPEST} tables and arrays."
    )


def _too_long_a_number(name: str) -> Refused:
    return Refused(
        errno.EINVAL, f"{name}: a number is too long; accepted are integers of {INTEGER_BITS} bits."
    )


def _located(name: str, problem: Problem, lines: Mapping[Place, int]) -> str:
    """Return a problem with the file and the line of what it is about."""
    return f"{name}:{_line_of(problem, lines)}: {problem.why}"


def _line_of(problem: Problem, lines: Mapping[Place, int]) -> int:
    path = problem.path
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


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


# -- From data to a machine --------------------------------------------------------


def _build(data: Mapping[str, Any], config: KernelConfig | None) -> Machine:
    """Return the machine of data in which nothing is wrong."""
    table = data.get("machine", {})
    with _at(("machine",)):
        machine = Machine(
            config or _kernel(table),
            _hardware(data, table),
            build=Build(cgroup_version=table.get("cgroup_version", Build().cgroup_version)),
            first_pid=table.get("first_pid", FIRST_PID),
        )
    with paused_collector():
        _Loader(machine).load(data)
    machine.boot_again = partial(_build, data, config)
    return machine


@contextmanager
def _at(path: Place, where: str = "") -> Iterator[None]:
    """Say of a refusal which table of the file it is about, unless that is known."""
    try:
        yield
    except Misplaced:
        raise
    except Refused as refused:
        why = f"{where}: {refused.why}" if where else refused.why
        raise Misplaced(refused.error, Problem(path, why)) from None


def _kernel(table: Mapping[str, Any]) -> KernelConfig:
    """Return the kernel of the file: a named one or, for a report, any release since 2.6."""
    config: KernelConfig = AnyKernelConfig(table.get("kernel", KernelConfig().base))
    for number in PATCHES if "patches" in table else ():
        if config.has_patch(number) != (number in table["patches"]):
            config = config.with_patch(number, on=number in table["patches"])
    for name, value in table.get("switches", {}).items():
        config = config.with_switch(name, render_value(value))
    return config


def _hardware(data: Mapping[str, Any], table: Mapping[str, Any]) -> Hardware:
    standard = Hardware()
    swap_pages = _pages(table, "swap", 0 if "swap" in data else standard.swap_pages)
    return Hardware(
        ram_pages=_pages(table, "ram", standard.ram_pages),
        node_pages=tuple(map(parse_pages, table.get("nodes", ()))),
        swap_pages=swap_pages,
        cpus=table.get("cpus", standard.cpus),
        hostname=table.get("hostname", standard.hostname),
        oversubscribed=table.get("oversubscribed", standard.oversubscribed),
    )


Make = Callable[[Process | None], Process]
"""Makes a process of the file, in this one or in init."""

Step = Callable[[Process], object]
"""Does to a process what one of its keys says."""


class _Loader:
    """Puts into a machine what a scenario says; only keys that are there cost anything."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._later: list[Callable[[], object]] = []
        """What begins when the scenario does, not at boot."""

    def load(self, data: Mapping[str, Any]) -> None:
        """Make all of it, let the time since boot pass, and let the scenario begin."""
        machine = self._machine
        self._prepare(data)
        if "state" in data:
            self._restore(data)
        else:
            for place, table in enumerate(data.get("process", ())):
                self._add_all(None, table, ("process", place))
            with _at(("machine",), "[machine]"):
                self._fill(data.get("machine", {}))
            machine.advance(_uptime_ns(data.get("machine", {})))
        for begin in self._later:
            begin()
        for event in data.get("event", ()):
            self._schedule(event)
        machine.ends_ns = _ends_ns(machine.now_ns, data)

    def _prepare(self, data: Mapping[str, Any]) -> None:
        """Make what the processes need."""
        machine = self._machine
        for name, value in _sysctls(data.get("sysctl", {})):
            machine.store_sysctl(name, value)
        for place, area in enumerate(data.get("swap", ())):
            with _at(("swap", place), f"swap {area['name']!r}"):
                pages = parse_pages(area["size"])
                machine.memory.swapon(area["name"], pages, area.get("priority"))
        for place, table in enumerate(data.get("memcg", ())):
            with _at(("memcg", place), f"memcg {table['path']!r}"):
                self._add_memcg(table)

    def _restore(self, data: Mapping[str, Any]) -> None:
        """Put the processes in as they were, with all that the machine remembers of them."""
        # Here: most scenarios are no states, and a mount need not wait for it.
        from fakeproc.scenario.restore import StateLoader

        table = data.get("machine", {})
        state = StateLoader(self._machine, _uptime_ns(table), self._credentials)
        for place, process in enumerate(data.get("process", ())):
            with _at(("process", place), f"process {process['name']!r}"):
                state.add(process)
        with _at(("state",), "[state]"):
            state.finish(data)
        with _at(("machine",), "[machine]"):
            self._fill(table)

    # -- Memory, groups, events --------------------------------------------------------

    def _fill(self, table: Mapping[str, Any]) -> None:
        """Give the kernel and the page cache what they have beside the processes."""
        memory = self._machine.memory
        reclaimable = _pages(table, "slab_reclaimable", 0)
        unreclaimable = memory.slab_unreclaimable_pages
        if "slab" in table:
            unreclaimable = max(parse_pages(table["slab"]) - reclaimable, 0)
        memory.set_slab(reclaimable_pages=reclaimable, unreclaimable_pages=unreclaimable)
        memory.set_cache(
            clean_pages=_pages(table, "cache", 0), dirty_pages=_pages(table, "cache_dirty", 0)
        )
        memory.cache_evicted_pages = _pages(table, "cache_evicted", 0)

    def _add_memcg(self, table: Mapping[str, Any]) -> None:
        memcg = self._machine.make_memcg(table["path"])
        memcg.limit_pages = parse_pages(table["limit"]) if "limit" in table else None
        memcg.swap_limit_pages = parse_pages(table["swap_limit"]) if "swap_limit" in table else None
        memcg.oom_group = table.get("oom_group", False)
        memcg.oom_kill_disable = table.get("oom_kill_disable", False)

    def _memcg(self, path: str) -> Memcg:
        try:
            return self._machine.memcg(path)
        except Refused:
            paths = ", ".join(group.path for group in self._machine.root_memcg.subtree())
            raise Refused(
                errno.EINVAL, f"memcg = {path!r}: there is no such [[memcg]]; accepted: {paths}."
            ) from None

    def _schedule(self, event: Mapping[str, Any]) -> None:
        machine = self._machine
        due_ns = machine.now_ns + parse_duration_ns("", event["at"])
        for line in lines_of(event):
            machine.events.at(due_ns, partial(script.perform, machine, line), line=line)

    # -- Processes ---------------------------------------------------------------------

    def _add_all(self, parent: Process | None, table: Mapping[str, Any], path: Place) -> None:
        """Make a process of the file as often as it says, each with all that is in it."""
        with _at(path, f"process {table['name']!r}"):
            if "parent" in table:
                parent = self._earlier("parent", table)
            make, steps = self._make(table), list(self._steps(table, path))
            for _ in range(table.get("count", 1)):
                process = make(parent)
                for step in steps:
                    step(process)

    def _make(self, table: Mapping[str, Any]) -> Make:
        name, pid = table["name"], table.get("pid")
        if table.get("kthread"):
            mm = self._earlier("mm", table).mm if "mm" in table else None
            return lambda parent: self._machine.kthread(name, use_mm=mm, pid=pid)
        if pid == self._machine.init.pid:
            return partial(self._exec_init, table)
        if "mm" in table:
            return partial(self._clone_of_another, table)
        if table.get("vm") == "shared" or table.get("vfork"):
            return partial(self._clone, table)
        return partial(
            self._spawn,
            table,
            pid=pid,
            sizes=_sizes(table),
            cmdline=_cmdline(table.get("cmdline", "")),
        )

    def _spawn(
        self,
        table: Mapping[str, Any],
        parent: Process | None,
        *,
        pid: int | None,
        sizes: MemorySizes,
        cmdline: tuple[bytes, ...],
    ) -> Process:
        creator = _creator(parent or self._machine.init)
        return self._machine.spawn(
            table["name"],
            parent=creator,
            pid=pid,
            credentials=self._credentials(creator.credentials, table),
            sizes=sizes,
            cmdline=cmdline,
        )

    def _clone(self, table: Mapping[str, Any], parent: Process | None) -> Process:
        creator = _creator(parent or self._machine.init)
        flags = CloneFlags(vm=table.get("vm") == "shared", vfork=table.get("vfork", False))
        process = self._machine.clone(creator, flags, pid=table.get("pid"))
        self._machine.rename(process.leader, table["name"])
        credentials = self._credentials(creator.credentials, table)
        self._machine.set_credentials(process.threads, credentials)
        return process

    def _clone_of_another(self, table: Mapping[str, Any], parent: Process | None) -> Process:
        """Make a process on the memory of one that need not be its parent.

        Such a one is left when the parent has died that shared the mm as well.
        """
        creator = _creator(parent or self._machine.init)
        process = self._clone({**table, "vm": "shared"}, self._earlier("mm", table))
        self._machine.reparent(process, creator)
        credentials = self._credentials(creator.credentials, table)
        self._machine.set_credentials(process.threads, credentials)
        return process

    def _exec_init(self, table: Mapping[str, Any], parent: Process | None) -> Process:
        """Let init run the program of the file."""
        init = self._machine.init
        cmdline = _cmdline(table.get("cmdline", ""))
        self._machine.exec(init.leader, table["name"], _sizes(table), cmdline)
        return init

    def _earlier(self, key: str, table: Mapping[str, Any]) -> Process:
        """Return the process that a key names, which stands before this one in the file."""
        process = self._machine.processes.get(table[key])
        if process is None or process.mm is None:
            raise Refused(
                errno.EINVAL,
                f"{key} = {table[key]}: accepted is the pid of a process before this one, with "
                "an mm.",
            )
        return process

    def _credentials(self, base: Credentials, table: Mapping[str, Any]) -> Credentials:
        """Return what the keys say; another user than the base's has no capabilities."""
        uid = table.get("uid", base.uid)
        gid = table.get("gid", base.gid if uid == base.uid else uid)
        held = base.capabilities if uid == base.uid else 0
        if "caps" in table:
            held = capability.parse(table["caps"], self._machine.full_capabilities)
        return Credentials(uid, gid, held)

    def _steps(self, table: Mapping[str, Any], path: Place) -> Iterator[Step]:
        """Walk over what is done to a process once it is there, in order."""
        machine = self._machine
        if not table.keys().isdisjoint(PLACEMENT_KEYS):
            yield lambda process: self._place(process.leader, table)
        if "oom_score_adj" in table:
            value = b"%d" % table["oom_score_adj"]
            root = machine.root
            yield lambda process: machine.store_oom_score_adj(process.leader, root, value)
        if "memcg" in table:
            memcg = self._memcg(table["memcg"])
            yield lambda process: machine.join_memcg(process, memcg)
        if not table.get("dumpable", True):
            yield _make_undumpable
        if table.get("hidden"):
            yield lambda process: machine.hide(process.mm) if process.mm else None
        if not table.keys().isdisjoint(details.DETAIL_KEYS):
            yield lambda process: self._set_details(process, table)
        if table.get("oom_origin"):
            yield lambda process: machine.set_oom_origin(process, True)
        for _ in range(table.get("threads", 1) - 1):
            yield lambda process: machine.clone_thread(process.leader)
        for thread in table.get("thread", ()):
            yield partial(self._add_thread, thread)
        if "hold" in table:
            yield lambda process: self._hold_later(process.leader, table)
        if "behaviour" in table:
            does = behaviour_of(table["behaviour"])
            yield lambda process: self._later.append(partial(machine.behave, process, does))
        for place, child in enumerate(table.get("process", ())):
            yield partial(self._add_all, table=child, path=(*path, "process", place))
        if "state" in table:
            yield lambda process: self._set_state(process, table["state"])

    def _add_thread(self, table: Mapping[str, Any], process: Process) -> None:
        machine, leader = self._machine, process.leader
        thread = machine.clone_thread(leader, tid=table.get("tid"))
        machine.rename(thread, table.get("name", leader.comm))
        machine.set_credentials([thread], self._credentials(leader.credentials, table))
        self._place(thread, table)
        if "hold" in table:
            self._hold_later(thread, table)

    def _set_details(self, process: Process, table: Mapping[str, Any]) -> None:
        told = details.changed(details.details_of(process), table)
        self._machine.set_details(process, told)

    def _place(self, thread: Thread, table: Mapping[str, Any]) -> None:
        nodes = self._machine.hardware.nodes
        self._machine.place(thread, numa.changed(thread.placement, table, nodes))

    def _set_state(self, process: Process, letter: str) -> None:
        machine, leader, state = self._machine, process.leader, State(letter)
        if state is State.ZOMBIE:
            machine.exit_thread(leader)
        elif state is State.STOPPED:
            machine.kill(machine.root, process, signal.SIGSTOP)
        elif state is State.DISK_SLEEP:
            machine.hold(leader, Hold.STUCK)
        else:
            machine.set_state(leader, state)

    def _hold_later(self, thread: Thread, table: Mapping[str, Any]) -> None:
        for_ns = parse_duration_ns("", table["hold_for"]) if "hold_for" in table else None
        hold = HOLDS[table["hold"]]
        self._later.append(lambda: self._machine.hold(thread, hold, for_ns=for_ns))


def _creator(process: Process) -> Thread:
    """Return the thread that makes the children: the first that can, the leader if none can."""
    able = (thread for thread in process.threads if thread.alive and not thread.vfork_child)
    return next(able, process.leader)


def _make_undumpable(process: Process) -> None:
    if process.mm is not None:
        process.mm.dumpable = False


def _sysctls(table: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Return names, and what is to be written there."""
    for folder, values in table.items():
        for name, value in values.items():
            numbers = value if isinstance(value, list) else [value]
            yield f"{folder}/{name}", " ".join(map(str, numbers)).encode(errors="surrogateescape")


def _uptime_ns(table: Mapping[str, Any]) -> int:
    if "uptime" in table:
        return parse_duration_ns("", table["uptime"])
    return int(table.get("uptime_s", 0)) * _NS_PER_S


def _ends_ns(start_ns: int, data: Mapping[str, Any]) -> int | None:
    """Return when the scenario is over: as it says, or some time after its last event."""
    if "end" in data.get("machine", {}):
        return start_ns + parse_duration_ns("", data["machine"]["end"])
    times = [parse_duration_ns("", event["at"]) for event in data.get("event", ())]
    return start_ns + max(times) + _AFTER_LAST_EVENT_NS if times else None


def _sizes(table: Mapping[str, Any]) -> MemorySizes:
    pages = {SIZE_KEYS[key]: parse_pages(table[key]) for key in SIZE_KEYS if key in table}
    return sizes_for(**pages) if pages else default_sizes()


def _cmdline(text: str) -> tuple[bytes, ...]:
    return tuple(word.encode() for word in shlex.split(text))


def _pages(table: Mapping[str, Any], key: str, default: int) -> int:
    return parse_pages(table[key]) if key in table else default
