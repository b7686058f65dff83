# SPDX-License-Identifier: MIT
"""Scenario files: the built-in one, every key, and errors that name file, key and values."""

from __future__ import annotations

import errno
from pathlib import Path
from textwrap import dedent

import pytest

from fakeproc.kernel.capability import CAP_KILL
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import FIRST_PID, Hardware, Machine, default_sizes
from fakeproc.kernel.numa import Placement, PolicyMode
from fakeproc.kernel.profile import PROFILE_NAMES, KernelConfig
from fakeproc.kernel.task import Credentials, Hold, Mm, Process, State
from fakeproc.scenario import load_scenario
from fakeproc.scenario.load import find_problems

MIB_PAGES = 256


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def load(folder: Path, text: str, config: KernelConfig | None = None) -> Machine:
    """Load a scenario of this text; `version = 1` goes without saying."""
    path = folder / "my.toml"
    path.write_text("version = 1\n" + dedent(text))
    return load_scenario(path, config)


def user_processes(machine: Machine) -> list[Process]:
    return [process for process in machine.processes.values() if process.pid > 2]


def only_process(machine: Machine) -> Process:
    (process,) = user_processes(machine)
    return process


def mm_of(process: Process) -> Mm:
    assert process.mm is not None
    return process.mm


# -- The built-in scenario ------------------------------------------------------------


def test_the_builtin_scenario_is_a_small_server() -> None:
    machine = load_scenario()
    named = [(process.comm, process.oom_score_adj) for process in user_processes(machine)]
    assert named == [
        ("kswapd0", 0),
        ("sshd", -1000),
        ("bash", -1000),
        ("postgres", -900),
        ("postgres", 0),
        ("nginx", 0),
        ("nginx", 0),
        ("nginx", 0),
        ("app", 0),
        ("app-helper", 0),
        ("nightly-job", 300),
    ]
    assert machine.hardware == Hardware(2048 * 1024, 512 * 1024, 2, "server")
    assert machine.now_ns == 3600 * 10**9
    assert list(machine.processes)[2] == FIRST_PID
    assert machine.log.render() == ""


def test_the_builtin_scenario_has_a_sharer_and_threads() -> None:
    machine = load_scenario()
    app, helper = (p for p in user_processes(machine) if p.comm.startswith("app"))
    assert len(app.threads) == 4
    assert helper.mm is app.mm
    assert helper.real_parent is app.leader
    assert helper.leader.credentials == app.leader.credentials == Credentials(1000, 1000, 0)
    assert mm_of(app).users == 5


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
def test_the_builtin_scenario_runs_on_every_kernel(kernel: str) -> None:
    machine = load_scenario(None, KernelConfig(kernel))
    assert machine.profile.name == kernel
    assert machine.free_pages > 0


# -- [machine] ------------------------------------------------------------------------


def test_an_empty_scenario_is_a_standard_machine(folder: Path) -> None:
    machine = load(folder, "")
    assert machine.hardware == Hardware()
    assert machine.config.base == "series"
    assert machine.now_ns == 0
    assert user_processes(machine) == []


def test_every_key_of_the_machine(folder: Path) -> None:
    machine = load(
        folder,
        """
        [machine]
        ram = "512M"
        swap = "0"
        cpus = 16
        hostname = "box"
        kernel = "4.7"
        cgroup_version = 2
        uptime_s = 60
        first_pid = 500
        [[process]]
        name = "a"
        """,
    )
    assert machine.hardware == Hardware(512 * MIB_PAGES, 0, 16, "box")
    assert machine.config.base == "4.7"
    assert machine.build.cgroup_version == 2
    assert machine.rebooted().build == machine.build
    assert machine.now_ns == 60 * 10**9
    assert only_process(machine).pid == 500


def test_nodes_make_up_the_ram_and_tasks_are_placed_on_them(folder: Path) -> None:
    machine = load(
        folder,
        """
        [machine]
        nodes = ["256M", "512M"]
        [[process]]
        name = "a"
        cpuset = "/slice"
        mems_allowed = "1"
        threads = 2
        [[process.process]]
        name = "b"
        mempolicy = "bind:0-1"
        """,
    )
    assert machine.hardware.node_pages == (256 * MIB_PAGES, 512 * MIB_PAGES)
    assert machine.hardware.ram_pages == 768 * MIB_PAGES
    inherited = Placement("/slice", 0b10)
    bound = Placement("/slice", 0b10, PolicyMode.BIND, 0b10)
    placed = [[t.placement for t in process.threads] for process in user_processes(machine)]
    assert placed == [[inherited, inherited], [bound]]


