# SPDX-License-Identifier: MIT
"""From a host to a scenario that loads: on hosts that no test machine is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakeproc.kernel.details import details_of
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import sizes_for
from fakeproc.kernel.task import Credentials, State, truncate_comm
from fakeproc.scenario import load_scenario
from fakeproc.snapshot.cgroups import HostMemcg
from fakeproc.snapshot.command import snapshot_text, subtree
from fakeproc.snapshot.host import SwapArea
from fakeproc.snapshot.process import HostThread, printable
from fakeproc.snapshot.redact import Plain, Redacted
from tests.snapshot.hosts import (
    MEMORY,
    NOTHING_SHOWN,
    host,
    host_process,
    mounted,
    only,
    zombie,
)

LARGE = sizes_for(anon_pages=2**20)
LARGE_SCORE = 963
"""Of 4G on a machine of 8G with 1G of swap."""


# -- Hardware, kernel, settings ----------------------------------------------------


def test_the_machine_is_the_host() -> None:
    machine = mounted(host(sysctls={"vm/swappiness": 10, "vm/panic_on_oom": 2}))
    hardware = machine.hardware
    assert (hardware.ram_pages, hardware.swap_pages, hardware.cpus) == (2**21, 2**18, 2)
    assert (hardware.hostname, machine.now_ns) == ("box", 60 * 10**9)
    assert machine.sysctls["vm/swappiness"] == 10
    assert machine.sysctls["vm/panic_on_oom"] == 2


@pytest.mark.parametrize(
    ("release", "version"),
    [("6.18.44-fc", (6, 18)), ("5.9.0-rc1", (5, 9)), ("4.1.2", (4, 4)), ("7.2", (7, 2))],
)
def test_the_rules_are_those_of_the_release(release: str, version: tuple[int, int]) -> None:
    assert mounted(host(release=release)).profile.version == version


@pytest.mark.parametrize("anon_pages", [2**18, 2**19])
def test_memory_is_shared_out_as_on_the_host(anon_pages: int) -> None:
    """What is free there is free here, as long as the cache is not larger than there."""
    web = host_process(30, "web", sizes=sizes_for(anon_pages=anon_pages), score_stood_still=False)
    memory = mounted(host(web)).memory
    assert (memory.slab_reclaimable_pages, memory.slab_unreclaimable_pages) == (2**14, 2**14)
    assert memory.cache_dirty_pages == 2**10
    if anon_pages == 2**18:
        assert memory.cache_pages == 2**19
        assert memory.free_pages > 2**20
    else:
        assert memory.cache_pages < 2**19
        assert memory.free_pages == 2**20


def test_swap_areas() -> None:
    areas = (SwapArea("/dev/sda2", 2**17, -2), SwapArea("/swap file", 2**16, 5))
    machine = mounted(host(swap_areas=areas, memory=replace(MEMORY, swap_pages=3 * 2**16)))
    assert machine.hardware.swap_pages == 3 * 2**16
    assert [(area.name, area.priority) for area in machine.memory.swap_areas] == [
        ("/dev/sda2", -2),
        ("/swap file", 5),
    ]


def test_more_in_the_processes_than_there_is() -> None:
    """Each counts the pages that all share."""
    crowd = [host_process(pid, sizes=LARGE, oom_score=LARGE_SCORE) for pid in (10, 11, 12)]
    machine = mounted(host(*crowd))
    assert machine.hardware.oversubscribed
    assert [machine.oom_score(machine.process(pid)) for pid in (10, 11, 12)] == [LARGE_SCORE] * 3


# -- Processes ---------------------------------------------------------------------


def test_a_process() -> None:
    process = host_process(
        50, "web", credentials=Credentials(5, 6, 0xFF), oom_score_adj=-5, oom_score=663,
        threads=(HostThread(51, "web"), HostThread(53, "gc")), sizes=sizes_for(anon_pages=640),
    )  # fmt: skip
    machine = mounted(host(process))
    found = only(machine, "web")
    assert found.leader.credentials == Credentials(5, 6, 0xFF)
    assert found.oom_score_adj == -5
    assert [(thread.tid, thread.comm) for thread in found.threads] == [
        (50, "web"),
        (51, "web"),
        (53, "gc"),
    ]
    assert found.mm is not None
    assert found.mm.sizes == sizes_for(anon_pages=640)


def test_init_is_the_hosts() -> None:
    machine = mounted(host())
    assert machine.init.comm == "init"
    assert machine.init.mm is not None
    assert machine.init.mm.sizes == sizes_for(anon_pages=320)


def test_in_a_pid_namespace_pid_1_is_an_ordinary_process() -> None:
    ordinary = (
        host_process(1, "entry", 0),
        host_process(2, "worker", 1),
        host_process(9, "other", 1, threads=(HostThread(12, "other"),)),
    )
    inside = host(processes=ordinary, sees_init=False)
    machine = mounted(inside)
    entry, worker = only(machine, "entry"), only(machine, "worker")
    assert (entry.pid, worker.pid) == (13, 14)
    assert worker.real_parent is entry.leader
    assert only(machine, "other").real_parent is entry.leader
    assert machine.oom_score(entry) == NOTHING_SHOWN
    text = snapshot_text(inside, Plain())
    assert "# pid 1 is 13 here.\n" in text


def test_the_order_is_that_of_creation_whatever_the_pids_are() -> None:
    """For each two that have the same points the order decides whom the OOM killer takes."""
    machine = mounted(
        host(
            host_process(40, "a"),
            host_process(30, "b", 40, start_ticks=50),
            host_process(35, "c", start_ticks=45),
            host_process(20, "child", 35, start_ticks=45),
        )
    )
    assert [process.comm for process in machine.processes.values()][2:] == ["a", "c", "child", "b"]
    assert only(machine, "b").real_parent is only(machine, "a").leader


def test_who_has_lost_the_parent_is_inits() -> None:
    machine = mounted(host(host_process(30, "a", 29), host_process(31, "helper", 2)))
    assert only(machine, "a").real_parent is machine.init.leader
    assert only(machine, "helper").real_parent is machine.init.leader


def test_kernel_threads() -> None:
    nobody = sizes_for(anon_pages=0, total_vm_pages=0, pte_pages=0, pmd_pages=0)
    kthread = host_process(
        30, "kworker/u8:0-events_unbound", 2, is_kthread=True, mm_tid=None, sizes=nobody,
        oom_score=0, state="I",
    )  # fmt: skip
    found = mounted(host(kthread)).process(30)
    assert found.is_kthread
    assert found.comm == "kworker/u8:0-ev"


@pytest.mark.parametrize(
    ("letter", "state"),
    [("R", State.RUNNING), ("S", State.SLEEPING), ("D", State.DISK_SLEEP), ("t", State.STOPPED)],
)
def test_states(letter: str, state: State) -> None:
    assert only(mounted(host(host_process(30, "a", state=letter))), "a").leader.state is state


def test_one_without_an_mm_is_as_good_as_a_zombie() -> None:
    """It is on its way out, and still says R."""
    machine = mounted(host(zombie(30, state="R")))
    assert machine.process(30).is_zombie


def test_a_zombie_and_a_leader_that_has_exited() -> None:
    exited = host_process(31, "gone", state="Z", mm_tid=33, threads=(HostThread(33, "lives"),))
    machine = mounted(host(zombie(30), exited))
    assert machine.process(30).is_zombie
    assert machine.oom_score(machine.process(30)) == 0
    process = machine.process(31)
    assert process.leader.state is State.ZOMBIE
    assert not process.is_zombie
    assert machine.oom_score(process) == NOTHING_SHOWN


# -- Whose memory it is --------------------------------------------------------------


def test_sharers_whether_or_not_one_is_the_others_child() -> None:
    machine = mounted(
        host(
            host_process(30, "owner", sizes=LARGE, oom_score=LARGE_SCORE),
            host_process(31, "child", 30, sizes=LARGE, oom_score=LARGE_SCORE),
            host_process(32, "between", 30),
            host_process(33, "far", 32, sizes=LARGE, oom_score=LARGE_SCORE),
            mm_groups=((33, 30, 31),),
        )
    )
    owner = only(machine, "owner")
    assert owner.mm is only(machine, "child").mm is only(machine, "far").mm
    assert only(machine, "far").real_parent is only(machine, "between").leader
    assert machine.oom_score(only(machine, "far")) == LARGE_SCORE


def test_vfork_shows_in_the_score() -> None:
    machine = mounted(
        host(
            host_process(30, "shell", state="D"),
            host_process(31, "child", 30, oom_score=0),
            host_process(32, "before", 30, start_ticks=40),
            mm_groups=((30, 31),),
        )
    )
    child, shell = only(machine, "child"), only(machine, "shell")
    assert child.leader.vfork_parent is shell.leader
    assert child.mm is shell.mm
    assert machine.oom_score(child) == 0
    assert shell.leader.state is State.DISK_SLEEP
    assert only(machine, "before").real_parent is shell.leader


def test_vfork_of_who_could_not_be_compared_is_guessed() -> None:
    alike = (host_process(30, "shell", state="D"), host_process(31, "child", 30, oom_score=0))
    machine = mounted(host(*alike, compared=frozenset()))
    assert only(machine, "child").leader.vfork_done


def test_before_4_8_only_the_sleep_of_the_parent_tells_of_vfork() -> None:
    pair = (
        host_process(30, "shell", state="D", oom_score=0),
        host_process(31, "c", 30, oom_score=0),
    )
    machine = mounted(host(*pair, mm_groups=((30, 31),), release="4.4.0"))
    assert only(machine, "c").leader.vfork_done


def test_memory_that_has_been_reaped() -> None:
    machine = mounted(host(host_process(30, "reaped", sizes=LARGE, oom_score=0)))
    found = only(machine, "reaped")
    assert found.mm is not None
    assert found.mm.hidden
    assert machine.oom_score(found) == 0


# -- Cgroups -------------------------------------------------------------------------


def test_groups_and_their_limits() -> None:
    machine = mounted(
        host(
            host_process(30, "a", memcg_path="/web/1"),
            host_process(31, "b", 30, memcg_path="/"),
            memcgs=(
                HostMemcg("/web", 1000, 500, oom_group=True),
                HostMemcg("/web/1", oom_kill_disable=True),
            ),
        )
    )
    web = machine.memcg("/web")
    assert (web.limit_pages, web.swap_limit_pages, web.oom_group) == (1000, 500, True)
    assert only(machine, "a").memcg is machine.memcg("/web/1")
    assert machine.memcg("/web/1").oom_kill_disable
    assert only(machine, "b").memcg is machine.root_memcg


def test_the_limit_of_a_container_is_that_of_a_group() -> None:
    machine = mounted(
        host(
            host_process(30, "a"),
            host_process(31, "b", memcg_path="/web"),
            memcgs=(HostMemcg("/web"),),
            limits_everybody=HostMemcg("/", 1000),
        )
    )
    assert machine.memcg("/container").limit_pages == 1000
    assert only(machine, "a").memcg is machine.memcg("/container")
    assert only(machine, "b").memcg is machine.memcg("/container/web")


# -- As text -------------------------------------------------------------------------


def text_loads_as(text: str, folder: Path) -> list[str]:
    """Return the names in a scenario's text."""
    path = folder / "host.toml"
    path.write_text(text)
    return [process.comm for process in load_scenario(path).processes.values()]


