# SPDX-License-Identifier: MIT
"""ps of procps: every column that it knows, task by task, and its usual forms."""

from __future__ import annotations

import grp
import re
import time
from collections.abc import Callable
from functools import cached_property

import pytest

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.task import PAGE_BYTES, PAGE_KIB, MemorySizes, Process, State, Thread
from fakeproc.kernel.task_view import shown_state
from fakeproc.procfs.task.node import parent_pid, user_sizes
from fakeproc.procfs.task.stat import CLOCK_TICKS_PER_S
from tests.tools.conftest import NS_PER_S, Table, machine_file, machine_link, user_name

RLIM_INFINITY = 2**64 - 1
UNSET = "4294967295"
"""loginuid of who has not logged in."""


class Task:
    """What the machine holds of one row of ps: a process, or with -L a thread."""

    def __init__(self, machine: Machine, thread: Thread, *, alone: bool) -> None:
        self.machine = machine
        self.thread = thread
        self.process: Process = thread.process
        self._folder = f"{self.process.pid}/task/{thread.tid}" if alone else f"{thread.tid}"

    def file(self, name: str) -> str:
        """Return what a file of the task holds; nothing if it cannot be read."""
        try:
            return machine_file(self.machine, f"{self._folder}/{name}")
        except Refused:
            return ""

    def link(self, name: str) -> str:
        """Return where a link of the task leads; nothing if it cannot be read."""
        try:
            return machine_link(self.machine, f"{self._folder}/{name}")
        except Refused:
            return ""

    @cached_property
    def sizes(self) -> MemorySizes:
        """Its memory."""
        return user_sizes(self.thread)

    @cached_property
    def _stat(self) -> list[str]:
        return self.file("stat").rpartition(") ")[2].split()

    def stat(self, number: int) -> int:
        """Return a field of stat, counted as proc(5) does."""
        return int(self._stat[number - 3])

    @cached_property
    def status(self) -> dict[str, str]:
        """The lines of status."""
        lines = (line.split(":\t", 1) for line in self.file("status").splitlines())
        return {words[0]: words[1].strip() for words in lines}

    @property
    def letter(self) -> str:
        """Its state."""
        return shown_state(self.machine.profile, self.thread)[0]

    @property
    def uid(self) -> int:
        """User."""
        return self.thread.credentials.uid

    @property
    def gid(self) -> int:
        """Group."""
        return self.thread.credentials.gid

    @property
    def ticks(self) -> int:
        """Time that it has run, in hundredths of a second."""
        return self.stat(14) + self.stat(15)

    @property
    def elapsed_s(self) -> int:
        """Time since it began."""
        now_ticks = self.machine.now_ns * CLOCK_TICKS_PER_S // NS_PER_S
        return (now_ticks - self.stat(22)) // CLOCK_TICKS_PER_S

    @property
    def text_bytes(self) -> int:
        """Size of its code."""
        return self.stat(27) - self.stat(26)

    @property
    def controllers(self) -> list[tuple[str, str]]:
        """Its cgroups, as lines of cgroup: hierarchy and path."""
        lines = self.file("cgroup").splitlines()
        return [(line.rpartition(":")[0], line.rpartition(":")[2]) for line in lines]


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _per_mille(task: Task) -> int:
    return task.ticks * 1000 // CLOCK_TICKS_PER_S // task.elapsed_s if task.elapsed_s else 0


def _percent(per_mille: int) -> str:
    return f"{per_mille // 10}.{per_mille % 10}"


def _hours(seconds: int) -> str:
    days, rest = divmod(seconds, 86400)
    clock = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days:02d}-{clock}" if days else clock


def _elapsed(task: Task) -> str:
    days, rest = divmod(task.elapsed_s, 86400)
    hours = f"{rest // 3600:02d}:" if days or rest >= 3600 else ""
    return (f"{days}-" if days else "") + f"{hours}{rest // 60 % 60:02d}:{rest % 60:02d}"


def _command(task: Task) -> str:
    """Return the command line, or the name in brackets where there is none."""
    words = task.file("cmdline").rstrip("\0").split("\0")
    defunct = " <defunct>" if task.thread.state is State.ZOMBIE else ""
    return " ".join(words) if words != [""] else f"[{task.thread.comm}]{defunct}"