def test_the_command_line_overrides_the_kernel(folder: Path) -> None:
    machine = load(folder, "[machine]\nkernel = '4.7'", KernelConfig("6.1"))
    assert machine.config.base == "6.1"


def test_a_path_may_be_text(folder: Path) -> None:
    path = folder / "x.toml"
    path.write_text("version = 1")
    assert user_processes(load_scenario(str(path))) == []


# -- [[process]] -----------------------------------------------------------------------


def test_a_name_is_enough(folder: Path) -> None:
    process = only_process(load(folder, "[[process]]\nname = 'web'"))
    assert process.comm == "web"
    assert mm_of(process).sizes == default_sizes()
    assert mm_of(process).cmdline == (b"web",)
    assert process.leader.credentials.uid == 0
    assert process.oom_score_adj == 0


def test_every_key_of_a_process(folder: Path) -> None:
    machine = load(
        folder,
        """
        [[process]]
        name = "web"
        pid = 450
        uid = 33
        gid = 34
        caps = "+kill"
        oom_score_adj = -500
        cmdline = "web -d 'a b'"
        threads = 3
        file = "2M"
        shmem = "3M"
        swap = "4M"
        rss = "1M"
        size = "100M"
        pte = "8k"
        pmd = "4k"
        """,
    )
    process = only_process(machine)
    assert (process.pid, process.comm, len(process.threads)) == (450, "web", 3)
    assert process.leader.credentials == Credentials(33, 34, CAP_KILL)
    assert (process.oom_score_adj, process.oom_score_adj_min) == (-500, -500)
    assert mm_of(process).cmdline == (b"web", b"-d", b"a b")
    sizes = mm_of(process).sizes
    kinds = (sizes.anon_pages, sizes.file_pages, sizes.shmem_pages, sizes.swap_entries)
    assert kinds == (MIB_PAGES, 2 * MIB_PAGES, 3 * MIB_PAGES, 4 * MIB_PAGES)
    assert (sizes.total_vm_pages, sizes.pte_pages, sizes.pmd_pages) == (100 * MIB_PAGES, 2, 1)


def test_anon_is_another_word_for_rss(folder: Path) -> None:
    process = only_process(load(folder, "[[process]]\nname = 'a'\nanon = '1M'"))
    assert mm_of(process).sizes.anon_pages == MIB_PAGES


def test_a_process_in_a_process_is_its_child_and_inherits(folder: Path) -> None:
    machine = load(
        folder,
        """
        [[process]]
        name = "parent"
        uid = 1000
        gid = 7
        oom_score_adj = 200
        [[process.process]]
        name = "child"
        [[process.process.process]]
        name = "grandchild"
        uid = 1001
        """,
    )
    parent, child, grandchild = user_processes(machine)
    assert child.real_parent is parent.leader
    assert grandchild.real_parent is child.leader
    assert child.leader.credentials == Credentials(1000, 7, 0)
    assert grandchild.leader.credentials == Credentials(1001, 1001, 0)
    assert (child.oom_score_adj, grandchild.oom_score_adj) == (200, 200)
    assert child.mm is not parent.mm


def test_root_keeps_its_capabilities_and_others_have_none(folder: Path) -> None:
    machine = load(folder, "[[process]]\nname = 'root'\n[[process]]\nname = 'user'\nuid = 1000\n")
    root, user = user_processes(machine)
    assert root.leader.credentials.capabilities == machine.full_capabilities
    assert user.leader.credentials.capabilities == 0


def test_count_repeats_a_process_with_its_children(folder: Path) -> None:
    machine = load(
        folder,
        """
        [[process]]
        name = "master"
        count = 2
        [[process.process]]
        name = "worker"
        count = 3
        threads = 2
        """,
    )
    names = [process.comm for process in user_processes(machine)]
    assert names == ["master", "worker", "worker", "worker"] * 2
    assert machine.thread_count == 2 + 2 * (1 + 3 * 2)