@given(st.binary(min_size=1, max_size=15), st.lists(st.binary(max_size=20), max_size=3))
def test_names_and_command_lines_of_any_bytes_load(name: bytes, words: list[bytes]) -> None:
    comm = printable(name.split(b"\0")[0])
    cmdline = tuple(printable(word.split(b"\0")[0]) for word in words)
    path = "/" + comm.replace("/", "-")
    process = host_process(30, comm, cmdline=cmdline, memcg_path=path)
    machine = mounted(host(process))
    found = machine.process(30)
    assert found.comm == truncate_comm(comm or "?")
    assert found.mm is not None
    if cmdline:
        assert [word.decode() for word in found.mm.cmdline] == list(cmdline)


@pytest.mark.parametrize(
    "name", ['say "hi"', "two\nlines", "[x]", "a # b", "\x7f\x01", "\\xff", "ü"]
)
def test_the_text_round_trips(tmp_path: Path, name: str) -> None:
    text = snapshot_text(host(host_process(30, name, memcg_path=f"/{name}")), Plain())
    assert text_loads_as(text, tmp_path)[2] == name


def test_redacted_there_is_no_name_left(tmp_path: Path) -> None:
    secret = host(
        host_process(
            30, "secret", memcg_path="/secret/secret", cmdline=("/home/secret", "--key=secret"),
            threads=(HostThread(31, "secret-gc"), HostThread(32, "secret")),
        ),
        host_process(33, "secret"),
        hostname="secret",
        release="6.18.0-secret",
        swap_areas=(SwapArea("/secret", 100, -2),), memory=MEMORY,
        memcgs=(HostMemcg("/secret/secret", 2000),),
    )  # fmt: skip
    text = snapshot_text(secret, Redacted())
    assert "secret" not in text
    names = text_loads_as(text, tmp_path)
    assert names == ["name-1", "kthreadd", "name-2", "name-2"]
    machine = load_scenario(tmp_path / "host.toml")
    assert [thread.comm for thread in machine.process(30).threads] == ["name-2", "name-3", "name-2"]
    assert machine.process(30).memcg.path == "/group-1/group-1"


