# SPDX-License-Identifier: MIT
"""Who is there in a scenario, and who can still do something: as far as that is certain.

A scenario is valid when each step finds the tasks that it needs.  `generate` makes only such,
`shrink` keeps to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.conformance.goldens import Scenario

OTHERS = ("init", "kthread")
"""Targets that no scenario makes."""

_FILE_STEPS = ("write", "fdseq", "read", "stat", "sweep", "open")
_WHEN_UNCERTAIN = {"snapshot", "sysrq_f", "sysctl", "sleep", "thaw"}


@dataclass(slots=True)
class Role:
    """A task that a scenario makes."""

    name: str
    process: str
    """The name of its thread group leader."""
    maker: str | None
    """Who made it; None: the recorder."""
    idle_threads: int = 0
    """Further threads of the process, which have no name and do nothing."""
    plain: bool = True
    """Root with all capabilities."""
    ignores_signals: bool = False
    alive: bool = True
    there: bool = True
    """Its directory in /proc is there, for sure."""
    busy: bool = False
    """It is frozen, stopped on its way out, or killed without looking at what came of it."""
    safe: bool = False
    """The OOM killer passes it over, and nobody has touched that."""
    traced: bool = False
    traces: bool = False
    waits_for: str | None = None
    """A vforked child that has neither exited nor execed."""


class Invalid(Exception):
    """A task or a step needs somebody who is not there."""


@dataclass(slots=True)
class Cast:
    """The tasks of a scenario, after some of its steps."""

    roles: dict[str, Role] = field(default_factory=dict)
    unsettled: bool = False
    """A task has been killed, and nobody has waited for what comes of it."""
    uncertain: bool = False
    """The OOM killer has been: nobody but root is sure to be able to do anything."""
    kept: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Descriptors: who holds it, of whose file."""

    # -- Who ---------------------------------------------------------------------

    def able(self) -> list[str]:
        """Return who can be told to do something."""
        return [role.name for role in self.roles.values() if self._is_able(role)]

    def there(self) -> list[str]:
        """Return whose directory exists."""
        certain = not self.uncertain or not any(r.ignores_signals for r in self.roles.values())
        return [role.name for role in self.roles.values() if role.there] if certain else []

    def killable(self) -> list[str]:
        """Return the processes that live, by their leaders."""
        if self.uncertain:
            return []
        return [r.name for r in self._leaders() if any(t.alive for t in self._threads(r.name))]

    def dies_the_same(self, process: str) -> bool:
        """Say whether no chance is in what a kill does.

        A creator that was frozen while it waits for a vforked child may wake up from that, which
        lets the child go, or not (a live 6.1 does both).
        """
        return not any(t.busy and t.waits_for is not None for t in self._threads(process))

    def execable(self) -> list[str]:
        """Return who can exec and keep its pid: leaders without a thread that has a name."""
        return [name for name in self.able() if len(self._threads(name)) == 1]

    def reapable(self) -> list[str]:
        """Return the zombies whose parent can wait for them: the recorder or a task."""
        parents = (None, *self.able())
        zombies = [r for r in self._leaders() if r.there and not r.busy and self._is_dead(r)]
        return [role.name for role in zombies if not self.uncertain and role.maker in parents]

    def _is_able(self, role: Role) -> bool:
        held = role.busy or role.waits_for is not None
        return role.alive and not held and not self.uncertain

    def _leaders(self) -> Iterator[Role]:
        return (role for role in self.roles.values() if role.process == role.name)

    def _threads(self, process: str) -> list[Role]:
        return [role for role in self.roles.values() if role.process == process]

    def _is_dead(self, leader: Role) -> bool:
        return not leader.idle_threads and not any(t.alive for t in self._threads(leader.name))

    # -- What happens ------------------------------------------------------------

    def create(self, task: dict[str, Any]) -> None:
        """Add a task.  Raises Invalid where nobody can make it."""
        name, maker, kind = task["name"], task.get("parent"), task.get("create", "fork")
        _need(name not in self.roles)
        _need(maker in self.able() if maker is not None else kind == "fork")
        made_by = self.roles[maker] if maker is not None else None
        role = Role(
            name,
            made_by.process if made_by is not None and kind == "thread" else name,
            maker,
            idle_threads=task.get("threads", 1) - 1,
            plain=made_by is None or made_by.plain,
            ignores_signals=task.get("signals") == "ignore",
            safe=task.get("oom_score_adj") == -1000,
        )
        if "uid" in task or "caps" in task:
            role.plain = False
        if made_by is not None and kind == "vm_sighand" and role.ignores_signals:
            made_by.ignores_signals = True  # its handlers are the same
        if made_by is not None and kind.startswith("vfork"):
            made_by.waits_for = name
        self.roles[name] = role

    def do(self, step: dict[str, Any]) -> None:
        """Let a step happen.  Raises Invalid where it cannot."""
        operation = step["op"]
        _need(not self.unsettled or operation in ("kill", "sleep"))
        if operation in _FILE_STEPS:
            self._use_file(step)
        elif operation not in _WHEN_UNCERTAIN or operation == "thaw":
            getattr(self, f"_{operation}")(step)
        elif operation == "sysrq_f":
            self.uncertain = True
        elif operation == "sleep":
            self.unsettled = False

    def _use_file(self, step: dict[str, Any]) -> None:
        target, by = step["target"], step.get("by", "root")
        _need(by == "root" or by in self.able())
        if target == "self":
            _need(by != "root")
        else:
            _need(target.startswith("pid:") or target in OTHERS or target in self.there())
        if step["op"] not in ("read", "stat"):
            self._may_write(by if target == "self" else target)
        if step["op"] == "open":
            _need(by == "root" or self.roles[by].plain)  # others may be refused
            _need(step["fd"] not in self.kept and {by} >= {who for who, _ in self.kept.values()})
            self.kept[step["fd"]] = by, target

    def _may_write(self, target: str) -> None:
        """Keep tracers safe: what they hold goes on when they die."""
        if role := self.roles.get(target):
            _need(not role.traces)
            role.safe = False

    def _fd(self, step: dict[str, Any]) -> None:
        by, target = self.kept.get(step["fd"], ("", ""))
        _need(by == "root" or by in self.able())
        # No FUSE server can answer fstat(2) for a process that is gone.
        _need(step["do"][0] != "fstat" or target in (*OTHERS, *self.there()))

    def _spawn(self, step: dict[str, Any]) -> None:
        self.create(step["task"])

    def _mem(self, step: dict[str, Any]) -> None:
        self._one_of(self.able(), step["target"])

    def _creds(self, step: dict[str, Any]) -> None:
        role = self._one_of(self.able(), step["target"])
        _need(role.plain)
        role.plain = False

    def _exec(self, step: dict[str, Any]) -> None:
        role = self._one_of(self.execable(), step["target"])
        role.idle_threads = 0
        self._release_maker(role)

    def _exit(self, step: dict[str, Any]) -> None:
        role = self._one_of(self.able(), step["target"])
        if step.get("how") != "thread":
            _need(role.process == role.name)
            self._end(role.name)
            return
        others = [t for t in self._threads(role.process) if t.alive and t is not role]
        if not others and not self.roles[role.process].idle_threads:
            self._end(role.process)
            return
        role.alive = False
        role.there = role.process == role.name
        self._release_maker(role)

    def _kill(self, step: dict[str, Any]) -> None:
        role = self._one_of(self.killable(), step["target"])
        _need((role.traced or role.busy) == step.get("nowait", False))
        if step.get("nowait"):
            self.unsettled = True
            for thread in self._threads(role.name):
                thread.busy = True
            return
        self._end(role.name)

    def _reap(self, step: dict[str, Any]) -> None:
        self._one_of(self.reapable(), step["target"]).there = False

    def _seize(self, step: dict[str, Any]) -> None:
        by = self._one_of(self.able(), step["by"])
        target = self._one_of(self.killable(), step["target"])
        _need(by.plain and by.safe and by is not target and not target.traced)
        target.traced = by.traces = True

    def _cont(self, step: dict[str, Any]) -> None:
        self._one_of(self.able(), step["by"])
        traced = [name for name, role in self.roles.items() if role.traced]
        self._one_of(traced, step["target"])

    def _join(self, step: dict[str, Any]) -> None:
        self._one_of(self.killable(), step["target"])

    def _freeze(self, step: dict[str, Any]) -> None:
        killable = self.killable()
        for leader in [self._one_of(killable, name) for name in step["targets"]]:
            for thread in self._threads(leader.name):
                thread.busy = True

    def _thaw(self, step: dict[str, Any]) -> None:
        _need(self.uncertain or any(role.busy for role in self.roles.values()))

    def _hog(self, step: dict[str, Any]) -> None:
        self._one_of(self.able(), step["by"])
        self.uncertain = True

    def _end(self, process: str) -> None:
        """Let a process die; its zombie stays where its parent is sure to leave it."""
        leader = self.roles[process]
        leader.idle_threads = 0
        for thread in self._threads(process):
            thread.alive = False
            thread.there = thread is leader
            thread.waits_for = None
            self._release_maker(thread)
        maker = self.roles[leader.maker] if leader.maker is not None else None
        if maker is not None and (maker.ignores_signals or self._is_dead(self._leader_of(maker))):
            leader.there = False
        for child in self._leaders():
            made_by = self.roles[child.maker] if child.maker is not None else None
            if made_by is not None and made_by.process == process and self._is_dead(child):
                child.there = False

    def _one_of(self, names: list[str], name: str) -> Role:
        _need(name in names)
        return self.roles[name]

    def _leader_of(self, role: Role) -> Role:
        return self.roles[role.process]

    def _release_maker(self, role: Role) -> None:
        maker = self.roles[role.maker] if role.maker is not None else None
        if maker is not None and maker.waits_for == role.name:
            maker.waits_for = None


def valid_part(scenario: Scenario) -> Scenario:
    """Return the scenario without the tasks and steps that do not find whom they need."""
    cast = Cast()
    tasks = [task for task in scenario["tasks"] if _happens(cast.create, task)]
    steps = [step for step in scenario["steps"] if _happens(cast.do, step)]
    return {**scenario, "tasks": tasks, "steps": steps}


def _happens(change: Callable[[dict[str, Any]], None], what: dict[str, Any]) -> bool:
    try:
        change(what)
    except Invalid:
        return False
    return True


def _need(condition: bool) -> None:
    if not condition:
        raise Invalid
