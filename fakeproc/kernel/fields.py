# SPDX-License-Identifier: MIT
"""Rows of a table of fields that a kernel prints: a name, and the versions that have it."""

from __future__ import annotations

from dataclasses import dataclass

from fakeproc.kernel.profile import Version

ALWAYS: Version = (0, 0)
NEVER: Version = (99, 0)


@dataclass(frozen=True, slots=True)
class Field:
    """A field, and from which version on until which it is there."""

    name: str
    since: Version = ALWAYS
    until: Version = NEVER
    form: str = "{}:{}kB"
    """How the log prints name and value."""

    def is_in(self, version: Version) -> bool:
        """Say whether this version prints it."""
        return self.since <= version < self.until


def fields(names: str, *, since: Version = ALWAYS, until: Version = NEVER) -> list[Field]:
    """Return a field for each of these names."""
    return [Field(name, since, until) for name in names.split()]
