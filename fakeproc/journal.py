# SPDX-License-Identifier: MIT
"""The journal of a mount: a file of inputs from which the machine can be made again.

The first line describes the machine, each further one is an input.  Every line is JSON
and ends with a checksum of itself and of all lines before it.  A line is on the disk
before its input happens; an input that is refused is taken out again.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import re
import stat
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.profile import KernelConfig
from fakeproc.procfs.clock import ACCEPTED_SPEEDS, is_speed
from fakeproc.procfs.inputs import Entry, Input, Nothing, taken, taken_number
from fakeproc.procfs.tree import Procfs
from fakeproc.scenario.load import load_text

log = logging.getLogger(__name__)

VERSION = 1
_MAGIC = b'{"fakeproc":"journal",'
_SEAL = b',"crc":"%08x"}'
_SEAL_BYTES = len(_SEAL % 0)
_SEALED = re.compile(rb',"crc":"[0-9a-f]{8}"}\Z')
_SPEED = re.compile(r"(\d{1,13})(?:/([1-9]\d{0,12}))?", re.ASCII)
_KERNEL = re.compile(r"(\S+)((?: [+-][1-6])*)")
_LATEST_BOOT_S = 2**40
"""Farther from 1970 no machine boots: its own clock may be before the host's by 146 years."""
_NOTE_INTERVAL_NS = 1_000_000_000
_ACCEPTED_FILE = "accepted is a file of your own that nobody else may write to, or a new one"

Mark = tuple[int, int]
"""A place in a journal: bytes of the lines before it, and the checksum of the last."""


@dataclass(frozen=True, slots=True)
class Header:
    """The first line: all that the machine is made of."""

    name: str
    """Which scenario it is, for messages."""
    scenario: str
    """The whole text of it."""
    kernel: KernelConfig | None
    """What the options say of the kernel; None where they leave it to the scenario."""
    clock_speed: Fraction
    """Seconds in one of the host's, where ``manual_clock`` does not stop it."""
    manual_clock: bool
    boot_time_s: int | None = None
    """The wall clock at boot; None: not booted yet."""

    def boot(self) -> Procfs:
        """Return the machine that it describes, before the first input."""
        machine = load_text(self.scenario, self.name, self.kernel)
        boot_ns = time.time_ns()
        if self.boot_time_s is not None:
            boot_ns = self.boot_time_s * 1_000_000_000 + machine.now_ns
        machine.set_boot_time(boot_ns)
        procfs = Procfs(machine)
        procfs.set_clock(self.clock_speed, manual=self.manual_clock)
        return procfs

    @property
    def kernel_text(self) -> str:
        """The kernel with the patches turned by hand, ``4.7 +3 -5``; nothing where not said."""
        if self.kernel is None:
            return ""
        turned = (f" {'+' if on else '-'}{n}" for n, on in sorted(self.kernel.patches.items()))
        return self.kernel.base + "".join(turned)

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {
            "fakeproc": "journal",
            "version": VERSION,
            "name": self.name,
            "kernel": self.kernel_text,
            "clock_speed": str(self.clock_speed),
            "manual_clock": self.manual_clock,
            "boot_time_s": self.boot_time_s,
            "scenario": self.scenario,
        }

    @staticmethod
    def from_json(values: dict[str, Any]) -> Header:
        """Read it back; ValueError for what is no header, or one of another version."""
        if values.get("version") != VERSION:
            raise ValueError(f"version {values.get('version')}: accepted is {VERSION}")
        return Header(
            taken(values, "name", str),
            _scenario_of(taken(values, "scenario", str)),
            _kernel_of(taken(values, "kernel", str)),
            _speed_of(taken(values, "clock_speed", str)),
            taken(values, "manual_clock", bool),
            taken_number(values, "boot_time_s", -_LATEST_BOOT_S, _LATEST_BOOT_S),
        )


def _scenario_of(text: str) -> str:
    """Return a scenario that a file can hold; JSON can spell what is no text."""
    text.encode()
    return text


