# SPDX-License-Identifier: MIT
"""What README.rst and docs/scenarios.rst say of scenarios is true.

    python -m tests.scenario.test_docs

writes the tables of docs/scenarios.rst anew.
"""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

from fakeproc.scenario.keys import TABLES
from fakeproc.scenario.load import builtin_names, builtin_text, describe, find_problems

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "scenarios.rst"
README = ROOT / "README.rst"
_BEGIN, _END = ".. tables begin\n", ".. tables end\n"
_SHOWN = {
    "machine": "``[machine]``",
    "swap": "``[[swap]]``",
    "memcg": "``[[memcg]]``",
    "process": "``[[process]]``, ``[[process.process]]``",
    "thread": "``[[process.thread]]``",
    "behaviour": "``behaviour = {...}``",
    "event": "``[[event]]``",
}


def tables() -> str:
    """Return the tables of the keys that a person writes, and of the built-in scenarios."""
    parts = [
        _table(heading, [(key, row.meaning) for key, row in TABLES[name].written_by_hand.items()])
        for name, heading in _SHOWN.items()
    ]
    builtin = [(name, describe(builtin_text(name))) for name in builtin_names()]
    return "\n".join([*parts, _table("Built-in scenarios", builtin)])


def _table(heading: str, rows: list[tuple[str, str]]) -> str:
    cells = [(f"``{name}``", re.sub(r"`([^`]+)`", r"``\1``", text)) for name, text in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    lines = [f"{name:<{widths[0]}}  {text}" for name, text in cells]
    return "\n".join([heading, "~" * len(heading), "", rule, *lines, rule, ""])


def test_the_tables_are_those_of_the_code() -> None:
    text = DOCS.read_text()
    shown = text.split(_BEGIN)[1].split(_END)[0]
    assert shown.strip() == tables().strip(), "run python -m tests.scenario.test_docs"


def test_the_example_of_the_readme_is_sound() -> None:
    section = README.read_text().split("\nScenarios\n")[1]
    example = section.split("in TOML::\n")[1].split("\n``fakeproc mount")[0]
    assert find_problems(dedent(example), "README.rst") == []


def test_the_mistake_of_the_readme_is_told_so() -> None:
    text = "version = 1\n" + "\n" * 8 + '[[process]]\nname = "web"\nrss = "12Q"\n'
    (problem,) = find_problems(text, "server.toml")
    assert f"\n    {problem}\n" in README.read_text()


if __name__ == "__main__":
    before, rest = DOCS.read_text().split(_BEGIN)
    DOCS.write_text(before + _BEGIN + "\n" + tables() + "\n" + _END + rest.split(_END)[1])
