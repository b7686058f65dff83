# SPDX-License-Identifier: MIT
"""Targets that read whole texts: scenarios, journals, reports of the OOM killer, words."""

from __future__ import annotations

import io
import json
import re
import tomllib
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

from fakeproc import journal as journals
from fakeproc.cli import _until
from fakeproc.journal import Contents, read, seal
from fakeproc.kernel import behaviour, capability, numa
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.profile import PROFILE_NAMES, AnyKernelConfig, KernelConfig
from fakeproc.procfs import script, state_file
from fakeproc.procfs.clock import parse_speed
from fakeproc.procfs.tree import Procfs
from fakeproc.report.generation import rules_named
from fakeproc.report.lines import messages
from fakeproc.report.options import WhatIf, answer, require_use, what_if
from fakeproc.report.parse import parse
from fakeproc.report.render import data_of, scenario_text_of, text_of
from fakeproc.scenario.keys import TABLES
from fakeproc.scenario.load import builtin_text, find_problems, load_text
from fakeproc.scenario.locate import line_numbers
from fakeproc.toml import format_value
from fakeproc.units import parse_duration_ns, parse_integer, parse_pages
from tests.fuzz import worlds
from tests.fuzz.worlds import look_around, require_refusal, small_machine

_REPORTS = Path(__file__).parents[1] / "oom-reports"

# -- One tree for all --------------------------------------------------------------

_trees: dict[str, Procfs] = {}


def _tree(name: str, machine: Machine) -> Procfs:
    """Return the files of a machine.  Making the whole tree takes longer than most inputs."""
    if name not in _trees:
        _trees[name] = Procfs(machine)
    tree = _trees[name]
    tree.replace_machine(machine)
    return tree


@contextmanager
def _one_tree() -> Iterator[None]:
    """Let events and journals use one tree again and again, as a reboot does."""
    with (
        patch.object(script, "Procfs", lambda machine: _tree("script", machine)),
        patch.object(journals, "Procfs", lambda machine: _tree("journal", machine)),
        patch.object(journals, "load_text", _load_for_journal),
    ):
        yield


def _load_for_journal(text: str, name: str, config: KernelConfig | None = None) -> Machine:
    """Load the scenario of a journal; the usual one, which is long known, at once."""
    if text == USUAL and config is not None and config.base in PROFILE_NAMES:
        return small_machine(config.base)
    return load_text(text, name, config)


USUAL = "version = 1"
"""The scenario of most journals, for which they have the machine of `small_machine`."""

# -- Scenarios ---------------------------------------------------------------------


