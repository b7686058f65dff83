# SPDX-License-Identifier: MIT
"""Kernel generations: which behaviour changed when, and by which patch.

`HISTORY` is the one table.  Each switch has its changes in order of time; a profile is
what the changes up to its version, and the patches that it has, add up to.  The code
asks `if profile.propagate_to_sharers`, never for a version.

The six patches are those of Michal Hocko's series of 30 May 2016, "Handle oom bypass
more gracefully", v2.  Where a patch was merged (in 4.8) in another form than it was
posted, its `Change` gives both values.
"""

import errno
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from fakeproc.kernel.errors import Refused, not_known

Version = tuple[int, int]
Value = bool | int | str

PATCHES = {
    1: "proc, oom: drop bogus task_lock and mm check",
    2: "proc, oom_adj: extract oom_score_adj setting into a helper",
    3: "mm, oom_adj: make sure processes sharing mm have same view of oom_score_adj",
    4: "mm, oom: skip vforked tasks from being selected",
    5: "mm, oom: kill all tasks sharing the mm",
    6: "mm, oom: fortify task_will_free_mem",
}
"""The series, by number."""

_MERGED_IN: Version = (4, 8)

OLDEST: Version = (2, 6)
"""Whose reports can still be judged; a machine is mounted with 4.4 or later."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How one kernel behaves.  Every field but the first three is a switch of `HISTORY`."""

    name: str
    version: Version
    release: str

    # The write path of oom_adj and oom_score_adj.
    write_needs_task_mm: bool
    propagate_to_sharers: bool
    propagate_trigger: str
    propagate_hits_own_group: bool
    propagate_hits_init: bool
    propagate_log: bool
    clone_vm_recopies_adj: bool
    oom_adj_read_clamped: bool

    # Badness and its presentation.
    vfork_exempt: str
    hidden_mm_flag: str
    admin_discount_3pct: bool
    admin_discount_base: str
    points_per_mille: bool
    badness_signed: bool
    rss_in_batches: bool
    score_presentation: str

    # Selection.
    scan_unit_global: str
    scan_unit_memcg: str
    tie_global: str
    tie_memcg: str
    memcg_walk: str
    memcg_of_mm_owner: bool
    eligible_in_badness: bool
    interleave_confines: bool
    inflight_rule: str
    exiting_task_aborts_scan: bool
    nofs_returns: str
    nofs_spares_memcg: bool
    memcg_lets_dying_pass: bool
    current_bypass: str
    will_free_scope: str
    will_free_false_if_hidden: bool

    # Killing.
    sharer_minus1000: str
    warn_when_sharer_adj_minus16: bool
    sharer_init_hides_mm: bool
    sharer_kthread: str
    child_sacrifice: bool
    memory_oom_group: bool

    # The reaper.
    reaper_after_bypass: str
    reaper_delay_s: int
    reaper_after: str
    reap_mlocked: bool
    process_mrelease: bool

    # Counters and the log.
    oom_group_kill_event: bool
    count_oom_kill: bool
    log_no_killable: str
    sysrq_nobody_line: str
    gfp_names: bool
    header_nodemask: bool
    header_nodemask_form: str
    oom_kill_summary_line: bool
    table_format: str
    killed_line: str
    already_exiting_line: bool
    cpu_line_uid: bool
    lru_of_the_node: bool
    watermark_scale_factor: bool
    min_free_kib_max: int
    fault_gfp_comp: bool
    allocstall_by_zone: bool
    refaults_of_anon: bool
    zoneinfo_unpopulated: bool
    lowmem_reserve_may_be_off: bool
    pcp_batch_doubled: bool
    pcp_high_of_the_zone: bool
    pcp_high_tuned: bool
    swaps_aligned: bool
    swap_cache_stats: bool
    unreclaimable_slab_table: bool
    memcg_stats: str
    memcg_charges_pagetables: bool
    memory_events_hierarchical: bool
    memory_events_local: bool

    # Memory and pressure.
    available_keeps_reserves: bool
    psi_file: bool
    psi_cpu_full_line: bool
    psi_triggers: bool
    psi_unprivileged_trigger: bool
    psi_window_min_us: int

    # What /proc/<pid> shows of a task beside its memory.
    idle_state: bool
    mem_open_needs_mm: bool
    postcoredump_flag: bool
    frozen_flag: bool
    swapwrite_flag: bool
    kswapd_flag: int
    vfork_wchan: str
    namespaces: str
    namespace_inodes: str
    fd_size_is_count: bool
    fdinfo_by_ptrace: bool
    fdinfo_inode: bool
    stack_needs_admin: bool
    timerslack_file: bool
    timers_by_ptrace: bool
    patch_state_file: bool
    arch_status_file: bool
    resctrl_file: bool
    attr_write_checks_mm: bool
    mlock_limit_kib: int
    load_weight_scale: int
    sched_runnable_lines: bool
    sched_util_est: str
    sched_slice_line: bool

    # Address spaces.
    vdso_by_mmap: bool
    vvar_pages: int
    vvar_vclock_pages: int
    vsyscall_readable: bool
    exec_denies_write: bool
    smaps_rollup: bool
    smaps_thp_eligible: str

    # Formats.
    diskstats_columns: int
    schedstat_version: int


