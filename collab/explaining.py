"""A scenario in plain sentences: what will happen in a run of it, what it will cost, and what may be a mistake.

Costs are estimates by closed formulas (`collab.costs`, `collab.forecast`); nothing is run, and no data is downloaded.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collab import forecast, methods
from collab.costs import Costs, Counts, costs_of
from collab.data import ImageSpec
from collab.data.catalogue import KNOWN, how_to_get, title_of, title_of_data
from collab.data.flows import sources, stand_in
from collab.data.flows.settings import FlowCsvSettings, NiddSettings, SyntheticNiddSettings
from collab.data.listing import entries
from collab.data.loading import data_dir
from collab.data.settings import ImageFolderSettings
from collab.data.sites import site_names
from collab.forecast import Arrivals
from collab.holdings import Holdings
from collab.plan import Plan
from collab.run import prepare
from collab.settings import Scenario
from collab.waiting_settings import WaitingSettings
from collab.warnings_before_a_run import Warned, cells_without_data, warnings_of
from simnet.units import format_bandwidth, format_duration, format_size

_SHORT_SENTENCE = 60  # characters
_MOST_SETTINGS = 5
_HERE = ("yes", "always")  # of `collab.data.listing.Entry.present`
_TOPOLOGIES = {
    "star": "every client has an access link of its own; all of them share the server's",
    "two-tier": "clients hang on base stations, stations on aggregation nodes, these on the cloud with the server",
    "ring": "nodes stand in a circle, clients on them, the server on the first",
    "tree": "clients hang in groups on nodes, those on nodes above, up to a root with the server",
    "geometric": "clients and stations lie at random places of a square; each client is on the nearest station",
    "links": "exactly the links that are listed",
}


@dataclass(frozen=True)
class Expected:
    """One method of the scenario: what it does, and what it is expected to cost; None where no formula says."""

    name: str
    says: str
    rounds: int | None
    bytes_up_per_client: float | None
    last_upload_s: float | None
    last_site: str | None
    result_s: float | None
    wall_s: float | None
    judging_s: float
    missing: tuple[str, ...] | None
    """Whose uploads are not waited for."""
    costs: Costs = field(repr=False)


@dataclass(frozen=True)
class Explanation:
    """Everything that is told of a scenario: sentences by heading, numbers by method, warnings."""

    scenario: str
    sections: dict[str, list[str]]
    methods: list[Expected]
    wall_s: float | None
    memory_bytes: float | None
    cells: int
    warnings: list[Warned]

    def as_json(self) -> dict[str, Any]:
        """The same as maps and lists."""
        rows = [{key: value for key, value in vars(expected).items() if key != "costs"} for expected in self.methods]
        return {
            "scenario": self.scenario,
            "sections": self.sections,
            "methods": rows,
            "wall_s": self.wall_s,
            "memory_bytes": self.memory_bytes,
            "cells": self.cells,
            "warnings": [{"where": ".".join(map(str, warned.where)), "says": warned.says} for warned in self.warnings],
        }


def explain(scenario: Scenario, plan: Plan | None = None) -> Explanation:
    """What a run of the scenario will do, and a sweep of it; `plan` is the sweep, if it has one."""
    data = _Data.of(scenario)
    sections = {"The data": list(_data_sentences(scenario, data))}
    sections["Who may send what where"] = list(_crossings(scenario))
    sections["The network"] = list(_network_sentences(scenario))
    expected = [] if data.counts is None or data.images is None else _expected(scenario, data.images, data)
    cells = 1 if plan is None else len(plan.cells)
    if plan is not None:
        sections["The sweep"] = list(_sweep_sentences(plan))
    sections["Judging"] = [_judging(scenario)]
    wall_s = memory = None
    if expected and data.images is not None:
        wall_s = forecast.START_UP_S + sum(one.wall_s or 0 for one in expected)
        memory = forecast.memory_bytes(scenario, data.images, data.samples)
    names = site_names(data.sites) if scenario.partition.scheme == "by_column" and data.sites is not None else ()
    warned = list(warnings_of(scenario, data.counts, expected, wall_s, cells, names))
    if plan is not None and data.labels is not None:
        warned += cells_without_data(plan, data.labels, data.sites)
    return Explanation(scenario.name, sections, expected, wall_s, memory, cells, warned)


# -- the data ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Data:
    """What is known of the data: the images, and who holds what; assumed to be even where the data is not here."""

    images: ImageSpec | None
    counts: Counts | None
    holdings: Holdings | None
    samples: int
    test_samples: int
    labels: NDArray[np.int64] | None = None
    sites: NDArray[np.str_] | None = None
    title: str = ""

    @classmethod
    def of(cls, scenario: Scenario) -> _Data:
        if _is_here(scenario):
            material = prepare(scenario)
            images, labels = material.dataset.spec, material.dataset.train.labels
            holdings = Holdings.of(material.holdings, labels, images.classes, None)
            counts = dict(zip(holdings.clients, holdings.counts.tolist(), strict=True))
            tested, sites = len(material.dataset.test.labels), material.dataset.train.sites
            return cls(images, counts, holdings, len(labels), tested, labels, sites, title_of_data(material.dataset))
        shape = _expected_shape(scenario)
        if shape is None:
            return cls(None, None, None, 0, 0)
        spec, samples, tested = shape
        samples = min(scenario.dataset.train_samples or samples, samples)
        each = max(1, samples // (scenario.partition.clients * spec.classes))
        even = dict.fromkeys(scenario.clients, [each] * spec.classes)
        return cls(spec, even, None, samples, min(scenario.dataset.test_samples or tested, tested))


def _expected_shape(scenario: Scenario) -> tuple[ImageSpec, int, int] | None:
    """Of data that is not here: the images, how many train and judge; None if that is not known."""
    if isinstance(scenario.dataset, NiddSettings):
        return sources.published_shape(scenario.dataset)
    if isinstance(scenario.dataset, SyntheticNiddSettings):
        return stand_in.expected_shape(scenario.dataset)
    known = KNOWN.get(scenario.dataset.name)
    return None if known is None else (known.spec, known.train_samples, known.test_samples)


def _is_here(scenario: Scenario) -> bool:
    """Whether the data can be read without a download, and without writing hundreds of megabytes."""
    if isinstance(scenario.dataset, SyntheticNiddSettings):
        return stand_in.is_written(scenario.dataset, data_dir())
    if isinstance(scenario.dataset, ImageFolderSettings):
        return any((folder / scenario.dataset.path).is_dir() for folder in (Path.cwd(), data_dir()))
    if isinstance(scenario.dataset, FlowCsvSettings):
        return sources.has_own_files(scenario.dataset.path, data_dir())
    return any(entry.name == scenario.dataset.name and entry.present in _HERE for entry in entries(data_dir()))


def _data_sentences(scenario: Scenario, data: _Data) -> Iterator[str]:
    title, clients = data.title or title_of(scenario.dataset.name), scenario.partition.clients
    sites = "1 site holds" if clients == 1 else f"{clients:,} sites hold"
    if data.images is None:
        yield f"{sites} {title}, which is not here: neither who holds what nor what it costs can be told."
        return
    images = data.images
    colour = "grey" if images.channels == 1 else "colour"
    kind = f"{data.samples:,} {colour} images of {images.side} x {images.side} pixels in {images.classes} classes"
    yield f"{sites} {title}: {kind}, divided by the scheme {_scheme(scenario)}."
    if data.holdings is None:
        name = scenario.dataset.name
        if isinstance(scenario.dataset, SyntheticNiddSettings):
            get = "a run makes it"
        else:
            get = f"collab data fetch {name}" if KNOWN[name].files else how_to_get(name)
        yield (
            f"The data is not here ({get}): who holds what is not known, and costs are told as if all held equally "
            "much of every class."
        )
        return
    held = data.holdings
    if clients > 1:
        small, middle, large = (int(value) for value in np.quantile(held.sizes, (0, 0.5, 1)))
        if small == large:
            yield f"Each holds {small:,} samples."
        else:
            yield f"A site holds {small:,} to {large:,} samples, half of them at most {middle:,}."
        classes = np.quantile(held.classes_held, (0, 1)).astype(int)
        span = f"{classes[0]}" if classes[0] == classes[1] else f"{classes[0]} to {classes[1]}"
        yield (
            f"Of the {images.classes} classes a site has seen {span}; to hold the mixture of the whole, it would have "
            f"to swap {100 * held.label_skew:.0f} % of its samples ({_skew(held.label_skew)}). "
            "collab partition shows all of it."
        )


def _scheme(scenario: Scenario) -> str:
    settings = scenario.partition.model_dump(exclude={"scheme", "clients"}, exclude_none=True)
    values = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in settings.items())
    return scenario.partition.scheme + (f" ({values})" if values else "")


def _skew(label_skew: float) -> str:
    for bound, words in ((0.1, "hardly skewed"), (0.3, "somewhat skewed"), (0.6, "strongly skewed")):
        if label_skew < bound:
            return words
    return "very strongly skewed"


# -- who may send what where ---------------------------------------------------------------------


def _crossings(scenario: Scenario) -> Iterator[str]:
    if scenario.tenants is None:
        yield "All hosts belong to one tenant: they trust each other, and everything may be sent."
        return
    tenant_of = scenario.tenant_of()
    members: dict[str, list[str]] = {}
    for host, tenant in tenant_of.items():
        members.setdefault(tenant, []).append(host)
    for tenant, hosts in members.items():
        yield f"Tenant {tenant} has {_several(hosts)}."
    for boundary in scenario.boundaries:
        source = "Every tenant" if boundary.source == "*" else boundary.source
        limits = [
            *([f"at most {format_size(boundary.at_most)} each"] if boundary.at_most is not None else []),
            *([f"at most {boundary.at_most_count} messages"] if boundary.at_most_count is not None else []),
            *(["at a limited rate"] if boundary.at_most_rate is not None else []),
        ]
        what = _listed(boundary.allow) if boundary.allow else "nothing"
        answers = f"and may get {_listed(boundary.answers)} back" if boundary.answers else "and gets nothing back"
        yield f"{source} may send {what} to {boundary.to}{''.join(f', {limit}' for limit in limits)}, {answers}."
    for tenant, size in scenario.budgets.items():
        yield f"{tenant} may send {format_size(size)} across its boundaries in all, in a run of one method."
    yield "Everything else is refused, raw data always."


def _several(names: Sequence[str]) -> str:
    if len(names) <= 4:
        return _listed(names)
    return f"{names[0]}, {names[1]}, ... {names[-1]} ({len(names):,} hosts)"


def _listed(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _network_sentences(scenario: Scenario) -> Iterator[str]:
    network, topology = scenario.network, scenario.topology()
    yield f"{network.topology}: {_TOPOLOGIES[network.topology]}."
    ways = [forecast.way_of(topology, client) for client in scenario.clients]
    slowest = min(ways, key=lambda way: way.up_bps)
    farthest = max(ways, key=lambda way: way.latency_s)
    yield (
        f"The narrowest link on a site's way to the server carries {format_bandwidth(slowest.up_bps)} up; the farthest "
        f"site is {format_duration(2 * farthest.latency_s)} there and back away."
    )
    devices = scenario.device_of()
    if not devices:
        yield "No host has a device: computing takes no virtual time (devices: {client: laptop} would change that)."
    if any(link.schedule is not None or link.reverse_schedule is not None for link in topology.links):
        yield "The capacity of a link changes with time (its schedule); the times below are told without."
    if scenario.sends_in_parts:
        yield "Uploads go in parts: what is there when a connection breaks need not be sent again."
    if scenario.limits is not None:
        yield (
            f"The server refuses more than {scenario.limits.requests_per_s:,} requests a second of one site "
            f"({scenario.limits.request_burst:,} after a rest), among other limits. Who is refused comes again; the "
            "times below are told without."
        )
    if scenario.faults:
        number = len(scenario.faults)
        yield f"{number} fault{'' if number == 1 else 's'} will strike; the times below are told without."
    if scenario.wait_for is not None:
        yield _waiting(scenario.wait_for, len(scenario.clients))


def _waiting(waiting: WaitingSettings, sites: int) -> str:
    """With which uploads the server goes on."""
    ends = [
        *([f"with the first {waiting.quorum} of {sites:,} uploads"] if waiting.quorum is not None else []),
        *([f"after {format_duration(waiting.deadline)} with what has come"] if waiting.deadline is not None else []),
    ]
    least = f"; with fewer than {waiting.at_least} uploads the run fails" if waiting.at_least > 1 else ""
    return f"The server goes on {', or '.join(ends)}{least}."


# -- methods -------------------------------------------------------------------------------------


def _expected(scenario: Scenario, images: ImageSpec, data: _Data) -> list[Expected]:
    rows = []
    for settings in _methods(scenario):
        costs = costs_of(settings, images, data.counts or {})
        at: Arrivals | None = forecast.arrivals(scenario, costs)
        machine = forecast.calibrate(settings.network(images), scenario.compute.torch_device())
        judging = forecast.judging_operations(scenario, settings, images, data.test_samples)
        known = None not in costs.operations.values()
        rows.append(
            Expected(
                settings.name, f"{_says(settings)}{_pace(costs, at)}",
                costs.rounds * costs.exchanges if at else None, costs.bytes_per_client,
                at.last_upload_s if at else None, at.last if at else None, at.result_s if at else None,
                forecast.wall_s(scenario, settings, costs, judging, machine) if known else None,
                judging / machine.operations_per_s, at.missing if at else None, costs,
            )
        )  # fmt: skip
    return rows


def _pace(costs: Costs, at: Arrivals | None) -> str:
    """Who comes last, and why."""
    if at is None or not costs.bytes_per_client:
        return ""
    rounds = f"In each of {costs.rounds:,} rounds {at.last} comes last" if costs.rounds > 1 else f"{at.last} comes last"
    if 0 < len(at.missing) < len(costs.upload_bytes):
        rounds += f" of those that are waited for, without {_several(at.missing)}"
    parts = (format_duration(float(f"{seconds:.3g}")) for seconds in (at.computing_s, at.sending_s))
    return f" {rounds}: {next(parts)} of computing, {next(parts)} of sending."


def _methods(scenario: Scenario) -> tuple[Any, ...]:
    return scenario.all_methods()


def _says(settings: Any) -> str:
    """The beginning of the method's own account of itself: a sentence, or two short ones; and what a preset sets."""
    text = inspect.cleandoc(methods.get(settings.name).__doc__ or "").split("\n\n")[0]
    _, _, says = " ".join(text.split()).partition(": ")
    sentences = says.rstrip(".").split(". ")
    told = ". ".join(sentences[: 2 if len(sentences[0]) < _SHORT_SENTENCE else 1])
    preset = [f"{key} {getattr(settings, key)}" for key in methods.preset_settings(settings.name)]
    more = f" and {len(preset) - _MOST_SETTINGS} more" if len(preset) > _MOST_SETTINGS else ""
    privacy = getattr(settings, "privacy", None)
    hidden = (
        "" if privacy is None else f" Each site adds noise for epsilon {privacy.epsilon:g}, delta {privacy.delta:g}."
    )
    return f"{told}.{hidden}" + (f" Its preset sets {', '.join(preset[:_MOST_SETTINGS])}{more}." if preset else "")


def _judging(scenario: Scenario) -> str:
    evaluation = scenario.evaluation
    number = evaluation.repeats * evaluation.sets
    networks = f"{number} fresh network{'' if number == 1 else 's'}"
    epochs = "1 epoch" if evaluation.epochs == 1 else f"{evaluation.epochs:,} epochs"
    return (
        f"A synthetic set is judged by {networks} ({_listed(evaluation.networks)}), trained for {epochs} on it and "
        "tested on data that no site holds."
    )


def _sweep_sentences(plan: Plan) -> Iterator[str]:
    yield f"{len(plan.cells):,} cells, each a run of its own (collab sweep):"
    for name, values in plan.axes.items():
        yield f"{name}: {', '.join(map(str, values))}."
    yield "What follows is told of the base, the scenario without its sweep."
