# SPDX-License-Identifier: MIT
"""The command line: what each command does, says and returns."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import fakeproc
from fakeproc import cli
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.profile import PATCHES, PROFILE_NAMES
from fakeproc.kernel.task import Thread
from fakeproc.mount import BINDING_VARIABLE
from fakeproc.mounts import is_mounted, unmount
from fakeproc.procfs.task.directory import ENTRIES
from fakeproc.procfs.task.node import TaskFile
from tests.conformance.world import World
from tests.conftest import Mounted, wait_until
from tests.mount import put, refused

COMMANDS = ("mount", "umount", "ps", "log", "trigger", "explain")
Run = Callable[..., subprocess.CompletedProcess[str]]


def _run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fakeproc", *arguments],
        env={**os.environ, "LC_ALL": "C", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def run(binding: str) -> Run:
    """Return a function that runs the command on one of the bindings."""

    def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return _run(*arguments, **{BINDING_VARIABLE: binding})

    return command


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return an empty folder to mount on; no mount stays there."""
    path = tmp_path / "proc"
    path.mkdir()
    try:
        yield path
    finally:
        if is_mounted(path):
            unmount(path)


@pytest.fixture
def killed(tmp_path: Path, binding: str) -> Iterator[Path]:
    """Return a mount whose server was killed."""
    path = tmp_path / "dead"
    path.mkdir()
    mounted = Mounted(path, binding)
    try:
        mounted.server.kill()
        mounted.server.wait()
        with refused(errno.ENOTCONN):
            os.stat(path)
        yield path
    finally:
        mounted.kill()


def _refusal(done: subprocess.CompletedProcess[str]) -> str:
    """Return the sentence of a command that was refused."""
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("fakeproc: ")
    assert "Traceback" not in done.stderr
    return done.stderr.removeprefix("fakeproc: ").strip()


# -- mount -------------------------------------------------------------------------


