# SPDX-License-Identifier: MIT
"""The memory of a task in numbers, and the small files about it: statm, auxv, clear_refs, ksm_*.

Also what the files of an address space have in common: what it is (`space_of`).
"""

from __future__ import annotations

import errno
import struct

from fakeproc.kernel.address_space import AddressSpace, shape_of
from fakeproc.kernel.details import exe_path
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.mm_history import ClearRefs
from fakeproc.kernel.oom_adj import parse_write
from fakeproc.kernel.profile import Profile
from fakeproc.kernel.ptrace import may_read
from fakeproc.kernel.task import PAGE_BYTES, PAGE_KIB, Caller, Thread
from fakeproc.procfs.node import Seek
from fakeproc.procfs.task.access import require_mm
from fakeproc.procfs.task.node import TaskFile, TaskRow, require_there, user_mm
from fakeproc.procfs.task.program import render_environ


def space_of(machine: Machine, thread: Thread) -> AddressSpace | None:
    """Return the address space of a task; None for who has none."""
    mm = user_mm(thread)
    if mm is None:
        return None
    environ = render_environ(machine, thread)
    return AddressSpace(mm, machine.profile, exe_path(thread.process), len(environ))


# -- stat, statm and status --------------------------------------------------------


def addresses(
    machine: Machine, thread: Thread, reader: Caller
) -> tuple[tuple[int, int, int], tuple[int, ...]]:
    """Return the addresses in stat: startcode to startstack, and start_data to env_end.

    Who may not look into the memory learns only whether there is any: 1 for code.
    """
    if user_mm(thread) is None:
        return (0, 0, 0), (0,) * 7
    space = space_of(machine, thread) if may_read(reader, thread) else None
    if space is None:
        return (1, 1, 0), (0,) * 7
    program = (space.start_data, space.end_data, space.start_brk)
    words = (space.arg_start, space.arg_end, space.env_start, space.env_end)
    return (space.start_code, space.end_code, space.start_stack), (*program, *words)


def render_statm(machine: Machine, thread: Thread) -> bytes:
    """Return seven numbers of pages; all zero without an mm."""
    mm = user_mm(thread)
    if mm is None:
        return b"0 0 0 0 0 0 0\n"
    sizes, shape = mm.sizes, shape_of(mm, machine.profile)
    shared = sizes.file_pages + sizes.shmem_pages
    data = shape.data_pages + shape.stack_pages
    fields = (sizes.total_vm_pages, sizes.rss_pages, shared, shape.code_pages, 0, data, 0)
    return (" ".join(map(str, fields)) + "\n").encode()


def status_lines(machine: Machine, thread: Thread) -> list[tuple[tuple[int, int], str]]:
    """Return the lines of status in kB, each with the version that introduced it."""
    mm = user_mm(thread)
    if mm is None:
        return []
    sizes, shape = mm.sizes, shape_of(mm, machine.profile)
    history = machine.mm_history
    # One kind of page table is what is printed since 4.15, where they are counted together.
    tables = {"VmPTE": sizes.pagetable_pages}
    if machine.profile.table_format == "nr_ptes":
        tables = {"VmPTE": sizes.pte_pages, "VmPMD": sizes.pmd_pages}
    pages = {
        "VmPeak": history.peak_vm_pages(mm),
        "VmSize": sizes.total_vm_pages,
        "VmLck": sizes.mlocked_pages,
        "VmPin": 0,
        "VmHWM": history.peak_rss_pages(mm),
        "VmRSS": sizes.rss_pages,
        "RssAnon": sizes.anon_pages,
        "RssFile": sizes.file_pages,
        "RssShmem": sizes.shmem_pages,
        "VmData": shape.data_pages,
        "VmStk": shape.stack_pages,
        "VmExe": shape.code_pages,
        "VmLib": shape.library_pages,
        **tables,
        "VmSwap": sizes.swap_entries,
        "HugetlbPages": 0,
    }
    since = {"RssAnon": (4, 5), "RssFile": (4, 5), "RssShmem": (4, 5), "HugetlbPages": (4, 4)}
    return [
        (since.get(name, (0, 0)), f"{name}:\t{count * PAGE_KIB:8d} kB")
        for name, count in pages.items()
    ]


# -- auxv --------------------------------------------------------------------------

_AT_NULL, _AT_PHDR, _AT_PHENT, _AT_PHNUM, _AT_PAGESZ, _AT_BASE, _AT_FLAGS = 0, 3, 4, 5, 6, 7, 8
_AT_ENTRY, _AT_UID, _AT_EUID, _AT_GID, _AT_EGID, _AT_PLATFORM = 9, 11, 12, 13, 14, 15
_AT_HWCAP, _AT_CLKTCK, _AT_SECURE, _AT_RANDOM, _AT_HWCAP2 = 16, 17, 23, 25, 26
_AT_RSEQ_FEATURE_SIZE, _AT_RSEQ_ALIGN, _AT_EXECFN = 27, 28, 31
_AT_SYSINFO_EHDR, _AT_MINSIGSTKSZ = 33, 51

