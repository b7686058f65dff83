# SPDX-License-Identifier: MIT
"""Whatever keys and values a file has: it loads, or it is refused with a sentence."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakeproc.kernel.errors import Refused
from fakeproc.procfs.state_file import state_of
from fakeproc.scenario import load_scenario
from fakeproc.scenario.keys import TABLES, Key
from fakeproc.scenario.load import find_problems, load_text
from fakeproc.toml import dump_scenario

PIDS = (1, 2, 500, 501, 100_100, 100_101, 100_102)
FEW = 20
TEXTS = (
    *(
        "0",
        "4k",
        "1M",
        "300M",
        "9T",
        "5s",
        "100ms",
        "/web",
        "/web/front",
        "/",
        "web",
        "all",
        "none",
    ),
    *(
        "0x3f",
        "+kill",
        "bind:0",
        "0-1",
        "0",
        "stuck",
        "at-exit",
        "own",
        "shared",
        "Z",
        "T",
        "R",
        "grow",
    ),
    *(
        "constant",
        "5M/s",
        "6.1",
        "4.4",
        "kill 500",
        "trigger",
        "spawn name=x rss=5M",
        "",
        "ff00",
        "\0",
    ),
)
odd_values = st.one_of(
    st.integers(-3, 2**40),
    st.booleans(),
    st.sampled_from(TEXTS),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    st.lists(st.one_of(st.sampled_from(PIDS), st.sampled_from(TEXTS)), max_size=3),
)


def values(key: Key, depth: int) -> st.SearchStrategy[Any]:
    """Return values for a key: mostly of its type, some of which it accepts."""
    likely: st.SearchStrategy[Any]
    if key.table and key.type is list:
        likely = st.lists(tables(key.table, depth - 1), max_size=3)
    elif key.table:
        likely = tables(key.table, depth - 1)
    elif "enum" in key.schema:
        likely = st.sampled_from(key.schema["enum"])
    elif key.type is int:
        low, high = key.schema["minimum"], key.schema["maximum"]
        near = [pid for pid in PIDS if low <= pid <= high] or [low]
        likely = st.one_of(st.sampled_from(near), st.integers(low, min(high, low + FEW)))
    elif key.type is bool:
        likely = st.booleans()
    elif key.type is list:
        likely = st.lists(st.sampled_from([1, 500, "1G"]), max_size=3).filter(
            lambda value: accepts(key, value)
        )
    elif key.type is dict:
        likely = st.dictionaries(st.sampled_from(["A", "", "a b", "A="]), st.sampled_from(TEXTS))
    else:
        likely = st.sampled_from([text for text in TEXTS if accepts(key, text)] or TEXTS)
    return st.integers(0, 40).flatmap(lambda chance: likely if chance else odd_values)


def accepts(key: Key, value: object) -> bool:
    try:
        return key.check(value) is not False
    except Refused:
        return False


@st.composite
def tables(draw: Callable[[st.SearchStrategy[Any]], Any], name: str, depth: int) -> dict[str, Any]:
    """Return tables with what they must have, and a few more keys."""
    row = TABLES[name]
    more = st.lists(st.sampled_from(sorted(row.keys)), max_size=4, unique=True)
    keys = [*row.required, *(draw(more) if depth > 0 else [])]
    return {key: draw(values(row.keys[key], depth)) for key in dict.fromkeys(keys)}


files = st.fixed_dictionaries(
    {"process": st.lists(tables("process", 3), max_size=4)},
    optional={
        "machine": tables("machine", 2),
        "state": tables("state", 2),
        "memcg": st.lists(tables("memcg", 1), max_size=2),
        "swap": st.lists(tables("swap", 1), max_size=2),
        "sysctl": tables("sysctl", 2),
        "event": st.lists(tables("event", 1), max_size=2),
    },
)


def check(data: dict[str, Any]) -> None:
    """Demand that a file loads, and lives for a while, or that it is said what is wrong."""
    text = dump_scenario(data)
    found = find_problems(text, "odd.toml")
    assert all(problem.startswith("odd.toml:") for problem in found)
    if found:
        with pytest.raises(Refused, match=r"odd\.toml:"):
            load_text(text, "odd.toml")
    else:
        load_text(text, "odd.toml").advance(10**10)


@settings(deadline=None, max_examples=200)
@given(files)
def test_it_loads_or_is_refused(data: dict[str, Any]) -> None:
    check({"version": 1, **data})


def state_after(name: str, ns: int) -> dict[str, Any]:
    machine = load_scenario(name)
    machine.advance(ns)
    return state_of(machine)


STATES = [
    state_after("patch-6", 1_500_000_000),
    state_after("patch-4", 500_000_000),
    state_after("stuck-victim", 5_150_000_000),
]


@st.composite
def changed_states(draw: Callable[[st.SearchStrategy[Any]], Any]) -> dict[str, Any]:
    """Return a state with another value here and there, or without a key."""
    data: dict[str, Any] = deepcopy(draw(st.sampled_from(STATES)))
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(["state", "process", "process", "process"]))
        table = data[name] if name == "state" else draw(st.sampled_from(data[name]))
        key = draw(st.sampled_from(sorted(TABLES[name].keys)))
        if draw(st.booleans()):
            table[key] = draw(values(TABLES[name].keys[key], 2))
        elif table:
            del table[draw(st.sampled_from(sorted(table)))]
    return data


@settings(deadline=None, max_examples=200)
@given(changed_states())
def test_a_state_that_somebody_has_edited(data: dict[str, Any]) -> None:
    check(data)
