# SPDX-License-Identifier: MIT
"""net/: a network that has a loopback device, over which nothing has ever gone.

The contents are those of a network namespace of 6.18 in which ``lo`` is up and no socket is
open.  /proc/net is a link to the reader's own.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.task import Caller, Thread
from fakeproc.procfs.node import Attributes, Directory, Node
from fakeproc.procfs.session import Session
from fakeproc.procfs.static import StaticDirectory, nest
from fakeproc.procfs.system.node import ALWAYS_EMPTY, SystemFile, SystemFolder, SystemNode, constant
from fakeproc.procfs.task.net_counters import DEVICE_SNMP6, NETSTAT, SNMP, SNMP6, XFRM
from fakeproc.procfs.task.node import TaskFolder, TaskRow

_NO_SOCKETS = "nothing: there are no sockets"
_NO_TRAFFIC = "nothing: all 0"

# -- What is always the same -------------------------------------------------------

_SOCKETS_4 = (
    "sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
)
_SOCKETS_6 = (
    "  sl  local_address                         remote_address                       "
    " st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
)
_MORE = " ref pointer drops"

_HEADERS = {
    "arp": "IP address       HW type     Flags       HW address            Mask     Device",
    "icmp": f"  {_SOCKETS_4}{_MORE}".ljust(127),
    "icmp6": _SOCKETS_6 + _MORE,
    "ip6_flowlabel": "Label S Owner  Users  Linger Expires  Dst                              Opt",
    "ip6_mr_cache": (
        "Group                            Origin                           "
        "Iif      Pkts  Bytes     Wrong  Oifs"
    ),
    "ip6_mr_vif": "Interface      BytesIn  PktsIn  BytesOut PktsOut Flags",
    "ip_mr_cache": "Group    Origin   Iif     Pkts    Bytes    Wrong Oifs",
    "ip_mr_vif": "Interface      BytesIn  PktsIn  BytesOut PktsOut Flags Local    Remote",
    "mcfilter": "Idx Device        MCA        SRC    INC    EXC",
    "mcfilter6": (
        "Idx Device                Multicast Address                   Source Address    INC    EXC"
    ),
    "netlink": (
        "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode"
    ),
    "packet": "sk               RefCnt Type Proto  Iface R Rmem   User   Inode",
    "raw": f"  {_SOCKETS_4}{_MORE}",
    "raw6": _SOCKETS_6 + _MORE,
    "route": (
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"
    ).ljust(127),
    "rt_cache": (
        "Iface\tDestination\tGateway \tFlags\t\tRefCnt\tUse\tMetric\tSource\t\t"
        "MTU\tWindow\tIRTT\tTOS\tHHRef\tHHUptod\tSpecDst"
    ).ljust(127),
    "tcp": f"  {_SOCKETS_4}".ljust(149),
    "tcp6": _SOCKETS_6,
    "udp": f"   {_SOCKETS_4}{_MORE}".ljust(127),
    "udp6": _SOCKETS_6 + _MORE,
    "udplite": f"   {_SOCKETS_4}{_MORE}".ljust(127),
    "udplite6": _SOCKETS_6 + _MORE,
    "unix": "Num       RefCount Protocol Flags    Type St Inode Path",
}
"""Tables in which there is nothing but the heads of the columns."""

_FIB = """\
  +-- 127.0.0.0/8 2 0 2
     +-- 127.0.0.0/31 1 0 0
        |-- 127.0.0.0
           /8 host LOCAL
        |-- 127.0.0.1
           /32 host LOCAL
     |-- 127.255.255.255
        /32 link BROADCAST