@pytest.mark.parametrize(
    ("keys", "shared", "waits"),
    [
        ("vm = 'shared'", True, False),
        ("vm = 'shared'\nvfork = true", True, True),
        ("vm = 'own'\nvfork = true", False, True),
        ("vm = 'own'\nvfork = false", False, False),
    ],
)
def test_sharers_and_vfork_children(folder: Path, keys: str, shared: bool, waits: bool) -> None:
    text = f"[[process]]\nname = 'p'\nuid = 5\n[[process.process]]\nname = 'c'\n{keys}\n"
    parent, child = user_processes(load(folder, text))
    assert child.comm == "c"
    assert (child.mm is parent.mm) == shared
    assert child.leader.vfork_done == waits
    assert (parent.leader.state is State.DISK_SLEEP) == waits
    assert child.leader.credentials == parent.leader.credentials


def test_the_value_of_a_sharer_is_set_as_root_would(folder: Path) -> None:
    """On a kernel that propagates, the parent follows; its log tells."""
    text = """
        [[process]]
        name = "p"
        [[process.process]]
        name = "c"
        vm = "shared"
        oom_score_adj = 50
    """
    machine = load(folder, text)
    assert [process.oom_score_adj for process in user_processes(machine)] == [50, 50]
    assert "updating oom_score_adj" in machine.log.render()
    machine = load(folder, text, KernelConfig("4.7"))
    assert [process.oom_score_adj for process in user_processes(machine)] == [0, 50]


def test_a_kernel_thread(folder: Path) -> None:
    process = only_process(
        load(folder, "[[process]]\nname = 'kswapd0'\nkthread = true\npid = 30\n")
    )
    assert process.is_kthread
    assert (process.pid, process.comm, process.mm) == (30, "kswapd0", None)


# -- What is refused ----------------------------------------------------------------------


def why_refused(path: Path, line: int | None = None) -> str:
    """Load a file that is refused with EINVAL, in this line; return what is said about it."""
    with pytest.raises(Refused) as refused:
        load_scenario(path)
    assert refused.value.error == errno.EINVAL
    where = f"{path}:" if line is None else f"{path}:{line}:"
    assert refused.value.why.startswith(where), refused.value.why
    return refused.value.why.removeprefix(where)


MACHINE_KEYS = (
    "ram, nodes, swap, cache, cache_dirty, cache_evicted, slab, slab_reclaimable, cpus, hostname, "
    "kernel, cgroup_version, uptime_s, uptime, end, first_pid, oversubscribed, "
    "switches, patches"
)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("version = 2", 1, ["the file: version = 2: accepted is 1."]),
        ("", 1, ["the file: version: is missing: accepted is 1."]),
        ("version = '1'", 1, ['the file: version = "1": accepted is 1.']),
        ("version = 1\n[machine", 2, ["is no TOML: Expected"]),
        ("version = 1\nmachin = 1", 2, ["the file: key 'machin'", "nearest: machine", "process,"]),
        ("version = 1\nmachine = 5", 2, ["the file: machine = 5: accepted is a table."]),
        ("version = 1\n[process]", 2, ["the file: process = {}: accepted is an array of tables"]),
        (
            "version = 1\nprocess = [5]",
            2,
            ["the file: process = 5: accepted is an array of tables"],
        ),
    ],
)
def test_errors_of_the_file(folder: Path, text: str, line: int, words: list[str]) -> None:
    path = folder / "bad.toml"
    path.write_text(text)
    why = why_refused(path, line)
    assert all(word in why for word in words), why


