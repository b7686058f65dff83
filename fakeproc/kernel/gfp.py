# SPDX-License-Identifier: MIT
"""Allocation flags: their bits, which moved three times, and how the log spells a mask."""

from __future__ import annotations

from collections.abc import Mapping

from fakeproc.kernel.profile import Profile, Version

# Single flags from bit 0 up; a dash is a bit without a name.
_UNTIL_4_10 = (
    "DMA HIGHMEM DMA32 MOVABLE RECLAIMABLE HIGH IO FS COLD NOWARN REPEAT NOFAIL NORETRY "
    "MEMALLOC COMP ZERO NOMEMALLOC HARDWALL THISNODE ATOMIC ACCOUNT NOTRACK DIRECT_RECLAIM "
    "OTHER_NODE WRITE KSWAPD_RECLAIM"
).split()
_UNTIL_4_15 = [name for name in _UNTIL_4_10 if name != "OTHER_NODE"]
_UNTIL_4_20 = (
    "DMA HIGHMEM DMA32 MOVABLE RECLAIMABLE HIGH IO FS - NOWARN RETRY_MAYFAIL NOFAIL NORETRY "
    "MEMALLOC COMP ZERO NOMEMALLOC HARDWALL THISNODE ATOMIC ACCOUNT DIRECT_RECLAIM "
    "KSWAPD_RECLAIM WRITE"
).split()
_SINCE_5_0 = (
    "DMA HIGHMEM DMA32 MOVABLE RECLAIMABLE HIGH IO FS ZERO ATOMIC DIRECT_RECLAIM "
    "KSWAPD_RECLAIM WRITE NOWARN RETRY_MAYFAIL NOFAIL NORETRY MEMALLOC COMP NOMEMALLOC "
    "HARDWALL THISNODE ACCOUNT"
).split()
_LAYOUTS: tuple[tuple[Version, list[str]], ...] = (
    ((5, 0), _SINCE_5_0),
    ((4, 16), _UNTIL_4_20),
    ((4, 11), _UNTIL_4_15),
    ((0, 0), _UNTIL_4_10),
)

# Masks with a name of their own, largest first, as the kernel looks for them.
_COMPOSITES: Mapping[str, str] = {
    "GFP_HIGHUSER_MOVABLE": "DIRECT_RECLAIM KSWAPD_RECLAIM IO FS HARDWALL HIGHMEM MOVABLE",
    "GFP_HIGHUSER": "DIRECT_RECLAIM KSWAPD_RECLAIM IO FS HARDWALL HIGHMEM",
    "GFP_USER": "DIRECT_RECLAIM KSWAPD_RECLAIM IO FS HARDWALL",
    "GFP_KERNEL_ACCOUNT": "DIRECT_RECLAIM KSWAPD_RECLAIM IO FS ACCOUNT",
    "GFP_KERNEL": "DIRECT_RECLAIM KSWAPD_RECLAIM IO FS",
    "GFP_NOFS": "DIRECT_RECLAIM KSWAPD_RECLAIM IO",
    "GFP_ATOMIC": "HIGH ATOMIC KSWAPD_RECLAIM",
    "GFP_NOIO": "DIRECT_RECLAIM KSWAPD_RECLAIM",
    "GFP_NOWAIT": "KSWAPD_RECLAIM",
}


def bits(version: Version) -> dict[str, int]:
    """Return the flags of a version, each with its bit."""
    layout = next(names for since, names in _LAYOUTS if version >= since)
    return {name: 1 << number for number, name in enumerate(layout) if name != "-"}


def mask_of(version: Version, name: str) -> int:
    """Return the bits of a named mask, ``GFP_KERNEL`` for example."""
    known = bits(version)
    return sum(known[flag] for flag in _COMPOSITES[name].split() if flag in known)


def anonymous_fault_mask(profile: Profile) -> int:
    """Return the flags with which a page fault takes anonymous memory."""
    known = bits(profile.version)
    mask = mask_of(profile.version, "GFP_HIGHUSER_MOVABLE") | known["ZERO"]
    return mask | known["COMP"] if profile.fault_gfp_comp else mask


def spell(version: Version, mask: int) -> str:
    """Write a mask as the log does: names joined by a bar, what has none in hexadecimal."""
    words = []
    for name in _COMPOSITES:
        value = mask_of(version, name)
        if mask & value == value:
            words.append(name)
            mask &= ~value
            break
    # The log has COMP before ZERO, whatever their bits.
    known = bits(version)
    for flag, bit in {"COMP": known["COMP"], **known}.items():
        if mask & bit:
            words.append(f"__GFP_{flag}")
            mask &= ~bit
    if mask or not words:
        words.append(f"{mask:#x}")
    return "|".join(words)