_ELF_HEADER_BYTES = 64
_PROGRAM_HEADER_BYTES = 56
_PROGRAM_HEADERS = 13
_ENTRY_POINT = 0x40
"""Where in its text a program starts."""
_X86_FEATURES = 0x1F8BFBFF
"""CPUID 1, EDX."""


def render_auxv(machine: Machine, thread: Thread) -> bytes:
    """Return the auxiliary vector: pairs of 64-bit words, the last of them zero."""
    space = space_of(machine, thread)
    if space is None:
        return b""
    credentials = thread.credentials
    entries = (
        ((0, 0), _AT_SYSINFO_EHDR, space.vdso_start),
        ((5, 14), _AT_MINSIGSTKSZ, 0xD30),
        ((0, 0), _AT_HWCAP, _X86_FEATURES),
        ((0, 0), _AT_PAGESZ, PAGE_BYTES),
        ((0, 0), _AT_CLKTCK, 100),
        ((0, 0), _AT_PHDR, space.program_base + _ELF_HEADER_BYTES),
        ((0, 0), _AT_PHENT, _PROGRAM_HEADER_BYTES),
        ((0, 0), _AT_PHNUM, _PROGRAM_HEADERS),
        ((0, 0), _AT_BASE, space.loader_base),
        ((0, 0), _AT_FLAGS, 0),
        ((0, 0), _AT_ENTRY, space.start_code + _ENTRY_POINT),
        ((0, 0), _AT_UID, credentials.uid),
        ((0, 0), _AT_EUID, credentials.uid),
        ((0, 0), _AT_GID, credentials.gid),
        ((0, 0), _AT_EGID, credentials.gid),
        ((0, 0), _AT_SECURE, 0),
        ((0, 0), _AT_RANDOM, space.start_stack + 0x3D0),
        ((4, 11), _AT_HWCAP2, 2),
        ((0, 0), _AT_EXECFN, space.env_end),
        ((0, 0), _AT_PLATFORM, space.start_stack + 0x3E0),
        ((6, 3), _AT_RSEQ_FEATURE_SIZE, 28),
        ((6, 3), _AT_RSEQ_ALIGN, 32),
        ((0, 0), _AT_NULL, 0),
    )
    version = machine.profile.version
    return b"".join(struct.pack("<QQ", *pair) for since, *pair in entries if since <= version)


# -- clear_refs and ksm_* ----------------------------------------------------------


def store_clear_refs(machine: Machine, thread: Thread, caller: Caller, data: bytes) -> int:
    """Take 1 to 5 as clear_refs(5) tells; EINVAL for anything else."""
    require_there(machine, thread)
    number, taken = parse_write(data)
    # It is read with base 10, which is another number for hexadecimal ones only.
    if not ClearRefs.ALL <= number <= ClearRefs.MM_HIWATER_RSS or b"x" in data.lower():
        raise Refused(
            errno.EINVAL, f"/proc/{thread.tid}/clear_refs: {data[:20]!r}: accepted are 1 to 5."
        )
    mm = user_mm(thread)
    if mm is not None:
        machine.mm_history.clear_refs(mm, ClearRefs(number))
    return taken


def _refuse_reading(machine: Machine, thread: Thread) -> bytes:
    raise Refused(errno.EINVAL)


_KSM_LINES = (
    ((6, 1), "ksm_rmap_items 0"),
    ((6, 6), "ksm_zero_pages 0"),
    ((6, 4), "ksm_merging_pages 0"),
    ((6, 4), "ksm_process_profit 0"),
    ((6, 16), "ksm_merge_any: no"),
    ((6, 16), "ksm_mergeable: no"),
)


def render_ksm_stat(machine: Machine, thread: Thread) -> bytes:
    """Return what the kernel prints where nothing is merged; nothing without an mm."""
    if user_mm(thread) is None:
        return b""
    version = machine.profile.version
    return "".join(f"{line}\n" for since, line in _KSM_LINES if since <= version).encode()


def render_ksm_merging_pages(machine: Machine, thread: Thread) -> bytes:
    """Return 0; nothing without an mm."""
    return b"" if user_mm(thread) is None else b"0\n"


def _has_ksm_merging_pages(profile: Profile) -> bool:
    return profile.version >= (5, 19)


def _has_ksm_stat(profile: Profile) -> bool:
    return profile.version >= (6, 1)


ROWS: dict[str, TaskRow] = {
    "statm": TaskFile(reflects="sizes, in pages", render=render_statm, seek=Seek.SEQ),
    "auxv": TaskFile(
        reflects="addresses and ids, as exec gave them to the program",
        mode=0o400,
        render=render_auxv,
        require=require_mm,
    ),
    "clear_refs": TaskFile(
        reflects="takes back what smaps calls Referenced, or VmHWM",
        mode=0o200,
        render=_refuse_reading,
        store=store_clear_refs,
    ),
    "ksm_merging_pages": TaskFile(
        reflects="nothing: always 0",
        mode=0o400,
        render=render_ksm_merging_pages,
        seek=Seek.SEQ,
        there=_has_ksm_merging_pages,
    ),
    "ksm_stat": TaskFile(
        reflects="nothing: always 0",
        mode=0o400,
        render=render_ksm_stat,
        seek=Seek.SEQ,
        there=_has_ksm_stat,
    ),
}
