# SPDX-License-Identifier: MIT
"""NUMA nodes: masks of them, where a task may have memory, and who counts in an OOM.

A node mask is an int, bit 0 for node 0.  A `Placement` is what a task's cpuset and its
memory policy allow it; most tasks share `ANYWHERE`.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.profile import Profile

if TYPE_CHECKING:
    from fakeproc.kernel.oom import OomRequest
    from fakeproc.kernel.task import Process

MAX_NODES = 64
"""Nodes that a kernel of the usual configuration can have (NODES_SHIFT is 6)."""

ALL_NODES = (1 << MAX_NODES) - 1

PLACEMENT_KEYS = ("cpuset", "mems_allowed", "mempolicy")
"""Words for the placement of a task, as `changed` reads them."""

_RANGE = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?", re.ASCII)


def node_list(mask: int) -> list[int]:
    """Return the nodes of a mask, ascending."""
    return [node for node in range(mask.bit_length()) if mask >> node & 1]


@lru_cache(maxsize=256)
def format_list(mask: int) -> str:
    """Write a mask as the kernel's ``%*pbl`` does: ``0-1,3``; nothing for an empty one."""
    runs: list[list[int]] = []
    for node in node_list(mask):
        if runs and runs[-1][-1] == node - 1:
            runs[-1][1:] = [node]
        else:
            runs.append([node])
    return ",".join("-".join(map(str, run)) for run in runs)


@lru_cache(maxsize=256)
def format_bitmap(mask: int, bits: int) -> str:
    """Write a mask of so many bits as ``%*pb`` does: hexadecimal, a comma every 32 bits."""
    shown = f"{mask:0{(bits + 3) // 4}x}"
    first = len(shown) % 8 or 8
    groups = [shown[:first], *(shown[at : at + 8] for at in range(first, len(shown), 8))]
    return ",".join(groups)


def parse_list(key: str, text: str, existing: int) -> int:
    """Read a list of nodes such as ``0``, ``0-1`` or ``0,2``; at least one, all existing.

    EINVAL, with a sentence that names the key, for anything else.
    """
    mask = 0
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise _no_list(key, text, existing)
        first, last = int(match[1]), int(match[2] or match[1])
        mask |= sum(1 << node for node in range(first, last + 1))
    if not mask or mask & ~existing:
        raise _no_list(key, text, existing)
    return mask


def _no_list(key: str, text: str, existing: int) -> Refused:
    return Refused(
        errno.EINVAL,
        f"{key}={text}: accepted is a list of nodes such as 0, 0-1 or 0,2; the machine has "
        f"{format_list(existing)}.",
    )


class PolicyMode(StrEnum):
    """How a task's memory policy chooses nodes (set_mempolicy(2))."""

    NONE = "none"
    BIND = "bind"
    INTERLEAVE = "interleave"
    PREFERRED = "preferred"


@dataclass(frozen=True, slots=True)
class Placement:
    """What a task's cpuset and memory policy allow it; fork inherits it, exec keeps it."""

    cpuset: str = "/"
    """Path of the cpuset."""
    mems: int = ALL_NODES
    """Nodes of the cpuset (cpuset.mems)."""
    mode: PolicyMode = PolicyMode.NONE
    policy_nodes: int = 0
    """Nodes of the memory policy."""

    @property
    def cpuset_name(self) -> str:
        """The name of the cpuset as the log prints it: without those above it."""
        return self.cpuset.rpartition("/")[2] or "/"

    def oom_nodes(self, profile: Profile) -> int:
        """Return the nodes to which the policy confines the task, as the OOM killer sees it.

        A preferred node is only where allocation begins.  Since 5.14 the same is said of
        interleaving (b26e517a058b, "mm/mempolicy: cleanup nodemask intersection check for
        oom").
        """
        confined = self.mode is PolicyMode.BIND or (
            self.mode is PolicyMode.INTERLEAVE and profile.interleave_confines
        )
        return self.policy_nodes if confined else ALL_NODES

    def without_policy(self) -> Placement:
        """Return it as an exiting task has it: do_exit gives the policy back."""
        return self if self.mode is PolicyMode.NONE else Placement(self.cpuset, self.mems)


ANYWHERE = Placement()
"""The placement of who was given none."""


