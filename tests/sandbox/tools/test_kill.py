# SPDX-License-Identifier: MIT
"""What ends, asks about and waits for processes: each as it comes, in both views of a sandbox."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fakeproc.sandbox import Sandbox
from tests.conftest import wait_until
from tests.sandbox.tools.conftest import VIEWS, Started, living, meminfo_kb, pid_of
from tests.tools.conftest import program

TARGET = """
[machine]
ram = "1G"

[[process]]
name = "target"
uid = 1000
rss = "300M"

[[process]]
name = "bystander"
uid = 1001
rss = "100M"
"""

SLOW = TARGET.replace(
    'name = "target"\n', 'name = "target"\nbehaviour = { kind = "constant", exit_delay = "2s" }\n'
)

SENDERS = {
    "busybox kill": ["busybox", "kill", "-9", "{pid}"],
    "procps kill": ["/bin/kill", "-9", "{pid}"],
    "procps kill, SIGTERM": ["/bin/kill", "{pid}"],
    "kill of the shell": ["sh", "-c", "kill -9 {pid}"],
    "killall": ["killall", "-9", "target"],
    "pkill": ["pkill", "-x", "target"],
    "pkill of a user": ["pkill", "-KILL", "-U", "1000"],
    "os.kill": [sys.executable, "-c", "import os; os.kill({pid}, 9)"],
    "pidfd_send_signal": [
        sys.executable,
        "-c",
        "import os, signal; signal.pidfd_send_signal(os.pidfd_open({pid}), 15)",
    ],
    "psutil kill": [sys.executable, "-c", "import psutil; psutil.Process({pid}).kill()"],
    "psutil terminate": [sys.executable, "-c", "import psutil; psutil.Process({pid}).terminate()"],
}


@pytest.fixture(params=VIEWS)
def view(request: pytest.FixtureRequest) -> str:
    """Name a view."""
    return str(request.param)


class Scene:
    """A sandbox with a process to be killed, and one beside it."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.pid = pid_of(sandbox, "target")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command; ``{pid}`` in it is that of the process."""
        words = [word.replace("{pid}", str(self.pid)) for word in command]
        return self.sandbox.run([program(words[0]), *words[1:]], timeout=20)

    def python(self, script: str) -> str:
        """Run a script that must end well; return what it prints."""
        done = self.run(sys.executable, "-c", f"import os, select, signal\npid = {{pid}}\n{script}")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def is_alive(self) -> bool:
        """Say whether the process is on the machine."""
        return self.pid in living(self.sandbox)

    def free_kb(self) -> int:
        """Return MemFree."""
        return meminfo_kb(self.sandbox.read("meminfo"), "MemFree")


@pytest.fixture
def scene(sandbox_of: Started, view: str) -> Scene:
    """Return a machine whose clock stands still."""
    return Scene(sandbox_of(TARGET, view=view))


@pytest.fixture
def slow_scene(sandbox_of: Started, view: str) -> Scene:
    """Return one whose process takes two seconds to exit."""
    return Scene(sandbox_of(SLOW, view=view, kernel="6.18"))


# -- Who sends a signal ------------------------------------------------------------


@pytest.mark.parametrize("command", SENDERS.values(), ids=SENDERS.keys())
def test_kills(scene: Scene, command: list[str]) -> None:
    before = living(scene.sandbox)
    free_kb = scene.free_kb()
    done = scene.run(*command)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: not scene.is_alive(), "its death")
    died = {pid: name for pid, name in before.items() if pid not in living(scene.sandbox)}
    assert died == {scene.pid: "target"}
    assert scene.free_kb() >= free_kb + 250 * 1024
    [kill] = scene.sandbox.report()["kills"]
    assert (kill["victim"]["comm"], kill["cause"]) == ("target", "tool")


@pytest.mark.parametrize("command", SENDERS.values(), ids=SENDERS.keys())
def test_kills_nobody_who_is_not_there(scene: Scene, command: list[str]) -> None:
    """The counterpart: once it has gone, each of them fails."""
    others = living(scene.sandbox)
    del others[scene.pid]
    scene.sandbox.control(f"kill {scene.pid} SIGKILL")
    wait_until(lambda: scene.run("/bin/kill", "-0", "{pid}").returncode != 0, "its end")
    assert scene.run(*command).returncode != 0
    assert others.items() <= living(scene.sandbox).items()


def test_signal_0_changes_nothing(scene: Scene) -> None:
    for command in (["/bin/kill", "-0"], ["busybox", "kill", "-0"]):
        assert scene.run(*command, "{pid}").returncode == 0
    assert scene.is_alive()
    assert not scene.sandbox.report()["kills"]


@pytest.mark.parametrize("pid", [1, 2])
def test_init_and_kernel_threads_live_on(scene: Scene, pid: int) -> None:
    before = living(scene.sandbox)
    assert scene.run("/bin/kill", "-9", str(pid)).returncode == 0
    assert scene.run("/bin/kill", "-0", str(pid)).returncode == 0
    assert before.items() <= living(scene.sandbox).items()


def test_signal_to_a_thread_is_reported(sandbox_of: Started, view: str) -> None:
    """It has no stand-in: the machine gets the signal without one."""
    threads = TARGET.replace('name = "target"\n', 'name = "target"\nthreads = 2\n')
    scene = Scene(sandbox_of(threads, view=view))
    tid = max(map(int, scene.run("ls", f"/proc/{scene.pid}/task").stdout.split()))
    assert tid != scene.pid
    assert scene.run("/bin/kill", "-9", str(tid)).returncode == 0
    wait_until(lambda: not scene.is_alive(), "its death")
    [kill] = scene.sandbox.report()["kills"]
    assert (kill["victim"]["comm"], kill["cause"]) == ("target", "tool")
    assert kill["sender"]["comm"] == "kill"