def _stat(task: Task) -> str:
    """Return the letter of the state, and what ps adds to it."""
    nice, many = task.stat(19), len(task.process.threads) > 1
    letters = task.letter
    letters += "<" if nice < 0 else "N" if nice > 0 else ""
    letters += "L" if task.sizes.mlocked_pages else ""
    letters += "s" if task.stat(6) == task.process.pid else ""
    letters += "l" if many else ""
    return letters + ("+" if task.stat(8) == task.stat(5) else "")


def _terminal(task: Task) -> str:
    major, minor = task.stat(7) >> 8 & 0xFFF, task.stat(7) & 0xFF | task.stat(7) >> 12 & 0xFFF00
    if major == 136:
        return f"pts/{minor}"
    if major == 4:
        return f"tty{minor}" if minor < 64 else f"ttyS{minor - 64}"
    return "?" if not major else f"{major},{minor}"


def _cgroup(task: Task) -> str:
    """Return the groups that are not the root."""
    paths = [f"{where}:{path}" for where, path in task.controllers if path != "/"]
    return ",".join(paths) or "-"


def _namespace(name: str) -> Callable[[Task], str]:
    def column(task: Task) -> str:
        found = re.search(r"\[(\d+)\]", task.link(f"ns/{name}"))
        return found[1] if found else "-"

    return column


def _line(file: str, name: str) -> Callable[[Task], str]:
    """Return a column that is a number of a file made of names and numbers."""

    def column(task: Task) -> str:
        found = re.search(rf"^{name}:\s+(\d+)", task.file(file), re.MULTILINE)
        return found[1] if found else "0"

    return column


def _signals(name: str) -> Callable[[Task], str]:
    return lambda task: task.status[name]


def _field(number: int) -> Callable[[Task], str]:
    return lambda task: str(task.stat(number))


def _hex(number: int) -> Callable[[Task], str]:
    return lambda task: f"{task.stat(number):016x}"


def _kib(pages: Callable[[MemorySizes], int]) -> Callable[[Task], str]:
    return lambda task: str(pages(task.sizes) * PAGE_KIB)


def _private_kib(task: Task) -> str:
    clean, dirty = (_line("smaps_rollup", f"Private_{kind}")(task) for kind in ("Clean", "Dirty"))
    return str(int(clean) + int(dirty))


def _login_uid(task: Task) -> str:
    text = task.file("loginuid").strip()
    return "-" if text in ("", UNSET) else text


def _groups(name: Callable[[int], str]) -> Callable[[Task], str]:
    def column(task: Task) -> str:
        return ",".join(name(int(gid)) for gid in task.status["Groups"].split()) or "-"

    return column


def _autogroup(number: int, none: str) -> Callable[[Task], str]:
    def column(task: Task) -> str:
        if not task.thread.is_leader:  # only /proc/<pid> has the file
            return none
        text = machine_file(task.machine, f"{task.process.pid}/autogroup")
        found = re.search(r"autogroup-(\d+) nice (-?\d+)", text)
        return found[number] if found else none

    return column


def _session_times(seconds: int) -> str:
    return f"{seconds // 60}:{seconds % 60:02d}"


