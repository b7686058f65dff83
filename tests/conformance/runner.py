# SPDX-License-Identifier: MIT
"""Goes through scenarios on a `World` and compares what happens with what was recorded."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Any

from fakeproc.kernel import capability
from fakeproc.kernel.machine import Hardware, Machine
from fakeproc.kernel.profile import KernelConfig
from tests.conformance.descriptor import Descriptor, errno_name, shown_stat
from tests.conformance.goldens import Observation, Recording, Scenario
from tests.conformance.world import World

OOM_FILES = ("oom_adj", "oom_score_adj", "oom_score")
STEPS = {
    "write", "fdseq", "open", "fd", "read", "stat", "sweep", "snapshot", "spawn", "exec",
    "exit", "kill", "reap", "creds",
}  # fmt: skip
"""Operations that the runner can do."""

# Far above every recorded pid, for threads that no scenario addresses.
_FIRST_PID = 1_000_000
_RECORDER_BESIDE_INIT = 999_999
_DEPRECATED = re.compile(r"(.+) \((\d+)\): /proc/\d+/oom_adj is deprecated")
_MEMORY_COLUMNS = {
    "vm_kb": "size", "anon_kb": "anon", "file_kb": "file", "shmem_kb": "shmem",
    "swap_kb": "swap", "pte_kb": "pte", "pmd_kb": "pmd",
}  # fmt: skip
_COMPARED_COLUMNS = {
    "ppid", "uid", "threads", "cap_eff", "oom_adj", "oom_score_adj", "oom_score",
    "rss_kb", *_MEMORY_COLUMNS,
}  # fmt: skip
_STATUS_FIELDS = {
    "vm_kb": "VmSize", "rss_kb": "VmRSS", "anon_kb": "RssAnon", "file_kb": "RssFile",
    "shmem_kb": "RssShmem", "pte_kb": "VmPTE", "pmd_kb": "VmPMD", "swap_kb": "VmSwap",
}  # fmt: skip
_RESULTS = {"ret", "rets", "open", "read", "stat", "states", "status", "rows"}
_DEAD = ("Z", "X", "gone")

# What the recorder's tasks take for a clone that shares their memory: a stack of 64 kB,
# of which two pages are touched.
_STACK_KB = {"vm_kb": 64, "anon_kb": 8}


@dataclass(frozen=True)
class Difference:
    """Where the simulation does something else than the kernel did."""

    kernel: str
    scenario: str
    step: str
    recorded: Any
    simulated: Any

    def __str__(self) -> str:
        return (
            f"{self.kernel} {self.scenario}, {self.step}\n"
            f"    recorded:  {self.recorded}\n    simulated: {self.simulated}"
        )


@dataclass
class Tally:
    """A row of the report."""

    kernel: str
    group: str
    ran: int = 0
    agreed: int = 0
    below_the_mount: int = 0
    unsupported: dict[str, int] = field(default_factory=dict)
    """Scenarios that the runner cannot do, by the operation it lacks."""
    differences: list[Difference] = field(default_factory=list)

    @property
    def differed(self) -> int:
        """Scenarios with a difference."""
        return self.ran - self.agreed


def run_recording(world: World, recording: Recording) -> Tally:
    """Run every scenario of a recording."""
    tally = Tally(recording.kernel, recording.group)

    for scenario, observed in recording.pairs:
        lacking = next((s["op"] for s in scenario["steps"] if s["op"] not in STEPS), None)
        if lacking is not None:
            tally.unsupported[lacking] = tally.unsupported.get(lacking, 0) + 1
            continue
        run = _Run(world, recording, scenario, observed)
        run.go()
        tally.ran += 1
        tally.agreed += not run.differences
        tally.below_the_mount += run.used_below
        tally.differences += run.differences
    return tally


class _Run:
    """One scenario."""

    def __init__(
        self,
        world: World,
        recording: Recording,
        scenario: Scenario,
        observed: Observation,
    ) -> None:
        self.world = world
        self.recording = recording
        self.scenario = scenario
        self.observed = observed
        self.differences: list[Difference] = []
        self.used_below = False
        self._fresh = recording.fresh_row
        self._boot = scenario.get("boot", {})
        self._env = recording.envs[observed["env"]]
        self._pids: dict[str, int] = dict(observed["pids"])
        self._tgids: dict[str, int] = {}
        self._kept: dict[str, Descriptor] = {}
        self._acting = 0
        self._last: dict[str, list[Any]] = {}
        self._where = "start"

    def go(self) -> None:
        """Set up, compare the start, do the steps."""
        self._start_machine()
        try:
            self._set_up()
            self._compare_start()
            steps = zip(self.scenario["steps"], self.observed["steps"], strict=True)
            for number, (step, expected) in enumerate(steps):
                self._where = f"step {number}: {step}"
                self._log_from = self.world.machine.log.next_sequence
                actual = getattr(self, f"_step_{step['op']}")(step, expected)
                self._compare_step(expected, actual)
        finally:
            for descriptor in self._kept.values():
                descriptor.close()

    def _differ(self, what: str, recorded: Any, simulated: Any) -> None:
        if recorded != simulated:
            self.differences.append(
                Difference(
                    self.recording.kernel,
                    self.scenario["id"],
                    f"{self._where}, {what}",
                    recorded,
                    simulated,
                )
            )

    # -- Set-up ------------------------------------------------------------------

    def _start_machine(self) -> None:
        hardware = Hardware(
            ram_pages=self._env["MemTotal_kb"] // 4,
            swap_pages=self._env.get("SwapTotal_kb", 0) // 4,
        )
        comm, pid = self._recorder_name_and_pid()
        config = KernelConfig(self.recording.profile_name)
        init_comm = comm if pid == 1 else self._init_comm()
        self.world.restart(Machine(config, hardware, first_pid=_FIRST_PID, init_comm=init_comm))
        self._pids |= {"init": 1, "kthread": 2, "recorder": pid}
        self._tgids = {"init": 1, "kthread": 2, "recorder": pid}
        if pid != 1:
            self._control(f"spawn name={comm} pid={pid}")
        self._control(f"set {pid} caps=0x{self._env['root_caps']}")

    def _recorder_name_and_pid(self) -> tuple[str, int]:
        """Find out who recorded: pid 1, or a process beside an init that is an actor."""
        known = {pid for pid in self.observed["pids"].values() if pid != 1}
        for line in self._recorded_log():
            match = _DEPRECATED.match(line)
            if match and int(match[2]) not in known:
                return match[1], int(match[2])
        beside = self._boot.get("init_actor") or not self.recording.recorder_is_init
        return "python3", _RECORDER_BESIDE_INIT if beside else 1

    def _init_comm(self) -> str:
        """Find out how an init that is an actor was called."""
        names = (re.search(r"\b1 \((.+?)\)", line) for line in self._recorded_log())
        return next((match[1] for match in names if match), "init")

    def _recorded_log(self) -> list[str]:
        return [line for step in self.observed["steps"] for line in step.get("log", [])]

    def _set_up(self) -> None:
        failures = []
        for task in self.scenario["tasks"]:
            self._create(task)
            failures += self._write_oom_files(task)
            self._set_credentials(task)
            if task.get("exec"):
                self._exec(task["name"])
        self._where = "set-up"
        self._differ("failures", self.observed.get("setup", []), failures)
        for name, row in self.observed["start"].items():
            if row is not None and len(row) > 1:
                self._hold(name, self._named(row))

    def _create(self, task: dict[str, Any]) -> None:
        name, kind = task["name"], task.get("create", "fork")
        pid = self._pids[name]
        parent = task.get("parent")
        if parent is None or (parent == "init" and not self._boot.get("init_actor")):
            parent = "recorder"
        creator = self._pids[parent]
        named = f"name={task.get('comm', name)}"
        if kind == "thread":
            self._control(f"thread {creator} {named} tid={pid}")
            self._tgids[name] = self._tgids[parent]
        elif kind == "fork" and parent == "recorder":
            self._control(f"spawn parent={creator} {named} pid={pid} {self._sizes(self._fresh)}")
        else:
            vm = "copied" if kind in ("fork", "vfork_novm") else "shared"
            vfork = "yes" if kind.startswith("vfork") else "no"
            self._control(f"clone parent={creator} vm={vm} vfork={vfork} {named} pid={pid}")
        self._tgids.setdefault(name, pid)
        for _ in range(task.get("threads", 1) - 1):
            self._control(f"thread {pid}")

    def _write_oom_files(self, task: dict[str, Any]) -> list[list[Any]]:
        """Write the values of the set-up as root; return what failed, as it is recorded."""
        self._act("recorder")
        failures = []
        for file in ("oom_score_adj", "oom_adj"):
            if file in task:
                step = {"target": task["name"], "file": file, "data": str(task[file])}
                result = self._write(step)
                if not isinstance(result.get("ret"), int):
                    failures.append([task["name"], file, result])
        return failures

    def _set_credentials(self, task: dict[str, Any]) -> None:
        held = int(self._env["root_caps"], 16)
        words = []
        if "uid" in task:
            words += [f"uid={task['uid']}", f"gid={task['uid']}"]
            held = held if task["uid"] == 0 else 0
        if "caps" in task:
            held = capability.parse(task["caps"], int(self._env["root_caps"], 16))
        if words or "caps" in task:
            words += [f"caps=0x{held:x}", f"dumpable={'yes' if task.get('dumpable', 1) else 'no'}"]
            self._control(f"set {self._pids[task['name']]} {' '.join(words)}")

    def _exec(self, name: str) -> None:
        self._control(f"exec {self._pids[name]} {self._sizes(self._fresh)}")

    def _hold(self, name: str, row: dict[str, Any]) -> None:
        """Let a task hold what the kernel said it held."""
        if row["vm_kb"] is not None:
            self._control(f"set {self._pids[name]} {self._sizes(row)}")

    def _sizes(self, row: dict[str, Any]) -> str:
        pairs = [(key, row[column] or 0) for column, key in _MEMORY_COLUMNS.items()]
        return " ".join(f"{key}={kib}k" for key, kib in pairs)

    def _named(self, row: list[Any]) -> dict[str, Any]:
        return dict(zip(self.recording.start_columns, row, strict=True))

    def _compare_start(self) -> None:
        self._act("recorder")
        start = {n: row for n, row in self.observed["start"].items() if row is not None}
        self._compare_rows("start", start)
        for name, row in start.items():
            self._last[name] = row[-3:] if len(row) > 1 else self._shown(name)

    # -- Who acts ----------------------------------------------------------------

    def _control(self, command: str) -> str:
        """Give a command as the real root."""
        self._act_as(0)
        return self.world.control(command)

    def _act(self, name: str) -> None:
        self._act_as(self._pids["recorder" if name == "root" else name])

    def _act_as(self, pid: int) -> None:
        if pid != self._acting:
            self.world.control(f"become {pid or 'none'}")
            self._acting = pid

    # -- Steps -------------------------------------------------------------------

    def _directory(self, step: dict[str, Any]) -> str:
        target, via = step["target"], step.get("via", "tgid")
        if target.startswith("pid:"):
            return target.removeprefix("pid:")
        if target == "self":
            return "self"
        pid = self._pids[target]
        if via == "tid":
            return str(pid)
        return str(self._tgids[target]) + (f"/task/{pid}" if via == "task" else "")

    def _step_write(self, step: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
        self._act(step.get("by", "root"))
        return self._write(step)

    def _write(self, step: dict[str, Any]) -> dict[str, Any]:
        return self._sequence(step, ["wronly"], [["write", step["data"]]], "ret")

    def _step_fdseq(self, step: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
        self._act(step.get("by", "root"))
        return self._sequence(step, ["rdwr"], step["ops"], "rets")

    def _sequence(
        self, step: dict[str, Any], flags: list[str], operations: list[Any], key: str
    ) -> dict[str, Any]:
        try:
            descriptor = self._open(step, step.get("flags", flags))
        except OSError as error:
            return {"open": errno_name(error)}
        try:
            results = [self._do(descriptor, operation) for operation in operations]
        finally:
            descriptor.close()
        return {key: results if key == "rets" else results[0]}

    def _open(self, step: dict[str, Any], flags: list[str]) -> Descriptor:
        directory = self._directory(step)
        # The layer below follows no links.
        below = str(self._acting) if directory == "self" else directory
        file = step["file"]
        return Descriptor(self.world, f"{directory}/{file}", f"{below}/{file}", flags)

    def _do(self, descriptor: Descriptor, operation: list[Any]) -> Any:
        thread = self.world.machine.thread(self._acting)
        result = descriptor.do(self.world.caller_below(thread), operation)
        self.used_below |= descriptor.used_below
        return result

    def _step_open(self, step: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
        self._act(step.get("by", "root"))
        try:
            self._kept[step["fd"]] = self._open(step, step["flags"])
        except OSError as error:
            return {"open": errno_name(error)}
        self._kept_by = step.get("by", "root")
        return {"open": "ok"}

    def _step_fd(self, step: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
        self._act(self._kept_by)
        return {"ret": self._do(self._kept[step["fd"]], step["do"])}

    def _step_read(self, step: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
        self._act(step.get("by", "root"))
        return {"read": {file: self._read(f"{self._directory(step)}/{file}") for file in OOM_FILES}}

    def _read(self, path: str) -> dict[str, Any]:
        try:
            return {"data": self.world.read(path)}
        except OSError as error:
            return {"open": errno_name(error)}

    def _step_stat(self, step: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
        directory = self._directory(step)
        paths = {file: self.world.path(f"{directory}/{file}") for file in OOM_FILES}
        return {"stat": {file: shown_stat(os.stat(path)) for file, path in paths.items()}}

    def _step_sweep(self, step: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
        self._act(step.get("by", "root"))
        rows = []
        for value in step["values"]:
            result = self._write({**step, "data": str(value)})
            rows.append(
                [value, result.get("ret", result.get("open")), *self._shown(step["target"])]
            )
        return {"rows": rows}

    def _step_snapshot(self, step: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
        self._act("recorder")
        # Memory is what the recording says: tasks touch pages as they run.
        for name, row in expected["tasks"].items():
            if len(row) > 1:
                self._hold(name, self._named(row))
        self._act("recorder")
        self._compare_rows("snapshot", expected["tasks"])
        return {}

    def _step_spawn(self, step: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
        task = step["task"]
        parent = task.get("parent", "recorder")
        if task.get("create", "fork") not in ("fork", "vfork_novm"):
            self._map_stack(parent)
        self._create(task)
        self._foresee(task["name"], step)
        self._write_oom_files(task)
        self._set_credentials(task)
        return {}

    def _map_stack(self, name: str) -> None:
        """Let a task's memory grow as that of the recorder's tasks does before a clone."""
        mm = self.world.machine.thread(self._pids[name]).process.mm
        assert mm is not None
        sizes = mm.sizes
        row = {
            "vm_kb": sizes.total_vm_pages * 4 + _STACK_KB["vm_kb"],
            "anon_kb": sizes.anon_pages * 4 + _STACK_KB["anon_kb"],
            "file_kb": sizes.file_pages * 4,
            "shmem_kb": sizes.shmem_pages * 4,
            "swap_kb": sizes.swap_entries * 4,
            "pte_kb": sizes.pte_pages * 4,
            "pmd_kb": sizes.pmd_pages * 4,
        }
        if row["pte_kb"] == self._fresh["pte_kb"]:
            row |= self.recording.page_tables_with_stack()
        self._control(f"set {self._pids[name]} {self._sizes(row)}")

    def _foresee(self, name: str, step: dict[str, Any]) -> None:
        """Let a new task hold what the next snapshot says, if nothing comes between."""
        steps = self.scenario["steps"]
        number = steps.index(step)
        for later, observed in list(zip(steps, self.observed["steps"], strict=True))[number + 1 :]:
            if later["op"] in ("spawn", "exec", "exit", "kill"):
                return
            row = observed.get("tasks", {}).get(name, [])
            if len(row) > 1:
                self._hold(name, self._named(row))
                return

    def _step_exec(self, step: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
        self._exec(step["target"])
        return {"ret": 0}

    def _step_exit(self, step: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
        target = step["target"]
        pid = self._pids[target]
        is_leader = pid == self._tgids[target]
        if is_leader and (step.get("how") == "thread" or self._threads_seen_later(step) > 1):
            self._control(f"exit-leader {pid}")
        else:
            self._control(f"exit {pid}")
        return {"ret": 0, "states": self._states(expected)}

    def _threads_seen_later(self, step: dict[str, Any]) -> int:
        """Return how many threads of an exiting process the next snapshot still shows.

        With two CPUs the other threads may take longer to go than the recorder looks:
        how far the exit had got is chance, so it is taken from the recording.
        """
        column = self.recording.start_columns.index("threads")
        for observed in self.observed["steps"][self.scenario["steps"].index(step) :]:
            row = observed.get("tasks", {}).get(step["target"], [])
            if len(row) > 1:
                return int(row[column])
        return 1

    def _step_kill(self, step: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
        self._control(f"kill {self._pids[step['target']]} {step.get('sig', 9)}")
        return {"ret": 0, "states": self._states(expected)}

    def _step_reap(self, step: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
        answer = self._control(f"reap {self._pids[step['target']]}")
        result: dict[str, Any] = {"ret": 0}
        if "status" in expected:  # only the parent learns it, and the recorder was not always
            result["status"] = int(answer.split("=")[1])
        return result

    def _step_creds(self, step: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
        self._set_credentials({**step, "name": step["target"]})
        return {}

    # -- Comparing ---------------------------------------------------------------

    def _compare_step(self, expected: dict[str, Any], actual: dict[str, Any]) -> None:
        if "states" in expected:
            expected = {**expected, "states": _dead_or_alive(expected["states"])}
        for key in _RESULTS & (expected.keys() | actual.keys()):
            self._differ(key, expected.get(key), actual.get(key))
        self._act("recorder")
        if "after" in expected:
            self._last |= expected["after"]
            for name, shown in self._last.items():
                self._differ(f"{name}'s files", shown, self._shown(name))
        self._differ("log", self._relevant(expected.get("log", [])), self._relevant(self._log()))

    def _log(self) -> list[str]:
        return [record.text for record in self.world.machine.log.since(self._log_from)]

    def _relevant(self, lines: list[str]) -> list[str]:
        """Leave only lines about the OOM files.

        The one-time message counts only in scenarios that had a boot of their own.
        """
        lines = [line for line in lines if "oom" in line]
        if self._boot.get("alone"):
            return lines
        return [line for line in lines if not _DEPRECATED.match(line)]

    def _shown(self, name: str) -> list[Any]:
        """Read a task's three files."""
        directory = str(self._tgids[name])
        shown: list[Any] = []
        for file in OOM_FILES:
            result = self._read(f"{directory}/{file}")
            shown.append(int(result["data"]) if "data" in result else result["open"])
        return shown

    def _states(self, expected: dict[str, Any]) -> dict[str, str]:
        states = {}
        for name in expected.get("states", {}):
            process = self.world.machine.processes.get(self._tgids[name])
            states[name] = process.leader.state.value if process else "gone"
        return _dead_or_alive(states)

    def _compare_rows(self, what: str, rows: dict[str, Any]) -> None:
        for name, row in rows.items():
            if len(row) == 1:
                self._differ(f"{what} of {name}", row, self._row(name))
                continue
            recorded, simulated = self._named(row), self._row(name)
            for column in _COMPARED_COLUMNS & recorded.keys():
                # null: this kernel's status has no such line, or the task no memory.
                self._differ(f"{what} of {name}, {column}", recorded[column], simulated[column])
            self._differ(
                f"{what} of {name}, state",
                _dead_or_alive({name: recorded["state"]}),
                _dead_or_alive({name: simulated["state"]}),
            )

    def _row(self, name: str) -> Any:
        """Return what the mount says of a task, in the columns of the recordings."""
        try:
            status = self.world.read(f"{self._tgids[name]}/status")
        except OSError:
            return ["gone"]
        fields = dict(line.split(":\t", 1) for line in status.splitlines())
        row: dict[str, Any] = {
            column: int(fields[key].split()[0]) if key in fields else None
            for column, key in _STATUS_FIELDS.items()
        }
        names = {pid: name for name, pid in self._pids.items()}
        # Where the recorder is init it goes by its own name.
        names[self._pids["recorder"]] = "recorder"
        ppid = int(fields["PPid"])
        row |= {
            "state": fields["State"][0],
            "ppid": names.get(ppid, ppid),
            "uid": int(fields["Uid"].split()[0]),
            "threads": int(fields["Threads"]),
            "cap_eff": f"{int(fields['CapEff'], 16):x}",
        }
        return row | dict(zip(OOM_FILES, self._shown(name), strict=True))


def _dead_or_alive(states: dict[str, str]) -> dict[str, str]:
    """Keep what tells the dead apart; which of R, S and D the living show is chance."""
    bare = {name: state.rstrip("K") for name, state in states.items()}
    return {name: state if state in _DEAD else "alive" for name, state in bare.items()}
