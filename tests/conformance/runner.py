# SPDX-License-Identifier: MIT
"""Goes through scenarios on a `World` and compares what happens with what was recorded."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

from fakeproc.kernel import capability
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Build, Hardware, Machine
from fakeproc.kernel.profile import KernelConfig
from fakeproc.kernel.ratelimit import RateLimit
from fakeproc.kernel.task import Hold, MemorySizes, State
from tests.conformance.descriptor import Descriptor, errno_name, shown_stat
from tests.conformance.goldens import Observation, Recording, Scenario
from tests.conformance.world import World

OOM_FILES = ("oom_adj", "oom_score_adj", "oom_score")
STEPS = {
    "write", "fdseq", "open", "fd", "read", "stat", "sweep", "snapshot", "spawn", "exec",
    "exit", "kill", "reap", "creds", "sysrq_f", "mem", "sysctl", "sleep", "freeze", "thaw",
    "seize", "cont", "hog", "join",
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
_RELEVANT = re.compile(
    r"oom|OOM(?! leaked)|Out of memory|Killed|cpuset=/ mems|Workqueue: events moom|swap  ?= |"
    r"pages RAM$|^Tasks state|^\[[ \d]+\]|COMPACTION|Kernel panic|Tasks in |oom-kill"
)
"""What speaks of the OOM killer, and not of a page fault that it could not help."""
_STACK = re.compile(r"^CPU: |\+0x[0-9a-f]+/0x")
_REPORT = re.compile(
    r"invoked oom-killer|cpuset=/ mems|Workqueue: events moom|swap  ?= |pages RAM$|"
    r"^Tasks state|^\[[ \d]+\]|^\[ +pid|COMPACTION|^sysrq: SysRq"
)
"""What the groups that hold only the lines about the kill leave out."""
_KILLED = re.compile(
    r"Killed process (\d+) .*anon-rss:(\d+)kB, file-rss:(\d+)kB(?:, shmem-rss:(\d+)kB)?"
)
_VICTIM_SIZES = re.compile(
    r"Killed process (\d+) .*total-vm:(\d+)kB, anon-rss:(\d+)kB, file-rss:(\d+)kB, "
    r"shmem-rss:(\d+)kB, UID:\d+ pgtables:(\d+)kB"
)
_INVOKED = re.compile(r"(\S+) invoked oom-killer: gfp_mask=(0x[0-9a-f]+).* order=(-?\d+),")
_MEMCG = re.compile(r"Memory cgroup stats for ([^:]+):")
_VICTIM_LINE = re.compile(r"Kill(?:ed)? process \d+ ")
_GROUP_KILL = re.compile(r"^Tasks in .* are going to be killed")
_REAPED = re.compile(r"oom_reaper: reaped process (\d+) ")
_FREE_SWAP = re.compile(r"Free swap  = (\d+)kB")
_MEMORY = re.compile(r"^(Free|Total) swap  ?= |pages RAM$")
_OUTCOME = re.compile(r"Killed process|no killable|Kernel panic|is already exiting")
_RESULTS = {"died", "killed", "ret", "rets", "open", "read", "stat", "states", "status", "rows"}
_REAPER_DELAY_NS = 2_000_000_000
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

    def add(self, other: Tally) -> None:
        """Count what another part of the group has shown."""
        self.ran += other.ran
        self.agreed += other.agreed
        self.below_the_mount += other.below_the_mount
        for operation, count in other.unsupported.items():
            self.unsupported[operation] = self.unsupported.get(operation, 0) + count
        self.differences += other.differences


def play(recordings: Iterable[Recording]) -> tuple[list[Tally], int]:
    """Run recordings on a mount of their own; return also how many bugs showed."""
    with tempfile.TemporaryDirectory() as mountpoint, World(Path(mountpoint)) as world:
        tallies = [run_recording(world, recording) for recording in recordings]
        return tallies, world.procfs.stats.internal_errors


def speaks_of_oom(line: str) -> bool:
    """Say whether a line of the kernel's log is about the OOM killer or its files."""
    return bool(_RELEVANT.search(line)) and not _STACK.search(line)


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
        self._free: set[int] = set()
        self._kept: dict[str, Descriptor] = {}
        self._acting = 0
        self._last: dict[str, list[Any]] = {}
        self._frozen: list[int] = []
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
                self._free.clear()
                expected = _without_cut_report(expected)
                self._catch_up_with_the_reaper(expected)
                actual = getattr(self, f"_step_{step['op']}")(step, expected)
                self._compare_step(step, expected, actual)
        except OSError as error:  # what the kernel could still do, the simulation could not
            self._differ("no errors", "", str(error))
        finally:
            for descriptor in self._kept.values():
                descriptor.close()

    def _catch_up_with_the_reaper(self, expected: dict[str, Any]) -> None:
        """Let the time pass that a busy machine took: by then the reaper has come."""
        reaped = _reaped(expected)
        if any(plan.thread.tid in reaped for plan in self.world.machine.reaper.plans):
            self.world.machine.advance(_REAPER_DELAY_NS)

    def _differ(self, what: str, recorded: Any, simulated: Any) -> None:
        if recorded != simulated:
            if isinstance(recorded, list) and isinstance(simulated, list):
                pairs = zip(recorded, simulated, strict=False)
                same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
                recorded, simulated = recorded[same:], simulated[same:]
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
            present_pages=self._env.get("present_pages", self._boot.get("mem_mb", 128) * 256),
        )
        comm, pid = self._recorder_name_and_pid()
        config = KernelConfig(self.recording.profile_name)
        init_comm = comm if pid == 1 else self._init_comm()
        log = self._recorded_log()
        build = Build(
            cpusets=any("cpuset=/" in line for line in log),
            compaction=not any("COMPACTION is disabled" in line for line in log),
        )
        self.world.restart(
            Machine(config, hardware, build=build, first_pid=_FIRST_PID, init_comm=init_comm)
        )
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
        for row in (row for step in self.observed["steps"] for row in self._first_table(step)):
            if row["task"] == "recorder":
                return row["name"], row["pid"]
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
        for memcg in self.scenario.get("memcgs", []):
            self._control(f"memcg /rec_{memcg['name']} limit={memcg['limit_kb']}k")
        for task in self.scenario["tasks"]:
            self._create(task)
            if "memcg" in task:
                self._control(f"join {self._pids[task['name']]} /rec_{task['memcg']}")
            if task.get("signals") == "ignore":
                for name in self._with_handlers_of(task):
                    self._control(f"set {self._pids[name]} ignore_sigchld=yes")
            failures += self._write_oom_files(task)
            failures += self._set_credentials(task)
            if task.get("exec"):
                self._exec(task["name"])
        if self._pids["recorder"] != 1 and any(
            s["op"] == "sysrq_f" for s in self.scenario["steps"]
        ):
            # Beside an init that is an actor the recorder is a task like others: it saw to
            # it that it survived.
            self.world.machine.processes[self._pids["recorder"]].oom_score_adj = -1000
        self._where = "set-up"
        self._differ("failures", self.observed.get("setup", []), failures)
        for name, row in self.observed["start"].items():
            if row is not None and len(row) > 1:
                self._hold(name, self._named(row))
        for task in self.scenario["tasks"]:
            if task.get("mlock"):
                row = self._named(self.observed["start"][task["name"]])
                locked = f"mlocked={row['anon_kb']}k {self._sizes(row)}"
                self._control(f"set {self._pids[task['name']]} {locked}")

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
            if vm == "copied":
                self._forget_files(pid)
        self._tgids.setdefault(name, pid)
        for number in range(1, task.get("threads", 1)):
            self._control(f"thread {pid} tid={pid + number}")

    def _with_handlers_of(self, task: dict[str, Any]) -> Iterator[str]:
        """Return a task and those that it was cloned from with CLONE_SIGHAND."""
        made = {other["name"]: other for other in self.scenario["tasks"]}
        yield task["name"]
        while task.get("create") == "vm_sighand":
            task = made[task["parent"]]
            yield task["name"]

    def _forget_files(self, pid: int) -> None:
        """Let a forked task hold of files what it runs, which is less than of other programs."""
        mm = self.world.machine.thread(pid).process.mm
        assert mm is not None
        row = self._row_of(mm.sizes)
        row["file_kb"] = min(row["file_kb"], self._fresh["file_kb"])
        self._control(f"set {pid} {self._sizes(row)}")

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

    def _set_credentials(self, task: dict[str, Any]) -> list[list[Any]]:
        """Change a task's user and capabilities; return what failed, as it is recorded."""
        held = int(self._env["root_caps"], 16)
        words = []
        own = self.world.machine.thread(self._pids[task["name"]]).credentials
        if task.get("uid", own.uid) != own.uid and not own.capable(capability.CAP_SETUID):
            return [[task["name"], "setuid", "EPERM"]]
        if "uid" in task:
            words += [f"uid={task['uid']}", f"gid={task['uid']}"]
            held = held if task["uid"] == 0 else 0
        if "caps" in task:
            held = capability.parse(task["caps"], int(self._env["root_caps"], 16))
            if held & ~own.capabilities:
                return [[task["name"], "capset", "EPERM"]]
        if words or "caps" in task:
            words += [
                "this_thread=yes",
                f"caps=0x{held:x}",
                f"dumpable={'yes' if task.get('dumpable', 1) else 'no'}",
            ]
            self._control(f"set {self._pids[task['name']]} {' '.join(words)}")
        return []

    def _exec(self, name: str) -> None:
        pid = self._pids[name]
        self._control(f"exec {pid} {self._sizes(self._fresh)}")
        if self.world.machine.thread(pid).credentials.uid == 0:  # up to what the recorder had
            self._control(f"set {pid} caps=0x{self._env['root_caps']}")

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
        target: str = step["target"]
        via = step.get("via", "tgid")
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
        row = self._row_of(mm.sizes)
        row["vm_kb"] += _STACK_KB["vm_kb"]
        row["anon_kb"] += _STACK_KB["anon_kb"]
        if row["pte_kb"] == self._fresh["pte_kb"]:
            row |= self.recording.page_tables_with_stack()
        self._control(f"set {self._pids[name]} {self._sizes(row)}")

    def _foresee(self, name: str, step: dict[str, Any]) -> None:
        """Let a new task hold what the next snapshot says, if nothing comes between."""
        steps = self.scenario["steps"]
        number = steps.index(step)
        for later, observed in list(zip(steps, self.observed["steps"], strict=True))[number + 1 :]:
            if later["op"] in ("spawn", "exec", "mem") and self._share_mm(
                name, later.get("target") or later["task"].get("parent")
            ):
                return
            row = observed.get("tasks", {}).get(name, [])
            if len(row) > 1:
                self._hold(name, self._named(row))
                return
            for printed in self._first_table(observed):
                if printed["task"] == name:
                    self._hold_printed(name, printed)
                    return
            if later["op"] in ("sysrq_f", "hog"):
                return

    def _share_mm(self, name: str, other: str | None) -> bool:
        """Say whether what happens to the one's memory happens to the other's."""
        if name == other:
            return True
        tids = [self._pids.get(task, 0) for task in (name, other or "")]
        first, second = [self.world.machine.find_thread(tid) for tid in tids]
        if first is None or second is None or first.mm is None:
            return False
        return first.mm is second.mm

    def _step_exec(self, step: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
        self._exec(step["target"])
        self._foresee(step["target"], step)
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
        if step.get("nowait"):
            return {"ret": 0}
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

    # -- Steps with the OOM killer -------------------------------------------------

    def _step_sysrq_f(self, step: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
        self._hold_what_was_seen(expected)
        late = self._slower_than_the_reaper(expected)
        alive = self._living()
        for tid in late:
            self._control(f"hold {tid} at-exit")
        if self.recording.has_reports:
            log = expected.get("log", [])
            held_back = any(map(_VICTIM_LINE.search, log)) and not any(map(_INVOKED.match, log))
            self._limit_reports(let_through=not held_back)
        fd = os.open(self.world.path("sysrq-trigger"), os.O_WRONLY)
        try:
            os.write(fd, b"f")
        finally:
            os.close(fd)
        for tid in late:
            self._control(f"release {tid}")
        return {"died": [name for name in alive if name not in self._living()]} | self._killed()

    def _slower_than_the_reaper(self, expected: dict[str, Any]) -> list[int]:
        """Return tasks that nothing held and that the reaper reached before they were gone.

        Who of the two is first is chance; mostly it is the task.
        """
        reaped = _reaped(expected)
        dead = {self._pids[name] for name in expected["died"]}
        threads = [self.world.machine.thread(tid) for tid in sorted(reaped & dead)]
        return [thread.tid for thread in threads if thread.hold is Hold.NONE]

    def _killed(self) -> dict[str, Any]:
        names = {pid: name for name, pid in self._pids.items()}
        victims = (_KILLED.search(line) for line in self._log())
        return {"killed": [names.get(int(v[1]), f"pid:{v[1]}") for v in victims if v]}

    def _living(self) -> list[str]:
        """Return the names of the processes that live, in order of creation."""
        return [
            name
            for name, tgid in self._tgids.items()
            if name in self._last
            and (process := self.world.machine.processes.get(tgid)) is not None
            and not process.leader.exiting
        ]

    def _hold_what_was_seen(self, expected: dict[str, Any]) -> None:
        """Let the tasks hold what was recorded just before the kernel looked at them.

        The table of the first report says most; the line about a victim says how its
        memory parts into kinds; before both there is the resident size.
        """
        split = {
            int(match[1]): [int(kib or 0) for kib in match.groups()[1:]]
            for line in expected.get("log", [])
            if (match := _KILLED.search(line))
        }
        printed = {row["pid"]: self._printed_row(row) for row in self._first_table(expected)}
        if not printed:
            printed = _sizes_of_victims(expected.get("log", []))
        before = dict(expected["before"])
        for name, tgid in self._tgids.items():
            if tgid in printed and self._pids[name] == tgid:
                before.setdefault(name, [None])
        for name, (rss_kb, *_) in before.items():
            pid = self._pids[name]
            mm = self.world.machine.thread(pid).process.mm
            if mm is None or (rss_kb is None and pid not in printed):
                continue
            row = self._row_of(mm.sizes) | printed.get(pid, {})
            rss_kb = row.get("rss_kb", rss_kb)
            kinds = split.get(pid, [row["anon_kb"], row["file_kb"], row["shmem_kb"]])
            if sum(kinds) != rss_kb:
                kinds[0] = max(rss_kb - kinds[1] - kinds[2], 0)
                kinds[1] = min(kinds[1], rss_kb - kinds[2])  # the page cache goes under pressure
            row["anon_kb"], row["file_kb"], row["shmem_kb"] = kinds
            if row != self._row_of(mm.sizes):
                self._control(f"set {pid} {self._sizes(row)}")

    def _let_init_hold_the_other_swap(self, log: list[str]) -> None:
        """Give init, which no table shows, what is swapped out besides."""
        machine = self.world.machine
        for match in filter(None, map(_FREE_SWAP.match, log)):
            others_kb = machine.free_swap_entries * 4 - int(match[1])
            if others_kb and machine.init.mm is not None:
                row = self._row_of(machine.init.mm.sizes)
                row["swap_kb"] += others_kb
                row["vm_kb"] += max(others_kb, 0)
                self._control(f"set 1 {self._sizes(row)}")

    def _first_table(self, expected: dict[str, Any]) -> list[dict[str, Any]]:
        tables = expected.get("table") or [[]]
        columns = self.recording.table_columns
        return [dict(zip(columns, row, strict=True)) for row in tables[0]]

    def _hold_printed(self, name: str, printed: dict[str, Any]) -> None:
        """Let a task hold what a row of the kernel's table says; the difference is anonymous."""
        mm = self.world.machine.thread(self._pids[name]).process.mm
        if mm is not None:
            row = self._row_of(mm.sizes) | self._printed_row(printed)
            row["anon_kb"] = max(row["rss_kb"] - row["file_kb"] - row["shmem_kb"], 0)
            self._control(f"set {self._pids[name]} {self._sizes(row)}")

    def _row_of(self, sizes: MemorySizes) -> dict[str, Any]:
        fields = {"total_vm_pages": "vm_kb", "swap_entries": "swap_kb"}
        kinds = ("anon", "file", "shmem", "pte", "pmd")
        fields |= {f"{kind}_pages": f"{kind}_kb" for kind in kinds}
        return {column: getattr(sizes, name) * 4 for name, column in fields.items()}

    def _printed_row(self, row: dict[str, Any]) -> dict[str, Any]:
        known = {"vm_kb": row["total_vm"] * 4, "rss_kb": row["rss"] * 4}
        known["swap_kb"] = row["swapents"] * 4
        if "rss_anon" in row:
            known |= {f"{kind}_kb": row[f"rss_{kind}"] * 4 for kind in ("anon", "file", "shmem")}
        if "pgtables_bytes" in row:
            return known | {"pte_kb": row["pgtables_bytes"] // 1024, "pmd_kb": 0}
        return known | {"pte_kb": row["nr_ptes"] * 4, "pmd_kb": row["nr_pmds"] * 4}

    def _step_join(self, step: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
        self._control(f"join {self._pids[step['target']]} /rec_{step['memcg']}")
        return {"ret": 0} if "ret" in expected else {}

    def _step_hog(self, step: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
        """Invoke the OOM killer as often as was recorded, each time from its own table.

        How far a hog gets, who then asks for memory, and whether the rate limit lets the
        report through, is chance.
        """
        alive = self._living()
        self._free = {t.tid for t in self.world.machine.threads() if t.hold is Hold.NONE}
        for number, part in enumerate(self._invocations(expected)):
            match = _INVOKED.match(part["log"][0])
            part["before"] = expected.get("before", {}) if number == 0 else {}
            self._hold_what_was_seen(part)
            self._let_init_hold_the_other_swap(part["log"])
            if match is None:
                self._fill_the_memcg(step["by"], part["log"])
            self._limit_reports(let_through=match is not None)
            if match is None:  # only the hog asks for memory
                self._trigger(f"pid={self._pids[step['by']]}{self._memcg_of(step['by'])}")
            else:
                memcg = f" memcg={m[1]}" if (m := _MEMCG.search(" ".join(part["log"]))) else ""
                self._trigger(
                    f"pid={self._allocating(match[1])} order={match[3]} gfp_mask={match[2]}{memcg}"
                )
            self.world.machine.advance(_REAPER_DELAY_NS)  # the hog waits that long
        return {"died": [name for name in alive if name not in self._living()]} | self._killed()

    def _limit_reports(self, *, let_through: bool) -> None:
        """Put the rate limit where that boot had it when this OOM came."""
        now_ns = self.world.machine.now_ns
        used_up = RateLimit(begin_ns=now_ns)
        used_up.printed = used_up.burst
        self.world.machine.report_limit = RateLimit() if let_through else used_up

    def _fill_the_memcg(self, hog: str, log: list[str]) -> None:
        """Let a hog that no line tells about take what the others leave of the limit."""
        process = self.world.machine.process(self._tgids[hog])
        limit_pages = process.memcg.limit_pages
        told = {int(match[1]) for line in log if (match := _KILLED.search(line))}
        if process.mm is None or process.pid in told or limit_pages is None:
            return
        members = {member.mm for member in process.memcg.processes() if member.mm is not None}
        used = sum(mm.sizes.anon_pages + mm.sizes.shmem_pages for mm in members)
        row = self._row_of(process.mm.sizes)
        more_kb = max(limit_pages - used, 0) * 4
        row["vm_kb"] += more_kb
        row["anon_kb"] += more_kb
        self._control(f"set {process.pid} {self._sizes(row)}")

    def _memcg_of(self, name: str) -> str:
        path = self.world.machine.process(self._tgids[name]).memcg.path
        return f" memcg={path}" if path != "/" else ""

    def _invocations(self, expected: dict[str, Any]) -> list[dict[str, Any]]:
        """Part the log where the OOM killer was invoked.

        That is at the line that says who did it and, where the rate limit held the report
        back, at the first line about a victim.
        """
        parts: list[dict[str, Any]] = []
        tables = list(expected.get("table", []))
        decided = True
        for line in expected.get("log", []):
            invoked = _INVOKED.match(line)
            if invoked or (decided and _VICTIM_LINE.search(line)):
                parts.append({"log": [], "table": tables[:1] if invoked else []})
                tables = tables[1:] if invoked else tables
                decided = False
            if parts:
                parts[-1]["log"].append(line)
            # The victims behind the line about a group belong to the same invocation.
            decided = (decided or _KILLED.search(line) is not None) and not any(
                map(_GROUP_KILL.match, parts[-1]["log"] if parts else [])
            )
        return parts

    def _allocating(self, comm: str) -> int:
        """Return a living thread of that name; the hog is one.  Raises ESRCH."""
        for thread in self.world.machine.threads():
            if thread.comm == comm and thread.alive:
                return thread.tid
        raise Refused(errno.ESRCH, f"nobody alive is called {comm}")

    def _trigger(self, options: str) -> None:
        self._act("recorder")
        fd = os.open(self.world.path("fakeproc/oom_trigger"), os.O_WRONLY)
        try:
            os.write(fd, options.encode())
        finally:
            os.close(fd)

    def _step_mem(self, step: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
        pid = self._pids[step["target"]]
        mm = self.world.machine.thread(pid).process.mm
        assert mm is not None
        row = self._row_of(mm.sizes)
        row["vm_kb"] += step["kb"]
        row[f"{step['kind']}_kb"] += step["kb"]
        if row["pte_kb"] == self._fresh["pte_kb"]:
            row |= self.recording.page_tables_with_stack()
        row["pte_kb"] += step["kb"] // 2048 * 4  # a page of the table maps 2 MiB
        self._control(f"set {pid} {self._sizes(row)}")
        self._foresee(step["target"], step)
        return {"ret": "ok"}

    def _step_sysctl(self, step: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
        self._act("recorder")
        fd = os.open(self.world.path(f"sys/{step['name'].replace('.', '/')}"), os.O_WRONLY)
        try:
            os.write(fd, str(step["value"]).encode())
        finally:
            os.close(fd)
        return {"ret": 0}

    def _step_sleep(self, step: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
        self.world.machine.advance(int(step["s"] * 1_000_000_000))
        return {}

    def _step_freeze(self, step: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
        for name in step["targets"]:
            for thread in self.world.machine.process(self._tgids[name]).threads:
                self._control(f"hold {thread.tid} frozen")
                self._frozen.append(thread.tid)
        return {"ret": 0, "states": self._states(expected)}

    def _step_thaw(self, step: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
        for tid in self._frozen:
            thread = self.world.machine.find_thread(tid)
            if thread is not None and thread.alive:
                self._control(f"release {tid}")
        self._frozen.clear()
        return {"ret": 0, "states": self._states(expected)}

    def _step_seize(self, step: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
        self._control(f"hold {self._pids[step['target']]} at-exit")
        return {"ret": 0}

    def _step_cont(self, step: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
        thread = self.world.machine.find_thread(self._pids[step["target"]])
        result: dict[str, Any] = {"ret": 0}
        if thread is not None and thread.state is State.TRACED:
            self._control(f"release {thread.tid}")
        else:  # ptrace(2) only lets tasks go that it has stopped
            result["ret"] = "ESRCH"
        return result | ({"states": self._states(expected)} if "states" in expected else {})

    # -- Comparing ---------------------------------------------------------------

    def _compare_step(
        self, step: dict[str, Any], expected: dict[str, Any], actual: dict[str, Any]
    ) -> None:
        if "states" in expected:
            expected = {**expected, "states": _dead_or_alive(expected["states"])}
        if "panic" in expected:  # nobody was left to say what else became of the step
            actual = {"panic": self._panic()}
        for key in (_RESULTS | {"panic"}) & (expected.keys() | actual.keys()):
            self._differ(key, expected.get(key), actual.get(key))
        self._act("recorder")
        if step["op"] in ("sysrq_f", "hog"):
            recorded = _dead_or_alive(expected.get("after", {}))
            shown = _dead_or_alive({name: self._state(name) for name in recorded})
            self._differ("states", recorded, self._with_order_of_deaths(recorded, shown))
        elif "after" in expected:
            self._last |= expected["after"]
            # How far who is not waited for has got by now is chance.
            for name, files in self._last.items() if "nowait" not in step else ():
                self._differ(f"{name}'s files", files, self._shown(name))
        self._differ("log", self._relevant(expected.get("log", [])), self._relevant(self._log()))

    def _panic(self) -> str | None:
        return next((line for line in self._log() if line.startswith("Kernel panic")), None)

    def _log(self) -> list[str]:
        return [record.text for record in self.world.machine.log.since(self._log_from)]

    def _relevant(self, lines: list[str]) -> list[str]:
        """Leave only lines about the OOM killer and its files.

        The one-time message counts only in scenarios that had a boot of their own.
        """
        lines = [line for line in _without_failed_allocations(lines) if speaks_of_oom(line)]
        # Which of the kernel's workers runs a sysrq is chance.
        lines = [re.sub(r"^kworker/\S+", "kworker", line) for line in lines]
        if not self.recording.has_reports:
            lines = [line for line in lines if not _REPORT.search(line)]
        # So is whether the reaper or its own death comes first to one that nothing holds.
        lines = [s for s in lines if not ((m := _REAPED.search(s)) and int(m[1]) in self._free)]
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
        return _dead_or_alive({name: self._state(name) for name in expected.get("states", {})})

    def _with_order_of_deaths(
        self, recorded: dict[str, str], shown: dict[str, str]
    ) -> dict[str, str]:
        """Take from the recording who of a family died first, where both died together.

        A child leaves no zombie if its parent ignores SIGCHLD and outlives it; killed
        together, they run in whatever order the scheduler has it.
        """
        together = {
            task["name"]
            for task in self.scenario["tasks"]
            if recorded.get(task.get("parent", "")) in _DEAD
        }
        return {
            name: recorded[name]
            if name in together and {state, recorded[name]} <= set(_DEAD)
            else state
            for name, state in shown.items()
        }

    def _state(self, name: str) -> str:
        process = self.world.machine.processes.get(self._tgids[name])
        return process.leader.state.value if process else "gone"

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


def _reaped(expected: dict[str, Any]) -> set[int]:
    """Return whose memory the reaper has taken in a step."""
    return {int(m[1]) for line in expected.get("log", []) if (m := _REAPED.search(line))}


def _sizes_of_victims(log: list[str]) -> dict[int, dict[str, int]]:
    """Return what lines about victims say of their whole address space, by pid."""
    matches = filter(None, (_VICTIM_SIZES.search(line) for line in log))
    return {
        int(pid): {
            "vm_kb": int(vm),
            "rss_kb": sum(map(int, kinds)),
            "pte_kb": int(pte),
            "pmd_kb": 0,
        }
        for pid, vm, *kinds, pte in (match.groups() for match in matches)
    }


def _without_failed_allocations(lines: list[str]) -> Iterator[str]:
    """Leave out what is told of memory where an allocation has failed without the OOM killer."""
    is_report = False
    for line in lines:
        is_report = (is_report or bool(_INVOKED.match(line))) and not _OUTCOME.search(line)
        if is_report or not _MEMORY.search(line):
            yield line


def _without_cut_report(expected: dict[str, Any]) -> dict[str, Any]:
    """Leave out a report in the middle of which the recorder read the log."""
    log = expected.get("log", [])
    begins = [number for number, line in enumerate(log) if _INVOKED.match(line)]
    if not begins or any(_OUTCOME.search(line) for line in log[begins[-1] :]):
        return expected
    return {**expected, "log": log[: begins[-1]]}


def _dead_or_alive(states: dict[str, str]) -> dict[str, str]:
    """Keep what tells the dead apart; which of R, S and D the living show is chance."""
    bare = {name: state.rstrip("K") for name, state in states.items()}
    return {name: state if state in _DEAD else "alive" for name, state in bare.items()}
