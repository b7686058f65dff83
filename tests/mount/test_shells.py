# SPDX-License-Identifier: MIT
"""The demo of the series from plain shells, with their own commands and coreutils."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.conftest import Mounted

SHELLS = ("bash", "dash", "busybox sh")


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    """Name a shell."""
    name = str(request.param)
    assert shutil.which(name.split()[0]), f"{name} is not installed; scripts/test does that"
    return name


def _lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return what a script printed, which must have gone well."""
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout.splitlines()


# -- Shells ------------------------------------------------------------------------


# cat of busybox reads with sendfile(2), which finds nothing in a FUSE file of size 0
# on kernels since 6.5; so what runs in every shell reads with the shell itself.
SHOW = 'show() { for file; do read -r line < "$file"; echo "$line"; done; }'


def test_write_and_read_back(mounted: Mounted, shell: str) -> None:
    script = f"""
        {SHOW}
        cd 100005
        echo 500 > oom_score_adj && show oom_score_adj
        printf 0x10 > oom_score_adj && show oom_score_adj
        printf '%s\\n' -17 >> oom_adj && show oom_adj oom_score_adj
        : > oom_score_adj && show oom_score_adj
        echo -16 > oom_adj; read value < oom_score_adj; echo "$value"
        read line rest < oom_adj; echo "$line"
    """
    assert _lines(mounted.sh(script, shell=shell)) == [
        *("500", "16", "-17", "-1000", "-1000", "-941", "-15")
    ]


def test_sharer_follows_and_vforked_child_does_not(mounted: Mounted, shell: str) -> None:
    script = f"""
        {SHOW}
        echo 'clone parent=100005 vm=shared vfork=yes' > fakeproc/ctl; read vforked < fakeproc/ctl
        echo "clone parent=100008 vm=shared name=twin" > fakeproc/ctl; read twin < fakeproc/ctl
        echo 200 > 100008/oom_score_adj
        show 100008/oom_score_adj 100012/oom_score_adj $twin/oom_score_adj
        echo 300 > 100005/oom_score_adj
        show 100005/oom_score_adj $vforked/oom_score_adj
    """
    assert _lines(mounted.sh(script, shell=shell)) == ["200"] * 3 + ["300", "0"]
    log = mounted.read("fakeproc/kmsg")
    assert "updating oom_score_adj for 100012 (app-helper) from 0 to 200 because" in log


def test_loop_over_lines(mounted: Mounted, shell: str) -> None:
    script = """
        while read -r name value rest; do
            case $name in Name:|State:|VmRSS:|VmSwap:) echo "$name $value" ;; esac
        done < 100013/status
    """
    assert _lines(mounted.sh(script, shell=shell)) == [
        *("Name: nightly-job", "State: S", f"VmRSS: {2 * 1024**2}", f"VmSwap: {500 * 1024}")
    ]


def test_loop_over_pids(mounted: Mounted, shell: str) -> None:
    script = """
        for folder in 1000*; do
            read score < $folder/oom_score; read name < $folder/comm
            test "$score" -gt 500 && echo "$folder $name"
        done
        test -d 100005/task/100005 && test ! -e 100005/nothing && test -L self
    """
    assert _lines(mounted.sh(script, shell=shell)) == ["100013 nightly-job"]


def test_bad_value_fails_and_changes_nothing(mounted: Mounted, shell: str) -> None:
    mounted.sh("echo 7 > 100005/oom_score_adj")
    for bad in ("1001", "x", "''", "5.0", "08"):
        done = mounted.sh(f"echo {bad} > 100005/oom_score_adj", shell=shell)
        assert done.returncode == 1, bad
        assert done.stderr, bad
    assert mounted.read("100005/oom_score_adj") == "7\n"


def test_over_long_printf_fails_after_the_first_12_bytes_took_effect(
    mounted: Mounted, shell: str
) -> None:
    """Vector 8: the shell writes what is left of a short write, and that is no number."""
    done = mounted.sh("printf '100         xyz' > 100005/oom_score_adj", shell=shell)
    assert done.returncode == 1
    if shell == "bash":
        # The others say "I/O error", or nothing.
        assert "Invalid argument" in done.stderr
    assert mounted.read("100005/oom_score_adj") == "100\n"


def test_echo_with_an_escape(mounted: Mounted, shell: str) -> None:
    done = mounted.sh("echo -e '\\t7' > 100005/oom_score_adj", shell=shell)
    # dash knows no -e: it is part of what is written, and no number.
    assert done.returncode == (1 if shell == "dash" else 0)
    assert mounted.read("100005/oom_score_adj") == ("0\n" if shell == "dash" else "7\n")


def test_descriptor_that_stays_open(mounted: Mounted, shell: str) -> None:
    script = """
        exec 3> 100005/oom_score_adj
        for value in 5 50 500; do
            echo $value >&3; read found < 100005/oom_score_adj; echo $found
        done
    """
    assert _lines(mounted.sh(script, shell=shell)) == ["5", "50", "500"]


def test_refused_command_says_why(mounted: Mounted, shell: str) -> None:
    script = "echo 'exit 424242' > fakeproc/ctl || { read -r why < fakeproc/ctl; echo $why; }"
    done = mounted.sh(script, shell=shell)
    assert done.stdout == "ESRCH: 424242: no such task.\n"


def test_bash_reads_without_cat(mounted: Mounted) -> None:
    script = """
        echo 42 > 100005/oom_score_adj
        echo $(< 100005/oom_score_adj) $(< 100005/comm)
        mapfile -t lines < 100005/status; echo "${lines[0]}"
    """
    assert _lines(mounted.sh(script, shell="bash")) == ["42 nginx", "Name:\tnginx"]


