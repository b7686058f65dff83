# SPDX-License-Identifier: MIT
"""The adapter between FUSE and procfs: upcalls become lookups, reads and writes.

Nothing else in the project knows FUSE, but for `fakeproc.binding`, `fakeproc.poll` and
`fakeproc.sleepers`.
Upcalls are serial.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import logging
import os
import shutil
import signal
import stat
import subprocess
import threading
import time
import traceback
import types
import warnings
import zlib
from collections.abc import Callable, Iterator
from ctypes.util import find_library
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, TypeVarTuple

import psutil

from fakeproc.binding import ENCODING, mount_with
from fakeproc.callers import HOST_PROC, Callers
from fakeproc.dentries import Dentries
from fakeproc.heap import keep_compact
from fakeproc.journal import Journal, Recorder
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.kernel.task import Caller
from fakeproc.poll import Waiting
from fakeproc.procfs import clock
from fakeproc.procfs.inputs import (
    ChangeDirectory,
    Input,
    Verb,
    Write,
    frozen,
    parent_of,
)
from fakeproc.procfs.node import (
    Attributes,
    Directory,
    File,
    Link,
    Node,
    OpenDirectory,
    OpenFile,
    Seek,
    Unread,
    open_file,
)
from fakeproc.procfs.session import HidePid
from fakeproc.procfs.tree import Procfs
from fakeproc.sleepers import Sleepers

log = logging.getLogger(__name__)

FSTYPE = "fuse.fakeproc"
BINDING_VARIABLE = "FAKEPROC_FUSE"
"""Names the binding to use, fusepy or mfusepy; otherwise mfusepy if it is installed."""

_BINDINGS = {"mfusepy": "mfusepy", "fusepy": "fuse"}
_ENTRY_TIMEOUT_S = 3600

_PATHS = 16_384
_PATHS_PER_PROCESS = 8
"""How many paths the kernel may remember of a mount: what tools look at again and again."""

_STEP_NS = 100_000
"""The machine's clock follows the host's in steps of at least this, which spares the requests of a
burst most of the work."""

_SLOW_NS = 100_000_000
"""How long the machine may take over the time that has passed, whatever that is."""

_UNREAD_BYTES = 1 << 25
"""How much is kept for those who have not read a file to the end, all together."""

_FIRST_INODE = 1 << 32
"""Below it are numbers that mean something, as those of namespaces."""

_Arguments = TypeVarTuple("_Arguments")
_R = TypeVar("_R")


_DEVICE = Path("/dev/fuse")

_FUSERMOUNTS = ("fusermount3", "fusermount")
"""What mounts and unmounts for ordinary users."""

_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8

_libc = ctypes.CDLL(None, use_errno=True)


class MountError(Exception):
    """A mount cannot be made or removed; the message is a sentence for a person."""


@dataclass(frozen=True, slots=True)
class MountOptions:
    """How a mount is made."""

    allow_other: bool = False
    real_capabilities: bool = False
    hidepid: HidePid = HidePid.OFF
    manual_clock: bool = False
    """Time stands still until a write to fakeproc/clock moves it."""
    clock_speed: Fraction = clock.REAL_SPEED
    """Otherwise: how many seconds pass in one of the host's."""
    only_root_mapped: bool = False
    """Whether the user namespace of the mount has no user but root: all files belong to root,
    as nobody could write to those of others; directories keep their owners."""


# -- Upcalls -----------------------------------------------------------------------


class Stat(NamedTuple):
    """What stat(2) shows of a node.  (A dataclass that is frozen takes longer to make.)"""

    inode: int
    attributes: Attributes
    time_ns: int
    """All of its times, since 1970."""


@functools.lru_cache(maxsize=16384)
def _inode(path: str) -> int:
    """Return the inode number of what has none that means anything."""
    return zlib.crc32(os.fsencode(path)) | _FIRST_INODE


