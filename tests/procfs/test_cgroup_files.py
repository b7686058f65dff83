# SPDX-License-Identifier: MIT
"""The files of /proc/fakeproc/cgroup, without a mount."""

from __future__ import annotations

import errno
import os
import select
import stat
from collections.abc import Callable

import pytest

from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.profile import PROFILE_NAMES, KernelConfig
from fakeproc.kernel.task import Credentials, TaskCaller
from fakeproc.procfs.cgroup_files import parse_limit
from fakeproc.procfs.ctl import run_lines
from fakeproc.procfs.node import ALWAYS_READY, Directory, File, open_file
from fakeproc.procfs.pressure import NO_TRIGGER
from fakeproc.procfs.tree import Procfs
from tests.state import dump

CGROUP = "/fakeproc/cgroup"


class Tree:
    """A procfs with the groups /a and /a/b, and what a caller does with its files."""

    def __init__(self, kernel: str = "6.1") -> None:
        self.machine = Machine(KernelConfig(kernel), first_pid=100)
        self.machine.make_memcg("/a/b")
        self.procfs = Procfs(self.machine)
        self.root = self.machine.root
        self.web = self.machine.spawn("web", pid=100)

    def directory(self, path: str) -> Directory:
        """Return a directory by its path below cgroup/."""
        node = self.procfs.lookup(CGROUP + path, self.root)
        assert isinstance(node, Directory)
        return node

    def file(self, path: str) -> File:
        """Return a file by its path below cgroup/."""
        node = self.procfs.lookup(CGROUP + path, self.root)
        assert isinstance(node, File)
        return node

    def read(self, path: str) -> str:
        """Read a file."""
        return self.file(path).render().decode()

    def write(self, path: str, text: str) -> None:
        """Write to a file, all of it."""
        assert self.file(path).store(self.root, text.encode()) == len(text)

    def names(self, path: str) -> list[str]:
        """List a directory."""
        return [name for name, _ in self.directory(path).entries(self.root)]


@pytest.fixture
def tree() -> Tree:
    """A 6.1."""
    return Tree()


# -- What there is ---------------------------------------------------------------------

ALWAYS = [
    "cgroup.procs",
    "memory.current",
    "memory.events",
    "memory.max",
    "memory.oom_control",
    "memory.stat",
    "memory.swap.current",
]


@pytest.mark.parametrize("kernel", PROFILE_NAMES)
def test_the_files_of_a_group_by_kernel(kernel: str) -> None:
    tree = Tree(kernel)
    added = []
    if tree.machine.profile.version >= (4, 19):
        added.append("memory.oom.group")
    if tree.machine.profile.version >= (4, 20):
        added += ["cpu.pressure", "io.pressure", "memory.pressure"]
    if tree.machine.profile.version >= (5, 3):
        added.append("memory.events.local")
    assert sorted(tree.names("/a")) == sorted([*ALWAYS, *added, "b"])
    pressure = [name for name in added if name.endswith(".pressure")]
    on_root = sorted(["cgroup.procs", "memory.oom_control", "memory.stat", *pressure])
    assert tree.names("") == [*on_root, "a"]


def test_modes_are_those_of_cgroupfs(tree: Tree) -> None:
    """As read on 6.1."""
    directory = tree.directory("/a").attributes()
    assert (directory.mode, directory.nlink) == (stat.S_IFDIR | 0o755, 3)
    assert tree.file("/a/memory.max").attributes().mode == stat.S_IFREG | 0o644
    assert tree.file("/a/memory.events").attributes().mode == stat.S_IFREG | 0o444
    for name, kind in tree.directory("/a").entries(tree.root):
        node = tree.directory("/a").child(name, tree.root)
        assert stat.S_IFMT(node.attributes().mode) == kind


