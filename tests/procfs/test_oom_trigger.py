# SPDX-License-Identifier: MIT
"""oom_trigger, sysrq-trigger, the panic and the reboot, without a mount."""

from __future__ import annotations

import errno
import json
import os

import pytest

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Hardware, Machine
from fakeproc.kernel.profile import KernelConfig
from fakeproc.kernel.task import TaskCaller
from fakeproc.procfs.node import File, open_file
from fakeproc.procfs.tree import Procfs
from fakeproc.scenario import load_scenario
from tests.state import dump

GIB_PAGES = 2**30 // 4096


@pytest.fixture
def procfs() -> Procfs:
    """The built-in scenario."""
    return Procfs(load_scenario())


def node(procfs: Procfs, path: str) -> File:
    file = procfs.lookup(path, procfs.machine.root)
    assert isinstance(file, File)
    return file


def read(procfs: Procfs, path: str) -> str:
    return node(procfs, path).render().decode()


def write(procfs: Procfs, path: str, text: str) -> None:
    assert node(procfs, path).store(procfs.machine.root, text.encode()) == len(text)


def verdict(procfs: Procfs) -> dict[str, str]:
    lines = read(procfs, "/fakeproc/oom_trigger").splitlines()
    return dict(line.split(": ", 1) for line in lines)


def test_no_verdict_before_the_first_trigger(procfs: Procfs) -> None:
    assert verdict(procfs) == {"outcome": "none yet"}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/fakeproc/oom_trigger", "1\n"),
        ("/fakeproc/oom_trigger", "order=2 pid=100006\n"),
        ("/fakeproc/oom_trigger", "nodemask=0 pid=100001 gfp_mask=0x14200ca order=0"),
        ("/sysrq-trigger", "f\n"),
    ],
)
def test_the_largest_dies_and_its_memory_comes_free(procfs: Procfs, path: str, text: str) -> None:
    write(procfs, path, text)
    assert verdict(procfs) == {
        "outcome": "killed",
        "victim": "100013 (nightly-job)",
        "chosen": "100013 (nightly-job)",
        "killed": "100013",
        "points": "1439869",
        "constraint": "CONSTRAINT_NONE",
        "bypass": "no",
        "freed": "2553M",
        "freed_later": "0k",
        "reaped": "none",
    }
    assert "Killed process 100013 (nightly-job)" in read(procfs, "/fakeproc/kmsg")
    assert read(procfs, "/100013/status").splitlines()[1] == "State:\tZ (zombie)"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pid=7", "pid=7: no such task; accepted is the pid of one."),
        ("pid=100100", "pid=100100: no such task"),
        ("pid=x", "pid=x: accepted is a number, 1 to 2147483647."),
        ("order=11", "order=11: accepted is a number, 0 to 10."),
        ("order=-1", "order=-1: accepted is a number, 0 to 10."),
        ("order=1_0", "order=1_0: accepted is a number, 0 to 10."),
        ("order=1 pid=1 order=1", "oom_trigger: order=1: accepted is one order="),
        ("gfp_mask=-1", "gfp_mask=-1: accepted is a number"),
        ("gfp_mask=0b1", "gfp_mask=0b1: accepted is a number, 0 to 4294967295."),
        ("memcg=/none", "memcg=/none: there is no such group. Accepted is the path of one."),
        ("pid", "oom_trigger: pid: accepted is pid=VALUE."),
        ("nodemask=", "nodemask=: accepted is a list of nodes"),
        (
            "nodemask=1",
            "nodemask=1: accepted is a list of nodes such as 0, 0-1 or 0,2; the machine has 0.",
        ),
        ("memcg=/", "memcg=/: the root group has no limit; leave it out."),
        ("odrer=1", "oom_trigger: option 'odrer': not known (nearest: order)"),
        ("please", "oom_trigger: option 'please': not known"),
    ],
)
def test_bad_options_are_refused_and_change_nothing(procfs: Procfs, text: str, words: str) -> None:
    before = dump(procfs)
    with pytest.raises(Refused) as refused:
        write(procfs, "/fakeproc/oom_trigger", text)
    assert refused.value.error == errno.EINVAL
    assert words in refused.value.why
    assert read(procfs, "/fakeproc/ctl") == f"EINVAL: {refused.value.why}\n"
    assert dump(procfs) == before


