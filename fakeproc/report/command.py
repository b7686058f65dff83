# SPDX-License-Identifier: MIT
"""`fakeproc explain --dmesg`: from a log to its answers."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Sequence

from fakeproc.kernel.errors import Refused
from fakeproc.output import Output
from fakeproc.report.lines import messages
from fakeproc.report.options import Answer, WhatIf, answer, require_use
from fakeproc.report.parse import Report, parse
from fakeproc.report.render import data_of, scenario_text_of, text_of
from fakeproc.terminal import visible

STANDARD_INPUT = "-"


def explain_log(
    source: str, options: WhatIf, *, number: int | None, as_json: bool, scenario: str | None
) -> None:
    """Print what there is to say about the reports of a log, or write one as a scenario.

    ``number`` picks a report; a scenario goes to the file named, or to standard output (``-``).
    `Refused` says in a sentence what is wrong with the log or the options.
    """
    reports = read_reports(source)
    chosen = _picked(source, reports, 1 if scenario and number is None else number)
    require_use(options, [report for _, report in chosen])
    answers = [answer(number, report, options) for number, report in chosen]
    if scenario is not None:
        _write(scenario, scenario_text_of(answers[0], source))
    elif as_json:
        data = [data_of(one) for one in answers]
        single = len(reports) == 1 or number is not None
        print(json.dumps(data[0] if single else data, indent=1))
    else:
        sys.stdout.write(visible(_text(answers, len(reports))))


def read_reports(source: str) -> list[Report]:
    """Return the reports in a log, ``-`` being standard input."""
    try:
        if source == STANDARD_INPUT:
            reports = parse(messages(sys.stdin.buffer))
        else:
            with open(source, "rb") as log:
                reports = parse(messages(log))
    except OSError as error:
        raise Refused(errno.EINVAL, f"{source}: cannot be read: {error.strerror}.") from None
    if not reports:
        raise Refused(errno.EINVAL, f"{_name(source)}: holds no report of the OOM killer.")
    return reports


def _picked(source: str, reports: list[Report], number: int | None) -> list[tuple[int, Report]]:
    if number is None:
        return list(enumerate(reports, 1))
    if not 1 <= number <= len(reports):
        raise Refused(
            errno.EINVAL,
            f"--report {number}: {_name(source)} holds {len(reports)}; accepted are 1 to "
            f"{len(reports)}.",
        )
    return [(number, reports[number - 1])]


def _name(source: str) -> str:
    return "standard input" if source == STANDARD_INPUT else source


def _text(answers: Sequence[Answer], of: int) -> str:
    return ("\n" + "-" * 72 + "\n\n").join(text_of(one, of=of) for one in answers)


def _write(target: str, text: str) -> None:
    if target == STANDARD_INPUT:
        sys.stdout.write(text)
        return
    Output(target).write(text)