@dataclass(frozen=True, slots=True)
class Change:
    """A switch takes a new value: with a version, or with a patch of the series."""

    value: Value
    since: Version = (4, 4)
    patch: int = 0
    posted: Value | None = None
    """What the posting of the patch did, where it was merged differently."""

    def value_in(self, *, as_posted: bool) -> Value:
        """Return the value that the change brings in this form of the series."""
        return self.posted if as_posted and self.posted is not None else self.value

    def origin(self) -> str:
        """Name the patch or the version."""
        return f"patch {self.patch}" if self.patch else ".".join(map(str, self.since))


def _patch(number: int, value: Value, posted: Value | None = None) -> Change:
    return Change(value, _MERGED_IN, number, posted)


HISTORY: Mapping[str, tuple[Change, ...]] = {
    "write_needs_task_mm": (Change(True), _patch(1, False)),
    "propagate_to_sharers": (Change(False), _patch(3, True)),
    "propagate_trigger": (
        Change("never"),
        _patch(3, "users>1"),
        Change("MULTIPROCESS", (5, 10)),
    ),
    # The two that follow are defects of the posting: it logged the target itself, and
    # it wrote to init.  Nothing but the posted patch 3 ever sets them.
    "propagate_hits_own_group": (Change(False), _patch(3, False, posted=True)),
    "propagate_hits_init": (Change(False), _patch(3, False, posted=True)),
    "propagate_log": (Change(False), _patch(3, True), Change(False, (5, 0))),
    "clone_vm_recopies_adj": (Change(False), Change(True, (5, 10))),
    # 66606567dedf, "mm, oom: keep oom_adj under or at upper limit when printing".
    "oom_adj_read_clamped": (Change(False), Change(True, (5, 10))),
    "vfork_exempt": (Change("none"), _patch(4, "done+mm", posted="done-only")),
    "hidden_mm_flag": (
        Change("none"),
        Change("REAPED", (4, 6)),
        Change("SKIP", (4, 9)),
    ),
    "admin_discount_3pct": (Change(True), Change(False, (4, 17))),
    # 778c14affaf9, "mm, oom: base root bonus on current usage".
    "admin_discount_base": (Change("all memory", OLDEST), Change("own use", (3, 14))),
    # a7f638f999ff, "mm, oom: normalize oom_score_adj to proportional scale only for userspace".
    "points_per_mille": (Change(True, OLDEST), Change(False, (3, 5))),
    "badness_signed": (Change(False), Change(True, (5, 9))),
    "rss_in_batches": (Change(False), Change(True, (6, 2))),
    "score_presentation": (Change("x*1000/total"), Change("(1000+x)*2/3", (5, 9))),
    "scan_unit_global": (Change("thread"), Change("process", (4, 7))),
    "scan_unit_memcg": (Change("thread"), Change("process", (5, 3))),
    "tie_global": (
        Change("first"),
        Change("last", (4, 7)),
        Change("first", (4, 9)),
        Change("last", (5, 3)),
    ),
    "tie_memcg": (Change("first"), Change("last", (5, 3))),
    # 9cbb78bb3143, "mm, memcg: introduce own oom handler to iterate only over its own threads":
    # until then all tasks were walked.  Who joins a cgroup goes behind the others since 4.4.
    "memcg_walk": (
        Change("all tasks", OLDEST),
        Change("newest first", (3, 6)),
        Change("as attached", (4, 4)),
    ),
    # A process counts as in the memcg to which its mm is charged: that of the mm's owner.
    "memcg_of_mm_owner": (Change(True), Change(False, (5, 3))),
    # ac311a14c682: until then the test of nodes was part of oom_badness, so that an OOM of a
    # memcg made it as well, and /proc/<pid>/oom_score for the cpuset of its reader.
    "eligible_in_badness": (Change(True), Change(False, (5, 3))),
    # b26e517a058b: who interleaves may have memory anywhere.
    "interleave_confines": (Change(True), Change(False, (5, 14))),
    "inflight_rule": (
        Change("memdie"),
        Change("victims", (4, 7)),
        Change("victims, REAPED skipped", (4, 8)),
        Change("oom_mm, SKIP skipped", (4, 9)),
    ),
    "exiting_task_aborts_scan": (Change(True), Change(False, (4, 7))),
    # Without __GFP_FS nobody is killed: 3da88fb3bacf, then without NOFAIL as a way round it
    # (06ad276ac187).
    "nofs_returns": (
        Change("never"),
        Change("unless NOFAIL", (4, 7)),
        Change("always", (4, 11)),
    ),
    # Until 4.8 a memcg did not come by there; since f9c645621a28 it is exempt.
    "nofs_spares_memcg": (Change(True), Change(False, (4, 9)), Change(True, (5, 4))),
    # 7775face2079, "memcg: killed threads should not invoke memcg OOM killer".
    "memcg_lets_dying_pass": (Change(False), Change(True, (5, 1)), Change(False, (6, 14))),
    "current_bypass": (
        Change("fatal or exiting"),
        _patch(6, "will_free", posted="will_free_v2"),
    ),
    "will_free_scope": (Change("group"), _patch(6, "sharers", posted="unfiltered")),
    "will_free_false_if_hidden": (Change(False), Change(True, (4, 8))),
    "sharer_minus1000": (
        Change("spare"),
        Change("spare+noreap", (4, 7)),
        _patch(5, "kill"),
    ),
    "warn_when_sharer_adj_minus16": (Change(False), _patch(5, False, posted=True)),
    "sharer_init_hides_mm": (Change(False), Change(True, (4, 8))),
    "sharer_kthread": (
        Change("skip"),
        Change("skip+noreap", (4, 7)),
        Change("hide+noreap", (4, 8)),
        Change("skip", (4, 9)),
    ),
    "child_sacrifice": (Change(True), Change(False, (5, 1))),
    "memory_oom_group": (Change(False), Change(True, (4, 19))),
    "reaper_after_bypass": (
        Change("none"),
        Change("if all dying", (4, 7)),
        _patch(6, "always"),
    ),
    "reaper_delay_s": (Change(0), Change(2, (5, 18))),
    "reaper_after": (
        Change("none"),
        Change("clear memdie", (4, 6)),
        Change("clear memdie, give up on 2nd", (4, 8)),
        Change("set SKIP", (4, 9)),
    ),
    "reap_mlocked": (Change(False), Change(True, (5, 18))),
    "process_mrelease": (Change(False), Change(True, (5, 15))),
    "oom_group_kill_event": (Change(False), Change(True, (5, 17))),
    "count_oom_kill": (Change(False), Change(True, (4, 13))),
    "log_no_killable": (Change("panic only"), Change("always", (4, 19))),
    "sysrq_nobody_line": (
        Change("none"),
        Change("disabled", (4, 9)),
        Change("not-eligible", (4, 19)),
    ),
    "gfp_names": (Change(False), Change(True, (4, 6))),
    "header_nodemask": (Change(False), Change(True, (4, 9)), Change(False, (5, 0))),
    # What stands there when no policy is in force: 299c517adb90, 0205f75571e3.
    "header_nodemask_form": (
        Change("mems_allowed"),
        Change("(null), two spaces", (4, 11)),
        Change("(null)", (4, 15)),
    ),
    "oom_kill_summary_line": (Change(False), Change(True, (5, 0))),
    "table_format": (
        Change("nr_ptes"),
        Change("pgtables", (4, 15)),
        Change("rss split", (6, 8)),
    ),
    "killed_line": (
        Change("no shmem"),
        Change("shmem", (4, 5)),
        Change("message", (5, 1)),
        Change("message, UID, pgtables", (5, 4)),
    ),
    "already_exiting_line": (Change(False), Change(True, (5, 9))),
    "cpu_line_uid": (Change(False), Change(True, (6, 12))),
    "lru_of_the_node": (Change(False), Change(True, (4, 8))),
    # ee8eb9a5fe86, "mm/page_alloc.c: increase default min_free_kbytes bound".
    "min_free_kib_max": (Change(65536), Change(262144, (5, 8))),
    # adc8cb406e52, "mm/mempolicy: Add vma_alloc_folio"; what a page fault asks for.
    "fault_gfp_comp": (Change(False), Change(True, (5, 18))),
    # 7cc30fcfd2a8, "mm: vmstat: account per-zone stalls and pages skipped during reclaim".
    "allocstall_by_zone": (Change(False), Change(True, (4, 8))),
    # 170b04b7ae49: until then only page cache could be refaulted.
    "refaults_of_anon": (Change(False), Change(True, (5, 9))),
    "watermark_scale_factor": (Change(False), Change(True, (4, 6))),
    # "mm, vmstat: print non-populated zones in zoneinfo".
    "zoneinfo_unpopulated": (Change(False), Change(True, (4, 12))),
    # vm.lowmem_reserve_ratio has a number for the last zone too, and takes 0.
    "lowmem_reserve_may_be_off": (Change(False), Change(True, (4, 17))),
    "pcp_batch_doubled": (Change(False), Change(True, (4, 19))),
    # "mm/page_alloc: disassociate the pcp->high from pcp->batch".
    "pcp_high_of_the_zone": (Change(False), Change(True, (5, 14))),
    "pcp_high_tuned": (Change(False), Change(True, (6, 7))),
    # "proc, swaps: fix output alignment": two TABs behind short numbers.
    "swaps_aligned": (Change(False), Change(True, (5, 10))),
    "swap_cache_stats": (Change(True), Change(False, (5, 19))),
    "unreclaimable_slab_table": (Change(False), Change(True, (4, 15))),
    # c8713d0b2312, "mm: memcontrol: dump memory.stat during cgroup OOM"; dddb44ffa0d5 has
    # that of version 1 for version 1.
    "memcg_stats": (
        Change("one line"),
        Change("memory.stat", (5, 3)),
        Change("memory.stat of its version", (6, 5)),
    ),
    "memcg_charges_pagetables": (Change(False), Change(True, (4, 8))),  # 3e79ec7ddc33
    # 9852ae3fe529, "mm, memcg: consider subtrees in memory.events"; 1e577f970f66.
    "memory_events_hierarchical": (Change(False), Change(True, (5, 2))),
    "memory_events_local": (Change(False), Change(True, (5, 3))),
    "available_keeps_reserves": (Change(False), Change(True, (4, 5))),  # 84ad5802a33a
    "psi_file": (Change(False), Change(True, (4, 20))),
    # e7fcd7622823, "psi: Add PSI_CPU_FULL state"; for the whole machine it is 0.
    "psi_cpu_full_line": (Change(False), Change(True, (5, 13))),
    "psi_triggers": (Change(False), Change(True, (5, 2))),  # 0e94682b73bf
    "psi_unprivileged_trigger": (Change(False), Change(True, (6, 4))),  # d82caa273565
    # 519fabc7aaba, "psi: remove 500ms min window size limitation for triggers".
    "psi_window_min_us": (Change(500_000), Change(0, (6, 4))),
    # "fs/proc: fix the issue of proc_mem_open returning NULL": ESRCH from open, where until
    # then reading gave nothing.
    "mem_open_needs_mm": (Change(False), Change(True, (6, 16))),
    # 06eb61844d84, "sched/debug: Add explicit TASK_IDLE printing".
    "idle_state": (Change(False), Change(True, (4, 14))),
    # 92307383082d, "coredump: Don't perform any cleanups before dumping core".
    "postcoredump_flag": (Change(False), Change(True, (5, 16))),
    # f5d39b020809, "freezer,sched: Rewrite core freezer logic".
    "frozen_flag": (Change(True), Change(False, (6, 1))),
    "swapwrite_flag": (Change(True), Change(False, (5, 18))),
    # PF_KSWAPD, which gave its place to PF_MEMALLOC_NOFS (7dea19f9ee63).
    "kswapd_flag": (Change(0x40000), Change(0x20000, (4, 12))),
    # cad6967ac108, "fork: introduce kernel_clone()".
    "vfork_wchan": (Change("_do_fork"), Change("kernel_clone", (5, 10))),
    # What ns/ has beside the old six: cgroup, then pid_for_children (eaa0d190bfe1), then time.
    "namespaces": (
        Change("six"),
        Change("cgroup", (4, 6)),
        Change("pid_for_children", (4, 12)),
        Change("time", (5, 6)),
    ),
    # Those of the initial namespaces of mounts and of the network came as they came; 6.18 has
    # a number for each (seen).
    "namespace_inodes": (Change("allocated"), Change("fixed", (6, 18))),
    # f1f1f2569901, "proc: report open files as size in stat() for /proc/pid/fd".
    "fd_size_is_count": (Change(False), Change(True, (6, 2))),
    # 7bc3fa0172a4 and 3845f256a8b5, "procfs: allow reading fdinfo with PTRACE_MODE_READ".
    "fdinfo_by_ptrace": (Change(False), Change(True, (5, 14))),
    "fdinfo_inode": (Change(False), Change(True, (5, 14))),
    # f8a00cef1720, "proc: restrict kernel stack dumps to root".
    "stack_needs_admin": (Change(False), Change(True, (4, 19))),
    # 5de23d435e88, "proc: add /proc/<pid>/timerslack_ns interface".
    "timerslack_file": (Change(False), Change(True, (4, 6))),
    "timers_by_ptrace": (Change(False), Change(True, (6, 18))),  # seen
    # 7c23b330016f, "livepatch: change to a per-task consistency model".
    "patch_state_file": (Change(False), Change(True, (4, 12))),
    # 68bc30bb9f33, "proc: Add /proc/<pid>/arch_status".
    "arch_status_file": (Change(False), Change(True, (5, 3))),
    # e79f15a4598c, "x86/resctrl: Add task resctrl information display".
    "resctrl_file": (Change(False), Change(True, (5, 6))),
    # 591a22c14d3f, "proc: Track /proc/$pid/attr/ opener mm_struct": EPERM, before it EACCES.
    "attr_write_checks_mm": (Change(False), Change(True, (5, 13))),
    # 9dcc38e2813e, "Increase default MLOCK_LIMIT to 8 MiB".
    "mlock_limit_kib": (Change(64), Change(8192, (5, 16))),
    # 2159197d6677, "sched/core: Enable increased load resolution on 64-bit kernels".
    "load_weight_scale": (Change(1), Change(1024, (4, 8))),
    # 9f68395333ad, "sched/pelt: Add a new runnable average signal".
    "sched_runnable_lines": (Change(False), Change(True, (5, 7))),
    # 7f65ea42eb00; 11137d384996, "sched/fair: Simplify util_est".
    "sched_util_est": (Change("none"), Change("ewma, enqueued", (4, 17)), Change("one", (6, 8))),
    "sched_slice_line": (Change(False), Change(True, (6, 12))),
    # Above the stack on 6.1, by mmap(2) on 6.18 (both seen); so is [vvar_vclock].
    "vdso_by_mmap": (Change(False), Change(True, (6, 13))),
    # With pages for the clocks of Hyper-V, and of time namespaces.
    "vvar_pages": (Change(2), Change(3, (4, 12)), Change(4, (5, 6))),
    "vvar_vclock_pages": (Change(0), Change(2, (6, 13))),
    # bd49e16e3339, "x86/vsyscall: Add a new vsyscall=xonly mode", which is the default.
    "vsyscall_readable": (Change(True), Change(False, (5, 3))),
    # 8d0920bde5eb, "mm: remove VM_DENYWRITE".
    "exec_denies_write": (Change(True), Change(False, (5, 15))),
    # 493b0e9d945f, "mm: add /proc/pid/smaps_rollup"; it also moved the page sizes up in smaps.
    "smaps_rollup": (Change(False), Change(True, (4, 14))),
    # 7635d9cbe832, then c06306696f83 with tabs; FilePmdMapped (5.4) lost a blank as long as
    # those were there.
    "smaps_thp_eligible": (
        Change("none"),
        Change("wide", (5, 0)),
        Change("tabs", (5, 3)),
        Change("narrow", (5, 9)),
        Change("wide", (6, 6)),
    ),
    # bdca3c87fb7a, "block: Track DISCARD statistics and output them in stat and diskstat";
    # b6866318657717, "block: add iostat counters for flush requests".
    "diskstats_columns": (Change(14), Change(18, (4, 19)), Change(20, (5, 5))),
    "schedstat_version": (Change(15), Change(17, (6, 15))),
}
"""Every switch and its changes (reference: table of kernel generations, section 10)."""


