# SPDX-License-Identifier: MIT
"""The memory of a guest that waits for the answer to a call (process_vm_readv(2))."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable

from fakeproc.sandbox.seccomp import GO_ON, Answer, Notification

_PATH_MAX = 4096
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def handed_over(call: Notification, address: int, data: bytes, value: int = 0) -> Answer:
    """Write to the caller's memory, if it still waits; EFAULT where that cannot be written."""
    if not call.is_valid:
        return GO_ON
    try:
        buffer = ctypes.create_string_buffer(data, len(data))
        written = _transfer(_libc.process_vm_writev, call.tid, address, buffer)
    except OSError as error:
        # Who may not be traced is not answered for.
        return Answer(error=errno.EFAULT) if error.errno == errno.EFAULT else GO_ON
    return Answer(value) if written == len(data) else Answer(error=errno.EFAULT)


def read_string(tid: int, address: int) -> bytes | None:
    """Read a path from a guest's memory, page by page; None where there is none."""
    found = b""
    while len(found) < _PATH_MAX:
        length = _PAGE_BYTES - (address + len(found)) % _PAGE_BYTES
        buffer = ctypes.create_string_buffer(length)
        try:
            length = _transfer(_libc.process_vm_readv, tid, address + len(found), buffer)
        except OSError:
            return None
        text, end, _ = buffer.raw[:length].partition(b"\0")
        found += text
        if end:
            return found
    return None


def _transfer(
    call: Callable[..., int], tid: int, address: int, buffer: ctypes.Array[ctypes.c_char]
) -> int:
    """Copy between this memory and that of a task; return how many bytes it was."""
    here = _Iovec(ctypes.addressof(buffer), len(buffer))
    there = _Iovec(address, len(buffer))
    done = call(tid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    if done < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return done


_libc = ctypes.CDLL(None, use_errno=True)
for _name in ("process_vm_readv", "process_vm_writev"):
    getattr(_libc, _name).restype = ctypes.c_ssize_t
    getattr(_libc, _name).argtypes = (
        *(ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong),
        *(ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong),
    )
