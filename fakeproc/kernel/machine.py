# SPDX-License-Identifier: MIT
"""`Machine`, the one door to the simulated system.

Everything a caller can do to it is a method here; reading is open to all.  It is pure:
no I/O, no threads, no wall clock.  The same calls in the same order give the same
state and the same kernel log.
"""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from fakeproc.kernel import (
    badness,
    capability,
    details,
    memcg_oom,
    oom,
    oom_adj,
    psi,
    reaper,
    zones,
)
from fakeproc.kernel.behaviour import Behaviour
from fakeproc.kernel.cputime import CpuAccounting
from fakeproc.kernel.details import UNSET_ID, Details, details_of
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.events import EventQueue
from fakeproc.kernel.holds import Holds
from fakeproc.kernel.kept_sysctls import KEPT, KeptSysctls
from fakeproc.kernel.living import Living
from fakeproc.kernel.loadavg import LoadAverage
from fakeproc.kernel.log import KERNEL, KernelLog, Level
from fakeproc.kernel.memcg import Memcg
from fakeproc.kernel.memory import Allocation, DropCaches, Memory, MemoryKind
from fakeproc.kernel.mm_history import MmHistory
from fakeproc.kernel.numa import ANYWHERE, Placement, shares_nodes
from fakeproc.kernel.oom import OomRequest, Outcome, Verdict
from fakeproc.kernel.profile import KernelConfig, Profile
from fakeproc.kernel.ranking import Rankings
from fakeproc.kernel.ratelimit import RateLimit
from fakeproc.kernel.stalls import Stalls
from fakeproc.kernel.sysctl import Sysctl, SysctlTable, parse_number
from fakeproc.kernel.task import (
    PAGE_BYTES,
    PAGE_KIB,
    Caller,
    Credentials,
    Hold,
    MemorySizes,
    Mm,
    Process,
    State,
    TaskCaller,
    Thread,
    encode_name,
    forked,
    truncate_comm,
)

# Whoever makes processes looks for these two here.
from fakeproc.kernel.task import default_sizes as default_sizes
from fakeproc.kernel.task import sizes_for as sizes_for
from fakeproc.kernel.turns import Turn, Turns

FIRST_PID = 100_000
"""Where simulated pids begin, so that a stray kill(2) hits no process of the host."""

_NO_MEMORY = MemorySizes()
_PATH_MAX, _NAME_MAX = 4096, 255

# Signals whose default action is not to end the process.
_IGNORED = {signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH}
_STOPPING = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the machine is built of."""

    ram_pages: int = 8 * 1024**3 // PAGE_BYTES
    swap_pages: int = 2 * 1024**3 // PAGE_BYTES
    cpus: int = 2
    hostname: str = "fakeproc"
    present_pages: int = 0
    """RAM with what the kernel took at boot; 0: no more than ``ram_pages``."""
    oversubscribed: bool = False
    """The sizes of the tasks add up to more than there is, pages in more than one of them being
    counted in each: nothing is refused for want of memory."""
    boot_time_s: int = 1_500_000_000
    """The wall clock at boot, in seconds since 1970 (btime)."""
    node_pages: tuple[int, ...] = ()
    """RAM of each NUMA node, which makes up ``ram_pages``; nothing: one node has all of it."""

    def __post_init__(self) -> None:
        if self.node_pages:
            object.__setattr__(self, "ram_pages", sum(self.node_pages))
        else:
            object.__setattr__(self, "node_pages", (self.ram_pages,))
        if not self.present_pages:
            object.__setattr__(self, "present_pages", self.ram_pages)

    @property
    def totalpages(self) -> int:
        """RAM and swap, what a global OOM is about."""
        return self.ram_pages + self.swap_pages

    @property
    def nodes(self) -> int:
        """The nodes that there are; all of them have memory."""
        return (1 << len(self.node_pages)) - 1

    def totalpages_of(self, nodes: int) -> int:
        """Return what an OOM on some nodes is about: their RAM, and all of the swap."""
        pages = (pages for node, pages in enumerate(self.node_pages) if nodes >> node & 1)
        return sum(pages) + self.swap_pages

    @property
    def slab_pages(self) -> int:
        """What the kernel keeps for itself."""
        return min(self.ram_pages // 100, 64 * 1024**2 // PAGE_BYTES)


@dataclass(frozen=True, slots=True)
class Build:
    """How the kernel was configured, as far as its messages show."""

    cpusets: bool = True
    compaction: bool = True
    numa: bool = True
    dma_zones: bool = True
    """The zones of x86-64, DMA and DMA32 below Normal; otherwise there is only Normal."""
    transparent_hugepages: bool = True
    hugetlb: bool = True
    memory_failure: bool = True
    cgroup_version: int = 1
    """Which hierarchy has the memory controller: 1, as in the recordings, or 2."""


USER_MODE_LINUX = Build(
    cpusets=False, numa=False, dma_zones=False, transparent_hugepages=False, hugetlb=False,
    memory_failure=False,
)  # fmt: skip
"""How Debian configures its user-mode Linux, on which most recordings were made."""


@dataclass(frozen=True, slots=True)
class CloneFlags:
    """The flags of clone(2) that matter here."""

    vm: bool = False
    vfork: bool = False
    parent: bool = False
    """CLONE_PARENT: the creator's parent becomes the parent."""


