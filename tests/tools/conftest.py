# SPDX-License-Identifier: MIT
"""The machine that the tools look at, mounted, and a way to run them where it is /proc."""

from __future__ import annotations

import errno
import functools
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.profile import KernelConfig
from fakeproc.kernel.task import PAGE_BYTES
from fakeproc.procfs.inputs import VISITOR_SIZES
from fakeproc.procfs.node import Directory, File, Link
from fakeproc.procfs.tree import Procfs
from fakeproc.scenario import load_scenario
from tests.conftest import Mounted, require_fuse
from tests.mount import require_root

REPOSITORY = Path(__file__).parents[2]
SCENARIO = Path(__file__).parent / "machine.toml"

UNPACKED = REPOSITORY / ".venv" / "tools"
"""Where scripts/test unpacks daemons: installed they would begin to work, and to kill."""

_PATH = ":".join(
    [
        *(f"{UNPACKED}/usr/{name}" for name in ("bin", "sbin")),
        os.fspath(Path(sys.executable).parent),
        os.environ["PATH"],
        "/usr/sbin",
    ]
)

AGE_S = 100
"""How long the machine has gone on since its scenario began."""

NS_PER_S = 10**9

_ON_PROC = 'mount --bind "$0" /proc && exec "$@"'


_WITH_PTS_0 = 'mount -t devpts -o newinstance devpts /dev/pts && exec 9<>/dev/pts/ptmx && exec "$@"'


def program(name: str) -> str:
    """Return where a tool is.  Skip where it is missing; CI installs all and must not skip."""
    found = shutil.which(name, path=_PATH)
    if found is None:
        message = f"{name} is not installed (scripts/test installs it)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


def on_proc(mounted: Mounted, *command: str) -> list[str]:
    """Return the command that runs a tool where the mount is /proc, for it alone.

    The mount namespace is its own and goes with it; pids are those of the host.
    """
    words = [program(command[0]), *command[1:]]
    private = ["unshare", "--mount", "--propagation", "private"]
    return [*private, "sh", "-c", _ON_PROC, os.fspath(mounted.path), *words]


@functools.cache
def _procfs(machine: Machine) -> Procfs:
    return Procfs(machine)


def machine_file(machine: Machine, path: str) -> str:
    """Return what a file says of the machine that nobody looks at."""
    node = _procfs(machine).lookup(f"/{path}", machine.root)
    assert isinstance(node, File)
    node.require_access(machine.root, os.R_OK)
    return node.opened(os.O_RDONLY, machine.root).render().decode()


def machine_link(machine: Machine, path: str) -> str:
    """Return where a link leads on the machine that nobody looks at."""
    node = _procfs(machine).lookup(f"/{path}", machine.root)
    assert isinstance(node, Link)
    return node.target(machine.root)


def machine_names(machine: Machine, path: str) -> list[str]:
    """Return what a directory lists on the machine that nobody looks at; ENOTDIR for a file."""
    node = _procfs(machine).lookup(f"/{path}", machine.root)
    if not isinstance(node, Directory):
        raise Refused(errno.ENOTDIR)
    return [name for name, _ in node.entries(machine.root)]


