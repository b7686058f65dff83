# SPDX-License-Identifier: MIT
"""The table at the end: each figure, and how it grows from a thousand processes on."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from fakeproc.units import align

COUNTS = (1_000, 10_000, 100_000, 1_000_000)
_COLUMNS = {
    "load_s": "load, s",
    "bytes_per_process": "memory each, B",
    "selection_us": "selection, us",
    "write_us": "write, us",
}
_RATIOS = ("selection_us", "write_us")


@dataclass
class Scale:
    """What was measured, by the number of processes."""

    rows: dict[int, dict[str, float]] = field(default_factory=dict)

    def row(self, processes: int) -> dict[str, float]:
        """Return the row of a machine of about so many processes."""
        count = min(COUNTS, key=lambda count: abs(count - processes))
        return self.rows.setdefault(count, {})

    def table(self) -> str:
        """Return it for people."""
        first = self.rows[min(self.rows)]
        ratios = [f"{_COLUMNS[key].split(',')[0]}, x" for key in _RATIOS]
        lines = [["processes", *_COLUMNS.values(), *ratios]]
        for count, row in sorted(self.rows.items()):
            figures = [f"{row[key]:.3g}" if key in row else "-" for key in _COLUMNS]
            grown = [f"{row[k] / first[k]:.2f}" if {k} <= row.keys() else "-" for k in _RATIOS]
            lines.append([f"{count:,}", *figures, *grown])
        return align(lines)


_SCALE = Scale()


@pytest.fixture(scope="session")
def scale() -> Scale:
    """What the table is made of."""
    return _SCALE


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    if _SCALE.rows:
        terminalreporter.section("scale")
        terminalreporter.write(_SCALE.table())
