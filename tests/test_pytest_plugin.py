# SPDX-License-Identifier: MIT
"""The pytest plugin: real pytest runs, each in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from fakeproc.mounts import find_mounts
from tests.conftest import require_fuse, wait_until
from tests.sandbox.conftest import require
from tests.tools.conftest import REPOSITORY, program

pytest_plugins = ("pytester",)

_PLAIN = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")

SCENARIO = """
version = 1
[[process]]
name = "from-a-file"
pid = 100100
rss = "10M"
"""

ON_A_MACHINE = """
    def test_it(fakeproc):
        names = [process.comm for process in fakeproc.processes.values()]
        print(sorted(set(names)), fakeproc.config.base)
        assert not names
"""
"""Fails, and so prints what there was."""


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """Return a function that runs pytest on a test file."""
    return Run(pytester)


class Run:
    """Runs pytest in a process of its own, in an empty folder."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester

    def __call__(self, program: str, *options: str, ini: str = "") -> pytest.RunResult:
        """Run it on this test file, with these options."""
        if program:
            self.pytester.makepyfile(program)
        self.pytester.makeini(f"[pytest]\naddopts = --strict-markers\n{ini}")
        base = self.pytester.path / "base"
        return self.pytester.runpytest_subprocess(*_PLAIN, "--basetemp", os.fspath(base), *options)

    def mounts(self) -> list[Path]:
        """Return the mounts that have been left there."""
        return [path for path in find_mounts() if path.is_relative_to(self.pytester.path)]


def failing(result: pytest.RunResult) -> str:
    """Return what a run with one failure, or error, has printed."""
    assert result.ret == 1, result.stdout.str()
    return result.stdout.str()


# -- Loading -----------------------------------------------------------------------


def test_nothing_heavy_is_loaded_before_a_fixture_is_used(run: Run) -> None:
    result = run("""
        import sys

        HEAVY = ("psutil", "fuse", "mfusepy", "tomllib", "ctypes.util")

        def test_before():
            assert "fakeproc.pytest_plugin" in sys.modules
            mine = {name for name in sys.modules if name.startswith("fakeproc")}
            assert mine == {"fakeproc", "fakeproc.pytest_plugin"}
            assert not [name for name in HEAVY if name in sys.modules]

        def test_in_between(fakeproc):
            assert "fakeproc.kernel.machine" in sys.modules
    """)
    result.assert_outcomes(passed=2)


def test_the_package_has_all_its_names_without_loading_them() -> None:
    program = """
import sys
import fakeproc
assert not [name for name in sys.modules if name.startswith("fakeproc.")]
assert set(fakeproc.__all__) <= set(dir(fakeproc))
import fakeproc.mount
from fakeproc import mount
assert fakeproc.mount is mount and mount.__name__ == "mount"
assert sys.modules["fakeproc.mount"].MountError is fakeproc.MountError
for name in fakeproc.__all__:
    assert getattr(fakeproc, name)
try:
    fakeproc.nothing
except AttributeError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "module 'fakeproc' has no attribute 'nothing'\n"


# -- Which machine -----------------------------------------------------------------


def test_a_test_without_a_wish_has_the_builtin_scenario(run: Run) -> None:
    run("""
        def test_it(fakeproc):
            assert fakeproc.process(100013).comm == "nightly-job"
            assert fakeproc.oom_score(fakeproc.process(100013)) == 549
    """).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    "wish", ['"own.toml"', "'''version = 1\\n[[process]]\\nname = \"from-a-file\"\\n'''"]
)
def test_the_marker_takes_a_file_beside_the_test_and_text(run: Run, wish: str) -> None:
    folder = run.pytester.mkdir("sub")
    (folder / "own.toml").write_text(SCENARIO)
    (folder / "test_sub.py").write_text(
        f"""
import pytest
@pytest.mark.fakeproc(scenario={wish}, kernel="6.18")
def test_it(fakeproc):
    assert "from-a-file" in [process.comm for process in fakeproc.processes.values()]
    assert fakeproc.config.base == "6.18"
