# SPDX-License-Identifier: MIT
"""The pytest plugin: a simulated machine for a test, in memory, mounted, or to run programs in.

pytest loads this module in every run, so what is heavy is imported by the fixtures.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from fakeproc.kernel.machine import Machine
    from fakeproc.sandbox import Sandbox
    from fakeproc.testing import MountedMachine

MARKER = "fakeproc"

_SECTIONS = {"ps": "process table", "kmsg": "kernel log"}
"""What a report shows of a machine: files of the control directory, and their titles."""

_Read = Callable[[str], str]
"""Returns a file of the simulated /proc."""

_MACHINES = pytest.StashKey[dict[str, _Read]]()
"""The machines of a test, by the fixture that has made them."""


# -- What is asked for -------------------------------------------------------------


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | str) and not isinstance(value, bool)


def _is_view(value: object) -> bool:
    return value in ("bind", "overmount")


_KEYS: dict[str, tuple[Callable[[object], bool], str]] = {
    "scenario": (_is_text, "a built-in name, a file (seen from the test's), or text in TOML"),
    "kernel": (_is_text, "a name such as '6.18'"),
    "speed": (_is_number, "how many seconds pass in one of the host's, such as 10"),
    "manual_clock": (_is_flag, "True or False"),
    "view": (_is_view, "'bind' or 'overmount'"),
    "intercept": (_is_flag, "True or False"),
}
"""What the marker takes, and what each of its values may be."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """Which machine a test wants: its marker, else the command line, else the ini file."""

    scenario: str | None
    folder: Path
    """From where the name of a scenario's file is seen."""
    kernel: str | None
    speed: str
    manual_clock: bool
    view: str
    intercept: bool

    def machine(self) -> Machine:
        """Return the machine; `Refused` says what is wrong with scenario or kernel."""
        from fakeproc.kernel.profile import KernelConfig
        from fakeproc.scenario.load import load_text

        config = None if self.kernel is None else KernelConfig(self.kernel)
        name, text = self.source()
        return load_text(text, name, config)

    def source(self) -> tuple[str, str]:
        """Return the name and the text of the scenario."""
        from fakeproc.scenario.load import read_scenario

        if self.scenario is not None and "\n" in self.scenario:
            return "<scenario>", self.scenario
        beside = None if self.scenario is None else self.folder / self.scenario
        return read_scenario(self.scenario if beside is None or not beside.is_file() else beside)


def _fail(sentence: str) -> NoReturn:
    pytest.fail(sentence, pytrace=False)


def _marked(node: pytest.Item) -> dict[str, Any]:
    """Return what the markers of a test say, the nearest first; fail where they are wrong."""
    found: dict[str, Any] = {}
    for marker in node.iter_markers(MARKER):
        if marker.args:
            _fail(f"@pytest.mark.{MARKER}: {marker.args[0]!r}: accepted is KEY=VALUE only.")
        for key, value in marker.kwargs.items():
            if key not in _KEYS:
                _fail(f"@pytest.mark.{MARKER}: {key}: accepted is one of {', '.join(_KEYS)}.")
            is_fit, accepted = _KEYS[key]
            if not is_fit(value):
                _fail(f"@pytest.mark.{MARKER}: {key}={value!r}: accepted is {accepted}.")
            found.setdefault(key, value)
    if found.get("manual_clock") and "speed" in found:
        _fail(f"@pytest.mark.{MARKER}: speed={found['speed']!r}: not with manual_clock=True.")
    return found


