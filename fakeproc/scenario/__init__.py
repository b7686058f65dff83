# SPDX-License-Identifier: MIT
"""Scenarios: a machine and its processes, written down in TOML."""

from fakeproc.scenario.load import BUILTIN, load_scenario

__all__ = ("BUILTIN", "load_scenario")
