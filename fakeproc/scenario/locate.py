# SPDX-License-Identifier: MIT
"""In which line of a TOML text each key stands; tomllib does not tell.

It reads only what tomllib has accepted, so that it need not find errors: it follows
headers, keys, strings, arrays and inline tables, and skips what is left.
"""

from __future__ import annotations

import json
import re

Path = tuple[str | int, ...]
"""Keys, and places in arrays, from the top of the file: ``("process", 0, "name")``."""

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_LITERAL = re.compile(r"'''.*?'''+|'[^'\n]*'", re.DOTALL)
_BASIC = re.compile(r'"""(?:\\.|[^\\])*?"""+|"(?:\\.|[^"\\\n])*"', re.DOTALL)
_SCALAR = re.compile(r"[^,\]}#\r\n]*")
_ESCAPED = re.compile(r"\\(?:U([0-9A-Fa-f]{8})|.)", re.DOTALL)


def line_numbers(text: str) -> dict[Path, int]:
    """Return the line, from 1, of every key and of every element of an array.

    A table that only follows from the headers below it stands where the first of them is.
    The text is TOML that tomllib accepts.
    """
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.scan()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._line, self._counted = 1, 0
        self._elements: dict[Path, int] = {}
        """How many elements each array of tables has so far."""

    def scan(self) -> None:
        """Go through the text from top to bottom."""
        table: Path = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._peek() == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)

    # -- What there is in a text -------------------------------------------------------

    def _header(self) -> Path:
        """Read ``[a.b]`` or ``[[a.b]]``; return the table that follows."""
        is_array = self._text.startswith("[[", self._at)
        self._at += 2 if is_array else 1
        self._skip(_SPACE)
        line, keys = self._line_here(), self._keys()
        self._at += 2 if is_array else 1
        table: Path = ()
        for key in keys[:-1]:
            table = self._last_of(self._put((*table, key), line))
        table = self._put((*table, keys[-1]), line)
        if not is_array:
            return self._last_of(table)
        self._elements[table] = self._elements.get(table, 0) + 1
        return self._put(self._last_of(table), line)

    def _pair(self, table: Path) -> None:
        """Read ``key = value``, in a table or in an inline table."""
        line = self._line_here()
        for key in self._keys():
            table = self._put((*table, key), line)
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(table)

    def _keys(self) -> list[str]:
        """Read ``a.b."c d"`` and the space behind it."""
        keys = [self._key()]
        while self._peek() == ".":
            self._at += 1
            self._skip(_SPACE)
            keys.append(self._key())
        return keys

    def _key(self) -> str:
        if self._peek() == '"':
            key = _unescaped(self._skip(_BASIC))
        elif self._peek() == "'":
            key = self._skip(_LITERAL)[1:-1]
        else:
            key = self._skip(_BARE_KEY)
        self._skip(_SPACE)
        return key

    def _value(self, path: Path) -> None:
        match self._peek():
            case "[":
                self._array(path)
            case "{":
                self._inline_table(path)
            case '"':
                self._skip(_BASIC)
            case "'":
                self._skip(_LITERAL)
            case _:
                self._skip(_SCALAR)

    def _array(self, path: Path) -> None:
        self._at += 1
        self._skip(_BLANK)
        place = 0
        while self._peek() != "]":
            self._value(self._put((*path, place), self._line_here()))
            place += 1
            self._skip_comma()
        self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        self._skip(_BLANK)
        while self._peek() != "}":
            self._pair(path)
            self._skip_comma()
        self._at += 1

    def _skip_comma(self) -> None:
        self._skip(_BLANK)
        if self._peek() == ",":
            self._at += 1
            self._skip(_BLANK)

    # -- Where it is -------------------------------------------------------------------

    def _put(self, path: Path, line: int) -> Path:
        """Note where something stands, unless it has been there before."""
        self.lines.setdefault(path, line)
        return path

    def _last_of(self, path: Path) -> Path:
        """Return the last element of an array of tables, or the table that it is."""
        return (*path, self._elements[path] - 1) if path in self._elements else path

    def _line_here(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        assert match is not None, "tomllib has accepted what this cannot read"
        self._at = match.end()
        return match[0]


def _unescaped(quoted: str) -> str:
    """Return the text of a basic string: JSON's, but for tabs and eight digits."""
    text: str = json.loads(_ESCAPED.sub(_as_in_json, quoted), strict=False)
    return text


def _as_in_json(escaped: re.Match[str]) -> str:
    return json.dumps(chr(int(escaped[1], 16)))[1:-1] if escaped[1] else escaped[0]
