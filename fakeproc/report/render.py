# SPDX-License-Identifier: MIT
"""The answer to a report: for people, for programs, and as a scenario."""

from __future__ import annotations

from typing import Any

from fakeproc.kernel.badness import logged_score
from fakeproc.kernel.explain import Candidate
from fakeproc.kernel.task import PAGE_BYTES, PAGE_KIB, Process
from fakeproc.report.judgement import Judgement
from fakeproc.report.options import Answer
from fakeproc.report.parse import NO_LIMIT_KB, Named, Report, Scope, Style
from fakeproc.report.reason import spell
from fakeproc.report.rebuild import BOOT_PIDS, memcg_path, scenario_of
from fakeproc.toml import dump_scenario
from fakeproc.units import align, format_pages

_MOST_ROWS = 15
_CHOICE_LINES = {Style.SUMMARY, Style.SACRIFICE}

# -- For programs ------------------------------------------------------------------


def data_of(answer: Answer) -> dict[str, Any]:
    """Return it for programs: sizes in bytes, points in pages (per mille until 3.4).

    ``predicted``, ``agrees``, ``reason`` and the ranking go by the options; ``as_logged`` is
    the same without them.  The fields of the report have the names of tests/oom-reports.
    """
    judgement = answer.judgement
    data = {
        "report": answer.number,
        **_data_of_report(judgement.report),
        "kernel": _kernel(answer),
        "rules": judgement.rules.name,
        "rules_from": judgement.rules.source,
        "totalpages": judgement.request.totalpages,
        **_data_of_judgement(judgement),
        "killed_with_it": [_task(process) for process in judgement.explanation.dying],
        "ranking": [_row(judgement, candidate) for candidate in judgement.explanation.ranking],
        "excluded": [_row(judgement, candidate) for candidate in _excluded(judgement)],
        "warnings": list(judgement.warnings),
    }
    if answer.changed is not None:
        data["options"] = list(answer.options.words)
        data["as_logged"] = _data_of_judgement(answer.as_logged)
    return data


def _kernel(answer: Answer) -> str:
    """Name the kernel: the option, the text, or the release whose rules are assumed."""
    rules = answer.judgement.rules
    return (rules is answer.as_logged.rules and answer.judgement.report.release) or rules.name


def _data_of_report(report: Report) -> dict[str, Any]:
    memory = report.memory
    return {
        "line": report.line_number,
        "constraint": report.scope.value,
        "complete": report.complete,
        "missing": list(report.missing),
        "allocating_comm": report.allocating_comm,
        "order": report.order,
        "gfp": report.gfp,
        "ram_pages": memory.ram_pages,
        "reserved_pages": memory.reserved_pages,
        "swap_kb": memory.swap_kb,
        "memcg": report.memcg_path,
        "memcg_limit_kb": memory.memcg_limit_kb,
        "memcg_memsw_limit_kb": memory.memcg_memsw_limit_kb,
        "memcg_swap_limit_kb": memory.memcg_swap_limit_kb,
        "page_kb": memory.page_kb,
        "rows": len(report.rows),
        "chosen": _named(report.chosen) if report.styles & _CHOICE_LINES else None,
        "killed": _named(report.killed),
        "score": report.score,
        "group_kill": report.group_path is not None,
    }


def _data_of_judgement(judgement: Judgement) -> dict[str, Any]:
    logged = judgement.logged
    row = judgement.report.row_of(logged)
    candidate = judgement.candidate(row.tgid) if row is not None else None
    return {
        "predicted": _with_points(judgement, judgement.predicted),
        "logged": logged
        and {
            "pid": logged.pid,
            "comm": logged.comm,
            "points": candidate.points if candidate else None,
            "score": judgement.report.score,
        },
        "agrees": judgement.agrees,
        "reason": judgement.reason,
    }


def _with_points(judgement: Judgement, process: Process | None) -> dict[str, Any] | None:
    if process is None:
        return None
    candidate = judgement.candidate(process.pid)
    points = candidate.points if candidate else None
    score = None
    if points is not None:
        total = judgement.request.totalpages
        score = logged_score(judgement.machine.profile, points, total)
    return {**_task(process), "points": points, "score": score}


def _task(process: Process) -> dict[str, Any]:
    return {"pid": process.pid, "comm": process.comm}


