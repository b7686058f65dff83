# SPDX-License-Identifier: MIT
"""What the recorder reads of the machine that it runs in, and changes there."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import resource
import signal
import struct
from pathlib import Path
from typing import Any

HERE = "/mnt"
"""A tmpfs in the live kernel; the host's files are read-only but for the job's folder."""

HOST = f"{HERE}/host"
"""The job's folder."""

DEAD = ("Z", "X", "gone")

_RECORD_SIZE = 8192
_MANY_LINES = 1000
_libc = ctypes.CDLL(None, use_errno=True)


def prepare(folder: Path) -> None:
    """Mount what the recorder needs, and make tasks touch the same pages every time."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    mount("proc", "/proc", "proc")
    mount("tmpfs", HERE, "tmpfs")
    mount("host", HOST, "hostfs", os.fspath(folder))
    write("/proc/self/comm", "python3")
    write("/proc/sys/kernel/randomize_va_space", "0")
    write("/proc/sys/kernel/sysrq", "1")


def mount(source: str, target: str, kind: str, options: str = "") -> None:
    """Mount a file system; make the mountpoint if it is missing."""
    os.makedirs(target, exist_ok=True)
    arguments = (text.encode() for text in (source, target, kind))
    if _libc.mount(*arguments, 0, options.encode() or None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot mount {kind} on {target}: {os.strerror(number)}")


def swapon(device: str) -> None:
    """Make a block device swap space of the first version, and use it."""
    with open(device, "r+b") as file:
        pages = file.seek(0, os.SEEK_END) // resource.getpagesize()
        file.seek(1024)
        file.write(struct.pack("III", 1, pages - 1, 0))
        file.seek(resource.getpagesize() - 10)
        file.write(b"SWAPSPACE2")
    if _libc.swapon(device.encode(), 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot use {device} as swap: {os.strerror(number)}")


def write(path: str, text: str) -> None:
    """Write to a file that is there, in one write(2)."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def env() -> dict[str, Any]:
    """Return what tests/goldens/README.md calls env."""
    memory = meminfo()
    zones = Path("/proc/zoneinfo").read_text()
    return {
        "release": os.uname().release,
        "page_size": resource.getpagesize(),
        "root_caps": status("self")["CapEff"],
        "MemTotal_kb": memory["MemTotal"],
        "SwapTotal_kb": memory["SwapTotal"],
        "present_pages": sum(map(int, re.findall(r"present +(\d+)", zones))),
    }


def meminfo() -> dict[str, int]:
    """Return the lines of /proc/meminfo, in kB."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return {key: int(value.split()[0]) for key, _, value in (line.partition(":") for line in lines)}


def status(pid: int | str) -> dict[str, str]:
    """Return the lines of a task's status; raise OSError when it has gone."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines)


def state(pid: int) -> str:
    """Return the letter of a task's state, with K behind it when a SIGKILL is pending."""
    try:
        return state_in(status(pid))
    except OSError:
        return "gone"


def state_in(lines: dict[str, str]) -> str:
    """Return the same of its status."""
    pending = int(lines["SigPnd"], 16) | int(lines["ShdPnd"], 16)
    return lines["State"][0] + ("K" if pending & 1 << (signal.SIGKILL - 1) else "")


def is_dead(shown: str) -> bool:
    """Say whether a state is that of a task that has died."""
    return shown.rstrip("K") in DEAD


class KernelLog:
    """The kernel's log, read record by record."""

    def __init__(self) -> None:
        self._fd = os.open("/dev/kmsg", os.O_RDWR | os.O_NONBLOCK)

    def say(self, text: str) -> None:
        """Add a line to the log, which new() does not return."""
        os.write(self._fd, f"{text}\n".encode())
        self.skip()

    def new(self) -> list[str]:
        """Return the lines since the last time, without what precedes their texts.

        Not more than a thousand: there are tasks that make the kernel log faster than one reads.
        """
        lines: list[str] = []
        while len(lines) < _MANY_LINES:
            try:
                record = os.read(self._fd, _RECORD_SIZE)
            except BlockingIOError:
                return lines
            except OSError as error:
                if error.errno != errno.EPIPE:  # overwritten: goes on with the oldest
                    raise
                continue
            line = record.decode(errors="replace").partition("\n")[0]
            lines.append(line.partition(";")[2])
        return lines

    def skip(self) -> None:
        """Forget what has been logged up to now."""
        os.lseek(self._fd, 0, os.SEEK_END)


class Cgroups:
    """Memory cgroups and a freezer, version 1; each hierarchy is mounted when it is needed."""

    def __init__(self) -> None:
        self._mounted: set[str] = set()
        self._memcgs: list[str] = []

    def _hierarchy(self, controller: str) -> str:
        folder = f"{HERE}/{controller}"
        if controller not in self._mounted:
            mount("none", folder, "cgroup", controller)
            self._mounted.add(controller)
        return folder

    def make_memcg(self, name: str, limit_kb: int) -> None:
        """Make a memory cgroup with a limit."""
        folder = self._memcg(name)
        os.mkdir(folder)
        self._memcgs.append(folder)
        write(f"{folder}/memory.limit_in_bytes", f"{limit_kb}k")

    def join(self, pid: int, memcg: str) -> None:
        """Move a process to a memory cgroup."""
        write(f"{self._memcg(memcg)}/cgroup.procs", str(pid))

    def _memcg(self, name: str) -> str:
        return f"{self._hierarchy('memory')}/rec_{name}"

    def freeze(self, pids: list[int]) -> None:
        """Freeze processes."""
        folder = f"{self._hierarchy('freezer')}/rec"
        os.makedirs(folder, exist_ok=True)
        for pid in pids:
            write(f"{folder}/cgroup.procs", str(pid))
        write(f"{folder}/freezer.state", "FROZEN")

    def thaw(self) -> None:
        """Thaw whoever is frozen."""
        folder = f"{HERE}/freezer/rec"
        if os.path.isdir(folder):
            write(f"{folder}/freezer.state", "THAWED")
            for pid in Path(f"{folder}/cgroup.procs").read_text().split():
                write(f"{HERE}/freezer/cgroup.procs", pid)

    def remove_memcgs(self) -> None:
        """Remove all memory cgroups, whose members are gone."""
        while self._memcgs:
            os.rmdir(self._memcgs.pop())
