# SPDX-License-Identifier: MIT
"""Records scenarios in a live kernel: `LiveKernel`, in the format of tests/goldens/README.md.

`recorder` plays them in there and says what it sees, `uml` boots; here the scenarios
are shared out to boots, and observations made of what comes back.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, Self

from tests.conformance import actors, recorder
from tests.conformance.goldens import Observation, Recording, Scenario
from tests.conformance.runner import speaks_of_oom
from tests.conformance.uml import Boot, Guest, Missing, compile_helpers, find_uml

_MODULE = "tests.conformance.recorder"
_AT_ONCE = 3
_SILENCE_LIMIT_S = 120.0
_OOMS_A_BOOT = 20
_PAGES_BYTES = 64 << 20

_FRESH: list[Scenario] = [
    {"id": "fresh", "tasks": [{"name": "A"}], "steps": []},
    {
        "id": "fresh-and-clone",
        "tasks": [{"name": "A"}, {"name": "B", "parent": "A", "create": "vm"}],
        "steps": [],
    },
]
"""Tasks that hold nothing of their own: from them the runner knows what a new one holds."""

_SUPPRESSED = re.compile(r" callbacks suppressed$")  # counts what earlier scenarios did
_FAILURE = re.compile(r": page allocation failure: ")
_OOM_BEGINS = re.compile(r"invoked oom-killer|Out of memory|oom-kill:|^sysrq: |Kernel panic")
_MEMCG = re.compile(r"(memory|memory\+swap|kmem): usage |Memory cgroup stats for ")
_TIME = re.compile(r"^\[ *\d+\.\d+\] ")
_HEADER = re.compile(r"^\[ *pid *\] +(.*)")
_ROW = re.compile(r"^\[ *(\d+)\] +(.*)")
_KILLED = re.compile(r"Killed process (\d+) ")


@dataclass
class _Played:
    """What came back of one scenario."""

    env: dict[str, Any]
    pids: dict[str, int] = field(default_factory=dict)
    """Of the tasks and of the recorder."""
    start: dict[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    marked: int | None = None
    """The step that has been announced on the console."""
    failure: str | None = None
    panic: list[str] | None = None
    """The console from that step on, if the kernel panicked in it."""


@dataclass(frozen=True)
class _Share:
    """What one boot plays."""

    boot: Boot
    init_actor: bool
    scenarios: list[Scenario]


class LiveKernel:
    """A kernel that is booted as often as the scenarios need it; use it as a context manager.

    Raises `Missing` where it cannot be had.
    """

    def __init__(self, uml: Path | None = None) -> None:
        self._uml = find_uml(uml)
        self._stack = ExitStack()
        self._boots = count()
        self._guests: dict[Guest, None] = {}
        """The kernels that run."""
        self._is_ended = False
        self.given_up: dict[str, str] = {}
        """Scenarios of the last recording that are not in it, with the reason."""

    def __enter__(self) -> Self:
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        compile_helpers(self._folder)
        with (self._folder / actors.PAGES).open("wb") as file:
            file.truncate(_PAGES_BYTES)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def kernel(self) -> str:
        """The kernel's version: the first two numbers of its release."""
        release: str = self._fresh.envs[0]["release"]
        return ".".join(release.split(".")[:2])

    @cached_property
    def _fresh(self) -> Recording:
        played = dict(self._play(_Share(Boot(), False, _FRESH)))
        return _recording("", "fresh", [(scenario, played[scenario["id"]]) for scenario in _FRESH])

    def record(self, scenarios: Sequence[Scenario], group: str) -> Recording:
        """Play scenarios; return those that came to their end.  `given_up` has the others."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            parts = list(pool.map(self._play, _shared_out(scenarios)))
        played = {name: one for part in parts for name, one in part}
        self.given_up = {
            name: failure for name, one in played.items() if (failure := one.failure) is not None
        }
        pairs = [(scenario, played[scenario["id"]]) for scenario in scenarios]
        return _recording(self.kernel, group, pairs, lambda: [self._fresh])

    def end(self) -> None:
        """Let no more come of what is being recorded: somebody waits for that in vain."""
        self._is_ended = True
        for guest in list(self._guests):
            guest.end()

    def _play(self, share: _Share) -> list[tuple[str, _Played]]:
        """Play the scenarios of a share; boot again where the kernel did not live through one."""
        left = share.scenarios
        played: list[tuple[str, _Played]] = []
        while left and not self._is_ended:
            done = self._play_in_one_boot(replace(share, scenarios=left))
            played += done
            left = left[len(done) :]
        return played

    def _play_in_one_boot(self, share: _Share) -> list[tuple[str, _Played]]:
        """Return what became of as many scenarios as the kernel lived through, and of the next."""
        folder = self._folder / f"boot-{next(self._boots)}"
        folder.mkdir()
        for helper in (actors.ACTOR, actors.PAGES):
            os.link(self._folder / helper, folder / helper)
        job = {
            "scenarios": share.scenarios,
            "init_actor": share.init_actor,
            "swap": bool(share.boot.swap_mb),
        }
        (folder / recorder.JOB).write_text(json.dumps(job))
        arguments = [os.fspath(folder)]
        with Guest(self._uml, self._folder, folder, share.boot, _MODULE, arguments) as guest:
            self._guests[guest] = None
            played, ended = _follow(guest, folder / recorder.EVENTS, len(share.scenarios))
            _say_why_it_ended(guest, share, played, ended)
            del self._guests[guest]
        shutil.rmtree(folder)
        return list(zip((s["id"] for s in share.scenarios), played, strict=False))


def _follow(guest: Guest, path: Path, count: int) -> tuple[list[_Played], int]:
    """Read events until all scenarios are through or none come any more.

    Return what came of the scenarios that began, and how many ended.
    """
    played: list[_Played] = []
    env: dict[str, Any] = {}
    ended = 0
    heard = time.monotonic()
    with _Lines(path) as lines:
        while ended < count:
            runs = guest.runs()
            for kind, value in lines.new():
                heard = time.monotonic()
                if kind == "env":
                    env = value
                elif kind == "begin":
                    played.append(_Played(env))
                elif kind == "end":
                    played[-1].failure = value
                    ended += 1
                else:
                    _take(played[-1], kind, value)
            silence_s = time.monotonic() - heard
            if not runs or silence_s > _SILENCE_LIMIT_S or (silence_s > 1 and guest.panic()):
                break
    return played, ended


def _take(played: _Played, kind: str, value: Any) -> None:
    """Take an event of a scenario."""
    if kind == "pids":
        played.pids = value
    elif kind == "start":
        played.start = value
    elif kind == "marker":
        played.marked = value
    else:
        played.steps.append(value)


class _Lines:
    """A file of JSON lines that another writes."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self._file = path.open("rb")
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def new(self) -> Iterator[Any]:
        """Return what has been written since the last time."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        return map(json.loads, lines)


def _say_why_it_ended(guest: Guest, share: _Share, played: list[_Played], ended: int) -> None:
    """Note of the scenario that did not end what became of the kernel."""
    if ended == len(share.scenarios):
        return
    if not played:
        said = " / ".join(guest.console()[-3:])
        raise Missing(f"User-Mode Linux does not come up here: {said or 'it says nothing'}")
    if len(played) == ended:  # between two scenarios
        played.append(_Played(played[-1].env))
    last = played[-1]
    if last.marked == len(last.steps) and guest.panic():
        guest.wait_for_last_words()
        last.panic = _since_marker(guest.console())
        return
    last.failure = guest.panic() or f"the kernel hung at step {len(last.steps)}"


def _since_marker(console: list[str]) -> list[str]:
    lines = [_TIME.sub("", line) for line in console]
    last = max(n for n, line in enumerate(lines) if line.startswith(recorder.MARKER))
    return lines[last + 1 :]


def _shared_out(scenarios: Sequence[Scenario]) -> Iterator[_Share]:
    """Part scenarios into what can be played in one boot."""
    together: dict[Boot, list[Scenario]] = {}
    for scenario in scenarios:
        wanted = dict(scenario.get("boot", {}))
        alone, init_actor = wanted.pop("alone", False), wanted.pop("init_actor", False)
        boot = Boot(**wanted)
        if alone or init_actor:
            yield _Share(boot, init_actor, [scenario])
        else:
            together.setdefault(boot, []).append(scenario)
    for boot, group in together.items():
        parts = min(_AT_ONCE, 1 + sum(map(_ooms, group)) // _OOMS_A_BOOT)
        for first in range(parts):
            yield _Share(boot, False, group[first::parts])


def _ooms(scenario: Scenario) -> int:
    return sum(step["op"] in ("sysrq_f", "hog") for step in scenario["steps"])


# -- Observations -------------------------------------------------------------------


def _recording(
    kernel: str,
    group: str,
    played: list[tuple[Scenario, _Played]],
    others: Callable[[], list[Recording]] = list,
) -> Recording:
    envs: list[dict[str, Any]] = []
    for _, one in played:
        if one.env not in envs:
            envs.append(one.env)
    pairs = [
        (scenario, _observation(scenario, one, envs.index(one.env)))
        for scenario, one in played
        if one.failure is None
    ]
    logs = [line for _, one in played for step in one.steps for line in step.get("log", [])]
    table = next((_columns(match[1]) for match in map(_HEADER.match, logs) if match), [])
    return Recording(kernel, group, recorder.START_COLUMNS, table, envs, pairs, others)


def _observation(scenario: Scenario, played: _Played, env: int) -> Observation:
    names = {pid: name for name, pid in played.pids.items()}
    pids = {name: pid for name, pid in played.pids.items() if name != "recorder"}
    steps = [dict(step) for step in played.steps]
    result: Observation = {"id": scenario["id"], "complete": True, "env": env, "pids": pids}
    if played.panic is not None:
        result["panicked_at_step"] = len(steps)
        message = next(line for line in played.panic if "Kernel panic" in line)
        steps.append({"panic": message, "log": played.panic})
    for step, planned in zip(steps, scenario["steps"], strict=False):
        if planned["op"] in ("sysrq_f", "hog"):
            _read_report(step, names)
        if log := _cut(step.pop("log", [])):
            step["log"] = log
    return result | played.start | {"steps": steps}


def _cut(log: list[str]) -> list[str]:
    """Leave what a recording keeps of the log."""
    kept = []
    failure = False  # in a report of an allocation that nobody was killed for
    for line in log:
        if _FAILURE.search(line):
            failure = True
        elif _OOM_BEGINS.search(line):
            failure = False
        told = speaks_of_oom(line) or _MEMCG.match(line)
        if told and not failure and not _SUPPRESSED.search(line):
            kept.append(line)
    return kept


def _read_report(step: dict[str, Any], names: dict[int, str]) -> None:
    """Put what the log says of an OOM into the step's members."""
    log = step["log"]
    if "panic" not in step:
        victims = [int(match[1]) for match in map(_KILLED.search, log) if match]
        step["killed"] = [names.get(pid, f"pid:{pid}") for pid in victims]
    tables: list[list[list[Any]]] = []
    for line in log:
        if _HEADER.match(line):
            tables.append([])
        elif tables and (match := _ROW.match(line)):
            tables[-1].append(_row(int(match[1]), match[2], names))
    if tables:
        step["table"] = tables


def _columns(header: str) -> list[str]:
    return ["task", "pid", *header.split()]


def _row(pid: int, text: str, names: dict[int, str]) -> list[Any]:
    """Read a row of the table of tasks: numbers, then a name, which may have blanks."""
    match = re.match(r"((?:-?\d+ +)+)(.*)", text)
    assert match
    numbers = [int(number) for number in match[1].split()]
    return [names.get(pid, f"pid:{pid}"), pid, *numbers, match[2]]
