# SPDX-License-Identifier: MIT
"""The commands of /proc/fakeproc/ctl: one a line, each a row of `COMMANDS`.

A command runs with the rights of its writer: root of the machine may do everything,
others may do to their own processes what the kernel would let them do.  What is
refused changes nothing.
"""

from __future__ import annotations

import errno
import shlex
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from fakeproc.kernel import behaviour, capability, details, numa
from fakeproc.kernel.behaviour import BEHAVIOUR_KEYS, Behaviour
from fakeproc.kernel.details import DETAIL_KEYS, Details
from fakeproc.kernel.errors import Refused, not_known
from fakeproc.kernel.machine import CloneFlags, Machine, default_sizes, sizes_for
from fakeproc.kernel.numa import PLACEMENT_KEYS, Placement
from fakeproc.kernel.task import Caller, Credentials, Hold, MemorySizes, Mm, Process, Thread
from fakeproc.procfs.cgroup_files import CGROUP_FILES
from fakeproc.procfs.session import Session
from fakeproc.units import SIZE_KEYS, parse_duration_ns, parse_integer, parse_pages

_CREDENTIAL_KEYS = ("uid", "gid", "caps", "dumpable")
_ID_MAX = 2**32 - 2


@dataclass(frozen=True, slots=True)
class Arguments:
    """The words behind a command's name: what it acts on, and key=value pairs."""

    words: tuple[str, ...]
    options: Mapping[str, str]

    def thread(self, machine: Machine, text: str | None = None) -> Thread:
        """Return the task that the first word (or this text) names."""
        named = self.words[0] if text is None else text
        return machine.thread(parse_integer("pid", named, 1, 2**31 - 1))

    def sizes(self, base: MemorySizes) -> MemorySizes:
        """Return these sizes with the given ones changed; the rest follows from them."""
        given = {SIZE_KEYS[k]: parse_pages(v) for k, v in self.options.items() if k in SIZE_KEYS}
        if not given:
            return base
        kinds = ("anon_pages", "file_pages", "shmem_pages", "swap_entries", "mlocked_pages")
        kept = {kind: getattr(base, kind) for kind in kinds}
        return sizes_for(**{**kept, **given})

    def flag(self, name: str, default: bool) -> bool:
        """Return a yes/no option."""
        text = self.options.get(name)
        if text is None:
            return default
        if text not in ("yes", "no"):
            raise Refused(errno.EINVAL, f"{name}={text}: accepted: yes, no.")
        return text == "yes"

    def integer(self, name: str, low: int, high: int) -> int | None:
        """Return an option that is a number of this range, or None where it is not given."""
        text = self.options.get(name)
        return None if text is None else parse_integer(name, text, low, high)

    def duration_ns(self, name: str) -> int | None:
        """Return an option that is a time, or None where it is not given."""
        text = self.options.get(name)
        return None if text is None else parse_duration_ns(f"{name}=", text)

    def credentials(self, machine: Machine, base: Credentials) -> Credentials:
        """Return the base with uid, gid and caps changed; another uid loses them all."""
        uid = self.integer("uid", 0, _ID_MAX)
        gid = self.integer("gid", 0, _ID_MAX)
        changed = base
        if uid is not None:
            full = machine.full_capabilities
            changed = Credentials(uid, uid, full if uid == 0 else 0)
        if gid is not None:
            changed = replace(changed, gid=gid)
        if "caps" in self.options:
            held = capability.parse(self.options["caps"], machine.full_capabilities)
            changed = replace(changed, capabilities=held)
        return changed

    def behaviour(self) -> Behaviour | None:
        """Return what the words say that a process does by itself; None: they do not."""
        given = {key: text for key, text in self.options.items() if key in BEHAVIOUR_KEYS}
        return behaviour.parse(given) if given else None

    def details(self, base: Details) -> Details:
        """Return the base with program, folders, environment, nice value and terminal changed."""
        given: dict[str, object] = {k: v for k, v in self.options.items() if k in DETAIL_KEYS}
        if "nice" in given:
            given["nice"] = self.integer("nice", -20, 19)
        if "environ" in given:
            given["environ"] = _variables(self.options["environ"])
        return details.changed(base, given)

    def placement(self, machine: Machine, base: Placement) -> Placement:
        """Return the base with cpuset, its nodes and the memory policy changed."""
        return numa.changed(base, self.options, machine.hardware.nodes)


Run = Callable[[Session, Caller, Arguments], str]