SIZE = "a size such as 300M, 1.5G, 64k or 4096 (bytes)."
NODES = 'the sizes of 1 to 64 nodes with memory, ["4G", "4G"].'


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("rma = '1G'", ["[machine]: key 'rma'", "nearest: ram", f"accepted: {MACHINE_KEYS}."]),
        ("ram = 5", [f"[machine]: ram = 5: accepted is {SIZE}"]),
        ("ram = 'much'", [f'[machine]: ram = "much": accepted is {SIZE}']),
        ("swap = '-1'", [f'swap = "-1": accepted is {SIZE}']),
        ("cpus = 0", ["cpus = 0: accepted is 1 to 1024."]),
        ("cpus = '2'", ['[machine]: cpus = "2": accepted is 1 to 1024.']),
        ("cpus = true", ["[machine]: cpus = true: accepted is 1 to 1024."]),
        ("hostname = 1", ["[machine]: hostname = 1: accepted is a text."]),
        ("kernel = '4.9.1'", ["kernel '4.9.1'", "nearest: 4.9", "accepted: 4.4, 4.7, series"]),
        ("kernel = '2.4'", ["kernel '2.4': accepted are 2.6 and later"]),
        ("cgroup_version = 3", ["cgroup_version = 3: accepted is 1 to 2."]),
        ("uptime_s = -1", ["uptime_s = -1: accepted is 0 to 1000000000."]),
        ("uptime = '5'", ['uptime = "5": accepted is a time such as 500ms, 5s or 2m.']),
        ("uptime = '5s'\nuptime_s = 5", ["uptime: says the same as uptime_s; leave out"]),
        ("nodes = '4G'", [f'nodes = "4G": accepted is {NODES}']),
        ("nodes = []", [f"nodes = []: accepted is {NODES}"]),
        ("nodes = [4]", [f"nodes = [4]: accepted is {NODES}"]),
        ("nodes = ['4G', '0']", [f'nodes = ["4G", "0"]: accepted is {NODES}']),
        ("nodes = ['4G', 'x']", [f'nodes = ["4G", "x"]: accepted is {NODES}']),
        ("nodes = ['4G']\nram = '4G'", ["nodes: says the same as ram; leave out one of the two."]),
        ("first_pid = 2", ["first_pid = 2: accepted is 3 to 4000000."]),
        ("switches = {tie = 1}", ["switches: key 'tie': not known; accepted: write_n"]),
        ("switches = {tie_global = true}", ["[machine]: tie_global=yes: accepted: first, last."]),
        ("switches = 5", ["[machine]: switches = 5: accepted is a table."]),
    ],
)
def test_errors_of_the_machine(folder: Path, line: str, words: list[str]) -> None:
    path = folder / "bad.toml"
    path.write_text(f"version = 1\n[machine]\n{line}\n")
    why = why_refused(path, 3)
    assert all(word in why for word in words), why


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("rrs = '1G'", ["key 'rrs'", "nearest: rss", "accepted: name, pid, parent, uid"]),
        ("pid = 0", ["pid = 0: accepted is 1 to 4194303."]),
        ("pid = '5'", ['pid = "5": accepted is 1 to 4194303.']),
        ("uid = -1", ["uid = -1: accepted is 0 to 4294967294."]),
        ("gid = 4294967295", ["gid = 4294967295: accepted is 0 to 4294967294."]),
        ("caps = '+flying'", ["caps=+flying: not a set of capabilities; accepted: all, none"]),
        ("oom_score_adj = 1001", ["oom_score_adj = 1001: accepted is -1000 to 1000."]),
        ("oom_score_adj = '5'", ['oom_score_adj = "5": accepted is -1000 to 1000.']),
        ('cmdline = "it\'s"', ['cmdline = "it\'s": accepted is words as for a shell.']),
        ("threads = 0", ["threads = 0: accepted is 1 to 100000."]),
        ("threads = 2\nthread = [{}]", ["threads: means nothing beside thread; leave it out."]),
        ("count = 0", ["count = 0: accepted is 1 to 1000000."]),
        ("rss = 5", [f"rss = 5: accepted is {SIZE}"]),
        ("rss = '12Q'", [f'rss = "12Q": accepted is {SIZE}']),
        ("vm = 'copied'", ['vm = "copied": accepted is "own", "shared".']),
        ("vfork = 'yes'", ['vfork = "yes": accepted is true or false.']),
        ("rss = '1M'\nvfork = true", ["rss: means nothing beside vm"]),
        ("mems_allowed = 0", ["mems_allowed = 0: accepted is a list of nodes"]),
        ("kthread = 1", ["kthread = 1: accepted is true or false."]),
        ("uid = 5\nkthread = true", ["uid: means nothing beside kthread = true; leave it out."]),
        ("hidden = 1", ["hidden = 1: accepted is true or false."]),
        ("hold = 'fast'", ['hold = "fast": accepted is "at-exit", "frozen", "stuck"']),
        ("memdie = true", ["memdie: means nothing without [state]; leave it out."]),
        ("thread = [{state = 'D'}]", ["thread '?': state: means nothing without [state]"]),
        ("hold_for = '5s'", ["hold_for: means nothing without hold."]),
        ("process = 1", ["process = 1: accepted is an array of tables"]),
        ("process = [1]", ["process = 1: accepted is an array of tables"]),
        ("thread = [{tid = 0}]", ["thread '?': tid = 0: accepted is 1 to 4194303."]),
        ("behaviour = 'grow'", ['behaviour = "grow": accepted is a table.']),
        ("behaviour = {kind = 'growl'}", ['kind = "growl": accepted is "constant", "grow"']),
        ("behaviour = {kind = 'grow'}", ["behaviour=grow: rate= is missing."]),
        ("behaviour = {rate = '50M/s'}", ["rate: means nothing to behaviour=constant"]),
    ],
)
def test_errors_of_a_process(folder: Path, lines: str, words: list[str]) -> None:
    path = folder / "bad.toml"
    path.write_text(f"version = 1\n[[process]]\nname = 'web'\n{lines}\n")
    why = why_refused(path, 4)
    assert all(word in why for word in words), why


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("vm = 'shared'", "only for a process in a process"),
        ("vfork = true", "only for a process in a process"),
        ("rss = '1M'\nsize = '4k'", "total_vm_pages is smaller"),
        ("mems_allowed = '1'", "mems_allowed=1: accepted is a list of nodes"),
        ("mempolicy = 'bind'", "mempolicy=bind=: accepted is a list of nodes"),
        ("cpuset = 'x'", "cpuset=x: accepted is a path"),
        ("memcg = '/x'", "memcg = '/x': there is no such [[memcg]]; accepted: /."),
    ],
)
def test_errors_of_a_process_as_a_whole(folder: Path, lines: str, words: str) -> None:
    path = folder / "bad.toml"
    path.write_text(f"version = 1\n[[process]]\nname = 'web'\n{lines}\n")
    why = why_refused(path, 2)
    assert why.startswith(" process 'web': ")
    assert words in why