def test_a_file_that_takes_no_writes(tree: Tree) -> None:
    with pytest.raises(Refused) as caught:
        tree.write("/a/memory.events", "0")
    assert caught.value.error == errno.EINVAL


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("4.9", "low 0\nhigh 0\nmax 1\noom 1\n"),
        ("4.14", "low 0\nhigh 0\nmax 1\noom 1\noom_kill 0\n"),
        ("5.4", "low 0\nhigh 0\nmax 1\noom 1\noom_kill 1\n"),
        ("6.1", "low 0\nhigh 0\nmax 1\noom 1\noom_kill 1\noom_group_kill 0\n"),
    ],
)
def test_memory_events_by_kernel(kernel: str, expected: str) -> None:
    """The kill is below: since 5.2 the file counts that too."""
    tree = Tree(kernel)
    tree.write("/a/memory.max", "4M")
    tree.write("/a/b/cgroup.procs", "100")
    trigger = tree.procfs.lookup("/fakeproc/oom_trigger", tree.root)
    assert isinstance(trigger, File)
    trigger.store(tree.root, b"memcg=/a pid=100")
    assert tree.read("/a/memory.events") == expected


def test_local_events_and_oom_control(tree: Tree) -> None:
    tree.machine.memcg("/a/b").count("oom_kill")
    assert "oom_kill 1\n" in tree.read("/a/memory.events")
    assert "oom_kill 0\n" in tree.read("/a/memory.events.local")
    assert tree.read("/a/b/memory.oom_control") == "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"
    tree.write("/a/memory.oom_control", "1")
    assert tree.read("/a/memory.oom_control") == "oom_kill_disable 1\nunder_oom 0\noom_kill 0\n"


def test_sizes_are_those_of_the_members_and_of_those_below(tree: Tree) -> None:
    tree.write("/a/b/cgroup.procs", "100\n")
    assert tree.web.mm is not None
    sizes = tree.web.mm.sizes
    charged = (sizes.rss_pages + sizes.pagetable_pages) * 4096
    assert tree.read("/a/memory.current") == tree.read("/a/b/memory.current") == f"{charged}\n"
    assert tree.read("/a/memory.swap.current") == "0\n"
    stat_file = dict(line.split() for line in tree.read("/a/memory.stat").splitlines())
    assert int(stat_file["anon"]) == sizes.anon_pages * 4096
    assert int(stat_file["file"]) == sizes.file_pages * 4096
    assert int(stat_file["kernel"]) == sizes.pagetable_pages * 4096


# -- cgroup.procs ----------------------------------------------------------------------


@pytest.mark.parametrize("text", ["100", "100\n", " 100 ", "0x64", "0144", "+100"])
def test_joining(tree: Tree, text: str) -> None:
    tree.write("/a/b/cgroup.procs", text)
    assert tree.read("/a/b/cgroup.procs") == "100\n"
    assert "100\n" not in tree.read("/cgroup.procs")
    tree.write("/cgroup.procs", "100")
    assert tree.read("/a/b/cgroup.procs") == ""


def test_zero_is_the_writer(tree: Tree) -> None:
    tree.file("/a/cgroup.procs").store(TaskCaller.of(tree.web.leader), b"0")
    assert tree.web.memcg.path == "/a"


def test_a_thread_stands_for_its_process_and_the_dead_stay(tree: Tree) -> None:
    thread = tree.machine.clone_thread(tree.web.leader)
    tree.write("/a/cgroup.procs", str(thread.tid))
    assert tree.web.memcg.path == "/a"
    tree.machine.exit_group(tree.web)
    assert tree.read("/a/cgroup.procs") == ""
    tree.write("/cgroup.procs", "100")
    assert tree.web.memcg.path == "/a"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2", errno.EINVAL),  # kthreadd
        ("99999", errno.ESRCH),
        ("x", errno.EINVAL),
        ("-1", errno.EINVAL),
        ("", errno.EINVAL),
        ("1 2", errno.EINVAL),
    ],
)
def test_who_cannot_join(tree: Tree, text: str, number: int) -> None:
    """As seen on 6.1."""
    before = dump(tree.procfs)
    with pytest.raises(Refused) as caught:
        tree.write("/a/b/cgroup.procs", text)
    assert caught.value.error == number
    assert tree.procfs.answer.startswith(errno.errorcode[number])
    assert dump(tree.procfs) == before