def upcall(
    method: Callable[[Operations, *_Arguments], _R],
) -> Callable[[Operations, *_Arguments], _R]:
    """Wrap an upcall: the clock goes on, `Refused` passes, anything else is a bug.

    A bug is logged with its traceback, counted in stats, and gives EIO.  (The bindings
    alone would turn it into EINVAL, the errno of a bad value.)
    """

    @functools.wraps(method)
    def guarded(self: Operations, /, *args: *_Arguments) -> _R:
        with self.serial:
            try:
                self.begin()
                result = method(self, *args)
                self.finish()
                return result
            except Refused:
                raise
            except BaseException:
                self.procfs.stats.internal_errors += 1
                self.procfs.stats.last_error = traceback.format_exc().replace("\n", "\\n")
                log.exception("%s%r failed", method.__name__, args)
                raise Refused(errno.EIO) from None

    return guarded


class Operations:
    """The operations that both bindings call, by their names in libfuse."""

    use_ns = True

    def __init__(
        self,
        procfs: Procfs,
        callers: Callers,
        recorder: Recorder,
        context: Callable[[], tuple[int, int, int]],
        on_ready: Callable[[], None],
        *,
        only_root_mapped: bool = False,
    ) -> None:
        self.procfs = procfs
        self._only_root_mapped = only_root_mapped
        self._callers = callers
        self._recorder = recorder
        self._context = context
        self._on_ready = on_ready
        self.serial = threading.Lock()
        """Held by each upcall: the timer of `Waiting` and those of `Sleepers` are threads too."""
        self.keep_up: Callable[[], object] | None = None
        """Called after each change: whoever keeps something in step with the machine."""
        self.waiting: Waiting | None = None
        """Who waits in poll(2); None where libfuse has no way to wake them."""
        self.sleepers: Sleepers | None = None
        """Who sleeps in read(2); None without libfuse."""
        self.dentries: Dentries | None = None
        """What the kernel remembers; None without a mount."""
        self._open: dict[int, OpenFile] = {}
        self._unread = Unread(_UNREAD_BYTES)
        self._open_directories: dict[int, OpenDirectory] = {}
        self._last_handle = 0
        self._in_setattr: set[int] = set()
        """Threads that serve a request to set an attribute, and have still to get them."""
        self._last_ns = time.monotonic_ns()

    def begin(self) -> None:
        """Count the upcall, bring the machine to the present (`_STEP_NS`), bury who is gone."""
        self.procfs.stats.upcalls += 1
        now_ns = time.monotonic_ns()
        passed_ns = now_ns - self._last_ns
        if passed_ns >= _STEP_NS:
            self._pass_time(passed_ns, now_ns)
        self._callers.bury()

    def _pass_time(self, passed_ns: int, now_ns: int) -> None:
        clock.pass_host_time(self.procfs, passed_ns)
        spent_ns = time.monotonic_ns() - now_ns
        # A machine that cannot keep up falls behind: catching up would take longer each time.
        behind_ns = spent_ns - passed_ns if spent_ns > max(passed_ns, _SLOW_NS) else 0
        self._last_ns = now_ns + behind_ns
        self._recorder.note_time(now_ns)

    def finish(self) -> None:
        """Pass on what has come of the upcall, before it is answered."""
        if self.keep_up is not None:
            self.keep_up()
        if self.waiting is not None:
            self.waiting.wake()

    @contextlib.contextmanager
    def between_upcalls(self) -> Iterator[None]:
        """Hold the machine as an upcall does; for the other threads of a server."""
        with self.serial:
            self.begin()
            try:
                yield
            finally:
                self.finish()

    def enable_poll(self, libfuse: Any) -> None:
        """Let who waits in poll(2) be woken by way of this library."""
        self.waiting = Waiting(libfuse, self.serial, self.tick)
        self.procfs.has_poll = True

    def _caller(self) -> Caller:
        return self._callers.identify(*self._context())

    def _lookup(self, path: str) -> Node:
        return self.procfs.lookup(path, self._caller())

    def _stat(self, path: str, attributes: Attributes) -> Stat:
        machine = self.procfs.machine
        now_ns = machine.hardware.boot_time_s * 1_000_000_000 + machine.now_ns
        if self._only_root_mapped and not stat.S_ISDIR(attributes.mode):
            attributes = replace(attributes, uid=0, gid=0)
        return Stat(attributes.inode or _inode(path), attributes, now_ns)

    # libfuse calls this when the mount is up.
    def init(self, path: str) -> None:
        """Tell that the mount answers."""
        self._on_ready()

    @upcall
    def getattr(self, path: str, fh: int | None = None) -> Stat:
        """Return what stat(2) shows.

        The kernel asks with a file handle in two cases: at the end of setting an
        attribute, and for lseek(SEEK_END), which the seq files of procfs refuse.
        """
        in_setattr = self._ends_setattr()
        opened = self._open.get(fh) if fh is not None else None
        if opened is None:
            attributes = self._lookup(path).attributes()
            if self.dentries is not None:
                self.dentries.note(path)
            return self._stat(path, attributes)
        if not in_setattr and opened.file.seek is Seek.SEQ:
            raise Refused(errno.EINVAL)
        attributes = opened.file.attributes()
        size = attributes.size if in_setattr else opened.file.seek_end()
        return self._stat(path, replace(attributes, size=size))

    def _ends_setattr(self) -> bool:
        if not self._in_setattr:
            return False
        thread = threading.get_ident()
        in_setattr = thread in self._in_setattr
        self._in_setattr.discard(thread)
        return in_setattr

    @upcall
    def opendir(self, path: str) -> int:
        """Open a directory, if its mode lets the caller; return a handle."""
        caller = self._caller()
        self.procfs.lookup(path, caller).require_access(caller, os.R_OK)
        handle = self._new_handle()
        self._open_directories[handle] = OpenDirectory()
        return handle

    @upcall
    def readdir(self, path: str, place: int, fh: int) -> Iterator[tuple[str, int, int]]:
        """Return names, file types and inodes from a place on, ``.`` and ``..`` first."""
        caller = self._caller()
        node = self.procfs.lookup(path, caller)
        if not isinstance(node, Directory):
            raise Refused(errno.ENOTDIR)
        opened = self._open_directories[fh]
        entries = opened.read(place, lambda: node.entries(caller))
        self._unread.note(opened)
        folder = path.rstrip("/")
        return ((name, kind, _inode(f"{folder}/{name}")) for name, kind in entries)

    @upcall
    def releasedir(self, path: str, fh: int) -> int:
        """Close the handle of a directory."""
        self._unread.forget(self._open_directories.pop(fh))
        return 0

    @upcall
    def readlink(self, path: str) -> str:
        """Return where a link leads, for this caller."""
        caller = self._caller()
        node = self.procfs.lookup(path, caller)
        if not isinstance(node, Link):
            raise Refused(errno.EINVAL)
        return node.target(caller)

    @upcall
    def open(self, path: str, flags: int) -> int:
        """Open a file, if its mode lets the caller; return a handle."""
        caller = self._caller()
        node = self.procfs.lookup(path, caller)
        if not isinstance(node, File):
            raise Refused(errno.EISDIR)
        opened = open_file(node, flags, caller)
        handle = self._new_handle()
        self._open[handle] = opened
        return handle

    def _new_handle(self) -> int:
        self._last_handle += 1
        return self._last_handle

    @upcall
    def release(self, fh: int) -> None:
        """Close a handle."""
        if self.waiting is not None:
            self.waiting.forget(fh)
        opened = self._open.pop(fh)
        self._unread.forget(opened)
        opened.file.closed()

    @upcall
    def poll(self, path: str, fh: int, ph: int | None, reventsp: Any) -> int:
        """Say what poll(2) sees; ``ph`` is for telling whoever waits that it has changed."""
        if self.waiting is None:
            raise Refused(errno.ENOSYS)
        reventsp[0] = self.waiting.poll(fh, self._open[fh].file, ph)
        return 0

    @upcall
    def tick(self) -> None:
        """Let only time go on; no upcall of libfuse."""

    def read(self, size: int, offset: int, fh: int) -> bytes:
        """Read; sleep until there is something, where the file has that."""
        while True:
            try:
                return self._read(size, offset, fh)
            except Refused as refused:
                sleeps = refused.errno == errno.EAGAIN and self._open[fh].file.may_sleep
                if not sleeps or self.sleepers is None:
                    raise
            self.sleepers.sleep()

    @upcall
    def _read(self, size: int, offset: int, fh: int) -> bytes:
        opened = self._open[fh]
        chunk = opened.read(size, offset)
        self._unread.note(opened)
        return chunk

    @upcall
    def ioctl(self, path: str, cmd: int, arg: Any, fh: int, flags: int, data: Any) -> int:
        """Answer a request that carries no data; directories know of none."""
        opened = self._open.get(fh)
        if opened is None:
            raise Refused(errno.ENOTTY)
        return opened.file.ioctl(cmd)

    @upcall
    def write(self, path: str, data: bytes, fh: int) -> int:
        """Write; where it begins makes no difference."""
        opened, caller = self._open[fh], self._caller()
        if not opened.file.takes_input():
            return opened.write(caller, data)
        opened.file.prepare(caller, data)
        with self._recorder.recorded(lambda: self._describe_write(path, caller, data)):
            return opened.write(caller, data)

    def _describe_write(self, path: str, caller: Caller, data: bytes) -> Input:
        return Write(path, data, frozen(caller), self.procfs.may_become(caller))

    @upcall
    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        """Let who may write truncate, which changes nothing."""
        if self._open.get(fh or 0) is None:
            caller = self._caller()
            self.procfs.lookup(path, caller).require_access(caller, os.W_OK)
        self._in_setattr.add(threading.get_ident())
        return 0

    @upcall
    def access(self, path: str, amode: int) -> int:
        """Say whether access(2) would let the caller."""
        caller = self._caller()
        self.procfs.lookup(path, caller).require_access(caller, amode)
        return 0

    # What the nodes let root change has no effect: it is computed anew each time.

    @upcall
    def chmod(self, path: str, mode: int) -> int:
        """Let root change a mode, where the node lets it."""
        caller = self._caller()
        self.procfs.lookup(path, caller).require_chmod(caller)
        return 0

    @upcall
    def chown(self, path: str, uid: int, gid: int) -> int:
        """Let root change an owner, where the node lets it."""
        caller = self._caller()
        self.procfs.lookup(path, caller).require_chown(caller)
        return 0

    @upcall
    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        """Let root change the times."""
        caller = self._caller()
        self.procfs.lookup(path, caller).require_root(caller)
        return 0

    @upcall
    def listxattr(self, path: str) -> list[str]:
        """Return no names, as procfs does; the kernel refuses the other calls (EOPNOTSUPP)."""
        self._lookup(path)
        return []

    @upcall
    def fsync(self, path: str, datasync: int, fh: int) -> int:
        """Refuse: there is nothing to be written (seen on 6.18)."""
        raise Refused(errno.EINVAL)

    @upcall
    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        """Refuse."""
        raise Refused(errno.EINVAL)

    # Nothing can be made in procfs (ENOENT), and nothing removed (EPERM), but for groups.

    @upcall
    def create(self, path: str, mode: int, fi: Any = None) -> int:
        """Refuse: a name that is not there cannot be made."""
        raise Refused(errno.ENOENT)

    @upcall
    def mknod(self, path: str, mode: int, dev: int) -> int:
        """Refuse."""
        raise Refused(errno.ENOENT)

    @upcall
    def mkdir(self, path: str, mode: int) -> int:
        """Make a group, where groups are."""
        caller = self._caller()
        parent, name = parent_of(self.procfs, path, caller)
        with self._recorder.recorded(lambda: ChangeDirectory(Verb.MAKE, path, frozen(caller))):
            parent.make_directory(name, caller)
        return 0

    @upcall
    def symlink(self, target: str, source: str) -> int:
        """Refuse."""
        raise Refused(errno.ENOENT)

    @upcall
    def link(self, target: str, source: str) -> int:
        """Refuse: the kernel has seen that the new name is not there."""
        raise Refused(errno.ENOENT)

    @upcall
    def rename(self, old: str, new: str) -> int:
        """Refuse: ENOENT for a name that is not there, on either side (seen on 6.1)."""
        self._lookup(old)
        self._lookup(new)
        raise Refused(errno.EPERM)

    @upcall
    def unlink(self, path: str) -> int:
        """Refuse."""
        self._lookup(path)
        raise Refused(errno.EPERM)

    @upcall
    def rmdir(self, path: str) -> int:
        """Remove a group."""
        self._lookup(path)
        caller = self._caller()
        parent, name = parent_of(self.procfs, path, caller)
        with self._recorder.recorded(lambda: ChangeDirectory(Verb.REMOVE, path, frozen(caller))):
            parent.remove_directory(name, caller)
        return 0

    @upcall
    def statfs(self, path: str) -> dict[str, int]:
        """Return an empty file system with names of up to 255 bytes, as procfs does."""
        return {"f_bsize": 4096, "f_frsize": 4096, "f_namemax": 255}

    def destroy(self, path: str) -> None:
        """Clean up when the mount goes."""
        if self.sleepers is not None:
            self.sleepers.close()
        with self.serial:
            if self.waiting is not None:
                self.waiting.close()
            self._recorder.note_now(durable=True)
            self._callers.close()