def _text(data: bytes) -> str | None:
    """Return the text of a file, as it is read; None where it is refused as no UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


# What is accepted and much takes its time, the more so in each other.
_MANY_PROCESSES = re.compile(r"(?:count|threads)[\s\"']*=\s*[+]?(?:[1-9][\d_]{1,6}\b|0[xob])")
_COMPARED_IN = 8
"""One of so many scenarios in which something is wrong is loaded all the same."""


def scenario(data: bytes) -> None:
    """Load a scenario; it loads when nothing is wrong with it, and only then."""
    text = _text(data)
    if text is None or _MANY_PROCESSES.search(text):
        return
    with _one_tree():
        found = find_problems(text, "fuzz.toml")
        for sentence in found:
            sentence.encode(errors="surrogatepass")
        if found and zlib.crc32(data) % _COMPARED_IN:
            return
        machine, why = _loaded(text)
        assert bool(found) == (machine is None), f"{found} was said to be wrong, and: {why}"
        if machine is None:
            return
        look_around(_tree("scenario", machine), thoroughly=False)


def _loaded(text: str) -> tuple[Machine | None, str]:
    """Return the machine of a scenario, or why it is refused."""
    try:
        return load_text(text, "fuzz.toml"), ""
    except Refused as refused:
        require_refusal(refused)
        return None, refused.why


def state(data: bytes) -> None:
    """Load a state; what loads can be written and read again."""
    text = _text(data)
    if text is None:
        return
    with _one_tree():
        try:
            machine = load_text(text, "state.toml")
        except Refused as refused:
            require_refusal(refused)
            return
        written = state_file.render(_tree("scenario", machine))
        load_text(written, "state.toml")


def toml_lines(data: bytes) -> None:
    """Find the lines of all keys of any TOML, not only of scenarios."""
    text = _text(data)
    if text is None:
        return
    try:
        found = tomllib.loads(text)
    except (ValueError, RecursionError):
        return
    lines = line_numbers(text)
    assert lines.keys() >= {(key,) for key in found}, "a key stands nowhere"
    with suppress(RecursionError, ValueError):
        format_value(found)


_TABLE_NAMES = sorted(TABLES)
_KEYS = sorted({key for table in TABLES.values() for key in table.keys})
TOML_TOKENS = (
    *(b"[", b"]", b"[[", b"]]", b"{", b"}", b" = ", b".", b",", b"'", b'"', b'"""', b"'''", b"#"),
    *(b"\n", b"\r\n", b"\\u00e9", b"\\U0001F600", b"\\ud800", b"1979-05-27T07:32:00Z", b"inf"),
    *(b"nan", b"0x1F", b"1_000", b"1e400", b"true", b"false", b"\\\n  ", b"\x7f", b"\xef\xbb\xbf"),
)
SCENARIO_TOKENS = (
    *TOML_TOKENS,
    *(f"\n[[{name}]]\n".encode() for name in ("process", "process.thread", "process.process")),
    *(f"\n[[{name}]]\n".encode() for name in ("memcg", "swap", "event")),
    *(f"\n[{name}]\n".encode() for name in ("machine", "sysctl", "state", "machine.switches")),
    *(f"{key} = ".encode() for key in _KEYS),
    *(
        b"'64M'",
        b"'5s'",
        b"'shared'",
        b"'grow'",
        b"'50M/s'",
        b"'6.18'",
        b"'4.4'",
        b"'/web'",
        b"100",
    ),
    *(b"'trigger'", b"'kill 100 SIGKILL'", b"'write 100/oom_score_adj 5'", b"-1000", b"4294967295"),
    *(b"9223372036854775807", b"1000000000", b"[1, 2]", b"{kind = 'grow', rate = '1M/s'}", b"'x'"),
)
_HEAD = b"version = 1\n[machine]\nfirst_pid = 100\nram = '256M'\nswap = '64M'\n"
SCENARIO_SEEDS = (
    _HEAD + b"kernel = '6.18'\ncpus = 2\nslab = '8M'\ncache = '8M'\nuptime = '10s'\nend = '20s'\n",
    _HEAD + b"[[process]]\nname = 'a'\nrss = '8M'\ncount = 3\nuid = 1000\noom_score_adj = 5\n",
    _HEAD + b"[[process]]\nname = 'a'\n[[process.process]]\nname = 'b'\nvm = 'shared'\n",
    _HEAD + b"[[process]]\nname = 'a'\nthreads = 2\nhold = 'stuck'\nhold_for = '5s'\n",
    _HEAD + b"[[process]]\nname = 'a'\nbehaviour = {kind = 'grow', rate = '1M/s', until = '9M'}\n",
    _HEAD + b"[[memcg]]\npath = '/web'\nlimit = '64M'\n[[process]]\nname = 'w'\nmemcg = '/web'\n",
    _HEAD + b"[[event]]\nat = '0s'\ndo = ['spawn name=x rss=1M', 'trigger', 'write comm x']\n",
    _HEAD + b"patches = [1, 2]\nnodes = ['1G', '1G']\n[sysctl]\n'vm.swappiness' = 10\n",
    _HEAD + b"[machine.switches]\nvfork_exempt = 'none'\n[[swap]]\nname = 'a'\nsize = '64M'\n",
    builtin_text("patch-4").encode(),
)
TOML_SEEDS = (
    b'a.b."c d" = \'x\'\n[[t]]\nx = [1, [2, {y = 3}]]\n[t.u]\n\'k\' = """a\n\\\n b"""\n',
    b"[a]\r\nb = '''x\r\ny''''\r\n# c\n[a.c]\nd = {e.f = 1, g = []}\n",
    b'a = "\\u00e9\\U0001F600\\t"\nb = 1979-05-27 07:32:00\nc = -inf\nd = 0b11\n',
)


def _states() -> Iterator[bytes]:
    for kernel in ("series", "4.4", "6.18"):
        machine = small_machine(kernel)
        yield state_file.render(_tree("scenario", machine)).encode()


STATE_SEEDS = tuple(_states())

# -- Journals ----------------------------------------------------------------------

_MANY = 50
"""So many inputs are replayed at most."""


def _replay(contents: Contents) -> None:
    with _one_tree():
        try:
            procfs = contents.replayed(_MANY)
        except Refused as refused:
            require_refusal(refused)
            return
        look_around(procfs, thoroughly=contents.checksum % worlds.checked_in == 0)


def journal(data: bytes) -> None:
    """Read an arbitrary file back, and replay it."""
    try:
        contents = read("fuzz.journal", data)
    except Refused as refused:
        require_refusal(refused)
        return
    assert contents.length + contents.torn_bytes == len(data)
    if contents.header is not None:
        _replay(contents)


