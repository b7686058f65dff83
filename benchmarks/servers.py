# SPDX-License-Identifier: MIT
"""FUSE servers, each in a process of its own, on a mount of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.interleave import Missing
from fakeproc.mount import BINDING_VARIABLE

HERE = Path(__file__).parent
UNPACKED = HERE.parent / ".venv" / "lxcfs"
"""Where benchmarks/run unpacks lxcfs: installed it would mount itself."""

_LIMIT_S = 60.0
_POLL_S = 0.01


@contextmanager
def pinned(cpus: set[int]) -> Iterator[None]:
    """Let this process, and what it starts, run only on these CPUs."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def compiled(folder: Path, source: str, *packages: str) -> Path:
    """Build a C program of this directory; `Missing` where that cannot be done."""
    program = folder / source.removesuffix(".c")
    try:
        flags = _output(["pkg-config", "--cflags", "--libs", *packages]) if packages else ""
        _output(["cc", "-O2", "-o", os.fspath(program), os.fspath(HERE / source), *flags.split()])
    except FileNotFoundError as error:
        raise Missing(f"{error.filename} is not installed") from None
    except subprocess.CalledProcessError as error:
        raise Missing(f"{source} cannot be built: {error.stderr.strip()}") from None
    return program


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@contextmanager
def serving(
    mountpoint: Path, file: str, command: Sequence[str], env: Mapping[str, str] | None = None
) -> Iterator[Path]:
    """Start a server that stays in the foreground; return its file when that can be read.

    `Missing` where it ends, with what it says.
    """
    mountpoint.mkdir()
    server = subprocess.Popen(
        [*command, os.fspath(mountpoint)],
        env={**os.environ, **(env or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _wait_for(server, mountpoint / file)
        yield mountpoint / file
    finally:
        # All of them unmount at this, unless they are broken.
        server.terminate()
        server.communicate()
        subprocess.run(["umount", "--lazy", os.fspath(mountpoint)], capture_output=True)


def _wait_for(server: subprocess.Popen[str], file: Path) -> None:
    end = time.monotonic() + _LIMIT_S
    while not file.exists():
        if server.poll() is not None:
            raise Missing((server.communicate()[1].strip().splitlines() or ["it has ended"])[-1])
        if time.monotonic() > end:
            raise Missing(f"{file} is not there after {_LIMIT_S:.0f} s")
        time.sleep(_POLL_S)


@contextmanager
def fakeproc(folder: Path, binding: str, *options: str, file: str) -> Iterator[Path]:
    """Serve a machine with one of the bindings; return a file of the mount."""
    command = [sys.executable, "-m", "fakeproc", "mount", "--foreground", *options]
    with serving(folder / binding, file, command, {BINDING_VARIABLE: binding}) as path:
        yield path


@contextmanager
def constant(folder: Path) -> Iterator[Path]:
    """Serve a constant from C."""
    program = compiled(folder, "constant.c", "fuse3")
    with serving(folder / "c", "value", [os.fspath(program)]) as path:
        yield path


@contextmanager
def constant_of_binding(folder: Path, module: str) -> Iterator[Path]:
    """Serve a constant from Python, with the binding that this module is."""
    command = [sys.executable, "-m", "benchmarks.constant", module]
    with serving(folder / f"constant-{module}", "value", command) as path:
        yield path


@contextmanager
def lxcfs(folder: Path) -> Iterator[Path]:
    """Serve what lxcfs makes of the memory of the caller's group."""
    program = shutil.which("lxcfs", path=f"{UNPACKED / 'usr/bin'}:{os.environ['PATH']}")
    if program is None:
        raise Missing("lxcfs is not installed")
    libraries = ":".join(os.fspath(file.parent) for file in UNPACKED.rglob("liblxcfs.so"))
    command = [program, "--foreground", f"--pidfile={folder / 'lxcfs.pid'}"]
    env = {"LD_LIBRARY_PATH": libraries} if libraries else None
    with serving(folder / "lxcfs", "proc/meminfo", command, env) as path:
        yield path
