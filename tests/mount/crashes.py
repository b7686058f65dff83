# SPDX-License-Identifier: MIT
"""A program that kills a server time and again under load, and checks what comes back.

    python -m tests.mount.crashes FOLDER KILLS SEED

It is a program of its own because it forks servers; pytest's workers have several threads.
"""

from __future__ import annotations

import os
import random
import selectors
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from fakeproc.journal import Contents, Header, Journal, read_file
from fakeproc.mount import MountOptions, load_binding, start_server
from fakeproc.mounts import unmount
from fakeproc.procfs.clock import REAL_SPEED
from fakeproc.procfs.control import CONTROL_FILES
from fakeproc.procfs.inputs import Adopt, ChangeDirectory, Depart, Entry, Write
from fakeproc.procfs.tree import Procfs
from fakeproc.scenario.load import read_scenario
from tests.state import dump

_ACKNOWLEDGEMENTS = (3, 20)
"""After how many of them in a round the kill is aimed, at least and at most."""
_AIM_S = 0.005
"""How long after the last of these the kill comes, at most."""
_CALM_EVERY = 10
"""In which rounds the load ends before the kill, so that the mount can be looked at once more."""
_PIDS = (100001, 100003, 100008, 100010, 100012, 100013)
_COMMANDS = (
    "spawn name=extra rss=30M",
    "clone parent=100008 vm=shared",
    "hold 100013 stuck for=30ms",
    "kill 100013 SIGKILL",
    "release 100013",
    "set 100013 rss=20M",
    "exit 100012\nreap 100012",
    "no such command",
)


# -- A writer ----------------------------------------------------------------------


def draw(choose: random.Random) -> tuple[str, str, str]:
    """Return what to do: a verb, a path in the mount, the data."""
    what = choose.random()
    if what < 0.1:
        return "write", f"/{choose.choice(_PIDS)}/oom_adj", str(choose.randint(-18, 16))
    if what < 0.6:
        pid = choose.choice((*_PIDS, os.getpid()))
        return "write", f"/{pid}/oom_score_adj", str(choose.randint(-20, 1020))
    if what < 0.75:
        return "write", "/fakeproc/clock", f"+{choose.randint(1, 20)}ms"
    if what < 0.85:
        return choose.choice(("mkdir", "rmdir")), f"/fakeproc/cgroup/g{choose.randrange(4)}", ""
    if what < 0.96:
        return "write", "/fakeproc/ctl", choose.choice(_COMMANDS)
    if what < 0.98:
        return "write", "/fakeproc/oom_trigger", "1"
    return "write", "/fakeproc/ctl", "reboot"


def do(mountpoint: Path, verb: str, path: str, data: str) -> int:
    """Do it through the mount; return how much was taken."""
    if verb == "mkdir":
        os.mkdir(f"{mountpoint}{path}")
        return 0
    if verb == "rmdir":
        os.rmdir(f"{mountpoint}{path}")
        return 0
    fd = os.open(f"{mountpoint}{path}", os.O_WRONLY)
    try:
        return os.write(fd, data.encode())
    finally:
        with suppress(OSError):
            os.close(fd)


def write_on(mountpoint: Path, report: int, seed: str) -> None:
    """Do one thing after the other until the server is gone; report each before and after."""
    choose = random.Random(seed)
    while True:
        verb, path, data = draw(choose)
        os.write(report, f"try {verb} {path} {data!r}\n".encode())
        try:
            do(mountpoint, verb, path, data)
        except OSError:
            # Also when the server has gone: the parent knows which of the two it was.
            if not alive(mountpoint):
                return
            os.write(report, b"refused\n")
        else:
            os.write(report, b"acknowledged\n")


def alive(mountpoint: Path) -> bool:
    """Say whether the server still answers."""
    try:
        os.stat(f"{mountpoint}/fakeproc/stats")
    except OSError:
        return False
    return True