class Machine:
    """A kernel of some generation with its tasks, its memory, its clock and its log."""

    def __init__(
        self,
        config: KernelConfig | None = None,
        hardware: Hardware | None = None,
        *,
        build: Build | None = None,
        first_pid: int = FIRST_PID,
        init_comm: str = "systemd",
    ) -> None:
        self.config = config or KernelConfig()
        self.hardware = hardware or Hardware()
        self.build = build or Build()
        self.events = EventQueue()
        self.reaper = reaper.Reaper(self)
        self.holds = Holds(self)
        self.last_verdict: Verdict | None = None
        self.oom_kill_history: list[tuple[int, Verdict]] | None = None
        """The verdicts that killed, and when (ns); None: nobody who would empty it is asking."""
        self.panicked = ""
        """Why the machine has panicked; nothing: it has not."""
        self.sysctls = SysctlTable(zones.boot_sysctls(self))
        self.kept_sysctls = KeptSysctls(self)
        self.log = KernelLog()
        self.now_ns = 0
        self.pressure = psi.all_pressures()
        """The files of /proc/pressure by name: memory, cpu, io."""
        self.load_average = LoadAverage()
        self.cpu_accounting = CpuAccounting(self.hardware.cpus)
        self.deprecated_warned = False
        self.rankings = Rankings()
        """Who has the most points, kept up to date by `_changed`."""
        self.marked: dict[Process, int] = {}
        """Who has been marked as a victim and may still be dying, and since when (ns)."""
        self.oom_origins: dict[Process, None] = {}
        """Who is to be chosen first of all (oom_flag_origin)."""
        self.processes: dict[int, Process] = {}
        """Thread groups by pid, in order of creation; a zombie stays until it is reaped."""
        self.turns = Turns()
        self.parents_wait = False
        """Whether who dies is waited for by its parent at once, as by most programs; otherwise
        it stays a zombie until somebody lets it be reaped."""
        self.root_memcg = Memcg(everybody=self.processes, stalls=self.pressure)
        self.used = MemorySizes()
        """The sum over all address spaces; `_charge` keeps it."""
        self.mm_count = 0
        """How many address spaces there are."""
        self.mm_history = MmHistory()
        self.memory = Memory(self)
        self.living = Living(self)
        self.stalls = Stalls(self)
        self._other_threads: dict[int, Thread] = {}
        """The threads that are no leaders, by tid."""
        self._first_pid = first_pid
        self._next_pid = first_pid
        self._last_number = 0
        """Numbers processes, mms and attachments, each as it comes."""
        self._in_vfork: dict[Thread, None] = {}
        self._busy: dict[Thread, None] = {}
        """The tasks that run or sleep uninterruptibly."""
        self._stopped: dict[Process, int] = {}
        """Who is stopped, with the signals that wait until it goes on, as a mask."""
        self.forks = 0
        """Tasks created since boot (`processes` of /proc/stat)."""
        self.last_pid = 0
        self.audit_sessions = 0
        """Logins since boot: the last session id that audit has given out."""
        self.report_limit = RateLimit()
        """How often a kill is reported whole."""
        self.oom_kills = 0
        """Victims since boot (`oom_kill` of /proc/vmstat, since 4.13)."""
        self._dying: list[Process] | None = None
        """Who is to die when the present invocation of the OOM killer is over."""
        self.ends_ns: int | None = None
        """When the scenario that made it is over; None: it does not say."""
        at_boot = self.hardware
        self.boot_again: Callable[[], Machine] = lambda: Machine(
            self.config, at_boot, build=self.build, first_pid=first_pid, init_comm=init_comm
        )
        """Returns the machine as it is after a reboot; a scenario puts its own here."""
        self._boot(init_comm)

    # -- What the machine is -------------------------------------------------------

    @property
    def profile(self) -> Profile:
        """The active behaviour switches."""
        return self.config.profile

    @property
    def full_capabilities(self) -> int:
        """Every capability that this kernel knows."""
        return capability.full_set(self.profile.version)

    @property
    def root(self) -> Caller:
        """The kernel's own view of a privileged caller."""
        return TaskCaller(Credentials(0, 0, self.full_capabilities))

    @property
    def init(self) -> Process:
        """Global init."""
        return self.processes[1]

    @property
    def free_pages(self) -> int:
        """RAM that nobody uses (never negative)."""
        return self.memory.free_pages

    @property
    def memory_in_use(self) -> int:
        """What tasks hold, in memory and in swap (pages)."""
        return self.used.ram_pages + self.used.swap_entries

    @property
    def free_swap_entries(self) -> int:
        """Swap that nobody uses (never negative)."""
        return max(self.hardware.swap_pages - self.used.swap_entries, 0)

    def thread(self, tid: int) -> Thread:
        """Return the task with this tid; ESRCH if there is none."""
        thread = self.find_thread(tid)
        if thread is None:
            raise Refused(errno.ESRCH, f"{tid}: no such task.")
        return thread

    def find_thread(self, tid: int) -> Thread | None:
        """Return the task with this tid, or None."""
        process = self.processes.get(tid)
        return process.leader if process else self._other_threads.get(tid)

    def process(self, pid: int) -> Process:
        """Return the thread group with this pid; ESRCH if there is none."""
        try:
            return self.processes[pid]
        except KeyError:
            raise Refused(errno.ESRCH, f"{pid}: no such process.") from None

    @property
    def thread_count(self) -> int:
        """Tasks there are, zombies included (the total of loadavg)."""
        return len(self.processes) + len(self._other_threads)

    def count_in_state(self, state: State) -> int:
        """Return how many tasks run, or sleep uninterruptibly: one of these two."""
        return sum(thread.state is state for thread in self._busy)

    def threads(self) -> Iterable[Thread]:
        """Return all tasks, process by process."""
        return (thread for process in self.processes.values() for thread in process.threads)

    def printk(self, level: Level, text: str, *, facility: int = KERNEL) -> None:
        """Write to the kernel log."""
        self.log.printk(level, text, self.now_ns, facility=facility)

    # -- The kernel itself ---------------------------------------------------------

    def advance(self, ns: int) -> None:
        """Let time pass; it never goes back.  What falls due on the way happens in order."""
        until_ns = self.now_ns + max(ns, 0)
        if self.panicked:
            return
        while not self.panicked and (event := self.events.pop(until_ns)) is not None:
            self.now_ns = max(event.due_ns, self.now_ns)
            event.action()
        if not self.panicked:
            self.now_ns = until_ns

    def panic(self, why: str) -> None:
        """Stop the machine: it can only be read from now on."""
        self.panicked = why
        self.printk(Level.EMERG, f"Kernel panic - not syncing: {why}")

    def require_running(self) -> None:
        """Refuse with EIO when the machine has panicked: it does nothing any more."""
        if self.panicked:
            raise Refused(
                errno.EIO,
                f"the machine has panicked ({self.panicked}); reboot in fakeproc/ctl starts it "
                "again.",
            )

    def rebooted(self) -> Machine:
        """Return a machine that has just booted the present kernel."""
        machine = self.boot_again()
        machine.set_kernel(self.config)
        machine.set_boot_time(self.hardware.boot_time_s * 1_000_000_000 + self.now_ns)
        return machine

    def set_boot_time(self, wall_clock_ns: int) -> None:
        """Date the boot so that it is now what this wall clock says (ns since 1970)."""
        boot_time_s = (wall_clock_ns - self.now_ns) // 1_000_000_000
        self.hardware = replace(self.hardware, boot_time_s=boot_time_s)

    def set_kernel(self, config: KernelConfig) -> None:
        """Go on as another kernel, with the same tasks."""
        self.config = config
        self.rankings.forget()

    def store_sysctl(self, name: str, data: bytes) -> int:
        """Write to a file under /proc/sys; return the bytes taken."""
        if name in KEPT:
            return self.kept_sysctls.store(name, data)
        return self.sysctls.store(name, data)

    def store_last_pid(self, data: bytes) -> int:
        """Write to sys/kernel/ns_last_pid: the next task gets the pid behind it."""
        pid_max = self.sysctls["kernel/pid_max"]
        pid, taken = parse_number("kernel/ns_last_pid", data, Sysctl(0, 0, pid_max))
        self.last_pid = pid
        self._next_pid = pid + 1
        return taken

    def set_hostname(self, name: str) -> None:
        """Give the machine another name (sethostname(2), sys/kernel/hostname)."""
        self.hardware = replace(self.hardware, hostname=name)

    def drop_caches(self, caller: Caller, what: int) -> None:
        """Do what a write to vm.drop_caches does, and say so; see `Memory.drop_caches`."""
        self.memory.drop_caches(what)
        if not what & DropCaches.QUIETLY:
            self.printk(Level.INFO, f"{caller.comm} ({caller.tid}): drop_caches: {what}")

    # -- oom_adj, oom_score_adj, oom_score -----------------------------------------

    def store_oom_adj(self, thread: Thread, caller: Caller, data: bytes) -> int:
        """Write to a task's oom_adj; return the bytes taken."""
        return oom_adj.store(self, thread, caller, data, legacy=True)

    def store_oom_score_adj(self, thread: Thread, caller: Caller, data: bytes) -> int:
        """Write to a task's oom_score_adj; return the bytes taken."""
        return oom_adj.store(self, thread, caller, data, legacy=False)

    def change_oom_score_adj(self, process: Process, value: int) -> None:
        """Set the value of one process: no checks, no sharers."""
        process.oom_score_adj = value
        self.rankings.changed(process)

    def oom_adj(self, process: Process) -> int:
        """Return what oom_adj reads."""
        return oom_adj.legacy_from_score_adj(self.profile, process.oom_score_adj)

    def oom_score(self, process: Process, reader: Placement = ANYWHERE) -> int:
        """Return what oom_score reads: until 5.2 it is 0 for who shares no node with it."""
        hardware = self.hardware
        if self.profile.eligible_in_badness and not shares_nodes(process, reader.mems):
            return 0
        return badness.oom_score(self.profile, process, hardware.totalpages, hardware.cpus)

    def counted_sizes(self, mm: Mm) -> MemorySizes:
        """Return what the OOM killer reads of an mm, for its choice and for its log."""
        return badness.counted_sizes(self.profile, mm.sizes, self.hardware.cpus)

    # -- The OOM killer --------------------------------------------------------------

    def out_of_memory(self, request: OomRequest) -> Verdict:
        """Invoke the OOM killer; what it kills dies, unless something holds it.

        Those that sleep go first, then the reaper looks at what is left, and the task
        that was allocating goes last: it is busy in here until then.
        """
        if request.memcg is not None and memcg_oom.charge_failed(self, request.memcg, request):
            self.last_verdict = Verdict(Outcome.ASLEEP, request.constraint)
            return self.last_verdict
        self._dying = []
        verdict = oom.out_of_memory(self, request)
        dying, self._dying = self._dying, None
        current = request.allocating.process if request.allocating else None
        for process in dying:
            if process is not current:
                self._die(process)
        self.reaper.take_up_at_once()
        if current in dying:
            self._die(current)
        verdict.freed_at_once_pages = verdict.freed_pages
        self.last_verdict = verdict
        if self.oom_kill_history is not None and verdict.killed:
            self.oom_kill_history.append((self.now_ns, verdict))
        return verdict

    def memcg_totalpages(self, memcg: Memcg) -> int:
        """Return the memory that an OOM of this memcg is about: its limit and swap, or 1."""
        if memcg.limit_pages is None:
            return self.hardware.totalpages
        swap_pages = self.hardware.swap_pages
        if memcg.swap_limit_pages is not None:
            swap_pages = min(swap_pages, memcg.swap_limit_pages)
        return max(memcg.limit_pages + swap_pages, 1)

    def sysrq_oom(self) -> Verdict:
        """Invoke it by hand (sysrq-f)."""
        prefix = "" if self.profile.version >= (4, 20) else "SysRq : "
        self.printk(Level.INFO, f"sysrq: {prefix}Manual OOM execution")
        return self.out_of_memory(oom.allocation(self, order=oom.SYSRQ_ORDER))

    def send_sigkill(self, process: Process) -> None:
        """Queue SIGKILL; the process dies when the OOM killer is done."""
        self.begin_group_exit(process, signal.SIGKILL)
        self._die_in_time(process)

    def hold(self, thread: Thread, hold: Hold, *, for_ns: int | None = None) -> None:
        """Keep a task from dying from now on, for good or for a time.

        The time runs at once, but for `Hold.AT_EXIT`: a task that takes its time to exit
        begins when it is killed.  ESRCH when it has exited, EPERM for a core of init or of
        a kernel thread, EINVAL for one of who is dying already.
        """
        self._require_alive(thread)
        if hold is Hold.COREDUMP:
            self._require_mortal(thread.process)
        self.holds.place(thread, hold, for_ns)

    def release(self, thread: Thread) -> None:
        """Let it go on as it was; if it must die, it does."""
        self._require_alive(thread)
        self.holds.release(thread)

    def process_mrelease(self, process: Process, flags: int = 0) -> None:
        """Take the memory of a dying process for a caller; see `reaper.process_mrelease`."""
        reaper.process_mrelease(self, process, flags)

    def settle(self, thread: Thread, awake: State = State.SLEEPING) -> None:
        """Give a task the state that follows from what it waits for; ``awake`` if nothing."""
        waits = thread.vfork_child is not None or memcg_oom.is_waiting(thread)
        if thread.hold.is_uninterruptible or waits:
            self.set_state(thread, State.DISK_SLEEP)
        elif thread.process in self._stopped:
            self.set_state(thread, State.STOPPED)
        else:
            self.set_state(thread, awake)

    def set_state(self, thread: Thread, state: State) -> None:
        """Change a task's state; nothing else does."""
        if state is not thread.state:
            self._account(thread, state)
        thread.state = state
        is_busy = state in (State.RUNNING, State.DISK_SLEEP)
        if is_busy == (thread in self._busy):
            return
        if is_busy:
            self._busy[thread] = None
        else:
            del self._busy[thread]
        self.load_average.change(self.now_ns, len(self._busy))

    def _account(self, thread: Thread, state: State) -> None:
        """Let a task that begins to run have CPU time, and one that ends it none any more."""
        if state is State.RUNNING:
            self.cpu_accounting.start(thread, self.now_ns)
        elif thread.state is State.RUNNING:
            self.cpu_accounting.stop(thread, self.now_ns)

    def _require_alive(self, thread: Thread) -> None:
        if not thread.alive:
            raise Refused(errno.ESRCH, f"{thread.tid}: has exited.")

    def begin_group_exit(self, process: Process, code: int) -> None:
        """Let it be known that all of a process must exit (SIGNAL_GROUP_EXIT)."""
        if not process.group_exit or process.coredumping:
            process.exit_code = code
        process.group_exit = True
        self._stopped.pop(process, None)
        self.holds.end_dump(process)
        for thread in process.threads:
            thread.fatal_pending = thread.alive

    def die_if_killed(self, process: Process) -> None:
        """Let a process that must exit do so, as far as nothing holds it."""
        if process.group_exit:
            self._die_in_time(process)

    def _die_in_time(self, process: Process) -> None:
        """Let a killed process die, but not before the OOM killer is done."""
        if self._dying is None:
            self._die(process)
        elif process not in self._dying:
            self._dying.append(process)

    def _die(self, process: Process) -> None:
        """Let the threads of a killed process exit, as far as nothing holds them."""
        for thread in [t for t in process.threads if t.alive]:
            if thread.hold is Hold.NONE:
                self._exit_thread(thread)
            elif thread.hold is Hold.AT_EXIT:
                self.holds.stop_at_exit(thread)
                self._stop_waiting(thread)

    # -- Memory and what tasks do by themselves -----------------------------------------

    def allocate(
        self, thread: Thread, pages: int, kind: MemoryKind = MemoryKind.ANON
    ) -> Allocation:
        """Let a task take memory as page faults do; see `Memory.allocate`."""
        return self.memory.allocate(thread, pages, kind)

    def behave(self, process: Process, behaviour: Behaviour | None) -> None:
        """Let a process do something by itself from now on; None: sleep.

        EINVAL for who has no memory of its own to do it with, and for init, if it were to
        get stuck or to take its time to exit.
        """
        self.living.set(process, behaviour)

    # -- Memory cgroups ------------------------------------------------------------

    def memcg(self, path: str) -> Memcg:
        """Return the memcg with this path; ENOENT if there is none."""
        group = self.root_memcg
        for name in filter(None, path.split("/")):
            child = group.children.get(name)
            if child is None:
                raise Refused(errno.ENOENT, f"memcg={path}: there is no such group.")
            group = child
        return group

    def make_memcg(self, path: str) -> Memcg:
        """Make a memcg, and those above it; return it, also if it is there already.

        ENAMETOOLONG for a path that no system call takes (PATH_MAX), or a name; EINVAL for one
        with a NUL, which no name has.
        """
        _require_path(path)
        group = self.root_memcg
        for name in filter(None, path.split("/")):
            if name not in group.children:
                group.children[name] = Memcg(name, group)
                self.rankings.forget(oom.is_about_a_memcg)
            group = group.children[name]
        return group

    def join_memcg(self, process: Process, memcg: Memcg) -> None:
        """Move a process to a memcg, behind those that are there already.

        EINVAL for kthreadd and for kernel threads that are bound to their CPUs or work for
        a queue, which have a slash in their names; other kernel threads move.  A zombie is
        taken, without effect (all of it seen on 6.1).
        """
        if process.is_kthread and (process.pid == 2 or "/" in process.comm):
            raise Refused(errno.EINVAL, f"{process.pid} ({process.comm}): stays where it is.")
        if process.is_zombie:
            return
        self._leave_memcg(process)
        process.memcg.detach(process)
        process.memcg = memcg
        process.attached = self._next_number()
        memcg.attach(process)
        # Whoever shares its mm may belong to another group now (mm->owner, until 5.3).
        self._mm_changed(process.mm)

    def remove_memcg(self, memcg: Memcg) -> None:
        """Remove an empty memcg; EBUSY when it has living members or groups below it."""
        if memcg.parent is None:
            raise Refused(errno.EBUSY, "/: the root group stays.")
        if memcg.children or any(not process.is_zombie for process in memcg.members):
            raise Refused(errno.EBUSY, f"{memcg.path}: has members, or groups below it.")
        del memcg.parent.children[memcg.name]

    def set_memcg_limit(self, memcg: Memcg, pages: int | None) -> None:
        """Set memory.max (None: no limit); EINVAL for the root.  Who waits for room has it."""
        if memcg.parent is None:
            raise Refused(errno.EINVAL, "memcg=/: the root group has no limit.")
        before, memcg.limit_pages = memcg.limit_pages, pages
        if before is not None and (pages is None or pages > before):
            memcg_oom.wake(self, memcg)

    def set_oom_kill_disable(self, memcg: Memcg, *, on: bool) -> None:
        """Write memory.oom_control of version 1; EINVAL for the root."""
        if memcg.parent is None:
            raise Refused(errno.EINVAL, "memcg=/: the root group is never out of memory.")
        memcg.oom_kill_disable = on
        if not on:
            memcg_oom.try_again(self, memcg)

    def _leave_memcg(self, process: Process) -> None:
        """Let those who wait have the room that a process leaves."""
        for thread in process.threads:
            memcg_oom.stop_waiting(thread)
        memcg_oom.wake(self, process.memcg)

    # -- Creating tasks ------------------------------------------------------------

    def spawn(
        self,
        name: str,
        *,
        parent: Thread | None = None,
        pid: int | None = None,
        credentials: Credentials | None = None,
        sizes: MemorySizes | None = None,
        cmdline: tuple[bytes, ...] = (),
    ) -> Process:
        """Create a process as fork, setuid and exec do; it leads its own session.

        The parent is init unless told.  ENOMEM when its memory does not fit, EAGAIN
        when there is no pid left, EINVAL for sizes that cannot be.
        """
        sizes = sizes or default_sizes()
        self._require_memory(sizes)
        creator = self._able(parent or self.init.leader)
        self._require_mm(creator)
        process = self._new_child(creator, creator, self._allocate_pid(pid))
        process.pgrp = process.session = process.pid
        process.details = details.in_new_session(process.details)
        process.leader.credentials = credentials or creator.credentials
        # One number for both takes less memory.
        self._exec(process.leader, name, sizes, cmdline, mm_id=process.sequence)
        return process

    def clone(self, creator: Thread, flags: CloneFlags, *, pid: int | None = None) -> Process:
        """Create a process as clone(2) does; it goes on as its creator's copy.

        With ``vfork`` the creator sleeps until the child execs or exits.
        """
        if flags.parent and creator.process.is_global_init:
            raise Refused(errno.EINVAL, "clone: init has no parent to share (CLONE_PARENT).")
        return self._fork_process(self._able(creator), flags, pid)

    def clone_thread(self, creator: Thread, *, tid: int | None = None) -> Thread:
        """Add a thread to the creator's thread group."""
        process = self._able(creator).process
        if process.is_kthread:
            raise Refused(errno.EINVAL, f"{creator.tid}: a kernel thread has no threads.")
        thread = self._new_thread(process, creator, self._allocate_pid(tid))
        process.add_thread(thread)
        self._other_threads[thread.tid] = thread
        if creator.mm is not None:
            self._join_mm(thread, creator.mm)
        return thread

    def kthread(self, name: str, *, use_mm: Mm | None = None, pid: int | None = None) -> Process:
        """Create a kernel thread, child of kthreadd; it may have borrowed a user mm."""
        kthreadd = self.processes[2].leader
        process = self._new_process(kthreadd, self._allocate_pid(pid))
        process.is_kthread = True
        process.pgrp = process.session = 0
        process.leader.comm = truncate_comm(name)
        if use_mm is not None:
            self._join_mm(process.leader, use_mm)
        return process

    # -- Changing tasks ------------------------------------------------------------

    def exec(
        self,
        thread: Thread,
        name: str,
        sizes: MemorySizes | None = None,
        cmdline: tuple[bytes, ...] = (),
    ) -> None:
        """Start a new program: other threads die, a new mm, vfork is over.

        oom_score_adj and its minimum stay as they are, capabilities do not.
        """
        process = self._able(thread).process
        if process.is_kthread:
            raise Refused(errno.EINVAL, f"{thread.tid}: a kernel thread cannot exec.")
        sizes = sizes or default_sizes()
        self._require_memory(sizes)
        self._kill_other_threads(thread)
        leader = process.leader
        self._exec(leader, name, sizes, cmdline)
        held = capability.after_exec(leader.credentials.uid, self.full_capabilities)
        leader.credentials = replace(leader.credentials, capabilities=held)

    def resize(self, mm: Mm, sizes: MemorySizes) -> None:
        """Give an address space other sizes; ENOMEM when the growth does not fit."""
        self._require_memory(sizes, instead_of=mm.sizes)
        self.mm_history.resizes(mm, sizes)
        before, mm.sizes = mm.sizes, sizes
        self._charge(sizes, instead_of=before)
        self._mm_changed(mm)

    def hide(self, mm: Mm) -> None:
        """Take an mm out of the OOM killer's sight for good (MMF_OOM_SKIP)."""
        mm.hidden = True
        self._mm_changed(mm)

    def set_credentials(self, threads: Iterable[Thread], credentials: Credentials) -> None:
        """Change user, group and capabilities of tasks; dumpable stays as it is.

        Like setuid(2) this goes by task: a process changes when all its threads do.
        """
        for thread in threads:
            thread.credentials = credentials
            self.rankings.changed(thread.process)

    def place(self, thread: Thread, placement: Placement) -> None:
        """Give a task another cpuset or memory policy."""
        thread.placement = placement
        self.rankings.changed(thread.process)

    def set_details(self, process: Process, told: Details) -> None:
        """Give a process other details."""
        process.details = details.simplest(told)

    def log_in(self, process: Process, login_uid: int) -> None:
        """Note whom a process acts for (audit_set_loginuid), which begins an audit session."""
        self.audit_sessions += login_uid != UNSET_ID
        session = UNSET_ID if login_uid == UNSET_ID else self.audit_sessions
        told = replace(details_of(process), login_uid=login_uid, audit_session=session)
        self.set_details(process, told)

    def set_oom_origin(self, process: Process, on: bool) -> None:
        """Mark a process as swapoff and unmerging KSM pages do: it is the first to be killed."""
        process.oom_origin = on
        self.oom_origins.pop(process, None)
        if on:
            self.oom_origins[process] = None

    def reparent(self, process: Process, parent: Thread) -> None:
        """Give a process another parent, as the death of the one it had does."""
        if process.real_parent is not None:
            process.real_parent.process.remove_child(process)
        process.real_parent = parent
        self.rankings.changed(process)
        parent.process.add_child(process)

    def rename(self, thread: Thread, name: str) -> None:
        """Change a task's name, as prctl(PR_SET_NAME) does."""
        thread.comm = truncate_comm(name)

    # -- Ending tasks --------------------------------------------------------------

    def exit_group(self, process: Process, code: int = 0) -> None:
        """End a process: every thread gives up the mm; a zombie is left to its parent."""
        self._require_mortal(process)
        if process.is_zombie or process.reaped:
            raise Refused(errno.ESRCH, f"{process.pid}: has exited already.")
        self.begin_group_exit(process, code)
        self._die(process)

    def exit_thread(self, thread: Thread) -> None:
        """End one thread; a leader stays as a zombie while others live."""
        self._require_mortal(thread.process)
        if thread.exiting:
            raise Refused(errno.ESRCH, f"{thread.tid}: has exited already.")
        if all(other.exiting for other in thread.process.threads if other is not thread):
            self.exit_group(thread.process)
        else:
            self._exit_thread(thread)

    def reap(self, process: Process) -> int:
        """Do what wait(2) does for a zombie; return its exit code.

        EAGAIN while a thread of it lives.
        """
        if not process.is_zombie:
            raise Refused(errno.EAGAIN, f"{process.pid}: still has a living thread.")
        process.reaped = True
        del self.processes[process.pid]
        self.turns.note(Turn.REAPED, process)
        process.memcg.detach(process)
        parent = process.real_parent.process if process.real_parent else None
        waited = parent is not None and not parent.ignores_sigchld
        self.cpu_accounting.reaped(process, parent if waited else None)
        if parent is not None:
            parent.remove_child(process)
        return process.exit_code

    def kill(self, caller: Caller, process: Process, number: int) -> bool:
        """Send a signal, as kill(2); return whether it had an effect.

        EINVAL for a number that is no signal, EPERM for another user's process.
        Signal 0 only checks.  Init takes no signal that it does not handle, a kernel
        thread none at all, a zombie none any more.
        """
        if not 0 <= number <= signal.SIGRTMAX:
            raise Refused(errno.EINVAL, f"signal {number}: there are 0 to {signal.SIGRTMAX}.")
        self.require_same_user(caller, process, "kill")
        if number == 0 or process.is_global_init or process.is_kthread or process.is_zombie:
            return False
        if process.group_exit and not (process.coredumping and number == signal.SIGKILL):
            return False
        return self._deliver(process, number)

    @property
    def first_pid(self) -> int:
        """Where pids begin."""
        return self._first_pid

    @property
    def next_pid(self) -> int:
        """The pid that the next task gets if it is free."""
        return self._next_pid

    def is_stopped(self, process: Process) -> bool:
        """Say whether a signal has stopped a process."""
        return process in self._stopped

    def pending_signals(self, process: Process) -> int:
        """Return the signals that a stopped process has not taken yet, as a mask."""
        return self._stopped.get(process, 0)

    def require_same_user(self, caller: Caller, process: Process, what: str) -> None:
        """Refuse with EPERM unless it is the caller's own process, or CAP_KILL holds."""
        own = caller.credentials.uid == process.leader.credentials.uid
        if not own and not caller.credentials.capable(capability.CAP_KILL):
            raise Refused(
                errno.EPERM,
                f"{what} {process.pid}: belongs to uid {process.leader.credentials.uid}, "
                f"you are uid {caller.credentials.uid}.",
            )

    # -- How it is done ------------------------------------------------------------

    def _boot(self, init_comm: str) -> None:
        init = self._new_process(None, 1)
        init.leader.credentials = Credentials(0, 0, self.full_capabilities)
        init.pgrp = init.session = 1
        self._exec(init.leader, init_comm, default_sizes(), (b"/sbin/init",), mm_id=1)
        kthreadd = self._new_process(None, 2)
        kthreadd.is_kthread = True
        kthreadd.leader.credentials = init.leader.credentials
        kthreadd.leader.comm = "kthreadd"
        # From the start, so that the first OOM of a large machine need not look at everybody.
        oom.ranking(self, OomRequest(self.hardware.totalpages))

    def _allocate_pid(self, wanted: int | None) -> int:
        pid_max = self.sysctls["kernel/pid_max"]
        if wanted is not None:
            if not 0 < wanted < pid_max:
                raise Refused(errno.EINVAL, f"pid={wanted}: accepted are 1 to {pid_max - 1}.")
            if self.find_thread(wanted):
                raise Refused(errno.EEXIST, f"pid={wanted}: is taken.")
            return wanted
        first = min(self._first_pid, pid_max - 1)
        for _ in range(pid_max - first):
            if self._next_pid >= pid_max:
                self._next_pid = first
            pid = self._next_pid
            self._next_pid += 1
            if self.find_thread(pid) is None:
                return pid
        raise Refused(errno.EAGAIN, f"every pid from {first} to {pid_max - 1} is taken.")

    def _new_process(self, real_parent: Thread | None, pid: int) -> Process:
        memcg = real_parent.process.memcg if real_parent else self.root_memcg
        number = self._next_number()
        process = Process(pid, number, real_parent, memcg, attached=number)
        memcg.attach(process)
        self.processes[pid] = process
        process.leader = self._new_thread(process, real_parent, pid)
        if real_parent is not None:
            real_parent.process.add_child(process)
            process.session = real_parent.process.session
            process.pgrp = real_parent.process.pgrp
        self.turns.note(Turn.BORN, process)
        return process

    def _next_number(self) -> int:
        self._last_number += 1
        return self._last_number

    def _new_thread(self, process: Process, creator: Thread | None, tid: int) -> Thread:
        thread = Thread(
            tid,
            creator.comm if creator else "",
            process,
            creator.credentials if creator else Credentials(),
            self.now_ns,
            placement=creator.placement if creator else ANYWHERE,
        )
        self.forks += 1
        self.last_pid = tid
        return thread

    def _require_mm(self, creator: Thread) -> Mm:
        if creator.process.is_kthread or creator.mm is None:
            raise Refused(errno.EINVAL, f"{creator.tid}: has no mm, so it cannot fork.")
        return creator.mm

    def _new_child(self, creator: Thread, parent: Thread | None, pid: int) -> Process:
        """Create a process with all that a child inherits, but for the mm."""
        process = self._new_process(parent, pid)
        process.leader.comm = creator.comm
        process.leader.credentials = creator.credentials
        self.place(process.leader, creator.placement)
        process.pgrp, process.session = creator.process.pgrp, creator.process.session
        # Both fields are inherited; under CLONE_VM they are copied again from 5.10 on,
        # which makes a difference only to a write that races with the clone.
        process.oom_score_adj = creator.process.oom_score_adj
        process.oom_score_adj_min = creator.process.oom_score_adj_min
        process.ignores_sigchld = creator.process.ignores_sigchld
        process.details = creator.process.details
        return process

    def _fork_process(self, creator: Thread, flags: CloneFlags, pid: int | None) -> Process:
        mm = self._require_mm(creator)
        parent = creator.process.real_parent if flags.parent else creator
        process = self._new_child(creator, parent, self._allocate_pid(pid))
        thread = process.leader
        if flags.vfork:
            thread.vfork_parent, creator.vfork_child = creator, thread
            self._in_vfork[thread] = None
            self.settle(creator)
        if flags.vm:
            self._join_mm(thread, mm)
            mm.multiprocess |= not flags.vfork
        else:
            self._join_mm(thread, self._copy_mm(mm))
        return process

    def _able(self, thread: Thread) -> Thread:
        """Return the task if it can make system calls now."""
        if thread.exiting:
            raise Refused(errno.ESRCH, f"{thread.tid}: has exited.")
        if thread.vfork_child is not None:
            raise Refused(
                errno.EAGAIN, f"{thread.tid}: waits for its vfork child {thread.vfork_child.tid}."
            )
        return thread

    def _copy_mm(self, mm: Mm) -> Mm:
        sizes = forked(mm.sizes)
        self._charge(sizes)
        return Mm(self._next_number(), sizes, cmdline=mm.cmdline, dumpable=mm.dumpable)

    def _join_mm(self, thread: Thread, mm: Mm) -> None:
        thread.mm = mm
        self.mm_count += not mm.users
        mm.users += 1
        mm.add_process(thread.process)
        self._ranked_anew(thread)

    def _leave_mm(self, thread: Thread) -> None:
        """Give up the mm, and wake a creator that waits for that (mm_release)."""
        mm, thread.mm = thread.mm, None
        if mm is not None:
            mm.users -= 1
            if thread.process.mm is not mm:
                mm.remove_process(thread.process)
            if not mm.users:
                self._charge(_NO_MEMORY, instead_of=mm.sizes)
                self.mm_count -= 1
                self.mm_history.forget(mm)
                mm.hidden = True
            self._mm_changed(mm)
        creator = thread.vfork_parent
        if creator is not None:
            self._end_vfork(thread)
            self.settle(creator)
        self._ranked_anew(thread)

    def _ranked_anew(self, thread: Thread) -> None:
        """Note that a task has another mm, or none: it counts for others too.

        A vforked child is exempt as long as its real parent has the same mm.
        """
        self.rankings.changed(thread.process)
        for child in self._in_vfork:
            if child.process.real_parent is thread:
                self.rankings.changed(child.process)

    def _mm_changed(self, mm: Mm | None) -> None:
        for process in mm.processes if mm else ():
            self.rankings.changed(process)

    def _end_vfork(self, child: Thread) -> None:
        """Let a vforked child and its creator go separate ways."""
        creator = child.vfork_parent
        if creator is not None:
            creator.vfork_child = child.vfork_parent = None
            del self._in_vfork[child]
            self.rankings.changed(child.process)

    def _exec(
        self,
        thread: Thread,
        name: str,
        sizes: MemorySizes,
        cmdline: tuple[bytes, ...],
        mm_id: int | None = None,
    ) -> None:
        self._leave_mm(thread)
        mm = Mm(mm_id or self._next_number(), sizes, cmdline=cmdline or _default_cmdline(name))
        self._charge(sizes)
        self._join_mm(thread, mm)
        self.rename(thread, name)
        thread.process.details = details.after_exec(thread.process.details)

    def _require_mortal(self, process: Process) -> None:
        if process.is_global_init:
            raise Refused(errno.EPERM, "1: init does not exit: the machine would panic.")
        if process.is_kthread:
            raise Refused(errno.EPERM, f"{process.pid}: a kernel thread does not exit.")

    def _kill_other_threads(self, thread: Thread) -> None:
        """Leave only this thread, which becomes the leader (de_thread)."""
        process = thread.process
        leader = process.leader
        if thread is not leader:
            if leader.alive:
                self._exit_thread(leader)
            leader.exiting = False
            self.settle(leader)
            leader.credentials = thread.credentials
            leader.comm = thread.comm
            self.place(leader, thread.placement)
        for other in process.threads[1:]:
            self._exit_thread(other)

    def _exit_thread(self, thread: Thread) -> None:
        """Let a task go; one that is not the leader leaves no trace."""
        process = thread.process
        thread.exiting = True
        thread.fatal_pending = False
        self.holds.forget(thread)
        self.set_state(thread, State.ZOMBIE)
        oom.unmark_victim(thread)
        self._leave_mm(thread)
        self._stop_waiting(thread)
        memcg_oom.stop_waiting(thread)
        if process.mm is None:
            memcg_oom.wake(self, process.memcg)
        if not thread.is_leader:
            process.remove_thread(thread)
            del self._other_threads[thread.tid]
            self.cpu_accounting.exited(thread)
        self.place(thread, thread.placement.without_policy())
        survivor = next((other for other in process.threads if other.alive), None)
        self._reparent_children(process, survivor)
        if survivor is None:
            self.set_oom_origin(process, False)
            self.living.forget(process)
            self.stalls.forget(process)
            self.turns.note(Turn.DIED, process)
        parent = process.real_parent
        if survivor is None and parent is not None and self._is_waited_for(parent.process):
            self.reap(process)

    def _is_waited_for(self, parent: Process) -> bool:
        """Say whether no zombies are left to this parent."""
        return parent.ignores_sigchld or self.parents_wait

    def _stop_waiting(self, thread: Thread) -> None:
        """Leave a vfork child on its own: its creator was killed while it waited."""
        if thread.vfork_child is not None:
            self._end_vfork(thread.vfork_child)

    def _reparent_children(self, process: Process, survivor: Thread | None) -> None:
        """Give the children of exited threads to a living thread of the group, or to init."""
        for child in list(process.children):
            parent = child.real_parent
            if parent is not None and parent.alive and parent.process is process:
                continue
            new_parent = survivor or self.init.leader
            self.reparent(child, new_parent)
            if child.is_zombie and self.parents_wait:
                self.reap(child)

    def _deliver(self, process: Process, number: int) -> bool:
        if number in _IGNORED or self.living.ignores(process, number):
            return False
        if number in _STOPPING:
            self._stopped.setdefault(process, 0)
            self._settle_all(process)
        elif number == signal.SIGCONT:
            self._continue(process)
        elif process in self._stopped and number != signal.SIGKILL:
            # No thread of it may run, so that none takes the signal yet (seen on 6.1).
            self._stopped[process] |= 1 << (number - 1)
        else:
            self.exit_group(process, number)
        return True

    def _continue(self, process: Process) -> None:
        pending = self._stopped.pop(process, 0)
        self._settle_all(process)
        if pending:
            lowest = (pending & -pending).bit_length()
            self.exit_group(process, lowest)

    def _settle_all(self, process: Process) -> None:
        for thread in process.threads:
            if thread.alive:
                running = thread.state is State.RUNNING
                self.settle(thread, State.RUNNING if running else State.SLEEPING)

    def _charge(self, sizes: MemorySizes, instead_of: MemorySizes = _NO_MEMORY) -> None:
        """Count what an address space takes; clean cache gives way to it."""
        self.used = self.used.exchanged(instead_of, sizes)
        if instead_of is not _NO_MEMORY:
            self.memory.counters.pgfree += max(instead_of.ram_pages - sizes.ram_pages, 0)
        self.memory.make_way()

    def _require_memory(self, sizes: MemorySizes, instead_of: MemorySizes | None = None) -> None:
        problem = sizes.problem()
        if problem:
            raise Refused(errno.EINVAL, f"memory: {problem}.")
        if self.hardware.oversubscribed:
            return
        before = instead_of or _NO_MEMORY
        room = self.free_pages + self.memory.cache_clean_pages
        _require_free("memory", sizes.ram_pages - before.ram_pages, room)
        _require_free("swap", sizes.swap_entries - before.swap_entries, self.free_swap_entries)


def _require_path(path: str) -> None:
    """Refuse what is no path of a group: ENAMETOOLONG (limits.h), EINVAL."""
    if "\0" in path:
        raise Refused(errno.EINVAL, f"{path[:40]!r}: accepted are paths without a NUL.")
    data = encode_name(path)
    if len(data) >= _PATH_MAX or max(map(len, data.split(b"/"))) > _NAME_MAX:
        raise Refused(
            errno.ENAMETOOLONG,
            f"{path[:40]}...: too long; accepted are paths of less than {_PATH_MAX} bytes, of "
            f"names of up to {_NAME_MAX}.",
        )


def _require_free(what: str, more_pages: int, free_pages: int) -> None:
    if more_pages > free_pages:
        raise Refused(
            errno.ENOMEM,
            f"{what}: {more_pages * PAGE_KIB} kB more, but {free_pages * PAGE_KIB} kB are free.",
        )


@lru_cache(maxsize=4096)
def _default_cmdline(name: str) -> tuple[bytes, ...]:
    return (encode_name(name),)