def test_a_memcg_is_out_of_memory_by_itself(procfs: Procfs) -> None:
    for command in ("memcg /web limit=64M", "join 100005 /web", "join 100006 /web"):
        write(procfs, "/fakeproc/ctl", command)
    write(procfs, "/fakeproc/oom_trigger", "memcg=/web pid=100006")
    assert verdict(procfs)["victim"] == "100006 (nginx)"
    assert verdict(procfs)["constraint"] == "CONSTRAINT_MEMCG"
    assert "\n1:memory:/web\n" in read(procfs, "/100006/cgroup")
    assert "Task in /web killed as a result of limit of /web" in read(procfs, "/fakeproc/kmsg")


def test_the_reaper_takes_what_a_stuck_victim_holds(procfs: Procfs) -> None:
    write(procfs, "/fakeproc/ctl", "hold 100013 at-exit")
    write(procfs, "/fakeproc/oom_trigger", "1")
    procfs.machine.advance(2_000_000_000)
    assert verdict(procfs)["reaped"] == "100013"
    assert "oom_reaper: reaped process 100013 (nightly-job)" in read(procfs, "/fakeproc/kmsg")
    assert read(procfs, "/100013/oom_score") == "0\n"
    write(procfs, "/fakeproc/ctl", "release 100013")
    assert read(procfs, "/100013/status").splitlines()[1] == "State:\tZ (zombie)"


def kill_all(procfs: Procfs) -> None:
    for _ in range(20):
        write(procfs, "/fakeproc/oom_trigger", "1")
        if procfs.machine.panicked:
            return
    raise AssertionError("there is always somebody to kill")


def test_after_a_panic_reads_work_and_writes_get_eio(procfs: Procfs) -> None:
    kill_all(procfs)
    reason = "EIO: the machine has panicked (Out of memory and no killable processes...)"
    assert verdict(procfs)["outcome"] == "panicked"
    last = read(procfs, "/fakeproc/kmsg").splitlines()[-1]
    assert last.endswith("Kernel panic - not syncing: Out of memory and no killable processes...")
    before = read(procfs, "/fakeproc/ps")
    for path, text in [
        ("/fakeproc/ctl", "spawn"),
        ("/100001/oom_score_adj", "5"),
        ("/100001/oom_adj", "5"),
        ("/sys/vm/oom_dump_tasks", "0"),
        ("/sysrq-trigger", "f"),
        ("/fakeproc/oom_trigger", "1"),
        ("/fakeproc/kernel", "6.1"),
        ("/fakeproc/cgroup/cgroup.procs", "100001"),
    ]:
        procfs.answer = "ok\n"
        with pytest.raises(Refused) as refused:
            write(procfs, path, text)
        assert refused.value.error == errno.EIO, path
        assert read(procfs, "/fakeproc/ctl").startswith(reason), path
    assert read(procfs, "/fakeproc/ps") == before


def test_a_reboot_starts_the_scenario_again(procfs: Procfs) -> None:
    before = read(procfs, "/fakeproc/ps")
    write(procfs, "/fakeproc/kernel", "6.1")
    kill_all(procfs)
    write(procfs, "/fakeproc/ctl", "reboot")
    assert not procfs.machine.panicked
    assert read(procfs, "/fakeproc/kernel").startswith("kernel 6.1\n")
    write(procfs, "/fakeproc/kernel", "series")
    assert read(procfs, "/fakeproc/ps") == before
    write(procfs, "/100001/oom_score_adj", "5")
    assert read(procfs, "/100001/oom_score_adj") == "5\n"


