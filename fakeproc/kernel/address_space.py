# SPDX-License-Identifier: MIT
"""Where the pages of an address space lie: the mappings behind maps, smaps and pagemap.

An mm has sizes only (`MemorySizes`).  What it looks like inside is worked out when somebody
asks, and is the same each time: `shape_of` deals the pages out to mappings, `AddressSpace`
gives these addresses.

The pages are dealt to what a small dynamic program maps, in this order: mlocked memory, the
program, its stack, the vDSO, the loader, libc, a locale archive, the heap, and what is left to
mappings of its own.  File pages go to mapped files, in order of that list, and shared memory to one
mapping of /dev/zero.  Anonymous pages go to the written parts of the files and the stack, as
far as a small program touches them; then to the heap, and beyond `HEAP_PAGES` to an anonymous
mapping; so do the swapped ones.  What has no page comes out of what the address space has
beyond its pages; where that is little, mappings are smaller or missing.  The sums are the
sizes of the mm, exactly.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate

from fakeproc.kernel.profile import Profile
from fakeproc.kernel.task import PAGE_BYTES, MemorySizes, Mm, encode_name

TASK_SIZE = (1 << 47) - PAGE_BYTES
"""Where addresses of user space end (x86-64)."""

HEAP_PAGES = 128 * 256
"""How many pages lie in the heap before malloc takes mappings for them."""

VSYSCALL = 0xFFFFFFFFFF600000

_EXE = "the program"
_LIBC = "/usr/lib/x86_64-linux-gnu/libc.so.6"
_LOADER = "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
_LOCALE = "/usr/lib/locale/locale-archive"
_DATA = "/var/cache/data"
SHARED_MEMORY = "/dev/zero (deleted)"

_STACK_PAGES = 33
_STACK_TOUCHED_PAGES = 4
_BSS_PAGES = 13
_BSS_TOUCHED_PAGES = 5
_LOCALE_PAGES = 743
_TOP_PAD_PAGES = 32
"""How much more than it needs the heap takes at once (M_TOP_PAD of glibc)."""
_VDSO_PAGES = 2
_RESERVED_PAGES = 1 << 33
"""What is reserved beyond that lies below the program: so much always fits above the heap."""

# The segments of a file: its three of text and constants, then the two that are written.
_EXE_PAGES = (2, 5, 3, 1, 1)
_LIBC_PAGES = (38, 342, 83, 4, 2)
_LOADER_PAGES = (1, 38, 10, 2, 2)

_LOWEST = 0x10000
_ELF_BASE = 0x555555554000
_STACK_TOP = TASK_SIZE - 64 * PAGE_BYTES
_MMAP_BASE = TASK_SIZE - (16 << 30) - (9 << 20)
"""Below the stack wherever chance puts it, and its limit of 8 MiB (mmap_base of x86)."""


@dataclass(frozen=True, slots=True)
class Area:
    """A mapping that has no address yet.  Sizes are in pages."""

    path: str
    """A file, a name in brackets, or nothing for anonymous memory."""
    perms: str
    """As in maps: ``r-xp``."""
    pages: int
    flags: str
    """As in the VmFlags of smaps."""
    offset_pages: int = 0
    anon_pages: int = 0
    file_pages: int = 0
    shmem_pages: int = 0
    swap_entries: int = 0
    everywhere: bool = False
    """The file pages are those of every other address space as well."""

    @property
    def rss_pages(self) -> int:
        """What of it is in memory."""
        return self.anon_pages + self.file_pages + self.shmem_pages

    @property
    def is_locked(self) -> bool:
        """Say whether it is under mlock(2)."""
        return " lo " in self.flags

    @property
    def is_written(self) -> bool:
        """Say whether it is data of a file, also where it is read-only by now (relro)."""
        return " ac " in self.flags

    @property
    def is_special(self) -> bool:
        """Say whether it has no pages that can be counted or looked at (vvar)."""
        return " pf " in self.flags


@dataclass(frozen=True)
class Shape:
    """The mappings of an mm: where each group of them lies, and what they add up to (pages)."""

    lowest: tuple[Area, ...]
    program: tuple[Area, ...]
    heap: tuple[Area, ...]
    below_stack: tuple[Area, ...]
    """From the top down, as mmap(2) gives addresses."""
    stack: tuple[Area, ...]

    def _all(self) -> Iterator[Area]:
        for group in (self.lowest, self.program, self.heap, self.below_stack, self.stack):
            yield from group

    @cached_property
    def code_pages(self) -> int:
        """The text of the program (VmExe)."""
        return sum(area.pages for area in self.program if area.perms == "r-xp")

    @cached_property
    def library_pages(self) -> int:
        """Text that is not the program's (VmLib)."""
        return sum(area.pages for area in self._all() if area.perms == "r-xp") - self.code_pages

    @cached_property
    def data_pages(self) -> int:
        """What is private and can be written, but for the stack (VmData)."""
        writable = (area.pages for area in self._all() if area.perms == "rw-p")
        return sum(writable) - self.stack_pages

    @cached_property
    def stack_pages(self) -> int:
        """The stack (VmStk)."""
        return sum(area.pages for area in self.stack if area.path == "[stack]")