# -- memory.max and the switches -------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("max", "max\n"),
        (" 4M ", "4194304\n"),
        ("4m", "4194304\n"),
        ("0x10k", "16384\n"),
        ("010k", "8192\n"),
        ("4097", "4096\n"),
        ("1G\n", "1073741824\n"),
        ("0", "0\n"),
        ("100E", "max\n"),
    ],
)
def test_limits(tree: Tree, text: str, shown: str) -> None:
    """As memparse reads them, rounded down to pages (seen on 6.1)."""
    tree.write("/a/memory.max", text)
    assert tree.read("/a/memory.max") == shown


@pytest.mark.parametrize("text", ["x", "10Q", "-1", "4Mx", "4 M", "08", "4.5M", "MAX"])
def test_what_is_no_limit(tree: Tree, text: str) -> None:
    """All refused by 6.1 too."""
    tree.write("/a/memory.max", "4096")
    with pytest.raises(Refused) as caught:
        tree.write("/a/memory.max", text)
    assert caught.value.error == errno.EINVAL
    assert "accepted: max, or bytes" in tree.procfs.answer
    assert tree.read("/a/memory.max") == "4096\n"


def test_an_empty_number_is_zero_as_in_the_kernel() -> None:
    assert parse_limit("k") == 0


@pytest.mark.parametrize("name", ["memory.oom.group", "memory.oom_control"])
def test_switches(tree: Tree, name: str) -> None:
    for text, on in (("1\n", "1"), ("0", "0")):
        tree.write(f"/a/{name}", text)
        assert tree.read(f"/a/{name}").split("\n")[0].split()[-1] == on
    for text in ("2", "yes", "", "-1"):
        with pytest.raises(Refused) as caught:
            tree.write(f"/a/{name}", text)
        assert caught.value.error == errno.EINVAL


def test_the_root_has_no_oom_control_to_set(tree: Tree) -> None:
    with pytest.raises(Refused) as caught:
        tree.write("/memory.oom_control", "1")
    assert caught.value.error == errno.EINVAL


# -- mkdir and rmdir -------------------------------------------------------------------


def test_groups_are_made_and_removed(tree: Tree) -> None:
    tree.directory("/a").make_directory("c", tree.root)
    assert tree.names("/a")[-2:] == ["b", "c"]
    held = tree.file("/a/c/memory.max")
    tree.directory("/a").remove_directory("c", tree.root)
    assert "c" not in tree.names("/a")
    with pytest.raises(Refused) as caught:
        held.render()
    assert caught.value.error == errno.ENODEV


@pytest.mark.parametrize(
    ("parent", "name", "number"),
    [("", "a", errno.EBUSY), ("/a", "b", errno.EBUSY), ("/a", "memory.max", errno.ENOTDIR)],
)
def test_what_cannot_be_removed(tree: Tree, parent: str, name: str, number: int) -> None:
    """As seen on 6.1: with groups below, with members, and no directory at all."""
    tree.write("/a/b/cgroup.procs", "100")
    before = dump(tree.procfs)
    with pytest.raises(Refused) as caught:
        tree.directory(parent).remove_directory(name, tree.root)
    assert caught.value.error == number
    assert dump(tree.procfs) == before


def test_a_name_has_no_line_break(tree: Tree) -> None:
    with pytest.raises(Refused) as caught:
        tree.directory("/a").make_directory("x\ny", tree.root)
    assert caught.value.error == errno.EINVAL


def test_only_root_makes_and_removes(tree: Tree) -> None:
    user = TaskCaller(Credentials(1000, 1000))
    for change in (tree.directory("/a").make_directory, tree.directory("/a").remove_directory):
        with pytest.raises(Refused) as caught:
            change("b", user)
        assert caught.value.error == errno.EACCES


