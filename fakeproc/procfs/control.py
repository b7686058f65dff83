# SPDX-License-Identifier: MIT
"""/proc/fakeproc/: the control directory, for shells.  `CONTROL_FILES` is its table."""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fakeproc.kernel import devkmsg
from fakeproc.kernel.devkmsg import Devkmsg
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.profile import PATCHES, PROFILE_NAMES, KernelConfig, render_value
from fakeproc.kernel.task import PAGE_BYTES, Caller, Thread
from fakeproc.procfs import clock, comparison, ctl, explanation, oom_trigger, state_file
from fakeproc.procfs.node import Attributes, File
from fakeproc.procfs.session import HidePid, Session
from fakeproc.terminal import in_one_line
from fakeproc.units import align, format_pages


class ControlNode(File):
    """A file of the control directory, owned by root."""

    def __init__(self, session: Session, row: ControlFile) -> None:
        self._session = session
        self._row = row

    def attributes(self) -> Attributes:
        """Return the row's mode; root's, as all of them are."""
        mode = self._row.mode & 0o700 if self._row.is_private(self._session) else self._row.mode
        return Attributes(stat.S_IFREG | mode)

    def render(self) -> bytes:
        """Return the content."""
        return self._row.render(self._session).encode(errors="surrogateescape")

    def store(self, caller: Caller, data: bytes) -> int:
        """Write; EINVAL where the file takes no writes."""
        if self._row.store is None:
            raise Refused(errno.EINVAL)
        if not self._row.works_after_a_panic:
            self._session.require_running()
        return self._row.store(self._session, caller, data)

    def takes_input(self) -> bool:
        """Say whether the file takes writes."""
        return self._row.store is not None


class CtlNode(ControlNode):
    """ctl: for who is root of the machine, whoever they act as now."""

    def require_access(self, caller: Caller, wanted: int) -> None:
        """Refuse others, as the mode does, and everybody what nobody may."""
        if wanted & os.X_OK or not self._session.may_become(caller):
            super().require_access(caller, wanted)


class ExplainNode(ControlNode):
    """An explain file: what is written to it is which OOM it is about.

    Through a descriptor that is open for reading as well, that goes for this descriptor
    alone; otherwise for everybody, until somebody writes again.
    """

    _own_question: str | None = None

    def opened(self, flags: int, caller: Caller) -> File:
        """Give a descriptor that reads and writes a question of its own."""
        if flags & os.O_ACCMODE != os.O_RDWR:
            return self
        node = ExplainNode(self._session, self._row)
        node._own_question = self._session.question
        return node

    def render(self) -> bytes:
        """Return the answer."""
        with self._asking():
            return super().render()

    def store(self, caller: Caller, data: bytes) -> int:
        """Take a question."""
        with self._asking():
            return super().store(caller, data)

    def takes_input(self) -> bool:
        """Say whether a question is everybody's."""
        return self._own_question is None

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Let the descriptor's own question, if it has one, stand in for everybody's."""
        if self._own_question is None:
            yield
            return
        kept, self._session.question = self._session.question, self._own_question
        try:
            yield
        finally:
            self._own_question, self._session.question = self._session.question, kept


class JournalNode(ControlNode):
    """journal: read from the disk part by part, as it only grows."""

    def read_range(self, size: int, offset: int) -> bytes:
        """Return a part of the lines."""
        return self._session.journal(size, offset)


_END_OFFSET = 1 << 40
"""Where lseek(SEEK_END) leads in devkmsg: further than anybody gets by reading."""


class DevkmsgNode(ControlNode):
    """devkmsg: what /dev/kmsg is; there is something to read only with a descriptor."""

    def opened(self, flags: int, caller: Caller) -> File:
        """Give the descriptor a place in the log."""
        return OpenDevkmsg(self._session, self._row, flags, caller)


class OpenDevkmsg(ControlNode):
    """devkmsg as a descriptor has it: each read(2) gives one record.

    After a reboot it goes on with the first record of the new log.
    """

    has_events = True

    def __init__(self, session: Session, row: ControlFile, flags: int, caller: Caller) -> None:
        super().__init__(session, row)
        self.may_sleep = not flags & os.O_NONBLOCK
        self._flags = flags
        self._opener = caller
        self._place = Devkmsg(session.machine, flags, caller)
        self._offset = 0
        """Where the last read ended."""
        self._end = 0
        """Which record was to come next when somebody sought the end."""

    def read_range(self, size: int, offset: int) -> bytes:
        """Return the next record.  A seek before shows in the offset alone."""
        place = self._of_this_boot()
        if offset == 0 and self._offset:
            place.seek_first()
        elif offset == _END_OFFSET:
            place.seek(self._end)
        self._offset = offset
        record = place.read(size)
        self._offset += len(record)
        return record

    def seek_end(self) -> int:
        """Remember what comes next."""
        self._end = self._session.machine.log.next_sequence
        return _END_OFFSET

    def poll(self) -> int:
        """Say whether there is a record to read."""
        return self._of_this_boot().poll()

    def has_event(self) -> bool:
        """Say whether there is one that has come since."""
        return self._of_this_boot().has_news()

    def store(self, caller: Caller, data: bytes) -> int:
        """Append a record."""
        self._session.require_running()
        return self._of_this_boot().write(data)

    def takes_input(self) -> bool:
        """Say whether a write would reach the log."""
        return self._of_this_boot().may_write()

    def _of_this_boot(self) -> Devkmsg:
        if self._place.machine is not self._session.machine:
            self._place = Devkmsg(self._session.machine, self._flags, self._opener)
        return self._place


@dataclass(frozen=True, slots=True)
class ControlFile:
    """A row of the table: permission bits, what reading gives, what writing does."""

    mode: int
    render: Callable[[Session], str]
    store: Callable[[Session, Caller, bytes], int] | None = None
    works_after_a_panic: bool = False
    """Whether a machine that has panicked still takes writes to it."""
    node: type[ControlNode] = ControlNode
    is_private: Callable[[Session], bool] = lambda session: False
    """Says whether it is root's alone at present, whatever the mode gives others."""


