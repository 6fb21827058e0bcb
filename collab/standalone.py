"""One agent a process: `collab serve` and `collab join`, the same agents over sockets.

The server hands out, beside tasks, the description of the experiment and the names of sites that are still
free, so that `collab join URL` needs nothing else: laboratory comfort, on routes open to all. A site then takes
its own part of the data and never sees another's. The baselines stay in the laboratory: only the scenario's
method is served.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from collab.agents.answered import forget_answers
from collab.agents.client import take_part
from collab.agents.messages import (
    CLAIM_PATH,
    EXPERIMENT_PATH,
    UPLOAD_PATH,
    message,
)
from collab.agents.rounds import Arrival
from collab.agents.server import ServerAgent
from collab.agents.terms import Terms
from collab.compute import reporting_to
from collab.deploy import logs
from collab.deploy.introduction import introduce
from collab.deploy.shutdown import SITE_STOPPED, Shutdown
from collab.deploy.store import Store
from collab.deploy.watch import Watch
from collab.errors import CollabError, RunFailedError, ScenarioError, StoppedError, StoreError
from collab.judging import judge
from collab.logbook import Logbook
from collab.methods import Outcome, Site, get, needs_one_site
from collab.privacy.site_secret import forget_secret, kept_secret
from collab.reception import LONGEST_REASON, Reception
from collab.results import Material, MethodResult, write_run
from collab.run import (
    body_limit_bytes,
    check_real,
    keep_for_gallery,
    make_network,
    prepare,
    run_network,
)
from collab.run_listener import Listener, Silence
from collab.scenario import SERVER, Scenario, parse
from collab.store import RunWriter
from simnet import Host, Network, trace_file
from simnet.disk import FolderDisk
from simnet.errors import DiskInUseError, SimnetError, UnreachableError
from simnet.ingress import OPEN_EGRESS, OPEN_INGRESS, Egress, Ingress
from simnet.resuming import forget_unfinished

_FAREWELL_S = 10.0


def serve_scenario(
    scenario: Scenario,
    writer: RunWriter,
    *,
    address: str,
    port: int,
    on_listening: Callable[[str], None],
    listener: Listener | None = None,
    store: Store | None = None,
    ingress: Ingress = OPEN_INGRESS,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Be the server of a scenario's method until every site has uploaded; write the run, return the summary.

    With a `store` the run goes on with what an earlier server has left there. Counted are then all uploads; of what was
    sent to the sites, what this server sends. `ingress` says what sites must prove; else their names are believed.
    With a `watch` it stops in order at SIGTERM; then, from the main thread, it raises `StoppedError`.

    Raises `collab.errors.AddressInUseError` if the port is taken, and `ScenarioError` if several sets are asked for,
    since the sites take part once, or if the method needs all data at one site.
    """
    if scenario.evaluation.sets > 1:
        raise ScenarioError(
            f"evaluation.sets is {scenario.evaluation.sets}, but sites that join a server run the method once; "
            "use --set evaluation.sets=1, or collab run"
        )
    check_real(scenario)
    settings = scenario.method
    if needs_one_site(get(settings.name)):
        raise ScenarioError(
            f"method.name is {settings.name}, which holds all data at one site, but sites that join a server bring a "
            "part each; use another method, or collab run"
        )
    started_s = time.perf_counter()
    if store is not None:
        store.begin_writing(writer.partial)
    log = Logbook(writer, listener or Silence())
    with log.open(scenario, real=True):
        material = prepare(scenario, log, real=True)
        log.loaded(material, str(scenario.compute.torch_device()), torch.get_num_threads())
        options = {} if store is None else {"begun_s_ago": store.elapsed_s()}
        if watch is not None:
            ingress = replace(ingress, door=watch.door)
        network = make_network(scenario, {}, real=True, listen=(address, port), ingress=ingress, **options)
        if store is not None:
            network.boundaries.ledger = store.ledger()
            _recall(store, network, settings.name)
        desk = partial(Reception, scenario, store=store, proved=ingress.authenticator is not None)
        result = _serve(scenario, material, network, on_listening, log, store, desk, watch)
        log.method_ended(result)
        return write_run(scenario, writer, material, [result], time.perf_counter() - started_s, real=True)


