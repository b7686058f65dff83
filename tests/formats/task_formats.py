# SPDX-License-Identifier: MIT
"""What every file of /proc/<pid> has to look like on Linux 6.18, x86-64.

The formats are those of the functions that print the files: fs/proc/array.c, task_mmu.c,
base.c and so on.  A file that is not in the table is held against its capture:
the same lines, the numbers in columns as wide.
"""

from __future__ import annotations

from tests.formats.printf import (
    EMPTY,
    NUMBER,
    Block,
    Either,
    Format,
    Line,
    Many,
    Maybe,
    OneOf,
    Text,
    Whole,
    expression,
)

_STAT = Text(
    "%d (%S) %c " + "%d " * 5 + "%u " * 7 + "%d " * 5 + "0 %u %u %d" + " %u" * 11 + " 0 0"
    " %d %d %u %u %u %u %d" + " %u" * 7 + " %d"
)  # fmt: skip

_HEX16 = "%016x"
_SET = "".join("%08x," * 31 + "%08x")
_VM = [
    f"{name}:\t%8u kB"
    for name in (
        *("VmPeak", "VmSize", "VmLck", "VmPin", "VmHWM", "VmRSS", "RssAnon", "RssFile", "RssShmem"),
        *("VmData", "VmStk", "VmExe", "VmLib", "VmPTE", "VmSwap"),
    )
]
_STATUS = Text(
    "Name:\t%S",
    Either(
        # A task that has exited has no files any more, and no umask.
        *("State:\tZ (zombie)", "State:\tX (dead)"),
        Block(
            "Umask:\t%04u",
            Line(
                r"State:\t(?:R \(running\)|S \(sleeping\)|D \(disk sleep\)|T \(stopped\)"
                r"|t \(tracing stop\)|I \(idle\)|P \(parked\))",
                raw=True,
            ),
        ),
    ),
    *("Tgid:\t%u", "Ngid:\t%u", "Pid:\t%u", "PPid:\t%u", "TracerPid:\t%u"),
    *("Uid:\t%u\t%u\t%u\t%u", "Gid:\t%u\t%u\t%u\t%u", "FDSize:\t%u"),
    Line(r"Groups:\t(?:\d+ )* ", raw=True),
    *("NStgid:\t%u", "NSpid:\t%u", "NSpgid:\t%u", "NSsid:\t%u", "Kthread:\t%u"),
    Maybe(
        *_VM,
        *("HugetlbPages:\t%8u kB", "CoreDumping:\t%u", "THP_enabled:\t%u"),
        "untag_mask:\t0x%016x",
    ),
    *("Threads:\t%u", "SigQ:\t%u/%u", f"SigPnd:\t{_HEX16}", f"ShdPnd:\t{_HEX16}"),
    *(f"{name}:\t{_HEX16}" for name in ("SigBlk", "SigIgn", "SigCgt")),
    *(f"{name}:\t{_HEX16}" for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")),
    *("NoNewPrivs:\t%u", "Seccomp:\t%u", "Seccomp_filters:\t%u"),
    *("Speculation_Store_Bypass:\t%S", "SpeculationIndirectBranch:\t%S"),
    Maybe("x86_Thread_features:\t%Z", "x86_Thread_features_locked:\t%Z"),
    *("Cpus_allowed:\t%s", "Cpus_allowed_list:\t%s", f"Mems_allowed:\t{_SET}"),
    *("Mems_allowed_list:\t%s", "voluntary_ctxt_switches:\t%u", "nonvoluntary_ctxt_switches:\t%u"),
)  # fmt: skip

_AREA_HEAD = expression("%08x-%08x ") + "[r-][w-][x-][ps] " + expression("%08x %02x:%02x %u ")
# The name stands in column 73, or behind what is longer; with no name there is one blank.
_AREA = Line(rf"{_AREA_HEAD}(?:(?: *(?<=^.{{73}})|(?<=.{{74}}))[/\[a](?:.*\S)?)?", raw=True)
_MAPS = Text(Many(_AREA))

_MEMORY_OF_AREA = (
    *("Shared_Clean", "Shared_Dirty", "Private_Clean", "Private_Dirty", "Referenced", "Anonymous"),
    *("KSM", "LazyFree", "AnonHugePages", "ShmemPmdMapped", "FilePmdMapped", "Shared_Hugetlb"),
    *("Private_Hugetlb", "Swap", "SwapPss", "Locked"),
)


def _area_lines(*names: str) -> list[str]:
    return [f"{name + ':':16}%8u kB" for name in (*names, *_MEMORY_OF_AREA)]


_SMAPS = Text(
    Many(
        _AREA,
        *_area_lines("Size", "KernelPageSize", "MMUPageSize", "Rss", "Pss", "Pss_Dirty"),
        "THPeligible:    %8u",
        Maybe("ProtectionKey:  %8u"),
        Line("VmFlags: (?:[a-z]{2} )*", raw=True),
    )
)
_SMAPS_ROLLUP = Text(
    Line(rf"{_AREA_HEAD} *(?<=^.{{73}})\[rollup\]", raw=True),
    *_area_lines("Rss", "Pss", "Pss_Dirty", "Pss_Anon", "Pss_File", "Pss_Shmem"),
)
_NUMA_MAPS = Text(
    Many(
        Line(
            r"[0-9a-f]{8,} (?:default|local|(?:bind|interleave|prefer|prefer \(many\)|weighted "
            r"interleave)(?:[=a-z|]*):\d[\d,-]*)(?: (?:file=\S+|heap|stack|huge"
            r"|(?:anon|dirty|mapped|mapmax|swapcache|active|writeback|N\d+)=\d+))*"
            r"(?: kernelpagesize_kB=\d+)?",
            raw=True,
        )
    )
)

_LIMIT = f"(?:{expression('%-20u')}|{'unlimited':20})"


def _limit(name: str, unit: str) -> Line:
    unit = f"{unit:10}" if unit else ""
    return Line(f"{'Max ' + name:25} {_LIMIT} {_LIMIT} {unit}", raw=True)


_LIMITS = Text(
    f"{'Limit':25} {'Soft Limit':20} {'Hard Limit':20} {'Units':10}",
    *(
        _limit(name, unit)
        for name, unit in (
            *(("cpu time", "seconds"), ("file size", "bytes"), ("data size", "bytes")),
            *(("stack size", "bytes"), ("core file size", "bytes"), ("resident set", "bytes")),
            *(("processes", "processes"), ("open files", "files"), ("locked memory", "bytes")),
            *(("address space", "bytes"), ("file locks", "locks")),
            *(("pending signals", "signals"), ("msgqueue size", "bytes")),
            *(("nice priority", ""), ("realtime priority", ""), ("realtime timeout", "us")),
        )
    ),
)


def _scheduling(name: str, value: str) -> str:
    return f"{name:45}:{value}"


_FRACTION, _COUNT = "%14d.%06u", "%21d"
_SCHED = Text(
    "%S (%u, #threads: %u)",
    "-" * 67,
    *(
        _scheduling(name, _FRACTION)
        for name in ("se.exec_start", "se.vruntime", "se.sum_exec_runtime")
    ),
    *(
        _scheduling(name, _COUNT)
        for name in (
            *("se.nr_migrations", "nr_switches", "nr_voluntary_switches"),
            *("nr_involuntary_switches", "se.load.weight", "se.avg.load_sum"),
            *("se.avg.runnable_sum", "se.avg.util_sum", "se.avg.load_avg", "se.avg.runnable_avg"),
            *("se.avg.util_avg", "se.avg.last_update_time", "se.avg.util_est", "policy", "prio"),
            *("se.slice", "clock-delta"),
        )
    ),
    Maybe(_scheduling("mm->numa_scan_seq", _COUNT)),
    *(
        _scheduling(name, _COUNT)
        for name in ("numa_pages_migrated", "numa_preferred_nid", "total_numa_faults")
    ),
    "current_node=%u, numa_group_id=%u",
    Many(
        "numa_faults node=%u task_private=%u task_shared=%u group_private=%u group_shared=%u",
        least=1,
    ),
)

_IO = Text(
    *(
        f"{name}: %u"
        for name in (
            *("rchar", "wchar", "syscr", "syscw"),
            *("read_bytes", "write_bytes", "cancelled_write_bytes"),
        )
    )
)
_KSM_STAT = Text(
    *("ksm_rmap_items %u", "ksm_zero_pages %u", "ksm_merging_pages %u", "ksm_process_profit %d"),
    *(Line(f"{name}: (?:yes|no)", raw=True) for name in ("ksm_merge_any", "ksm_mergeable")),
)
_OPTIONAL_FIELDS = r"(?:(?:shared|master|propagate_from):\d+ |unbindable )*"
_MOUNTINFO = Text(
    Many(Line(rf"\d+ \d+ \d+:\d+ \S+ /\S* \S+ {_OPTIONAL_FIELDS}- \S+ \S+ \S+", raw=True), least=1)
)
_MOUNTS = Text(Many(Line(r"\S+ /\S* \S+ r[wo]\S* 0 0", raw=True), least=1))
_ID_MAP = Text(Many("%10u %10u %10u", least=1))
_FDINFO = Text("pos:\t%u", "flags:\t0%s", "mnt_id:\t%u", "ino:\t%u", Many("%s:\t%Z"))

_NET_DEVICE = "%6s: %7u %7u %4u %4u %4u %5u %10u %9u %8u %7u %4u %4u %4u %5u %7u %10u"
_NET_DEV = Text(
    "Inter-|   Receive                                                |  Transmit",
    " face |bytes    packets errs drop fifo frame compressed multicast"
    "|bytes    packets errs drop fifo colls carrier compressed",
    Many(_NET_DEVICE),
)

_FIB_TRIESTAT = Text(
    "Basic info: size of leaf: %u bytes, size of tnode: %u bytes.",
    Many(
        *(
            Line(r"Main:|Local:|Id \d+:", raw=True),
            "\tAver depth:     %u.%02u",
            "\tMax depth:      %u",
            "\tLeaves:         %u",
        ),
        *("\tPrefixes:       %u", "\tInternal nodes: %u"),
        Maybe(Line(r"\t(?:  \d+: \d+)+", raw=True)),
        *("\tPointers: %u", "Null ptrs: %u", "Total size: %u  kB"),
    ),
)
_NEIGHBOURS = Text(
    "entries  allocs   destroys hash_grows lookups  hits     res_failed rcv_probes_mcast"
    " rcv_probes_ucast periodic_gc_runs forced_gc_runs unresolved_discards table_fulls",
    Many(
        "%08x %08x %08x %08x   %08x %08x %08x   %08x         %08x         %08x         %08x"
        "       %08x            %08x",
        least=1,
    ),
)
_SOFTNET_STAT = Text(Many("%08x" + " %08x" * 14, least=1))
_ROUTE_CACHE = Text(
    "entries  in_hit   in_slow_tot in_slow_mc in_no_route in_brd   in_martian_dst in_martian_src"
    " out_hit  out_slow_tot out_slow_mc gc_total gc_ignored gc_goal_miss gc_dst_overflow"
    " in_hlist_search out_hlist_search",
    Many(
        "%08x %08x %08x    %08x   %08x    %08x %08x       %08x       %08x %08x     %08x"
        "    %08x %08x   %08x     %08x        %08x        %08x",
        least=1,
    ),
)
_CONNTRACK_STAT = Text(
    "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop"
    " early_drop icmp_error  expect_new expect_create expect_delete search_restart",
    Many("%08x " + " %08x" * 12 + " " + " %08x" * 4, least=1),
)
_SYNPROXY_STAT = Text(
    "entries\t\tsyn_received\tcookie_invalid\tcookie_valid\tcookie_retrans\tconn_reopened",
    Many("\t".join(["%08x"] * 6), least=1),
)
_NET_PROTOCOLS = Text(
    "protocol  size sockets  memory press maxhdr  slab module     "
    "cl co di ac io in de sh ss gs se re bi br ha uh gp em",
    Many("%-9s %4u %6d  %6d   %-3s %6u   %-3s  %-10s " + " %c " * 17 + " %c", least=1),
)
_NET_NETLINK = Text(
    "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode",
    Many("%016x %-3u %-10u %08x %-8u %-8u %-5u %-8u %-8u %-8u"),
)

TASK_FORMATS: dict[str, Format] = {
    "stat": _STAT,
    "statm": Text("%u %u %u %u 0 %u 0"),
    "status": _STATUS,
    "comm": Text("%Z"),
    "cmdline": Whole(rb"|(?:[^\0]*\0)+"),
    "environ": Whole(rb"|(?:[^\0]*\0)+"),
    "auxv": Whole(rb"(?:.{16})*?\0{16}"),
    "cgroup": Text(Many("%u:%Z:/%Z", least=1)),
    "cpuset": Text("/%Z"),
    "maps": _MAPS,
    "smaps": _SMAPS,
    "smaps_rollup": _SMAPS_ROLLUP,
    "numa_maps": _NUMA_MAPS,
    "limits": _LIMITS,
    "sched": _SCHED,
    "schedstat": Text("%u %u %u"),
    "io": _IO,
    "ksm_stat": OneOf(_KSM_STAT, EMPTY),
    "ksm_merging_pages": OneOf(NUMBER, EMPTY),
    "mounts": _MOUNTS,
    "mountinfo": _MOUNTINFO,
    "mountstats": Text(Many("device %s mounted on /%Z with fstype %s", least=1)),
    "autogroup": OneOf(Text("/autogroup-%u nice %d"), EMPTY),
    "oom_score": Text("%u"),
    "oom_adj": NUMBER,
    "oom_score_adj": NUMBER,
    "loginuid": Whole(rb"\d+"),
    "sessionid": Whole(rb"\d+"),
    "coredump_filter": OneOf(Text("%08x"), EMPTY),
    "personality": Text("%08x"),
    "uid_map": _ID_MAP,
    "gid_map": _ID_MAP,
    "projid_map": _ID_MAP,
    "setgroups": Text(Line("allow|deny", raw=True)),
    "timens_offsets": OneOf(Text("monotonic  %10d %9u", "boottime   %10d %9u"), EMPTY),
    "timers": EMPTY,
    "timerslack_ns": Text("%u"),
    "arch_status": Text(Maybe("AVX512_elapsed_ms:\t%d")),
    "wchan": Whole(rb"0|[a-zA-Z_]\w*"),
    "stack": Text(Many(Line(r"\[<0>\] [\w.]+\+0x[0-9a-f]+/0x[0-9a-f]+", raw=True))),
    "syscall": Text(
        Either("running", "-1 0x%x 0x%x", "%d" + " 0x%x" * 8),
    ),
    "children": Whole(rb"(?:\d+ )*"),
    "patch_state": NUMBER,
    "cpu_resctrl_groups": Text("res:%Z", "mon:%Z"),
    "fdinfo/<fd>": _FDINFO,
    "net/dev": _NET_DEV,
    "net/protocols": _NET_PROTOCOLS,
    "net/connector": Text("Name            ID", Many("%-15s %u:%u")),
    "net/pnp": Text("#%s", Many("%s %s")),
    "net/ipconfig/ntp_servers": Text(Many("%s")),
    "net/softnet_stat": _SOFTNET_STAT,
    "net/stat/rt_cache": _ROUTE_CACHE,
    "net/stat/nf_conntrack": _CONNTRACK_STAT,
    "net/stat/synproxy": _SYNPROXY_STAT,
    "net/stat/arp_cache": _NEIGHBOURS,
    "net/stat/ndisc_cache": _NEIGHBOURS,
    "net/fib_triestat": _FIB_TRIESTAT,
    "net/netfilter/nf_log": Text(Many("%2u %s (%Z)", least=10)),
    **{
        f"net/{family}_tables_{what}": Text(Many("%s"))
        for family in ("arp", "ip", "ip6")
        for what in ("matches", "names", "targets")
    },
    "net/netlink": _NET_NETLINK,
    "net/rt_acct": Whole(rb"\0{4096}"),
}
"""By the name in the task's directory."""
