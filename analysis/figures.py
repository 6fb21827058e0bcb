"""The figures of a run's report, as SVG or PNG text that can stand in a page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.patches import Patch
from numpy.typing import NDArray

from analysis.style import BLUE, CHALK, INK, ORANGE, PAPER, RED, SERIES_COLOURS, SERIES_MARKERS, WASH, drawn, shades
from analysis.timeline import Doing, LinkUse, Timeline
from collab.store import pictures
from simnet.units import format_size

DOING_COLOURS: Mapping[Doing, str] = {"computing": BLUE, "sending": ORANGE, "waiting": WASH}
MOST_ROWS = 40


def label_heat_map(partition: Mapping[str, Sequence[int]]) -> str:
    """Samples of each class (columns) at each client (rows)."""
    clients = list(partition)[:MOST_ROWS]
    counts = np.array([partition[client] for client in clients])
    with drawn(1.1 + 0.32 * len(clients)) as drawing:
        axes = drawing.axes
        # Vectors, not an image: the page's own colours show through.
        cells = axes.pcolormesh(counts, cmap=shades(BLUE), vmin=0, edgecolor=PAPER, linewidth=1.0)
        axes.invert_yaxis()
        axes.set_xticks(np.arange(counts.shape[1]) + 0.5, [str(label) for label in range(counts.shape[1])])
        axes.set_yticks(np.arange(len(clients)) + 0.5, clients)
        axes.tick_params(length=0)
        axes.set_xlabel("class")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        if counts.size <= 400:
            limit = counts.max() * 0.6
            for row, column in np.argwhere(counts).tolist():
                value = counts[row, column]
                axes.text(
                    column + 0.5, row + 0.5, f"{value:,}", ha="center", va="center", fontsize=8.5,
                    color=CHALK if value > limit else INK,
                )  # fmt: skip
        bar = drawing.figure.colorbar(cells, ax=axes, label="samples", shrink=0.9, pad=0.01)
        bar.outline.set_visible(False)
    return drawing.svg("samples of each class at each site")


def gantt(shown: Timeline, unit: str) -> str:
    """One row a host: waiting, computing, sending; the slowest path is outlined."""
    hosts = _rows(shown)
    with drawn(1.3 + 0.3 * len(hosts)) as drawing:
        axes = drawing.axes
        for row, host in enumerate(hosts):
            critical = host in (shown.slowest, "server")
            for span in shown.spans[host]:
                on_path = critical and span.doing != "waiting"
                axes.barh(
                    row,
                    max(span.end_s - span.start_s, shown.end_s * 0.0015),
                    left=span.start_s,
                    height=0.66,
                    color=DOING_COLOURS[span.doing],
                    edgecolor=RED if on_path else "none",
                    linewidth=1.6 if on_path else 0,
                    zorder=3 if on_path else 2,
                )
        axes.axvline(shown.last_upload_s, color=RED, linewidth=1, linestyle=(0, (3, 2)), zorder=4)
        early = shown.last_upload_s < shown.end_s * 0.6
        axes.annotate(
            f"last upload ({shown.slowest}) {shown.last_upload_s:.3f} s",
            (shown.last_upload_s, -0.85),
            xytext=(4 if early else -4, 0),
            textcoords="offset points",
            color=RED,
            fontsize=8.5,
            ha="left" if early else "right",
        )
        axes.set_yticks(range(len(hosts)), hosts)
        axes.set_ylim(len(hosts) - 0.4, -1.2)
        axes.set_xlim(0, shown.end_s * 1.01)
        axes.set_xlabel(f"{unit} seconds")
        axes.grid(visible=False, axis="y")
        legend = [Patch(color=colour, label=doing) for doing, colour in DOING_COLOURS.items()]
        legend.append(Patch(facecolor=PAPER, edgecolor=RED, label="slowest path"))
        axes.legend(
            handles=legend, loc="upper center", bbox_to_anchor=(0.5, -0.55 / (0.3 * len(hosts)) - 0.02), ncols=4
        )
    return drawing.svg("what each host did when")


def _rows(shown: Timeline) -> list[str]:
    """The hosts to show: all, or the slowest ones if there are too many; the server last."""
    sites = [host for host in shown.spans if host != "server"]
    if len(sites) > MOST_ROWS:
        done = {host: max(span.end_s for span in shown.spans[host] if span.doing != "waiting") for host in sites}
        slow = set(sorted(sites, key=lambda host: -done[host])[:MOST_ROWS])
        sites = [host for host in sites if host in slow]
    return [*sites, "server"]


def link_use_figure(uses: Sequence[LinkUse], end_s: float) -> str:
    """Use of the busiest links over virtual time until `end_s`, one panel a link."""
    shown = list(uses[:6])
    with drawn(0.75 + 0.78 * len(shown), rows=len(shown), sharex=True) as drawing:
        for axes, use in zip(drawing.panels, shown, strict=True):
            axes.fill_between(use.times_s, np.asarray(use.share) * 100, step="post", color=BLUE, linewidth=0)
            axes.set_ylim(0, 105)
            axes.set_yticks([0, 100], ["0", "100 %"])
            axes.set_title(f"{use.name} · {format_size(use.carried_bytes)} on the wire", loc="left", fontsize=9)
        drawing.panels[-1].set_xlabel("virtual seconds")
        drawing.panels[-1].set_xlim(0, end_s * 1.01)
    return drawing.svg("use of the busiest links over time")


def accuracy_against_bytes(methods: Mapping[str, Mapping[str, Any]], deviations: Mapping[str, float]) -> str:
    """One point a method: bytes that each client uploads, and the accuracy that they buy."""
    with drawn(3.4) as drawing:
        axes = drawing.axes
        for index, (name, row) in enumerate(methods.items()):
            x, y = max(row["bytes_up_per_client"], 1), 100 * row["accuracy"]
            colour = SERIES_COLOURS[index % len(SERIES_COLOURS)]
            marker = SERIES_MARKERS[index % len(SERIES_MARKERS)]
            axes.errorbar(x, y, 100 * deviations[name], color=colour, marker=marker, markersize=8, capsize=3)
            axes.annotate(f"{name} {y:.1f} %", (x, y), (9, 5), textcoords="offset points", color=colour)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: format_size(value))
        axes.xaxis.set_minor_formatter(lambda *_: "")
        axes.margins(x=0.35, y=0.3)
        axes.set_xlabel("uploaded per client")
        axes.set_ylabel("accuracy on test data, %")
    return drawing.svg("accuracy of each method against the bytes that a client uploads")


def picture_strip(images: NDArray[np.float32], labels: NDArray[np.int64], classes: int) -> str:
    """Synthetic images as one PNG (a data URL): a column a class, a row for each further image of it."""
    return "data:image/png;base64," + base64.b64encode(pictures.picture_strip(images, labels, classes)).decode()
