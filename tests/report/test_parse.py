# SPDX-License-Identifier: MIT
"""Where reports begin and end, what is missing from them, and lines that few kernels print."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakeproc.report.options import WhatIf, answer
from fakeproc.report.parse import Named, Report, Scope
from fakeproc.report.render import data_of, scenario_text_of
from fakeproc.report.render import text_of as shown
from tests.report import IDS, read, report_of, text_of

HEADER = "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name\n"
ROWS = """\
[   1000]     0  1000     5000      900    40960        0             0 small
[   2000]    33  2000    90000    80000   400000        0             0 big
"""
KILLED = (
    "Out of memory: Killed process {pid} ({comm}) total-vm:360000kB, anon-rss:320000kB, "
    "file-rss:0kB, shmem-rss:0kB, UID:33 pgtables:392kB oom_score_adj:0\n"
)


def without_context(report: Report) -> Report:
    """Leave out what a report takes from those before it in the log."""
    return replace(report, line_number=0, release=None, earlier_victims=frozenset())


def only(text: str) -> Report:
    (report,) = read(text)
    return report


# -- Several in one log ------------------------------------------------------------


def test_reports_one_after_the_other_are_kept_apart() -> None:
    found = read("".join(text_of(identity) + "\n" for identity in IDS))
    assert len(found) == len(IDS)
    for identity, report in zip(IDS, found, strict=True):
        assert without_context(report) == without_context(report_of(identity)), identity


def test_victims_of_the_log_are_out_of_sight_when_they_are_still_in_a_table() -> None:
    """The one that was killed first is still dying when the next report is printed."""
    first = HEADER + ROWS + KILLED.format(pid=2000, comm="big")
    second = HEADER + ROWS + KILLED.format(pid=1000, comm="small")
    _, report = read(first + second)
    data = data_of(answer(2, report, WhatIf()))
    assert data["agrees"] is True
    assert data["predicted"]["pid"] == 1000
    assert (
        "big (2000): victims of earlier OOMs in this log; their memory is hidden"
        in (data["reason"])
    )
    assert [row["why_not"] for row in data["excluded"]] == [
        "its memory has been reaped, or cannot be"
    ]


def test_nobody_is_left_when_the_log_has_seen_all_of_them_die() -> None:
    kills = KILLED.format(pid=2000, comm="big") + KILLED.format(pid=1000, comm="small")
    text = HEADER + ROWS + kills + HEADER + ROWS + "Out of memory and no killable processes...\n"
    report = read(text)[-1]
    data = data_of(answer(3, report, WhatIf()))
    assert (data["agrees"], data["predicted"]) == (True, None)
    assert {row["pid"] for row in data["excluded"]} == {1000, 2000}


def test_victims_that_the_log_does_not_show_are_presumed() -> None:
    text = HEADER + ROWS + KILLED.format(pid=1000, comm="small")
    data = data_of(answer(1, only(text), WhatIf()))
    assert (data["agrees"], data["predicted"]["pid"]) == (False, 2000)
    assert "big (2000): most likely victims of earlier OOMs" in data["reason"]


def test_the_reaper_of_an_earlier_victim_does_not_end_a_report() -> None:
    reaped = "oom_reaper: reaped process 2000 (big), now anon-rss:0kB, file-rss:0kB\n"
    rows = ROWS.splitlines(keepends=True)
    report = only(HEADER + rows[0] + reaped + rows[1] + KILLED.format(pid=1000, comm="small"))
    assert len(report.rows) == 2
    assert (2000, "big") not in report.earlier_victims  # it was reaped within


def test_who_quotes_the_kernel_makes_no_report() -> None:
    """As node-problem-detector does, and a journal that has everything twice."""
    kill = KILLED.format(pid=2000, comm="big")
    quote = "detector[6018]: I0624 18:49:43.983472 6018 log_monitor.go:159] New status: &{Events:"
    report = only(HEADER + ROWS + kill + f"{quote}[Message:{kill}" + kill)
    assert report.chosen == Named(2000, "big")
    assert read("some oom: [8] 3 connections\nfoo[12]: [1] 2 3 4 5 6 7 8\n") == []


def test_memory_that_somebody_else_prints_is_no_report() -> None:
    assert read("page allocation failure: order:4\nMem-Info:\n1000 pages RAM\n") == []


# -- Truncated ---------------------------------------------------------------------


@cache
def lines_of(identity: str) -> list[str]:
    return text_of(identity).splitlines(keepends=True)


@pytest.mark.parametrize("identity", IDS)
def test_a_cut_at_any_line_is_said(identity: str) -> None:
    lines, whole = lines_of(identity), without_context(report_of(identity))
    for cut in range(1, len(lines)):
        for part in (lines[:cut], lines[cut:]):
            for report in read("".join(part)):
                assert report.missing or without_context(report) == whole, cut


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_whatever_is_left_of_a_report_can_be_explained(data: st.DataObject) -> None:
    lines = lines_of(data.draw(st.sampled_from(IDS)))
    start = data.draw(st.integers(0, len(lines)))
    end = data.draw(st.integers(start, len(lines)))
    text = "".join(lines[start:end])
    if data.draw(st.booleans()):
        cut = data.draw(st.integers(0, len(text)))
        text = text[:cut] + data.draw(st.sampled_from(["", "\n", "�", "] ", "(", "9" * 30]))
    for number, report in enumerate(read(text), 1):
        found = answer(number, report, WhatIf())
        assert shown(found, of=1)
        assert data_of(found)["reason"]
        assert scenario_text_of(found, "log")


def test_a_table_that_ends_with_the_log_is_not_complete() -> None:
    report = only(HEADER + ROWS)
    assert not report.complete
    assert "whatever comes behind the table, perhaps with rows" in report.missing
    data = data_of(answer(1, report, WhatIf()))
    assert (data["agrees"], data["logged"], data["predicted"]["pid"]) == (None, None, 2000)
    assert data["reason"].startswith("The log does not say who was chosen.")


def test_a_head_that_is_cut_off_is_no_missing_row() -> None:
    report = only(HEADER + ROWS + KILLED.format(pid=2000, comm="big"))
    assert report.complete
    assert "the head (who asked for the memory)" in report.missing


@pytest.mark.parametrize(
    "damage",
    ["<snip>\n", "[...]\n", "...\n", "(30 more rows)\n", "[ 3000]  0  3000 1\n",
     "[1.2] printk: 12 printk messages dropped\n"],
)  # fmt: skip
def test_something_cut_out_of_the_table_is_seen(damage: str) -> None:
    rows = ROWS.splitlines(keepends=True)
    text = HEADER + rows[0] + damage + rows[1] + KILLED.format(pid=2000, comm="big")
    assert not only(text).complete
    assert only(text.replace(damage, "")).complete


def test_lines_that_somebody_has_filtered() -> None:
    """Grep finds the header by its "oom", but not the title above it, nor most rows."""
    head = "x invoked oom-killer: gfp_mask=0x0(), order=0, oom_score_adj=0\n"
    title = "Tasks state (memory values in pages):\n"
    kill = KILLED.format(pid=2000, comm="big")
    assert not only(head + HEADER + ROWS + kill).complete
    assert only(head + title + HEADER + ROWS + kill).complete


def test_a_victim_without_a_row_is_a_missing_row() -> None:
    report = only(HEADER + ROWS + KILLED.format(pid=4711, comm="java"))
    assert not report.complete
    data = data_of(answer(1, report, WhatIf()))
    assert data["agrees"] is False
    assert "java (4711) was chosen but is not in the table" in data["reason"]


def test_a_kill_alone_is_a_report_without_a_table() -> None:
    """What a rate limit leaves."""
    report = only(KILLED.format(pid=4711, comm="java"))
    assert (report.complete, report.killed) == (False, Named(4711, "java"))
    data = data_of(answer(1, report, WhatIf()))
    assert data["agrees"] is None
    assert "rate-limited" in data["reason"]


# -- Forms of lines ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "killed"),
    [
        ("Killed process 12 (java)", Named(12, "java")),
        ("Out of Memory: Killed process 12 (java).", Named(12, "java")),
        ("Killed process 12 (java) vsz:12kB, anon-rss:8kB, file-rss:0kB", Named(12, "java")),
        ("Killed process 12, UID 500, (java) total-vm:12kB, anon-rss:8kB", Named(12, "java")),
        ("Killed process 12 (java), UID 500, total-vm:12kB, anon-rss:8kB", Named(12, "java")),
        ("Out of memory: Killed process 12 ((sd-pam)) total-vm:12kB", Named(12, "(sd-pam)")),
        ("Out of memory: Killed process 12 (a) b (c) total-vm:12kB", Named(12, "a) b (c")),
        (
            "Out of memory (oom_kill_allocating_task): Killed process 12 (x) total-vm:12kB",
            Named(12, "x"),
        ),
    ],
)
def test_lines_of_the_kill(line: str, killed: Named) -> None:
    assert only(HEADER + ROWS + line + "\n").killed == killed


def test_a_line_of_the_kill_in_three_parts() -> None:
    text = dedent("""\
        [  142.890123] Memory cgroup out of memory: Killed process 2000 (big)
                       total-vm:360000kB, anon-rss:320000kB, file-rss:0kB, shmem-rss:0kB, UID:0
                       pgtables:4832kB oom_score_adj:998
        """)
    report = only(HEADER + ROWS + text)
    assert report.killed == Named(2000, "big")
    assert report.scope is Scope.MEMCG


def test_lines_that_mail_has_cut_in_the_middle() -> None:
    text = dedent("""\
        [   65.470256]
        oom-kill:constraint=CONSTRAINT_CPUSET,nodemask=(null),cpuset=test,mems_allowed=0,2-3,global_oom,task_memcg=/user.slice,task=big,pid=2000,uid=0
        Apr  4 09:08:53 debian kernel: [   65.481992] Out of memory: Killed
        process 2000 (big) total-vm:360000kB, anon-rss:320000kB,
        file-rss:1024kB, shmem-rss:0kB, UID:0 pgtables:3904kB oom_score_adj:0
        """)
    report = only(HEADER + ROWS + text)
    assert (report.scope, report.nodes) == (Scope.CPUSET, "0,2-3")
    assert report.chosen == report.killed == Named(2000, "big")


@pytest.mark.parametrize("rest", ["", ": ... oom_score_adj=944", ": gfp_mask=0x0, order=0"])
def test_a_head_that_was_shortened(rest: str) -> None:
    report = only(f"[1.2] Web Content invoked oom-killer{rest}\n" + HEADER + ROWS)
    assert report.allocating_comm == "Web Content"
    assert report.order == (0 if "order" in rest else None)


def test_a_group_is_killed_whole() -> None:
    text = HEADER + ROWS + (
        "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,"
        "oom_memcg=/pod,task_memcg=/pod/a,task=big,pid=2000,uid=33\n"
        "Memory cgroup out of memory: Killed process 2000 (big) total-vm:360000kB\n"
        "Tasks in /pod/a are going to be killed due to memory.oom.group set\n"
        "Memory cgroup out of memory: Killed process 2000 (big) total-vm:360000kB\n"
        "Memory cgroup out of memory: Killed process 1000 (small) total-vm:20000kB\n"
        "Memory cgroup out of memory: OOM victim 2000 (big) is already exiting. Skip killing\n"
    )  # fmt: skip
    report = only(text)
    assert (report.memcg_path, report.group_path) == ("/pod", "/pod/a")
    assert report.also_killed == (Named(1000, "small"),)
    data = data_of(answer(1, report, WhatIf()))
    assert data["agrees"] is True
    assert {task["pid"] for task in data["killed_with_it"]} == {1000, 2000}


def test_the_allocating_task_is_killed_by_sysctl() -> None:
    text = (
        "small invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n"
        "CPU: 1 PID: 1000 Comm: small Not tainted 6.1.0 #1\n"
        + HEADER + ROWS
        + "Out of memory (oom_kill_allocating_task): Killed process 1000 (small) total-vm:1kB\n"
    )  # fmt: skip
    data = data_of(answer(1, only(text), WhatIf()))
    assert (data["agrees"], data["predicted"]["pid"]) == (True, 1000)
    assert "vm.oom_kill_allocating_task is set" in data["reason"]


def test_a_panic_names_nobody() -> None:
    text = HEADER + ROWS + (
        "Kernel panic - not syncing: Out of memory: system-wide panic_on_oom is enabled\n"
    )  # fmt: skip
    data = data_of(answer(1, only(text), WhatIf()))
    assert (data["agrees"], data["logged"]) == (None, None)
    assert "panic_on_oom is enabled" in data["reason"]
    assert "big (2000) had the most points" in data["reason"]


def test_a_thread_is_chosen_and_its_group_dies() -> None:
    """Kernels that went by threads could name one that is not the leader."""
    text = dedent("""\
        [ pid ]   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name
        [ 1000]     0  1000     5000      900      10        0             0 small
        [ 2000]    33  2000    90000    80000     100        0             0 java
        Out of memory: Kill process 2007 (java) score 80 or sacrifice child
        Killed process 2000 (java) total-vm:360000kB, anon-rss:320000kB, file-rss:0kB
        """)
    for lines in (text, text.partition("Killed")[0], text.replace("process 2000", "process 2007")):
        data = data_of(answer(1, only(lines), WhatIf()))
        assert (data["agrees"], data["logged"]["pid"]) == (True, 2007)
        assert data["complete"] is True


def test_the_row_of_a_group_whose_leader_has_exited() -> None:
    rows = ROWS.replace("[   2000]", "[   2001]")
    data = data_of(answer(1, only(HEADER + rows + KILLED.format(pid=2001, comm="big")), WhatIf()))
    assert (data["agrees"], data["predicted"]["pid"]) == (True, 2000)


def test_a_child_in_vfork_has_its_parents_row() -> None:
    """The last of equals would win, but it is exempt."""
    rows = ROWS + "[   2001]    33  2001    90000    80000   400000        0             0 big\n"
    data = data_of(answer(1, only(HEADER + rows + KILLED.format(pid=2000, comm="big")), WhatIf()))
    assert (data["agrees"], data["predicted"]["pid"]) == (True, 2000)
    assert "big (2001), with exactly the same memory, must be a child in vfork" in data["reason"]
    other = data_of(answer(1, only(HEADER + rows + KILLED.format(pid=2001, comm="big")), WhatIf()))
    assert (other["agrees"], other["predicted"]["pid"]) == (True, 2001)
    assert "2 tasks have 80097 points each, and of equals the last one" in other["reason"]


def test_root_in_a_container_has_no_discount() -> None:
    """Only the logged one lacks the capability: neither all of root nor nobody does."""
    text = dedent("""\
        x invoked oom-killer: gfp_mask=0x0(), order=0, oom_score_adj=0
        CPU: 1 PID: 1 Comm: x Not tainted 4.4.0-1-generic #1
        [ pid ]   uid  tgid total_vm      rss nr_ptes nr_pmds swapents oom_score_adj name
        [ 1000]     0  1000   200000   100000       0       0        0             0 outside
        [ 2000]     0  2000   200000    98000       0       0        0             0 inside
        Out of memory: Kill process 2000 (inside) score 98 or sacrifice child
        """)
    data = data_of(answer(1, only(text), WhatIf()))
    assert (data["agrees"], data["predicted"]["pid"]) == (True, 2000)
    assert "must lack CAP_SYS_ADMIN, as in a container" in data["reason"]


def test_the_choice_tells_apart_kernels_that_print_the_same() -> None:
    """Equal tasks at the top: until 5.2 the first one wins, which RHEL 8 keeps."""
    rows = ROWS + "[   3000]    33  3000    90001    80000   400000        0             0 big\n"
    data = data_of(answer(1, only(HEADER + rows + KILLED.format(pid=2000, comm="big")), WhatIf()))
    assert (data["agrees"], data["rules"]) == (True, "4.18")
    assert data["rules_from"] == "the way it is printed and the logged choice"


@pytest.mark.parametrize("page_kb", [4, 8, 16, 64])
def test_the_size_of_a_page_follows_from_the_kill(page_kb: int) -> None:
    kill = f"Out of memory: Killed process 2000 (big) total-vm:{90000 * page_kb}kB, anon-rss:1kB\n"
    report = only(f"1000000 pages RAM\n0 pages reserved\nTotal swap = 640kB\n{HEADER}{ROWS}{kill}")
    assert report.memory.page_kb == page_kb
    data = data_of(answer(1, report, WhatIf()))
    assert data["totalpages"] == 1000000 + 640 // page_kb
    assert data["ranking"][0]["rss"] == 80000 * page_kb * 1024


def test_the_size_of_a_page_by_the_free_lists() -> None:
    buddy = "Node 0 DMA: 12*64kB (U) 3*128kB (M) = 1152kB\n"
    assert (
        only(buddy + HEADER + ROWS + "Out of memory and no killable processes...\n").memory.page_kb
        == 64
    )


@pytest.mark.parametrize(
    ("head", "scope"),
    [
        ("nodemask=(null), ", Scope.GLOBAL),
        ("nodemask=0, ", Scope.GLOBAL),
        ("nodemask=1, ", Scope.MEMPOLICY),
        ("", Scope.GLOBAL),
    ],
)
def test_the_constraint_of_kernels_that_do_not_name_it(head: str, scope: Scope) -> None:
    text = f"x invoked oom-killer: gfp_mask=0x0(), {head}order=0, oom_score_adj=0\n"
    assert only(text + HEADER + ROWS).scope is scope


def test_4_9_prints_the_nodes_of_the_cpuset_as_nodemask() -> None:
    text = (
        "x invoked oom-killer: gfp_mask=0x0(), nodemask=0-1, order=0, oom_score_adj=0\n"
        "x cpuset=/ mems_allowed=0-1\n"
    )
    assert only(text + HEADER + ROWS).scope is Scope.GLOBAL


def test_only_the_allowed_nodes_count() -> None:
    text = (
        "x invoked oom-killer: gfp_mask=0x0(), nodemask=1, order=0, oom_score_adj=0\n"
        "Node 0 Normal free:1kB min:1kB managed:4000kB\nNode 1 Normal free:1kB managed:800000kB\n"
        "1000000 pages RAM\nTotal swap = 400kB\n"
    )
    data = data_of(answer(1, only(text + HEADER + ROWS), WhatIf()))
    assert data["totalpages"] == (800000 + 400) // 4


@pytest.mark.parametrize("identity", IDS)
def test_a_table_without_its_head_is_read_by_its_numbers(identity: str) -> None:
    """But its rows may not be all."""
    lines = [line for line in lines_of(identity) if "total_vm" not in line]
    if not any("]     0 " in line or "]  1" in line or "] 10" in line for line in lines):
        return
    report, whole = only("".join(lines)), report_of(identity)
    assert not report.complete
    assert [row.comm for row in report.rows] == [row.comm for row in whole.rows]
    assert [row.oom_score_adj for row in report.rows] == [row.oom_score_adj for row in whole.rows]
