# SPDX-License-Identifier: MIT
"""``python -m tests.fuzz TARGET``: coverage-guided fuzzing with atheris."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FUZZED = (
    *(f"fakeproc.{name}" for name in "journal report scenario snapshot toml units".split()),
    *(
        f"fakeproc.kernel.{name}"
        for name in "behaviour capability details devkmsg kept_sysctls numa oom_adj psi_trigger "
        "restore sysctl".split()
    ),
    *(
        f"fakeproc.procfs.{name}"
        for name in "cgroup_files clock control ctl explanation inputs oom_trigger pressure "
        "script task.memory task.names task.namespaces task.oom task.settings".split()
    ),
)
"""The modules whose branches count as news: the rest is no parser, and would be slower for it."""

_MEMORY_BYTES = 3 * 1024**3
_HANG_S = 60
"""After so long an input that nothing could interrupt ends the run."""
_DONE = re.compile(r"stat::number_of_executed_units: *(\d+)")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run."""

    target: str
    executions: int
    seconds: float
    finds: tuple[str, ...]
    """The inputs that found something, files in the folder of finds."""
    crashed: str = ""
    """The end of its output, where it did not come to its end."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run; return 1 when anything was found."""
    arguments = _parser().parse_args(argv)
    if arguments.in_process:
        _fuzz_here(arguments)
    from tests.fuzz.targets import TARGETS

    names = list(TARGETS) if arguments.targets == ["all"] else arguments.targets
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        print(f"{unknown[0]}: no target; accepted: all, {', '.join(TARGETS)}.", file=sys.stderr)
        return 2
    found = False
    print(f"{'target':<15} {'executions':>12} {'seconds':>8} {'per s':>7} {'finds':>6}", flush=True)
    for name in names:
        outcome = _fuzz(name, arguments)
        found |= bool(outcome.finds or outcome.crashed)
        rate = outcome.executions / outcome.seconds
        print(
            f"{name:<15} {outcome.executions:>12,} {outcome.seconds:>8.0f} {rate:>7,.0f} "
            f"{len(outcome.finds):>6}",
            flush=True,
        )
        for find in outcome.finds:
            print(f"  {find}", flush=True)
        if outcome.crashed:
            print(outcome.crashed, flush=True)
    return int(found)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="+", metavar="TARGET", help="rows of the table, or all")
    parser.add_argument("--executions", type=int, default=100_000, metavar="N")
    parser.add_argument("--seconds", type=int, default=0, help="at most, each (default: no limit)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--finds", type=Path, default=Path("fuzz-finds"), metavar="FOLDER",
        help="where inputs go that found something, with the traceback (default: fuzz-finds)",
    )  # fmt: skip
    parser.add_argument(
        "--new", type=Path, metavar="FOLDER", help="keep the inputs that reached something new"
    )
    parser.add_argument("--in-process", type=Path, help=argparse.SUPPRESS)
    return parser


def _fuzz(name: str, arguments: argparse.Namespace) -> Outcome:
    """Fuzz a target in a process of its own, which libFuzzer ends."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        new = (arguments.new or scratch) / name
        new.mkdir(parents=True, exist_ok=True)
        arguments.finds.mkdir(parents=True, exist_ok=True)
        known = _finds_of(name, arguments.finds)
        command = [sys.executable, "-m", "tests.fuzz", name, "--in-process", os.fspath(new)]
        for option in ("executions", "seconds", "seed", "finds"):
            command += [f"--{option}", str(getattr(arguments, option))]
        begun = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        seconds = time.monotonic() - begun
    executions = _DONE.search(done.stderr)
    return Outcome(
        name,
        int(executions[1]) if executions else 0,
        seconds,
        tuple(sorted(_finds_of(name, arguments.finds) - known)),
        "" if done.returncode == 0 and executions else done.stderr[-800:],
    )


def _finds_of(name: str, folder: Path) -> set[str]:
    return set(map(os.fspath, folder.glob(f"{name}-*.txt")))


def _fuzz_here(arguments: argparse.Namespace) -> None:
    """Be the process that fuzzes; never returns."""
    import atheris

    with atheris.instrument_imports(include=list(FUZZED)):
        from tests.fuzz.targets import TARGETS, corpus_of

    from tests.fuzz.guard import try_out

    (name,) = arguments.targets
    target = TARGETS[name]
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    new: Path = arguments.in_process
    for number, seed in enumerate((*target.seeds, *(p.read_bytes() for p in corpus_of(name)))):
        (new / f"seed{number}").write_bytes(seed)
    dictionary = new.with_name(f"{name}.dict")
    dictionary.write_text("".join(f'"{_quoted(token)}"\n' for token in target.tokens if token))
    kinds: set[str] = set()

    def test_one_input(data: bytes) -> None:
        find = try_out(target.run, data)
        if find is None or find.kind in kinds:
            return
        kinds.add(find.kind)
        file = arguments.finds / f"{name}-{hashlib.sha256(data).hexdigest()[:8]}"
        file.write_bytes(data)
        file.with_suffix(".txt").write_text(
            f"{find.kind}\n{data!r}\nafter {find.before}\n{find.trace}", errors="backslashreplace"
        )

    options = [
        f"-runs={arguments.executions}",
        f"-max_total_time={arguments.seconds}",
        f"-seed={arguments.seed}",
        f"-max_len={target.max_length}",
        f"-timeout={_HANG_S}",
        f"-dict={dictionary}",
        f"-artifact_prefix={arguments.finds}/{name}-crash-",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
        "-verbosity=1",
    ]
    atheris.Setup([sys.argv[0], *options, os.fspath(new)], test_one_input)
    atheris.Fuzz()


def _quoted(token: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in token)


if __name__ == "__main__":
    sys.exit(main())
