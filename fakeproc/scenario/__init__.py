# SPDX-License-Identifier: MIT
"""Scenarios: a machine, its processes and what happens to them, written down in TOML."""

from fakeproc.scenario.load import BUILTIN, build, load_scenario

__all__ = ("BUILTIN", "build", "load_scenario")