class _FusepyOperations(Operations):
    """The same for fusepy, which calls the object with the operation's name."""

    def __call__(self, operation: str, *args: Any) -> Any:
        return getattr(self, operation)(*args)


# -- The binding -------------------------------------------------------------------


def load_binding() -> types.ModuleType:
    """Import the binding: the one that FAKEPROC_FUSE names, or mfusepy, or fusepy.

    `MountError` says what to install when there is none, or no libfuse.
    """
    wanted = os.environ.get(BINDING_VARIABLE)
    if wanted is not None and wanted not in _BINDINGS:
        raise MountError(f"{BINDING_VARIABLE}={wanted}: accepted: {', '.join(_BINDINGS)}.")
    # mfusepy takes libfuse 2 first, and it is there for the poll of libfuse 3.
    if find_library("fuse3"):
        os.environ.setdefault("FUSE_LIBRARY_NAME", "fuse3")
    reasons = []
    for name in [wanted] if wanted else _BINDINGS:
        try:
            return import_module(_BINDINGS[name])
        except (ImportError, OSError, AttributeError) as error:
            reasons.append(f"{name}: {error}")
    raise MountError(
        f"libfuse: no binding to it can be loaded ({'; '.join(reasons)}); "
        "install libfuse2 (apt-get install libfuse2), or fakeproc[fuse3] and libfuse3."
    )


