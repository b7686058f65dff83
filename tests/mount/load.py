# SPDX-License-Identifier: MIT
"""A program that lets many clients at one mount, and says what came of it.

    python -m tests.mount.load --clients 64 --seconds 300 [--real-time] [--journal]

Readers, writers, spawners, killers, pollers and a trigger every second, each a process.  It ends
with an error when a call gives an errno that is none of its own, when one does not come back,
when the memory of the server grows, when the server has an error to tell of, or when its machine
does not add up in the end.
"""

from __future__ import annotations

import argparse
import os
import resource
import select
import signal
import statistics
import sys
import tempfile
import time
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fakeproc.units import align
from tests.conftest import BINDINGS, Mounted
from tests.mount.forked import Forked
from tests.mount.load_clients import Board, Client, Told, cast

HANG_S = 30.0
"""How long a call may take."""
_LOOK_S = 0.2
_MOST_HANGS = 10
"""After how many times as long the clients have to end, however busy the host is."""
_PAGE_KIB = resource.getpagesize() // 1024

SCENARIO = """
version = 1
[machine]
ram = "1G"
cpus = 2
cache = "100M"
[[swap]]
name = "/swapfile"
size = "256M"
[[process]]
name = "daemon"
rss = "30M"
[[process]]
name = "leak"
rss = "10M"
behaviour = { kind = "sawtooth", rate = "40M/s", period = "5s" }
"""


class Checked(Mounted):
    """A mount whose server holds its machine against what must be true, in the end."""

    COMMAND = ("tests.mount.checked_server",)
    EXIT_LIMIT_S = 600.0
    """It replays its journal first."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done, and what is asked for."""

    clients: int
    seconds: float
    seed: str
    binding: str
    manual: bool
    journal: bool
    settle_s: float
    """When the memory of the server has to have stopped growing."""
    growth_percent: float
    """How much it may still grow from then on."""
    hang_s: float


class Watch:
    """What is seen of the server and of the clients while they are at it."""

    def __init__(self, plan: Plan, server: int) -> None:
        self.plan = plan
        self.kinds = cast(plan.clients, manual=plan.manual)
        self.board = Board(plan.clients)
        self.start_s = time.monotonic()
        self.told: list[Told] = []
        self.problems: list[str] = []
        self.rss_kib: list[tuple[float, int]] = []
        """The memory of the server, and when, in seconds from the start."""
        self._waited_s: list[tuple[float, float]] = []
        """For how long the server has waited for a CPU, and when."""
        self._server = server

    @property
    def end_s(self) -> float:
        """When the clients are to end."""
        return self.start_s + self.plan.seconds

    def until_all_end(self, clients: list[Forked]) -> bool:
        """Look at both until all clients have ended; False when something hangs before."""
        pending = list(clients)
        while pending:
            self._look()
            hung = self._hung()
            if hung:
                self.problems += hung
                return False
            for client in select.select(pending, [], [], _LOOK_S)[0]:
                pending.remove(client)
                told = client.result(time.monotonic() + HANG_S)
                if told is None:
                    self.problems.append("a client has failed (its traceback is above)")
                else:
                    self.told.append(told)
        return True

    def _look(self) -> None:
        """Take note of what the server has and takes."""
        at_s = time.monotonic() - self.start_s
        self.rss_kib.append((at_s, rss_kib(self._server)))
        self._waited_s.append((at_s, waited_for_cpu_s(self._server)))

    def _hung(self) -> list[str]:
        """Name the calls that take too long, apart from the time in which others had the CPUs."""
        late = time.monotonic() > self.end_s + _MOST_HANGS * self.plan.hang_s
        hung = ["there are clients that do not end"] * late
        for number, kind in enumerate(self.kinds):
            since_s, call = self.board.look(number)
            if since_s - self._starved_s(since_s) > self.plan.hang_s:
                hung.append(f"a client ({kind}) hangs in {call}: {since_s:.0f} s")
        return hung

    def _starved_s(self, for_s: float) -> float:
        """Return for how long the server waited for a CPU lately."""
        now_s, total_s = self._waited_s[-1]
        first = bisect_left(self._waited_s, (now_s - for_s,))
        return total_s - self._waited_s[min(first, len(self._waited_s) - 1)][1]

    def memory(self) -> tuple[float, float]:
        """Return what the server had when it had settled, and in the end (kB)."""
        window_s = (self.plan.seconds - self.plan.settle_s) / 10
        return self._median_rss(self.plan.settle_s, window_s), self._median_rss(
            self.plan.seconds - window_s, window_s
        )

    def _median_rss(self, from_s: float, for_s: float) -> float:
        return statistics.median(kib for at, kib in self.rss_kib if from_s <= at <= from_s + for_s)


def rss_kib(pid: int) -> int:
    """Return the resident memory of a process of the host, in kB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_KIB


def waited_for_cpu_s(pid: int) -> float:
    """Return for how long the first thread of a process could run, and did not (sched_info)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1_000_000_000


# -- The run -----------------------------------------------------------------------


