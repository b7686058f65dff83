# SPDX-License-Identifier: MIT
"""The files through a mount: what the system calls answer, as on real kernels.

Sections are those of the behaviour reference (2.1 presence, 2.2 parsing, 2.5 errno).
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import subprocess
import sys
import threading
from itertools import product
from pathlib import Path

import pytest

from tests.conftest import Mounted
from tests.mount import opened, put, refused

OOM_FILES = {"oom_adj": 0o644, "oom_score_adj": 0o644, "oom_score": 0o444}
APP = 100008
APP_THREADS = [100008, 100009, 100010, 100011]
"""The application of the built-in scenario, and its threads."""


@pytest.fixture
def web(mounted: Mounted) -> Path:
    """Return the folder of a task of uid 33."""
    return mounted / mounted.control("spawn name=web uid=33 rss=10M")


# -- What stat(2) shows ------------------------------------------------------------


def test_stat_of_the_oom_files(web: Path) -> None:
    for folder, name in product((web, web / "task" / web.name), OOM_FILES):
        found = os.stat(folder / name)
        assert stat.S_ISREG(found.st_mode)
        assert stat.S_IMODE(found.st_mode) == OOM_FILES[name]
        assert (found.st_uid, found.st_gid) == (33, 33)
        assert (found.st_size, found.st_nlink, found.st_blksize) == (0, 1, 1024)


def test_files_of_a_task_without_a_dumpable_mm_are_roots(mounted: Mounted) -> None:
    kthread = mounted.control("kthread name=kworker/1:0")
    hidden = mounted.control("spawn name=ping uid=33 dumpable=no")
    zombie = mounted.control("spawn name=dead uid=33")
    mounted.control(f"exit {zombie}")
    for pid in (kthread, hidden, zombie):
        found = os.stat(mounted / pid / "oom_score_adj")
        assert (found.st_uid, found.st_gid) == (0, 0), pid


def test_directories_and_links(mounted: Mounted, web: Path) -> None:
    for folder in (mounted.path, web, web / "task", mounted / "fakeproc", mounted / "sys/vm"):
        assert os.stat(folder).st_mode == stat.S_IFDIR | 0o555
    assert os.lstat(mounted / "self").st_mode == stat.S_IFLNK | 0o777


# -- Names and order ---------------------------------------------------------------


class _Dirent(ctypes.Structure):
    _fields_ = (
        ("d_ino", ctypes.c_uint64),
        ("d_off", ctypes.c_int64),
        ("d_reclen", ctypes.c_ushort),
        ("d_type", ctypes.c_ubyte),
        ("d_name", ctypes.c_char * 256),
    )


def _readdir(folder: Path) -> list[tuple[str, int]]:
    """Return names and d_type as readdir(3) gives them, ``.`` and ``..`` too."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.opendir.restype = ctypes.c_void_p
    libc.readdir.restype = ctypes.POINTER(_Dirent)
    stream = ctypes.c_void_p(libc.opendir(os.fsencode(folder)))
    assert stream, os.strerror(ctypes.get_errno())
    entries = []
    while entry := libc.readdir(stream):
        entries.append((entry.contents.d_name.decode(), entry.contents.d_type))
    libc.closedir(stream)
    return entries


_DT_DIR, _DT_REG, _DT_LNK = 4, 8, 10


def test_root_lists_fixed_names_then_self_then_pids_ascending(mounted: Mounted) -> None:
    low = mounted.control("spawn name=late pid=5000")
    entries = _readdir(mounted.path)
    names = [name for name, _ in entries]
    assert names[:2] == [".", ".."]
    links = names.index("self")
    assert names[links : links + 2] == ["self", "thread-self"]
    assert not any(name.isdecimal() for name in names[:links])
    pids = [int(name) for name in names[links + 2 :]]
    assert pids == sorted(pids)
    assert pids[:3] == [1, 2, int(low)]


def test_readdir_tells_the_types(mounted: Mounted, web: Path) -> None:
    root = dict(_readdir(mounted.path))
    assert root["meminfo"] == _DT_REG
    assert root["self"] == root["thread-self"] == _DT_LNK
    assert root[web.name] == root["sys"] == root["."] == root[".."] == _DT_DIR
    task = dict(_readdir(web))
    assert [task[name] for name in OOM_FILES] == [_DT_REG] * 3
    assert task["task"] == _DT_DIR
    assert _readdir(web / "task")[2:] == [(web.name, _DT_DIR)]


