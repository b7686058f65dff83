# SPDX-License-Identifier: MIT
"""Every report of tests/oom-reports against its index: what is read, and whom it would be."""

from __future__ import annotations

from typing import Any

import pytest

from fakeproc.report.parse import NO_LIMIT_KB, Named, Report
from fakeproc.report.render import data_of
from tests.report import IDS, INDEX, answer_of, report_of, text_of

DECIDABLE = [entry for entry in INDEX if entry["expect"] == "agrees"]
WORDS = {
    "021": "swapoff is an OOM origin",
    "021x": "whatever its size",
    "045": "clamped to 1",
    "045x": "the limit of the cgroup is not in the report",
    "088": "victim of earlier OOMs, its memory reaped and hidden",
}
"""What the reason must say where the table alone does not give the victim."""


def ids(entry: dict[str, Any]) -> str:
    return str(entry["id"])


def named(task: Named | None) -> dict[str, Any] | None:
    return None if task is None else {"pid": task.pid, "comm": task.comm}


def fields(report: Report) -> dict[str, Any]:
    """Return what the index says about a report, as it was read."""
    memory = report.memory
    return {
        "kernel": report.release,
        "constraint": report.scope.value,
        "order": report.order,
        "gfp": report.gfp,
        "allocating_comm": report.allocating_comm,
        "ram_pages": memory.ram_pages,
        "reserved_pages": memory.reserved_pages,
        "swap_kb": memory.swap_kb,
        "memcg_limit_kb": memory.memcg_limit_kb,
        "memcg_memsw_limit_kb": memory.memcg_memsw_limit_kb,
        "memcg_swap_limit_kb": memory.memcg_swap_limit_kb,
        "page_kb": memory.page_kb,
        "rows": len(report.rows),
        "chosen": named(report.chosen),
        "killed": named(report.killed),
        "score": report.score,
        "group_kill": report.group_path is not None,
        "complete": report.complete,
    }


@pytest.mark.parametrize("entry", INDEX, ids=ids)
def test_what_is_read_is_what_the_index_says(entry: dict[str, Any]) -> None:
    read, text = fields(report_of(entry["id"])), text_of(entry["id"])
    for name, value in read.items():
        if value == entry[name]:
            continue
        # The index has a limit of 063 from around the post, takes "no limit" of swap for not
        # told, and a task's name from the first line only.
        from_around = name == "memcg_limit_kb" and f"limit {entry[name]}kB" not in text
        no_limit = name == "memcg_swap_limit_kb" and entry[name] is None and value >= NO_LIMIT_KB
        other_line = name == "allocating_comm" and entry[name] is None
        assert from_around or no_limit or other_line, (name, value, entry[name])


@pytest.mark.parametrize("entry", DECIDABLE, ids=ids)
def test_the_prediction_agrees_with_the_log(entry: dict[str, Any]) -> None:
    data = data_of(answer_of(entry["id"]))
    assert data["agrees"] is True, data["reason"]
    assert data["predicted"]["pid"] == entry["chosen"]["pid"]
    assert data["logged"]["pid"] == entry["chosen"]["pid"]
    assert data["ranking"][0]["pid"] == entry["chosen"]["pid"]


@pytest.mark.parametrize("entry", [e for e in DECIDABLE if e["score"] is not None], ids=ids)
def test_the_logged_score_is_the_one_of_the_rules(entry: dict[str, Any]) -> None:
    """Within 2 thousandths: the sizes are printed a moment after the choice."""
    score = data_of(answer_of(entry["id"]))["predicted"]["score"]
    assert abs(score - entry["score"]) <= 2


@pytest.mark.parametrize("entry", [e for e in INDEX if e not in DECIDABLE], ids=ids)
def test_what_the_table_does_not_give_is_explained(entry: dict[str, Any]) -> None:
    data = data_of(answer_of(entry["id"]))
    for key in (entry["id"], entry["id"] + "x"):
        assert WORDS.get(key, "") in data["reason"]
    assert data["agrees"] is False or data["predicted"]["pid"] == entry["chosen"]["pid"]


def test_every_report_that_is_explained_has_its_words() -> None:
    assert {key[:3] for key in WORDS} == {e["id"] for e in INDEX if e not in DECIDABLE}


@pytest.mark.parametrize("identity", IDS)
def test_what_is_missing_is_said(identity: str) -> None:
    entry = next(entry for entry in INDEX if entry["id"] == identity)
    missing = " ".join(report_of(identity).missing)
    assert ("head (who" in missing) == ("invoked oom-killer" not in text_of(identity))
    if entry["killed"] is None and entry["chosen"] is not None:
        assert '"Killed process"' in missing
