# SPDX-License-Identifier: MIT
"""The simulated kernel: pure, deterministic, no I/O.  `machine.Machine` is its door."""
