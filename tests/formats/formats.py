# SPDX-License-Identifier: MIT
"""Which format a file has: from the tables, or as the capture has it."""

from __future__ import annotations

from functools import cache

from tests.formats.capture import load
from tests.formats.printf import Format, as_captured
from tests.formats.system_formats import SYSTEM_FORMATS
from tests.formats.task_formats import TASK_FORMATS
from tests.formats.view import TASKS, View


@cache
def captured() -> View:
    """Return the view of a 6.18 that is kept."""
    return load()


@cache
def format_of(path: str) -> Format | None:
    """Return the format of a file; None if there is neither a table's nor a capture."""
    kind, _, name = path.partition("/")
    format_ = TASK_FORMATS.get(name) if kind in TASKS else SYSTEM_FORMATS.get(path)
    if format_ is not None:
        return format_
    entry = captured().get(path)
    return None if entry is None or entry.content is None else as_captured(entry.content)