@dataclass(slots=True)
class _Supply:
    """What is still to be dealt out."""

    anon: int
    file: int
    shmem: int
    swap: int
    spare: int
    """Address space for which there is no page."""
    denies_write: bool
    """The kernel marks what it maps itself with VM_DENYWRITE."""

    def file_area(self, path: str, perms: str, wanted: int, offset: int, flags: str) -> Area:
        """Map so much of a file, as far as there are pages or address space for it."""
        resident = min(wanted, self.file)
        hole = min(wanted - resident, self.spare)
        self.file -= resident
        self.spare -= hole
        everywhere = path in (_LIBC, _LOADER, _LOCALE)
        return Area(
            path, perms, resident + hole, flags, offset, file_pages=resident, everywhere=everywhere
        )

    def anon_area(
        self, path: str, perms: str, wanted: int, flags: str, *, touched: int, offset: int = 0
    ) -> Area:
        """The same with private memory that has been written, at most ``touched`` of it."""
        resident = min(touched, wanted, self.anon)
        hole = min(wanted - resident, self.spare)
        self.anon -= resident
        self.spare -= hole
        return Area(path, perms, resident + hole, flags, offset, anon_pages=resident)

    def hole(self, path: str, perms: str, wanted: int, flags: str) -> Area:
        """Take address space only."""
        pages = min(wanted, self.spare)
        self.spare -= pages
        return Area(path, perms, pages, flags)

    def filled(self, path: str, limit: int, pad: int) -> Area:
        """Return anonymous memory with what is left, up to a limit, and some room behind it."""
        resident = min(self.anon, limit)
        swapped = min(self.swap, limit - resident)
        hole = min(self.spare, pad) if resident + swapped or path else 0
        self.anon -= resident
        self.swap -= swapped
        self.spare -= hole
        return Area(
            path,
            "rw-p",
            resident + swapped + hole,
            "rd wr mr mw me ac ",
            anon_pages=resident,
            swap_entries=swapped,
        )

    def elf(self, path: str, segments: tuple[int, ...]) -> list[Area]:
        """Map a program or a library as the loader does, from low addresses up."""
        # VM_DENYWRITE is for what the kernel maps itself.
        mark = "dw " if self.denies_write and path != _LIBC else ""
        headers, text, constants, relro, data = segments
        offsets = list(accumulate(segments, initial=0))
        read, write = "rd mr mw me " + mark, "rd wr mr mw me " + mark + "ac "
        return [
            self.file_area(path, "r--p", headers, offsets[0], read),
            self.file_area(path, "r-xp", text, offsets[1], "rd ex mr mw me " + mark),
            self.file_area(path, "r--p", constants, offsets[2], read),
            self.anon_area(path, "r--p", relro, read + "ac ", touched=relro, offset=offsets[3]),
            self.anon_area(path, "rw-p", data, write, touched=data, offset=offsets[4]),
        ]


def shape_of(mm: Mm, profile: Profile) -> Shape:
    """Deal the pages of an mm out to mappings, by the rule at the top of this module."""
    argument_pages = _arguments_bytes(mm) // PAGE_BYTES
    return _shape(
        mm.sizes,
        _STACK_PAGES + argument_pages,
        vdso_by_mmap=profile.vdso_by_mmap,
        vvar_pages=profile.vvar_pages,
        vclock_pages=profile.vvar_vclock_pages,
        denies_write=profile.exec_denies_write,
    )


