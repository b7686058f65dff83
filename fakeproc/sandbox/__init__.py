# SPDX-License-Identifier: MIT
"""A sandbox: real programs in the simulated machine, with signals that reach it.

`sandbox.py` is its owner's side, `server.py` has the machine and serves its files,
`supervisor.py` is pid 1 inside and has a stand-in for each simulated process, `binder.py` makes
the mounts.
"""

from fakeproc.sandbox.lacking import Lacking
from fakeproc.sandbox.sandbox import Sandbox, SandboxProcess

__all__ = ("Lacking", "Sandbox", "SandboxProcess")
