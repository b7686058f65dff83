# SPDX-License-Identifier: MIT
"""The command behind scripts/conformance."""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from tests.conformance import generate
from tests.conformance.explore import Compared, compare, smallest
from tests.conformance.goldens import Scenario, known, recordings
from tests.conformance.live import LiveKernel
from tests.conformance.live_scenarios import SCENARIOS
from tests.conformance.runner import Difference, Tally, play
from tests.conformance.save import save
from tests.conformance.uml import Missing

_SHOWN_DIFFERENCES = 10
_MADE_SMALL = 3
_COLUMNS = ("kernel", "group", "ran", "agreed", "differed", "below the mount")
_REPOSITORY = Path(__file__).parents[2]


def main() -> int:
    """Run; return 1 if anything differed, 2 for what is not there or cannot be done here."""
    arguments = _parse()
    if not arguments.live and arguments.random is None:
        return _against_recordings(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _against_a_live_kernel(arguments)
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 128 + signal.SIGINT


# -- Recordings ------------------------------------------------------------------------


def _against_recordings(arguments: argparse.Namespace) -> int:
    kernels, groups = known(arguments.goldens)
    for wanted, there in ((arguments.kernel, kernels), (arguments.group, groups)):
        for name in wanted:
            if name not in there:
                print(f"{name}: not there; accepted: {', '.join(there)}.", file=sys.stderr)
                return 2
    run = partial(_run_kernel, arguments.goldens, arguments.group)
    print(_row(*_COLUMNS))
    tallies: list[Tally] = []
    errors = 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for of_kernel, bugs in pool.map(run, arguments.kernel or kernels):
            tallies += of_kernel
            errors += bugs
            print("\n".join(map(_report, of_kernel)), flush=True)
    return _conclude([d for tally in tallies for d in tally.differences], errors)


def _run_kernel(folder: Path, groups: list[str], kernel: str) -> tuple[list[Tally], int]:
    """Run the recordings of one kernel on a mount; return its rows and how many bugs showed."""
    return play(recordings(folder, [kernel], groups))


# -- A live kernel ---------------------------------------------------------------------


def _against_a_live_kernel(arguments: argparse.Namespace) -> int:
    result = 0
    with LiveKernel(arguments.uml) as live:
        if arguments.live:
            result |= _try(arguments, live, "live", SCENARIOS)
        if arguments.random is not None:
            print(f"seed {arguments.seed}", flush=True)
            made = [generate.scenario(arguments.seed, n) for n in range(arguments.random)]
            result |= _try(arguments, live, "random", made)
    return result


def _try(
    arguments: argparse.Namespace, live: LiveKernel, group: str, scenarios: Sequence[Scenario]
) -> int:
    """Play scenarios in both places, print what differs, make that small, and save it."""
    parts = compare(live, scenarios, group)
    compared = next(parts)
    _show_progress(compared, len(scenarios))
    for part in parts:
        compared.add(part)
        _show_progress(compared, len(scenarios))
    print(_row(*_COLUMNS))
    print(_report(compared.tally))
    for name in compared.varying:
        print(f"{name}: differed once, and agreed when it was played again")
    for name, reason in compared.given_up.items():
        print(f"{name}: not recorded: {reason}")
    result = _conclude(compared.tally.differences, compared.internal_errors)
    for scenario in compared.differing[:_MADE_SMALL]:
        _make_small(live, scenario, arguments.save)
    return 1 if compared.given_up else result


def _show_progress(compared: Compared, count: int) -> None:
    tally = compared.tally
    ran = f"{tally.group}: {tally.ran} of {count} ran, {tally.differed} differed"
    print(ran, file=sys.stderr, flush=True)


def _make_small(live: LiveKernel, scenario: Scenario, folder: Path) -> None:
    print(f"\nMaking {scenario['id']} small.", file=sys.stderr, flush=True)
    small = smallest(live, scenario)
    recording = live.record([small], "random")
    [tally], _ = play([recording])
    if not tally.differences:
        print(f"\n{scenario['id']} did not differ when it was played again.")
        return
    print(f"\n{scenario['id']}, as small as it still differs:\n{json.dumps(small)}")
    _conclude(tally.differences, 0)
    print(f"{'saved in' if save(recording, folder) else 'already in'} {folder}")


# -- The command line ------------------------------------------------------------------


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/conformance",
        description="Run recordings of real kernels, or a live kernel, against the simulation, "
        "through a mount.",
        epilog="examples: scripts/conformance --goldens tests/goldens --kernel 6.1 --group parse; "
        "scripts/conformance --live --random 100",
    )
    recorded = parser.add_argument_group("recordings")
    recorded.add_argument(
        "--goldens", type=_folder, metavar="DIR",
        default=os.fspath(_REPOSITORY.parent / "shared" / "goldens"),
        help="a folder in the format of tests/goldens/README.md (default: %(default)s)",
    )  # fmt: skip
    recorded.add_argument(
        "--kernel", action="append", default=[], metavar="K", help="only this one; may be repeated"
    )
    recorded.add_argument(
        "--group", action="append", default=[], metavar="G", help="only this one; may be repeated"
    )
    live = parser.add_argument_group("a live kernel, in place of recordings")
    live.add_argument("--live", action="store_true", help="run the list of scenarios that is fixed")
    live.add_argument(
        "--random", type=_count, metavar="N",
        help="run this many random scenarios; make those small that differ, and save them",
    )  # fmt: skip
    live.add_argument(
        "--seed", type=_seed, metavar="S", default=random.randrange(1_000_000),
        help="what the random scenarios are made from (default: one that is printed)",
    )  # fmt: skip
    live.add_argument(
        "--uml", type=Path, metavar="PATH", help="a User-Mode Linux binary (default: linux.uml)"
    )
    live.add_argument(
        "--save", type=_made_absolute, metavar="DIR", default=_REPOSITORY / "tests" / "goldens",
        help="the folder of recordings to save to (default: tests/goldens)",
    )  # fmt: skip
    return parser.parse_args()


def _folder(text: str) -> Path:
    path = _made_absolute(text)
    if not (path / "index.json").is_file():
        raise argparse.ArgumentTypeError(f"{text}: no folder of recordings (index.json is missing)")
    return path


def _made_absolute(text: str) -> Path:
    return Path(text).absolute()  # libfuse changes to the root


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text}: no number of scenarios; accepted: 1, 2, ...")
    return int(text)


def _seed(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: no seed; accepted: a whole number") from None


# -- What is printed -------------------------------------------------------------------


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


def _conclude(differences: list[Difference], errors: int) -> int:
    for difference in differences[:_SHOWN_DIFFERENCES]:
        print(f"\n{difference}")
    if len(differences) > _SHOWN_DIFFERENCES:
        print(f"\n... and {len(differences) - _SHOWN_DIFFERENCES} more.")
    if errors:
        print(f"\n{errors} internal errors (see the tracebacks above).")
    return 1 if differences or errors else 0


if __name__ == "__main__":
    sys.exit(main())
