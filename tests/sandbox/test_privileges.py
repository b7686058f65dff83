# SPDX-License-Identifier: MIT
"""A sandbox of an ordinary user, and what is said where something is lacking."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import BINDINGS, require_fuse
from tests.mount import require_root
from tests.mount.room import Room
from tests.sandbox.runs import EXIT_LACKING, run_line

_FAKEPROC = 'fakeproc() { "$PYTHON" -m fakeproc "$@"; }\n'


@pytest.fixture
def room() -> Iterator[Room]:
    """Return a place where an ordinary user may open /dev/fuse."""
    require_fuse()
    require_root()
    with tempfile.TemporaryDirectory(prefix="fakeproc-test-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        yield Room(Path(folder), BINDINGS[-1])


def test_ordinary_user(room: Room) -> None:
    script = """
        id -u
        fakeproc run -q -- sh -c '
            id -u
            cat /proc/100013/comm
            echo 250 > /proc/self/oom_score_adj
            cat /proc/self/oom_score_adj
            kill -9 100013
            while kill -0 100013 2> /dev/null; do sleep 0.01; done
            echo gone
            grep internal_errors $FAKEPROC/fakeproc/stats
            exit 3
        '
        echo $?
    """
    assert room.run_scripts(_FAKEPROC + script) == [
        *("65534", "0", "nightly-job", "250", "gone", "internal_errors 0", "3")
    ]


def test_ordinary_user_kills_the_leaking_tab(room: Room) -> None:
    # What earlyoom does: it waits until little is available, and kills whom the kernel would.
    script = """
        fakeproc run -q --scenario desktop --speed 20 -- sh -c '
            until [ "$(sed -n "s/MemAvailable: *\\([0-9]*\\) kB/\\1/p" /proc/meminfo)" -lt 800000 ]
            do sleep 0.05; done
            kill -TERM 100200
            until ! kill -0 100200 2> /dev/null; do sleep 0.05; done
            cat $FAKEPROC/fakeproc/ps | grep -c leaking-tab || true
        '
    """
    assert room.run_scripts(_FAKEPROC + script) == ["0"]


# -- What may be lacking -----------------------------------------------------------------


def _refusal(*namespaces: str, setup: str = ":") -> str:
    """Return the one sentence that is said after this setup, in namespaces of its own."""
    require_fuse()
    require_root()
    done = subprocess.run(
        ["unshare", *namespaces, "sh", "-c", f'{setup}; exec "$@"', "sh", *run_line("--", "true")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == EXIT_LACKING, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_no_device() -> None:
    said = _refusal("--mount", setup="mount -t tmpfs tmpfs /dev")
    assert said.startswith("fakeproc: /dev/fuse: is not there; load the module")


def test_device_that_cannot_be_opened(room: Room) -> None:
    script = f"""
        chmod 600 /dev/fuse
        as_user '{_FAKEPROC} fakeproc run -- true 2>&1; echo $?'
    """
    said, code = room.run_scripts("true", script)
    assert said.startswith("fakeproc: /dev/fuse: cannot be opened by uid 65534; `chmod 666")
    assert int(code) == EXIT_LACKING


def test_fewer_processes_than_the_scenario_has(room: Room) -> None:
    script = """
        printf 'version = 1\n[[process]]\nname = "job"\ncount = 300\n' > "$PWD/many.toml"
        prlimit --nproc=100 "$PYTHON" -m fakeproc run --scenario many.toml -- true 2>&1
        echo $?
    """
    said, code = room.run_scripts(script)
    assert said.startswith("fakeproc: 302 processes: more than this user may have; `ulimit -u`")
    assert int(code) == EXIT_LACKING


def test_no_user_namespaces() -> None:
    setup = "echo 0 > /proc/sys/user/max_user_namespaces"
    said = _refusal("--user", "--map-root-user", setup=setup)
    assert said.startswith("fakeproc: User namespaces: none are allowed; `sysctl user.max_user")


def test_user_without_a_name_in_its_namespace() -> None:
    said = _refusal("--user")
    assert said.startswith("fakeproc: ")


def test_proc_of_another_pid_namespace() -> None:
    said = _refusal("--pid", "--fork")
    assert said.startswith("fakeproc: /proc: is that of another pid namespace; mount one")


def test_proc_with_hidden_parts() -> None:
    said = _refusal("--mount", setup="mount -t tmpfs tmpfs /proc/sys")
    assert said.startswith("fakeproc: /proc: a new procfs cannot be mounted here")


def test_root_of_a_container_with_few_ids() -> None:
    require_fuse()
    require_root()
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", *run_line("-q", "--", "cat", "/proc/100013/comm")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("nightly-job\n", "")
