# SPDX-License-Identifier: MIT
"""What is shown in a terminal: names are other people's, and may hold escape sequences."""

from __future__ import annotations

_LAYOUT = "\n\t"


def visible(text: str) -> str:
    r"""Return a text of lines in which nothing works on a terminal, nor is invisible.

    Bytes of other characters are written ``\x1b``, as dmesg(1) does it; those that are no
    UTF-8 are expected as surrogates.
    """
    return "".join(char if char in _LAYOUT else _visible(char) for char in text)


def in_one_line(text: str) -> str:
    r"""Return the same in one line: line ends and tabs are written ``\n`` and ``\t``."""
    return visible(text.replace("\n", "\\n").replace("\t", "\\t"))


def _visible(char: str) -> str:
    if char.isprintable():
        return char
    return "".join(f"\\x{byte:02x}" for byte in char.encode(errors="surrogateescape"))
