# SPDX-License-Identifier: MIT
"""Fixtures: real mounts, on both bindings, that are gone when the test is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakeproc.mount import BINDING_VARIABLE
from fakeproc.mounts import answers, is_mounted, unmount
from fakeproc.testing import Mount

BINDINGS = ("fusepy", "mfusepy")
_LIMIT_S = 20.0


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, and fail when it does not come true."""
    end = time.monotonic() + _LIMIT_S
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen in {_LIMIT_S} s"
        time.sleep(0.01)


def require_fuse() -> None:
    """Skip where there is no FUSE device; CI has one and must not skip."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        message = "/dev/fuse cannot be opened by this user"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)


class Mounted(Mount):
    """A mount in a server process of its own, run by the command line."""

    COMMAND: tuple[str, ...] = ("fakeproc", "mount", "-f")
    """The module that serves, and its first arguments."""
    EXIT_LIMIT_S = _LIMIT_S
    """How long the server may take to end when the mount is gone."""

    def __init__(self, path: Path, binding: str, *options: str) -> None:
        super().__init__(path)
        self._crashed = False
        self._errors = path.with_suffix(".stderr")
        self.env = {**os.environ, BINDING_VARIABLE: binding}
        command = [sys.executable, "-m", *self.COMMAND, *options, os.fspath(path)]
        with self._errors.open("wb") as errors:
            self.server = subprocess.Popen(command, env=self.env, stderr=errors)
        wait_until(self._is_up, f"mounting {path}")

    def _is_up(self) -> bool:
        assert self.server.poll() is None, self._errors.read_text()
        return is_mounted(self.path) and answers(self.path)

    def sh(self, script: str, *, shell: str = "sh") -> subprocess.CompletedProcess[str]:
        """Run a shell script in the mount's folder."""
        return subprocess.run(
            [*shell.split(), "-c", script],
            cwd=self.path,
            env={**self.env, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def stop(self) -> None:
        """Unmount; demand that the server ends well, without a bug or a traceback."""
        if self._crashed:
            return
        errors = ""
        try:
            if self.server.poll() is None and is_mounted(self.path):
                stats = dict(
                    line.split(" ", 1) for line in self.read("fakeproc/stats").splitlines()
                )
                errors = stats.get("last_error", "")
                wait_until(self._try_unmount, f"unmounting {self.path}")
            status = self.server.wait(self.EXIT_LIMIT_S)
        finally:
            self.kill()
        assert not errors, errors.replace("\\n", "\n")
        assert status == 0, self._errors.read_text()
        assert "Traceback" not in self._errors.read_text(), self._errors.read_text()

    def crash(self) -> None:
        """Kill the server, and take away the dead mount."""
        self._crashed = True
        self.kill()

    def errors(self) -> str:
        """Return what the server has written to stderr."""
        return self._errors.read_text()

    def _try_unmount(self) -> bool:
        # A process that a test has just ended may hold the mount for a moment.
        return subprocess.run(["umount", self.path], capture_output=True).returncode == 0

    def kill(self) -> None:
        """Leave nothing behind, whatever has happened."""
        if self.server.poll() is None:
            self.server.kill()
            self.server.wait()
        if is_mounted(self.path):
            unmount(self.path)


@pytest.fixture(params=BINDINGS)
def binding(request: pytest.FixtureRequest) -> str:
    """Name a binding: every test that mounts runs on both."""
    require_fuse()
    return str(request.param)


@pytest.fixture
def mount(tmp_path: Path, binding: str) -> Iterator[Callable[..., Mounted]]:
    """Return a function that mounts with these options of `fakeproc mount`."""
    made: list[Mounted] = []

    def make(*options: str) -> Mounted:
        path = tmp_path / f"proc{len(made)}"
        path.mkdir()
        made.append(Mounted(path, binding, *options))
        return made[-1]

    try:
        yield make
        for mounted in made:
            mounted.stop()
    finally:
        for mounted in made:
            mounted.kill()


@pytest.fixture
def mounted(mount: Callable[..., Mounted]) -> Mounted:
    """Return the built-in scenario, mounted."""
    return mount()
