# SPDX-License-Identifier: MIT
"""Signals to simulated processes, sent by real tools and calls."""

from __future__ import annotations

import errno
import os
import signal
import sys
from dataclasses import replace

import pytest

from fakeproc.kernel.details import details_of
from fakeproc.kernel.profile import KernelConfig
from fakeproc.kernel.task import Credentials, Hold
from tests.conftest import Mounted
from tests.sandbox.guests.conftest import COMMAND_PID, Inside, require

HOG = 101
OTHER = 102
TERM, KILL = int(signal.SIGTERM), int(signal.SIGKILL)


@pytest.fixture
def hog(inside: Inside) -> None:
    inside.spawn("hog", HOG)


def noted(inside: Inside) -> list[tuple[int, int]]:
    return [(pid, signo) for _, pid, signo in inside.server.noted]


@pytest.mark.usefixtures("hog")
@pytest.mark.parametrize(
    "command",
    [
        ("busybox", "kill", str(HOG)),
        ("/bin/kill", "-TERM", str(HOG)),
        ("sh", "-c", f"kill {HOG}"),
    ],
)
def test_a_signal_is_noted_and_sent(inside: Inside, command: tuple[str, ...]) -> None:
    require(command[0])
    assert inside.run(*command, stand_ins=(HOG,)).returncode == 0
    assert noted(inside) == [(HOG, TERM)]
    assert inside.stand_ins == {HOG: TERM}
    sender = inside.server.noted[0][0]
    assert (sender.pid, sender.cmdline) == (COMMAND_PID, command)
    assert sender.comm == os.path.basename(command[0])


CALLS = {
    "kill": "os.kill({pid}, 15)",
    "pidfd": "signal.pidfd_send_signal(os.pidfd_open({pid}), 15)",
    "folder": "signal.pidfd_send_signal(os.open('/proc/{pid}', os.O_RDONLY), 15)",
    "tkill": "libc.syscall(numbers['tkill'], {pid}, 15)",
    "tgkill": "libc.syscall(numbers['tgkill'], {pid}, {pid}, 15)",
    "rt_sigqueueinfo": "libc.syscall(numbers['rt_sigqueueinfo'], {pid}, 15, info)",
    "rt_tgsigqueueinfo": "libc.syscall(numbers['rt_tgsigqueueinfo'], {pid}, {pid}, 15, info)",
}
PRELUDE = """
import ctypes, os, signal, struct
libc = ctypes.CDLL(None)
numbers = {
    "x86_64": dict(tkill=200, tgkill=234, rt_sigqueueinfo=129, rt_tgsigqueueinfo=297),
    "aarch64": dict(tkill=130, tgkill=131, rt_sigqueueinfo=138, rt_tgsigqueueinfo=240),
}[os.uname().machine]
SI_QUEUE = -1
info = ctypes.create_string_buffer(struct.pack("iii", 15, 0, SI_QUEUE), 128)
"""


@pytest.mark.usefixtures("hog")
@pytest.mark.parametrize("call", CALLS)
def test_every_way_to_send_one_is_seen(inside: Inside, call: str) -> None:
    inside.python(PRELUDE + CALLS[call].format(pid=HOG), stand_ins=(HOG,))
    assert noted(inside) == [(HOG, TERM)]
    assert inside.stand_ins == {HOG: TERM}


@pytest.mark.usefixtures("hog")
def test_signal_0_and_signals_between_guests_are_not_noted(inside: Inside) -> None:
    inside.python(
        f"""
        import os, signal
        os.kill({HOG}, 0)
        child = os.fork()
        if child == 0:
            signal.pause()
        os.kill(child, 9)
        assert os.wait()[1] == 9
        """,
        stand_ins=(HOG,),
    )
    assert noted(inside) == []
    assert inside.stand_ins == {HOG: KILL}


@pytest.mark.usefixtures("hog")
def test_who_takes_no_signal_gets_none(inside: Inside) -> None:
    """kthreads ignore all of them, and pid 1 those that it has no handler for."""
    inside.machine.kthread("kswapd0", pid=OTHER)
    inside.python(f"import os\nos.kill({OTHER}, 15)\nos.kill(1, 15)", stand_ins=(OTHER,))
    assert noted(inside) == [(OTHER, TERM), (1, TERM)]
    assert inside.stand_ins == {OTHER: KILL}


def test_a_signal_to_a_thread_reaches_its_process(inside: Inside) -> None:
    """kill(2) takes a tid; threads have no stand-in that could get it."""
    process = inside.spawn("hog", HOG)
    inside.machine.clone_thread(process.leader, tid=150)
    inside.python("import os\nos.kill(150, 15)")
    assert noted(inside) == [(HOG, TERM)]
    assert process.exit_code == TERM
    assert process.is_zombie


