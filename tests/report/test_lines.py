# SPDX-License-Identifier: MIT
"""The same report in every dress: prefixes of loggers, JSON, quotes, what mail has wrapped."""

from __future__ import annotations

import io
import json
import textwrap
from collections.abc import Callable
from dataclasses import replace

import pytest

from fakeproc.report.lines import messages
from fakeproc.report.parse import Report
from tests.report import read, report_of, text_of

SAMPLE = ("020", "033", "043", "047", "056", "071", "085", "088", "095")
"""One of each form of the table, and a panic."""

Dress = Callable[[int, str], str]


def stamp(number: int) -> str:
    return f"{1000 + number // 1000}.{number % 1000:06d}"


DRESSES: dict[str, Dress] = {
    "bare": lambda n, line: line,
    "dmesg": lambda n, line: f"[{stamp(n):>12}] {line}",
    "dmesg with caller": lambda n, line: f"[{stamp(n):>12}][ T{n}] {line}",
    "dmesg -T": lambda n, line: f"[Fri May 12 10:11:{n % 60:02d} 2023] {line}",
    "dmesg -T of another language": lambda n, line: f"[Di Mai  2 10:11:{n % 60:02d} 2023] {line}",
    "dmesg -x": lambda n, line: f"kern  :warn  : [{stamp(n):>12}] {line}",
    "dmesg --time-format iso": lambda n, line: f"2023-05-12T10:11:12,{n:06d}+02:00 {line}",
    "dmesg -r": lambda n, line: f"<4>[{stamp(n):>12}] {line}",
    "/dev/kmsg": lambda n, line: f"4,{n},{1000000 + n},-;{line}",
    "kern.log": lambda n, line: f"May  6 13:18:{n % 60:02d} web-1 kernel: [{stamp(n)}] {line}",
    "messages": lambda n, line: f"Jan 10 21:43:57 HOST kernel: {line}",
    "journal in French": lambda n, line: f"mars 27 18:46:05 g3-pro kernel: {line}",
    "journal short-iso": lambda n, line: f"2024-01-02T10:11:12+0100 HOST kernel: {line}",
    "journal short-precise": lambda n, line: f"Jan 02 10:11:12.{n:06d} HOST kernel: {line}",
    "journal short-full": lambda n, line: f"Tue 2024-01-02 10:11:12 CET HOST kernel: {line}",
    "journal short-unix": lambda n, line: f"1704187872.{n:06d} HOST kernel: {line}",
    "journal verbose": lambda n, line: f"    MESSAGE={line}",
    "syslog of 5424": lambda n, line: f"<4>1 2024-01-02T10:11:12.000Z HOST kernel - - - {line}",
    "logread": lambda n, line: f"Mon May  1 12:00:00 2023 kern.warn kernel: [{stamp(n)}] {line}",
    "docker compose": lambda n, line: f"web-1  | {line}",
    "compose and dmesg": lambda n, line: f"web_1 | [{stamp(n)}] {line}",
    "kubernetes": lambda n, line: f"2024-01-02T10:11:12.123456789Z stdout F [{stamp(n)}] {line}",
    "docker json-file": lambda n, line: json.dumps({"log": line + "\n", "stream": "stdout"}),
    "journal json": lambda n, line: json.dumps({"PRIORITY": "4", "MESSAGE": line, "_PID": "0"}),
    "lines of a JSON array": lambda n, line: f"   {json.dumps(line)},",
    "pretty JSON": lambda n, line: f'  "message": {json.dumps(line)},',
    "quoted": lambda n, line: f"> {line}",
    "quoted twice": lambda n, line: f">> > [{stamp(n)}] {line}",
    "indented": lambda n, line: f"\t    {line}",
    "table of a wiki": lambda n, line: f"| [{stamp(n)}] {line}",
    "in colour": lambda n, line: f"\x1b[32m[{stamp(n)}]\x1b[0m {line}",
    "from Windows": lambda n, line: f"[{stamp(n)}] {line}\r",
}


def bare_lines(identity: str) -> list[str]:
    """Return the kernel's own lines of a report."""
    with io.BytesIO(text_of(identity).encode(errors="surrogateescape")) as log:
        return [message.text for message in messages(log)]


def without_place(report: Report) -> Report:
    return replace(report, line_number=0)


@pytest.mark.parametrize("name", DRESSES)
@pytest.mark.parametrize("identity", SAMPLE)
def test_a_report_is_the_same_in_every_dress(identity: str, name: str) -> None:
    dressed = [DRESSES[name](number, line) for number, line in enumerate(bare_lines(identity))]
    (found,) = read("\n".join(dressed) + "\n")
    assert without_place(found) == without_place(report_of(identity))


@pytest.mark.parametrize("identity", SAMPLE)
@pytest.mark.parametrize("quote", ["", "> ", "    "])
def test_what_mail_has_wrapped_is_joined(identity: str, quote: str) -> None:
    wrapped = []
    for number, line in enumerate(bare_lines(identity)):
        text = f"[{stamp(number):>12}] {line}"
        parts = textwrap.wrap(text, 78, break_long_words=False, break_on_hyphens=False)
        wrapped += [quote + part for part in parts]
    (found,) = read("\n".join(wrapped) + "\n")
    whole = report_of(identity)
    assert found.rows == whole.rows
    assert (found.chosen, found.killed, found.scope) == (whole.chosen, whole.killed, whole.scope)
    assert found.memory.ram_pages == whole.memory.ram_pages
    assert found.memory.memcg_limit_kb == whole.memory.memcg_limit_kb
    assert found.complete == whole.complete


def test_a_whole_report_in_one_string_of_json() -> None:
    text = json.dumps({"severity": "ERROR", "message": "\n".join(bare_lines("095"))})
    (found,) = read(f"before\n{text}\nbehind\n")
    assert found.rows == report_of("095").rows


def test_lines_of_others_in_between_do_no_harm() -> None:
    noise = "May 12 10:00:00 HOST sshd[123]: Accepted publickey for root from 10.0.0.1 port 22\n"
    lines = text_of("033").splitlines(keepends=True)
    (found,) = read(noise.join(lines))
    assert without_place(found) == without_place(report_of("033"))


@pytest.mark.parametrize(
    "garbage",
    [
        bytes(range(256)) * 4000,
        b"[ 1] " * 200_000,
        b"Killed process " + b" " * 1_000_000,
        b"{" * 1_000_000 + b"}",
        b"(" * 100_000 + b"oom-killer" + b")" * 100_000,
        b"invoked oom-killer: gfp_mask=0x" + b"f" * 1_000_000,
        b"\n" * 1_000_000,
        b"",
    ],
)
def test_garbage_is_read_in_linear_time_and_changes_nothing(garbage: bytes) -> None:
    """A quadratic pattern would take hours over these."""
    found = read((garbage + b"\n").decode(errors="surrogateescape") + text_of("063"))
    assert found[-1].chosen is not None
    assert found[-1].rows == report_of("063").rows
