# SPDX-License-Identifier: MIT
"""Plays scenarios in a live kernel and says what it does; runs there as pid 1.

`live` boots the kernel and makes recordings of what this prints.  Argument: the folder of the
job.  Output: events, one JSON list a line, in a file there; whatever is known when the
kernel panics has been written by then.

    ["env", {...}]              what tests/goldens/README.md calls env
    ["begin", ID]
    ["pids", {...}]             of the tasks, and of the recorder
    ["start", {...}]            the members of an observation that precede its steps
    ["marker", N]               the line MARKER N in the kernel's log: step N comes
    ["step", {...}]             one element of steps; "log" is the whole log
    ["end", ERROR or null]
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.conformance.actors import Actor, Gone, Own, Slow, Unable
from tests.conformance.calls import (
    Call,
    Caller,
    close_file,
    errno_name,
    failing,
    open_file,
    operate,
)  # fmt: skip
from tests.conformance.guest import (
    HOST,
    Cgroups,
    KernelLog,
    env,
    is_dead,
    meminfo,
    prepare,
    state,
    state_in,
    status,
    swapon,
    write,
)  # fmt: skip

JOB, EVENTS = "job.json", "events"
"""Files of the job's folder."""

MARKER = "recorder: step"
OOM_FILES = ("oom_adj", "oom_score_adj", "oom_score")
START_COLUMNS = [
    "state", "ppid", "uid", "threads", "cap_eff", "vm_kb", "rss_kb", "anon_kb", "file_kb",
    "shmem_kb", "pte_kb", "pmd_kb", "swap_kb", *OOM_FILES,
]  # fmt: skip
BEFORE_COLUMNS = ["rss_kb", "oom_score_adj", "oom_score"]

_SIZES = ("VmSize", "VmRSS", "RssAnon", "RssFile", "RssShmem", "VmPTE", "VmPMD", "VmSwap")
_PTRACE_CONT, _PTRACE_SEIZE, _PTRACE_O_TRACEEXIT = 7, 0x4206, 0x40
_SHOW_CHANGES = {"write", "fdseq", "open", "fd", "spawn", "exec", "exit", "kill", "reap", "creds"}
"""Operations after which a recording says what the files show."""

# The kernel prints ten reports in five seconds; when its seconds begin is known only roughly.
_REPORTS, _REPORTS_S = 9, 5.2
_HOG_S, _LOOK_S, _STEP_LINES = 20.0, 0.04, 1000
_SETTLE_TICKS, _CALM_TICKS = 300, 3
_TICK_S = 0.01


def main() -> None:
    """Play the scenarios of the job, then switch the machine off."""
    prepare(Path(sys.argv[1]))
    job = json.loads(Path(f"{HOST}/{JOB}").read_text())
    init = Actor("init") if job["init_actor"] else None
    if init is not None:
        init.become_init()
    recorder = Recorder(init)
    if job["swap"]:
        swapon("/dev/ubda")
    recorder.emit("env", env())
    for scenario in job["scenarios"]:
        recorder.record(scenario)
    write("/proc/sysrq-trigger", "o")
    time.sleep(60)


