# SPDX-License-Identifier: MIT
"""The supervisor, in real namespaces, with real signals from real processes."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import select
import signal
import struct
import sys
from collections.abc import Callable

import pytest

from tests.conftest import wait_until
from tests.sandbox.conftest import FIRST_PID, NOBODY, Message, Supervised

STORM = range(FIRST_PID, FIRST_PID + 2000)

# A shell's kill is its own, so that these see no other processes than the stand-ins.
ALIVE = "kill -0 100000 2>/dev/null && echo alive || echo gone"

PIDFD = """
import os, select, signal, sys
fd = os.pidfd_open(100000)
signal.pidfd_send_signal(fd, signal.SIGKILL)
print("killed", flush=True)
sys.stdin.readline()
print("fired" if select.select([fd], [], [], 0)[0] else "alive", flush=True)
select.select([fd], [], [])
print("fired", flush=True)
"""

MRELEASE = """
import ctypes, os, signal
libc = ctypes.CDLL(None, use_errno=True)
fd = os.pidfd_open(100000)
print(libc.syscall(448, fd, 0), ctypes.get_errno())
os.kill(100000, signal.SIGKILL)
print(libc.syscall(448, fd, 0))
"""

# Kills each of 300 as soon as it is there.
KILLER = """
import os, signal
alive = set(range(100000, 100300))
print("ready", flush=True)
while alive:
    for pid in list(alive):
        try:
            os.kill(pid, signal.SIGKILL)
            alive.discard(pid)
        except ProcessLookupError:
            pass