@dataclass(frozen=True, slots=True)
class Command:
    """A row of the table: how it is written, and what it does; it returns the answer."""

    usage: str
    run: Run
    words: tuple[int, int] = (1, 1)
    """How many words it takes besides the options: at least, at most."""
    keys: tuple[str, ...] = ()


def run_lines(session: Session, caller: Caller, data: bytes) -> int:
    """Run the commands in what was written; return the bytes of those that were accepted.

    A refused line raises when it is the first.  A later one ends the write short, so
    that the writer sends it again and then hears the errno.
    """
    taken = 0
    for line in data.splitlines(keepends=True):
        try:
            session.answer = run(session, caller, line) + "\n"
        except Refused as refused:
            if taken:
                return taken
            session.answer_refusal(refused)
            raise
        taken += len(line)
    return taken


def run(session: Session, caller: Caller, line: bytes) -> str:
    """Run one command; return its answer.  Blank lines and comments answer ``ok``."""
    words = _split(line)
    if not words:
        return "ok"
    name, rest = words[0], words[1:]
    command = COMMANDS.get(name)
    if command is None:
        raise not_known("command", name, COMMANDS)
    if name not in _AFTER_A_PANIC:
        session.require_running()
    return command.run(session, caller, parse_arguments(name, command, rest)) or "ok"


def _split(line: bytes) -> list[str]:
    try:
        return shlex.split(line.decode(), comments=True)
    except ValueError as error:
        raise Refused(errno.EINVAL, f"{line!r}: cannot be read: {error}.") from None


def parse_arguments(name: str, command: Command, rest: list[str]) -> Arguments:
    """Return the words behind a command's name; EINVAL for keys or words that it has not."""
    options = dict(word.split("=", 1) for word in rest if "=" in word)
    words = tuple(word for word in rest if "=" not in word)
    for key in options:
        if key not in command.keys:
            raise not_known(f"{name}: key", key, command.keys)
    low, high = command.words
    if not low <= len(words) <= high:
        raise Refused(errno.EINVAL, f"{name}: usage: {command.usage}")
    return Arguments(words, options)


# -- Rights ------------------------------------------------------------------------


def _require_root(caller: Caller, what: str) -> None:
    if caller.credentials.uid != 0:
        raise Refused(errno.EPERM, f"{what}: only root of the simulated machine may do this.")


def _require_credentials(caller: Caller, wanted: Credentials) -> None:
    """Let an ordinary user have only what is theirs already."""
    own = caller.credentials
    more = wanted.capabilities & ~own.capabilities
    if own.uid != 0 and (wanted.uid != own.uid or wanted.gid != own.gid or more):
        raise Refused(
            errno.EPERM,
            f"uid={wanted.uid}: you are uid {own.uid}, and only root may set another one.",
        )


def _own_thread(session: Session, caller: Caller, arguments: Arguments, what: str) -> Thread:
    """Return the task that the command names, if the caller may change it."""
    thread = arguments.thread(session.machine)
    session.machine.require_same_user(caller, thread.process, what)
    return thread


def _own_process(session: Session, caller: Caller, arguments: Arguments, what: str) -> Process:
    return _own_thread(session, caller, arguments, what).process


def _placement(machine: Machine, caller: Caller, arguments: Arguments, base: Thread) -> Placement:
    """Return the placement that the options make of a task's; cpusets are root's."""
    for key in ("cpuset", "mems_allowed"):
        if key in arguments.options:
            _require_root(caller, key)
    return arguments.placement(machine, base.placement)


def _name(arguments: Arguments, default: str) -> str:
    name = arguments.options.get("name")
    if name is None:
        return default
    if not name or "\0" in name:
        raise Refused(errno.EINVAL, f"name={name!r}: accepted is a name of one character or more.")
    return name


def _cmdline(arguments: Arguments) -> tuple[bytes, ...]:
    return tuple(word.encode() for word in _words("cmdline", arguments.options.get("cmdline", "")))


def _words(key: str, text: str) -> list[str]:
    """Return the words of an option that holds several; EINVAL for an open quote."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise Refused(errno.EINVAL, f"{key}=: cannot be read: {error}.") from None


def _variables(text: str) -> dict[str, str]:
    """Return an environment that is written ``A=1 B=2``."""
    words = _words("environ", text)
    if not all("=" in word for word in words):
        raise Refused(errno.EINVAL, f"environ={text}: accepted are words such as LANG=C.")
    return dict(word.split("=", 1) for word in words)


def _details(caller: Caller, arguments: Arguments, base: Details) -> Details:
    """Return the details that the options make of these; some steps are root's."""
    wanted = arguments.details(base)
    if wanted.nice < base.nice:
        _require_root(caller, f"nice={wanted.nice}")
    if wanted.root != base.root:
        _require_root(caller, f"root={wanted.root}")
    return wanted