def _named(task: Named | None) -> dict[str, Any] | None:
    return None if task is None else {"pid": task.pid, "comm": task.comm}


def _excluded(judgement: Judgement) -> list[Candidate]:
    """Return those of the table who are out of the running."""
    return [c for c in judgement.explanation.excluded if c.process.pid not in BOOT_PIDS]


def _row(judgement: Judgement, candidate: Candidate) -> dict[str, Any]:
    process, mm = candidate.process, candidate.process.mm
    page_bytes = judgement.report.memory.page_kb * 1024
    row = {
        "pid": process.pid,
        "comm": process.comm,
        "uid": process.leader.credentials.uid,
        "rss": mm.sizes.rss_pages * page_bytes if mm else 0,
        "swap": mm.sizes.swap_entries * page_bytes if mm else 0,
        "pgtables": mm.sizes.pagetable_pages * page_bytes if mm else 0,
        "oom_score_adj": process.oom_score_adj,
        "points": candidate.points,
    }
    return row | ({"why_not": candidate.why_not} if candidate.why_not else {})


# -- For people --------------------------------------------------------------------


def text_of(answer: Answer, *, of: int) -> str:
    """Return it for people; ``of`` is how many reports the log holds."""
    base, report = answer.as_logged, answer.as_logged.report
    lines = [f"report {answer.number} of {of}, line {report.line_number}"] if of > 1 else []
    lines += [
        f"kernel: {report.release or 'not named'}; judged by the rules of {base.rules.name}, "
        f"known from {base.rules.source}",
        f"out of memory: {_scope(base)}",
        f"asked: {_asked(report)}",
        f"logged: {_logged(base)}",
        f"predicted: {_predicted(base)}: {_verdict(base)}",
        f"why: {base.reason}",
    ]
    if answer.changed is not None:
        lines += _changed_lines(answer)
    text = "\n".join(lines) + "\n\n" + _ranking(answer.judgement)
    warnings = "".join(f"  {warning}\n" for warning in base.warnings)
    return text + (f"\nmind:\n{warnings}" if warnings else "")


def _scope(judgement: Judgement) -> str:
    report, total = judgement.report, judgement.request.totalpages
    whole = f"{_size(total, report.memory.page_kb)} ({_count(total)})"
    if report.scope is Scope.GLOBAL:
        if report.memory.ram_pages is None:
            whole = f"not in the report{f', assumed {whole}' if report.rows else ''}"
        return f"the whole machine (global), RAM and swap {whole}"
    if report.scope is not Scope.MEMCG:
        nodes = f"nodes {report.nodes}" if report.nodes else "the allowed nodes"
        return f"{nodes} ({report.scope.value}), with swap {whole}"
    limit_kb = report.memory.memcg_limit_kb
    limit = "limit not in the report"
    if limit_kb is not None:
        limit = "no limit" if limit_kb >= NO_LIMIT_KB else f"limit {_size(limit_kb, 1)}"
    elif not report.rows:
        return f"the cgroup {report.memcg_path or '(not named)'}, {limit}"
    return f"the cgroup {report.memcg_path or '(not named)'}, {limit}; with swap {whole}"


def _count(pages: int) -> str:
    return f"{pages} page" if pages == 1 else f"{pages} pages"