def _serve(
    scenario: Scenario,
    material: Material,
    network: Network,
    on_listening: Callable[[str], None],
    listener: Listener,
    store: Store | None,
    reception: Callable[[Callable[[str, str], None]], Reception],
    watch: Watch | None,
) -> MethodResult:
    """Be the server of the scenario's method on a network until its result is there; judge it."""
    settings, device = scenario.method, scenario.compute.torch_device()
    listener.method_began(settings.name, len(scenario.clients), network)
    gallery: dict[str, Any] = {}
    rounds: dict[str, list[int]] = {}
    earlier_tasks = () if store is None else store.tasks()

    def on_restored(arrival: Arrival) -> None:
        rounds.setdefault(arrival.upload.site, []).append(arrival.round_number)
        keep_for_gallery(gallery, arrival.upload)

    def on_upload(arrival: Arrival) -> None:
        listener.uploaded(arrival.upload.site, arrival.round_number, arrival.number, arrival.asked)
        on_restored(arrival)

    async def main() -> Outcome:
        host = network.host(SERVER)
        agent = ServerAgent(
            host, scenario.clients, material.dataset.spec, settings.name, settings, scenario.seed, device, on_upload,
            on_restored=on_restored, register=store, waiting=scenario.wait_for,
        )  # fmt: skip
        running = host.start(agent.run(body_limit_bytes(scenario), reception(agent.lose).routes()))
        serving = asyncio.create_task(agent.serving.wait())
        await asyncio.wait({running, serving}, return_when=asyncio.FIRST_COMPLETED)
        serving.cancel()
        if not running.done():
            on_listening(network.url_of(SERVER))
        return await (running if watch is None else watch.until_over(agent, running, earlier_tasks))

    with reporting_to(listener.progress):
        outcome = run_network(network, main)
        spec = settings.network(material.dataset.spec)
        accuracies = judge(outcome, material.dataset, spec, scenario.evaluation, scenario.seed, device)
    return MethodResult(settings.name, outcome, network, accuracies, gallery, rounds, material.dataset.benign)


def _recall(store: Store, network: Network, method: str) -> None:
    """Have the uploads in the trace that earlier servers of the run have accepted."""
    for upload in store.accepted():
        path = UPLOAD_PATH.format(task=upload.task, site=upload.site)
        facts = {"peer": upload.site, "method": "PUT", "path": path, "digest": upload.digest[:16]}
        network.trace.record(upload.at_s, SERVER, "arrival", bytes=upload.size_bytes, **facts)
        network.trace.record(upload.at_s, SERVER, "upload", site=upload.site, method=method, bytes=upload.size_bytes)


