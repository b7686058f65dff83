# SPDX-License-Identifier: MIT
"""Random scenarios, in the format of tests/goldens/README.md."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from string import ascii_uppercase
from typing import Any

from tests.conformance.cast import OTHERS, Cast
from tests.conformance.goldens import Scenario
from tests.writes import WRITES

_ADJ_FILES = ("oom_score_adj", "oom_adj")
_FILES = (*_ADJ_FILES, "oom_score")
_EDGES = {
    "oom_adj": (-18, -17, -16, -15, -8, -1, 0, 1, 3, 8, 14, 15, 16),
    "oom_score_adj": (
        -1001, -1000, -999, -941, -500, -300, -59, -58, -16, -1,
        0, 1, 58, 59, 100, 300, 500, 941, 942, 999, 1000, 1001,
    ),
}  # fmt: skip
_SPANS = {"oom_adj": (-20, 18), "oom_score_adj": (-1050, 1050), "oom_score": (0, 1000)}
_TEXTS = [data.decode("latin-1") for data in WRITES if len(data) < 20]
_ALPHABET = "0123456789+-xX \t\n\0a\xa0"
_FLAGS = (
    ["rdwr"], ["rdwr"], ["wronly"], ["rdonly"], ["rdwr", "append"], ["rdwr", "trunc"],
    ["wronly", "creat"], ["wronly", "creat", "excl"], ["rdwr", "nonblock"],
)  # fmt: skip
_OFFSETS = (0, 0, 1, 3, 12, 4096, 1 << 31, 1 << 40, -1)

# Root without the one capability that the files ask for, and users who get at files not
# their own.
_WRITERS: tuple[dict[str, Any], ...] = (
    {"name": "W", "uid": 0, "caps": "-sys_resource"},
    {"name": "O", "uid": 1000, "caps": "+dac_override"},
    {"name": "R", "uid": 1000, "caps": "+dac_override,sys_resource"},
    {"name": "U", "uid": 1000},
)
_KINDS_OF_CLONE = ("fork", "fork", "vm", "vm", "vm", "vm_sighand", "vfork", "vfork_novm")
_SIZES_KB = (64, 256, 512, 1024, 1024, 2048, 3072, 4096, 6144)


def scenario(seed: int, number: int) -> Scenario:
    """Make one scenario: always the same for the same seed and number."""
    chance = random.Random(f"{seed}/{number}")
    make = chance.choices(list(_KINDS), weights=list(_KINDS.values()))[0]
    scene = _Scene(chance)
    make(scene)
    made: Scenario = {
        "id": f"random/{seed}/{number}", "tasks": scene.tasks, "steps": scene.steps
    }  # fmt: skip
    return made | ({"boot": scene.boot} if scene.boot else {})


class _Scene:
    """A scenario while it is being made."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.cast = Cast()
        self.tasks: list[dict[str, Any]] = []
        self.steps: list[dict[str, Any]] = []
        self.boot: dict[str, Any] = {}
        self.left_alone: list[str] = []

    def task(self, task: dict[str, Any]) -> None:
        self.cast.create(task)
        self.tasks.append(task)

    def step(self, operation: str, **fields: Any) -> None:
        step = {"op": operation, **fields}
        self.cast.do(step)
        self.steps.append(step)

    def maybe(self, likelihood: float) -> bool:
        return self.chance.random() < likelihood

    # -- Tasks -------------------------------------------------------------------

    def family(self, most: int, *, sized: bool) -> None:
        """Make tasks that fork, clone and vfork from each other."""
        for name in ascii_uppercase[: self.chance.randint(1, most)]:
            makers = self.cast.able()
            task: dict[str, Any] = {"name": name}
            if makers and self.maybe(0.6):
                task["parent"] = self.chance.choice(makers)
                task["create"] = self.chance.choice(_KINDS_OF_CLONE)
                if self.maybe(0.08):
                    task["create"] = "thread"
            if sized:
                task |= self._sizes()
            if task.get("create") != "thread":
                task |= self._attributes(sized=sized)
            self.task(task)

    def _sizes(self) -> dict[str, Any]:
        sizes: dict[str, Any] = {}
        for kind, likelihood in (("anon_kb", 0.7), ("shmem_kb", 0.15), ("file_kb", 0.15)):
            if self.maybe(likelihood):
                largest = len(_SIZES_KB) if kind == "anon_kb" else 4
                sizes[kind] = self.chance.choice(_SIZES_KB[:largest])
        return sizes

    def _attributes(self, *, sized: bool) -> dict[str, Any]:
        task: dict[str, Any] = {}
        if self.maybe(0.25):
            task["threads"] = self.chance.randint(2, 4)
        if sized and self.maybe(0.1):
            task["signals"] = self.chance.choice(("ignore", "block"))
        if self.maybe(0.35):
            task["oom_score_adj"] = self.chance.choice(_EDGES["oom_score_adj"][1:-1])
        elif self.maybe(0.1):
            task["oom_adj"] = self.chance.choice(_EDGES["oom_adj"][1:-1])
        if self.maybe(0.25):
            task["uid"] = self.chance.choice((1000, 1000, 1001))
        elif self.maybe(0.1):
            task["caps"] = self.chance.choice(("none", "-sys_admin", "-sys_resource"))
        if ("uid" in task or "caps" in task) and self.maybe(0.15):
            task["dumpable"] = 0
        return task

    def writers(self) -> None:
        for task in self.chance.sample(_WRITERS, self.chance.randint(1, len(_WRITERS))):
            self.task(dict(task))

    # -- Steps -------------------------------------------------------------------

    def pick(self, names: Iterable[str]) -> str | None:
        """Return one of the names; None if there is none."""
        names = list(names)
        return self.chance.choice(names) if names else None

    def text(self, file: str) -> str:
        """Return what to write: mostly a number that the file takes."""
        if self.maybe(0.2):
            return self.chance.choice(_TEXTS)
        if self.maybe(0.1):
            length = self.chance.randint(0, 15)
            return "".join(self.chance.choice(_ALPHABET) for _ in range(length))
        if file in _EDGES and self.maybe(0.7):
            return str(self.chance.choice(_EDGES[file]))
        return str(self.chance.randint(*_SPANS[file]))

    def whom(self) -> dict[str, Any]:
        """Return by whom a file of which task is used, and on which path."""
        able = [name for name in self.cast.able() if name not in self.left_alone]
        by = self.pick(able) if self.maybe(0.5) else None
        if by is not None and self.maybe(0.05):
            return {"target": "self", "by": by}
        there = [name for name in self.cast.there() if name not in self.left_alone]
        target = self.pick((*there, *there, *there, *OTHERS)) if self.maybe(0.2) else None
        target = target or self.pick(there) or "init"
        fields: dict[str, Any] = {"target": target, "by": by or "root"}
        if self.maybe(0.15) and target not in OTHERS:
            fields["via"] = self.chance.choice(("task", "tid"))
        return fields

    def write(self) -> None:
        file = self.chance.choice(_ADJ_FILES if self.maybe(0.95) else _FILES)
        self.step("write", **self.whom(), file=file, data=self.text(file))

    def look(self) -> None:
        if self.maybe(0.3):
            target = self.pick(self.cast.there())
            if target is not None:
                self.step("stat", target=target)
                return
        self.step("read", **self.whom())

    def sweep(self) -> None:
        file = self.chance.choice(_ADJ_FILES)
        values = [self.chance.randint(*_SPANS[file]) for _ in range(self.chance.randint(2, 8))]
        target = self.pick(self.cast.there())
        if target is not None:
            self.step("sweep", target=target, file=file, values=values)

    def sequence(self) -> None:
        file = self.chance.choice(_FILES)
        operations = [self.operation(file) for _ in range(self.chance.randint(1, 6))]
        flags = self.chance.choice(_FLAGS)
        self.step("fdseq", **self.whom(), file=file, flags=flags, ops=operations)

    def operation(self, file: str) -> list[Any]:
        """Return something to do with a descriptor."""
        offset = self.chance.choice(_OFFSETS)
        size = self.chance.choice((0, 1, 2, 3, 20))
        return self.chance.choice(
            (
                ["write", self.text(file)],
                ["write", self.text(file)],
                ["writev", [self.text(file) for _ in range(self.chance.randint(1, 3))]],
                # What the kernel answers for a seq file, ESPIPE, no FUSE server can say.
                ["pwrite", self.text(file) or "7", offset] if file in _ADJ_FILES else ["fstat"],
                ["writebad", size],
                ["read", max(size, 1)],
                ["read", 20],
                ["pread", max(size, 1), offset],
                ["lseek", offset, self.chance.choice((0, 0, 1, 2))],
                ["ftruncate", size],
                ["fstat"],
            )
        )

    def keep(self) -> None:
        """Open a file to use it later, whatever becomes of its task meanwhile."""
        if not self.cast.kept:
            file = self.chance.choice(_FILES)
            flags = self.chance.choice((["rdwr"], ["rdonly"], ["wronly"]))
            by = "root" if self.maybe(0.7) else self.pick(self._plain()) or "root"
            if (target := self.pick(self.cast.there())) is not None:
                self.step("open", fd="x", by=by, target=target, file=file, flags=flags)
            return
        by, target = self.cast.kept["x"]
        [file] = [step["file"] for step in self.steps if step["op"] == "open"]
        operation = self.operation(file)
        if operation[0] == "fstat" and target not in self.cast.there():
            operation = ["pread", 20, 0]
        if by == "root" or by in self.cast.able():
            self.step("fd", fd="x", do=operation)

    def live(self) -> None:
        """Let a task be born, exec, change its user, die or be reaped."""
        able, name = self.cast.able(), f"Z{len(self.steps)}"
        change = self.chance.choice(("spawn", "exec", "exit", "kill", "reap", "creds"))
        if change == "spawn" and (parent := self.pick(able)):
            task: dict[str, Any] = {"name": name, "parent": parent}
            self.step("spawn", task=task | {"create": self.chance.choice(_KINDS_OF_CLONE)})
        elif change == "exec" and (target := self.pick(self.cast.execable())):
            self.step("exec", target=target)
        elif change == "exit" and (target := self.pick(able)):
            self._exit(target)
        elif change == "kill" and (target := self.pick(self.cast.killable())):
            self.step("kill", target=target)
        elif change == "reap" and (target := self.pick(self.cast.reapable())):
            self.step("reap", target=target)
        elif change == "creds" and (target := self.pick(self._plain())):
            self.step("creds", target=target, uid=self.chance.choice((1000, 1001)))

    def _plain(self) -> list[str]:
        return [name for name in self.cast.able() if self.cast.roles[name].plain]

    def _exit(self, target: str) -> None:
        is_leader = self.cast.roles[target].process == target
        if not is_leader or self.maybe(0.4):
            self.step("exit", target=target, how="thread")
        else:
            self.step("exit", target=target)

    def several(self, least: int, most: int, *actions: Callable[[], None]) -> None:
        for _ in range(self.chance.randint(least, most)):
            self.chance.choice(actions)()


