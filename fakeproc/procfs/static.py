# SPDX-License-Identifier: MIT
"""Directories whose names are fixed, made of paths."""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterable, Mapping

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.task import Caller
from fakeproc.procfs.node import Directory, Node


class StaticDirectory(Directory):
    """A directory of fixed names.

    Of a directory in which the present kernel has nothing, it has nothing at all.
    """

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self._nodes = nodes

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


class EmptyDirectory(Directory):
    """A directory in which there is nothing."""

    def entries(self, caller: Caller) -> Iterable[tuple[str, int]]:
        """Return nothing."""
        return ()

    def child(self, name: str, caller: Caller) -> Node:
        """Refuse with ENOENT."""
        raise Refused(errno.ENOENT)


def nest(files: Mapping[str, Node]) -> dict[str, Node]:
    """Turn paths into directories of directories, in alphabetical order."""
    here: dict[str, Node] = {}
    below: dict[str, dict[str, Node]] = {}
    for path, node in files.items():
        head, _, rest = path.partition("/")
        if rest:
            below.setdefault(head, {})[rest] = node
        else:
            here[head] = node
    here |= {name: StaticDirectory(nest(nodes)) for name, nodes in below.items()}
    return dict(sorted(here.items()))
