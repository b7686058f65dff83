# SPDX-License-Identifier: MIT
"""The lists of files in README.rst and docs/files.rst: printed, never typed.

``python -m tests.formats.documents`` puts them in; `scripts/files` is the short form.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from functools import cache
from itertools import groupby
from os.path import commonprefix
from pathlib import Path

from fakeproc.procfs.listing import long_list, short_list
from tests.formats.formats import captured
from tests.formats.lacking import EXTRA, LACKING, Group, by_task, grouped, lacking
from tests.formats.machine import simulated_view

_FEW = 10

ROOT = Path(__file__).parents[2]
README, FILES = ROOT / "README.rst", ROOT / "docs" / "files.rst"


def what_is_lacking() -> dict[str, list[str]]:
    """Return what a real 6.18 has and a simulated one has not, by reason."""
    paths = dict.fromkeys(map(by_task, lacking(simulated_view(), captured())))
    return grouped(paths, LACKING)


def what_is_extra() -> dict[str, list[str]]:
    """Return what only a simulated 6.18 has, by reason."""
    paths = dict.fromkeys(map(by_task, lacking(captured(), simulated_view())))
    return grouped(paths, EXTRA)


def _items(reasons: dict[str, list[str]], groups: tuple[Group, ...]) -> str:
    items = []
    for reason in [group.reason for group in groups if group.reason in reasons]:
        names = ", ".join(abridged(reasons[reason]))
        items.append(
            textwrap.fill(
                f"* {reason}: {names}.",
                98,
                subsequent_indent="  ",
                break_on_hyphens=False,
                break_long_words=False,
            )
        )
    return "\n".join(items) + "\n"


def abridged(paths: Iterable[str]) -> list[str]:
    """Return names, with one pattern for many that are in one folder and begin alike."""
    names = []
    for folder, in_it in groupby(paths, lambda path: path.rpartition("/")[0]):
        here = list(in_it)
        if folder and len(here) > _FEW:
            names.append(f"``{commonprefix(here)}*`` ({len(here)})")
        else:
            names += [f"``{path}``" for path in here]
    return names


@cache
def sections() -> dict[tuple[Path, str], str]:
    """Return what stands between which markers of which file."""
    return {
        (README, "files"): short_list(),
        (README, "lacking"): _items(what_is_lacking(), LACKING),
        (FILES, "files"): long_list(),
        (FILES, "extra"): _items(what_is_extra(), EXTRA),
    }


def between(name: str) -> re.Pattern[str]:
    """Return a pattern for what stands between the markers of a section."""
    return re.compile(rf"(?s)(?<=\n\.\. {name} begin\n\n).*?(?=\.\. {name} end\n)")


def main() -> None:
    """Put every list in its place."""
    for (path, name), text in sections().items():
        before, after = between(name).split(path.read_text())
        path.write_text(f"{before}{text}\n{after}")


if __name__ == "__main__":
    main()
