# SPDX-License-Identifier: MIT
"""Directories whose names are fixed, made of paths."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable, Iterable, Mapping

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.task import Caller
from fakeproc.procfs.node import Attributes, Directory, Node


class StaticDirectory(Directory):
    """A directory of fixed names.

    Of a directory in which the present kernel has nothing, it has nothing at all.
    """

    def __init__(self, nodes: Mapping[str, Node], mode: int = 0o555) -> None:
        self._nodes = nodes
        self._mode = mode

    def attributes(self) -> Attributes:
        """Return its mode; root's."""
        return Attributes(stat.S_IFDIR | self._mode, nlink=2)

    def entries(self, caller: Caller) -> Iterable[tuple[str, int]]:
        """Return the names that the present kernel has."""
        nodes = self._nodes.items()
        return [(name, stat.S_IFMT(n.attributes().mode)) for name, n in nodes if n.is_there()]

    def child(self, name: str, caller: Caller) -> Node:
        """Return an entry; ENOENT for none."""
        node = self._nodes.get(name)
        if node is None or not node.is_there():
            raise Refused(errno.ENOENT)
        return node

    def is_there(self) -> bool:
        """Say whether the present kernel has anything in it."""
        return any(node.is_there() for node in self._nodes.values())


class EmptyDirectory(StaticDirectory):
    """A directory in which there is nothing."""

    def __init__(self, mode: int = 0o555) -> None:
        super().__init__({}, mode)

    def is_there(self) -> bool:
        """Say that it is there."""
        return True


Order = Callable[[str], tuple[int, str]]


def by_length(name: str) -> tuple[int, str]:
    """Order names as procfs keeps its own: by length, then by their bytes."""
    return len(name), name


def alphabetically(name: str) -> tuple[int, str]:
    """Order names as the tables of sysctl are kept."""
    return 0, name


def nest(files: Mapping[str, Node], order: Order = by_length) -> dict[str, Node]:
    """Turn paths into directories of directories, in this order."""
    here: dict[str, Node] = {}
    below: dict[str, dict[str, Node]] = {}
    for path, node in files.items():
        head, _, rest = path.partition("/")
        if rest:
            below.setdefault(head, {})[rest] = node
        else:
            here[head] = node
    for name, nodes in below.items():
        # A row of its own says which mode a directory has.
        mode = stat.S_IMODE(here[name].attributes().mode) if name in here else 0o555
        here[name] = StaticDirectory(nest(nodes, order), mode)
    return {name: here[name] for name in sorted(here, key=order)}
