# SPDX-License-Identifier: MIT
"""One pass of reading sees one content, which is made once."""

from __future__ import annotations

import errno
import stat

import pytest

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.task import Caller
from fakeproc.procfs.node import Attributes, File, OpenFile, Unread


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


def test_nothing_is_kept_for_who_has_read_to_the_end() -> None:
    reader = OpenFile(Counted())
    assert (reader.read(4, 0), reader.unread_bytes) == (b"1111", 10)
    assert (reader.read(100, 4), reader.unread_bytes) == (b"111111", 0)
    assert reader.read(100, 10) == b""


def begun(unread: Unread) -> OpenFile:
    """Return a file of which a byte has been read."""
    reader = OpenFile(Counted())
    assert reader.read(1, 0) == b"1"
    unread.note(reader)
    return reader


def test_of_many_that_do_not_read_on_the_last_ones_keep_theirs() -> None:
    unread = Unread(25)
    readers = [begun(unread) for _ in range(5)]
    assert [reader.unread_bytes for reader in readers] == [0, 0, 0, 10, 10]
    assert [reader.read(2, 1) for reader in readers] == [b"22"] * 3 + [b"11"] * 2


def test_what_is_closed_or_read_leaves_room_for_others() -> None:
    unread = Unread(25)
    first, second = begun(unread), begun(unread)
    unread.forget(first)
    second.read(100, 1)
    unread.note(second)
    readers = [begun(unread) for _ in range(2)]
    assert [reader.unread_bytes for reader in readers] == [10, 10]


def test_one_file_is_kept_however_large() -> None:
    assert begun(Unread(5)).unread_bytes == 10
