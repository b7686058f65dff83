# SPDX-License-Identifier: MIT
"""scripts/start and scripts/stop in a fresh copy of the repository, and their helpers."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fakeproc.mounts import answers, is_mounted, unmount
from tests.conftest import require_fuse

REPOSITORY = Path(__file__).parents[1]


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the copy."""
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """Return a copy of what git would give a newcomer; unmount what the scripts mount."""
    require_fuse()
    folder = tmp_path / "a clone"  # with a blank in its name, as people have it
    listed = run(REPOSITORY, "git", "ls-files", "--cached", "--others", "--exclude-standard")
    for name in listed.stdout.splitlines():
        if not name.startswith("tests/goldens/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((REPOSITORY / name).read_bytes())
            (folder / name).chmod((REPOSITORY / name).stat().st_mode)
    yield folder
    if is_mounted(folder / "mountpoint"):
        unmount(folder / "mountpoint")


def server_of(folder: Path) -> psutil.Process:
    """Return the server behind the mount of the copy."""
    mountpoint = os.fspath(folder / "mountpoint")
    for process in psutil.process_iter(["cmdline", "exe"]):
        words = process.info["cmdline"] or []
        if "mountpoint" in words and os.fspath(folder) in " ".join(words):
            return process
    raise AssertionError(f"no server of {mountpoint}")


def test_start_try_restart_recover_stop(clone: Path) -> None:
    mountpoint = clone / "mountpoint"

    first = run(clone, "scripts/start", "--kernel", "4.7")
    assert first.returncode == 0, first.stderr
    assert answers(mountpoint)
    assert (mountpoint / "fakeproc" / "kernel").read_text().startswith("kernel 4.7\n")
    lines = first.stdout.splitlines()
    assert len(lines) == 5
    for line in lines:
        tried = run(clone, "sh", "-ec", line)
        assert tried.returncode == 0, (line, tried.stderr)

    again = run(clone, "scripts/start")
    assert again.returncode == 0
    assert "Installing" not in again.stderr
    assert len(again.stdout.splitlines()) == 5

    other = run(clone, "scripts/start", "--kernel", "6.1")
    assert other.returncode == 1
    assert "scripts/stop" in other.stderr

    server_of(clone).send_signal(signal.SIGKILL)
    assert not answers(mountpoint)
    recovered = run(clone, "scripts/start")
    assert recovered.returncode == 0, recovered.stderr
    assert "removing it" in recovered.stderr
    assert answers(mountpoint)

    assert run(clone, "scripts/stop").returncode == 0
    assert not is_mounted(mountpoint)
    assert "Nothing is mounted" in run(clone, "scripts/stop").stderr
    assert (mountpoint / ".gitignore").exists()


def test_start_passes_a_refusal_on(clone: Path) -> None:
    done = run(clone, "scripts/start", "--kernel", "3.0")
    assert done.returncode == 1
    assert "'3.0': not known" in done.stderr


def helper(function: str, *, path: str, uid: int = 0) -> subprocess.CompletedProcess[str]:
    """Call a function of scripts/lib.sh with only these folders in PATH."""
    script = f'. scripts/lib.sh; PATH="{path}"; {function}'
    return subprocess.run(
        ["/bin/bash", "-euc", script],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        user=uid,
    )


def tools(folder: Path, **scripts: str) -> str:
    """Make a folder of small programs; return it as a PATH."""
    folder.chmod(0o755)
    for name, text in scripts.items():
        program = folder / name.replace("_", "-")
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    return os.fspath(folder)


def test_without_apt_it_says_what_is_missing(tmp_path: Path) -> None:
    done = helper("apt_install libfuse2", path=tools(tmp_path))
    assert done.returncode == 1
    assert "libfuse2 is missing and there is no apt-get here" in done.stderr


def test_root_installs_without_sudo(tmp_path: Path) -> None:
    path = tools(tmp_path, apt_get='echo "apt-get $*" >&3', sudo="exit 9", id="echo 0")
    done = helper("apt_install libfuse2 3>&1", path=path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "apt-get install -qq -y --no-install-recommends libfuse2\n"
    assert done.stderr == "Installing libfuse2 with apt-get.\n"


def test_others_install_with_sudo(tmp_path: Path) -> None:
    path = tools(tmp_path, apt_get="exit 9", sudo='echo "sudo $*" >&3', id="echo 1000")
    done = helper("apt_install libfuse2 3>&1", path=path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "sudo apt-get install -qq -y --no-install-recommends libfuse2\n"
    assert done.stderr == "Installing libfuse2 with sudo apt-get.\n"


def test_others_without_sudo_are_told_what_to_do(tmp_path: Path) -> None:
    done = helper("apt_install libfuse2", path=tools(tmp_path, apt_get="exit 9", id="echo 1000"))
    assert done.returncode == 1
    assert "as root, run: apt-get install libfuse2" in done.stderr


def test_daemons_are_unpacked_and_not_installed(tmp_path: Path) -> None:
    package = tmp_path / "package"
    (package / "DEBIAN").mkdir(parents=True)
    fields = "Package: daemon\nVersion: 1\nArchitecture: all\nMaintainer: me\nDescription: -\n"
    (package / "DEBIAN" / "control").write_text(fields)
    (package / "usr").mkdir()
    (package / "usr" / "daemon").touch()
    download = f'[ "$*" = "download -qq daemon" ] && dpkg-deb --build {package} . >/dev/null'
    path = tools(tmp_path, apt_get=download)
    done = helper(f"apt_unpack {tmp_path}/tools daemon", path=f"{path}:/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "tools" / "usr" / "daemon").exists()


def test_a_python_that_is_too_old_is_passed_over(tmp_path: Path) -> None:
    done = helper("find_python", path=tools(tmp_path, python3="exit 1"))
    assert done.returncode == 1
    assert "Python 3.11 or newer is missing" in done.stderr
