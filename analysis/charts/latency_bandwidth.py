"""Time to the last upload against bandwidth and against latency: where round trips cost more, and where bytes do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from analysis.captions import provenance, titled
from analysis.charts.accuracy import seconds_text
from analysis.charts.chart import Chart, log_axis, look, spread
from analysis.charts.closed_form import OneShot
from analysis.observations import Observation, Repeats, number_of, repeated
from analysis.style import INK, PAGE_WIDTH_IN, SOFT, Drawing, drawn
from analysis.tables import UnsupportedByRunsError, apart_by_settings
from simnet.units import format_bandwidth, format_duration

BANDWIDTH, LATENCY = "network.access.bandwidth", "network.access.latency"
_MOST_COLUMNS = 3
_MOST_LINES = 4
_ENOUGH_BANDWIDTHS = 3
_MOST_NAMED = 4


@dataclass(frozen=True)
class Point:
    """One cell: its access link, what was measured, and the formula for it, or in words why none holds there."""

    bandwidth_bps: float
    latency_s: float
    seconds: float
    deviation_s: float
    formula: OneShot | None
    without: str = ""


@dataclass(frozen=True)
class Crossing:
    """The access bandwidths at which a line goes from one regime to the other; None where that is not on the line."""

    name: str
    formula_bps: float | None
    measured_bps: float | None

    def __str__(self) -> str:
        texts = [
            "outside" if bps is None else f"{bps / 1e6:.3g} Mbit/s" for bps in (self.formula_bps, self.measured_bps)
        ]
        return f"{self.name}: formula {texts[0]}, measured {texts[1]}"


def latency_bandwidth(observations: Sequence[Observation]) -> list[Chart]:
    """Both faces of the trade-off, a column for each method and number of clients (three at most).

    Raises `UnsupportedByRunsError` unless at least three access bandwidths were run in a star or the like.
    """
    usable = [found for found in observations if _access(found) is not None]
    bandwidths = {found.value(BANDWIDTH) for found in usable}
    if len(bandwidths) < _ENOUGH_BANDWIDTHS:
        raise UnsupportedByRunsError(f"fewer than three values of {BANDWIDTH} were run; sweep it")
    columns: dict[str, list[Repeats]] = {}
    for words, part in apart_by_settings(usable, (BANDWIDTH, LATENCY)):
        for method in dict.fromkeys(found.method for found in part):
            columns[", ".join(word for word in (method, words) if word)] = repeated(
                found for found in part if found.method == method
            )
    shown = spread(list(columns), _MOST_COLUMNS)
    points = {name: [_point(group) for group in columns[name]] for name in shown}
    facing = len({point.latency_s for found in points.values() for point in found}) > 1
    rows = 2 if facing else 1
    with drawn(1.2 + 2.9 * rows, width_in=PAGE_WIDTH_IN, rows=rows, columns=len(shown), sharey=True) as drawing:
        crossings = _draw(drawing, points, facing=facing)
    used = [found for name in shown for group in columns[name] for found in group.observations]
    absent = ", ".join(name for name in columns if name not in shown)
    left_out = f" Not shown: {absent}." if absent else ""
    crowded = any(
        point.formula is not None and point.formula.rate_bps(point.bandwidth_bps) < point.bandwidth_bps
        for line in points.values()
        for point in line
    )
    shared = " A line may also end flat on the server's link, of which each site has a share." if crowded else ""
    caption = (
        f"Time until the last upload is in, computing apart. {_of_lines(points, crossings)}{shared}{left_out} "
        f"{provenance(used)}"
    )
    return [Chart("latency-bandwidth", titled("Time against bandwidth and latency", used), drawing, caption)]


def _of_lines(columns: Mapping[str, Sequence[Point]], crossings: Sequence[Crossing]) -> str:
    """What markers and lines are, and where no formula is drawn and why."""
    without: dict[str, list[str]] = {}
    for name, points in columns.items():
        for reason in dict.fromkeys(point.without for point in points if point.formula is None):
            without.setdefault(reason, []).append(name)
    if not any(point.formula for points in columns.values() for point in points):
        return f"Markers: measured, joined by lines. No formula is drawn: {'; '.join(without)}."
    partly = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in without.items())
    return (
        "Markers: measured; lines: the closed formula, round "
        "trips + slow start + bytes / bandwidth. Left of its crossing a line falls with bandwidth (bandwidth-bound), "
        "right of it only latency helps (latency-bound). Crossing, where bytes take half of the time: rings by the "
        f"formula, dots as measured, interpolated between the markers{_in_words(crossings)}."
        f"{f' Lines without a formula join the markers ({partly}).' if partly else ''}"
    )


def _in_words(crossings: Sequence[Crossing]) -> str:
    if len(crossings) <= _MOST_NAMED:
        return ": " + "; ".join(map(str, crossings)) if crossings else ""
    both = [
        abs(found.measured_bps / found.formula_bps - 1)
        for found in crossings
        if found.measured_bps is not None and found.formula_bps is not None
    ]
    apart = f"; they are at most {100 * max(both):.0f} % apart in {len(both)} lines" if both else ""
    return f"{apart}; for instance {crossings[0]}"


def _access(found: Observation) -> tuple[float, float] | None:
    bandwidth, latency = number_of(found.value(BANDWIDTH)), number_of(found.value(LATENCY))
    return None if bandwidth is None or latency is None else (bandwidth, latency)


def _point(group: Repeats) -> Point:
    found = group.first
    access = _access(found)
    assert access is not None
    seconds = [one.last_upload_s - one.slowest_compute_s for one in group.observations]
    deviation = float(np.std(seconds, ddof=1)) if len(seconds) > 1 else 0.0
    formula = _formula(found, access[1])
    if isinstance(formula, OneShot):
        return Point(*access, float(np.mean(seconds)), deviation, formula)
    return Point(*access, float(np.mean(seconds)), deviation, None, formula)


def _formula(found: Observation, latency_s: float) -> OneShot | str:
    """The formula for a star whose sites upload once, or in words why it does not hold."""
    server_bps = number_of(found.value("network.server.bandwidth"))
    server_s = number_of(found.value("network.server.latency"))
    if found.value("network.topology") != "star":
        return f"it is for a star, and network.topology is {found.value('network.topology')}"
    if server_bps is None or server_s is None:
        return "it needs one bandwidth and one latency of network.server"
    if left_out := beyond_formula(found):
        return f"it knows nothing of {', '.join(left_out)}"
    if found.left is None or not found.uploads_of_a_site:
        return "the bytes of a site are in no run directory"
    if found.uploads_of_a_site != 1:
        return "it is for one upload of each site"
    most_up, most_down = (max(found.left.outcome[key].values(), default=0) for key in ("bytes_up", "bytes_down"))
    clients = int(number_of(found.value("partition.clients")) or 1)
    return OneShot(most_up, most_down, latency_s + server_s, clients, server_bps)


def beyond_formula(found: Observation) -> list[str]:
    """Dotted names of the settings that a run has and the formula leaves out: it would draw another network's time."""
    names = [f"network.tcp.{what}" for what in ("headers", "slow_start") if found.value(f"network.tcp.{what}") is False]
    names += [
        f"network.{link}.{what}"
        for link in ("access", "server")
        for what in ("loss", "schedule", "queue_packets")
        if _is_set(found.value(f"network.{link}.{what}"))
    ]
    hosts = found.value("network.hosts") or {}
    names += [
        f"network.hosts.{host}.{what}"
        for host, own in hosts.items()
        for what in ("uplink", "downlink")
        if _is_set(own.get(what))
    ]
    return [*names, *(["faults"] if found.value("faults") else [])]


