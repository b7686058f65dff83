# SPDX-License-Identifier: MIT
"""The command line of the benchmarks: ``benchmarks/run [SECTION...]``."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module

from benchmarks.report import Table, circumstances

SECTIONS: dict[str, str] = {
    "rate": "requests per second through a mount, against other servers and the real /proc",
    "tools": "ps, earlyoom and psutil on a mount, against the real /proc",
    "start": "from the command to a usable mount, against booting User-Mode Linux",
    "headless": "ten simulated minutes of the built-in scenarios",
    "scale": "selection, writes, kills and memory at a thousand to four million processes",
}
"""What there is to measure; each is a module of this name."""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    listed = "\n".join(f"  {name:8} {what}" for name, what in SECTIONS.items())
    parser = argparse.ArgumentParser(
        prog="benchmarks/run",
        description=f"Measure and print tables.  The sections are\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help="what to measure (default: everything)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="few rounds: to see that it works, not how fast"
    )
    parser.add_argument("--rst", action="store_true", help="print for docs/performance.rst")
    return parser


def measure(section: str, *, quick: bool) -> list[Table]:
    """Return the tables of a section."""
    tables: list[Table] = import_module(f"benchmarks.{section}").measure(quick=quick)
    return tables


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; return 1 if something was missing for a row, and 0 otherwise."""
    words = sys.argv[1:] if argv is None else [*argv]
    parser = make_parser()
    arguments = parser.parse_args(words)
    unknown = [name for name in arguments.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"{unknown[0]}: no section; there are: {', '.join(SECTIONS)}")
    print(circumstances(shlex.join(["benchmarks/run", *words])), flush=True)
    missing = False
    for section in arguments.sections or SECTIONS:
        for table in measure(section, quick=arguments.quick):
            print(table.rst() if arguments.rst else table.text(), flush=True)
            missing = missing or table.missing
    return int(missing)


if __name__ == "__main__":
    sys.exit(main())
