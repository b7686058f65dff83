# SPDX-License-Identifier: MIT
"""The adapter between FUSE and procfs: upcalls become lookups, reads and writes.

Nothing else in the project knows FUSE, but for `fakeproc.mount`, which mounts, `fakeproc.binding`,
`fakeproc.poll` and `fakeproc.sleepers`.  Upcalls are serial.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import stat
import threading
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar, TypeVarTuple

from fakeproc.callers import Callers
from fakeproc.dentries import Dentries
from fakeproc.journal import Recorder
from fakeproc.kernel.errors import Refused
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
from fakeproc.procfs.tree import Procfs
from fakeproc.sleepers import Sleepers

log = logging.getLogger(__name__)

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


class Stat(NamedTuple):
    """What stat(2) shows of a node.  (A dataclass that is frozen takes longer to make.)"""

    inode: int
    attributes: Attributes
    time_ns: int
    """All of its times, since 1970."""


@functools.lru_cache(maxsize=8192)
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


class FusepyOperations(Operations):
    """The same for fusepy, which calls the object with the operation's name."""

    def __call__(self, operation: str, *args: Any) -> Any:
        """Do the operation."""
        return getattr(self, operation)(*args)
