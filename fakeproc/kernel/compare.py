# SPDX-License-Identifier: MIT
"""One state through every kernel: where their verdicts part, and which switch does it.

Each kernel judges the same tasks; nothing here changes anything.  What makes a difference
is found by experiment: the earlier kernel is given single switches of the later one until
it comes to the same verdict.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass

from fakeproc.kernel import oom_adj
from fakeproc.kernel.explain import Forecast, forecast
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.oom import OomRequest
from fakeproc.kernel.profile import (
    DEFAULT_PROFILE,
    PATCHES,
    PROFILE_NAMES,
    KernelConfig,
    Profile,
    SwitchState,
    render_value,
)
from fakeproc.kernel.ranking import Rankings
from fakeproc.kernel.task import Process

Judge = Callable[[KernelConfig], Forecast]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Kernels, one after the other, that come to the same verdict."""

    kernels: tuple[str, ...]
    forecast: Forecast


@dataclass(frozen=True, slots=True)
class SwitchChange:
    """A switch that another kernel has otherwise."""

    before: SwitchState
    after: SwitchState


@dataclass(frozen=True, slots=True)
class Boundary:
    """Two kernels that follow each other and disagree."""

    earlier: str
    later: str
    changes: tuple[SwitchChange, ...]
    """Turn the one's verdict into the other's; none of them can be left out."""


@dataclass(frozen=True, slots=True)
class PatchEffect:
    """What a patch of the series changes on this state."""

    number: int
    without: Forecast
    present: Forecast
    """The forecast with the patch."""
    accepted: tuple[Process, ...]
    """Whose oom_adj can be written with the patch only."""
    reached: tuple[tuple[Process, tuple[Process, ...]], ...]
    """Whose value a write sets together with that of others, with the patch only."""

    @property
    def is_none(self) -> bool:
        """Say whether it makes no difference."""
        return self.without == self.present and not self.accepted and not self.reached


@dataclass(frozen=True, slots=True)
class Comparison:
    """What all the kernels make of a state."""

    agreements: list[Agreement]
    boundaries: list[Boundary]
    patches: list[PatchEffect]


def compare(machine: Machine, request: OomRequest) -> Comparison:
    """Let every kernel judge an OOM of the machine as it is."""

    def judge(config: KernelConfig) -> Forecast:
        return forecast(seen_by(machine, config), request)

    agreements = list(_agreements(judge))
    boundaries = [
        Boundary(earlier.kernels[-1], later.kernels[0], _difference(judge, earlier, later))
        for earlier, later in itertools.pairwise(agreements)
    ]
    patches = [_effect_of(machine, judge, number) for number in PATCHES]
    return Comparison(agreements, boundaries, patches)


def seen_by(machine: Machine, config: KernelConfig) -> Machine:
    """Return the machine as another kernel finds it.

    It shares every task with the real one: it may be asked, and nothing else.
    """
    view = copy(machine)
    view.config = config
    view.rankings = Rankings()
    return view


def _agreements(judge: Judge) -> Iterator[Agreement]:
    verdicts = [(name, judge(KernelConfig(name))) for name in PROFILE_NAMES]
    for found, group in itertools.groupby(verdicts, key=lambda pair: pair[1]):
        yield Agreement(tuple(name for name, _ in group), found)


# -- Which switch ------------------------------------------------------------------


def _difference(judge: Judge, earlier: Agreement, later: Agreement) -> tuple[SwitchChange, ...]:
    """Find the fewest switches of the later kernel that give the earlier one its verdict."""
    base, other = KernelConfig(earlier.kernels[-1]), KernelConfig(later.kernels[0])
    changes = [
        SwitchChange(before, after)
        for before, after in zip(base.states, other.states, strict=True)
        if before.value != after.value
    ]

    def suffices(chosen: Iterable[SwitchChange]) -> bool:
        return judge(_with(base, chosen)) == later.forecast

    single = next(((change,) for change in changes if suffices((change,))), None)
    if single is not None:
        return single
    needed = _minimised(changes, suffices)
    if len(needed) == 2:
        return needed
    # Only now: there are hundreds of pairs, and each judgement may be a walk over all tasks.
    return next(filter(suffices, itertools.combinations(changes, 2)), needed)


def _with(config: KernelConfig, changes: Iterable[SwitchChange]) -> KernelConfig:
    for change in changes:
        config = config.with_switch(change.after.name, render_value(change.after.value))
    return config


def _minimised(
    changes: list[SwitchChange], suffices: Callable[[Iterable[SwitchChange]], bool]
) -> tuple[SwitchChange, ...]:
    """Leave out one after the other of what is not needed."""
    needed = changes
    for change in changes:
        fewer = [other for other in needed if other is not change]
        if suffices(fewer):
            needed = fewer
    return tuple(needed)


# -- The six patches ---------------------------------------------------------------


def _effect_of(machine: Machine, judge: Judge, number: int) -> PatchEffect:
    present = KernelConfig(DEFAULT_PROFILE)
    without = present.with_patch(number, on=False)
    accepted, reached = _writes_gained(machine, without.profile, present.profile)
    return PatchEffect(number, judge(without), judge(present), accepted, reached)


def _writes_gained(
    machine: Machine, without: Profile, present: Profile
) -> tuple[tuple[Process, ...], tuple[tuple[Process, tuple[Process, ...]], ...]]:
    accepted, reached = [], []
    for process in machine.processes.values():
        task = process.leader
        if oom_adj.takes_writes(present, task) and not oom_adj.takes_writes(without, task):
            accepted.append(process)
        others = oom_adj.reached_with(present, task)
        if others and others != oom_adj.reached_with(without, task):
            reached.append((process, tuple(others)))
    return tuple(accepted), tuple(reached)