@dataclass(frozen=True, slots=True)
class _Base:
    """A named generation: its version, and the form in which it has the series."""

    version: Version
    release: str
    patched: bool
    as_posted: bool = False


_BASES: Mapping[str, _Base] = {
    "4.4": _Base((4, 4), "4.4.0", patched=False),
    "4.7": _Base((4, 7), "4.7.0", patched=False),
    "series": _Base((4, 7), "4.7.0-rc1-oom", patched=True),
    "series-as-posted": _Base((4, 7), "4.7.0-rc1-oomv2", patched=True, as_posted=True),
    "4.8": _Base((4, 8), "4.8.0", patched=True),
    "4.9": _Base((4, 9), "4.9.0", patched=True),
    "4.14": _Base((4, 14), "4.14.0", patched=True),
    "4.19": _Base((4, 19), "4.19.0", patched=True),
    "5.0": _Base((5, 0), "5.0.0", patched=True),
    "5.4": _Base((5, 4), "5.4.0", patched=True),
    "5.10": _Base((5, 10), "5.10.0", patched=True),
    "5.15": _Base((5, 15), "5.15.0", patched=True),
    "6.1": _Base((6, 1), "6.1.0", patched=True),
    "6.18": _Base((6, 18), "6.18.0", patched=True),
}