"""
    )
    run("").assert_outcomes(passed=1)


def test_the_marker_is_before_the_option_and_that_before_the_ini(run: Run) -> None:
    ini = "fakeproc_scenario = desktop\nfakeproc_kernel = 4.7"
    program = """
        import pytest

        def test_without(fakeproc):
            print("WITHOUT", fakeproc.config.base, len(fakeproc.processes))
            assert 0

        @pytest.mark.fakeproc(kernel="6.1")
        def test_with(fakeproc):
            print("WITH", fakeproc.config.base, len(fakeproc.processes))
            assert 0

        @pytest.mark.fakeproc(kernel="4.9")
        class TestNearest:
            @pytest.mark.fakeproc(scenario="server")
            def test_near(self, fakeproc):
                print("NEAR", fakeproc.config.base, fakeproc.process(100013).comm)
                assert 0
    """
    by_ini = failing(run(program, ini=ini))
    by_option = failing(run(program, "--fakeproc-kernel", "5.4", ini=ini))
    for shown, kernel in ((by_ini, "4.7"), (by_option, "5.4")):
        assert f"WITHOUT {kernel} " in shown
        assert "WITH 6.1 " in shown
        assert "NEAR 4.9 nightly-job" in shown


def test_files_are_seen_from_where_they_are_named(run: Run) -> None:
    (run.pytester.mkdir("scenarios") / "own.toml").write_text(SCENARIO)
    ini = "fakeproc_scenario = scenarios/own.toml"
    assert "from-a-file" in failing(run(ON_A_MACHINE, ini=ini))
    option = ("--fakeproc-scenario", "scenarios/own.toml")
    assert "from-a-file" in failing(run(ON_A_MACHINE, *option))


WRONG_MARKERS = (
    ("speeed=2", "speeed: accepted is one of scenario, kernel, speed, manual_clock, view"),
    ("manual_clock=1", "manual_clock=1: accepted is True or False."),
    ("view='over'", "view='over': accepted is 'bind' or 'overmount'."),
    ("scenario=5", "scenario=5: accepted is a built-in name, a file"),
    ("'desktop'", "'desktop': accepted is KEY=VALUE only."),
    ("speed=2, manual_clock=True", "speed=2: not with manual_clock=True."),
    ("speed='fast'", "speed fast: accepted is a number from 0.001 to 10000"),
    ("kernel='6.99'", "'6.99': not known"),
    ("scenario='desktp'", "scenario 'desktp': not known (nearest: desktop)"),
    ("scenario='no/such.toml'", "no/such.toml: cannot be read: No such file"),
    (
        "scenario='version = 1\\nnonsense = 2\\n'",
        "<scenario>:2: the file: key 'nonsense': not known",
    ),
)
"""What the marker is given, and the sentence with which the test fails."""


def test_a_wrong_marker_fails_with_a_sentence(run: Run) -> None:
    tests = (
        f"@pytest.mark.fakeproc({marker})\ndef test_{number}(fakeproc): pass\n"
        for number, (marker, _) in enumerate(WRONG_MARKERS)
    )
    result = run("import pytest\n" + "".join(tests))
    result.assert_outcomes(errors=len(WRONG_MARKERS))
    shown = result.stdout.str()
    reports = re.split(r"_ ERROR at setup of test_\d+ _", shown)[1:]
    for (_, sentence), report in zip(WRONG_MARKERS, reports, strict=True):
        assert sentence in report
    for noise in ("Traceback", "pytest_plugin.py", "During handling"):
        assert noise not in shown


def test_a_wrong_marker_fails_a_test_without_a_fixture_too(run: Run) -> None:
    program = "import pytest\n@pytest.mark.fakeproc(pid=1)\ndef test_it(): pass\n"
    assert "@pytest.mark.fakeproc: pid: accepted is one of" in failing(run(program))


# -- What a failure shows ----------------------------------------------------------


def test_a_failure_shows_the_tasks_and_the_log(run: Run) -> None:
    shown = failing(
        run("""
        def test_it(fakeproc):
            fakeproc.panic("test")
            assert 0
    """)
    )
    assert "fakeproc: process table" in shown
    assert "nightly-job" in shown
    assert "fakeproc: kernel log" in shown
    assert "Kernel panic - not syncing: test" in shown.split("fakeproc: kernel log")[1]


def test_a_test_that_passes_shows_nothing(run: Run) -> None:
    result = run("def test_it(fakeproc): pass", "-rA")
    assert "process table" not in result.stdout.str()


def test_reports_get_through_xdist(run: Run) -> None:
    shown = failing(run(ON_A_MACHINE, "-n", "2"))
    assert "fakeproc: process table" in shown


# -- Mounted -----------------------------------------------------------------------


def test_a_mounted_machine(run: Run) -> None:
    require_fuse()
    result = run("""
        import os, psutil, pytest

        @pytest.mark.fakeproc(kernel="6.18", manual_clock=True)
        def test_it(fakeproc_mount):
            path = os.fspath(fakeproc_mount.path)
            assert psutil.PROCFS_PATH == path
            assert psutil.Process(100013).name() == "nightly-job"
            assert os.path.ismount(path)
            (fakeproc_mount / 100013 / "oom_score_adj").write_text("500")
            assert fakeproc_mount.read("100013/oom_score") == "1166\\n"
            pid = fakeproc_mount.control("spawn name=web rss=10M")
            assert fakeproc_mount.read(f"{pid}/comm") == "web\\n"
            before = fakeproc_mount.read("uptime")
            fakeproc_mount.write("fakeproc/clock", "+5s")
            assert fakeproc_mount.read("uptime") != before
            with pytest.raises(OSError):
                fakeproc_mount.control("kill 7 SIGTERM")

        def test_after():
            assert psutil.PROCFS_PATH == "/proc"
    """)
    result.assert_outcomes(passed=2)
    assert not run.mounts()


def test_a_failure_shows_what_is_mounted_and_leaves_nothing(run: Run) -> None:
    require_fuse()
    shown = failing(
        run("""
        def test_it(fakeproc_mount):
            fakeproc_mount.write("sysrq-trigger", "f")
            assert 0
    """)
    )
    assert "fakeproc_mount: process table" in shown
    assert "Killed process 100013 (nightly-job)" in shown.split("fakeproc_mount: kernel log")[1]
    assert not run.mounts()


def test_a_server_that_has_died_is_no_second_failure(run: Run) -> None:
    require_fuse()
    result = run("""
        import os, signal

        def test_it(fakeproc_mount):
            fakeproc_mount._server.kill()
            fakeproc_mount._server.wait()
            assert 0

        def test_busy(fakeproc_mount):
            os.chdir(fakeproc_mount.path)
            assert 0
    """)
    result.assert_outcomes(failed=2)
    assert "fakeproc/ps: cannot be read: " in result.stdout.str()
    assert not run.mounts()


def _processes_in(folder: Path) -> list[int]:
    """Return who works in a folder, or was started with a name in it; but for this process."""
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        with suppress(psutil.Error):
            if os.fspath(folder) in f"{process.cwd()} {' '.join(process.cmdline())} ":
                found.append(process.pid)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("fixture", ["fakeproc_mount", "fakeproc_sandbox"])
def test_an_interrupted_test_leaves_nothing(run: Run, fixture: str, number: signal.Signals) -> None:
    require_fuse()
    run.pytester.makepyfile(f"""
        import pathlib, time

        def test_it({fixture}):
            if hasattr({fixture}, "popen"):
                {fixture}.popen(["sleep", "60"])
            pathlib.Path("up").touch()
            time.sleep(60)
    """)
    base = run.pytester.path / "base"
    options = [*_PLAIN, "--basetemp", os.fspath(base)]
    # Whoever runs the tests in the background may have it ignore SIGINT.
    process = subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, "-m", "pytest", *options],
        cwd=run.pytester.path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        up = run.pytester.path / "up"
        wait_until(lambda: up.exists() or process.poll() is not None, "the machine")
        if not up.exists():
            require("a sandbox cannot be made here")
        assert run.mounts() or fixture == "fakeproc_sandbox"
        assert len(_processes_in(run.pytester.path)) > 1
        process.send_signal(number)
        assert process.wait(20) != 0
        wait_until(lambda: not run.mounts(), "unmounting")
        wait_until(lambda: not _processes_in(run.pytester.path), "the end of all processes")
    finally:
        process.kill()
        process.wait()


# -- Where something is lacking ----------------------------------------------------


LACKING = """
    import os, pytest

    @pytest.fixture(autouse=True)
    def no_fuse(monkeypatch):
        can = os.access
        refused = lambda path, mode: path != "/dev/fuse" and can(path, mode)
        monkeypatch.setattr(os, "access", refused)

    def test_it(fakeproc_mount):
        pass