def _hides_tasks(session: Session) -> bool:
    """Say whether hidepid= keeps the tasks of others from users: they are in no list, then."""
    return session.hidepid is not HidePid.OFF


def _restricts_log(session: Session) -> bool:
    return session.machine.kept_sysctls.text("kernel/dmesg_restrict") != "0"


# -- kernel ------------------------------------------------------------------------


def _render_kernel(session: Session) -> str:
    """Return lines that may be written back: the kernel, the patches, the switches."""
    config = session.machine.config
    lines = [f"kernel {config.base}"]
    for number, title in PATCHES.items():
        verb = "patch" if config.has_patch(number) else "no-patch"
        lines.append(f"{verb} {number}  # {title}")
    for state in config.states:
        lines.append(f"{state.name}={render_value(state.value)}  # {state.origin}")
    return "\n".join(lines) + "\n"


def _store_kernel(session: Session, caller: Caller, data: bytes) -> int:
    """Take `kernel NAME`, `patch N`, `no-patch N`, `SWITCH=VALUE` lines, or a bare NAME.

    All of the lines count, or none.
    """
    config = session.machine.config
    try:
        for line in data.decode(errors="replace").splitlines():
            config = _change_kernel(config, line.split("#")[0].strip())
    except Refused as refused:
        session.answer_refusal(refused)
        raise
    session.machine.set_kernel(config)
    session.answer = "ok\n"
    return len(data)


def _change_kernel(config: KernelConfig, line: str) -> KernelConfig:
    words = line.split(None, 1)
    if not words:
        return config
    if words[0] in ("patch", "no-patch") and len(words) == 2 and words[1] in map(str, range(100)):
        return config.with_patch(int(words[1]), on=words[0] == "patch")
    if "=" in line:
        name, value = line.split("=", 1)
        state = next((s for s in config.states if s.name == name.strip()), None)
        if state is not None and render_value(state.value) == value.strip():
            return config
        return config.with_switch(name.strip(), value.strip())
    name = words[1] if words[0] == "kernel" and len(words) == 2 else line
    if name == config.base:
        # Of a report it may be a release without a name.
        return type(config)(name)
    if name not in PROFILE_NAMES:
        raise Refused(
            errno.EINVAL,
            f"kernel: {line!r}: accepted: patch N, no-patch N, SWITCH=VALUE, or one of "
            f"{', '.join(PROFILE_NAMES)}.",
        )
    return KernelConfig(name)