@lru_cache(maxsize=256)  # ps asks for it twice for each process
def _shape(
    sizes: MemorySizes,
    stack_pages: int,
    *,
    vdso_by_mmap: bool,
    vvar_pages: int,
    vclock_pages: int,
    denies_write: bool,
) -> Shape:
    supply = _Supply(
        anon=sizes.anon_pages - sizes.mlocked_pages,
        file=sizes.file_pages,
        shmem=sizes.shmem_pages,
        swap=sizes.swap_entries,
        spare=sizes.total_vm_pages - sizes.rss_pages - sizes.swap_entries,
        denies_write=denies_write,
    )
    locked = Area(
        "", "rw-p", sizes.mlocked_pages, "rd wr mr mw me lo ac ", anon_pages=sizes.mlocked_pages
    )
    program = supply.elf(_EXE, _EXE_PAGES)
    stack = supply.anon_area(
        "[stack]", "rw-p", stack_pages, "rd wr mr mw me gd ac ", touched=_STACK_TOUCHED_PAGES
    )
    vdso = [
        supply.hole("[vdso]", "r-xp", _VDSO_PAGES, "rd ex mr mw me de "),
        supply.hole("[vvar_vclock]", "r--p", vclock_pages, "rd mr pf io de dd "),
        supply.hole("[vvar]", "r--p", vvar_pages, "rd mr pf io de dd "),
    ]
    loader = supply.elf(_LOADER, _LOADER_PAGES)
    libc = supply.elf(_LIBC, _LIBC_PAGES)
    bss = supply.anon_area("", "rw-p", _BSS_PAGES, "rd wr mr mw me ac ", touched=_BSS_TOUCHED_PAGES)
    locale = supply.file_area(_LOCALE, "r--p", _LOCALE_PAGES, 0, "rd mr mw me ")
    heap = supply.filled("[heap]", HEAP_PAGES, _TOP_PAD_PAGES)
    rest = [
        supply.file_area(_DATA, "r--s", supply.file, 0, "rd mr me ms "),
        Area(
            SHARED_MEMORY,
            "rw-s",
            supply.shmem,
            "rd wr sh mr mw me ms ",
            shmem_pages=supply.shmem,
        ),
        locked,
        supply.filled("", supply.anon + supply.swap, 0),
        supply.hole("", "---p", _RESERVED_PAGES, "mr mw me nr "),
    ]
    by_mmap = [*reversed(loader), *(vdso if vdso_by_mmap else ()), bss, *reversed(libc), locale]
    return Shape(
        lowest=_there([supply.hole("", "---p", supply.spare, "mr mw me nr ")]),
        program=_there(program),
        heap=_there([heap]),
        below_stack=_there([*by_mmap, *rest]),
        stack=_there([stack, *(() if vdso_by_mmap else reversed(vdso))]),
    )


def _there(areas: Iterable[Area]) -> tuple[Area, ...]:
    return tuple(area for area in areas if area.pages)


# -- Addresses ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mapping:
    """A mapping at its place; addresses are in bytes."""

    start: int
    end: int
    path: str
    area: Area

    @property
    def has_file(self) -> bool:
        """Say whether a file is behind it: it has a link in map_files."""
        return self.path.startswith("/")