def _size(units: int, unit_kb: int) -> str:
    return format_pages(units * unit_kb // PAGE_KIB)


def _asked(report: Report) -> str:
    if report.allocating_comm is None:
        return "not in the log"
    details = [f"order {report.order}" if report.order is not None else "", report.gfp or ""]
    if report.order == -1:
        details = ["by hand: sysrq-f"]
    pid = f" ({report.allocating_pid})" if report.allocating_pid is not None else ""
    shown = ", ".join(filter(None, details))
    return f"{report.allocating_comm}{pid}{f', {shown}' if shown else ''}"


def _logged(judgement: Judgement) -> str:
    report = judgement.report
    if report.chosen is None:
        words = "nobody could be killed" if report.nobody else "nobody"
        return words + (f"; the machine panicked: {report.panic}" if report.panic else "")
    text = _spell(report.chosen)
    text += " was chosen" + (f" (score {report.score})" if report.score is not None else "")
    if report.killed is None:
        return f"{text}; no line says who was killed"
    same = report.killed == report.chosen
    text += " and killed" if same else f", {_spell(report.killed)} was killed"
    if report.also_killed:
        text += f", and with it {', '.join(map(_spell, report.also_killed))}"
    return text


def _spell(task: Named) -> str:
    return f"{task.comm} ({task.pid})"


def _predicted(judgement: Judgement) -> str:
    predicted = judgement.predicted
    return "nobody" if predicted is None else spell(predicted)


def _verdict(judgement: Judgement) -> str:
    if judgement.agrees is None:
        return "the log holds nothing to compare it with"
    return "the log agrees" if judgement.agrees else "the log says otherwise"


def _changed_lines(answer: Answer) -> list[str]:
    """Say what the options change."""
    changed = answer.changed
    assert changed is not None
    report = answer.as_logged.report
    died = report.killed or report.chosen
    was = f"{_spell(died)} died" if died else f"predicted was {_predicted(answer.as_logged)}"
    row = report.row_of(report.chosen)
    before = row.tgid if row is not None else None
    now = changed.predicted
    words = " ".join(answer.options.words)
    if now is None:
        verdict = "nobody could have been killed"
    elif now.pid == before:
        verdict = f"{spell(now)} would have been chosen all the same"
    else:
        verdict = f"{spell(now)} would have died instead"
    others = [p for p in changed.explanation.dying if p is not changed.explanation.victim]
    victim = changed.explanation.victim
    if victim is not None and now is not None and victim is not now:
        verdict += f", that is its child {spell(victim)}"
    if others:
        verdict += f", and with it {', '.join(map(spell, others))}"
    return ["", f"as logged: {was}; with {words}: {verdict}", f"why: {changed.reason}"]


_COLUMNS = ("pid", "uid", "rss", "swap", "pgtables", "oom_score_adj", "points", "name")


def _ranking(judgement: Judgement) -> str:
    ranking = judgement.explanation.ranking
    row = judgement.report.row_of(judgement.logged)
    shown = ranking[:_MOST_ROWS]
    shown += [c for c in ranking[_MOST_ROWS:] if row is not None and c.process.pid == row.tgid]
    text = align([list(_COLUMNS), *(_cells(judgement, candidate) for candidate in shown)])
    if len(ranking) > len(shown):
        text += f"and {len(ranking) - len(shown)} more (--json has them all)\n"
    excluded: dict[str, list[str]] = {}
    for candidate in _excluded(judgement):
        excluded.setdefault(candidate.why_not, []).append(spell(candidate.process))
    if excluded:
        text += "\nout of the running:\n"
    for why, names in excluded.items():
        text += f"  {why}: {', '.join(names)}\n"
    return text


def _cells(judgement: Judgement, candidate: Candidate) -> list[str]:
    row = _row(judgement, candidate)
    sizes = {key: format_pages(row[key] // PAGE_BYTES) for key in ("rss", "swap", "pgtables")}
    shown = {**row, **sizes, "name": row["comm"]}
    return [str(shown[key]) for key in _COLUMNS]


# -- As a scenario -----------------------------------------------------------------


def scenario_text_of(answer: Answer, source: str) -> str:
    """Return the report as a scenario, with the options; what is presumed hidden is hidden."""
    judgement = answer.judgement
    given, report = judgement.given, judgement.report
    predicted = judgement.predicted
    path = memcg_path(report)
    trigger = "1" if path is None else f"memcg={path}"
    comments = [
        f"From the report of the OOM killer in line {report.line_number} of {source!r}.",
        f"echo {trigger} > fakeproc/oom_trigger chooses "
        + ("nobody." if predicted is None else f"{spell(predicted)!r}."),
        "The pids are those of the log: they may be alive on this host, and kill(1) means those.",
    ]
    if report.kills_allocating:
        comments.append("vm.oom_kill_allocating_task was set: echo 1 > sys/vm/... and pid= do it.")
    if report.memory.page_kb != PAGE_KIB:
        comments.append(f"A page had {report.memory.page_kb} kB; here it has {PAGE_KIB}.")
    comments += [f"Mind: {warning}." for warning in judgement.warnings]
    return dump_scenario(scenario_of(report, given), [_line_of(text) for text in comments])


def _line_of(text: str) -> str:
    """Return a text that stays on its line, whatever name is in it."""
    return "".join(char if char.isprintable() else "?" for char in text)
