"""A scenario -> a run: builds the network, the data and the agents, runs them, judges the result, writes a run
directory.

Each method of the scenario runs on a fresh network that starts at time 0, over the same data and links. The
judging happens afterwards, outside the network: it is the laboratory's look at the result, not part of the
system.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from collab import methods
from collab.agents.rounds import Arrival
from collab.compute import Device, reporting_to
from collab.content_cache import remembered
from collab.data import Dataset, divide, load_dataset
from collab.engines import Engine, InlineEngine, open_engine, threads_of
from collab.engines.foresight import Foresight, ForesightfulExecutor, ForesightfulThreadExecutor
from collab.engines.shortage import naming_shortage
from collab.ensemble import Ensemble
from collab.errors import AddressInUseError, RunFailedError, ScenarioError
from collab.evaluation import Accuracy, EvaluationSettings
from collab.fault_settings import plan_of
from collab.judging import judge, over_sets, seeds_of_sets
from collab.logbook import Logbook
from collab.methods import Outcome, Site, Upload, read_synthetic
from collab.nets import NetworkSpec
from collab.privacy.guard import RawDataGuard
from collab.privacy.inspection import ContentInspector
from collab.privacy.site_secret import laboratory_secret
from collab.results import Material, MethodResult, result_digest, write_run
from collab.run_listener import Listener, Silence
from collab.settings import SERVER, Scenario
from collab.store import RunWriter
from simnet import Boundaries, Network, Route, SimulatedNetwork, SocketNetwork
from simnet.errors import PortInUseError, SimnetError
from simnet.executors import Executor
from simnet.guards import Limits
from simnet.ingress import OPEN_INGRESS

GALLERY_SITES = 8  # sites whose own images are kept for the report
_ENVELOPE_SLACK_BYTES = 64 * 1024
_SMALLEST_LIMIT_BYTES = 16 * 1024 * 1024


def prepare(
    scenario: Scenario, listener: Listener | None = None, *, real: bool = False, dataset: Dataset | None = None
) -> Material:
    """Load the data, unless it is given, and divide it.

    Raises `collab.errors.DataError` or `PartitionError`, and before anything else `ScenarioError` for what a `real` run
    cannot do.
    """
    if real:
        check_real(scenario)
    listener = listener or Silence()
    if (threads := threads_of(scenario.compute)) is not None:
        torch.set_num_threads(threads)
    if dataset is None:
        dataset = load_dataset(scenario.dataset, scenario.seed, progress=listener.preparing)
    train = dataset.train
    parts = divide(scenario.partition, train.labels, scenario.method.images_per_class, scenario.seed, sites=train.sites)
    return Material(dataset, dict(zip(scenario.clients, parts, strict=True)))


def run_scenario(
    scenario: Scenario,
    writer: RunWriter,
    *,
    real: bool = False,
    only: Collection[str] | None = None,
    listener: Listener | None = None,
    dataset: Dataset | None = None,
) -> dict[str, Any]:
    """Run every method of a scenario, or those named in `only`; write the run directory, return the summary.

    `dataset` is the scenario's, if it has been loaded before. The engine that it asks for is opened and closed again.

    Raises `collab.errors.CollabError`; whatever simnet raises comes as `RunFailedError`.
    """
    started_s = time.perf_counter()
    if real:
        check_real(scenario)
    log = Logbook(writer, listener or Silence())
    with log.open(scenario, real=real):
        material = prepare(scenario, log, real=real, dataset=dataset)
        log.loaded(material, str(scenario.compute.torch_device()), torch.get_num_threads())
        results = []
        with open_engine(scenario.compute) as engine:
            for settings in (scenario.method, *scenario.baselines):
                if only is not None and settings.name not in only:
                    continue
                result = run_method(scenario, settings, material, real=real, listener=log, engine=engine)
                log.method_ended(result)
                results.append(result)
        return write_run(scenario, writer, material, results, time.perf_counter() - started_s, real=real)


def run_method(
    scenario: Scenario,
    settings: Any,
    material: Material,
    *,
    real: bool,
    listener: Listener,
    engine: Engine | None = None,
) -> MethodResult:
    """Run one method, all agents in this process, and judge its result; the sites compute on `engine`, if one
    is given.

    As often as sets are asked for, on fresh networks over the same data; the first run is the one that is recorded,
    the others differ from it by the method's seed, and only their accuracies are kept.
    """
    device = scenario.compute.torch_device()
    spec, evaluation = settings.network(material.dataset.spec), scenario.evaluation
    recorded: _Played | None = None
    accuracies = []
    for number, seed in enumerate(seeds_of_sets(scenario.seed, evaluation.sets)):
        heard = listener if recorded is None else _OfAnotherSet(listener, number, evaluation.sets)
        with reporting_to(heard.progress), naming_shortage(settings.name):
            played = _play(scenario, settings, material, seed, real=real, listener=heard, engine=engine)
            accuracies.append(_judged(played.outcome, material.dataset, spec, evaluation, seed, device))
        recorded = recorded or played
        # Programs and the network that they ran on refer to each other, and to the data of the sites: few objects, so
        # that the collector would see no hurry, but hundreds of megabytes.
        gc.collect()
    if recorded is None:
        raise AssertionError("there is at least one set")
    played = recorded
    accuracies_over_sets = over_sets(accuracies)
    return MethodResult(
        settings.name, played.outcome, played.network, accuracies_over_sets, played.gallery, played.rounds,
        material.dataset.benign,
    )  # fmt: skip


def _judged(
    outcome: Outcome, dataset: Dataset, spec: NetworkSpec, settings: EvaluationSettings, seed: int, device: Device
) -> dict[str, Accuracy]:
    """What `judge` finds, which does not depend on how the outcome came about."""
    expand = 1 if outcome.synthetic is None else outcome.synthetic.expand
    start = outcome.start
    near = None if start is None else (start.network.checksum(), start.network.spec, start.spread)
    if not all(type(network).__module__.startswith("collab.") for network in outcome.networks.values()):
        return judge(outcome, dataset, spec, settings, seed, device)  # how another package's scores is in no digest
    test = (dataset.test.digest(), dataset.test.sites)
    parts = (result_digest(outcome), expand, near, test, dataset.spec, spec, settings, seed)
    return remembered("judge", device, parts, partial(judge, outcome, dataset, spec, settings, seed, device))


@dataclass(frozen=True)
class _Played:
    """A method's result, the network that it came over, and what some sites sent."""

    outcome: Outcome
    network: Network
    gallery: dict[str, tuple[NDArray[np.float32], NDArray[np.int64]]]
    rounds: dict[str, list[int]]