@pytest.mark.parametrize("line", ["", "name = ''", "uid = 0"])
def test_a_process_has_a_name(folder: Path, line: str) -> None:
    path = folder / "bad.toml"
    path.write_text(f"version = 1\n[[process]]\n{line}\n")
    assert "accepted is a name of one character or more." in why_refused(path)


def test_the_innermost_process_is_named(folder: Path) -> None:
    path = folder / "bad.toml"
    path.write_text(
        "version = 1\n[[process]]\nname = 'p'\n[[process.process]]\nname = 'c'\nuid = -1\n"
    )
    assert why_refused(path, 6) == " process 'c': uid = -1: accepted is 0 to 4294967294."


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("at = '5'\ndo = 'reap 5'", "event '5': at = \"5\": accepted is a time such as"),
        ("do = 'reap 5'\nat = 5", "event 5: at = 5: accepted is a time such as"),
        ("do = ''\nat = '5s'", "event '5s': do = \"\": accepted is a line or a list of lines."),
        ("do = []\nat = '5s'", "event '5s': do = []: accepted is a line or a list of lines."),
        ("do = 'reep 5'\nat = '5s'", "'reep 5': line 'reep': not known (nearest: reap)"),
        ("do = ['reap 5', 'reap']\nat = '5s'", "'reap': reap: usage: reap PID"),
        ("do = 'spawn nam=x'\nat = '5s'", "spawn: key 'nam': not known (nearest: name)"),
        ("do = 'trigger memgc=x'\nat = '5s'", "trigger: option 'memgc': not known"),
        ("do = 'write sys/vm/swappiness'\nat = '5s'", "write: accepted is write PATH VALUE."),
        ("do = 'reboot'\nat = '5s'", "line 'reboot': not known"),
        ("do = \"kill 'x\"\nat = '5s'", "cannot be read: No closing quotation."),
    ],
)
def test_errors_of_an_event(folder: Path, lines: str, words: str) -> None:
    path = folder / "bad.toml"
    path.write_text(f"version = 1\n[[event]]\n{lines}\n")
    line = 4 if lines.startswith("do = 'reap") else 3
    assert words in why_refused(path, line)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("[machine]\nram = '1G'\n[[process]]\nname = 'a'\nrss = '2G'", errno.ENOMEM, "are free"),
        ("[[process]]\nname = 'a'\npid = 2", errno.EEXIST, "is taken"),
        ("[[process]]\nname = 'a'\npid = 50\ncount = 2", errno.EEXIST, "is taken"),
    ],
)
def test_what_the_kernel_refuses_keeps_its_errno(
    folder: Path, text: str, error: int, words: str
) -> None:
    with pytest.raises(Refused, match=words) as refused:
        load(folder, text)
    assert refused.value.error == error
    line = text[: text.index("[[process]]")].count("\n") + 2
    assert refused.value.why.startswith(f"{folder / 'my.toml'}:{line}: process 'a': ")


