# SPDX-License-Identifier: MIT
"""What a process is beyond memory: its program, its folders, its environment, its terminal.

Of a process about which nobody has said anything there are no `Details` at all, and
`details_of` gives what follows from what else is known.  They are immutable, so that a child
has those of its parent at no cost.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.task import Process, encode_name

UNSET_ID = 2**32 - 1
"""No login, no audit session (AUDIT_UID_UNSET, AUDIT_SID_UNSET)."""

TIMER_SLACK_NS = 50_000
"""How late a timer may fire, of init and of who has asked for nothing else."""

_PROGRAM = re.compile(rb"-?([\w.+-]+):?", re.ASCII)
_CONSOLES = {"tty": 0, "console": 1}
_TTY = re.compile(r"(tty|ttyS|pts/)(0|[1-9]\d{0,2})", re.ASCII)
_FIRST_SERIAL = 64
_PATH_MAX = 4096


@dataclass(frozen=True, slots=True)
class Details:
    """What can be said of a process; fork inherits all of it, and exec all but ``exe``."""

    exe: str = ""
    """Path of its program; nothing: see `exe_path`."""
    cwd: str = "/"
    root: str = "/"
    environ: tuple[str, ...] = ("HOME=/", "TERM=linux")
    """``NAME=value`` each.  By default what the kernel gives init, and init hands on."""
    nice: int = 0
    tty: str = ""
    """Its controlling terminal, without /dev/; nothing: it has none."""
    autogroup_nice: int = 0
    """The nice value of the autogroup of its session."""
    coredump_filter: int = 0x33
    """Which mappings a core dump takes, as bits."""
    timer_slack_ns: int = TIMER_SLACK_NS
    login_uid: int = UNSET_ID
    audit_session: int = UNSET_ID

    @property
    def tty_number(self) -> int:
        """The device number of the terminal as stat prints it (new_encode_dev); 0: none."""
        if not self.tty:
            return 0
        major, minor = tty_device(self.tty)
        return minor & 0xFF | major << 8 | (minor & ~0xFF) << 12


def tty_device(name: str) -> tuple[int, int]:
    """Return the major and minor number of a terminal (devices.txt); EINVAL for none."""
    if name in _CONSOLES:
        return 5, _CONSOLES[name]
    match = _TTY.fullmatch(name)
    if match is None:
        raise Refused(errno.EINVAL, f"tty: {name!r}: accepted is {ACCEPTED['tty']}.")
    number = int(match[2])
    if match[1] == "pts/":
        return 136 + (number >> 8), number & 0xFF
    return 4, number + (_FIRST_SERIAL if match[1] == "ttyS" else 0)


def tty_name(number: int) -> str:
    """Return the terminal of a device number as stat prints it; nothing for any other."""
    major, minor = number >> 8 & 0xFFF, number & 0xFF | number >> 12 & 0xFFF00
    if 136 <= major < 144:
        return f"pts/{(major - 136) * 256 + minor}"
    if major == 4 and minor < _FIRST_SERIAL + 256:
        return f"tty{minor}" if minor < _FIRST_SERIAL else f"ttyS{minor - _FIRST_SERIAL}"
    return {(5, number): name for name, number in _CONSOLES.items()}.get((major, minor), "")


STANDARD = Details()
"""Those of who was given none."""

DETAIL_KEYS = ("exe", "cwd", "root", "environ", "nice", "tty")
"""Those that a person sets; they are the keys of a scenario and of ``ctl``."""


def details_of(process: Process) -> Details:
    """Return the details of a process, the standard ones if it has none of its own."""
    return process.details or STANDARD


def exe_path(process: Process) -> str:
    """Return the path of its program: as given, else as its command line or its name says.

    That is the first word of the command line where it is a path, and otherwise the name that
    stands there, or that in comm, in /usr/bin.  A title (``nginx: master``) counts as a name.
    """
    given = details_of(process).exe
    if given:
        return given
    mm = process.mm
    word = mm.cmdline[0] if mm is not None and mm.cmdline else b""
    if word.startswith(b"/"):
        return word.split(b" ")[0].decode(errors="surrogateescape")
    match = _PROGRAM.match(word)
    name = match[1] if match else encode_name(process.comm).replace(b"/", b"_")
    return "/usr/bin/" + name.decode(errors="surrogateescape")


# -- Said by a person --------------------------------------------------------------


def changed(base: Details, values: Mapping[str, Any]) -> Details:
    """Return the base with these values, by the names of the fields; others are passed over.

    ``environ`` is a mapping of names to values.  EINVAL, with a sentence that names the key,
    for what cannot be.
    """
    known = {name: values[name] for name in _FIELDS if name in values}
    for name, value in known.items():
        if not is_accepted(name, value):
            raise Refused(errno.EINVAL, f"{name}: {value!r}: accepted is {ACCEPTED[name]}.")
    if "environ" in known:
        known["environ"] = tuple(f"{name}={value}" for name, value in known["environ"].items())
    return replace(base, **known)


def given(details: Details) -> dict[str, Any]:
    """Return what differs from the standard, as `changed` takes it."""
    values = {name: getattr(details, name) for name in _FIELDS}
    told = {name: value for name, value in values.items() if value != getattr(STANDARD, name)}
    if "environ" in told:
        told["environ"] = dict(entry.split("=", 1) for entry in told["environ"])
    return told


def is_accepted(name: str, value: Any) -> bool:
    """Say whether a field may have this value, of the type that it has in a scenario."""
    if name in ("exe", "cwd", "root"):
        return _is_path(value)
    if name == "environ":
        return isinstance(value, dict) and all(_is_variable(*entry) for entry in value.items())
    if name in ("nice", "autogroup_nice"):
        return value in range(-20, 20)
    if name == "tty":
        return not value or _is_tty(value)
    return value in range(2**64)


def _is_path(text: str) -> bool:
    return text.startswith("/") and "\0" not in text and len(text) < _PATH_MAX


def _is_variable(name: str, value: object) -> bool:
    texts = isinstance(value, str) and "\0" not in name + value
    return texts and bool(name) and "=" not in name


def _is_tty(name: str) -> bool:
    return name in _CONSOLES or _TTY.fullmatch(name) is not None


_FIELDS = tuple(field.name for field in fields(Details))

ACCEPTED: Mapping[str, str] = {
    **dict.fromkeys(("exe", "cwd", "root"), "an absolute path"),
    "environ": "names and values, without NUL, and without = in a name",
    **dict.fromkeys(("nice", "autogroup_nice"), "-20 to 19"),
    "tty": "pts/0, tty1, ttyS0, tty or console",
    **dict.fromkeys(
        ("coredump_filter", "timer_slack_ns", "login_uid", "audit_session"), "a number"
    ),
}
"""What a person may say, by the names of the fields."""


# -- What becomes of them ----------------------------------------------------------


def after_exec(details: Details | None) -> Details | None:
    """Return them as exec leaves them: of another program."""
    return simplest(replace(details, exe="")) if details is not None else None


def in_new_session(details: Details | None) -> Details | None:
    """Return them as setsid(2) leaves them: without a terminal, in an autogroup of its own."""
    if details is None:
        return None
    return simplest(replace(details, tty="", autogroup_nice=0))


def simplest(details: Details) -> Details | None:
    """Return None for what is nothing special, which costs no memory."""
    return None if details == STANDARD else details
