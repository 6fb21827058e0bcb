"""The report of a sweep: one HTML file that opens offline, made from the sweep's directory alone, complete or not."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from analysis import page
from analysis.charts import CHARTS
from analysis.naming import short_names, written
from analysis.observations import Estimate, Observation, Repeats, number_of, repeated
from analysis.page import number
from analysis.sources import Source, source_of_sweep
from analysis.table_forms import cell_text, estimate_text
from analysis.tables import Table, UnsupportedByRunsError, table2, table3
from collab.store import Cell, Run, Sweep
from collab.store.sweeps import SWEEP, SWEEP_SCENARIO
from simnet.units import format_energy, format_size

_MOST_ROWS = 600
_MOST_FAILURES = 50
_MOST_BYTES_OF_FIGURES = page.MOST_BYTES - 700_000
_TITLES = {"finished": "finished", "failed": "failed", "to come": "still to come"}
_MARKS = {"finished": "✓", "failed": "✕", "to come": "·"}


@dataclass(frozen=True)
class FigureView:
    """A chart, as the page shows it."""

    name: str
    title: str
    svg: Markup
    caption: str


@dataclass(frozen=True)
class Shown:
    """A value in a table that can be sorted: what is read, and what it is sorted by."""

    text: str
    key: float | str


def write_sweep_report(sweep: Sweep, path: Path) -> Path:
    """Write the report of `sweep` to `path`; returns the path.

    Raises `RunDirectoryError` if the sweep, or a finished cell of it, cannot be read; `OSError` if it cannot be
    written.
    """
    return page.write(path, page.render("sweep.html.j2", _content(sweep)))


def _content(sweep: Sweep) -> dict[str, Any]:
    source = source_of_sweep(sweep)
    figures, reasons = _figures(source.observations)
    states = {cell.identity: _state(cell) for cell in sweep.cells}
    counts = Counter(states.values())
    axes, called = sweep.axes, short_names(sweep.axes)
    return {
        "sweep": sweep,
        "changed": datetime.fromtimestamp((sweep.path / SWEEP).stat().st_mtime, UTC),
        "made": datetime.fromtimestamp(time.time(), UTC),
        "story": _story(sweep, counts),
        "axes": [(called[name], name, [written(value) for value in values]) for name, values in axes.items()],
        "counts": [(state, _TITLES[state], counts[state]) for state in _TITLES],
        "cells": [(states[cell.identity], _MARKS[states[cell.identity]], _point(cell, called)) for cell in sweep.cells],
        "failures": [(_point(cell, called), cell.failure) for cell in sweep.cells if cell.failure is not None][
            :_MOST_FAILURES
        ],
        "tiles": _tiles(source.observations, counts),
        "figures": figures,
        "reasons": reasons,
        "tables": [_grid(table) for table in _paper_tables(source.observations)],
        "heads": _heads(source),
        "rows": _rows(source),
        "hidden_rows": max(0, len(repeated(source.observations)) - _MOST_ROWS),
        "provenance": _provenance(source),
        "scenario_text": _scenario_text(sweep),
    }


def _scenario_text(sweep: Sweep) -> str:
    path = sweep.path / SWEEP_SCENARIO
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _state(cell: Cell) -> str:
    if cell.run is not None:
        return "finished"
    return "failed" if cell.failure is not None else "to come"


def _point(cell: Cell, called: Mapping[str, str]) -> str:
    return ", ".join(f"{called[name]} {written(value)}" for name, value in cell.point.items())


def _story(sweep: Sweep, counts: Counter[str]) -> str:
    """What is swept and how far it is, in two sentences."""
    called = short_names(sweep.axes)
    words = [
        number(len(values), "seed") if name == "seed" else f"{called[name]} over {_span(values)}"
        for name, values in sweep.axes.items()
    ]
    rest = [f"{number(counts[state], 'cell')} {_TITLES[state]}" for state in ("failed", "to come") if counts[state]]
    done = "all are finished" if not rest else f"{counts['finished']:,} finished, {', '.join(rest)}"
    return f"{'; '.join(words)}: {number(len(sweep.cells), 'cell')}, {done}."


def _span(values: Sequence[Any]) -> str:
    texts = [written(value) for value in values]
    return ", ".join(texts) if len(texts) <= 5 else f"{len(texts)} values from {texts[0]} to {texts[-1]}"


def _tiles(observations: Sequence[Observation], counts: Counter[str]) -> list[tuple[str, str]]:
    """What stands in large figures at the top: (figure, words)."""
    tiles = [(f"{counts['finished']:,} / {counts.total():,}", "cells finished")]
    groups = repeated(observations)
    if not groups:
        return tiles
    best = max(groups, key=lambda group: group.accuracy_percent.mean)
    tiles.append((f"{best.accuracy_percent.mean:.1f} %", f"best mean accuracy: {best.method}"))
    sizes = [group.upload_bytes.mean for group in groups]
    tiles.append(
        (
            _from_to(min(sizes), max(sizes), lambda size: format_size(float(f"{size:.2g}"))),
            "uploaded per client, least and most",
        )
    )
    seconds = [group.last_upload_s.mean for group in groups]
    tiles.append((_from_to(min(seconds), max(seconds), _seconds), "virtual, until the last upload was in"))
    return tiles


def _from_to(low: float, high: float, text: Any) -> str:
    ends = [str(text(value)).replace(" ", "\N{NO-BREAK SPACE}") for value in (low, high)]
    return ends[0] if ends[0] == ends[1] else " \N{EN DASH} ".join(ends)


def _seconds(value_s: float) -> str:
    return f"{value_s:.3g} s"


def _figures(observations: Sequence[Observation]) -> tuple[list[FigureView], list[tuple[str, str]]]:
    """All figures that the runs support, and (name, why not) of the others; no page grows beyond its limit."""
    views: list[FigureView] = []
    reasons: list[tuple[str, str]] = []
    left = _MOST_BYTES_OF_FIGURES
    for name, draw in CHARTS.items():
        try:
            charts = draw(observations)
        except UnsupportedByRunsError as reason:
            reasons.append((name, str(reason)))
            continue
        for chart in charts:
            svg = chart.drawing.svg(chart.title)
            if len(svg) > left:
                reasons.append((chart.name, f"the page would grow too large; collab figures --only {name} draws it"))
                continue
            left -= len(svg)
            views.append(FigureView(chart.name, chart.title, Markup(svg), chart.caption))
    return views, reasons


def _paper_tables(observations: Sequence[Observation]) -> list[Table]:
    """The paper's tables, where the runs have a cell that the paper has, too."""
    found: list[Table] = []
    for make in (table2, table3):
        try:
            found += make(observations)
        except UnsupportedByRunsError:
            continue
    return [table for table in found if any(entry.ours and entry.paper for entry in table.entries.values())]


