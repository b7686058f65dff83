# SPDX-License-Identifier: MIT
"""A fake /proc over a small simulated Linux kernel."""

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.profile import KernelConfig, Profile
from fakeproc.mount import MountError, MountOptions, mount
from fakeproc.scenario import load_scenario

__version__ = "0.1.0"

__all__ = (
    "KernelConfig",
    "Machine",
    "MountError",
    "MountOptions",
    "Profile",
    "Refused",
    "__version__",
    "load_scenario",
    "mount",
)
