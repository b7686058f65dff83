# SPDX-License-Identifier: MIT
"""What of a snapshot is nobody's business: names, command lines, paths."""

from __future__ import annotations


class Plain:
    """Leaves everything as it is."""

    hides_command_lines = False

    def hostname(self, name: str) -> str:
        """Return what stands for the host's name."""
        return name

    def name(self, name: str) -> str:
        """Return what stands for the name of a task."""
        return name

    def path(self, path: str) -> str:
        """Return what stands for the path of a cgroup."""
        return path

    def swap_area(self, name: str, number: int) -> str:
        """Return what stands for the file or device of a swap area."""
        return name


class Redacted(Plain):
    """Gives each name a pseudonym, the same wherever it stands."""

    hides_command_lines = True

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._groups: dict[str, str] = {}

    def hostname(self, name: str) -> str:
        """Return no name of any host."""
        return "host"

    def name(self, name: str) -> str:
        """Return ``name-N``."""
        return self._names.setdefault(name, f"name-{len(self._names) + 1}")

    def path(self, path: str) -> str:
        """Return the path with ``group-N`` for each of its parts."""
        parts = (
            self._groups.setdefault(part, f"group-{len(self._groups) + 1}")
            for part in path.split("/")
            if part
        )
        return "/" + "/".join(parts)

    def swap_area(self, name: str, number: int) -> str:
        """Return ``swap-N``."""
        return f"swap-{number}"
