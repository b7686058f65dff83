# SPDX-License-Identifier: MIT
"""Scenarios: a machine and its processes, written down in TOML."""

from fakeproc.scenario.load import BUILTIN, build, load_scenario

__all__ = ("BUILTIN", "build", "load_scenario")
