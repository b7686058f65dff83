# SPDX-License-Identifier: MIT
"""How fast and how large: not part of the tests.  `benchmarks/run` measures.

A section is a module with a function ``measure(*, quick: bool) -> list[Table]``; ``quick`` is for
seeing that it works, in a few seconds.  ``benchmarks/__main__.py`` lists the sections.
"""