@pytest.mark.parametrize(
    ("setting", "memcg", "panics"),
    [("0", "", False), ("1", "", True), ("2", "", True),
     ("1", "memcg=/web", False), ("2", "memcg=/web", True)],
)  # fmt: skip
def test_panic_on_oom(procfs: Procfs, setting: str, memcg: str, panics: bool) -> None:
    for command in ("memcg /web limit=64M", "join 100006 /web"):
        write(procfs, "/fakeproc/ctl", command)
    write(procfs, "/sys/vm/panic_on_oom", setting)
    write(procfs, "/fakeproc/oom_trigger", f"pid=100006 {memcg}")
    assert verdict(procfs)["outcome"] == ("panicked" if panics else "killed")


def test_sysrq_never_panics(procfs: Procfs) -> None:
    write(procfs, "/sys/vm/panic_on_oom", "2")
    write(procfs, "/sysrq-trigger", "f")
    assert verdict(procfs)["outcome"] == "killed"


def test_the_allocating_task_may_be_made_the_victim(procfs: Procfs) -> None:
    write(procfs, "/sys/vm/oom_kill_allocating_task", "1")
    write(procfs, "/fakeproc/oom_trigger", "pid=100006")
    assert verdict(procfs)["victim"] == "100006 (nginx)"
    assert verdict(procfs)["points"] == "0"


def test_the_table_can_be_left_out(procfs: Procfs) -> None:
    write(procfs, "/sys/vm/oom_dump_tasks", "0")
    write(procfs, "/fakeproc/oom_trigger", "1")
    assert "oom_score_adj name" not in read(procfs, "/fakeproc/kmsg")


def test_the_victim_counts_since_4_13(procfs: Procfs) -> None:
    write(procfs, "/fakeproc/kernel", "4.14")
    write(procfs, "/fakeproc/oom_trigger", "1")
    assert "oom_kill 1\n" in read(procfs, "/vmstat")


# -- Constraints -------------------------------------------------------------------


@pytest.fixture
def nodes() -> Procfs:
    """Two nodes of 4G with a task on each, and one that uses both."""
    hardware = Hardware(node_pages=(4 * GIB_PAGES, 4 * GIB_PAGES), swap_pages=0)
    procfs = Procfs(Machine(KernelConfig("6.1"), hardware))
    for command in (
        "spawn name=zero rss=300M mems_allowed=0 cpuset=/left",
        "spawn name=one rss=900M mempolicy=bind:1 mems_allowed=1",
        "spawn name=both rss=200M",
    ):
        write(procfs, "/fakeproc/ctl", command)
    return procfs


@pytest.mark.parametrize(
    ("options", "victim", "constraint"),
    [
        ("1", "one", "CONSTRAINT_NONE"),
        ("nodemask=0-1", "one", "CONSTRAINT_NONE"),
        ("pid=100000", "zero", "CONSTRAINT_CPUSET"),
        ("nodemask=0", "zero", "CONSTRAINT_MEMORY_POLICY"),
        ("nodemask=1 pid=100000", "one", "CONSTRAINT_MEMORY_POLICY"),
        ("gfp_mask=0x0 pid=100000", "zero", "CONSTRAINT_NONE"),
    ],
)
def test_explain_and_trigger_agree_about_constraints(
    nodes: Procfs, options: str, victim: str, constraint: str
) -> None:
    write(nodes, "/fakeproc/explain", options)
    foretold = json.loads(read(nodes, "/fakeproc/explain.json"))
    assert foretold["chosen"]["comm"] == victim
    assert foretold["constraint"] == constraint
    write(nodes, "/fakeproc/oom_trigger", options)
    assert verdict(nodes)["victim"].endswith(f"({victim})")
    assert verdict(nodes)["constraint"] == constraint


