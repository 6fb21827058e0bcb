"""What a run yields, and how it is written into a run directory: results, summary, environment, digests.

Running is `collab.run`'s business, the form of the directory `collab.store`'s.
"""

from __future__ import annotations

import hashlib
import math
import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib import metadata
from math import fsum
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from collab import methods
from collab.confusion import Confusion
from collab.data import Dataset, ImageSpec, SiteData
from collab.data.catalogue import title_of_data
from collab.data.sites import site_names
from collab.ensemble_distillation import InUnits, unit
from collab.evaluation import Accuracy
from collab.methods import Outcome
from collab.nets import Network as LearnedNetwork
from collab.network_file import KeptNetwork
from collab.settings import SERVER, Scenario
from collab.store import DATASET, SCENARIO, TOPOLOGY, Metric, RunWriter, ledger_identity
from collab.store.detection import CONFUSIONS, detection_rate, false_alarm_rate
from collab.topology_file import described, text_of
from simnet import Network
from simnet.ledger import Identity, Seal
from simnet.trace import Trace


@dataclass(frozen=True)
class Material:
    """The data of a run, and who holds what."""

    dataset: Dataset
    holdings: Mapping[str, NDArray[np.int64]]

    def site_data(self, site: str) -> SiteData:
        """The private data of one site."""
        return SiteData(self.dataset.train.take(self.holdings[site]), self.dataset.spec)

    def all_data(self) -> SiteData:
        """What no site holds: everything."""
        return SiteData(self.dataset.train, self.dataset.spec)


