"""The figures of a run's report, as SVG or PNG text that can stand in a page."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray

from analysis.critical_path import Step
from analysis.style import (
    BLUE,
    CHALK,
    FAINT,
    INK,
    ORANGE,
    PAGE_WIDTH_IN,
    PAPER,
    RED,
    SERIES_COLOURS,
    SERIES_MARKERS,
    SKY,
    SOFT,
    WASH,
    drawn,
    shades,
)  # fmt: skip
from analysis.timeline import SERVER, Doing, LinkUse, Timeline
from collab.store import pictures
from simnet.units import format_energy, format_size

DOING_COLOURS: Mapping[Doing, str] = {"computing": BLUE, "sending": ORANGE, "waiting": WASH}
MOST_ROWS = 40
MOST_CLIENTS = 200
MOST_NUMBERED_CELLS = 400
MOST_PICTURE_BYTES = 1_000_000
"""Of the pixels of all synthetic images of a page; as PNG, in text, they take at most half as much again."""


def label_heat_map(
    partition: Mapping[str, Sequence[int]], names: Sequence[str] = (), width_in: float = PAGE_WIDTH_IN
) -> str:
    """Samples of each class (columns, by their `names` if they have any) at each client (rows)."""
    clients = list(partition)[:MOST_CLIENTS]
    counts = np.array([partition[client] for client in clients])
    row_in = 0.32 if len(clients) <= MOST_ROWS else 0.1
    with drawn(1.1 + row_in * len(clients), width_in=width_in) as drawing:
        axes = drawing.axes
        # Vectors, not an image: the page's own colours show through.
        gap = 1.0 if len(clients) <= MOST_ROWS else 0.4
        cells = axes.pcolormesh(counts, cmap=shades(BLUE), vmin=0, edgecolor=PAPER, linewidth=gap)
        axes.invert_yaxis()
        labels = list(names) or [str(label) for label in range(counts.shape[1])]
        axes.set_xticks(np.arange(counts.shape[1]) + 0.5, labels, **class_ticks(labels, width_in))
        step = 1 if len(clients) <= MOST_ROWS else 5
        axes.set_yticks(np.arange(0, len(clients), step) + 0.5, clients[::step])
        axes.tick_params(length=0)
        axes.set_xlabel("class")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        if counts.size <= MOST_NUMBERED_CELLS and len(clients) <= MOST_ROWS:
            limit = counts.max() * 0.6
            for row, column in np.argwhere(counts).tolist():
                value = counts[row, column]
                axes.text(
                    column + 0.5, row + 0.5, f"{value:,}", ha="center", va="center",
                    fontsize=8.5 if width_in >= PAGE_WIDTH_IN else 7, color=CHALK if value > limit else INK,
                )  # fmt: skip
        bar = drawing.figure.colorbar(cells, ax=axes, label="samples", shrink=min(0.9, 24 / len(clients)), pad=0.01)
        bar.outline.set_visible(False)
    return drawing.svg("samples of each class at each site")


def class_ticks(labels: Sequence[str], width_in: float) -> dict[str, Any]:
    """How the names of classes stand below a figure of the page: aslant where they have no room side by side."""
    letters = max(map(len, labels)) * len(labels)
    return {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if letters > 8.5 * width_in else {}


def gantt(shown: Timeline, path: Sequence[Step], unit: str, width_in: float = PAGE_WIDTH_IN) -> str:
    """One row a host: waiting, computing, sending; the critical path is outlined, and runs from row to row."""
    hosts = _rows(shown, path)
    row_of = {host: row for row, host in enumerate(hosts)}
    least_s = shown.end_s * 0.0015  # or it would not be seen
    with drawn(1.45 + 0.3 * len(hosts), width_in=width_in) as drawing:
        axes = drawing.axes
        for host, row in row_of.items():
            for span in shown.spans[host]:
                axes.barh(
                    row, max(span.end_s - span.start_s, least_s), left=span.start_s, height=0.66,
                    color=DOING_COLOURS[span.doing], linewidth=0,
                )  # fmt: skip
        for step in path:
            _draw_step(axes, step, row_of, least_s)
        axes.axvline(shown.last_upload_s, color=SOFT, linewidth=1, linestyle=(0, (3, 2)), zorder=4)
        early = shown.last_upload_s < shown.end_s * 0.6
        axes.annotate(
            f"last upload ({shown.slowest}) {shown.last_upload_s:.3f} s",
            (shown.last_upload_s, -0.85),
            xytext=(4 if early else -4, 0),
            textcoords="offset points",
            color=SOFT,
            fontsize=8.5,
            ha="left" if early else "right",
        )
        axes.set_yticks(range(len(hosts)), hosts)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(hosts) - 0.4, -1.2)
        axes.set_xlim(0, shown.end_s * 1.01)
        axes.set_xlabel(f"{unit} seconds")
        axes.grid(visible=False, axis="y")
        legend = [Patch(color=colour, label=doing) for doing, colour in DOING_COLOURS.items()]
        legend.append(Patch(facecolor="none", edgecolor=RED, linewidth=1.8, label="critical path"))
        drawing.figure.legend(handles=legend, loc="outside lower center", ncols=_columns(4, width_in))
    return drawing.svg("what each host did when, and the critical path")


def _draw_step(axes: Axes, step: Step, row_of: Mapping[str, int], least_s: float) -> None:
    """Outline a step of the critical path, and join it to the row that it hands over to."""
    row = row_of[step.host]
    if step.kind == "waiting":
        axes.plot([step.start_s, step.end_s], [row, row], color=RED, linewidth=1.8, linestyle=(0, (2, 1.5)), zorder=5)
        return
    axes.barh(
        row, max(step.duration_s, least_s), left=step.start_s, height=0.66, facecolor="none", edgecolor=RED,
        linewidth=1.8, zorder=5,
    )  # fmt: skip
    if step.to is not None:
        axes.plot([step.end_s, step.end_s], [row, row_of[step.to]], color=RED, linewidth=1.2, zorder=4)


def _rows(shown: Timeline, path: Sequence[Step]) -> list[str]:
    """The hosts to show: all, or those on the critical path and the slowest if there are too many; the server last."""
    sites = [host for host in shown.spans if host != SERVER]
    if len(sites) > MOST_ROWS:
        done = {host: max(span.end_s for span in shown.spans[host] if span.doing != "waiting") for host in sites}
        on_path = {step.host for step in path}
        slow = set(sorted(sites, key=lambda host: (host not in on_path, -done[host]))[:MOST_ROWS])
        sites = [host for host in sites if host in slow]
    return [*sites, SERVER]


def link_use_figure(uses: Sequence[LinkUse], end_s: float, width_in: float = PAGE_WIDTH_IN) -> str:
    """Use of the busiest links over virtual time until `end_s`, one panel a link."""
    shown = list(uses[:6])
    with drawn(0.75 + 0.78 * len(shown), width_in=width_in, rows=len(shown), sharex=True) as drawing:
        for axes, use in zip(drawing.panels, shown, strict=True):
            axes.fill_between(use.times_s, np.asarray(use.share) * 100, step="post", color=BLUE, linewidth=0)
            axes.set_ylim(0, 105)
            axes.set_yticks([0, 100], ["0", "100 %"])
            axes.set_title(f"{use.name} · {format_size(use.carried_bytes)} on the wire", loc="left", fontsize=9)
        drawing.panels[-1].set_xlabel("virtual seconds")
        drawing.panels[-1].set_xlim(0, end_s * 1.01)
    return drawing.svg("use of the busiest links over time")


def accuracy_against_costs(
    methods: Mapping[str, Mapping[str, Any]],
    deviations: Mapping[str, float],
    unit: str,
    width_in: float = PAGE_WIDTH_IN,
) -> str:
    """One point a method in each panel: what the result cost in bytes, in seconds and, if counted, in joules."""
    costs: list[tuple[str, str, Callable[[float], str]]] = [
        ("bytes_up_per_client", "uploaded per client", format_size),
        ("result_s", f"{unit} seconds until the result", lambda value: f"{value:g} s"),
    ]
    if all(row.get("energy_j_per_client") is not None for row in methods.values()):
        costs.append(("energy_j_per_client", "energy per client", format_energy))
    panels = {"columns": len(costs)} if width_in >= PAGE_WIDTH_IN else {"rows": len(costs)}
    with drawn(3.5 * panels.get("rows", 1) ** 0.7, width_in=width_in, sharey=True, **panels) as drawing:
        for axes, (cost, label, in_words) in zip(drawing.panels, costs, strict=True):
            for index, (name, row) in enumerate(methods.items()):
                axes.errorbar(
                    max(row[cost], 1e-9), 100 * row["accuracy"], 100 * deviations[name], label=name, linestyle="none",
                    color=SERIES_COLOURS[index % len(SERIES_COLOURS)], markersize=9, capsize=3,
                    marker=SERIES_MARKERS[index % len(SERIES_MARKERS)],
                )  # fmt: skip
            _decades(axes, [row[cost] for row in methods.values()], in_words)
            axes.set_xlabel(label)
        drawing.axes.margins(y=0.2)
        drawing.panels[len(costs) // 2 if "rows" in panels else 0].set_ylabel("accuracy on test data, %")
        handles, names = drawing.axes.get_legend_handles_labels()
        drawing.figure.legend(handles, names, loc="outside upper center", ncols=_columns(min(len(names), 5), width_in))
    return drawing.svg("accuracy of each method against what it cost")


def _decades(axes: Axes, values: Sequence[float], in_words: Callable[[float], str]) -> None:
    """A logarithmic axis on which all values have room and at least two ticks are named."""
    low, high = max(min(values), 1e-9), max(*values, 1e-9)
    axes.set_xscale("log")
    room = max(1.6, (high / low) ** 0.15)
    low, high = low / room, high * room
    axes.set_xlim(low, high)
    steps = (1,) if high / low > 1000 else (1, 3) if high / low > 25 else (1, 2, 5)
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_major_formatter(lambda value, _: in_words(value))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="x", labelsize=8.5)


def energy_figure(
    energies: Mapping[str, Mapping[str, Mapping[str, Any]]], sites: Mapping[str, int], width_in: float = PAGE_WIDTH_IN
) -> str:
    """A bar a method: the mean energy of a client, in its parts; `sites` are how many clients each method had."""
    parts = {"compute_j": ("computing", BLUE), "idle_j": ("waiting", FAINT), "transmit_j": ("sending", ORANGE),
             "receive_j": ("receiving", SKY)}  # fmt: skip
    with drawn(1.3 + 0.42 * len(energies), width_in=width_in) as drawing:
        axes = drawing.axes
        left = np.zeros(len(energies))
        for part, (label, colour) in parts.items():
            spent = [
                sum(host[part] for name, host in energy.items() if name != SERVER) / sites[method]
                for method, energy in energies.items()
            ]
            axes.barh(range(len(energies)), spent, left=left, height=0.6, color=colour, label=label, linewidth=0)
            left += np.array(spent)
        for row, total in enumerate(left.tolist()):
            axes.annotate(format_energy(total), (total, row), (5, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(energies)), list(energies))
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, max(left.max(), 1e-9) * (1.15 if width_in >= PAGE_WIDTH_IN else 1.3))
        axes.xaxis.set_major_formatter(lambda value, _: format_energy(value))
        axes.set_xlabel("mean of the clients")
        axes.grid(visible=False, axis="y")
        drawing.figure.legend(loc="outside upper center", ncols=_columns(4, width_in))
    return drawing.svg("energy of a client by method")


def _columns(wanted: int, width_in: float) -> int:
    """Of a legend: two on a phone, where more do not fit."""
    return wanted if width_in >= PAGE_WIDTH_IN else min(wanted, 2)


def picture_strip(images: NDArray[np.float32], labels: NDArray[np.int64], classes: int, rows: int) -> str:
    """The first `rows` synthetic images of each class as one PNG (a data URL): a column a class."""
    shown = np.sort(np.concatenate([np.flatnonzero(labels == label)[:rows] for label in range(classes)]))
    picture = pictures.picture_strip(images[shown], labels[shown], classes)
    return "data:image/png;base64," + base64.b64encode(picture).decode()


def rows_of_pictures(kept: Sequence[Mapping[str, NDArray[Any]]], classes: int) -> int:
    """How many images of each class a page has room for, of the arrays that the methods of a run kept."""
    arrays = [array for images in kept for name, array in images.items() if array.ndim == 4]
    row_bytes = sum(classes * int(np.prod(array.shape[1:])) for array in arrays)
    return max(1, MOST_PICTURE_BYTES // max(row_bytes, 1))
