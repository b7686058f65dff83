# SPDX-License-Identifier: MIT
"""The command line: `fakeproc mount`, `umount`, `ps`, `log`, `trigger`, `scenario` and more."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

import fakeproc
from fakeproc.journal import Contents, Header, Journal, read_file
from fakeproc.kernel.errors import Refused
from fakeproc.kernel.profile import DEFAULT_PROFILE, PATCHES, PROFILE_NAMES, KernelConfig
from fakeproc.mount import MountOptions, serve_alone, start_server
from fakeproc.mounts import MountError, find_mounts, is_mounted, require_free, resolve, unmount
from fakeproc.procfs.clock import ClockMode, parse_speed
from fakeproc.procfs.control import CONTROL_FILES
from fakeproc.procfs.session import HidePid
from fakeproc.procfs.tree import Procfs
from fakeproc.scenario import BUILTIN, load_scenario, schema
from fakeproc.scenario.load import (
    builtin_names,
    builtin_text,
    describe,
    find_problems,
    read_scenario,
    run_to_end,
)
from fakeproc.terminal import in_one_line, visible
from fakeproc.units import parse_duration_ns, parse_integer

EXIT_OK = 0
EXIT_REFUSED = 1
EXIT_LACKING = 77
"""What `run` needs is not to be had here; test harnesses take it for a skip."""
ROOT_VARIABLE = "FAKEPROC"
"""Where the simulated /proc is, for programs in a sandbox."""

_LOG_POLL_S = 0.2


def make_parser() -> argparse.ArgumentParser:
    """Return the parser; help comes from it."""
    parser = argparse.ArgumentParser(
        prog="fakeproc",
        description="A fake /proc over a small simulated Linux kernel, for everything about "
        "the OOM killer.",
        epilog="example: fakeproc mount /tmp/proc && echo 500 > /tmp/proc/100000/oom_score_adj",
    )
    parser.add_argument("--version", action="version", version=fakeproc.__version__)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_mount(commands)
    _add_umount(commands)
    _add_run(commands)
    _add_ps(commands)
    _add_log(commands)
    _add_trigger(commands)
    _add_explain(commands)
    _add_scenario(commands)
    _add_replay(commands)
    return parser


def _add_mount(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    mount = commands.add_parser(
        "mount",
        help="mount a simulated /proc",
        epilog="example: fakeproc mount --kernel 4.7 --patch 3 /tmp/proc",
    )
    mount.add_argument("mountpoint", type=Path, metavar="MOUNT", help="an existing folder")
    mount.add_argument(
        "-f", "--foreground", action="store_true", help="do not go to the background"
    )
    _add_machine(mount)
    mount.add_argument(
        "--caps",
        choices=("simulated", "real"),
        default="simulated",
        help="root has every capability (simulated), or those the host gives it (real)",
    )
    mount.add_argument(
        "--allow-other",
        action=argparse.BooleanOptionalAction,
        default=os.getuid() == 0,
        help="let other users in (default: when root mounts)",
    )
    mount.add_argument(
        "--hidepid",
        type=int,
        choices=[level.value for level in HidePid],
        default=0,
        help="what users see of others' tasks, as proc's own option: 1 no files, 2 and 4 nothing",
    )
    _add_clock(mount)
    mount.add_argument(
        "--journal",
        type=Path,
        metavar="FILE",
        help="record every change in this file; if it is there already, carry on from it",
    )
    mount.set_defaults(run=_mount)


def _add_machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scenario",
        metavar="NAME|FILE",
        help=f"a built-in scenario, or one in TOML (default: {BUILTIN})",
    )
    parser.add_argument(
        "--kernel",
        metavar="NAME",
        help=f"one of {', '.join(PROFILE_NAMES)} (default: {DEFAULT_PROFILE})",
    )
    numbers = sorted(PATCHES)
    parser.add_argument(
        "--patch", type=int, action="append", default=[], choices=numbers, metavar="N",
        help="turn patch N (1 to 6) of the series on; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--no-patch", type=int, action="append", default=[], choices=numbers, metavar="N",
        help="turn patch N off; may be repeated",
    )  # fmt: skip


def _add_clock(parser: argparse.ArgumentParser) -> None:
    clock = parser.add_mutually_exclusive_group()
    clock.add_argument(
        "--clock",
        choices=(ClockMode.REAL, ClockMode.MANUAL),
        help="time passes as on the host (real, the default), or only when fakeproc/clock is "
        "written (manual)",
    )
    clock.add_argument(
        "--speed",
        metavar="N",
        help="so many seconds pass in one of the host's, such as 10 or 0.5 (default: 1)",
    )


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser(
        "run",
        help="run a program inside the simulated machine, where its signals reach the processes",
        epilog="example: fakeproc run --scenario desktop --duration 60s -- earlyoom -m 5",
    )
    _add_machine(run)
    _add_clock(run)
    run.add_argument(
        "--duration", metavar="TIME",
        help="end the program when so much of the machine's time has passed, such as 30s",
    )  # fmt: skip
    run.add_argument(
        "--view", choices=("bind", "overmount"), default="bind",
        help="what /proc is inside: the real one with simulated files bound over it (bind, the "
        "default), or the simulated one with links to real processes (overmount)",
    )  # fmt: skip
    run.add_argument(
        "--intercept", action="store_true",
        help="let the machine answer sysinfo(2), statfs(2) and syslog(2) as well",
    )  # fmt: skip
    run.add_argument(
        "--report", type=Path, metavar="FILE", help="write what happened there, as JSON"
    )
    run.add_argument("-q", "--quiet", action="store_true", help="print no summary at the end")
    run.add_argument("words", nargs="+", metavar="COMMAND", help="the program and its arguments")
    run.set_defaults(run=_run)


def _add_umount(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    umount = commands.add_parser(
        "umount",
        help="unmount, also after the server died",
        epilog="example: fakeproc umount /tmp/proc",
    )
    _add_mountpoint(umount)
    umount.set_defaults(run=_umount)


def _add_ps(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    ps = commands.add_parser(
        "ps", help="print the tasks of a mount", epilog="example: fakeproc ps --json /tmp/proc"
    )
    _add_mountpoint(ps)
    ps.add_argument("--json", action="store_true", help="print JSON; rss and swap in bytes")
    ps.set_defaults(run=_show, file="ps")


def _add_log(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    log = commands.add_parser(
        "log", help="print the kernel log of a mount", epilog="example: fakeproc log -f /tmp/proc"
    )
    _add_mountpoint(log)
    log.add_argument("-f", "--follow", action="store_true", help="go on with what is new")
    log.set_defaults(run=_log)


def _add_trigger(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    trigger = commands.add_parser(
        "trigger",
        help="invoke the OOM killer of a mount, and print its verdict",
        epilog="example: fakeproc trigger /tmp/proc memcg=/web",
    )
    trigger.add_argument("mountpoint", type=Path, metavar="MOUNT", help="where it is mounted")
    _add_allocation(trigger)
    trigger.set_defaults(run=_trigger)


def _add_explain(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    explain = commands.add_parser(
        "explain",
        help="show whom the OOM killer would choose now, and why not the others",
        epilog="example: fakeproc explain --json /tmp/proc nodemask=0; or: "
        "journalctl -k | fakeproc explain --dmesg - --set postgres=-900",
    )
    _add_mountpoint(explain)
    _add_allocation(explain)
    explain.add_argument("--json", action="store_true", help="print JSON; sizes in bytes")
    explain.add_argument(
        "--kernels",
        dest="file",
        action="store_const",
        const="explain-kernels",
        help="show what every kernel would do, and which patch or version makes the difference",
    )
    _add_dmesg(explain)
    explain.set_defaults(run=_explain, file="explain")


def _add_dmesg(explain: argparse.ArgumentParser) -> None:
    """Add what explains a kernel log instead of a mount."""
    log = explain.add_argument_group("a kernel log instead of a mount")
    log.add_argument(
        "--dmesg", metavar="FILE", help="explain the OOM reports in a log (-: standard input)"
    )
    log.add_argument(
        "--set", action="append", default=[], metavar="TASK=VALUE", dest="changes",
        help="what if oom_score_adj had been VALUE: of all tasks of a name, or of a pid; "
        "may be repeated",
    )  # fmt: skip
    log.add_argument("--ram", metavar="SIZE", help="what if the machine had this much RAM")
    log.add_argument("--swap", metavar="SIZE", help="what if it had this much swap")
    log.add_argument("--limit", metavar="SIZE", help="what if the cgroup had this limit")
    log.add_argument(
        "--kernel", metavar="NAME", help="by the rules of which kernel: 2.6 to 6.18, or a name"
    )
    log.add_argument("--report", type=int, metavar="N", help="only the Nth report of the log")
    log.add_argument(
        "--to-scenario", nargs="?", const="-", metavar="OUT",
        help="write the report as a scenario to mount (default: to standard output)",
    )  # fmt: skip


def _add_scenario(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    scenario = commands.add_parser(
        "scenario",
        help="check scenario files; list and show those that there are; write the host as one",
        epilog="example: fakeproc scenario show patch-4 > my.toml; fakeproc scenario check my.toml",
    )
    actions = scenario.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="say all that is wrong with scenario files")
    check.add_argument("files", nargs="+", metavar="FILE", help="a scenario in TOML")
    check.set_defaults(run=_check_scenarios)
    listed = actions.add_parser("list", help="list the built-in scenarios")
    listed.set_defaults(run=_list_scenarios)
    show = actions.add_parser("show", help="print a built-in scenario")
    show.add_argument("name", metavar="NAME", help="one of the list")
    show.set_defaults(run=_show_scenario)
    run = actions.add_parser("run", help="run a scenario to its end at once; print the kernel log")
    run.add_argument("scenario", metavar="NAME|FILE", help="a built-in scenario, or one in TOML")
    run.set_defaults(run=_run_scenario)
    editors = actions.add_parser("schema", help="print the JSON Schema of scenarios, for editors")
    editors.set_defaults(run=_show_schema)
    _add_snapshot(actions)


def _add_snapshot(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    snapshot = actions.add_parser(
        "snapshot",
        help="write the live host as a scenario",
        epilog="example: fakeproc scenario snapshot > host.toml && "
        "fakeproc mount --scenario host.toml /tmp/proc",
    )
    snapshot.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="to a file (default: standard output)"
    )
    snapshot.add_argument(
        "--redact", action="store_true",
        help="pseudonyms for names, hostname and cgroups; no command lines, no paths",
    )  # fmt: skip
    snapshot.add_argument(
        "--pid", type=int, metavar="PID", help="only this process and those below it"
    )
    snapshot.set_defaults(run=_snapshot)


def _add_replay(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    replay = commands.add_parser(
        "replay",
        help="make the machine of a journal again, and print what came of it",
        epilog="example: fakeproc replay --until 3605s --ps run.journal",
    )
    replay.add_argument("journal", type=Path, metavar="FILE", help="written by mount --journal")
    replay.add_argument(
        "--until",
        metavar="N|TIME",
        help="stop after so many inputs, or at this time of the log, such as 3605s",
    )
    shown = replay.add_mutually_exclusive_group()
    for option, file, what in (
        ("--log", "kmsg", "the kernel log (default)"),
        ("--ps", "ps", "the tasks"),
        ("--state", "state.toml", "the state, as a scenario that carries on from there"),
    ):
        shown.add_argument(
            option, dest="file", action="store_const", const=file, help=f"print {what}"
        )
    replay.set_defaults(run=_replay, file="kmsg")


def _add_allocation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "options",
        nargs="*",
        metavar="KEY=VALUE",
        help="about the allocation: pid=100 order=2 gfp_mask=0xcc0 memcg=/web nodemask=0-1",
    )


def _add_mountpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "mountpoint",
        type=Path,
        nargs="?",
        metavar="MOUNT",
        help="where it is mounted (default: $FAKEPROC, or the only fakeproc there is)",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0, or 1 for a refusal (2 is for usage)."""
    _open_standard_streams()
    arguments = make_parser().parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if arguments.debug else logging.WARNING,
        format="fakeproc: %(message)s",
    )
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader has what it wanted; nothing more can be said to it.
        _drop_output()
        return EXIT_OK
    except KeyboardInterrupt:
        return 130
    except (MountError, OSError) as error:
        if arguments.debug:
            raise
        print(f"fakeproc: {in_one_line(_sentence(error))}", file=sys.stderr)
        return EXIT_REFUSED


