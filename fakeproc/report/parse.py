# SPDX-License-Identifier: MIT
"""From the messages of the kernel to reports of the OOM killer.

A report is printed in one order: who asked, the memory, the table of tasks, who is chosen, who
is killed.  A line that belongs to an earlier part than the last one begins the next report.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum

from fakeproc.report.lines import HEADER, ROW_START, Message, numeric_columns
from fakeproc.report.table import Table, TaskRow

NO_LIMIT_KB = 9_007_199_254_740_000
"""A limit from here on is none (PAGE_COUNTER_MAX in kB, or what 3.x printed)."""


class Scope(StrEnum):
    """What was out of memory."""

    GLOBAL = "global"
    MEMCG = "memcg"
    CPUSET = "cpuset"
    MEMPOLICY = "mempolicy"


@dataclass(frozen=True, slots=True)
class Named:
    """A task as a line about it names it."""

    pid: int
    comm: str


@dataclass(frozen=True, slots=True)
class Memory:
    """What the report says about the memory in question; None where it says nothing."""

    ram_pages: int | None = None
    reserved_pages: int | None = None
    swap_kb: int | None = None
    managed_kb: dict[int, int] = field(default_factory=dict)
    """The memory of each node, by the lines about its zones."""
    memcg_limit_kb: int | None = None
    memcg_memsw_limit_kb: int | None = None
    memcg_swap_limit_kb: int | None = None
    memcg_swap_used_kb: int = 0
    page_kb: int = 4


class Style(StrEnum):
    """Ways of printing by which generations can be told apart, where none is named."""

    OOM_ADJ = "oom_adj"
    NO_SCORE_ADJ = "no oom_score_adj"
    NR_PTES = "nr_ptes"
    NR_PMDS = "nr_pmds"
    PGTABLES = "pgtables_bytes"
    RSS_SPLIT = "rss_anon"
    WIDE_PID = "wide pid"
    GFP_NAMES = "gfp names"
    NODEMASK = "nodemask"
    SUMMARY = "oom-kill:"
    SACRIFICE = "Kill process"
    KILLED_SHMEM = "shmem-rss"
    KILLED_MESSAGE = "message: Killed process"
    KILLED_PGTABLES = "pgtables:"
    UID_OF_CPU_LINE = "UID: PID:"
    SINCE_5_9 = "a line that 5.9 brought"
    SINCE_6_1 = "a line that 6.1 brought"


@dataclass(frozen=True, slots=True)
class Report:
    """One OOM as the log tells it."""

    line_number: int
    release: str | None
    """The kernel, as printed in the report or before it."""
    styles: frozenset[Style]
    scope: Scope
    memory: Memory
    rows: tuple[TaskRow, ...]
    allocating_comm: str | None = None
    allocating_pid: int | None = None
    order: int | None = None
    gfp: str | None = None
    nodes: str | None = None
    """The nodes that the policy or the cpuset allows, ``0,2-3``."""
    memcg_path: str | None = None
    group_path: str | None = None
    """The cgroup that was killed whole (memory.oom.group)."""
    chosen: Named | None = None
    killed: Named | None = None
    also_killed: tuple[Named, ...] = ()
    sharers: tuple[Named, ...] = ()
    """Who was killed for sharing the victim's memory, by lines of kernels until 4.5."""
    score: int | None = None
    kills_allocating: bool = False
    """vm.oom_kill_allocating_task, by the words of the kill."""
    nobody: bool = False
    """The log says that nobody could be killed."""
    panic: str = ""
    earlier_victims: frozenset[tuple[int, str]] = frozenset()
    """Pid and name of those who were killed or reaped before, by the same log."""
    complete: bool = True
    """No row of the table is missing."""
    missing: tuple[str, ...] = ()
    """Which parts the log does not hold, in words."""

    def row_of(self, task: Named | None) -> TaskRow | None:
        """Return the row of a task; a thread without one has its group's, by name."""
        if task is None:
            return None
        for row in self.rows:
            if task.pid in (row.tid, row.tgid):
                return row
        killed = self.killed
        if killed is not None and killed.comm == task.comm:
            for row in self.rows:
                if killed.pid in (row.tid, row.tgid):
                    return row
        if Style.SACRIFICE in self.styles:
            # Kernels that went by threads may name one that is not the leader.
            of_that_name = [row for row in self.rows if row.comm == task.comm]
            return of_that_name[0] if len(of_that_name) == 1 else None
        return None