# -- The commands ------------------------------------------------------------------


def _spawn(session: Session, caller: Caller, arguments: Arguments) -> str:
    machine = session.machine
    parent = machine.init.leader
    if "parent" in arguments.options:
        parent = arguments.thread(machine, arguments.options["parent"])
        machine.require_same_user(caller, parent.process, "spawn")
    inherited = caller.credentials if "parent" not in arguments.options else parent.credentials
    credentials = arguments.credentials(machine, inherited)
    _require_credentials(caller, credentials)
    value = arguments.integer("oom_score_adj", -1000, 1000)
    if value is not None and value < 0:
        _require_root(caller, f"oom_score_adj={value}")
    dumpable = arguments.flag("dumpable", True)
    placement = _placement(machine, caller, arguments, parent)
    does = arguments.behaviour()
    inherited_details = details.in_new_session(parent.process.details) or details.STANDARD
    told = _details(caller, arguments, inherited_details)
    process = machine.spawn(
        _name(arguments, "task"),
        parent=parent,
        pid=arguments.integer("pid", 1, 2**31 - 1),
        credentials=credentials,
        sizes=arguments.sizes(default_sizes() if not _gives_sizes(arguments) else MemorySizes()),
        cmdline=_cmdline(arguments),
    )
    if process.mm is not None:
        process.mm.dumpable = dumpable
    machine.place(process.leader, placement)
    if not arguments.options.keys().isdisjoint(DETAIL_KEYS):
        machine.set_details(process, told)
    if value is not None:
        # Root's value becomes the minimum as well; an ordinary user's does not.
        writer = machine.root if caller.credentials.uid == 0 else caller
        machine.store_oom_score_adj(process.leader, writer, b"%d" % value)
    if does is not None:
        machine.behave(process, does)
    return str(process.pid)


def _gives_sizes(arguments: Arguments) -> bool:
    return any(key in SIZE_KEYS for key in arguments.options)


def _clone(session: Session, caller: Caller, arguments: Arguments) -> str:
    machine = session.machine
    if "parent" not in arguments.options:
        raise Refused(errno.EINVAL, f"clone: parent= is missing: {COMMANDS['clone'].usage}")
    creator = arguments.thread(machine, arguments.options["parent"])
    machine.require_same_user(caller, creator.process, "clone")
    shared = arguments.options.get("vm", "copied")
    if shared not in ("shared", "copied"):
        raise Refused(errno.EINVAL, f"vm={shared}: accepted: shared, copied.")
    pid = arguments.integer("pid", 1, 2**31 - 1)
    name = _name(arguments, creator.comm)
    vfork, sibling = arguments.flag("vfork", False), arguments.flag("sibling", False)
    if arguments.flag("thread", False):
        if shared == "copied" or vfork or sibling:
            raise Refused(
                errno.EINVAL, "thread=yes: a thread shares its mm: vm=shared, vfork=no, sibling=no."
            )
        thread = machine.clone_thread(creator, tid=pid)
    else:
        flags = CloneFlags(vm=shared == "shared", vfork=vfork, parent=sibling)
        thread = machine.clone(creator, flags, pid=pid).leader
    machine.rename(thread, name)
    return str(thread.tid)


def _exec(session: Session, caller: Caller, arguments: Arguments) -> str:
    thread = _own_thread(session, caller, arguments, "exec")
    base = MemorySizes() if _gives_sizes(arguments) else default_sizes()
    name = _name(arguments, thread.comm)
    told = _details(
        caller, arguments, details.after_exec(thread.process.details) or details.STANDARD
    )
    session.machine.exec(thread, name, arguments.sizes(base), _cmdline(arguments))
    session.machine.set_details(thread.process, told)
    return "ok"


def _thread(session: Session, caller: Caller, arguments: Arguments) -> str:
    creator = _own_thread(session, caller, arguments, "thread")
    name = _name(arguments, creator.comm)
    tid = arguments.integer("tid", 1, 2**31 - 1)
    thread = session.machine.clone_thread(creator, tid=tid)
    session.machine.rename(thread, name)
    return str(thread.tid)


