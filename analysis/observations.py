"""What runs yielded, as observations: one method of one run, its settings and its numbers.

Observations that differ in the seed alone repeat each other; `repeated` puts them together, as mean and deviation.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from collab.store import MethodRun, metrics
from simnet.errors import UnitError
from simnet.units import bandwidth_bps, duration_s, size_bytes

EXPANDED_SUFFIX = "-pae"
"""What the paper adds to the name of a method with partition-and-expand."""

_WORLD = "world"


@dataclass(frozen=True)
class Observation:
    """One method of one run. Traces are read when they are needed and not kept: those of a sweep fill the memory.

    Accuracies are from 0 to 1, seconds virtual if `world` is simulated, joules modelled; what was not counted is None.
    """

    scenario: str
    """Its name."""
    method: str
    seed: int
    dataset: str
    """As people write it."""
    world: str
    settings: Mapping[str, Any] = field(repr=False)
    """The resolved scenario without name, seed and baselines; its `method` is this one."""
    accuracies: Mapping[str, Sequence[float]]
    """Of each network that was judged, by architecture; the first is the method's result."""
    upload_bytes: float
    """Mean of the clients."""
    last_upload_s: float
    result_s: float
    energy_j: float | None = None
    """Mean of the clients."""
    left: MethodRun | None = field(default=None, repr=False)
    """Its folder of the run directory; None if only numbers are left."""

    def said(self, dotted: str) -> Any:
        """The `value` of a setting as people are told it: a data set by its title."""
        return self.dataset if dotted == "dataset.name" else self.value(dotted)

    @property
    def accuracy(self) -> float:
        """Mean over the networks that judged its result."""
        return float(np.mean(next(iter(self.accuracies.values()))))

    @property
    def paper_method(self) -> str:
        """The method as the paper names it: with a suffix if it expands its synthetic set."""
        expands = int(self.value("method.expand") or 1) > 1
        return self.method + (EXPANDED_SUFFIX if expands else "")

    def value(self, dotted: str) -> Any:
        """The setting of a dotted name, or the `world`; None if the scenario has none, or another method's alone."""
        if dotted == _WORLD:
            return self.world
        found: Any = self.settings
        for key in dotted.split("."):
            if not isinstance(found, Mapping) or key not in found:
                return None
            found = found[key]
        return found

    @cached_property
    def flat(self) -> dict[str, Any]:
        """All settings by their dotted names, and the `world`; lists stay whole."""
        return {**dict(_flattened("", self.settings)), _WORLD: self.world}

    @cached_property
    def identity(self) -> str:
        """The same for observations that repeat each other with other seeds."""
        return json.dumps([self.method, self.world, self.settings], sort_keys=True, default=str)

    @cached_property
    def arrivals_s(self) -> list[tuple[str, float]]:
        """Site and moment of every upload that the server took in, in order; empty without a run directory.

        Raises `RunDirectoryError` if the metrics, or the trace of a run that has none, cannot be read.
        """
        if self.left is None:
            return []
        kept = self.left.path.parent / metrics.METRICS
        if kept.is_file():
            table = metrics.read_table(kept).select(["method", "metric", "host", "at_s"]).to_pydict()
            rows = zip(*table.values(), strict=True)
            return [
                (host, at_s) for method, name, host, at_s in rows if (method, name) == (self.method, "upload_bytes")
            ]
        return [(str(event.values["site"]), event.at_s) for event in self.left.read_trace().of_kind("upload")]

    @cached_property
    def slowest_compute_s(self) -> float:
        """Seconds that the site whose upload came last had computed by then; 0 without devices or a run directory."""
        if self.left is None or not self.settings.get("devices"):
            return 0.0
        site, _ = max(self.arrivals_s, key=lambda arrival: arrival[1])
        jobs = (event for event in self.left.read_trace().of_kind("compute") if event.host == site)
        return sum(event.at_s - int(str(event.values["start_us"])) / 1e6 for event in jobs)

    @property
    def uploads_of_a_site(self) -> int:
        """How often the site uploaded that did so most often: 1 in a one-shot method; 0 if that is not known."""
        return max(Counter(site for site, _ in self.arrivals_s).values(), default=0)


