# SPDX-License-Identifier: MIT
"""What the files of the machine have to look like on Linux 6.18, x86-64.

The formats are those of the functions that print the files: fs/proc/meminfo.c, mm/vmstat.c
and so on.  A file that is not in the table is held against its capture: the same lines, the
numbers in columns as wide.
"""

from __future__ import annotations

from tests.formats.printf import (
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

_MEMINFO = Text(
    Many("%!-16s%8u kB", least=40),
    *("HugePages_Total:   %5u", "HugePages_Free:    %5u", "HugePages_Rsvd:    %5u"),
    *("HugePages_Surp:    %5u", "Hugepagesize:   %8u kB", "Hugetlb:        %8u kB"),
    *("DirectMap4k:    %8u kB", "DirectMap2M:    %8u kB", Maybe("DirectMap1G:    %8u kB")),
)

_CPU_TIMES = " %u" * 10
_STAT = Text(
    f"cpu {_CPU_TIMES}",
    Many(f"cpu%u{_CPU_TIMES}", least=1),
    Line(r"intr \d+(?: \d+)+", raw=True),
    *("ctxt %u", "btime %u", "processes %u", "procs_running %u", "procs_blocked %u"),
    "softirq %u" + " %u" * 10,
)

_ORDERS = "%6u " * 11
_MIGRATE_TYPES = "Unmovable", "Movable", "Reclaimable", "HighAtomic", "Isolate"
_PAGETYPEINFO = Text(
    "Page block order: %u",
    "Pages per block:  %u",
    "",
    f"{'Free pages count per migrate type at order':43} " + "".join(f"{n:6} " for n in range(11)),
    Many(*(f"Node %4u, zone %8s, type {kind:>12} {_ORDERS}" for kind in _MIGRATE_TYPES), least=1),
    "",
    f"{'Number of blocks type':23}" + "".join(f"{kind:>12} " for kind in _MIGRATE_TYPES),
    Many("Node %u, zone %8s " + "%12u " * len(_MIGRATE_TYPES), least=1),
)

_NODE_STATS = (
    *("nr_inactive_anon", "nr_active_anon", "nr_inactive_file", "nr_active_file"),
    *("nr_unevictable", "nr_slab_reclaimable", "nr_slab_unreclaimable", "nr_isolated_anon"),
    *("nr_isolated_file", "workingset_nodes", "workingset_refault_anon"),
    *("workingset_refault_file", "workingset_activate_anon", "workingset_activate_file"),
    *("workingset_restore_anon", "workingset_restore_file", "workingset_nodereclaim"),
    *("nr_anon_pages", "nr_mapped", "nr_file_pages", "nr_dirty", "nr_writeback", "nr_shmem"),
    *("nr_shmem_hugepages", "nr_shmem_pmdmapped", "nr_file_hugepages", "nr_file_pmdmapped"),
    *("nr_anon_transparent_hugepages", "nr_vmscan_write", "nr_vmscan_immediate_reclaim"),
    *("nr_dirtied", "nr_written", "nr_throttled_written", "nr_kernel_misc_reclaimable"),
    *("nr_foll_pin_acquired", "nr_foll_pin_released", "nr_kernel_stack"),
    *("nr_page_table_pages", "nr_sec_page_table_pages", "nr_iommu_pages", "nr_swapcached"),
    *("pgpromote_success", "pgpromote_candidate", "pgpromote_candidate_nrl", "pgdemote_kswapd"),
    *("pgdemote_direct", "pgdemote_khugepaged", "pgdemote_proactive", "nr_hugetlb"),
    *("nr_balloon_pages", "nr_kernel_file_pages"),
)
_ZONE_STATS = (
    *("nr_free_pages", "nr_free_pages_blocks", "nr_zone_inactive_anon", "nr_zone_active_anon"),
    *("nr_zone_inactive_file", "nr_zone_active_file", "nr_zone_unevictable"),
    *("nr_zone_write_pending", "nr_mlock", "nr_zspages", "nr_free_cma"),
)
_NUMA_EVENTS = (
    *("numa_hit", "numa_miss", "numa_foreign", "numa_interleave", "numa_local", "numa_other"),
)


def _counters(names: tuple[str, ...]) -> list[str]:
    return [f"      {name:12} %u" for name in names]


_ZONEINFO = Text(
    Many(
        "Node %u, zone %8s",
        # Before the first zone of a node that has memory.
        Maybe("  per-node stats", *_counters(_NODE_STATS)),
        "  pages free     %u",
        *(
            f"        {name:8} %u"
            for name in (
                *("boost", "min", "low", "high", "promo", "spanned", "present", "managed", "cma"),
            )
        ),
        Line(r"        protection: \(\d+(?:, \d+)*\)", raw=True),
        # A zone without memory has no more to say.
        Maybe(
            *_counters(_ZONE_STATS),
            Maybe(*_counters(_NUMA_EVENTS)),
            "  pagesets",
            Many(
                *("    cpu: %u", "              count:    %u", "              high:     %u"),
                *("              batch:    %u", "              high_min: %u"),
                *("              high_max: %u", "  vm stats threshold: %u"),
                least=1,
            ),
            "  node_unreclaimable:  %u",
            "  start_pfn:           %u",
        ),
        least=1,
    )
)

_SLABINFO = Text(
    "slabinfo - version: 2.1",
    "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>"
    " : tunables <limit> <batchcount> <sharedfactor>"
    " : slabdata <active_slabs> <num_slabs> <sharedavail>",
    Many(
        "%-17s %6u %6u %6u %4u %4u : tunables %4u %4u %4u : slabdata %6u %6u %6u",
        least=1,
    ),
)

_VMALLOC_AREA = Line(
    r"0x[0-9a-f]{16}-0x[0-9a-f]{16} +(?<=^.{45})|"
    + r"0x[0-9a-f]{16}-0x[0-9a-f]{16} (?: *\d+(?<=^.{45})|\d{8,})"
    + r"(?: unpurged vm_area| vm_map_ram|(?: \S+\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[\w+\])?)?"
    + r"(?: pages=\d+)?(?: phys=0x[0-9a-f]{16})?"
    + r"(?: (?:ioremap|vmalloc|vmap|user|dma-coherent|sparse|vpages))*(?: N\d+=\d+)*)",
    raw=True,
)

# Swap files have a tab more than partitions, and short numbers one behind them.
_SHORT, _LONG = r"(?:\d{1,7}\t)", r"\d{8,}"
_SWAP_SIZE = rf"(?:{_SHORT}|{_LONG})"
_SWAPS = Text(
    "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority",
    Many(
        Line(
            rf"(?=[^ ]+ *(?:partition|file))(?:\S+ *(?<=^.{{40}})|\S{{40,}} )"
            rf"(?:partition|file\t)\t{_SWAP_SIZE}\t{_SWAP_SIZE}\t-?\d+",
            raw=True,
        )
    ),
)

_WORDS = r"(?: \S+)*"
_WORD_LIST = Text(Line(rf"\S+{_WORDS}", raw=True))
_CPUINFO = Text(
    Many(
        *("processor\t: %u", "vendor_id\t: %s", "cpu family\t: %u", "model\t\t: %u"),
        *("model name\t: %S", "stepping\t: %u", "microcode\t: 0x%x"),
        Maybe("cpu MHz\t\t: %u.%03u"),
        Maybe("cache size\t: %u KB"),
        Maybe("physical id\t: %u", "siblings\t: %u", "core id\t\t: %u", "cpu cores\t: %u"),
        Maybe("apicid\t\t: %u", "initial apicid\t: %u"),
        *("fpu\t\t: yes", "fpu_exception\t: yes", "cpuid level\t: %u", "wp\t\t: yes"),
        Line(rf"flags\t\t:{_WORDS}", raw=True),
        Maybe(Line(rf"vmx flags\t:{_WORDS}", raw=True)),
        Line(rf"bugs\t\t:{_WORDS}", raw=True),
        "bogomips\t: %u.%02u",
        Maybe("TLB size\t: %u 4K pages"),
        *("clflush size\t: %u", "cache_alignment\t: %u"),
        "address sizes\t: %u bits physical, %u bits virtual",
        Line(rf"power management:{_WORDS}", raw=True),
        "",
        least=1,
    )
)


_COUNTS = rf"(?:{expression('%10u ')})+"
_INTERRUPTS = Text(
    Line(rf" {{11}}(?:{expression('CPU%-8u')})+", raw=True),
    Many(
        Line(
            expression("%3u: ") + _COUNTS + expression("%8s %3u-%-8s") + r"(?:  \S+(?: \S+)*)?",
            raw=True,
        )
    ),
    Many(
        Either(
            Line("(?:ERR|MIS): " + expression("%10u"), raw=True),
            Line(r"[A-Z]{3}: " + _COUNTS + r"  [A-Z][A-Za-z -]*[a-z]", raw=True),
        ),
        least=1,
    ),
)
_SOFTIRQS = Text(
    Line(rf" {{20}}(?:{expression('CPU%-8u')})+", raw=True),
    *(
        Line(rf"{name:>12}:(?:{expression(' %10u')})+", raw=True)
        for name in (
            *("HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED"),
            *("HRTIMER", "RCU"),
        )
    ),
)

_IDLE_KINDS = 3
_SCHEDSTAT = Text(
    *("version 17", "timestamp %u"),
    Many(
        "cpu%u" + " %u" * 9,
        Many("domain%u %s %s" + " %u" * (11 * _IDLE_KINDS + 12)),
        least=1,
    ),
)
_DISKSTATS = Text(Many("%4u %7u %s" + " %u" * 17))
_PARTITIONS = Text(Maybe("major minor  #blocks  name", ""), Many("%4u  %7u %10u %s"))
_LOADAVG = Text("%u.%02u %u.%02u %u.%02u %u/%u %u")
_PRESSURE = Text(
    *(f"{kind} avg10=%u.%02u avg60=%u.%02u avg300=%u.%02u total=%u" for kind in ("some", "full"))
)
_DEVICES = Text(
    "Character devices:",
    Many("%3u %s", least=1),
    *("", "Block devices:"),
    Many("%3u %s", least=1),
)
_CONSOLES = Text(
    Many(
        Line(
            r"\S+ +(?<=^.{21})[R-][W-][U-] \([E ][C ][B ][N ][p ][b ][a ]\) "
            + expression("%4u:%u"),
            raw=True,
        )
    )
)
_CRYPTO = Text(
    Many(
        *("name         : %S", "driver       : %S", "module       : %S", "priority     : %d"),
        *("refcnt       : %u", "selftest     : %s", "internal     : %s", "type         : %s"),
        Many(Line(r"(?:async|blocksize|[a-z]+ ?[a-z]*size) +(?<=^.{13}): \S+", raw=True)),
        "",
    )
)

_IDS = " %5u"
_SYSVIPC = {
    "sysvipc/msg": Text(
        "       key      msqid perms      cbytes       qnum lspid lrpid"
        "   uid   gid  cuid  cgid      stime      rtime      ctime",
        Many("%10d %10d  %4u  %10u %10u" + _IDS * 6 + " %10u" * 3),
    ),
    "sysvipc/sem": Text(
        "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime",
        Many("%10d %10d  %4u %10u" + _IDS * 4 + " %10u" * 2),
    ),
    "sysvipc/shm": Text(
        "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid"
        "  cgid      atime      dtime      ctime                   rss                  swap",
        Many("%10d %10d  %4u %21u" + _IDS * 2 + " " + _IDS * 5 + " %10u" * 3 + " %21u" * 2),
    ),
}

_TICK_DEVICE = Block(
    "Tick Device: mode:     %u",
    Either("Broadcast device", "Per CPU device: %u"),
    Either(
        Block(
            "Clock Event Device: <NULL>",
            Maybe("tick_broadcast_mask: %x", Maybe("tick_broadcast_oneshot_mask: %x")),
        ),
        Block(
            *("Clock Event Device: %s", " max_delta_ns:   %u", " min_delta_ns:   %u"),
            *(" mult:           %u", " shift:          %u", " mode:           %u"),
            *(" next_event:     %u nsecs", " set_next_event: %s"),
            Maybe(" shutdown:       %s"),
            Maybe(" periodic:       %s"),
            Maybe(" oneshot:        %s"),
            Maybe(" oneshot stopped: %s"),
            Maybe(" resume:         %s"),
            *(" event_handler:  %s", "", " retries:        %u"),
            Maybe("Wakeup Device: %s"),
        ),
    ),
    "",
)
_TIMER_LIST = Text(
    *("Timer List Version: v0.10", "HRTIMER_MAX_CLOCK_BASES: 8", "now at %u nsecs", ""),
    Many(
        "cpu: %u",
        Many(
            *(" clock %u:", "  .base:       %016x", "  .index:      %u"),
            *("  .resolution: %u nsecs", "  .offset:     %d nsecs", "active timers:"),
            Many(
                Line(r" #\d+: <[0-9a-f]{16}>, \w+, S:[0-9a-f]{2}", raw=True),
                " # expires at %u-%u nsecs [in %d to %d nsecs]",
            ),
            least=8,
        ),
        *("  .expires_next   : %u nsecs", "  .hres_active    : %u", "  .nr_events      : %u"),
        *("  .nr_retries     : %u", "  .nr_hangs       : %u", "  .max_hang_time  : %u"),
        *("  .nohz           : %u", "  .highres        : %u", "  .last_tick      : %u nsecs"),
        *("  .tick_stopped   : %u", "  .idle_jiffies   : %u", "  .idle_calls     : %u"),
        *("  .idle_sleeps    : %u", "  .idle_entrytime : %u nsecs"),
        *("  .idle_waketime  : %u nsecs", "  .idle_exittime  : %u nsecs"),
        *("  .idle_sleeptime : %u nsecs", "  .iowait_sleeptime: %u nsecs"),
        *("  .last_jiffies   : %u", "  .next_timer     : %u", "  .idle_expires   : %u nsecs"),
        *("jiffies: %u", ""),
        least=1,
    ),
    Many(_TICK_DEVICE, least=1),
)

SYSTEM_FORMATS: dict[str, Format] = {
    "meminfo": _MEMINFO,
    "vmstat": Text(Many("%!s %u", least=150)),
    "stat": _STAT,
    "loadavg": _LOADAVG,
    "uptime": Text("%u.%02u %u.%02u"),
    "version": Text("Linux version %s (%S) (%S) #%S"),
    "cmdline": Text("%Z"),
    "buddyinfo": Text(Many(f"Node %u, zone %8s {_ORDERS}", least=1)),
    "pagetypeinfo": _PAGETYPEINFO,
    "zoneinfo": _ZONEINFO,
    "slabinfo": _SLABINFO,
    "vmallocinfo": Text(Many(_VMALLOC_AREA)),
    "swaps": _SWAPS,
    "timer_list": _TIMER_LIST,
    "cpuinfo": _CPUINFO,
    "interrupts": _INTERRUPTS,
    "softirqs": _SOFTIRQS,
    "diskstats": _DISKSTATS,
    "partitions": _PARTITIONS,
    "devices": _DEVICES,
    "misc": Text(Many("%3u %s")),
    "filesystems": Text(Many(Line(r"(?:nodev)?\t\S+", raw=True), least=1)),
    "cgroups": Text(
        "#subsys_name\thierarchy\tnum_cgroups\tenabled", Many("%s\t%u\t%u\t%u", least=1)
    ),
    "consoles": _CONSOLES,
    "dma": Text(Many("%2u: %S")),
    "execdomains": Text("0-0\tLinux           \t[kernel]"),
    "crypto": _CRYPTO,
    "key-users": Text(Many("%5u: %5u %u/%u %u/%u %u/%u")),
    "keys": Text(
        Many(
            Line(
                r"[0-9a-f]{8} [I-][R-][D-][Q-][U-][N-][i-] +\d+ +\S+ [0-9a-f]{8} +\d+ +\d+ \S+ .+",
                raw=True,
            )
        )
    ),
    "locks": Text(
        Many(
            Line(
                r"\d+: (?:-> )*(?:POSIX|FLOCK|LEASE|OFDLCK|ACCESS|DELEG) +(?:ADVISORY |MANDATORY|"
                r"ACTIVE   |BREAKING |BREAKER  ) (?:READ|WRITE|UNLCK|NONE) -?\d+"
                r" [0-9a-f]{2}:[0-9a-f]{2}:\d+ \d+ (?:\d+|EOF)",
                raw=True,
            )
        )
    ),
    "iomem": Text(Many(Line(r"(?:  )*[0-9a-f]{8,}-[0-9a-f]{8,} : \S.*", raw=True))),
    "ioports": Text(Many(Line(r"(?:  )*[0-9a-f]{4}-[0-9a-f]{4} : \S.*", raw=True))),
    "mtrr": Text(
        Many(
            Line(
                r"reg\d\d: base=0x[0-9a-f]{9} \( *\d+MB\), size= *\d+[KM]B, count=\d+: \S+",
                raw=True,
            )
        )
    ),
    **_SYSVIPC,
    "config.gz": Whole(rb"\x1f\x8b.*"),
    "kallsyms": Whole(rb"(?:[0-9a-f]{16} \S [^\n]+\n)*.*"),
    "pressure/cpu": _PRESSURE,
    "pressure/io": _PRESSURE,
    "pressure/memory": _PRESSURE,
    "tty/drivers": Text(
        Many(
            Line(
                expression("%-20s /dev/%-8s %3u ") + rf"(?:{expression('%7u')}|\d+-\d+) \S+",
                raw=True,
            )
        )
    ),
    "tty/ldiscs": Text(Many("%-10s %2u")),
    "tty/driver/serial": Text("serinfo:1.0 driver revision:", Many("%u: uart:%S")),
    "irq/default_smp_affinity": Text(Line("[0-9a-f]{1,8}(?:,[0-9a-f]{8})*", raw=True)),
    "irq/<n>/spurious": Text("count %u", "unhandled %u", "last_unhandled %u ms"),
    "irq/<n>/node": Text("%d"),
    "bus/input/devices": Text(Many(Either(Line(r"[IBNPSUH]: .*", raw=True), ""))),
    "bus/input/handlers": Text(Many("N: Number=%u Name=%S")),
    "bus/pci/devices": Text(
        Many(Line(r"[0-9a-f]{4}\t[0-9a-f]{8}\t[0-9a-f]+" + r"(?:\t +[0-9a-f]+){14}\t\S*", raw=True))
    ),
    "sys/fs/binfmt_misc/status": OneOf(Text("enabled"), Text("disabled")),
    "sys/kernel/random/boot_id": Whole(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\n"),
    "sys/kernel/random/uuid": Whole(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\n"),
    # Not in every configuration.
    "fb": Text(Many("%u %S")),
    "acpi/wakeup": Text("Device\tS-state\t  Status   Sysfs node", Many("%S")),
    "scsi/scsi": Text("Attached devices:", Many("%S")),
    "scsi/device_info": Text(Many("'%Z' '%Z' 0x%x")),
    "modules": Text(Many("%s %u %d %s %s 0x%016x%Z")),
    "schedstat": _SCHEDSTAT,
    "sys/kernel/sysrq": NUMBER,
    "sys/kernel/bootloader_type": NUMBER,
    "sys/kernel/bootloader_version": NUMBER,
    "sys/kernel/usermodehelper/bset": Text("%u\t%u"),
    "sys/kernel/usermodehelper/inheritable": Text("%u\t%u"),
    "sys/kernel/hostname": Text("%S"),
    "sys/kernel/domainname": Text("%S"),
    "sys/kernel/osrelease": Text("%s"),
    "sys/kernel/version": Text("#%S"),
    "sys/kernel/yama/ptrace_scope": NUMBER,
    "sys/kernel/watchdog_cpumask": Text("%s"),
    "sys/net/ipv4/tcp_congestion_control": Text("%s"),
    "sys/net/ipv4/tcp_allowed_congestion_control": _WORD_LIST,
    "sys/net/ipv4/tcp_available_congestion_control": _WORD_LIST,
    "sys/net/ipv4/tcp_available_ulp": OneOf(_WORD_LIST, Text("")),
    "sys/kernel/core_pattern": Text("%Z"),
    "sys/kernel/modprobe": Text("%Z"),
    "sys/kernel/poweroff_cmd": Text("%Z"),
}
"""By their paths in /proc."""
