# SPDX-License-Identifier: MIT
"""TOML written down (tomllib only reads), as scenarios use it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

INTEGER_BITS = 64
"""The longest integers of TOML; tomllib reads longer ones as well."""

_NOT_ASCII = re.compile(r"[^ -~]")
_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def dump_scenario(data: Mapping[str, Any], comments: Iterable[str] = ()) -> str:
    """Return the text of a scenario, as `fakeproc.scenario.load_scenario` reads it.

    A table of the file has a header of its own, one in a process is written in its line; a list
    of tables is an array of tables wherever it stands.
    """
    lines = [f"# {comment}" for comment in comments]
    lines += ["", *_pairs(data, without_tables=True)]
    for key, value in data.items():
        if isinstance(value, dict):
            name = _key(key)
            lines += ["", f"[{name}]", *_pairs(value), *_arrays(f"{name}.", value)]
    lines += _arrays("", data)
    return "\n".join(lines).lstrip("\n") + "\n"


def format_value(value: object) -> str:
    """Write a value as it stands behind the ``=``."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # What is no UTF-8 stands there as \udcff: TOML is text, of which a name need not be.
        text = value.encode(errors="backslashreplace").decode()
        return _NOT_ASCII.sub(_escaped, json.dumps(text, ensure_ascii=False))
    if isinstance(value, Mapping):
        return "{" + ", ".join(_pairs(value)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(format_value, value)) + "]"
    if isinstance(value, int) and value.bit_length() > INTEGER_BITS:
        # Of a very long one Python writes no decimal.
        return hex(value)
    return str(value)


def _escaped(char: re.Match[str]) -> str:
    """Escape what JSON leaves as it is: DEL, as TOML wants it, and what works on terminals."""
    return char[0] if char[0].isprintable() else f"\\U{ord(char[0]):08x}"


def _arrays(above: str, table: Mapping[str, Any]) -> list[str]:
    """Write the lists of tables in a table, each with its own below it."""
    lines: list[str] = []
    for key, value in table.items():
        if not _is_array_of_tables(value):
            continue
        name = f"{above}{_key(key)}"
        for entry in value:
            lines += ["", f"[[{name}]]", *_pairs(entry), *_arrays(f"{name}.", entry)]
    return lines


def _pairs(table: Mapping[str, Any], *, without_tables: bool = False) -> list[str]:
    return [
        f"{_key(key)} = {format_value(value)}"
        for key, value in table.items()
        if not _is_array_of_tables(value) and not (without_tables and isinstance(value, dict))
    ]


def _is_array_of_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else format_value(key)
