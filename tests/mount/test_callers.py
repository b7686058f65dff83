# SPDX-License-Identifier: MIT
"""Who is who behind a mount: root, ordinary users, `become`, adopted processes, --caps."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from fakeproc.kernel.capability import CAP_SYS_RESOURCE
from tests.conftest import Mounted, wait_until
from tests.mount import NOBODY, View, opened, put, refused, require_root


@pytest.fixture(autouse=True)
def _root() -> None:
    require_root()


# -- Ordinary users ----------------------------------------------------------------


def test_root_may_write_and_lower_everything(mounted: Mounted) -> None:
    pid = mounted.control("spawn name=web uid=33")
    assert put(mounted / pid / "oom_score_adj", b"-1000") == 5
    assert mounted.read(f"{pid}/oom_score_adj") == "-1000\n"


def test_user_cannot_open_anothers_file_for_writing(mounted: Mounted) -> None:
    pid = mounted.control("spawn name=web uid=33")
    with closing(View(mounted, NOBODY)) as nobody:
        for name in ("oom_score_adj", "oom_adj", "comm"):
            with refused(errno.EACCES):
                nobody.open(f"{pid}/{name}", os.O_WRONLY)
        with refused(errno.EACCES):
            nobody.open("sys/vm/panic_on_oom", os.O_WRONLY)
        with refused(errno.EACCES):
            nobody.open("fakeproc/kernel", os.O_WRONLY)
        os.close(nobody.open(f"{pid}/oom_score_adj", os.O_RDONLY))
    assert mounted.read(f"{pid}/oom_score_adj") == "0\n"


def test_user_raises_the_own_value_but_goes_not_below_the_minimum(mounted: Mounted) -> None:
    """Vector 13 of the reference: a privileged write of 300 moves the minimum there."""
    pid = mounted.control(f"spawn name=mine uid={NOBODY}")
    name = f"{pid}/oom_score_adj"
    with closing(View(mounted, NOBODY)) as nobody:
        assert nobody.put(name, b"500") == 3
        assert nobody.put(name, b"0") == 1
        with refused(errno.EACCES):
            nobody.put(name, b"-1")
        put(mounted / name, b"300")
        with refused(errno.EACCES):
            nobody.put(name, b"299")
        assert nobody.put(name, b"500") == 3
        assert nobody.put(name, b"300") == 3


def test_user_never_lowers_the_legacy_value(mounted: Mounted) -> None:
    """Vector 14: with 300 set, 5 (294) is below it and 6 (352) above."""
    pid = mounted.control(f"spawn name=mine uid={NOBODY}")
    with closing(View(mounted, NOBODY)) as nobody:
        nobody.put(f"{pid}/oom_score_adj", b"300")
        with refused(errno.EACCES):
            nobody.put(f"{pid}/oom_adj", b"5")
        assert nobody.put(f"{pid}/oom_adj", b"6") == 1
    assert mounted.read(f"{pid}/oom_score_adj") == "352\n"


def test_the_writer_counts_and_not_who_opened(mounted: Mounted) -> None:
    """Vector 18: a descriptor from root gives an ordinary writer no more rights."""
    pid = mounted.control("spawn name=web uid=33")
    with (
        closing(View(mounted, NOBODY)) as nobody,
        opened(mounted / pid / "oom_score_adj", os.O_WRONLY) as fd,
    ):
        with refused(errno.EACCES):
            nobody.write(fd, b"-5")
        assert nobody.write(fd, b"5") == 1
        assert os.write(fd, b"-5") == 2


def test_sharers_follow_whoever_writes(mounted: Mounted) -> None:
    """Vector 28: a user's write reaches a sharer that the user could not open."""
    pid = mounted.control(f"spawn name=mine uid={NOBODY}")
    sharer = mounted.control(f"clone parent={pid} vm=shared")
    mounted.control(f"set {sharer} uid=0")
    with closing(View(mounted, NOBODY)) as nobody:
        assert nobody.put(f"{pid}/oom_score_adj", b"50") == 2
        with refused(errno.EACCES):
            nobody.open(f"{sharer}/comm", os.O_WRONLY)
    assert mounted.read(f"{sharer}/oom_score_adj") == "50\n"


