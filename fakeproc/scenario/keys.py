# SPDX-License-Identifier: MIT
"""The keys of a scenario file: `TABLES` says which there are, and what each accepts.

The loader checks a file with it (`fakeproc.scenario.check`), the JSON Schema is made of it
(`fakeproc.scenario.schema`), and so is the table of the README.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from fakeproc.kernel import behaviour, capability, details
from fakeproc.kernel.kept_sysctls import KEPT, parse
from fakeproc.kernel.memcg import MemcgEvents
from fakeproc.kernel.memory import Counters
from fakeproc.kernel.numa import MAX_NODES
from fakeproc.kernel.profile import HISTORY, PATCHES, AnyKernelConfig
from fakeproc.kernel.sysctl import SYSCTLS, VECTOR
from fakeproc.kernel.task import Hold
from fakeproc.units import ACCEPTED_DURATIONS, ACCEPTED_SIZES, parse_duration_ns, parse_pages

VERSION = 1

ID_MAX = 2**32 - 2

_Check = Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class Key:
    """A key: what it means, what it accepts, in words and as JSON Schema."""

    meaning: str
    accepted: str
    type: type
    schema: Mapping[str, Any]
    check: _Check = lambda value: True
    """False, or a refusal, for a value of the type that is not accepted."""
    table: str = ""
    """The row of `TABLES` that describes the value, or each element of it."""
    state_only: bool = False
    """It is for ``state.toml``: a person has little use for it."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the file: its name, its keys, and which of them tells it from others."""

    title: str
    keys: Mapping[str, Key]
    named_by: str = ""
    required: tuple[str, ...] = ()

    @property
    def written_by_hand(self) -> dict[str, Key]:
        """The keys that a person has a use for."""
        return {name: key for name, key in self.keys.items() if not key.state_only}

    def where(self, table: Mapping[str, Any]) -> str:
        """Return what a message calls this table: ``process 'web'``."""
        if not self.named_by:
            return self.title
        return f"{self.title} {table.get(self.named_by, '?')!r}"


# -- Kinds of keys -----------------------------------------------------------------


def _text(
    meaning: str, accepted: str = "a text", check: _Check = lambda value: True, **schema: Any
) -> Key:
    return Key(meaning, accepted, str, {"type": "string", **schema}, check)


def _size(meaning: str) -> Key:
    pattern = r"^[0-9]{1,40}(\.[0-9]{1,9})?[kKMGT]?(i?B)?$"
    return _text(meaning, ACCEPTED_SIZES, lambda text: parse_pages(text) >= 0, pattern=pattern)


def _duration(meaning: str) -> Key:
    def check(text: str) -> bool:
        return parse_duration_ns("", text) >= 0

    pattern = r"^[0-9]{1,20}(\.[0-9]{1,9})?(ns|us|ms|s|m|h)$"
    return _text(meaning, ACCEPTED_DURATIONS, check, pattern=pattern)


def _integer(meaning: str, low: int, high: int) -> Key:
    schema = {"type": "integer", "minimum": low, "maximum": high}
    accepted = f"{low} to {high}" if low < high else f"{low}"
    return Key(meaning, accepted, int, schema, lambda value: low <= value <= high)


def _flag(meaning: str) -> Key:
    return Key(meaning, "true or false", bool, {"type": "boolean"})


def _choice(meaning: str, words: Iterable[str]) -> Key:
    accepted = tuple(words)
    listed = ", ".join(f'"{word}"' for word in accepted)
    return _text(meaning, listed, lambda text: text in accepted, enum=list(accepted))


def _tables(meaning: str, table: str) -> Key:
    schema = {"type": "array", "items": {"$ref": f"#/$defs/{table}"}}
    return Key(meaning, "an array of tables, [[...]]", list, schema, table=table)


def _table(meaning: str, table: str) -> Key:
    return Key(meaning, "a table", dict, {"$ref": f"#/$defs/{table}"}, table=table)


def _list(meaning: str, accepted: str, items: Mapping[str, Any], check: _Check) -> Key:
    return Key(meaning, accepted, list, {"type": "array", "items": dict(items)}, check)


def _state(keys: Mapping[str, Key]) -> dict[str, Key]:
    """Return keys as those that only state.toml needs."""
    return {name: replace(key, state_only=True) for name, key in keys.items()}


# -- Checks ------------------------------------------------------------------------


def _is_name(text: str) -> bool:
    return bool(text) and "\0" not in text