class Writer:
    """A process that writes, and what it has said."""

    def __init__(self, mountpoint: Path, seed: str) -> None:
        self.reports, report = os.pipe()
        self.text = ""
        self.pid = os.fork()
        if self.pid == 0:
            try:
                write_on(mountpoint, report, seed)
            finally:
                os._exit(0)
        os.close(report)

    def listen(self) -> bool:
        """Take in what it says; say whether it has ended."""
        heard = os.read(self.reports, 65536)
        self.text += heard.decode()
        return not heard

    def stop(self) -> None:
        """Kill it, when what it was doing is done as far as the server is concerned."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def end(self) -> None:
        """Hear it out."""
        while not self.listen():
            pass
        os.close(self.reports)
        os.waitpid(self.pid, 0)

    @property
    def acknowledged(self) -> int:
        """How many inputs it was told that they count."""
        return self.text.count("acknowledged\n")

    def told(self) -> tuple[list[str], list[str]]:
        """Return the inputs that were acknowledged, and the last one if nothing came back."""
        lines = self.text.splitlines()
        open_end = lines[-1:] if lines[-1:] and lines[-1].startswith("try ") else []
        pairs = zip(lines[::2], lines[1::2], strict=False)
        return [tried for tried, answer in pairs if answer == "acknowledged"], open_end


# -- The checks --------------------------------------------------------------------


def as_told(entry: Entry, pid: int) -> str | None:
    """Return an input of this process as it reports it."""
    change = entry.input
    if isinstance(change, Write) and change.caller.host_pid == pid:
        return f"try write {change.path} {change.data.decode()!r}"
    if isinstance(change, ChangeDirectory) and change.caller.host_pid == pid:
        return f"try {change.verb} {change.path} ''"
    return None


def check_told(writers: list[Writer], entries: tuple[Entry, ...]) -> None:
    """Demand that the journal has what was acknowledged, and at most what was under way."""
    for writer in writers:
        recorded = [told for entry in entries if (told := as_told(entry, writer.pid))]
        acknowledged, under_way = writer.told()
        assert recorded in (acknowledged, acknowledged + under_way), (
            f"recorded {recorded}, acknowledged {acknowledged}, under way {under_way}"
        )


class Reference:
    """The machine as an undisturbed replay of the journal makes it, line by line."""

    def __init__(self, contents: Contents) -> None:
        assert contents.header is not None
        self.procfs: Procfs = contents.header.boot()
        self.seen = 0
        """Inputs that have happened."""

    def follow(self, contents: Contents) -> None:
        """Let the inputs happen that are new."""
        for entry in contents.entries[self.seen :]:
            entry.replay(self.procfs)
        self.seen = len(contents.entries)


# -- The rounds --------------------------------------------------------------------


class Trial:
    """A journal, the mounts that carry on from it, and the machine as it must be."""

    def __init__(self, folder: Path, seed: str) -> None:
        self._mountpoint = folder / "proc"
        self._mountpoint.mkdir()
        self.file = folder / "journal"
        self._seed = seed
        self._choose = random.Random(seed)
        journal = Journal(self.file)
        journal.begin(Header(*read_scenario(None), None, REAL_SPEED, manual_clock=True))
        journal.close()
        self._reference = Reference(read_file(self.file))

    def run(self, number: int) -> int:
        """Start a server, put it under load, kill it; return how much it acknowledged."""
        before = self._reference.seen
        server = self._start()
        try:
            writers = [Writer(self._mountpoint, f"{self._seed} {number} {n}") for n in range(3)]
            listen(writers, self._choose.randint(*_ACKNOWLEDGEMENTS))
            if number % _CALM_EVERY == 0:
                self._calm_down(writers)
            time.sleep(self._choose.uniform(0, _AIM_S))
        finally:
            os.kill(server, signal.SIGKILL)
            os.waitpid(server, 0)
        for writer in writers:
            writer.end()
        unmount(self._mountpoint)
        self._reference.follow(read_file(self.file))
        check_told(writers, read_file(self.file).entries[before:])
        return sum(writer.acknowledged for writer in writers)

    def _start(self) -> int:
        """Carry on from the journal, and compare what comes of it."""
        journal = Journal(self.file)
        procfs = journal.carry_on()
        assert dump(procfs) == dump(self._reference.procfs)
        server = start_server(procfs, self._mountpoint, MountOptions(), journal)
        self._compare()
        return server

    def _calm_down(self, writers: list[Writer]) -> None:
        """End the load, and compare what the server that bore it shows."""
        for writer in writers:
            writer.stop()
        self._compare()

    def _compare(self) -> None:
        """Demand that the mount shows what an undisturbed replay does."""
        alive(self._mountpoint)  # now the server knows who has departed
        self._reference.follow(read_file(self.file))
        for name in ("ps", "kmsg", "clock"):
            shown = (self._mountpoint / "fakeproc" / name).read_text(errors="surrogateescape")
            assert shown == CONTROL_FILES[name].render(self._reference.procfs), name


def main(folder: Path, kills: int, seed: str) -> None:
    """Kill so often, and check after each."""
    load_binding()  # once for all servers
    trial = Trial(folder, seed)
    calm = kills // _CALM_EVERY + 1
    acknowledged = sum(trial.run(number) for number in range(kills + calm))
    entries = read_file(trial.file).entries
    kinds = {type(entry.input) for entry in entries}
    assert kinds >= {Write, ChangeDirectory, Adopt, Depart}, kinds
    print(f"{kills} kills, {acknowledged} acknowledged, {len(entries)} recorded")


def listen(writers: list[Writer], enough: int) -> None:
    """Listen to the writers until so many inputs have been acknowledged."""
    with selectors.DefaultSelector() as selector:
        for writer in writers:
            selector.register(writer.reports, selectors.EVENT_READ, writer)
        while sum(writer.acknowledged for writer in writers) < enough:
            for key, _ in selector.select():
                assert not key.data.listen(), "a writer gave up while the server was there"


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