_LONGEST_PREFIX = 64
"""Of a kind that `lines` does not know."""


# -- The lines ---------------------------------------------------------------------

_INVOKED = re.compile(r"^(?P<comm>.*?) ?invoked oom-killer\b")
_GFP = re.compile(r"\bgfp_mask=(0x[\da-fA-F]+(?:\([^)]*\))?)")
_NODEMASK = re.compile(r"\bnodemask=(\(null\)|\d[\d,-]*?),")
_ORDER = re.compile(r"\border=(-?\d{1,4})\b")
_CPUSET = re.compile(r"^(?P<comm>\S.{0,15}?) cpuset=(?P<cpuset>\S+) mems_allowed=(?P<mems>[\d,-]+)")
_CPU = re.compile(
    r"(?:CPU: \d+ (?P<uid>UID: \d+ )?PID: (?P<pid>\d{1,20}) Comm: |"
    r"Pid: (?P<old_pid>\d{1,20}), comm: )"
    r"(?P<comm>.{1,16}?) (?:Kdump: loaded )?(?:Not tainted|Tainted: [A-Z() -]{1,60}?) *"
    r"(?:\([\d.]\S+ #\S+|(?P<release>\d+\.\d+\S*))"
)
_LINUX_VERSION = re.compile(r"Linux version (\d+\.\d+\S*) ")
_TASK_IN = re.compile(r"Task in (?P<task>\S+) killed as a result of limit of (?P<memcg>\S+)")
_REACHED = re.compile(r"Memory limit reached of cgroup (?P<memcg>\S+)")
_USAGE = re.compile(r"\b(memory\+swap|memory|swap): ?usage \d+ ?kB, limit (\d{1,20}) ?kB")
_STATS = re.compile(r"Memory cgroup stats for (?P<memcg>.+?):(?: |$)")
_STATS_SWAP = re.compile(r"\bswap:(\d{1,20})KB")
_TITLE = re.compile(r"Tasks state \(memory values in pages\)")
_MEM_INFO = re.compile(r"^Mem-Info:|^(?:active_anon|Active):\d+")
_RAM = re.compile(r"\b(\d{1,20}) pages (?:of )?RAM\b")
_RESERVED = re.compile(r"\b(\d{1,20}) (?:pages reserved|reserved pages)\b")
_TOTAL_SWAP = re.compile(r"\bTotal swap *= *(\d{1,20}) ?kB")
_BUDDY = re.compile(r"\b(?:DMA|DMA32|Normal|HighMem|Movable): \d+\*(\d{1,20})kB\b")
_ZONE = re.compile(r"(?:\bNode (\d{1,20}) )?\b(?:DMA|DMA32|Normal|HighMem|Movable) free:\d+kB")
_MANAGED = re.compile(r"\bmanaged:(\d{1,20})kB")
_SUMMARY = re.compile(r"oom-kill: ?constraint=(?P<constraint>CONSTRAINT_[A-Z_]+)")
_SUMMARY_TASK = re.compile(r",task=(?P<comm>.*?),pid=(?P<pid>\d{1,20})")
_SUMMARY_MEMS = re.compile(r",mems_allowed=(\d[\d,-]*?)(?:,[a-z]|$)")
_SUMMARY_MEMCG = re.compile(r",oom_memcg=(?P<memcg>.*?)(?:,task_memcg=|,task=|$)")
_MESSAGE = r"(?P<message>(?:[Oo]ut of [Mm]emory|[Mm]emory cgroup out of memory)(?: \(\w+\))?): "
_KILL = re.compile(
    _MESSAGE + r"[Kk]ill process (?P<pid>\d{1,20}) \((?P<comm>.*?)\)"
    r"(?:,? score (?P<score>-?\d{1,20})| or|$)"
)
_KILLED = re.compile(
    rf"(?:{_MESSAGE})?Killed process (?P<pid>\d{{1,20}})(?:, UID \d+,?)? \((?P<comm>.*?)\)"
    r"(?:,? (?:UID:? ?\d+,? )?(?P<sizes>(?:total-vm|vsz):.*)|\.?\s*$)"
)
_SHARING = re.compile(r"Kill process (?P<pid>\d{1,20}) \((?P<comm>.*?)\) sharing same memory")
_ALREADY_EXITING = re.compile(r"OOM victim (?P<pid>\d{1,20}) \((?P<comm>.*?)\) is already exiting")
_REAPED = re.compile(
    r"oom_reaper: (?:reaped process |unable to reap pid:)(\d{1,20}) \((.*?)\)(?:,|$)"
)
_GROUP = re.compile(r"Tasks in (?P<memcg>\S.*) are going to be killed due to memory\.oom\.group")
_NOBODY = re.compile(
    r"(?:[Oo]ut of memory|Memory cgroup out of memory|[Oo]ut of memory:)"
    r".{0,40}no killable process|deadlocked on memory"
)
_PANIC = re.compile(
    r"Kernel panic - not syncing: (?P<why>.*(?:[Oo]ut of memory|panic_on_oom|deadlocked on).*)"
)
_LOST = re.compile(
    r"printk messages (?:were )?dropped|missed \d+ kernel messages|messages lost"
    r"|Suppressed \d+ messages|drop messages due to rate",
    re.IGNORECASE,
)
_CUT = re.compile(
    r"^\W{0,9}(?:\.\.|…)|^[\[(<{].{0,60}[\])>}]$"
    r"|^\W{0,9}(?:snip|cut|trimmed|truncated|omitted|skipped|removed|shortened|etc)\b"
    r"|\b(?:more|other) (?:rows|lines|processes|tasks)\b",
    re.IGNORECASE,
)
_SINCE_5_9 = re.compile(r"^(?:workingset_refault_anon|percpu) \d|reserved_highatomic:")
_SINCE_6_1 = re.compile(r"sec_pagetables[: ]\d")