def _is_memcg_path(text: str) -> bool:
    return text.startswith("/") and bool(text.strip("/")) and "\0" not in text


def _is_command_line(text: str) -> bool:
    try:
        return shlex.split(text) is not None
    except ValueError:
        return False


def _is_hexadecimal(text: str) -> bool:
    return re.fullmatch(r"([0-9a-f]{2})*", text, re.ASCII) is not None


def _are_capabilities(text: str) -> bool:
    return capability.parse(text, capability.full_set((99, 0))) >= 0


def _are_nodes(nodes: list[object]) -> bool:
    sizes = [node for node in nodes if isinstance(node, str)]
    return 0 < len(nodes) == len(sizes) <= MAX_NODES and all(map(parse_pages, sizes))


def _are_numbers(values: list[object]) -> bool:
    return all(type(value) is int for value in values)


def _are_patches(values: list[object]) -> bool:
    return _are_numbers(values) and all(value in PATCHES for value in values)


def _are_counts(values: list[object]) -> bool:
    return _are_numbers(values) and len(values) == len(fields(MemcgEvents))


def _are_lines(value: object) -> bool:
    lines = value if isinstance(value, list) else [value]
    return bool(lines) and all(isinstance(line, str) and line.strip() for line in lines)


# -- The tables --------------------------------------------------------------------

HOLDS = {hold.value.replace(" ", "-"): hold for hold in Hold if hold is not Hold.NONE}
"""What a hold is called, and which it is."""

_PID = (1, 2**22 - 1)

_MEMORY = {
    "rss": _size("anonymous memory; `anon` is another word for it"),
    "anon": _size("anonymous memory"),
    "file": _size("mapped files"),
    "shmem": _size("shared memory"),
    "swap": _size("what of it is in swap"),
    "size": _size("address space; without it, a little more than what is used"),
    "pte": _size("page tables of the lowest level; without it, as many as that takes"),
    "pmd": _size("page tables of the level above"),
    "mlocked": _size("of the anonymous memory, what is under mlock"),
}

_PLACEMENT = {
    "cpuset": _text("path of its cpuset", "a path such as /slice"),
    "mems_allowed": _text("nodes of its cpuset", 'a list of nodes such as "0-1"'),
    "mempolicy": _text(
        "its memory policy", '"none", "bind:0-1", "interleave:NODES" or "preferred:NODES"'
    ),
}

_CREDENTIALS = {
    "uid": _integer("user; without it, the parent's", 0, ID_MAX),
    "gid": _integer("group; without it, the parent's, or the uid", 0, ID_MAX),
    "caps": _text(
        "capabilities: `all`, `none`, `0xHEX`, `+NAME,NAME` only these, `-NAME,NAME` all but these",
        "all, none, 0xHEX, +NAME,NAME or -NAME,NAME",
        _are_capabilities,
    ),
}

_HOLD = {
    "hold": _choice("what keeps it from dying, as in `ctl`", HOLDS),
    "hold_for": _duration("for how long; without it, for good"),
}


def _detail(name: str, meaning: str, kind: type, **schema: Any) -> Key:
    return Key(
        meaning,
        details.ACCEPTED[name],
        kind,
        schema,
        lambda value: details.is_accepted(name, value),
    )


def _path_detail(name: str, meaning: str) -> Key:
    return _detail(name, meaning, str, type="string", pattern="^/")


_DETAILS = {
    "exe": _path_detail("exe", "path of its program; without it, as `cmdline` or `name` says"),
    "cwd": _path_detail("cwd", "its folder; its parent's without it, and / in the end"),
    "root": _path_detail("root", "its root, as after chroot"),
    "environ": _detail(
        "environ",
        "its environment: `{LANG = \"C\"}`; without it, the parent's, HOME and TERM in the end",
        dict,
        type="object",
        additionalProperties={"type": "string"},
    ),
    "nice": _detail(
        "nice", "its nice value; without it, the parent's", int,
        type="integer", minimum=-20, maximum=19,
    ),
    "tty": _detail("tty", "its terminal, such as pts/0; without it, none", str, type="string"),
}  # fmt: skip

_DETAILS_STATE = _state(
    {
        "autogroup_nice": _integer("the nice value of its session's autogroup", -20, 19),
        "coredump_filter": _integer("which mappings a core dump takes", 0, 2**32 - 1),
        "timer_slack_ns": _integer("how late its timers may fire", 1, 2**64 - 1),
        "login_uid": _integer("who has logged in", 0, 2**32 - 1),
        "audit_session": _integer("the audit session of that", 0, 2**32 - 1),
    }
)

