# SPDX-License-Identifier: MIT
"""Daemons and tools in a sandbox, and what holds when one of them has made room.

The clock of these machines stands still but for a test's own steps, so that a daemon, which polls
in real time, acts on each state of the machine, and the kernel's OOM killer is never quicker.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest

from fakeproc.sandbox import Lacking, Sandbox
from tests.conftest import require_fuse, wait_until
from tests.sandbox.conftest import require
from tests.tools.conftest import UNPACKED, program

VIEWS = ("bind", "overmount")

SHORT_PERCENT = 20
"""The daemons act below this share of the memory, however much swap is free."""

_CALM_REPORTS = 4
"""More than what a daemon may still say of the state before a kill."""


class Stage(Protocol):
    """A machine that a test looks at and changes: in a sandbox, or only mounted."""

    def read(self, name: str, /) -> str:
        """Read a file of the simulated /proc."""

    def control(self, command: str, /) -> str:
        """Give ctl a command; return the answer."""


@dataclass(frozen=True)
class Tool:
    """A daemon that kills, and how its output is to be understood."""

    name: str
    calm: re.Pattern[str]
    """What it says again and again of the memory."""
    signal: re.Pattern[str]
    """What it says when it sends a signal; group 1 is the name of the signal."""
    argv: Callable[..., list[str]] = field(compare=False)
    """Return the command: of a folder for its settings, and of further arguments."""


def _earlyoom(folder: Path, *options: str) -> list[str]:
    limits = options if "-m" in options else ("-m", f"{SHORT_PERCENT}", "-s", "100,100", *options)
    return [program("earlyoom"), "-r", "0.05", *limits]


_NOHANG_SETTINGS = {
    "soft_threshold_min_mem": f"{SHORT_PERCENT} %",
    "soft_threshold_min_swap": "100 %",
    "hard_threshold_min_mem": f"{SHORT_PERCENT // 2} %",
    "hard_threshold_min_swap": "100 %",
    "min_sleep": "0.05",
    "max_sleep": "0.05",
    "print_mem_check_results": "True",
    "min_mem_report_interval": "0",
}


def _nohang(folder: Path, *rules: str) -> list[str]:
    """Return the command; a rule is ``key = value`` or a line that begins with @."""
    text = Path(f"{UNPACKED}/etc/nohang/nohang.conf").read_text()
    own = dict(rule.split(" = ", 1) for rule in rules if not rule.startswith("@"))
    for key, value in {**_NOHANG_SETTINGS, **own}.items():
        text, count = re.subn(rf"(?m)^{key}\s*=.*$", lambda _: f"{key} = {value}", text)  # noqa: B023
        assert count == 1, f"the settings of nohang have no key {key}"
    config = folder / "nohang.conf"
    config.write_text("\n".join([text, *(rule for rule in rules if rule.startswith("@"))]) + "\n")
    # Debian's nohang imports a module that Python 3.11 has deprecated.
    return [sys.executable, "-Wignore", program("nohang"), "--monitor", "--config", str(config)]


EARLYOOM = Tool(
    "earlyoom",
    re.compile("^mem avail:", re.M),
    re.compile(r"^sending (SIG\w+) to", re.M),
    _earlyoom,
)
NOHANG = Tool(
    "nohang", re.compile("MemAvail:"), re.compile(r"Sending (SIG\w+) to the victim"), _nohang
)


class Daemon:
    """A daemon that has been started, and all that it has said."""

    def __init__(self, tool: Tool, output: int) -> None:
        self.tool = tool
        self._output = output

    @property
    def said(self) -> str:
        """Return its output so far."""
        return os.pread(self._output, 1 << 20, 0).decode()

    @property
    def signals(self) -> list[str]:
        """Return the names of the signals that it says it has sent."""
        return self.tool.signal.findall(self.said)

    def wait_for(self, pattern: str) -> None:
        """Wait until it has said this."""
        wait_until(lambda: re.search(pattern, self.said) is not None, f"{pattern!r} in {self.said}")

    def wait_for_reports(self, count: int = _CALM_REPORTS) -> None:
        """Wait until it has looked at the memory so many times more."""
        already = len(self._reports())
        wait_until(lambda: len(self._reports()) >= already + count, "that it goes on looking")

    def _reports(self) -> list[str]:
        return self.tool.calm.findall(self.said)


@contextmanager
def recorded() -> Iterator[int]:
    """Give a file for what a program says."""
    output = os.memfd_create("output")
    try:
        yield output
    finally:
        os.close(output)


@contextmanager
def at_work(
    sandbox: Sandbox, tool: Tool, folder: Path, *options: str, env: Mapping[str, str] | None = None
) -> Iterator[Daemon]:
    """Start a daemon in a sandbox; go on when it has looked at the memory."""
    with recorded() as output:
        argv = tool.argv(folder, *options)
        environment = {**os.environ, **(env or {})}
        process = sandbox.popen(argv, stdout=output, stderr=output, env=environment)
        daemon = Daemon(tool, output)
        try:
            daemon.wait_for_reports(1)
            yield daemon
        finally:
            process.kill()
            process.wait(10)


# -- What a test looks at ----------------------------------------------------------------


def meminfo_kb(text: str, key: str) -> int:
    """Return a value of /proc/meminfo."""
    found = re.search(rf"^{key}: +(\d+) kB$", text, re.M)
    assert found, text
    return int(found[1])


def available_percent(stage: Stage) -> float:
    """Return what is available of all memory."""
    text = stage.read("meminfo")
    return 100 * meminfo_kb(text, "MemAvailable") / meminfo_kb(text, "MemTotal")


def living(stage: Stage) -> dict[int, str]:
    """Return the names of the processes that have not begun to exit, by pid."""
    rows = (line.split() for line in stage.read("fakeproc/ps").splitlines()[1:])
    return {int(row[0]): row[-1] for row in rows if row[0] == row[1]}


def pid_of(stage: Stage, name: str) -> int:
    """Return the pid of the first process of this name."""
    return next(pid for pid, comm in living(stage).items() if comm == name)


def run_short(sandbox: Sandbox, step: str = "500ms") -> None:
    """Let the machine go on in steps until memory is short."""
    while available_percent(sandbox) > SHORT_PERCENT:
        sandbox.write("fakeproc/clock", f"+{step}")


def assert_relieved(stage: Stage, victim: str, before: Mapping[int, str]) -> None:
    """Demand that this process has died, nobody else, and that memory has come back."""
    after = living(stage)
    died = {pid: name for pid, name in before.items() if pid not in after}
    assert list(died.values()) == [victim]
    assert available_percent(stage) > SHORT_PERCENT


def assert_reported(report: Mapping[str, Any], tool: Tool, victim: str, *signals: str) -> None:
    """Demand that a sandbox reports one kill, by this tool and of this process, and its relief."""
    [kill] = report["kills"]
    assert kill["victim"]["comm"] == victim
    assert kill["cause"] == "tool"
    # By its command line: the comm of a script is its interpreter's.
    assert tool.name in " ".join(kill["sender"]["cmdline"])
    assert [signal["name"] for signal in kill["signals"]] == list(signals)
    assert kill["relief_s"] is not None
    assert kill["available_after_kb"] > kill["available_kb"]
    assert not report["kernel_kills"]
    assert report["deaths"]["tool"] == 1


def sees_relief(sandbox: Sandbox) -> bool:
    """Say whether a program inside reads that there is memory again."""
    text = sandbox.run(["cat", "/proc/meminfo"], timeout=20).stdout
    total, available = (meminfo_kb(text, key) for key in ("MemTotal", "MemAvailable"))
    return 100 * available / total > SHORT_PERCENT


# -- Fixtures ----------------------------------------------------------------------------

Started = Callable[..., Sandbox]


@pytest.fixture
def sandbox_of(tmp_path: Path) -> Iterator[Started]:
    """Return a function that makes a sandbox of a scenario: a name, or a text in TOML."""
    require_fuse()
    made: list[Sandbox] = []

    def start(scenario: str, **options: Any) -> Sandbox:
        if "\n" in scenario:
            file = tmp_path / "scenario.toml"
            file.write_text(f"version = 1\n{scenario}")
            sandbox = Sandbox(file, **{"manual_clock": True, **options})
        else:
            sandbox = Sandbox(scenario, **{"manual_clock": True, **options})
        try:
            sandbox.start()
        except Lacking as lacking:
            require(str(lacking))
        made.append(sandbox)
        return sandbox

    try:
        yield start
        for sandbox in made:
            assert "internal_errors 0" in sandbox.read("fakeproc/stats")
    finally:
        for sandbox in made:
            sandbox.close()


@pytest.fixture(params=[EARLYOOM, NOHANG], ids=lambda tool: tool.name)
def tool(request: pytest.FixtureRequest) -> Tool:
    """Name a daemon."""
    assert isinstance(request.param, Tool)
    return request.param
