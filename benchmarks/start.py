# SPDX-License-Identifier: MIT
"""How long it takes from the command until a client has read an oom_score."""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import fakeproc
from benchmarks.interleave import Absent, Contender, compare
from benchmarks.report import Table
from tests.conformance import uml

_REFERENCE = "User-Mode Linux"
_FILE = "100013/oom_score"

_INIT = """\
#!/bin/sh
mount -t proc proc /proc
echo ready $(cat /proc/1/oom_score)
exec sleep 1000
"""


def measure(*, quick: bool) -> list[Table]:
    """Mount and boot in turns."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contenders = [
            _mount(folder, "fakeproc, as installed", compiled=True),
            _mount(folder, "fakeproc, no .pyc files", compiled=False),
            Contender("python -c pass", _start_python_s),
            _boot(folder),
        ]
        rounds = 1 if quick else 15
        title = "From the command until an oom_score has been read"
        return [compare(title, "s", contenders, against=_REFERENCE, rounds=rounds)]


def _mount(folder: Path, name: str, *, compiled: bool) -> Contender:
    """Return the command, run from a copy of the package with or without its .pyc files."""
    copy = folder / ("compiled" if compiled else "sources")
    source = Path(fakeproc.__file__).parent
    shutil.copytree(source, copy / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    if compiled:
        compileall.compile_dir(copy, quiet=1)
    mountpoint = folder / f"mount-{copy.name}"
    mountpoint.mkdir()
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return Contender(name, partial(_mount_s, copy, mountpoint, environment))


def _mount_s(copy: Path, mountpoint: Path, environment: Mapping[str, str]) -> float:
    command = [sys.executable, "-m", "fakeproc", "mount", os.fspath(mountpoint)]
    begin_s = time.perf_counter()
    subprocess.run(command, cwd=copy, env=environment, check=True)
    (mountpoint / _FILE).read_bytes()
    took_s = time.perf_counter() - begin_s
    unmount = [*command[:3], "umount", os.fspath(mountpoint)]
    subprocess.run(unmount, cwd=copy, env=environment, check=True)
    return took_s


def _start_python_s() -> float:
    begin_s = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - begin_s


def _boot(folder: Path) -> Contender | Absent:
    try:
        kernel = uml.find_uml()
        uml.compile_helpers(folder)
    except uml.Missing as missing:
        return Absent(_REFERENCE, str(missing))
    init = folder / "init"
    init.write_text(_INIT)
    init.chmod(0o755)
    return Contender(_REFERENCE, partial(_boot_s, kernel, folder, init))


def _boot_s(kernel: Path, folder: Path, init: Path) -> float:
    command = [
        os.fspath(kernel), "mem=128M", "rootfstype=hostfs", "rootflags=/", "rw", f"init={init}",
        f"uml_dir={folder}", "con=null", "con0=null,fd:1", "quiet",
    ]  # fmt: skip
    environment = {
        **os.environ,
        "LD_PRELOAD": os.fspath(folder / "xstate.so"),
        "TMPDIR": os.fspath(folder),
    }
    begin_s = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=environment, start_new_session=True,
    ) as machine:  # fmt: skip
        assert machine.stdout is not None
        said = b""
        while b"ready " not in said:
            said = machine.stdout.readline()
            if not said:
                raise RuntimeError("User-Mode Linux has ended before it was up")
        took_s = time.perf_counter() - begin_s
        # It has helpers, which would go on without it.
        os.killpg(machine.pid, 9)
    return took_s