# -- Kinds of scenarios ----------------------------------------------------------------


def _writes(scene: _Scene) -> None:
    scene.family(7, sized=False)
    scene.writers()
    few = (scene.look, scene.sweep, scene.sequence, scene.live, scene.live)
    scene.several(4, 12, *[scene.write] * 6, *few)
    scene.step("snapshot")


def _descriptors(scene: _Scene) -> None:
    scene.family(3, sized=True)
    scene.writers()
    scene.several(3, 9, scene.sequence, scene.sequence, scene.keep, scene.keep, scene.live)
    scene.step("snapshot")


def _tables(scene: _Scene) -> None:
    """Several OOMs by sysrq-f, and what the files of the dead say then."""
    scene.family(10, sized=True)
    scene.several(0, 4, scene.write, scene.write, scene.live)
    if scene.maybe(0.1):
        name = scene.chance.choice(("vm.oom_kill_allocating_task", "vm.panic_on_oom"))
        scene.step("sysctl", name=name, value=scene.chance.choice((0, 1)))
    for _ in range(scene.chance.randint(1, 3)):
        scene.step("sysrq_f")
        if scene.cast.there():
            scene.several(0, 2, scene.write, scene.look)


def _dying(scene: _Scene) -> None:
    """OOMs while tasks are frozen, or held on their way out with their memory."""
    scene.family(6, sized=True)
    scene.task({"name": "R", "oom_score_adj": -1000})
    scene.left_alone.append("R")
    scene.several(0, 2, scene.write)
    _hold(scene)
    if scene.cast.there():
        scene.several(0, 2, scene.write)
    for _ in range(scene.chance.randint(1, 3)):
        scene.step("snapshot")
        scene.step("sysrq_f")
    scene.step("snapshot")


