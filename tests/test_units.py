# SPDX-License-Identifier: MIT
"""Sizes as people write them, in pages of 4096 bytes, and numbers."""

from __future__ import annotations

import errno

import pytest

from fakeproc.kernel.errors import Refused
from fakeproc.units import format_pages, parse_duration_ns, parse_integer, parse_pages


@pytest.mark.parametrize(
    ("text", "pages"),
    [
        ("0", 0),
        ("1", 1),
        ("4096", 1),
        ("4097", 2),
        ("4k", 1),
        ("64k", 16),
        ("64K", 16),
        ("64kB", 16),
        ("64KiB", 16),
        ("1M", 256),
        ("300M", 76800),
        ("0.5M", 128),
        ("1.5G", 393216),
        ("1T", 268435456),
        ("4096B", 1),
        ("4096T", 2**40),
    ],
)
def test_sizes_become_pages_rounded_up(text: str, pages: int) -> None:
    assert parse_pages(text) == pages


@pytest.mark.parametrize(
    "text",
    ["", "M", "-1", "+1", "1e3", "1 M", "1m", "1P", "1,5G", ".5G", "5.", "0x10", "5MM", "1\n"],
)
def test_what_is_no_size_is_refused_with_examples(text: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_pages(text)
    assert refused.value.error == errno.EINVAL
    assert refused.value.why == (
        f"{text!r}: accepted is a size such as 300M, 1.5G, 64k or 4096 (bytes)."
    )


@pytest.mark.parametrize("text", ["5000T", "9" * 30])
def test_more_than_an_address_space_can_hold_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="too large") as refused:
        parse_pages(text)
    assert refused.value.error == errno.EINVAL


@pytest.mark.parametrize(
    ("pages", "text"),
    [
        (0, "0k"),
        (1, "4k"),
        (255, "1020k"),
        (256, "1M"),
        (257, "1028k"),
        (2560, "10M"),
        (2700, "10M"),
        (76800, "300M"),
        (262144, "1G"),
        (262145, "1024M"),
        (2621441, "10G"),
    ],
)
def test_pages_are_shown_short(pages: int, text: str) -> None:
    assert format_pages(pages) == text


def test_what_is_shown_exactly_reads_back() -> None:
    for pages in (1, 16, 256, 512, 76800, 262144, 524288):
        assert parse_pages(format_pages(pages)) == pages


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("-5", -5), ("007", 7), ("100", 100)])
def test_numbers_are_decimal(text: str, value: int) -> None:
    assert parse_integer("key", text, -5, 100) == value
    assert parse_integer("key", text, -5, 100, hexadecimal=True) == value


def test_hexadecimal_is_for_those_who_ask_for_it() -> None:
    assert parse_integer("key", "0x1F", 0, 100, hexadecimal=True) == 31
    with pytest.raises(Refused, match=r"^\[Errno 22\] key=0x1F: accepted is a number, 0 to 100\.$"):
        parse_integer("key", "0x1F", 0, 100)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 1",
        "1 ",
        "+1",
        "--1",
        "1_0",
        "0b1",
        "0o7",
        "0x",
        "-0x1",
        "٣",
        "1.0",
        "101",
        "-6",
        "9" * 20,
    ],
)
def test_what_is_no_number_of_the_range_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_integer("key", text, -5, 100, hexadecimal=True)
    assert refused.value.error == errno.EINVAL
    assert refused.value.why == f"key={text}: accepted is a number, -5 to 100."


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("500ms", 500_000_000),
        ("5s", 5_000_000_000),
        ("2m", 120_000_000_000),
        ("0.1s", 100_000_000),
        ("1.5h", 5_400_000_000_000),
        ("7us", 7_000),
        ("3ns", 3),
        ("0s", 0),
        ("0.5ns", 0),
    ],
)
def test_times(text: str, ns: int) -> None:
    assert parse_duration_ns("for=", text) == ns


@pytest.mark.parametrize(
    "text", ["", "5", "s", "5 s", "-1s", "+1s", "1e3s", ".5s", "5S", "٥s", "9" * 21]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_duration_ns("for=", text)
    assert refused.value.error == errno.EINVAL
    assert refused.value.why == f"for={text}: accepted is a time such as 500ms, 5s or 2m."


def test_a_time_has_an_end() -> None:
    assert parse_duration_ns("for=", "4611686018427387904ns") == 2**62
    with pytest.raises(Refused, match="for=4611686018427387905ns: too long"):
        parse_duration_ns("for=", "4611686018427387905ns")
