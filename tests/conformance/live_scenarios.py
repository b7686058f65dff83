# SPDX-License-Identifier: MIT
"""The fixed list of scenarios that is played in a live kernel on every run.

Most are taken from the goldens, so that both recorders are held against each other as well.
"""

from __future__ import annotations

from pathlib import Path

from tests.conformance.goldens import Scenario, known, scenarios

_GOLDENS = Path(__file__).parents[1] / "goldens"

_FROM_THE_GOLDENS = {
    "writes and reads of one descriptor": """
        fd/oom_score_adj/writev-2 fd/oom_adj/seek-huge fd/oom_score_adj/long-then-rest
        fd/oom_score_adj/bad-pointer fd/oom_adj/across-zombie-and-reap
        fd/oom_score_adj/opened-by-root-then-setuid
    """,
    "users, capabilities and the minimum": """
        perm/root-no-res/mixed-files/1 perm/owner/mixed-files/0
        perm/other/oom_adj/target-uid-1000/b perm/other-with-dac-res/oom_score_adj/target-uid-0/a
        perm/self/oom_adj/uid-0--sys_resource perm/fork-min/new-low/uid-1000
        perm/fork-min/exec-keeps perm/min-stays/raise-without-cap perm/random/5
    """,
    "who follows whom": """
        sharing/vm3-chain/errors sharing/vm2-threads/all-in-turn sharing/sighand2/all-in-turn
        sharing/vfork/all-in-turn sharing/vfork-novm/all-in-turn sharing/vm-and-vfork/errors
        sharing/vm3-uids/all-in-turn sharing/two-groups/all-in-turn
        sharing/rights/vm3-chain/root-no-res/first-A sharing/cross-uid
        sharing/vfork-clone-then-exec sharing/vfork-then-exit sharing/vm3-then-kill-B
        sharing/thread-path/oom_score_adj sharing/leader-exited/oom_adj
        sharing/leader-exited-sharer/oom_score_adj sharing/zombie/oom_score_adj
        sharing/kthread/oom_adj sharing/missing-pid/oom_adj sharing/init-vfork/oom_score_adj
        random_writes/0
    """,
    "whom sysrq-f chooses": """
        oom_select/largest/3 oom_select/adj/10 oom_select/leader-exited-adj oom_tie/clamped/3
        oom_tie/forked/4 oom_share/vm2-first-written/-1000 oom_share/vfork-parent/-999
        oom_share/vfork-child-parent-500/-17 oom_share/vfork-novm-big
        oom_share/sharer-root-and-user oom_share/init-vfork/0 oom_share/frozen-sharer
        oom_children/sharing-and-forked-child oom_sysctl/oom_dump_tasks/0
        oom_dying/exit-stopped oom_dying/victim-held-sharer oom_dying/killed-and-frozen-both
        oom_dying/victim-held/later oom_mixed/0
    """,
    "real allocations": """
        oom_hog/hog-threads oom_hog/swap oom_sysctl/allocating/1/hog-sharing memcg/hog-alone
        memcg/sharer-outside memcg/allocating-task memcg/panic_on_oom/2
    """,
}

_MADE_FOR_THIS: list[Scenario] = [
    {
        "id": "locked-memory",
        "tasks": [
            {"name": "R", "oom_score_adj": -1000},
            {"name": "A", "anon_kb": 8192, "mlock": True},
            {"name": "B", "anon_kb": 2048},
        ],
        "steps": [
            {"op": "snapshot"},
            {"op": "seize", "by": "R", "target": "A"},
            {"op": "sysrq_f"},
            {"op": "sleep", "s": 2.6},
            {"op": "snapshot"},
        ],
    },
]
"""What the goldens do not have."""


def _listed() -> list[Scenario]:
    by_id = {one["id"]: one for group in known(_GOLDENS)[1] for one in scenarios(_GOLDENS, group)}
    ids = [name for names in _FROM_THE_GOLDENS.values() for name in names.split()]
    return [_in_company(by_id[name]) for name in ids] + _MADE_FOR_THIS


def _in_company(scenario: Scenario) -> Scenario:
    """Let a scenario share its boot: how often the machine has warned does not count here."""
    boot = dict(scenario.get("boot", {}))
    boot.pop("alone", None)
    boot.pop("log_kb", None)
    return {**scenario, "boot": boot}


SCENARIOS = _listed()