def _kernel_of(text: str) -> KernelConfig | None:
    """Read what `Header.kernel_text` says; ValueError for anything else."""
    if not text:
        return None
    match = _KERNEL.fullmatch(text)
    if match is None:
        raise ValueError(f"kernel: {text!r}: accepted is a kernel with patches such as 4.7 +3 -5")
    try:
        config = KernelConfig(match[1])
    except Refused as refused:
        raise ValueError(refused.why.removesuffix(".")) from None
    for word in match[2].split():
        config = config.with_patch(int(word[1]), on=word[0] == "+")
    return config


def _speed_of(text: str) -> Fraction:
    """Read a speed, ``1`` or ``1/2``; ValueError for anything else."""
    match = _SPEED.fullmatch(text)
    speed = Fraction(int(match[1]), int(match[2] or 1)) if match else Fraction(0)
    if not is_speed(speed):
        raise ValueError(f"clock_speed: {text!r}: accepted is {ACCEPTED_SPEEDS}")
    return speed


# -- The text ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Contents:
    """What a journal says."""

    name: str
    header: Header | None
    """None: nothing has been written yet."""
    entries: tuple[Entry, ...] = ()
    length: int = 0
    """Bytes of its whole lines."""
    lines: int = 0
    """How many these are."""
    checksum: int = 0
    """Of the last whole line."""
    torn_bytes: int = 0
    """What stands behind them: a line that was cut short."""

    def replayed(self, entries: int | None = None, until_ns: int | None = None) -> Procfs:
        """Return the machine after all inputs, or so many, or those up to a time of its clock.

        `Refused` names the line of one that cannot be.
        """
        assert self.header is not None
        procfs = self.header.boot()
        for number, entry in enumerate(self.entries[:entries], start=2):
            if until_ns is not None and entry.time_ns > until_ns:
                break
            try:
                entry.replay(procfs)
            except ValueError as error:
                raise damaged(self.name, number, str(error)) from None
        if until_ns is not None:
            procfs.machine.advance(until_ns - procfs.machine.now_ns)
        return procfs


def damaged(name: str, number: int, why: str) -> Refused:
    """Return the refusal of a journal, which names the line."""
    return Refused(errno.EINVAL, f"{name}: line {number}: is damaged: {why}.")


def read(name: str, data: bytes) -> Contents:
    """Read a journal; a last line that was cut short is left out.

    `Refused` (EINVAL) names the line for anything else that is wrong.
    """
    if not (data.startswith(_MAGIC) or _MAGIC.startswith(data)):
        raise Refused(errno.EINVAL, f"{name}: is no journal of fakeproc.")
    lines = data.split(b"\n")
    torn_bytes = len(lines.pop())
    if lines and not torn_bytes and not _was_finished(lines[-1]):
        torn_bytes = len(lines.pop()) + 1
    header: Header | None = None
    entries: list[Entry] = []
    checksum = 0
    for number, line in enumerate(lines, start=1):
        try:
            values, checksum = _unseal(line, checksum)
            if header is None:
                header = Header.from_json(values)
            else:
                entries.append(Entry.from_json(values))
        except ValueError as error:
            raise damaged(name, number, str(error)) from None
    return Contents(
        name, header, tuple(entries), len(data) - torn_bytes, len(lines), checksum, torn_bytes
    )


def _was_finished(line: bytes) -> bool:
    """Say whether a line has an end, or a whole value: what is wrong with it is no cut then."""
    if _SEALED.search(line):
        return True
    try:
        json.JSONDecoder().raw_decode(line.decode())
    except (ValueError, RecursionError):
        return False
    return True


def seal(values: dict[str, Any], before: int) -> tuple[bytes, int]:
    """Return a line and its checksum, which goes on from that of the line before."""
    text = json.dumps(values, separators=(",", ":")).encode()[:-1]
    checksum = zlib.crc32(text, before)
    return text + _SEAL % checksum + b"\n", checksum


