"""What tells runs apart: settings, environments, results. The first of the runs is what the others are measured by."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from collab.store import Run
from collab.store.selection import flattened

_NOT_SETTINGS = ("sweep",)  # what else was run says nothing about a run


@dataclass(frozen=True)
class Difference:
    """A field whose values differ; None where a run has no such field."""

    field: str
    values: Sequence[Any]


@dataclass(frozen=True)
class MethodResult:
    """What one method of a run came to; deviations over the networks that were judged."""

    accuracy: float
    deviation: float
    networks: int
    bytes_up_per_client: float
    bytes_down_per_client: float
    result_s: float
    result_digest: str
    accuracy_difference: float | None
    """Of this run's accuracy and the first run's that has the method; None of that itself."""
    difference_deviation: float | None
    """The standard deviation of such a difference: the root of the sum of both squares."""
    same_result: bool | None
    """Whether the digests of the results agree with the first run's; None of that itself."""


@dataclass(frozen=True)
class Comparison:
    """Runs side by side. `methods` has, of each method, a result for each run: None where a run has not that method."""

    runs: Sequence[Run]
    settings: Sequence[Difference]
    environment: Sequence[Difference]
    methods: Mapping[str, Sequence[MethodResult | None]]
    same_trace: Sequence[bool]
    """Whether the digest of all traces agrees with the first run's; True of that itself."""

    def data(self) -> dict[str, Any]:
        """As plain data, for programs."""
        return {
            "runs": [str(run.path) for run in self.runs],
            "settings": {each.field: list(each.values) for each in self.settings},
            "environment": {each.field: list(each.values) for each in self.environment},
            "methods": {
                name: [None if result is None else asdict(result) for result in results]
                for name, results in self.methods.items()
            },
            "same_trace": list(self.same_trace),
        }


def compare(runs: Sequence[Run]) -> Comparison:
    """Compare two runs or more. Raises `RunDirectoryError` if a file of them cannot be read."""
    names = dict.fromkeys(name for run in runs for name in run.summary["methods"])
    traces = [run.summary.get("trace_digest") for run in runs]
    return Comparison(
        runs,
        differences(_settings(runs)),
        differences([run.environment for run in runs]),
        {name: _results([run.summary["methods"].get(name) for run in runs]) for name in names},
        [trace == traces[0] for trace in traces],
    )


def _settings(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The settings of each run by their dotted names; those of a baseline only if all runs have it."""
    settings = []
    baselines = [{str(each["name"]): each for each in run.scenario.get("baselines", ())} for run in runs]
    for run, own in zip(runs, baselines, strict=True):
        named = {key: value for key, value in run.scenario.items() if key not in _NOT_SETTINGS}
        shared = {name: each for name, each in own.items() if all(name in others for others in baselines)}
        told = dict(flattened({**named, "baselines": list(own)}))
        settings.append({**told, **dict(flattened(shared, "baselines."))})
    return settings


def differences(sides: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """The fields that do not have the same value on all sides."""
    found = []
    for field in dict.fromkeys(field for side in sides for field in side):
        values = [side.get(field) for side in sides]
        if any(value != values[0] for value in values):
            found.append(Difference(field, values))
    return found


def _results(rows: Sequence[Mapping[str, Any] | None]) -> list[MethodResult | None]:
    first = next(row for row in rows if row is not None)
    return [None if row is None else _result(row, first if row is not first else None) for row in rows]


def _result(row: Mapping[str, Any], first: Mapping[str, Any] | None) -> MethodResult:
    _, deviation, networks = _judged(row)
    difference = spread = same = None
    if first is not None:
        difference = round(float(row["accuracy"]) - float(first["accuracy"]), 9)
        spread = round(math.hypot(deviation, _judged(first)[1]), 9)
        same = row["result_digest"] == first["result_digest"]
    return MethodResult(
        float(row["accuracy"]),
        deviation,
        networks,
        float(row["bytes_up_per_client"]),
        float(row["bytes_down_per_client"]),
        float(row["result_s"]),
        str(row["result_digest"]),
        difference,
        spread,
        same,
    )


def _judged(row: Mapping[str, Any]) -> tuple[float, float, int]:
    """Accuracy, deviation and number of networks of the network that is judged first."""
    found = next(iter(row["accuracies"].values()))
    return float(found["mean"]), float(found["deviation"]), int(found["networks"])
