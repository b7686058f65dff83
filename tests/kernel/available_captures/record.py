# SPDX-License-Identifier: MIT
"""Capture MemAvailable of the running kernel, and all that it is computed from.

    python tests/kernel/available_captures/record.py FOLDER

Needs root.  Takes each state in turn: a file in the page cache, memory in use, other sysctls
for a moment, more memory in use; a quarter of 1 GiB each or, of less RAM, a quarter of that.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TRIES = 2000
COMPARED = ("MemFree", "MemAvailable", "Active(file)", "Inactive(file)", "KReclaimable")
RESERVES = {
    "watermarks far apart": {"watermark_scale_factor": "300"},
    "low zones all reserved": {"lowmem_reserve_ratio": "1 1 32 0 0"},
    "large reserves": {"min_free_kbytes": "262144", "lowmem_reserve_ratio": "64 16 8 0 0"},
}
"""States in which sysctls have other values for a moment."""
SYSCTLS = ("min_free_kbytes", "watermark_scale_factor", "lowmem_reserve_ratio")


def main() -> None:
    """Write one file for each state."""
    folder = Path(sys.argv[1])
    release = os.uname().release
    for state in states():
        capture = {"kernel": release, "state": state, **take()}
        name = f"{'.'.join(release.split('.')[:2])}-{state.replace(' ', '-')}.json"
        (folder / name).write_text(json.dumps(capture, indent=1) + "\n")


def states() -> Iterator[str]:
    """Bring the machine to each state, and say which it is."""
    share = min(int(meminfo_fields(read("/proc/meminfo"))["MemTotal"]) * 1024, 2**30) // 4
    Path("/proc/sys/vm/drop_caches").write_text("3")
    yield "cache dropped"
    with tempfile.TemporaryFile(dir="/var/tmp") as file:
        for _ in range(share // 2**20):
            file.write(os.urandom(2**20))
        file.flush()
        yield "dirty cache"
        os.fsync(file.fileno())
        file.seek(0)
        while file.read(2**20):
            pass
        yield "clean cache"
        with mmap.mmap(-1, share) as memory:
            for page in range(0, share, mmap.PAGESIZE):
                memory[page] = 1
            yield "cache and memory in use"
            for state, settings in RESERVES.items():
                with sysctls(settings):
                    yield state
    with mmap.mmap(-1, 3 * share) as memory:
        for page in range(0, 3 * share, mmap.PAGESIZE):
            memory[page] = 1
        yield "memory in use"


@contextmanager
def sysctls(settings: dict[str, str]) -> Iterator[None]:
    """Have other values of sysctls under vm/ while the block runs."""
    before = {name: read(f"/proc/sys/vm/{name}") for name in settings}
    try:
        for name, value in settings.items():
            Path(f"/proc/sys/vm/{name}").write_text(value)
        yield
    finally:
        for name, value in before.items():
            Path(f"/proc/sys/vm/{name}").write_text(value)


def take() -> dict[str, object]:
    """Read everything at one moment: until nothing has changed meanwhile."""
    for _ in range(TRIES):
        before = read("/proc/meminfo")
        zoneinfo = read("/proc/zoneinfo")
        after = read("/proc/meminfo")
        first, second = meminfo_fields(before), meminfo_fields(after)
        if all(first[name] == second[name] for name in COMPARED):
            sysctls = {name: read(f"/proc/sys/vm/{name}").strip() for name in SYSCTLS}
            return {"sysctls": sysctls, "meminfo": before, "zoneinfo": without_cpus(zoneinfo)}
    raise SystemExit("The numbers never stood still.")


def read(path: str) -> str:
    """Return a file in one read, so that it is of one moment."""
    with open(path, "rb", buffering=0) as file:
        return file.read(2**20).decode()


def meminfo_fields(text: str) -> dict[str, str]:
    """Return the numbers by name, in kB."""
    return dict(re.findall(r"^(\S+):\s+(\d+)", text, re.MULTILINE))


def without_cpus(zoneinfo: str) -> str:
    """Drop the lists of the CPUs, which are long and not used."""
    return re.sub(r"^  pagesets\n(?:    .*\n)*", "", zoneinfo, flags=re.MULTILINE)


if __name__ == "__main__":
    main()
