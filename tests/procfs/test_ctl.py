# SPDX-License-Identifier: MIT
"""The commands of /proc/fakeproc/ctl, without a mount: what each does, and when it refuses."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fakeproc.kernel.capability import CAP_KILL, CAP_SYS_RESOURCE
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Hardware, Machine
from fakeproc.kernel.numa import Placement, PolicyMode
from fakeproc.kernel.profile import KernelConfig
from fakeproc.kernel.task import PAGE_BYTES, Caller, Credentials, Mm, State, TaskCaller
from fakeproc.procfs import ctl
from fakeproc.procfs.node import File
from fakeproc.procfs.tree import Procfs
from tests.state import dump

MIB_PAGES = 1024**2 // PAGE_BYTES
USER = TaskCaller(Credentials(1000, 1000, 0), tid=70, tgid=70, comm="sh", host_pid=70)

TAKING_A_NAME = ("memcg", "swapon", "swapoff")
TAKING_A_PID = [
    verb for verb, row in ctl.COMMANDS.items() if row.words[0] == 1 and verb not in TAKING_A_NAME
]


class Shell:
    """Writes to ctl, and looks at what came of it."""

    def __init__(self, hardware: Hardware | None = None) -> None:
        standard = Hardware(ram_pages=1024 * MIB_PAGES, swap_pages=256 * MIB_PAGES)
        self.machine = Machine(hardware=hardware or standard, first_pid=100)
        self.procfs = Procfs(self.machine)
        self._file = self.procfs.lookup("/fakeproc/ctl", self.machine.root)

    def write(self, data: bytes, caller: Caller | None = None) -> int:
        assert isinstance(self._file, File)
        return self._file.store(caller or self.machine.root, data)

    def answer(self) -> str:
        assert isinstance(self._file, File)
        return self._file.render().decode()

    def run(self, command: str, caller: Caller | None = None) -> str:
        """Run one command; return its answer without the newline."""
        assert self.write(command.encode(), caller) == len(command.encode())
        return self.answer().removesuffix("\n")

    @contextmanager
    def refused(self, error: int, words: str = "") -> Iterator[None]:
        """Expect a refusal that is the next answer, says these words and changes nothing."""
        before = dump(self.procfs)
        with pytest.raises(Refused) as refused:
            yield
        assert refused.value.error == error
        assert self.answer() == f"{errno.errorcode[error]}: {refused.value.why}\n"
        assert words in refused.value.why
        assert dump(self.procfs) == before

    def mm(self, pid: int) -> Mm:
        mm = self.machine.process(pid).mm
        assert mm is not None
        return mm

    def credentials(self, pid: int) -> Credentials:
        return self.machine.process(pid).leader.credentials


@pytest.fixture
def shell() -> Shell:
    return Shell()


# -- Lines and words ---------------------------------------------------------------


def test_before_the_first_command_the_answer_is_ok(shell: Shell) -> None:
    assert shell.answer() == "ok\n"


@pytest.mark.parametrize("line", ["", "\n", "   \n", "# spawn", "help # how"])
def test_blank_lines_and_comments_do_nothing(shell: Shell, line: str) -> None:
    before = dump(shell.procfs)
    shell.run(line)
    assert dump(shell.procfs) == before


def test_words_are_quoted_as_in_a_shell(shell: Shell) -> None:
    assert shell.run("""spawn 'name=a) b (c' cmdline="'my web' -d" """) == "100"
    assert shell.machine.process(100).comm == "a) b (c"
    assert shell.mm(100).cmdline == (b"my web", b"-d")


@pytest.mark.parametrize("line", [b"spawn 'name=x", b'spawn "', b"spawn \\", b"\xff\xfe"])
def test_what_no_shell_can_read_is_refused(shell: Shell, line: bytes) -> None:
    with shell.refused(errno.EINVAL, "cannot be read"):
        shell.write(line)


def test_an_unknown_command_is_refused_with_the_nearest(shell: Shell) -> None:
    with shell.refused(errno.EINVAL, "'spwan': not known (nearest: spawn); accepted: spawn, clone"):
        shell.run("spwan name=web")


@pytest.mark.parametrize("verb", TAKING_A_PID)
@pytest.mark.parametrize("words", ["", "1 2 3"])
def test_too_few_or_too_many_words_are_refused_with_the_usage(
    shell: Shell, verb: str, words: str
) -> None:
    with shell.refused(errno.EINVAL, f"{verb}: usage: {ctl.COMMANDS[verb].usage}"):
        shell.run(f"{verb} {words}")


@pytest.mark.parametrize("verb", [verb for verb, row in ctl.COMMANDS.items() if not row.words[1]])
def test_words_where_there_are_only_keys_are_refused(shell: Shell, verb: str) -> None:
    with shell.refused(errno.EINVAL, "usage"):
        shell.run(f"{verb} 100")


@pytest.mark.parametrize("verb", ctl.COMMANDS)
def test_an_unknown_key_is_refused_with_those_that_there_are(shell: Shell, verb: str) -> None:
    words = "100 " if ctl.COMMANDS[verb].words[0] else ""
    with shell.refused(errno.EINVAL, "key 'colour': not known"):
        shell.run(f"{verb} {words}colour=red")


def test_a_misspelt_key_is_refused_with_the_nearest(shell: Shell) -> None:
    with shell.refused(errno.EINVAL, "spawn: key 'oom_score': not known (nearest: oom_score_adj)"):
        shell.run("spawn oom_score=5")


@pytest.mark.parametrize("verb", TAKING_A_PID)
@pytest.mark.parametrize("pid", ["0", "-5", "x", "0x64", "1.5", "2147483648"])
def test_what_is_no_pid_is_refused(shell: Shell, verb: str, pid: str) -> None:
    with shell.refused(errno.EINVAL, f"pid={pid}: accepted is a number"):
        shell.run(f"{verb} {pid}", USER)


@pytest.mark.parametrize("verb", TAKING_A_PID)
def test_a_pid_that_nobody_has_is_refused(shell: Shell, verb: str) -> None:
    with shell.refused(errno.ESRCH, "999: no such task"):
        shell.run(f"{verb} 999", USER)


@pytest.mark.parametrize("key", ["ignore_sigchld", "this_thread", "dumpable"])
def test_a_bad_flag_refuses_the_whole_of_set(shell: Shell, key: str) -> None:
    shell.run("spawn name=web rss=30M")
    with shell.refused(errno.EINVAL, f"{key}=maybe: accepted: yes, no."):
        shell.run(f"set 100 rss=50M name=other {key}=maybe")


HOLDS = ("at-exit", "frozen", "stuck", "mmap-lock", "coredump")


@pytest.mark.parametrize("kind", HOLDS)
def test_what_has_exited_cannot_be_held(shell: Shell, kind: str) -> None:
    shell.run("spawn name=web")
    shell.run("exit 100")
    with shell.refused(errno.ESRCH, "100: has exited."):
        shell.run(f"hold 100 {kind}")


@pytest.mark.parametrize("kind", HOLDS)
def test_a_hold_may_have_an_end(shell: Shell, kind: str) -> None:
    shell.run("spawn name=web")
    shell.run(f"hold 100 {kind} for=500ms")
    shell.run("kill 100 SIGTERM")
    shell.machine.advance(499_999_999)
    assert not shell.machine.process(100).is_zombie
    shell.machine.advance(1)
    assert shell.machine.process(100).is_zombie


@pytest.mark.parametrize("time", ["", "5", "5x", "-5s", "1e3s", "5 s", "٥s"])
def test_what_is_no_time_is_refused(shell: Shell, time: str) -> None:
    shell.run("spawn name=web")
    with shell.refused(errno.EINVAL, f"for={time}: accepted is a time such as 500ms, 5s or 2m."):
        shell.run(f"hold 100 stuck 'for={time}'")


def test_an_unknown_hold_is_refused(shell: Shell) -> None:
    shell.run("spawn name=web")
    with shell.refused(errno.EINVAL, "hold: kind 'mmap': not known (nearest: mmap-lock)"):
        shell.run("hold 100 mmap")


def test_init_dumps_no_core(shell: Shell) -> None:
    with shell.refused(errno.EPERM):
        shell.run("hold 1 coredump")


def test_mrelease(shell: Shell) -> None:
    shell.run("spawn name=web rss=30M mlocked=10M")
    with shell.refused(errno.ENOSYS, "process_mrelease came with 5.15."):
        shell.run("mrelease 100")
    shell.machine.set_kernel(KernelConfig("6.1"))
    with shell.refused(errno.EINVAL, "mrelease 100: is not dying"):
        shell.run("mrelease 100")
    with shell.refused(errno.EINVAL, "flags=1: accepted is 0."):
        shell.run("mrelease 100 flags=1")
    with shell.refused(errno.ESRCH, "mrelease 2: has no memory."):
        shell.run("mrelease 2")
    shell.run("hold 100 at-exit")
    shell.run("kill 100 SIGKILL")
    for _ in range(2):
        assert shell.run("mrelease 100", USER) == "ok"
    assert shell.mm(100).sizes.rss_pages == 0
    shell.run("release 100")
    with shell.refused(errno.ESRCH, "mrelease 100: has no memory."):
        shell.run("mrelease 100")


def test_more_cannot_be_locked_than_there_is(shell: Shell) -> None:
    with shell.refused(errno.EINVAL, "mlocked_pages is more than anon_pages"):
        shell.run("spawn name=web rss=1M mlocked=2M")


def test_kernel_threads_that_are_bound_stay_in_their_memcg(shell: Shell) -> None:
    """As seen on 6.1: kthreadd and workers refuse, kswapd0 moves, a zombie stays unasked."""
    shell.run("memcg /web")
    assert shell.run("kthread name=kworker/0:1") == "100"
    assert shell.run("kthread name=kswapd0") == "101"
    for pid in (2, 100):
        with shell.refused(errno.EINVAL, "stays where it is."):
            shell.run(f"join {pid} /web")
    shell.run("join 101 /web")
    shell.run("spawn name=dead")
    shell.run("exit 102")
    assert shell.run("join 102 /web") == "ok"
    paths = {process.pid: process.memcg.path for process in shell.machine.processes.values()}
    assert paths == {1: "/", 2: "/", 100: "/", 101: "/web", 102: "/"}


def test_help_has_a_line_for_each_command(shell: Shell) -> None:
    lines = shell.run("help").splitlines()
    assert [line.split()[0] for line in lines] == list(ctl.COMMANDS)


# -- More than one line ------------------------------------------------------------


def test_all_lines_run_and_the_last_one_answers(shell: Shell) -> None:
    data = b"spawn name=a\n# a comment\r\nspawn name=b\n\nclone parent=100 vm=shared"
    assert shell.write(data) == len(data)
    assert shell.answer() == "102\n"


def test_a_refused_line_ends_the_write_short_of_it(shell: Shell) -> None:
    good, bad, rest = b"spawn name=a\nspawn name=b\n", b"exec 999\n", b"spawn name=c\n"
    assert shell.write(good + bad + rest) == len(good)
    assert shell.answer() == "101\n"
    assert list(shell.machine.processes) == [1, 2, 100, 101]
    with shell.refused(errno.ESRCH):
        shell.write(bad + rest)


def test_a_short_line_is_not_taken_for_nothing(shell: Shell) -> None:
    """A blank first line counts as accepted, so the write ends there and not with an error."""
    assert shell.write(b"\nspwan\n") == 1
    with shell.refused(errno.EINVAL):
        shell.write(b"spwan\n")


# -- spawn -------------------------------------------------------------------------


def test_spawn_answers_with_the_new_pid(shell: Shell) -> None:
    assert shell.run("spawn name=web rss=300M uid=33 oom_score_adj=-500") == "100"
    process = shell.machine.process(100)
    assert (process.comm, process.oom_score_adj) == ("web", -500)
    assert shell.credentials(100) == Credentials(33, 33, 0)
    assert shell.mm(100).sizes.anon_pages == 300 * MIB_PAGES


def test_spawn_without_keys_makes_a_small_task_of_root(shell: Shell) -> None:
    shell.run("spawn")
    assert shell.machine.process(100).comm == "task"
    assert shell.credentials(100) == shell.machine.root.credentials
    assert (shell.mm(100).sizes.anon_pages, shell.mm(100).sizes.file_pages) == (100, 300)


def test_spawn_takes_every_size(shell: Shell) -> None:
    shell.run("spawn anon=8k file=12k shmem=16k swap=20k size=1M pte=4k pmd=8k")
    sizes = shell.mm(100).sizes
    kinds = (sizes.anon_pages, sizes.file_pages, sizes.shmem_pages, sizes.swap_entries)
    assert kinds == (2, 3, 4, 5)
    assert (sizes.total_vm_pages, sizes.pte_pages, sizes.pmd_pages) == (256, 1, 2)


def test_spawn_takes_everything_else(shell: Shell) -> None:
    shell.run("spawn name=parent")
    shell.run("spawn pid=450 parent=100 gid=7 caps=+kill dumpable=no")
    process = shell.machine.process(450)
    assert process.real_parent is shell.machine.process(100).leader
    assert shell.credentials(450) == Credentials(0, 7, CAP_KILL)
    assert not shell.mm(450).dumpable


def test_a_given_value_is_set_with_its_minimum_as_root_would(shell: Shell) -> None:
    shell.run("spawn oom_score_adj=-500")
    process = shell.machine.process(100)
    assert (process.oom_score_adj, process.oom_score_adj_min) == (-500, -500)


@pytest.mark.parametrize(
    ("uid", "held"), [("uid=0", "all"), ("uid=33", "none"), ("uid=33 caps=all", "all")]
)
def test_another_uid_loses_the_capabilities(shell: Shell, uid: str, held: str) -> None:
    shell.run(f"spawn {uid}")
    full = shell.machine.full_capabilities
    assert shell.credentials(100).capabilities == (full if held == "all" else 0)


@pytest.mark.parametrize(
    ("option", "error", "words"),
    [
        ("rss=x", errno.EINVAL, "accepted is a size such as 300M"),
        ("rss=5000T", errno.EINVAL, "too large"),
        ("rss=2G", errno.ENOMEM, "are free"),
        ("swap=1G", errno.ENOMEM, "are free"),
        ("rss=1M size=4k", errno.EINVAL, "total_vm_pages is smaller"),
        ("uid=-1", errno.EINVAL, "accepted is a number, 0 to 4294967294"),
        ("gid=root", errno.EINVAL, "accepted is a number"),
        ("caps=+flying", errno.EINVAL, "not a set of capabilities"),
        ("oom_score_adj=1001", errno.EINVAL, "accepted is a number, -1000 to 1000"),
        ("dumpable=maybe", errno.EINVAL, "accepted: yes, no"),
        ("name=", errno.EINVAL, "a name of one character or more"),
        ('cmdline="it\'s"', errno.EINVAL, "cmdline=: cannot be read"),
        ("pid=0", errno.EINVAL, "accepted is a number"),
        ("pid=5000000", errno.EINVAL, "accepted are 1 to 4194303"),
        ("pid=1", errno.EEXIST, "is taken"),
        ("parent=999", errno.ESRCH, "no such task"),
        ("parent=2", errno.EINVAL, "has no mm"),
    ],
)
def test_spawn_refuses(shell: Shell, option: str, error: int, words: str) -> None:
    with shell.refused(error, words):
        shell.run(f"spawn {option}")


def test_an_ordinary_user_spawns_as_itself(shell: Shell) -> None:
    assert shell.run("spawn name=mine uid=1000 oom_score_adj=100", USER) == "100"
    assert shell.credentials(100) == USER.credentials
    assert shell.run("spawn parent=100", USER) == "101"


@pytest.mark.parametrize("option", ["uid=0", "gid=0", "caps=all", "oom_score_adj=-1", "parent=1"])
def test_an_ordinary_user_does_not_rise(shell: Shell, option: str) -> None:
    with shell.refused(errno.EPERM):
        shell.run(f"spawn {option}", USER)


# -- clone, thread -----------------------------------------------------------------


@pytest.mark.parametrize("vm", ["shared", "copied"])
@pytest.mark.parametrize("vfork", ["yes", "no"])
@pytest.mark.parametrize("sibling", ["yes", "no"])
def test_clone_in_all_combinations(shell: Shell, vm: str, vfork: str, sibling: str) -> None:
    shell.run("spawn name=grandparent")
    shell.run("spawn name=parent parent=100")
    options = f"vm={vm} thread=no vfork={vfork} sibling={sibling}"
    assert shell.run(f"clone parent=101 {options} name=child pid=450") == "450"
    parent, child = shell.machine.process(101), shell.machine.process(450)
    assert child.comm == "child"
    assert (child.mm is parent.mm) == (vm == "shared")
    assert child.leader.vfork_done == (vfork == "yes")
    expected = parent.real_parent if sibling == "yes" else parent.leader
    assert child.real_parent is expected


def test_clone_copies_unless_told(shell: Shell) -> None:
    shell.run("spawn name=parent")
    assert shell.run("clone parent=100") == "101"
    child = shell.machine.process(101)
    assert child.comm == "parent"
    assert child.mm is not shell.mm(100)
    assert not child.leader.vfork_done


@pytest.mark.parametrize(
    "command",
    ["clone parent=100 vm=shared thread=yes name=w pid=450", "thread 100 name=w tid=450"],
)
def test_a_thread_answers_with_its_tid(shell: Shell, command: str) -> None:
    shell.run("spawn name=web")
    assert shell.run(command) == "450"
    thread = shell.machine.thread(450)
    assert thread.process is shell.machine.process(100)
    assert thread.comm == "w"


def test_thread_takes_the_next_tid_and_the_name_of_its_creator(shell: Shell) -> None:
    shell.run("spawn name=web")
    assert shell.run("thread 100") == "101"
    assert shell.run("thread 101") == "102"
    assert shell.machine.thread(102).comm == "web"


@pytest.mark.parametrize(
    ("command", "error", "words"),
    [
        ("clone", errno.EINVAL, "parent= is missing"),
        ("clone parent=999", errno.ESRCH, "no such task"),
        ("clone parent=x", errno.EINVAL, "accepted is a number"),
        ("clone parent=100 vm=yes", errno.EINVAL, "accepted: shared, copied"),
        ("clone parent=100 thread=yes", errno.EINVAL, "a thread shares its mm"),
        ("clone parent=100 thread=yes vm=shared vfork=yes", errno.EINVAL, "a thread shares"),
        ("clone parent=100 thread=yes vm=shared sibling=yes", errno.EINVAL, "a thread shares"),
        ("clone parent=100 vfork=1", errno.EINVAL, "accepted: yes, no"),
        ("clone parent=100 pid=1", errno.EEXIST, "is taken"),
        ("clone parent=100 name=", errno.EINVAL, "a name of one character"),
        ("clone parent=1 sibling=yes", errno.EINVAL, "init has no parent"),
        ("clone parent=2", errno.EINVAL, "has no mm"),
        ("clone parent=101", errno.EAGAIN, "waits for its vfork child 102"),
        ("thread 101", errno.EAGAIN, "waits for its vfork child 102"),
        ("clone parent=103", errno.ESRCH, "has exited"),
        ("thread 103", errno.ESRCH, "has exited"),
        ("thread 2", errno.EINVAL, "a kernel thread has no threads"),
        ("thread 100 tid=1", errno.EEXIST, "is taken"),
    ],
)
def test_clone_and_thread_refuse(shell: Shell, command: str, error: int, words: str) -> None:
    for earlier in ("spawn", "spawn", "clone parent=101 vm=shared vfork=yes", "spawn", "exit 103"):
        shell.run(earlier)
    with shell.refused(error, words):
        shell.run(command)


def test_clone_takes_no_memory_yet(shell: Shell) -> None:
    """The copy is made when it is written to."""
    shell.run("spawn rss=700M")
    assert shell.run("clone parent=100") == "101"


# -- exec, exit, reap --------------------------------------------------------------


def test_exec_starts_another_program(shell: Shell) -> None:
    shell.run("spawn name=web oom_score_adj=100")
    shell.run("clone parent=100 vm=shared")
    assert shell.run("exec 101 name=worker rss=20M cmdline='worker -v'") == "ok"
    process = shell.machine.process(101)
    assert (process.comm, process.oom_score_adj) == ("worker", 100)
    assert shell.mm(101).sizes.anon_pages == 20 * MIB_PAGES
    assert shell.mm(101).cmdline == (b"worker", b"-v")
    assert shell.mm(101) is not shell.mm(100)


def test_exec_without_keys_keeps_the_name_and_is_small(shell: Shell) -> None:
    shell.run("spawn name=web rss=300M")
    shell.run("exec 100")
    assert shell.machine.process(100).comm == "web"
    assert shell.mm(100).sizes.rss_pages == 400


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("exec 100 rss=2G", errno.ENOMEM),
        ("exec 100 rss=x", errno.EINVAL),
        ("exec 100 name=", errno.EINVAL),
        ("exec 2", errno.EINVAL),
        ("exec 101", errno.ESRCH),
    ],
)
def test_exec_refuses(shell: Shell, command: str, error: int) -> None:
    for earlier in ("spawn", "spawn", "exit 101"):
        shell.run(earlier)
    with shell.refused(error):
        shell.run(command)


def test_exit_of_the_leader_ends_the_process(shell: Shell) -> None:
    shell.run("spawn")
    shell.run("thread 100")
    assert shell.run("exit 100 status=3") == "ok"
    assert shell.machine.process(100).is_zombie
    assert shell.run("reap 100") == "ok status=768"
    assert 100 not in shell.machine.processes


def test_exit_of_another_thread_ends_that_one(shell: Shell) -> None:
    shell.run("spawn")
    shell.run("thread 100")
    assert shell.run("exit 101") == "ok"
    assert [thread.tid for thread in shell.machine.process(100).threads] == [100]


def test_exit_leader_leaves_the_others(shell: Shell) -> None:
    shell.run("spawn")
    shell.run("thread 100")
    assert shell.run("exit-leader 100") == "ok"
    process = shell.machine.process(100)
    assert process.leader.state is State.ZOMBIE
    assert not process.is_zombie
    with shell.refused(errno.EAGAIN, "still has a living thread"):
        shell.run("reap 100")


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("exit 1", errno.EPERM),
        ("exit-leader 1", errno.EPERM),
        ("exit 2", errno.EPERM),
        ("exit 100 status=256", errno.EINVAL),
        ("exit 100 status=-1", errno.EINVAL),
        ("exit 101", errno.ESRCH),
        ("exit-leader 101", errno.ESRCH),
        ("reap 100", errno.EAGAIN),
        ("reap 1", errno.EAGAIN),
        ("reap 2", errno.EAGAIN),
    ],
)
def test_exit_and_reap_refuse(shell: Shell, command: str, error: int) -> None:
    for earlier in ("spawn", "spawn", "exit 101"):
        shell.run(earlier)
    with shell.refused(error):
        shell.run(command)


# -- kthread -----------------------------------------------------------------------


def test_kthread_with_and_without_a_borrowed_mm(shell: Shell) -> None:
    shell.run("spawn")
    assert shell.run("kthread name=kswapd0") == "101"
    assert shell.run("kthread use_mm=100 pid=450") == "450"
    assert shell.machine.process(101).comm == "kswapd0"
    assert shell.machine.process(101).mm is None
    assert shell.machine.process(450).mm is shell.mm(100)


@pytest.mark.parametrize(
    ("option", "error"),
    [
        ("use_mm=2", errno.EINVAL),
        ("use_mm=999", errno.ESRCH),
        ("use_mm=x", errno.EINVAL),
        ("pid=1", errno.EEXIST),
        ("name=", errno.EINVAL),
    ],
)
def test_kthread_refuses(shell: Shell, option: str, error: int) -> None:
    with shell.refused(error):
        shell.run(f"kthread {option}")


def test_only_root_makes_kernel_threads(shell: Shell) -> None:
    with shell.refused(errno.EPERM, "only root"):
        shell.run("kthread", USER)


# -- kill --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "SIGKILL", "KILL", "kill", "sigkill", "9"])
def test_kill_takes_names_and_numbers(shell: Shell, name: str) -> None:
    shell.run("spawn")
    assert shell.run(f"kill 100 {name}") == "ok"
    assert shell.run("reap 100") == f"ok status={9 if name else 15}"


@pytest.mark.parametrize("command", ["kill 1 KILL", "kill 2 9", "kill 100 0", "kill 100 SIGCHLD"])
def test_a_signal_without_effect_says_so(shell: Shell, command: str) -> None:
    shell.run("spawn")
    assert shell.run(command) == "ok (no effect)"


def test_a_signal_to_a_thread_is_for_its_process(shell: Shell) -> None:
    shell.run("spawn")
    shell.run("thread 100")
    shell.run("kill 101 TERM")
    assert shell.machine.process(100).is_zombie


@pytest.mark.parametrize("name", ["SIGNOT", "65", "-1", "SIG", "1.5", "''", "SIG_BLOCK"])
def test_what_is_no_signal_is_refused(shell: Shell, name: str) -> None:
    with shell.refused(errno.EINVAL):
        shell.run(f"kill 1 {name}")


# -- set ---------------------------------------------------------------------------


def test_set_changes_what_it_is_told_and_nothing_else(shell: Shell) -> None:
    shell.run("spawn name=web rss=300M swap=50M file=10M uid=33")
    assert shell.run("set 100 rss=500M swap=0 name=web2") == "ok"
    sizes = shell.mm(100).sizes
    kinds = (sizes.anon_pages, sizes.file_pages, sizes.swap_entries)
    assert kinds == (500 * MIB_PAGES, 10 * MIB_PAGES, 0)
    assert shell.machine.process(100).comm == "web2"
    assert shell.credentials(100) == Credentials(33, 33, 0)


def test_set_changes_the_credentials_of_all_threads(shell: Shell) -> None:
    shell.run("spawn")
    shell.run("thread 100")
    shell.run("set 100 uid=33 caps=+sys_resource dumpable=no")
    assert shell.machine.thread(101).credentials == Credentials(33, 33, CAP_SYS_RESOURCE)
    assert not shell.mm(100).dumpable
    shell.run("set 100 dumpable=yes gid=5")
    assert shell.machine.thread(101).credentials == Credentials(33, 5, CAP_SYS_RESOURCE)
    assert shell.mm(100).dumpable


def test_set_renames_the_thread_that_is_named(shell: Shell) -> None:
    shell.run("spawn name=web")
    shell.run("thread 100")
    shell.run("set 101 name=worker")
    assert [thread.comm for thread in shell.machine.process(100).threads] == ["web", "worker"]


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("set 100 name=other dumpable=no uid=5 rss=2G", errno.ENOMEM),
        ("set 100 name=other swap=1G", errno.ENOMEM),
        ("set 100 name=other rss=x", errno.EINVAL),
        ("set 100 rss=1M uid=x", errno.EINVAL),
        ("set 100 rss=1M dumpable=x", errno.EINVAL),
        ("set 100 rss=1M name=", errno.EINVAL),
        ("set 100 uid=0 caps=+x", errno.EINVAL),
        ("set 2 rss=1M", errno.EINVAL),
        ("set 101 rss=1M", errno.EINVAL),
        ("set 101 dumpable=no", errno.EINVAL),
        ("set 102 rss=1M", errno.EINVAL),
    ],
)
def test_set_refuses_all_or_nothing(shell: Shell, command: str, error: int) -> None:
    for earlier in ("spawn", "spawn", "exit 101", "kthread use_mm=100"):
        shell.run(earlier)
    with shell.refused(error):
        shell.run(command)


# -- Rights ------------------------------------------------------------------------


OWN = ("exec {}", "thread {}", "clone parent={}", "exit {}", "exit-leader {}", "kill {}", "set {}")


@pytest.mark.parametrize("command", OWN)
def test_everybody_may_do_so_to_their_own_processes_only(shell: Shell, command: str) -> None:
    shell.run("spawn uid=1000")
    shell.run("spawn uid=33")
    with shell.refused(errno.EPERM, "belongs to uid 33, you are uid 1000"):
        shell.run(command.format(101), USER)
    shell.run(command.format(100), USER)


def test_everybody_reaps_their_own(shell: Shell) -> None:
    for command in ("spawn uid=1000", "spawn uid=33", "exit 100", "exit 101"):
        shell.run(command)
    with shell.refused(errno.EPERM):
        shell.run("reap 101", USER)
    assert shell.run("reap 100", USER) == "ok status=0"


@pytest.mark.parametrize("option", ["uid=0", "uid=33", "gid=0", "caps=+kill"])
def test_nobody_gives_themselves_more(shell: Shell, option: str) -> None:
    shell.run("spawn uid=1000")
    with shell.refused(errno.EPERM, "only root may set another one"):
        shell.run(f"set 100 {option}", USER)


# -- become ------------------------------------------------------------------------


def test_memcg_makes_groups_and_sets_what_is_given(shell: Shell) -> None:
    assert shell.run("memcg /web/front limit=64M oom_group=yes") == "ok"
    assert shell.run("memcg /web/front oom_kill_disable=yes") == "ok"
    group = shell.machine.memcg("/web/front")
    assert (group.limit_pages, group.oom_group, group.oom_kill_disable) == (16384, True, True)
    assert shell.run("memcg /web/front limit=none oom_group=no oom_kill_disable=no") == "ok"
    assert (group.limit_pages, group.oom_group, group.oom_kill_disable) == (None, False, False)


@pytest.mark.parametrize(
    ("command", "error", "words"),
    [
        ("memcg / limit=5M", errno.EINVAL, "accepted is a path such as /web/front"),
        ("memcg // limit=5M", errno.EINVAL, "accepted is a path such as /web/front"),
        ("memcg web", errno.EINVAL, "accepted is a path such as /web/front"),
        ("memcg /web limit=much", errno.EINVAL, "accepted is a size"),
        ("memcg /web oom_kill_disable=1", errno.EINVAL, "accepted: yes, no"),
        ("memcg /memory.max", errno.EEXIST, "memory.max is the name of a file there"),
        ("join 1 /none", errno.ENOENT, "there is no such group"),
    ],
)
def test_what_memcg_and_join_refuse(shell: Shell, command: str, error: int, words: str) -> None:
    with shell.refused(error, words):
        shell.run(command)


def test_become_and_back(shell: Shell) -> None:
    root_of_the_host = TaskCaller(shell.machine.root.credentials, host_pid=4711)
    shell.run("spawn uid=33")
    assert shell.run("become 100", root_of_the_host) == "ok"
    assert shell.procfs.acting == {4711: shell.machine.thread(100)}
    assert shell.run("become none", root_of_the_host) == "ok"
    assert shell.procfs.acting == {}
    assert shell.run("become none", root_of_the_host) == "ok"


def test_who_may_become_decides_the_mount(shell: Shell) -> None:
    shell.run("spawn uid=33")
    with shell.refused(errno.EPERM, "only who is root"):
        shell.run("become 100", USER)
    shell.procfs.may_become = lambda caller: True
    assert shell.run("become 100", USER) == "ok"


@pytest.mark.parametrize("target", ["2", "101"])
def test_nobody_becomes_a_kernel_thread_or_a_zombie(shell: Shell, target: str) -> None:
    caller = TaskCaller(shell.machine.root.credentials, host_pid=4711)
    for command in ("spawn", "spawn", "exit 101"):
        shell.run(command)
    with shell.refused(errno.EINVAL, "makes no system calls"):
        shell.run(f"become {target}", caller)


def test_without_a_process_of_the_host_there_is_nobody_to_become(shell: Shell) -> None:
    with shell.refused(errno.EINVAL, "no process of the host"):
        shell.run("become 1")


# -- Nodes -------------------------------------------------------------------------


@pytest.fixture
def nodes() -> Shell:
    """Return a shell on a machine of two nodes."""
    half = 512 * MIB_PAGES
    return Shell(Hardware(node_pages=(half, half), swap_pages=256 * MIB_PAGES))


def test_spawn_and_set_place_a_task(nodes: Shell) -> None:
    pid = int(nodes.run("spawn name=x mems_allowed=1 mempolicy=bind:1 cpuset=/slice/"))
    process = nodes.machine.process(pid)
    assert process.leader.placement == Placement("/slice", 0b10, PolicyMode.BIND, 0b10)
    tid = int(nodes.run(f"thread {pid}"))
    nodes.run(f"set {tid} this_thread=yes mempolicy=none")
    assert process.leader.placement.mode is PolicyMode.BIND
    assert nodes.machine.thread(tid).placement == Placement("/slice", 0b10)
    nodes.run(f"set {pid} mems_allowed=0-1 cpuset=/ mempolicy=interleave:0,1")
    expected = Placement(mode=PolicyMode.INTERLEAVE, policy_nodes=0b11)
    assert [thread.placement for thread in process.threads] == [expected, expected]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("spawn mems_allowed=0-2", "mems_allowed=0-2: accepted is a list of nodes"),
        ("spawn mempolicy=local", "mempolicy=local: accepted are none, bind:NODES"),
        ("set 100 rss=9M mems_allowed=0 mempolicy=bind:1", "the task's cpuset allows 0;"),
        ("set 100 rss=9M cpuset=web", "cpuset=web: accepted is a path"),
        ("set 100 rss=9M oom_origin=maybe", "oom_origin=maybe: accepted: yes, no."),
        ("set 1 oom_origin=yes", "oom_origin: 1 cannot be killed."),
        ("set 2 oom_origin=yes", "oom_origin: 2 cannot be killed."),
    ],
)
def test_a_bad_placement_changes_nothing(nodes: Shell, command: str, words: str) -> None:
    nodes.run("spawn pid=100")
    with nodes.refused(errno.EINVAL, words):
        nodes.run(command)


def test_cpusets_and_origins_are_roots_policies_are_ones_own(nodes: Shell) -> None:
    nodes.run("spawn pid=100 uid=1000")
    for option in ("mems_allowed=0", "cpuset=/slice", "oom_origin=yes"):
        with nodes.refused(errno.EPERM, option.partition("=")[0]):
            nodes.run(f"set 100 {option}", USER)
    nodes.run("set 100 mempolicy=bind:0", USER)
    assert nodes.machine.thread(100).placement.policy_nodes == 0b01


def test_an_oom_origin_may_be_set_and_taken_back(nodes: Shell) -> None:
    nodes.run("spawn pid=100")
    nodes.run("set 100 oom_origin=yes")
    assert nodes.machine.process(100).oom_origin
    nodes.run("set 100 rss=9M")
    assert nodes.machine.process(100).oom_origin
    nodes.run("set 100 oom_origin=no")
    assert not nodes.machine.process(100).oom_origin


# -- Memory, and what tasks do by themselves ---------------------------------------


def test_cache_and_slab_are_set_one_by_one(shell: Shell) -> None:
    memory = shell.machine.memory
    shell.run("cache clean=100M dirty=10M")
    shell.run("cache dirty=5M")
    assert (memory.cache_clean_pages, memory.cache_dirty_pages) == (25600, 1280)
    shell.run("slab reclaimable=20M")
    assert memory.slab_reclaimable_pages == 5120
    assert memory.slab_unreclaimable_pages == shell.machine.hardware.slab_pages
    for command in ("cache clean=2G", "slab unreclaimable=2G"):
        with shell.refused(errno.ENOMEM, f"{command.split()[0]}: "):
            shell.run(command)


def test_swap_areas_come_and_go(shell: Shell) -> None:
    shell.run("swapon /swapfile size=64M priority=7")
    assert shell.machine.hardware.swap_pages == 320 * MIB_PAGES
    assert shell.machine.memory.swap_areas[-1].priority == 7
    with shell.refused(errno.EBUSY, "swapon /swapfile: is on already"):
        shell.run("swapon /swapfile size=1M")
    shell.run("swapoff /swapfile")
    assert shell.machine.hardware.swap_pages == 256 * MIB_PAGES
    with shell.refused(errno.EINVAL, "swapoff /swapfile: is not on; accepted: /dev/vda2"):
        shell.run("swapoff /swapfile")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("swapon /x", "swapon: size= is missing"),
        ("swapon /x size=0", "accepted is a size of a page or more"),
        ("swapon /x size=1M priority=40000", "priority=40000: accepted is a number, 0 to 32767"),
        ("swapon size=1M", "swapon: usage: "),
        ("cache clean=lots", "'lots': accepted is a size"),
        ("behave 100", "behave: usage: "),
        ("behave 100 some behaviour=constant", "behave: usage: "),
        ("behave 100 none behaviour=constant", "behave: usage: "),
        ("behave 100 behaviour=grow", "rate= is missing"),
        ("behave 2 behaviour=constant", "behave 2: has no memory"),
        ("spawn rss=1M behaviour=groww", "nearest: grow"),
        ("spawn rss=1M rate=1M/s", "rate: means nothing to behaviour=constant"),
    ],
)
def test_bad_words_about_memory_change_nothing(shell: Shell, command: str, words: str) -> None:
    shell.run("spawn")
    with shell.refused(errno.EINVAL, words):
        shell.run(command)


def test_a_behaviour_is_given_with_spawn_or_later_and_taken_away(shell: Shell) -> None:
    shell.run("spawn rss=1M behaviour=grow rate=10M/s until=21M ignore_sigterm=yes")
    shell.machine.advance(1_000_000_000)
    assert shell.mm(100).sizes.anon_pages == 11 * MIB_PAGES
    assert shell.run("kill 100 TERM") == "ok (no effect)"
    shell.run("behave 100 behaviour=grow rate=20M/s")
    shell.machine.advance(1_000_000_000)
    assert shell.mm(100).sizes.anon_pages == 31 * MIB_PAGES
    shell.run("behave 100 none")
    shell.machine.advance(1_000_000_000)
    assert shell.mm(100).sizes.anon_pages == 31 * MIB_PAGES


def test_memory_is_roots_and_behaviour_ones_own(shell: Shell) -> None:
    shell.run("spawn pid=100 uid=1000")
    shell.run("spawn pid=101")
    for command in ("cache clean=1M", "slab reclaimable=1M", "swapon /x size=1M", "swapoff /x"):
        with shell.refused(errno.EPERM, command.split()[0]):
            shell.run(command, USER)
    with shell.refused(errno.EPERM, "behave 101"):
        shell.run("behave 101 stuck=yes", USER)
    shell.run("behave 100 stuck=yes", USER)