def test_applets_of_busybox(mounted: Mounted) -> None:
    script = """
        head -n 1 100005/status; tail -n 1 oom_score 100005/comm 2> /dev/null
        grep -c processor cpuinfo; wc -l < 100005/stat; ls 100005 | grep -c oom
        sort 100005/comm; dd if=100005/comm bs=1 2> /dev/null
        echo 9 | tee 100005/oom_score_adj; stat -c '%a %s' 100005/oom_score_adj
        find 100008/task -name comm | wc -l; test -L self && readlink 100005/task || echo no link
    """
    assert mounted.sh(script, shell="busybox sh").stdout.splitlines() == [
        *("Name:\tnginx", "nginx", "2", "1", "3", "nginx", "nginx", "9", "644 0", "4", "no link")
    ]


# -- coreutils, grep, find ---------------------------------------------------------


def test_coreutils_read(mounted: Mounted) -> None:
    status = mounted.read("100005/status")
    lines = status.splitlines()
    cases = {
        "cat 100005/status": status,
        "head -c 6 100005/status": status[:6],
        "head -n 2 100005/status": "\n".join(lines[:2]) + "\n",
        "tail -n 1 100005/status": lines[-1] + "\n",
        "tail -c 5 100005/status": status[-5:],
        "tail -n +3 100005/status": "\n".join(lines[2:]) + "\n",
        "wc -c < 100005/status": f"{len(status)}\n",
        "wc -l 100005/status": f"{len(lines)} 100005/status\n",
        "dd if=100005/status bs=1 status=none": status,
        "dd if=100005/status bs=1 skip=6 count=5 status=none": status[6:11],
        "sort -r 100005/status | head -n 1": max(lines) + "\n",
        "od -A n -c 100005/oom_score_adj": "   0  \\n\n",
        "cp 100005/status $OUT/copy && cat $OUT/copy": status,
        "cat < 100005/status | tee $OUT/copy": status,
        "cmp 100005/status 100005/task/100005/status && echo same": "same\n",
        "tr '\\0' ' ' < 100001/cmdline": "/usr/sbin/sshd -D ",
    }
    out = mounted.path.parent
    for script, expected in cases.items():
        done = mounted.sh(f"OUT={out}; {script}")
        assert done.stderr == "", script
        assert done.stdout == expected, script


def test_coreutils_write(mounted: Mounted) -> None:
    script = """
        echo 11 | tee 100005/oom_score_adj > /dev/null && cat 100005/oom_score_adj
        echo 12 | tee -a 100005/oom_score_adj > /dev/null && cat 100005/oom_score_adj
        echo 13 | dd of=100005/oom_score_adj status=none && cat 100005/oom_score_adj
        echo 14 | dd of=100005/oom_score_adj conv=notrunc status=none && cat 100005/oom_score_adj
        cp 100005/oom_score_adj 100006/oom_score_adj && cat 100006/oom_score_adj
        truncate -s 0 100005/oom_score_adj && cat 100005/oom_score_adj
    """
    assert _lines(mounted.sh(script)) == ["11", "12", "13", "14", "14", "14"]


def test_byte_by_byte_writes_are_writes_of_their_own(mounted: Mounted) -> None:
    script = "printf 45 | dd of=100005/oom_score_adj bs=1 status=none; cat 100005/oom_score_adj"
    assert _lines(mounted.sh(script)) == ["5"]


def test_stat_and_ls(mounted: Mounted) -> None:
    script = """
        stat -c '%A %a %h %U %s %o %F %n' 100006/oom_adj 100006/oom_score
        stat -c '%A %F' 100006 self
        ls 100006 | grep oom
        ls -ln 100006/oom_score | cut -d ' ' -f 1-5
        ls -ld self | cut -c 1
    """
    assert _lines(mounted.sh(script)) == [
        "-rw-r--r-- 644 1 www-data 0 1024 regular empty file 100006/oom_adj",
        "-r--r--r-- 444 1 www-data 0 1024 regular empty file 100006/oom_score",
        "dr-xr-xr-x directory",
        "lrwxrwxrwx symbolic link",
        *("oom_adj", "oom_score", "oom_score_adj"),
        "-r--r--r-- 1 33 33 0",
        "l",
    ]


def test_grep_and_find(mounted: Mounted) -> None:
    script = """
        grep -rl --include='c[mo]*' --include=status nginx 100005 | sort
        grep -c processor cpuinfo
        grep -s -l -x app /tmp/none */comm | sort
        find 100008 -name oom_score_adj | wc -l
        find 100008/task -maxdepth 1 -type d -printf '%f ' ; echo
        find . -maxdepth 1 -type l -printf '%f\\n'
    """
    files = ("comm", "cmdline", "status")
    found = [f"100005/{name}" for name in files]
    found += [f"100005/task/100005/{name}" for name in files]
    assert _lines(mounted.sh(script)) == [
        *sorted(found),
        "2",
        "100008/comm",
        "5",
        "task 100008 100009 100010 100011 ",
        *("net", "mounts", "self", "thread-self"),
    ]


def test_everything_can_be_read(mounted: Mounted) -> None:
    # pagemap is as long as an address space: 256 GiB; mem begins with nothing, attr/ is for a
    # security module, a secret that has not been set cannot be read, and devkmsg waits for more.
    names = "! -name pagemap ! -name mem ! -name stable_secret ! -name devkmsg"
    but = f"! -path './self/*' ! -path '*/attr/*' {names}"
    done = mounted.sh(f"find . -type f -perm /444 {but} -exec cat {{}} + | wc -c; cat fakeproc/ctl")
    assert done.stderr == ""
    assert int(done.stdout.split()[0]) > 20000
