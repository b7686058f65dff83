# SPDX-License-Identifier: MIT
"""The journal as a file: torn, damaged, foreign, locked, unwritable; and `fakeproc replay`."""

from __future__ import annotations

import errno
import os
import re
import stat
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import pytest

from fakeproc.cli import main
from fakeproc.journal import Contents, Header, Journal, Recorder, read, read_file, seal
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.profile import KernelConfig
from fakeproc.procfs.clock import REAL_SPEED
from fakeproc.procfs.inputs import Input, Nothing, Write, frozen
from fakeproc.procfs.tree import Procfs
from fakeproc.scenario.load import load_text, read_scenario
from tests.state import dump

SCENARIO = 'version = 1\n\n[[process]]\nname = "web"\npid = 100000\n'
KERNEL = KernelConfig("4.7").with_patch(3, on=True)
HEADER = Header("small", SCENARIO, KERNEL, Fraction("2.5"), manual_clock=True)
ACCEPTED = "accepted is a file of your own that nobody else may write to, or a new one"
VALUES = (b"5", b"-7", b"100", b"1000")


def written(procfs: Procfs, data: bytes, path: str = "/100000/oom_score_adj") -> Input:
    return Write(path, data, frozen(procfs.machine.root), may_become=True)


def take(recorder: Recorder, procfs: Procfs, change: Input) -> None:
    with recorder.recorded(lambda: change):
        change.apply(procfs)


