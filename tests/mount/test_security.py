# SPDX-License-Identifier: MIT
"""What docs/security.rst promises: of other users, planted files, scenarios and names."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from fakeproc import cli
from fakeproc.journal import Journal
from fakeproc.kernel.errors import Refused
from tests.conftest import Mounted, require_fuse
from tests.mount import NOBODY, View, refused, require_root
from tests.mount.room import Room


@pytest.fixture
def binding() -> str:
    """Name the binding that most people have: who may do what is not up to it."""
    require_fuse()
    require_root()
    return "mfusepy"


# -- Other users -------------------------------------------------------------------


def test_without_allow_other_nobody_else_enters(mount: Callable[..., Mounted]) -> None:
    for option, code in (("--no-allow-other", 1), ("--allow-other", 0)):
        # The server's owner takes it there: the folders above let nobody else pass.
        done = subprocess.run(
            ["cat", "1/comm"],
            cwd=mount(option).path,
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code
        assert (done.stdout == "systemd\n") is (code == 0)
        assert done.stderr == ("cat: 1/comm: Permission denied\n" if code else "")


_READ_ONLY_ROOT = (
    *("fakeproc/ctl", "fakeproc/journal", "fakeproc/state.toml"),
    *("100005/environ", "100005/mem", "100005/io", "100005/auxv", "kmsg", "slabinfo"),
)
_WRITTEN_ONLY_BY_ROOT = (
    *("fakeproc/ctl", "fakeproc/oom_trigger", "fakeproc/clock", "fakeproc/kernel"),
    *("fakeproc/devkmsg", "fakeproc/kmsg", "fakeproc/ps", "fakeproc/journal", "fakeproc/stats"),
    *("fakeproc/cgroup/cgroup.procs", "fakeproc/state.toml", "sysrq-trigger"),
    *("sys/vm/panic_on_oom", "sys/vm/swappiness", "sys/kernel/hostname", "sys/vm/drop_caches"),
    *("100005/oom_score_adj", "100005/oom_adj", "100005/comm", "100005/clear_refs"),
)


def test_what_other_users_cannot_reach(mount: Callable[..., Mounted], tmp_path: Path) -> None:
    mounted = mount("--clock", "manual", "--journal", os.fspath(tmp_path / "journal"))
    before = mounted.read("fakeproc/state.toml"), (tmp_path / "journal").read_bytes()
    with closing(View(mounted, NOBODY)) as view:
        for name in _READ_ONLY_ROOT:
            with refused(errno.EACCES):
                view.open(name, os.O_RDONLY)
        for name in _WRITTEN_ONLY_BY_ROOT:
            for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
                with refused(errno.EACCES):
                    view.open(name, flags)
        with refused(errno.EACCES):
            view.mkdir("fakeproc/cgroup/mine")
    assert (mounted.read("fakeproc/state.toml"), (tmp_path / "journal").read_bytes()) == before


def test_other_users_write_to_their_own_what_the_kernel_lets_them(mounted: Mounted) -> None:
    pid = mounted.control(f"spawn name=mine uid={NOBODY} oom_score_adj=100")
    with closing(View(mounted, NOBODY)) as view:
        view.put(f"{pid}/oom_score_adj", b"300")
        for name, value in (("oom_score_adj", b"-1"), ("oom_adj", b"-17")):
            with refused(errno.EACCES):
                view.put(f"{pid}/{name}", value)
    assert mounted.read(f"{pid}/oom_score_adj") == "300\n"


def test_who_acts_as_a_user_still_reaches_ctl(mounted: Mounted) -> None:
    """Otherwise nobody could take `become` back."""
    done = mounted.sh(
        "echo become 100013 > fakeproc/ctl; echo spawn name=mine > fakeproc/ctl;"
        "cat fakeproc/ctl; echo set 100005 rss=1M > fakeproc/ctl; echo become none > fakeproc/ctl",
        shell="bash",
    )
    assert done.stdout == "100014\n"
    assert done.stderr.count("\n") == 1
    assert "Operation not permitted" in done.stderr


def test_what_is_hidden_is_in_no_list(mount: Callable[..., Mounted]) -> None:
    mounted = mount("--hidepid=2")
    (mounted / "sys/kernel/dmesg_restrict").write_text("1")
    names = ("ps", "ps.json", "explain", "explain.json", "explain-kernels", "oom_trigger", "kmsg")
    with closing(View(mounted, NOBODY)) as view:
        for name in names:
            with refused(errno.EACCES):
                view.open(f"fakeproc/{name}", os.O_RDONLY)
        with refused(errno.EPERM):
            view.open("fakeproc/devkmsg", os.O_RDONLY)
        with refused(errno.ENOENT):
            view.stat("100005")
    for name in names:
        mounted.read(f"fakeproc/{name}")


def test_another_users_mount_is_not_unmounted(room: Room) -> None:
    others = """
        USER_ID=1234
        as_user '"$PYTHON" -m fakeproc umount "$MNT" 2>&1' || true
        grep -c " $ROOM/mnt fuse.fakeproc " /proc/mounts
        umount "$ROOM/mnt"
    """
    assert room.run("true", others) == [
        f"fakeproc: {room.mountpoint}: was mounted by uid {NOBODY}; only that user and root may "
        "unmount it.",
        "1",
    ]


# -- Planted files -----------------------------------------------------------------


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Return a folder like /tmp, in which others may put things."""
    require_root()
    path = tmp_path / "shared"
    path.mkdir()
    path.chmod(0o1777)
    return path


