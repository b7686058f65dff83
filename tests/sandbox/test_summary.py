# SPDX-License-Identifier: MIT
"""What a person reads at the end of a run."""

from __future__ import annotations

import signal
from textwrap import dedent

from fakeproc.kernel.machine import Hardware, Machine, sizes_for
from fakeproc.kernel.task import Hold
from fakeproc.sandbox.report import Report
from fakeproc.sandbox.summary import summary
from fakeproc.scenario import load_scenario
from tests.sandbox.history import EARLYOOM, NS_PER_S, History


def prose(report: Report) -> str:
    """Return the sentences, without the table."""
    text = summary(report)
    return text[: text.index(" available  swap free")].rpartition("\n")[0]


def test_the_whole_of_it() -> None:
    history = History(load_scenario("desktop"))
    history.pass_time(10)
    history.kill(history.machine.process(100200))
    history.pass_time(5)
    assert summary(history.finish()) == dedent("""\
        earlyoom (pid 3001) sent SIGTERM to 100200 leaking-tab after 10.0 s: oom_score 538 (1st of
          7), adj 300, RSS 1.2 GB (1st). The kernel would have killed the same.
          It died at once. Memory was back at once (available 1.3 GB -> 2.4 GB). Collateral: none.
        Lowest available: 1.3 GB (31.6 %) at 10.0 s; memory pressure some avg10 up to 5.18 at
          10.4 s.
            at  available  swap free  some avg10  available of RAM
         0.0 s     2.1 GB     1.0 GB        0.00  [###########         ]
         0.9 s     2.0 GB     1.0 GB        0.00  [##########          ]
         3.7 s     1.8 GB     1.0 GB        0.00  [#########           ]
         5.6 s     1.6 GB     1.0 GB        0.00  [########            ]
         7.5 s     1.4 GB     979 MB        0.90  [#######             ]
         9.3 s     1.3 GB     929 MB        3.45  [#######             ]
        10.0 s     1.3 GB     906 MB        3.45  [######              ]
        10.0 s     2.4 GB     906 MB        3.45  [############        ]
        11.2 s     2.4 GB     906 MB        5.18  [############        ]
        13.1 s     2.4 GB     906 MB        4.24  [############        ]
        15.0 s     2.4 GB     906 MB        3.47  [############        ]
        """)


def test_nobody_was_killed() -> None:
    history = History(Machine())
    history.pass_time(3)
    assert prose(history.finish()).startswith("Nobody was killed in 3.0 s.\nLowest available: ")


def test_the_kernel_was_faster() -> None:
    history = History(load_scenario("desktop"))
    history.pass_time(60)
    text = " ".join(prose(history.finish()).split())
    assert text.startswith(
        "The kernel's OOM killer was faster than any tool: it killed 100200 leaking-tab (3.1 GB) "
        "after 29.3 s. Collateral: none. No tool has sent a signal. "
    )


def test_a_tool_that_kills_two_where_one_would_do() -> None:
    machine = Machine(hardware=Hardware(ram_pages=2**18, swap_pages=0))
    first, second = (machine.spawn("job", sizes=sizes_for(anon_pages=25_600)) for _ in range(2))
    machine.hold(first.leader, Hold.AT_EXIT, for_ns=NS_PER_S)
    history = History(machine)
    history.kill(first)
    history.pass_time(0.3)
    history.kill(first, signo=signal.SIGKILL)
    history.kill(second)
    history.pass_time(1)
    text = " ".join(prose(history.finish()).split())
    assert f"earlyoom (pid 3001) sent SIGTERM and SIGKILL 0.3 s later to {first.pid} job" in text
    assert "It died after 1.0 s. Memory was back after 1.0 s" in text
    assert f"Collateral: {second.pid} job although relief was on the way." in text


def test_it_stays_short() -> None:
    machine = Machine()
    jobs = [machine.spawn("job") for _ in range(100)]
    history = History(machine)
    for job in jobs[:50]:
        history.kill(job, EARLYOOM)
        history.pass_time(0.2)
    for _ in jobs[50:]:
        history.out_of_memory()
    text = summary(history.finish())
    assert "... and 46 more, which the report lists.\n" in text
    assert "... and 48 more by the kernel.\n" in text
    assert text.count("\n") <= 32
    assert max(map(len, text.splitlines())) <= 100


def test_panic() -> None:
    machine = Machine()
    history = History(machine)
    history.out_of_memory()
    assert "The machine has panicked: " in prose(history.finish())