def _hold(scene: _Scene) -> None:
    candidates = [name for name in scene.cast.killable() if name != "R"]
    held = scene.chance.sample(candidates, min(len(candidates), scene.chance.randint(1, 3)))
    if scene.maybe(0.5):
        for target in held:
            scene.step("seize", by="R", target=target)
    elif held:
        scene.step("freeze", targets=held)
    for target in held:
        if scene.maybe(0.7) and scene.cast.dies_the_same(target):
            scene.step("kill", target=target, nowait=True)
    scene.step("sleep", s=0.1)


def _hogs(scene: _Scene) -> None:
    """A real allocation that runs out of memory."""
    for number in range(scene.chance.randint(1, 5)):
        task: dict[str, Any] = {"name": f"T{number}"}
        if (maker := scene.pick(scene.cast.able())) and scene.maybe(0.3):
            task |= {"parent": maker, "create": scene.chance.choice(("fork", "vm"))}
        task["anon_kb"] = scene.chance.choice((512, 1024, 2048, 4096, 8192))
        task["oom_score_adj"] = scene.chance.choice((-1000, -500, -100, 0, 0, 50, 100, 300))
        scene.task(task)
    scene.task({"name": "H", "oom_score_adj": scene.chance.choice((-500, 0, 0, 100))})
    scene.step("hog", by="H", extra_kb=12288)
    scene.boot = {"alone": True}


_KINDS: dict[Callable[[_Scene], None], float] = {
    _writes: 50, _descriptors: 15, _tables: 25, _dying: 8, _hogs: 2,
}  # fmt: skip
"""What makes a scenario, and how often it is that kind, in percent."""
