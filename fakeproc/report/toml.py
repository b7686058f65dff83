# SPDX-License-Identifier: MIT
"""A scenario written down in TOML (tomllib only reads)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def dump_scenario(data: Mapping[str, Any], comments: list[str]) -> str:
    """Return the text of a scenario, as `fakeproc.scenario.load_scenario` reads it."""
    lines = [f"# {comment}" for comment in comments]
    plain = {key: value for key, value in data.items() if not isinstance(value, dict | list)}
    lines += ["", *_pairs(plain)]
    lines += ["", "[machine]", *_pairs(data["machine"])]
    for table in data["memcg"]:
        lines += ["", "[[memcg]]", *_pairs(table)]
    for table in data["process"]:
        lines += _process("process", table)
    return "\n".join(lines) + "\n"


def _process(name: str, table: Mapping[str, Any]) -> list[str]:
    own = {key: value for key, value in table.items() if key != "process"}
    lines = ["", f"[[{name}]]", *_pairs(own)]
    for child in table.get("process", []):
        lines += _process(f"{name}.process", child)
    return lines


def _pairs(table: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in table.items()]


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(_pairs(value)) + "}"
    # JSON's strings are TOML's but for DEL, which TOML wants escaped.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
