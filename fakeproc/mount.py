# SPDX-License-Identifier: MIT
"""Mounts a machine's procfs, and serves it, here or in a process of its own."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import threading
import traceback
import types
import warnings
from collections.abc import Callable, Iterator
from ctypes.util import find_library
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from pathlib import Path

from fakeproc.binding import ENCODING, mount_with
from fakeproc.callers import Callers
from fakeproc.dentries import Dentries
from fakeproc.heap import keep_compact
from fakeproc.journal import Journal, Recorder
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.machine import Machine
from fakeproc.mounts import (
    FUSERMOUNTS,
    MountError,
    claimed,
    find_mounts,
    is_mounted,
    resolve,
    unmount,
)
from fakeproc.operations import FusepyOperations, Operations
from fakeproc.procfs import clock
from fakeproc.procfs.session import HidePid
from fakeproc.procfs.tree import Procfs
from fakeproc.sleepers import Sleepers

log = logging.getLogger(__name__)

BINDING_VARIABLE = "FAKEPROC_FUSE"
"""Names the binding to use, fusepy or mfusepy; otherwise mfusepy if it is installed."""

_BINDINGS = {"mfusepy": "mfusepy", "fusepy": "fuse"}
_ENTRY_TIMEOUT_S = 3600

_PATHS = 16_384
_PATHS_PER_PROCESS = 8
"""How many paths the kernel may remember of a mount: what tools look at again and again."""

_DEVICE = Path("/dev/fuse")


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
    kind = Operations if is_mfusepy else FusepyOperations
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
    if os.getuid() != 0 and not any(map(shutil.which, FUSERMOUNTS)):
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
        claim.enter_context(claimed(mountpoint))
        serve(procfs, mountpoint, options, journal=journal, on_ready=tell_ready)
    if is_elsewhere:
        raise MountError(
            f"{mountpoint}: was exchanged for a link while it was being mounted; nothing is "
            "mounted, choose a folder that only you may move."
        )


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
