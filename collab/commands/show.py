"""`collab show`: a run in the terminal; of a sweep its cells."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from collab.errors import RunDirectoryError
from collab.options import RUNS_DIR, RunsDir

if TYPE_CHECKING:
    from rich.console import Console

    from collab.store import Run, Sweep

_MOST_CLIENTS, _MOST_CLASSES, _LARGEST = 20, 12, 3
_VERSIONS = ("collab-edge", "torch", "python", "device", "precision", "threads")


def command(
    run: Annotated[str, typer.Argument(help="Run directory, its name, SWEEP/CELL, or latest; or a sweep.")] = "latest",
    runs_dir: RunsDir = RUNS_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON on standard output.")] = False,
) -> None:
    """Show a run: what ran, what came out, who held what, where the time went, what crossed. Of a sweep, its cells."""
    from collab.store import Sweep, find

    found = find(run, runs_dir)
    if isinstance(found, Sweep):
        _show_sweep(found, as_json=as_json)
        return
    if not found.is_whole():
        raise RunDirectoryError(f"{found.path} is damaged: its summary cannot be read; run the scenario again")
    if as_json:
        print(json.dumps(_as_data(found), indent=1))
    else:
        _show(found)


def _show_sweep(sweep: Sweep, *, as_json: bool) -> None:
    from collab.commands import list as listing
    from collab.store.selection import Selection

    if as_json:
        print(json.dumps(listing.cells_data(sweep.cells, Selection()), indent=1))
    else:
        listing.print_cells(sweep, sweep.cells, Selection())


# -- for programs --------------------------------------------------------------------------------


def _as_data(run: Run) -> dict[str, Any]:
    from collab.run_overview import files, ledger_totals, slowest_path
    from collab.store.detection import CONFUSIONS
    from collab.store.selection import made

    paths = {method.name: slowest_path(method) for method in run.methods}
    return {
        "run_dir": str(run.path),
        "made": made(run).isoformat(),
        "summary": run.summary,
        "environment": run.environment,
        "partition": run.partition,
        "dataset": run.dataset,
        CONFUSIONS: {method.name: method.outcome.get(CONFUSIONS, {}) for method in run.methods},
        "slowest_path": {name: None if path is None else asdict(path) for name, path in paths.items()},
        "ledger": {method.name: asdict(ledger_totals(method)) for method in run.methods},
        "files": [asdict(file) for file in files(run)],
    }


# -- for people ----------------------------------------------------------------------------------


def _show(run: Run) -> None:
    from rich.console import Console

    from collab.console import print_summary
    from collab.store.selection import made

    try:
        print_summary({**run.summary, "run_dir": str(run.path)})
    except KeyError as error:
        raise RunDirectoryError(
            f"the summary of {run.path} lacks {error}: it is damaged, or was written by another version; run it again: "
            f"collab run {run.path / 'scenario.yaml'}"
        ) from error
    console = Console(highlight=False)
    environment = run.environment
    versions = ", ".join(f"{name} {environment[name]}" for name in _VERSIONS if name in environment)
    _say(console, f"made {made(run).astimezone():%Y-%m-%d %H:%M}; {versions}")
    _show_holdings(console, run)
    _show_classes(console, run)
    _show_time(console, run)
    _show_ledger(console, run)
    _show_files(console, run)


def _say(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, markup=False)


def _show_holdings(console: Console, run: Run) -> None:
    from collab.store.detection import named_classes, station_of_client

    partition, station_of = run.partition, station_of_client(run)
    names = named_classes(run)[0] or [str(label) for label in range(len(next(iter(partition.values()))))]
    narrow = len(names) <= _MOST_CLASSES and 14 + sum(max(6, 2 + len(name)) for name in names) <= console.width
    table = _table("client", *(names if narrow else ["classes", "most of"]), "samples")
    for client in list(partition)[:_MOST_CLIENTS]:
        counts = partition[client]
        cells = [str(count) if count else "." for count in counts] if narrow else _most_of(counts, names)
        table.add_row(" ".join([client, station_of.get(client, "")]).strip(), *cells, f"{sum(counts):,}")
    if len(partition) > _MOST_CLIENTS:
        table.add_row(f"{len(partition) - _MOST_CLIENTS:,} more")
    _titled(console, "who held what: samples of each class", table)


def _most_of(counts: Sequence[int], names: Sequence[str]) -> list[str]:
    order = sorted(range(len(counts)), key=lambda label: -counts[label])[:_LARGEST]
    named = ", ".join(f"{names[label]} ({counts[label]})" for label in order if counts[label])
    return [str(sum(count > 0 for count in counts)), named]


def _show_classes(console: Console, run: Run) -> None:
    """How well the first method's result tells the classes apart, and how all results do as detectors."""
    from collab.store import detection

    names, benign = detection.named_classes(run)
    if not names:
        return
    kept = {method.name: detection.read_confusions(method, len(names)) for method in run.methods}
    results = {name: detection.summed(next(iter(networks.values()))) for name, networks in kept.items() if networks}
    if not results:
        return
    first, matrix = next(iter(results.items()))
    alarm = ("alarm %",) if benign is not None else ()
    table = _table("class", "precision %", "recall %", "F1 %", *alarm)
    for row in detection.by_class(matrix, names, benign):
        values = (row.precision, row.recall, row.f1, *((row.alarms,) if alarm else ()))
        table.add_row(row.name, *map(_percent, values))
    _titled(console, f"{first}, by class of the test data", table)
    if benign is None:
        return
    table = _table("method", "false alarms %", "attacks detected %")
    for name, matrix in results.items():
        rates = (detection.false_alarm_rate(matrix, benign), detection.detection_rate(matrix, benign))
        table.add_row(name, *map(_percent, rates))
    _titled(console, f"alarms: whatever is not taken for {names[benign]}", table)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _show_time(console: Console, run: Run) -> None:
    from collab.run_overview import slowest_path

    table = _table("method", "last site", "computed", "network, waiting", "last upload", "server", "result")
    for method in run.methods:
        path = slowest_path(method)
        if path is not None:
            moments = (path.computed_s, path.elsewhere_s, path.last_upload_s, path.server_s, path.result_s)
            table.add_row(method.name, path.site, *(f"{moment:.3f}" for moment in moments))
    unit = "virtual" if run.summary.get("world") == "simulated" else "real"
    _titled(console, f"slowest path, {unit} seconds", table)


def _show_ledger(console: Console, run: Run) -> None:
    from collab.run_overview import ledger_totals
    from simnet.units import format_size

    table = _table("method", "messages", "bytes", "refused")
    for method in run.methods:
        totals = ledger_totals(method)
        table.add_row(method.name, f"{totals.messages:,}", format_size(totals.size_bytes), f"{totals.refused:,}")
    _titled(console, "what crossed a boundary (more: collab audit)", table)


def _show_files(console: Console, run: Run) -> None:
    from collab.run_overview import files
    from simnet.units import format_size

    table = _table("file", "size")
    for file in files(run):
        table.add_row(file.name, format_size(file.size_bytes))
    _titled(console, f"files in {run.path}", table)


def _table(*columns: str) -> Any:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for number, column in enumerate(columns):
        left = number == 0 or column in ("last site", "most of")
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    return table


def _titled(console: Console, title: str, table: Any) -> None:
    console.print(f"\n{title}", style="dim", markup=False)
    console.print(table)