def test_a_file_that_cannot_be_read(folder: Path) -> None:
    for path, words in ((folder / "none.toml", "No such file"), (folder, "Is a directory")):
        why = why_refused(path)
        assert f"cannot be read: {words}" in why


def test_a_file_that_is_no_text(folder: Path) -> None:
    path = folder / "bad.toml"
    path.write_bytes(b"\xff\xfe")
    assert "cannot be read: is not UTF-8" in why_refused(path)


# -- What a report needs -----------------------------------------------------------


def test_cgroups_and_who_is_in_them(folder: Path) -> None:
    machine = load(
        folder,
        """
        [machine]
        swap = "1G"
        [[memcg]]
        path = "/web/a"
        limit = "64M"
        swap_limit = "32M"
        oom_group = true
        [[process]]
        name = "in"
        memcg = "/web/a"
        [[process.process]]
        name = "child"
        [[process]]
        name = "out"
        """,
    )
    memcg = machine.memcg("/web/a")
    assert [process.comm for process in memcg.members] == ["in", "child"]
    assert (memcg.limit_pages, memcg.oom_group) == (64 * MIB_PAGES, True)
    assert machine.memcg_totalpages(memcg) == 96 * MIB_PAGES


def test_a_machine_that_holds_more_than_there_is(folder: Path) -> None:
    text = """
        [machine]
        ram = "64M"
        {}
        [[process]]
        name = "big"
        rss = "1G"
    """
    machine = load(folder, text.format("oversubscribed = true"))
    assert machine.free_pages == 0
    with pytest.raises(Refused) as refused:
        load(folder, text.format("oversubscribed = false"))
    assert refused.value.error == errno.ENOMEM


def test_any_release_and_single_switches(folder: Path) -> None:
    machine = load(
        folder, '[machine]\nkernel = "5.8"\nswitches = {tie_global = "first", psi_file = false}'
    )
    assert (machine.config.base, machine.profile.version) == ("5.8", (5, 8))
    assert (machine.profile.tie_global, machine.profile.psi_file) == ("first", False)
    assert machine.rebooted().profile == machine.profile


def test_hidden_memory_and_an_origin(folder: Path) -> None:
    machine = load(
        folder,
        """
        [[process]]
        name = "gone"
        hidden = true
        [[process]]
        name = "swapoff"
        oom_origin = true
        """,
    )
    gone, swapoff = user_processes(machine)
    assert mm_of(gone).hidden
    assert list(machine.oom_origins) == [swapoff]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "[[memcg]]\npath = 'web'",
            "memcg 'web': path = \"web\": accepted is a path such as /web.",
        ),
        ("[[memcg]]\npath = '/'", "memcg '/': path = \"/\": accepted is a path such as /web."),
        ("[[memcg]]\nlimit = '1G'", "memcg '?': path: is missing: accepted is a path such as"),
        ("[[memcg]]\npath = '/a'\nlimits = '1'", "key 'limits': not known (nearest: limit)"),
        ("[[memcg]]\npath = '/a'\nlimit = 5", f"memcg '/a': limit = 5: accepted is {SIZE}"),
        ("memcg = [5]", "the file: memcg = 5: accepted is an array of tables, [[...]]."),
        (
            "[[swap]]\nname = 'x'\nsize = '5'\npriority = 40000",
            "40000: accepted is -32768 to 32767.",
        ),
        ("[[swap]]\nname = 'sda'", "swap 'sda': size: is missing: accepted is a size such as"),
        ("[sysctl]\nvm.swapiness = 5", "[sysctl.vm]: key 'swapiness': not known (nearest: swap"),
        ("[sysctl]\nvm.swappiness = 500", "[sysctl.vm]: swappiness = 500: accepted is 0 to 200."),
    ],
)
def test_errors_of_these(folder: Path, text: str, words: str) -> None:
    path = folder / "bad.toml"
    path.write_text(f"version = 1\n{text}\n")
    assert words in why_refused(path)


