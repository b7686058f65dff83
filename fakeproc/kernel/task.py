# SPDX-License-Identifier: MIT
"""Tasks, thread groups and address spaces: the nouns of the simulated kernel.

The names are the kernel's.  A `Thread` is a task_struct, a `Process` is a thread
group together with its signal_struct, an `Mm` is an mm_struct.  They hold state and
answer questions about themselves; whatever changes more than one of them is a method
of `fakeproc.kernel.machine.Machine`.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Protocol

from fakeproc.kernel.numa import ANYWHERE, Placement

if TYPE_CHECKING:
    from fakeproc.kernel.details import Details
    from fakeproc.kernel.memcg import Memcg

PAGE_BYTES = 4096
PAGE_KIB = PAGE_BYTES // 1024

PTRS_PER_TABLE = 512
"""How many pages a page table maps."""

MAX_VM_PAGES = 7 << 32
"""What an address space can map: 112 TiB of the 128 that 47 bits address."""

COMM_LEN = 15
"""Bytes of a task's name (TASK_COMM_LEN without the final NUL)."""


class Hold(Enum):
    """What keeps a task that must die from dying."""

    NONE = "none"
    AT_EXIT = "at exit"
    """It will stop on its way out with its mm still there, as under PTRACE_O_TRACEEXIT."""
    FROZEN = "frozen"
    """The freezer has it; becoming a victim thaws it."""
    STUCK = "stuck"
    """It sleeps uninterruptibly."""
    MMAP_LOCK = "mmap lock"
    """The same, and it holds the mmap lock of its mm for write: the reaper cannot go in."""
    COREDUMP = "coredump"
    """It has been killed and dumps core; another SIGKILL ends that (seen on 6.1)."""

    @property
    def is_uninterruptible(self) -> bool:
        """Say whether the task shows as D."""
        return self in (Hold.FROZEN, Hold.STUCK, Hold.MMAP_LOCK)


class State(StrEnum):
    """Letters of /proc/<pid>/stat."""

    RUNNING = "R"
    SLEEPING = "S"
    DISK_SLEEP = "D"
    STOPPED = "T"
    TRACED = "t"
    ZOMBIE = "Z"

    @property
    def description(self) -> str:
        """The word that /proc/<pid>/status prints behind the letter."""
        return _STATE_WORDS[self]


_STATE_WORDS = {
    State.RUNNING: "running",
    State.SLEEPING: "sleeping",
    State.DISK_SLEEP: "disk sleep",
    State.STOPPED: "stopped",
    State.TRACED: "tracing stop",
    State.ZOMBIE: "zombie",
}


@dataclass(frozen=True, slots=True)
class Credentials:
    """User, group and capabilities of a task; real, effective and saved ids are one."""

    uid: int = 0
    gid: int = 0
    capabilities: int = 0

    def capable(self, capability_bit: int) -> bool:
        """Say whether the effective set holds this capability (initial user namespace)."""
        return bool(self.capabilities & capability_bit)


class Caller(Protocol):
    """Who performs a system call: credentials, and the names that the log prints."""

    @property
    def credentials(self) -> Credentials:
        """User, group, capabilities."""

    @property
    def tid(self) -> int:
        """The calling task, as its own pid namespace numbers it."""

    @property
    def tgid(self) -> int:
        """Its thread group."""

    @property
    def comm(self) -> str:
        """Its name."""

    @property
    def host_pid(self) -> int:
        """The process of the host behind the call; 0 when there is none."""

    @property
    def placement(self) -> Placement:
        """Its cpuset and memory policy."""


@dataclass(frozen=True, slots=True)
class TaskCaller:
    """A `Caller` that is a task of the simulated machine, or the kernel itself."""

    credentials: Credentials
    tid: int = 0
    tgid: int = 0
    comm: str = "swapper"
    host_pid: int = 0
    placement: Placement = ANYWHERE

    @classmethod
    def of(cls, thread: Thread, host_pid: int = 0) -> TaskCaller:
        """Return this task as a caller."""
        pid = thread.process.pid
        return cls(thread.credentials, thread.tid, pid, thread.comm, host_pid, thread.placement)


