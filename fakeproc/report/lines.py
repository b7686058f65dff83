# SPDX-License-Identifier: MIT
"""From the bytes of a log to the kernel's messages.

Each line loses what others put around it: quotes and indents, the name of a container, the
priority, the time since boot or of the day, the host.  JSON is taken apart, and what mail has
wrapped is joined again.  Lines far from anything that concerns the OOM killer are passed over, so
that a log of any size costs little more than reading it.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_LONGEST_LINE = 16_384
_LONGEST_JSON = 4 * 1024**2
_NEAR_LINES = 400
"""How far from something of interest a line may still belong to the same report."""

_WORDS = (
    b"oom", b"Kill", b"kill", b"Out of memory", b"out of memory", b"Mem-Info", b" RAM", b"swap",
    b"tgid", b"memory: usage", b"Memory cgroup", b"Linux version",
)  # fmt: skip
_ROW_BYTES = re.compile(rb"\[ *\d{1,10}\] +\d{1,10} +\d{1,10} +\d{1,12} ")

_WORD = r"[^\W\d_]{2,9}\.?"
"""A day or a month, of any language."""
_CLOCK = r"\d\d?:\d\d:\d\d(?:[.,]\d{1,9})?"
_ISO = rf"\d{{4}}[-/]\d\d[-/]\d\d[T ]{_CLOCK}(?: ?(?:Z|[A-Z]{{3,4}}|[+-]\d\d:?\d\d))?"
_STAMPS = (
    r"<\d{1,3}>",
    r"\[ *\d{1,10}\.\d{1,9}\]",
    r"\[ *[TC]\d{1,10}\]",
    rf"1 {_ISO} \S{{1,255}} \S{{1,48}} \S{{1,128}} \S{{1,32}} (?:-|\[[^\]]{{0,500}}\])",
    rf"\[[^\[\]]{{0,24}}{_CLOCK}[^\[\]]{{0,12}}\]",
    rf"(?:{_WORD},? )?{_WORD} {{1,2}}\d{{1,2}},?(?: \d{{4}})?,? {_CLOCK}"
    r"(?: [A-Z]{3,4})?(?: \d{4})?",
    rf"(?:{_WORD},? )?\d{{1,2}}\.? {_WORD}(?: \d{{4}})? {_CLOCK}",
    rf"(?:{_WORD} )?{_ISO}",
    r"\d{10}\.\d{1,6}(?= \S{1,80} kernel)",
    r"MESSAGE=",
    r"std(?:out|err) [FP] ",
    rf"{_CLOCK}(?= )",
    r"\d{1,3},\d{1,12},\d{1,16},[^;]{1,40};",
    r"(?:kern|user) {0,3}[:.] {0,3}\w{3,7} {0,3}:?",
    r"(?:[\w.:@-]{1,80} )?kernel(?:\[[^\]]{1,20}\])?: ?",
    r"[\w.-]{1,80}:? (?=\[ *\d{1,10}\.\d{1,9}\])",
)
_STAMP = re.compile("|".join(_STAMPS))
_QUOTE = re.compile(r"(?:[\s>]|\|(?= )|[\w.-]{1,64} {0,30}\| )*")
_COLOUR = re.compile(r"\x1b\[[\d;]{0,16}m")
_LINE_ENDS = re.compile(r"\r?\n|\\n|#012")
_JSON_STRING = re.compile(r'\s*(?:"[\w.]{1,40}" {0,3}: {0,3})?(".*"),?\s*')
_JSON_KEYS = ("MESSAGE", "message", "log", "msg", "text", "line", "textPayload")


@dataclass(frozen=True, slots=True)
class Message:
    """A message of the kernel, or another line that may tell where one was cut."""

    line_number: int
    text: str
    stamped: bool
    """Whether something of its own stood before it: else it may be the rest of the line before."""


def messages(log: Iterable[bytes]) -> Iterator[Message]:
    """Return the messages around everything that concerns the OOM killer, in order."""
    return _joined(_relevant(log))


def _relevant(log: Iterable[bytes]) -> Iterator[Message]:
    last_of_interest = -_NEAR_LINES
    before = deque[tuple[int, bytes]](maxlen=_NEAR_LINES)
    for number, line in enumerate(log, 1):
        if any(word in line for word in _WORDS) or (b"]" in line and _ROW_BYTES.search(line)):
            last_of_interest = number
        elif len(line) > _LONGEST_LINE:
            continue
        before.append((number, line))
        while before and number - last_of_interest <= _NEAR_LINES:
            yield from _messages_of(*before.popleft())


def _messages_of(number: int, line: bytes) -> Iterator[Message]:
    for text in _LINE_ENDS.split(_decode(line)):
        if text.strip():
            yield _message(number, text)


def _decode(line: bytes) -> str:
    start = line.find(b"{", 0, 4096)
    if start >= 0 and len(line) <= _LONGEST_JSON and line.rstrip().endswith((b"}", b"},")):
        inner = _from_json(line[start:].rstrip().rstrip(b","))
        if inner is not None:
            return inner
    text = line[:_LONGEST_LINE].decode(errors="replace").rstrip("\r\n")
    quoted = _JSON_STRING.fullmatch(text)
    return (_from_json(b'{"log": %s}' % quoted[1].encode()) or text) if quoted else text


def _from_json(data: bytes) -> str | None:
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    found = next((record[key] for key in _JSON_KEYS if isinstance(record.get(key), str)), None)
    return found.rstrip("\n") if found is not None else None


def _message(number: int, line: str) -> Message:
    text, stamped = _COLOUR.sub("", line), False
    at = 0
    while True:
        quote = _QUOTE.match(text, at)
        at = quote.end() if quote else at
        stamp = _STAMP.match(text, at)
        if stamp is None:
            break
        at, stamped = stamp.end(), True
    return Message(number, text[at:].rstrip(), stamped)


# -- What mail has wrapped ---------------------------------------------------------

HEADER = re.compile(r"\[ *pid *\] +uid +(?:tgid +)?total_vm\b")
ROW_START = re.compile(r"\[ *(\d{1,10})\]((?: +-?\d{1,20}){3,})(?: |$)")

# How a line begins that has a certain end, and that end.
_ENDINGS = (
    (HEADER, re.compile(r"\bname\b")),
    (re.compile(r"\bKill(?:ed)?(?: process)?$"), re.compile(r"(?!)")),
    (re.compile(r"invoked oom-killer:"), re.compile(r"oom_\w*adj=-?\d+|oomkilladj=-?\d+")),
    (re.compile(r"Killed process \d+"), re.compile(r"(?:anon|file)-rss:\d+kB$|file-rss:\d+|\)$")),
    (re.compile(r"[Kk]ill process \d+"), re.compile(r"score -?\d+|sharing same")),
    (re.compile(r"Task in \S+"), re.compile(r"as a result of limit of \S")),
    (re.compile(r"oom-kill:constraint="), re.compile(r"pid=\d")),
    (re.compile(r"\b(?:memory|swap): usage"), re.compile(r"limit \d+kB")),
)
_SIZES = re.compile(r"(?:total-vm|anon-rss|file-rss|shmem-rss|UID|pgtables|oom_score_adj):\d")
_MOST_PARTS = 3


def _joined(found: Iterable[Message]) -> Iterator[Message]:
    """Join a line that lacks its end with the ones behind it, if that completes it."""
    waiting = deque[Message]()
    rest = iter(found)
    columns = 0
    while True:
        while len(waiting) < _MOST_PARTS and (message := next(rest, None)) is not None:
            waiting.append(message)
        if not waiting:
            return
        message = waiting.popleft()
        text, parts = message.text, 0
        while parts < len(waiting) and _wants(text, waiting[parts], columns):
            text = f"{text} {waiting[parts].text}"
            parts += 1
        if parts and not _lacks_end(text, columns):
            message = Message(message.line_number, text, message.stamped)
            for _ in range(parts):
                waiting.popleft()
        if (header := HEADER.search(message.text)) is not None:
            columns = len(numeric_columns(message.text[header.start() :]))
        yield message


def numeric_columns(header: str) -> list[str]:
    """Return the names of the columns between the pid and the name of a task."""
    words = header.partition("]")[2].split()
    return words[: words.index("name")] if "name" in words else words


def _wants(text: str, message: Message, columns: int) -> bool:
    """Say whether a line goes on in this message."""
    if message.stamped:
        return False
    if _SIZES.match(message.text):
        return "Killed process" in text
    return _lacks_end(text, columns) and _continues(message)


def _lacks_end(text: str, columns: int) -> bool:
    row = ROW_START.search(text)
    if row is not None:
        has_name = bool(text[row.end() :].strip())
        return len(row[2].split()) < columns or (len(row[2].split()) == columns and not has_name)
    return any(start.search(text) and not end.search(text) for start, end in _ENDINGS)


def _continues(message: Message) -> bool:
    """Say whether it is no beginning of its own."""
    if ROW_START.search(message.text):
        return False
    return not any(start.search(message.text) for start, _ in _ENDINGS)
