"""One shot against many rounds: accuracy at equal bytes and at equal seconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from analysis.captions import provenance, titled
from analysis.charts.accuracy import seconds_text
from analysis.charts.chart import Chart, Look, log_axis, looks_of_methods
from analysis.observations import Observation, Repeats, repeated
from analysis.style import INK, PAGE_WIDTH_IN, drawn
from analysis.tables import UnsupportedByRunsError, apart_by_settings, named_after
from simnet.units import format_size

_MOST_CHARTS = 3
Read = Callable[[Repeats], float]


def one_shot_or_many(observations: Sequence[Observation]) -> list[Chart]:
    """Methods of many rounds as curves, a point for each number of rounds that was run; one-shot methods as points.

    Raises `UnsupportedByRunsError` without methods of both kinds, or if no method of many rounds was run with several
    numbers of them.
    """
    many = {found.method for found in observations if found.uploads_of_a_site > 1}
    if not many:
        raise UnsupportedByRunsError(
            "no method of many rounds (fedavg, fedprox, strawman) was run, or no traces are left"
        )
    if all(found.method in many for found in observations):
        raise UnsupportedByRunsError("no one-shot method was run beside it; name some as baselines")
    charts = []
    for words, part in apart_by_settings(observations, ("method.", "boundaries", "budgets", "budgets.")):
        groups = repeated(part)
        curves = [group for group in groups if group.method in many]
        if len(curves) > 1 and len(curves) < len(groups):
            charts.append(_chart(part, groups, many, words))
    if not charts:
        raise UnsupportedByRunsError(
            "of no method of many rounds several numbers of rounds were run; sweep method.rounds"
        )
    return charts[:_MOST_CHARTS]


def _chart(observations: Sequence[Observation], groups: Sequence[Repeats], many: set[str], words: str) -> Chart:
    looks = looks_of_methods(observations)
    said: list[str] = []
    with drawn(4.1, width_in=PAGE_WIDTH_IN, columns=2, sharey=True) as drawing:
        reads: tuple[tuple[Read, Read, str], ...] = (
            (lambda group: group.upload_bytes.mean, lambda group: group.upload_bytes.deviation, "bytes"),
            (lambda group: group.result_s.mean, lambda group: group.result_s.deviation, "seconds"),
        )
        for axes, (read, deviation, what) in zip(drawing.panels, reads, strict=True):
            for method, drawn_as in looks.items():
                own = sorted((group for group in groups if group.method == method), key=read)
                _series(axes, own, read, deviation, drawn_as, curve=method in many)
            said += _at_equal(axes, groups, many, read, what)
            axes.margins(x=0.12, y=0.12)
            axes.set_title(f"at equal {what}", loc="left", fontsize=10)
        log_axis(drawing.panels[0], "x", FuncFormatter(lambda value, _: format_size(value)))
        log_axis(drawing.panels[1], "x", FuncFormatter(lambda value, _: seconds_text(value)))
        drawing.panels[0].set_xlabel("uploaded per client, all rounds")
        drawing.panels[1].set_xlabel("virtual seconds until the result")
        drawing.panels[0].set_ylabel("accuracy on test data, %")
        handles, labels = drawing.panels[0].get_legend_handles_labels()
        drawing.figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 5))
    caption = (
        "Methods of many rounds as curves (numbers: uploads of a site), one-shot methods as single points; they have "
        "nothing more to send, and keep what their lines show. Dotted: where a one-shot method ends; "
        f"{'; '.join(said)}. Between points the curves are interpolated on the logarithmic scale. "
        f"{provenance(observations)}"
    )
    title = titled(f"One shot or many rounds{f' ({words})' if words else ''}", observations)
    return Chart(f"one-shot-or-many{named_after(words)}", title, drawing, caption)


def _series(axes: Axes, groups: Sequence[Repeats], read: Read, deviation: Read, drawn_as: Look, *, curve: bool) -> None:
    axes.errorbar(
        [read(group) for group in groups],
        [group.accuracy_percent.mean for group in groups],
        xerr=[min(deviation(group), 0.95 * read(group)) for group in groups],
        yerr=[group.accuracy_percent.deviation for group in groups],
        color=drawn_as.colour,
        marker=drawn_as.marker,
        markersize=6.5 if curve else 8,
        linestyle=drawn_as.line if curve else "none",
        linewidth=1.4,
        elinewidth=1,
        capsize=2.5,
        label=groups[0].method,
        zorder=3,
    )
    for group in () if curve else groups:
        axes.axhline(group.accuracy_percent.mean, color=drawn_as.colour, linewidth=0.9, alpha=0.6, zorder=1)
    for group in groups if curve else ():
        axes.annotate(str(group.first.uploads_of_a_site), (read(group), group.accuracy_percent.mean), (5, -11),
                      textcoords="offset points", fontsize=8, color=INK)  # fmt: skip


def _at_equal(axes: Axes, groups: Sequence[Repeats], many: set[str], read: Read, what: str) -> list[str]:
    """Mark what a one-shot method has spent, and say what each method of many rounds has got by then."""
    said = []
    for one_shot in (group for group in groups if group.method not in many):
        spent = read(one_shot)
        axes.axvline(spent, color=INK, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
        for method in sorted(many):
            curve = sorted((read(group), group.accuracy_percent.mean) for group in groups if group.method == method)
            got = interpolated(curve, spent)
            reached = f"{method} has not ended its first round" if got is None else f"{method} {got:.1f} %"
            said.append(f"at the {what} of {one_shot.method} ({one_shot.accuracy_percent.mean:.1f} %) {reached}")
    return said


def interpolated(curve: Sequence[tuple[float, float]], spent: float) -> float | None:
    """What a curve of (spent, accuracy), in order, gives at `spent`, on a logarithmic scale.

    None before its first point; after its last it stays.
    """
    if spent < curve[0][0]:
        return None
    for (low, below), (high, above) in pairwise(curve):
        if low <= spent <= high:
            share = 0.0 if high == low else math.log(spent / low) / math.log(high / low)
            return below + share * (above - below)
    return curve[-1][1]