def _open_standard_streams() -> None:
    """Open those that are closed, or a file of ours would become standard error, say."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def _sentence(error: MountError | OSError) -> str:
    if isinstance(error, Refused):
        return error.why
    if isinstance(error, MountError):
        return str(error)
    if error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}."
    # Only what is printed has no name.
    _drop_output()
    return f"standard output: cannot be written: {error.strerror}."


def _drop_output() -> None:
    """Let nobody try again to write what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print(text: str) -> None:
    """Print what names of others stand in."""
    sys.stdout.write(visible(text))


# -- mount, umount -----------------------------------------------------------------


def _mount(arguments: argparse.Namespace) -> int:
    path = resolve(arguments.mountpoint)
    require_free(path)
    procfs, journal = _begin_or_carry_on(arguments)
    _warn_of_living_pids(procfs)
    options = MountOptions(
        allow_other=arguments.allow_other,
        real_capabilities=arguments.caps == "real",
        hidepid=HidePid(arguments.hidepid),
        manual_clock=arguments.clock == ClockMode.MANUAL,
        clock_speed=parse_speed(arguments.speed or "1"),
    )
    try:
        if arguments.foreground:
            serve_alone(procfs, path, options, journal=journal)
        else:
            start_server(procfs, path, options, journal)
    except MountError:
        if journal is not None:
            journal.abandon()
        raise
    return EXIT_OK