PROFILE_NAMES = tuple(_BASES)
_VERSION_NAME = re.compile(r"(\d{1,3})\.(\d{1,3})")
DEFAULT_PROFILE = "series"


@dataclass(frozen=True, slots=True)
class SwitchState:
    """A switch as /proc/fakeproc/kernel shows it."""

    name: str
    value: Value
    origin: str


class KernelConfig:
    """A generation, with patches of the series and single switches turned by hand.

    Immutable: each method returns another one.  Errors are `Refused` with EINVAL and a
    sentence that names what would be accepted.
    """

    def __init__(
        self,
        base: str = DEFAULT_PROFILE,
        patches: Mapping[int, bool] | None = None,
        switches: Mapping[str, Value] | None = None,
    ) -> None:
        self._generation = self._find(base)
        self.base = base
        self._patches = dict(patches or {})
        self._switches = dict(switches or {})
        self.states = tuple(self._state(name) for name in HISTORY)
        self.profile = self._build()

    @staticmethod
    def _find(base: str) -> _Base:
        if base not in _BASES:
            raise not_known("kernel", base, PROFILE_NAMES)
        return _BASES[base]

    @property
    def switches(self) -> Mapping[str, Value]:
        """The switches that have been set by hand."""
        return self._switches

    @property
    def patches(self) -> Mapping[int, bool]:
        """The patches that have been turned by hand."""
        return self._patches

    def has_patch(self, number: int) -> bool:
        """Say whether this patch of the series is in."""
        return self._patches.get(number, self._generation.patched)

    def with_patch(self, number: int, *, on: bool) -> "KernelConfig":
        """Turn one of the six patches on or off."""
        if number not in PATCHES:
            raise Refused(errno.EINVAL, f"patch {number}: the series has patches 1 to 6.")
        return type(self)(self.base, {**self._patches, number: on}, self._switches)

    def with_switch(self, name: str, text: str) -> "KernelConfig":
        """Set a single switch; an unknown name or value is refused with EINVAL."""
        if name not in HISTORY:
            raise not_known("switch", name, HISTORY)
        known = {render_value(value): value for value in _values(name)}
        if text not in known:
            raise Refused(errno.EINVAL, f"{name}={text}: accepted: {', '.join(known)}.")
        return type(self)(self.base, self._patches, {**self._switches, name: known[text]})

    def _state(self, name: str) -> SwitchState:
        if name in self._switches:
            return SwitchState(name, self._switches[name], "set by hand")
        base = self._generation
        current: Change = HISTORY[name][0]
        for change in HISTORY[name][1:]:
            if change.patch and not self.has_patch(change.patch):
                # What came later built on the patch: without it, the value of before.
                if change.since <= base.version:
                    break
                continue
            if change.patch or change.since <= base.version:
                current = change
        value = current.value_in(as_posted=base.as_posted)
        posted = " as posted" if value != current.value else ""
        return SwitchState(name, value, current.origin() + posted)

    def _build(self) -> Profile:
        base = self._generation
        values: dict[str, Any] = {state.name: state.value for state in self.states}
        return Profile(name=self.base, version=base.version, release=base.release, **values)


