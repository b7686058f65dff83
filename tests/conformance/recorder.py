# SPDX-License-Identifier: MIT
"""Plays scenarios in a live kernel and says what it does; runs there as pid 1.

`live` boots the kernel and makes recordings of what this prints.  Argument: the
job, a JSON file.  Output: events, one JSON list a line, in the job's folder; whatever is known
when the kernel panics has been written by then.

    ["env", {...}]              what tests/goldens/README.md calls env
    ["begin", ID]
    ["pids", {...}]             of the tasks, and of the recorder
    ["start", {...}]            the members of an observation that precede its steps
    ["marker", N]               a kernel log line that ends with step N's marker follows
    ["step", {...}]             one element of steps; "log" is the whole log
    ["end", ERROR or null]
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import resource
import signal
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.conformance.actors import (
    Actor,
    Call,
    Caller,
    Channel,
    Gone,
    Own,
    Pointer,
    Slow,
    close_file,
    errno_name,
    failing,
    mount,
    open_file,
    operate,
    swapon,
)  # fmt: skip

HERE = "/mnt"
"""A tmpfs in the live kernel; the host's files are read-only but for the job's folder."""

JOB, EVENTS, ACTOR, PAGES = "job.json", "events", "actor", "pages"
"""Files of that folder; PAGES is what file mappings map."""

MARKER = "recorder: step"
OOM_FILES = ("oom_adj", "oom_score_adj", "oom_score")
START_COLUMNS = [
    "state", "ppid", "uid", "threads", "cap_eff", "vm_kb", "rss_kb", "anon_kb", "file_kb",
    "shmem_kb", "pte_kb", "pmd_kb", "swap_kb", *OOM_FILES,
]  # fmt: skip
BEFORE_COLUMNS = ["rss_kb", "oom_score_adj", "oom_score"]
DEAD = ("Z", "X", "gone")

_HOST = f"{HERE}/host"
_STATUS = {
    "vm_kb": "VmSize", "rss_kb": "VmRSS", "anon_kb": "RssAnon", "file_kb": "RssFile",
    "shmem_kb": "RssShmem", "pte_kb": "VmPTE", "pmd_kb": "VmPMD", "swap_kb": "VmSwap",
}  # fmt: skip
_CAPABILITIES = {
    "dac_override": 1,
    "setuid": 7,
    "ipc_lock": 14,
    "sys_admin": 21,
    "sys_resource": 24,
}
_CAPABILITY_VERSION_3 = 0x20080522
_PR_SET_DUMPABLE, _PR_SET_KEEPCAPS = 4, 8
_CLONE_FLAGS = {
    "fork": 0,
    "vm": 0x100,
    "vm_sighand": 0x900,
    "vfork": 0x4100,
    "vfork_novm": 0x4000,
    "thread": 0x50F00,
}
_MAP_FLAGS = {"anon": 0x22, "shmem": 0x21, "file": 0x02}
_PTRACE_CONT, _PTRACE_SEIZE, _PTRACE_O_TRACEEXIT = 7, 0x4206, 0x40
_SIGNALS = [n for n in range(1, 65) if n not in (signal.SIGKILL, signal.SIGSTOP)]
_NO_AFTER = {
    "open", "read", "stat", "sweep", "snapshot", "sysrq_f", "hog", "mem", "join", "sleep", "freeze",
    "thaw", "seize", "cont", "sysctl",
}  # fmt: skip

# The kernel prints ten reports in five seconds; when its seconds begin is known only roughly.
_REPORTS, _REPORTS_S = 9, 5.2
_HOG_S = 20.0
_SETTLE_TICKS, _CALM = 300, 3
_TICK_S = 0.01


class Unable(Exception):
    """A scenario cannot be played here; the text says why."""


def main() -> None:
    """Play the scenarios of the job, then switch the machine off."""
    _prepare(Path(sys.argv[1]))
    job = json.loads(Path(f"{_HOST}/{JOB}").read_text())
    recorder = Recorder(_become_init_beside() if job["init_actor"] else None)
    if job["swap"]:
        swapon("/dev/ubda")
    recorder.emit("env", _env())
    for scenario in job["scenarios"]:
        recorder.record(scenario)
    _write("/proc/sysrq-trigger", "o")
    time.sleep(60)


def _prepare(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    mount("proc", "/proc", "proc")
    mount("tmpfs", HERE, "tmpfs")
    mount("host", _HOST, "hostfs", os.fspath(folder))
    _write("/proc/self/comm", "python3")
    _write("/proc/sys/kernel/randomize_va_space", "0")  # tasks touch the same pages every time
    _write("/proc/sys/kernel/sysrq", "1")


def _become_init_beside() -> Actor:
    """Go on in a child; what was pid 1 becomes an actor, which is returned."""
    init = Actor("init", Channel(f"{HERE}/init"))
    if os.fork():
        os.execv(f"{_HOST}/{ACTOR}", [ACTOR, *init.channel.names])
    init.greet()
    init.tgid = init.tid
    init.rename(init.name)
    return init


def _env() -> dict[str, Any]:
    meminfo = _meminfo()
    zones = Path("/proc/zoneinfo").read_text()
    return {
        "release": os.uname().release,
        "page_size": resource.getpagesize(),
        "root_caps": _status("self")["CapEff"],
        "MemTotal_kb": meminfo["MemTotal"],
        "SwapTotal_kb": meminfo["SwapTotal"],
        "present_pages": sum(map(int, re.findall(r"present +(\d+)", zones))),
    }


class Recorder:
    """Plays one scenario after the other."""

    def __init__(self, init: Actor | None) -> None:
        self._own = Own()
        self._init = init
        self._events = open(f"{_HOST}/{EVENTS}", "a", buffering=1)  # noqa: SIM115
        self._kmsg = os.open("/dev/kmsg", os.O_RDWR | os.O_NONBLOCK)
        self._channels = 0
        self._actors: dict[str, Actor] = {}
        self._threads: set[str] = set()
        self._kept: dict[str, tuple[Caller, int]] = {}
        self._mounted: set[str] = set()
        self._memcgs: list[str] = []
        self._sysctls: dict[str, str] = {}
        self._last: dict[str, list[Any]] = {}
        self._reports = 0
        self._reports_since = -math.inf

    def emit(self, kind: str, value: Any) -> None:
        """Write an event; the host sees it at once."""
        self._events.write(json.dumps([kind, value]) + "\n")

    def record(self, scenario: dict[str, Any]) -> None:
        """Play a scenario, then put everything back."""
        self._wait_for_reports(scenario)
        self._read_log()
        self.emit("begin", scenario["id"])
        error = None
        try:
            self._set_up(scenario)
            self._survive(scenario)
            for number, step in enumerate(scenario["steps"]):
                self.emit("step", self._step(number, step))
        except (Unable, Gone, Slow, OSError, KeyError) as reason:
            error = f"{type(reason).__name__}: {reason}"
        self.emit("end", error)
        self._clean_up()

    def _wait_for_reports(self, scenario: dict[str, Any]) -> None:
        """Wait until the kernel would not hold back a report of this scenario."""
        ops = [step["op"] for step in scenario["steps"]]
        wanted = ops.count("sysrq_f") + 3 * ops.count("hog")
        left_s = self._reports_since + _REPORTS_S - time.monotonic()
        if left_s > 0 and self._reports + wanted > _REPORTS:
            time.sleep(left_s)

    def _survive(self, scenario: dict[str, Any]) -> None:
        """See to it that the recorder is not killed where it is not init."""
        if self._init is not None and any(s["op"] in ("sysrq_f", "hog") for s in scenario["steps"]):
            _write("/proc/self/oom_score_adj", "-1000")

    def _count_reports(self, log: list[str]) -> None:
        now = time.monotonic()
        if now > self._reports_since + _REPORTS_S:
            self._reports, self._reports_since = 0, now
        self._reports += sum("invoked oom-killer" in line for line in log)

    # -- Set-up ----------------------------------------------------------------------

    def _set_up(self, scenario: dict[str, Any]) -> None:
        failures: list[list[Any]] = []
        for memcg in scenario.get("memcgs", []):
            self._make_memcg(memcg)
        for task in scenario["tasks"]:
            failures += self._make(task)
        start = {name: self._row(name) for name in self._processes()}
        for name, row in start.items():
            self._last[name] = row[-3:] if len(row) > 1 else self._shown(name)
        self.emit("pids", self._pids())
        members: dict[str, Any] = {}
        if failures:
            members["setup"] = failures
        if log := self._read_log():
            members["setup_log"] = log
        self.emit("start", members | {"start": start})

    def _pids(self) -> dict[str, int]:
        return {"recorder": os.getpid()} | {n: actor.tid for n, actor in self._actors.items()}

    def _make_memcg(self, memcg: dict[str, Any]) -> None:
        folder = f"{self._hierarchy('memory')}/rec_{memcg['name']}"
        os.mkdir(folder)
        self._memcgs.append(folder)
        _write(f"{folder}/memory.limit_in_bytes", f"{memcg['limit_kb']}k")

    def _hierarchy(self, controller: str) -> str:
        folder = f"{HERE}/{controller}"
        if controller not in self._mounted:
            mount("none", folder, "cgroup", controller)
            self._mounted.add(controller)
        return folder

    def _make(self, task: dict[str, Any]) -> list[list[Any]]:
        """Make a task as its fields say; return what failed."""
        name = task["name"]
        self._create(task)
        for kind in ("anon", "shmem", "file"):
            if kb := task.get(f"{kind}_kb"):
                self._map(self._actors[name], kind, kb)
        if task.get("mlock"):
            self._actors[name].call(Call.MLOCKALL, 1)
        for _ in range(1, task.get("threads", 1)):
            self._actors[name].call(Call.CLONE, _CLONE_FLAGS["thread"])
        if "signals" in task:
            self._take_no_signals(self._actors[name], task["signals"])
        if "memcg" in task:
            self._join(name, task["memcg"])
        failures: list[list[Any]] = []
        for file in ("oom_score_adj", "oom_adj"):
            if file in task:
                result = self._write_file(
                    self._own, f"{self._actors[name].tgid}/{file}", task[file]
                )
                if not isinstance(result.get("ret"), int):
                    failures.append([name, file, result])
        if "uid" in task or "caps" in task:
            failures += self._set_credentials(name, task)
        if task.get("exec"):
            self._exec(name)
        return failures

    def _create(self, task: dict[str, Any]) -> None:
        name, kind = task["name"], task.get("create", "fork")
        parent = self._parent_of(task)
        actor = self._clone(name, parent, kind) if parent else self._start(name)
        actor.tgid = parent.tgid if parent and kind == "thread" else actor.tid
        if kind == "thread":
            self._threads.add(name)
        self._actors[name] = actor
        actor.rename(task.get("comm", name))

    def _parent_of(self, task: dict[str, Any]) -> Actor | None:
        parent = task.get("parent")
        if parent == "init":
            if self._init is not None:
                self._actors = {"init": self._init} | self._actors
            return self._init
        return None if parent is None else self._actors[parent]

    def _channel(self) -> Channel:
        self._channels += 1
        return Channel(f"{HERE}/{self._channels:05}")

    def _start(self, name: str) -> Actor:
        channel = self._channel()
        os.posix_spawn(f"{_HOST}/{ACTOR}", [ACTOR, *channel.names], {})
        actor = Actor(name, channel)
        actor.greet()
        return actor

    def _clone(self, name: str, parent: Actor, kind: str) -> Actor:
        channel = self._channel()
        exit_signal = 0 if kind == "thread" else signal.SIGCHLD
        flags = _CLONE_FLAGS[kind] | exit_signal
        payload = channel.payload()
        second = Pointer(len(channel.names[0]) + 1)
        parent.ask(Call.CLONE, flags, Pointer(), second, payload=payload)
        if not kind.startswith("vfork"):
            result, _ = parent.reply()
            if result < 0:
                raise Unable(f"{name}: clone: {errno_name(result)}")
        actor = Actor(name, channel)
        actor.greet()
        return actor

    def _map(self, actor: Actor, kind: str, kb: int) -> int | str:
        size = kb * 1024
        fd = open_file(actor, f"{_HOST}/{PAGES}", ["rdonly"]) if kind == "file" else -1
        writing = kind != "file"
        address, _ = actor.call(Call.MMAP, 0, size, 3 if writing else 1, _MAP_FLAGS[kind], fd, 0)
        if fd >= 0:
            close_file(actor, fd)
        if address < 0:
            return errno_name(address)
        actor.call(Call.TOUCH, address, size, int(writing))
        return "ok"

    def _take_no_signals(self, actor: Actor, how: str) -> None:
        if how == "block":
            actor.call(Call.RT_SIGPROCMASK, 0, Pointer(), 0, 8, payload=b"\xff" * 8)
            return
        ignore = struct.pack("4q", int(signal.SIG_IGN), 0, 0, 0)
        for number in _SIGNALS:
            actor.call(Call.RT_SIGACTION, number, Pointer(), 0, 8, payload=ignore)

    def _join(self, name: str, memcg: str) -> None:
        tgid = self._actors[name].tgid
        _write(f"{self._hierarchy('memory')}/rec_{memcg}/cgroup.procs", str(tgid))

    def _set_credentials(self, name: str, fields: dict[str, Any]) -> list[list[Any]]:
        """Change a task's user, capabilities and dumpability; return what failed."""
        actor = self._actors[name]
        if "uid" in fields:
            uid = fields["uid"]
            actor.call(Call.PRCTL, _PR_SET_KEEPCAPS, int("caps" in fields))
            result, _ = actor.call(Call.SETRESGID, uid, uid, uid)
            if result == 0:
                result, _ = actor.call(Call.SETRESUID, uid, uid, uid)
            if result < 0:
                return [[name, "setuid", errno_name(result)]]
        if "caps" in fields:
            result = self._set_capabilities(actor, fields["caps"])
            if result < 0:
                return [[name, "capset", errno_name(result)]]
        actor.call(Call.PRCTL, _PR_SET_DUMPABLE, int(bool(fields.get("dumpable", 1))))
        return []

    def _set_capabilities(self, actor: Actor, text: str) -> int:
        held = _capabilities(text)
        header = struct.pack("II", _CAPABILITY_VERSION_3, 0)
        low, high = held & 0xFFFFFFFF, held >> 32
        data = struct.pack("6I", low, low, 0, high, high, 0)
        return actor.call(Call.CAPSET, Pointer(), Pointer(len(header)), payload=header + data)[0]

    def _exec(self, name: str) -> None:
        actor = self._actors[name]
        comm = Path(f"/proc/{actor.tid}/comm").read_text().rstrip("\n")
        names = actor.channel.names
        strings = [f"{_HOST}/{ACTOR}", ACTOR, *names]
        payload, offsets = b"", []
        for string in strings:
            offsets.append(len(payload))
            payload += string.encode() + b"\0"
        payload += bytes(-len(payload) % 8)
        vector = Pointer(len(payload))
        addresses = [actor.buffer + offset for offset in offsets[1:]]
        payload += struct.pack(f"{len(addresses) + 1}q", *addresses, 0)
        no_environment = Pointer(len(payload) - 8)
        actor.ask(Call.EXECVE, Pointer(), vector, no_environment, payload=payload)
        actor.greet()
        actor.rename(comm)

    # -- Steps -----------------------------------------------------------------------

    def _step(self, number: int, step: dict[str, Any]) -> dict[str, Any]:
        play = getattr(self, f"_step_{step['op']}", None)
        if play is None:
            raise Unable(f"unknown op {step['op']}")
        if step["op"] in ("sysrq_f", "hog"):
            self._mark(number)
        result: dict[str, Any] = play(step)
        if step["op"] not in _NO_AFTER and result.get("open") != "ok":
            result["after"] = self._changed()
        if log := self._read_log():
            result["log"] = log
        return result

    def _mark(self, number: int) -> None:
        """Say in the kernel's log which step comes: of a panic there is only the console."""
        os.write(self._kmsg, f"{MARKER} {number}\n".encode())
        self._read_log()
        self.emit("marker", number)

    def _changed(self) -> dict[str, list[Any]]:
        """Return what the files show that differs from what they showed last."""
        changed = {}
        for name in self._processes():
            shown = self._shown(name)
            if shown != self._last.get(name):
                changed[name] = self._last[name] = shown
        return changed

    def _by(self, step: dict[str, Any]) -> Caller:
        by = step.get("by", "root")
        return self._own if by == "root" else self._actors[by]

    def _directory(self, step: dict[str, Any]) -> str:
        target: str = step["target"]
        if target.startswith("pid:"):
            return target.removeprefix("pid:")
        if target == "self":
            return target
        if target in ("init", "kthread"):
            return {"init": "1", "kthread": "2"}[target]
        actor = self._actors[target]
        match step.get("via", "tgid"):
            case "task":
                return f"{actor.tgid}/task/{actor.tid}"
            case "tid":
                return str(actor.tid)
        return str(actor.tgid)

    def _path(self, step: dict[str, Any]) -> str:
        return f"{self._directory(step)}/{step['file']}"

    def _write_file(self, caller: Caller, path: str, value: Any) -> dict[str, Any]:
        return self._sequence(caller, path, ["wronly"], [["write", str(value)]], "ret")

    def _sequence(
        self, caller: Caller, path: str, flags: list[str], operations: list[Any], key: str
    ) -> dict[str, Any]:
        fd = open_file(caller, f"/proc/{path}", flags)
        if fd < 0:
            return {"open": errno_name(fd)}
        results = [operate(caller, fd, operation) for operation in operations]
        close_file(caller, fd)
        return {key: results if key == "rets" else results[0]}

    def _step_write(self, step: dict[str, Any]) -> dict[str, Any]:
        operations = [["write", step["data"]]]
        flags = step.get("flags", ["wronly"])
        return self._sequence(self._by(step), self._path(step), flags, operations, "ret")

    def _step_fdseq(self, step: dict[str, Any]) -> dict[str, Any]:
        flags = step.get("flags", ["rdwr"])
        return self._sequence(self._by(step), self._path(step), flags, step["ops"], "rets")

    def _step_open(self, step: dict[str, Any]) -> dict[str, Any]:
        caller = self._by(step)
        fd = open_file(caller, f"/proc/{self._path(step)}", step["flags"])
        if fd < 0:
            return {"open": errno_name(fd)}
        self._kept[step["fd"]] = caller, fd
        return {"open": "ok"}

    def _step_fd(self, step: dict[str, Any]) -> dict[str, Any]:
        caller, fd = self._kept[step["fd"]]
        return {"ret": operate(caller, fd, step["do"])}

    def _step_read(self, step: dict[str, Any]) -> dict[str, Any]:
        caller = self._by(step)
        return {"read": {file: self._read(caller, step, file) for file in OOM_FILES}}

    def _read(self, caller: Caller, step: dict[str, Any], file: str) -> Any:
        path = f"{self._directory(step)}/{file}"
        result = self._sequence(caller, path, ["rdonly"], [["read", 64]], "ret")
        content = result.get("ret")
        return content if isinstance(content, dict) else {"open": content or result["open"]}

    def _step_stat(self, step: dict[str, Any]) -> dict[str, Any]:
        paths = {file: f"/proc/{self._directory(step)}/{file}" for file in OOM_FILES}
        return {"stat": {file: _shown_stat(os.stat(path)) for file, path in paths.items()}}

    def _step_sweep(self, step: dict[str, Any]) -> dict[str, Any]:
        rows = []
        for value in step["values"]:
            result = self._write_file(self._by(step), self._path(step), value)
            ret = result.get("ret", result.get("open"))
            rows.append([value, ret, *self._shown(step["target"])])
        return {"columns": ["value", "ret", *OOM_FILES], "rows": rows}

    def _step_snapshot(self, step: dict[str, Any]) -> dict[str, Any]:
        return {"tasks": {name: self._row(name) for name in self._processes()}}

    def _step_spawn(self, step: dict[str, Any]) -> dict[str, Any]:
        self._make(step["task"])
        self.emit("pids", self._pids())
        return {}

    def _step_exec(self, step: dict[str, Any]) -> dict[str, Any]:
        self._exec(step["target"])
        return {"ret": 0}

    def _step_mem(self, step: dict[str, Any]) -> dict[str, Any]:
        return {"ret": self._map(self._actors[step["target"]], step["kind"], step["kb"])}

    def _step_creds(self, step: dict[str, Any]) -> dict[str, Any]:
        self._set_credentials(step["target"], step)
        return {}

    def _step_join(self, step: dict[str, Any]) -> dict[str, Any]:
        self._join(step["target"], step["memcg"])
        return {"ret": 0}

    def _step_exit(self, step: dict[str, Any]) -> dict[str, Any]:
        actor = self._actors[step["target"]]
        actor.ask(Call.EXIT if step.get("how") == "thread" else Call.EXIT_GROUP, 0)
        return {"ret": 0, "states": self._states(self._settle(actor.tid))}

    def _step_kill(self, step: dict[str, Any]) -> dict[str, Any]:
        os.kill(self._actors[step["target"]].tgid, step.get("sig", signal.SIGKILL))
        if step.get("nowait"):
            return {"ret": 0}
        return {"ret": 0, "states": self._states(self._settle())}

    def _step_reap(self, step: dict[str, Any]) -> dict[str, Any]:
        pid = self._actors[step["target"]].tid
        parent = _status(str(pid))["PPid"]
        if int(parent) == os.getpid():
            return {"ret": 0, "status": os.waitpid(pid, 0)[1]}
        by_tgid = {str(actor.tgid): actor for actor in self._actors.values()}
        result, _ = by_tgid[parent].call(Call.WAIT4, pid, 0, 0, 0)
        return {"ret": failing(min(result, 0))}

    def _step_sysctl(self, step: dict[str, Any]) -> dict[str, Any]:
        path = f"/proc/sys/{step['name'].replace('.', '/')}"
        self._sysctls.setdefault(path, Path(path).read_text())
        _write(path, str(step["value"]))
        return {"ret": 0}

    def _step_sleep(self, step: dict[str, Any]) -> dict[str, Any]:
        time.sleep(step["s"])
        time.sleep(_TICK_S)  # who waits for the same moment comes first
        return {}

    def _step_freeze(self, step: dict[str, Any]) -> dict[str, Any]:
        folder = f"{self._hierarchy('freezer')}/rec"
        os.makedirs(folder, exist_ok=True)
        for name in step["targets"]:
            _write(f"{folder}/cgroup.procs", str(self._actors[name].tgid))
        _write(f"{folder}/freezer.state", "FROZEN")
        return {"ret": 0, "states": self._states(self._settle())}

    def _step_thaw(self, step: dict[str, Any]) -> dict[str, Any]:
        self._thaw()
        return {"ret": 0, "states": self._states(self._settle())}

    def _thaw(self) -> None:
        folder = f"{HERE}/freezer/rec"
        if os.path.isdir(folder):
            _write(f"{folder}/freezer.state", "THAWED")
            for pid in Path(f"{folder}/cgroup.procs").read_text().split():
                _write(f"{HERE}/freezer/cgroup.procs", pid)

    def _step_seize(self, step: dict[str, Any]) -> dict[str, Any]:
        target = self._actors[step["target"]].tid
        result, _ = self._actors[step["by"]].call(
            Call.PTRACE, _PTRACE_SEIZE, target, 0, _PTRACE_O_TRACEEXIT
        )
        return {"ret": failing(result)}

    def _step_cont(self, step: dict[str, Any]) -> dict[str, Any]:
        target = self._actors[step["target"]].tid
        result, _ = self._actors[step["by"]].call(Call.PTRACE, _PTRACE_CONT, target, 0, 0)
        return {"ret": failing(result), "states": self._states(self._settle())}

    def _step_sysrq_f(self, step: dict[str, Any]) -> dict[str, Any]:
        before = self._before()
        alive = self._living()
        _write("/proc/sysrq-trigger", "f")
        return self._after_oom(before, alive)

    def _step_hog(self, step: dict[str, Any]) -> dict[str, Any]:
        actor = self._actors[step["by"]]
        mem = _meminfo()
        there_kb = mem["MemAvailable"] + mem["SwapTotal"]
        limit_kb = step.get("limit_kb", there_kb + step.get("extra_kb", 8192))
        columns = ("MemTotal", "MemFree", "MemAvailable", "SwapTotal")
        result: dict[str, Any] = {"hog": "died", "limit_kb": limit_kb}
        result["mem"] = {f"{column}_kb": mem[column] for column in columns}
        before, alive = self._before(), self._living()
        actor.ask(Call.HOG, limit_kb, step.get("step_kb", 256))
        try:
            result["hog"] = f"ok {actor.reply(limit_s=step.get('wait', _HOG_S))[0]}"
        except Slow:
            result["hog"] = "timeout"
        except Gone:
            pass
        return result | self._after_oom(before, alive)

    def _before(self) -> dict[str, list[Any]]:
        rows = {name: self._row(name) for name in self._living()}
        places = [START_COLUMNS.index(column) for column in BEFORE_COLUMNS]
        return {name: [row[n] for n in places] for name, row in rows.items() if len(row) > 1}

    def _after_oom(self, before: dict[str, list[Any]], alive: list[str]) -> dict[str, Any]:
        after = self._settle()
        log = self._read_log()
        died = [name for name in alive if after[name].rstrip("K") in DEAD]
        self._count_reports(log)
        return {"before": before, "died": died, "after": after, "log": log}

    # -- What there is to see ----------------------------------------------------------

    def _processes(self) -> Iterator[str]:
        return (name for name in self._actors if name not in self._threads)

    def _living(self) -> list[str]:
        return [name for name in self._processes() if self._state(name).rstrip("K") not in DEAD]

    def _settle(self, exiting: int = 0) -> dict[str, str]:
        """Wait until nobody is on the way anywhere; return the states."""
        seen: dict[str, str] = {}
        calm = 0
        for _ in range(_SETTLE_TICKS):
            if calm == _CALM:
                break
            time.sleep(_TICK_S)
            now = {name: self._state(name) for name in self._processes()}
            moving = "R" in "".join(now.values()) or (exiting and _thread_lives(exiting))
            calm = calm + 1 if now == seen and not moving else 0
            seen = now
        return seen

    def _states(self, states: dict[str, str]) -> dict[str, str]:
        return {name: state.rstrip("K") for name, state in states.items()}

    def _state(self, name: str) -> str:
        try:
            return _state_of(_status(str(self._actors[name].tgid)))
        except OSError:
            return "gone"

    def _row(self, name: str) -> list[Any]:
        """Return what /proc says of a task, in the order of START_COLUMNS."""
        try:
            status = _status(str(self._actors[name].tgid))
        except OSError:
            return ["gone"]
        row: list[Any] = [_state_of(status), self._name_of(int(status["PPid"]))]
        row += [int(status["Uid"].split()[0]), int(status["Threads"])]
        row.append(f"{int(status['CapEff'], 16):x}")
        for field in _STATUS.values():
            row.append(int(status[field].split()[0]) if field in status else None)
        return row + self._shown(name)

    def _name_of(self, pid: int) -> str | int:
        if pid == os.getpid():
            return "recorder"
        return next((name for name, actor in self._actors.items() if actor.tgid == pid), pid)

    def _shown(self, name: str) -> list[Any]:
        """Read a task's three files as root."""
        shown: list[Any] = []
        for file in OOM_FILES:
            content = self._read(self._own, {"target": name}, file)
            shown.append(int(content["data"]) if "data" in content else content["open"])
        return shown

    def _read_log(self) -> list[str]:
        """Return what the kernel has logged since the last time."""
        lines: list[str] = []
        while True:
            try:
                record = os.read(self._kmsg, 8192)
            except BlockingIOError:
                return [line for line in lines if not line.startswith(MARKER)]
            except OSError as error:
                if error.errno != errno.EPIPE:  # overwritten: goes on with the oldest
                    raise
                continue
            text = record.decode(errors="replace").split("\n", 1)[0].partition(";")[2]
            lines.append(text)

    # -- Putting everything back -----------------------------------------------------

    def _clean_up(self) -> None:
        for path, value in self._sysctls.items():
            _write(path, value)
        for caller, fd in self._kept.values():
            if isinstance(caller, Own):
                close_file(caller, fd)
        self._thaw()
        if self._init is None:  # else the machine is switched off
            self._end_all()
            for pid in (1, 2):  # whoever they make later would inherit it
                _write(f"/proc/{pid}/oom_score_adj", "0")
            for folder in self._memcgs:
                os.rmdir(folder)
        for kept in (self._actors, self._threads, self._kept, self._sysctls):
            kept.clear()
        self._memcgs.clear()
        self._last.clear()

    def _end_all(self) -> None:
        """Kill and reap all tasks: whose parents die are ours."""
        for actor in self._actors.values():
            try:
                os.kill(actor.tgid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        while True:
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                break
        for actor in self._actors.values():
            actor.channel.close()


def _state_of(status: dict[str, str]) -> str:
    pending = int(status["SigPnd"], 16) | int(status["ShdPnd"], 16)
    return status["State"][0] + ("K" if pending & 1 << (signal.SIGKILL - 1) else "")


def _thread_lives(tid: int) -> bool:
    """Say whether a thread that exits is still to be seen, but not as a zombie."""
    try:
        return _status(str(tid))["State"][0] not in DEAD
    except OSError:
        return False


def _status(pid: str) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines)


def _meminfo() -> dict[str, int]:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return {key: int(value.split()[0]) for key, _, value in (line.partition(":") for line in lines)}


def _shown_stat(result: os.stat_result) -> dict[str, Any]:
    mode, size = oct(result.st_mode), result.st_size
    return {"mode": mode, "uid": result.st_uid, "gid": result.st_gid, "size": size}


def _capabilities(text: str) -> int:
    every = int(_status("self")["CapEff"], 16)
    if text == "none":
        return 0
    named = sum(1 << _CAPABILITIES[name] for name in text[1:].split(","))
    return named if text.startswith("+") else every & ~named


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


if __name__ == "__main__":
    main()