def test_the_head_says_what_is_not_known() -> None:
    text = snapshot_text(
        host(
            host_process(30, "a", oom_score=0, sizes=LARGE),
            host_process(31, "b"),
            host_process(32, "c"),
            host_process(33, "d", oom_score=NOTHING_SHOWN + 5, score_stood_still=False),
            compared=frozenset({1, 30, 31}),
            unreadable=3,
        ),
        Plain(),
    )
    head = [line for line in text.splitlines() if line.startswith("#")]
    assert head == [
        "# A host with Linux 6.18.1, 60 s after boot.",
        "# processes: 6; their threads: 6",
        "# left out, since their files may not be read: 3",
        "# oom_score as on the host: 5; off by 1: 0; by more: 1",
        "# scores that moved while they were read: 1",
        "# just as large as others, so perhaps on their mms, which could not be compared: 2",
        "# without a score, so taken to be hidden from the OOM killer: 30",
        "# The least oom_score_adj of each shows nowhere: it is taken to be the present one.",
    ]


def test_a_tree() -> None:
    whole = host(
        host_process(30, "a"), host_process(31, "b", 30), host_process(32, "c", 31),
        host_process(33, "d"), mm_groups=((31, 32, 33),),
    )  # fmt: skip
    tree = subtree(whole, 31)
    assert [process.name for process in tree.processes] == ["b", "c"]
    assert tree.mm_groups == ((31, 32),)
    machine = mounted(tree)
    assert only(machine, "c").mm is only(machine, "b").mm
    everybody = subtree(whole, 1)
    assert mounted(everybody).init.comm == "init"
    with pytest.raises(Refused, match="--pid 77: there is no such process"):
        subtree(whole, 77)


def test_folder_nice_value_and_terminal_where_they_would_not_come_by_themselves() -> None:
    parent = host_process(10, "sh", cwd="/srv", nice=5, tty="pts/0", exe="/bin/sh")
    machine = mounted(host(parent, host_process(11, "cat", parent=10)))
    told = details_of(machine.process(10))
    assert (told.exe, told.cwd, told.nice, told.tty) == ("/bin/sh", "/srv", 5, "pts/0")
    assert machine.process(11).details is None


def test_redaction_leaves_out_paths_of_programs_and_folders() -> None:
    process = host_process(10, "sh", cwd="/srv", nice=5, exe="/bin/sh")
    told = details_of(mounted(host(process), Redacted()).process(10))
    assert (told.exe, told.cwd, told.nice) == ("", "/", 5)