"""
_FIB_STATISTICS = """\
\tAver depth:     1.66
\tMax depth:      2
\tLeaves:         3
\tPrefixes:       3
\tInternal nodes: 2
\t  1: 1  2: 1
\tPointers: 6
Null ptrs: 2
Total size: 1  kB
"""
_NOWHERE = "0" * 32
_LOOPBACK = "0" * 31 + "1"
_REJECTED = f"{_NOWHERE} 00 {_NOWHERE} 00 {_NOWHERE} ffffffff 00000001 00000000 00200200       lo\n"

_OF_LOOPBACK = {
    "dev": (
        "Inter-|   Receive                                                |  Transmit\n"
        " face |bytes    packets errs drop fifo frame compressed multicast"
        "|bytes    packets errs drop fifo colls carrier compressed\n"
        "    lo:       0       0    0    0    0     0          0         0"
        "        0       0    0    0    0     0       0          0\n"
    ),
    "dev_mcast": "",
    "fib_trie": f"Main:\n{_FIB}Local:\n{_FIB}",
    "fib_triestat": (
        "Basic info: size of leaf: 48 bytes, size of tnode: 40 bytes.\n"
        f"Main:\n{_FIB_STATISTICS}Local:\n{_FIB_STATISTICS}"
    ),
    "if_inet6": f"{_LOOPBACK} 01 80 10 80       lo\n",
    "igmp": (
        "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n"
        "1\tlo        :     1      V3\n"
        "\t\t\t\t010000E0     1 0:00000000\t\t0\n"
    ),
    "igmp6": (
        "1    lo              ff020000000000000000000000000001     1 0000000C 0\n"
        "1    lo              ff010000000000000000000000000001     1 00000008 0\n"
    ),
    "ipv6_route": (
        f"{_REJECTED}{_LOOPBACK} 80 {_NOWHERE} 00 {_NOWHERE} "
        f"00000000 00000002 00000000 80200001       lo\n{_REJECTED}"
    ),
    "rt6_stats": "0001 0001 0000 0001 0000 0000 0000\n",
}

_CONSTANT = {
    "connector": "Name            ID\ncn_proc         1:1\n",
    "pnp": "#MANUAL\n",
    "psched": "000003e8 00000040 000f4240 3b9aca00\n",
    "ptype": (
        "Type Device      Function\n"
        "0800          ip_rcv\n0004          llc_rcv\n0806          arp_rcv\n"
        "86dd          ipv6_rcv\n"
    ),
    "rt_acct": "\0" * 4096,
    "sockstat": (
        "sockets: used 0\nTCP: inuse 0 orphan 0 tw 0 alloc 0 mem 0\nUDP: inuse 0 mem 0\n"
        "UDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n"
    ),
    "sockstat6": (
        "TCP6: inuse 0\nUDP6: inuse 0\nUDPLITE6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0\n"
    ),
    "netfilter/nf_log": "".join(f"{number:2d} NONE ()\n" for number in range(11)),
}

_EMPTY = {
    **dict.fromkeys(("anycast6", "ipconfig/ntp_servers"), 0o444),
    **dict.fromkeys(("nf_conntrack", "nf_conntrack_expect"), 0o440),
    **dict.fromkeys(("netfilter/nfnetlink_log", "netfilter/nfnetlink_queue"), 0o440),
    **{
        f"{family}_tables_{what}": 0o440
        for family in ("arp", "ip", "ip6")
        for what in ("matches", "names", "targets")
    },
}
"""Files in which there is nothing, with their modes."""

# Names of protocols, the size of a socket, whether memory is limited ("no") or not counted
# ("NI"), the largest header, whether it has a slab, and which operations it has.
_PROTOCOLS = """
    AF_VSOCK 1240 -1 NI 0 yes ynnnnnnnnnnnnnnnnn
    PACKET 1600 -1 NI 0 no nnnnnnnnnnnnnnnnnn
    MPTCPv6 2064 0 no 0 yes yyynyyyyyyyynnyyyn
    PINGv6 1344 -1 NI 0 yes yyynnynnyyyyyynyyn
    RAWv6 1344 -1 NI 0 yes yyynyyynyyyyyyyynn
    UDPLITEv6 1472 0 NI 0 yes yyynyyynyyyynnyyyn
    UDPv6 1472 0 NI 0 yes yyynyyynyyyynnyyyn
    TCPv6 2432 0 no 192 yes yyyyyyyyyyyynyyyyy
    XDP 1088 -1 NI 0 no nnnnnnnnnnnnnnnnnn
    UNIX-STREAM 1152 -1 NI 0 yes ynnnnnnnnnnnnnnnnn
    UNIX 1152 -1 NI 0 yes ynnnnnnnnnnnnnnnnn
    UDP-Lite 1344 0 NI 0 yes yyynyyynyyyynnyyyn
    MPTCP 1936 0 no 0 yes yyynyyyyyyyynnyyyn
    PING 1016 -1 NI 0 yes yyynnynnyyyyyynyyn
    RAW 1152 -1 NI 0 yes yyynyyynyyyyyyyynn
    UDP 1344 0 NI 0 yes yyynyyynyyyynnyyyn
    TCP 2304 0 no 192 yes yyyyyyyyyyyynyyyyy
    NETLINK 1096 -1 NI 0 no nnnnnnnnnnnnnnnnnn
