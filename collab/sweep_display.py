"""What the user sees of a sweep: live, on standard error, how its cells get on; at the end the table of results."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from collab.console import LiveDisplay, errors, output
from collab.plan import PlannedCell, in_words
from collab.run_listener import Silence
from collab.store import Sweep, data_titles
from collab.store.sweeps import CELLS
from collab.sweep import CellOutcome
from collab.sweep_settings import SEED
from simnet import Network
from simnet.units import format_size

_SHOWN_ENDED = 8


@dataclass
class _Running:
    cell: PlannedCell
    began_s: float
    doing: str = ""


class SweepDisplay(LiveDisplay, Silence):
    """A listener that draws the cells that run, those that ended last, and how long the rest may take.

    Where there is no terminal it prints a line for each cell that ended.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._running: dict[str, _Running] = {}
        self._ended: list[tuple[PlannedCell, CellOutcome]] = []
        self._all = self._before = self._failed_before = self._to_run = 0
        self._workers = 1
        self._method = ""
        self._data: tuple[str, ...] = ()
        self._began_s = time.monotonic()
        super().__init__(self._draw, refresh_per_second=4)

    # -- what happens ----------------------------------------------------------------------------

    def planned(self, sweep: Sweep, waiting: int, workers: int) -> None:
        """So many cells are to be run."""
        cells = sweep.cells
        self._all, self._to_run, self._workers = len(cells), waiting, workers
        self._before = sum(cell.is_finished for cell in cells)
        self._failed_before = len(cells) - self._before - waiting
        self._data = data_titles(sweep.finished)
        self._began_s = time.monotonic()
        if self._before or self._failed_before:
            failed = f", {self._failed_before} failed before (--retry-failed runs them again)"
            errors.print(
                f"{self._before} of {self._all} cells are finished already{failed if self._failed_before else ''}"
            )
        if strangers := len(sweep.strangers):
            errors.print(
                f"{strangers} finished cells in {sweep.path / CELLS} are of another sweep (other values, or settings); "
                "they stay, but are no part of this one",
                markup=False,
            )

    def cell_began(self, cell: PlannedCell) -> None:
        """A cell is run from now on."""
        self._running[cell.identity] = _Running(cell, time.monotonic())

    def cell_ended(self, cell: PlannedCell, outcome: CellOutcome) -> None:
        """A cell is finished, or has failed."""
        del self._running[cell.identity]
        self._ended.append((cell, outcome))
        if outcome.summary is not None:
            self._data = tuple(dict.fromkeys((*self._data, outcome.summary["dataset"])))
        if not errors.is_terminal:
            left = self._left_in_words()
            number = f"{len(self._ended)}/{self._to_run}"
            text = f"{number}  {in_words(cell.point)}: {_outcome_in_words(outcome)}{left and f', {left}'}"
            errors.print(text, markup=False)

    def method_began(self, name: str, sites: int, network: Network) -> None:
        """A method of a cell that runs in this process."""
        self._method = name

    def progress(self, what: str, done: int, total: int) -> None:
        """A computation of a cell that runs in this process got on."""
        for running in self._running.values():
            running.doing = f"{self._method}: {what} {done}/{total}"

    # -- drawing ---------------------------------------------------------------------------------

    def left_s(self) -> float | None:
        """An estimate of the time left, from the mean of the cells so far; None while there is none."""
        if not self._ended:
            return None
        mean_s = statistics.fmean(outcome.wall_s for _, outcome in self._ended)
        now_s = time.monotonic()
        in_hand_s = sum(max(0.0, mean_s - (now_s - running.began_s)) for running in self._running.values())
        waiting = self._to_run - len(self._ended) - len(self._running)
        return (in_hand_s + waiting * mean_s) / self._workers

    def _left_in_words(self) -> str:
        left_s = self.left_s()
        return "" if left_s is None or len(self._ended) == self._to_run else f"about {_time_in_words(left_s)} left"

    def _draw(self) -> RenderableType:
        failed = self._failed_before + sum(outcome.failure is not None for _, outcome in self._ended)
        done = self._before + len(self._ended) - (failed - self._failed_before)
        elapsed = _time_in_words(time.monotonic() - self._began_s)
        head = Text(f"{', '.join([self._title, *self._data])} · {done} of {self._all} cells", "bold")
        if failed:
            head.append(f" · {failed} failed", "bold red")
        left = self._left_in_words()
        head.append(f" · {elapsed} so far{left and f' · {left}'}", "dim")
        bar = ProgressBar(total=max(self._all, 1), completed=done + failed, width=60)
        table = Table.grid(padding=(0, 2))
        for cell, outcome in self._ended[-_SHOWN_ENDED:]:
            style = "green" if outcome.failure is None else "red"
            point = Text(in_words(cell.point))
            table.add_row(Text(cell.identity, "dim"), point, Text(_outcome_in_words(outcome), style))
        for running in list(self._running.values()):
            since = f"runs since {time.monotonic() - running.began_s:.0f} s"
            table.add_row(
                Text(running.cell.identity, "dim"),
                Text(in_words(running.cell.point), "bold"),
                Text(f"{since}{running.doing and f' · {running.doing}'}"),
            )
        return Group(head, bar, table)


def _outcome_in_words(outcome: CellOutcome) -> str:
    if outcome.failure is not None:
        return f"failed: {outcome.failure.error.splitlines()[0]}"
    summary = outcome.summary or {}
    accuracies = ", ".join(f"{name} {100 * row['accuracy']:.1f} %" for name, row in summary["methods"].items())
    return f"{accuracies} on {summary['dataset']} in {_time_in_words(outcome.wall_s)}"


def _time_in_words(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def print_sweep(sweep: Sweep) -> None:
    """A row for each point and method: means and standard deviations over the seeds."""
    fields = [field for field in sweep.axes if field != SEED]
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for cell in sweep.finished:
        if cell.run is not None:
            groups[tuple(str(cell.point[field]) for field in fields)].append(cell.run.summary["methods"])
    if groups:
        output.print(_table(", ".join([sweep.name, *data_titles(sweep.finished)]), fields, groups))
        seeds = max(len(summaries) for summaries in groups.values())
        if seeds > 1:
            output.print(f"means over up to {seeds} seeds, ± their standard deviation (n - 1)", soft_wrap=True)


def _table(name: str, fields: Sequence[str], groups: Mapping[tuple[str, ...], Sequence[Mapping[str, Any]]]) -> Table:
    table = Table(title=name, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for field in fields:
        table.add_column(field.rsplit(".", 1)[-1], justify="right")
    table.add_column("method", no_wrap=True)
    for column in ("n", "accuracy\n%", "up per\nclient", "last\nupload", "result"):
        table.add_column(column, justify="right")
    for point, summaries in groups.items():
        shown = point
        for method in summaries[0]:
            rows = [summary[method] for summary in summaries if method in summary]
            table.add_row(*map(Text, shown), method, str(len(rows)), *_means(rows))
            shown = ("",) * len(point)
    return table


def _means(rows: Sequence[Mapping[str, Any]]) -> tuple[str, str, str, str]:
    accuracies = [100 * row["accuracy"] for row in rows]
    spread = f" ±{statistics.stdev(accuracies):.1f}" if len(rows) > 1 else ""
    return (
        f"{statistics.fmean(accuracies):.1f}{spread}",
        format_size(statistics.fmean(row["bytes_up_per_client"] for row in rows)),
        f"{statistics.fmean(row['last_upload_s'] for row in rows):.3f} s",
        f"{statistics.fmean(row['result_s'] for row in rows):.3f} s",
    )
