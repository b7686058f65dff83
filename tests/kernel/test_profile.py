# SPDX-License-Identifier: MIT
"""The kernel generations, against the table of the reference, and the six patches one by one."""

from __future__ import annotations

import errno
import itertools
import re
from dataclasses import fields

import pytest

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.profile import (
    DEFAULT_PROFILE,
    HISTORY,
    PATCHES,
    PROFILE_NAMES,
    KernelConfig,
    Profile,
    Value,
    named,
    nearest_name,
    render_value,
)

# Section 10 of the reference, verbatim.  v2 is 4.7 with the six patches as posted; "=" is
# the cell to the left; [n] is the patch that brings a value; small digits are footnotes.
TABLE = """
| Switch | 4.4 | 4.7 | v2 | 4.8 | 4.9 | 4.14 | 4.19 | 5.0 | 5.4 | 5.10 | 5.15 | 6.1 | 6.18 |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
| write_needs_task_mm (EINVAL) | T | T | F [1] | = | = | = | = | = | = | = | = | = | = |
| propagate_to_sharers | F | F | T [3] | = | = | = | = | = | = | = | = | = | = |
| propagate_trigger | – | – | users>1 [3] | = | = | = | = | = | = | MULTIPROCESS | = | = | = |
| propagate_hits_own_group (self log) | – | – | T [3] | F | = | = | = | = | = | = | = | = | = |
| propagate_hits_init | – | – | T [3] | F | = | = | = | = | = | = | = | = | = |
| propagate_log | – | – | T [3] | T | T | T | T¹ | F | F | F | F | F | F |
| clone_vm_recopies_adj | F | F | F | F | F | F | F | F | F | T | = | = | = |
| vfork_exempt | none | none | done-only [4] | done+mm | = | = | = | = | = | = | = | = | = |
| hidden_mm_flag | none | REAPED | REAPED | REAPED | SKIP | = | = | = | = | = | = | = | = |
| admin_discount_3pct | T | T | T | T | T | T | F | = | = | = | = | = | = |
| badness_signed / clamp_min_1 | clamp | clamp | clamp | clamp | clamp | clamp | clamp | clamp | clamp | signed² | = | = | = |
| score_presentation | ×1000/total | = | = | = | = | = | = | = | = | (1000+x)·2/3² | = | = | = |
| scan_unit_global / memcg | thr/thr | proc/thr | = | = | = | = | = | = | proc/proc³ | = | = | = | = |
| tie_global | first | last | last | last | first | = | = | = | last³ | = | = | = | = |
| tie_memcg | first | first | first | first | first | = | = | = | last³ | = | = | = | = |
| inflight_rule | memdie | victims | victims | victims, REAPED skipped | oom_mm, SKIP skipped | = | = | = | = | = | = | = | = |
| exiting_task_aborts_scan | T | F | F | F | = | = | = | = | = | = | = | = | = |
| current_bypass | fatal or exiting | = | will_free_v2 [6] | will_free | = | = | = | = | = | = | = | = | = |
| will_free_scope | group | group | unfiltered bug [6] | sharers | = | = | = | = | = | = | = | = | = |
| will_free_false_if_hidden | F | F | F | T | = | = | = | = | = | = | = | = | = |
| sharer_minus1000 | spare | spare+noreap | kill [5] | kill | = | = | = | = | = | = | = | = | = |
| warn_when_sharer_adj_minus16 | F | F | T [5] | F | = | = | = | = | = | = | = | = | = |
| sharer_init_hides_mm | F | F | F | T | = | = | = | = | = | = | = | = | = |
| sharer_kthread | skip | skip+noreap | skip+noreap | hide+noreap | skip | = | = | = | = | = | = | = | = |
| child_sacrifice + "Kill process" line | T | T | T | T | T | T | T | T | F | = | = | = | = |
| reaper_after_bypass | none | if all dying | always [6] | always | = | = | = | = | = | = | = | = | = |
| reaper_delay_s | – | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0⁴ | 0⁴ | 2 | 2 |
| reaper_after | – | clear memdie | = | + give-up on 2nd | set SKIP | = | = | = | = | = | = | = | = |
| reap_mlocked | – | F | F | F | F | F | F | F | F | F | F | T | T |
| process_mrelease | F | F | F | F | F | F | F | F | F | F | T | T | T |
| memory_oom_group | F | F | F | F | F | F | T | T | T | T | T | T | T |
| oom_group_kill event | F | F | F | F | F | F | F | F | F | F | F | T | T |
| count_oom_kill (vmstat, memcg) | F | F | F | F | F | T | T | T | T | T | T | T | T |
| log_no_killable always / panic text | old | old | old | old | old | old | new | new | new | new | new | new | new |
| header_nodemask | F | F | F | F | T | T | T | F | F | F | F | F | F |
| oom_kill_summary_line | F | F | F | F | F | F | F | T | T | T | T | T | T |
| table_format | nr_ptes | nr_ptes | nr_ptes | nr_ptes | nr_ptes | nr_ptes | pgtables | = | = | = | = | = | rss split |
| killed_line | no shmem | shmem | = | = | = | = | = | = | +msg,UID,pgt | = | = | = | = |
| already_exiting_line | F | F | F | F | F | F | F | F | F | T² | T | T | T |
| psi_file / psi_unprivileged_trigger | F/F | F/F | F/F | F/F | F/F | F/F | F/F | T/F | T/F | T/F | T/F | T/F | T/T |
"""  # noqa: E501