def _wishes(node: pytest.Item) -> Wishes:
    """Put together what was asked for."""
    marked = _marked(node)
    config = node.config
    scenario, folder = marked.get("scenario"), node.path.parent
    if scenario is None and (scenario := config.getoption("fakeproc_scenario")) is not None:
        folder = config.invocation_params.dir
    if scenario is None and (scenario := config.getini("fakeproc_scenario") or None) is not None:
        folder = config.inipath.parent if config.inipath else config.rootpath
    return Wishes(
        scenario=scenario,
        folder=folder,
        kernel=marked.get("kernel")
        or config.getoption("fakeproc_kernel")
        or config.getini("fakeproc_kernel")
        or None,
        speed=str(marked.get("speed", "1")),
        manual_clock=marked.get("manual_clock", False),
        view=marked.get("view", "bind"),
        intercept=marked.get("intercept", False),
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options and the ini values of the same names."""
    group = parser.getgroup("fakeproc", "simulated machines (fakeproc)")
    for name, what in (
        ("scenario", "the scenario of tests that name none: a built-in one, or a file in TOML"),
        ("kernel", "the kernel of tests that name none, such as 6.18"),
    ):
        metavar = "NAME|FILE" if name == "scenario" else "NAME"
        group.addoption(f"--fakeproc-{name}", metavar=metavar, help=what)
        parser.addini(f"fakeproc_{name}", what, default="")
    what = "fail tests where FUSE or namespaces are lacking, instead of skipping them"
    group.addoption("--fakeproc-require", action="store_true", help=what)
    parser.addini("fakeproc_require", what, type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}({', '.join(f'{key}=...' for key in _KEYS)}): "
        "which simulated machine the fakeproc fixtures of a test make (docs/pytest.rst)",
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Check the marker, also of a test that uses no fixture."""
    _marked(item)


# -- The fixtures ------------------------------------------------------------------


def _asked(request: pytest.FixtureRequest) -> tuple[Wishes, Machine]:
    """Return what the test wants, and the machine; a sentence where that is not possible."""
    from fakeproc.kernel.errors import Refused
    from fakeproc.procfs.clock import parse_speed

    wishes = _wishes(request.node)
    try:
        parse_speed(wishes.speed)
        return wishes, wishes.machine()
    except Refused as refused:
        why = refused.why
    # Out here, so that the report has the sentence only once.
    _fail(why)


def _show_on_failure(request: pytest.FixtureRequest, read: _Read) -> None:
    request.node.stash.setdefault(_MACHINES, {})[str(request.fixturename)] = read


def _skip_or_fail(request: pytest.FixtureRequest, lacking: Exception) -> NoReturn:
    config = request.config
    if config.getoption("fakeproc_require") or config.getini("fakeproc_require"):
        raise pytest.fail.Exception(str(lacking), pytrace=False) from None
    raise pytest.skip.Exception(str(lacking)) from None


@pytest.fixture
def fakeproc(request: pytest.FixtureRequest) -> Machine:
    """Return a simulated machine in memory (`fakeproc.Machine`); its clock goes by `advance`."""
    from fakeproc.testing import read_of

    _, machine = _asked(request)
    _show_on_failure(request, read_of(machine))
    return machine


@pytest.fixture
def fakeproc_mount(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[MountedMachine]:
    """Return a simulated machine that is mounted; psutil looks there as long as the test runs."""
    from fakeproc.testing import CannotMount, MountedMachine

    wishes, _ = _asked(request)
    folder = tmp_path_factory.mktemp("fakeproc")
    try:
        mounted = MountedMachine(
            folder,
            wishes.source()[1],
            kernel=wishes.kernel,
            speed=wishes.speed,
            manual_clock=wishes.manual_clock,
        )
    except CannotMount as error:
        _skip_or_fail(request, error)
    try:
        _show_on_failure(request, mounted.read)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("psutil.PROCFS_PATH", os.fspath(mounted.path))
            yield mounted
    finally:
        mounted.close()


@pytest.fixture
def fakeproc_sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """Return a simulated machine to run programs in (`fakeproc.sandbox.Sandbox`)."""
    from fakeproc.mount import load_binding
    from fakeproc.mounts import MountError
    from fakeproc.sandbox import Lacking, Sandbox

    wishes, machine = _asked(request)
    sandbox = Sandbox(
        machine,
        speed=wishes.speed,
        manual_clock=wishes.manual_clock,
        view=wishes.view,
        intercept=wishes.intercept,
    )
    try:
        load_binding()
    except MountError as error:
        _skip_or_fail(request, error)
    try:
        sandbox.start()
    except Lacking as error:
        _skip_or_fail(request, error)
    try:
        _show_on_failure(request, sandbox.read)
        yield sandbox
    finally:
        sandbox.close()


# -- The report --------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to the report of a failure what the machines of the test look like then."""
    report = yield
    if report.failed and report.when != "teardown":
        for fixture, read in item.stash.get(_MACHINES, {}).items():
            for file, title in _SECTIONS.items():
                report.sections.append((f"{fixture}: {title}", _shown(read, f"fakeproc/{file}")))
    return report


def _shown(read: _Read, file: str) -> str:
    try:
        return read(file)
    except Exception as error:
        # Whatever it is, the failure of the test is what the report is about.
        return f"{file}: cannot be read: {error}"