def serve(
    procfs: Procfs,
    mountpoint: Path,
    options: MountOptions | None = None,
    *,
    journal: Journal | None = None,
    on_ready: Callable[[], None] = lambda: None,
    attach: Callable[[Operations, Callers], object] = lambda operations, callers: None,
) -> None:
    """Mount and answer upcalls until the mount is gone; `on_ready` is called when it is up.

    `attach` is handed what serves the mount before it is made.

    A machine from a journal goes on as that says; its inputs are recorded there.
    """
    keep_compact()
    options = options or MountOptions()
    procfs.hidepid = options.hidepid
    if journal is None:
        procfs.set_clock(options.clock_speed, manual=options.manual_clock)
    binding = load_binding()
    is_mfusepy = binding.__name__ == "mfusepy"
    recorder = Recorder(procfs, journal)
    callers = Callers(procfs, recorder, real_capabilities=options.real_capabilities)
    if journal is not None:
        try:
            callers.resume(journal.last_change_s)
        except Refused as refused:
            raise MountError(refused.why) from None
    kind = Operations if is_mfusepy else _FusepyOperations
    was_up = threading.Event()

    def tell_ready() -> None:
        was_up.set()
        with contextlib.suppress(OSError):
            os.write(2, overheard.end())
        on_ready()

    operations = kind(
        procfs,
        callers,
        recorder,
        binding.fuse_get_context,
        tell_ready,
        only_root_mapped=options.only_root_mapped,
    )
    attach(operations, callers)
    libfuse2 = not is_mfusepy or binding.fuse_version_major == 2
    operations.sleepers = Sleepers(binding._libfuse)
    operations.dentries = Dentries(
        mountpoint, lambda: _PATHS + _PATHS_PER_PROCESS * len(procfs.machine.processes)
    )
    if not libfuse2:
        operations.enable_poll(binding._libfuse)
    # libfuse 2 needs telling what libfuse 3 always does: to mount over the placeholder
    # in the folder, and to pass long writes whole.
    only_in_libfuse2 = {"nonempty": True, "big_writes": True} if libfuse2 else {}
    overheard = _Overheard()
    try:
        mount_with(
            binding,
            operations,
            # Both bindings encode it as they do the files' names.
            os.fsencode(mountpoint).decode(ENCODING),
            direct_io=True,
            use_ino=True,
            attr_timeout=0,
            entry_timeout=_ENTRY_TIMEOUT_S,
            negative_timeout=0,
            allow_other=options.allow_other,
            fsname="fakeproc",
            subtype="fakeproc",
            **only_in_libfuse2,
        )
    except RuntimeError as error:
        # mfusepy raises as well when a signal has ended the loop.
        if not was_up.is_set():
            raise MountError(_why_not_mounted(mountpoint, overheard.end())) from error
    finally:
        overheard.end()