COLUMNS = {"v2": "series-as-posted"}
"""Profiles that the table calls by another name."""

# What the cells mean in the code, where they are not T, F or a dash.  A row that the table gives
# two names is two switches, its cells divided by a slash.
WORDS: dict[str, dict[str, Value]] = {
    "propagate_trigger": {"–": "never"},
    "badness_signed": {"clamp": False, "signed": True},
    "score_presentation": {"×1000/total": "x*1000/total", "(1000+x)·2/3": "(1000+x)*2/3"},
    "scan_unit_global": {"thr": "thread", "proc": "process"},
    "scan_unit_memcg": {"thr": "thread", "proc": "process"},
    "will_free_scope": {"unfiltered bug": "unfiltered"},
    "reaper_delay_s": {"–": 0, "0": 0, "2": 2},
    "reaper_after": {
        "–": "none",
        "+ give-up on 2nd": "clear memdie, give up on 2nd",
    },
    "log_no_killable": {"old": "panic only", "new": "always"},
    "killed_line": {"+msg,UID,pgt": "message, UID, pgtables"},
}
NAMES = {
    "write_needs_task_mm (EINVAL)": ["write_needs_task_mm"],
    "propagate_hits_own_group (self log)": ["propagate_hits_own_group"],
    "badness_signed / clamp_min_1": ["badness_signed"],
    "scan_unit_global / memcg": ["scan_unit_global", "scan_unit_memcg"],
    'child_sacrifice + "Kill process" line': ["child_sacrifice"],
    "oom_group_kill event": ["oom_group_kill_event"],
    "count_oom_kill (vmstat, memcg)": ["count_oom_kill"],
    "log_no_killable always / panic text": ["log_no_killable"],
    "psi_file / psi_unprivileged_trigger": ["psi_file", "psi_unprivileged_trigger"],
}
"""Rows whose first cell is more than the name of a switch."""

LOG_AND_COUNTERS = {
    "cpu_line_uid",
    "lru_of_the_node",
    "memcg_charges_pagetables",
    "memcg_stats",
    "memory_events_hierarchical",
    "memory_events_local",
    "swap_cache_stats",
    "unreclaimable_slab_table",
    "watermark_scale_factor",
}
"""What the log and the counters show (reference 7 and 8); tests/kernel/test_oom_report.py."""

FILES_OF_A_TASK = {
    "arch_status_file",
    "attr_write_checks_mm",
    "fd_size_is_count",
    "fdinfo_by_ptrace",
    "fdinfo_inode",
    "frozen_flag",
    "idle_state",
    "kswapd_flag",
    "load_weight_scale",
    "mlock_limit_kib",
    "namespace_inodes",
    "namespaces",
    "patch_state_file",
    "postcoredump_flag",
    "resctrl_file",
    "sched_runnable_lines",
    "sched_slice_line",
    "sched_util_est",
    "stack_needs_admin",
    "swapwrite_flag",
    "timers_by_ptrace",
    "timerslack_file",
    "vfork_wchan",
}
"""What /proc/<pid> shows beside memory; tests/procfs/test_task_files.py."""