# -- ps ----------------------------------------------------------------------------

PS_COLUMNS = (
    "pid",
    "tgid",
    "uid",
    "mm",
    "sharers",
    "rss",
    "swap",
    "oom_score_adj",
    "oom_score",
    "state",
    "name",
)


def ps_rows(machine: Machine) -> list[dict[str, Any]]:
    """Return one row for each task, processes in order of creation; sizes in bytes."""
    return [
        _ps_row(machine, thread)
        for process in machine.processes.values()
        for thread in process.threads
    ]


def _ps_row(machine: Machine, thread: Thread) -> dict[str, Any]:
    process, mm = thread.process, thread.mm
    return {
        "pid": thread.tid,
        "tgid": process.pid,
        "uid": thread.credentials.uid,
        "mm": mm.id if mm else None,
        "sharers": len(mm.processes) if mm else 0,
        "rss": mm.sizes.rss_pages * PAGE_BYTES if mm else 0,
        "swap": mm.sizes.swap_entries * PAGE_BYTES if mm else 0,
        "oom_score_adj": process.oom_score_adj,
        "oom_score": machine.oom_score(process),
        "state": thread.state.value,
        "name": thread.comm,
    }


def _render_ps(session: Session) -> str:
    """Return the table for people: sizes short, no mm as a dash."""
    rows = [list(PS_COLUMNS)]
    for row in ps_rows(session.machine):
        short = {key: format_pages(row[key] // PAGE_BYTES) for key in ("rss", "swap")}
        short["mm"] = "-" if row["mm"] is None else str(row["mm"])
        short["name"] = in_one_line(row["name"])
        rows.append([short.get(key, str(row[key])) for key in PS_COLUMNS])
    return align(rows)


def _render_ps_json(session: Session) -> str:
    return json.dumps(ps_rows(session.machine), indent=1) + "\n"


# -- the rest ----------------------------------------------------------------------


def _render_kmsg(session: Session) -> str:
    return session.machine.log.render()


def _render_devkmsg(session: Session) -> str:
    """Return the records in the form of /dev/kmsg."""
    return b"".join(record.render_extended() for record in session.machine.log.since()).decode()


def _store_devkmsg(session: Session, caller: Caller, data: bytes) -> int:
    return devkmsg.write(session.machine, data)


def _render_stats(session: Session) -> str:
    stats = session.stats
    lines = [f"upcalls {stats.upcalls}", f"internal_errors {stats.internal_errors}"]
    if stats.last_error:
        lines.append(f"last_error {stats.last_error}")
    return "\n".join(lines) + "\n"


def _render_journal(session: Session) -> str:
    return session.journal(sys.maxsize, 0).decode()


def _render_answer(session: Session) -> str:
    return session.answer


def _question(render: Callable[[Session], str]) -> ControlFile:
    """Return the row of a file that tells of the OOM which is written to it."""
    return ControlFile(0o666, render, explanation.store, True, ExplainNode, _hides_tasks)


CONTROL_FILES: dict[str, ControlFile] = {
    "clock": ControlFile(0o644, clock.render, clock.store),
    "ctl": ControlFile(0o600, _render_answer, ctl.run_lines, True, CtlNode),
    "devkmsg": ControlFile(0o644, _render_devkmsg, _store_devkmsg, node=DevkmsgNode),
    "explain": _question(explanation.render),
    "explain-kernels": _question(comparison.render),
    "explain-kernels.json": _question(comparison.render_json),
    "explain.json": _question(explanation.render_json),
    "journal": ControlFile(0o400, _render_journal, node=JournalNode),
    "kernel": ControlFile(0o644, _render_kernel, _store_kernel),
    "kmsg": ControlFile(0o444, _render_kmsg, is_private=_restricts_log),
    "oom_trigger": ControlFile(
        0o644, oom_trigger.render, oom_trigger.store, is_private=_hides_tasks
    ),
    "ps": ControlFile(0o444, _render_ps, is_private=_hides_tasks),
    "ps.json": ControlFile(0o444, _render_ps_json, is_private=_hides_tasks),
    # It holds what only root sees of a task, such as its environment.
    "state.toml": ControlFile(0o400, state_file.render),
    "stats": ControlFile(0o444, _render_stats),
}
"""The files of /proc/fakeproc, by name."""