@pytest.mark.skipif(os.getuid() != 0, reason="root only: it mounts")
def test_a_signal_by_a_folder_of_the_mount_reaches_its_process(
    inside: Inside, mounted: Mounted
) -> None:
    """killall does that; to the kernel it is no folder of a process (EBADF)."""
    process = inside.spawn("postgres", 100003)
    send = "import os, signal; signal.pidfd_send_signal(os.open('/proc/100003', 0), 15)"
    script = f'mount --bind {mounted.path} /proc; exec {sys.executable} -ISc "{send}"'
    assert inside.run("sh", "-c", script).stderr == ""
    assert noted(inside) == [(100003, TERM)]
    assert process.exit_code == TERM


@pytest.mark.parametrize(("target", "both"), [(-1, True), (-HOG, False)])
def test_a_signal_to_many_is_noted_for_each(inside: Inside, target: int, both: bool) -> None:
    hog, other = inside.spawn("hog", HOG), inside.spawn("other", OTHER)
    hog.pgrp, other.pgrp = HOG, OTHER
    inside.machine.kthread("kswapd0", pid=103)
    script = f"import os\ntry:\n os.kill({target}, 15)\nexcept ProcessLookupError:\n pass"
    inside.python(script, stand_ins=(HOG, OTHER))
    assert noted(inside) == [(HOG, TERM)] + [(OTHER, TERM)] * both
    # The stand-ins here have no groups of their own.
    assert inside.stand_ins == dict.fromkeys((HOG, OTHER), TERM if both else KILL)


@pytest.mark.skipif(os.getuid() != 0, reason="root only: it takes a second user id")
@pytest.mark.parametrize("owner", [0, 1000])
def test_the_owner_is_who_the_machine_says(inside: Inside, owner: int) -> None:
    """The stand-in is of user 1000 in either case."""
    require("setpriv")
    process = inside.spawn("hog", HOG)
    inside.machine.set_credentials(process.threads, Credentials(owner, owner))
    may = owner == 1000
    done = inside.run(
        *"setpriv --reuid 1000 --clear-groups /bin/kill -TERM".split(), str(HOG), stand_ins=(HOG,)
    )
    assert (done.returncode == 0) == may
    assert ("not permitted" in done.stderr) != may
    assert noted(inside) == [(HOG, TERM)] * may
    assert inside.stand_ins == {HOG: TERM if may else KILL}


@pytest.mark.usefixtures("hog")
def test_who_counts_pids_in_another_way_is_not_misunderstood(inside: Inside) -> None:
    """Pid 101 of a namespace that a guest has made is another process."""
    done = inside.run("unshare", "-pf", "sh", "-c", f"kill {HOG}", stand_ins=(HOG,))
    assert "No such process" in done.stderr
    assert noted(inside) == []


def mrelease(inside: Inside, pid: int) -> int:
    """Call process_mrelease(2); return the errno."""
    (line,) = inside.python(
        f"""
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        libc.syscall(448, os.pidfd_open({pid}), 0)
        print(ctypes.get_errno())
        """,
        stand_ins=(pid,),
    )
    return int(line)


def test_process_mrelease_takes_the_memory_of_who_is_dying(inside: Inside) -> None:
    process = inside.spawn("hog", HOG)
    inside.machine.set_kernel(KernelConfig("6.1"))
    inside.machine.hold(process.leader, Hold.AT_EXIT)
    assert mrelease(inside, HOG) == errno.EINVAL
    assert process.mm
    assert process.mm.sizes.anon_pages > 0
    inside.machine.kill(inside.machine.root, process, KILL)
    mrelease(inside, HOG)
    assert process.mm.sizes.anon_pages == 0


@pytest.mark.usefixtures("hog")
def test_process_mrelease_is_of_its_time(inside: Inside) -> None:
    inside.machine.set_kernel(KernelConfig("5.10"))
    assert mrelease(inside, HOG) == errno.ENOSYS


def test_session_and_priority_are_those_of_the_machine(inside: Inside) -> None:
    process = inside.spawn("hog", HOG)
    process.session = 77
    inside.machine.set_details(process, replace(details_of(process), nice=-7))
    script = f"""
        import os
        print(os.getsid({HOG}), os.getpriority(os.PRIO_PROCESS, {HOG}))
        os.setsid()
        os.setpriority(os.PRIO_PROCESS, 0, 5)
        print(os.getsid(0) == os.getsid(os.getpid()) == os.getpid())
        print(os.getpriority(os.PRIO_PROCESS, os.getpid()))
    """
    lines = inside.python(f"import os\nif os.fork(): os.wait()\nelse:{script}", stand_ins=(HOG,))
    assert lines == ["77 -7", "True", "5"]
