# SPDX-License-Identifier: MIT
"""`fakeproc run` as a process, and a stock of what a test must not leave behind."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.sandbox.conftest import require

EXIT_LACKING = 77
_LIMIT_S = 30.0
_LEAVING_S = 5.0
"""How long the kernel may need to take everything down."""
_PR_SET_CHILD_SUBREAPER = 36


def run_line(*words: str | Path) -> list[str]:
    """Return the command line for these options, and the command behind "--"."""
    return [sys.executable, "-m", "fakeproc", "run", *(os.fspath(word) for word in words)]


def run(*words: str | Path, given: str = "", **how: object) -> subprocess.CompletedProcess[str]:
    """Run to the end; skip where this machine lacks what it takes."""
    done: subprocess.CompletedProcess[str] = subprocess.run(  # type: ignore[call-overload]
        run_line(*words), input=given, capture_output=True, text=True, timeout=_LIMIT_S, **how
    )
    if done.returncode == EXIT_LACKING:
        require(done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def sh(script: str, *options: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a shell script, without a summary."""
    return run("-q", *options, "--", "sh", "-c", script)


def begun(script: str, *options: str | Path) -> subprocess.Popen[str]:
    """Start a shell script, and wait until it has written its first line: "ready"."""
    process = subprocess.Popen(
        run_line("-q", *options, "--", "sh", "-c", script),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stderr
    if process.stdout.readline() != "ready\n":
        said = process.communicate(timeout=_LIMIT_S)[1]
        if process.returncode == EXIT_LACKING:
            require(said)
        raise AssertionError(said)
    return process


@dataclass(frozen=True, slots=True)
class Stock:
    """What this process has, and what it has started."""

    processes: frozenset[int]
    mounts: tuple[str, ...]
    """What is mounted where a sandbox mounts, and the namespaces that are held by a mount.

    Not the whole table: other tests mount at the same time.
    """
    files: frozenset[str]
    """What the open descriptors stand for."""
    left_in_folder: frozenset[str]

    @staticmethod
    def take(folder: Path) -> Stock:
        """Look around; the folder is where temporary files go."""
        return Stock(
            processes=frozenset(descendants(os.getpid())),
            mounts=tuple(_mounts()),
            files=frozenset(_open_files()),
            left_in_folder=frozenset(os.listdir(folder)),
        )


def descendants(pid: int) -> set[int]:
    """Return the pids of all descendants of a process, those in other pid namespaces too."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        for children in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            with suppress(OSError):
                waiting += (new := {int(word) for word in children.read_text().split()} - found)
                found |= new
    return found


def _mounts() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mountpoint = line.split()[4]
        if mountpoint.startswith(("/proc", "/sys", "/dev")) or " - nsfs " in line:
            yield line


def _open_files() -> Iterator[str]:
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{fd}")
            # The listing itself.
            if target != f"/proc/{os.getpid()}/fd":
                yield f"{fd}: {target}"


@contextmanager
def nothing_left(folder: Path) -> Iterator[None]:
    """Demand that after the block all is as it was before it.

    Orphans become children of this process, so that it sees what a killed one has left.
    """
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    before = Stock.take(folder)
    try:
        yield
        _await_end(before, folder)
    finally:
        for pid in descendants(os.getpid()) - before.processes:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0)


def _await_end(before: Stock, folder: Path) -> None:
    end = time.monotonic() + _LEAVING_S
    while time.monotonic() < end:
        _reap_orphans(before)
        if Stock.take(folder) == before:
            return
        time.sleep(0.01)
    assert Stock.take(folder) == before


def _reap_orphans(before: Stock) -> None:
    for pid in descendants(os.getpid()) - before.processes:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