def begin(path: Path) -> tuple[Journal, Procfs, Recorder]:
    journal = Journal(path)
    procfs = journal.begin(HEADER)
    return journal, procfs, Recorder(procfs, journal)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Name a journal."""
    return tmp_path / "journal"


@pytest.fixture
def data(file: Path) -> bytes:
    """Return the bytes of a journal of a few lines, which is there."""
    journal, procfs, recorder = begin(file)
    for value in VALUES:
        procfs.machine.advance(1_000_000)
        take(recorder, procfs, written(procfs, value))
    journal.close()
    return file.read_bytes()


def test_the_machine_is_there_again(file: Path) -> None:
    journal, procfs, recorder = begin(file)
    take(recorder, procfs, written(procfs, b"55"))
    take(recorder, procfs, written(procfs, b"kernel 6.1\nno-patch 3", "/fakeproc/kernel"))
    journal.close()
    again = Journal(file).carry_on()
    assert dump(again) == dump(procfs)
    assert (again.manual_clock, again.clock_speed) == (True, Fraction("2.5"))
    assert again.machine.hardware.boot_time_s == procfs.machine.hardware.boot_time_s
    assert read_file(file).header is not None


def test_the_builtin_scenario_can_be_begun(file: Path) -> None:
    header = Header(*read_scenario(None), None, REAL_SPEED, manual_clock=False)
    journal = Journal(file)
    procfs = journal.begin(header)
    journal.close()
    assert dump(read_file(file).replayed()) == dump(procfs)


# -- A line that was cut short -----------------------------------------------------


def test_a_journal_may_end_at_any_byte(data: bytes) -> None:
    whole = read("j", data)
    ends = [match.end() for match in re.finditer(b"\n", data)]
    for length in range(len(data) + 1):
        lines = sum(end <= length for end in ends)
        contents = read("j", data[:length])
        assert contents.length == ([0, *ends])[lines]
        assert contents.torn_bytes == length - contents.length
        assert contents.entries == whole.entries[: max(lines - 1, 0)]
        assert (contents.header is None) == (lines == 0)


@pytest.mark.parametrize("rest", [b"\0" * 40, b'{"t":1\n', b"\xff\xfe\n", b"[" * 9999 + b"\n"])
def test_what_is_torn_is_cut_off_and_the_journal_goes_on(
    file: Path, data: bytes, rest: bytes
) -> None:
    file.write_bytes(data + rest)
    journal = Journal(file)
    procfs = journal.carry_on()
    assert (journal.contents.torn_bytes, file.read_bytes()) == (len(rest), data)
    take(Recorder(procfs, journal), procfs, written(procfs, b"9"))
    journal.close()
    assert dump(read_file(file).replayed()) == dump(procfs)


def test_a_header_that_was_cut_short_is_no_beginning(file: Path, data: bytes) -> None:
    file.write_bytes(data[:50])
    _, procfs, _ = begin(file)
    assert dump(read_file(file).replayed()) == dump(procfs)


# -- Damage ------------------------------------------------------------------------


def line_refused(data: bytes) -> int:
    """Return the line that the refusal of a journal names."""
    with pytest.raises(Refused) as refused:
        read("j", data)
    match = re.match(r"j: line (\d+): is damaged: |j: is no journal", refused.value.why)
    assert match, refused.value.why
    return int(match[1] or 1)


def test_any_changed_byte_is_found_and_its_line_named(data: bytes) -> None:
    last = data.rindex(b"\n", 0, -1) + 1
    for place in range(last):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        assert line_refused(bytes(changed)) == data.count(b"\n", 0, place) + 1, place


def test_a_change_in_the_last_line_never_counts(data: bytes) -> None:
    whole = read("j", data)
    last = data.rindex(b"\n", 0, -1) + 1
    for place in range(last, len(data)):
        changed = bytearray(data)
        changed[place] ^= 1
        # Without its end it is taken for one that was cut short.
        if place < data.rindex(b',"crc"'):
            assert line_refused(bytes(changed)) == len(VALUES) + 1
            continue
        with suppress(Refused):
            assert read("j", bytes(changed)).entries == whole.entries[:-1]


@pytest.mark.parametrize(
    ("order", "line"), [((0, 2, 3, 4), 2), ((0, 1, 3, 2, 4), 3), ((0, 1, 1, 2), 3), ((1, 2), 1)]
)
def test_lines_must_be_as_they_were(data: bytes, order: tuple[int, ...], line: int) -> None:
    lines = data.splitlines(keepends=True)
    assert line_refused(b"".join(lines[place] for place in order)) == line


def test_a_later_version_is_refused() -> None:
    line, _ = seal({**HEADER.to_json(), "version": 2}, 0)
    with pytest.raises(Refused) as refused:
        read("j", line)
    assert refused.value.why == "j: line 1: is damaged: version 2: accepted is 1."


def test_time_that_goes_back_is_damage(file: Path) -> None:
    journal, procfs, _ = begin(file)
    for time_ns in (5, 4):
        journal.append({"t": time_ns}, durable=False)
    with pytest.raises(Refused) as refused:
        read_file(file).replayed()
    assert refused.value.why == f"{file}: line 3: is damaged: t: 4 is over, it is 5."


def test_a_damaged_journal_is_left_alone_and_nothing_is_mounted(
    file: Path, data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = data.replace(b'"-7"', b'"-8"')
    file.write_bytes(damaged)
    for command in (["mount", "--journal", str(file), str(tmp_path)], ["replay", str(file)]):
        assert main(command) == 1
        assert capsys.readouterr().err == (
            f"fakeproc: {file}: line 3: is damaged: it is not what was written, or lines before "
            "it are missing.\n"
        )
    assert not tmp_path.is_mount()
    assert file.read_bytes() == damaged


# -- Whose file it is --------------------------------------------------------------


def refusal(path: Path) -> Refused:
    with pytest.raises(Refused) as refused:
        Journal(path)
    return refused.value


def test_it_is_for_nobody_else(file: Path) -> None:
    begin(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_link_is_not_followed(file: Path, tmp_path: Path) -> None:
    file.symlink_to(tmp_path / "other")
    assert refusal(file).why == f"{file}: is a link; {ACCEPTED}."
    assert not (tmp_path / "other").exists()


def test_only_a_file_is_taken(file: Path, tmp_path: Path) -> None:
    os.mkfifo(file)
    for path in (file, tmp_path):
        assert str(path) in refusal(path).why


def test_another_users_file_is_not_taken(file: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("giving a file to another user takes root")
    file.touch()
    os.chown(file, 65534, 65534)
    assert refusal(file).why == f"{file}: belongs to uid 65534; {ACCEPTED}."


@pytest.mark.parametrize("text", [b"my notes", b"my notes\n", b'{"fakeproc":"other"}\n', b"\0"])
def test_what_is_no_journal_is_left_alone(file: Path, text: bytes) -> None:
    file.write_bytes(text)
    assert refusal(file).why == f"{file}: is no journal of fakeproc."
    assert file.read_bytes() == text


def test_one_server_writes_to_it(file: Path) -> None:
    journal, _, _ = begin(file)
    with pytest.raises(Refused) as refused:
        Journal(file)
    assert refused.value.why == f"{file}: another mount writes to it."
    journal.close()
    Journal(file)


# -- A disk that does not take it --------------------------------------------------


def test_an_input_that_is_not_on_the_disk_does_not_happen(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, procfs, recorder = begin(file)
    take(recorder, procfs, written(procfs, b"5"))
    before = dump(procfs), file.read_bytes()

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(Refused) as refused:
            take(recorder, procfs, written(procfs, b"6"))
    assert refused.value.error == errno.EIO
    assert procfs.answer == (
        "EIO: journal: cannot be written to: Input/output error; until it can nothing changes.\n"
    )
    assert (dump(procfs), file.read_bytes()) == before
    take(recorder, procfs, written(procfs, b"7"))
    assert dump(read_file(file).replayed()) == dump(procfs)


def test_a_short_write_leaves_no_half_line(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, procfs, recorder = begin(file)
    write = os.pwrite

    def stop_short(fd: int, data: bytes, offset: int) -> int:
        if len(data) < 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data[:-10], offset)

    before = file.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", stop_short)
        with pytest.raises(Refused):
            take(recorder, procfs, written(procfs, b"6"))
    assert file.read_bytes() == before


def test_a_refused_input_leaves_no_line(file: Path) -> None:
    _, procfs, recorder = begin(file)
    before = file.read_bytes()
    for change in (written(procfs, b"1001"), written(procfs, b"5", "/7/oom_adj")):
        with pytest.raises(Refused):
            take(recorder, procfs, change)
    assert file.read_bytes() == before
    take(recorder, procfs, written(procfs, b"7"))
    assert dump(read_file(file).replayed()) == dump(procfs)


def test_the_time_is_noted_once_in_a_second(file: Path) -> None:
    _, procfs, recorder = begin(file)
    for host_ns in range(2_000_000_000, 4_000_000_000, 100_000_000):
        procfs.machine.advance(100_000_000)
        recorder.note_time(host_ns)
    entries = read_file(file).entries
    assert [entry.time_ns for entry in entries] == [100_000_000, 1_100_000_000]
    assert {type(entry.input) for entry in entries} == {Nothing}


# -- fakeproc mount, fakeproc replay -----------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--scenario", "{scenario}"], "--scenario"),
        (["--kernel", "4.8"], "--kernel or --patch"),
        (["--patch", "3"], "--kernel or --patch"),
        (["--clock", "real"], "--clock"),
        (["--speed", "2"], "--speed"),
    ],
)
def test_another_machine_does_not_carry_on(
    options: list[str],
    words: str,
    file: Path,
    data: bytes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scenario = tmp_path / "other.toml"
    scenario.write_text(SCENARIO + "\n")
    options = [option.format(scenario=scenario) for option in options]
    assert main(["mount", "--journal", str(file), *options, str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"fakeproc: {file}: was begun with another {words}; leave that out to carry on, or name "
        "a new file.\n"
    )
    assert not tmp_path.is_mount()
    assert file.read_bytes() == data


@pytest.mark.parametrize(
    ("until", "value"),
    [("0", "0"), ("1", "5"), ("3", "100"), ("99", "1000"), ("2ms", "-7"), ("2.5ms", "-7")],
)
def test_replay_stops_where_it_is_told(
    until: str, value: str, file: Path, data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", "--until", until, "--ps", str(file)]) == 0
    row = capsys.readouterr().out.splitlines()[-1].split()
    assert (row[0], row[7], row[-1]) == ("100000", value, "web")


def test_replay_prints_the_log(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal, procfs, recorder = begin(file)
    take(recorder, procfs, written(procfs, b"1", "/fakeproc/oom_trigger"))
    for options in ([], ["--log"]):
        assert main(["replay", *options, str(file)]) == 0
        assert capsys.readouterr().out == procfs.machine.log.render() != ""


def test_replay_prints_the_state_as_a_scenario(
    file: Path, data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", "--state", str(file)]) == 0
    again = load_text(capsys.readouterr().out, "state")
    assert again.process(100000).oom_score_adj == 1000


def test_replay_tells_of_a_torn_line_and_leaves_it(
    file: Path, data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_bytes(data[:-1])
    assert main(["replay", str(file)]) == 0
    told = capsys.readouterr().err
    assert told.startswith(f"fakeproc: {file}: line 5: was cut short (")
    assert file.read_bytes() == data[:-1]


@pytest.mark.parametrize("until", ["-1", "x", "5", "5 s"])
def test_replay_refuses_what_is_no_end(
    until: str, file: Path, data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["replay", f"--until={until}", str(file)])
    assert (code, capsys.readouterr().err.count("--until")) == ((0, 0) if until == "5" else (1, 1))


def test_replay_needs_a_journal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    for path, words in ((tmp_path / "none", "No such file"), (empty, "is empty")):
        assert main(["replay", str(path)]) == 1
        assert f"fakeproc: {path}: {words}" in capsys.readouterr().err


def test_the_contents_name_their_journal(file: Path, data: bytes) -> None:
    contents: Contents = read_file(file)
    assert contents.name == str(file)
    assert contents.header is not None
    assert contents.header.kernel_text == "4.7 +3"