def _run(arguments: argparse.Namespace) -> int:
    from fakeproc.sandbox import Lacking, Sandbox
    from fakeproc.sandbox.command import CannotRun, run_command

    duration = arguments.duration
    sandbox = Sandbox(
        arguments.scenario,
        kernel=_kernel_config(arguments),
        speed=arguments.speed or "1",
        manual_clock=arguments.clock == ClockMode.MANUAL,
        view=arguments.view,
        intercept=arguments.intercept,
        duration_ns=parse_duration_ns("--duration ", duration) if duration else None,
    )
    try:
        return run_command(sandbox, arguments.words, arguments.report, quiet=arguments.quiet)
    except Lacking as lacking:
        print(f"fakeproc: {lacking}", file=sys.stderr)
        return EXIT_LACKING
    except CannotRun as error:
        print(f"fakeproc: {error}", file=sys.stderr)
        return error.code


def _begin_or_carry_on(arguments: argparse.Namespace) -> tuple[Procfs, Journal | None]:
    """Return the machine to mount, and the journal if it has one."""
    name, text = read_scenario(arguments.scenario)
    manual = arguments.clock == ClockMode.MANUAL
    speed = parse_speed(arguments.speed or "1")
    asked = Header(name, text, _kernel_config(arguments), speed, manual)
    if arguments.journal is None:
        return asked.boot(), None
    journal = Journal(arguments.journal)
    there = journal.contents.header
    try:
        if there is None:
            return journal.begin(asked), journal
        _require_same(arguments, asked, there)
        procfs = journal.carry_on()
    except Refused:
        journal.abandon()
        raise
    _tell_of_torn_line(journal.contents)
    return procfs, journal