_STYLE_OF_COLUMN = {
    "oom_adj": Style.OOM_ADJ,
    "nr_ptes": Style.NR_PTES,
    "nr_pmds": Style.NR_PMDS,
    "pgtables_bytes": Style.PGTABLES,
    "rss_anon": Style.RSS_SPLIT,
}


class _Part(IntEnum):
    """The parts of a report, in their order."""

    NOTHING = 0
    HEAD = 1
    MEMORY = 2
    TABLE = 3
    CHOICE = 4
    KILL = 5


class _Draft:
    """A report that is being read."""

    def __init__(self, line_number: int, earlier: frozenset[tuple[int, str]]) -> None:
        self.line_number = line_number
        self.earlier = earlier
        self.part = _Part.NOTHING
        self.styles: set[Style] = set()
        self.release: str | None = None
        self.invoked_by: str | None = None
        self.gfp: str | None = None
        self.order: int | None = None
        self.nodemask: str | None = None
        self.asked: Named | None = None
        self.mems_allowed: str | None = None
        self.memory = Memory()
        self.has_memory = False
        self.buddy_page_kb = 0
        self.memcg_path: str | None = None
        self.table = Table()
        self.constraint = ""
        self.summary: Named | None = None
        self.kill: re.Match[str] | None = None
        self.killed: list[re.Match[str]] = []
        self.exiting: Named | None = None
        self.sharers: list[Named] = []
        self.group_path: str | None = None
        self.nobody = False
        self.panic = ""
        self.lost = False

    @property
    def is_about_an_oom(self) -> bool:
        """Say whether anything of it comes from the OOM killer; others print the memory too."""
        killing = self.summary or self.constraint or self.kill or self.killed or self.nobody
        if self.invoked_by is not None or killing or self.table.has_header:
            return True
        return bool(self.table.rows()[0])


def parse(messages: Iterable[Message]) -> list[Report]:
    """Return the reports that the messages hold."""
    reader = _Reader()
    for message in messages:
        reader.feed(message)
    return reader.finish()


