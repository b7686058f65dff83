# SPDX-License-Identifier: MIT
"""A fake /proc over a small simulated Linux kernel."""

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.profile import KernelConfig, Profile

__version__ = "0.1.0"

__all__ = ("KernelConfig", "Machine", "Profile", "Refused", "__version__")