# -- What is in the file beside the processes --------------------------------------


def test_areas_of_swap_and_what_the_kernel_has(folder: Path) -> None:
    machine = load(
        folder,
        """
        [machine]
        cache = "100M"
        cache_dirty = "10M"
        cache_evicted = "5M"
        slab = "50M"
        slab_reclaimable = "20M"
        [[swap]]
        name = "/dev/zram0"
        size = "64M"
        priority = 100
        [[swap]]
        name = "/swapfile"
        size = "1G"
        """,
    )
    memory = machine.memory
    areas = [(area.name, area.size_pages, area.priority) for area in memory.swap_areas]
    assert areas == [("/dev/zram0", 64 * MIB_PAGES, 100), ("/swapfile", 1024 * MIB_PAGES, -2)]
    assert machine.hardware.swap_pages == 1088 * MIB_PAGES
    assert memory.cache_clean_pages == 100 * MIB_PAGES
    assert memory.cache_dirty_pages == 10 * MIB_PAGES
    assert memory.cache_evicted_pages == 5 * MIB_PAGES
    assert memory.slab_reclaimable_pages == 20 * MIB_PAGES
    assert memory.slab_unreclaimable_pages == 30 * MIB_PAGES


def test_swap_of_the_machine_is_one_more_area(folder: Path) -> None:
    text = "[machine]\nswap = '1G'\n[[swap]]\nname = '/swapfile'\nsize = '64M'"
    machine = load(folder, text)
    assert [area.size_pages // MIB_PAGES for area in machine.memory.swap_areas] == [1024, 64]


def test_sysctls(folder: Path) -> None:
    machine = load(folder, "[sysctl]\nvm.swappiness = 10\n[sysctl.kernel]\npid_max = 500000")
    assert machine.sysctls["vm/swappiness"] == 10
    assert machine.rebooted().sysctls["kernel/pid_max"] == 500_000


def test_events_happen_at_their_time_in_the_order_of_the_file(folder: Path) -> None:
    machine = load(
        folder,
        """
        [machine]
        uptime_s = 100
        [[process]]
        name = "a"
        pid = 500
        [[event]]
        at = "5s"
        do = ["set 500 rss=10M", "write 500/oom_score_adj 7", "write sys/vm/swappiness 1"]
        [[event]]
        at = "2500ms"
        do = "kill 500 SIGSTOP"
        [[event]]
        at = "5s"
        do = "trigger pid=500 order=1"
        """,
    )
    a = machine.process(500)
    machine.advance(2_499_999_999)
    assert a.leader.state.value == "S"
    machine.advance(1)
    assert a.leader.state.value == "T"
    machine.advance(2_499_999_999)
    assert (a.oom_score_adj, machine.sysctls["vm/swappiness"]) == (0, 60)
    machine.advance(1)
    assert (a.oom_score_adj, machine.sysctls["vm/swappiness"]) == (7, 1)
    assert a.is_zombie
    assert "a invoked oom-killer: gfp_mask=0x24000c0(GFP_KERNEL), order=1" in machine.log.render()
    assert machine.ends_ns == 115 * 10**9


def test_the_log_tells_of_an_event_that_is_refused(folder: Path) -> None:
    machine = load(folder, "[[event]]\nat = '1s'\ndo = ['reap 77', 'write nowhere 1']")
    machine.advance(10**9)
    assert machine.log.render() == (
        "<4>[    1.000000] fakeproc: reap 77: ESRCH: 77: no such task.\n"
        "<4>[    1.000000] fakeproc: write nowhere 1: ENOENT: No such file or directory\n"
    )


def test_nothing_more_happens_after_a_panic(folder: Path) -> None:
    machine = load(
        folder, "[[event]]\nat = '1s'\ndo = 'trigger'\n[[event]]\nat = '2s'\ndo = 'spawn name=x'"
    )
    machine.advance(10**10)
    assert machine.panicked
    assert user_processes(machine) == []


def test_a_behaviour_begins_when_the_scenario_does(folder: Path) -> None:
    machine = load(
        folder,
        """
        [machine]
        uptime_s = 1000
        [[process]]
        name = "leak"
        rss = "10M"
        behaviour = { kind = "grow", rate = "10M/s", until = "30M", ignore_sigterm = true }
        """,
    )
    leak = only_process(machine)
    assert mm_of(leak).sizes.anon_pages == 10 * MIB_PAGES
    machine.advance(10 * 10**9)
    assert mm_of(leak).sizes.anon_pages == 30 * MIB_PAGES
    does = machine.living.behaviour_of(leak)
    assert does is not None
    assert does.ignores_sigterm


def test_holds(folder: Path) -> None:
    machine = load(
        folder,
        """
        [machine]
        uptime_s = 100
        [[process]]
        name = "a"
        hold = "stuck"
        hold_for = "5s"
        [[process]]
        name = "b"
        thread = [{ name = "io", hold = "mmap-lock" }]
        """,
    )
    a, b = user_processes(machine)
    assert a.leader.hold is Hold.STUCK
    assert machine.holds.left_ns(a.leader) == 5 * 10**9
    assert [thread.hold for thread in b.threads] == [Hold.NONE, Hold.MMAP_LOCK]


def test_threads_of_their_own_kind(folder: Path) -> None:
    machine = load(
        folder,
        """
        [[process]]
        name = "java"
        uid = 1000
        pid = 600
        [[process.thread]]
        name = "GC"
        tid = 700
        [[process.thread]]
        uid = 1001
        mempolicy = "bind:0"
        """,
    )
    _, gc, other = only_process(machine).threads
    assert (gc.tid, gc.comm, gc.credentials.uid) == (700, "GC", 1000)
    assert (other.comm, other.credentials) == ("java", Credentials(1001, 1001, 0))
    assert other.placement.mode is PolicyMode.BIND


def test_a_parent_and_an_mm_by_pid(folder: Path) -> None:
    machine = load(
        folder,
        """
        [[process]]
        name = "a"
        pid = 600
        uid = 7
        [[process]]
        name = "b"
        pid = 601
        parent = 600
        [[process]]
        name = "c"
        pid = 602
        mm = 600
        [[process]]
        name = "vhost"
        pid = 603
        kthread = true
        mm = 600
        """,
    )
    a, b, c, vhost = user_processes(machine)
    assert b.real_parent is a.leader
    assert c.real_parent is machine.init.leader
    assert vhost.mm is c.mm is a.mm is not b.mm
    assert (b.leader.credentials.uid, c.leader.credentials.uid) == (7, 0)


@pytest.mark.parametrize("key", ["mm", "parent"])
def test_who_is_named_must_be_there(folder: Path, key: str) -> None:
    path = folder / "bad.toml"
    path.write_text(f"version = 1\n[[process]]\nname = 'a'\n{key} = 5\n")
    words = f" process 'a': {key} = 5: accepted is the pid of a process before this one"
    assert why_refused(path, 2).startswith(words)


def test_init_and_states(folder: Path) -> None:
    machine = load(
        folder,
        """
        [[process]]
        name = "runit"
        pid = 1
        rss = "1M"
        [[process]]
        name = "a"
        state = "R"
        [[process]]
        name = "b"
        state = "D"
        [[process]]
        name = "c"
        state = "T"
        [[process]]
        name = "d"
        threads = 2
        state = "Z"
        """,
    )
    states = [process.leader.state.value for process in user_processes(machine)]
    assert (machine.init.comm, states) == ("runit", ["R", "D", "T", "Z"])
    assert mm_of(machine.init).sizes.anon_pages == MIB_PAGES
    assert not user_processes(machine)[-1].is_zombie


def test_all_problems_are_found_in_the_order_of_their_lines() -> None:
    text = dedent("""\
        version = 1
        [[process]]
        uid = -1
        [[process]]
        nmae = "x"
        rss = 5
        [machine]
        ram = "lots"
    """)
    lines = [problem.split(": ")[0] for problem in find_problems(text, "x.toml")]
    assert lines == [f"x.toml:{line}" for line in (2, 3, 4, 5, 6, 8)]
    assert find_problems("version = 1\n[[process]]\nname = 'a'\npid = 2\n", "x.toml") == [
        "x.toml:2: process 'a': pid=2: is taken."
    ]
    assert find_problems("version = 1", "x.toml") == []
