"""Accuracy against what it costs: bytes, seconds, joules; with the Pareto front over methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from analysis.captions import provenance, titled
from analysis.charts.chart import MOST_PANELS, Chart, Look, empty, log_axis, looks_of_methods, spread
from analysis.naming import short_names, written
from analysis.observations import Estimate, Observation, Repeats, repeated, varying
from analysis.style import INK, PAGE_WIDTH_IN, SOFT, Drawing, drawn
from analysis.tables import UnsupportedByRunsError, apart_by_settings
from simnet.units import format_energy, format_size

_FRONT = "Pareto front"
_NOT_THE_PROBLEM = (
    "method.",
    "network.",
    "devices",
    "radios",
    "tenants",
    "boundaries",
    "budgets",
    "devices.",
    "radios.",
)


@dataclass(frozen=True)
class Cost:
    """Something that accuracy is bought with."""

    name: str
    words: str
    axis: str
    read: Callable[[Repeats], Estimate | None]
    text: Callable[[float], str]
    lacking: str


def seconds_text(value_s: float) -> str:
    """Seconds on an axis: "20 ms", "3 s", "500 s"."""
    return f"{value_s * 1000:g} ms" if 0 < value_s < 1 else f"{value_s:g} s"


BYTES = Cost(
    "accuracy-bytes",
    "bytes",
    "bytes uploaded per client",
    lambda group: group.upload_bytes,
    format_size,
    "no bytes counted",
)
SECONDS = Cost(
    "accuracy-seconds", "seconds", "seconds until the result", lambda group: group.result_s, seconds_text, "no seconds"
)
ENERGY = Cost(
    "accuracy-energy", "energy", "energy per client", lambda group: group.energy_j, format_energy,
    "no energy was counted; name devices with a power, or radios, in the scenario",
)  # fmt: skip


def pareto_front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """The names of the points (cost, accuracy) that no other beats in one of both without losing in the other.

    In the order of their costs. Of points that are equal in both, all are in it.
    """
    return sorted(
        (
            name
            for name, (cost, gain) in points.items()
            if not any(other[0] <= cost and other[1] >= gain and other != (cost, gain) for other in points.values())
        ),
        key=lambda name: points[name],
    )


def accuracy_charts(observations: Sequence[Observation], cost: Cost) -> list[Chart]:
    """Accuracy against a cost, a panel for each division of each data set: fronts compare methods on one problem.

    Raises `UnsupportedByRunsError` if the cost was not counted, or all runs are of one method with one setting.
    """
    groups = [group for group in repeated(observations) if cost.read(group) is not None]
    if not groups:
        raise UnsupportedByRunsError(cost.lacking)
    if len({(group.method, str(group.first.settings["method"])) for group in groups}) < 2:
        raise UnsupportedByRunsError("all runs are of one method with the same settings: there is nothing to choose")
    usable = [found for group in groups for found in group.observations]
    parts = dict(apart_by_settings(usable, _NOT_THE_PROBLEM))
    shown = spread(list(parts), MOST_PANELS)
    columns = _columns(usable, len(shown))
    rows = -(-len(shown) // columns)
    width, height = (PAGE_WIDTH_IN, 4.0) if len(shown) == 1 else (PAGE_WIDTH_IN, 0.9 + 1.75 * rows)
    looks = looks_of_methods(usable)
    fronts = []
    with drawn(height, width_in=width, rows=rows, columns=columns, sharex=True, sharey=True) as drawing:
        for axes, words in zip(drawing.panels, shown, strict=False):
            fronts.append(_panel(axes, repeated(parts[words]), cost, looks, words, alone=len(shown) == 1))
        for axes in drawing.panels[len(shown) :]:
            empty(axes)
        _finish(drawing, cost, columns, len(shown))
    named = "; ".join(
        f"{words + ': ' if words else ''}{', '.join(front)}" for words, front in zip(shown, fronts, strict=True)
    )
    if len(set(map(tuple, fronts))) == 1:
        named = f"{'in each panel ' if len(shown) > 1 else ''}{', '.join(fronts[0])}"
    turned = short_names(name for names in _knobs(usable).values() for name in names).values()
    numbers = f" Numbers at points: {', '.join(turned)}." if turned and len(shown) == 1 else ""
    left_out = f" {len(parts) - len(shown)} further panels are left out." if len(parts) > len(shown) else ""
    caption = (
        f"Accuracy on test data against {cost.axis}; bars: standard deviation over seeds, in both directions. The grey "
        f"steps are the Pareto front, beyond which no method gives more for less ({named}).{numbers}{left_out} "
        f"{provenance(usable)}"
    )
    return [Chart(cost.name, titled(f"Accuracy against {cost.words}", usable), drawing, caption)]


def _columns(observations: Sequence[Observation], panels: int) -> int:
    """A grid as the settings make it, if it is one: a column for each value of the setting that changes fastest."""
    fields = varying(observations, _NOT_THE_PROBLEM)
    last = len(list(fields.values())[-1]) if len(fields) > 1 else 0
    return last if 1 < last <= 3 and panels % last == 0 else min(panels, 3)


def _panel(
    axes: Axes, groups: Sequence[Repeats], cost: Cost, looks: Mapping[str, Look], words: str, *, alone: bool
) -> list[str]:
    """Draw one panel; returns the names of what is on the front."""
    points = {}
    knobs = _knobs([group.first for group in groups])
    for group in groups:
        points[_name(group, knobs)] = (_read(cost, group).mean, group.accuracy_percent.mean)
    for method in dict.fromkeys(group.method for group in groups):
        own = sorted((group for group in groups if group.method == method), key=lambda group: _read(cost, group).mean)
        for line in _lines(own, knobs[method]):
            _series(axes, line, cost, looks[method], joined=bool(knobs[method]))
        if alone:
            for group in own:
                _annotate(axes, group, cost, knobs)
    front = pareto_front(points)
    steps = [points[name] for name in front]
    if len(steps) > 1:
        axes.step(*zip(*steps, strict=True), where="post", color=SOFT, linewidth=1.2, alpha=0.7, zorder=1, label=_FRONT)
    if words:
        axes.set_title(words, loc="left", fontsize=9)
    return front


def _lines(groups: Sequence[Repeats], knobs: Sequence[str]) -> list[list[Repeats]]:
    """The points of a method in lines along which one knob turns: the one with most values, the last of equals."""
    if not knobs:
        return [list(groups)]
    turned = max(reversed(knobs), key=lambda name: len({written(group.value(name)) for group in groups}))
    lines: dict[tuple[str, ...], list[Repeats]] = {}
    for group in groups:
        others = tuple(written(group.value(name)) for name in knobs if name != turned)
        lines.setdefault(others, []).append(group)
    return list(lines.values())


def _read(cost: Cost, group: Repeats) -> Estimate:
    found = cost.read(group)
    assert found is not None
    return found


def _knobs(observations: Sequence[Observation]) -> dict[str, list[str]]:
    """Method -> names of its own settings that vary: what a reader turns to get more for more."""
    found = {}
    for method in dict.fromkeys(observation.method for observation in observations):
        own = [observation for observation in observations if observation.method == method]
        found[method] = [name for name in varying(own) if name.startswith("method.")]
    return found


def _name(group: Repeats, knobs: Mapping[str, Sequence[str]]) -> str:
    called = short_names(knobs[group.method])
    turned = [f"{called[name]} {written(group.value(name))}" for name in knobs[group.method]]
    return " ".join([group.method, *turned])


def _series(axes: Axes, groups: Sequence[Repeats], cost: Cost, drawn_as: Look, *, joined: bool) -> None:
    costs = [_read(cost, group) for group in groups]
    gains = [group.accuracy_percent for group in groups]
    axes.errorbar(
        [max(x.mean, 1e-9) for x in costs],
        [y.mean for y in gains],
        xerr=[min(x.deviation, 0.95 * x.mean) for x in costs],
        yerr=[y.deviation for y in gains],
        color=drawn_as.colour,
        marker=drawn_as.marker,
        linestyle=drawn_as.line if joined else "none",
        linewidth=1.4,
        elinewidth=1,
        markersize=6.5,
        capsize=2.5,
        label=groups[0].method,
        zorder=3,
    )


def _annotate(axes: Axes, group: Repeats, cost: Cost, knobs: Mapping[str, Sequence[str]]) -> None:
    turned = knobs[group.method]
    text = (
        ", ".join(written(group.value(name)) for name in turned) if turned else f"{group.accuracy_percent.mean:.1f} %"
    )
    axes.annotate(
        text,
        (_read(cost, group).mean, group.accuracy_percent.mean),
        (5, -12) if turned else (6, 6),
        textcoords="offset points",
        fontsize=8.5,
        color=INK,
    )


def _finish(drawing: Drawing, cost: Cost, columns: int, panels: int) -> None:
    for number, axes in enumerate(drawing.panels[:panels]):
        log_axis(axes, "x", FuncFormatter(lambda value, _: cost.text(value)))
        axes.margins(x=0.15, y=0.18)
        if number + columns >= panels:
            axes.tick_params(labelbottom=True)
    drawing.figure.supxlabel(cost.axis, fontsize=10, color=INK)
    drawing.figure.supylabel("accuracy on test data, %", fontsize=10, color=INK)
    found = {
        label: handle
        for axes in drawing.panels[:panels]
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    ordered = sorted(found, key=lambda label: label == _FRONT)
    handles = [found[label] for label in ordered]
    drawing.figure.legend(handles, ordered, loc="outside upper center", ncols=min(len(ordered), 5))
