"""Figures 2 and 3 of the paper from our runs, with the numbers beside them that its text quotes."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from analysis import paper
from analysis.captions import THEIR_TRAFFIC, differences, paper_traffic, provenance, titled
from analysis.charts.chart import Chart, empty, look
from analysis.naming import paper_names
from analysis.observations import Observation, Repeats, number_of, repeated
from analysis.paper import CurvePoint
from analysis.style import INK, PAGE_WIDTH_IN, RED, Drawing, drawn
from analysis.tables import PAPER_METHODS, UnsupportedByRunsError, apart_by_settings, named_after

_CENTRAL = "central"
_MOST_PANELS = 4
_MOST_CHARTS = 3
IMAGES, ITERATIONS, CLIENTS = "method.images_per_class", "method.iterations", "partition.clients"


def figure2(observations: Sequence[Observation]) -> list[Chart]:
    """Accuracy against megabytes per client, as the number of iterations grows; a panel for each IPC and K.

    Raises `UnsupportedByRunsError` unless CollabDM was run with several numbers of iterations.
    """
    ours = [found for found in observations if found.method.startswith("collabdm")]
    if len({found.value(ITERATIONS) for found in ours}) < 2:
        raise UnsupportedByRunsError(
            "Figure 2 needs CollabDM with several numbers of iterations; sweep method.iterations"
        )
    usable = [*ours, *(found for found in observations if found.method == _CENTRAL)]
    charts = []
    for words, part in apart_by_settings(usable, ("method.", CLIENTS)):
        if any(found in ours for found in part):
            charts.append(_figure2(part, words))
    return charts[:_MOST_CHARTS]


def _figure2(observations: Sequence[Observation], words: str) -> Chart:
    panels = sorted(
        {_panel_of(found) for found in observations if found.method != _CENTRAL},
    )[:_MOST_PANELS]
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    with drawn(
        0.9 + 2.6 * rows, width_in=PAGE_WIDTH_IN, rows=rows, columns=columns, sharex=True, sharey=True
    ) as drawing:
        for axes in drawing.panels[len(panels) :]:
            empty(axes)
        for axes, (images, clients) in zip(drawing.panels, panels, strict=False):
            own = [found for found in observations if _panel_of(found) == (images, clients)]
            central = [
                found for found in observations if found.method == _CENTRAL and _panel_of(found) == (images, clients)
            ]
            _curves(axes, repeated(found for found in own if found.method != _CENTRAL))
            if central:
                axes.axhline(
                    repeated(central)[0].accuracy_percent.mean, color=RED, linestyle=(0, (5, 2)), label="central"
                )
            quoted = [p for p in paper.figure2() if (p.images_per_class, p.clients) == (images, clients)]
            _quoted_bytes(axes, quoted)
            axes.set_title(f"IPC {images:g}, K {clients:g}", loc="left", fontsize=10)
            axes.margins(x=0.12, y=0.18)
        drawing.figure.supxlabel("uploaded per client, MB", fontsize=10, color=INK)
        drawing.figure.supylabel("accuracy on test data, %", fontsize=10, color=INK)
        _legend(drawing)
    caption = (
        "Accuracy against the bytes that each client uploads, as the number of iterations grows (the paper's "
        "Figure 2). Stars: what the paper's text quotes of its CollabDM-pae; dotted: where it gives no bytes. The "
        "dashed red line is our central upper bound, if it was run; the paper's is drawn, but not quoted. "
        f"{differences(observations, 'figure2')} {provenance(observations)}"
    )
    title = titled(f"Figure 2{f' ({words})' if words else ''}", observations)
    return Chart(f"figure2{named_after(words)}", title, drawing, caption)


def _panel_of(found: Observation) -> tuple[float, float]:
    return (number_of(found.value(IMAGES)) or 0.0, number_of(found.value(CLIENTS)) or 0.0)


def _curves(axes: Axes, groups: Sequence[Repeats]) -> None:
    """Accuracy over megabytes, a line for each method as the paper names it."""
    for method in dict.fromkeys(group.first.paper_method for group in groups):
        own = sorted(
            (group for group in groups if group.first.paper_method == method), key=lambda group: group.upload_bytes.mean
        )
        drawn_as = look(_place(method))
        axes.errorbar(
            [group.upload_bytes.mean / 1e6 for group in own],
            [group.accuracy_percent.mean for group in own],
            [group.accuracy_percent.deviation for group in own],
            color=drawn_as.colour, marker=drawn_as.marker, linestyle=drawn_as.line, markersize=5.5, capsize=2.5,
            label=method,
        )  # fmt: skip


def _place(method: str) -> int:
    """The same look for a method in both figures."""
    known = (*reversed(PAPER_METHODS), "collabdm-lean", "collabdm-lean-pae")
    return known.index(method) if method in known else len(known)


def _quoted_bytes(axes: Axes, quoted: Sequence[CurvePoint]) -> None:
    for point in quoted:
        if point.upload_bytes is None:
            axes.axhline(
                point.accuracy.percent, color=INK, linewidth=1, linestyle=(0, (1, 2)), label="paper, bytes not given"
            )
        else:
            axes.plot(point.upload_bytes / 1e6, point.accuracy.percent, linestyle="none", marker="*", markersize=12,
                      color=INK, label="paper, collabdm-pae")  # fmt: skip


def _legend(drawing: Drawing) -> None:
    found = {
        label: handle
        for axes in drawing.panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    drawing.figure.legend(found.values(), found.keys(), loc="outside upper center", ncols=min(len(found), 5))


def figure3(observations: Sequence[Observation]) -> list[Chart]:
    """Accuracy against images per class, a line for each method.

    Raises `UnsupportedByRunsError` unless several numbers of images per class were run.
    """
    usable = [found for found in observations if number_of(found.value(IMAGES)) is not None]
    if len({found.value(IMAGES) for found in usable}) < 2:
        raise UnsupportedByRunsError(
            "Figure 3 needs several numbers of images per class; sweep method.images_per_class"
        )
    parts = apart_by_settings(usable, (IMAGES, "method.expand", "method.name"))
    return [_figure3(part, words) for words, part in parts][:_MOST_CHARTS]


def _figure3(observations: Sequence[Observation], words: str) -> Chart:
    with drawn(3.8, width_in=PAGE_WIDTH_IN) as drawing:
        axes = drawing.axes
        names = paper_names(observations)
        for method, name in ((method, name) for method, called in names.items() for name in called):
            own = repeated(names[method][name])
            own.sort(key=lambda group: number_of(group.value(IMAGES)) or 0.0)
            drawn_as = look(_place(method) + len(PAPER_METHODS) * list(names[method]).index(name))
            axes.errorbar(
                [number_of(group.value(IMAGES)) or 0.0 for group in own],
                [group.accuracy_percent.mean for group in own],
                [group.accuracy_percent.deviation for group in own],
                color=drawn_as.colour, marker=drawn_as.marker, linestyle=drawn_as.line, capsize=2.5, label=name,
            )  # fmt: skip
        is_theirs = all(found.dataset == THEIR_TRAFFIC for found in observations)
        theirs = "" if is_theirs else ", real 5G traffic"
        axes.plot(
            [point.images_per_class for point in paper.figure3()],
            [point.accuracy.percent for point in paper.figure3()],
            linestyle="none", marker="*", markersize=12, color=INK, label=f"paper, collabdm-pae{theirs}",
        )  # fmt: skip
        axes.set_xlabel("images per class")
        axes.set_ylabel("accuracy on test data, %")
        _legend(drawing)
    caption = (
        "Accuracy against images per class (the paper's Figure 3). Stars: what the paper's text quotes, "
        f"{paper_traffic(observations)}. {differences(observations, 'figure3')} {provenance(observations)}"
    )
    title = titled(f"Figure 3{f' ({words})' if words else ''}", observations)
    return Chart(f"figure3{named_after(words)}", title, drawing, caption)
