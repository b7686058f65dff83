# SPDX-License-Identifier: MIT
"""Inputs: all that reaches the machine from outside, as values that can be kept and replayed.

The same inputs at the same times of the machine's clock, on the machine of the same
scenario, give the same state and the same kernel log.  Reading is none of them.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import sizes_for
from fakeproc.kernel.numa import ALL_NODES, ANYWHERE, Placement, PolicyMode
from fakeproc.kernel.task import Caller, Credentials, Process, TaskCaller, Thread, encode_name
from fakeproc.procfs.node import Directory, File
from fakeproc.procfs.session import Session
from fakeproc.procfs.tree import Procfs

_T = TypeVar("_T")


class Input(Protocol):
    """Something that changes the machine, or who acts on it."""

    def apply(self, procfs: Procfs) -> object:
        """Let it happen; `Refused` as it was for the caller."""

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""


# -- Who calls ---------------------------------------------------------------------


def frozen(caller: Caller) -> TaskCaller:
    """Return a caller as it is now, apart from the host."""
    return TaskCaller(
        caller.credentials, caller.tid, caller.tgid, caller.comm, caller.host_pid, caller.placement
    )


def _caller_to_json(caller: TaskCaller) -> dict[str, Any]:
    values: dict[str, Any] = {
        **_credentials_to_json(caller.credentials),
        "tid": caller.tid,
        "tgid": caller.tgid,
        "comm": caller.comm,
        "host_pid": caller.host_pid,
    }
    placement = caller.placement
    if placement != ANYWHERE:
        values |= {"cpuset": placement.cpuset, "mems": placement.mems}
        values |= {"mempolicy": placement.mode.value, "nodes": placement.policy_nodes}
    return values


def _caller_from_json(values: Mapping[str, Any]) -> TaskCaller:
    placement = ANYWHERE
    if "cpuset" in values:
        placement = Placement(
            taken(values, "cpuset", str),
            taken_number(values, "mems", 0, ALL_NODES),
            PolicyMode(taken(values, "mempolicy", str)),
            taken_number(values, "nodes", 0, ALL_NODES),
        )
    return TaskCaller(
        _credentials_from_json(values),
        _pid(values, "tid"),
        _pid(values, "tgid"),
        taken(values, "comm", str),
        _pid(values, "host_pid"),
        placement,
    )


def _credentials_to_json(credentials: Credentials) -> dict[str, Any]:
    caps = credentials.capabilities
    return {"uid": credentials.uid, "gid": credentials.gid, "caps": caps}


def _credentials_from_json(values: Mapping[str, Any]) -> Credentials:
    return Credentials(
        taken_number(values, "uid", 0, _ID_MAX),
        taken_number(values, "gid", 0, _ID_MAX),
        taken_number(values, "caps", 0, 2**64 - 1),
    )


def taken(values: Mapping[str, Any], key: str, kind: type[_T]) -> _T:
    """Return a value of this type; ValueError where it is missing, another, or no text at all."""
    value = values.get(key)
    if type(value) is not kind:
        raise ValueError(f"{key}: accepted is a {kind.__name__}")
    if isinstance(value, str):
        # JSON can spell characters that neither UTF-8 nor bytes in a name lead to.
        encode_name(value)
    return value


def taken_number(values: Mapping[str, Any], key: str, low: int, high: int) -> int:
    """Return a number of this range; ValueError where it is missing or none."""
    value = taken(values, key, int)
    if not low <= value <= high:
        raise ValueError(f"{key}: {value:#x}: accepted is {low} to {high}")
    return value


def _words(values: Mapping[str, Any]) -> tuple[str, ...]:
    words = taken(values, "cmdline", list)
    return tuple(taken({"cmdline": word}, "cmdline", str) for word in words)


_PID_MAX = 2**31 - 1
_ID_MAX = 2**32 - 1
_LATEST_NS = 2**64 - 1


def _pid(values: Mapping[str, Any], key: str, low: int = 0) -> int:
    return taken_number(values, key, low, _PID_MAX)


# -- The inputs --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Write:
    """One write(2) to a file."""

    path: str
    data: bytes
    caller: TaskCaller
    may_become: bool
    """Whether the caller is root of the machine, whoever it acts as."""

    def apply(self, procfs: Procfs) -> int:
        """Write; opening was allowed then, and is not asked again."""
        node = procfs.lookup(self.path, procfs.machine.root)
        if not isinstance(node, File):
            raise Refused(errno.EISDIR)
        procfs.may_become = lambda caller: self.may_become
        return node.store(self.caller, self.data)

    def to_json(self) -> dict[str, Any]:
        """Return it with the bytes as text."""
        data = self.data.decode(errors="surrogateescape")
        caller = _caller_to_json(self.caller) | {"may_become": self.may_become}
        return {"write": self.path, "data": data, "caller": caller}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Write:
        """Read it back."""
        caller = taken(values, "caller", dict)
        return Write(
            taken(values, "write", str),
            taken(values, "data", str).encode(errors="surrogateescape"),
            _caller_from_json(caller),
            taken(caller, "may_become", bool),
        )


class Verb(StrEnum):
    """What is done with a directory."""

    MAKE = "mkdir"
    REMOVE = "rmdir"


@dataclass(frozen=True, slots=True)
class ChangeDirectory:
    """mkdir(2) or rmdir(2): a group is made or removed."""

    verb: Verb
    path: str
    caller: TaskCaller

    def apply(self, procfs: Procfs) -> None:
        """Make or remove it."""
        parent, name = parent_of(procfs, self.path, procfs.machine.root)
        if self.verb is Verb.MAKE:
            parent.make_directory(name, self.caller)
        else:
            parent.remove_directory(name, self.caller)

    def to_json(self) -> dict[str, Any]:
        """Return path and caller."""
        return {self.verb.value: self.path, "caller": _caller_to_json(self.caller)}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> ChangeDirectory:
        """Read it back."""
        verb = next(verb for verb in Verb if verb in values)
        caller = _caller_from_json(taken(values, "caller", dict))
        return ChangeDirectory(verb, taken(values, verb, str), caller)


def parent_of(procfs: Procfs, path: str, caller: Caller) -> tuple[Directory, str]:
    """Return the directory that a path is in, and the name there; ENOTDIR if it is none."""
    above, _, name = path.rpartition("/")
    parent = procfs.lookup(above, caller)
    if not isinstance(parent, Directory):
        raise Refused(errno.ENOTDIR)
    return parent, name


VISITOR_SIZES = sizes_for(anon_pages=1)
"""What an adopted task holds: next to nothing, as looking is not to change what is seen.