def _exit(session: Session, caller: Caller, arguments: Arguments) -> str:
    thread = _own_thread(session, caller, arguments, "exit")
    status = arguments.integer("status", 0, 255) or 0
    if thread.is_leader:
        session.machine.exit_group(thread.process, status << 8)
    else:
        session.machine.exit_thread(thread)
    return "ok"


def _exit_leader(session: Session, caller: Caller, arguments: Arguments) -> str:
    process = _own_process(session, caller, arguments, "exit-leader")
    session.machine.exit_thread(process.leader)
    return "ok"


def _reap(session: Session, caller: Caller, arguments: Arguments) -> str:
    process = _own_process(session, caller, arguments, "reap")
    return f"ok status={session.machine.reap(process)}"


def _kthread(session: Session, caller: Caller, arguments: Arguments) -> str:
    _require_root(caller, "kthread")
    machine = session.machine
    borrowed: Mm | None = None
    if "use_mm" in arguments.options:
        borrowed = arguments.thread(machine, arguments.options["use_mm"]).process.mm
        if borrowed is None:
            raise Refused(errno.EINVAL, f"use_mm={arguments.options['use_mm']}: has no mm.")
    pid = arguments.integer("pid", 1, 2**31 - 1)
    return str(machine.kthread(_name(arguments, "kworker/0:1"), use_mm=borrowed, pid=pid).pid)


def _kill(session: Session, caller: Caller, arguments: Arguments) -> str:
    process = arguments.thread(session.machine).process
    number = _signal_number(arguments.words[1] if len(arguments.words) > 1 else "SIGTERM")
    effect = session.machine.kill(caller, process, number)
    return "ok" if effect else "ok (no effect)"


def _signal_number(text: str) -> int:
    if text.isascii() and text.isdigit():
        return parse_integer("signal", text, 0, 2**31 - 1)
    name = text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"
    try:
        return signal.Signals[name]
    except KeyError:
        raise Refused(
            errno.EINVAL, f"{text}: no such signal; accepted: SIGTERM, TERM, 15 and so on."
        ) from None


def _set(session: Session, caller: Caller, arguments: Arguments) -> str:
    machine = session.machine
    thread = _own_thread(session, caller, arguments, "set")
    process = thread.process
    name = _name(arguments, thread.comm)
    credentials = arguments.credentials(machine, thread.credentials)
    _require_credentials(caller, credentials)
    changes_mm = _gives_sizes(arguments) or "dumpable" in arguments.options
    mm = process.mm
    if changes_mm and (mm is None or process.is_kthread):
        raise Refused(errno.EINVAL, f"set {thread.tid}: has no mm of its own.")
    ignores_sigchld = arguments.flag("ignore_sigchld", process.ignores_sigchld)
    alone = arguments.flag("this_thread", False)
    threads = [thread] if alone else process.threads
    placements = [_placement(machine, caller, arguments, each) for each in threads]
    origin = _origin(caller, arguments, process)
    told = _details(caller, arguments, details.details_of(process))
    if mm is not None and changes_mm:
        dumpable = arguments.flag("dumpable", mm.dumpable)
        machine.resize(mm, arguments.sizes(mm.sizes))
        mm.dumpable = dumpable
    if arguments.options.keys() & {"uid", "gid", "caps"}:
        machine.set_credentials(threads, credentials)
    for each, placement in zip(threads, placements, strict=True):
        machine.place(each, placement)
    machine.set_oom_origin(process, origin)
    machine.set_details(process, told)
    process.ignores_sigchld = ignores_sigchld
    machine.rename(thread, name)
    return "ok"


def _origin(caller: Caller, arguments: Arguments, process: Process) -> bool:
    """Return the option oom_origin: only root runs swapoff, and only what can be killed."""
    if "oom_origin" not in arguments.options:
        return process.oom_origin
    _require_root(caller, "oom_origin")
    if process.is_global_init or process.is_kthread or process.is_zombie:
        raise Refused(errno.EINVAL, f"oom_origin: {process.pid} cannot be killed.")
    return arguments.flag("oom_origin", process.oom_origin)


def _behave(session: Session, caller: Caller, arguments: Arguments) -> str:
    process = _own_process(session, caller, arguments, "behave")
    asleep = arguments.words[1:] == ("none",)
    does = arguments.behaviour()
    if asleep == (does is not None) or (arguments.words[1:] and not asleep):
        raise Refused(errno.EINVAL, f"behave: usage: {COMMANDS['behave'].usage}")
    session.machine.behave(process, does)
    return "ok"