def test_after_a_panic_nothing_can_be_changed(tree: Tree) -> None:
    tree.machine.panic("test")
    actions: list[Callable[[], None]] = [
        lambda: tree.directory("/a").make_directory("c", tree.root),
        lambda: tree.directory("/a").remove_directory("b", tree.root),
        lambda: tree.write("/a/memory.max", "1M"),
    ]
    for action in actions:
        with pytest.raises(Refused) as caught:
            action()
        assert caught.value.error == errno.EIO
    assert tree.read("/a/memory.max") == "max\n"


def test_everywhere_else_nothing_can_be_made(tree: Tree) -> None:
    for path, action, number in (
        ("/", "make_directory", errno.ENOENT),
        ("/fakeproc", "make_directory", errno.ENOENT),
        ("/", "remove_directory", errno.EPERM),
        ("/fakeproc", "remove_directory", errno.EPERM),
    ):
        directory = tree.procfs.lookup(path, tree.root)
        assert isinstance(directory, Directory)
        with pytest.raises(Refused) as caught:
            getattr(directory, action)("fakeproc", tree.root)
        assert caught.value.error == number


# -- Pressure --------------------------------------------------------------------------

MS = 1_000_000


def totals(tree: Tree, path: str) -> tuple[int, ...]:
    """Return the microseconds of the two lines of a file."""
    lines = tree.read(path).splitlines()
    assert [line.split()[0] for line in lines] == ["some", "full"]
    return tuple(int(line.rpartition("=")[2]) for line in lines)


def test_groups_count_the_stalls_of_their_own_members(tree: Tree) -> None:
    """Full is of the group: in /a/b nobody else runs, in the others somebody does."""
    machine = tree.machine
    for group in ("/a/b", "/a"):
        run_lines(tree.procfs, tree.root, b"spawn name=runs rss=1M behaviour=constant")
        machine.join_memcg(machine.process(machine.last_pid), machine.memcg(group))
    (waits,) = machine.memcg("/a/b").members
    machine.stalls.wait(waits, 50 * MS, 20 * MS)
    machine.advance(60 * MS)
    assert totals(tree, "/a/b/memory.pressure") == (50_000, 50_000)
    assert totals(tree, "/a/b/io.pressure") == (20_000, 20_000)
    assert totals(tree, "/a/memory.pressure") == (50_000, 0)
    assert totals(tree, "/memory.pressure") == (50_000, 0)
    assert tree.read("/memory.pressure") == machine.pressure["memory"].render(machine.now_ns)
    assert totals(tree, "/a/cpu.pressure") == (0, 0)


def test_a_trigger_of_a_group_tells_and_ends_with_the_group() -> None:
    tree = Tree("6.18")
    tree.procfs.has_poll = True
    node = tree.file("/a/b/memory.pressure")
    assert node.attributes().mode == stat.S_IFREG | 0o644
    descriptor = open_file(node, os.O_RDWR, tree.root)
    assert descriptor.file.poll() == NO_TRIGGER
    # There is no buffer that would take the last byte away, as in /proc/pressure.
    assert descriptor.write(tree.root, b"some 20000 1000000") == 18
    with pytest.raises(Refused) as refused:
        descriptor.write(tree.root, b"some 20000 1000000")
    assert refused.value.error == errno.EBUSY
    tree.machine.stalls.wait(tree.web, 50 * MS)
    tree.machine.advance(300 * MS)
    assert descriptor.file.poll() == ALWAYS_READY
    group = tree.machine.memcg("/a/b")
    tree.machine.join_memcg(tree.web, group)
    tree.machine.stalls.wait(tree.web, 50 * MS)
    tree.machine.advance(300 * MS)
    assert descriptor.file.poll() == ALWAYS_READY | select.POLLPRI
    tree.machine.join_memcg(tree.web, tree.machine.root_memcg)
    tree.directory("/a").remove_directory("b", tree.root)
    assert descriptor.file.has_event()
    assert descriptor.file.poll() == NO_TRIGGER
    with pytest.raises(Refused) as refused:
        descriptor.write(tree.root, b"some 20000 1000000")
    assert refused.value.error == errno.ENODEV
    descriptor.file.closed()
