# SPDX-License-Identifier: MIT
"""What can go wrong around a mount: one sentence says it, and nothing acknowledged is lost.

Where libfuse has a part in it, both bindings are tried.  What is wrong inside a journal is in
`tests.test_journal`; the server is killed time and again in `tests.mount.test_journal`.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fakeproc import cli
from fakeproc.journal import Header, Journal, read_file
from fakeproc.kernel.errors import Refused
from fakeproc.mount import BINDING_VARIABLE
from fakeproc.mounts import FSTYPE, claimed, find_mounts, is_mounted, unmount
from fakeproc.output import Output
from fakeproc.procfs.clock import REAL_SPEED
from fakeproc.procfs.inputs import Nothing
from fakeproc.scenario.load import read_scenario
from tests.conftest import BINDINGS, Mounted, require_fuse, wait_until
from tests.mount import fill, opened, refused
from tests.mount.failing_disk import OPERATIONS
from tests.mount.room import Room

REPOSITORY = Path(__file__).parents[2]
both = pytest.mark.parametrize("binding", BINDINGS)


@pytest.fixture
def binding() -> str:
    """Name the binding that most people have; tests marked ``both`` have each."""
    require_fuse()
    return "mfusepy"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return a folder to mount on."""
    path = tmp_path / "proc"
    path.mkdir()
    yield path
    while is_mounted(path):
        unmount(path)


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be mounted, should that not be refused before."""
    monkeypatch.setenv(BINDING_VARIABLE, "none")


def start(*arguments: str | Path, binding: str) -> subprocess.Popen[str]:
    """Start `fakeproc`."""
    return subprocess.Popen(
        [sys.executable, "-m", "fakeproc", *arguments],
        env={**os.environ, BINDING_VARIABLE: binding},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def sentence(code: int, stderr: str) -> str:
    """Demand exit code 1 and one sentence; return it."""
    assert code == 1, stderr
    assert re.fullmatch(r"fakeproc: [^\n]+[^.]\.\n", stderr), stderr
    return stderr.removeprefix("fakeproc: ").rstrip("\n")


def told(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """Return the sentence with which `fakeproc` refuses this."""
    capsys.readouterr()
    code = cli.main([os.fspath(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert out == ""
    return sentence(code, err)


# -- The server ends ---------------------------------------------------------------


@both
def test_sigterm_unmounts_whatever_is_open_and_loses_nothing(
    mount: Callable[..., Mounted], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "journal"
    mounted = mount("--journal", os.fspath(file), "--clock", "manual")
    with ExitStack() as open_files:
        for name, flags in (
            (".", os.O_RDONLY),
            ("100013/oom_score_adj", os.O_RDWR),
            ("fakeproc/ctl", os.O_RDWR),
            ("fakeproc/devkmsg", os.O_RDONLY | os.O_NONBLOCK),
        ):
            open_files.enter_context(opened(mounted / name, flags))
        (mounted / "100013/oom_score_adj").write_text("77")
        shown = mounted.read("fakeproc/ps")
        mounted.server.send_signal(signal.SIGTERM)
        assert mounted.server.wait(20) == 0
        assert not is_mounted(mounted.path)
    assert mounted.errors() == ""
    assert cli.main(["replay", "--ps", os.fspath(file)]) == 0
    assert capsys.readouterr().out == shown


def test_closed_standard_descriptors_do_no_harm(folder: Path, tmp_path: Path, binding: str) -> None:
    """Otherwise the journal gets number 2, which a server in the background gives away."""
    script = 'exec "$0" -m fakeproc mount --journal "$1" "$2" <&- >&- 2>&-'
    file = tmp_path / "journal"
    subprocess.run(["sh", "-c", script, sys.executable, file, folder], check=True)
    (folder / "100013/oom_score_adj").write_text("77")
    assert "100013/oom_score_adj" in file.read_text()


# -- The disk under a journal ------------------------------------------------------


def after_the_fault(mounted: Mounted, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Demand that writes count again, and that the journal tells what the mount shows."""
    mounted.control("spawn name=last")
    shown = mounted.read("fakeproc/ps")
    assert shown.endswith("  last\n")
    assert cli.main(["replay", "--ps", os.fspath(file)]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == (shown, "")


def test_a_journal_that_must_not_grow(
    mount: Callable[..., Mounted], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """RLIMIT_FSIZE: the server gets EFBIG, and SIGXFSZ does not kill it."""
    file = tmp_path / "journal"
    mounted = mount("--journal", os.fspath(file), "--clock", "manual")
    before = mounted.read("fakeproc/ps"), file.read_bytes()
    pid, (_, hard) = mounted.server.pid, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (len(before[1]) + 20, hard))
    for _ in range(3):
        with refused(errno.EFBIG):
            mounted.control("spawn name=web")
    assert (mounted.read("fakeproc/ps"), file.read_bytes()) == before
    assert mounted.errors() == (
        f"fakeproc: {file}: cannot be written to: File too large; until it can nothing changes.\n"
    )
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    after_the_fault(mounted, file, capsys)


@pytest.fixture
def failing_disk(tmp_path: Path, binding: str) -> Iterator[Path]:
    """Return a file system that fails when it is told to."""
    path = tmp_path / "failing"
    path.mkdir()
    command = [sys.executable, "-m", "tests.mount.failing_disk", os.fspath(path)]
    env = {**os.environ, BINDING_VARIABLE: binding}
    with subprocess.Popen(command, env=env, cwd=REPOSITORY) as server:
        try:
            wait_until(path.is_mount, "mounting the disk")
            yield path
        finally:
            server.kill()
            subprocess.run(["umount", "-l", path], check=True)


def test_a_disk_that_fails(
    failing_disk: Path, mount: Callable[..., Mounted], capsys: pytest.CaptureFixture[str]
) -> None:
    file = failing_disk / "journal"
    mounted = mount("--journal", os.fspath(file), "--clock", "manual")
    before = mounted.read("fakeproc/ps")
    for operation in (*OPERATIONS, "write truncate", "fsync truncate"):
        (failing_disk / "fail").write_text(operation)
        with refused(errno.EIO):
            mounted.control("spawn name=web")
        assert mounted.read("fakeproc/ps") == before, operation
        (failing_disk / "fail").write_text("nothing")
        with refused(errno.EINVAL):
            mounted.control("spawn name=web rss=much")
        assert {type(entry.input) for entry in read_file(file).entries} <= {Nothing}, operation
    assert "journal: cannot be written to: Input/output error" in mounted.errors()
    after_the_fault(mounted, file, capsys)


def test_a_disk_that_fails_when_a_journal_is_begun(
    failing_disk: Path, folder: Path, no_server: None, capsys: pytest.CaptureFixture[str]
) -> None:
    file = failing_disk / "journal"
    (failing_disk / "fail").write_text("fsync")
    assert told(capsys, "mount", "--journal", file, folder) == (
        f"{file}: cannot be written to: Input/output error."
    )
    assert file.read_bytes() == b""


def test_a_full_disk_when_a_journal_is_begun(
    small_disk: Path, folder: Path, no_server: None, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(small_disk / "filler")
    file = small_disk / "journal"
    assert told(capsys, "mount", "--journal", file, folder) == (
        f"{file}: cannot be written to: No space left on device."
    )


def test_a_mount_that_fails_leaves_no_begun_journal(
    folder: Path, tmp_path: Path, no_server: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next one may begin it with other options."""
    file = tmp_path / "journal"
    for options in ((), ("--foreground",)):
        assert "accepted: mfusepy" in told(capsys, "mount", *options, "--journal", file, folder)
        assert file.read_bytes() == b""


def test_a_mount_that_fails_leaves_a_journal_that_was_there(
    folder: Path, tmp_path: Path, no_server: None, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "journal"
    journal = Journal(file)
    journal.begin(Header(*read_scenario(None), None, REAL_SPEED, manual_clock=True))
    journal.close()
    before = file.read_bytes()
    assert "accepted: mfusepy" in told(capsys, "mount", "--journal", file, folder)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Path.mkdir, "Is a directory"),
        (os.mkfifo, "is no regular file"),
        (lambda path: path.symlink_to("/dev/full"), "is a link"),
        (lambda path: path.parent.rmdir(), "No such file or directory"),
    ],
    ids=["folder", "fifo", "link", "no-folder-above"],
)
def test_what_is_no_journal(
    make: Callable[[Path], object],
    why: str,
    folder: Path,
    tmp_path: Path,
    no_server: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "above" / "journal"
    file.parent.mkdir()
    make(file)
    assert told(capsys, "mount", "--journal", file, folder) == (
        f"{file}: {why}; accepted is a file of your own that nobody else may write to, or a new "
        "one."
    )


def test_a_journal_on_a_disk_that_cannot_be_written(
    small_disk: Path, folder: Path, no_server: None, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    message = told(capsys, "mount", "--journal", small_disk / "journal", folder)
    assert message.startswith(f"{small_disk}/journal: Read-only file system; accepted is ")


# -- Other files -------------------------------------------------------------------


def test_a_file_that_cannot_be_written_whole_is_empty(small_disk: Path) -> None:
    with pytest.raises(Refused) as refusal:
        Output(small_disk / "state.toml").write("version = 1\n" * 10_000)
    assert refusal.value.why == f"{small_disk}/state.toml: cannot be written: " + (
        "No space left on device."
    )
    assert (small_disk / "state.toml").read_bytes() == b""


@pytest.mark.parametrize(
    "command", ["scenario snapshot --pid $$ -o /dev/full", "scenario list > /dev/full"]
)
def test_output_for_which_there_is_no_room(command: str) -> None:
    script = f'exec "$0" -m fakeproc {command}'
    # Buffered, it fails at the very end.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        ["sh", "-c", script, sys.executable], env=env, capture_output=True, text=True, check=False
    )
    name = "/dev/full" if "-o" in command else "standard output"
    assert sentence(done.returncode, done.stderr) == (
        f"{name}: cannot be written: No space left on device."
    )


# -- The mount point ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("none", "is no folder; make it first"),
        ("file/below", "is no folder; make it first"),
        ("file", "is no folder; make it first"),
        ("link", "is a link; name the folder that it leads to: {tmp}/proc"),
        ("dangling", "is a link; name the folder that it leads to: {tmp}/none"),
        ("circle/below", "cannot be found: Too many levels of symbolic links"),
        ("x" * 300, "cannot be looked at: File name too long"),
        ("a\nb\x1b", "is no folder; make it first"),
        ("/", "nobody would see what is mounted there; mount below it"),
    ],
)
def test_what_is_no_mount_point(
    name: str,
    why: str,
    tmp_path: Path,
    folder: Path,
    no_server: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "dangling").symlink_to("none")
    (tmp_path / "circle").symlink_to("circle")
    message = told(capsys, "mount", tmp_path / name)
    shown = os.fspath(tmp_path / name).replace("\n", "\\n").replace("\x1b", "\\x1b")
    assert message == f"{shown}: {why.format(tmp=tmp_path)}."


def test_a_folder_that_is_gone(
    tmp_path: Path,
    no_server: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for command in ("mount", "umount"):
        assert told(capsys, command, "x") == "x: cannot be found: No such file or directory."


@both
def test_a_mount_point_may_have_any_name(tmp_path: Path, binding: str) -> None:
    path = tmp_path / os.fsdecode("a b\nc\td\\e#f,g\x1b[1m é € ".encode() + b"\xff")
    path.mkdir()
    try:
        first = start("mount", path, binding=binding)
        assert (*first.communicate(), first.returncode) == ("", "", 0)
        assert path in find_mounts()
        assert (path / "1/comm").read_text() == "systemd\n"
        second = start("mount", path, binding=binding)
        shown = "a b\\nc\\td\\e#f,g\\x1b[1m é € \\xff"
        message = sentence(second.wait(), second.communicate()[1])
        assert message.startswith(f"{tmp_path}/{shown}: is mounted already; ")
    finally:
        last = start("umount", path, binding=binding)
        assert (*last.communicate(), last.returncode) == ("", "", 0)
    assert not is_mounted(path)


@both
def test_what_is_below_a_mount_point_is_back_afterwards(small_disk: Path, binding: str) -> None:
    """Not an empty folder, and a file system of its own, which cannot be written."""
    (small_disk / "mine").touch()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for command, there in (("mount", False), ("umount", True)):
        done = start(command, small_disk, binding=binding)
        assert (*done.communicate(), done.returncode) == ("", "", 0)
        assert (small_disk / "mine").exists() is there


def test_where_another_server_is_just_being_mounted(
    folder: Path, no_server: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with claimed(folder):
        assert told(capsys, "mount", folder) == (
            f"{folder}: another server is just being mounted there."
        )
    assert "accepted: mfusepy" in told(capsys, "mount", folder)


def test_of_servers_that_start_at_once_one_wins(folder: Path, binding: str) -> None:
    servers = [start("mount", folder, binding=binding) for _ in range(4)]
    ends = [(server.communicate(), server.returncode) for server in servers]
    for (_, err), code in ends:
        if code:
            assert re.match(
                rf"{folder}: (is mounted already|another server is just being mounted there)",
                sentence(code, err),
            )
    assert [code for _, code in ends].count(0) == 1, ends
    assert (folder / "fakeproc/ps").read_text().startswith("   pid ")
    unmount(folder)
    assert not is_mounted(folder)


_EXCHANGING = """
import os, sys
from fakeproc import cli
from fakeproc.mount import load_binding
binding, path = load_binding(), sys.argv[-1]
class Exchanging(binding.FUSE):
    def __init__(self, *args, **options):
        os.rename(os.path.dirname(path), os.path.dirname(path) + ".old")
        os.symlink("others", os.path.dirname(path))
        super().__init__(*args, **options)
binding.FUSE = Exchanging
sys.exit(cli.main())
"""


@both
@pytest.mark.parametrize("options", [[], ["-f"]], ids=["background", "foreground"])
def test_a_mount_point_that_is_exchanged_while_it_is_mounted(
    tmp_path: Path, binding: str, options: list[str]
) -> None:
    """Whoever owns the folder above it may do that; nothing stays mounted on what they chose."""
    mine, others = tmp_path / "mine" / "proc", tmp_path / "others" / "proc"
    for path in (mine, others):
        path.mkdir(parents=True)
    try:
        done = subprocess.run(
            [sys.executable, "-c", _EXCHANGING, "mount", *options, mine],
            env={**os.environ, BINDING_VARIABLE: binding},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert sentence(done.returncode, done.stderr).startswith(
            f"{mine}: was exchanged for a link while it was being mounted; "
        )
        assert not is_mounted(others)
        assert list(others.iterdir()) == []
    finally:
        while is_mounted(others):
            unmount(others)


# -- FUSE is not there -------------------------------------------------------------


@both
def test_without_libfuse(folder: Path, binding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUSE_LIBRARY_PATH", "/nowhere/libfuse.so")
    server = start("mount", folder, binding=binding)
    message = sentence(server.wait(60), server.communicate()[1])
    assert message.startswith("libfuse: no binding to it can be loaded (")
    assert "; install libfuse2 (apt-get install libfuse2), or fakeproc[fuse3] and" in message


@both
def test_what_an_ordinary_user_lacks(room: Room) -> None:
    script = 'cd "$ROOM"; "$PYTHON" -m fakeproc mount '
    lines = room.run_scripts(
        f"{script} base 2>&1; ls mnt",
        f"""
        mkdir "$ROOM/dev"
        chmod 600 "$ROOM/fuse"
        as_user '{script} mnt 2>&1' || true
        mount -t tmpfs tmpfs /dev
        mknod -m 666 /dev/null c 1 3
        as_user '{script} mnt 2>&1' || true
        mknod -m 666 /dev/fuse c 10 229
        for tool in /usr/bin/fusermount3 /usr/bin/fusermount /bin/fusermount3 /bin/fusermount; do
            ! [ -e $tool ] || mount --bind /dev/null $tool
        done
        as_user '{script} mnt 2>&1' || true
        grep -c " $ROOM/mnt {FSTYPE} " /proc/mounts || true
        """,
    )
    base, mountpoint = room.mountpoint.parent / "base", room.mountpoint
    no_right, no_permission, no_device, no_tool, mounts = lines
    assert no_right.startswith(f"fakeproc: {base}: cannot be mounted: fusermount")
    assert "user has no write access to mountpoint" in no_right
    assert no_permission.startswith("fakeproc: /dev/fuse: cannot be opened by uid 65534; `chmod ")
    assert no_device.startswith("fakeproc: /dev/fuse: is not there; load the module with `modprobe")
    assert no_tool.startswith(f"fakeproc: {mountpoint}: cannot be mounted: ")
    assert no_tool.endswith("; install fuse3, whose fusermount3 mounts for ordinary users.")
    assert mounts == "0"
