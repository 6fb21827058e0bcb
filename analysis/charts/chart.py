"""What all charts have in common: a name, a drawing, a caption, and the looks of methods."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from analysis.observations import Observation
from analysis.style import SERIES_COLOURS, SERIES_MARKERS, Drawing

SERIES_LINES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 2, 1, 2)), (0, (8, 2)), (0, (3, 1, 1, 1)))
MOST_PANELS = 9
_NARROW = 3


@dataclass(frozen=True)
class Chart:
    """A figure of runs: `name` is that of its file, `caption` says what it shows, of what scenario, seeds and n."""

    name: str
    title: str
    drawing: Drawing
    caption: str


@dataclass(frozen=True)
class Look:
    """How a series looks: colour, marker and line all tell it from others, for readers who see no colours."""

    colour: str
    marker: str
    line: str | tuple[int, tuple[float, ...]]


def look(number: int) -> Look:
    """The look of the series of a number from 0 on; after six the same colours come with other markers and lines."""
    lap, place = divmod(number, len(SERIES_COLOURS))
    return Look(
        SERIES_COLOURS[place],
        SERIES_MARKERS[(place + lap) % len(SERIES_MARKERS)],
        SERIES_LINES[(place + lap) % len(SERIES_LINES)],
    )


def looks_of_methods(observations: Iterable[Observation]) -> Mapping[str, Look]:
    """A look for each method, in the order in which they come."""
    methods = dict.fromkeys(found.method for found in observations)
    return {method: look(number) for number, method in enumerate(methods)}


def spread(items: Sequence[str], most: int) -> list[str]:
    """At most so many of the items, from the first to the last, evenly."""
    if len(items) <= most:
        return list(items)
    return [items[round(index * (len(items) - 1) / (most - 1))] for index in range(most)]


def log_axis(axes: Axes, which: Literal["x", "y"], written: FuncFormatter) -> None:
    """Make an axis logarithmic, with few and readable numbers on it; it stays linear below a factor of 3."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    together = (axes.get_shared_x_axes() if which == "x" else axes.get_shared_y_axes()).get_siblings(axes)
    ends = np.array([getattr(one, f"{which}axis").get_data_interval() for one in together])
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())  # a panel without data has infinite ends
    if low > 0 and high < _NARROW * low:
        middle, half = (low + high) / 2, max((high - low) / 2, 0.05 * high)
        getattr(axes, f"set_{which}lim")(middle - 1.2 * half, middle + 1.2 * half)
        axis.set_major_locator(MaxNLocator(4))
    else:
        getattr(axes, f"set_{which}scale")("log")
        span = high / low if low > 0 else math.inf
        axis.set_major_locator(LogLocator(subs=(1.0,) if span > 300 else (1.0, 3.0) if span > 15 else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(written)
    axis.set_minor_formatter(NullFormatter())


def empty(axes: Axes) -> None:
    """A panel of a grid in which nothing stands."""
    axes.set_visible(False)