class _OfAnotherSet(Silence):
    """Hears of a run that is not recorded: how its computations get on, with its number."""

    def __init__(self, listener: Listener, number: int, sets: int) -> None:
        self._listener = listener
        self._prefix = f"set {number + 1} of {sets}: "

    def progress(self, what: str, done: int, total: int) -> None:
        """Passed on."""
        self._listener.progress(self._prefix + what, done, total)


def _play(
    scenario: Scenario,
    settings: Any,
    material: Material,
    seed: int,
    *,
    real: bool,
    listener: Listener,
    engine: Engine | None,
) -> _Played:
    """Run one method once, on a network of its own."""
    device = scenario.compute.torch_device()
    sites = sites_of(scenario, settings, material, device)
    foresight: Foresight | None = None
    if engine is not None and not isinstance(engine, InlineEngine):
        foresight = Foresight(engine, partial(listener.progress, "sites have computed"))
    network = make_network(scenario, sites, real=real, executor=_executor(foresight, real=real))
    gallery: dict[str, tuple[NDArray[np.float32], NDArray[np.int64]]] = {}
    rounds: dict[str, list[int]] = {}
    listener.method_began(settings.name, len(sites), network)

    def on_upload(arrival: Arrival) -> None:
        listener.uploaded(arrival.upload.site, arrival.round_number, arrival.number, arrival.asked)
        rounds.setdefault(arrival.upload.site, []).append(arrival.round_number)
        keep_for_gallery(gallery, arrival.upload)

    ensemble = Ensemble(
        network, SERVER, sites, material.dataset.spec, settings, seed, device,
        body_limit_bytes=body_limit_bytes(scenario), durable=bool(scenario.faults), waiting=scenario.wait_for,
        on_upload=on_upload, resumable=scenario.sends_in_parts,
        foresee=None if foresight is None else foresight.foresee,
    )  # fmt: skip
    return _Played(run_network(network, ensemble.play), network, gallery, rounds)


def _executor(foresight: Foresight | None, *, real: bool) -> Executor | None:
    """Where jobs run; None for wherever the network has them run by itself."""
    if foresight is None:
        return None
    return ForesightfulThreadExecutor(foresight) if real else ForesightfulExecutor(foresight)