def test_mount_returns_when_the_mount_answers(run: Run, folder: Path) -> None:
    done = run("mount", folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (folder / "fakeproc/ps").read_text().startswith("   pid ")
    assert run("umount", folder).returncode == 0
    assert not is_mounted(folder)
    assert list(folder.iterdir()) == []


def test_mount_by_a_relative_path(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert run("mount", "proc").returncode == 0
    assert run("ps", "proc").stdout.startswith("   pid ")
    assert run("umount", "./proc/").returncode == 0


def test_mount_through_a_link(run: Run, folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    assert run("mount", link / "proc").returncode == 0
    assert run("umount", folder).returncode == 0


def test_mount_on_what_is_no_folder(run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "none", tmp_path / "file"):
        assert _refusal(run("mount", path)) == f"{path}: is no folder; make it first."


def test_mount_where_the_server_looks_its_callers_up(run: Run) -> None:
    assert _refusal(run("mount", "/proc")).startswith("/proc: the server needs the host's own")


def test_mount_where_one_is(run: Run, folder: Path) -> None:
    run("mount", folder)
    assert "is mounted already" in _refusal(run("mount", folder))
    assert (folder / "fakeproc/ps").exists()


def test_mount_over_a_dead_one(run: Run, killed: Path) -> None:
    assert _refusal(run("mount", killed)) == (
        f"{killed}: has a mount whose server died; `fakeproc umount {killed}` removes it."
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("version = 2\n", "version = 2: accepted is 1"),
        ("version = 1\n[[process]]\nname = 'x'\nrsss = '1M'\n", "'rsss': not known (nearest: rss)"),
        (
            "version = 1\n[[process]]\nname = 'x'\nrss = 'much'\n",
            'rss = "much": accepted is a size',
        ),
        ("version = ", "bad.toml"),
    ],
)
def test_mount_of_a_bad_scenario(folder: Path, tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    message = _refusal(_run("mount", "--scenario", path, folder))
    assert str(path) in message
    assert sentence in message


def test_mount_of_a_scenario(run: Run, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "two.toml"
    path.write_text('version = 1\n[machine]\nkernel = "6.1"\n[[process]]\nname = "only"\n')
    assert _refusal(run("mount", "--scenario", tmp_path / "none.toml", folder))
    run("mount", "--scenario", path, folder)
    assert (folder / "100000/comm").read_text() == "only\n"
    assert (folder / "fakeproc/kernel").read_text().startswith("kernel 6.1\n")


def test_mount_of_an_unknown_kernel(folder: Path) -> None:
    message = _refusal(_run("mount", "--kernel", "4.77", folder))
    assert "'4.77': not known" in message
    assert f"accepted: {', '.join(PROFILE_NAMES)}." in message


@pytest.mark.parametrize("speed", ["0", "fast", "10001"])
def test_mount_at_an_impossible_speed(folder: Path, speed: str) -> None:
    message = _refusal(_run("mount", "--speed", speed, folder))
    assert message.startswith(f"speed {speed}: accepted is a number from 0.001 to 10000")
    assert not is_mounted(folder)


@pytest.mark.parametrize(
    "arguments",
    [
        ("mount", "--speed", "10", "--clock", "manual", "x"),
        ("mount", "--clock", "scaled", "x"),
        ("mount", "--patch", "7", "x"),
        ("mount", "--no-patch", "0", "x"),
        ("mount", "--patch", "one", "x"),
        ("mount", "--caps", "some", "x"),
        ("mount",),
        ("mount", "x", "y"),
        ("ps", "--xml", "x"),
        ("eat",),
        (),
    ],
    ids=" ".join,
)
def test_bad_usage(arguments: tuple[str, ...]) -> None:
    done = _run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("usage: fakeproc")


def test_unknown_binding(folder: Path) -> None:
    message = _refusal(_run("mount", folder, **{BINDING_VARIABLE: "pyfuse"}))
    assert "accepted: mfusepy, fusepy" in message


def test_mount_warns_of_pids_that_live_on_the_host(run: Run, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "alive.toml"
    path.write_text(f'version = 1\n[[process]]\nname = "x"\npid = {os.getpid()}\n')
    done = run("mount", "--scenario", path, folder)
    assert done.returncode == 0
    assert f"pid {os.getpid()}: alive on this host too" in done.stderr


# -- The kernel --------------------------------------------------------------------


def _patches(kernel: str) -> dict[int, bool]:
    lines = (line.split() for line in kernel.splitlines())
    return {int(words[1]): words[0] == "patch" for words in lines if words[0].endswith("patch")}


def test_kernel_and_patches_of_the_command_line(mount: Callable[..., Mounted]) -> None:
    kernel = mount("--kernel", "4.7", "--patch", "3", "--patch", "1").read("fakeproc/kernel")
    assert kernel.startswith("kernel 4.7\n")
    assert _patches(kernel) == {number: number in (1, 3) for number in PATCHES}
    assert "propagate_to_sharers=yes  # patch 3\n" in kernel
    assert "vfork_exempt=none  # 4.4\n" in kernel
    kernel = mount("--no-patch", "3").read("fakeproc/kernel")
    assert kernel.startswith("kernel series\n")
    assert _patches(kernel) == {number: number != 3 for number in PATCHES}
    assert "propagate_to_sharers=no  # 4.4\n" in kernel


def test_kernel_decides_what_a_write_does(mount: Callable[..., Mounted]) -> None:
    followed = {}
    for options in ((), ("--kernel", "4.7"), ("--kernel", "4.7", "--patch", "3")):
        mounted = mount(*options)
        mounted.sh("echo 99 > 100008/oom_score_adj")
        followed[options] = mounted.read("100012/oom_score_adj") == "99\n"
    assert list(followed.values()) == [True, False, True]


def test_kernel_changes_while_mounted(mounted: Mounted) -> None:
    path = mounted / "fakeproc/kernel"
    for text in ("4.7\n", "kernel 4.7", "kernel series\nkernel 4.7\n"):
        put(path, text.encode())
        assert path.read_text().startswith("kernel 4.7\n")
        assert not any(_patches(path.read_text()).values())
    put(path, b"patch 1\npatch 3  # and so on\n\n# nothing\n")
    assert _patches(path.read_text()) == {number: number in (1, 3) for number in PATCHES}
    put(path, b"no-patch 1\nvfork_exempt=done-only\n")
    assert _patches(path.read_text()) == {number: number == 3 for number in PATCHES}
    assert "vfork_exempt=done-only  # set by hand\n" in path.read_text()


@pytest.mark.parametrize("options", [(), ("--kernel", "series-as-posted", "--no-patch", "4")])
def test_writing_back_the_kernel_that_was_read_changes_nothing(
    mount: Callable[..., Mounted], options: tuple[str, ...]
) -> None:
    path = mount(*options) / "fakeproc/kernel"
    before = path.read_bytes()
    assert put(path, before) == len(before)
    assert path.read_bytes() == before


def test_bad_kernel_lines_change_nothing(mounted: Mounted) -> None:
    path = mounted / "fakeproc/kernel"
    before = path.read_text()
    for bad in (
        "4.77",
        "kernel",
        "patch 7",
        "patch one",
        "patch",
        "patch 3 4",
        "tie_global=middle",
        "nothing=yes",
        "=",
        "\0",
        "\xff",
    ):
        with refused(errno.EINVAL):
            put(path, f"no-patch 1\n{bad}\n".encode("latin-1"))
        assert path.read_text() == before, bad
        assert mounted.read("fakeproc/ctl").startswith("EINVAL: "), bad


# -- umount ------------------------------------------------------------------------


def test_umount_of_a_dead_mount(run: Run, killed: Path) -> None:
    done = run("umount", killed)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(killed.iterdir()) == []


def test_umount_of_nothing(run: Run, folder: Path) -> None:
    for path in (folder, folder / "none"):
        assert _refusal(run("umount", path)) == f"{path}: no fakeproc is mounted there."


def test_umount_while_someone_is_inside(run: Run, mounted: Mounted) -> None:
    with subprocess.Popen(["cat"], cwd=mounted.path, stdin=subprocess.PIPE) as guest:
        message = _refusal(run("umount", mounted.path))
        assert message.startswith(f"{mounted.path}: cannot be unmounted: ")
        assert "busy" in message
        assert mounted.read("1/comm") == "systemd\n"
        guest.communicate()
    assert guest.returncode == 0


# -- ps ----------------------------------------------------------------------------

COLUMNS = (
    *("pid", "tgid", "uid", "mm", "sharers", "rss", "swap"),
    *("oom_score_adj", "oom_score", "state", "name"),
)


def test_ps_prints_a_table(run: Run, mounted: Mounted) -> None:
    lines = run("ps", mounted.path).stdout.splitlines()
    assert tuple(lines[0].split()) == COLUMNS
    rows = {line.split()[0]: line.split() for line in lines[1:]}
    assert rows["100012"][:7] == ["100012", "100012", "1000", "11", "2", "960M", "0k"]
    assert rows["100012"][7:] == ["0", "93", "S", "app-helper"]
    assert rows["100011"][:2] == ["100011", "100008"]
    assert rows["100000"][3:5] == ["-", "0"]


def test_ps_prints_json(run: Run, mounted: Mounted) -> None:
    rows = json.loads(run("ps", "--json", mounted.path).stdout)
    assert {tuple(row) for row in rows} == {COLUMNS}
    by_pid = {row["pid"]: row for row in rows}
    assert by_pid[100013] == {
        "pid": 100013,
        "tgid": 100013,
        "uid": 1000,
        "mm": 13,
        "sharers": 1,
        "rss": 2 * 1024**3,
        "swap": 500 * 1024**2,
        "oom_score_adj": 300,
        "oom_score": int(mounted.read("100013/oom_score")),
        "state": "S",
        "name": "nightly-job",
    }
    assert by_pid[100000]["mm"] is None
    assert [row["pid"] for row in rows if row["tgid"] == 100008] == list(range(100008, 100012))


def test_explain_foretells_what_trigger_does(run: Run, mounted: Mounted) -> None:
    foretold = json.loads(run("explain", "--json", mounted.path).stdout)
    assert foretold["victim"] == {"pid": 100013, "comm": "nightly-job"}
    assert "chosen: 100013 (nightly-job)\n" in run("explain", mounted.path).stdout
    answer = run("trigger", mounted.path, "order=2", "pid=100006")
    assert answer.returncode == 0
    assert answer.stdout == mounted.read("fakeproc/oom_trigger")
    assert "victim: 100013 (nightly-job)\n" in answer.stdout
    after = json.loads(run("explain", "--json", mounted.path).stdout)
    assert after["chosen"]["pid"] != 100013


def test_explain_is_asked_about_another_oom(run: Run, mounted: Mounted) -> None:
    default = mounted.read("fakeproc/explain")
    mounted.sh("echo memcg /web limit=64M > fakeproc/ctl; echo join 100006 /web > fakeproc/ctl")
    asked = run("explain", mounted.path, "memcg=/web", "pid=100006")
    assert asked.stdout.startswith("request: memcg=/web pid=100006\noutcome: killed\n")
    assert "victim: 100006 (nginx)\nkilled: 100006 (nginx)\nconstraint: CONSTRAINT_MEMCG\n" in (
        asked.stdout
    )
    assert mounted.read("fakeproc/explain") == default
    assert run("explain", mounted.path).stdout == default


def test_explain_asks_every_kernel(run: Run, mounted: Mounted) -> None:
    mounted.sh(
        "echo hold 100008 stuck > fakeproc/ctl; echo kill 100008 SIGKILL > fakeproc/ctl",
    )
    before = mounted.read("fakeproc/ps"), mounted.read("fakeproc/kernel")
    text = run("explain", "--kernels", mounted.path, "pid=100008").stdout
    assert text.startswith("request: pid=100008\n")
    assert '(patch 6, "mm, oom: fortify task_will_free_mem")\n' in text
    data = json.loads(run("explain", "--kernels", "--json", mounted.path, "pid=100008").stdout)
    assert [row["outcome"] for row in data["verdicts"]][:2] == ["bypassed", "killed"]
    assert data["boundaries"][0]["switches"][0]["origin"].startswith("patch 6, ")
    assert (mounted.read("fakeproc/ps"), mounted.read("fakeproc/kernel")) == before
    assert "pid=7: no such task" in _refusal(run("explain", "--kernels", mounted.path, "pid=7"))


def test_explain_with_a_bad_option(run: Run, mounted: Mounted) -> None:
    for words in (("--json", mounted.path, "pid=7"), (mounted.path, "pid=7")):
        assert "pid=7: no such task" in _refusal(run("explain", *words))
    assert mounted.read("fakeproc/explain").startswith("outcome: killed\n")


def test_trigger_with_a_bad_option(run: Run, mounted: Mounted) -> None:
    done = run("trigger", mounted.path, "odrer=2")
    assert "oom_trigger: option 'odrer': not known (nearest: order)" in _refusal(done)
    assert mounted.read("fakeproc/oom_trigger") == "outcome: none yet\n"


def test_ps_and_log_where_nothing_answers(run: Run, folder: Path, killed: Path) -> None:
    for command in ("ps", "log", "trigger", "explain"):
        assert "no fakeproc answers there" in _refusal(run(command, folder))
        message = _refusal(run(command, killed))
        assert "Transport endpoint is not connected" in message


def test_reader_that_has_enough(mounted: Mounted) -> None:
    mounted.sh("for n in $(seq 1500); do echo 'spawn name=x rss=4k'; done > fakeproc/ctl")
    with subprocess.Popen(
        [sys.executable, "-m", "fakeproc", "ps", mounted.path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as ps:
        assert ps.stdout is not None
        assert ps.stderr is not None
        assert ps.stdout.read(6) == b"   pid"
        ps.stdout.close()
        assert ps.stderr.read() == b""
    assert ps.returncode == 0


# -- log ---------------------------------------------------------------------------


def test_log_prints_the_kernel_log(run: Run, mounted: Mounted) -> None:
    assert run("log", mounted.path).stdout == ""
    mounted.sh("echo 5 > 100008/oom_adj")
    done = run("log", mounted.path)
    assert done.returncode == 0
    assert done.stdout == mounted.read("fakeproc/kmsg")
    assert [line[:3] for line in done.stdout.splitlines()] == ["<4>", "<6>"]


def test_log_follows_until_unmounted(run: Run, folder: Path, tmp_path: Path) -> None:
    run("mount", folder)
    put(folder / "100005/oom_adj", b"5")
    shown = tmp_path / "log"
    with (
        shown.open("wb") as out,
        subprocess.Popen(
            [sys.executable, "-m", "fakeproc", "log", "-f", folder], stdout=out
        ) as follower,
    ):
        try:
            wait_until(lambda: shown.read_text().count("\n") == 1, "the first line")
            for value in (b"10", b"20"):
                put(folder / "100008/oom_score_adj", value)
            wait_until(lambda: shown.read_text().count("\n") == 3, "the new lines")
            assert shown.read_text() == (folder / "fakeproc/kmsg").read_text()
            wait_until(lambda: run("umount", folder).returncode == 0, "unmounting")
            follower.wait(20)
        finally:
            follower.kill()
    assert shown.read_text().count("\n") == 3


# -- MOUNT left out ----------------------------------------------------------------


def test_the_only_mount_need_not_be_named(
    mounted: Mounted, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "find_mounts", lambda: [mounted.path])
    assert cli.main(["ps"]) == 0
    assert capsys.readouterr().out.startswith("   pid ")


@pytest.mark.parametrize("command", ["umount", "ps", "log"])
@pytest.mark.parametrize(
    ("mounts", "listed"), [([], "none"), ([Path("/a"), Path("/b")], "/a, /b")], ids=["none", "two"]
)
def test_mount_must_be_named_where_there_is_not_exactly_one(
    command: str,
    mounts: list[Path],
    listed: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cli, "find_mounts", lambda: mounts)
    assert cli.main([command]) == 1
    assert capsys.readouterr().err == (
        f"fakeproc: MOUNT is missing; fakeproc mounts there are: {listed}.\n"
    )


# -- Help, version, no libfuse -----------------------------------------------------


def _without_bindings(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command where neither binding can be imported."""
    code = (
        "import sys; sys.modules['fuse'] = sys.modules['mfusepy'] = None; "
        "from fakeproc.cli import main; sys.exit(main())"
    )
    environment = {key: value for key, value in os.environ.items() if key != BINDING_VARIABLE}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_has_an_example_and_needs_no_libfuse(command: str) -> None:
    done = _without_bindings(*command.split(), "--help")
    assert done.returncode == 0
    assert done.stderr == ""
    assert f"example: fakeproc {command or 'mount'}" in done.stdout


def test_version_needs_no_libfuse() -> None:
    for done in (_without_bindings("--version"), _run("--version")):
        assert (done.returncode, done.stdout) == (0, f"{fakeproc.__version__}\n")


def test_mount_without_libfuse_says_what_to_install(folder: Path) -> None:
    for options in ((), ("-f",)):
        message = _refusal(_without_bindings("mount", *options, folder))
        assert "apt-get install libfuse2" in message
        assert "fakeproc[fuse3]" in message


# -- The end of a server -----------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_signal_ends_a_server_and_its_mount(
    tmp_path: Path, binding: str, number: signal.Signals
) -> None:
    path = tmp_path / "proc"
    path.mkdir()
    mounted = Mounted(path, binding)
    try:
        mounted.server.send_signal(number)
        assert mounted.server.wait(20) == 0
        assert not is_mounted(path)
        assert "Traceback" not in path.with_suffix(".stderr").read_text()
    finally:
        mounted.kill()


# -- Bugs --------------------------------------------------------------------------


def test_bug_in_a_handler_is_an_io_error_and_is_counted(
    tmp_path: Path, binding: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def burst(machine: Machine, thread: Thread) -> bytes:
        raise RuntimeError("a bug of ours")

    def lie(machine: Machine, thread: Thread) -> bytes:
        raise OSError(errno.EINVAL, "looks like a bad value")

    monkeypatch.setenv(BINDING_VARIABLE, binding)
    monkeypatch.setitem(ENTRIES, "comm", TaskFile(reflects="", render=burst))
    monkeypatch.setitem(ENTRIES, "statm", TaskFile(reflects="", render=lie))
    with World(tmp_path) as world:
        for name in ("1/comm", "1/statm"):
            with refused(errno.EIO):
                world.read(name)
        assert world.read("1/oom_score_adj") == "0\n"
        stats = world.read("fakeproc/stats").splitlines()
    assert stats[1] == "internal_errors 2"
    assert stats[2].startswith("last_error Traceback ")
    assert "looks like a bad value" in stats[2]
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "a bug of ours" in caplog.text


# -- scenario ----------------------------------------------------------------------


def test_scenario_check(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text("version = 1\n")
    bad.write_text("version = 1\n[[process]]\nname = 'a'\nrsss = '1M'\nuid = -1\n")
    done = _run("scenario", "check", good, "server")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = _run("scenario", "check", good, bad, tmp_path / "none.toml")
    assert done.returncode == 1
    first, second, third = done.stdout.splitlines()
    assert first.startswith(f"{bad}:4: process 'a': key 'rsss': not known (nearest: rss)")
    assert second == f"{bad}:5: process 'a': uid = -1: accepted is 0 to 4294967294."
    assert third == f"{tmp_path}/none.toml: cannot be read: No such file or directory."


def test_scenario_list_and_show() -> None:
    listed = _run("scenario", "list").stdout.splitlines()
    assert "patch-2" in {line.split()[0] for line in listed}
    shown = _run("scenario", "show", "patch-2").stdout
    assert shown.startswith("# Patch 2: both files keep one rule.")
    message = _refusal(_run("scenario", "show", "patch-7"))
    assert message.startswith("scenario 'patch-7': not known (nearest: patch-6)")


def test_scenario_schema() -> None:
    schema = json.loads(_run("scenario", "schema").stdout)
    assert schema["properties"]["version"]["minimum"] == 1


def test_scenario_run() -> None:
    log = _run("scenario", "run", "patch-6").stdout
    assert "Killed process 100102 (nightly-job)" in log


def test_mount_of_no_scenario(folder: Path) -> None:
    message = _refusal(_run("mount", "--scenario", "serve", folder))
    assert message.startswith(
        "scenario 'serve': not known (nearest: server); accepted: containers,"
    )
