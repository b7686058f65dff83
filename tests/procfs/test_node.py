# SPDX-License-Identifier: MIT
"""One pass of reading sees one content, which is made once."""

from __future__ import annotations

import errno
import stat

import pytest

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.task import Caller
from fakeproc.procfs.node import Attributes, File, OpenFile


class Counted(File):
    """A file whose content says how often it has been made, until it is gone."""

    def __init__(self) -> None:
        self.made = 0
        self.gone = False

    def attributes(self) -> Attributes:
        return Attributes(stat.S_IFREG | 0o444)

    def require_there(self) -> None:
        if self.gone:
            raise Refused(errno.ESRCH)

    def render(self) -> bytes:
        self.made += 1
        return b"%d" % self.made * 10

    def store(self, caller: Caller, data: bytes) -> int:
        raise Refused(errno.EINVAL)


def test_a_pass_in_pieces_makes_the_content_once() -> None:
    file = Counted()
    reader = OpenFile(file)
    assert [reader.read(4, offset) for offset in (0, 4, 8, 10)] == [b"1111", b"1111", b"11", b""]
    assert file.made == 1


@pytest.mark.parametrize("offset", [0, 3])
def test_a_seek_begins_another_pass(offset: int) -> None:
    reader = OpenFile(Counted())
    assert reader.read(4, 0) == b"1111"
    assert reader.read(4, offset) == b"2222"


def test_who_reads_on_hears_that_the_file_is_gone() -> None:
    file = Counted()
    reader = OpenFile(file)
    reader.read(4, 0)
    file.gone = True
    with pytest.raises(Refused) as refused:
        reader.read(4, 4)
    assert refused.value.error == errno.ESRCH