FILES_ABOUT_MEMORY = {
    "lowmem_reserve_may_be_off",
    "pcp_batch_doubled",
    "pcp_high_of_the_zone",
    "pcp_high_tuned",
    "swaps_aligned",
    "zoneinfo_unpopulated",
}
"""What zoneinfo, swaps and sys/vm show; tests/procfs/test_memory_files.py."""
ADDRESS_SPACES = {
    "exec_denies_write",
    "smaps_rollup",
    "smaps_thp_eligible",
    "vdso_by_mmap",
    "vsyscall_readable",
    "vvar_pages",
    "vvar_vclock_pages",
}

FORMATS = {"diskstats_columns", "schedstat_version"}
"""What files look like that have nothing to do with memory; tests/procfs/test_system_files.py."""

NOT_IN_THE_TABLE = (
    FILES_ABOUT_MEMORY
    | FILES_OF_A_TASK
    | FORMATS
    | LOG_AND_COUNTERS
    | ADDRESS_SPACES
    | {
        "admin_discount_base",
        "allocstall_by_zone",
        "available_keeps_reserves",
        "eligible_in_badness",
        "fault_gfp_comp",
        "gfp_names",
        "header_nodemask_form",
        "interleave_confines",
        "mem_open_needs_mm",
        "memcg_lets_dying_pass",
        "memcg_of_mm_owner",
        "memcg_walk",
        "min_free_kib_max",
        "nofs_returns",
        "nofs_spares_memcg",
        "oom_adj_read_clamped",
        "points_per_mille",
        "psi_cpu_full_line",
        "psi_triggers",
        "psi_window_min_us",
        "refaults_of_anon",
        "rss_in_batches",
        "sysrq_nobody_line",
    }
)
"""Found in the recordings of real kernels later (reference 13.1, and those of 6.18), or said
in the text of the reference (5.1, 5.3) and by the patches that HISTORY names, or found in
reports of kernels before 4.4."""

SERIES_SWITCHES = {
    1: {"write_needs_task_mm"},
    2: set(),
    3: {
        "propagate_to_sharers",
        "propagate_trigger",
        "propagate_hits_own_group",
        "propagate_hits_init",
        "propagate_log",
    },
    4: {"vfork_exempt"},
    5: {"sharer_minus1000", "warn_when_sharer_adj_minus16"},
    6: {"current_bypass", "will_free_scope", "reaper_after_bypass"},
}
"""What each patch flips: the sub-profiles below the table of the reference."""


def table_cells() -> list[tuple[str, str, Value]]:
    """Return profile, switch and value of each cell of the table."""
    header, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in TABLE.strip().splitlines()
    ]
    profiles = [COLUMNS.get(name, name) for name in header[1:]]
    cells = []
    for name, *row in rows:
        switches = NAMES.get(name, [name])
        written: list[str] = []
        for cell in row:
            written.append(written[-1] if cell == "=" else cell)
        for profile, cell in zip(profiles, written, strict=True):
            text = re.sub(r"[¹²³⁴]| \[\d\]", "", cell)
            parts = text.split("/") if len(switches) == 2 else [text]
            cells += [
                (profile, switch, value_of(switch, part))
                for switch, part in zip(switches, parts, strict=True)
            ]
    return cells


def value_of(switch: str, text: str) -> Value:
    """Translate a cell to the value of the switch."""
    meaning: dict[str, Value] = {"T": True, "F": False, "–": False, **WORDS.get(switch, {})}
    return meaning.get(text, text)


def switches_of(profile: Profile) -> dict[str, Value]:
    """Return the switches of a profile, without its name and version."""
    return {name: getattr(profile, name) for name in HISTORY}


def differing(a: Profile, b: Profile) -> set[str]:
    return {name for name in HISTORY if getattr(a, name) != getattr(b, name)}


# -- The table ---------------------------------------------------------------------


@pytest.mark.parametrize(("profile", "switch", "value"), table_cells())
def test_a_profile_has_the_value_of_the_table(profile: str, switch: str, value: Value) -> None:
    assert getattr(named(profile), switch) == value


