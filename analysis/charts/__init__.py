"""Figures of runs and sweeps, for papers and for pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from analysis.charts.accuracy import BYTES, ENERGY, SECONDS, accuracy_charts
from analysis.charts.arrivals import arrivals
from analysis.charts.chart import Chart
from analysis.charts.heat_maps import heat_maps
from analysis.charts.latency_bandwidth import latency_bandwidth
from analysis.charts.paper_figures import figure2, figure3
from analysis.charts.rounds import one_shot_or_many
from analysis.observations import Observation

CHARTS: Mapping[str, Callable[[Sequence[Observation]], list[Chart]]] = {
    "latency-bandwidth": latency_bandwidth,
    "heat-map": heat_maps,
    "one-shot-or-many": one_shot_or_many,
    "accuracy-bytes": partial(accuracy_charts, cost=BYTES),
    "accuracy-seconds": partial(accuracy_charts, cost=SECONDS),
    "accuracy-energy": partial(accuracy_charts, cost=ENERGY),
    "arrivals": arrivals,
    "figure2": figure2,
    "figure3": figure3,
}
"""By the name that `--only` takes. Each raises `UnsupportedByRunsError` for runs that it cannot show."""

__all__ = ["CHARTS", "Chart"]