_COLUMNS: dict[str, Callable[[Task], str]] = {
    # Who it is.
    "pid tgid": lambda task: str(task.process.pid),
    "lwp spid tid": lambda task: str(task.thread.tid),
    "ppid": lambda task: str(parent_pid(task.thread)),
    "pgid pgrp": lambda task: str(task.process.pgrp),
    "sess session sid": lambda task: str(task.process.session),
    "tpgid": _field(8),
    "nlwp thcount": lambda task: str(len(task.process.threads)),
    "comm ucmd ucomm": lambda task: task.thread.comm,
    "fname": lambda task: task.thread.comm[:8],
    "args cmd command": _command,
    "exe": lambda task: task.link("exe") or "-",
    "tname tt tty tty8 longtname": _terminal,
    "tty4": lambda task: re.sub(r"^(pts/|tty)", "", _terminal(task)),
    # Whose it is.
    "uid euid ruid suid svuid fuid fsuid": lambda task: str(task.uid),
    "user uname uid_hack euser ruser suser svuser fuser fsuser": lambda task: user_name(task.uid),
    "gid egid rgid sgid svgid fgid fsgid": lambda task: str(task.gid),
    "group egroup rgroup sgroup svgroup fgroup fsgroup": lambda task: _group(task.gid),
    "supgid": _groups(str),
    "supgrp": _groups(_group),
    "luid": _login_uid,
    "label context": lambda task: task.file("attr/current").rstrip("\0\n") or "-",
    # What it does.
    "s state": lambda task: task.letter,
    "stat": _stat,
    "f flag flags": lambda task: f"{task.stat(9) >> 6 & 7:o}",
    "wchan wname": lambda task: _waits_in(task),
    "eip": _hex(30),
    "esp": _hex(29),
    "stackp start_stack": _hex(28),
    "blocked sigmask sig_block": _signals("SigBlk"),
    "caught sigcatch sig_catch": _signals("SigCgt"),
    "ignored sigignore sig_ignore": _signals("SigIgn"),
    "pending sig": _signals("ShdPnd"),
    "sig_pend tsig": _signals("SigPnd"),
    # When it ran, and how.
    "time cputime atime": lambda task: _hours(task.ticks // CLOCK_TICKS_PER_S),
    "times cputimes": lambda task: str(task.ticks // CLOCK_TICKS_PER_S),
    "bsdtime": lambda task: _session_times(task.ticks // CLOCK_TICKS_PER_S),
    "%cpu pcpu": lambda task: _percent(_per_mille(task)),
    "c util": lambda task: str(_per_mille(task) // 10),
    "cp": lambda task: str(_per_mille(task)),
    "etime": _elapsed,
    "etimes": lambda task: str(task.elapsed_s),
    "class cls policy": lambda task: {0: "TS", 1: "FF", 2: "RR", 3: "B", 5: "IDL"}[task.stat(41)],
    "sched": _field(41),
    "rtprio": lambda task: str(task.stat(40)) if task.stat(41) in (1, 2) else "-",
    "ni nice": _field(19),
    "priority": _field(18),
    "pri": lambda task: str(39 - task.stat(18)),
    "pri_api": lambda task: str(-1 - task.stat(18)),
    "pri_bar": lambda task: str(task.stat(18) + 1),
    "pri_baz": lambda task: str(task.stat(18) + 100),
    "pri_foo": lambda task: str(task.stat(18) - 20),
    "intpri opri": lambda task: str(task.stat(18) + 60),
    "psr cpuid lastcpu": _field(39),
    "sgi_p": lambda task: str(task.stat(39)) if task.thread.state is State.RUNNING else "*",
    "numa": lambda task: "0",
    # Its memory.
    "rss rssize rsz sgi_rss": _kib(lambda sizes: sizes.rss_pages),
    "vsz vsize": _kib(lambda sizes: sizes.total_vm_pages),
    "sz": lambda task: str(task.sizes.total_vm_pages),
    "m_size": lambda task: str(task.sizes.total_vm_pages * PAGE_BYTES),
    "%mem pmem": lambda task: _percent(
        task.sizes.rss_pages * 1000 // task.machine.hardware.ram_pages
    ),
    "size": lambda task: str(
        int(_line("status", "VmData")(task)) + int(_line("status", "VmStk")(task))
    ),
    "trs trss tsiz m_trs": lambda task: str(task.text_bytes // 1024),
    "drs dsiz m_drs": lambda task: str((task.stat(23) - task.text_bytes) // 1024),
    "uss": _private_kib,
    "lim": lambda task: "xx" if task.stat(25) == RLIM_INFINITY else str(task.stat(25) >> 10),
    "maj_flt majflt pagein": _field(12),
    "min_flt minflt": _field(10),
    "oom": lambda task: str(task.machine.oom_score(task.process)),
    "oomadj": lambda task: str(task.process.oom_score_adj),
    "rbytes": _line("io", "read_bytes"),
    "rchars": _line("io", "rchar"),
    "rops": _line("io", "syscr"),
    "wbytes": _line("io", "write_bytes"),
    "wcbytes": _line("io", "cancelled_write_bytes"),
    "wchars": _line("io", "wchar"),
    "wops": _line("io", "syscw"),
    # Where it belongs.
    "cgroup cgname": _cgroup,
    "ag_id": _autogroup(1, "-1"),
    "ag_nice": _autogroup(2, "0"),
    **{
        f"{name}ns": _namespace({"mnt": "mnt", "time": "time"}.get(name, name))
        for name in ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
    },
}

_OF_SYSTEMD = "lsession lxc machine ouid seat slice unit uunit"
"""What systemd knows of a session; nothing of it is in /proc."""

_SAMPLES = "_left _left2 _right _right2 _unlimited _unlimited2"
"""Not about tasks: ps prints them to show how it lays columns out."""

_ELSEWHERE = "bsdstart lstart start start_time stime cuc cuu pss zone"
"""Tests of their own, or no meaning on Linux."""

COLUMNS = {name: column for names, column in _COLUMNS.items() for name in names.split()}


def _waits_in(task: Task) -> str:
    """Return the function of the kernel in which it sleeps; who runs is in none."""
    symbol = task.file("wchan")
    return "-" if symbol == "0" else symbol.lstrip("_")


_OF_SEVERAL_WORDS = {"args", "cmd", "command", "comm", "ucmd", "ucomm", "fname", "exe"}
_AT_A_TIME = 20  # ps 4.0.2 crashes on very long lines


def _lines(table: Table, *options: str) -> list[str]:
    return table.on_terminals("ps", "-ww", *options).splitlines()


def _shown(table: Table, names: list[str], *options: str) -> dict[int, dict[str, str]]:
    """Return the columns of all tasks, by tid."""
    words = [name for name in names if name not in _OF_SEVERAL_WORDS]
    batches = [words[n : n + _AT_A_TIME] for n in range(0, len(words), _AT_A_TIME)]
    batches += [[name] for name in names if name in _OF_SEVERAL_WORDS]
    found: dict[int, dict[str, str]] = {}
    for batch in batches:
        layout = [word for name in ("tid", *batch) for word in ("-o", f"{name}:40=")]
        for line in _lines(table, *options, *layout):
            tid, *values = line.split(None, 1 if batch[0] in _OF_SEVERAL_WORDS else -1)
            found.setdefault(int(tid), {}).update(zip(batch, map(str.strip, values), strict=True))
    return found


def test_no_column_is_forgotten(table: Table) -> None:
    listed = {line.split()[0] for line in table.run("ps", "L").splitlines()}
    assert listed == {*COLUMNS, *f"{_OF_SYSTEMD} {_SAMPLES} {_ELSEWHERE}".split()}


@pytest.mark.parametrize("alone", [False, True], ids=["processes", "threads"])
def test_every_column(table: Table, alone: bool) -> None:
    names = sorted(COLUMNS)
    shown = _shown(table, names, "-eL" if alone else "-e")
    machine = table.machine
    threads = list(machine.threads()) if alone else [p.leader for p in machine.processes.values()]
    wrong = []
    for thread in threads:
        task = Task(machine, thread, alone=alone)
        for name in names:
            value, expected = shown[thread.tid][name], COLUMNS[name](task)
            if value != expected:
                wrong.append(f"{thread.tid} {thread.comm}: {name} is {value}, not {expected}")
    assert not wrong, "\n".join(wrong)


# -- When it began -----------------------------------------------------------------


def test_columns_of_the_start(table: Table) -> None:
    """All of them began more than a day ago; ps knows that from btime."""
    names = ("lstart", "start", "bsdstart", "start_time", "stime")
    boot_time = int(re.findall(r"^btime (\d+)$", table.mounted.read("stat"), re.MULTILINE)[0])
    columns = {name: _lines(table, "-eo", f"tid=,{name}=") for name in names}
    shown = {
        name: {int(line.split()[0]): " ".join(line.split()[1:]) for line in lines}
        for name, lines in columns.items()
    }
    for process in table.machine.processes.values():
        began_s = boot_time + process.leader.start_time_ns // NS_PER_S
        began = time.gmtime(began_s)
        day = time.strftime("%b %d", began)
        this_year = began.tm_year == time.gmtime().tm_year
        short = day.replace(" ", "") if this_year else str(began.tm_year)
        assert shown["lstart"][process.pid] == " ".join(time.asctime(began).split())
        for name in ("start", "bsdstart"):
            assert shown[name][process.pid] == day
        for name in ("start_time", "stime"):
            assert shown[name][process.pid] == short


def test_columns_of_the_share_of_a_cpu(table: Table) -> None:
    shown = {int(words[0]): words[1:] for words in table.rows("ps", "-eo", "tid=,cuu=,cuc=")}
    for process in table.machine.processes.values():
        task = Task(table.machine, process.leader, alone=False)
        waited_for = task.stat(16) + task.stat(17)
        for text, ticks in zip(
            shown[process.pid], (task.ticks, task.ticks + waited_for), strict=True
        ):
            percent = ticks / task.elapsed_s if task.elapsed_s else 0
            assert float(text) == pytest.approx(percent, abs=0.01, rel=0.01)


def test_column_of_the_proportional_size(table: Table) -> None:
    """It is a little smaller than without ps, which has mapped the same libraries."""
    shown = {int(words[0]): int(words[1]) for words in table.rows("ps", "-eo", "tid=,pss=")}
    for process in table.machine.processes.values():
        task = Task(table.machine, process.leader, alone=False)
        without_ps = int(_line("smaps_rollup", "Pss")(task))
        assert int(_private_kib(task)) <= shown[process.pid] <= without_ps
        assert shown[process.pid] == pytest.approx(without_ps, rel=0.05)


# -- As people type it -------------------------------------------------------------


def _typed(table: Table, form: str, pid_at: int, command_at: int) -> dict[int, list[str]]:
    """Return the columns of each line by the pid; the command is one, with its blanks."""
    lines = [line.split(None, command_at) for line in _lines(table, form)[1:]]
    return {int(words[pid_at]): words for words in lines}


def test_ps_aux(table: Table) -> None:
    shown = _typed(table, "aux", 1, 10)
    for process in table.machine.processes.values():
        task = Task(table.machine, process.leader, alone=False)
        user, _, *numbers, _, _, command = shown[process.pid]
        expected = [COLUMNS[name](task) for name in ("%cpu", "%mem", "vsz", "rss", "tty", "stat")]
        assert numbers == expected
        assert user_name(task.uid).startswith(user.rstrip("+"))
        assert command == _command(task)


def test_ps_ef(table: Table) -> None:
    shown = _typed(table, "-ef", 1, 7)
    for process in table.machine.processes.values():
        task = Task(table.machine, process.leader, alone=False)
        assert shown[process.pid][2] == COLUMNS["ppid"](task)
        assert shown[process.pid][7] == _command(task)
    assert list(shown) == sorted(shown)


def test_ps_elf_has_a_line_for_each_thread(table: Table) -> None:
    shown = _typed(table, "-eLf", 3, 9)
    for thread in table.machine.threads():
        task = Task(table.machine, thread, alone=True)
        pid, lwp, count = (int(shown[thread.tid][n]) for n in (1, 3, 5))
        assert (pid, lwp) == (thread.process.pid, thread.tid)
        assert count == len(thread.process.threads)
        assert shown[thread.tid][9] == _command(task)


def test_ps_forest_is_the_family(table: Table) -> None:
    """Who is deeper by one is the child of the last one who is not."""
    lines = _lines(table, "-eo", "pid=,args=", "--forest")
    above: list[tuple[int, int]] = []
    parents: dict[int, int] = {}
    for line in lines:
        pid, indent = int(line.split()[0]), line.find("\\_")
        while above and above[-1][0] >= indent:
            above.pop()
        parents[pid] = above[-1][1] if above else 0
        above.append((indent, pid))
    for process in table.machine.processes.values():
        parent = parent_pid(process.leader)
        # ps draws the children of init and of nobody without a line to them.
        assert parents[process.pid] == (0 if parent == 1 else parent)