def test_the_table_speaks_of_every_switch_and_every_profile_but_the_default() -> None:
    cells = table_cells()
    assert {switch for _, switch, _ in cells} == set(HISTORY) - NOT_IN_THE_TABLE
    assert {profile for profile, _, _ in cells} == set(PROFILE_NAMES) - {DEFAULT_PROFILE}


@pytest.mark.parametrize("name", PROFILE_NAMES)
def test_switches_that_only_the_recordings_showed(name: str) -> None:
    profile = named(name)
    assert profile.oom_adj_read_clamped == (name in ("5.10", "5.15", "6.1", "6.18"))
    assert profile.memcg_of_mm_owner == (profile.version < (5, 3))
    assert profile.rss_in_batches == (name == "6.18")
    assert profile.gfp_names == (name not in ("3.10", "3.18", "4.4"))


# -- The profiles ------------------------------------------------------------------


def test_the_default_is_the_series_on_4_7_as_it_was_merged() -> None:
    series, merged = named("series"), named("4.8")
    assert KernelConfig().base == DEFAULT_PROFILE == "series"
    flipped = set().union(*SERIES_SWITCHES.values())
    assert {name: getattr(series, name) for name in flipped} == {
        name: getattr(merged, name) for name in flipped
    }
    assert differing(series, named("4.7")) == flipped - {
        "propagate_hits_own_group",
        "propagate_hits_init",
        "warn_when_sharer_adj_minus16",
    }


def test_the_posting_differs_from_the_series_in_its_defects_alone() -> None:
    assert differing(named("series"), named("series-as-posted")) == {
        "propagate_hits_own_group",
        "propagate_hits_init",
        "vfork_exempt",
        "warn_when_sharer_adj_minus16",
        "current_bypass",
        "will_free_scope",
    }


@pytest.mark.parametrize("name", PROFILE_NAMES)
def test_name_version_and_release_belong_together(name: str) -> None:
    profile = named(name)
    assert profile.name == name
    assert profile.release.startswith("{}.{}.".format(*profile.version))


def test_every_field_of_a_profile_is_a_switch() -> None:
    assert {field.name for field in fields(Profile)} - {"name", "version", "release"} == set(
        HISTORY
    )


@pytest.mark.parametrize(
    ("version", "name"),
    [
        ((3, 10), "4.4"),
        ((4, 4), "4.4"),
        ((4, 6), "4.4"),
        ((4, 7), "4.7"),
        ((4, 8), "4.8"),
        ((4, 13), "4.9"),
        ((4, 20), "4.19"),
        ((5, 3), "5.0"),
        ((6, 17), "6.1"),
        ((6, 18), "6.18"),
        ((7, 0), "6.18"),
    ],
)
def test_a_kernel_belongs_to_the_newest_generation_that_is_not_newer(
    version: tuple[int, int], name: str
) -> None:
    assert nearest_name(version) == name


# -- The patches -------------------------------------------------------------------


@pytest.mark.parametrize("base", PROFILE_NAMES)
@pytest.mark.parametrize("number", PATCHES)
def test_a_patch_flips_its_own_switches_and_no_others(base: str, number: int) -> None:
    config = KernelConfig(base)
    without = config.with_patch(number, on=False)
    with_it = config.with_patch(number, on=True)
    assert not without.has_patch(number)
    assert with_it.has_patch(number)
    assert differing(without.profile, with_it.profile) <= SERIES_SWITCHES[number]
    untouched = with_it if config.has_patch(number) else without
    assert untouched.profile == config.profile


@pytest.mark.parametrize("base", PROFILE_NAMES)
@pytest.mark.parametrize("number", PATCHES)
def test_without_a_patch_its_switches_are_those_from_before_the_series(
    base: str, number: int
) -> None:
    before = named("4.4" if base == "4.4" else "4.7")
    profile = KernelConfig(base).with_patch(number, on=False).profile
    for name in SERIES_SWITCHES[number]:
        assert getattr(profile, name) == getattr(before, name)


@pytest.mark.parametrize("on", list(itertools.product([False, True], repeat=6)), ids=str)
def test_any_choice_of_patches_on_4_7_is_the_sum_of_them(on: tuple[bool, ...]) -> None:
    config = KernelConfig("4.7")
    for number in PATCHES:
        config = config.with_patch(number, on=on[number - 1])
    flipped = set().union(*(SERIES_SWITCHES[n] for n in PATCHES if on[n - 1]))
    for name, value in switches_of(config.profile).items():
        assert value == getattr(named("series" if name in flipped else "4.7"), name), name