def journal_lines(data: bytes) -> None:
    """Read a journal whose checksums are right, whatever is in its lines.

    The first line is the header that there always is, with what the first line of the data
    changes in it; the others are inputs.
    """
    first, *lines = data.split(b"\n")
    checksum = 0
    sealed = b""
    header = {**_HEADER, **(_object(first) or {})}
    for values in (header, *filter(None, map(_object, lines[:_MANY]))):
        line, checksum = seal(values, checksum)
        sealed += line
    journal(sealed)


def _object(line: bytes) -> dict[str, Any] | None:
    """Return a line as it is read; None for what is no object, or not read at all."""
    try:
        found = json.loads(line)
        json.dumps(found)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


_HEADER: Mapping[str, Any] = {
    "fakeproc": "journal", "version": 1, "name": "x", "kernel": "6.18", "clock_speed": "1",
    "manual_clock": True, "boot_time_s": 1500000000,
    "scenario": USUAL,
}  # fmt: skip
_CALLER = {
    "uid": 0, "gid": 0, "caps": 2**38 - 1, "tid": 100, "tgid": 100, "comm": "sh", "host_pid": 70,
    "may_become": True,
}  # fmt: skip
_PLACED = {**_CALLER, "cpuset": "/s", "mems": 1, "mempolicy": "bind", "nodes": 1}


def _entries() -> Iterator[dict[str, Any]]:
    for path, data in (
        ("/100/oom_score_adj", "5"), ("/fakeproc/ctl", "spawn name=x rss=1M\n"), ("/100/comm", "x"),
        ("/fakeproc/clock", "+5s"), ("/fakeproc/oom_trigger", "1"), ("/sys/vm/swappiness", "5"),
        ("/fakeproc/ctl", "become 100"), ("/fakeproc/ctl", "reboot"), ("/fakeproc/kernel", "4.4"),
    ):  # fmt: skip
        yield {"t": 0, "write": path, "data": data, "caller": _CALLER}
    yield {"t": 5, "write": "/100/oom_adj", "data": "\udcff", "caller": _PLACED}
    yield {"t": 1000, "mkdir": "/fakeproc/cgroup/a", "caller": _CALLER}
    yield {"t": 1000, "rmdir": "/fakeproc/cgroup/a", "caller": _CALLER}
    adopted = {"adopt": 300, "tid": 300, "comm": "sh", "uid": 0, "gid": 0, "caps": 0}
    yield {"t": 2000, **adopted, "host_pid": 70, "parent": 0, "cmdline": ["a"], "pgrp": 300}
    yield {"t": 2000, **adopted, "tid": 301, "host_pid": 70, "parent": 100, "session": 1}
    yield {"t": 2000, "depart": 70}
    yield {"t": 10**10}


_LINES = tuple(json.dumps(entry).encode() for entry in _entries())
JOURNAL_LINE_SEEDS = (
    *(b"{}\n" + line for line in _LINES),
    b"{}\n" + b"\n".join(_LINES),
    b'{"kernel": "4.7 +3 -5", "clock_speed": "1/3"}\n',
    b'{"scenario": "version = 1\\n[[process]]\\nname = \'a\'", "boot_time_s": 5}\n',
)


def _sealed(*entries: bytes) -> bytes:
    checksum, sealed = 0, b""
    for values in (_HEADER, *map(json.loads, entries)):
        line, checksum = seal(dict(values), checksum)
        sealed += line
    return sealed


JOURNAL_SEEDS = (_sealed(), _sealed(_LINES[0]), _sealed(*_LINES[:2]), _sealed() + b'{"t":5,"wri')
JOURNAL_TOKENS = (
    *(f'"{key}":'.encode() for key in (*_HEADER, *_PLACED, "t", "write", "data", "caller")),
    *(f'"{key}":'.encode() for key in ("mkdir", "rmdir", "adopt", "depart", "parent", "cmdline")),
    *(f'"{key}":'.encode() for key in ("pgrp", "session")),
    *(b"{", b"}", b"[", b"]", b",", b"\n", b"null", b"true", b"NaN", b"Infinity", b"-1", b"1e400"),
    *(
        b'"\\ud800"',
        b'"\\u0000"',
        b"1000000000000000000000",
        b'"1/0"',
        b'"nan"',
        b'"4.7 +3"',
        b'""',
    ),
    *(b'"/fakeproc/ctl"', b'"/100/comm"', b'"reboot"', b'"/fakeproc/cgroup/a/b"', b"100", b"1.5"),
    *(b',"crc":"00000000"}\n', b'{"fakeproc":"journal",'),
)

# -- Reports of the OOM killer -----------------------------------------------------

_MOST_REPORTS = 2


def report(data: bytes) -> None:
    """Find the reports in a log."""
    parse(messages(io.BytesIO(data)))


