# SPDX-License-Identifier: MIT
"""The parsers refuse what is only nearly right: a format that took anything would prove nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.formats.formats import captured, format_of
from tests.formats.printf import Format, FormatError, Line, Many, Text, as_captured

# Free text, or bytes without a form.
_FREE = re.compile(
    r"cmdline|.*/(?:comm|cmdline|environ|auxv|wchan|rt_acct|timers)|version|config\.gz|kallsyms"
    r"|sys/kernel/(?:hostname|domainname|core_pattern|modprobe|poweroff_cmd|version)"
    r"|sys/kernel/seccomp/.*"
)
_MOST_LINES = 30


def refused(format_: Format, content: bytes, names: tuple[str, ...]) -> bool:
    """Say whether a format tells this content from the right one."""
    try:
        return format_.parse(content) != names
    except FormatError:
        return True


def changed_spacing(content: bytes) -> Iterator[bytes]:
    """Make each of the first lines a little wider or narrower, in several ways."""
    lines = content.splitlines(keepends=True)
    for at, line in enumerate(lines[:_MOST_LINES]):
        bare = line.rstrip(b"\n")
        narrower = bare.replace(b"  ", b" ", 1)
        tabbed = re.sub(rb"[ \t]", b"\\g<0>\t", bare, count=1)
        for wrong in (b" " + bare, bare + b" ", tabbed, narrower):
            if wrong != bare:
                yield b"".join([*lines[:at], wrong + b"\n", *lines[at + 1 :]])
    if content.endswith(b"\n"):
        yield content.rstrip(b"\n")


def changed_lines(content: bytes, repeated: re.Pattern[bytes]) -> Iterator[bytes]:
    """Leave out a line, or swap two, but for those of which there may be any number."""
    lines = content.splitlines(keepends=True)
    fixed = [at for at, line in enumerate(lines[:_MOST_LINES]) if not repeated.match(line)]
    for at in fixed if len(lines) > 1 else []:
        yield b"".join(lines[:at] + lines[at + 1 :])
    for at in fixed:
        if at + 1 < len(lines) and lines[at] != lines[at + 1]:
            yield b"".join([*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]])


def texts() -> Iterator[tuple[str, Format, bytes]]:
    """Give the captured texts with their formats, each shape once."""
    seen: set[bytes] = set()
    for path, entry in captured().items():
        format_ = format_of(path)
        shape = re.sub(rb"\d+", b"1", entry.content or b"")
        if entry.content and format_ and not _FREE.fullmatch(path) and shape not in seen:
            seen.add(shape)
            yield path, format_, entry.content


_ANY = rb""
_REPEATED: dict[str, bytes] = {
    r".*/(?:maps|numa_maps|mounts|mountinfo|mountstats|cgroup|stack)": _ANY,
    r"buddyinfo|cgroups|crypto|devices|filesystems|key-users|misc|tty/.*|vmallocinfo": _ANY,
    r"bus/.*|consoles|dma|diskstats|partitions|interrupts|cpuinfo|timer_list": _ANY,
    r".*/net/(?:softnet_stat|stat/\w+|netfilter/nf_log|protocols|\w+_tables_\w+)": _ANY,
    r".*/net/dev": rb" *\w+:",
    r".*/net/fib_triestat": rb"\t  ",
    r"stat": rb"cpu\d",
    r"pagetypeinfo": rb"Node",
    r"slabinfo": rb"[^#s]|s[^l]|slabinfo[^ ]|sl[^a]",
    r".*/sched": rb"mm->",
}
"""Lines of which there may be any number, or none, in any order."""


def repeated(path: str) -> re.Pattern[bytes]:
    """Return which lines of a file may be there any number of times."""
    found = [lines for pattern, lines in _REPEATED.items() if re.fullmatch(pattern, path)]
    return re.compile(found[0] if found else rb"(?!)")


def test_other_widths_and_separators_are_refused() -> None:
    for path, format_, content in texts():
        names = format_.parse(content)
        for wrong in changed_spacing(content):
            assert refused(format_, wrong, names), (path, wrong)


def test_other_lines_are_refused() -> None:
    for path, format_, content in texts():
        names = format_.parse(content)
        for wrong in changed_lines(content, repeated(path)):
            assert refused(format_, wrong, names), (path, wrong)


def test_a_captured_text_stands_for_others_as_wide() -> None:
    format_ = as_captured(b"a   10 ff\nb 5     x\n00001f2c 7\n")
    format_.parse(b"a    3 ff\nb 123   x\n00000001 12\n")
    for wrong in (
        b"a   3 ff\nb 5     x\n00001f2c 7\n",
        b"a   10 ff\nb 5    x\n00001f2c 7\n",
        b"a   10 ff\nb 5     x\n1f2c 7\n",
        b"a   10 ff\nb 5     x\n",
    ):
        with pytest.raises(FormatError):
            format_.parse(wrong)


@pytest.mark.parametrize(
    ("template", "right", "wrong"),
    [
        ("%5u", "  123", "123"),
        ("%5u", "1234567", " 1234567"),
        ("%5u|", "  123|", "  -12|"),
        ("%5d", "  -12", "   -0"),
        ("%-5u|", "123  |", "  123|"),
        ("%-5s|", "ab   |", "ab  |"),
        ("%04x", "00ff", "0ff"),
        ("%04x", "12345", "012345"),
        ("%.2u", "07", "7"),
        ("100%% %s", "100% ab", "100% a b"),
        ("%u", "10", "010"),
        ("%S.", "a b.", "a b ."),
        ("%c%c", "ab", "a"),
    ],
)
def test_a_format_takes_what_it_prints_and_nothing_else(
    template: str, right: str, wrong: str
) -> None:
    format_ = Text(template)
    format_.parse(right.encode() + b"\n")
    with pytest.raises(FormatError):
        format_.parse(wrong.encode() + b"\n")


def test_an_error_names_the_line() -> None:
    with pytest.raises(FormatError, match=r"line 3 or below: 'b  2'"):
        Text(Many(Line(r"a \d", raw=True)), "b %u").parse(b"a 1\na 2\nb  2\n")
