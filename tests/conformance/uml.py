# SPDX-License-Identifier: MIT
"""Finds User-Mode Linux, and boots it on the host's own files.

User-Mode Linux is a Linux kernel that is built as a program: no virtual machine and no root are
needed.  Its processes are processes of the host that it holds by ptrace(2).
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_COMMAND = "linux.uml"
_SOURCES = Path(__file__).parent
_REPOSITORY = _SOURCES.parents[1]
_POLL_S = 0.02
_LAST_WORDS_S = 1.0
_LAST_WORDS_BYTES = 65536
_PANIC = re.compile(rb"Kernel panic[^\r\n]*")


class Missing(Exception):
    """Something is missing that a live kernel needs; the text is a sentence for the user."""


@dataclass(frozen=True, slots=True)
class Boot:
    """How to boot; two scenarios with the same can share one."""

    mem_mb: int = 128
    swap_mb: int = 0
    log_kb: int = 256


def find_uml(path: Path | None = None) -> Path:
    """Return the kernel binary: this one, or Debian's.  Raises `Missing`."""
    if platform.machine() != "x86_64":
        raise Missing(f"User-Mode Linux runs on x86_64, this is {platform.machine()}.")
    if path is not None:
        if not os.access(path, os.X_OK) or path.is_dir():
            raise Missing(f"{path}: no User-Mode Linux binary that can be run.")
        return path.absolute()
    found = shutil.which(_COMMAND)
    if found is None:
        raise Missing(f"{_COMMAND} is missing: install the package user-mode-linux, or use --uml.")
    return Path(found)


def compile_helpers(folder: Path) -> None:
    """Compile `actor` and `xstate.so` into a folder.  Raises `Missing`."""
    small = [
        "-static",
        "-nostdlib",
        "-ffreestanding",
        "-fno-stack-protector",
        "-fno-pie",
        "-no-pie",
    ]
    small += ["-fno-asynchronous-unwind-tables", "-Wl,--build-id=none"]
    _compile("actor.c", folder / "actor", small)
    _compile("xstate.c", folder / "xstate.so", ["-shared", "-fPIC"])


def _compile(source: str, target: Path, options: list[str]) -> None:
    command = ["gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", *options]
    command += ["-o", os.fspath(target), os.fspath(_SOURCES / source)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Missing("gcc is missing: install the packages gcc and libc6-dev.") from None
    if done.returncode:
        raise Missing(f"gcc cannot compile {source}: {done.stderr.strip()}")


class Guest:
    """A live kernel whose pid 1 is a Python module; use it as a context manager."""

    def __init__(
        self,
        uml: Path,
        helpers: Path,
        folder: Path,
        boot: Boot,
        module: str,
        arguments: Sequence[str],
    ) -> None:
        self._console = folder / "console"
        code = folder / "code"  # a name without blanks: this is a kernel's command line
        code.symlink_to(_REPOSITORY)
        command = [
            os.fspath(uml), f"mem={boot.mem_mb}M", f"log_buf_len={boot.log_kb}K",
            "rootfstype=hostfs", "rootflags=/", "ro", f"uml_dir={folder}", "con=null",
            "con0=null,fd:1", "ignore_loglevel", "printk.devkmsg=on", f"PYTHONPATH={code}",
            f"init={Path(sys.executable).resolve()}",
        ]  # fmt: skip
        if boot.swap_mb:
            command.append(f"ubd0={_swap_file(folder, boot.swap_mb)}")
        command += ["--", "-S", "-m", module, *arguments]
        environment = {
            **os.environ,
            "LD_PRELOAD": os.fspath(helpers / "xstate.so"),
            "TMPDIR": os.fspath(folder),
        }
        with self._console.open("wb") as console:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT,
                env=environment, start_new_session=True,
            )  # fmt: skip

        # Its helpers would go on without it, using up a processor; this one ends all of them
        # when told to, and when nobody is left to tell it.
        self._guard = subprocess.Popen(
            ["sh", "-c", 'read _; kill -s KILL -- "-$1"', "guard", str(self._process.pid)],
            stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def __enter__(self) -> Guest:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def runs(self) -> bool:
        """Wait a moment; say whether the kernel still runs."""
        time.sleep(_POLL_S)
        # Not reaped yet: its pid is that of the group to be killed.
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, flags) is None

    def end(self) -> None:
        """Let it be switched off soon; for other threads than the one that stops it."""
        assert self._guard.stdin is not None
        self._guard.stdin.close()

    def stop(self) -> None:
        """Switch it off at once."""
        self._guard.communicate()
        with suppress(ProcessLookupError):  # whatever has become of the guard
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def console(self) -> list[str]:
        """Return what has been printed on the console."""
        return self._console.read_text(errors="replace").replace("\r", "").splitlines()

    def panic(self) -> str | None:
        """Return what the kernel said when it panicked, if it did."""
        with self._console.open("rb") as file:
            file.seek(-min(_LAST_WORDS_BYTES, file.seek(0, os.SEEK_END)), os.SEEK_END)
            found = _PANIC.search(file.read())
        return found[0].decode(errors="replace") if found else None

    def wait_for_last_words(self) -> None:
        """Let a kernel that panicked print everything."""
        end = time.monotonic() + _LAST_WORDS_S
        while self.runs() and time.monotonic() < end:
            pass


def _swap_file(folder: Path, size_mb: int) -> Path:
    path = folder / "swap"
    with path.open("wb") as file:
        file.truncate(size_mb << 20)
    return path
