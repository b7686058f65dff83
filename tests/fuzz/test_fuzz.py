# SPDX-License-Identifier: MIT
"""The corpus of each target, a short run of each, and that a fuzzer can find anything at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis.errors import NoSuchExample

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.task import Caller
from fakeproc.procfs import clock
from fakeproc.procfs.control import CONTROL_FILES
from fakeproc.procfs.session import Session
from tests.fuzz import worlds
from tests.fuzz.__main__ import main
from tests.fuzz.guard import Find, TooSlow, try_alone, try_out
from tests.fuzz.long_runs import has_atheris
from tests.fuzz.strategies import inputs_of
from tests.fuzz.targets import CORPUS, TARGETS, corpus_of

Store = Callable[[Session, Caller, bytes], int]

_EXAMPLES = 60
_PLANTED = 400
_LIMIT_S = 5.0
"""More than in a long run: on a busy machine even the processor's time is longer."""

_short = settings(
    max_examples=_EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(autouse=True)
def _check_more(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Look at everything more often than a long run can, and leave no machine behind."""
    monkeypatch.setattr(worlds, "checked_in", 4)
    yield
    worlds.forget_all()


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_finds_nothing_any_more(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worlds, "checked_in", 1)
    target = TARGETS[name]
    for data in (*target.seeds, *(file.read_bytes() for file in corpus_of(name))):
        _demand_nothing(try_alone(target.run, data, _LIMIT_S))


@pytest.mark.parametrize("name", TARGETS)
def test_a_short_run_finds_nothing(name: str) -> None:
    target = TARGETS[name]
    worlds.boot_all()

    @_short
    @given(inputs_of(name, target))
    def run(data: bytes) -> None:
        _demand_nothing(try_out(target.run, data, _LIMIT_S))

    run()


def _demand_nothing(found: Find | None) -> None:
    assert found is None, f"{found.data!r} after {found.before}: {found.trace}"


def test_every_folder_of_the_corpus_has_a_target() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)


# -- That there is something to find -----------------------------------------------


def _short_run(name: str) -> Find | None:
    """Return what a short run finds, the smallest input of its kind not being looked for."""
    target = TARGETS[name]
    worlds.boot_all()
    found: list[Find] = []

    def finds(data: bytes) -> bool:
        if (one := try_out(target.run, data)) is not None:
            found.append(one)
        return one is not None

    try:
        find(inputs_of(name, target), finds, settings=settings(_short, max_examples=_PLANTED))
    except NoSuchExample:
        return None
    return found[0]


def test_an_exception_that_is_no_refusal_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    read = clock.parse_speed

    def parse_speed(text: str) -> object:
        if "5" in text:
            raise KeyError(text)
        return read(text)

    assert _short_run("clock") is None
    monkeypatch.setattr(clock, "parse_speed", parse_speed)
    planted = _short_run("clock")
    assert planted is not None
    assert planted.kind.startswith("KeyError")
    assert b"speed" in planted.data


def test_a_refusal_that_has_changed_something_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def store(session: Session, caller: Caller, data: bytes) -> int:
        session.machine.deprecated_warned = not session.machine.deprecated_warned
        session.machine.store_sysctl("vm/swappiness", b"%d" % len(data))
        raise Refused(errno.EINVAL)

    _replace_store(monkeypatch, "oom_trigger", store)
    planted = _short_run("oom_trigger")
    assert planted is not None
    assert "changed the machine" in planted.trace


def test_an_endless_loop_is_found() -> None:
    def run(data: bytes) -> None:
        while data:
            pass

    planted = try_out(run, b"x", limit_s=0.05)
    assert planted is not None
    assert planted.kind.startswith(TooSlow.__name__)


def test_what_needs_writes_before_it_is_told_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def store(session: Session, caller: Caller, data: bytes) -> int:
        if session.machine.deprecated_warned:
            raise KeyError
        session.machine.deprecated_warned = True
        return len(data)

    _replace_store(monkeypatch, "oom_trigger", store)
    run = TARGETS["oom_trigger"].run
    assert try_alone(run, b"A1") is None
    planted = try_out(run, b"A2")
    assert planted is not None
    assert (planted.data, planted.before) == (b"A2", (b"A1",))


def _replace_store(monkeypatch: pytest.MonkeyPatch, name: str, store: Store) -> None:
    monkeypatch.setitem(CONTROL_FILES, name, replace(CONTROL_FILES[name], store=store))
    # Those that are there have the file as it was.
    worlds.forget_all()


# -- The long runs -----------------------------------------------------------------


def test_a_long_run_counts_its_executions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["what_if", "--blind", "--executions", "200", "--finds", os.fspath(tmp_path)]) == 0
    name, executions, *_, finds = capsys.readouterr().out.splitlines()[-1].split()
    assert (name, executions, finds) == ("what_if", "200", "0")


def test_a_long_run_ends_with_1_where_it_finds_something(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TARGETS, "what_if", replace(TARGETS["what_if"], run=_fail))
    assert main(["what_if", "--blind", "--executions", "9", "--finds", os.fspath(tmp_path)]) == 1
    told = capsys.readouterr().out.splitlines()[-1].strip()
    assert Path(told).read_text().startswith("LookupError at test_fuzz.py")
    assert repr(Path(told).with_suffix("").read_bytes()) in Path(told).read_text()


def _fail(data: bytes) -> None:
    raise LookupError


def test_a_guided_run_counts_its_executions(tmp_path: Path) -> None:
    if not has_atheris():
        pytest.skip(
            "atheris is not installed: fakeproc[test] has it for CPython 3.11 to 3.14 on x86-64"
        )
    command = [sys.executable, "-m", "tests.fuzz", "what_if", "--executions", "200"]
    done = subprocess.run(
        [*command, "--finds", os.fspath(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    name, executions, *_, finds = done.stdout.splitlines()[-1].split()
    assert (name, int(executions) >= 200, finds) == ("what_if", True, "0")
