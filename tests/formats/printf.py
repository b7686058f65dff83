# SPDX-License-Identifier: MIT
"""Strict parsers of text files, written as the kernel writes them: as formats of printf.

A line ``"%-12s %8u kB"`` accepts what that format can print and nothing else: widths,
separators and trailing blanks count.  ``%!`` marks a name: what is read there must be the
same, in the same order, in the files of every kernel of one version.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class FormatError(Exception):
    """Says which line is not as the format has it."""


_CONVERSION = re.compile(r"%(!?)([-0]?)(\d*)(?:\.(\d+))?([%a-zA-Z])")

# First character, and the others, of what a conversion prints.
_CHARACTERS = {
    "u": ("[1-9]", "[0-9]"),
    "d": ("[1-9]", "[0-9]"),
    "x": ("[1-9a-f]", "[0-9a-f]"),
    "X": ("[1-9A-F]", "[0-9A-F]"),
    "s": (r"[^\s]", r"[^\s]"),
}
# S and Z are no conversions of the kernel: a string that may have blanks, but not at its ends,
# and one that may be empty, too.
_WITHOUT_WIDTH = {
    "c": r"[^\n]",
    "S": r"[^\s](?:[^\n]*[^\s])?",
    "Z": r"(?:[^\s](?:[^\n]*[^\s])?)?",
}


def _of_length(letter: str, length: int, more: str = "") -> str:
    """Return an expression for what a conversion prints in so many characters, or more."""
    first, other = _CHARACTERS[letter]
    expressions = [f"{first}{other}{{{length - 1}{more}}}"]
    if length == 1 and letter in "udxX":
        expressions.append("0")
    if letter == "d" and (length > 1 or more):
        expressions.append(f"-{first}{other}{{{max(length - 2, 0)}{more}}}")
    return "|".join(expressions)


def _expression(flag: str, width: int, letter: str) -> str:
    """Return an expression for one conversion."""
    if not width:
        return _WITHOUT_WIDTH.get(letter) or _of_length(letter, 1, ",")
    first, other = _CHARACTERS[letter]
    if flag == "0":
        return f"{other}{{{width}}}|{first}{other}{{{width},}}"
    padded = []
    for length in range(1, width):
        blanks, text = f" {{{width - length}}}", f"(?:{_of_length(letter, length)})"
        padded.append(text + blanks if flag == "-" else blanks + text)
    return "|".join([*padded, _of_length(letter, width, ",")])


def expression(template: str) -> str:
    """Turn a format into a regular expression, with a group ``n0``, ``n1`` ... for each name."""
    pattern, end, names = "", 0, 0
    for match in _CONVERSION.finditer(template):
        name, flag, width, precision, letter = match.groups()
        pattern += re.escape(template[end : match.start()])
        end = match.end()
        if letter == "%":
            pattern += "%"
            continue
        if precision:
            flag, width = "0", precision
        pattern += f"(?P<n{names}>" if name else "(?:"
        pattern += _expression(flag, int(width or 0), letter) + ")"
        names += bool(name)
    return pattern + re.escape(template[end:])


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a text has been read, and the names that were in it."""

    lines: Sequence[str]
    at: int = 0
    names: tuple[str, ...] = ()


class Part(Protocol):
    """A piece of a format."""

    def read(self, cursor: Cursor) -> Cursor | None:
        """Return the cursor behind the piece; None if it is not there."""


class Line:
    """One line."""

    def __init__(self, template: str, *, raw: bool = False) -> None:
        self.pattern = re.compile(template if raw else expression(template))

    def read(self, cursor: Cursor) -> Cursor | None:
        if cursor.at >= len(cursor.lines):
            return None
        match = self.pattern.fullmatch(cursor.lines[cursor.at])
        if match is None:
            return None
        names = tuple(value.strip() for value in match.groupdict().values() if value is not None)
        return Cursor(cursor.lines, cursor.at + 1, cursor.names + names)


class Block:
    """Lines in this order."""

    def __init__(self, *parts: Part | str) -> None:
        self.parts = [_part(part) for part in parts]

    def read(self, cursor: Cursor) -> Cursor | None:
        here: Cursor | None = cursor
        for part in self.parts:
            if here is None:
                return None
            here = part.read(here)
        return here