def _is_set(value: Any) -> bool:
    """Whether a setting, in a word or for each direction, is something else than nothing."""
    return any(map(_is_set, value.values())) if isinstance(value, Mapping) else bool(value)


def _draw(drawing: Drawing, columns: Mapping[str, Sequence[Point]], *, facing: bool) -> list[Crossing]:
    """Draw all panels; returns the crossings."""
    crossings: list[Crossing] = []
    wide = len(columns)
    for place, (name, points) in enumerate(columns.items()):
        upper = drawing.panels[place]
        upper.set_title(name, loc="left", fontsize=9.5)
        for number, latency_s in enumerate(_lines(points, lambda point: point.latency_s)):
            line = sorted((p for p in points if p.latency_s == latency_s), key=lambda point: point.bandwidth_bps)
            label = format_duration(latency_s)
            crossing = _against_bandwidth(upper, line, number, label)
            if crossing is not None:
                crossings.append(Crossing(f"{name + ', ' if wide > 1 else ''}{label}", *crossing))
        _scales(upper, lambda value, _: f"{value / 1e6:g}")
        upper.set_xlabel("access bandwidth, Mbit/s")
        if facing:
            lower = drawing.panels[wide + place]
            for number, bandwidth_bps in enumerate(_lines(points, lambda point: point.bandwidth_bps)):
                line = sorted(
                    (p for p in points if p.bandwidth_bps == bandwidth_bps), key=lambda point: point.latency_s
                )
                _against_latency(lower, line, number, format_bandwidth(bandwidth_bps))
            _scales(lower, lambda value, _: f"{value * 1e3:g}")
            lower.set_xlabel("access latency, ms")
    drawing.figure.supylabel("last upload, virtual seconds", fontsize=10, color=INK)
    low, high = drawing.axes.get_ylim()
    drawing.axes.set_ylim(low / 2.2, high)  # room for the two words below
    known = any(point.formula for points in columns.values() for point in points)
    for axes in drawing.panels if known else ():
        size = 8 if wide < _MOST_COLUMNS else 6.5
        axes.text(0.02, 0.02, "bandwidth-bound", transform=axes.transAxes, fontsize=size, color=SOFT)
        axes.text(0.98, 0.02, "latency-bound", transform=axes.transAxes, fontsize=size, color=SOFT, ha="right")
    _legends(drawing, wide, facing=facing, known=known)
    return crossings