def _grid(table: Table) -> dict[str, Any]:
    return {
        "title": table.title,
        "heads": [table.corner, *(" ".join(part for part in column if part) for column in table.columns)],
        "rows": [[row, *(cell_text(table, row, column) for column in table.columns)] for row in table.rows],
        "caption": table.caption,
    }


def _heads(source: Source) -> list[str]:
    called = short_names(source.axes)
    heads = [called[name] for name in source.axes if name != "method.name"]
    heads += ["method", "accuracy, %", "n", "up per client", "last upload", "result"]
    return [*heads, *(["energy per client"] if _counts_energy(source.observations) else [])]


def _counts_energy(observations: Sequence[Observation]) -> bool:
    return any(found.energy_j is not None for found in observations)


def _rows(source: Source) -> list[list[Shown]]:
    """A row for each method at each point, seeds together."""
    groups = repeated(source.observations)[:_MOST_ROWS]
    names = [name for name in source.axes if name != "method.name"]
    groups.sort(key=lambda group: [_key(group.value(name)) for name in names])
    return [_row(group, names, energy=_counts_energy(source.observations)) for group in groups]


def _key(value: Any) -> tuple[float, str]:
    found = number_of(value)
    return (-1.0 if found is None else found, str(value))


def _row(group: Repeats, names: Sequence[str], *, energy: bool) -> list[Shown]:
    def estimate(found: Estimate, text: Any) -> Shown:
        return Shown(text(found), found.mean)

    row = []
    for name in names:
        value = group.first.said(name)
        found = number_of(value)
        text = "" if value is None else written(value)
        row.append(Shown(text, text if found is None else found))
    row += [
        Shown(group.method, group.method),
        estimate(group.accuracy_percent, estimate_text),
        Shown(str(group.accuracy_percent.n), group.accuracy_percent.n),
        estimate(group.upload_bytes, lambda found: format_size(found.mean)),
        estimate(group.last_upload_s, lambda found: f"{estimate_text(found)} s"),
        estimate(group.result_s, lambda found: f"{estimate_text(found)} s"),
    ]
    if energy:
        joules = group.energy_j
        row.append(Shown("", -1.0) if joules is None else estimate(joules, lambda found: format_energy(found.mean)))
    return row


def _provenance(source: Source) -> dict[str, Any]:
    """What the numbers are a function of, and what was measured on this machine rather than simulated."""
    runs = [cell.run for cell in source.sweep.finished if cell.run is not None] if source.sweep else []
    return {
        "datasets": list(dict.fromkeys(found.dataset for found in source.observations)),
        "seeds": sorted({found.seed for found in source.observations}),
        "worlds": sorted({found.world for found in source.observations}),
        "versions": _versions(runs),
        "wall_s": sum(float(run.summary.get("wall_s", 0.0)) for run in runs),
        "runs": len(runs),
    }


def _versions(runs: Sequence[Run]) -> Mapping[str, str]:
    """Name -> the versions that the cells had: one, unless the sweep went on after an upgrade or elsewhere."""
    found: dict[str, dict[str, None]] = {}
    for run in runs:
        for name, version in run.environment.items():
            found.setdefault(name, {})[str(version)] = None
    return {name: " and ".join(versions) for name, versions in found.items()}