def _unseal(line: bytes, before: int) -> tuple[dict[str, Any], int]:
    """Return the values of a line and its checksum; ValueError where that does not fit."""
    text = line[:-_SEAL_BYTES]
    checksum = zlib.crc32(text, before)
    if line[-_SEAL_BYTES:] != _SEAL % checksum:
        raise ValueError("it is not what was written, or lines before it are missing")
    values: dict[str, Any] = json.loads(text + b"}")
    return values, checksum


def read_file(path: Path) -> Contents:
    """Read a journal that may be in use; `Refused` when it cannot be read or is damaged."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Refused(error.errno or errno.EIO, f"{path}: {error.strerror}.") from None
    contents = read(os.fspath(path), data)
    if contents.header is None:
        raise Refused(errno.EINVAL, f"{path}: is empty; a mount with --journal begins it.")
    return contents


# -- The file ----------------------------------------------------------------------


class Journal:
    """A journal that is written: open, locked, and of this user."""

    def __init__(self, path: Path) -> None:
        """Open a journal, or make one; `Refused` when that must not be, or it is damaged."""
        self.name = os.fspath(path)
        """Which file it is, for messages."""
        self._fd = _open(path)
        try:
            _lock(self._fd, self.name)
            self.contents = read(self.name, self._read())
        except BaseException:
            self.close()
            raise
        self.last_change_s = os.fstat(self._fd).st_mtime
        """When it was last written to, by the wall clock."""
        self.mark: Mark = (self.contents.length, self.contents.checksum)
        """Where the lines that count end."""
        self._session_start = self.contents.length

    def _read(self) -> bytes:
        with self._errors("read"), open(self._fd, "rb", closefd=False) as file:
            return file.read()

    @contextmanager
    def _errors(self, done: str) -> Iterator[None]:
        """Turn what the disk says into a sentence that names the journal."""
        try:
            yield
        except OSError as error:
            raise Refused(
                error.errno or errno.EIO, f"{self.name}: cannot be {done}: {error.strerror}."
            ) from None

    def begin(self, header: Header) -> Procfs:
        """Boot the machine of this header, and write the first line."""
        procfs = header.boot()
        booted = replace(header, boot_time_s=procfs.machine.hardware.boot_time_s)
        with self._errors("written to"):
            self.append(booted.to_json(), durable=True)
            _sync_folder(self.name)
        self._session_start, _ = self.mark
        return procfs

    def abandon(self) -> None:
        """Close it because nothing came of the mount; what was only begun is empty again.

        So the next mount may begin it with other options.
        """
        if self.contents.header is None:
            self.take_back((0, 0))
        self.close()

    def carry_on(self) -> Procfs:
        """Return the machine as it was; what was cut short is cut off.

        The inputs are forgotten: they are many, and there is no more use for them.
        """
        procfs = self.contents.replayed()
        self.contents = replace(self.contents, entries=())
        with self._errors("written to"):
            os.ftruncate(self._fd, self.contents.length)
        return procfs

    def append(self, values: dict[str, Any], *, durable: bool) -> None:
        """Write a line, and see it on the disk if it must be; OSError leaves it out."""
        length, checksum = self.mark
        line, checksum = seal(values, checksum)
        try:
            # Cuts off what an earlier failure may have left there.
            os.ftruncate(self._fd, length)
            _write_all(self._fd, line, length)
            if durable:
                os.fdatasync(self._fd)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._fd, length)
            raise
        self.mark = (length + len(line), checksum)

    def take_back(self, mark: Mark) -> None:
        """Take out what has been written since then.

        Where that fails it stays, which is no harm: refused once, it is refused again.
        """
        with suppress(OSError):
            os.ftruncate(self._fd, mark[0])
            self.mark = mark

    def read_session(self, size: int, offset: int) -> bytes:
        """Return a part of the lines that have been written since it was opened."""
        end, _ = self.mark
        start = self._session_start + offset
        return os.pread(self._fd, max(min(size, end - start), 0), start)

    def close(self) -> None:
        """Close it; the lock goes with the last descriptor."""
        os.close(self._fd)


def _open(path: Path) -> int:
    """Open or make the file; no link is followed, and what others have a say in is refused.

    In a folder that others may write to, such as /tmp, they may have put anything there.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        try:
            fd = os.open(path, flags)
        except FileNotFoundError:
            fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        why = "is a link" if error.errno == errno.ELOOP else error.strerror
        raise Refused(error.errno or errno.EIO, f"{path}: {why}; {_ACCEPTED_FILE}.") from None
    wrong = _what_is_wrong(os.fstat(fd))
    if wrong:
        os.close(fd)
        raise Refused(errno.EPERM, f"{path}: {wrong}; {_ACCEPTED_FILE}.")
    return fd