def test_scandir_needs_no_stat(mounted: Mounted) -> None:
    with os.scandir(mounted.path) as found:
        entries = {entry.name: entry for entry in found}
    before = mounted.read("fakeproc/stats")
    assert entries["1"].is_dir(follow_symlinks=False)
    assert entries["meminfo"].is_file(follow_symlinks=False)
    assert entries["self"].is_symlink()
    after = mounted.read("fakeproc/stats")
    spent = int(after.split()[1]) - int(before.split()[1])
    again = int(mounted.read("fakeproc/stats").split()[1]) - int(after.split()[1])
    assert spent == again, "asking the entries for their types reached the server"


def test_every_listed_name_is_there_and_of_its_type(mounted: Mounted) -> None:
    folders = [str(mounted.path)]
    while folders:
        for entry in os.scandir(folders.pop()):
            found = os.lstat(entry.path)
            listed = (entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False))
            assert listed == (stat.S_ISDIR(found.st_mode), stat.S_ISREG(found.st_mode)), entry.path
            assert entry.is_symlink() == stat.S_ISLNK(found.st_mode)
            assert entry.inode() == found.st_ino
            if stat.S_ISDIR(found.st_mode):
                folders.append(entry.path)


def test_threads_are_reachable_by_tid_but_not_listed(mounted: Mounted) -> None:
    listed = os.listdir(mounted.path)
    assert str(APP) in listed
    for tid in APP_THREADS[1:]:
        assert str(tid) not in listed
        assert (mounted / tid / "status").read_text().split("Tgid:\t")[1].startswith(f"{APP}\n")
    assert [int(tid) for tid in os.listdir(mounted / APP / "task")] == APP_THREADS


def test_threads_act_on_the_whole_process(mounted: Mounted) -> None:
    by_task = mounted / f"{APP}/task/{APP_THREADS[1]}/oom_score_adj"
    by_tid = mounted / APP_THREADS[2] / "oom_score_adj"
    put(by_task, b"250")
    assert mounted.read(f"{APP}/oom_score_adj") == by_tid.read_text() == "250\n"
    put(by_tid, b"260")
    assert mounted.read(f"{APP}/oom_score_adj") == by_task.read_text() == "260\n"


def test_task_directory_has_no_foreign_threads(mounted: Mounted, web: Path) -> None:
    for path in (web / "task" / str(APP), mounted / f"{APP}/task/{web.name}"):
        with refused(errno.ENOENT):
            os.stat(path)


ODD_NAMES = (
    b"\xff",
    b"\xc2\xa0",
    b"a\nb",
    b" 1",
    b"1 ",
    b"+1",
    b"-1",
    b"01",
    b"0",
    b"0x1",
    "\N{FULLWIDTH DIGIT ONE}".encode(),
    b"99999999999999999999",
    b"1" * 200,
    b"x" * 255,
)


def test_odd_names_are_not_there(mounted: Mounted, web: Path) -> None:
    folders = (mounted.path, web, web / "task", mounted / "sys", mounted / "fakeproc")
    for folder, name in product(folders, ODD_NAMES):
        with refused(errno.ENOENT):
            os.stat(os.fsencode(folder) + b"/" + name)


def test_files_are_no_directories_and_directories_no_files(web: Path) -> None:
    with refused(errno.ENOTDIR):
        os.stat(web / "oom_adj" / "x")
    with refused(errno.EISDIR):
        put(web / "task", b"5")
    with refused(errno.EINVAL):
        os.readlink(web / "oom_adj")


# -- self and thread-self ----------------------------------------------------------


def test_self_is_who_looks(mounted: Mounted) -> None:
    pid = os.getpid()
    assert os.readlink(mounted / "self") == str(pid)
    assert os.readlink(mounted / "thread-self") == f"{pid}/task/{pid}"
    assert mounted.read("self/oom_score_adj") == "0\n"
    assert mounted.read("self/stat").startswith(f"{pid} (")


def test_self_of_a_second_thread_is_the_process(mounted: Mounted) -> None:
    seen: list[str] = []

    def look() -> None:
        seen.append(str(threading.get_native_id()))
        seen.extend(os.readlink(mounted / name) for name in ("self", "thread-self"))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    tid, own, own_thread = seen
    assert own == str(os.getpid())
    assert own_thread == f"{own}/task/{tid}"
    assert tid != own


# -- Reading -----------------------------------------------------------------------


def test_bytes_one_at_a_time_make_the_file(web: Path) -> None:
    with opened(web / "status") as fd:
        whole = os.read(fd, 65536)
        pieces = [os.pread(fd, 1, offset) for offset in range(len(whole) + 1)]
    assert b"".join(pieces) == whole
    assert whole.startswith(b"Name:\tweb\n")
    assert pieces[-1] == b""