def _require_same(arguments: argparse.Namespace, asked: Header, there: Header) -> None:
    """Refuse options that would make another machine than that of the journal."""
    for option, given, differs in (
        ("--scenario", arguments.scenario is not None, asked.scenario != there.scenario),
        ("--kernel or --patch", asked.kernel is not None, asked.kernel_text != there.kernel_text),
        ("--clock", arguments.clock is not None, asked.manual_clock != there.manual_clock),
        ("--speed", arguments.speed is not None, asked.clock_speed != there.clock_speed),
    ):
        if given and differs:
            raise Refused(
                errno.EINVAL,
                f"{arguments.journal}: was begun with another {option}; leave that out to carry "
                "on, or name a new file.",
            )


def _tell_of_torn_line(contents: Contents) -> None:
    if contents.torn_bytes:
        print(
            f"fakeproc: {contents.name}: line {contents.lines + 1}: was cut short "
            f"({contents.torn_bytes} bytes); it is dropped, nobody was told that it counts.",
            file=sys.stderr,
        )


def _kernel_config(arguments: argparse.Namespace) -> KernelConfig | None:
    """Return what the options say, or None where they leave it to the scenario."""
    if not (arguments.kernel or arguments.patch or arguments.no_patch):
        return None
    config = KernelConfig(arguments.kernel or DEFAULT_PROFILE)
    for number in arguments.patch:
        config = config.with_patch(number, on=True)
    for number in arguments.no_patch:
        config = config.with_patch(number, on=False)
    return config


