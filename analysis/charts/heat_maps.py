"""Accuracy over two swept settings, clients by skew for instance, as a heat map with deviations over the seeds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from analysis.captions import provenance, titled
from analysis.charts.chart import Chart, empty
from analysis.naming import on_axis, short_names, written
from analysis.observations import Estimate, Observation, number_of, repeated, varying
from analysis.style import BLUE, INK, PAGE_WIDTH_IN, PAPER, Drawing, drawn, shades
from analysis.tables import UnsupportedByRunsError, apart_by_settings, named_after

_USUAL = ("partition.clients", "partition.beta")
_OF_LEARNING = ("method.", "partition.", "dataset.", "evaluation.")
_MOST_METHODS = 6
_MOST_CHARTS = 3
_DARKEST = 0.65
"""Opacity of the best cell: ink is readable on it, on light pages and on dark ones."""


def heat_maps(observations: Sequence[Observation]) -> list[Chart]:
    """A chart for each combination of further settings (three at most), in it a panel for each method.

    Raises `UnsupportedByRunsError` unless two settings of learning vary.
    """
    fields = [name for name in varying(observations, ("method.name",)) if name.startswith(_OF_LEARNING)]
    pair = list(_USUAL) if set(_USUAL) <= set(fields) else fields[:2]
    if len(pair) < 2:
        raise UnsupportedByRunsError("a heat map needs two settings of data, partition or method that vary")
    parts = list(apart_by_settings(observations, (*pair, "network.")))
    return [_heat_map(part, pair[0], pair[1], words) for words, part in parts[:_MOST_CHARTS]]


def _heat_map(observations: Sequence[Observation], down: str, across: str, words: str) -> Chart:
    methods = list(dict.fromkeys(found.method for found in observations))[:_MOST_METHODS]
    called = short_names((down, across))
    rows, columns = (_values(observations, name) for name in (down, across))
    cells = {
        (group.method, written(group.value(down)), written(group.value(across))): group.accuracy_percent
        for group in repeated(observations)
    }
    most = max(found.mean for found in cells.values())
    least = min(found.mean for found in cells.values())
    wide = min(len(methods), 2)
    high = -(-len(methods) // wide)
    height = 0.9 + high * (0.55 + 0.52 * len(rows))
    with drawn(height, width_in=PAGE_WIDTH_IN, rows=high, columns=wide, sharex=True, sharey=True) as drawing:
        for axes in drawing.panels[len(methods) :]:
            empty(axes)
        for number, method in enumerate(methods):
            grid = [[cells.get((method, row, column)) for column in columns] for row in rows]
            _panel(drawing, number, grid, least, most)
            axes = drawing.panels[number]
            axes.set_title(method, loc="left", fontsize=10)
            axes.set_xticks(np.arange(len(columns)) + 0.5, columns)
            axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
        drawing.axes.invert_yaxis()
        drawing.figure.supxlabel(on_axis(across), fontsize=10, color=INK)
        drawing.figure.supylabel(on_axis(down), fontsize=10, color=INK)
    whole = all(place in cells for place in product(methods, rows, columns))
    missing = "" if whole else " Cells without a number have no finished run."
    caption = (
        f"Accuracy on test data in percent over {called[down]} (rows) and {called[across]} (columns)"
        f"{', ' + words if words else ''}: mean ± standard deviation, and the number n of seeds.{missing} One scale "
        f"for all panels, {least:.1f} to {most:.1f} %. {provenance(observations)}"
    )
    title = titled(f"Accuracy over {called[down]} and {called[across]}{f' ({words})' if words else ''}", observations)
    return Chart(f"heat-map{named_after(words)}", title, drawing, caption)


def _values(observations: Sequence[Observation], name: str) -> list[str]:
    values: dict[str, Any] = {
        written(found.value(name)): found.value(name) for found in observations if found.value(name) is not None
    }
    return sorted(values, key=lambda text: (number_of(values[text]) is None, number_of(values[text]) or 0.0, text))


def _panel(drawing: Drawing, number: int, grid: Sequence[Sequence[Estimate | None]], least: float, most: float) -> None:
    axes = drawing.panels[number]
    means = np.array([[np.nan if cell is None else cell.mean for cell in row] for row in grid])
    # From a little below the least: a cell that is there is never as pale as one that is missing.
    floor = least - max(0.25 * (most - least), 0.5)
    axes.pcolormesh(
        means, cmap=shades(BLUE), vmin=floor, vmax=floor + (most - floor) / _DARKEST, edgecolor=PAPER, linewidth=1.5
    )
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    for row, column in np.ndindex(*means.shape):
        cell = grid[row][column]
        if cell is None:
            continue
        spread = f"± {cell.deviation:.1f}, n {cell.n}" if cell.n > 1 else "n 1"
        axes.text(column + 0.5, row + 0.42, f"{cell.mean:.1f}", ha="center", va="center", color=INK, fontsize=10.5)
        axes.text(column + 0.5, row + 0.72, spread, ha="center", va="center", color=INK, fontsize=7.5)