def report_answer(data: bytes) -> None:
    """Find them and say all that there is to say, as it is and with options."""
    reports = parse(messages(io.BytesIO(data)))
    for number, found in enumerate(reports[:_MOST_REPORTS], 1):
        try:
            said = answer(number, found, WhatIf())
            text = scenario_text_of(said, "fuzz.log")
            json.dumps(data_of(said))
            text_of(said, of=len(reports))
            load_text(text, "report.toml")
        except Refused as refused:
            require_refusal(refused)
            continue
        for options in _OPTIONS:
            with suppress(Refused):
                require_use(options, reports)
                text_of(answer(number, found, options), of=len(reports))


_OPTIONS = (
    what_if(("mysqld=-900", "1=5"), ram="1G", swap=None, limit=None, kernel=None),
    what_if((), ram=None, swap="1G", limit="64M", kernel="6.18"),
)
REPORT_SEEDS = tuple(
    path.read_bytes() for path in sorted(_REPORTS.glob("*.txt")) if path.stat().st_size < 2000
)
REPORT_TOKENS = (
    *(b"invoked oom-killer: gfp_mask=0x201da, order=0, oom_score_adj=0\n", b"Mem-Info:\n"),
    *(b"[ pid ]   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name\n", b"9" * 30),
    *(b"[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name\n",),
    *(b"[  100]     0   100     5000      500      10        0             0 mysqld\n", b"\n"),
    *(b"Out of memory: Kill process 100 (mysqld) score 5 or sacrifice child\n", b" kB", b"\xff"),
    *(b"Killed process 100 (mysqld) total-vm:20000kB, anon-rss:2000kB, file-rss:0kB\n", b"<6>"),
    *(b"oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0",),
    *(b",oom_memcg=/a,task_memcg=/a/b,task=x,pid=100,uid=0\n", b"memory: usage 5kB, limit 6kB"),
    *(b"Task in /a killed as a result of limit of /b\n", b"100 pages RAM\n", b"5 pages reserved\n"),
    *(b"Total swap = 100kB\n", b"[    1.000000] ", b"Nov 25 10:00:00 host kernel: ", b'{"log":"'),
    *(b"Kernel panic - not syncing: Out of memory", b"CPU: 0 PID: 5 Comm: x Not tainted 4.4.0 "),
    *(b"Tasks in /a are going to be killed due to memory.oom.group set\n", b"managed:5kB"),
    *(b"oom_reaper: reaped process 5 (x), now anon-rss:0kB\n", b"mems_allowed=0-4095"),
    *(b"Node 0 Normal free:1kB",),
)  # fmt: skip


def what_if_options(data: bytes) -> None:
    """Read the options of ``explain --dmesg``, a line each: changes, then sizes and a kernel."""
    lines = data.decode(errors="surrogateescape").split("\n")
    ram, swap, limit, kernel = (line or None for line in [*lines, "", "", "", ""][:4])
    with suppress(Refused):
        what_if(lines[4:], ram=ram, swap=swap, limit=limit, kernel=kernel)


WHAT_IF_TOKENS = (b"=", b"\n", b"-900", b"1G", b"64M", b"6.18", b"2.6", b"4.19", b"mysqld", b"100=")
WHAT_IF_SEEDS = (b"1G\n64M\n\n6.18\nmysqld=-900\n100=5", b"\n\n5G\n2.6.32\na=b=5", b"\n\n\nseries")

# -- Words -------------------------------------------------------------------------

_PARSERS: tuple[Callable[[str], object], ...] = (
    parse_pages,
    lambda text: parse_duration_ns("", text),
    lambda text: parse_integer("key", text, -1000, 2**64, hexadecimal=True),
    parse_speed,
    _until,
    rules_named,
    KernelConfig,
    AnyKernelConfig,
    lambda text: numa.parse_list("nodemask", text, 3),
    lambda text: numa.changed(numa.ANYWHERE, {"mempolicy": text}, 3),
    lambda text: numa.changed(numa.ANYWHERE, {"mems_allowed": text, "cpuset": text}, 3),
    lambda text: capability.parse(text, 2**38 - 1),
    lambda text: behaviour.parse({"behaviour": "grow", "rate": text}),
    lambda text: behaviour.parse({"behaviour": "fork-storm", "children": text, "max": text}),
    lambda text: behaviour.parse({"behaviour": text, "exit_delay": text}),
    script.require_known,
)


def units(data: bytes) -> None:
    """Read one word as everything that people write: sizes, times, kernels, lists, rights."""
    text = data.decode(errors="surrogateescape")
    for read_word in _PARSERS:
        try:
            read_word(text)
        except Refused as refused:
            require_refusal(refused)