def join_run(
    url: str,
    *,
    site: str | None = None,
    scenario: Scenario | None = None,
    patience_s: float = 60.0,
    on_joined: Callable[[str, Scenario], None] | None = None,
    listener: Listener | None = None,
    egress: Egress = OPEN_EGRESS,
    trace_path: Path | None = None,
    disk_folder: Path | None = None,
    shutdown: Shutdown | None = None,
) -> str:
    """Take part as one site in the run that the server at `url` offers, to its end; returns the site's name.

    `scenario` is asked of the server if not given, and no task that contradicts it is done; `egress` is what proves who
    this site is. What the site sends, receives and computes, and when, counted from its start, is written to
    `trace_path` (`simnet.trace_file`), also if it fails. In `disk_folder` the site keeps its secret and what it has
    computed until the server has it: started anew with the same folder and name, it goes on there; without one it
    begins anew, and takes no part in a run with `privacy`. With a `shutdown` it stops in order at SIGTERM: an upload
    may end before.

    Raises `RunFailedError` if the server cannot be reached for `patience_s`, or refuses, `ScenarioError` before it has
    a name if the scenario needs a `disk_folder`, `StoreError` if that is in use or cannot be written, and
    `StoppedError`.
    """
    url = url.rstrip("/")
    listener = listener or Silence()
    scenario, name = _introduced(url, site, scenario, patience_s, egress, disk_folder)
    with contextlib.nullcontext() if disk_folder is None else _held(disk_folder / name):
        material = prepare(scenario, listener, real=True)
        if name not in material.holdings:
            raise RunFailedError(f"the scenario at hand has no site {name}; it is not the server's")
        me = Site(name, material.site_data(name), scenario.compute.torch_device())
        network = make_network(
            scenario, {name: me}, real=True, urls={SERVER: url}, egress=egress, disk_folder=disk_folder
        )
        me = replace(me, secret=kept_secret(network.host(name).disk))
        if on_joined is not None:
            on_joined(name, scenario)
        try:
            with reporting_to(listener.progress):
                may_be_back = disk_folder is not None
                run_network(network, lambda: _to_the_end(network.host(name), me, scenario, shutdown, may_be_back))
        finally:
            if trace_path is not None:
                trace_file.write(network.trace, trace_path)
    return name


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keep a site's folder from other processes. Raises `StoreError`.

    Two of one site would each draw a secret and answer for it: two releases of the same data.
    """
    with contextlib.ExitStack() as holding:
        try:
            holding.enter_context(FolderDisk(folder).held())
        except DiskInUseError as error:
            raise StoreError(
                f"{folder} is in use by another process that takes part as this site; end that one, or wait for its end"
            ) from error
        except OSError as error:
            raise StoreError(
                f"{folder} cannot be the folder of a site: {error.strerror}; choose another --disk"
            ) from error
        yield


async def _to_the_end(host: Host, me: Site, scenario: Scenario, shutdown: Shutdown | None, may_be_back: bool) -> None:
    """Take part, and forget then what was kept; if that fails, tell the server, unless this site `may_be_back`."""
    try:
        uploading = contextlib.nullcontext if shutdown is None else shutdown.held
        taking_part = take_part(
            host, SERVER, me, terms=_terms(scenario), uploading=uploading, resumable=scenario.sends_in_parts,
            on_trouble=_tell_of_trouble,
        )  # fmt: skip
        running = host.start(taking_part, "take part")
        await (running if shutdown is None else shutdown.end_or_stop(running, SITE_STOPPED))
        for forget in (forget_secret, forget_answers, forget_unfinished):
            forget(host.disk)
    except StoppedError:
        raise  # it will be back
    except Exception as error:
        # With what it has on its disk it can be back, when the server is.
        if not may_be_back or not isinstance(error, UnreachableError):
            await host.start(_give_up(host, error), "give up")
        raise


def _tell_of_trouble(reason: str) -> None:
    """Say that the server does not answer, and why, or that it does again."""
    if reason:
        logs.say(f"{reason}; asking again", "server-lost", level="warning")
    else:
        logs.say("the server answers again", "server-back")


def _introduced(
    url: str, site: str | None, believed: Scenario | None, patience_s: float, egress: Egress, disk_folder: Path | None
) -> tuple[Scenario, str]:
    """The scenario at hand, the `believed` one if there is one, and the name of the site to be."""

    def check(text: str) -> Scenario:
        return believed or _fit_for(parse(text, f"{url}{EXPERIMENT_PATH}"), disk_folder)

    if believed is not None:
        _fit_for(believed, disk_folder)
    text, name = asyncio.run(introduce(url, site, patience_s, egress, check))
    return check(text), name


def _fit_for(scenario: Scenario, disk_folder: Path | None) -> Scenario:
    """The scenario, if a site can take part with what it keeps. Raises `ScenarioError`.

    Noise follows from the site's secret, and what was answered is noted, on the disk: with neither after a restart, the
    same question would be answered with other noise, and the mean of many answers has hardly any.
    """
    if disk_folder is None and getattr(scenario.method, "privacy", None) is not None:
        raise ScenarioError(
            "method.privacy is set, but this site keeps nothing: started again it would answer the same question with "
            "other noise, and epsilon would no longer hold. Say where it keeps its secret: --site NAME --disk DIR, or "
            "disk: in its configuration"
        )
    return scenario


def _terms(scenario: Scenario) -> Terms:
    settings = scenario.method
    return Terms(settings.name, settings, scenario.seed, settings.images_per_site(len(scenario.clients)))


async def _give_up(host: Host, error: Exception) -> None:
    """Tell the server that this site will not be back, and why; it would wait for its upload for ever.

    The words of this package's errors are meant for others to read; of any other only the kind is told.
    """
    reason = str(error) if isinstance(error, CollabError | SimnetError) else type(error).__name__
    told = message({"reason": reason[:LONGEST_REASON]})
    with contextlib.suppress(
        SimnetError, TimeoutError
    ):  # the server may be why; what went wrong is raised all the same
        async with asyncio.timeout(_FAREWELL_S):
            await host.request(SERVER, "DELETE", CLAIM_PATH.format(site=host.name), told)
