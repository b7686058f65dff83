# SPDX-License-Identifier: MIT
"""oom_trigger, sysrq-trigger, the panic and the reboot, without a mount."""

from __future__ import annotations

import errno

import pytest

from fakeproc.kernel.errors import Refused
from fakeproc.procfs.node import File
from fakeproc.procfs.tree import Procfs
from fakeproc.scenario import load_scenario
from tests.state import dump


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
        "reaped": "none",
    }
    assert "Killed process 100013 (nightly-job)" in read(procfs, "/fakeproc/kmsg")
    assert read(procfs, "/100013/status").splitlines()[1] == "State:\tZ (zombie)"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pid=7", "7: no such task"),
        ("pid=x", "pid=x: accepted is a number, 1 to 2147483647."),
        ("order=11", "order=11: accepted is a number, 0 to 10."),
        ("gfp_mask=-1", "gfp_mask=-1: accepted is a number"),
        ("memcg=/none", "memcg=/none: there is no such group."),
        (
            "nodemask=1",
            "nodemask=1: accepted is a list of nodes such as 0, 0-1 or 0,2; the machine has 0.",
        ),
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
    assert read(procfs, "/100006/cgroup") == "0::/web\n"
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
    ]:
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