def test_files_that_are_roots_by_the_dumpable_rule(mounted: Mounted) -> None:
    """Vector 20: the own file of a process that is not dumpable cannot be opened."""
    pid = mounted.control(f"spawn name=mine uid={NOBODY} dumpable=no")
    with closing(View(mounted, NOBODY)) as nobody, refused(errno.EACCES):
        nobody.open(f"{pid}/oom_score_adj", os.O_WRONLY)


def test_user_cannot_touch_owner_and_times(mounted: Mounted) -> None:
    pid = mounted.control("spawn name=web uid=33")
    done = _sh_as(NOBODY, mounted, f"touch {pid}/oom_adj || truncate -s 0 {pid}/oom_adj")
    assert done.returncode == 1
    assert "ermission" in done.stderr


def _sh_as(uid: int, mounted: Mounted, script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in the mount's folder as another user."""
    drop = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    return subprocess.run(
        [*drop, "sh", "-c", script],
        cwd=mounted.path,
        env={**mounted.env, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_users_shell(mounted: Mounted) -> None:
    pid = mounted.control(f"spawn name=mine uid={NOBODY}")
    done = _sh_as(
        NOBODY,
        mounted,
        f"echo 100 > {pid}/oom_score_adj && cat {pid}/oom_score_adj;"
        f"echo -100 | tee {pid}/oom_score_adj;"
        "echo 5 | tee 100005/oom_score_adj;"
        f"test -w {pid}/oom_adj && test ! -w 100005/oom_adj && test -r 100005/oom_adj && echo yes",
    )
    assert done.stdout.splitlines() == ["100", "-100", "5", "yes"]
    assert done.stderr.splitlines() == [
        f"tee: {pid}/oom_score_adj: Permission denied",
        "tee: 100005/oom_score_adj: Permission denied",
    ]
    assert mounted.read(f"{pid}/oom_score_adj") == "100\n"


def test_users_cannot_reach_the_commands(mounted: Mounted) -> None:
    with closing(View(mounted, NOBODY)) as nobody:
        for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
            with refused(errno.EACCES):
                nobody.open("fakeproc/ctl", flags)


def test_commands_of_who_acts_as_a_user_reach_only_that_users_tasks(mounted: Mounted) -> None:
    own = mounted.control(f"spawn name=own uid={NOBODY}")
    done = mounted.sh(
        f"echo 'become {own}' > fakeproc/ctl;"
        "echo 'kill 100005' > fakeproc/ctl || cat fakeproc/ctl;"
        "echo 'spawn name=mine' > fakeproc/ctl && cat fakeproc/ctl"
    )
    kill, pid = done.stdout.splitlines()
    assert kill.startswith("EPERM: ")
    assert f"Uid:\t{NOBODY}\t" in mounted.read(f"{pid}/status")


@pytest.mark.parametrize(("level", "error"), [(1, errno.EPERM), (2, errno.ENOENT)])
def test_hidepid(mount: Callable[..., Mounted], level: int, error: int) -> None:
    """Vector 60: another's files are out of reach (1), or are not there (2)."""
    mounted = mount(f"--hidepid={level}")
    own = mounted.control(f"spawn name=mine uid={NOBODY} gid={os.getegid()}")
    assert mounted.read("100005/comm") == "nginx\n"
    with closing(View(mounted, NOBODY)) as nobody:
        with refused(error):
            nobody.open("100005/oom_score_adj", os.O_RDONLY)
        with refused(error):
            nobody.stat("100005/oom_score_adj")
        assert nobody.put(f"{own}/oom_score_adj", b"5") == 1
        assert own in nobody.list()
        assert ("100005" in nobody.list()) == (level == 1)
        if level == 1:
            assert nobody.stat("100005").st_uid == 0
        else:
            with refused(errno.ENOENT):
                nobody.stat("100005")


# -- become ------------------------------------------------------------------------


def test_become_another_task(mounted: Mounted) -> None:
    done = mounted.sh(
        "echo 'become 100006' > fakeproc/ctl;"
        "cat fakeproc/ctl self/comm; readlink self thread-self;"
        "echo 7 > self/oom_score_adj && cat 100006/oom_score_adj;"
        "echo -7 | tee self/oom_score_adj;"
        "echo 7 | tee 100005/oom_score_adj;"
        "(cat self/comm; sh -c 'cat self/comm');"
        "echo 'become none' > fakeproc/ctl;"
        "cat self/comm; echo -7 > 100006/oom_score_adj && cat 100006/oom_score_adj"
    )
    assert done.stdout.splitlines() == [
        *("ok", "nginx", "100006", "100006/task/100006"),
        *("7", "-7", "7", "nginx", "nginx"),
        *("cat", "-7"),
    ]
    assert done.stderr.splitlines() == [
        "tee: self/oom_score_adj: Permission denied",
        "tee: 100005/oom_score_adj: Permission denied",
    ]


def test_become_holds_for_the_shell_that_said_so_and_for_no_other(mounted: Mounted) -> None:
    done = mounted.sh("echo 'become 100006' > fakeproc/ctl; cat self/comm")
    assert done.stdout == "nginx\n"
    assert mounted.sh("cat self/comm").stdout == "cat\n"


def test_who_became_an_exited_task_is_itself_again(mounted: Mounted) -> None:
    pid = mounted.control("spawn name=web uid=33")
    done = mounted.sh(
        f"echo 'become {pid}' > fakeproc/ctl; cat self/comm;"
        f"echo 'exit {pid}' > fakeproc/ctl; cat self/comm"
    )
    assert done.stdout == "web\ncat\n"


def test_who_has_become_another_is_forgotten_when_it_is_gone(
    mount: Callable[..., Mounted], tmp_path: Path
) -> None:
    """Its pid may be another one's by then."""
    journal = tmp_path / "journal"
    mounted = mount("--journal", os.fspath(journal))
    mounted.sh("echo 'become 100006' > fakeproc/ctl")
    mounted.read("fakeproc/stats")
    assert '"depart":' in journal.read_text()


def test_become_refuses_what_makes_no_system_calls(mounted: Mounted) -> None:
    for pid, error in (("100000", errno.EINVAL), ("2", errno.EINVAL), ("77777", errno.ESRCH)):
        with refused(error):
            mounted.control(f"become {pid}")


# -- Adoption ----------------------------------------------------------------------


def test_process_that_looks_for_itself_gets_a_task(mounted: Mounted) -> None:
    done = mounted.sh("cat self/comm; head -n 1 self/status; exec ls self/task")
    comm, name, tid = done.stdout.splitlines()
    assert (comm, name) == ("cat", "Name:\thead")
    assert tid.isdecimal()


def test_child_of_an_adopted_shell_inherits(mounted: Mounted) -> None:
    done = mounted.sh("echo 44 > self/oom_score_adj; cat self/oom_score_adj; grep PPid self/status")
    value, parent = done.stdout.splitlines()
    assert value == "44"
    shell = mounted.sh("echo $$; echo 44 > self/oom_score_adj; cat self/stat")
    pid, stat = shell.stdout.splitlines()
    assert stat.split()[3] == pid
    assert parent.startswith("PPid:\t")


def test_adopted_user_has_the_own_uid(mounted: Mounted) -> None:
    done = _sh_as(NOBODY, mounted, "grep Uid self/status; echo 5 | tee self/oom_score_adj")
    assert done.stdout == f"Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}\n5\n"
    assert done.stderr == ""


def test_adopted_task_follows_an_exec(mounted: Mounted) -> None:
    done = mounted.sh("echo 1 > self/oom_score_adj; exec cat self/comm self/oom_score_adj")
    assert done.stdout == "cat\n1\n"


def test_thread_that_looks_for_itself_gets_a_task(mounted: Mounted) -> None:
    def look() -> tuple[str, str]:
        tid = threading.get_native_id()
        status = mounted.read("thread-self/status")
        fields = dict(line.split(":\t", 1) for line in status.splitlines())
        assert str(tid) in os.listdir(mounted / "self" / "task")
        return fields["Pid"], fields["Tgid"]

    with ThreadPoolExecutor(1) as pool:
        tid = pool.submit(threading.get_native_id).result()
        assert pool.submit(look).result() == (str(tid), str(os.getpid()))


def test_adopted_task_goes_when_its_process_goes(mounted: Mounted) -> None:
    # The shell adopts itself, and lives as long as its standard input is open.
    script = "echo 44 > self/oom_score_adj; echo done; read line"
    shell = subprocess.Popen(
        ["sh", "-c", script],
        cwd=mounted.path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == "done\n"
        task = mounted / shell.pid
        assert (task / "oom_score_adj").read_text() == "44\n"
        assert (task / "comm").read_text() == "sh\n"
        assert str(shell.pid) in os.listdir(mounted.path)
        shell.communicate(timeout=20)
    wait_until(lambda: not task.exists(), "the task of an ended process going")
    assert str(shell.pid) not in os.listdir(mounted.path)


def test_looking_at_anothers_pid_adopts_nobody(mounted: Mounted) -> None:
    with refused(errno.ENOENT):
        os.stat(mounted / os.getppid())


# -- Capabilities ------------------------------------------------------------------


def _host_gives_resource_capability() -> bool:
    status = Path("/proc/self/status").read_text()
    effective = int(status.split("CapEff:")[1].split()[0], 16)
    return bool(effective & CAP_SYS_RESOURCE)


def test_real_capabilities_are_those_of_the_host(mount: Callable[..., Mounted]) -> None:
    mounted = mount("--caps", "real")
    path = mounted / "100005" / "oom_score_adj"
    assert put(path, b"10") == 2
    if _host_gives_resource_capability():
        assert put(path, b"-1") == 2
        assert path.read_text() == "-1\n"
    else:
        with refused(errno.EACCES):
            put(path, b"-1")
        assert path.read_text() == "10\n"


def test_dropped_capability_counts_with_real_capabilities(mount: Callable[..., Mounted]) -> None:
    mounted = mount("--caps", "real")
    done = mounted.sh(
        "setpriv --inh-caps=-sys_resource --bounding-set=-sys_resource sh -c '"
        "echo -1 | tee 100005/oom_score_adj; echo 1 | tee 100005/oom_score_adj; id -u'"
    )
    assert done.stdout.splitlines() == ["-1", "1", "0"]
    assert done.stderr == "tee: 100005/oom_score_adj: Permission denied\n"


def test_simulated_capabilities_do_not_depend_on_the_host(mounted: Mounted) -> None:
    done = mounted.sh(
        "setpriv --inh-caps=-sys_resource --bounding-set=-sys_resource sh -c '"
        "echo -1 > 100005/oom_score_adj && cat 100005/oom_score_adj'"
    )
    assert done.stdout == "-1\n"


# -- The log names the writer ------------------------------------------------------


def test_deprecation_names_the_real_writer_once(mounted: Mounted) -> None:
    done = mounted.sh(
        "echo $$; echo 99 > 100005/oom_adj; echo 3 > 100005/oom_adj; echo 4 > 100006/oom_adj"
    )
    pid = done.stdout.strip()
    lines = mounted.read("fakeproc/kmsg").splitlines()
    assert len(lines) == 1
    assert re.fullmatch(
        rf"<4>\[ *\d+\.\d{{6}}\] sh \({pid}\): /proc/100005/oom_adj is deprecated, "
        r"please use /proc/100005/oom_score_adj instead\.",
        lines[0],
    )


def test_deprecation_names_the_task_that_was_opened(mounted: Mounted) -> None:
    tee = subprocess.Popen(
        ["tee", Path("100008/task/100010/oom_adj")],
        cwd=mounted.path,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    tee.communicate(b"3", timeout=20)
    line = mounted.read("fakeproc/kmsg").split("] ")[1]
    assert line.startswith(f"tee ({tee.pid}): /proc/100010/oom_adj is deprecated, ")


def test_deprecation_names_who_the_writer_became(mounted: Mounted) -> None:
    mounted.sh("echo 'become 100006' > fakeproc/ctl; echo 3 > self/oom_adj")
    assert "] nginx (100006): /proc/100006/oom_adj is" in mounted.read("fakeproc/kmsg")
