# SPDX-License-Identifier: MIT
"""A live kernel for the tests here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.live import LiveKernel
from tests.conformance.uml import Missing
from tests.sandbox.conftest import require


@pytest.fixture(scope="session")
def live() -> Iterator[LiveKernel]:
    """Return a live kernel; skip where there is none."""
    try:
        with LiveKernel() as kernel:
            assert kernel.kernel
            yield kernel
    except Missing as missing:
        require(str(missing))
