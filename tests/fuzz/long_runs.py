# SPDX-License-Identifier: MIT
"""Long runs: guided by coverage with atheris, or blind, which takes nothing and is faster."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from tests.fuzz.guard import Find
    from tests.fuzz.targets import Target

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
_HANG_S = 300
"""After so long an input that nothing could interrupt ends the run: the clock's, not the CPU's."""
_DONE = re.compile(r"stat::number_of_executed_units: *(\d+)")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run."""

    executions: int
    seconds: float
    """At most; 0: without limit."""
    seed: int
    finds: Path
    """Where inputs go that found something."""
    new: Path | None = None
    """Where inputs are kept that reached something new."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run."""

    executions: int
    seconds: float
    cpu_seconds: float
    finds: tuple[str, ...]
    """The files that tell of them."""
    crash: str = ""
    """The end of what it said, where it did not come to its own end."""


def has_atheris() -> bool:
    """Say whether runs can be guided."""
    return importlib.util.find_spec("atheris") is not None


@dataclass(slots=True)
class Finds:
    """Writes down what is found, once of a kind: the input, and beside it what was raised."""

    name: str
    folder: Path
    files: list[str] = field(default_factory=list)
    _kinds: set[str] = field(default_factory=set)

    def add(self, find: Find | None) -> None:
        """Write it down, if it is one and of a new kind."""
        if find is None or find.kind in self._kinds:
            return
        self._kinds.add(find.kind)
        file = self.folder / f"{self.name}-{hashlib.sha256(find.data).hexdigest()[:8]}"
        file.write_bytes(find.data)
        told = file.with_suffix(".txt")
        text = f"{find.kind}\n{find.data!r}\nafter {find.before}\n{find.trace}"
        told.write_text(text, errors="backslashreplace")
        self.files.append(os.fspath(told))


# -- Blind -------------------------------------------------------------------------


def run_blind(name: str, plan: Plan) -> Outcome:
    """Change seeds and corpus at random, in this very process."""
    from tests.fuzz.guard import try_out
    from tests.fuzz.targets import TARGETS

    target, finds = TARGETS[name], Finds(name, plan.finds)
    begun, begun_cpu = time.monotonic(), time.process_time()
    done = 0
    for data in _mutations(name, target, plan.seed):
        out_of_time = plan.seconds and time.monotonic() - begun >= plan.seconds
        if done >= plan.executions or out_of_time:
            break
        finds.add(try_out(target.run, data))
        done += 1
    return Outcome(
        done, time.monotonic() - begun, time.process_time() - begun_cpu, tuple(finds.files)
    )


def _mutations(name: str, target: Target, seed: int) -> Iterator[bytes]:
    chance = random.Random(f"{name} {seed}")
    known = _known_inputs(name, target)
    while True:
        data = bytearray(chance.choice(known))
        for _ in range(chance.choice((1, 1, 2, 3, 6))):
            _change(data, chance, target.tokens, known)
        yield bytes(data[: max(target.max_length, len(known[0]))])


def _change(
    data: bytearray, chance: random.Random, tokens: tuple[bytes, ...], known: list[bytes]
) -> None:
    """Put a word, a byte or a piece of another input somewhere, or take something out."""
    at = chance.randrange(len(data) + 1)
    match chance.randrange(5):
        case 0:
            data[at : at + chance.choice((0, 0, 1, 4))] = chance.choice(tokens)
        case 1:
            del data[at : at + chance.choice((1, 2, 5, 20))]
        case 2:
            data[at : at + chance.randrange(2)] = bytes([chance.randrange(256)])
        case 3:
            other = chance.choice(known)
            start = chance.randrange(len(other) + 1)
            data[at:at] = other[start : start + chance.randrange(30)]
        case _:
            data[at:at] = data[at : at + chance.randrange(30)]


def _known_inputs(name: str, target: Target) -> list[bytes]:
    from tests.fuzz.targets import corpus_of

    files = (file.read_bytes() for file in corpus_of(name))
    return [*target.seeds, *(data for data in files if len(data) <= target.max_length)]


# -- Guided ------------------------------------------------------------------------


def run_guided(name: str, plan: Plan) -> Outcome:
    """Let atheris do it, in a process of its own, which libFuzzer ends."""
    with tempfile.TemporaryDirectory() as scratch:
        new = (plan.new or Path(scratch)) / name
        new.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "tests.fuzz", name, "--in-process", os.fspath(new)]
        for option in ("executions", "seconds", "seed", "finds"):
            command += [f"--{option}", str(getattr(plan, option))]
        begun_ns, begun = time.time_ns(), time.monotonic()
        begun_cpu = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    executions = _DONE.search(done.stderr)
    told = sorted(plan.finds.glob(f"{name}-*.txt"))
    return Outcome(
        int(executions[1]) if executions else 0,
        time.monotonic() - begun,
        resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - begun_cpu,
        tuple(os.fspath(file) for file in told if file.stat().st_mtime_ns >= begun_ns),
        "" if done.returncode == 0 and executions else done.stderr[-800:],
    )


def guided_here(name: str, plan: Plan, new: Path) -> NoReturn:
    """Be that process."""
    import atheris

    with atheris.instrument_imports(include=list(FUZZED)):
        from tests.fuzz.targets import TARGETS

    from tests.fuzz.guard import try_out

    target, finds = TARGETS[name], Finds(name, plan.finds)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    for number, seed in enumerate(_known_inputs(name, target)):
        (new / f"seed{number}").write_bytes(seed)
    dictionary = new.with_name(f"{name}.dict")
    dictionary.write_text("".join(f'"{_quoted(token)}"\n' for token in target.tokens if token))
    options = [
        f"-runs={plan.executions}",
        f"-max_total_time={plan.seconds:.0f}",
        f"-seed={plan.seed}",
        f"-max_len={target.max_length}",
        f"-timeout={_HANG_S}",
        f"-dict={dictionary}",
        f"-artifact_prefix={plan.finds}/{name}-crash-",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
    ]
    arguments = [sys.argv[0], *options, os.fspath(new)]
    atheris.Setup(arguments, lambda data: finds.add(try_out(target.run, data)))
    atheris.Fuzz()
    raise AssertionError("libFuzzer ends the process")


def _quoted(token: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in token)
