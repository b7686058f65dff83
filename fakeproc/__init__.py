# SPDX-License-Identifier: MIT
"""A fake /proc over a small simulated Linux kernel.

Names are imported when they are asked for: pytest loads the plugin in every run.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fakeproc.kernel.errors import Refused
    from fakeproc.kernel.machine import Machine
    from fakeproc.kernel.profile import KernelConfig, Profile
    from fakeproc.mount import MountOptions, mount
    from fakeproc.mounts import MountError
    from fakeproc.sandbox import Sandbox
    from fakeproc.scenario import load_scenario

__version__ = "0.1.0"

__all__ = (
    "KernelConfig",
    "Machine",
    "MountError",
    "MountOptions",
    "Profile",
    "Refused",
    "Sandbox",
    "__version__",
    "load_scenario",
    "mount",
)

_MODULES = {
    "KernelConfig": "kernel.profile",
    "Machine": "kernel.machine",
    "MountError": "mounts",
    "MountOptions": "mount",
    "Profile": "kernel.profile",
    "Refused": "kernel.errors",
    "Sandbox": "sandbox",
    "load_scenario": "scenario",
    "mount": "mount",
}
"""Where the names come from."""


def _imported(name: str) -> Any:
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _imported(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """The package: ``mount`` is the function, also when the module of that name is loaded.

    Loading a module makes it an attribute of its package, and would hide the function.
    """

    @property
    def mount(self) -> Any:
        return _imported("mount")

    @mount.setter
    def mount(self, module: ModuleType) -> None:
        pass


sys.modules[__name__].__class__ = _Package