def _swapon(session: Session, caller: Caller, arguments: Arguments) -> str:
    _require_root(caller, "swapon")
    if "size" not in arguments.options:
        raise Refused(errno.EINVAL, f"swapon: size= is missing: {COMMANDS['swapon'].usage}")
    size_pages = parse_pages(arguments.options["size"])
    priority = arguments.integer("priority", 0, 32767)
    session.machine.memory.swapon(arguments.words[0], size_pages, priority)
    return "ok"


def _swapoff(session: Session, caller: Caller, arguments: Arguments) -> str:
    _require_root(caller, "swapoff")
    session.machine.memory.swapoff(arguments.words[0])
    return "ok"


def _cache(session: Session, caller: Caller, arguments: Arguments) -> str:
    _require_root(caller, "cache")
    memory = session.machine.memory
    memory.set_cache(
        clean_pages=_pages(arguments, "clean", memory.cache_clean_pages),
        dirty_pages=_pages(arguments, "dirty", memory.cache_dirty_pages),
    )
    return "ok"


def _slab(session: Session, caller: Caller, arguments: Arguments) -> str:
    _require_root(caller, "slab")
    memory = session.machine.memory
    memory.set_slab(
        reclaimable_pages=_pages(arguments, "reclaimable", memory.slab_reclaimable_pages),
        unreclaimable_pages=_pages(arguments, "unreclaimable", memory.slab_unreclaimable_pages),
    )
    return "ok"


def _pages(arguments: Arguments, key: str, default: int) -> int:
    return parse_pages(arguments.options[key]) if key in arguments.options else default


def _become(session: Session, caller: Caller, arguments: Arguments) -> str:
    host_pid = caller.host_pid
    if not host_pid:
        raise Refused(errno.EINVAL, "become: there is no process of the host behind this write.")
    if arguments.words[0] == "none":
        session.acting.pop(host_pid, None)
        return "ok"
    thread = arguments.thread(session.machine)
    if not session.may_become(caller):
        raise Refused(errno.EPERM, "become: only who is root of the machine may become others.")
    if thread.exiting or thread.process.is_kthread:
        raise Refused(errno.EINVAL, f"become {thread.tid}: makes no system calls.")
    session.act(host_pid, thread)
    return "ok"


def _memcg(session: Session, caller: Caller, arguments: Arguments) -> str:
    _require_root(caller, "memcg")
    path = arguments.words[0]
    if not path.startswith("/") or not path.strip("/"):
        raise Refused(errno.EINVAL, f"memcg {path}: accepted is a path such as /web/front.")
    for name in path.split("/"):
        if name in CGROUP_FILES:
            raise Refused(errno.EEXIST, f"memcg {path}: {name} is the name of a file there.")
    limit = arguments.options.get("limit")
    pages = None if limit in (None, "none") else parse_pages(str(limit))
    oom_group = arguments.flag("oom_group", False)
    oom_kill_disable = arguments.flag("oom_kill_disable", False)
    machine = session.machine
    memcg = machine.make_memcg(path)
    if limit is not None:
        machine.set_memcg_limit(memcg, pages)
    memcg.oom_group = oom_group if "oom_group" in arguments.options else memcg.oom_group
    if "oom_kill_disable" in arguments.options:
        machine.set_oom_kill_disable(memcg, on=oom_kill_disable)
    return "ok"


def _join(session: Session, caller: Caller, arguments: Arguments) -> str:
    _require_root(caller, "join")
    process = arguments.thread(session.machine).process
    session.machine.join_memcg(process, session.machine.memcg(arguments.words[1]))
    return "ok"


def _hold(session: Session, caller: Caller, arguments: Arguments) -> str:
    thread = _own_thread(session, caller, arguments, "hold")
    kinds = {hold.value.replace(" ", "-"): hold for hold in Hold if hold is not Hold.NONE}
    kind = kinds.get(arguments.words[1])
    if kind is None:
        raise not_known("hold: kind", arguments.words[1], kinds)
    session.machine.hold(thread, kind, for_ns=arguments.duration_ns("for"))
    return "ok"


def _release(session: Session, caller: Caller, arguments: Arguments) -> str:
    session.machine.release(_own_thread(session, caller, arguments, "release"))
    return "ok"


def _mrelease(session: Session, caller: Caller, arguments: Arguments) -> str:
    # The kernel asks for no right over a process but a descriptor of it.
    flags = arguments.integer("flags", 0, 2**32 - 1) or 0
    session.machine.process_mrelease(arguments.thread(session.machine).process, flags)
    return "ok"