"""


def test_without_fuse_tests_are_skipped_with_the_reason(run: Run) -> None:
    result = run(LACKING, "-rs")
    result.assert_outcomes(skipped=1)
    assert "/dev/fuse cannot be opened by this user" in result.stdout.str()


@pytest.mark.parametrize(
    ("option", "ini"), [("--fakeproc-require", ""), ("-q", "fakeproc_require = true")]
)
def test_where_it_is_required_they_fail(run: Run, option: str, ini: str) -> None:
    shown = failing(run(LACKING, option, ini=ini))
    assert "/dev/fuse cannot be opened by this user" in shown


def test_what_the_server_lacks_is_told(run: Run) -> None:
    require_fuse()
    result = run(
        """
        import pytest

        @pytest.fixture(autouse=True)
        def no_binding(monkeypatch):
            monkeypatch.setenv("FAKEPROC_FUSE", "none")

        def test_it(fakeproc_mount):
            pass
    """,
        "-rs",
    )
    result.assert_outcomes(skipped=1)
    assert "FAKEPROC_FUSE=none: accepted: mfusepy, fusepy." in result.stdout.str()


# -- Sandboxes ---------------------------------------------------------------------


def in_sandbox(result: pytest.RunResult) -> pytest.RunResult:
    """Return a result; skip where no sandbox can be made."""
    if result.parseoutcomes().get("skipped"):
        require("a sandbox cannot be made here")
    return result


def test_programs_run_in_a_sandbox(run: Run) -> None:
    result = run("""
        import pytest

        @pytest.mark.fakeproc(kernel="6.18", manual_clock=True)
        def test_it(fakeproc_sandbox):
            done = fakeproc_sandbox.run(["cat", "/proc/100013/comm", "/proc/version"])
            assert done.stdout.startswith("nightly-job\\nLinux version 6.18")
            before = fakeproc_sandbox.read("uptime")
            fakeproc_sandbox.write("fakeproc/clock", "+5s")
            assert fakeproc_sandbox.read("uptime") != before
    """)
    in_sandbox(result).assert_outcomes(passed=1)


def test_a_failure_shows_what_has_become_of_the_sandbox(run: Run) -> None:
    program = """
        def test_it(fakeproc_sandbox):
            fakeproc_sandbox.run(["sh", "-c", "echo f > /proc/sysrq-trigger"])
            assert 0
    """
    shown = failing(in_sandbox(run(program)))
    assert "fakeproc_sandbox: process table" in shown
    assert "Killed process 100013 (nightly-job)" in shown.split("fakeproc_sandbox: kernel log")[1]


@pytest.mark.parametrize(
    ("option", "outcome"), [("-rs", "skipped"), ("--fakeproc-require", "errors")]
)
def test_without_namespaces_the_reason_is_told(run: Run, option: str, outcome: str) -> None:
    result = run(
        """
        import pytest
        from fakeproc.sandbox import Lacking, Sandbox

        def lack(self):
            raise Lacking("user namespaces are off here.")

        @pytest.fixture(autouse=True)
        def no_namespaces(monkeypatch):
            monkeypatch.setattr(Sandbox, "start", lack)

        def test_it(fakeproc_sandbox):
            pass
    """,
        option,
    )
    result.assert_outcomes(**{outcome: 1})
    assert "user namespaces are off here." in result.stdout.str()


# -- The documentation -------------------------------------------------------------


def examples() -> list[str]:
    """Return the test files of docs/pytest.rst."""
    text = (REPOSITORY / "docs" / "pytest.rst").read_text()
    blocks = re.findall(r"::\n\n((?:    .*\n|\n)+)", text)
    return [textwrap.dedent(block) for block in blocks]


def test_the_example_of_earlyoom_works(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = os.path.dirname(program("earlyoom"))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    example = next(text for text in examples() if "earlyoom" in text)
    in_sandbox(run(example)).assert_outcomes(passed=2)


def test_the_other_examples_work(run: Run) -> None:
    require_fuse()
    (example,) = (text for text in examples() if "earlyoom" not in text)
    run(example).assert_outcomes(passed=2)