But something: tools take who has no resident page for a kernel thread (nohang, earlyoom).
"""


@dataclass(frozen=True, slots=True)
class Adopt:
    """A task of the host gets one of the machine, or its name once more."""

    host_pid: int
    pid: int
    tid: int
    """Equal to ``pid``, or that of one more thread of a process that is there."""
    comm: str
    credentials: Credentials
    parent: int
    """The adopted process that is its parent; 0 for init."""
    cmdline: tuple[str, ...] = ()
    """Nothing: its name, or what it was before."""
    pgrp: int | None = None
    """None: its own group, or the one that it was in; the same of the session."""
    session: int | None = None

    def apply(self, procfs: Procfs) -> Thread:
        """Make what is not there; return the task."""
        machine = procfs.machine
        if self.pid not in machine.processes:
            self._spawn(procfs)
        leader = machine.process(self.pid).leader
        thread = machine.find_thread(self.tid) or machine.clone_thread(leader, tid=self.tid)
        machine.rename(thread, self.comm)
        self._tell_more(leader)
        return thread

    def _tell_more(self, leader: Thread) -> None:
        process = leader.process
        if self.cmdline and leader.mm is not None:
            leader.mm.cmdline = tuple(map(encode_name, self.cmdline))
        if self.pgrp is not None:
            process.pgrp = self.pgrp
        if self.session is not None:
            process.session = self.session

    def _spawn(self, session: Session) -> None:
        machine = session.machine
        process = machine.spawn(
            self.comm,
            parent=machine.process(self.parent).leader if self.parent else None,
            pid=self.pid,
            credentials=self.credentials,
            sizes=VISITOR_SIZES,
        )
        session.adopted[process] = self.host_pid

    def to_json(self) -> dict[str, Any]:
        """Return all that there is to say."""
        more = {"cmdline": list(self.cmdline) or None, "pgrp": self.pgrp, "session": self.session}
        return {
            "adopt": self.pid,
            "tid": self.tid,
            "comm": self.comm,
            **_credentials_to_json(self.credentials),
            "host_pid": self.host_pid,
            "parent": self.parent,
            **{key: value for key, value in more.items() if value is not None},
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Adopt:
        """Read it back."""
        return Adopt(
            host_pid=_pid(values, "host_pid"),
            pid=_pid(values, "adopt", 1),
            tid=_pid(values, "tid", 1),
            comm=taken(values, "comm", str),
            credentials=_credentials_from_json(values),
            parent=_pid(values, "parent"),
            cmdline=_words({"cmdline": [], **values}),
            pgrp=_pid(values, "pgrp") if "pgrp" in values else None,
            session=_pid(values, "session") if "session" in values else None,
        )


@dataclass(frozen=True, slots=True)
class Depart:
    """A process of the host is gone: nobody stands for it, and it acts as nobody."""

    host_pid: int

    def apply(self, procfs: Procfs) -> None:
        """Let its process of the machine go as well; one that is held stays until it may."""
        procfs.acting.pop(self.host_pid, None)
        for process in [p for p, host_pid in procfs.adopted.items() if host_pid == self.host_pid]:
            del procfs.adopted[process]
            self._end(procfs, process)

    def _end(self, session: Session, process: Process) -> None:
        machine = session.machine
        if machine.processes.get(process.pid) is not process:
            return
        if not process.group_exit:
            machine.exit_group(process)
        if process.is_zombie:
            machine.reap(process)

    def to_json(self) -> dict[str, Any]:
        """Return its pid."""
        return {"depart": self.host_pid}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Depart:
        """Read it back."""
        return Depart(_pid(values, "depart"))


@dataclass(frozen=True, slots=True)
class Nothing:
    """Only time has passed."""

    def apply(self, procfs: Procfs) -> None:
        """Do nothing: the clock is the caller's business."""

    def to_json(self) -> dict[str, Any]:
        """Return nothing more."""
        return {}


_KINDS: dict[str, Callable[[Mapping[str, Any]], Input]] = {
    "write": Write.from_json,
    **dict.fromkeys(Verb, ChangeDirectory.from_json),
    "adopt": Adopt.from_json,
    "depart": Depart.from_json,
}


# -- Inputs in time ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """An input, and the machine's time when it came."""

    time_ns: int
    input: Input

    def to_json(self) -> dict[str, Any]:
        """Return the time and the input in one."""
        return {"t": self.time_ns, **self.input.to_json()}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Entry:
        """Read it back; ValueError says what is wrong with it."""
        time_ns = taken_number(values, "t", 0, _LATEST_NS)
        kind = next((kind for kind in _KINDS if kind in values), None)
        return Entry(time_ns, _KINDS[kind](values) if kind else Nothing())

    def replay(self, procfs: Procfs) -> None:
        """Let the time pass until then, and the input happen.

        It may be one that was refused: so it is again.  ValueError when that time is over.
        """
        machine = procfs.machine
        if self.time_ns < machine.now_ns:
            raise ValueError(f"t: {self.time_ns} is over, it is {machine.now_ns}")
        machine.advance(self.time_ns - machine.now_ns)
        with suppress(Refused):
            self.input.apply(procfs)
