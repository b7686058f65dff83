# SPDX-License-Identifier: MIT
"""What each of the six patches repairs: the cover letter's cases, without it and with it."""

from __future__ import annotations

import pytest

from tests.conftest import Mounted

PREPARE = """
    ctl() { echo "$@" > fakeproc/ctl && cat fakeproc/ctl; }
    trigger() { echo "$@" > fakeproc/oom_trigger; grep -E "$KEYS" fakeproc/oom_trigger; }
"""


def _run(mounted: Mounted, switch: str, script: str, keys: str = "victim|killed|freed") -> str:
    """Run a script on the built-in scenario, with a patch switched on or off."""
    setup = f'echo "{switch}" > fakeproc/kernel\nKEYS="^({keys}):"\n{PREPARE}'
    done = mounted.sh(setup + script, shell="bash")
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("switch", "answer"),
    [("no-patch 1", "0\n"), ("patch 1", "294\n")],
)
def test_1_oom_adj_of_a_process_whose_leader_has_no_mm(
    mounted: Mounted, switch: str, answer: str
) -> None:
    script = """
        pid=$(ctl spawn name=half); ctl thread $pid > /dev/null; ctl exit-leader $pid > /dev/null
        echo 5 > $pid/oom_adj; cat $pid/oom_score_adj
    """
    shown = _run(mounted, switch, script)
    assert shown.startswith(answer)
    assert ("Invalid argument" in shown) == (switch == "no-patch 1")


@pytest.mark.parametrize("switch", ["no-patch 2", "patch 2"])
def test_2_both_files_keep_one_rule_with_or_without_the_helper(
    mounted: Mounted, switch: str
) -> None:
    """The patch only moves code: what it must show is that nothing changes."""
    script = """
        echo -100 > 100013/oom_score_adj; ctl become 100012 > /dev/null
        echo -200 > 100012/oom_score_adj; echo -3 > 100012/oom_adj; echo 3 > 100012/oom_adj
        cat 100012/oom_score_adj
    """
    answer = _run(mounted, switch, script)
    assert answer.startswith("176\n")
    assert answer.count("Permission denied") == 2


@pytest.mark.parametrize(("switch", "answer"), [("no-patch 3", "0\n"), ("patch 3", "500\n")])
def test_3_a_write_reaches_who_shares_the_mm(mounted: Mounted, switch: str, answer: str) -> None:
    script = "echo 500 > 100008/oom_score_adj; cat 100012/oom_score_adj"
    assert _run(mounted, switch, script) == answer


@pytest.mark.parametrize(
    ("switch", "victim", "freed"),
    [("no-patch 4", "(child)", "0k"), ("patch 4", "(nightly-job)", "2553M")],
)
def test_4_the_vforked_child_of_an_unkillable_parent_is_not_chosen(
    mounted: Mounted, switch: str, victim: str, freed: str
) -> None:
    """Without the patch it dies in vain: the memory is its parent's, who may not die."""
    script = """
        pid=$(ctl spawn name=parent rss=2G oom_score_adj=-1000)
        child=$(ctl clone parent=$pid vm=shared vfork=yes name=child)
        echo 900 > $child/oom_score_adj
        echo no-patch 5 > fakeproc/kernel
        trigger 1
    """
    lines = _run(mounted, switch, script).splitlines()
    assert lines[0].endswith(victim)
    assert lines[-1] == f"freed: {freed}"


@pytest.mark.parametrize(
    ("switch", "killed", "freed"),
    [("no-patch 5", "100008", "0k"), ("patch 5", "100008 100012", "961M")],
)
def test_5_an_unkillable_sharer_dies_with_the_victim(
    mounted: Mounted, switch: str, killed: str, freed: str
) -> None:
    script = """
        echo no-patch 3 > fakeproc/kernel  # with it the two could not differ
        echo -1000 > 100012/oom_score_adj; echo 900 > 100008/oom_score_adj
        trigger 1
    """
    assert _run(mounted, switch, script).splitlines() == [
        *("victim: 100008 (app)", f"killed: {killed}", f"freed: {freed}")
    ]


@pytest.mark.parametrize(
    ("switch", "bypass", "freed"), [("no-patch 6", "yes", "0k"), ("patch 6", "no", "2553M")]
)
def test_6_no_bypass_for_a_dying_task_while_a_sharer_lives(
    mounted: Mounted, switch: str, bypass: str, freed: str
) -> None:
    """A stuck task has been killed and asks for memory; app-helper lives on its mm."""
    script = """
        ctl hold 100008 stuck > /dev/null; ctl kill 100008 SIGKILL > /dev/null
        trigger pid=100008
    """
    lines = _run(mounted, switch, script, "bypass|freed").splitlines()
    assert lines == [f"bypass: {bypass}", f"freed: {freed}"]
