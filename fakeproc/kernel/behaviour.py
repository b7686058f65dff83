# SPDX-License-Identifier: MIT
"""What a process does by itself, as a value, and the words that people write for it.

`fakeproc.kernel.living` lets it happen.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from fakeproc.kernel.errors import Refused, not_known
from fakeproc.kernel.task import PAGE_KIB
from fakeproc.units import parse_duration_ns, parse_integer, parse_pages


class BehaviourKind(StrEnum):
    """What a process does with memory; one without a behaviour sleeps."""

    CONSTANT = "constant"
    """It uses what it has, and grows no more."""
    GROW = "grow"
    """It takes memory at a rate, for good or until it has so much."""
    SAWTOOTH = "sawtooth"
    """It takes memory at a rate for a period, gives all of that back, and begins again."""
    FORK_STORM = "fork-storm"
    """It makes children, so many a second, up to so many at a time."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a process does by itself; what the kind does not need is 0 or None."""

    kind: BehaviourKind
    rate_pages_per_s: int = 0
    until_pages: int | None = None
    """At how much memory, swap included, growth ends."""
    period_ns: int = 0
    """How long a tooth of the saw grows."""
    children_per_s: float = 0
    max_children: int = 0
    """How many of them live at a time."""
    child_pages: int | None = None
    """What a child takes of anonymous memory; None: as much as its parent has (a fork)."""
    ignores_sigterm: bool = False
    exit_delay_ns: int = 0
    """How long it takes to exit, with its memory still there (`Hold.AT_EXIT`)."""
    stuck: bool = False
    """It sleeps uninterruptibly, does nothing and takes no signal (`Hold.STUCK`)."""


_TRAITS = ("ignore_sigterm", "exit_delay", "stuck")
# Of each kind: the words it needs, and those it may have.
_WORDS: Mapping[BehaviourKind, tuple[tuple[str, ...], tuple[str, ...]]] = {
    BehaviourKind.CONSTANT: ((), ()),
    BehaviourKind.GROW: (("rate",), ("until",)),
    BehaviourKind.SAWTOOTH: (("rate", "period"), ("until",)),
    BehaviourKind.FORK_STORM: (("children", "max"), ("child",)),
}
BEHAVIOUR_KEYS = ("behaviour", "rate", "until", "period", "children", "max", "child", *_TRAITS)
"""The words of `parse`, the kind first."""

_MOST_CHILDREN = 1_000_000
_CHILDREN = re.compile(r"(\d{1,6}(?:\.\d{1,9})?)/s", re.ASCII)


def parse(options: Mapping[str, str]) -> Behaviour:
    """Return the behaviour that words such as ``behaviour=grow rate=50M/s`` say.

    Without ``behaviour`` it is constant.  EINVAL, with a sentence that names the word, for
    what is unknown, missing, out of range, or means nothing to the kind.
    """
    for key in options:
        if key not in BEHAVIOUR_KEYS:
            raise not_known("behaviour: key", key, BEHAVIOUR_KEYS)
    kind = _kind(options.get("behaviour", BehaviourKind.CONSTANT))
    _check_words(kind, options)
    behaviour = Behaviour(
        kind,
        rate_pages_per_s=_rate(options["rate"]) if "rate" in options else 0,
        until_pages=_pages("until", options),
        period_ns=_duration_ns("period", options),
        children_per_s=_children_per_s(options["children"]) if "children" in options else 0,
        max_children=_max_children(options),
        child_pages=_pages("child", options),
        ignores_sigterm=_flag("ignore_sigterm", options),
        exit_delay_ns=_duration_ns("exit_delay", options),
        stuck=_flag("stuck", options),
    )
    if behaviour.stuck and behaviour.exit_delay_ns:
        raise Refused(errno.EINVAL, "exit_delay: a stuck process does not exit; leave out one.")
    return behaviour


def options_of(behaviour: Behaviour) -> dict[str, str]:
    """Return the words that `parse` turns into this behaviour; what is not set is left out."""
    words = {
        "behaviour": behaviour.kind.value,
        "rate": _size(behaviour.rate_pages_per_s) + "/s" if behaviour.rate_pages_per_s else "",
        "until": _size(behaviour.until_pages),
        "period": f"{behaviour.period_ns}ns" if behaviour.period_ns else "",
        "children": _decimal(behaviour.children_per_s) + "/s" if behaviour.children_per_s else "",
        "max": str(behaviour.max_children or ""),
        "child": _size(behaviour.child_pages),
        "ignore_sigterm": "yes" if behaviour.ignores_sigterm else "",
        "exit_delay": f"{behaviour.exit_delay_ns}ns" if behaviour.exit_delay_ns else "",
        "stuck": "yes" if behaviour.stuck else "",
    }
    return {key: text for key, text in words.items() if text}


def _kind(text: str) -> BehaviourKind:
    if text not in list(BehaviourKind):
        raise not_known("behaviour", text, BehaviourKind)
    return BehaviourKind(text)


def _check_words(kind: BehaviourKind, options: Mapping[str, str]) -> None:
    """Refuse what the kind has no use for, and miss what it needs."""
    needed, possible = _WORDS[kind]
    for key in needed:
        if key not in options:
            raise Refused(errno.EINVAL, f"behaviour={kind}: {key}= is missing.")
    accepted = ("behaviour", *needed, *possible, *_TRAITS)
    for key in options:
        if key not in accepted:
            raise Refused(
                errno.EINVAL,
                f"{key}: means nothing to behaviour={kind}; accepted: {', '.join(accepted[1:])}.",
            )


def _rate(text: str) -> int:
    size, slash, unit = text.rpartition("/")
    pages = parse_pages(size) if slash and unit == "s" else 0
    if not pages:
        raise Refused(errno.EINVAL, f"rate={text}: accepted is a size in a second, 50M/s.")
    return pages


def _children_per_s(text: str) -> float:
    match = _CHILDREN.fullmatch(text)
    if match is None or not float(match[1]):
        raise Refused(errno.EINVAL, f"children={text}: accepted is a number in a second, 5/s.")
    return float(match[1])


def _max_children(options: Mapping[str, str]) -> int:
    return parse_integer("max", options["max"], 1, _MOST_CHILDREN) if "max" in options else 0


def _pages(key: str, options: Mapping[str, str]) -> int | None:
    return parse_pages(options[key]) if key in options else None


def _duration_ns(key: str, options: Mapping[str, str]) -> int:
    if key not in options:
        return 0
    duration_ns = parse_duration_ns(f"{key}=", options[key])
    if not duration_ns:
        raise Refused(errno.EINVAL, f"{key}={options[key]}: accepted is more than no time.")
    return duration_ns


def _flag(key: str, options: Mapping[str, str]) -> bool:
    text = options.get(key, "no")
    if text not in ("yes", "no"):
        raise Refused(errno.EINVAL, f"{key}={text}: accepted: yes, no.")
    return text == "yes"


def _size(pages: int | None) -> str:
    return "" if pages is None else f"{pages * PAGE_KIB}k"


def _decimal(number: float) -> str:
    return f"{number:.9f}".rstrip("0").rstrip(".")
