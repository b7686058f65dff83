# SPDX-License-Identifier: MIT
"""dmesg of util-linux where devkmsg is /dev/kmsg, in a mount namespace of its own."""

from __future__ import annotations

import re
import select

from tests.mount import put
from tests.tools.conftest import Table, program

_ON_DEV_KMSG = 'mount --bind /proc/fakeproc/devkmsg /dev/kmsg && exec "$@"'


def on_dev_kmsg(*command: str) -> list[str]:
    """Return the command that runs a tool where the log is in /dev/kmsg."""
    return ["sh", "-c", _ON_DEV_KMSG, "sh", program(command[0]), *command[1:]]


def test_dmesg_prints_the_log(own_table: Table) -> None:
    put(own_table.mounted / "sysrq-trigger", b"f")
    put(own_table.mounted / "fakeproc/devkmsg", b"<30>a daemon: \xc3\xa9 \\")
    printed = own_table.run(*on_dev_kmsg("dmesg")).splitlines()
    log = own_table.mounted.read("fakeproc/kmsg").splitlines()
    # dmesg puts the lines of a record below each other.
    assert [line.strip() for line in printed] == [re.sub(r"^<\d+>", "", s).strip() for s in log]
    assert any("Out of memory: Killed process" in line for line in printed)
    facilities = own_table.run(*on_dev_kmsg("dmesg", "--decode")).splitlines()
    assert facilities[-1].startswith("daemon:info  : [")
    assert own_table.run(*on_dev_kmsg("dmesg", "--facility", "daemon")).count("\n") == 1


def test_dmesg_of_an_empty_log_prints_nothing(own_table: Table) -> None:
    """And does not ask the host's kernel instead (syslog(2))."""
    assert own_table.run(*on_dev_kmsg("dmesg")) == ""


def test_dmesg_follows_the_log(own_table: Table) -> None:
    devkmsg = own_table.mounted / "fakeproc/devkmsg"
    put(devkmsg, b"zero")
    with own_table.started(*on_dev_kmsg("dmesg", "--follow")) as dmesg:
        assert dmesg.stdout is not None
        for text in ("zero", "one", "two"):
            if text != "zero":
                put(devkmsg, text.encode())
            assert select.select([dmesg.stdout], [], [], 10)[0], text
            assert dmesg.stdout.readline().endswith(f"] {text}\n")


def test_dmesg_follows_from_the_end(own_table: Table) -> None:
    devkmsg = own_table.mounted / "fakeproc/devkmsg"
    put(devkmsg, b"old")
    with own_table.started(*on_dev_kmsg("dmesg", "--follow-new")) as dmesg:
        assert dmesg.stdout is not None
        # It says nothing at first: write until it has begun.
        while not select.select([dmesg.stdout], [], [], 0.1)[0]:
            put(devkmsg, b"new")
        assert dmesg.stdout.readline().endswith("] new\n")
