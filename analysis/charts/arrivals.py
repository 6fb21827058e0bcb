"""When uploads arrive: the share that is in over time, and how the last arrivals of runs are spread."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from analysis.captions import provenance, titled
from analysis.charts.accuracy import seconds_text
from analysis.charts.chart import Chart, empty, log_axis, look, spread
from analysis.naming import short_names, written
from analysis.observations import Observation, number_of, varying
from analysis.style import INK, PAGE_WIDTH_IN, drawn
from analysis.tables import UnsupportedByRunsError

_MOST_LINES = 6
_MOST_METHODS = 4
_FEWEST_RUNS = 5
_MOST_STEPS = 400
_OF_ARRIVALS = ("partition.clients", "network.access.bandwidth", "network.access.latency", "partition.beta")


def arrivals(observations: Sequence[Observation]) -> list[Chart]:
    """A panel for each method: the share of uploads that is in; beside it that of runs whose last upload is in.

    Lines are the values of one setting; whatever else varies is pooled, and the caption says so. Raises
    `UnsupportedByRunsError` without run directories.
    """
    usable = [found for found in observations if found.arrivals_s]
    if not usable:
        raise UnsupportedByRunsError("arrivals are read from the traces of runs, and there are none")
    differing = list(varying(usable, ("method.name",)))
    by = next((name for name in _OF_ARRIVALS if name in differing), differing[0] if differing else None)
    called = short_names(differing)
    usable, fixed = _at_the_middle(usable, [name for name in differing if name != by and name.startswith("network.")])
    methods = list(dict.fromkeys(found.method for found in usable))[:_MOST_METHODS]
    last = any(sum(found.method == method for found in usable) >= _FEWEST_RUNS for method in methods)
    with drawn(0.7 + 2.1 * len(methods), width_in=PAGE_WIDTH_IN, rows=len(methods), columns=2 if last else 1,
               sharex=True, sharey=True) as drawing:  # fmt: skip
        panels = np.reshape(np.array(drawing.panels, dtype=object), (len(methods), -1))
        for row, method in zip(panels, methods, strict=True):
            own = [found for found in usable if found.method == method]
            _uploads(row[0], own, by)
            row[0].set_title(f"{method}: uploads", loc="left", fontsize=10)
            if last and len(own) >= _FEWEST_RUNS:
                _runs(row[1], own, by)
                row[1].set_title(f"{method}: last upload of each run", loc="left", fontsize=10)
            elif last:
                empty(row[1])
        for axes in drawing.panels:
            log_axis(axes, "x", FuncFormatter(lambda value, _: seconds_text(value)))
            axes.set_ylim(0, 1.04)
            axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.0f} %"))
        drawing.figure.supxlabel(
            f"{'virtual ' if all(found.world == 'simulated' for found in usable) else ''}seconds",
            fontsize=10,
            color=INK,
        )
        drawing.figure.supylabel("share that is in", fontsize=10, color=INK)
        handles, labels = drawing.axes.get_legend_handles_labels()
        if by is not None:
            drawing.figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), title=called[by])
    pooled = ", ".join(["seeds", *(called[name] for name in differing if name != by and name not in fixed)])
    at = ", ".join(f"{called[name]} {value}" for name, value in fixed.items())
    caption = (
        f"{'Left: the' if last else 'The'} share of all uploads that the server had taken in by a moment, over the "
        f"clients of all runs of a line ({pooled} pooled){f', at {at}' if at else ''}.{_unequal(usable, by)} The last "
        f"site is where a line reaches 100 %. {'Right: the share of runs whose last upload was in. ' if last else ''}"
        f"{provenance(usable)}"
    )
    return [Chart("arrivals", titled("When uploads arrive", usable), drawing, caption)]


def _unequal(observations: Sequence[Observation], by: str | None) -> str:
    """A sentence if lines have not equally many runs, as those of a sweep that is not whole."""
    if by is None:
        return ""
    method = observations[0].method
    own = [found for found in observations if found.method == method]
    counts = {value: len(found) for value, found in _lines(own, by).items()}
    if len(set(counts.values())) < 2:
        return ""
    each = ", ".join(f"{count} at {value}" for value, count in counts.items())
    return f" Lines are of unequally many runs ({method}: {each}), so they differ in what is pooled, too."


def _at_the_middle(
    observations: Sequence[Observation], names: Sequence[str]
) -> tuple[list[Observation], dict[str, str]]:
    """The observations with the middle one of the values of each setting, and those values: not to be pooled."""
    kept, fixed = list(observations), {}
    for name in names:
        values = sorted({written(found.value(name)) for found in kept}, key=lambda text: number_of(text) or 0.0)
        fixed[name] = values[len(values) // 2]
        kept = [found for found in kept if written(found.value(name)) == fixed[name]]
    return kept, fixed


def _lines(observations: Sequence[Observation], by: str | None) -> dict[str, list[Observation]]:
    if by is None:
        return {"": list(observations)}
    ordered = sorted(observations, key=lambda found: number_of(found.value(by)) or 0.0)
    values = spread(list(dict.fromkeys(written(found.value(by)) for found in ordered)), _MOST_LINES)
    return {value: [found for found in ordered if written(found.value(by)) == value] for value in values}


def _uploads(axes: Axes, observations: Sequence[Observation], by: str | None) -> None:
    for number, (value, own) in enumerate(_lines(observations, by).items()):
        _steps(axes, sorted(at_s for found in own for _, at_s in found.arrivals_s), number, value)


def _runs(axes: Axes, observations: Sequence[Observation], by: str | None) -> None:
    for number, (value, own) in enumerate(_lines(observations, by).items()):
        _steps(axes, sorted(found.last_upload_s for found in own), number, value)


def _steps(axes: Axes, times_s: Sequence[float], number: int, label: str) -> None:
    drawn_as = look(number)
    shares = np.arange(1, len(times_s) + 1) / len(times_s)
    if len(times_s) > _MOST_STEPS:  # more cannot be told apart, and would make a page of megabytes
        kept = np.unique(np.linspace(0, len(times_s) - 1, _MOST_STEPS).round().astype(int))
        times_s, shares = [times_s[index] for index in kept], shares[kept]
    axes.step(
        [times_s[0], *times_s], [0, *shares], where="post", color=drawn_as.colour, linestyle=drawn_as.line,
        linewidth=1.6, label=label,
    )  # fmt: skip
    axes.plot(times_s[-1], 1.0, marker=drawn_as.marker, color=drawn_as.colour, markersize=6)
