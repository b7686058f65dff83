# SPDX-License-Identifier: MIT
"""The lists of files: which rows are joined, and what they say."""

from __future__ import annotations

from textwrap import dedent

import pytest

from fakeproc.kernel.profile import PROFILE_NAMES, Profile, named
from fakeproc.procfs.listing import Listed, joined, kernels, long_list, shortened, table
from fakeproc.procfs.system import SYSTEM_ENTRIES
from fakeproc.procfs.task.directory import ENTRIES


def row(*names: str, mode: str = "r--r--r--", reflects: str = "it", where: str = "") -> Listed:
    return Listed(names, mode, reflects, where)


def test_joins_what_is_the_same_and_no_more() -> None:
    rows = [row("a"), row("b", mode="rw-r--r--"), row("c"), row("d", where="from 5.0"), row("a")]
    assert joined(rows) == [
        row("a", "c"),
        row("b", mode="rw-r--r--"),
        row("d", where="from 5.0"),
    ]


def test_the_short_form_counts_many_names_by_folder() -> None:
    many = [row(f"vm/{n}") for n in range(9)] + [row(f"fs/{n}", mode="link") for n in range(3)]
    assert shortened(many) == [row("vm/ (9)", "fs/ (3)", mode="various")]
    assert shortened(many[:3]) == [row("vm/0", "vm/1", "vm/2")]


def test_a_table_is_as_wide_as_what_is_in_it() -> None:
    names = ("first_name", "second_name", "third_name")
    assert table([row(*names, where="from 5.0"), row("x", mode="link")]) == dedent(
        """\
        =========  ================================  =================
        mode       files                             what they reflect
        =========  ================================  =================
        r--r--r--  ``first_name``, ``second_name``,  it (from 5.0)
                   ``third_name``
        link       ``x``                             it
        =========  ================================  =================
        """
    )


@pytest.mark.parametrize(
    ("having", "told"),
    [
        (PROFILE_NAMES, ""),
        (PROFILE_NAMES[2:], "from series"),
        (PROFILE_NAMES[:3], "to series"),
        (("5.0", "5.4"), "5.0 to 5.4"),
    ],
)
def test_says_which_kernels_have_it(having: tuple[str, ...], told: str) -> None:
    profiles = [named(name) for name in having]

    def there(profile: Profile) -> bool:
        return profile in profiles

    assert kernels(there) == told


def test_every_row_is_listed() -> None:
    listed = long_list()
    for name in ENTRIES:
        assert f"``{name}``" in listed
    for path in SYSTEM_ENTRIES:
        if not path.startswith("sys/net/"):
            assert f"``{path.removeprefix('sys/')}``" in listed