class _Overheard:
    """What libfuse and fusermount write to stderr, until the end."""

    def __init__(self) -> None:
        self._stderr = os.dup(2)
        self._words: int | None = os.memfd_create("stderr")
        os.dup2(self._words, 2)

    def end(self) -> bytes:
        """Return what has been written; from now on it goes to where it did before."""
        if self._words is None:
            return b""
        os.dup2(self._stderr, 2)
        words = os.pread(self._words, os.fstat(self._words).st_size, 0)
        os.close(self._stderr)
        os.close(self._words)
        self._words = None
        return words


def _why_not_mounted(mountpoint: Path, said: bytes) -> str:
    words = [line.strip().rstrip(".") for line in os.fsdecode(said).splitlines()]
    if os.getuid() != 0 and not any(map(shutil.which, _FUSERMOUNTS)):
        words.append("install fuse3, whose fusermount3 mounts for ordinary users")
    why = "; ".join(filter(None, words)) or "libfuse does not say why"
    return f"{mountpoint}: cannot be mounted: {why}."


def require_fuse() -> None:
    """Raise `MountError` unless this user can open the FUSE device."""
    if not _DEVICE.exists():
        raise MountError(
            f"{_DEVICE}: is not there; load the module with `modprobe fuse`, as root, or start "
            "the container with `--device /dev/fuse`."
        )
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        raise MountError(
            f"{_DEVICE}: cannot be opened by uid {os.getuid()}; `chmod 666 {_DEVICE}` as root lets "
            "everybody use FUSE, as most distributions do."
        )


