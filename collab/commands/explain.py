"""`collab explain`: a scenario in plain sentences, what it will cost, and what may be a mistake in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from collab.options import AsJson, Overrides, ScenarioPath

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from collab.explaining import Expected, Explanation


def command(
    scenario: ScenarioPath,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Say in plain sentences what will happen in a run, what it will cost, and what may be a mistake."""
    from collab import scenario as scenarios
    from collab.explaining import explain

    chosen = scenarios.load(scenario, overrides or [])
    plan = None if chosen.sweep is None else scenarios.load_plan(scenario, overrides or [])
    explanation = explain(chosen, plan)
    if as_json:
        print(json.dumps(explanation.as_json(), indent=1))
        return
    _show(explanation)


def _show(explanation: Explanation) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(highlight=False)
    console.print(Text(explanation.scenario, "bold"))
    for heading, sentences in explanation.sections.items():
        console.print(f"\n[bold]{heading}[/bold]")
        for sentence in sentences:
            console.print(Padding(Text(sentence), (0, 0, 0, 2)))
    if explanation.methods:
        console.print("\n[bold]Methods, and what they are expected to cost[/bold]")
        for one in explanation.methods:
            console.print(Padding(Text.assemble((one.name, "bold"), ": ", one.says), (0, 0, 0, 2)))
        console.print(Padding(_costs(explanation.methods), (0, 0, 0, 2)))
        _totals(console, explanation)
    if explanation.warnings:
        console.print("\n[bold yellow]Is that meant?[/bold yellow]")
        for warned in explanation.warnings:
            place = ".".join(map(str, warned.where))
            console.print(Padding(Text.assemble((f"{place}: ", "yellow"), warned.says), (0, 0, 0, 2)))


def _costs(rows: list[Expected]) -> Table:
    from rich import box
    from rich.table import Table

    from simnet.units import format_size

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("method", no_wrap=True)
    for column in ("rounds", "up per\nclient", "last\nupload", "from", "result", "here,\nabout"):
        table.add_column(column, justify="left" if column == "from" else "right", no_wrap=True)
    for one in rows:
        table.add_row(
            one.name,
            "?" if one.rounds is None else f"{one.rounds:,}",
            "?" if one.bytes_up_per_client is None else format_size(one.bytes_up_per_client),
            _seconds(one.last_upload_s),
            one.last_site or "?",
            _seconds(one.result_s),
            _seconds(None if one.wall_s is None else float(f"{one.wall_s:.2g}")),
        )
    return table


def _seconds(seconds: float | None) -> str:
    from collab.warnings_before_a_run import in_hours

    return "?" if seconds is None else in_hours(seconds)


def _totals(console: Console, explanation: Explanation) -> None:
    from rich.padding import Padding

    from simnet.units import format_size

    lines = [
        "up per client: tensors by the closed formula, without headers and envelope; last upload and result: virtual "
        "time by formula, alone on the network, without jitter, losses and faults"
    ]
    if explanation.wall_s is not None and explanation.memory_bytes is not None:
        unknown = any(one.wall_s is None for one in explanation.methods)
        more = " (without the methods of which no formula is known)" if unknown else ""
        lines.append(
            f"on this machine about {_seconds(float(f'{explanation.wall_s:.2g}'))} of wall time and "
            f"{format_size(float(f'{explanation.memory_bytes:.1g}'))} of memory{more}, roughly: within a factor of 3"
        )
        if explanation.cells > 1:
            together = _seconds(explanation.cells * explanation.wall_s)
            lines.append(f"its {explanation.cells:,} cells about {together}, if each takes as long, one by one")
    for line in lines:
        console.print(Padding(line, (0, 0, 0, 2)), style="dim")
