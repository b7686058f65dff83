# SPDX-License-Identifier: MIT
"""What is printed: where and when it was measured, and tables."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Sequence
from ctypes.util import find_library
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fakeproc.units import align


@dataclass(frozen=True, slots=True)
class Table:
    """A title, the names of the columns, and rows of as many cells; the last column is text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    missing: bool = False
    """Whether a row says that something could not be measured."""

    def text(self) -> str:
        """Return it for a terminal."""
        return f"{self.title}\n\n{align([[*self.columns], *([*row] for row in self.rows)])}"

    def rst(self) -> str:
        """Return it as a table of reStructuredText."""
        cells = [[cell or r"\ " for cell in row] for row in (self.columns, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        rule = "  ".join("=" * width for width in widths)
        header, *lines = (
            "  ".join(map(str.ljust, row, widths)).rstrip()  # a line of a simple table
            for row in cells
        )
        return "\n".join([f"{self.title}:", "", rule, header, rule, *lines, rule, ""])


def circumstances(command: str) -> str:
    """Return a sentence: on what, with what, when, and by which command it was measured."""
    cores = len(os.sched_getaffinity(0))
    return (
        f"Measured with ``{command}`` at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC on {_cpu_model()}, "
        f"{cores} core{'s'[: cores > 1]}, Linux {platform.release()}, "
        f"Python {platform.python_version()}, {', '.join(_libfuse_versions())}.\n"
    )


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _libfuse_versions() -> list[str]:
    versions = []
    old, new = find_library("fuse"), find_library("fuse3")
    if old:
        major, minor = divmod(int(ctypes.CDLL(old).fuse_version()), 10)
        versions.append(f"libfuse {major}.{minor}")
    if new:
        describe = ctypes.CDLL(new).fuse_pkgversion
        describe.restype = ctypes.c_char_p
        versions.append(f"libfuse {describe().decode()}")
    return versions or ["no libfuse"]