class AddressSpace:
    """The mappings of an mm by address, and what the kernel notes of them (mm_struct).

    As the kernel does it for a position-independent program: the program and its heap far
    down, files from `_MMAP_BASE` downwards, the stack at the top, each moved at random.
    Chance comes from the number of the mm.
    """

    def __init__(self, mm: Mm, profile: Profile, exe: str, environ_bytes: int = 0) -> None:
        self._exe = exe
        self._shape = shape_of(mm, profile)
        self._chance = _scatter(mm.id)
        program = self._upwards(
            _ELF_BASE + (self._chance & 0xFFFFFFF) * PAGE_BYTES, self._shape.program
        )
        text = [mapping for mapping in program if mapping.area.perms == "r-xp"]
        data = [mapping for mapping in program if mapping.area.is_written]
        self._program = program
        self.start_code = text[0].start if text else 0
        self.end_code = text[0].end if text else 0
        self.start_data = data[0].start if data else 0
        self.end_data = data[-1].end if data else 0
        program_end = program[-1].end if program else _ELF_BASE
        self.start_brk = program_end + ((self._chance >> 28 & 0x1FFF) + 1) * PAGE_BYTES
        self._stack_end = _STACK_TOP - (self._chance >> 41 & 0x3FFFFF) * PAGE_BYTES
        # From the top: a word of zeros, the path of the program, the environment, the arguments.
        self.env_end = self._stack_end - 8 - len(encode_name(exe)) - 1
        self.env_start = self.arg_end = self.env_end - environ_bytes
        self.arg_start = self.arg_end - _arguments_bytes(mm)
        self.start_stack = (self.arg_start - 0x400) & ~15

    @cached_property
    def mappings(self) -> tuple[Mapping, ...]:
        """All of them, ascending, but for the vsyscall page, which is none of the mm."""
        shape = self._shape
        stack_start = self._stack_end - shape.stack_pages * PAGE_BYTES
        return (
            *self._upwards(_LOWEST, shape.lowest),
            *self._program,
            *self._upwards(self.start_brk, shape.heap),
            *reversed(self._below_stack),
            *self._upwards(stack_start, shape.stack),
        )

    @cached_property
    def _below_stack(self) -> list[Mapping]:
        end = _MMAP_BASE - (_scatter(self._chance) & 0xFFFFFFF) * PAGE_BYTES
        mappings = []
        for area in self._shape.below_stack:
            start = end - area.pages * PAGE_BYTES
            mappings.append(Mapping(start, end, area.path, area))
            end = start
        return mappings

    def _upwards(self, start: int, areas: Iterable[Area]) -> list[Mapping]:
        mappings = []
        for area in areas:
            end = start + area.pages * PAGE_BYTES
            path = self._exe if area.path == _EXE else area.path
            mappings.append(Mapping(start, end, path, area))
            start = end
        return mappings

    @property
    def program_base(self) -> int:
        """Where the program lies; 0: there is no room for it."""
        return self._program[0].start if self._program else 0

    @property
    def loader_base(self) -> int:
        """Where the loader lies; 0: there is no room for it."""
        return min((m.start for m in self._below_stack if m.path == _LOADER), default=0)

    @property
    def vdso_start(self) -> int:
        """Where the vDSO lies; 0: there is no room for it."""
        return min((m.start for m in self.mappings if m.path == "[vdso]"), default=0)

    @cached_property
    def _starts(self) -> list[int]:
        return [mapping.start for mapping in self.mappings]

    def mapping_at(self, address: int) -> Mapping | None:
        """Return the mapping that an address is in."""
        index = bisect_right(self._starts, address) - 1
        if index >= 0 and address < self.mappings[index].end:
            return self.mappings[index]
        return None


def vsyscall(profile: Profile) -> Mapping:
    """Return the page at the top of every address space."""
    readable = profile.vsyscall_readable
    area = Area(
        "[vsyscall]",
        "r-xp" if readable else "--xp",
        1,
        "rd ex " if readable else "ex ",
    )
    return Mapping(VSYSCALL, VSYSCALL + PAGE_BYTES, area.path, area)


def _arguments_bytes(mm: Mm) -> int:
    return sum(map(len, mm.cmdline)) + len(mm.cmdline)


def _scatter(number: int) -> int:
    """Return 64 bits that look like chance (the finish of splitmix64)."""
    number = (number + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    number = (number ^ number >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return number ^ number >> 31


def page_number(mapping: Mapping, page: int, owner: int, limit: int) -> int:
    """Return the page frame of a page of a mapping, made up: below ``limit``, which is not 0.

    Shared pages have one for all owners (the numbers of their mms).  Nothing keeps different
    pages from having the same.
    """
    of_all = mapping.area.everywhere
    # Names have other hashes in each run of Python.
    who = sum(encode_name(mapping.path)) if of_all else owner
    where = mapping.area.offset_pages if of_all else mapping.start // PAGE_BYTES
    return _scatter(who << 40 ^ where + page) % limit
