# SPDX-License-Identifier: MIT
"""How fast and how large: not part of the tests.  `benchmarks/run` runs them all."""