def test_all_patches_on_4_7_are_the_series_and_none_of_the_series_is_4_7() -> None:
    there, back = KernelConfig("4.7"), KernelConfig("series")
    for number in PATCHES:
        there, back = there.with_patch(number, on=True), back.with_patch(number, on=False)
    assert switches_of(there.profile) == switches_of(named("series"))
    assert switches_of(back.profile) == switches_of(named("4.7"))


def test_a_configuration_does_not_change() -> None:
    config = KernelConfig("4.7")
    before = config.states
    config.with_patch(1, on=True).with_switch("badness_signed", "yes")
    assert config.states == before
    assert config.profile == named("4.7")


def test_each_switch_says_where_its_value_comes_from() -> None:
    def origins(config: KernelConfig) -> dict[str, str]:
        return {state.name: state.origin for state in config.states}

    assert origins(KernelConfig("series"))["propagate_to_sharers"] == "patch 3"
    assert origins(KernelConfig("4.7"))["propagate_to_sharers"] == "4.4"
    assert origins(KernelConfig("series-as-posted"))["vfork_exempt"] == "patch 4 as posted"
    assert origins(KernelConfig("series-as-posted"))["write_needs_task_mm"] == "patch 1"
    assert origins(KernelConfig("6.1"))["propagate_trigger"] == "5.10"
    by_hand = KernelConfig("6.1").with_switch("tie_global", "first")
    assert origins(by_hand)["tie_global"] == "set by hand"


# -- Switches by hand --------------------------------------------------------------


@pytest.mark.parametrize("name", HISTORY)
def test_every_switch_takes_every_value_that_it_ever_had(name: str) -> None:
    for change in HISTORY[name]:
        for value in (change.value, change.posted):
            if value is not None:
                config = KernelConfig("series").with_switch(name, render_value(value))
                assert getattr(config.profile, name) == value
                assert differing(config.profile, named("series")) <= {name}


def test_a_switch_set_by_hand_outlives_a_patch() -> None:
    config = KernelConfig("4.7").with_switch("vfork_exempt", "done-only").with_patch(4, on=True)
    assert config.profile.vfork_exempt == "done-only"


# -- What is refused ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [("serie", "series"), ("series-as-post", "series-as-posted"), ("4.80", "4.8"), ("6.19", "6.1")],
)
def test_an_unknown_kernel_is_refused_with_the_nearest_name(wrong: str, nearest: str) -> None:
    with pytest.raises(Refused) as refused:
        KernelConfig(wrong)
    assert refused.value.error == errno.EINVAL
    assert f"{wrong!r}" in refused.value.why
    assert f"nearest: {nearest}" in refused.value.why
    assert refused.value.why.endswith(f"accepted: {', '.join(PROFILE_NAMES)}.")


def test_a_name_like_no_other_gets_no_hint() -> None:
    with pytest.raises(Refused) as refused:
        named("windows")
    assert "nearest" not in refused.value.why


@pytest.mark.parametrize("number", [-1, 0, 7])
def test_the_series_has_six_patches(number: int) -> None:
    with pytest.raises(Refused, match="patches 1 to 6") as refused:
        KernelConfig().with_patch(number, on=True)
    assert refused.value.error == errno.EINVAL


def test_an_unknown_switch_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(Refused, match="nearest: propagate_to_sharers") as refused:
        KernelConfig().with_switch("propagate_to_sharer", "yes")
    assert refused.value.error == errno.EINVAL


@pytest.mark.parametrize(
    ("name", "text", "accepted"),
    [
        ("badness_signed", "maybe", "accepted: no, yes."),
        ("badness_signed", "True", "accepted: no, yes."),
        ("reaper_delay_s", "1", "accepted: 0, 2."),
        ("vfork_exempt", "", "accepted: none, done+mm, done-only."),
    ],
)
def test_a_value_that_a_switch_never_had_is_refused(name: str, text: str, accepted: str) -> None:
    with pytest.raises(Refused) as refused:
        KernelConfig().with_switch(name, text)
    assert refused.value.error == errno.EINVAL
    assert refused.value.why == f"{name}={text}: {accepted}"