@dataclass(frozen=True, slots=True)
class MemorySizes:
    """What an address space holds, in pages of 4096 bytes."""

    total_vm_pages: int = 0
    anon_pages: int = 0
    file_pages: int = 0
    shmem_pages: int = 0
    swap_entries: int = 0
    pte_pages: int = 0
    pmd_pages: int = 0
    mlocked_pages: int = 0
    """Of the anonymous ones, those under mlock(2)."""

    @property
    def rss_pages(self) -> int:
        """Resident pages of all kinds (get_mm_rss)."""
        return self.anon_pages + self.file_pages + self.shmem_pages

    @property
    def pagetable_pages(self) -> int:
        """Pages of page tables, as the badness counts them."""
        return self.pte_pages + self.pmd_pages

    @property
    def ram_pages(self) -> int:
        """Everything of it that occupies RAM."""
        # Asked at each page fault: not by way of the two above.
        rss_pages = self.anon_pages + self.file_pages + self.shmem_pages
        return rss_pages + self.pte_pages + self.pmd_pages

    def __add__(self, other: MemorySizes) -> MemorySizes:
        return MemorySizes(*map(operator.add, _values_of(self), _values_of(other)))

    def exchanged(self, less: MemorySizes, more: MemorySizes) -> MemorySizes:
        """Return what a sum comes to when something that it counts has other sizes."""
        pairs = zip(_values_of(self), _values_of(less), _values_of(more), strict=True)
        return MemorySizes(*[value - old + new for value, old, new in pairs])

    def swapped_out(self, pages: int) -> MemorySizes:
        """Return them with so much anonymous memory in swap instead; below 0: back from it."""
        return MemorySizes(
            self.total_vm_pages,
            self.anon_pages - pages,
            self.file_pages,
            self.shmem_pages,
            self.swap_entries + pages,
            self.pte_pages,
            self.pmd_pages,
            self.mlocked_pages,
        )

    def problem(self) -> str:
        """Say what is impossible about these sizes, or nothing."""
        if min(_values_of(self)) < 0:
            name = next(name for name in self.__slots__ if getattr(self, name) < 0)
            return f"{name} is negative"
        if self.total_vm_pages < self.rss_pages + self.swap_entries:
            return "total_vm_pages is smaller than what is resident and swapped"
        if self.total_vm_pages > MAX_VM_PAGES:
            return "total_vm_pages is more than 112 TiB"
        if self.mlocked_pages > self.anon_pages:
            return "mlocked_pages is more than anon_pages"
        return ""


_values_of = operator.attrgetter(*MemorySizes.__slots__)


PROGRAM_FILE_PAGES = 300
"""What a small program needs of files to run: its own and its libraries'."""


def default_sizes() -> MemorySizes:
    """Return what a small program holds right after exec."""
    return sizes_for(anon_pages=100, file_pages=PROGRAM_FILE_PAGES)