# -- The adjustment ----------------------------------------------------------------


def test_choom(scene: Scene) -> None:
    score = scene.sandbox.read(f"{scene.pid}/oom_score").strip()
    assert scene.run("choom", "-p", "{pid}").stdout == (
        f"pid {scene.pid}'s current OOM score: {score}\n"
        f"pid {scene.pid}'s current OOM score adjust value: 0\n"
    )
    done = scene.run("choom", "-p", "{pid}", "-n", "500")
    assert done.returncode == 0, done.stderr
    assert scene.sandbox.read(f"{scene.pid}/oom_score_adj") == "500\n"
    assert int(scene.sandbox.read(f"{scene.pid}/oom_score")) > int(score)


# -- Who waits for the end ---------------------------------------------------------


def test_pidfd_is_ready_at_the_end(scene: Scene) -> None:
    said = scene.python(
        "poll = select.poll(); poll.register(os.pidfd_open(pid), select.POLLIN)\n"
        "print(len(poll.poll(0)))\n"
        "os.kill(pid, signal.SIGKILL)\n"
        "print(len(poll.poll(10_000)))\n"
        "try: os.kill(pid, 0)\n"
        "except ProcessLookupError: print('gone')\n"
    )
    assert said.split() == ["0", "1", "gone"]


def test_pidfd_waits_for_a_slow_exit(slow_scene: Scene) -> None:
    """As long as its memory is there the process is, for whoever asks."""
    free_kb = slow_scene.free_kb()
    is_ready = (
        "poll = select.poll(); poll.register(os.pidfd_open(pid), select.POLLIN)\n"
        "print(len(poll.poll(0)))\n"
    )
    assert slow_scene.run("/bin/kill", "-9", "{pid}").returncode == 0
    slow_scene.sandbox.write("fakeproc/clock", "+1s")
    assert slow_scene.python(is_ready) == "0"
    assert slow_scene.run("/bin/kill", "-0", "{pid}").returncode == 0
    assert slow_scene.free_kb() < free_kb + 100 * 1024
    slow_scene.sandbox.write("fakeproc/clock", "+2s")
    wait_until(lambda: slow_scene.run("/bin/kill", "-0", "{pid}").returncode == 1, "its end")
    assert slow_scene.free_kb() >= free_kb + 250 * 1024


def test_process_mrelease(slow_scene: Scene) -> None:
    """EINVAL for a process that is not dying; of a dying one it takes the memory."""
    free_kb = slow_scene.free_kb()
    said = slow_scene.python(
        "import ctypes\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def mrelease(): return libc.syscall(448, fd, 0), ctypes.get_errno()\n"
        "fd = os.pidfd_open(pid)\n"
        "print(*mrelease())\n"
        "os.kill(pid, signal.SIGKILL)\n"
        "ctypes.set_errno(0)\n"
        "print(*mrelease())\n"
    )
    assert said.split("\n") == ["-1 22", "0 0"]
    assert slow_scene.free_kb() >= free_kb + 250 * 1024
    assert slow_scene.run("/bin/kill", "-0", "{pid}").returncode == 0


def test_process_mrelease_is_missing_before_5_15(sandbox_of: Started, view: str) -> None:
    scene = Scene(sandbox_of(TARGET, view=view, kernel="4.9"))
    said = scene.python(
        "import ctypes\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "print(libc.syscall(448, os.pidfd_open(pid), 0), os.strerror(ctypes.get_errno()))\n"
    )
    assert said == "-1 Function not implemented"


def test_nobody_else_can_wait_for_it(scene: Scene) -> None:
    """It is no child of whoever asks."""
    said = scene.python(
        "for kind, number in ((os.P_PID, pid), (os.P_PIDFD, os.pidfd_open(pid))):\n"
        "    try: os.waitid(kind, number, os.WEXITED | os.WNOHANG)\n"
        "    except ChildProcessError: print('no child')\n"
        "try: os.waitpid(pid, os.WNOHANG)\n"
        "except ChildProcessError: print('no child')\n"
    )
    assert said.split("\n") == ["no child"] * 3


def test_psutil_waits_for_the_end(scene: Scene) -> None:
    said = scene.python(
        "import psutil\n"
        "process = psutil.Process(pid)\n"
        "print(process.is_running(), process.name(), process.uids().real)\n"
        "try: process.wait(0)\n"
        "except psutil.TimeoutExpired: print('waits')\n"
        "process.terminate()\n"
        "print(process.wait(10), process.is_running(), psutil.pid_exists(pid))\n"
    )
    assert said.split("\n") == ["True target 1000", "waits", "None False False"]


def test_others_of_other_users_are_refused(scene: Scene) -> None:
    """EPERM, as for any process of another user."""
    as_other = ["setpriv", "--reuid", "1001", "--regid", "1001", "--clear-groups"]
    done = scene.run(*as_other, "/bin/kill", "-9", "{pid}")
    assert done.returncode == 1
    assert "Operation not permitted" in done.stderr
    assert scene.is_alive()
    own = pid_of(scene.sandbox, "bystander")
    done = scene.run(*as_other, "/bin/kill", "-9", str(own))
    assert done.returncode == 0, done.stderr
    wait_until(lambda: own not in living(scene.sandbox), "the death of its own")
