# SPDX-License-Identifier: MIT
"""The command behind scripts/conformance."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from tests.conformance.goldens import known, recordings
from tests.conformance.runner import Tally, run_recording
from tests.conformance.world import World

_SHOWN_DIFFERENCES = 10
_COLUMNS = ("kernel", "group", "ran", "agreed", "differed", "below the mount")
_REPOSITORY = Path(__file__).parents[2]


def main() -> int:
    """Run; return 1 if anything differed, 2 for a folder, kernel or group that is not there."""
    arguments = _parse()
    kernels, groups = known(arguments.goldens)
    for wanted, there in ((arguments.kernel, kernels), (arguments.group, groups)):
        for name in wanted:
            if name not in there:
                print(f"{name}: not there; accepted: {', '.join(there)}.", file=sys.stderr)
                return 2
    run = partial(run_kernel, arguments.goldens, arguments.group)
    print(_row(*_COLUMNS))
    tallies: list[Tally] = []
    errors = 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for of_kernel, bugs in pool.map(run, arguments.kernel or kernels):
            tallies += of_kernel
            errors += bugs
            print("\n".join(map(_report, of_kernel)), flush=True)
    return _conclude(tallies, errors)


def run_kernel(folder: Path, groups: list[str], kernel: str) -> tuple[list[Tally], int]:
    """Run the recordings of one kernel on a mount; return its rows and how many bugs showed."""
    with tempfile.TemporaryDirectory() as mountpoint, World(Path(mountpoint)) as world:
        tallies = [run_recording(world, r) for r in recordings(folder, [kernel], groups)]
        return tallies, world.procfs.stats.internal_errors


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/conformance",
        description="Run recordings of real kernels against the simulation, through a mount.",
        epilog="example: scripts/conformance --goldens tests/goldens --kernel 6.1 --group parse",
    )
    parser.add_argument(
        "--goldens", type=_folder, metavar="DIR",
        default=os.fspath(_REPOSITORY.parent / "shared" / "goldens"),
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
    path = Path(text).absolute()  # libfuse changes to the root
    if not (path / "index.json").is_file():
        raise argparse.ArgumentTypeError(f"{text}: no folder of recordings (index.json is missing)")
    return path


def _row(kernel: str, group: str, *numbers: object) -> str:
    *counts, below = map(str, numbers)
    return f"{kernel:<16}{group:<16}" + "".join(f"{n:>10}" for n in counts) + f"{below:>18}"


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