class _Reader:
    def __init__(self) -> None:
        self._reports: list[Report] = []
        self._release: str | None = None
        self._victims: set[tuple[int, str]] = set()
        self._draft = _Draft(0, frozenset())

    def feed(self, message: Message) -> None:
        """Take in one message."""
        text = message.text
        if (reaped := _REAPED.search(text)) is not None:
            self._victims.add((int(reaped[1]), reaped[2]))
        elif (version := _LINUX_VERSION.search(text)) is not None:
            self._release = version[1]
        elif (row := _near_start(ROW_START, text)) is not None:
            self._part(message, _Part.TABLE).table.lines.append(text[row.start() :])
        elif "pid" in text and (header := _near_start(HEADER, text)) is not None:
            self._take_header(message, text[header.start() :])
        elif not self._take_kill(message) and not self._take_memory(message):
            self._take_head(message)

    def finish(self) -> list[Report]:
        """Return what has been read."""
        self._close()
        return self._reports

    def _part(self, message: Message, part: _Part) -> _Draft:
        """Return the draft to which a line of this part belongs."""
        if part < self._draft.part:
            self._begin(message)
        if self._draft.part is _Part.NOTHING:
            self._draft.line_number = message.line_number
        self._draft.part = part
        return self._draft

    def _begin(self, message: Message) -> None:
        self._close()
        self._draft = _Draft(message.line_number, frozenset(self._victims))

    def _close(self) -> None:
        draft = self._draft
        if draft.is_about_an_oom:
            self._release = draft.release or self._release
            draft.release = self._release
            report = _finished(draft)
            self._reports.append(report)
            killed = (report.killed, *report.also_killed)
            self._victims |= {(task.pid, task.comm) for task in killed if task}
        self._draft = _Draft(0, frozenset(self._victims))

    def _take_header(self, message: Message, header: str) -> None:
        if self._draft.table.lines:
            self._begin(message)
        table = self._part(message, _Part.TABLE).table
        table.has_header = True
        table.columns = numeric_columns(header)
        if header.startswith("[  pid"):
            self._draft.styles.add(Style.WIDE_PID)
            # Since 4.19 it has a title.  Where only that is missing, somebody has filtered.
            draft = self._draft
            before = draft.invoked_by is not None or draft.has_memory
            table.cut |= before and not table.has_title

    def _take_kill(self, message: Message) -> bool:
        """Take in a line of the choice or the kill."""
        text = message.text
        if (sharing := _near_start(_SHARING, text)) is not None:
            self._draft.sharers.append(_named(sharing))
        elif (killed := _near_start(_KILLED, text)) is not None:
            self._take_killed(message, killed)
        elif (kill := _near_start(_KILL, text)) is not None:
            if self._draft.kill or self._draft.killed:
                self._begin(message)
            self._part(message, _Part.CHOICE).kill = kill
        elif (summary := _near_start(_SUMMARY, text)) is not None:
            self._take_summary(message, summary)
        elif (exiting := _ALREADY_EXITING.search(text)) is not None:
            if self._draft.group_path is None:
                self._part(message, _Part.KILL).exiting = _named(exiting)
        elif (group := _GROUP.search(text)) is not None:
            self._part(message, _Part.KILL).group_path = group["memcg"]
        elif (panic := _PANIC.search(text)) is not None:
            draft = self._part(message, max(_Part.CHOICE, self._draft.part))
            draft.panic = panic["why"]
            draft.nobody |= _NOBODY.search(text) is not None
        elif _NOBODY.search(text) is not None:
            if self._draft.killed:
                self._begin(message)
            self._part(message, _Part.CHOICE).nobody = True
        else:
            return False
        return True

    def _take_killed(self, message: Message, killed: re.Match[str]) -> None:
        if any(known[0] == killed[0] for known in self._draft.killed):
            # Once more in its group, or logged twice.
            return
        if self._draft.killed and self._draft.group_path is None:
            self._begin(message)
        draft = self._part(message, _Part.KILL)
        draft.killed.append(killed)
        sizes = killed["sizes"] or ""
        marks = {
            Style.KILLED_MESSAGE: killed["message"] is not None,
            Style.KILLED_SHMEM: "shmem-rss:" in sizes,
            Style.KILLED_PGTABLES: "pgtables:" in sizes,
        }
        draft.styles |= {style for style, seen in marks.items() if seen}

    def _take_summary(self, message: Message, summary: re.Match[str]) -> None:
        if self._draft.constraint:
            self._begin(message)
        draft = self._part(message, _Part.CHOICE)
        draft.styles.add(Style.SUMMARY)
        draft.constraint = summary["constraint"]
        if (memcg := _SUMMARY_MEMCG.search(message.text)) is not None:
            draft.memcg_path = memcg["memcg"]
        if (nodemask := _NODEMASK.search(message.text)) is not None:
            draft.nodemask = _nodes(nodemask[1])
        if (mems := _SUMMARY_MEMS.search(message.text)) is not None:
            draft.mems_allowed = mems[1]
        if (task := _SUMMARY_TASK.search(message.text)) is not None:
            draft.summary = _named(task)

    def _take_memory(self, message: Message) -> bool:
        """Take in a line about the memory of the machine or of the cgroup."""
        text = message.text
        if (found := _TASK_IN.search(text) or _REACHED.search(text)) is not None:
            self._part(message, _Part.MEMORY).memcg_path = found["memcg"]
        elif (usage := _USAGE.search(text)) is not None:
            kind = {"memory": "memcg_limit_kb", "memory+swap": "memcg_memsw_limit_kb"}
            name = kind.get(usage[1], "memcg_swap_limit_kb")
            self._set(message, **{name: int(usage[2])})
        elif (stats := _STATS.search(text)) is not None:
            draft = self._part(message, _Part.MEMORY)
            draft.memcg_path = draft.memcg_path or stats["memcg"]
            if (swap := _STATS_SWAP.search(text)) is not None:
                used = max(draft.memory.memcg_swap_used_kb, int(swap[1]))
                self._set(message, memcg_swap_used_kb=used)
        elif _TITLE.search(text):
            self._part(message, _Part.MEMORY).table.has_title = True
        elif _MEM_INFO.search(text):
            self._part(message, _Part.MEMORY)
        elif (ram := _RAM.search(text)) is not None:
            self._set(message, ram_pages=int(ram[1]))
        elif (reserved := _RESERVED.search(text)) is not None:
            self._set(message, reserved_pages=int(reserved[1]))
        elif (swap := _TOTAL_SWAP.search(text)) is not None:
            self._set(message, swap_kb=int(swap[1]))
        elif (zone := _ZONE.search(text)) is not None:
            self._take_zone(message, int(zone[1] or 0))
        elif (buddy := _BUDDY.search(text)) is not None:
            self._part(message, _Part.MEMORY).buddy_page_kb = int(buddy[1])
        else:
            return False
        return True

    def _take_zone(self, message: Message, node: int) -> None:
        draft = self._part(message, _Part.MEMORY)
        managed = _MANAGED.search(message.text)
        if managed is not None:
            nodes = draft.memory.managed_kb
            nodes[node] = nodes.get(node, 0) + int(managed[1])
        if _SINCE_5_9.search(message.text):
            draft.styles.add(Style.SINCE_5_9)

    def _set(self, message: Message, **values: int) -> None:
        draft = self._part(message, _Part.MEMORY)
        draft.has_memory = True
        draft.memory = replace(draft.memory, **values)  # type: ignore[arg-type]

    def _take_head(self, message: Message) -> None:
        """Take in a line from before the memory, or what only tells something by the way."""
        text = message.text
        if "invoked oom-killer" in text and (invoked := _INVOKED.search(text)) is not None:
            self._begin(message)
            draft = self._part(message, _Part.HEAD)
            draft.invoked_by = invoked["comm"].strip()
            self._take_allocation(text[invoked.end() :])
        elif "cpuset=" in text and (cpuset := _CPUSET.search(text)) is not None:
            self._part(message, _Part.HEAD).mems_allowed = cpuset["mems"]
        elif ("Comm: " in text or "comm: " in text) and (cpu := _CPU.search(text)) is not None:
            self._take_cpu(message, cpu)
        elif self._draft.part is _Part.TABLE and (_CUT.search(text) or _LOST.search(text)):
            self._draft.table.cut = True
        elif _LOST.search(text):
            self._draft.lost = True
        elif _SINCE_5_9.search(text):
            self._draft.styles.add(Style.SINCE_5_9)
        elif _SINCE_6_1.search(text):
            self._draft.styles |= {Style.SINCE_5_9, Style.SINCE_6_1}

    def _take_allocation(self, text: str) -> None:
        draft = self._draft
        if (gfp := _GFP.search(text)) is not None:
            draft.gfp = gfp[1]
            draft.styles |= {Style.GFP_NAMES} if "(" in gfp[1] else set()
        if (order := _ORDER.search(text)) is not None:
            draft.order = int(order[1])
        if (nodemask := _NODEMASK.search(text)) is not None:
            draft.styles.add(Style.NODEMASK)
            draft.nodemask = _nodes(nodemask[1])

    def _take_cpu(self, message: Message, cpu: re.Match[str]) -> None:
        release = cpu["release"]
        if self._draft.part > _Part.MEMORY:
            # The stack of something else, on the same kernel.
            self._release = release or self._release
            return
        draft = self._draft
        if draft.part is _Part.NOTHING:
            draft.line_number = message.line_number
        draft.release = release or draft.release
        draft.asked = Named(int(cpu["pid"] or cpu["old_pid"]), cpu["comm"])
        if cpu["uid"]:
            draft.styles.add(Style.UID_OF_CPU_LINE)


