# SPDX-License-Identifier: MIT
"""The files of the machine that tell of time, hardware, disks and the network."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import CloneFlags, Hardware, Machine
from fakeproc.kernel.memory import SwapArea
from fakeproc.kernel.mounts import ROOT_PARTITION
from fakeproc.kernel.profile import KernelConfig
from fakeproc.kernel.task import State
from fakeproc.procfs.node import Directory, File, Link, open_file
from fakeproc.procfs.static import by_length
from fakeproc.procfs.task.net import NET_ROWS
from fakeproc.procfs.tree import Procfs

SECOND = 1_000_000_000
TICKS_PER_S = 100


def proc_of(kernel: str = "6.18", cpus: int = 2) -> Procfs:
    return Procfs(Machine(KernelConfig(kernel), Hardware(cpus=cpus), first_pid=100))


def read(procfs: Procfs, path: str) -> str:
    node = procfs.lookup(path, procfs.machine.root)
    assert isinstance(node, File)
    return node.render().decode()


def names(procfs: Procfs, path: str) -> list[str]:
    node = procfs.lookup(path, procfs.machine.root)
    assert isinstance(node, Directory)
    return [name for name, _ in node.entries(procfs.machine.root)]


def stat_of(procfs: Procfs) -> dict[str, list[int]]:
    lines = (line.split() for line in read(procfs, "/stat").splitlines())
    return {name: [int(number) for number in numbers] for name, *numbers in lines}


def task_stat(procfs: Procfs, path: str) -> list[str]:
    text = read(procfs, path)
    return ["", *text[text.rindex(")") + 2 :].split()]


# -- Time --------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["fork", "run", "sleep", "block", "exit"]),
        st.integers(0, 4),
        st.integers(0, 2 * SECOND),
    ),
    max_size=20,
)


@settings(deadline=None)
@given(STEPS, st.integers(1, 3))
def test_the_files_agree_with_the_table_at_every_moment(
    steps: list[tuple[str, int, int]], cpus: int
) -> None:
    procfs = proc_of(cpus=cpus)
    machine = procfs.machine
    for does, number, wait_ns in steps:
        processes = list(machine.processes.values())[2:]
        chosen = processes[number] if number < len(processes) else None
        if does == "fork" or chosen is None or not chosen.leader.alive:
            machine.clone(machine.init.leader, CloneFlags())
        elif does == "exit":
            machine.exit_group(chosen)
        else:
            states = {"run": State.RUNNING, "sleep": State.SLEEPING, "block": State.DISK_SLEEP}
            machine.set_state(chosen.leader, states[does])
        machine.advance(wait_ns)
        _check_against_the_table(procfs)


def _check_against_the_table(procfs: Procfs) -> None:
    machine = procfs.machine
    states = [thread.state for thread in machine.threads()]
    stat = stat_of(procfs)
    assert stat["procs_running"] == [max(states.count(State.RUNNING), 1)]
    assert stat["procs_blocked"] == [states.count(State.DISK_SLEEP)]
    assert stat["processes"] == [machine.forks]
    assert stat["intr"][0] == sum(stat["intr"][1:]) + sum(_row(procfs, "/interrupts", "LOC"))
    assert stat["softirq"][0] == sum(stat["softirq"][1:])
    *_, tasks, last_pid = read(procfs, "/loadavg").split()
    assert tasks == f"{max(states.count(State.RUNNING), 1)}/{len(states)}"
    assert int(last_pid) == max(machine.processes)
    cpus = machine.hardware.cpus
    up_ticks = machine.now_ns * TICKS_PER_S // SECOND
    for number in range(cpus):
        assert abs(sum(stat[f"cpu{number}"]) - up_ticks) <= 4
    assert abs(sum(stat["cpu"]) - up_ticks * cpus) <= 4 * cpus
    up, idle = map(float, read(procfs, "/uptime").split())
    assert idle == pytest.approx(stat["cpu"][3] / TICKS_PER_S, abs=0.011)
    assert idle <= up * cpus + 0.01 * cpus
    users = [int(task_stat(procfs, f"/{pid}/stat")[12]) for pid in machine.processes]
    assert sum(users) <= stat["cpu"][0]


def _row(procfs: Procfs, path: str, name: str) -> list[int]:
    for line in read(procfs, path).splitlines():
        head, _, rest = line.partition(":")
        if head.strip() == name:
            return [int(word) for word in rest.split() if word.isdigit()]
    raise AssertionError(name)


def test_a_busy_task_has_its_time_in_its_own_stat_and_in_its_groups() -> None:
    procfs = proc_of()
    machine = procfs.machine
    process = machine.spawn("app")
    thread = machine.clone_thread(process.leader)
    machine.set_state(thread, State.RUNNING)
    machine.advance(5 * SECOND)
    of_group = task_stat(procfs, f"/{process.pid}/stat")
    of_thread = task_stat(procfs, f"/{process.pid}/task/{thread.tid}/stat")
    assert of_group[12] == of_thread[12] == "500"
    assert of_thread[37] == "0"


def test_the_ticks_of_a_busy_cpu_are_counted() -> None:
    procfs = proc_of()
    machine = procfs.machine
    machine.set_state(machine.spawn("app").leader, State.RUNNING)
    machine.advance(10 * SECOND)
    assert _row(procfs, "/interrupts", "LOC") == [2500, 0]
    assert _row(procfs, "/softirqs", "TIMER") == [2500, 0]
    assert read(procfs, "/schedstat").splitlines()[2:] == [
        "cpu0 0 0 0 0 0 0 10000000000 0 0",
        "cpu1 0 0 0 0 0 0 0 0 0",
    ]


def test_tables_by_cpu_have_the_kernels_columns() -> None:
    procfs = proc_of()
    assert read(procfs, "/interrupts").startswith(
        "           CPU0       CPU1       \n"
        "NMI:          0          0   Non-maskable interrupts\n"
        "LOC:          0          0   Local timer interrupts\n"
    )
    assert "\nERR:          0\n" in read(procfs, "/interrupts")
    assert read(procfs, "/softirqs").startswith(
        "                    CPU0       CPU1       \n"
        "          HI:          0          0\n"
        "       TIMER:          0          0\n"
    )


# -- Disks and hardware ------------------------------------------------------------


def test_the_swap_devices_are_partitions() -> None:
    procfs = proc_of()
    memory = procfs.machine.memory
    memory.swap_areas[:] = [
        SwapArea("/dev/vda2", 250_000, -2),
        SwapArea("/swapfile", 1000, -3),
        SwapArea("/dev/sdb", 500, -4),
    ]
    memory.counters.pswpin, memory.counters.pswpout = 50, 100
    assert read(procfs, "/partitions") == (
        "major minor  #blocks  name\n\n"
        "   8       16       2000 sdb\n"
        " 254        0   68109888 vda\n"
        " 254        1   67108864 vda1\n"
        " 254        2    1000000 vda2\n"
    )
    lines = read(procfs, "/diskstats").splitlines()
    assert lines[3] == " 254       2 vda2 50 0 400 1 100 0 800 2 0 3 3 0 0 0 0 0 0"
    assert lines[1] == " 254       0 vda 50 0 400 1 100 0 800 2 0 3 3 0 0 0 0 0 0"


def test_swap_on_the_partition_of_the_root_is_listed_once() -> None:
    procfs = proc_of()
    procfs.machine.memory.swap_areas[:] = [SwapArea("/dev/vda1", 250_000, -2)]
    assert read(procfs, "/partitions").count(" vda1\n") == 1


def test_the_root_file_system_is_on_a_partition() -> None:
    procfs = proc_of()
    devices = {line.split()[4]: line.split()[2] for line in _mounts(procfs)}
    numbers = {
        line.split()[3]: ":".join(line.split()[:2])
        for line in read(procfs, "/partitions").splitlines()[2:]
    }
    assert devices["/"] in numbers.values()
    assert f" root=/dev/{ROOT_PARTITION} " in read(procfs, "/cmdline")
    assert numbers[ROOT_PARTITION] == devices["/"]


def _mounts(procfs: Procfs) -> list[str]:
    return read(procfs, "/1/mountinfo").splitlines()


@pytest.mark.parametrize(
    ("kernel", "columns"), [("4.14", 14), ("4.19", 18), ("5.4", 18), ("5.10", 20)]
)
def test_diskstats_has_as_many_columns_as_the_generation(kernel: str, columns: int) -> None:
    assert {len(line.split()) for line in read(proc_of(kernel), "/diskstats").splitlines()} == {
        columns
    }


def test_all_ram_is_in_iomem() -> None:
    procfs = proc_of()
    found = 0
    for line in read(procfs, "/iomem").splitlines():
        limits, what = line.split(" : ")
        if what == "System RAM":
            start, end = (int(limit, 16) for limit in limits.split("-"))
            found += end - start + 1
    # What lies below 1 MiB is partly reserved.
    assert 0 <= procfs.machine.hardware.present_pages * 4096 - found <= 1024**2


def test_the_controllers_are_counted_with_their_groups() -> None:
    procfs = proc_of()
    controllers = {
        line.split("\t")[0]: line.split("\t")[1:]
        for line in read(procfs, "/cgroups").splitlines()[1:]
    }
    assert controllers["memory"] == ["1", "1", "1"]
    assert controllers["pids"] == ["0", "1", "1"]
    assert read(procfs, "/1/cgroup").splitlines()[-2:] == ["1:memory:/", "0::/"]


# -- The network -------------------------------------------------------------------


def test_the_links_of_the_root_lead_to_the_reader() -> None:
    procfs = proc_of()
    for name in ("net", "mounts"):
        node = procfs.lookup(f"/{name}", procfs.machine.root)
        assert isinstance(node, Link)
        assert node.target(procfs.machine.root) == f"self/{name}"


def test_each_task_has_the_network() -> None:
    procfs = proc_of()
    process = procfs.machine.spawn("app")
    listed = names(procfs, f"/{process.pid}/net")
    assert listed == sorted({path.split("/")[0] for path in NET_ROWS}, key=by_length)
    assert read(procfs, f"/{process.pid}/net/dev") == read(
        procfs, f"/{process.pid}/task/100/net/dev"
    )
    assert names(procfs, f"/{process.pid}/net/dev_snmp6") == ["lo"]
    assert names(procfs, f"/{process.pid}/net/xt_recent") == []


def test_who_has_exited_is_in_no_network() -> None:
    procfs = proc_of()
    process = procfs.machine.spawn("app")
    procfs.machine.exit_group(process)
    with pytest.raises(Refused) as refused:
        names(procfs, f"/{process.pid}/net")
    assert refused.value.error == errno.EINVAL
    with pytest.raises(Refused) as refused:
        procfs.lookup(f"/{process.pid}/net/dev", procfs.machine.root)
    assert refused.value.error == errno.ENOENT


@pytest.mark.parametrize(("path", "refused"), [("tcp", True), ("dev", True), ("snmp", False)])
def test_a_list_of_the_network_opens_for_reading_only(path: str, refused: bool) -> None:
    procfs = proc_of()
    root = procfs.machine.root
    node = procfs.lookup(f"/1/net/{path}", root)
    assert isinstance(node, File)
    if not refused:
        open_file(node, os.O_WRONLY, root)
        return
    with pytest.raises(Refused) as error:
        open_file(node, os.O_WRONLY, root)
    assert error.value.error == errno.EACCES


@pytest.mark.parametrize("path", ["snmp", "netstat"])
def test_each_name_of_a_counter_has_a_value(path: str) -> None:
    lines = read(proc_of(), f"/1/net/{path}").splitlines()
    for heads, values in zip(lines[::2], lines[1::2], strict=True):
        assert heads.split(":")[0] == values.split(":")[0]
        assert len(heads.split()) == len(values.split())


@pytest.mark.parametrize("name", ["softnet_stat", "stat/arp_cache", "stat/nf_conntrack"])
def test_tables_of_the_network_have_a_line_for_each_cpu(name: str) -> None:
    lines = read(proc_of(cpus=3), f"/1/net/{name}").splitlines()
    assert len(lines) == 3 + name.startswith("stat/")