"""

_CACHE_COLUMNS = {
    "arp_cache": (
        "entries allocs destroys hash_grows lookups hits res_failed rcv_probes_mcast "
        "rcv_probes_ucast periodic_gc_runs forced_gc_runs unresolved_discards table_fulls"
    ),
    "rt_cache": (
        "entries in_hit in_slow_tot in_slow_mc in_no_route in_brd in_martian_dst in_martian_src "
        "out_hit out_slow_tot out_slow_mc gc_total gc_ignored gc_goal_miss gc_dst_overflow "
        "in_hlist_search out_hlist_search"
    ),
}
_CACHE_COLUMNS["ndisc_cache"] = _CACHE_COLUMNS["arp_cache"]


# -- What is made of names ---------------------------------------------------------


def _render_counters(names: Iterable[str], width: int, machine: Machine) -> bytes:
    return "".join(f"{name:<{width}}\t0\n" for name in names).encode()


def _render_device_snmp6(machine: Machine) -> bytes:
    index = f"{'ifIndex':<32}\t1\n".encode()
    return index + _render_counters(DEVICE_SNMP6, 32, machine)


def _render_groups(groups: Mapping[str, Sequence[str]], machine: Machine) -> bytes:
    """Return two lines of each group: the names, and what they have come to."""
    lines = []
    for group, names in groups.items():
        values = (str(_SETTINGS.get((group, name), 0)) for name in names)
        lines += [f"{group}: {' '.join(names)}\n", f"{group}: {' '.join(values)}\n"]
    return "".join(lines).encode()


_SETTINGS = {
    ("Ip", "Forwarding"): 2,
    ("Ip", "DefaultTTL"): 64,
    ("Tcp", "RtoAlgorithm"): 1,
    ("Tcp", "RtoMin"): 200,
    ("Tcp", "RtoMax"): 120000,
    ("Tcp", "MaxConn"): -1,
}
"""What stands among the counters and is none."""


def _render_protocols(machine: Machine) -> bytes:
    lines = [
        "protocol  size sockets  memory press maxhdr  slab module     "
        "cl co di ac io in de sh ss gs se re bi br ha uh gp em"
    ]
    for line in _PROTOCOLS.split("\n"):
        if not line.strip():
            continue
        name, size, memory, press, header, slab, has = line.split()
        operations = "  ".join(has)
        lines.append(
            f"{name:<9} {size:>4} {0:6d}  {memory:>6}   {press:<3} {header:>6}   "
            f"{slab:<3}  {'kernel':<10}  {operations}"
        )
    return ("\n".join(lines) + "\n").encode()


def _render_softnet_stat(machine: Machine) -> bytes:
    """Return fifteen columns for each CPU, of which the thirteenth is its number (6.18)."""
    lines = []
    for number in range(machine.hardware.cpus):
        columns = [0] * 12 + [number, 0, 0]
        lines.append(" ".join(f"{column:08x}" for column in columns) + "\n")
    return "".join(lines).encode()


def _render_cache(name: str, machine: Machine) -> bytes:
    columns = _CACHE_COLUMNS[name].split()
    widths = [max(len(column), 8) for column in columns]
    head = " ".join(map(str.ljust, columns, widths)).rstrip()
    line = " ".join(f"{0:08x}".ljust(width) for width in widths).rstrip()
    return "\n".join([head, *[line] * machine.hardware.cpus, ""]).encode()


def _render_conntrack(machine: Machine) -> bytes:
    head = (
        "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop "
        "early_drop icmp_error  expect_new expect_create expect_delete search_restart"
    )
    zero = f"{0:08x}"
    line = f"{zero}  {' '.join([zero] * 12)}  {' '.join([zero] * 4)}"
    return "\n".join([head, *[line] * machine.hardware.cpus, ""]).encode()


def _render_synproxy(machine: Machine) -> bytes:
    head = "entries\t\tsyn_received\tcookie_invalid\tcookie_valid\tcookie_retrans\tconn_reopened"
    line = "\t".join([f"{0:08x}"] * 6)
    return "\n".join([head, *[line] * machine.hardware.cpus, ""]).encode()


NET_ROWS: dict[str, SystemFile | SystemFolder] = {
    **{name: constant(_NO_SOCKETS, f"{head}\n") for name, head in _HEADERS.items()},
    **{name: constant("a loopback device that is up", text) for name, text in _OF_LOOPBACK.items()},
    **{name: constant(_NO_TRAFFIC, text) for name, text in _CONSTANT.items()},
    **{name: constant(ALWAYS_EMPTY, mode=mode) for name, mode in _EMPTY.items()},
    **{
        f"stat/{name}": SystemFile(reflects=_NO_TRAFFIC, render=partial(_render_cache, name))
        for name in _CACHE_COLUMNS
    },
    **{name: SystemFolder() for name in ("ip6t_hashlimit", "ipt_hashlimit", "xt_recent")},
    "dev_snmp6/lo": SystemFile(reflects=_NO_TRAFFIC, render=_render_device_snmp6),
    "netstat": SystemFile(reflects=_NO_TRAFFIC, render=partial(_render_groups, NETSTAT)),
    "protocols": SystemFile(reflects=_NO_SOCKETS, render=_render_protocols),
    "snmp": SystemFile(reflects=_NO_TRAFFIC, render=partial(_render_groups, SNMP)),
    "snmp6": SystemFile(reflects=_NO_TRAFFIC, render=partial(_render_counters, SNMP6, 32)),
    "softnet_stat": SystemFile(reflects=_NO_TRAFFIC, render=_render_softnet_stat),
    "stat/nf_conntrack": SystemFile(reflects=_NO_TRAFFIC, render=_render_conntrack),
    "stat/synproxy": SystemFile(reflects=_NO_TRAFFIC, render=_render_synproxy),
    "xfrm_stat": SystemFile(reflects=_NO_TRAFFIC, render=partial(_render_counters, XFRM, 24)),
}
"""The files of net/, by their path in it."""

_SINGLE = {"fib_triestat", "netstat", "rt6_stats", "rt_acct", "snmp", "snmp6", "sockstat"}
_SINGLE |= {"sockstat6", "xfrm_stat", "softnet_stat", "pnp", "psched"}
_SINGLE |= {"ipconfig/ntp_servers", "dev_snmp6/lo"}


class _NetFile(SystemNode):
    """A file of net/: one that lists things cannot be opened for writing, not even by root."""

    def __init__(self, session: Session, path: str, row: SystemFile) -> None:
        super().__init__(session, path, row)
        self._is_list = path not in _SINGLE

    def require_access(self, caller: Caller, wanted: int) -> None:
        """Refuse by the mode, and with EACCES the writing of a list (seq_open_net)."""
        super().require_access(caller, wanted)
        if self._is_list and wanted & os.W_OK:
            raise Refused(errno.EACCES)


class _Net(StaticDirectory):
    """net/ of a task.  One that has exited is in no network any more (seen on 6.18)."""

    def __init__(self, session: Session, thread: Thread) -> None:
        super().__init__(_nodes(session))
        self._thread = thread

    def attributes(self) -> Attributes:
        """Return the mode of a directory, with the task's owner."""
        uid, gid = self._thread.process.owner(self._thread)
        mode = super().attributes().mode
        folders = 0 if self._thread.exiting else len(_FOLDERS)
        return Attributes(mode, uid, gid, nlink=2 + folders)

    def entries(self, caller: Caller) -> Iterable[tuple[str, int]]:
        """Return the names; EINVAL of a task that has exited."""
        if self._thread.exiting:
            raise Refused(errno.EINVAL)
        return super().entries(caller)

    def child(self, name: str, caller: Caller) -> Node:
        """Return an entry; ENOENT for none, and of a task that has exited."""
        if self._thread.exiting:
            raise Refused(errno.ENOENT)
        return super().child(name, caller)


_FOLDERS = {
    path.split("/")[0]
    for path, row in NET_ROWS.items()
    if "/" in path or isinstance(row, SystemFolder)
}


@lru_cache(maxsize=1)
def _nodes(session: Session) -> dict[str, Node]:
    """Return what is in it, which is the same for every task; there is one session at a time."""
    return nest({path: _node(session, path) for path in NET_ROWS})


def _node(session: Session, path: str) -> Node:
    row = NET_ROWS[path]
    if isinstance(row, SystemFile):
        return _NetFile(session, path, row)
    return row.node(session, path)


def _directory(session: Session, thread: Thread) -> Directory:
    return _Net(session, thread)


ROWS: dict[str, TaskRow] = {
    "net": TaskFolder(reflects="a loopback device without traffic", directory=_directory),
}
