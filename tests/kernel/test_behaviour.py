# SPDX-License-Identifier: MIT
"""The words for what a process does by itself."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakeproc.kernel.behaviour import Behaviour, BehaviourKind, options_of, parse
from fakeproc.kernel.errors import Refused

SECOND = 1_000_000_000
traits = {
    "ignores_sigterm": st.booleans(),
    "exit_delay_ns": st.integers(0, 10**12),
}
pages = st.integers(1, 10**9)
maybe_pages = st.none() | pages
behaviours = st.one_of(
    st.builds(Behaviour, kind=st.just(BehaviourKind.CONSTANT), stuck=st.booleans()),
    st.builds(
        Behaviour,
        kind=st.just(BehaviourKind.GROW),
        rate_pages_per_s=pages,
        until_pages=maybe_pages,
        **traits,
    ),
    st.builds(
        Behaviour,
        kind=st.just(BehaviourKind.SAWTOOTH),
        rate_pages_per_s=pages,
        until_pages=maybe_pages,
        period_ns=st.integers(1, 10**12),
        **traits,
    ),
    st.builds(
        Behaviour,
        kind=st.just(BehaviourKind.FORK_STORM),
        children_per_s=st.decimals("0.000000001", 999, places=9).map(float),
        max_children=st.integers(1, 10**6),
        child_pages=maybe_pages,
        **traits,
    ),
)


def words(text: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in text.split())


@given(behaviours)
def test_what_is_written_reads_as_the_same(behaviour: Behaviour) -> None:
    assert parse(options_of(behaviour)) == behaviour


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Behaviour(BehaviourKind.CONSTANT)),
        ("stuck=yes", Behaviour(BehaviourKind.CONSTANT, stuck=True)),
        (
            "behaviour=grow rate=50M/s until=2G exit_delay=3s ignore_sigterm=yes",
            Behaviour(
                BehaviourKind.GROW,
                rate_pages_per_s=12800,
                until_pages=524288,
                exit_delay_ns=3 * SECOND,
                ignores_sigterm=True,
            ),
        ),
        (
            "behaviour=sawtooth rate=1M/s period=500ms",
            Behaviour(BehaviourKind.SAWTOOTH, rate_pages_per_s=256, period_ns=SECOND // 2),
        ),
        (
            "behaviour=fork-storm children=2.5/s max=100 child=4M",
            Behaviour(
                BehaviourKind.FORK_STORM, children_per_s=2.5, max_children=100, child_pages=1024
            ),
        ),
    ],
)
def test_words_mean_what_they_say(text: str, expected: Behaviour) -> None:
    assert parse(words(text)) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("behaviour=groww", "behaviour 'groww': not known (nearest: grow)"),
        ("rat=3", "behaviour: key 'rat': not known (nearest: rate)"),
        ("behaviour=grow", "behaviour=grow: rate= is missing"),
        ("behaviour=sawtooth rate=1M/s", "behaviour=sawtooth: period= is missing"),
        ("behaviour=fork-storm children=1/s", "behaviour=fork-storm: max= is missing"),
        ("behaviour=grow rate=50M", "rate=50M: accepted is a size in a second, 50M/s"),
        ("behaviour=grow rate=50M/h", "rate=50M/h: accepted is"),
        ("behaviour=grow rate=0/s", "rate=0/s: accepted is"),
        ("behaviour=grow rate=1M/s until=lots", "'lots': accepted is a size"),
        ("behaviour=sawtooth rate=1M/s period=0s", "period=0s: accepted is more than no time"),
        ("behaviour=fork-storm children=0/s max=3", "children=0/s: accepted is a number"),
        ("behaviour=fork-storm children=3 max=3", "children=3: accepted is a number"),
        ("behaviour=fork-storm children=3/s max=0", "max=0: accepted is a number"),
        ("behaviour=grow rate=1M/s max=3", "max: means nothing to behaviour=grow"),
        ("until=3M", "until: means nothing to behaviour=constant"),
        ("stuck=perhaps", "stuck=perhaps: accepted: yes, no"),
        ("stuck=yes exit_delay=1s", "a stuck process does not exit"),
    ],
)
def test_other_words_are_refused(text: str, says: str) -> None:
    with pytest.raises(Refused) as refused:
        parse(words(text))
    assert refused.value.error == errno.EINVAL
    assert says in refused.value.why
