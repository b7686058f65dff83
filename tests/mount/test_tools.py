# SPDX-License-Identifier: MIT
"""Programs that know nothing of fakeproc: choom of util-linux, and psutil."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import pytest

from tests.conftest import Mounted
from tests.mount import require_root

# -- choom -------------------------------------------------------------------------


def _choom(mounted: Mounted, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run choom, which knows only /proc, where the mount is its /proc."""
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /proc && exec choom "$@"']
        + [mounted.path, *arguments],
        env={**mounted.env, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_choom_shows(mounted: Mounted) -> None:
    require_root()
    done = _choom(mounted, "-p", "100013")
    score = mounted.read("100013/oom_score").strip()
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"pid 100013's current OOM score: {score}\n"
        "pid 100013's current OOM score adjust value: 300\n"
    )


def test_choom_sets(mounted: Mounted) -> None:
    require_root()
    done = _choom(mounted, "-p", "100008", "-n", "-250")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "pid 100008's OOM score adjust value changed from 0 to -250\n"
    assert mounted.read("100008/oom_score_adj") == "-250\n"
    assert mounted.read("100012/oom_score_adj") == "-250\n"


def test_choom_hears_of_a_bad_value(mounted: Mounted) -> None:
    require_root()
    done = _choom(mounted, "-p", "100013", "-n", "5000")
    assert done.returncode == 1
    assert "failed to set score adjust value: Invalid argument" in done.stderr
    assert mounted.read("100013/oom_score_adj") == "300\n"


def test_choom_starts_a_program(mounted: Mounted) -> None:
    require_root()
    done = _choom(mounted, "-n", "70", "--", "cat", "/proc/self/oom_score_adj", "/proc/self/comm")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("70\n")


# -- psutil ------------------------------------------------------------------------

_PSUTIL = """
import json, sys
import psutil

psutil.PROCFS_PATH = sys.argv[1]
NAMES = ("name", "ppid", "status", "uids", "gids", "cmdline", "memory_info", "num_threads",
         "threads", "create_time", "cpu_times")

def look(process):
    found = process.as_dict(NAMES)
    for name in ("uids", "gids", "memory_info", "cpu_times"):
        found[name] = found[name]._asdict()
    found["children"] = sorted(child.pid for child in process.children())
    found["threads"] = [thread.id for thread in found["threads"]]
    return found

print(json.dumps({
    "pids": psutil.pids(),
    "processes": {process.pid: look(process) for process in psutil.process_iter()},
    "memory": psutil.virtual_memory()._asdict(),
    "swap": psutil.swap_memory()._asdict(),
    "boot_time": psutil.boot_time(),
    "cpus": psutil.cpu_times(percpu=True).__len__(),
}))
"""

_STATES = {"S": "sleeping", "R": "running", "D": "disk-sleep", "Z": "zombie", "T": "stopped"}


class Seen:
    """The same machine as psutil sees it, and as `fakeproc ps --json` tells it."""

    def __init__(self, mounted: Mounted) -> None:
        self.psutil = json.loads(_python("-c", _PSUTIL, mounted))
        rows = json.loads(_python("-m", "fakeproc", mounted, "ps", "--json"))
        self.threads: dict[int, list[dict[str, Any]]] = {}
        for row in rows:
            self.threads.setdefault(row["tgid"], []).append(row)


def _python(flag: str, code: str, mounted: Mounted, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", flag, code, *arguments, mounted.path],
        env=mounted.env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def seen(mounted: Mounted) -> Seen:
    """Return a machine with tasks in every state."""
    mounted.control("spawn name='a) b (c' uid=33 rss=20M swap=3M oom_score_adj=100")
    zombie = mounted.control("spawn name=dead uid=33")
    mounted.control(f"exit {zombie}")
    stopped = mounted.control("spawn name=stopped parent=100001 cmdline='vi -R \"my file\"'")
    mounted.control(f"kill {stopped} STOP")
    mounted.control("clone parent=100005 vm=shared vfork=yes")
    return Seen(mounted)


def test_psutil_sees_the_processes(seen: Seen) -> None:
    assert seen.psutil["pids"] == sorted(seen.threads)
    for pid, threads in seen.threads.items():
        found, row = seen.psutil["processes"][str(pid)], threads[0]
        assert found["name"] == row["name"]
        assert found["status"] == _STATES[row["state"]]
        assert found["uids"] == dict.fromkeys(("real", "effective", "saved"), row["uid"])
        assert found["num_threads"] == len(threads)
        assert found["threads"] == [thread["pid"] for thread in threads]
        assert found["memory_info"]["rss"] == row["rss"]
        assert found["memory_info"]["vms"] >= row["rss"] + row["swap"]
        assert found["cpu_times"]["user"] == 0
    states = {found["status"] for found in seen.psutil["processes"].values()}
    assert states == {"sleeping", "zombie", "stopped", "disk-sleep"}


def test_psutil_sees_the_family(seen: Seen) -> None:
    processes = seen.psutil["processes"]
    for pid, found in processes.items():
        children = [int(other) for other, it in processes.items() if it["ppid"] == int(pid)]
        assert found["children"] == sorted(children)
    assert processes["100002"]["ppid"] == 100001
    assert processes["1"]["ppid"] == 0


def test_psutil_sees_command_lines(seen: Seen) -> None:
    by_name = {found["name"]: found["cmdline"] for found in seen.psutil["processes"].values()}
    assert by_name["stopped"] == ["vi", "-R", "my file"]
    assert by_name["sshd"] == ["/usr/sbin/sshd", "-D"]
    assert by_name["kswapd0"] == []
    assert by_name["dead"] is None


def test_psutil_sees_the_memory(mounted: Mounted, seen: Seen) -> None:
    memory, swap = seen.psutil["memory"], seen.psutil["swap"]
    lines = (line.split() for line in mounted.read("meminfo").splitlines())
    meminfo = {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines}
    assert memory["total"] == meminfo["MemTotal"] == 8 * 1024**3
    assert memory["available"] == meminfo["MemAvailable"]
    assert memory["free"] == meminfo["MemFree"]
    assert memory["shared"] == meminfo["Shmem"] == 1024**3
    assert swap["total"] == 2 * 1024**3
    assert swap["used"] == 503 * 1024**2
    assert seen.psutil["cpus"] == 2


def test_psutil_sees_the_time(seen: Seen) -> None:
    now, boot_time = time.time(), seen.psutil["boot_time"]
    assert 3600 <= now - boot_time < 3600 + 120
    for found in seen.psutil["processes"].values():
        age = now - found["create_time"]
        old = found["name"] in ("systemd", "nightly-job", "app")
        assert (3600 if old else 0) <= age + 1 < 3600 + 121


def test_psutil_misses_who_is_gone(mounted: Mounted) -> None:
    pid = mounted.control("spawn name=short")
    script = (
        "import sys, psutil\n"
        "psutil.PROCFS_PATH = sys.argv[1]\n"
        f"process = psutil.Process({pid})\n"
        "with open(sys.argv[1] + '/fakeproc/ctl', 'w') as ctl:\n"
        f"    ctl.write('exit {pid}\\nreap {pid}\\n')\n"
        "assert not process.is_running()\n"
        "try:\n"
        "    process.name()\n"
        "    process.status()\n"
        "except psutil.NoSuchProcess:\n"
        "    print('gone')\n"
    )
    assert _python("-c", script, mounted) == "gone\n"