def _legends(drawing: Drawing, wide: int, *, facing: bool, known: bool) -> None:
    ring = Line2D([], [], linestyle="none", marker="o", markersize=9, markerfacecolor="none", markeredgecolor=INK)
    dot = Line2D([], [], linestyle="none", marker="o", markersize=4.5, color=INK)
    for row, title in enumerate(("latency", "bandwidth") if facing else ("latency",)):
        axes = drawing.panels[row * wide + wide - 1]
        handles, labels = axes.get_legend_handles_labels()
        if row == 0 and known:
            handles, labels = [*handles, ring, dot], [*labels, "crossing, formula", "crossing, measured"]
        axes.legend(
            handles, labels, title=title, fontsize=8, title_fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0)
        )


def _lines(points: Sequence[Point], read: Callable[[Point], float]) -> list[float]:
    values = sorted({read(point) for point in points})
    kept = spread([repr(value) for value in values], _MOST_LINES)
    return [value for value in values if repr(value) in kept]


def _scales(axes: Axes, written: Callable[[float, int], str]) -> None:
    log_axis(axes, "x", FuncFormatter(written))
    log_axis(axes, "y", FuncFormatter(lambda value, _: seconds_text(value)))
    axes.tick_params(axis="x", labelsize=8)


def _against_bandwidth(
    axes: Axes, line: Sequence[Point], number: int, label: str
) -> tuple[float | None, float | None] | None:
    """One latency; returns its crossing by the formula and as measured, None if there is neither."""
    drawn_as = look(number)
    bandwidths = [point.bandwidth_bps for point in line]
    axes.errorbar(
        bandwidths, [point.seconds for point in line], [point.deviation_s for point in line], color=drawn_as.colour,
        marker=drawn_as.marker, markersize=5, linestyle="none", capsize=2, label=label, zorder=3,
    )  # fmt: skip
    formula = line[len(line) // 2].formula
    if formula is None:
        axes.plot(bandwidths, [point.seconds for point in line], color=drawn_as.colour, linewidth=1)
        return None
    fine = np.geomspace(bandwidths[0], bandwidths[-1], 200)
    axes.plot(
        fine, [formula.seconds(bps) for bps in fine], color=drawn_as.colour, linestyle=drawn_as.line, linewidth=1.2
    )
    predicted = formula.crossing_bps(bandwidths[0], bandwidths[-1])
    measured = formula.measured_crossing_bps([(point.bandwidth_bps, point.seconds) for point in line])
    if predicted is not None:
        axes.plot(predicted, formula.seconds(predicted), marker="o", markersize=12, markerfacecolor="none",
                  markeredgecolor=INK, markeredgewidth=1.3, zorder=4)  # fmt: skip
    if measured is not None:
        axes.plot(measured, 2 * formula.bytes_s(measured), marker="o", markersize=4.5, color=INK, zorder=5)
    return None if predicted is None and measured is None else (predicted, measured)


def _against_latency(axes: Axes, line: Sequence[Point], number: int, label: str) -> None:
    drawn_as = look(number)
    latencies = [point.latency_s for point in line]
    axes.errorbar(
        latencies, [point.seconds for point in line], [point.deviation_s for point in line], color=drawn_as.colour,
        marker=drawn_as.marker, markersize=5, linestyle="none", capsize=2, label=label, zorder=3,
    )  # fmt: skip
    formula = line[0].formula
    if formula is None or latencies[0] <= 0:
        axes.plot(latencies, [point.seconds for point in line], color=drawn_as.colour, linewidth=1)
        return
    beyond_s = formula.latency_s - latencies[0]
    fine = np.geomspace(latencies[0], latencies[-1], 100)
    at = [
        OneShot(formula.up_bytes, formula.down_bytes, latency_s + beyond_s, formula.clients, formula.server_bps)
        for latency_s in fine
    ]
    seconds = [one.seconds(line[0].bandwidth_bps) for one in at]
    axes.plot(fine, seconds, color=drawn_as.colour, linestyle=drawn_as.line, linewidth=1.2)
