"""The figures of a report, as SVG or PNG text that can stand in a page. One style, safe for colour-blind readers."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image

from analysis.timeline import Doing, LinkUse, Timeline
from simnet.units import format_size

# Okabe and Ito (2008): distinguishable with every common colour blindness.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"
INK, FAINT = "#1d2733", "#c9d1d9"
DOING_COLOURS: Mapping[Doing, str] = {"computing": BLUE, "sending": ORANGE, "waiting": "#e8edf1"}
METHOD_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED)
METHOD_MARKERS = ("o", "s", "D", "^", "v", "P")
MOST_ROWS = 40
_WIDTH = 8.2
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: small, sharp, searchable
    "svg.hashsalt": "collab",
    "font.family": "sans-serif",
    "font.sans-serif": ["Inter", "Segoe UI", "Helvetica Neue", "Arial", "DejaVu Sans", "sans-serif"],
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "grid.color": "#eef1f4",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


@contextmanager
def _drawn(height: float, panels: int = 1) -> Iterator[tuple[Figure, list[Axes], list[str]]]:
    """A figure in the common style, `panels` of it one below the other; its SVG is in the list afterwards."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        svg: list[str] = []
        yield figure, list(np.atleast_1d(figure.subplots(panels, 1, sharex=True))), svg
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        text = buffer.getvalue()
        svg.append(text[text.index("<svg") :])


def label_heat_map(partition: Mapping[str, Sequence[int]]) -> str:
    """Samples of each class (columns) at each client (rows)."""
    clients = list(partition)[:MOST_ROWS]
    counts = np.array([partition[client] for client in clients])
    with _drawn(1.1 + 0.32 * len(clients)) as (figure, (axes,), svg):
        image = axes.imshow(counts, aspect="auto", cmap="Blues", vmin=0)
        axes.set_xticks(range(counts.shape[1]))
        axes.set_yticks(range(len(clients)), clients)
        axes.set_xlabel("class")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        if counts.size <= 400:
            limit = counts.max() * 0.6
            for row, column in np.ndindex(*counts.shape):
                value = counts[row, column]
                colour = "white" if value > limit else INK
                axes.text(
                    column, row, f"{value:,}" if value else "", ha="center", va="center", color=colour, fontsize=8.5
                )
        figure.colorbar(image, ax=axes, label="samples", shrink=0.9, pad=0.01).outline.set_visible(False)
    return svg[0]


def gantt(shown: Timeline, unit: str) -> str:
    """One row a host: waiting, computing, sending; the slowest path is outlined."""
    hosts = _rows(shown)
    with _drawn(1.3 + 0.3 * len(hosts)) as (_, (axes,), svg):
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
        legend.append(Patch(facecolor="white", edgecolor=RED, label="slowest path"))
        axes.legend(
            handles=legend, loc="upper center", bbox_to_anchor=(0.5, -0.55 / (0.3 * len(hosts)) - 0.02), ncols=4
        )
    return svg[0]


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
    with _drawn(0.75 + 0.78 * len(shown), len(shown)) as (_, panels, svg):
        for axes, use in zip(panels, shown, strict=True):
            axes.fill_between(use.times_s, np.asarray(use.share) * 100, step="post", color=BLUE, linewidth=0)
            axes.set_ylim(0, 105)
            axes.set_yticks([0, 100], ["0", "100 %"])
            axes.set_title(f"{use.name} · {format_size(use.carried_bytes)} on the wire", loc="left", fontsize=9)
        panels[-1].set_xlabel("virtual seconds")
        panels[-1].set_xlim(0, end_s * 1.01)
    return svg[0]


def accuracy_against_bytes(methods: Mapping[str, Mapping[str, Any]], deviations: Mapping[str, float]) -> str:
    """One point a method: bytes that each client uploads, and the accuracy that they buy."""
    with _drawn(3.4) as (_, (axes,), svg):
        for index, (name, row) in enumerate(methods.items()):
            x, y = max(row["bytes_up_per_client"], 1), 100 * row["accuracy"]
            colour = METHOD_COLOURS[index % len(METHOD_COLOURS)]
            marker = METHOD_MARKERS[index % len(METHOD_MARKERS)]
            axes.errorbar(x, y, 100 * deviations[name], color=colour, marker=marker, markersize=8, capsize=3)
            axes.annotate(f"{name} {y:.1f} %", (x, y), (9, 5), textcoords="offset points", color=colour)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: format_size(value))
        axes.xaxis.set_minor_formatter(lambda *_: "")
        axes.margins(x=0.35, y=0.3)
        axes.set_xlabel("uploaded per client")
        axes.set_ylabel("accuracy on test data, %")
    return svg[0]


def picture_strip(images: NDArray[np.float32], labels: NDArray[np.int64], classes: int) -> str:
    """Synthetic images as one PNG (a data URL): a column a class, a row for each further image of it."""
    channels, side = images.shape[1], images.shape[2]
    rows = max(int(np.bincount(labels, minlength=classes).max()), 1)
    gap = max(1, side // 14)
    canvas = np.full((rows * (side + gap) - gap, classes * (side + gap) - gap, channels), np.nan, np.float32)
    for label in range(classes):
        for row, image in enumerate(images[labels == label]):
            top, left = row * (side + gap), label * (side + gap)
            canvas[top : top + side, left : left + side] = image.transpose(1, 2, 0)
    low, high = np.nanpercentile(canvas, (0.5, 99.5))
    shade = np.nan_to_num((canvas - low) / max(high - low, 1e-6), nan=1.0).clip(0, 1) * 255
    alpha = np.where(np.isnan(canvas[:, :, :1]), 0, 255)
    colours = np.repeat(shade, 3, axis=2) if channels == 1 else shade
    picture = Image.fromarray(np.concatenate([colours, alpha], axis=2).astype(np.uint8), "RGBA")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