def test_one_pass_is_consistent_and_a_rewind_sees_the_present(mounted: Mounted, web: Path) -> None:
    with opened(web / "comm") as fd:
        assert os.read(fd, 2) == b"we"
        mounted.control(f"set {web.name} name=database")
        assert os.read(fd, 10) == b"b\n"
        assert os.read(fd, 10) == b""
        os.lseek(fd, 0, os.SEEK_SET)
        assert os.read(fd, 100) == b"database\n"
        mounted.control(f"set {web.name} name=cache")
        assert os.pread(fd, 100, 0) == b"cache\n"


def test_a_kept_meminfo_shows_new_numbers(mounted: Mounted) -> None:
    with opened(mounted / "meminfo") as fd:
        before = os.pread(fd, 65536, 0)
        mounted.control("spawn name=hog rss=1G")
        after = os.pread(fd, 65536, 0)
    free_before, free_after = (
        int(text.split(b"MemFree:")[1].split()[0]) for text in (before, after)
    )
    assert free_before - free_after >= 1024**2


def test_reading_behind_the_end_gives_nothing(web: Path) -> None:
    with opened(web / "oom_score_adj") as fd:
        assert os.pread(fd, 10, 2) == b""
        assert os.pread(fd, 10, 1 << 40) == b""


def test_seeking_where_the_kernel_lets(web: Path) -> None:
    for name in ("oom_adj", "oom_score_adj", "cmdline"):
        with opened(web / name) as fd:
            assert os.lseek(fd, 0, os.SEEK_END) == 0
            assert os.lseek(fd, 3, os.SEEK_SET) == 3
            assert os.lseek(fd, 2, os.SEEK_CUR) == 5
            with refused(errno.EINVAL):
                os.lseek(fd, -1, os.SEEK_SET)


def test_seq_files_cannot_seek_from_their_end(web: Path) -> None:
    for name in ("oom_score", "comm", "stat", "statm", "status", "cgroup"):
        with opened(web / name) as fd:
            with refused(errno.EINVAL):
                os.lseek(fd, 0, os.SEEK_END)
            assert os.lseek(fd, 1, os.SEEK_SET) == 1
            whole = os.pread(fd, 65536, 0)
            assert os.read(fd, 65536) == whole[1:]


def test_seek_end_still_fails_after_a_truncate_on_the_same_descriptor(web: Path) -> None:
    with opened(web / "comm", os.O_RDWR) as fd:
        os.ftruncate(fd, 0)
        with refused(errno.EINVAL):
            os.lseek(fd, 0, os.SEEK_END)


