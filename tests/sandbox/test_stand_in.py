# SPDX-License-Identifier: MIT
"""The program of the stand-ins, held against the ELF specification and run for real."""

from __future__ import annotations

import errno
import os
import signal
import struct
import subprocess

import pytest

from fakeproc.sandbox.lacking import Lacking
from fakeproc.sandbox.stand_in import elf, open_program

MACHINES = ("x86_64", "aarch64")


@pytest.mark.parametrize("machine", MACHINES)
def test_one_segment_holds_the_whole_file_and_the_entry(machine: str) -> None:
    program = elf(machine)
    assert program.startswith(b"\x7fELF")
    (entry,) = struct.unpack_from("<Q", program, 24)
    (offset,) = struct.unpack_from("<Q", program, 32)
    kind, flags, start, address, _, in_file, in_memory, alignment = struct.unpack_from(
        "<IIQQQQQQ", program, offset
    )
    assert (kind, flags) == (1, 5)
    assert (start, in_file, in_memory) == (0, len(program), len(program))
    assert address < entry < address + len(program)
    assert address % alignment == start % alignment


def test_the_size_is_next_to_nothing() -> None:
    assert {machine: len(elf(machine)) for machine in MACHINES} == {"x86_64": 129, "aarch64": 148}


def test_another_machine_is_refused_in_a_sentence() -> None:
    with pytest.raises(Lacking, match="^machine 'vax': .* only for x86_64 and aarch64.$"):
        elf("vax")


def test_it_runs_and_sleeps_until_it_is_killed() -> None:
    program = open_program()
    with subprocess.Popen(["x"], executable=f"/proc/self/fd/{program}", pass_fds=[program]) as one:
        os.close(program)
        # It neither exits nor is ended by its own doing, whatever interrupts its sleep.
        one.send_signal(signal.SIGSTOP)
        assert os.WIFSTOPPED(os.waitpid(one.pid, os.WUNTRACED)[1])
        one.send_signal(signal.SIGCONT)
        assert os.WIFCONTINUED(os.waitpid(one.pid, os.WCONTINUED)[1])
        assert one.poll() is None
        one.kill()
    assert one.returncode == -signal.SIGKILL


def test_the_descriptor_cannot_be_written_to() -> None:
    program = open_program()
    try:
        assert not os.get_inheritable(program)
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            os.write(program, b"x")
    finally:
        os.close(program)