class AnyKernelConfig(KernelConfig):
    """Also a release that has no name of its own, ``5.8`` or ``2.6``: what a log speaks of."""

    @staticmethod
    def _find(base: str) -> _Base:
        version = _VERSION_NAME.fullmatch(base)
        if base in _BASES or version is None:
            return KernelConfig._find(base)
        number = (int(version[1]), int(version[2]))
        if number < OLDEST:
            raise Refused(
                errno.EINVAL,
                f"kernel {base!r}: accepted are 2.6 and later, or a name of "
                f"{', '.join(PROFILE_NAMES)}.",
            )
        return _Base(number, f"{base}.0", patched=number >= _MERGED_IN)


def _values(name: str) -> list[Value]:
    """Return the values that a switch ever had, in order of time."""
    values: list[Value] = []
    for change in HISTORY[name]:
        for value in (change.value, change.posted):
            if value is not None and value not in values:
                values.append(value)
    return values


def render_value(value: Value) -> str:
    """Write a switch's value as a person reads and types it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def named(name: str) -> Profile:
    """Return the profile of a generation; `Refused` (EINVAL) names those there are."""
    return KernelConfig(name).profile


def nearest_name(version: Version) -> str:
    """Return the named generation that a kernel of this version belongs to.

    That is the newest one that is not newer, of those without a form of the series on
    top; the oldest for whatever came before.
    """
    released = [name for name in _BASES if name[0].isdigit()]
    older = [name for name in released if _BASES[name].version <= version]
    return older[-1] if older else released[0]


assert {f.name for f in fields(Profile)} == {"name", "version", "release", *HISTORY}