def _planted_link(file: Path, precious: Path) -> None:
    file.symlink_to(precious)
    os.lchown(file, NOBODY, NOBODY)


def _planted_hard_link(file: Path, precious: Path) -> None:
    file.hardlink_to(precious)


def _planted_file(file: Path, precious: Path) -> None:
    file.touch()
    os.chown(file, NOBODY, NOBODY)


def _planted_fifo(file: Path, precious: Path) -> None:
    os.mkfifo(file)
    os.chown(file, NOBODY, NOBODY)


def _writable_file(file: Path, precious: Path) -> None:
    file.touch()
    file.chmod(0o620)


@pytest.mark.parametrize(
    ("plant", "why"),
    [
        (_planted_link, "is a link"),
        (_planted_hard_link, "has other names (hard links)"),
        (_planted_file, f"belongs to uid {NOBODY}"),
        (_planted_fifo, "is no regular file"),
        (_writable_file, "others may write to it (mode 620)"),
    ],
)
@pytest.mark.parametrize("content", [b"", b"precious"])
def test_a_journal_goes_to_no_place_of_others(
    shared: Path, plant: Callable[[Path, Path], None], why: str, content: bytes
) -> None:
    precious = shared.parent / "precious"
    precious.write_bytes(content)
    file = shared / "journal"
    plant(file, precious)
    with pytest.raises(Refused) as refusal:
        Journal(file)
    assert refusal.value.why.startswith(f"{file}: {why}; accepted is a file of your own ")
    assert precious.read_bytes() == content


def test_a_new_journal_is_for_nobody_else_whatever_the_umask(shared: Path) -> None:
    before = os.umask(0)
    try:
        Journal(shared / "journal").close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((shared / "journal").stat().st_mode) == 0o600


# -- Scenarios ---------------------------------------------------------------------

_HOSTILE = r"""
version = 1

[machine]
hostname = "../../etc/passwd"
end = "5s"

[[swap]]
name = "/etc/shadow"
size = "1G"

[[memcg]]
path = "/../../../etc"

[[process]]
name = "../../etc/passwd"
pid = 100000
memcg = "/../../../etc"
exe = "/etc/shadow"
cwd = "/proc/self/root"
cmdline = "sh -c 'id > /tmp/owned'"
environ = { LD_PRELOAD = "/tmp/evil.so", PYTHONPATH = "/tmp" }

[[process]]
name = "{0.__class__.__init__.__globals__}%n$(id)`id`"
pid = 100001

[[event]]
at = "1s"
do = [
    "write ../../../../etc/passwd owned",
    "write /etc/passwd owned",
    "write self/root/etc/passwd owned",
    "write 100000/cwd/etc/passwd owned",
    "write fakeproc/kernel ../../etc/passwd",
    "swapon /dev/sda size=1M",
    "exec 100000 name=/bin/sh",
    "spawn name=$(touch,/tmp/owned) cmdline='__import__(\"os\").system(\"id\")'",
    "trigger",
]
"""

_WATCHED = """
import sys
from fakeproc.scenario.load import find_problems, load_text, run_to_end
from fakeproc.procfs import control, tree
from fakeproc.scenario.load import builtin_names, read_scenario

text = sys.stdin.read()
assert not find_problems(text, "hostile"), find_problems(text, "hostile")

def go():
    machine = load_text(text, "hostile")
    run_to_end(machine)
    procfs = tree.Procfs(machine)
    for row in control.CONTROL_FILES.values():
        row.render(procfs)
    return machine

go()  # what is imported late is there now
happened = set()
sys.addaudithook(lambda event, arguments: happened.add(event))
machine = go()
seen = sorted(happened - {"builtins.id", "object.__getattr__"})
open("/dev/null").close()
assert "open" in happened
assert machine.log.render().count("write") >= 4, machine.log.render()
print(seen)
"""


def test_a_scenario_reads_and_runs_nothing() -> None:
    """No file is opened, no program run and no code made while a hostile one is played."""
    done = subprocess.run(
        [sys.executable, "-c", _WATCHED],
        input=_HOSTILE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"


# -- Names -------------------------------------------------------------------------


def test_names_do_nothing_to_a_terminal(
    mounted: Mounted, capsys: pytest.CaptureFixture[str]
) -> None:
    mounted.control("set 100013 name='\x1b[31mX\x9b2J'")
    mounted.sh("printf '\\033c\\377\\n' > self/comm; echo 5 > 100005/oom_adj")
    name = r"\x1b[31mX\xc2\x9b2J"
    for command in (("ps",), ("explain",), ("trigger",), ("log",)):
        assert cli.main([command[0], os.fspath(mounted.path)]) == 0
        shown = capsys.readouterr().out
        assert name in shown, command
        assert shown.replace("\n", "").isprintable(), command
    assert name in mounted.read("fakeproc/ps")
    assert "\x1b" in mounted.read("100013/comm")


def test_the_state_has_names_as_they_are_and_does_nothing_to_a_terminal(mounted: Mounted) -> None:
    mounted.control("set 100013 name='\x1b[31mX\x9b2J\u202e'")
    text = mounted.read("fakeproc/state.toml")
    assert text.replace("\n", "").isprintable()
    assert r'name = "\u001b[31mX\U0000009b2J\U0000202e"' in text
