# SPDX-License-Identifier: MIT
"""`--journal` through mounts: nothing that was acknowledged is lost, whatever happens."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakeproc.cli import main
from fakeproc.journal import read_file
from fakeproc.mount import BINDING_VARIABLE
from fakeproc.mounts import is_mounted, unmount
from fakeproc.procfs.inputs import Depart, Nothing
from tests.conftest import Mounted, require_fuse
from tests.mount import fill, refused

Mount = Callable[..., Mounted]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Name a journal."""
    return tmp_path / "journal"


def replayed(file: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """Return what `fakeproc replay` prints."""
    capsys.readouterr()
    assert main(["replay", *options, str(file)]) == 0
    return capsys.readouterr().out


# -- Killing the server ------------------------------------------------------------


@pytest.mark.parametrize(("binding", "kills"), [("mfusepy", 100), ("fusepy", 20)])
def test_a_server_killed_time_and_again_loses_nothing(binding: str, kills: int) -> None:
    require_fuse()
    # In memory: what a SIGKILL can lose does not depend on the disk, and its fsync is slow.
    shared_memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared_memory if shared_memory.is_dir() else None) as name:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "tests.mount.crashes", name, str(kills), binding],
                env={**os.environ, BINDING_VARIABLE: binding},
                cwd=Path(__file__).parents[2],
                capture_output=True,
                text=True,
                check=False,
                timeout=600,
            )
        finally:
            if is_mounted(Path(name, "proc")):
                unmount(Path(name, "proc"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{kills} kills, "), done.stdout


def test_it_carries_on_elsewhere_with_a_real_clock(
    mount: Mount, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = mount("--journal", os.fspath(file))
    pid = first.control("spawn name=web rss=30M")
    first.control("hold 100013 at-exit for=1ms")
    (first / "fakeproc/oom_trigger").write_text("1")
    (first / f"{pid}/oom_score_adj").write_text("77")
    first.crash()
    second = mount("--journal", os.fspath(file))
    assert second.read(f"{pid}/oom_score_adj") == "77\n"
    assert second.control("spawn name=next") == str(int(pid) + 1)
    shown = second.read("fakeproc/kmsg"), second.read("fakeproc/ps")
    second.crash()
    assert "Killed process 100013" in shown[0]
    assert replayed(file, capsys) == shown[0]
    assert replayed(file, capsys, "--ps") == shown[1]


def test_time_that_was_seen_has_passed_when_the_server_was_stopped(
    mount: Mount, file: Path
) -> None:
    first = mount("--journal", os.fspath(file))
    seen = first.read("fakeproc/clock")
    first.stop()
    assert isinstance(read_file(file).entries[-1].input, Nothing)
    assert mount("--journal", os.fspath(file)).read("fakeproc/clock") > seen


def test_the_clock_stands_as_it_was_set(mount: Mount, file: Path) -> None:
    first = mount("--journal", os.fspath(file), "--clock", "manual")
    (first / "fakeproc/clock").write_text("+5s")
    first.crash()
    second = mount("--journal", os.fspath(file))
    assert second.read("fakeproc/clock") == ("time: 3605.000000000\nmode: manual\nspeed: 0\n")
    (second / "fakeproc/clock").write_text("speed 2.5")
    second.crash()
    assert mount("--journal", os.fspath(file)).read("fakeproc/clock").endswith("speed: 2.5\n")


def test_a_speed_is_kept(mount: Mount, file: Path) -> None:
    mount("--journal", os.fspath(file), "--speed", "10").crash()
    again = mount("--journal", os.fspath(file), "--speed", "10")
    assert again.read("fakeproc/clock").endswith("mode: scaled\nspeed: 10\n")


class Shell:
    """A shell that lives longer than a mount."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            ["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip

    def run(self, line: str) -> str:
        """Run a line that prints one; return that."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        """Let it exit, if it has not yet."""
        if self.process.poll() is None:
            self.process.communicate("exit\n")


@pytest.fixture
def shell() -> Iterator[Shell]:
    """Return a shell."""
    shell = Shell()
    yield shell
    shell.end()


def test_who_acts_as_a_task_still_does(mount: Mount, file: Path, shell: Shell) -> None:
    first = mount("--journal", os.fspath(file))
    (first / "100013/oom_score_adj").write_text("500")
    assert shell.run(f"echo become 100013 > {first / 'fakeproc/ctl'}; echo done") == "done"
    first.crash()
    second = mount("--journal", os.fspath(file))
    assert "Permission denied" in shell.run(f"echo 499 > {second / '100013/oom_score_adj'}")
    assert second.read("100013/oom_score_adj") == "500\n"


def test_who_was_adopted_still_is_until_it_goes(mount: Mount, file: Path, shell: Shell) -> None:
    first = mount("--journal", os.fspath(file))
    pid = shell.run(f"echo 300 > {first / 'self/oom_score_adj'}; echo $$")
    first.crash()
    second = mount("--journal", os.fspath(file))
    assert shell.run(f"read value < {second / 'self/oom_score_adj'}; echo $value") == "300"
    shell.end()
    assert not (second / pid).exists()


def test_who_went_while_no_server_was_there_is_gone(mount: Mount, file: Path, shell: Shell) -> None:
    first = mount("--journal", os.fspath(file))
    pid = shell.run(f"echo 300 > {first / 'self/oom_score_adj'}; echo $$")
    shell.run(f"echo become 100013 > {first / 'fakeproc/ctl'}; echo done")
    first.crash()
    shell.end()
    assert not (mount("--journal", os.fspath(file)) / pid).exists()
    assert Depart(int(pid)) in [entry.input for entry in read_file(file).entries]


# -- What is recorded --------------------------------------------------------------


def test_the_mount_shows_the_lines_of_its_session(mount: Mount, file: Path) -> None:
    first = mount("--journal", os.fspath(file), "--clock", "manual")
    first.control("spawn name=web")
    lines = file.read_text().splitlines(keepends=True)
    assert first.read("fakeproc/journal") == "".join(lines[1:])
    first.crash()
    second = mount("--journal", os.fspath(file))
    seen = len(file.read_text())
    second.control("spawn name=web")
    assert second.read("fakeproc/journal").endswith(file.read_text()[seen:])
    assert "name=web" in file.read_text()[seen:]
    assert second.read("fakeproc/journal") not in "".join(lines)


def test_without_a_journal_there_are_no_lines(mounted: Mounted) -> None:
    mounted.control("spawn name=web")
    assert mounted.read("fakeproc/journal") == ""


def test_what_is_refused_or_only_asked_is_not_recorded(mount: Mount, file: Path) -> None:
    mounted = mount("--journal", os.fspath(file), "--clock", "manual")
    mounted.control("help")
    before = file.read_bytes()
    with refused(errno.EINVAL):
        (mounted / "100013/oom_score_adj").write_text("1001")
    with refused(errno.EINVAL):
        mounted.control("no such command")
    with refused(errno.EINVAL):
        (mounted / "100013/oom_score").write_bytes(b"5")
    with refused(errno.ENOENT):
        (mounted / "100013/x").mkdir()
    with open(mounted / "fakeproc/explain", "r+b", buffering=0) as asked:
        asked.write(b"order=2")
    assert file.read_bytes() == before


def test_a_group_that_a_shell_made_and_joined_is_there_again(mount: Mount, file: Path) -> None:
    first = mount("--journal", os.fspath(file))
    done = first.sh("mkdir fakeproc/cgroup/web; echo 0 > fakeproc/cgroup/web/cgroup.procs; echo $$")
    assert done.stderr == ""
    first.sh("rmdir fakeproc/cgroup/none; mkdir fakeproc/cgroup/a; rmdir fakeproc/cgroup/a")
    first.crash()
    second = mount("--journal", os.fspath(file))
    assert os.listdir(second / "fakeproc/cgroup").count("web") == 1
    assert "a" not in os.listdir(second / "fakeproc/cgroup")
    assert second.read("fakeproc/cgroup/web/cgroup.procs") == ""
    joined = [line for line in file.read_text().splitlines() if "cgroup.procs" in line]
    assert len(joined) == 1


# -- A disk that is full -----------------------------------------------------------


def test_on_a_full_disk_nothing_changes_and_the_mount_lives_on(
    small_disk: Path, mount: Mount, capsys: pytest.CaptureFixture[str]
) -> None:
    file = small_disk / "journal"
    first = mount("--journal", os.fspath(file), "--clock", "manual")
    fill(small_disk / "filler")
    with refused(errno.ENOSPC):
        while True:  # the last block of the file has some room
            before = first.read("fakeproc/ps"), first.read("fakeproc/kmsg")
            first.control("spawn name=web")
    assert first.read("fakeproc/ctl") == (
        "ENOSPC: journal: cannot be written to: No space left on device; "
        "until it can nothing changes.\n"
    )
    with refused(errno.ENOSPC):
        (first / "fakeproc/cgroup/web").mkdir()
    assert (first.read("fakeproc/ps"), first.read("fakeproc/kmsg")) == before
    (small_disk / "filler").unlink()
    first.control("spawn name=last")
    shown = first.read("fakeproc/ps")
    assert shown.endswith("  last\n")
    first.crash()
    assert replayed(file, capsys, "--ps") == shown