def _flattened(prefix: str, settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flattened(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", value


@dataclass(frozen=True)
class Estimate:
    """Mean and standard deviation over repeats, `n` of them; the deviation divides by n - 1, and is 0 for one."""

    mean: float
    deviation: float
    n: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Estimate:
        """Of at least one value."""
        numbers = list(values)
        return cls(float(np.mean(numbers)), float(np.std(numbers, ddof=1)) if len(numbers) > 1 else 0.0, len(numbers))


@dataclass(frozen=True)
class Repeats:
    """Observations that differ in the seed alone."""

    observations: Sequence[Observation]

    @property
    def first(self) -> Observation:
        """Any of them: its settings are those of all."""
        return self.observations[0]

    @property
    def method(self) -> str:
        """The method's name."""
        return self.first.method

    def value(self, dotted: str) -> Any:
        """A setting, as `Observation.value`."""
        return self.first.value(dotted)

    @cached_property
    def accuracy_percent(self) -> Estimate:
        """Over the seeds, of the means of each seed's networks."""
        return Estimate.of(100 * observation.accuracy for observation in self.observations)

    @cached_property
    def upload_bytes(self) -> Estimate:
        """Bytes that a client uploads, mean of the clients."""
        return Estimate.of(observation.upload_bytes for observation in self.observations)

    @cached_property
    def result_s(self) -> Estimate:
        """Seconds until the result was there."""
        return Estimate.of(observation.result_s for observation in self.observations)

    @cached_property
    def last_upload_s(self) -> Estimate:
        """Seconds until the last upload was in."""
        return Estimate.of(observation.last_upload_s for observation in self.observations)

    @cached_property
    def energy_j(self) -> Estimate | None:
        """Joules of a client, mean of the clients; None if it was not counted in each of the runs."""
        values = [observation.energy_j for observation in self.observations]
        return None if None in values else Estimate.of(value for value in values if value is not None)


def repeated(observations: Iterable[Observation]) -> list[Repeats]:
    """Observations put together that differ in the seed alone, in the order in which the first of each comes.

    A seed counts once: what comes later with the same settings and seed says the same again.
    """
    together: dict[str, dict[int, Observation]] = {}
    for observation in observations:
        together.setdefault(observation.identity, {}).setdefault(observation.seed, observation)
    return [Repeats(list(by_seed.values())) for by_seed in together.values()]


def varying(observations: Sequence[Observation], apart_from: Sequence[str] = ()) -> dict[str, list[Any]]:
    """The settings by dotted name in which observations of one method differ, and their values in order of appearance.

    `apart_from` names settings, or sections by their name with a dot, that are not looked at.
    """
    found: dict[str, list[Any]] = {}
    by_method: dict[str, list[Observation]] = {}
    for observation in observations:
        by_method.setdefault(observation.method, []).append(observation)
    for alike in by_method.values():
        for name in dict.fromkeys(name for observation in alike for name in observation.flat):
            if name in apart_from or any(name.startswith(prefix) for prefix in apart_from if prefix.endswith(".")):
                continue
            values: list[Any] = []
            for observation in alike:
                value = observation.flat.get(name)
                if value not in values:
                    values.append(value)
            if len(values) > 1:
                known = found.setdefault(name, [])
                known += [value for value in values if value not in known]
    return found


def number_of(value: Any) -> float | None:
    """A setting as a number: itself, or what its quantity ("20 Mbit/s", "10 ms") is in SI units; None for a word."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str):
        for read in (bandwidth_bps, duration_s, size_bytes):
            try:
                return float(read(value))
            except UnitError:
                continue
    return None
