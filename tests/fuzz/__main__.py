# SPDX-License-Identifier: MIT
"""``python -m tests.fuzz TARGET``: long runs, guided by coverage with atheris."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.long_runs import Outcome, Plan, guided_here, has_atheris, run_blind, run_guided

_HEAD = ("target", "executions", "seconds", "CPU s", "per CPU s", "finds")


def main(argv: Sequence[str] | None = None) -> int:
    """Run; return 1 when anything was found, 2 for a target that is not there."""
    arguments = _parser().parse_args(argv)
    plan = Plan(
        arguments.executions, arguments.seconds, arguments.seed, arguments.finds, arguments.new
    )
    if arguments.in_process is not None:
        guided_here(arguments.targets[0], plan, arguments.in_process)
    if not arguments.blind and not has_atheris():
        print("atheris is not installed (fakeproc[test]); --blind does without.", file=sys.stderr)
        return 2
    # Not before: what is to be guided must see them imported.
    from tests.fuzz.targets import TARGETS

    names = list(TARGETS) if arguments.targets == ["all"] else arguments.targets
    for name in names:
        if name not in TARGETS:
            print(f"{name}: no target; accepted: all, {', '.join(TARGETS)}.", file=sys.stderr)
            return 2
    plan.finds.mkdir(parents=True, exist_ok=True)
    print("{:<15}{:>12}{:>9}{:>9}{:>11}{:>7}".format(*_HEAD), flush=True)
    run = run_blind if arguments.blind else run_guided
    return max(_tell(name, run(name, plan)) for name in names)


def _tell(name: str, outcome: Outcome) -> int:
    """Print a row, and what was found; return the exit code for it."""
    rate = outcome.executions / max(outcome.cpu_seconds, 0.001)
    print(
        f"{name:<15}{outcome.executions:>12,}{outcome.seconds:>9.0f}{outcome.cpu_seconds:>9.0f}"
        f"{rate:>11,.0f}{len(outcome.finds):>7}"
    )
    for line in (*outcome.finds, *filter(None, [outcome.crash])):
        print(f"  {line}")
    sys.stdout.flush()
    return int(bool(outcome.finds or outcome.crash))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="+", metavar="TARGET", help="rows of the table, or all")
    parser.add_argument("--executions", type=int, default=100_000, metavar="N")
    parser.add_argument("--seconds", type=float, default=0, help="at most, each (default: any)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--blind", action="store_true", help="change known inputs at random, without atheris"
    )
    parser.add_argument(
        "--finds", type=Path, default=Path("fuzz-finds"), metavar="FOLDER",
        help="where inputs go that found something, with the traceback (default: fuzz-finds)",
    )  # fmt: skip
    parser.add_argument(
        "--new", type=Path, metavar="FOLDER", help="keep the inputs that reached something new"
    )
    parser.add_argument("--in-process", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