@dataclass
class MethodResult:
    """What one method yielded, and what it cost: ask once the method is over, what is found in the trace is kept."""

    name: str
    outcome: Outcome
    network: Network
    accuracies: Mapping[str, Accuracy]
    """By the name of the network that was judged; the first is the method's result."""
    gallery: Mapping[str, tuple[NDArray[np.float32], NDArray[np.int64]]] = field(default_factory=dict)
    rounds: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Site -> the rounds, from 1, that it uploaded in."""
    benign: int | None = None
    """The class that is no attack, in data of traffic."""

    @property
    def accuracy(self) -> Accuracy:
        """The accuracy of the method's result."""
        return next(iter(self.accuracies.values()))

    @property
    def yields(self) -> str:
        """What the result is: a synthetic set, or a network."""
        return "network" if self.outcome.synthetic is None else "synthetic set"

    @cached_property
    def sites(self) -> list[str]:
        """The sites that uploaded, in the order of their uploads."""
        return [str(event.values["site"]) for event in self.network.trace.of_kind("upload")]

    @cached_property
    def bytes_up(self) -> dict[str, int]:
        """Bytes of bodies from each site, as the server counted them."""
        return self._bytes_of("arrival")

    @cached_property
    def bytes_down(self) -> dict[str, int]:
        """Bytes of bodies to each site, as the server counted them."""
        return self._bytes_of("answer")

    def _bytes_of(self, kind: str) -> dict[str, int]:
        totals: dict[str, int] = dict.fromkeys(sorted(set(self.sites)), 0)
        for event in self.network.trace.of_kind(kind):
            site = str(event.values["peer"])
            if event.host == SERVER and site in totals:
                totals[site] += int(str(event.values["bytes"]))
        return totals

    def energy(self) -> dict[str, dict[str, Any]]:
        """The energy of every host of this process, in its parts."""
        return {
            host: {name: _rounded(value) for name, value in asdict(spent).items()}
            for host, spent in self.network.energy().items()
        }

    def _energy_j_per_client(self) -> float | None:
        """The mean over the clients of which any energy is counted; None if there is none."""
        energies = self.network.energy()
        counted = [energies[site].total_j for site in set(self.sites) & set(energies) if energies[site].counted]
        return _rounded(fsum(counted) / len(counted)) if counted else None

    @cached_property
    def summary(self) -> Mapping[str, Any]:
        """The method's row of the summary."""
        trace = self.network.trace
        return {
            "accuracy": round(self.accuracy.mean, 6),
            "accuracies": {name: _accuracy_row(found) for name, found in self.accuracies.items()},
            "yields": self.yields,
            "bytes_up_per_client": _mean(self.bytes_up.values()),
            "bytes_down_per_client": _mean(self.bytes_down.values()),
            "energy_j_per_client": self._energy_j_per_client(),
            "last_upload_s": max(event.at_s for event in trace.of_kind("upload")),
            "result_s": trace.of_kind("result")[-1].at_s,
            "result_digest": result_digest(self.outcome),
            **({"missing": self.missing} if self.missing else {}),
            **({"privacy": self.outcome.privacy.described()} if self.outcome.privacy is not None else {}),
        }

    @cached_property
    def missing(self) -> dict[str, list[str]]:
        """Site without which a round went on -> why, for each such round ("quorum", "deadline", ...)."""
        found: dict[str, list[str]] = {}
        for event in self.network.trace.of_kind("closed"):
            for site in str(event.values["missing"]).split():
                found.setdefault(site, []).append(str(event.values["reason"]))
        return found

    def _judged(self) -> Iterator[Metric]:
        """What each network makes of the test data."""
        for judged, found in self.accuracies.items():
            each = len(found.values) // found.sets
            for index, value in enumerate(found.values):
                yield Metric(self.name, "accuracy", value, network=judged, set=index // each, repeat=index % each)
            for index, confusion in enumerate(found.confusions):
                for metric, rate in self._rates(confusion):
                    yield Metric(self.name, metric, rate, network=judged, set=index // each, repeat=index % each)

    def _rates(self, confusion: Confusion) -> Iterator[tuple[str, float]]:
        """The rates of a detector, as far as the test data shows them."""
        if self.benign is not None:
            for metric, rate in (("false_alarm_rate", false_alarm_rate), ("detection_rate", detection_rate)):
                value = rate(confusion.whole, self.benign)
                if value is not None:
                    yield metric, value

    def metrics(self) -> Iterator[Metric]:
        """Every number that was measured, for the table of the run."""
        name, trace = self.name, self.network.trace
        yield from self._judged()
        done: Counter[str] = Counter()
        for event in trace.of_kind("upload"):
            site = str(event.values["site"])
            rounds, number = self.rounds.get(site, ()), done[site]
            done[site] += 1
            known = rounds[number] if number < len(rounds) else number + 1
            size_bytes = float(str(event.values["bytes"]))
            yield Metric(name, "upload_bytes", size_bytes, host=site, round=known, at_s=event.at_s)
        for metric, totals in (("bytes_up", self.bytes_up), ("bytes_down", self.bytes_down)):
            for site, total in totals.items():
                yield Metric(name, metric, total, host=site)
        for metric in ("last_upload_s", "result_s"):
            yield Metric(name, metric, self.summary[metric], at_s=self.summary[metric])
        for host, spent in self.network.energy().items():
            if spent.counted:
                for part in ("compute_j", "idle_j", "transmit_j", "receive_j"):
                    yield Metric(name, part, _rounded(getattr(spent, part)), host=host)
        if self.outcome.privacy is not None:
            for metric in ("epsilon", "delta", "noise_multiplier"):
                yield Metric(name, metric, getattr(self.outcome.privacy, metric))
        for step, loss in enumerate(self.outcome.matching_losses, 1):
            if not math.isnan(loss):
                yield Metric(name, "matching_loss", loss, step=step)


def write_run(
    scenario: Scenario,
    writer: RunWriter,
    material: Material,
    results: Sequence[MethodResult],
    wall_s: float,
    *,
    real: bool,
) -> dict[str, Any]:
    """Fill the run directory; returns the summary."""
    summary: dict[str, Any] = {
        "scenario": scenario.name,
        "seed": scenario.seed,
        "dataset": title_of_data(material.dataset),
        "world": "real" if real else "simulated",
        "run_dir": str(writer.final),
        "trace_digest": _joint_digest([result.network.trace for result in results]),
        "wall_s": round(wall_s, 3),
        "methods": {},
    }
    scenario_text = scenario.dump()
    writer.write_text(SCENARIO, scenario_text)
    writer.write_json("environment.json", environment(scenario))
    writer.write_text(TOPOLOGY, text_of(described(scenario.topology(), SERVER)))
    stations = stations_of(scenario, material.dataset)
    writer.write_json(DATASET, {**described_dataset(material.dataset), "sites": stations})
    counts = {
        client: np.bincount(material.dataset.train.labels[part], minlength=material.dataset.spec.classes).tolist()
        for client, part in material.holdings.items()
    }
    writer.write_json("partition.json", counts)
    for result in results:
        identity = ledger_identity(scenario.name, scenario.seed, result.name, scenario_text)
        seal = _write_method(writer, result, identity, material.dataset)
        row = {**result.summary, "ledger": {"lines": seal.lines, "head": seal.head}}
        summary["methods"][result.name] = row
    writer.write_metrics(metric for result in results for metric in result.metrics())
    writer.write_json("summary.json", summary)
    return summary


def stations_of(scenario: Scenario, dataset: Dataset) -> dict[str, str] | None:
    """Client -> the site of the data set that it holds all samples of; None unless they were divided so."""
    sites = dataset.train.sites
    if scenario.partition.scheme != "by_column" or sites is None:
        return None
    return dict(zip(scenario.clients, site_names(sites), strict=True))


def described_dataset(dataset: Dataset) -> dict[str, Any]:
    """What everybody may know of a data set: classes, shape and scale of its images, how they are made of records."""
    spec = dataset.spec
    return {
        "name": dataset.name,
        "title": title_of_data(dataset),
        "class_names": list(dataset.class_names),
        "benign": dataset.benign,
        "classes": spec.classes,
        "channels": spec.channels,
        "side": spec.side,
        "mean": list(spec.mean),
        "std": list(spec.std),
        "augmentation": list(spec.augmentation),
        "recipe": None if dataset.recipe is None else dataset.recipe.model_dump(mode="json"),
    }


def _write_method(writer: RunWriter, result: MethodResult, identity: Identity, dataset: Dataset) -> Seal:
    outcome, taken = result.outcome, dataset.spec
    images: dict[str, NDArray[Any]] = {}
    if outcome.synthetic is not None:
        images |= {"images": outcome.synthetic.images.numpy(), "labels": outcome.synthetic.labels.numpy()}
    if outcome.initial is not None:
        images["initial"] = outcome.initial.images.numpy()
    for site, (pictures, labels) in result.gallery.items():
        images[f"site:{site}"], images[f"site-labels:{site}"] = pictures, labels
    facts = {
        "accuracies": {name: list(found.values) for name, found in result.accuracies.items()},
        CONFUSIONS: {
            name: Confusion.summed(found.confusions).by_site()
            for name, found in result.accuracies.items()
            if found.confusions
        },
        "sets": result.accuracy.sets,
        "expand": 1 if outcome.synthetic is None else outcome.synthetic.expand,
        "sites": sorted(set(result.sites)),
        "bytes_up": result.bytes_up,
        "bytes_down": result.bytes_down,
        "capacity_bps": _capacities(result.network),
        "energy": result.energy(),
        **({} if outcome.privacy is None else {"privacy": outcome.privacy.described()}),
        "trace_digest": result.network.trace.digest(),
    }
    network = result.network
    ledger, networks = network.boundaries.ledger, kept_networks(outcome, taken)
    seal = writer.write_method(result.name, facts, network.trace, ledger, images, identity, networks)
    if outcome.synthetic is not None:
        writer.write_picture(result.name, images["images"], images["labels"], taken.classes, title_of_data(dataset))
    return seal


def kept_networks(outcome: Outcome, images: ImageSpec) -> dict[str, KeptNetwork]:
    """The trained networks of an outcome that a run directory keeps, by name; `images` are those of the data set.

    Of networks that take pixels in [0, 1] it keeps the members; a predictor of any other kind is left out.
    """
    kept: dict[str, KeptNetwork] = {}
    for name, predictor in outcome.networks.items():
        if isinstance(predictor, LearnedNetwork):
            kept[name] = KeptNetwork(predictor, images)
        elif isinstance(predictor, InUnits):
            kept |= {member: KeptNetwork(each, unit(images)) for member, each in predictor.members.items()}
    return kept


def _capacities(network: Network) -> dict[str, float]:
    """The most that each link ever carries, by its name."""
    topology = network.topology
    most_bps = topology.capacities_bps()
    for link, schedule in topology.schedules():
        most_bps[link] = max(most_bps[link], *(step.bandwidth_bps for step in schedule.steps))
    return dict(zip(topology.link_names(), most_bps, strict=True))


def environment(scenario: Scenario) -> dict[str, Any]:
    """What a run is a function of beside its scenario."""
    device = scenario.compute.torch_device()
    named: Sequence[Any] = scenario.all_methods()
    bases = {methods.base_of(settings.name) for settings in named}
    adding = (methods.added()[name].dist for name in sorted(bases & set(methods.added())))
    packages = ("collab-edge", "torch", "numpy", "aiohttp", "simpy", "networkx", "msgpack", "pydantic")
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        **{package: metadata.version(package) for package in packages},
        **{package.name: package.version for package in adding if package is not None},
        "device": str(device),
        "precision": device.precision,
        "threads": torch.get_num_threads(),
    }


def result_digest(outcome: Outcome) -> str:
    """SHA-256 of a method's result, as 64 hexadecimal digits.

    Of the labels and images of the synthetic set, then the weights of the networks, whichever there are.
    """
    sha = hashlib.sha256()
    if outcome.synthetic is not None:
        sha.update(outcome.synthetic.labels.numpy().astype("<i8").tobytes())
        sha.update(outcome.synthetic.images.numpy().astype("<f4").tobytes())
    for name, network in outcome.networks.items():
        sha.update(name.encode())
        sha.update(network.checksum().encode())
    return sha.hexdigest()


def _joint_digest(traces: Sequence[Trace]) -> str:
    return hashlib.sha256("".join(trace.digest() for trace in traces).encode()).hexdigest()


def _accuracy_row(found: Accuracy) -> dict[str, Any]:
    """Mean and deviations, of how many networks and sets."""
    between = found.set_deviation
    return {
        "mean": round(found.mean, 6),
        "deviation": round(found.deviation, 6),
        "set_deviation": None if between is None else round(between, 6),
        "networks": len(found.values),
        "sets": found.sets,
    }


def _rounded(value: Any) -> Any:
    """Nine digits of a float: what is beyond them is the order of additions."""
    return float(f"{value:.9g}") if isinstance(value, float) else value


def _mean(values: Any) -> float | int:
    numbers = list(values)
    mean = sum(numbers) / len(numbers) if numbers else 0
    return int(mean) if mean == int(mean) else round(mean, 1)
