# SPDX-License-Identifier: MIT
"""What the short runs try: words of the language put together, by its grammar where that pays."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st

from fakeproc.procfs.ctl import COMMANDS
from fakeproc.scenario.keys import TABLES
from fakeproc.toml import format_value
from tests.fuzz.targets import CTL_VALUES, TARGETS, Target
from tests.fuzz.worlds import SELECTORS

Inputs = st.SearchStrategy[bytes]


def inputs_of(name: str, target: Target) -> Inputs:
    """Return what a short run tries: half of it by the grammar, where there is one."""
    grammar = _GRAMMARS.get(name)
    plain = st.one_of(_words(target), _damaged(target))
    return plain if grammar is None else st.one_of(plain, grammar())


def _words(target: Target) -> Inputs:
    """Return words of the language and bytes, one behind the other."""
    word = st.one_of(st.sampled_from(target.tokens), st.binary(max_size=6))
    first = st.sampled_from([bytes([letter]) for letter in SELECTORS])
    return st.builds(lambda head, rest: head + b"".join(rest), first, st.lists(word, max_size=8))


def _damaged(target: Target) -> Inputs:
    """Return seeds of which a part is something else."""

    def damaged(seed: bytes, start: int, length: int, instead: bytes) -> bytes:
        start %= len(seed) + 1
        return seed[:start] + instead + seed[start + length :]

    instead = st.one_of(st.sampled_from(target.tokens), st.binary(max_size=4))
    return st.builds(
        damaged, st.sampled_from(target.seeds), st.integers(0, 4096), st.integers(0, 8), instead
    )


# -- Grammars ----------------------------------------------------------------------

_values = st.one_of(
    st.sampled_from([*CTL_VALUES, "64M", "1.5G", "5s", "9" * 30, "", "-1", "x" * 300]),
    st.text(max_size=8),
    st.integers(-(2**65), 2**65).map(str),
)


def _ctl() -> Inputs:
    """Return commands with keys that they have, of which the values may be anything."""
    return st.lists(st.sampled_from(sorted(COMMANDS)).flatmap(_command), max_size=3).map(
        lambda lines: b"A" + "\n".join(lines).encode(errors="replace")
    )


def _command(name: str) -> st.SearchStrategy[str]:
    keys = COMMANDS[name].keys
    options = st.dictionaries(st.sampled_from(keys), _values, max_size=4) if keys else st.just({})
    low, high = COMMANDS[name].words
    words = st.lists(_values, min_size=low, max_size=high)

    def line(words: list[str], options: Mapping[str, str]) -> str:
        pairs = (f"{key}={value}" for key, value in options.items())
        return " ".join([name, *("'" + word.replace("'", "") + "'" for word in (*words, *pairs))])

    return st.builds(line, words, options)


_scalars = st.one_of(
    st.booleans(),
    st.integers(-5, 5000),
    st.integers(-(2**70), 2**70),
    st.sampled_from(["64M", "5s", "grow", "50M/s", "6.18", "/web", "shared", "stuck", "x", ""]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
)
_IN_A_LIST = ("process", "memcg", "swap", "event", "thread", "marked", "reaping")


def _table(name: str, depth: int) -> st.SearchStrategy[dict[str, Any]]:
    """Return a table with some of the keys that it may have, and those that it must have."""
    row = TABLES[name]
    values = {key: _value(key, row.keys[key].table, depth) for key in row.keys}
    required = {key: values[key] for key in row.required}
    return st.fixed_dictionaries(
        required, optional={key: value for key, value in values.items() if key not in required}
    ).map(lambda table: dict(list(table.items())[:8]))


def _value(key: str, table: str, depth: int) -> st.SearchStrategy[Any]:
    if not table or depth == 0:
        return st.one_of(_scalars, st.lists(_scalars, max_size=2)) if depth else _scalars
    below = _table(table, depth - 1)
    return st.lists(below, max_size=2) if key in _IN_A_LIST else below


def _scenario() -> Inputs:
    """Return TOML by the schema; some values are of the type that they should be."""
    return _table("file", 2).map(
        lambda data: "\n".join(
            f"{key} = {format_value(1 if key == 'version' else value)}"
            for key, value in data.items()
        ).encode()
    )


def _journal_lines() -> Inputs:
    """Return the objects of the seeds, with other values in some places."""
    seeds = [
        json.loads(line)
        for seed in TARGETS["journal_lines"].seeds
        for line in seed.splitlines()
        if line
    ]
    odd = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([]),
        st.just({}), st.sampled_from(["\ud800", "\udcff", "1/0", "4.7 +3", "/", 10**30, 0, 1, 100]),
    )  # fmt: skip

    def changed(values: dict[str, Any], key: str, value: object) -> bytes:
        return json.dumps({**values, key: value}).encode()

    def line(values: dict[str, Any]) -> Inputs:
        keys = st.sampled_from([*values, "t", "caller", "kernel", "clock_speed", "boot_time_s"])
        return st.builds(changed, st.just(values), keys, odd)

    return st.lists(st.sampled_from(seeds).flatmap(line), min_size=1, max_size=3).map(b"\n".join)


_GRAMMARS: Mapping[str, Callable[[], Inputs]] = {
    "ctl": _ctl,
    "scenario": _scenario,
    "journal_lines": _journal_lines,
}
