# SPDX-License-Identifier: MIT
"""README.rst and docs/files.rst list what is served, and what is not."""

from __future__ import annotations

import pytest

from tests.formats.documents import (
    FILES,
    README,
    abridged,
    between,
    sections,
    what_is_extra,
    what_is_lacking,
)
from tests.formats.formats import captured
from tests.formats.lacking import EXTRA, LACKING, by_task, grouped, lacking
from tests.formats.view import View


@pytest.mark.parametrize(("path", "name"), sections())
def test_the_list_is_what_the_tables_print(path: object, name: str) -> None:
    """If this fails: scripts/files puts it right."""
    assert path in (README, FILES)
    file = README if path == README else FILES
    written = between(name).findall(file.read_text())
    assert written == [sections()[file, name] + "\n"]


def test_many_names_that_begin_alike_are_one_pattern() -> None:
    paths = ["a", *(f"x/y_{n}" for n in range(11)), *(f"z/{n}" for n in range(2))]
    assert abridged(paths) == ["``a``", "``x/y_*`` (11)", "``z/0``", "``z/1``"]


def test_everything_that_is_lacking_has_a_reason() -> None:
    assert "" not in what_is_lacking()
    assert set(what_is_lacking()) == {group.reason for group in LACKING}


def test_everything_that_is_extra_has_a_reason() -> None:
    assert "" not in what_is_extra()
    assert set(what_is_extra()) == {group.reason for group in EXTRA}


def test_the_host_has_nothing_unheard_of(host: View, simulated: View) -> None:
    """What is lacking there is on the list, unless it is a sysctl of another configuration."""
    missing = map(by_task, lacking(simulated, host))
    known = {by_task(path) for path in captured()}
    unheard = [path for path in missing if path not in known and not path.startswith("sys/")]
    assert grouped(unheard, LACKING).get("", []) == []