_TASK_STATE = _state(
    {
        "name_hex": _text("the name, where it is no text", "bytes in hexadecimal", _is_hexadecimal),
        "start": _duration("when it was created, from boot on"),
        "vfork_of": _integer("the task that waits for its exec or exit", *_PID),
        "fatal_pending": _flag("SIGKILL is queued for it"),
        "memdie": _flag("it is a victim with access to the reserves"),
        "oom_reaped": _flag("the reaper has taken its memory"),
    }
)

_STATE_OF_TASK = {
    "state": _choice("its letter in stat; Z: it has exited", "RSDTtZ"),
}

_NUMBERS = {"type": "integer"}
_ANY = 2**63 - 1

_PROCESS_STATE = _state(
    {
        "oom_score_adj_min": _integer("below it goes only CAP_SYS_RESOURCE", -1000, 1000),
        "cmdline_hex": _text("command line with its NULs", "bytes in hexadecimal", _is_hexadecimal),
        "not_reapable": _flag("the reaper has given up on its memory once"),
        "multiprocess": _flag("its memory was shared by a process that is no thread"),
        "group_exit": _flag("all of it is on its way out, or gone"),
        "exit_code": _integer("as wait(2) gives it", 0, 2**16 - 1),
        "pgrp": _integer("its process group", 0, _PID[1]),
        "session": _integer("its session", 0, _PID[1]),
        "oom_victims": _integer("threads marked as victims", -_ANY, _ANY),
        "oom_mm": _integer(
            "pid of whose memory it became a victim with; 0: it is gone", 0, _PID[1]
        ),
        "coredumping": _flag("it dumps core"),
        "ignores_sigchld": _flag("its children leave no zombies"),
        "pending_signals": _integer("it is stopped; the signals that wait, as a mask", 0, _ANY),
        "children": _list(
            "its children, in an order of their own", "a list of pids", _NUMBERS, _are_numbers
        ),
    }
)

_EVENT_COUNTS = {
    "events": _list("as in memory.events", "a list of numbers", _NUMBERS, _are_counts),
    "local_events": _list("as in memory.events.local", "a list of numbers", _NUMBERS, _are_counts),
}

_MACHINE_STATE = {
    **_EVENT_COUNTS,
    "forks": _integer("tasks created since boot", 0, _ANY),
    "last_pid": _integer("the last pid given out", 0, _PID[1]),
    "audit_sessions": _integer("the last audit session given out", 0, 2**32 - 1),
    "next_pid": _integer("the next one, if it is free", 0, _PID[1] + 1),
    "oom_kills": _integer("victims since boot", 0, _ANY),
    "deprecated_warned": _flag("the log has told that oom_adj is deprecated"),
    "panicked": _text("why the machine has panicked"),
    "attached": _list(
        "pids in the order in which they joined their groups",
        "a list of pids",
        _NUMBERS,
        _are_numbers,
    ),
    "oom_origins": _list(
        "pids in the order in which they were marked", "a list of pids", _NUMBERS, _are_numbers
    ),
    "behaving": _list(
        "pids in the order in which they got a behaviour", "a list of pids", _NUMBERS, _are_numbers
    ),
    "marked": _tables("victims that may still be dying", "marked"),
    "reaping": _tables("the queue of the reaper", "reaping"),
    "counters": _table("pages since boot, as in vmstat", "counters"),
}

_MARKED = {
    "pid": _integer("its pid", *_PID),
    "since": _duration("since when, from boot on"),
}

_REAPING = {
    "tid": _integer("the victim", *_PID),
    "mm": _integer("pid of whose memory it is; 0: nobody's any more", 0, _PID[1]),
    "due": _duration("when it is taken up, from boot on"),
    "failures": _integer("tries that failed", 0, 100),
}

_BEHAVIOUR = {
    "kind": _choice("what it does with memory", behaviour.BehaviourKind),
    "rate": _text("how fast it grows: `50M/s`", "a size in a second, 50M/s", pattern=r"/s$"),
    "until": _size("when it stops growing"),
    "period": _duration("how long a tooth of the saw grows"),
    "children": _text("how many it makes: `5/s`", "a number in a second, 5/s", pattern=r"/s$"),
    "max": _integer("how many of them at a time", 1, 1_000_000),
    "child": _size("what each of them holds"),
    "ignore_sigterm": _flag("SIGTERM has no effect on it"),
    "exit_delay": _duration("how long it takes to exit, its memory still there"),
    "stuck": _flag("it sleeps uninterruptibly"),
}

