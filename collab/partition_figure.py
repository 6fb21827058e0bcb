"""The picture of a partition: how much of each class every client holds, how much in all, and how mixed that is.

One picture in three rows over the same clients: samples, classes, effective number of classes; and beside the classes
their totals. Up to `MOST_BUBBLES` clients stand in their order, a bubble for each class, its area the number of
samples. More are sorted by the class of which they hold most, and a shade stands for a bubble.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from collab.holdings import Holdings
from collab.picture_style import COLOURS, FAINT, GREY, INK, STYLE, save

MOST_BUBBLES = 120
_MOST_NUMBERED_CLIENTS = 12
_MOST_NAMED_CLIENTS = 24
_LONGEST_NAME = 24
_MOST_NUMBERED_CLASSES = 20
_MOST_LABELLED_CLASSES = 30
_POINTS_PER_INCH = 72
_TIGHT_POINTS = 14.0  # bubbles need not be smaller than this because their neighbours are near: most are small
_LARGEST_POINTS = 45.0
_SMALLEST_BUBBLE = 4.0  # points squared: a single sample is seen
_GRID = "#e8edf1"


class _Rows(NamedTuple):
    """The places of the picture."""

    sizes: Axes
    classes: Axes
    effective: Axes
    totals: Axes
    key: Axes


def draw(holdings: Holdings, path: Path, *, title: str) -> None:
    """Draw who holds what into an SVG or PNG file."""
    clients = len(holdings.clients)
    order = np.arange(clients) if clients <= MOST_BUBBLES else _by_largest_class(holdings)
    largest = 100 * float(holdings.shares.max())
    scale = Normalize(0, 100 if largest > 40 else max(10, 10 * np.ceil(largest / 10)))
    shades = ScalarMappable(scale, LinearSegmentedColormap.from_list("shades", ("#b5d6ec", COLOURS[0], "#00263f")))
    with mpl.rc_context(STYLE):
        names = _Names.of(holdings, order)
        figure, rows = _laid_out(holdings, names)
        height = figure.get_figheight()
        figure.text(0.15 / figure.get_figwidth(), 1 - 0.27 / height, title, fontsize=14, fontweight="bold", va="center")
        figure.text(0.15 / figure.get_figwidth(), 1 - 0.56 / height, _subtitle(holdings), color=GREY, va="center")
        _draw_sizes(rows, holdings, order)
        _draw_totals(rows.totals, holdings)
        (_draw_bubbles if clients <= MOST_BUBBLES else _draw_shades)(rows.classes, holdings, order, shades)
        _name_axes(rows, holdings, names)
        bar = figure.colorbar(shades, cax=rows.key, format=FuncFormatter(lambda value, _: f"{value:.0f} %"))
        bar.locator = MaxNLocator(5, integer=True)
        bar.set_label("share of what the client holds", fontsize=9)
        bar.ax.tick_params(labelsize=8.5)
        bar.outline.set_visible(False)
        save(figure, path)


class _Names(NamedTuple):
    """What stands below the clients: where, what, and whether on end; or one word for all."""

    places: list[int]
    labels: list[str]
    upright: bool
    size: float
    word: str

    @classmethod
    def of(cls, holdings: Holdings, order: NDArray[np.int64]) -> _Names:
        clients = len(order)
        if clients > MOST_BUBBLES:
            return cls([], [], upright=False, size=9, word="clients, sorted by the class of which they hold most")
        numbers = clients > _MOST_NAMED_CLIENTS
        places = list(range(0, clients, -(-clients // 60)))
        names = [str(place) if numbers else (holdings.sites or holdings.clients)[place] for place in places]
        labels = [_short(name) for name in names]
        size = 7.0 if clients > 40 else 9.0
        wide = max(map(len, labels)) * size * 0.65 > _POINTS_PER_INCH * _width_of(clients) / len(labels)
        return cls(places, labels, upright=wide, size=size, word="number of the client" if numbers else "")

    @property
    def height(self) -> float:
        """Inches that they need."""
        text = max(map(len, self.labels), default=0) * self.size * 0.65 if self.upright else 12.0
        return 0.2 + text / _POINTS_PER_INCH + (0.22 if self.word else 0.0)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _width_of(clients: int) -> float:
    """Inches for the clients."""
    return min(max(4.6, 0.8 * clients), 11.0)


def _height_of(classes: int) -> float:
    """Inches for the classes."""
    return min(max(2.4, 0.36 * classes), 7.0)


def _laid_out(holdings: Holdings, names: _Names) -> tuple[Figure, _Rows]:
    """An empty picture, its parts placed by inches: laying it out by what it holds would take most of the time."""
    clients, classes = holdings.counts.shape
    across, down = _width_of(clients), _height_of(classes)
    left = max(1.0, 0.2 + max(len(_short(name)) for name in holdings.classes) * 9 * 0.65 / _POINTS_PER_INCH)
    width, height = left + across + 2.65, down + names.height + 3.15
    figure = Figure(figsize=(width, height))

    def place(x: float, top: float, across: float, down: float, **shared: Any) -> Axes:
        return figure.add_axes((x / width, (height - top - down) / height, across / width, down / height), **shared)

    main = place(left, 2.1, across, down)
    return figure, _Rows(
        place(left, 0.8, across, 1.0, sharex=main),
        main,
        place(left, 2.3 + down, across, 0.8, sharex=main),
        place(left + across + 0.12, 2.1, 1.3, down, sharey=main),
        place(left + across + 1.65, 2.1, 0.14, down),
    )


def _subtitle(holdings: Holdings) -> str:
    clients, classes = holdings.counts.shape
    parts = [
        f"{holdings.samples:,} samples of {classes} classes at {clients:,} {'client' if clients == 1 else 'clients'}",
        f"label skew {holdings.label_skew:.2f} (by chance {holdings.label_skew_by_chance:.2f})",
        f"Gini coefficient of sizes {holdings.size_gini:.2f}",
    ]
    if holdings.empty:
        parts.append(f"{holdings.empty:,} {'holds' if holdings.empty == 1 else 'hold'} nothing")
    return " · ".join(parts)


def _by_largest_class(holdings: Holdings) -> NDArray[np.int64]:
    """Clients by the class of which they hold most, those of most of it first; at last those that hold nothing."""
    largest = np.where(holdings.sizes > 0, holdings.counts.argmax(axis=1), holdings.counts.shape[1])
    return np.lexsort((-holdings.shares.max(axis=1), largest))


def _draw_sizes(rows: _Rows, holdings: Holdings, order: NDArray[np.int64]) -> None:
    """How much each client holds above the classes, and how mixed it is below them."""
    clients, classes = holdings.counts.shape
    most = max(1, int(holdings.sizes.max()))
    for axes, values, top, words, pattern in (
        (rows.sizes, holdings.sizes[order], most, "samples", "{:,.0f}"),
        (rows.effective, holdings.effective_classes[order], classes, "effective\nclasses", "{:.1f}"),
    ):
        numbered = clients <= _MOST_NUMBERED_CLIENTS
        if clients <= MOST_BUBBLES:
            axes.bar(np.arange(clients), values, width=0.62 * min(1, clients / 4), color=FAINT, linewidth=0)
        else:  # thousands of bars take a minute
            axes.stairs(values, np.arange(clients + 1) - 0.5, fill=True, color=FAINT, linewidth=0)
        axes.set_ylabel(words, fontsize=9)
        axes.set_ylim(0, top * (1.3 if numbered else 1.08))
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(left=False, bottom=False, labelsize=8.5)
        if numbered:
            axes.set_yticks([])
            for place, value in enumerate(values.tolist()):
                axes.annotate(
                    pattern.format(value), (place, value), (0, 2), textcoords="offset points", ha="center", fontsize=9
                )
        else:
            axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            axes.grid(axis="y", color=_GRID)
            axes.set_axisbelow(True)


def _draw_totals(axes: Axes, holdings: Holdings) -> None:
    """What all clients hold of each class, beside it."""
    totals = holdings.totals.tolist()
    numbered = len(totals) <= _MOST_LABELLED_CLASSES
    axes.barh(range(len(totals)), totals, height=0.62, color=FAINT, linewidth=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.set_xticks([])
    axes.tick_params(left=False, labelleft=False)
    axes.set_title("in all", fontsize=9)
    axes.set_xlim(0, max(1, *totals) * (1.9 if numbered else 1.1))
    for label, total in enumerate(totals if numbered else ()):
        axes.annotate(f"{total:,}", (total, label), (3, 0), textcoords="offset points", va="center", fontsize=8.5)


def _name_axes(rows: _Rows, holdings: Holdings, names: _Names) -> None:
    clients, classes = holdings.counts.shape
    if not holdings.class_names:
        rows.classes.set_ylabel("class", fontsize=10)
    rows.classes.set_ylim(classes - 0.4, -0.6)
    rows.classes.set_xlim(-0.6, clients - 0.4)
    shown = range(0, classes, -(-classes // _MOST_LABELLED_CLASSES))
    rows.classes.set_yticks(shown, [_short(holdings.classes[label]) for label in shown])
    rows.sizes.tick_params(labelbottom=False)
    rows.classes.tick_params(labelbottom=False)
    rows.effective.set_xticks(names.places, names.labels)
    rows.effective.tick_params(axis="x", labelsize=names.size, labelrotation=90 if names.upright else 0)
    rows.effective.set_xlabel(names.word, fontsize=10)


def _draw_bubbles(axes: Axes, holdings: Holdings, order: NDArray[np.int64], shades: ScalarMappable) -> None:
    clients, classes = holdings.counts.shape
    _frame(axes)
    across = _width_of(clients) / (clients + 0.2) * _POINTS_PER_INCH
    down = _height_of(classes) / (classes + 0.2) * _POINTS_PER_INCH
    diameter = 0.92 * min(max(min(across, down), min(np.sqrt(across * down), _TIGHT_POINTS)), _LARGEST_POINTS)
    counts = holdings.counts[order]
    where, labels = np.nonzero(counts)
    values = counts[where, labels]
    areas = np.maximum(diameter**2 * values / max(1, int(counts.max())), _SMALLEST_BUBBLE)
    colours = shades.to_rgba(100 * holdings.shares[order][where, labels])
    axes.scatter(where, labels, s=areas, c=colours, edgecolor="white", linewidth=0.3, zorder=3)
    if clients <= _MOST_NUMBERED_CLIENTS and classes <= _MOST_NUMBERED_CLASSES:
        for x, y, value, area in zip(where, labels, values, areas, strict=True):
            axes.annotate(
                f"{value:,}", (x, y), (np.sqrt(area) / 2 + 2, 0), textcoords="offset points", va="center",
                fontsize=8.5, color=INK, zorder=4,
            )  # fmt: skip


def _draw_shades(axes: Axes, holdings: Holdings, order: NDArray[np.int64], shades: ScalarMappable) -> None:
    _frame(axes)
    axes.grid(visible=False)
    colours = shades.to_rgba(100 * holdings.shares[order].T)
    colours[holdings.counts[order].T == 0] = 0.0  # nothing, rather than the shade of next to nothing
    axes.imshow(colours, aspect="auto", interpolation="nearest")


def _frame(axes: Axes) -> None:
    axes.spines[:].set_visible(False)
    axes.tick_params(left=False, bottom=False, labelsize=9)
    axes.grid(color=_GRID)
    axes.set_axisbelow(True)