def _reboot(session: Session, caller: Caller, arguments: Arguments) -> str:
    _require_root(caller, "reboot")
    session.replace_machine(session.machine.rebooted())
    return "ok"


def _help(session: Session, caller: Caller, arguments: Arguments) -> str:
    return "\n".join(command.usage for command in COMMANDS.values())


_AFTER_A_PANIC = ("reboot", "become", "help")
_MEMORY = tuple(SIZE_KEYS)

COMMANDS: dict[str, Command] = {
    "spawn": Command(
        "spawn name=web rss=300M uid=33 oom_score_adj=-500"
        " [file= shmem= swap= mlocked= size= pte= pmd= gid= caps= dumpable= parent= pid="
        " cmdline= exe= cwd= root= environ='A=1 B=2' nice= tty=pts/0 cpuset= mems_allowed="
        " mempolicy= behaviour= and its words, see behave]",
        _spawn,
        (0, 0),
        (
            *("name", "oom_score_adj", "parent", "pid", "cmdline"),
            *(*_CREDENTIAL_KEYS, *PLACEMENT_KEYS, *_MEMORY, *BEHAVIOUR_KEYS, *DETAIL_KEYS),
        ),
    ),
    "clone": Command(
        "clone parent=PID vm=shared|copied thread=no vfork=no [sibling=no name= pid=]",
        _clone,
        (0, 0),
        ("parent", "vm", "thread", "vfork", "sibling", "name", "pid"),
    ),
    "exec": Command(
        "exec PID name=worker rss=20M [file= shmem= swap= mlocked= size= pte= pmd= cmdline="
        " exe= environ=]",
        _exec,
        keys=("name", "cmdline", "exe", "environ", *_MEMORY),
    ),
    "thread": Command("thread PID [name= tid=]", _thread, keys=("name", "tid")),
    "exit": Command("exit PID|TID [status=0]", _exit, keys=("status",)),
    "exit-leader": Command("exit-leader PID", _exit_leader),
    "reap": Command("reap PID", _reap),
    "kthread": Command(
        "kthread name=kswapd0 [use_mm=PID pid=]", _kthread, (0, 0), ("name", "use_mm", "pid")
    ),
    "kill": Command("kill PID [SIGTERM]", _kill, (1, 2)),
    "set": Command(
        "set PID rss=1G swap=0 name=web2 [file= shmem= mlocked= size= pte= pmd= uid= gid= caps="
        " dumpable= this_thread= ignore_sigchld= cpuset=/slice mems_allowed=0-1"
        " mempolicy=bind:1 oom_origin= exe= cwd= root= environ= nice= tty=]",
        _set,
        keys=(
            *("name", "this_thread", "ignore_sigchld", "oom_origin"),
            *(*_CREDENTIAL_KEYS, *PLACEMENT_KEYS, *_MEMORY, *DETAIL_KEYS),
        ),
    ),
    "behave": Command(
        "behave PID none|behaviour=constant|grow|sawtooth|fork-storm [rate=50M/s until=2G"
        " period=10s children=5/s max=100 child=4M ignore_sigterm=no exit_delay=3s stuck=no]",
        _behave,
        (1, 2),
        BEHAVIOUR_KEYS,
    ),
    "swapon": Command("swapon NAME size=1G [priority=]", _swapon, keys=("size", "priority")),
    "swapoff": Command("swapoff NAME", _swapoff),
    "cache": Command("cache [clean=1G dirty=100M]", _cache, (0, 0), ("clean", "dirty")),
    "slab": Command(
        "slab [reclaimable=50M unreclaimable=64M]", _slab, (0, 0), ("reclaimable", "unreclaimable")
    ),
    "memcg": Command(
        "memcg /PATH [limit=16M|none oom_group=no oom_kill_disable=no]",
        _memcg,
        keys=("limit", "oom_group", "oom_kill_disable"),
    ),
    "join": Command("join PID /PATH", _join, (2, 2)),
    "hold": Command(
        "hold PID|TID at-exit|frozen|stuck|mmap-lock|coredump [for=500ms]", _hold, (2, 2), ("for",)
    ),
    "release": Command("release PID|TID", _release),
    "mrelease": Command("mrelease PID [flags=0]", _mrelease, keys=("flags",)),
    "reboot": Command("reboot", _reboot, (0, 0)),
    "become": Command("become PID|none", _become),
    "help": Command("help", _help, (0, 0)),
}
"""Every command of ctl, by name."""
