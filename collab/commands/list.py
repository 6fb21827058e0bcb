"""`collab list`: the runs and sweeps that were made."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from collab.options import RUNS_DIR, RunsDir

if TYPE_CHECKING:
    from rich.console import Console

    from collab.store import Cell, Run, Sweep
    from collab.store.selection import Selection

SortBy = Literal["name", "time", "accuracy", "bytes", "seconds"]
_WIDE, _NARROW = 112, 72  # columns of the terminal: all is shown; a table has no room
_MOST_VALUES = 6
_NO_TITLE = "data unknown"  # runs of early versions do not say it
_TEXTS = ("run", "scenario", "data set", "method", "made", "sweep", "swept", "cell")


def command(
    scenario: Annotated[
        str | None, typer.Option(help="Only runs of this scenario; * and ? stand for anything.")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Only runs with this method, and only it; may hold * and ?.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Only runs on this data set; may hold * and ?.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE",
            help="Only runs whose scenario has it, e.g. partition.beta=0.1; also <, >, <=, >=, !=; repeatable.",
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help='Only runs made since: 2026-03-01, "2 h", 3d, 1w.')
    ] = None,
    sort: Annotated[
        SortBy, typer.Option(help="By what the runs are sorted; of several methods the first counts.")
    ] = "name",
    cells: Annotated[str | None, typer.Option(metavar="SWEEP", help="The cells of a sweep instead.")] = None,
    runs_dir: RunsDir = RUNS_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON on standard output.")] = False,
) -> None:
    """List the runs and sweeps that were made, all or some of them."""
    from collab.store import damaged_runs, find_sweep, list_runs, list_sweeps

    chosen = _selection(scenario, method, dataset, where or [], since)
    if cells is not None:
        _list_cells(find_sweep(cells, runs_dir), chosen, as_json=as_json)
        return
    found, sweeps, damaged = list_runs(runs_dir), list_sweeps(runs_dir), damaged_runs(runs_dir)
    rows = _sorted([_Row.of(run, chosen) for run in found if chosen.takes(run)], sort)
    swept = [row for sweep in sweeps if (row := _SweepRow.of(sweep, chosen)).shown]
    if as_json:
        told = {"runs": [row.data() for row in rows], "sweeps": [row.data() for row in swept]}
        print(json.dumps({**told, "damaged": [str(path) for path in damaged]}, indent=1))
    else:
        _print(rows, swept)
    for path in damaged:
        _say(f"not listed: {path} is damaged, its summary cannot be read; run the scenario again, or remove it")
    if not found and not sweeps and not damaged:
        _say(f"no runs in {runs_dir} yet; make one with: collab run scenarios/quickstart.yaml")
    elif not rows and not swept and (found or sweeps):
        _say(f"none of {len(found)} runs and {len(sweeps)} sweeps in {runs_dir} is wanted")
        _explain(chosen, [*found, *(cell.run for sweep in sweeps for cell in sweep.finished if cell.run is not None)])


def _selection(
    scenario: str | None, method: str | None, dataset: str | None, where: Sequence[str], since: str | None
) -> Selection:
    from collab.store.selection import Condition, Selection, moment

    try:
        conditions = tuple(Condition.parse(text) for text in where)
        from_then_on = None if since is None else moment(since)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return Selection(scenario, method, dataset, from_then_on, conditions)


def _explain(chosen: Selection, runs: Sequence[Run]) -> None:
    """Say what stands where the conditions look, or that nothing does: most likely a field is misspelt."""
    from collab.document import nearest
    from collab.store.selection import flattened

    if not chosen.conditions:
        return
    known: dict[str, dict[str, None]] = {}
    for run in runs:
        for name, value in flattened(run.scenario):
            known.setdefault(name, {})[str(value)] = None
    for condition in chosen.conditions:
        if condition.field in known:
            values = list(known[condition.field])
            more = ", ..." if len(values) > _MOST_VALUES else ""
            _say(f"{condition.field} is {', '.join(values[:_MOST_VALUES])}{more} in them")
        else:
            hint = nearest(condition.field, sorted(known)).split(" (known:")[0]
            _say(f"no run has the setting {condition.field}{hint}")


# -- what is listed ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    """A run, and the rows of the wanted methods in its summary."""

    run: Run
    methods: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, run: Run, chosen: Selection) -> _Row:
        return cls(run, chosen.methods(run))

    @property
    def first(self) -> Mapping[str, Any]:
        return next(iter(self.methods.values()))

    def data(self) -> dict[str, Any]:
        from collab.store.selection import made

        kept = {key: self.run.summary.get(key) for key in ("scenario", "seed", "dataset", "world", "wall_s")}
        name, path, methods = self.run.path.name, str(self.run.path), dict(self.methods)
        return {"name": name, "path": path, "made": made(self.run).isoformat(), **kept, "methods": methods}

    def when(self, *, exactly: bool = True) -> str:
        from collab.store.selection import made

        return f"{made(self.run).astimezone():{'%Y-%m-%d %H:%M' if exactly else '%Y-%m-%d'}}"


@dataclass(frozen=True)
class _SweepRow:
    """A sweep, and how its cells are."""

    sweep: Sweep
    finished: int
    failed: int
    shown: bool

    @classmethod
    def of(cls, sweep: Sweep, chosen: Selection) -> _SweepRow:
        finished = sweep.finished
        failed = sum(cell.failure is not None for cell in sweep.cells)
        shown = chosen.is_everything or any(cell.run is not None and chosen.takes(cell.run) for cell in finished)
        return cls(sweep, len(finished), failed, shown)

    def data(self) -> dict[str, Any]:
        counts = {"cells": len(self.sweep.cells), "finished": self.finished, "failed": self.failed}
        name, path = self.sweep.path.name, str(self.sweep.path)
        return {"name": name, "path": path, "scenario": self.sweep.name, **counts, "axes": self.sweep.axes}


def _sorted(rows: Sequence[_Row], sort: SortBy) -> list[_Row]:
    from collab.store.selection import made

    match sort:
        case "name":
            return sorted(rows, key=lambda row: row.run.path.name)
        case "time":
            return sorted(rows, key=lambda row: made(row.run), reverse=True)
        case "accuracy":
            return sorted(rows, key=lambda row: -float(row.first["accuracy"]))
        case "bytes":
            return sorted(rows, key=lambda row: float(row.first["bytes_up_per_client"]))
        case "seconds":
            return sorted(rows, key=lambda row: float(row.first["result_s"]))


# -- for people ----------------------------------------------------------------------------------


def _print(rows: Sequence[_Row], sweeps: Sequence[_SweepRow]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    if rows:
        (_print_short if console.width < _NARROW else _print_table)(console, rows)
    if sweeps:
        _print_sweeps(console, sweeps)


def _print_table(console: Console, rows: Sequence[_Row]) -> None:
    wide = console.width >= _WIDE  # else the data is told below
    more = ("scenario", "data set") if wide else ()
    table = _table(("run", *more, "seed", "method", "accuracy %", "up/client", "result", "made"))
    for row in rows:
        summary, first = row.run.summary, True
        for name, method in row.methods.items():
            told = (summary["scenario"], summary.get("dataset", "")) if wide else ()
            names = (row.run.path.name, *told, summary["seed"]) if first else ("",) * (2 + len(told))
            table.add_row(*map(str, names), name, *_numbers(method), row.when(exactly=wide) if first else "")
            first = False
    console.print(table)
    if not wide:
        _print_data(console, rows)


def _print_data(console: Console, rows: Sequence[_Row]) -> None:
    """What data the accuracies are of: a line, or one for each data set."""
    runs: dict[str, list[str]] = {}
    for row in rows:
        runs.setdefault(row.run.summary.get("dataset", _NO_TITLE), []).append(row.run.path.name)
    for title, names in runs.items():
        console.print(f"{title}: {'all runs' if len(runs) == 1 else ', '.join(names)}", markup=False)


def _print_short(console: Console, rows: Sequence[_Row]) -> None:
    for row in rows:
        summary = row.run.summary
        told = f"{summary['scenario']}, seed {summary['seed']}, {summary.get('dataset', _NO_TITLE)}, {row.when()}"
        console.print(f"{row.run.path.name}: {told}", markup=False)
        for name, method in row.methods.items():
            accuracy, size, seconds = _numbers(method)
            console.print(f"  {name} {accuracy} %, {size} up, {seconds}", markup=False)


def _numbers(method: Mapping[str, Any]) -> tuple[str, str, str]:
    """Accuracy, bytes and seconds of a method, as they stand in a table."""
    from collab.console import with_deviation
    from simnet.units import format_size

    judged = method.get("accuracies")  # runs of early versions lack it
    accuracy = f"{100 * method['accuracy']:.1f}" if not judged else with_deviation(next(iter(judged.values())))
    return accuracy, format_size(method["bytes_up_per_client"]), f"{method['result_s']:.3f} s"


def _print_sweeps(console: Console, sweeps: Sequence[_SweepRow]) -> None:
    table = _table(("sweep", "cells", "finished", "failed", "swept"))
    for row in sweeps:
        swept = ", ".join(f"{field} ({len(values)})" for field, values in row.sweep.axes.items())
        counts = (len(row.sweep.cells), row.finished, row.failed or "")
        table.add_row(row.sweep.path.name, *map(str, counts), swept)
    console.print(table)


def _table(columns: Sequence[str]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in columns:
        text = column in _TEXTS
        fold = column in ("run", "sweep", "swept")
        table.add_column(column, justify="left" if text else "right", no_wrap=not fold, overflow="fold")
    return table


# -- the cells of a sweep ------------------------------------------------------------------------


def _list_cells(sweep: Sweep, chosen: Selection, *, as_json: bool) -> None:
    cells = [cell for cell in sweep.cells if chosen.is_everything or (cell.run is not None and chosen.takes(cell.run))]
    if as_json:
        print(json.dumps(cells_data(cells, chosen), indent=1))
    else:
        print_cells(sweep, cells, chosen)


def cells_data(cells: Sequence[Cell], chosen: Selection) -> list[dict[str, Any]]:
    """Cells of a sweep as plain data: their points, and what came out or why nothing did."""
    return [_cell_data(cell, chosen) for cell in cells]


def _cell_data(cell: Cell, chosen: Selection) -> dict[str, Any]:
    data: dict[str, Any] = {"cell": cell.identity, "point": dict(cell.point), "state": _state(cell)}
    if cell.run is not None:
        title = cell.run.summary.get("dataset")
        return {**data, "path": str(cell.run_path), "dataset": title, "methods": dict(chosen.methods(cell.run))}
    failure = cell.failure
    return data if failure is None else {**data, "path": str(cell.failed_path), "error": failure.error}


def _state(cell: Cell) -> str:
    if cell.run is not None:
        return "finished"
    return "to come" if cell.failure is None else "failed"


def print_cells(sweep: Sweep, cells: Sequence[Cell], chosen: Selection) -> None:
    """A table of cells of a sweep: their points, and what came out or why nothing did."""
    from rich.console import Console
    from rich.text import Text

    from collab.store import data_titles

    console, fields = Console(highlight=False), list(sweep.axes)
    titles = ", ".join(data_titles(cells))
    if console.width < _NARROW + 8 * len(fields) - 16:
        _print_cells_short(console, cells, chosen)
        if titles:
            console.print(titles, markup=False, soft_wrap=True)
        return
    table = _table(("cell", *_short(fields), "method", "accuracy %", "up/client", "result"))
    for cell in cells:
        point = [str(cell.point.get(field, "")) for field in fields]
        if cell.run is None:
            table.add_row(
                cell.identity, *point, Text("to come", "dim") if cell.failure is None else Text("failed", "red")
            )
            continue
        for number, (name, method) in enumerate(chosen.methods(cell.run).items()):
            names = (cell.identity, *point) if number == 0 else ("",) * (1 + len(point))
            table.add_row(*names, name, *_numbers(method))
    console.print(table)
    failed = [(cell, cell.failure) for cell in sweep.cells if cell.failure is not None]
    for cell, failure in failed if len(cells) == len(sweep.cells) else ():
        console.print(Text(f"{cell.identity} failed: {failure.error}", "red"), soft_wrap=True)
    count = f"{len(sweep.cells)} cells: {len(sweep.finished)} finished, {len(failed)} failed"
    console.print(
        f"{', '.join(filter(None, [sweep.path.name, titles]))}, {count}; show one: collab show {sweep.path.name}/CELL",
        soft_wrap=True,
    )


def _print_cells_short(console: Console, cells: Sequence[Cell], chosen: Selection) -> None:
    for cell in cells:
        point = ", ".join(f"{field} {value}" for field, value in cell.point.items())
        console.print(f"{cell.identity}: {point}", markup=False, soft_wrap=True)
        if cell.run is None:
            failure = cell.failure
            console.print("  to come" if failure is None else f"  failed: {failure.error}", markup=False)
            continue
        for name, method in chosen.methods(cell.run).items():
            accuracy, size, seconds = _numbers(method)
            console.print(f"  {name} {accuracy} %, {size} up, {seconds}", markup=False)


def _short(fields: Sequence[str]) -> list[str]:
    """The last part of each dotted name, or all of it where two end alike."""
    ends = [field.rsplit(".", 1)[-1] for field in fields]
    return [end if ends.count(end) == 1 else field for field, end in zip(fields, ends, strict=True)]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