def serve_alone(
    procfs: Procfs,
    mountpoint: Path,
    options: MountOptions | None = None,
    *,
    journal: Journal | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve as the only server at a mount point, which is what it has been checked to be.

    `MountError` when another one was first, or the folder has been exchanged meanwhile.

    Preconditions: the mount point is as `resolve` returns it.
    """
    require_fuse()
    is_elsewhere = False

    def tell_ready() -> None:
        nonlocal is_elsewhere
        claim.close()
        # libfuse is given a path, and follows what links have been put there since.
        is_elsewhere = mountpoint not in find_mounts()
        if is_elsewhere:
            os.kill(os.getpid(), signal.SIGTERM)  # libfuse unmounts
            return
        on_ready()

    with contextlib.ExitStack() as claim:
        claim.enter_context(_claimed(mountpoint))
        serve(procfs, mountpoint, options, journal=journal, on_ready=tell_ready)
    if is_elsewhere:
        raise MountError(
            f"{mountpoint}: was exchanged for a link while it was being mounted; nothing is "
            "mounted, choose a folder that only you may move."
        )


@contextlib.contextmanager
def _claimed(mountpoint: Path) -> Iterator[None]:
    """Keep other servers from mounting there, for the length of the block."""
    require_free(mountpoint)
    try:
        folder = os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise MountError(f"{mountpoint}: cannot be opened: {error.strerror}.") from None
    try:
        # Where a file system knows no locks, who is first is not looked at.
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(folder)
        raise MountError(f"{mountpoint}: another server is just being mounted there.") from None
    except OSError:
        pass
    try:
        # It may have been finished between the check and the lock.
        require_free(mountpoint)
        yield
    finally:
        os.close(folder)


# -- Mounts there are --------------------------------------------------------------


def find_mounts() -> list[Path]:
    """Return the mount points of fakeproc, dead ones included, without touching them."""
    return [Path(p.mountpoint) for p in psutil.disk_partitions(all=True) if p.fstype == FSTYPE]


def is_mounted(mountpoint: Path) -> bool:
    """Say whether there is a fakeproc mount, dead or alive; no file of it is touched."""
    return resolve(mountpoint) in find_mounts()


def answers(mountpoint: Path) -> bool:
    """Say whether the mount is alive."""
    try:
        return (mountpoint / "fakeproc" / "stats").exists()
    except OSError:
        return False


def resolve(mountpoint: Path) -> Path:
    """Return the absolute path without links; the last part, which may be dead, is not asked.

    `MountError` where the links on the way lead in a circle, say.
    """
    try:
        path = mountpoint.absolute()
        return path.resolve() if path.name == ".." else path.parent.resolve() / path.name
    except (OSError, RuntimeError) as error:
        # Until Python 3.12 a circle is a RuntimeError.
        why = error.strerror if isinstance(error, OSError) else os.strerror(errno.ELOOP)
        raise MountError(f"{mountpoint}: cannot be found: {why}.") from None


def require_free(mountpoint: Path) -> None:
    """Raise `MountError` unless something can be mounted there: an existing folder, no mount.

    /proc is not for it: the server looks its callers up there, and would wait for itself.
    Nor is /, which nobody would see, nor a link, which others may turn.
    """
    path = resolve(mountpoint)
    if path == Path("/"):
        raise MountError(f"{mountpoint}: nobody would see what is mounted there; mount below it.")
    if path == HOST_PROC:
        raise MountError(
            f"{mountpoint}: the server needs the host's own there; mount elsewhere, and bind that "
            "to /proc for a tool in a mount namespace of its own (README: Tools)."
        )
    if is_mounted(mountpoint):
        state = "has a mount whose server died" if _is_dead(path) else "is mounted already"
        raise MountError(f"{mountpoint}: {state}; `fakeproc umount {mountpoint}` removes it.")
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = 0
    except OSError as error:
        raise MountError(f"{mountpoint}: cannot be looked at: {error.strerror}.") from None
    if stat.S_ISLNK(mode):
        raise MountError(
            f"{mountpoint}: is a link; name the folder that it leads to: {os.path.realpath(path)}."
        )
    if not stat.S_ISDIR(mode):
        raise MountError(f"{mountpoint}: is no folder; make it first.")


def _is_dead(mountpoint: Path) -> bool:
    """Say whether the server of a mount has died; what others may not enter has not."""
    try:
        os.stat(mountpoint)
    except OSError as error:
        return error.errno == errno.ENOTCONN
    return False


def unmount(mountpoint: Path) -> None:
    """Unmount, also when the server is dead; `MountError` when it is busy or not mounted."""
    path = resolve(mountpoint)
    if not is_mounted(path):
        raise MountError(f"{mountpoint}: no fakeproc is mounted there.")
    owner_uid = _mounted_by(path)
    if os.getuid() not in (0, owner_uid):
        raise MountError(
            f"{mountpoint}: was mounted by uid {owner_uid}; only that user and root may unmount it."
        )
    lazy = _is_dead(path)
    unmount_it = _unmount_as_root if os.getuid() == 0 else _unmount_as_user
    failure = unmount_it(path, lazy=lazy)
    if not failure or not is_mounted(path):
        return
    if "busy" in failure:
        failure = f"it is busy; `fuser -vm {mountpoint}` lists who works in it"
    raise MountError(f"{mountpoint}: cannot be unmounted: {failure}.")


def _mounted_by(path: Path) -> int:
    """Return who has made a mount, as its options say."""
    options = {p.mountpoint: p.opts for p in psutil.disk_partitions(all=True) if p.fstype == FSTYPE}
    words = options.get(os.fspath(path), "").split(",")
    return next((int(w.removeprefix("user_id=")) for w in words if w.startswith("user_id=")), 0)


def _unmount_as_root(path: Path, *, lazy: bool) -> str:
    """Unmount what is at this very path, whatever others move meanwhile; return why it fails."""
    parent = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        folder = f"{HOST_PROC}/self/fd/{parent}"
        if os.readlink(folder) != os.fspath(path.parent):
            return "the folder that it is in has been moved"
        flags = _UMOUNT_NOFOLLOW | (_MNT_DETACH if lazy else 0)
        if _libc.umount2(os.fsencode(f"{folder}/{path.name}"), flags) < 0:
            return os.strerror(ctypes.get_errno())
        return ""
    finally:
        os.close(parent)


def _unmount_as_user(path: Path, *, lazy: bool) -> str:
    """Let fusermount unmount; return why it fails."""
    tool = next(filter(shutil.which, _FUSERMOUNTS), None)
    if tool is None:
        return "fusermount3 is not installed; it comes with the package fuse3"
    command = [tool, "-u", *(["-z"] if lazy else []), os.fspath(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
    return (done.stderr.strip() or f"{tool} fails") if done.returncode else ""


# -- A server of its own -----------------------------------------------------------


def start_server(
    procfs: Procfs,
    mountpoint: Path,
    options: MountOptions | None = None,
    journal: Journal | None = None,
) -> int:
    """Fork a server that mounts; return its pid when the mount answers.

    It daemonises before it mounts, in a session of its own.  `MountError` when the
    mount fails.  The journal is the server's from then on.

    Preconditions: the mount point is as `resolve` returns it.
    """
    ready_read, ready_write = os.pipe()
    with warnings.catch_warnings():
        # Since Python 3.12 fork warns where there are threads; the child uses none of them.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.close(ready_read)
        _run_server(procfs, mountpoint, options, journal, ready_write)
    os.close(ready_write)
    with os.fdopen(ready_read, "rb") as ready:
        outcome = os.fsdecode(ready.read())
    if outcome != "ready":
        os.waitpid(pid, 0)
        raise MountError(outcome or f"{mountpoint}: cannot be mounted: its server has died.")
    if journal is not None:
        journal.close()
    return pid


def _run_server(
    procfs: Procfs,
    mountpoint: Path,
    options: MountOptions | None,
    journal: Journal | None,
    ready: int,
) -> None:
    """Be the server, in the child of a fork; never returns."""
    status = 1

    def tell_ready() -> None:
        os.write(ready, b"ready")
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        os.close(ready)

    try:
        os.setsid()
        os.chdir("/")
        serve_alone(procfs, mountpoint, options, journal=journal, on_ready=tell_ready)
        status = 0
    except MountError as error:
        with contextlib.suppress(OSError):
            os.write(ready, os.fsencode(str(error)))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


@contextlib.contextmanager
def mount(
    machine: Machine, mountpoint: str | os.PathLike[str], options: MountOptions | None = None
) -> Iterator[Path]:
    """Mount a machine in a server of its own, for the length of a with block.

    The server starts from the machine's present state; from then on the files of the
    mount are the way to it.
    """
    path = resolve(Path(mountpoint))
    pid = start_server(Procfs(machine), path, options)
    try:
        yield path
    finally:
        if is_mounted(path):
            unmount(path)
        os.waitpid(pid, 0)