def test_outcomes_of_those_who_are_turned_away(nodes: Procfs) -> None:
    write(nodes, "/fakeproc/oom_trigger", "gfp_mask=0xc40")
    assert verdict(nodes)["outcome"] == "nofs"
    assert read(nodes, "/fakeproc/kmsg") == ""


def test_status_and_oom_score_by_nodes(nodes: Procfs) -> None:
    lines = read(nodes, "/100001/status").splitlines()
    assert (
        lines[lines.index(f"Mems_allowed:\t{'00000000,' * 31}00000002") + 1]
        == "Mems_allowed_list:\t1"
    )
    assert "Mems_allowed_list:\t0-1" in read(nodes, "/100002/status")
    reader = TaskCaller.of(nodes.machine.thread(100000))
    for kernel, seen in (("4.9", False), ("6.1", True)):
        write(nodes, "/fakeproc/kernel", kernel)
        file = nodes.lookup("/100001/oom_score", reader)
        assert isinstance(file, File)
        assert (file.render() != b"0\n") == seen
        assert read(nodes, "/100001/oom_score") != "0\n"


# -- Which OOM explain is about ----------------------------------------------------


def test_a_question_changes_nothing_but_the_answer(nodes: Procfs) -> None:
    before = dump(nodes)
    asked = read(nodes, "/fakeproc/explain")
    write(nodes, "/fakeproc/explain", "nodemask=0\n")
    answer = read(nodes, "/fakeproc/explain").splitlines()
    assert answer[:6] == [
        "request: nodemask=0",
        "outcome: killed",
        "chosen: 100000 (zero)",
        "victim: 100000 (zero)",
        "killed: 100000 (zero)",
        "constraint: CONSTRAINT_MEMORY_POLICY",
    ]
    assert "  100001 (one): its memory policy does not allow node 0" in answer
    assert dump(nodes) == before | {"question": "nodemask=0"}
    write(nodes, "/fakeproc/explain", "1")
    assert dump(nodes) == before
    assert read(nodes, "/fakeproc/explain") == asked


def test_a_bad_question_is_refused_as_by_the_trigger(nodes: Procfs) -> None:
    before = dump(nodes)
    with pytest.raises(Refused) as refused:
        write(nodes, "/fakeproc/explain", "nodemsk=0")
    assert refused.value.error == errno.EINVAL
    answer = read(nodes, "/fakeproc/ctl")
    assert answer.startswith("EINVAL: explain: option 'nodemsk': not known (nearest: nodemask)")
    assert dump(nodes) == before


def test_a_descriptor_that_reads_and_writes_has_its_own_question(nodes: Procfs) -> None:
    root = nodes.machine.root
    write(nodes, "/fakeproc/explain", "nodemask=0")
    private = open_file(node(nodes, "/fakeproc/explain"), os.O_RDWR, root)
    assert private.read(4096, 0).startswith(b"request: nodemask=0\n")
    private.write(root, b"nodemask=1")
    assert private.read(4096, 0).startswith(b"request: nodemask=1\n")
    assert read(nodes, "/fakeproc/explain").startswith("request: nodemask=0\n")


def test_a_question_about_who_has_gone_cannot_be_answered(nodes: Procfs) -> None:
    write(nodes, "/fakeproc/explain", "pid=100000")
    write(nodes, "/fakeproc/ctl", "exit 100000")
    with pytest.raises(Refused, match="pid=100000: has exited; accepted is a task that runs"):
        read(nodes, "/fakeproc/explain")
    write(nodes, "/fakeproc/explain", "1")
    assert read(nodes, "/fakeproc/explain").startswith("outcome: killed\n")


def test_explain_takes_questions_after_a_panic(procfs: Procfs) -> None:
    kill_all(procfs)
    write(procfs, "/fakeproc/explain", "order=2")
    assert read(procfs, "/fakeproc/explain").startswith("request: order=2\noutcome: panicked\n")
