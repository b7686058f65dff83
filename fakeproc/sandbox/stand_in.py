# SPDX-License-Identifier: MIT
"""The program that every stand-in runs: it sleeps until it is killed.

It is that small because thousands of it are started: without an interpreter, a libc or a heap, a
process is little more than its kernel stack and its page tables.
"""

from __future__ import annotations

import errno
import os
import struct

from fakeproc.sandbox.lacking import Lacking

_EM_X86_64 = 62
_EM_AARCH64 = 183

# pause(2); again, if a signal has ended it.
_X86_64 = bytes.fromhex(
    "b8 22 00 00 00"  # 1: mov $34, %eax      pause
    "0f 05"  #             syscall
    "eb f7"  #             jmp 1b
)
# ppoll(NULL, 0, NULL, NULL), as there is no pause(2) on aarch64.
_AARCH64 = bytes.fromhex(
    "00 00 80 d2"  # 1: mov x0, #0
    "01 00 80 d2"  #    mov x1, #0
    "02 00 80 d2"  #    mov x2, #0
    "03 00 80 d2"  #    mov x3, #0
    "28 09 80 d2"  #    mov x8, #73        ppoll
    "01 00 00 d4"  #    svc #0
    "fa ff ff 17"  #    b 1b
)
_MACHINES = {"x86_64": (_EM_X86_64, _X86_64), "aarch64": (_EM_AARCH64, _AARCH64)}
"""By what uname(2) calls the machine: the ELF's number of it, and the code."""

_BASE = 0x400000
_ALIGNMENT = 0x10000
"""The largest page size of these machines."""

_IDENTITY = struct.Struct("<4sBBBB8x")
_HEADER = struct.Struct("<HHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")

_MFD_EXEC = 0x10


def elf(machine: str) -> bytes:
    """Return the program as a static ELF for this machine (uname(2)'s word).

    Raises `Lacking` for a machine whose code is not here.
    """
    if machine not in _MACHINES:
        known = " and ".join(_MACHINES)
        raise Lacking(
            f"machine {machine!r}: the sandbox has no stand-in program for it, only for {known}."
        )
    number, code = _MACHINES[machine]
    code_offset = _IDENTITY.size + _HEADER.size + _SEGMENT.size
    size = code_offset + len(code)
    identity = _IDENTITY.pack(
        b"\x7fELF",
        2,  # ELFCLASS64
        1,  # ELFDATA2LSB
        1,  # EV_CURRENT
        0,  # ELFOSABI_NONE
    )
    header = _HEADER.pack(
        2,  # ET_EXEC
        number,
        1,  # EV_CURRENT
        _BASE + code_offset,  # entry
        _IDENTITY.size + _HEADER.size,  # offset of the program headers
        0,  # no section headers
        0,  # flags
        _IDENTITY.size + _HEADER.size,
        _SEGMENT.size,
        1,  # program header
        *(0, 0, 0),  # section headers: size, count, names
    )
    segment = _SEGMENT.pack(
        1,  # PT_LOAD
        5,  # PF_R | PF_X
        0,  # offset
        _BASE,  # virtual address
        _BASE,  # physical address
        size,  # in the file
        size,  # in memory
        _ALIGNMENT,
    )
    return identity + header + segment + code


def open_program() -> int:
    """Return a descriptor to execute the program from: close-on-exec, of a file in memory.

    Raises `Lacking` on a machine that has no stand-in program, or that executes no such files.
    """
    program = elf(os.uname().machine)
    writable = _executable_memfd()
    try:
        os.write(writable, program)
        # While a descriptor can write to it, executing it gives ETXTBSY.
        return os.open(f"/proc/self/fd/{writable}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(writable)


def _executable_memfd() -> int:
    # Since Linux 6.3 (105ff5339f49, "mm/memfd: add MFD_NOEXEC_SEAL and MFD_EXEC") the sysctl
    # vm.memfd_noexec says what is executable; before that, the flag is EINVAL and everything is.
    try:
        return os.memfd_create("stand-in", os.MFD_CLOEXEC | _MFD_EXEC)
    except OSError as error:
        if error.errno == errno.EACCES:
            raise Lacking(
                "vm.memfd_noexec is 2: files in memory cannot be executed, which the stand-ins "
                "are; `sysctl vm.memfd_noexec=1` allows it."
            ) from error
        if error.errno != errno.EINVAL:
            raise
        return os.memfd_create("stand-in", os.MFD_CLOEXEC)