_MACHINE = {
    "ram": _size("memory; 8G without it"),
    "nodes": _list(
        "memory of each NUMA node, instead of `ram`",
        f'the sizes of 1 to {MAX_NODES} nodes with memory, ["4G", "4G"]',
        {"type": "string"},
        _are_nodes,
    ),
    "swap": _size("swap, in one area; 2G without it"),
    "cache": _size("page cache that no process maps, clean"),
    "cache_dirty": _size("the same, not written to disk yet"),
    "cache_evicted": _size("the same, dropped, and wanted back by who runs"),
    "slab": _size("what the kernel has for itself"),
    "slab_reclaimable": _size("what of that it can give back"),
    "cpus": _integer("CPUs; 2 without it", 1, 1024),
    "hostname": _text("its name"),
    "kernel": _text("a name as of `--kernel`, or a release", "see --kernel", AnyKernelConfig),
    "cgroup_version": _integer("which hierarchy has the memory controller", 1, 2),
    "uptime_s": _integer("seconds since boot", 0, 10**9),
    "uptime": _duration("the same, as a time"),
    "end": _duration("when the scenario is over, from its start"),
    "first_pid": _integer("where pids begin; 100000 without it", 3, 4_000_000),
    "oversubscribed": _flag("the processes may add up to more than there is"),
    "switches": _table("switches of behaviour, as in `fakeproc/kernel`", "switches"),
    "patches": _list(
        "which of the six patches are in; without it, those of the kernel",
        "a list of numbers, 1 to 6",
        {"type": "integer", "minimum": 1, "maximum": 6},
        _are_patches,
    ),
}

