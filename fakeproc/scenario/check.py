# SPDX-License-Identifier: MIT
"""What is wrong with the data of a scenario file: all of it, each with its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fakeproc.kernel import behaviour
from fakeproc.kernel.errors import Refused, not_known
from fakeproc.kernel.profile import AnyKernelConfig, KernelConfig, render_value
from fakeproc.procfs import script
from fakeproc.scenario.keys import TABLES, Key, Table
from fakeproc.scenario.locate import Path
from fakeproc.toml import format_value
from fakeproc.units import SIZE_KEYS

_LONGEST_VALUE = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not accepted: where it stands, and a sentence about it."""

    path: Path
    why: str


def problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Walk over all that is wrong with a scenario, as far as the file itself shows it.

    What only the machine can refuse (a pid that is taken, no memory left) is not among it.
    """
    yield from _Check(in_state="state" in data).table("file", data, ())


_Together = Callable[[str, Mapping[str, Any], Path], Iterator[Problem]]


class _Check:
    """A walk over a scenario, or over the state of a machine, which has more keys."""

    def __init__(self, *, in_state: bool) -> None:
        self._in_state = in_state
        self._together = {**_TOGETHER, "process": _process_of_state} if in_state else _TOGETHER

    def table(self, name: str, table: Mapping[str, Any], path: Path) -> Iterator[Problem]:
        """Walk over what is wrong with a table, which is a row of `TABLES`."""
        row = TABLES[name]
        where = row.where(table)
        found = [p for key in table for p in self._pair(where, row, key, table, path)]
        for key in row.required:
            if key not in table:
                accepted = row.keys[key].accepted
                found.append(Problem(path, f"{where}: {key}: is missing: accepted is {accepted}."))
        yield from found
        if not found and name in self._together:
            yield from self._together[name](where, table, path)

    def _pair(
        self, where: str, row: Table, name: str, table: Mapping[str, Any], path: Path
    ) -> Iterator[Problem]:
        key, value, path = row.keys.get(name), table[name], (*path, name)
        if key is None:
            yield Problem(path, not_known(f"{where}: key", name, row.written_by_hand).why)
        elif key.state_only and not self._in_state:
            yield Problem(path, f"{where}: {name}: means nothing without [state]; leave it out.")
        elif key.type is not object and type(value) is not key.type:
            yield _not_accepted(where, name, key, value, path)
        elif key.table and isinstance(value, list):
            for place, element in enumerate(value):
                if isinstance(element, dict):
                    yield from self.table(key.table, element, (*path, place))
                else:
                    yield _not_accepted(where, name, key, element, (*path, place))
        elif key.table:
            yield from self.table(key.table, value, path)
        else:
            yield from _checked(where, name, key, value, path)


def _checked(where: str, name: str, key: Key, value: object, path: Path) -> Iterator[Problem]:
    try:
        if key.check(value) is not False:
            return
    except Refused as refused:
        if name in ("kernel", "caps"):
            yield Problem(path, f"{where}: {refused.why}")
            return
    yield _not_accepted(where, name, key, value, path)


def _not_accepted(where: str, name: str, key: Key, value: object, path: Path) -> Problem:
    shown = format_value(value)
    if len(shown) > _LONGEST_VALUE:
        shown = shown[:_LONGEST_VALUE] + "..."
    return Problem(path, f"{where}: {name} = {shown}: accepted is {key.accepted}.")


# -- Keys that do not go together --------------------------------------------------


def _machine(where: str, table: Mapping[str, Any], path: Path) -> Iterator[Problem]:
    for one, other in (("nodes", "ram"), ("uptime", "uptime_s")):
        if one in table and other in table:
            why = f"{where}: {one}: says the same as {other}; leave out one of the two."
            yield Problem((*path, one), why)
    config: KernelConfig = AnyKernelConfig(table.get("kernel", KernelConfig().base))
    for name, value in table.get("switches", {}).items():
        try:
            config.with_switch(name, render_value(value))
        except Refused as refused:
            yield Problem((*path, "switches", name), f"{where}: {refused.why}")


_BESIDE_KTHREAD = {"name", "pid", "kthread", "count", "mm", "parent", "state", "nice"}
_NOT_BESIDE_SHARED = {*SIZE_KEYS, "cmdline", "dumpable"}
_NOT_BESIDE_INIT = {"uid", "gid", "caps", "vm", "vfork", "mm", "parent", "count", "kthread"}


def _process(where: str, table: Mapping[str, Any], path: Path) -> Iterator[Problem]:
    """Refuse keys that mean nothing beside others, or in this place."""
    nested = len(path) > 2
    sharing = table.get("vm") == "shared" or table.get("vfork", False)
    given = set(table)
    if table.get("kthread"):
        yield from _beside(where, "kthread = true", given - _BESIDE_KTHREAD, path)
    elif sharing:
        beside = 'vm = "shared" or vfork'
        yield from _beside(where, beside, given & {*_NOT_BESIDE_SHARED, "mm"}, path)
        if not nested and "parent" not in table:
            yield Problem(path, f"{where}: {beside}: only for a process in a process.")
    elif "mm" in table:
        yield from _beside(where, "mm", given & _NOT_BESIDE_SHARED, path)
    if table.get("pid") == 1:
        yield from _beside(where, "pid = 1, which is init", given & _NOT_BESIDE_INIT, path)
    if nested:
        yield from _beside(where, "the table that this one is in", given & {"parent"}, path)
    if "threads" in table and "thread" in table:
        yield from _beside(where, "thread", {"threads"}, path)
    if "hold_for" in table and "hold" not in table:
        yield Problem((*path, "hold_for"), f"{where}: hold_for: means nothing without hold.")


_NOT_IN_STATE = {"count", "threads", "vm", "vfork", "process"}


def _process_of_state(where: str, table: Mapping[str, Any], path: Path) -> Iterator[Problem]:
    """Refuse keys by which a person says in short what a state says at length."""
    yield from _beside(where, "[state]", _NOT_IN_STATE & set(table), path)


def _beside(where: str, what: str, keys: set[str], path: Path) -> Iterator[Problem]:
    for key in sorted(keys):
        why = f"{where}: {key}: means nothing beside {what}; leave it out."
        yield Problem((*path, key), why)


def behaviour_of(table: Mapping[str, Any]) -> behaviour.Behaviour:
    """Return the behaviour that an inline table describes; EINVAL for what is none."""
    words = {key: render_value(value) for key, value in table.items()}
    if "kind" in words:
        words = {"behaviour": words.pop("kind"), **words}
    return behaviour.parse(words)


def _behaviour(where: str, table: Mapping[str, Any], path: Path) -> Iterator[Problem]:
    try:
        behaviour_of(table)
    except Refused as refused:
        yield Problem(path, refused.why)


def lines_of(event: Mapping[str, Any]) -> list[str]:
    """Return the lines of an event."""
    lines: list[str] = event["do"] if isinstance(event["do"], list) else [event["do"]]
    return lines


def _event(where: str, table: Mapping[str, Any], path: Path) -> Iterator[Problem]:
    """Look at what can be known of a line before its time: the command and its keys."""
    for place, line in enumerate(lines_of(table)):
        try:
            script.require_known(line)
        except Refused as refused:
            inner: Path = (place,) if isinstance(table["do"], list) else ()
            yield Problem((*path, "do", *inner), f"{where}: {line!r}: {refused.why}")


_TOGETHER: Mapping[str, _Together] = {
    "machine": _machine,
    "process": _process,
    "behaviour": _behaviour,
    "event": _event,
}
