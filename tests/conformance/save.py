# SPDX-License-Identifier: MIT
"""Keeps what a live kernel did, in the format of tests/goldens/README.md."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tests.conformance.goldens import Recording, Scenario

GROUP = "found"


def save(recording: Recording, folder: Path) -> bool:
    """Add the scenarios of a recording to a folder; say whether any of them was not there yet.

    They are kept apart from other recordings of that kernel, as tasks of a live one have other
    sizes, and together with what says how large such a task is.
    """
    for other in recording.others():
        _add(other, folder, recording.kernel, other.group)
    return _add(recording, folder, recording.kernel, GROUP)


def _add(recording: Recording, folder: Path, kernel: str, group: str) -> bool:
    """Add to the files of a group; say whether anything was not there yet."""
    kernel = f"{kernel}-live"
    scenarios_path = folder / "scenarios" / f"{group}.json"
    observed_path = folder / kernel / f"{group}.json"
    scenarios = _read(scenarios_path, {"group": group, "scenarios": []})
    observed = _read(
        observed_path,
        {
            "kernel": kernel,
            "recorded_on": f"Linux {recording.envs[0]['release']} running as User-Mode Linux",
            "group": group,
            "start_columns": recording.start_columns,
            "table": [],
            "envs": [],
            "observed": [],
        },
    )
    observed["table"] = observed["table"] or recording.table_columns
    is_new = False
    for scenario, observation in recording.pairs:
        name = f"{group}/{_digest(scenario)}"
        env = _index(observed["envs"], recording.envs[observation["env"]])
        is_new |= _append(observed["observed"], {**observation, "id": name, "env": env})
        _append(scenarios["scenarios"], {**scenario, "id": name})
    _write(scenarios_path, scenarios, "scenarios")
    _write(observed_path, observed, "observed")
    _count(folder / "index.json", kernel, group, len(observed["observed"]))
    return is_new


def _digest(scenario: Scenario) -> str:
    """Name a scenario by what is in it."""
    unnamed = {key: value for key, value in scenario.items() if key != "id"}
    return hashlib.sha256(json.dumps(unnamed, sort_keys=True).encode()).hexdigest()[:12]


def _index(envs: list[dict[str, Any]], env: dict[str, Any]) -> int:
    if env not in envs:
        envs.append(env)
    return envs.index(env)


def _append(entries: list[dict[str, Any]], entry: dict[str, Any]) -> bool:
    """Append an entry unless its id is there."""
    if any(held["id"] == entry["id"] for held in entries):
        return False
    entries.append(entry)
    return True


def _count(path: Path, kernel: str, group: str, count: int) -> None:
    index = _read(path, {})
    index.setdefault(kernel, {})[group] = {"scenarios": count, "complete": count}
    path.write_text(json.dumps(index, indent=1) + "\n")


def _read(path: Path, default: dict[str, Any]) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else default


def _write(path: Path, content: dict[str, Any], lines: str) -> None:
    """Write JSON in which each entry of `lines` is one line."""
    head = json.dumps({key: value for key, value in content.items() if key != lines})
    entries = ",\n".join(json.dumps(one, separators=(",", ":")) for one in content[lines])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{head[:-1]}, "{lines}": [\n{entries}\n]}}\n')
