# SPDX-License-Identifier: MIT
"""The line of every key, whatever the TOML, and the same keys that tomllib reads."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from textwrap import dedent
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fakeproc.scenario.locate import Path, line_numbers


def paths(value: object, path: Path = ()) -> Iterator[Path]:
    """Walk over every path in what tomllib has read."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, (*path, key))
    if isinstance(value, list):
        for place, inner in enumerate(value):
            yield from paths(inner, (*path, place))


def leaves(value: object, path: Path = ()) -> Iterator[tuple[Path, int]]:
    """Walk over the numbers, each of which is that of its line."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from leaves(inner, (*path, place))
    elif type(value) is int:
        yield path, value


def test_lines_of_a_scenario() -> None:
    lines = line_numbers(
        dedent("""\
        # [[process]]
        version = 1
        [machine]  # here
        ram = "8G"
        sub.a . "b c" = { x = 1, 'y' = [
          1,
          { z = '''
        [[process]]
        ''' },
        ] }

        [[process]]
        name = "a"
        [[process.process]]
        name = "b"
        [process.process.behaviour]
        kind = "grow"
        [[process]]
        [ process . process ]
        """)
    )
    assert lines == {
        ("version",): 2,
        ("machine",): 3,
        ("machine", "ram"): 4,
        ("machine", "sub"): 5,
        ("machine", "sub", "a"): 5,
        ("machine", "sub", "a", "b c"): 5,
        ("machine", "sub", "a", "b c", "x"): 5,
        ("machine", "sub", "a", "b c", "y"): 5,
        ("machine", "sub", "a", "b c", "y", 0): 6,
        ("machine", "sub", "a", "b c", "y", 1): 7,
        ("machine", "sub", "a", "b c", "y", 1, "z"): 7,
        ("process",): 12,
        ("process", 0): 12,
        ("process", 0, "name"): 13,
        ("process", 0, "process"): 14,
        ("process", 0, "process", 0): 14,
        ("process", 0, "process", 0, "name"): 15,
        ("process", 0, "process", 0, "behaviour"): 16,
        ("process", 0, "process", 0, "behaviour", "kind"): 17,
        ("process", 1): 18,
        ("process", 1, "process"): 19,
    }


# -- Arbitrary TOML, in which each number is that of its line ----------------------


@dataclass
class Writer:
    """Writes a text and knows in which line it is."""

    draw: Callable[[st.SearchStrategy[Any]], Any]
    text: str = ""
    used: set[tuple[int, Path]] = field(default_factory=set)

    def choose(self, *choices: str) -> str:
        choice = self.draw(st.sampled_from(choices))
        assert isinstance(choice, str)
        return choice

    def put(self, text: str) -> None:
        self.text += text

    def blank(self) -> None:
        self.put(self.choose("", "", " ", "\t"))

    def blank_lines(self) -> None:
        """Write what may stand between elements of an array."""
        self.put(self.choose("", "", " ", "\n", "# [[x]] = ]\n", "\r\n\t", "\n\n"))

    def key(self) -> str:
        key: str = self.draw(KEYS)
        if key.isascii() and key.replace("_", "").isalnum():
            form = self.choose("bare", "basic", "literal")
        else:
            form = self.choose("basic", "literal" if _is_literal(key) else "basic")
        basic = self.choose(json.dumps(key, ensure_ascii=False), _escaped(key))
        quoted = {"bare": key, "basic": basic, "literal": f"'{key}'"}
        self.put(quoted[form])
        return key

    def value(self, depth: int) -> None:
        form = self.choose("line", "line", "text", "array", "table") if depth else "line"
        if form == "line":
            self.put(str(self.text.count("\n") + 1))
        elif form == "text":
            self.put(self.draw(st.sampled_from(TEXTS)))
        elif form == "array":
            self.array(depth)
        else:
            self.table(depth)

    def array(self, depth: int) -> None:
        self.put("[")
        self.blank_lines()
        count = self.draw(st.integers(0, 3))
        for place in range(count):
            self.value(depth - 1)
            self.blank_lines()
            if place < count - 1 or self.choose("yes", "no") == "yes":
                self.put(",")
                self.blank_lines()
        self.put("]")

    def table(self, depth: int) -> None:
        self.put("{")
        self.blank()
        for place in range(self.draw(st.integers(0, 3))):
            if place:
                self.put(",")
                self.blank()
            self.pair(depth)
            self.blank()
        self.put("}")

    def pair(self, depth: int) -> None:
        self.key()
        if self.choose("plain", "plain", "dotted") == "dotted":
            self.blank()
            self.put(".")
            self.blank()
            self.key()
        self.blank()
        self.put("=")
        self.blank()
        self.value(depth - 1)

    def header(self) -> None:
        opening, closing = ("[[", "]]") if self.choose("[", "[[") == "[[" else ("[", "]")
        self.put(opening)
        self.blank()
        self.key()
        for _ in range(self.draw(st.integers(0, 2))):
            self.blank()
            self.put(".")
            self.blank()
            self.key()
        self.blank()
        self.put(closing)

    def statement(self) -> None:
        before = self.text
        if self.choose("pair", "pair", "header", "header", "blank") == "blank":
            self.put(self.choose("", "# a = 1", " # [[process]]"))
        elif self.choose("pair", "header") == "pair":
            self.pair(3)
        else:
            self.header()
        self.blank()
        self.put(self.choose("\n", "\n", "# '''\n", "\r\n"))
        try:
            tomllib.loads(self.text)
        except tomllib.TOMLDecodeError:
            self.text = before  # a key twice, or a table that is closed


KEYS = st.sampled_from(["a", "b", "process", "x1", "a b", "ä", 'q"', "a.b", "", "\U0001f600", "\t"])
TEXTS = [
    '"a # b"',
    '"\\" ]"',
    "'it \\'",
    '"""\n[[process]]\na = 1\n"""',
    '"""x\\"""" y"""""',
    "'''\n]\n'''''",
    "''''''",
    '""""""',
    "1979-05-27 07:32:00",
    "1979-05-27T07:32:00.5-07:00",
    "6.5e-3",
    "true",
    "'\\u'",
    '"\\\\"',
]


def _escaped(key: str) -> str:
    return '"' + "".join(f"\\U{ord(char):08x}" for char in key) + '"'


def _is_literal(key: str) -> bool:
    return "'" not in key and key.isprintable()


@st.composite
def tomls(draw: Callable[[st.SearchStrategy[Any]], Any]) -> str:
    writer = Writer(draw)
    for _ in range(draw(st.integers(1, 12))):
        writer.statement()
    return writer.text


@settings(deadline=None, max_examples=300)
@given(tomls())
def test_every_key_has_its_line(text: str) -> None:
    data = tomllib.loads(text)
    lines = line_numbers(text)
    assert set(lines) == set(paths(data))
    for path, line in leaves(data):
        assert lines[path] == line
