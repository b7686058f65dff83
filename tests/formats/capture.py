# SPDX-License-Identifier: MIT
"""Take a view of the real /proc, and keep it: what `captures-6.18` was made with.

    unshare --uts --ipc python -m tests.formats.capture FOLDER [--without PATTERN]

Namespaces of its own keep what is the host's out of it: its name, and in the one of the
process that is looked at, interfaces and addresses.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.formats.view import Entry, Mounted, View, view

PROC = Path("/proc")
CAPTURES = Path(__file__).with_name("captures-6.18")

_EXITED_LEADER = """
import ctypes, threading
threading.Thread(target=input).start()
ctypes.CDLL(None).pthread_exit(None)
"""
# A process whose network has nothing but the loopback interface, and that is up (SIOCSIFFLAGS).
_ALONE = """
import fcntl, os, socket, struct
with socket.socket() as any:
    fcntl.ioctl(any, 0x8914, struct.pack("16sh14x", b"lo", 1))
os.execv("/bin/sleep", ["sleep", "600"])
"""
_LIMIT_S = 10.0


@contextmanager
def host_tasks() -> Iterator[dict[str, str]]:
    """Make a task of each kind; give their directories.

    kthreadd stands for the kernel threads: it is process 2 unless in a pid namespace.
    """
    environment = {"PATH": "/usr/bin:/bin"}
    with ExitStack() as stack:

        def start(*command: str) -> int:
            process = stack.enter_context(
                subprocess.Popen(command, env=environment, cwd="/", stdin=subprocess.PIPE)
            )
            stack.callback(process.kill)
            return process.pid

        process = start("unshare", "--net", sys.executable, "-I", "-c", _ALONE)
        zombie = start("/bin/true")
        leader = start(sys.executable, "-I", "-c", _EXITED_LEADER)
        _wait(lambda: _state(process) == "S" and _comm(process) == "sleep")
        _wait(lambda: _state(zombie) == _state(leader) == "Z")
        thread = next(tid for tid in os.listdir(PROC / f"{leader}/task") if int(tid) != leader)
        yield {
            "process": f"{process}",
            "thread": f"{leader}/task/{thread}",
            "kthread": "2",
            "zombie": f"{zombie}",
            "exited-leader": f"{leader}",
        }


def host_view() -> View:
    """Take a view of the real /proc."""
    with host_tasks() as tasks:
        return view(Mounted(PROC), tasks)


def _state(pid: int) -> str:
    return (PROC / f"{pid}/stat").read_text().rpartition(") ")[2][0]


def _comm(pid: int) -> str:
    return (PROC / f"{pid}/comm").read_text().strip()


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + _LIMIT_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the tasks to look at did not come up")
        time.sleep(0.01)


# -- what is kept ------------------------------------------------------------------

# These say who built the kernel, on what it runs and what is on it, or are very long.
_NOT_KEPT = re.compile(
    r"cmdline|version|config\.gz|keys|iomem|ioports|fs/.*|bus/.*|kallsyms|mtrr"
    r"|sys/kernel/(hostname|domainname|version|osrelease|core_pattern|modprobe|poweroff_cmd)"
    r"|sys/kernel/(random/(boot_id|uuid)|usermodehelper/.*|bootloader_.*)"
    r"|.*/(stack|net/netlink)"
)
_LINES_KEPT = 39
"""Of the longest ones; in crypto, so many make whole entries."""
_MOUNTS = re.compile(rb"(?:^|\s)(?:proc|sysfs|devpts|cgroup2?|ext4)\s")


def _redact(path: str, content: bytes) -> bytes:
    """Take out of a content what belongs to one host alone."""
    name = path.rpartition("/")[2]
    if name == "cgroup":
        return re.sub(rb"(?m)^(\d+:[^:]*:/).*$", rb"\1", content)
    if name in ("mounts", "mountinfo", "mountstats"):
        return b"".join(line for line in content.splitlines(keepends=True) if _MOUNTS.search(line))
    if name == "cpuinfo":
        return re.sub(rb"(?m)^(model name\t: ).*$", rb"\1A Processor", content)
    if path in ("vmallocinfo", "crypto"):
        return b"".join(content.splitlines(keepends=True)[:_LINES_KEPT])
    if name == "interrupts":
        return re.sub(rb"(?m)^( *\d+: .*  )\S+$", rb"\1virtio0-input", content)
    if "python" in content.decode(errors="replace"):
        return re.sub(rb"/\S*python\S*", b"/usr/bin/python3", content)
    return content


def save(seen: View, folder: Path, without: re.Pattern[str]) -> None:
    """Write a view into a folder."""
    sysctls: dict[str, str] = {}
    lines = []
    for path, entry in seen.items():
        if without.fullmatch(path):
            continue
        content = entry.content
        if content is not None and not _NOT_KEPT.fullmatch(path):
            content = _redact(path, content)
            if path.startswith("sys/"):
                sysctls[path] = content.decode(errors="surrogateescape")
            else:
                file = folder / "files" / path.replace("<", "").replace(">", "")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
        about = f" -> {_anonymous(entry.target)}" if entry.target else f" !{entry.error}"
        owner = f"{entry.mode:06o} {entry.uid} {entry.gid} {entry.nlink}"
        lines.append(f"{owner} {path}{about if entry.target or entry.error else ''}")
    (folder / "entries.txt").write_text("\n".join(lines) + "\n")
    (folder / "sysctl.json").write_text(json.dumps(sysctls, indent=0) + "\n")


def _anonymous(target: str) -> str:
    target = re.sub(r".*python.*", "/usr/bin/python3", target)
    return re.sub(r"(?<=\[)\d+(?=\])", "4026531840", target)


def load(folder: Path = CAPTURES) -> View:
    """Read a view that was kept."""
    contents: dict[str, str] = json.loads((folder / "sysctl.json").read_text())
    seen: View = {}
    for line in (folder / "entries.txt").read_text().splitlines():
        mode, uid, gid, nlink, rest = line.split(" ", 4)
        path, _, target = rest.partition(" -> ")
        path, _, error = path.partition(" !")
        file = folder / "files" / path.replace("<", "").replace(">", "")
        content = None
        if path in contents:
            content = contents[path].encode(errors="surrogateescape")
        elif file.is_file():
            content = file.read_bytes()
        seen[path] = Entry(int(mode, 8), int(uid), int(gid), int(nlink), target, content, error)
    return seen


def main() -> None:
    """Take the view and write it."""
    parser = argparse.ArgumentParser(description="Keep what the real /proc has.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--without", type=re.compile, default=re.compile(""), metavar="PATTERN")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    save(host_view(), options.folder, options.without)


if __name__ == "__main__":
    main()
