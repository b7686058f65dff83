# SPDX-License-Identifier: MIT
"""/proc/fakeproc/explain-kernels and .json: what every kernel would make of the same state."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from fakeproc.kernel.compare import Boundary, PatchEffect, SwitchChange, compare
from fakeproc.kernel.explain import Forecast
from fakeproc.kernel.profile import DEFAULT_PROFILE, PATCHES, SwitchState, render_value
from fakeproc.procfs.explanation import name_of, spell
from fakeproc.procfs.oom_trigger import read_request
from fakeproc.procfs.session import Session
from fakeproc.units import align

_COLUMNS = ("kernel", "outcome", "chosen", "victim", "killed")
_NAMED_AT_MOST = 3


def data_of(session: Session) -> dict[str, Any]:
    """Compare the kernels on the OOM in question of the machine as it is."""
    found = compare(session.machine, read_request(session, "explain-kernels", session.question))
    return {
        "request": session.question,
        "verdicts": [
            {"kernels": list(agreement.kernels), **_verdict(agreement.forecast)}
            for agreement in found.agreements
        ],
        "boundaries": [_boundary(boundary) for boundary in found.boundaries],
        "patches": [_patch(effect) for effect in found.patches],
    }


def _verdict(forecast: Forecast) -> dict[str, Any]:
    return {
        "outcome": forecast.outcome.value,
        "chosen": name_of(forecast.chosen),
        "victim": name_of(forecast.victim),
        "killed": [name_of(process) for process in forecast.dying],
    }


def _boundary(boundary: Boundary) -> dict[str, Any]:
    switches = [_switch(change) for change in boundary.changes]
    return {"earlier": boundary.earlier, "later": boundary.later, "switches": switches}


def _switch(change: SwitchChange) -> dict[str, Any]:
    return {
        "name": change.after.name,
        "before": render_value(change.before.value),
        "after": render_value(change.after.value),
        "origin": _origin(change.before, change.after),
    }


def _origin(before: SwitchState, after: SwitchState) -> str:
    """Name the patch with its title, or the version."""
    number = next((n for n in PATCHES if after.origin.split()[:2] == ["patch", str(n)]), None)
    if number is None:
        return after.origin
    merged = " as merged" if before.origin == f"patch {number} as posted" else ""
    return f'{after.origin}{merged}, "{PATCHES[number]}"'


def _patch(effect: PatchEffect) -> dict[str, Any]:
    return {
        "patch": effect.number,
        "title": PATCHES[effect.number],
        "changes": not effect.is_none,
        "without": _verdict(effect.without),
        "with": _verdict(effect.present),
        "writable": [name_of(process) for process in effect.accepted],
        "reached": [
            {"written": name_of(process), "also": [name_of(other) for other in others]}
            for process, others in effect.reached
        ],
    }


def render_json(session: Session) -> str:
    """Return it for programs."""
    return json.dumps(data_of(session), indent=1) + "\n"


def render(session: Session) -> str:
    """Return it for people: the verdicts, what parts them, what each of the six patches does."""
    data = data_of(session)
    text = f"request: {data['request']}\n" if data["request"] else ""
    text += align([list(_COLUMNS), *map(_cells, data["verdicts"])])
    if data["boundaries"]:
        text += "\n"
    for boundary in data["boundaries"]:
        switches = "; ".join(map(_spell_switch, boundary["switches"]))
        text += f"{boundary['earlier']} to {boundary['later']}: {switches}\n"
    text += f"\nthe six patches, on {DEFAULT_PROFILE}:\n"
    for patch in data["patches"]:
        text += f"  {patch['patch']} {patch['title']}\n"
        text += "".join(f"      {line}\n" for line in _effects(patch))
    return text


def _cells(verdict: dict[str, Any]) -> list[str]:
    chosen, victim = spell(verdict["chosen"]), spell(verdict["victim"])
    return [_range(verdict["kernels"]), verdict["outcome"], chosen, victim, _killed(verdict)]


def _range(kernels: Sequence[str]) -> str:
    """Write kernels that follow each other: ``4.4-4.7``, or with ``to`` where one has a name."""
    first, last = kernels[0], kernels[-1]
    if first == last:
        return first
    between = "-" if first[0].isdigit() and last[0].isdigit() else " to "
    return f"{first}{between}{last}"


def _killed(verdict: dict[str, Any]) -> str:
    return ", ".join(map(spell, verdict["killed"])) or "none"


def _spell_switch(switch: dict[str, Any]) -> str:
    return f"{switch['name']} {switch['before']} -> {switch['after']} ({switch['origin']})"


def _effects(patch: dict[str, Any]) -> list[str]:
    lines = []
    if patch["without"] != patch["with"]:
        lines.append(f"without: {_spell_verdict(patch['without'])}")
        lines.append(f"with:    {_spell_verdict(patch['with'])}")
    if patch["writable"]:
        named = _some([spell(task) for task in patch["writable"]])
        lines.append(f"oom_adj and oom_score_adj of {named} can be written only with it")
    if patch["reached"]:
        named = _some([_spell_reached(row) for row in patch["reached"]])
        lines.append(f"a write sets also those who share the mm: {named}")
    return lines or ["no difference here"]


def _spell_verdict(verdict: dict[str, Any]) -> str:
    if verdict["killed"]:
        return f"{verdict['outcome']}: {_killed(verdict)}"
    return f"{verdict['outcome']}: {spell(verdict['chosen'])}"


def _spell_reached(row: dict[str, Any]) -> str:
    return f"{spell(row['written'])} -> {_some([spell(task) for task in row['also']])}"


def _some(names: list[str]) -> str:
    """Name a few of many."""
    more = len(names) - _NAMED_AT_MOST
    return ", ".join(names[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