def run(plan: Plan, folder: Path) -> list[str]:
    """Let clients at a mount in this folder; print the figures; return what was wrong."""
    mounted = _mount(plan, folder)
    watch = Watch(plan, mounted.server.pid)
    clients: list[Forked] = []
    try:
        for number, kind in enumerate(watch.kinds):
            client = Client(kind, number, plan.seed, watch.board)
            clients.append(Forked(partial(_be_a_client, mounted.path, client, watch.end_s)))
        if watch.until_all_end(clients):
            print("upcalls:", mounted.read("fakeproc/stats").split()[1])
            mounted.stop()
        else:
            mounted.server.send_signal(signal.SIGUSR1)
            time.sleep(_LOOK_S)
            print(mounted.errors())
    except AssertionError as error:
        watch.problems.append(f"the server: {error}")
    finally:
        # Its clients are free to end then, if they are not yet.
        mounted.kill()
        for forked in clients:
            forked.kill()
    return _report(watch)


def _mount(plan: Plan, folder: Path) -> Checked:
    path, scenario = folder / "proc", folder / "load.toml"
    path.mkdir()
    scenario.write_text(SCENARIO)
    options = ["--kernel", "6.18", "--scenario", os.fspath(scenario)]
    options += ["--clock", "manual"] if plan.manual else []
    options += ["--journal", os.fspath(folder / "journal")] if plan.journal else []
    return Checked(path, plan.binding, *options)


def _be_a_client(path: Path, client: Client, end_s: float) -> Told:
    os.chdir(path)
    return client.run(end_s)


# -- What came of it ---------------------------------------------------------------


def _report(watch: Watch) -> list[str]:
    problems = watch.problems
    problems += sorted({wrong for told in watch.told for wrong in told["wrong"]})[:50]
    print(_table(watch))
    if not problems:
        early_kib, late_kib = watch.memory()
        percent = (late_kib / early_kib - 1) * 100
        settle_s, limit_percent = watch.plan.settle_s, watch.plan.growth_percent
        print(
            f"memory: {early_kib:.0f} kB after {settle_s:g} s, {late_kib:.0f} kB at the end, "
            f"{percent:+.1f} %"
        )
        if percent > limit_percent:
            problems.append(f"memory: grew by {percent:.1f} %, accepted: {limit_percent:g} %")
    print("over time:", *_ten_of(watch.rss_kib), "kB")
    print("wrong:", *(problems or ["nothing"]), sep="\n  ")
    return problems


def _table(watch: Watch) -> str:
    """Return a line for each kind of client."""
    rows = [["kind", "clients", "calls", "calls/s", "slowest", "in", "refused"]]
    for kind in dict.fromkeys(watch.kinds):
        told = [one for one in watch.told if one["kind"] == kind]
        calls = sum(sum(one["calls"].values()) for one in told)
        slowest = [(took_s, call) for one in told for call, took_s in one["slowest_s"].items()]
        took_s, call = max(slowest, default=(0.0, "-"))
        refusals = sum((Counter(one["refusals"]) for one in told), Counter[str]())
        refused = " ".join(f"{name}:{count}" for name, count in refusals.most_common())
        rate = f"{calls / watch.plan.seconds:.0f}"
        row = [kind, len(told), calls, rate, f"{took_s * 1000:.0f}ms", call, refused or "-"]
        rows.append(list(map(str, row)))
    calls = sum(int(row[2]) for row in rows[1:])
    rows.append(
        ["all", str(len(watch.told)), str(calls), f"{calls / watch.plan.seconds:.0f}", "", "", ""]
    )
    return align(rows)


def _ten_of(samples: list[tuple[float, int]]) -> list[int]:
    """Return ten of the samples, evenly spaced, and the last one."""
    return [kib for _, kib in [*samples[:: max(len(samples) // 10, 1)], samples[-1]]]


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(prog="python -m tests.mount.load", description=__doc__)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--binding", choices=BINDINGS, default="mfusepy")
    parser.add_argument("--real-time", action="store_true", help="the clock goes with the host's")
    parser.add_argument(
        "--journal", action="store_true", help="with a journal, replayed at the end"
    )
    parser.add_argument("--settle", type=float, default=60, help="when memory is flat, in seconds")
    parser.add_argument("--growth", type=float, default=2, help="how much more is accepted, in %%")
    parser.add_argument("--hang", type=float, default=HANG_S, help="how long a call may take")
    return parser


def main() -> int:
    """Run as the options say; return the exit status."""
    options = make_parser().parse_args()
    plan = Plan(
        clients=options.clients,
        seconds=options.seconds,
        seed=options.seed,
        binding=options.binding,
        manual=not options.real_time,
        journal=options.journal,
        settle_s=min(options.settle, options.seconds / 2),
        growth_percent=options.growth,
        hang_s=options.hang,
    )
    with tempfile.TemporaryDirectory() as folder:
        return 1 if run(plan, Path(folder)) else 0


if __name__ == "__main__":
    sys.exit(main())
