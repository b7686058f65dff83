# SPDX-License-Identifier: MIT
"""The one exception with which the simulated kernel turns a request down."""

import errno
import os
from collections.abc import Iterable
from difflib import get_close_matches


class Refused(OSError):
    """Refuse a request with the errno that the kernel would give.

    ``why`` is one sentence for a person: it names the file or the command, the
    value, and what would be accepted.  Any other exception that leaves the
    simulation is a bug.
    """

    def __init__(self, error: int, why: str = "") -> None:
        super().__init__(error, why or os.strerror(error))

    @property
    def error(self) -> int:
        """The errno, never None."""
        assert self.errno is not None
        return self.errno

    @property
    def name(self) -> str:
        """The errno's symbolic name, ``EINVAL`` for example."""
        return errno.errorcode.get(self.error, str(self.error))

    @property
    def why(self) -> str:
        """The sentence."""
        return str(self.strerror)


def not_known(kind: str, name: str, names: Iterable[str]) -> Refused:
    """Return the refusal (EINVAL) of a name that is not among these, with the nearest one."""
    accepted = list(names)
    near = get_close_matches(name, accepted, n=1)
    hint = f" (nearest: {near[0]})" if near else ""
    listed = ", ".join(accepted) or "none"
    return Refused(errno.EINVAL, f"{kind} {name!r}: not known{hint}; accepted: {listed}.")
