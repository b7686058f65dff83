# SPDX-License-Identifier: MIT
"""The command behind scripts/conformance."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.conformance.goldens import known, recordings
from tests.conformance.runner import Tally, run_recording
from tests.conformance.world import World

_SHOWN_DIFFERENCES = 10
_COLUMNS = ("kernel", "group", "ran", "agreed", "differed", "below the mount")


def main() -> int:
    """Run; return 1 if anything differed, 2 for a folder, kernel or group that is not there."""
    arguments = _parse()
    kernels, groups = known(arguments.goldens)
    for wanted, there in ((arguments.kernel, kernels), (arguments.group, groups)):
        for name in wanted:
            if name not in there:
                print(f"{name}: not there; accepted: {', '.join(there)}.", file=sys.stderr)
                return 2
    tallies = []
    print(_row(*_COLUMNS))
    with tempfile.TemporaryDirectory() as folder, World(Path(folder)) as world:
        for recording in recordings(arguments.goldens, arguments.kernel, arguments.group):
            tally = run_recording(world, recording)
            tallies.append(tally)
            print(_report(tally), flush=True)
        errors = world.procfs.stats.internal_errors
    return _conclude(tallies, errors)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/conformance",
        description="Run recordings of real kernels against the simulation, through a mount.",
        epilog="example: scripts/conformance --goldens tests/goldens --kernel 6.1 --group parse",
    )
    parser.add_argument(
        "--goldens", type=_folder, default="../shared/goldens", metavar="DIR",
        help="a folder in the format of tests/goldens/README.md (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--kernel", action="append", default=[], metavar="K", help="only this one; may be repeated"
    )
    parser.add_argument(
        "--group", action="append", default=[], metavar="G", help="only this one; may be repeated"
    )
    return parser.parse_args()


def _folder(text: str) -> Path:
    path = Path(text)
    if not (path / "index.json").is_file():
        raise argparse.ArgumentTypeError(f"{text}: no folder of recordings (index.json is missing)")
    return path


def _row(*cells: object) -> str:
    kernel, group, *numbers = (str(cell) for cell in cells)
    return f"{kernel:<16}{group:<16}" + "".join(f"{number:>10}" for number in numbers)


def _report(tally: Tally) -> str:
    row = _row(
        tally.kernel, tally.group, tally.ran, tally.agreed, tally.differed, tally.below_the_mount
    )
    if tally.unsupported:
        lacking = ", ".join(f"{count} need {op}" for op, count in tally.unsupported.items())
        row += f"    not run: {lacking}"
    return row


def _conclude(tallies: list[Tally], errors: int) -> int:
    differences = [difference for tally in tallies for difference in tally.differences]
    for difference in differences[:_SHOWN_DIFFERENCES]:
        print(f"\n{difference}")
    if len(differences) > _SHOWN_DIFFERENCES:
        print(f"\n... and {len(differences) - _SHOWN_DIFFERENCES} more.")
    if errors:
        print(f"\n{errors} internal errors (see the tracebacks above).")
    return 1 if differences or errors else 0


if __name__ == "__main__":
    sys.exit(main())