class Recorder:
    """Plays one scenario after the other."""

    def __init__(self, init: Actor | None) -> None:
        self._own = Own()
        self._init = init
        self._events = open(f"{HOST}/{EVENTS}", "a", buffering=1)  # noqa: SIM115
        self._log = KernelLog()
        self._cgroups = Cgroups()
        self._actors: dict[str, Actor] = {}
        self._threads: set[str] = set()
        self._kept: dict[str, tuple[Caller, int]] = {}
        self._sysctls: dict[str, str] = {}
        self._last: dict[str, list[Any]] = {}
        self._reports = 0
        self._reports_since = -math.inf

    def emit(self, kind: str, value: Any) -> None:
        """Write an event; the host sees it at once."""
        self._events.write(json.dumps([kind, value]) + "\n")

    def record(self, scenario: dict[str, Any]) -> None:
        """Play a scenario, then put everything back."""
        ooms = [step["op"] for step in scenario["steps"] if step["op"] in ("sysrq_f", "hog")]
        self._wait_for_reports(ooms.count("sysrq_f") + 3 * ooms.count("hog"))
        self._log.skip()
        self.emit("begin", scenario["id"])
        error = None
        try:
            self._set_up(scenario)
            if ooms and self._init is not None:
                write("/proc/self/oom_score_adj", "-1000")
            for number, step in enumerate(scenario["steps"]):
                self.emit("step", self._step(number, step))
        except (Unable, Gone, Slow, OSError, KeyError) as reason:
            error = f"{type(reason).__name__}: {reason}"
        self.emit("end", error)
        self._clean_up()

    def _wait_for_reports(self, wanted: int) -> None:
        """Wait until the kernel would not hold back any of so many reports."""
        left_s = self._reports_since + _REPORTS_S - time.monotonic()
        if left_s > 0 and self._reports + wanted > _REPORTS:
            time.sleep(left_s)

    def _count_reports(self, log: list[str]) -> None:
        now = time.monotonic()
        if now > self._reports_since + _REPORTS_S:
            self._reports, self._reports_since = 0, now
        self._reports += sum("Killed process" in line for line in log)

    # -- Set-up ----------------------------------------------------------------------

    def _set_up(self, scenario: dict[str, Any]) -> None:
        failures: list[list[Any]] = []
        for memcg in scenario.get("memcgs", []):
            self._cgroups.make_memcg(memcg["name"], memcg["limit_kb"])
        for task in scenario["tasks"]:
            failures += self._make(task)
        start = {name: self._row(name) for name in self._processes()}
        for name, row in start.items():
            self._last[name] = row[-3:] if len(row) > 1 else self._shown(name)
        self._emit_pids()
        members: dict[str, Any] = {}
        if failures:
            members["setup"] = failures
        if log := self._log.new():
            members["setup_log"] = log
        self.emit("start", members | {"start": start})

    def _emit_pids(self) -> None:
        pids = {name: actor.tid for name, actor in self._actors.items()}
        self.emit("pids", {"recorder": os.getpid()} | pids)

    def _make(self, task: dict[str, Any]) -> list[list[Any]]:
        """Make a task as its fields say; return what failed."""
        actor = self._create(task)
        for kind in ("anon", "shmem", "file"):
            if kb := task.get(f"{kind}_kb"):
                actor.map(kind, kb)
        if task.get("mlock"):
            actor.lock()
        for _ in range(1, task.get("threads", 1)):
            actor.add_thread()
        if "signals" in task:
            actor.take_no_signals(task["signals"])
        if "memcg" in task:
            self._cgroups.join(actor.tgid, task["memcg"])
        failures: list[list[Any]] = []
        for file in ("oom_score_adj", "oom_adj"):
            if file in task:
                result = self._write_file(self._own, f"{actor.tgid}/{file}", task[file])
                if not isinstance(result.get("ret"), int):
                    failures.append([actor.name, file, result])
        if "uid" in task or "caps" in task:
            failures += actor.set_credentials(task)
        if task.get("exec"):
            actor.exec()
        return failures

    def _create(self, task: dict[str, Any]) -> Actor:
        name, kind = task["name"], task.get("create", "fork")
        parent = self._parent_of(task)
        actor = Actor(name)
        if parent is None:
            actor.start()
        else:
            actor.clone(parent, kind)
        if kind == "thread":
            self._threads.add(name)
        if "comm" in task:
            actor.rename(task["comm"])
        self._actors[name] = actor
        return actor

    def _parent_of(self, task: dict[str, Any]) -> Actor | None:
        """Return who makes a task, None for the recorder."""
        parent = task.get("parent")
        if parent == "init" and self._init is not None:
            self._actors = {"init": self._init} | self._actors
            return self._init
        return None if parent in (None, "init") else self._actors[parent]

    # -- Steps -----------------------------------------------------------------------

    def _step(self, number: int, step: dict[str, Any]) -> dict[str, Any]:
        play = getattr(self, f"_step_{step['op']}", None)
        if play is None:
            raise Unable(f"unknown op {step['op']}")
        if step["op"] in ("sysrq_f", "hog"):  # of a panic there is only the console
            self._log.say(f"{MARKER} {number}")
            self.emit("marker", number)
        result: dict[str, Any] = play(step)
        if step["op"] in _SHOW_CHANGES and result.get("open") != "ok":
            result["after"] = self._changed()
        if log := result.pop("log", []) + self._log.new():
            result["log"] = log[:_STEP_LINES]
        return result

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
        shown = {}
        for file in OOM_FILES:
            path = f"{self._directory(step)}/{file}"
            shown[file] = self._sequence(self._own, path, ["rdonly"], [["fstat"]], "ret")["ret"]
        return {"stat": shown}

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
        self._emit_pids()
        return {}

    def _step_exec(self, step: dict[str, Any]) -> dict[str, Any]:
        self._actors[step["target"]].exec()
        return {"ret": 0}

    def _step_mem(self, step: dict[str, Any]) -> dict[str, Any]:
        return {"ret": self._actors[step["target"]].map(step["kind"], step["kb"])}

    def _step_creds(self, step: dict[str, Any]) -> dict[str, Any]:
        self._actors[step["target"]].set_credentials(step)
        return {}

    def _step_join(self, step: dict[str, Any]) -> dict[str, Any]:
        self._cgroups.join(self._actors[step["target"]].tgid, step["memcg"])
        return {"ret": 0}

    def _step_exit(self, step: dict[str, Any]) -> dict[str, Any]:
        actor = self._actors[step["target"]]
        actor.ask(Call.EXIT if step.get("how") == "thread" else Call.EXIT_GROUP, 0)
        return {"ret": 0, "states": self._settled(actor)}

    def _step_kill(self, step: dict[str, Any]) -> dict[str, Any]:
        os.kill(self._actors[step["target"]].tgid, step.get("sig", signal.SIGKILL))
        return {"ret": 0} if step.get("nowait") else {"ret": 0, "states": self._settled()}

    def _step_reap(self, step: dict[str, Any]) -> dict[str, Any]:
        pid = self._actors[step["target"]].tid
        parent = int(status(pid)["PPid"])
        if parent == os.getpid():
            return {"ret": 0, "status": os.waitpid(pid, 0)[1]}
        actor = next(actor for actor in self._actors.values() if actor.tgid == parent)
        result, _ = actor.call(Call.WAIT4, pid, 0, 0, 0)
        return {"ret": failing(min(result, 0))}

    def _step_sysctl(self, step: dict[str, Any]) -> dict[str, Any]:
        path = f"/proc/sys/{step['name'].replace('.', '/')}"
        self._sysctls.setdefault(path, Path(path).read_text())
        write(path, str(step["value"]))
        return {"ret": 0}

    def _step_sleep(self, step: dict[str, Any]) -> dict[str, Any]:
        time.sleep(step["s"])
        time.sleep(_TICK_S)  # who waits for the same moment comes first
        return {}

    def _step_freeze(self, step: dict[str, Any]) -> dict[str, Any]:
        self._cgroups.freeze([self._actors[name].tgid for name in step["targets"]])
        return {"ret": 0, "states": self._settled()}

    def _step_thaw(self, step: dict[str, Any]) -> dict[str, Any]:
        self._cgroups.thaw()
        return {"ret": 0, "states": self._settled()}

    def _step_seize(self, step: dict[str, Any]) -> dict[str, Any]:
        by, target = self._actors[step["by"]], self._actors[step["target"]].tid
        result, _ = by.call(Call.PTRACE, _PTRACE_SEIZE, target, 0, _PTRACE_O_TRACEEXIT)
        return {"ret": failing(result)}

    def _step_cont(self, step: dict[str, Any]) -> dict[str, Any]:
        by, target = self._actors[step["by"]], self._actors[step["target"]].tid
        result, _ = by.call(Call.PTRACE, _PTRACE_CONT, target, 0, 0)
        return {"ret": failing(result), "states": self._settled()}

    def _step_sysrq_f(self, step: dict[str, Any]) -> dict[str, Any]:
        before, alive = self._before(), self._living()
        write("/proc/sysrq-trigger", "f")
        return self._after_oom(before, alive)

    def _step_hog(self, step: dict[str, Any]) -> dict[str, Any]:
        actor, memory = self._actors[step["by"]], meminfo()
        there_kb = memory["MemAvailable"] + memory["SwapTotal"]
        limit_kb = step.get("limit_kb", there_kb + step.get("extra_kb", 8192))
        columns = ("MemTotal", "MemFree", "MemAvailable", "SwapTotal")
        result: dict[str, Any] = {"limit_kb": limit_kb}
        result["mem"] = {f"{column}_kb": memory[column] for column in columns}
        before, alive = self._before(), self._living()
        actor.ask(Call.HOG, limit_kb, step.get("step_kb", 256))
        result["hog"], log = self._watch_hog(actor, step.get("wait", _HOG_S))
        oom = self._after_oom(before, alive)
        return result | oom | {"log": log + oom["log"]}

    def _watch_hog(self, actor: Actor, limit_s: float) -> tuple[str, list[str]]:
        """Wait for a hog's end; return how it ended, and the log up to then.

        One that nobody can be killed for tries again and again, and soon fills the log.
        """
        log: list[str] = []
        for _ in range(round(limit_s / _LOOK_S)):
            try:
                return f"ok {actor.reply(limit_s=_LOOK_S)[0]}", log
            except Gone:
                return "died", log
            except Slow:
                if len(log) < _STEP_LINES:
                    log += self._log.new()
        return "timeout", log

    def _before(self) -> dict[str, list[Any]]:
        rows = {name: self._row(name) for name in self._living()}
        places = [START_COLUMNS.index(column) for column in BEFORE_COLUMNS]
        return {name: [row[n] for n in places] for name, row in rows.items() if len(row) > 1}

    def _after_oom(self, before: dict[str, list[Any]], alive: list[str]) -> dict[str, Any]:
        after, log = self._settle(), self._log.new()
        self._count_reports(log)
        died = [name for name in alive if is_dead(after[name])]
        return {"before": before, "died": died, "after": after, "log": log}

    # -- What there is to see ----------------------------------------------------------

    def _processes(self) -> Iterator[str]:
        return (name for name in self._actors if name not in self._threads)

    def _living(self) -> list[str]:
        return [n for n in self._processes() if not is_dead(state(self._actors[n].tgid))]

    def _settle(self, exiting: Actor | None = None) -> dict[str, str]:
        """Wait until nobody is on the way anywhere; return the states, with a K as in rows."""
        seen: dict[str, str] = {}
        calm = 0
        for _ in range(_SETTLE_TICKS):
            if calm == _CALM_TICKS:
                break
            time.sleep(_TICK_S)
            now = {name: state(self._actors[name].tgid) for name in self._processes()}
            moving = "R" in "".join(now.values()) or (exiting and not is_dead(state(exiting.tid)))
            calm = calm + 1 if now == seen and not moving else 0
            seen = now
        return seen

    def _settled(self, exiting: Actor | None = None) -> dict[str, str]:
        """Do the same; return the states without the K."""
        return {name: shown.rstrip("K") for name, shown in self._settle(exiting).items()}

    def _row(self, name: str) -> list[Any]:
        """Return what /proc says of a task, in the order of START_COLUMNS."""
        try:
            lines = status(self._actors[name].tgid)
        except OSError:
            return ["gone"]
        row: list[Any] = [state_in(lines), self._name_of(int(lines["PPid"]))]
        row += [int(lines["Uid"].split()[0]), int(lines["Threads"])]
        row.append(f"{int(lines['CapEff'], 16):x}")
        row += [int(lines[size].split()[0]) if size in lines else None for size in _SIZES]
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

    # -- Putting everything back -----------------------------------------------------

    def _clean_up(self) -> None:
        for path, value in self._sysctls.items():
            write(path, value)
        for caller, fd in self._kept.values():
            if caller is self._own:
                close_file(caller, fd)
        self._cgroups.thaw()
        if self._init is None:  # else the machine is switched off
            self._end_all()
            for pid in (1, 2):  # whoever they make later would inherit it
                write(f"/proc/{pid}/oom_score_adj", "0")
            self._cgroups.remove_memcgs()
        for held in (self._actors, self._threads, self._kept, self._sysctls, self._last):
            held.clear()

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


if __name__ == "__main__":
    main()