_EVENT = {
    "at": _duration("when, from the start of the scenario"),
    "do": Key(
        "a line of `ctl`, `trigger [KEY=VALUE ...]` or `write PATH VALUE`, or a list of such",
        "a line or a list of lines",
        object,
        {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        _are_lines,
    ),
}

_MEMCG = {
    "path": _text(
        "its path; the groups above it are made too", "a path such as /web", _is_memcg_path
    ),
    "limit": _size("memory.max"),
    "swap_limit": _size("memory.swap.max"),
    "oom_group": _flag("all members die together"),
    "oom_kill_disable": _flag("nobody is killed, who asks waits (version 1)"),
    **_state(
        {
            **_EVENT_COUNTS,
            "failcnt": _integer("charges that hit its limit", 0, _ANY),
            "waiting": _list("tids of who waits for room", "a list", _NUMBERS, _are_numbers),
        }
    ),
}

_SWAP = {
    "name": _text("the file or device", "a name", _is_name),
    "size": _size("how large it is"),
    "priority": _integer("areas of higher priority are filled first", -32768, 32767),
}

_NAME = {"name": _text("the name, in comm", "a name of one character or more", _is_name)}

_THREAD = {
    **_NAME,
    "tid": _integer("its tid; without it, the next one", *_PID),
    **_CREDENTIALS,
    **_PLACEMENT,
    **_HOLD,
    **_state(_STATE_OF_TASK),
    **_TASK_STATE,
}

_PROCESS = {
    **_NAME,
    "pid": _integer("its pid, 1 for init; without it, the next one", *_PID),
    "parent": _integer("pid of its parent, where it is not in that one's table", *_PID),
    **_CREDENTIALS,
    "oom_score_adj": _integer("written as root writes it", -1000, 1000),
    "cmdline": _text("command line, as for a shell", "words as for a shell", _is_command_line),
    "threads": _integer("how many, the first one included", 1, 100_000),
    "count": _integer("so many of it, with all that is in it", 1, 1_000_000),
    **_MEMORY,
    "behaviour": _table("what it does by itself", "behaviour"),
    "memcg": _text("path of its `[[memcg]]`", "a path such as /web"),
    "vm": _choice("`shared`: on the memory of the process it is in", ("own", "shared")),
    "mm": _integer("pid of a process before this one, on whose memory it is", *_PID),
    "vfork": _flag("that one waits for it, as after vfork"),
    **_STATE_OF_TASK,
    "kthread": _flag("a kernel thread"),
    **_HOLD,
    **_PLACEMENT,
    "dumpable": _flag("its files belong to its user; true without it"),
    "hidden": _flag("its memory is out of the OOM killer's sight"),
    "oom_origin": _flag("it is in swapoff: the first to be taken"),
    **_DETAILS,
    "process": _tables("its children", "process"),
    "thread": _tables("its threads but for the first, each of its own kind", "thread"),
    **_TASK_STATE,
    **_PROCESS_STATE,
    **_DETAILS_STATE,
}

KEPT_FOLDERS = sorted({name.partition("/")[0] for name in KEPT} - {"kernel", "vm"})
"""The folders of /proc/sys of which every file is only kept: "core/somaxconn" is a key of net."""


def _kept_sysctl(name: str) -> Key:
    def check(value: object) -> bool:
        kept, text = KEPT[name], str(value).encode()
        writable = kept.mode & 0o222 and type(value) in (int, str)
        return bool(writable) and parse(name, kept.default, text)[1] >= 0

    schema = {"type": ["integer", "string"]}
    return Key("", "what the file takes, a number or a text", object, schema, check)


def _kept_sysctls(folder: str) -> Key:
    def accepts(name: str, value: object) -> bool:
        return name in KEPT and bool(_kept_sysctl(name).check(value))

    def check(table: object) -> bool:
        return isinstance(table, dict) and all(
            accepts(f"{folder}/{name}", value) for name, value in table.items()
        )

    meaning = f"/proc/sys/{folder}, files in folders in quotes"
    accepted = 'a table, `"folder/name" = value`'
    return Key(meaning, accepted, dict, {"type": "object"}, check)


def _sysctls() -> dict[str, dict[str, Key]]:
    """Return the keys of each folder of /proc/sys."""
    keys: dict[str, dict[str, Key]] = {}
    for path, sysctl in SYSCTLS.items():
        folder, _, name = path.partition("/")
        keys.setdefault(folder, {})[name] = _integer("", sysctl.low, sysctl.high)
    folder, _, name = VECTOR.partition("/")
    keys[folder][name] = _list("", "a list of integers", _NUMBERS, _are_numbers)
    for path in KEPT:
        folder, _, name = path.partition("/")
        if folder in keys:
            keys[folder][name] = _kept_sysctl(path)
    return dict(sorted(keys.items()))


_SYSCTLS = _sysctls()

TABLES: Mapping[str, Table] = {
    "file": Table(
        "the file",
        {
            "version": _integer("the form of the file: 1", VERSION, VERSION),
            "machine": _table("the hardware and the kernel", "machine"),
            **_state({"state": _table("what else the machine remembers", "state")}),
            "swap": _tables("areas of swap, beside `swap` of the machine; 2G without any", "swap"),
            "sysctl": _table("values under /proc/sys: `vm.swappiness = 10`", "sysctl"),
            "memcg": _tables("memory cgroups", "memcg"),
            "process": _tables("processes, children of init", "process"),
            "event": _tables("what happens later", "event"),
        },
        required=("version",),
    ),
    "machine": Table("[machine]", _MACHINE),
    "state": Table("[state]", _MACHINE_STATE),
    "marked": Table("marked", _MARKED, required=("pid", "since")),
    "reaping": Table("reaping", _REAPING, required=tuple(_REAPING)),
    "counters": Table(
        "counters", {field.name: _integer("pages", 0, _ANY) for field in fields(Counters)}
    ),
    "switches": Table(
        "switches",
        {name: Key("", "a value of it", object, {}) for name in HISTORY},
    ),
    "sysctl": Table(
        "[sysctl]",
        {
            **{folder: _kept_sysctls(folder) for folder in KEPT_FOLDERS},
            **{folder: _table(f"/proc/sys/{folder}", f"sysctl.{folder}") for folder in _SYSCTLS},
        },
    ),
    **{f"sysctl.{folder}": Table(f"[sysctl.{folder}]", keys) for folder, keys in _SYSCTLS.items()},
    "memcg": Table("memcg", _MEMCG, "path", ("path",)),
    "swap": Table("swap", _SWAP, "name", ("name", "size")),
    "process": Table("process", _PROCESS, "name", ("name",)),
    "thread": Table("thread", _THREAD, "name"),
    "behaviour": Table("behaviour", _BEHAVIOUR),
    "event": Table("event", _EVENT, "at", ("at", "do")),
}
"""Every table of a scenario, by the name under which the schema has it."""