def _warn_of_living_pids(procfs: Procfs) -> None:
    """Say which simulated pids a kill(2) would hit on the host (1 and 2 always would)."""
    own = {1, 2, *(process.pid for process in procfs.adopted)}
    alive = sorted(set(procfs.machine.processes) & set(psutil.pids()) - own)
    if alive:
        numbers = ", ".join(map(str, alive[:5])) + (" and others" if len(alive) > 5 else "")
        print(
            f"fakeproc: pid {numbers}: alive on this host too; a tool that kills by pid would "
            "hit the host's process.",
            file=sys.stderr,
        )


def _umount(arguments: argparse.Namespace) -> int:
    unmount(_find(arguments.mountpoint))
    return EXIT_OK


# -- ps, log, trigger, explain -----------------------------------------------------


def _show(arguments: argparse.Namespace) -> int:
    """Print a file of the control directory, for people or as JSON."""
    name = f"{arguments.file}.json" if arguments.json else arguments.file
    _print(_read_control(_find(arguments.mountpoint), name))
    return EXIT_OK


def _explain(arguments: argparse.Namespace) -> int:
    if arguments.dmesg is not None:
        return _explain_log(arguments)
    for name in ("changes", "ram", "swap", "limit", "kernel", "report", "to_scenario"):
        if getattr(arguments, name) not in (None, []):
            option = {"changes": "set"}.get(name, name.replace("_", "-"))
            raise MountError(f"--{option}: goes with --dmesg FILE only.")
    return _explain_mount(arguments)


def _explain_log(arguments: argparse.Namespace) -> int:
    # Here, as in _snapshot: a mount need not wait for what only this command takes.
    from fakeproc.report.command import explain_log
    from fakeproc.report.options import what_if

    if arguments.mountpoint is not None or arguments.options:
        beside = " ".join(map(str, filter(None, (arguments.mountpoint, *arguments.options))))
        raise MountError(f"{beside}: means nothing beside --dmesg; name a mount or a log.")
    if arguments.json and arguments.to_scenario is not None:
        raise MountError("--json: means nothing beside --to-scenario, which writes TOML.")
    if arguments.file != "explain":
        raise MountError("--kernels: means nothing beside --dmesg; --kernel NAME is one of them.")
    options = what_if(
        arguments.changes,
        ram=arguments.ram,
        swap=arguments.swap,
        limit=arguments.limit,
        kernel=arguments.kernel,
    )
    explain_log(
        arguments.dmesg,
        options,
        number=arguments.report,
        as_json=arguments.json,
        scenario=arguments.to_scenario,
    )
    return EXIT_OK


def _snapshot(arguments: argparse.Namespace) -> int:
    from fakeproc.snapshot.command import write_snapshot

    write_snapshot(arguments.output, redact=arguments.redact, pid=arguments.pid)
    return EXIT_OK


def _log(arguments: argparse.Namespace) -> int:
    path = _find(arguments.mountpoint)
    shown = _read_control(path, "kmsg").splitlines(keepends=True)
    _print("".join(shown))
    while arguments.follow:
        sys.stdout.flush()
        time.sleep(_LOG_POLL_S)
        try:
            lines = _read_control(path, "kmsg").splitlines(keepends=True)
        except MountError:
            if not is_mounted(path):
                return EXIT_OK
            raise
        _print("".join(_new_lines(shown, lines)))
        shown = lines
    return EXIT_OK