def changed(base: Placement, options: Mapping[str, str], existing: int) -> Placement:
    """Return a placement with what these options say; equal ones are one object.

    ``existing`` are the nodes of the machine.  A new cpuset moves the nodes of the policy
    along, as mpol_rebind_policy does; a new policy is cut to what the cpuset allows.
    EINVAL for a value that is none, or a policy of which nothing remains.
    """
    placement = base
    if "cpuset" in options:
        placement = replace(placement, cpuset=_parse_path(options["cpuset"]))
    if "mems_allowed" in options:
        mems = parse_list("mems_allowed", options["mems_allowed"], existing)
        policy_nodes = _remap(placement.policy_nodes, placement.mems & existing, mems)
        mems = ALL_NODES if mems == existing else mems
        placement = replace(placement, mems=mems, policy_nodes=policy_nodes)
    if "mempolicy" in options:
        mode, nodes = _parse_policy(options["mempolicy"], placement.mems & existing)
        placement = replace(placement, mode=mode, policy_nodes=nodes)
    return _shared(placement)


@lru_cache
def _shared(placement: Placement) -> Placement:
    """Return the first of all placements that are equal to this one."""
    return ANYWHERE if placement == ANYWHERE else placement


def _parse_path(text: str) -> str:
    path = text if text == "/" else text.rstrip("/")
    if not path.startswith("/") or not path.isprintable():
        raise Refused(errno.EINVAL, f"cpuset={text}: accepted is a path such as /slice.")
    return path


def _parse_policy(text: str, allowed: int) -> tuple[PolicyMode, int]:
    if text == PolicyMode.NONE:
        return PolicyMode.NONE, 0
    name, _, nodes = text.partition(":")
    if name not in (PolicyMode.BIND, PolicyMode.INTERLEAVE, PolicyMode.PREFERRED):
        raise Refused(
            errno.EINVAL,
            f"mempolicy={text}: accepted are none, bind:NODES, interleave:NODES, "
            "preferred:NODES, as in bind:0-1.",
        )
    mask = parse_list(f"mempolicy={name}", nodes, ALL_NODES) & allowed
    if not mask:
        raise Refused(
            errno.EINVAL,
            f"mempolicy={text}: the task's cpuset allows {format_list(allowed)}; accepted is a "
            "list with one of these.",
        )
    return PolicyMode(name), mask


def _remap(nodes: int, old: int, new: int) -> int:
    """Move nodes from their places in an old mask to the same places in a new one."""
    before, after = node_list(old), node_list(new)
    places = {node: after[place % len(after)] for place, node in enumerate(before)}
    return sum({1 << places.get(node, node) for node in node_list(nodes)})


# -- Who counts in an OOM ----------------------------------------------------------


def is_eligible(profile: Profile, request: OomRequest, process: Process) -> bool:
    """Say whether killing a process can help this allocation, by where its memory may be.

    Under a memory policy a thread's policy must share a node with it; else a thread's
    cpuset must share one with that of the allocating task (oom_cpuset_eligible).  An OOM
    of a memcg asks neither since 5.3 (ac311a14c682, "oom: decouple mems_allowed from
    oom_unkillable_task"); until then it asked for the cpuset.
    """
    if request.memcg is not None and not profile.eligible_in_badness:
        return True
    if request.nodemask is not None:
        wanted = request.nodemask
        return any(t.placement.oom_nodes(profile) & wanted for t in process.threads)
    return shares_nodes(process, request.mems_allowed)


def shares_nodes(process: Process, mems: int) -> bool:
    """Say whether the cpuset of a thread has one of these nodes."""
    return mems == ALL_NODES or any(thread.placement.mems & mems for thread in process.threads)


def why_not_eligible(profile: Profile, request: OomRequest, process: Process) -> str | None:
    """Return what keeps a process out of this OOM, in words, or None."""
    if is_eligible(profile, request, process):
        return None
    if request.nodemask is not None:
        nodes = node_list(request.nodemask)
        named = f"node{'s' if len(nodes) > 1 else ''} {format_list(request.nodemask)}"
        return f"its memory policy does not allow {named}"
    own = 0
    for thread in process.threads:
        own |= thread.placement.mems
    return (
        f"not on the allowed nodes (cpuset): it may use {format_list(own)}, the allocating "
        f"task {format_list(request.mems_allowed)}"
    )
