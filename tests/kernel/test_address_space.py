# SPDX-License-Identifier: MIT
"""The mappings of an address space add up to its sizes, whatever these are."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fakeproc.kernel.address_space import (
    TASK_SIZE,
    AddressSpace,
    Area,
    Mapping,
    page_number,
    shape_of,
)
from fakeproc.kernel.profile import PROFILE_NAMES, named
from fakeproc.kernel.task import MAX_VM_PAGES, PAGE_BYTES, MemorySizes, Mm, sizes_for

EXE = "/usr/bin/web"
pages = st.one_of(st.integers(0, 600), st.integers(0, 1 << 28))
kernels = st.sampled_from(PROFILE_NAMES)


@st.composite
def all_sizes(draw: st.DrawFn) -> MemorySizes:
    anon, file, shmem, swap = (draw(pages) for _ in range(4))
    spare = draw(st.one_of(st.just(0), pages, st.integers(0, MAX_VM_PAGES - (1 << 30))))
    return MemorySizes(
        total_vm_pages=anon + file + shmem + swap + spare,
        anon_pages=anon,
        file_pages=file,
        shmem_pages=shmem,
        swap_entries=swap,
        mlocked_pages=draw(st.integers(0, anon)),
    )


def areas_of(mm: Mm, kernel: str) -> list[Area]:
    return [mapping.area for mapping in AddressSpace(mm, named(kernel), EXE).mappings]


@given(kernels, all_sizes(), st.lists(st.binary(max_size=9000), max_size=3))
@example("6.18", MemorySizes(), [])
@example("6.18", MemorySizes(total_vm_pages=MAX_VM_PAGES), [])
def test_the_mappings_add_up_to_the_sizes(
    kernel: str, sizes: MemorySizes, words: list[bytes]
) -> None:
    mm = Mm(7, sizes, cmdline=tuple(words))
    areas = areas_of(mm, kernel)
    assert sum(area.pages for area in areas) == sizes.total_vm_pages
    assert sum(area.anon_pages for area in areas) == sizes.anon_pages
    assert sum(area.file_pages for area in areas) == sizes.file_pages
    assert sum(area.shmem_pages for area in areas) == sizes.shmem_pages
    assert sum(area.swap_entries for area in areas) == sizes.swap_entries
    assert sum(area.anon_pages for area in areas if area.is_locked) == sizes.mlocked_pages
    assert all(0 < area.pages >= area.rss_pages + area.swap_entries for area in areas)
    assert all(area.perms[1] == "w" or not area.swap_entries for area in areas)


@given(kernels, all_sizes(), st.integers(0, 1 << 40))
def test_the_mappings_are_apart_and_in_order(kernel: str, sizes: MemorySizes, number: int) -> None:
    mappings = AddressSpace(Mm(number, sizes), named(kernel), EXE).mappings
    assert all(before.end <= after.start for before, after in pairwise(mappings))
    assert all(0 < mapping.start < mapping.end <= TASK_SIZE for mapping in mappings)


@given(kernels, all_sizes())
def test_the_kinds_of_memory_are_those_of_the_mappings(kernel: str, sizes: MemorySizes) -> None:
    mm = Mm(7, sizes)
    areas, shape = areas_of(mm, kernel), shape_of(mm, named(kernel))
    text = sum(area.pages for area in areas if area.perms == "r-xp")
    written = sum(area.pages for area in areas if area.perms == "rw-p")
    assert shape.code_pages + shape.library_pages == text
    assert shape.data_pages + shape.stack_pages == written


def test_a_usual_program_has_what_a_usual_program_maps() -> None:
    space = AddressSpace(Mm(7, sizes_for(anon_pages=100, file_pages=600)), named("6.18"), EXE)
    paths = list(dict.fromkeys(mapping.path for mapping in space.mappings))
    assert paths == [
        EXE,
        "[heap]",
        "/usr/lib/locale/locale-archive",
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
        "",
        "[vvar]",
        "[vvar_vclock]",
        "[vdso]",
        "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
        "[stack]",
    ]
    assert [m.area.perms for m in space.mappings if m.path == EXE] == [
        *("r--p", "r-xp", "r--p", "r--p", "rw-p"),
    ]


def test_the_addresses_of_mm_struct_are_in_their_mappings() -> None:
    mm = Mm(7, sizes_for(anon_pages=100, file_pages=300), cmdline=(b"web", b"-d"))
    space = AddressSpace(mm, named("6.18"), EXE)

    def at(address: int) -> tuple[str, str]:
        mapping = space.mapping_at(address)
        assert mapping is not None
        return mapping.path, mapping.area.perms

    assert at(space.start_code) == at(space.end_code - 1) == (EXE, "r-xp")
    assert (at(space.start_data), at(space.end_data - 1)) == ((EXE, "r--p"), (EXE, "rw-p"))
    assert at(space.start_brk) == ("[heap]", "rw-p")
    assert at(space.start_stack) == at(space.arg_start) == at(space.env_end) == ("[stack]", "rw-p")
    assert space.arg_end - space.arg_start == len(b"web\0-d\0")
    assert at(space.vdso_start) == ("[vdso]", "r-xp")
    assert space.mapping_at(space.program_base - 1) is None


def test_where_the_vdso_lies_has_changed() -> None:
    mm = Mm(7, sizes_for(anon_pages=100))
    assert [m.path for m in AddressSpace(mm, named("6.1"), EXE).mappings][-3:] == [
        *("[stack]", "[vvar]", "[vdso]"),
    ]
    assert AddressSpace(mm, named("6.18"), EXE).mappings[-1].path == "[stack]"


def test_chance_is_the_same_each_time_and_another_for_each_mm() -> None:
    sizes, profile = sizes_for(anon_pages=100), named("6.18")
    first = AddressSpace(Mm(7, sizes), profile, EXE).mappings
    assert AddressSpace(Mm(7, sizes), profile, EXE).mappings == first
    others = {AddressSpace(Mm(number, sizes), profile, EXE).mappings[0] for number in range(100)}
    assert len(others) == 100


def test_more_than_47_bits_address_is_refused() -> None:
    assert MemorySizes(total_vm_pages=MAX_VM_PAGES).problem() == ""
    assert MemorySizes(total_vm_pages=MAX_VM_PAGES + 1).problem()


@pytest.mark.parametrize("everywhere", [False, True])
def test_shared_pages_have_one_frame_for_all(everywhere: bool) -> None:
    area = Area("/lib", "r--p", 4, "", file_pages=4, everywhere=everywhere)

    def frame(start: int, owner: int, page: int) -> int:
        mapping = Mapping(start, start + 4 * PAGE_BYTES, area.path, area)
        return page_number(mapping, page, owner, 1 << 20)

    assert (frame(0x1000, 1, 2) == frame(0x9000, 2, 2)) == everywhere
    assert frame(0x1000, 1, 2) != frame(0x1000, 1, 3)
