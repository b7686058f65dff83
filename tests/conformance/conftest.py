# SPDX-License-Identifier: MIT
"""A live kernel for the tests here."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.conformance.live import LiveKernel
from tests.conformance.uml import Missing


@pytest.fixture(scope="session")
def live() -> Iterator[LiveKernel]:
    """Return a live kernel; skip the test where there is none, but not in CI."""
    try:
        with LiveKernel() as kernel:
            assert kernel.kernel
            yield kernel
    except Missing as missing:
        if "CI" in os.environ:
            raise
        pytest.skip(str(missing))