def _near_start(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """Find a pattern behind no more than a prefix: others quote the kernel within a line."""
    found = pattern.search(text)
    return found if found is not None and found.start() <= _LONGEST_PREFIX else None


def _nodes(text: str) -> str | None:
    return None if text == "(null)" else text


def _named(match: re.Match[str]) -> Named:
    return Named(int(match["pid"]), match["comm"])


# -- From a draft to a report ------------------------------------------------------


def _finished(draft: _Draft) -> Report:
    rows, garbled = draft.table.rows()
    columns = draft.table.known_columns()
    draft.styles |= {_STYLE_OF_COLUMN[name] for name in columns if name in _STYLE_OF_COLUMN}
    if columns and "oom_score_adj" not in columns:
        draft.styles.add(Style.NO_SCORE_ADJ)
    chosen, killed = _chosen_and_killed(draft, rows)
    kill, killed_lines = draft.kill, draft.killed
    words = " ".join(m["message"] or "" for m in (kill, *killed_lines) if m is not None)
    scope = _scope(draft, words)
    nodes = {Scope.MEMPOLICY: draft.nodemask, Scope.CPUSET: draft.mems_allowed}
    report = Report(
        line_number=draft.line_number,
        release=draft.release,
        styles=frozenset(draft.styles | ({Style.SACRIFICE} if kill else set())),
        scope=scope,
        memory=replace(draft.memory, page_kb=_page_kb(draft, rows, killed)),
        rows=tuple(rows),
        allocating_comm=_allocating_comm(draft),
        allocating_pid=draft.asked.pid if draft.asked and draft.invoked_by is not None else None,
        order=draft.order,
        gfp=draft.gfp,
        nodes=nodes.get(scope),
        memcg_path=draft.memcg_path,
        group_path=draft.group_path,
        chosen=chosen,
        killed=killed,
        also_killed=tuple(dict.fromkeys(t for t in map(_named, killed_lines) if t != killed)),
        sharers=tuple(draft.sharers),
        score=int(kill["score"]) if kill and kill["score"] else None,
        kills_allocating="oom_kill_allocating_task" in words,
        nobody=draft.nobody,
        panic=draft.panic,
        earlier_victims=draft.earlier,
    )
    row_lost = chosen is not None and report.row_of(chosen) is None
    complete = not (
        not rows or garbled or draft.table.cut or row_lost or not draft.table.has_header
    ) and (draft.part > _Part.TABLE)
    missing = _missing(draft, report, garbled=garbled, row_lost=row_lost)
    return replace(report, complete=complete, missing=missing)


def _missing(draft: _Draft, report: Report, *, garbled: int, row_lost: bool) -> tuple[str, ...]:
    """Say which parts are not in the log."""
    table = draft.table
    ended = draft.part > _Part.TABLE
    says = {
        "the head (who asked for the memory)": draft.invoked_by is None,
        "the memory (limits, RAM and swap)": not draft.has_memory,
        "the table of tasks": not table.has_header and not report.rows,
        "the head of the table, perhaps with rows": bool(report.rows) and not table.has_header,
        "the rows of the table": table.has_header and not report.rows,
        f"{garbled} rows of the table, which cannot be read": garbled > 0,
        "rows of the table, where something was cut out": table.cut,
        f"the row of {_spell(report.chosen)}": bool(report.rows) and row_lost,
        "whatever comes behind the table, perhaps with rows": not ended and bool(report.rows),
        "who was chosen and killed": not ended and not report.rows,
        'the line "Killed process"': ended and not report.killed and not report.nobody
        and not report.panic,
        "the panic that follows": report.nobody and not report.panic
        and report.scope is Scope.GLOBAL and report.order != -1,
        "messages that the kernel or the logger dropped": draft.lost,
    }  # fmt: skip
    return tuple(words for words, applies in says.items() if applies)


def _spell(task: Named | None) -> str:
    return f"{task.comm} ({task.pid})" if task else "nobody"


def _allocating_comm(draft: _Draft) -> str | None:
    comm = draft.invoked_by
    if comm is None:
        return draft.asked.comm if draft.asked and draft.part > _Part.NOTHING else None
    asked = draft.asked.comm if draft.asked else ""
    # What stood before the name and is no prefix that `lines` knows.
    if asked and comm.endswith(asked):
        return asked
    words = comm.split()
    return comm if len(comm.encode()) <= 15 else words[-1][-15:] if words else None


def _scope(draft: _Draft, words: str) -> Scope:
    by_name = {"CONSTRAINT_CPUSET": Scope.CPUSET, "CONSTRAINT_MEMORY_POLICY": Scope.MEMPOLICY}
    if draft.memcg_path is not None or "cgroup" in words or draft.memory.memcg_limit_kb is not None:
        return Scope.MEMCG
    if draft.constraint:
        return Scope.MEMCG if "MEMCG" in draft.constraint else by_name.get(
            draft.constraint, Scope.GLOBAL
        )  # fmt: skip
    # 4.9 prints the nodes that the cpuset allows, where there is no policy.
    if draft.nodemask in (None, "0", draft.mems_allowed):
        return Scope.GLOBAL
    return Scope.MEMPOLICY


def _chosen_and_killed(draft: _Draft, rows: list[TaskRow]) -> tuple[Named | None, Named | None]:
    killed = _named(draft.killed[0]) if draft.killed else draft.exiting
    if draft.kill is not None:
        return _named(draft.kill), killed
    chosen = draft.summary
    known = {pid for row in rows for pid in (row.tid, row.tgid)}
    # The end of the line may have been overwritten, and the number cut with it.
    if chosen is None or (killed is not None and chosen.pid not in known and killed.pid in known):
        chosen = killed
    if chosen is not None:
        leader = next((row for row in rows if row.tid == chosen.pid != row.tgid), None)
        if leader is not None and draft.summary is None:
            chosen = Named(leader.tgid, leader.comm)
    return chosen, killed


def _page_kb(draft: _Draft, rows: list[TaskRow], killed: Named | None) -> int:
    """Return the size of a page: a size of the killed one is in kB and, in its row, in pages."""
    if killed is not None and draft.killed:
        row = next((row for row in rows if killed.pid in (row.tid, row.tgid)), None)
        size = re.search(r"(?:total-vm|vsz):(\d{1,20})kB", draft.killed[0]["sizes"] or "")
        if row is not None and size is not None and row.total_vm_pages:
            page_kb = round(int(size[1]) / row.total_vm_pages)
            if page_kb in (4, 8, 16, 32, 64):
                return page_kb
    return draft.buddy_page_kb or 4
