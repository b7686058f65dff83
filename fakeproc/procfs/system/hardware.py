# SPDX-License-Identifier: MIT
"""cpuinfo, devices, iomem and what else tells of the hardware: a plain virtual machine."""

from __future__ import annotations

from fakeproc.kernel.machine import Machine
from fakeproc.kernel.numa import format_bitmap
from fakeproc.kernel.task import PAGE_BYTES
from fakeproc.procfs.system.node import ALWAYS_EMPTY, SystemFile, SystemFolder, SystemRow, constant

_FLAGS = (
    "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse "
    "sse2 ht syscall nx rdtscp lm constant_tsc rep_good nopl cpuid pni ssse3 cx16 sse4_1 sse4_2 "
    "x2apic popcnt hypervisor lahf_lm"
)


def render_cpuinfo(machine: Machine) -> bytes:
    """Return a block for each CPU, with the lines that x86-64 has (show_cpuinfo, 6.18)."""
    cpus = machine.hardware.cpus
    return "".join(_cpu_block(number, cpus) for number in range(cpus)).encode()


def _cpu_block(number: int, cpus: int) -> str:
    return (
        f"processor\t: {number}\n"
        "vendor_id\t: GenuineIntel\n"
        "cpu family\t: 6\n"
        "model\t\t: 85\n"
        "model name\t: fakeproc simulated CPU\n"
        "stepping\t: 1\n"
        "microcode\t: 0x1\n"
        "cpu MHz\t\t: 1000.000\n"
        "cache size\t: 16384 KB\n"
        "physical id\t: 0\n"
        f"siblings\t: {cpus}\n"
        f"core id\t\t: {number}\n"
        f"cpu cores\t: {cpus}\n"
        f"apicid\t\t: {number}\n"
        f"initial apicid\t: {number}\n"
        "fpu\t\t: yes\n"
        "fpu_exception\t: yes\n"
        "cpuid level\t: 13\n"
        "wp\t\t: yes\n"
        f"flags\t\t: {_FLAGS}\n"
        "bugs\t\t:\n"
        "bogomips\t: 2000.00\n"
        "clflush size\t: 64\n"
        "cache_alignment\t: 64\n"
        "address sizes\t: 46 bits physical, 48 bits virtual\n"
        "power management:\n"
        "\n"
    )


_DEVICES = """\
Character devices:
  1 mem
  4 /dev/vc/0
  4 tty
  4 ttyS
  5 /dev/tty
  5 /dev/console
  5 /dev/ptmx
  7 vcs
 10 misc
 13 input
128 ptm
136 pts

Block devices:
  7 loop
  8 sd
254 virtblk
259 blkext
"""

_MISC = """\
259 cpu_dma_latency
237 loop-control
229 fuse
183 hw_random
256 vga_arbiter
"""

_IOPORTS = """\
0000-0cf7 : PCI Bus 0000:00
  0000-001f : dma1
  0020-0021 : pic1
  0040-0043 : timer0
  0050-0053 : timer1
  0060-0060 : keyboard
  0064-0064 : keyboard
  0070-0071 : rtc_cmos
  0080-008f : dma page reg
  00a0-00a1 : pic2
  00c0-00df : dma2
  00f0-00ff : fpu
  03f8-03ff : serial
0cf8-0cff : PCI conf1
0d00-ffff : PCI Bus 0000:00
"""

_TTY_DRIVERS = """\
/dev/tty             /dev/tty        5       0 system:/dev/tty
/dev/console         /dev/console    5       1 system:console
/dev/ptmx            /dev/ptmx       5       2 system
/dev/vc/0            /dev/vc/0       4       0 system:vtmaster
serial               /dev/ttyS       4      64 serial
pty_slave            /dev/pts      136 0-1048575 pty:slave
pty_master           /dev/ptm      128 0-1048575 pty:master
unknown              /dev/tty        4 1-63 console
"""

_GAP_BEGINS, _GAP_ENDS = 0xC0000000, 0x100000000
"""Where a PC has its devices; what RAM does not fit below goes above."""


def render_iomem(machine: Machine) -> bytes:
    """Return the ranges of physical memory: all RAM, around the gap below 4 GiB."""
    ram_bytes = machine.hardware.present_pages * PAGE_BYTES
    low_ends = min(ram_bytes, _GAP_BEGINS)
    ranges = [
        (0, 0xFFF, "Reserved"),
        (0x1000, 0x9FBFF, "System RAM"),
        (0x9FC00, 0xFFFFF, "Reserved"),
        (0x100000, low_ends - 1, "System RAM"),
        (0xFEC00000, 0xFEC003FF, "IOAPIC 0"),
        (_GAP_ENDS, _GAP_ENDS + ram_bytes - low_ends - 1, "System RAM"),
    ]
    lines = [f"{start:08x}-{end:08x} : {what}\n" for start, end, what in ranges if end > start]
    return "".join(lines).encode()


def _render_all_cpus(machine: Machine) -> bytes:
    cpus = machine.hardware.cpus
    return f"{format_bitmap((1 << cpus) - 1, cpus)}\n".encode()


_ALWAYS_THE_SAME = "a plain virtual machine: always the same"

ROWS: dict[str, SystemRow] = {
    "cpuinfo": SystemFile(reflects="the CPUs", render=render_cpuinfo),
    "iomem": SystemFile(reflects="where the RAM is", render=render_iomem),
    "irq/default_smp_affinity": SystemFile(
        reflects="all CPUs", mode=0o644, render=_render_all_cpus
    ),
    "consoles": constant(_ALWAYS_THE_SAME, "ttyS0                -W- (EC  p a)    4:64\n"),
    "devices": constant(_ALWAYS_THE_SAME, _DEVICES),
    "dma": constant(_ALWAYS_THE_SAME, " 4: cascade\n"),
    "ioports": constant(_ALWAYS_THE_SAME, _IOPORTS),
    "misc": constant(_ALWAYS_THE_SAME, _MISC),
    "tty/drivers": constant(_ALWAYS_THE_SAME, _TTY_DRIVERS),
    "tty/ldiscs": constant(_ALWAYS_THE_SAME, "n_tty       0\nn_null     27\n"),
    "tty/driver": SystemFolder(reflects="root's alone", mode=0o500),
    "tty/driver/serial": constant(
        _ALWAYS_THE_SAME,
        "serinfo:1.0 driver revision:\n"
        "0: uart:16550A port:000003F8 irq:4 tx:0 rx:0 RTS|CTS|DTR|DSR|CD\n",
    ),
    "tty/ldisc": SystemFolder(),
    "bus/input/devices": constant(ALWAYS_EMPTY),
    "bus/input/handlers": constant(_ALWAYS_THE_SAME, "N: Number=0 Name=kbd\n"),
    "bus/pci/devices": constant(ALWAYS_EMPTY),
    "fb": constant(ALWAYS_EMPTY),
    "mtrr": constant(ALWAYS_EMPTY, mode=0o644),
    "scsi/scsi": constant("nothing: no devices", "Attached devices:\n", mode=0o644),
    "scsi/device_info": constant(ALWAYS_EMPTY, mode=0o644),
    "acpi/wakeup": constant(
        "nothing: no devices", "Device\tS-state\t  Status   Sysfs node\n", mode=0o644
    ),
    "driver": SystemFolder(),
}
