# SPDX-License-Identifier: MIT
"""What a run of tools on a machine came to: who was killed, by whom, and what it was good for.

The fields are the keys of the JSON (docs/sandbox.rst).  Times ``_s`` are seconds of the
machine's clock since the run began, sizes are in kB of 1024 bytes as in /proc/meminfo.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

SCHEMA_VERSION = 1
"""Goes up when a key is removed or comes to mean something else, not when one is added."""


class Cause(StrEnum):
    """What ended a process."""

    TOOL = "tool"
    """The signal of the tool that the entry is about."""
    OTHER_TOOL = "other tool"
    """That of another tool, which signalled it too."""
    KERNEL = "kernel"
    """The simulated kernel's OOM killer."""
    EXIT = "exit"
    """It exited by itself."""
    SIGNAL = "signal"
    """A signal that no tool is known to have sent."""

    @property
    def is_own(self) -> bool:
        """Say whether it is a cause by itself, whichever kill it is seen from."""
        return self is not Cause.OTHER_TOOL


class Why(StrEnum):
    """Why somebody died beside the one that was meant."""

    PROCESS_GROUP = "process group"
    """It got the same signal: the tool kills the whole process group."""
    SHARED_MM = "shared mm"
    """It runs on the victim's memory, which comes free only with both of them."""
    OOM_GROUP = "memory.oom.group"
    """The memcg dies as a whole (since 4.19)."""
    RELIEF_UNDERWAY = "relief underway"
    """The same tool killed it although the one before was dying, and its memory came free."""


@dataclass(frozen=True, slots=True)
class Sender:
    """The process that has sent a signal."""

    pid: int
    comm: str
    cmdline: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """Memory and pressure at one time."""

    at_s: float
    available_kb: int
    free_kb: int
    swap_free_kb: int
    some_avg10_percent: float
    full_avg10_percent: float
    some_total_us: int
    full_total_us: int


@dataclass(frozen=True, slots=True)
class Victim:
    """A process when it got its first signal from a tool."""

    pid: int
    comm: str
    uid: int
    oom_score: int
    oom_score_adj: int
    rss_kb: int
    swap_kb: int
    rank_by_oom_score: int | None
    """1: nobody whom the OOM killer may choose has more; None: it may not choose this one."""
    rank_by_rss: int | None
    candidates: int
    """How many the OOM killer may choose from."""


@dataclass(frozen=True, slots=True)
class KernelChoice:
    """What an OOM would have come to at that moment."""

    outcome: str
    """As ``fakeproc explain`` names it; pid and comm are those of the victim, if there is one."""
    pid: int | None
    comm: str | None
    same: bool
    """It is the process that the tool has chosen."""


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal that a tool has sent to a process, as often as it did."""

    signo: int
    name: str
    at_s: float
    last_at_s: float
    count: int


@dataclass(frozen=True, slots=True)
class Collateral:
    """Somebody who died beside the one that was meant."""

    pid: int
    comm: str
    memory_kb: int
    """What it held, in memory and in swap; 0 where that is counted with the victim's."""
    why: Why


@dataclass(frozen=True, slots=True)
class Kill:
    """A process that a tool has signalled, with all signals of this tool."""

    at_s: float
    """When it got the first one."""
    sender: Sender | None
    """Of the first one; None: it is not known."""
    victim: Victim
    signals: tuple[Signal, ...]
    was_dying: bool
    """It was on its way out before the first signal."""
    available_kb: int
    """MemAvailable before the first signal."""
    kernel_choice: KernelChoice
    died_at_s: float | None
    """None: it is alive."""
    cause: Cause | None
    relief_s: float | None
    """From the first signal until the victim was dead and MemAvailable had risen by half of
    its RSS; None: that never came."""
    available_after_kb: int | None
    """MemAvailable then."""
    collateral: tuple[Collateral, ...] = ()


@dataclass(frozen=True, slots=True)
class KernelKill:
    """A kill of the simulated kernel's OOM killer."""

    at_s: float
    pid: int
    comm: str
    uid: int
    memory_kb: int
    """What it held, in memory and in swap."""
    constraint: str
    """CONSTRAINT_NONE, or CONSTRAINT_MEMCG where only a memcg was out of memory."""
    died_at_s: float | None
    collateral: tuple[Collateral, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """All of it."""

    command: tuple[str, ...]
    exit_status: int
    wall_s: float
    """How long it took, in seconds of the real clock."""
    simulated_s: float
    kernel: str
    ram_kb: int
    swap_kb: int
    panic: str | None
    """Why the machine has panicked."""
    lowest: Sample
    """The one with the least MemAvailable."""
    strongest: Sample
    """The one with the most pressure: some avg10."""
    kills: tuple[Kill, ...]
    kernel_kills: tuple[KernelKill, ...]
    deaths: dict[str, int]
    """How many have died, by `Cause`."""
    left_out: int
    """What the lists do not hold because they are full."""
    samples: tuple[Sample, ...]

    def to_json(self) -> dict[str, Any]:
        """Return what docs/sandbox.rst describes, of numbers, texts, lists and dictionaries."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}
