# SPDX-License-Identifier: MIT
"""The targets: `TARGETS` has a row for each parser of bytes that come from outside.

To add one, write a function that takes bytes and lets through nothing but internal errors,
and add a row.  What the parser declares (`Refused`, for most) the function handles itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from fakeproc.kernel.behaviour import BehaviourKind
from fakeproc.kernel.kept_sysctls import KEPT
from fakeproc.kernel.profile import HISTORY, PROFILE_NAMES, render_value
from fakeproc.kernel.sysctl import SYSCTLS, VECTOR
from fakeproc.procfs.cgroup_files import CGROUP_FILES
from fakeproc.procfs.ctl import COMMANDS
from tests.fuzz import files, texts
from tests.fuzz.worlds import APP, THREAD, WEB, select

Run = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Target:
    """A row of the table."""

    run: Run
    """Raises on an internal error, and only then."""
    tokens: tuple[bytes, ...]
    """Words of the language, which a fuzzer puts together."""
    seeds: tuple[bytes, ...]
    """Inputs that go far."""
    max_length: int = 256
    """How long an input may be made; what parsers do with long ones the corpus shows."""


# -- Writes to one file ------------------------------------------------------------


def _to_file(path: str) -> Run:
    def run(data: bytes) -> None:
        world, caller, written = select(data)
        world.write(path, caller, written, data)

    return run


def _to_one_of(paths: dict[str, str]) -> Run:
    """Write to the file that the text before the first ``=`` names."""
    names = sorted(paths)

    def run(data: bytes) -> None:
        world, caller, rest = select(data)
        head, _, written = rest.partition(b"=")
        name = head.decode(errors="replace")
        if name not in paths:
            name = names[sum(head) % len(names)]
        world.write(paths[name], caller, written, data)

    return run


def _mkdir(data: bytes) -> None:
    world, caller, name = select(data)
    # The kernel passes on no name with a slash or a NUL, and none of more than 255 bytes.
    text = re.sub(rb"[/\0]", b"_", name)[:255].decode(errors="surrogateescape")
    world.make_and_remove("/fakeproc/cgroup/web", caller, text or "_", data)


_NUMBERS = (
    *(b"0", b"1", b"-1", b"-17", b"15", b"16", b"1000", b"1001", b"-1000", b"0x10", b"010", b"+5"),
    *(b"2147483647", b"2147483648", b"-2147483649", b"4294967296", b"18446744073709551616"),
    *(b"\n", b"\0", b" ", b"\t", b"\v", b"\xa0", b"1e3", b"0x", b"08", b"--5", b"9" * 22),
)
_SIZES = (b"64M", b"1.5G", b"4096", b"64k", b"9T", b"999999999999T", b"0.000000001", b"1e9", b"KiB")
_TIMES = (b"500ms", b"5s", b"2m", b"1h", b"1ns", b"99999999999999999999h", b"0.5us", b"+", b"-1s")


def _words(*kinds: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(word.encode() for kind in kinds for word in kind)


_CTL_KEYS = sorted({key for command in COMMANDS.values() for key in command.keys})
CTL_VALUES = (
    *("shared", "copied", "yes", "no", "none", "all", "max", "SIGKILL", "15", "STOP", "/web"),
    *("at-exit", "stuck", "frozen", "mmap-lock", "coredump", "50M/s", "5/s", "bind:0", "0-1", "0"),
    *("interleave:0", "preferred:0", "pts/0", "A=1", "-sys_admin", "+kill", "0x3fffffffff"),
    *map(str, (1, 2, APP, THREAD, WEB, 4194304)),
)
_CTL_SEEDS = (
    b"Aspawn name=x rss=4M uid=33 oom_score_adj=-500 caps=all",
    b"Aspawn name=x behaviour=grow rate=50M/s until=20M exit_delay=3s",
    b"Aspawn behaviour=fork-storm children=5/s max=100 child=4M ignore_sigterm=yes",
    b"Aspawn behaviour=sawtooth rate=1M/s period=10s",
    b"Aclone parent=100 vm=shared vfork=yes name=c\nexec 104 name=e rss=1M cmdline='a b'\n",
    b"Athread 100 name=t tid=200\nexit 200 status=3\n",
    b"Akill 100 SIGKILL\nreap 100\nreap 101\n",
    b"Aset 103 rss=1G swap=0 name=w uid=0 caps=-kill cwd=/ exe=/x environ='A=1' nice=-5 tty=pts/0",
    b"Aset 100 cpuset=/s mems_allowed=0 mempolicy=bind:0 oom_origin=yes this_thread=yes",
    b"Amemcg /a/b limit=16M oom_group=yes oom_kill_disable=no\njoin 100 /a/b",
    b"Ahold 100 stuck for=500ms\nrelease 100\nmrelease 103 flags=0",
    b"Aswapon x size=1G priority=5\nswapoff x\ncache clean=1M dirty=1M\nslab reclaimable=1M",
    b"Akthread name=k use_mm=100\nbehave 100 none\nexit-leader 100\nhelp\nreboot\n# x",
    b"Bbecome 100", b"Cbecome none", b"Bspawn name='x y' parent=100",
)  # fmt: skip

_SWITCHES = tuple(
    f"{name}={render_value(change.value)}".encode()
    for name, changes in HISTORY.items()
    for change in changes
)
_TRIGGER_WORDS = _words(
    ("pid=", "order=", "gfp_mask=", "memcg=", "nodemask=", "100", "0xcc0", "/web", "0-1", "0,2")
)
_TASK_FILES = {
    name: f"/{APP}/{name}"
    for name in (
        *("comm", "coredump_filter", "timerslack_ns", "loginuid", "clear_refs", "mem", "sched"),
        *("uid_map", "setgroups", "timens_offsets", "autogroup", "stat", "attr/current"),
        *(f"task/{THREAD}/comm", f"task/{THREAD}/oom_score_adj"),
    )
}
_SYSCTL_FILES = {name: f"/sys/{name}" for name in (*SYSCTLS, VECTOR)} | {
    name: f"/sys/{name}"
    for name in ("vm/drop_caches", "vm/compact_memory", "vm/nr_hugepages", "vm/stat_refresh")
}
_KEPT_FILES = {name: f"/sys/{name}" for name in (*KEPT, "kernel/hostname", "kernel/ns_last_pid")}
_CGROUP_PATHS = {name: f"/fakeproc/cgroup/web/{name}" for name in CGROUP_FILES}
_PSI_FILES = {
    **{name: f"/pressure/{name}" for name in ("memory", "cpu", "io")},
    **{f"web/{name}": f"/fakeproc/cgroup/web/{name}.pressure" for name in ("memory", "cpu", "io")},
}


def _writes(run: Run, tokens: Iterable[bytes], *seeds: bytes, max_length: int = 256) -> Target:
    return Target(run, tuple(dict.fromkeys(tokens)), seeds, max_length)


TARGETS: dict[str, Target] = {
    "oom_adj": _writes(_to_file(f"/{APP}/oom_adj"), _NUMBERS, b"A5", b"B-17", b"E15\n", b"M 8 "),
    "oom_score_adj": _writes(
        _to_file(f"/{APP}/oom_score_adj"), _NUMBERS, b"A500", b"B-1000", b"N0x10\n", b"E7\0"
    ),
    "oom_score": _writes(_to_file(f"/{APP}/oom_score"), _NUMBERS, b"A5", b"N1"),
    "ctl": _writes(
        _to_file("/fakeproc/ctl"),
        (
            *(f"{name} ".encode() for name in COMMANDS),
            *(f" {key}=".encode() for key in _CTL_KEYS),
            *_words(CTL_VALUES, BehaviourKind),
            *_SIZES,
            *_TIMES,
            *_NUMBERS,
            b"'",
            b'"',
            b"\\",
            b"#",
        ),
        *_CTL_SEEDS,
    ),
    "oom_trigger": _writes(
        _to_file("/fakeproc/oom_trigger"),
        (*_TRIGGER_WORDS, *_NUMBERS),
        b"A1",
        b"Apid=100 order=2 gfp_mask=0xcc0",
        b"Amemcg=/web",
        b"Mnodemask=0 order=10",
    ),
    "explain": _writes(
        _to_file("/fakeproc/explain"), (*_TRIGGER_WORDS, *_NUMBERS), b"A1", b"Amemcg=/web pid=103"
    ),
    "clock": _writes(
        _to_file("/fakeproc/clock"),
        (b"real", b"manual", b"speed ", *_TIMES, *_NUMBERS),
        b"A+500ms",
        b"Amanual",
        b"Aspeed 0.5",
        b"A+1h",
    ),
    "kernel": _writes(
        _to_file("/fakeproc/kernel"),
        (*_words(PROFILE_NAMES), b"kernel ", b"patch ", b"no-patch ", b"=", *_SWITCHES, *_NUMBERS),
        b"Akernel 4.7\npatch 3",
        b"Ano-patch 5  # x",
        b"A6.18",
        b"M" + _SWITCHES[0],
    ),
    "sysctl": _writes(
        _to_one_of(_SYSCTL_FILES),
        (*(name.encode() + b"=" for name in _SYSCTL_FILES), *_NUMBERS),
        b"Avm/swappiness=60 x",
        b"Avm/lowmem_reserve_ratio=256 256 32",
        b"Avm/drop_caches=3",
        b"Mvm/overcommit_kbytes=0x10",
        b"Akernel/pid_max=400",
    ),
    "kept_sysctl": _writes(
        _to_one_of(_KEPT_FILES),
        (*(name.encode() + b"=" for name in _KEPT_FILES), *_NUMBERS),
        b"Akernel/hostname=box",
        b"Akernel/ns_last_pid=300",
        b"Mkernel/core_pattern=|/x %p",
        b"Anet/ipv4/ip_local_port_range=1 2",
        b"Mkernel/printk=4 4 1 7",
    ),
    "sysrq": _writes(_to_file("/sysrq-trigger"), (b"f", b"x", b"\0"), b"Af", b"Ax", b"Mff"),
    "psi": _writes(
        _to_one_of(_PSI_FILES),
        (
            *(n.encode() + b"=" for n in _PSI_FILES),
            b"some ",
            b"full ",
            b"150000",
            b"1000000",
            b"2000000",
            *_NUMBERS,
        ),
        b"Mmemory=some 150000 1000000\0",
        b"Nweb/io=full 1 2000000\0",
        b"Mcpu=full 1 500000",
    ),
    "cgroup": _writes(
        _to_one_of(_CGROUP_PATHS),
        (*(n.encode() + b"=" for n in _CGROUP_PATHS), b"max", b"64M", b"7E", b"0x10k", *_NUMBERS),
        b"Mmemory.max=64M",
        b"Mcgroup.procs=100",
        b"Mmemory.oom.group=1",
        b"Ocgroup.procs=0",
        b"Amemory.oom_control=1",
        b"Mmemory.max=max",
    ),
    "cgroup_mkdir": _writes(_mkdir, (b"memory.max", b"\n", b"..", b".", b"\xff"), b"Aa", b"M\xff"),
    "devkmsg": _writes(
        _to_file("/fakeproc/devkmsg"),
        (b"<", b">", b"<6>", b"<4294967303>", b"<30>", b"\n", b"\0", b"\xff", b"\\"),
        b"A<6>hello\n",
        b"M<30>x",
        b"A\xff\0",
    ),
    "task_files": _writes(
        _to_one_of(_TASK_FILES),
        (*(name.encode() + b"=" for name in _TASK_FILES), *_NUMBERS, b"monotonic", b"deny"),
        b"Ccomm=x\n",
        b"Ctimerslack_ns=50000",
        b"Cloginuid=1000",
        b"Ccoredump_filter=0x33",
        b"Aclear_refs=1",
        b"Msetgroups=deny",
        b"Mtimens_offsets=monotonic 1 0",
    ),
    "scenario": Target(texts.scenario, texts.SCENARIO_TOKENS, texts.SCENARIO_SEEDS, 1024),
    "state": Target(texts.state, texts.SCENARIO_TOKENS, texts.STATE_SEEDS, 4096),
    "toml_lines": Target(texts.toml_lines, texts.TOML_TOKENS, texts.TOML_SEEDS, 512),
    "journal": Target(texts.journal, texts.JOURNAL_TOKENS, texts.JOURNAL_SEEDS, 1024),
    "journal_lines": Target(
        texts.journal_lines, texts.JOURNAL_TOKENS, texts.JOURNAL_LINE_SEEDS, 1024
    ),
    "report": Target(texts.report, texts.REPORT_TOKENS, texts.REPORT_SEEDS, 4096),
    "report_answer": Target(texts.report_answer, texts.REPORT_TOKENS, texts.REPORT_SEEDS, 4096),
    "what_if": Target(texts.what_if_options, texts.WHAT_IF_TOKENS, texts.WHAT_IF_SEEDS),
    "units": Target(
        texts.units,
        (*_SIZES, *_TIMES, *_NUMBERS, *_words(PROFILE_NAMES, CTL_VALUES)),
        (b"300M", b"1.5G", b"500ms", b"0x10", b"50M/s", b"bind:0", b"0-1,3", b"-sys_admin"),
    ),
    "snapshot": Target(files.snapshot, files.TOKENS, files.SEEDS, 8192),
}
"""Every target, by name."""

CORPUS = Path(__file__).parent / "corpus"


def corpus_of(name: str) -> list[Path]:
    """Return the files of a target's corpus."""
    folder = CORPUS / name
    return sorted(folder.iterdir()) if folder.is_dir() else []