def run_network(network: Network, main: Any) -> Outcome:
    """Run `main` on the network; errors of either world come out as this package's."""
    try:
        outcome: Outcome = network.run(main)
    except BaseExceptionGroup as group:
        raise _translated(_cause(group)) from group
    except SimnetError as error:
        raise _translated(error) from error
    return outcome


def _cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that brought a run down: that of an agent itself rather than the echo of another's."""
    errors: list[BaseException] = []
    waiting: list[BaseException] = [group]
    while waiting:
        error = waiting.pop(0)
        if isinstance(error, BaseExceptionGroup):
            waiting.extend(error.exceptions)
        else:
            errors.append(error)
    return next((error for error in errors if not isinstance(error, RunFailedError)), errors[0])


def _translated(error: BaseException) -> BaseException:
    if isinstance(error, PortInUseError):
        return AddressInUseError(str(error))
    return RunFailedError(str(error)) if isinstance(error, SimnetError) else error


def sites_of(scenario: Scenario, settings: Any, material: Material, device: Device) -> dict[str, Site]:
    """The sites that take part in a method, with their data and the secrets that they have in a laboratory."""
    if methods.needs_one_site(methods.get(settings.name)):
        data = {scenario.clients[0]: material.all_data()}
    else:
        data = {name: material.site_data(name) for name in scenario.clients}
    return {name: Site(name, held, device, laboratory_secret(scenario.seed, name)) for name, held in data.items()}


def make_network(scenario: Scenario, sites: Mapping[str, Site], *, real: bool, **options: Any) -> Network:
    """The network of a scenario for `sites`, whose data this process sees; `options` go to its class.

    Where names are believed, the scenario's limits come before those of an `ingress`. Raises `ScenarioError` for faults
    on real sockets.
    """
    tenant_of = scenario.tenant_of()
    boundaries = Boundaries(
        tenant_of,
        scenario.rules(),
        ContentInspector({name: RawDataGuard(site.data) for name, site in sites.items()}),
        budgets=scenario.budget_bytes(),
    )
    topology = scenario.topology()
    if real:
        check_real(scenario)
        ingress = options.pop("ingress", OPEN_INGRESS)
        if scenario.limits is not None and ingress.authenticator is None:
            ingress = replace(ingress, limits=scenario.limits.limits(ingress.limits or Limits()))
        return SocketNetwork(
            topology,
            ingress=ingress,
            boundaries=boundaries,
            devices=scenario.device_of(),
            radios=scenario.radio_of(),
            **options,
        )
    network = SimulatedNetwork(
        topology,
        seed=scenario.seed,
        tcp=scenario.network.tcp.model(),
        carriage=scenario.network.carriage,
        boundaries=boundaries,
        devices=scenario.device_of(),
        radios=scenario.radio_of(),
        timing=scenario.compute.timing(),
        limits=None if scenario.limits is None else scenario.limits.limits(),
        **options,
    )
    network.faults.schedule(plan_of(scenario.faults))
    return network


def check_real(scenario: Scenario) -> None:
    """Raise `ScenarioError` for what a run over real sockets cannot do."""
    if scenario.faults:
        raise ScenarioError("faults need a simulated network: take them out of the scenario, or run it without --real")


def body_limit_bytes(scenario: Scenario) -> int:
    """The largest body that the server takes in: what the boundaries let pass, and a little."""
    limits = [rule.at_most_bytes for rule in scenario.rules()]
    known = [limit for limit in limits if limit is not None]
    if not limits or len(known) < len(limits):
        return 256 * 1024 * 1024
    return max(*known, _SMALLEST_LIMIT_BYTES) + _ENVELOPE_SLACK_BYTES


def keep_for_gallery(gallery: dict[str, tuple[NDArray[np.float32], NDArray[np.int64]]], upload: Upload) -> None:
    """Keep the images of the first few sites for the report."""
    number = int(upload.site.rsplit("-", 1)[1])
    if number < GALLERY_SITES and "synthetic" in upload.sections:
        images, labels = read_synthetic(upload.sections["synthetic"])
        if len(images) > 0:
            gallery[upload.site] = images, labels


__all__ = [
    "Listener",
    "Material",
    "MethodResult",
    "Route",
    "Silence",
    "prepare",
    "result_digest",
    "run_method",
    "run_scenario",
]
