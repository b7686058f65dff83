# SPDX-License-Identifier: MIT
"""Tests of the reports of real kernels: how they are read, rebuilt and judged."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from fakeproc.report.lines import messages
from fakeproc.report.options import Answer, WhatIf, answer
from fakeproc.report.parse import Report, parse

FOLDER = Path(__file__).parents[1] / "oom-reports"
INDEX: list[dict[str, Any]] = json.loads((FOLDER / "index.json").read_text())
IDS = [entry["id"] for entry in INDEX]


def path_of(identity: str) -> Path:
    return FOLDER / f"{identity}.txt"


def text_of(identity: str) -> str:
    return path_of(identity).read_text(errors="surrogateescape")


def read(text: str) -> list[Report]:
    data = text.encode(errors="surrogateescape")
    return parse(messages(io.BytesIO(data)))


def report_of(identity: str) -> Report:
    (report,) = read(text_of(identity))
    return report


def answer_of(identity: str, options: WhatIf | None = None) -> Answer:
    return answer(1, report_of(identity), options or WhatIf())
