# SPDX-License-Identifier: MIT
"""Files that commands write: whole, or not at all."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from fakeproc.kernel.errors import Refused


class Output:
    """A file that is to be written, open before the work is done that would be in vain."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open it, empty; `Refused` where it cannot be."""
        self._path = Path(path)
        try:
            self._file = self._path.open("wb", buffering=0)
        except OSError as error:
            raise self._refusal(error) from None

    def write(self, text: str) -> None:
        """Write all of it and close; `Refused` where it cannot be, and then it is empty.

        A part of it could be taken for the whole.
        """
        with self._file:
            data = text.encode(errors="surrogateescape")
            try:
                while data:
                    data = data[self._file.write(data) :]
            except OSError as error:
                with suppress(OSError):
                    self._file.truncate(0)
                raise self._refusal(error) from None

    def _refusal(self, error: OSError) -> Refused:
        number = error.errno or errno.EIO
        return Refused(number, f"{self._path}: cannot be written: {error.strerror}.")
