# SPDX-License-Identifier: MIT
"""`fakeproc.mount` from Python.

It forks, so each test is a program of its own: pytest's workers have several threads.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fakeproc.mount import BINDING_VARIABLE
from fakeproc.mounts import is_mounted, unmount


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an empty folder to mount on."""
    path = tmp_path / "proc"
    path.mkdir()
    return path


def _python(program: str, folder: Path, binding: str) -> str:
    """Run a program that finds the folder in `path`; demand that no mount stays."""
    head = "import os, sys\nimport fakeproc\npath = sys.argv[1]\n"
    try:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", head + textwrap.dedent(program), folder],
            env={**os.environ, BINDING_VARIABLE: binding},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert not is_mounted(folder)
        return done.stdout
    finally:
        if is_mounted(folder):
            unmount(folder)


def test_mount_for_the_length_of_a_block(folder: Path, binding: str) -> None:
    program = """
        machine = fakeproc.Machine()
        web = machine.spawn("web")
        with fakeproc.mount(machine, path) as mounted:
            print(os.fspath(mounted) == os.path.realpath(path), os.path.ismount(path))
            value = mounted / str(web.pid) / "oom_score_adj"
            value.write_text("500\\n")
            print(value.read_text(), end="")
        print(os.path.ismount(path), web.oom_score_adj)
    """
    assert _python(program, folder, binding) == "True True\n500\nFalse 0\n"


def test_mount_goes_when_the_block_raises(folder: Path, binding: str) -> None:
    program = """
        try:
            with fakeproc.mount(fakeproc.Machine(), path):
                raise KeyError("mine")
        except KeyError as error:
            print(error, os.path.ismount(path), os.listdir(path))
    """
    assert _python(program, folder, binding) == "'mine' False []\n"


def test_block_may_unmount_by_itself(folder: Path, binding: str) -> None:
    program = """
        from fakeproc.mounts import unmount
        with fakeproc.mount(fakeproc.Machine(), path) as mounted:
            unmount(mounted)
        print(os.path.ismount(path))
    """
    assert _python(program, folder, binding) == "False\n"


def test_two_mounts_and_one_again(folder: Path, binding: str) -> None:
    program = """
        os.mkdir(path + "/a"), os.mkdir(path + "/b")
        for _ in range(2):
            with (
                fakeproc.mount(fakeproc.Machine(init_comm="one"), path + "/a") as a,
                fakeproc.mount(fakeproc.Machine(init_comm="two"), path + "/b") as b,
            ):
                print((a / "1/comm").read_text() + (b / "1/comm").read_text(), end="")
    """
    assert _python(program, folder, binding) == "one\ntwo\n" * 2


def test_scenario_and_kernel(folder: Path, binding: str) -> None:
    program = """
        machine = fakeproc.load_scenario(None, fakeproc.KernelConfig("4.7").with_patch(3, on=True))
        with fakeproc.mount(machine, path) as mounted:
            (mounted / "100008/oom_score_adj").write_text("7")
            print((mounted / "100012/oom_score_adj").read_text(), end="")
    """
    assert _python(program, folder, binding) == "7\n"


def test_bad_path_is_a_mount_error(folder: Path, binding: str) -> None:
    program = """
        try:
            with fakeproc.mount(fakeproc.Machine(), path + "/none"):
                print("mounted")
        except fakeproc.MountError as error:
            print(path + "/none" in str(error))
    """
    assert _python(program, folder, binding) == "True\n"


def test_what_is_no_folder_or_mounted_already_is_refused(folder: Path, binding: str) -> None:
    program = """
        regular = path + ".txt"
        open(regular, "w").close()
        for target in (regular, path):
            try:
                with fakeproc.mount(fakeproc.Machine(), path), \\
                     fakeproc.mount(fakeproc.Machine(), target):
                    print("mounted")
            except fakeproc.MountError as error:
                print(str(error).replace(path, "PATH"))
    """
    assert _python(program, folder, binding).splitlines() == [
        "PATH.txt: is no folder; make it first.",
        "PATH: is mounted already; `fakeproc umount PATH` removes it.",
    ]
