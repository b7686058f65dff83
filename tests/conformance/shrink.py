# SPDX-License-Identifier: MIT
"""Makes a scenario smaller for as long as it still shows what it shows: delta debugging."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from tests.conformance.cast import valid_part
from tests.conformance.goldens import Scenario

Judge = Callable[[Sequence[Scenario]], Sequence[bool]]
"""Tells for each of many scenarios whether it still differs: many share one boot."""

_BATCH = 40
_CAN_GO = {
    "anon_kb", "shmem_kb", "file_kb", "threads", "signals", "oom_score_adj", "oom_adj", "uid",
    "caps", "dumpable", "by", "via", "how", "nowait",
}  # fmt: skip


def shrink(scenario: Scenario, judge: Judge) -> Scenario:
    """Return the smallest scenario found that the judge says yes to, as to the one given."""
    while (smaller := _first(_smaller(scenario), judge)) is not None:
        scenario = smaller
    return scenario


def _first(candidates: list[Scenario], judge: Judge) -> Scenario | None:
    remaining = iter(candidates)
    while batch := list(islice(remaining, _BATCH)):
        for candidate, says_yes in zip(batch, judge(batch), strict=True):
            if says_yes:
                return candidate
    return None


def _smaller(scenario: Scenario) -> list[Scenario]:
    """Return valid scenarios that are smaller by one cut, the smallest first."""
    cuts = (*_cuts(scenario, "steps"), *_cuts(scenario, "tasks"), *_simpler(scenario))
    unlike = {_weight(s): s for s in map(valid_part, cuts) if s["steps"]}
    return [unlike[weight] for weight in sorted(unlike) if weight < _weight(scenario)]


def _weight(scenario: Scenario) -> tuple[int, int, str]:
    text = json.dumps([scenario["tasks"], scenario["steps"], scenario.get("boot")])
    return len(scenario["tasks"]) + len(scenario["steps"]), len(text), text


def _cuts(scenario: Scenario, key: str) -> Iterator[Scenario]:
    """Cut out halves, quarters, ... and single ones."""
    whole = scenario[key]
    size = len(whole)
    while size:
        for start in range(0, len(whole), size):
            rest = whole[:start] + whole[start + size :]
            yield {**scenario, key: rest}
            if size == 1 and key == "tasks":
                yield {**scenario, key: _inherited(rest, whole[start])}
        size //= 2


def _inherited(tasks: list[dict[str, Any]], gone: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the children of a task to its parent."""
    parent = {"parent": gone["parent"]} if "parent" in gone else {}
    return [
        {key: value for key, value in task.items() if key != "parent"} | parent
        if task.get("parent") == gone["name"]
        else task
        for task in tasks
    ]


def _simpler(scenario: Scenario) -> Iterator[Scenario]:
    """Leave out or simplify one field; first all at once."""
    if "boot" in scenario:
        yield {key: value for key, value in scenario.items() if key != "boot"}
    for key in ("tasks", "steps"):
        yield {**scenario, key: [_bare(item) for item in scenario[key]]}
    for key in ("tasks", "steps"):
        for number, item in enumerate(scenario[key]):
            for other in _simpler_items(item):
                whole = scenario[key]
                yield {**scenario, key: [*whole[:number], other, *whole[number + 1 :]]}


def _bare(item: dict[str, Any]) -> dict[str, Any]:
    return {field: value for field, value in item.items() if not _can_go(item, field)}


def _can_go(item: dict[str, Any], field: str) -> bool:
    return field in _CAN_GO and not (field == "by" and item["op"] in ("seize", "hog"))


def _simpler_items(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for field, value in item.items():
        if _can_go(item, field):
            yield {key: held for key, held in item.items() if key != field}
        for simpler in _simpler_values(field, value):
            yield {**item, field: simpler}
    if "create" in item and "parent" in item:
        yield {key: held for key, held in item.items() if key not in ("create", "parent")}


def _simpler_values(field: str, value: Any) -> Iterator[Any]:
    if field in ("ops", "values", "targets") and len(value) > 1:
        yield from (value[:at] + value[at + 1 :] for at in range(len(value)))
    if field == "ops":
        for at, operation in enumerate(value):
            for simpler in _simpler_values("do", operation):
                yield [*value[:at], simpler, *value[at + 1 :]]
    elif field == "do":
        for text in _simpler_values("data", value[1]) if value[0] in ("write", "pwrite") else ():
            yield [value[0], text, *value[2:]]
    elif field == "data":
        yield from ("0", "1", "1000", value[1:], value[:-1])
    elif field == "file":
        yield "oom_adj"
    elif field == "task":
        yield from _simpler_items(value)
    elif field.endswith("_kb"):
        yield 64
    elif isinstance(value, int):
        yield from (0, 1, 1000)
