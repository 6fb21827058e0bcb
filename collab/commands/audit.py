"""`collab audit RUN`: verify the ledgers of a run and list what crossed the boundaries."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from collab.errors import AuditError, RunDirectoryError
from collab.options import RUNS_DIR, RunsDir
from simnet.units import format_size

if TYPE_CHECKING:
    from collab.auditing import MethodAudit, RunAudit
    from simnet.auditing import Audit, Traffic

_MOST_ROWS = 40
_NARROW = 64  # columns, below which a table has no room for names
_MOST_REASONS = 5


def command(
    run: Annotated[str, typer.Argument(help="Run directory, its name, or latest.")] = "latest",
    method: Annotated[
        list[str] | None, typer.Option("--method", metavar="METHOD", help="Only this method; repeatable.")
    ] = None,
    entries: Annotated[bool, typer.Option("--entries", help="List every entry of the ledgers.")] = False,
    runs_dir: RunsDir = RUNS_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON on standard output.")] = False,
) -> None:
    """Verify the ledgers of a run, and list what crossed its boundaries and by which rule."""
    from collab.auditing import audit_run
    from collab.store import find_run

    found = find_run(run, runs_dir)
    if not found.is_whole():
        raise RunDirectoryError(f"{found.path} is damaged: its summary cannot be read; run the scenario again")
    known = [one.name for one in found.methods]
    for name in method or []:
        if name not in known:
            raise typer.BadParameter(f"{found.path} has no method {name!r}; it has {', '.join(known)}")
    audited = audit_run(found, method or known)
    if as_json:
        print(json.dumps(_as_data(audited, entries=entries), indent=1))
    else:
        _show(audited, entries=entries)
    if audited.complaints:
        raise AuditError("\ncollab: ".join(audited.complaints))


# -- for people ----------------------------------------------------------------------------------


def _show(audited: RunAudit, *, entries: bool) -> None:
    console = Console(highlight=False)
    rules: dict[str, int] = {}
    for one in audited.methods:
        console.print(_title(one, audited.stale))
        if one.findings is None:
            console.print()
            continue
        if not one.findings.traffic:
            console.print("nothing crossed\n")
        elif console.width < _NARROW:
            _list_traffic(console, one.findings.traffic, rules)
        else:
            console.print(_traffic_table(one.findings.traffic, rules))
        _show_budgets(console, one.findings.sent_bytes, audited.boundaries.budgets)
        _show_reasons(console, one.findings)
        if entries:
            _show_entries(console, one, rules)
    for rule, number in rules.items():
        console.print(Text(f"[{number}] {rule}"))
    lines = sum(one.seal.lines for one in audited.methods if one.seal is not None)
    whole = f"{_count(len(audited.methods), 'ledger')}, {_count(lines, 'line')}"
    if not audited.complaints:
        console.print(Text(f"{whole}: chains whole, every crossing has its rule, budgets kept", "green"))


def _title(one: MethodAudit, stale: str | None) -> Text:
    if one.findings is None or one.seal is None:
        return Text.assemble((one.name, "bold"), " · ", ("chain broken", "bold red"), f": {one.broken}")
    doubts = len(one.findings.doubts)
    kept = (f"{_count(doubts, 'line')} unexplained", "bold red") if doubts else ("boundaries kept", "green")
    if stale is not None:
        kept = ("boundaries unknown: scenario.yaml was changed", "bold red")
    return Text.assemble(
        (one.name, "bold"), f" · {_count(one.seal.lines, 'line')}, head {one.seal.head[:16]} · chain whole · ", kept
    )


def _traffic_table(traffic: Sequence[Traffic], rules: dict[str, int]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in ("from", "to", "kind"):
        table.add_column(column, overflow="fold")
    for column in ("messages", "bytes", "refused"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("rule", no_wrap=True)
    shown, hidden = _most_telling(traffic)
    for row in shown:
        names = (row.source_tenant, row.target_tenant, row.kind.replace("+", " + "))
        _add(table, names, [row], _numbers(row.rules, rules))
    if hidden:
        _add(table, (f"{len(hidden)} more (--json)", "", ""), hidden, "")
    if len(traffic) > 1:
        table.add_section()
        _add(table, ("in all", "", ""), traffic, "")
    return table


def _list_traffic(console: Console, traffic: Sequence[Traffic], rules: dict[str, int]) -> None:
    shown, hidden = _most_telling(traffic)
    for row in shown:
        numbers = _numbers(row.rules, rules)
        console.print(
            Text(
                f"{row.source_tenant} > {row.target_tenant}, {row.kind.replace('+', ' + ')}\n  "
                f"{_count(row.messages, 'message')}, {format_size(row.size_bytes)}, {row.refused:,} refused"
                + (f", rule {numbers}" if numbers else "")
            )
        )
    if hidden:
        console.print(f"{len(hidden)} more (--json)")
    console.print()


def _most_telling(traffic: Sequence[Traffic]) -> tuple[list[Traffic], list[Traffic]]:
    """The rows to show, in their order, and the rest: first what was refused, then what is large."""
    ranked = sorted(range(len(traffic)), key=lambda index: (-traffic[index].refused, -traffic[index].size_bytes))
    shown, hidden = sorted(ranked[:_MOST_ROWS]), sorted(ranked[_MOST_ROWS:])
    return [traffic[index] for index in shown], [traffic[index] for index in hidden]


def _numbers(names: Sequence[str], rules: dict[str, int]) -> str:
    """The rules as the numbers under which they are listed at the end."""
    return ",".join(str(rules.setdefault(name, len(rules) + 1)) for name in names)


def _add(table: Table, names: tuple[str, str, str], rows: Sequence[Traffic], rules: str) -> None:
    refused = sum(row.refused for row in rows)
    table.add_row(
        *(Text(name) for name in names),
        f"{sum(row.messages for row in rows):,}",
        format_size(sum(row.size_bytes for row in rows)),
        Text(f"{refused:,}", "red") if refused else "0",
        rules,
    )


def _show_budgets(console: Console, sent_bytes: Mapping[str, int], budgets: Mapping[str, int]) -> None:
    tightest = sorted(budgets, key=lambda tenant: -sent_bytes.get(tenant, 0) / max(1, budgets[tenant]))
    for tenant in tightest[:_MOST_ROWS]:
        sent, budget = sent_bytes.get(tenant, 0), budgets[tenant]
        text = f"budget of {tenant}: {format_size(sent)} of {format_size(budget)} sent"
        console.print(Text(f"{text}, {format_size(budget - sent)} left" if sent <= budget else f"{text}: EXCEEDED"))
    if len(budgets) > _MOST_ROWS:
        console.print(f"{len(budgets) - _MOST_ROWS} more budgets, none used more (--json)")
    if budgets:
        console.print()


def _show_reasons(console: Console, findings: Audit) -> None:
    for doubt in findings.doubts[:_MOST_REASONS]:
        console.print(Text(f"unexplained, line {doubt.line}: {doubt.reason}", "red"))
    if len(findings.doubts) > _MOST_REASONS:
        console.print(f"{len(findings.doubts) - _MOST_REASONS} more unexplained lines (--json)")
    for reason, times in findings.refusals.most_common(_MOST_REASONS):
        console.print(Text(f"refused {_count(times, 'time')}: {reason}"))
    if len(findings.refusals) > _MOST_REASONS:
        console.print(f"{len(findings.refusals) - _MOST_REASONS} more reasons for refusals (--json)")
    if findings.doubts or findings.refusals:
        console.print()


def _show_entries(console: Console, one: MethodAudit, rules: dict[str, int]) -> None:
    width = len(str(len(one.entries)))
    lines = []
    for number, entry in enumerate(one.entries, 1):
        numbered = "" if entry.rule is None else f"[{_numbers([entry.rule], rules)}]"
        why = numbered if entry.verdict == "crossed" else f"refused: {entry.reason}"
        answer = " (answer)" if entry.answer else ""
        lines.append(
            f"{number:{width}} {entry.at_s:10.6f} s {entry.point:8} {entry.source} > {entry.target}{answer} "
            f"{entry.kind.replace('+', ' + ')} {format_size(entry.size_bytes)} {entry.digest[:12]} {why}"
        )
    console.print(Text("\n".join([*lines, ""])), soft_wrap=True)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


# -- for programs --------------------------------------------------------------------------------


def _as_data(audited: RunAudit, *, entries: bool) -> dict[str, Any]:
    return {
        "run_dir": str(audited.run.path),
        "passed": not audited.complaints,
        "scenario_changed": audited.stale is not None,
        "complaints": audited.complaints,
        "methods": {one.name: _method_data(one, audited, entries=entries) for one in audited.methods},
    }


def _method_data(one: MethodAudit, audited: RunAudit, *, entries: bool) -> dict[str, Any]:
    data: dict[str, Any] = {
        "passed": one.passed,
        "chain": "whole" if one.broken is None else "broken",
        "broken": one.broken,
        "seal": None if one.seal is None else one.seal.as_dict(),
    }
    findings = one.findings
    if findings is None:
        return data
    data["traffic"] = [
        {
            "from": row.source_tenant,
            "to": row.target_tenant,
            "kind": row.kind,
            "messages": row.messages,
            "bytes": row.size_bytes,
            "refused": row.refused,
            "rules": row.rules,
        }
        for row in findings.traffic
    ]
    data["refusals"] = dict(findings.refusals.most_common())
    data["unexplained"] = [{"line": doubt.line, "reason": doubt.reason} for doubt in findings.doubts]
    data["sent_bytes"] = dict(sorted(findings.sent_bytes.items()))
    data["budgets"] = dict(audited.boundaries.budgets)
    if entries:
        data["entries"] = [entry.as_dict() for entry in one.entries]
    return data