"""

IDENTITY = """
import os, signal
mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(os.getuid(), os.getgid(), oct(os.umask(0)), os.getcwd(), os.environ["NAME"], mask)
print(status["SigIgn"].strip(), sorted(os.listdir("/proc/self/fd")))
"""

_BPF_LD_W_ABS = 0x20
_BPF_JEQ = 0x15
_BPF_RET = 0x06
_SECCOMP_RET_USER_NOTIF = 0x7FC00000
_SECCOMP_RET_ALLOW = 0x7FFF0000
_SYS_EXECVE = {"x86_64": 59, "aarch64": 221}

_SECCOMP_IOCTL_NOTIF_RECV = 0xC0502100
_SECCOMP_IOCTL_NOTIF_SEND = 0xC0182101
_SECCOMP_USER_NOTIF_FLAG_CONTINUE = 1


def python(script: str) -> tuple[str, ...]:
    # Python's own handler of SIGINT would be a disposition that is not inherited.
    return (sys.executable, "-I", "-S", "-c", script)


def notify_of_execve() -> str:
    """Return a filter that asks its listener about each execve(2), as a request has it."""
    instructions = [
        (_BPF_LD_W_ABS, 0, 0, 0),
        (_BPF_JEQ, 0, 1, _SYS_EXECVE[platform.machine()]),
        (_BPF_RET, 0, 0, _SECCOMP_RET_USER_NOTIF),
        (_BPF_RET, 0, 0, _SECCOMP_RET_ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *one) for one in instructions).hex()


def answer_execve(listener: int, error: int) -> None:
    """Answer one notification: with an errno, or 0 to let the kernel go on."""
    assert select.select([listener], [], [], 20)[0]
    notification = bytearray(80)
    fcntl.ioctl(listener, _SECCOMP_IOCTL_NOTIF_RECV, notification)
    (number,) = struct.unpack_from("=Q", notification)
    flags = 0 if error else _SECCOMP_USER_NOTIF_FLAG_CONTINUE
    fcntl.ioctl(listener, _SECCOMP_IOCTL_NOTIF_SEND, struct.pack("=QqiI", number, 0, -error, flags))


def only_root() -> None:
    if os.getuid():
        pytest.skip("one user id is mapped only: no root here")


# Signals


def test_a_signal_is_told_with_its_sender_and_changes_nothing(supervised: Supervised) -> None:
    supervised.spawn(100000)
    assert supervised.sh(f"echo $$; kill -TERM 100000; {ALIVE}") == "2\nalive\n"
    assert supervised.told(1) == [{"signalled": 100000, "signo": 15, "sender": 2, "uid": 0}]


def test_the_senders_user_id_is_told(supervised: Supervised) -> None:
    only_root()
    supervised.spawn(100000, uid=1000, gid=1000)
    supervised.sh("kill -HUP 100000", uid=1000, gid=1000)
    assert supervised.told(1)[0]["uid"] == 1000


def test_every_signal_is_seen_and_does_nothing(supervised: Supervised) -> None:
    names = "STOP TSTP INT CHLD PIPE SEGV TRAP RTMIN USR1 WINCH CONT".split()
    signals = [getattr(signal, f"SIG{name}") for name in names]
    supervised.spawn(100000)
    for count, signo in enumerate(signals, 1):
        # Each by itself, since SIGCONT takes away the stop signals that are pending.
        assert supervised.sh(f"kill -{int(signo)} 100000; {ALIVE}") == "alive\n"
        assert supervised.told(count)[-1]["signo"] == signo
    wait_until(lambda: supervised.field(100000, "State").startswith("S"), "sleep")


def test_two_thousand_signals_at_once_are_all_told(supervised: Supervised) -> None:
    assert supervised.spawn(*STORM) == []
    # A packet of all would be larger than what the socket takes: nobody reads until the end.
    supervised.sh("kill -TERM $(seq 100000 101999)")
    told = supervised.told(2000)
    assert sorted(event["signalled"] for event in told) == list(STORM)
    assert {event["signo"] for event in told} == {signal.SIGTERM}
    assert supervised.end(*STORM) == list(STORM)
    assert supervised.sh("kill -0 100000 2>/dev/null || kill -0 101999 2>/dev/null || echo") == "\n"


def test_what_the_server_does_not_read_waits(supervised: Supervised) -> None:
    supervised.spawn(100000, 100001)
    script = "import os\nfor signo in [34, 35] * 1500: os.kill(100000, signo)"
    started, output = supervised.popen(*python(script))
    output.close()
    wait_until(lambda: started["pid"] not in supervised.inside(), "the end of the sender")
    # Answers do not wait for whoever does not read events.
    assert supervised.end(100001) == [100001]
    assert supervised.exit_status(started["id"]) == 0
    # None of these is merged with another, as they are real-time signals.
    told = [event["signo"] for event in supervised.told(3000)]
    assert (told.count(34), told.count(35)) == (1500, 1500)


def test_signals_from_outside_are_not_of_the_simulated_world(supervised: Supervised) -> None:
    supervised.spawn(100000)
    os.kill(supervised.inside()[100000], signal.SIGTERM)
    supervised.sh("kill -HUP 100000")
    assert [event["signo"] for event in supervised.told(1)] == [signal.SIGHUP]


# Death


def test_a_killed_one_is_alive_until_it_is_ended(supervised: Supervised) -> None:
    supervised.spawn(100000)
    assert supervised.sh(f"kill -KILL 100000; kill -KILL 100000; {ALIVE}") == "alive\n"
    assert supervised.told(1) == [{"killed": 100000}]
    # More signals change nothing, and are nothing to tell.
    assert supervised.sh(f"kill -KILL 100000; kill -TERM 100000; {ALIVE}") == "alive\n"
    assert supervised.end(100000) == [100000]
    assert supervised.sh(ALIVE) == "gone\n"
    assert supervised.told(1) == [{"killed": 100000}]


def test_a_pidfd_fires_when_the_stand_in_is_ended(supervised: Supervised) -> None:
    supervised.spawn(100000)
    reader, writer = os.pipe()
    with open(reader) as answers, open(writer, "w") as lines:
        started, output = supervised.popen(*python(PIDFD), stdin=answers.fileno())
        with output:
            assert output.readline() == "killed\n"
            assert supervised.told(1) == [{"killed": 100000}]
            lines.write("\n")
            lines.flush()
            assert output.readline() == "alive\n"
            supervised.end(100000)
            assert output.readline() == "fired\n"
    assert supervised.exit_status(started["id"]) == 0


def test_the_memory_of_a_killed_one_can_be_released(supervised: Supervised) -> None:
    supervised.spawn(100000)
    # EINVAL of one that is not dying: process_mrelease(2).
    assert supervised.output(*python(MRELEASE)) == f"-1 {errno.EINVAL}\n0\n"
    supervised.told(1)
    supervised.end(100000)


def test_the_simulation_ends_one_without_an_event(supervised: Supervised) -> None:
    supervised.spawn(100000, 100001)
    assert supervised.end(100000, 4711) == [100000]
    assert supervised.sh(f"{ALIVE}; kill -TERM 100001") == "gone\n"
    assert supervised.told(1)[0]["signalled"] == 100001
    assert supervised.end(100000) == []


def test_a_pid_is_free_again_after_the_end(supervised: Supervised) -> None:
    assert supervised.spawn(100000) == []
    assert supervised.spawn(100000) == [[100000, errno.EEXIST]]
    supervised.end(100000)
    assert supervised.spawn(100000) == []


def test_term_and_kill_at_once(supervised: Supervised) -> None:
    """SIGKILL comes while the stop of SIGTERM is being looked at."""
    pids = STORM[:200]
    supervised.spawn(*pids)
    supervised.sh("for pid in $(seq 100000 100199); do kill -TERM $pid; kill -KILL $pid; done")
    assert supervised.killed(len(pids)) == list(pids)
    assert supervised.sh("for p in $(seq 100000 100199); do kill -0 $p || echo $p; done") == ""
    assert supervised.end(*pids) == list(pids)


@pytest.mark.parametrize("zombies", [0, 1])
def test_none_is_killed_unseen_at_its_birth(supervised: Supervised, zombies: int) -> None:
    pids = STORM[:300]
    if zombies:
        supervised.spawn(200000)
        supervised.end(200000, reap=False)
    _, output = supervised.popen(*python(KILLER))
    with output:
        assert output.readline() == "ready\n"
        for start in range(0, len(pids), 50):
            who = [[pid, 0, 0, 0] for pid in pids[start : start + 50]]
            assert supervised.ask("spawn", who=who) == {"refused": []}
    assert supervised.killed(len(pids)) == list(pids)
    assert supervised.end(*pids) == list(pids)
    assert not {*pids} & supervised.inside().keys()


# Zombies


def test_a_zombie_stays_until_it_is_reaped(supervised: Supervised) -> None:
    supervised.spawn(100000, 100001)
    supervised.end(100000, reap=False)
    assert supervised.sh(f"kill -KILL 100000; (exit 0) & {ALIVE}") == "alive\n"
    assert supervised.field(100000, "State") == "Z (zombie)"
    # Those after it are found all the same.
    supervised.sh("kill -KILL 100001")
    assert supervised.told(1) == [{"killed": 100001}]
    assert supervised.end(100000) == [100000]
    assert supervised.sh(ALIVE) == "gone\n"


def test_a_killed_one_may_become_a_zombie(supervised: Supervised) -> None:
    supervised.spawn(100000)
    supervised.sh("kill -KILL 100000")
    supervised.told(1)
    supervised.end(100000, reap=False)
    assert supervised.field(100000, "State") == "Z (zombie)"
    supervised.end(100000)
    assert 100000 not in supervised.inside()


# Identity


def test_ids(supervised: Supervised) -> None:
    only_root()
    supervised.ask("spawn", who=[[100000, 1000, 1001, 0], [100001, 0, 0, 0]])
    assert supervised.field(100000, "Uid").split() == ["1000"] * 4
    assert supervised.field(100000, "Gid").split() == ["1001"] * 4
    assert supervised.field(100000, "Groups") == ""
    assert supervised.sh("stat -c %u.%g /proc/100000 /proc/100001") == "1000.1001\n0.0\n"


def test_no_descriptor_and_no_blocked_signal_is_inherited(supervised: Supervised) -> None:
    supervised.spawn(100000)
    assert supervised.sh("ls /proc/100000/fd") == ""
    assert supervised.field(100000, "SigBlk") == "0" * 16


GETPGID = "import os, sys; print(*(os.getpgid(int(pid)) for pid in sys.argv[1:]))"


def test_process_groups_whatever_the_order(supervised: Supervised) -> None:
    who = [[100000, 100001], [100001, 100001], [100002, 300000], [100003, 300000]]
    assert supervised.ask("spawn", who=[[pid, 0, 0, pgrp] for pid, pgrp in who]) == {"refused": []}
    pids = ("100000", "100001", "100002", "100003")
    assert supervised.output(*python(GETPGID), *pids) == "100001 100001 300000 300000\n"
    assert 300000 not in supervised.inside()
    supervised.sh("kill -TERM -100001; kill -KILL -300000")
    told = supervised.told(4)
    assert {event.get("signalled", event.get("killed")) for event in told} == {*STORM[:4]}


def test_a_group_is_joined_later(supervised: Supervised) -> None:
    supervised.spawn(100000, pgrp=100000)
    supervised.spawn(100001, pgrp=300000)
    supervised.end(100000, reap=False)
    # Led by a zombie; led by nobody any more; by nobody who could be had.
    supervised.spawn(100002, pgrp=100000)
    supervised.spawn(100003, pgrp=300000)
    supervised.spawn(100004, pgrp=1)
    supervised.end(100000)
    # As pid of a group that has members, it is not free.
    assert supervised.spawn(100000) == [[100000, errno.EEXIST]]
    # 0: the group of the supervisor, whose leader is outside of the namespace.
    assert supervised.output(*python(GETPGID), "100001", "100002", "100003", "100004") == (
        "300000 100000 300000 0\n"
    )


# Commands


def test_a_command_is_started_as_asked_for(supervised: Supervised) -> None:
    written = supervised.output(*python(IDENTITY), cwd="/tmp", umask=0o27, env={"NAME": "ä\udcff"})
    # The fourth descriptor is that of the folder itself.
    zeros = "0" * 16
    assert written.splitlines() == [
        f"0 0 0o27 /tmp {os.fsdecode('ä'.encode() + bytes([255]))} set()",
        # Python ignores these of its own accord: SIGPIPE and SIGXFSZ.
        f"{zeros[:-7]}1001000 ['0', '1', '2', '3']",
    ]


def test_signals_have_their_default_dispositions(supervised: Supervised) -> None:
    written = supervised.sh("grep -E 'SigBlk|SigIgn' /proc/self/status")
    assert written.split() == ["SigBlk:", "0" * 16, "SigIgn:", "0" * 16]


def test_a_command_of_another_user(supervised: Supervised) -> None:
    only_root()
    assert supervised.sh("id -u; id -g; id -G", uid=1000, gid=1001) == "1000\n1001\n1001\n"


def test_the_exit_status_is_told(supervised: Supervised) -> None:
    first = supervised.run("sh", "-c", "exit 3")
    assert os.waitstatus_to_exitcode(supervised.exit_status(first["id"])) == 3
    second = supervised.run("sleep", "1000")
    assert supervised.ask("signal", pid=second["pid"], signo=signal.SIGINT) == {}
    assert os.waitstatus_to_exitcode(supervised.exit_status(second["id"])) == -signal.SIGINT
    gone = supervised.ask("signal", pid=second["pid"], signo=signal.SIGINT)
    assert gone == {"errno": errno.ESRCH}


IMPOSSIBLE: list[tuple[str, Message, str]] = [
    ("no-such", {}, "no-such: cannot be run: No such file or directory."),
    ("/etc/passwd", {}, "/etc/passwd: cannot be run: Permission denied."),
    (
        "true",
        {"cwd": "/no-such"},
        "/no-such: cannot be the working directory of true: No such file or directory.",
    ),
    (
        "true",
        {"uid": 2**32 - 2, "gid": 0},
        "true: cannot have user id 4294967294, is it mapped?: Invalid argument.",
    ),
]


@pytest.mark.parametrize("filtered", [False, True])
def test_commands_that_cannot_be_run(
    launched: Callable[..., Supervised], *, filtered: bool
) -> None:
    supervised = launched(uid=NOBODY if os.getuid() == 0 else None)
    # One that lets everything pass: only its listener is of interest.
    allow = struct.pack("=HBBI", _BPF_RET, 0, 0, _SECCOMP_RET_ALLOW).hex()
    common: Message = {"env": {"PATH": "/usr/bin:/bin"}, "filter": allow if filtered else ""}
    for command, options, error in IMPOSSIBLE:
        started = supervised.run(command, **common, **options)
        assert ("listener" in started) is filtered
        if filtered:
            os.close(started["listener"])
        event = supervised.event()
        assert (event["failed"], event["error"]) == (started["id"], error)
        assert os.strerror(event["errno"]) in error
    assert supervised.inside().keys() == {1}


def test_a_filter_holds_the_command_until_it_is_let_on(supervised: Supervised) -> None:
    started = supervised.run("/bin/sh", "-c", "exit 5", filter=notify_of_execve())
    try:
        # The server is asked while it may ask itself.
        assert supervised.spawn(100000) == []
        answer_execve(started["listener"], 0)
        assert os.waitstatus_to_exitcode(supervised.exit_status(started["id"])) == 5
    finally:
        os.close(started["listener"])


def test_a_filter_may_refuse_the_command(supervised: Supervised) -> None:
    started = supervised.run("/bin/sh", filter=notify_of_execve())
    try:
        answer_execve(started["listener"], errno.ENOMEM)
    finally:
        os.close(started["listener"])
    assert supervised.event() == {
        "failed": started["id"],
        "error": "/bin/sh: cannot be run: Cannot allocate memory.",
        "errno": errno.ENOMEM,
    }


def test_a_filter_that_the_kernel_does_not_take(supervised: Supervised) -> None:
    answer = supervised.run("true", filter="00" * 8)
    assert answer["error"] == (
        "true: the kernel does not take its seccomp filter: Invalid argument."
    )
    assert answer["errno"] == errno.EINVAL
    assert supervised.inside().keys() == {1}


@pytest.mark.parametrize("zombies", [0, 1])
def test_orphans_are_reaped(supervised: Supervised, zombies: int) -> None:
    if zombies:
        supervised.spawn(100000)
        supervised.end(100000, reap=False)
    started, output = supervised.popen("sh", "-c", "(read line </dev/fd/3; exit 0) 3<&0 & echo $!")
    with output:
        orphan = int(output.readline())
    supervised.exit_status(started["id"])
    wait_until(lambda: orphan not in supervised.inside(), "the end of the orphan")
    assert supervised.inside().keys() == ({1, 100000} if zombies else {1})


def test_the_next_pid_can_be_set(supervised: Supervised) -> None:
    assert supervised.ask("last_pid", pid=20000) == {}
    assert supervised.run("true")["pid"] == 20001
    assert supervised.ask("last_pid", pid=-1) == {"errno": errno.EINVAL}


# Views


def test_the_view_bind_has_both_files(supervised: Supervised) -> None:
    assert supervised.sh("cat /proc/driver/meminfo; readlink /proc/self/ns/pid") == (
        f"simulated\n{supervised.namespace}\n"
    )


def test_the_view_overmount_hides_the_real_files(launched: Callable[..., Supervised]) -> None:
    supervised = launched(view="overmount")
    supervised.spawn(100000)
    written = supervised.sh(
        "cd /proc; ls; cat meminfo; readlink fakeproc/real/self/ns/pid; echo $$"
    )
    assert written == f"fakeproc\nmeminfo\nsimulated\n{supervised.namespace}\n2\n"
    # The supervisor has a way to the real ones: to set the next pid, to reap orphans.
    assert supervised.ask("last_pid", pid=20000) == {}
    assert supervised.sh("(exit 0) & echo $!") == "20002\n"
    wait_until(lambda: supervised.inside().keys() == {1, 100000}, "the end of the orphan")


def test_a_masked_proc_is_refused_in_a_sentence() -> None:
    only_root()
    mask = 'mount -t tmpfs none /proc/irq && exec "$@"'
    supervised = Supervised(os.getuid(), "unshare", "--mount", "sh", "-c", mask, "sh")
    try:
        answer = supervised.ask("prepare", view="bind")
    finally:
        supervised.kill()
    assert answer["errno"] == errno.EPERM
    assert answer["error"].startswith("/proc: a new procfs cannot be mounted here, as parts of the")


# The end


def test_nothing_is_left_when_the_socket_ends(supervised: Supervised) -> None:
    supervised.spawn(*STORM[:100], uid=NOBODY if os.getuid() == 0 else 0)
    supervised.spawn(200000, 200001)
    supervised.end(200000, reap=False)
    supervised.run("sh", "-c", "trap '' TERM HUP INT; kill -KILL 200001; sleep 1000 & sleep 1000")
    assert supervised.event() == {"killed": 200001}
    assert supervised.close() == 0


def test_nothing_is_left_when_the_server_is_killed(supervised: Supervised) -> None:
    supervised.spawn(*STORM[:100])
    supervised.run("sleep", "1000")
    supervised.launcher.kill()
    wait_until(lambda: not supervised.inside(), "the end of the namespace")


def test_signals_do_not_end_the_supervisor(supervised: Supervised) -> None:
    names = "HUP INT QUIT TERM KILL TSTP STOP TTIN TTOU PIPE CHLD USR1 SEGV"
    supervised.sh(f"for name in {names}; do kill -$name 1; done")
    for signo in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
        os.kill(supervised.pid, signo)
    assert supervised.spawn(100000) == []


# Without privileges


def test_an_ordinary_user(launched: Callable[..., Supervised]) -> None:
    supervised = launched(uid=NOBODY if os.getuid() == 0 else None)
    # None of these ids but 0 is mapped.
    assert supervised.spawn(100000, 100001, uid=1000, gid=1000, pgrp=100000) == []
    assert supervised.field(100000, "Uid").split()[0] == str(os.getuid() or NOBODY)
    supervised.sh("kill -TERM -100000")
    assert sorted(event["signalled"] for event in supervised.told(2)) == [100000, 100001]
    supervised.sh("kill -KILL 100001")
    assert supervised.killed(1) == [100001]
    assert supervised.end(100000, 100001) == [100000, 100001]
    assert supervised.inside().keys() == {1}