def test_several_processes_read_at_once(mounted: Mounted, web: Path) -> None:
    script = (
        "import sys\n"
        "for _ in range(100):\n"
        "    with open('status') as status, open('comm') as comm, open('oom_score_adj') as adj:\n"
        "        found = status.readline(), comm.read(), adj.read()\n"
        "        assert found == ('Name:\\tweb\\n', 'web\\n', '0\\n'), found\n"
    )
    readers = [
        subprocess.Popen([sys.executable, "-c", script], cwd=web, stderr=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    for reader in readers:
        _, errors = reader.communicate(timeout=60)
        assert reader.returncode == 0, errors


# -- Writing -----------------------------------------------------------------------


GOOD_WRITES = (
    (b"5", 1, 5),
    (b" 5\n", 3, 5),
    (b"-5", 2, -5),
    (b"0x10", 4, 16),
    (b"010", 3, 8),
    (b"5\0garbage", 9, 5),
    (b"5\xa0", 2, 5),
    (b"1000         xyz", 12, 1000),
    (b"0000000000017", 12, 1),
    (b"9" + b" " * 4095, 12, 9),
)
"""What is written, what write(2) returns, and the value then."""


def test_write_returns_what_it_took(web: Path) -> None:
    for data, taken, value in GOOD_WRITES:
        assert put(web / "oom_score_adj", data) == taken, data
        assert (web / "oom_score_adj").read_text() == f"{value}\n", data


BAD_WRITES = (
    (b"\n", errno.EINVAL),
    (b"x", errno.EINVAL),
    (b"08", errno.EINVAL),
    (b"\0005", errno.EINVAL),
    (b"\xc2\xa05", errno.EINVAL),
    (b" " * 12 + b"5", errno.EINVAL),
    (b"1001", errno.EINVAL),
    (b"2147483648", errno.ERANGE),
    (b"1234567890123", errno.ERANGE),
)


def test_bad_write_changes_nothing(web: Path) -> None:
    put(web / "oom_score_adj", b"77")
    for data, error in BAD_WRITES:
        with refused(error):
            put(web / "oom_score_adj", data)
        assert (web / "oom_score_adj").read_text() == "77\n", data


def test_oom_adj_has_its_own_scale(web: Path) -> None:
    for legacy, stored, read_back in ((-17, -1000, -17), (-16, -941, -15), (1, 58, 0)):
        put(web / "oom_adj", b"%d" % legacy)
        assert (web / "oom_score_adj").read_text() == f"{stored}\n"
        assert (web / "oom_adj").read_text() == f"{read_back}\n"
    for outside in (b"-18", b"16"):
        with refused(errno.EINVAL):
            put(web / "oom_adj", outside)


def test_offset_and_append_make_no_difference(web: Path) -> None:
    with opened(web / "oom_score_adj", os.O_RDWR) as fd:
        assert os.pwrite(fd, b"6", 1 << 30) == 1
        assert os.pread(fd, 10, 0) == b"6\n"
        assert os.write(fd, b"10") == 2
        assert os.write(fd, b"20\n") == 3
        assert os.pread(fd, 10, 0) == b"20\n"
    with opened(web / "oom_score_adj", os.O_WRONLY | os.O_APPEND) as fd:
        assert os.write(fd, b"7") == 1
    assert (web / "oom_score_adj").read_text() == "7\n"


def test_truncating_is_harmless(web: Path) -> None:
    put(web / "oom_score_adj", b"33")
    with opened(web / "oom_score_adj", os.O_WRONLY | os.O_TRUNC | os.O_CREAT) as fd:
        os.ftruncate(fd, 100)
    os.truncate(web / "oom_score_adj", 0)
    os.truncate(web / "oom_score_adj", 5)
    assert (web / "oom_score_adj").read_text() == "33\n"
    assert os.stat(web / "oom_score_adj").st_size == 0


def test_writing_to_what_takes_no_writes(mounted: Mounted, web: Path) -> None:
    with refused(errno.EINVAL):
        put(web / "oom_score", b"5")
    with refused(errno.EIO):
        put(mounted / "meminfo", b"5")
    with refused(errno.EACCES):
        os.open(mounted / "sys/kernel/osrelease", os.O_WRONLY)


def test_open_flags(web: Path) -> None:
    with refused(errno.EEXIST):
        os.open(web / "oom_score_adj", os.O_RDWR | os.O_CREAT | os.O_EXCL)
    with refused(errno.EINVAL):
        os.open(web / "oom_score_adj", os.O_RDONLY | os.O_DIRECT)
    with refused(errno.ENOTDIR):
        os.open(web / "oom_score_adj", os.O_RDONLY | os.O_DIRECTORY)


def test_nothing_can_be_made_or_removed(web: Path, tmp_path: Path) -> None:
    for new in (web / "new", web.parent / "new", web.parent / "fakeproc/new"):
        with refused(errno.ENOENT):
            os.open(new, os.O_WRONLY | os.O_CREAT)
        with refused(errno.ENOENT):
            os.mkdir(new)
        with refused(errno.ENOENT):
            os.symlink("x", new)
    with refused(errno.EXDEV):
        os.link(web / "oom_score_adj", tmp_path / "link")
    with refused(errno.EPERM):
        os.unlink(web / "oom_score_adj")
    with refused(errno.EPERM):
        os.rmdir(web / "task")
    with refused(errno.EPERM):
        os.rename(web / "oom_score_adj", web / "oom_adj")
    assert (web / "oom_score_adj").read_text() == "0\n"


def test_mode_owner_and_times_cannot_be_changed(web: Path) -> None:
    before = os.stat(web / "oom_score_adj")
    with refused(errno.EPERM):
        os.chmod(web / "oom_score_adj", 0o777)
    os.chown(web / "oom_score_adj", 5, 5)
    os.utime(web / "oom_score_adj", (0, 0))
    after = os.stat(web / "oom_score_adj")
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, 33, 33)
    assert after.st_mtime >= before.st_mtime


def test_access_of_root(mounted: Mounted, web: Path) -> None:
    for path in (web / "oom_score_adj", web / "oom_score", mounted / "sys/vm/panic_on_oom"):
        assert os.access(path, os.F_OK)
        assert os.access(path, os.R_OK | os.W_OK)
    assert os.access(web, os.R_OK | os.X_OK)
    assert not os.access(mounted / "sys/kernel/osrelease", os.W_OK)
    assert not os.access(web / "none", os.F_OK)


# -- Tasks that are gone -----------------------------------------------------------


def test_zombie_keeps_its_files(mounted: Mounted, web: Path) -> None:
    put(web / "oom_score_adj", b"123")
    mounted.control(f"exit {web.name}")
    assert (web / "oom_score_adj").read_text() == "123\n"
    assert (web / "oom_score").read_text() == "0\n"
    assert put(web / "oom_adj", b"3") == 1
    assert (web / "oom_score_adj").read_text() == "176\n"


def test_kept_descriptor_of_a_reaped_task(mounted: Mounted, web: Path) -> None:
    with opened(web / "oom_score_adj", os.O_RDWR) as fd, opened(web / "oom_score") as score:
        assert os.pread(fd, 10, 0) == b"0\n"
        mounted.control(f"exit {web.name}")
        mounted.control(f"reap {web.name}")
        for kept in (fd, score):
            with refused(errno.ESRCH):
                os.pread(kept, 10, 0)
        with refused(errno.ESRCH):
            os.write(fd, b"5")
        for malformed in (b"x", b"5000"):
            with refused(errno.EINVAL):
                os.write(fd, malformed)
    for path in (web, web / "oom_score_adj", web / "task" / web.name):
        with refused(errno.ENOENT):
            os.stat(path)
    with refused(errno.ENOENT):
        os.open(web / "oom_score_adj", os.O_RDONLY)


@pytest.mark.parametrize("name", ["environ", "mem", "pagemap"])
def test_kept_descriptor_that_holds_the_address_space(
    mounted: Mounted, web: Path, name: str
) -> None:
    """It reads as empty once that has no task any more (seen on 6.18)."""
    with opened(web / name) as fd:
        mounted.control(f"exit {web.name}")
        assert os.pread(fd, 8, 0) == b""
        mounted.control(f"reap {web.name}")
        assert os.pread(fd, 8, 0) == b""


def test_pid_that_is_given_out_again_is_another_task(mounted: Mounted, web: Path) -> None:
    with opened(web / "comm") as fd:
        mounted.control(f"exit {web.name}")
        mounted.control(f"reap {web.name}")
        mounted.control(f"spawn name=next pid={web.name}")
        with refused(errno.ESRCH):
            os.read(fd, 10)
    assert (web / "comm").read_text() == "next\n"


# -- sys/ --------------------------------------------------------------------------


SYSCTLS = (
    ("panic_on_oom", b"2\n", b"3"),
    ("panic_on_oom", b"0", b"-1"),
    ("overcommit_memory", b"1", b"x"),
    ("oom_kill_allocating_task", b"-5", b"1x"),
    ("oom_dump_tasks", b"7", b"5000000000"),
)
"""A sysctl of vm/, what it takes, and what it refuses."""


def test_sysctls(mounted: Mounted) -> None:
    for name, good, bad in SYSCTLS:
        path = mounted / "sys/vm" / name
        assert put(path, good) == len(good)
        assert path.read_bytes() == good.strip() + b"\n"
        with refused(errno.EINVAL):
            put(path, bad)
        assert path.read_bytes() == good.strip() + b"\n"


def test_one_form_of_the_commit_limit_clears_the_other(mounted: Mounted) -> None:
    ratio, kbytes = mounted / "sys/vm/overcommit_ratio", mounted / "sys/vm/overcommit_kbytes"
    assert (ratio.read_text(), kbytes.read_text()) == ("50\n", "0\n")
    put(kbytes, b"1000")
    assert (ratio.read_text(), kbytes.read_text()) == ("0\n", "1000\n")
    put(ratio, b"80")
    assert (ratio.read_text(), kbytes.read_text()) == ("80\n", "0\n")


# -- What cannot be -----------------------------------------------------------------


def test_nobody_executes_a_file_without_an_x_bit(mounted: Mounted) -> None:
    """CAP_DAC_OVERRIDE takes at least one (seen on 6.18)."""
    assert not os.access(mounted / "1" / "oom_adj", os.X_OK)
    assert os.access(mounted / "1", os.X_OK)


def test_renaming_and_linking_to_an_unknown_name(mounted: Mounted) -> None:
    """ENOENT for both on 6.18; a name that is there is EPERM for rename."""
    known, unknown = mounted / "1/oom_adj", mounted / "1/unknown"
    with refused(errno.ENOENT):
        os.rename(known, unknown)
    with refused(errno.ENOENT):
        os.rename(unknown, known)
    with refused(errno.ENOENT):
        os.link(known, unknown)
    with refused(errno.EPERM):
        os.rename(known, mounted / "1/oom_score_adj")