def user_name(uid: int) -> str:
    """Return what tools call a user of this number: the name on the host, or the number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@dataclass(frozen=True)
class Table:
    """A mount whose clock stands still, and the machine behind it, made a second time here.

    ``home`` is where tools may write their settings.
    """

    mounted: Mounted
    machine: Machine
    home: Path
    load_machine: Callable[[], Machine]
    """Makes the machine once more."""

    @property
    def environment(self) -> dict[str, str]:
        """What tools run in: C locale, UTC, a home of their own."""
        # Debian's nohang imports a module that Python 3.11 has deprecated.
        quiet = {"PYTHONWARNINGS": "ignore"}
        home = {"HOME": os.fspath(self.home), "XDG_CONFIG_HOME": os.fspath(self.home)}
        plain = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "TERM": "xterm", "PATH": _PATH}
        inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
        return {**inherited, **plain, **home, **quiet}

    def on_terminals(self, *command: str) -> str:
        """Run a tool where /dev/pts has one terminal, pts/0; return what it prints.

        Tools call a terminal of the machine by its name only if the host has it too.
        """
        words = [program(command[0]), *command[1:]]
        return self.run("sh", "-c", _WITH_PTS_0, "sh", *words)

    def try_run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a tool on the machine."""
        return subprocess.run(
            on_proc(self.mounted, *command),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def run(self, *command: str) -> str:
        """Run a tool on the machine; return what it prints.  It must be content."""
        done = self.try_run(*command)
        assert done.returncode == 0, (done.stdout, done.stderr)
        assert not done.stderr, done.stderr
        return done.stdout

    @property
    def meminfo(self) -> dict[str, int]:
        """The machine's meminfo, in kB."""
        lines = (line.split() for line in machine_file(self.machine, "meminfo").splitlines())
        return {words[0].rstrip(":"): int(words[1]) for words in lines}

    @property
    def visitor_bytes(self) -> int:
        """What a tool takes that looks for itself, and so gets a task of the machine."""
        return VISITOR_SIZES.ram_pages * PAGE_BYTES

    @contextmanager
    def started(self, *command: str) -> Iterator[subprocess.Popen[str]]:
        """Start a tool that does not end by itself; end it.  What it says is in ``stdout``."""
        process = subprocess.Popen(
            on_proc(self.mounted, *command),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def rows(self, *command: str) -> list[list[str]]:
        """Run a tool; return the words of each line."""
        return [line.split() for line in self.run(*command).splitlines()]

    def pid(self, name: str) -> int:
        """Return the pid of the first process of this name."""
        return next(p.pid for p in self.machine.processes.values() if p.comm == name)


def _host_cpus() -> int:
    return len(list(Path("/sys/devices/system/cpu").glob("cpu[0-9]*")))


def make_table(folder: Path, kernel: str, binding: str, *options: str) -> Table:
    """Mount the machine, and make it here as well; both have gone on for `AGE_S` seconds."""
    scenario = folder / SCENARIO.name
    # Tools count the CPUs in /sys as well.
    text = SCENARIO.read_text()
    scenario.write_text(text.replace("[machine]\n", f"[machine]\ncpus = {_host_cpus()}\n"))

    def load() -> Machine:
        machine = load_scenario(scenario, KernelConfig(kernel))
        machine.advance(AGE_S * NS_PER_S)
        return machine

    (folder / "proc").mkdir()
    mounted = Mounted(
        folder / "proc",
        binding,
        "--clock",
        "manual",
        "--kernel",
        kernel,
        "--scenario",
        os.fspath(scenario),
        *options,
    )
    (mounted / "fakeproc/clock").write_text(f"+{AGE_S}s")
    return Table(mounted, load(), folder, load)


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], Table]]:
    """Return a function that gives the machine with a kernel, on a binding; once for all."""
    require_fuse()
    require_root()
    made: dict[tuple[str, str], Table] = {}

    def get(kernel: str, binding: str) -> Table:
        if (kernel, binding) not in made:
            folder = tmp_path_factory.mktemp("tools")
            made[kernel, binding] = make_table(folder, kernel, binding)
        return made[kernel, binding]

    try:
        yield get
        for table in made.values():
            table.mounted.stop()
    finally:
        for table in made.values():
            table.mounted.kill()


@pytest.fixture(params=[("series", "fusepy"), ("6.18", "mfusepy")], ids=["series", "6.18"])
def table(tables: Callable[[str, str], Table], request: pytest.FixtureRequest) -> Table:
    """Return the machine, for tools that only read.  All tests share it."""
    return tables(*request.param)


@pytest.fixture
def own_table(tmp_path: Path) -> Iterator[Table]:
    """Return the machine for this test alone, which may change it."""
    require_fuse()
    require_root()
    table = make_table(tmp_path, "6.18", "mfusepy")
    try:
        yield table
        table.mounted.stop()
    finally:
        table.mounted.kill()