def _new_lines(shown: list[str], lines: list[str]) -> list[str]:
    """Return the lines behind the last one shown; the ring may have lost older ones."""
    for overlap in range(min(len(shown), len(lines)), 0, -1):
        if shown[-overlap:] == lines[:overlap]:
            return lines[overlap:]
    return lines


def _trigger(arguments: argparse.Namespace) -> int:
    path = arguments.mountpoint
    _read_control(path, "oom_trigger")
    try:
        (path / "fakeproc" / "oom_trigger").write_text(" ".join(arguments.options) or "1")
    except OSError as error:
        raise MountError(_why_refused(path, path / "fakeproc" / "oom_trigger", error)) from None
    _print(_read_control(path, "oom_trigger"))
    return EXIT_OK


def _explain_mount(arguments: argparse.Namespace) -> int:
    """Ask through one descriptor, so that nobody else is asked the same."""
    path = _find(arguments.mountpoint)
    file = path / "fakeproc" / f"{arguments.file}{'.json' if arguments.json else ''}"
    try:
        with open(file, "r+b", buffering=0) as asked:
            asked.write((" ".join(arguments.options) or "1").encode())
            asked.seek(0)
            answer = asked.read().decode(errors="surrogateescape")
    except OSError as error:
        raise MountError(_why_refused(path, file, error)) from None
    _print(answer)
    return EXIT_OK


# -- scenario ----------------------------------------------------------------------


def _check_scenarios(arguments: argparse.Namespace) -> int:
    """Print a line for each problem; the exit code says whether there is any."""
    found = [problem for file in arguments.files for problem in _problems_of(file)]
    for problem in found:
        print(problem)
    return EXIT_REFUSED if found else EXIT_OK


def _problems_of(file: str) -> list[str]:
    try:
        name, text = read_scenario(file)
    except Refused as refused:
        return [refused.why]
    return find_problems(text, name)


def _list_scenarios(arguments: argparse.Namespace) -> int:
    names = builtin_names()
    width = max(map(len, names))
    for name in names:
        print(f"{name:<{width}}  {describe(builtin_text(name))}")
    return EXIT_OK


def _show_scenario(arguments: argparse.Namespace) -> int:
    sys.stdout.write(builtin_text(arguments.name))
    return EXIT_OK


def _run_scenario(arguments: argparse.Namespace) -> int:
    machine = load_scenario(arguments.scenario)
    run_to_end(machine)
    _print(machine.log.render())
    return EXIT_OK


def _show_schema(arguments: argparse.Namespace) -> int:
    sys.stdout.write(schema.shipped_text())
    return EXIT_OK


# -- replay ------------------------------------------------------------------------


def _replay(arguments: argparse.Namespace) -> int:
    contents = read_file(arguments.journal)
    _tell_of_torn_line(contents)
    procfs = contents.replayed(*_until(arguments.until))
    _print(CONTROL_FILES[arguments.file].render(procfs))
    return EXIT_OK


def _until(text: str | None) -> tuple[int | None, int | None]:
    """Return how many inputs count, and the time at which it ends, as far as that is said."""
    if text is None:
        return None, None
    if text.isascii() and text.isdigit():
        return parse_integer("--until", text, 0, 2**63 - 1), None
    return None, parse_duration_ns("--until ", text)


def _why_refused(mountpoint: Path, file: Path, error: OSError) -> str:
    """Return what ctl says about a write that was refused."""
    why = _read_control(mountpoint, "ctl").strip()
    return f"{file}: {why or error.strerror}"


def _read_control(mountpoint: Path, name: str) -> str:
    try:
        return (mountpoint / "fakeproc" / name).read_text(errors="surrogateescape")
    except OSError as error:
        raise MountError(f"{mountpoint}: no fakeproc answers there: {error.strerror}.") from None


def _find(named: Path | None) -> Path:
    """Return the mount that the command line means."""
    if named is not None:
        return named
    if ROOT_VARIABLE in os.environ:
        return Path(os.environ[ROOT_VARIABLE])
    mounts = find_mounts()
    if len(mounts) != 1:
        listed = ", ".join(map(str, mounts)) or "none"
        raise MountError(f"MOUNT is missing; fakeproc mounts there are: {listed}.")
    return mounts[0]
