# SPDX-License-Identifier: MIT
"""The JSON Schema of scenario files, made of the table that the loader checks with.

    python -m fakeproc.scenario.schema > fakeproc/scenario/schema.json

writes the copy that is shipped for editors.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fakeproc.scenario.keys import TABLES, Table

_DIALECT = "http://json-schema.org/draft-07/schema#"


def schema() -> dict[str, Any]:
    """Return the schema, draft 7: the dialect that editors of TOML know."""
    tables = {name: _table(table) for name, table in TABLES.items()}
    return {
        "$schema": _DIALECT,
        "title": "A scenario of fakeproc",
        **tables.pop("file"),
        "$defs": tables,
    }


def shipped_text() -> str:
    """Return the schema as it is shipped."""
    return Path(__file__).with_name("schema.json").read_text()


def render() -> str:
    """Return the text of the schema."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def _table(table: Table) -> dict[str, Any]:
    rows = {
        name: {**key.schema, **({"description": key.meaning} if key.meaning else {})}
        for name, key in table.keys.items()
    }
    required = {"required": list(table.required)} if table.required else {}
    return {"type": "object", "additionalProperties": False, "properties": rows, **required}


if __name__ == "__main__":
    print(render(), end="")
