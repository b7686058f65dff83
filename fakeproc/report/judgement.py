# SPDX-License-Identifier: MIT
"""What the simulated kernel makes of a report."""

from __future__ import annotations

from dataclasses import dataclass

from fakeproc.kernel.explain import Candidate, Explanation
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.oom import OomRequest
from fakeproc.kernel.task import Process
from fakeproc.report.generation import Rules
from fakeproc.report.parse import Named, Report
from fakeproc.report.rebuild import Circumstances


@dataclass(frozen=True, slots=True)
class Judgement:
    """The answer of the rules to a report, under certain circumstances."""

    report: Report
    rules: Rules
    given: Circumstances
    machine: Machine
    request: OomRequest
    explanation: Explanation
    agrees: bool | None
    """Whether the logged one would be chosen; None: the log names nobody, or no table."""
    reason: str
    warnings: tuple[str, ...] = ()
    presumed_hidden: frozenset[int] = frozenset()
    """Who must have been a victim before, if the log is to be borne out; not part of `given`."""

    @property
    def predicted(self) -> Process | None:
        """Who would be chosen."""
        return self.explanation.chosen

    @property
    def logged(self) -> Named | None:
        """Who was chosen, by the log."""
        return self.report.chosen

    def candidate(self, pid: int) -> Candidate | None:
        """Return a task of the ranking or the others, by the pid of its group."""
        both = (*self.explanation.ranking, *self.explanation.excluded)
        return next((c for c in both if c.process.pid == pid), None)