def _what_is_wrong(status: os.stat_result) -> str:
    """Say why a journal must not be written there; nothing where it may."""
    if not stat.S_ISREG(status.st_mode):
        return "is no regular file"
    if status.st_uid != os.geteuid():
        return f"belongs to uid {status.st_uid}"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others may write to it (mode {stat.S_IMODE(status.st_mode):o})"
    if status.st_nlink > 1:
        return "has other names (hard links)"
    return ""


def _lock(fd: int, name: str) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Refused(errno.EBUSY, f"{name}: another mount writes to it.") from None
    except OSError as error:
        raise Refused(
            error.errno or errno.EIO, f"{name}: cannot be locked: {error.strerror}."
        ) from None


def _write_all(fd: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(fd, data, offset)
        data, offset = data[written:], offset + written


def _sync_folder(name: str) -> None:
    """Make sure that the name of a new file is on the disk as well."""
    fd = os.open(os.path.dirname(name) or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# -- Recording ---------------------------------------------------------------------


class Recorder:
    """Writes the inputs of a machine to its journal, if it has one."""

    def __init__(self, procfs: Procfs, journal: Journal | None = None) -> None:
        self._procfs = procfs
        self._journal = journal
        self._noted_at_ns = 0
        self._noted_ns = -1
        self._fails = False
        """Whether the last line could not be written."""
        if journal is not None:
            procfs.journal = journal.read_session

    @contextmanager
    def recorded(self, describe: Callable[[], Input], *, durable: bool = True) -> Iterator[None]:
        """Record an input, which the block lets happen; a refusal takes it back.

        With ``durable`` it is on the disk when the block begins; otherwise it gets there
        with the next one that is.  `Refused` with the errno of a journal that cannot be
        written to: then the block does not run.
        """
        if self._journal is None:
            yield
            return
        before = self._journal.mark
        self._append(self._journal, describe(), durable=durable)
        after = self._journal.mark
        try:
            yield
        except BaseException:
            if self._journal.mark == after:
                self._journal.take_back(before)
            raise

    def _append(self, journal: Journal, what: Input, *, durable: bool) -> None:
        entry = Entry(self._procfs.machine.now_ns, what)
        try:
            journal.append(entry.to_json(), durable=durable)
        except OSError as error:
            refused = Refused(
                error.errno or errno.EIO,
                f"journal: cannot be written to: {error.strerror}; until it can nothing changes.",
            )
            self._procfs.answer_refusal(refused)
            if not self._fails:
                log.warning("%s: %s", journal.name, refused.why.removeprefix("journal: "))
            self._fails = True
            raise refused from None
        self._fails = False

    def note_time(self, host_ns: int) -> None:
        """Record how far the machine's clock is, once in a second of the host's.

        So what follows from time alone is not undone by the end of the server.
        """
        if self._journal is None or host_ns < self._noted_at_ns + _NOTE_INTERVAL_NS:
            return
        self._noted_at_ns = host_ns
        self.note_now(durable=False)

    def note_now(self, *, durable: bool) -> None:
        """Record the time, if it has gone on; a journal that cannot be written to is let be."""
        now_ns = self._procfs.machine.now_ns
        if self._journal is None or now_ns == self._noted_ns:
            return
        with suppress(OSError):
            self._journal.append(Entry(now_ns, Nothing()).to_json(), durable=durable)
            self._noted_ns = now_ns
