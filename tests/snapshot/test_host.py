# SPDX-License-Identifier: MIT
"""What is read of a host beside its processes, and of a made-up /proc as a whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from fakeproc.kernel.errors import Refused
from fakeproc.snapshot import command
from fakeproc.snapshot.cgroups import HostMemcg
from fakeproc.snapshot.command import write_snapshot
from fakeproc.snapshot.host import Host, HostMemory, SwapArea, read_host
from fakeproc.snapshot.process import HostThread, settled
from tests.snapshot.hosts import host, host_process
from tests.snapshot.test_process import write_process

_MEMINFO = """\
MemTotal:        8000000 kB
MemFree:         4000000 kB
Buffers:           40000 kB
Cached:          2000000 kB
Shmem:            400000 kB
Dirty:               400 kB
Writeback:           100 kB
Slab:              80000 kB
SReclaimable:      60000 kB
SwapTotal:       1000000 kB
"""
_SWAPS = """\
Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority
/dev/sda2                               partition\t600000\t\t0\t\t-2
/my\\040swap                             file\t\t400000\t\t12\t\t5
"""


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a /proc with one process, and let psutil read it."""
    proc = tmp_path / "proc"
    files = {
        "meminfo": _MEMINFO,
        "swaps": _SWAPS,
        "uptime": "77.5 100.0\n",
        "self/mountinfo": f"36 31 0:33 / {tmp_path}/group rw - cgroup2 cgroup2 rw\n",
        "sys/kernel/hostname": "box\n",
        "sys/kernel/osrelease": "6.18.3-test\n",
        "sys/vm/swappiness": "10\n",
        "sys/vm/panic_on_oom": "9\n",
        "sys/vm/overcommit_ratio": "0\n",
        "sys/vm/overcommit_kbytes": "4000\n",
        "../group/cgroup.controllers": "memory\n",
        "../group/memory.max": "1073741824\n",
        "../group/c/memory.max": "max\n",
    }
    for name, text in files.items():
        (proc / name).parent.mkdir(parents=True, exist_ok=True)
        (proc / name).write_text(text)
    write_process(proc)
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(proc))
    return proc


def test_a_host(proc: Path) -> None:
    read = read_host()
    assert (read.hostname, read.release, read.version) == ("box", "6.18.3-test", (6, 18))
    assert read.uptime_s == 77
    assert read.memory == HostMemory(
        ram_pages=2_000_000,
        free_pages=1_000_000,
        cache_pages=410_000,
        dirty_pages=125,
        slab_pages=20_000,
        slab_reclaimable_pages=15_000,
        swap_pages=250_000,
    )
    assert read.swap_areas == (
        SwapArea("/dev/sda2", 150_000, -2),
        SwapArea("/my swap", 100_000, 5),
    )
    assert (read.cgroup_version, read.memcgs) == (2, (HostMemcg("/c"),))
    assert read.limits_everybody == HostMemcg("/", 2**18)
    assert [process.pid for process in read.processes] == [50]
    assert not read.sees_init


def test_settings_that_the_model_has_and_takes(proc: Path) -> None:
    """9 is no value of panic_on_oom, and a ratio of 0 says that the other form is in force."""
    assert read_host().sysctls == {"vm/swappiness": 10, "vm/overcommit_kbytes": 4000}


def test_the_text_of_it_loads(proc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_snapshot(None, redact=False)
    assert "[[swap]]" in capsys.readouterr().out


def test_a_process_that_goes_is_left_out(proc: Path) -> None:
    (proc / "50" / "oom_score").unlink()
    assert read_host().processes == ()


def test_a_mount_of_fakeproc_is_no_host(proc: Path) -> None:
    (proc / "fakeproc").mkdir()
    with pytest.raises(Refused, match="is a mount of fakeproc"):
        read_host()


def test_uninterruptible_sleep_counts_only_where_it_lasts(tmp_path: Path) -> None:
    write_process(tmp_path, state="D")
    sleeper = host_process(50, state="D")
    assert settled(tmp_path, sleeper).state == "D"
    assert settled(tmp_path, host_process(51, state="D")).state == "D"
    (tmp_path / "50" / "stat").write_text("50 (web) R 1\n")
    assert settled(tmp_path, sleeper).state == "S"
    assert settled(tmp_path, replace(sleeper, state="Z")).state == "Z"


def test_what_does_not_go_together_is_read_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pid that became another's tid meanwhile, for example."""
    process = host_process(30)
    torn = host(process, host_process(31, threads=(HostThread(30, "p"),)))
    reads = [torn, host(process)]

    def read() -> Host:
        return reads.pop(0)

    monkeypatch.setattr(command, "read_host", read)
    write_snapshot(None, redact=False)
    assert "pid = 30" in capsys.readouterr().out
    reads.extend([torn] * 3)
    with pytest.raises(Refused, match="pid=30: is taken"):
        write_snapshot(None, redact=False)