class Many(Block):
    """A block that is there any number of times, but so often at the least."""

    def __init__(self, *parts: Part | str, least: int = 0) -> None:
        super().__init__(*parts)
        self.least = least

    def read(self, cursor: Cursor) -> Cursor | None:
        times = 0
        while (after := super().read(cursor)) is not None:
            cursor, times = after, times + 1
        return cursor if times >= self.least else None


class Maybe(Block):
    """A block that may be missing."""

    def read(self, cursor: Cursor) -> Cursor | None:
        return super().read(cursor) or cursor


class Either:
    """One of several."""

    def __init__(self, *parts: Part | str) -> None:
        self.parts = [_part(part) for part in parts]

    def read(self, cursor: Cursor) -> Cursor | None:
        read = (part.read(cursor) for part in self.parts)
        return next((after for after in read if after is not None), None)


def _part(part: Part | str) -> Part:
    return Line(part) if isinstance(part, str) else part


class Format(Protocol):
    """What a file's content has to be."""

    def parse(self, content: bytes) -> tuple[str, ...]:
        """Return the names in it, each once; FormatError if it is not as it has to be."""


class Text:
    """A format of whole lines."""

    def __init__(self, *parts: Part | str) -> None:
        self._block = Block(*parts)

    def parse(self, content: bytes) -> tuple[str, ...]:
        text = content.decode(errors="surrogateescape")
        if text and not text.endswith("\n"):
            raise FormatError(f"no newline at the end: {text[-40:]!r}")
        lines = text.split("\n")[:-1]
        after: Cursor | None = Cursor(lines)
        for part in self._block.parts:
            before = after
            assert before is not None
            after = part.read(before)
            if after is None:
                raise FormatError(_where(lines, before.at))
        assert after is not None
        if after.at < len(lines):
            raise FormatError(_where(lines, after.at))
        return tuple(dict.fromkeys(after.names))


def _where(lines: Sequence[str], at: int) -> str:
    what = repr(lines[at]) if at < len(lines) else "the end"
    return f"line {at + 1} or below: {what}"


class Whole:
    """A format of any bytes: a regular expression for all of them."""

    def __init__(self, pattern: bytes) -> None:
        self._pattern = re.compile(pattern, re.DOTALL)

    def parse(self, content: bytes) -> tuple[str, ...]:
        if not self._pattern.fullmatch(content):
            raise FormatError(f"not {self._pattern.pattern!r}: {content[:60]!r}")
        return ()


class OneOf:
    """One of several formats."""

    def __init__(self, *formats: Format) -> None:
        self._formats = formats

    def parse(self, content: bytes) -> tuple[str, ...]:
        errors = []
        for format_ in self._formats:
            try:
                return format_.parse(content)
            except FormatError as error:
                errors.append(str(error))
        raise FormatError("; ".join(errors))


NUMBER = Text("%d")
EMPTY = Text()


def as_captured(content: bytes) -> Text:
    """Make a format of a captured text: its lines, with other numbers in columns as wide.

    A number with blanks before it is right-aligned, one with several blanks behind it
    left-aligned; one with a zero in front is of this width, and hexadecimal.
    """
    *lines, _ = content.decode(errors="surrogateescape").split("\n")
    return Text(*(Line(_generalize(line), raw=True) for line in lines))


def _generalize(line: str) -> str:
    pattern, end = "", 0
    for match in re.finditer(r"( *)(?<![\w.:-])(-?\d+|[0-9a-f]{8,})(?![\w.])( *)", line):
        gap, number, after = match.groups()
        if match.start() < end:
            continue
        pattern += re.escape(line[end : match.start()])
        pattern += _number(gap, number, after, at_start=match.start() == 0)
        end = match.end()
    return pattern + re.escape(line[end:])


def _number(gap: str, number: str, after: str, *, at_start: bool) -> str:
    if not number.lstrip("-").isdecimal() or (number[0] == "0" and len(number) > 1):
        return f"{gap}[0-9a-f]{{{len(number)}}}{after}"
    if len(gap) > 1 or (gap and at_start):
        # What separates the columns cannot be told from what fills them.
        return (
            f"(?:{_expression('', len(gap) + len(number), 'd')}| -?[0-9]{{{len(number)},}}){after}"
        )
    if len(after) > 1:
        return (
            f"{gap}(?:{_expression('-', len(number) + len(after), 'd')}|-?[0-9]{{{len(number)},}} )"
        )
    return f"{gap}(?:{_of_length('d', 1, ',')}){after}"
