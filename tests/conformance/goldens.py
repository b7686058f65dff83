# SPDX-License-Identifier: MIT
"""The format of the recordings, as tests/goldens/README.md describes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from fakeproc.kernel.profile import nearest_name

Scenario = dict[str, Any]
Observation = dict[str, Any]


@dataclass(frozen=True)
class Recording:
    """What one kernel did in the scenarios of one group."""

    kernel: str
    group: str
    start_columns: list[str]
    table_columns: list[str]
    envs: list[dict[str, Any]]
    pairs: list[tuple[Scenario, Observation]]
    """Scenarios with what was observed; those that were given up are left out."""
    others: Callable[[], list[Recording]] = field(default=list, repr=False)
    """Returns more recordings of the same kernel, which say what a fresh task holds."""

    @property
    def profile_name(self) -> str:
        """The profile that has to do the same."""
        return profile_name(self.kernel)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Return what is recorded of tasks with memory, at the start of each scenario."""
        for _, observed in self.pairs:
            for values in observed["start"].values():
                if values is not None and len(values) == len(self.start_columns):
                    row = dict(zip(self.start_columns, values, strict=True))
                    if row["rss_kb"] is not None:
                        yield row

    @cached_property
    def fresh_row(self) -> dict[str, Any]:
        """What a task holds that has just started and has mapped nothing more.

        The smallest that any recording of this kernel has.
        """
        return min(self._all_rows, key=lambda row: row["rss_kb"])

    @cached_property
    def _all_rows(self) -> list[dict[str, Any]]:
        return [*self.rows(), *(row for other in self.others() for row in other.rows())]

    @cached_property
    def has_reports(self) -> bool:
        """Whether the logs hold the reports of the OOM killer whole."""
        steps = (step for _, observed in self.pairs for step in observed["steps"])
        return any("total_vm" in line for step in steps for line in step.get("log", []))

    @cached_property
    def recorder_is_init(self) -> bool:
        """Whether orphans become children of the recorder: then it is pid 1."""
        tasks = [
            row
            for scenario, observed in self.pairs
            if not scenario.get("boot", {}).get("init_actor")
            for step in observed["steps"]
            for row in step.get("tasks", {}).values()
        ]
        column = self.start_columns.index("ppid")
        return not any(len(row) > 1 and row[column] == "init" for row in tasks)

    def page_tables_with_stack(self) -> dict[str, int]:
        """Return the page tables of such a task once it has mapped one more region.

        What the group itself shows comes before what others of the kernel show.
        """
        fresh = self.fresh_row
        larger = [row for row in self._all_rows if row["pte_kb"] > fresh["pte_kb"]]
        row = min(larger, key=lambda row: row["pte_kb"], default=fresh)
        return {"pte_kb": row["pte_kb"], "pmd_kb": row["pmd_kb"] or 0}


def profile_name(kernel: str) -> str:
    """Name the profile for a folder of recordings: by version, or the posted series."""
    if kernel.endswith("-oomv2"):
        return "series-as-posted"
    major, minor = kernel.split("-")[0].split(".")[:2]
    return nearest_name((int(major), int(minor)))


def recordings(folder: Path, kernels: list[str], groups: list[str]) -> Iterator[Recording]:
    """Read the recordings of these kernels and groups; of all, where none is named."""
    index = json.loads((folder / "index.json").read_text())
    for kernel in kernels or index:
        for group in groups or index[kernel]:
            if group in index[kernel]:
                yield _read(folder, kernel, group)


def known(folder: Path) -> tuple[list[str], list[str]]:
    """Return the kernels and the groups that the folder holds."""
    index = json.loads((folder / "index.json").read_text())
    groups: dict[str, None] = {}
    for held in index.values():
        groups |= dict.fromkeys(held)
    return list(index), list(groups)


def scenarios(folder: Path, group: str) -> list[Scenario]:
    """Read the scenarios of a group, which are the same for all kernels."""
    held: list[Scenario]
    held = json.loads((folder / "scenarios" / f"{group}.json").read_text())["scenarios"]
    return held


@cache
def _read(folder: Path, kernel: str, group: str) -> Recording:
    by_id = {scenario["id"]: scenario for scenario in scenarios(folder, group)}
    data = json.loads((folder / kernel / f"{group}.json").read_text())
    pairs = [(by_id[o["id"]], o) for o in data["observed"] if o["complete"]]
    others = partial(_of_kernel, folder, kernel)
    columns, table = data["start_columns"], data.get("table", [])
    return Recording(kernel, group, columns, table, data["envs"], pairs, others)


def _of_kernel(folder: Path, kernel: str) -> list[Recording]:
    return list(recordings(folder, [kernel], []))