def forked(sizes: MemorySizes) -> MemorySizes:
    """Return what a child holds right after fork, of what its parent does.

    Mappings that were never written to are not copied, as a fault can fill them again
    (copy_page_range, all versions; seen on 4.7-rc3, 4.9 and 6.1): of files the child has what
    it runs, and nothing of shared memory.  Nor are memory locks inherited (mlock(2)).
    """
    file_pages = min(sizes.file_pages, PROGRAM_FILE_PAGES)
    left_out = sizes.file_pages - file_pages + sizes.shmem_pages
    if not left_out and not sizes.mlocked_pages:
        return sizes
    return replace(
        sizes,
        file_pages=file_pages,
        shmem_pages=0,
        pte_pages=max(sizes.pte_pages - left_out // PTRS_PER_TABLE, 0),
        mlocked_pages=0,
    )


def sizes_for(
    *,
    anon_pages: int = 0,
    file_pages: int = 0,
    shmem_pages: int = 0,
    swap_entries: int = 0,
    mlocked_pages: int = 0,
    total_vm_pages: int | None = None,
    pte_pages: int | None = None,
    pmd_pages: int | None = None,
) -> MemorySizes:
    """Fill in what usually follows from the resident memory.

    Page tables: one page for each 512 pages mapped and used, and three of the upper
    levels.  Address space: what is in use and 2 MiB of text and stack.
    """
    in_use = anon_pages + file_pages + shmem_pages + swap_entries
    return MemorySizes(
        total_vm_pages=in_use + PTRS_PER_TABLE if total_vm_pages is None else total_vm_pages,
        anon_pages=anon_pages,
        file_pages=file_pages,
        shmem_pages=shmem_pages,
        swap_entries=swap_entries,
        pte_pages=in_use // PTRS_PER_TABLE + 4 if pte_pages is None else pte_pages,
        pmd_pages=3 if pmd_pages is None else pmd_pages,
        mlocked_pages=mlocked_pages,
    )


@dataclass(slots=True, eq=False, repr=False)
class Mm:
    """An address space.

    ``users`` counts the threads on it (mm_users): the threads of all `processes`.
    """

    id: int
    sizes: MemorySizes = field(default_factory=MemorySizes)
    users: int = 0
    # One process in nearly every case, and a dictionary takes more memory than all of this.
    _only: Process | None = None
    _several: dict[Process, None] | None = None
    cmdline: tuple[bytes, ...] = ()
    dumpable: bool = True
    multiprocess: bool = False
    """MMF_MULTIPROCESS: was once the mm of a CLONE_VM child that is no thread (since 5.10)."""
    hidden: bool = False
    """MMF_OOM_REAPED (4.6 to 4.8) or MMF_OOM_SKIP (4.9): out of the OOM killer's sight."""
    not_reapable: bool = False
    """MMF_OOM_NOT_REAPABLE (4.8): the reaper has given up on it once."""

    def __repr__(self) -> str:
        return f"<Mm {self.id}, {self.users} users>"

    @property
    def processes(self) -> Collection[Process]:
        """The thread groups with at least one thread on it, in the order in which they joined."""
        if self._several is not None:
            return self._several.keys()
        return () if self._only is None else (self._only,)

    def add_process(self, process: Process) -> None:
        """Let a thread group use it; one that does already stays where it is."""
        if self._several is not None:
            self._several[process] = None
        elif self._only is None:
            self._only = process
        elif process is not self._only:
            self._several = {self._only: None, process: None}

    def remove_process(self, process: Process) -> None:
        """Take a thread group off again."""
        if self._several is not None:
            del self._several[process]
        else:
            self._only = None

    @property
    def held_pages(self) -> int:
        """What would come free with it, in memory and in swap."""
        return self.sizes.ram_pages + self.sizes.swap_entries if self.users else 0


@dataclass(slots=True, eq=False, repr=False)
class Thread:
    """One task.  ``mm`` is None once it has exited, and for kernel threads."""

    tid: int
    comm: str
    process: Process
    credentials: Credentials
    start_time_ns: int
    mm: Mm | None = None
    state: State = State.SLEEPING
    exiting: bool = False
    fatal_pending: bool = False
    """SIGKILL is queued for it (fatal_signal_pending)."""
    memdie: bool = False
    """TIF_MEMDIE: a victim, with access to the memory reserves."""
    oom_reaped: bool = False
    """The reaper has taken its memory."""
    hold: Hold = Hold.NONE
    placement: Placement = ANYWHERE
    """Only `Machine.place` changes it."""
    vfork_parent: Thread | None = None
    """The CLONE_VFORK creator that waits for this task; it need not be the real parent."""
    vfork_child: Thread | None = None
    """The task whose exec or exit this one waits for."""

    def __repr__(self) -> str:
        return f"<Thread {self.tid} {self.comm!r}>"

    @property
    def vfork_done(self) -> bool:
        """Say whether a creator waits for this task to exec or exit (vfork_done is set)."""
        return self.vfork_parent is not None

    @property
    def is_leader(self) -> bool:
        """Say whether the task's tid is the thread group's id."""
        return self.tid == self.process.pid

    @property
    def alive(self) -> bool:
        """Say whether the task can still run."""
        return not self.exiting


@dataclass(slots=True, eq=False, repr=False)
class Process:
    """A thread group and its signal_struct."""

    pid: int
    sequence: int
    """Place in the order of creation, the order of for_each_process."""
    real_parent: Thread | None
    memcg: Memcg
    attached: int = 0
    """Place in the order in which processes joined their memcg."""
    oom_score_adj: int = 0
    oom_score_adj_min: int = 0
    leader: Thread = field(init=False)
    """The thread group leader; it may have exited while others live."""
    # Most have neither, and empty containers take memory as well.
    _other_threads: list[Thread] | None = None
    _children: dict[Process, None] | None = None
    is_kthread: bool = False
    group_exit: bool = False
    """SIGNAL_GROUP_EXIT: all of the group is on its way out, or gone."""
    exit_code: int = 0
    """As wait(2) gives it: the signal, or the exit status times 256."""
    reaped: bool = False
    pgrp: int = 0
    session: int = 0
    oom_victims: int = 0
    """Threads marked as victims (4.7 and 4.8)."""
    oom_mm: Mm | None = None
    """The mm with which it became a victim (since 4.9); it stays for good."""
    oom_origin: bool = False
    """Is in swapoff, or unmerging: what it asks for is to be taken from it."""
    coredumping: bool = False
    ignores_sigchld: bool = False
    """Its children leave no zombies."""
    details: Details | None = None
    """What somebody has said of it beside all this; None: nothing."""

    def __repr__(self) -> str:
        return f"<Process {self.pid} {self.comm!r}>"

    @property
    def threads(self) -> list[Thread]:
        """The leader, and the others as they came."""
        return [self.leader, *(self._other_threads or ())]

    def add_thread(self, thread: Thread) -> None:
        """Take in one more than the leader."""
        if self._other_threads is None:
            self._other_threads = []
        self._other_threads.append(thread)

    def remove_thread(self, thread: Thread) -> None:
        """Let one go that is not the leader."""
        if self._other_threads is not None:
            self._other_threads.remove(thread)

    @property
    def children(self) -> Collection[Process]:
        """The processes whose parent is a thread of this one, in order."""
        return () if self._children is None else self._children.keys()

    def add_child(self, child: Process) -> None:
        """Become the parent of a process."""
        if self._children is None:
            self._children = {}
        self._children[child] = None

    def remove_child(self, child: Process) -> None:
        """Be its parent no more."""
        if self._children is not None:
            del self._children[child]

    @property
    def comm(self) -> str:
        """The leader's name."""
        return self.leader.comm

    @property
    def is_global_init(self) -> bool:
        """Say whether this is pid 1 of the initial pid namespace."""
        return self.pid == 1

    @property
    def is_zombie(self) -> bool:
        """Say whether every thread has exited and nobody has reaped the group yet."""
        if self.reaped or not self.leader.exiting:
            return False
        return all(thread.exiting for thread in self.threads)

    def find_mm_thread(self) -> Thread | None:
        """Return the first thread that has an mm (find_lock_task_mm), or None."""
        if self.leader.mm is not None:
            return self.leader
        for thread in self.threads:
            if thread.mm is not None:
                return thread
        return None

    @property
    def mm(self) -> Mm | None:
        """The address space the group still has, even when its leader has exited."""
        thread = self.find_mm_thread()
        return thread.mm if thread else None

    def owner(self, thread: Thread) -> tuple[int, int]:
        """Return uid and gid of the task's /proc files.

        They are root's when the task has no mm (zombie, exited leader), is a kernel
        thread, or its mm is not dumpable (task_dump_owner; seen on 6.1).
        """
        if self.is_kthread or thread.mm is None or not thread.mm.dumpable:
            return 0, 0
        return thread.credentials.uid, thread.credentials.gid


def encode_name(name: str) -> bytes:
    """Return a name as bytes; it may hold any, and be cut in the middle of a character."""
    return name.encode(errors="surrogateescape")


def truncate_comm(name: str) -> str:
    """Cut a name to what a task can bear, as prctl(PR_SET_NAME) and exec do."""
    if len(name) <= COMM_LEN and name.isascii():
        return sys.intern(name)  # many tasks have the same
    return encode_name(name)[:COMM_LEN].decode(errors="surrogateescape")
