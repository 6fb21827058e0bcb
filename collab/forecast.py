"""When uploads will arrive and how long a run will take: estimates by closed formulas, before anything is run.

Virtual seconds: the handshake, the task, the computation (operations / rate of the device), then slow start and bytes /
bandwidth, alone on the path; and where sites share a link, no sooner than that link can have carried what comes
through it. Left out: jitter, losses, schedules and faults, rates at boundaries, how the
TCP flows of a crowd hinder each other.

Wall time: operations / what this machine was just seen to do, and a fixed part for each step.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from collab import methods
from collab.compute import CPU, Device
from collab.costs import Costs
from collab.data import ImageSpec
from collab.nets import Embedder, NetworkSpec, operations_per_image, seeded_network
from collab.nets.training import training_operations
from collab.settings import SERVER, Scenario
from collab.waiting_settings import WaitingSettings
from simnet import Topology
from simnet.tcp import Tcp, transfer_time_s

_HEADERS_BYTES = 500  # of a request with content: HTTP's own, and the envelope of the message
_TASK_BYTES = 1_500
START_UP_S = 3.0  # imports and reading small data
_STEP_S = 0.004  # what a step of a small network takes beside its operations
_BASE_MEMORY_BYTES = 450e6  # Python, torch and what else is imported
_MAPS_ALIVE = 8  # feature maps of an image that a step keeps, in units of the largest
_CALIBRATION_S = 0.3


@dataclass(frozen=True)
class Arrivals:
    """Expected virtual seconds: when each site's last upload is in, when the result is there, and of what it is made.

    `computing_s` and `sending_s` are those of the site that comes last, in one round; of those that are waited for, and
    `missing` are the others.
    """

    last: str
    last_upload_s: float
    result_s: float
    computing_s: float
    sending_s: float
    missing: tuple[str, ...] = ()


def arrivals(scenario: Scenario, costs: Costs) -> Arrivals | None:
    """When the uploads of a method will have arrived; None if a formula is missing."""
    topology, tcp, devices = scenario.topology(), scenario.network.tcp.model(), scenario.device_of()
    fixed_s = scenario.compute.duration if scenario.compute.time == "fixed" else None
    ways = {site: way_of(topology, site) for site in costs.upload_bytes}
    ready: dict[str, float] = {}
    small_s = 0.0  # an exchange in which next to nothing is sent, and all are waited for
    computing: dict[str, float] = {}
    for site, operations in costs.operations.items():
        size = costs.upload_bytes[site]
        if operations is None or size is None:
            return None
        rate = devices[site].operations_per_s if site in devices else None
        computing[site] = fixed_s if fixed_s is not None else operations / rate if rate else 0.0
        way = ways[site]
        asked_s = transfer_time_s(_HEADERS_BYTES, way.up_bps, way.latency_s, tcp)
        task_s = _sent_s(_TASK_BYTES + costs.task_bytes, way.down_bps, way.latency_s, tcp)
        ready[site] = asked_s + task_s + computing[site]
        small_s = max(small_s, asked_s + task_s + _sent_s(_HEADERS_BYTES, way.up_bps, way.latency_s, tcp))
    arrived = {
        site: start + _sent_s(_body(costs, site), ways[site].up_bps, ways[site].latency_s, tcp)
        for site, start in ready.items()
    }
    order = sorted(arrived, key=lambda site: arrived[site])
    counting = _counting(order, arrived, scenario.wait_for)
    wanted = counting or order[:1]
    last = wanted[-1]
    round_s = max(arrived[last], _shared_s({site: ready[site] for site in wanted}, costs, ways, tcp))
    closes_s = _closes_s(round_s, len(counting), len(order), scenario.wait_for)
    round_s = min(round_s, closes_s)
    missing = tuple(site for site in arrived if site not in counting)
    server = devices.get(SERVER)
    refining_s = (
        fixed_s if fixed_s is not None else costs.server_operations / server.operations_per_s if server else 0.0
    )
    if not costs.server_operations:
        refining_s = 0.0
    whole_s = costs.rounds * (closes_s + (costs.exchanges - 1) * small_s)
    sending_s = max(round_s, arrived[last]) - ready[last]
    return Arrivals(last, whole_s - closes_s + round_s, whole_s + refining_s, computing[last], sending_s, missing)


def _counting(order: list[str], arrived: Mapping[str, float], waiting: WaitingSettings | None) -> list[str]:
    """The sites whose uploads count, in the `order` in which they come."""
    if waiting is None:
        return order
    if waiting.deadline is not None:
        order = [site for site in order if arrived[site] <= waiting.deadline]
    return order[: waiting.quorum]


def _closes_s(round_s: float, counting: int, asked: int, waiting: WaitingSettings | None) -> float:
    """When a round is over: with the last of the uploads that are wanted, at the deadline if one of them is late."""
    if waiting is None or waiting.deadline is None:
        return round_s
    enough = counting == min(waiting.quorum or asked, asked)
    deadline_s: float = waiting.deadline
    return min(round_s, deadline_s) if enough else deadline_s


@dataclass(frozen=True)
class Way:
    """The path of a site to the server: its narrowest link both ways, its latency, the capacities of its links."""

    up_bps: float
    down_bps: float
    latency_s: float
    links: Mapping[int, float]


def way_of(topology: Topology, site: str) -> Way:
    """The path of a site. Raises `simnet.errors.TopologyError` if there is none."""
    path = topology.path(site, SERVER)
    capacities = {
        way: topology.links[way // 2].reverse_bps if way % 2 else topology.links[way // 2].bandwidth_bps
        for way in path.links
        if way < 2 * len(topology.links)
    }
    back = [
        topology.links[way // 2].bandwidth_bps if way % 2 else topology.links[way // 2].reverse_bps
        for way in capacities
    ]
    own, server = topology.host(site), topology.host(SERVER)
    up = [bps for bps in (*capacities.values(), own.uplink_bps, server.downlink_bps) if bps is not None]
    down = [bps for bps in (*back, own.downlink_bps, server.uplink_bps) if bps is not None]
    return Way(min(up), min(down), path.latency_s, capacities)


def _sent_s(size_bytes: float, rate_bps: float, latency_s: float, tcp: Tcp) -> float:
    """Seconds to send over a connection that is open."""
    return transfer_time_s(size_bytes, rate_bps, latency_s, tcp) - 2 * (latency_s + tcp.host_delay_s)


def _body(costs: Costs, site: str) -> float:
    return (costs.upload_bytes[site] or 0) + _HEADERS_BYTES


def _shared_s(ready: Mapping[str, float], costs: Costs, ways: Mapping[str, Way], tcp: Tcp) -> float:
    """When the busiest link can have carried all at the earliest: what comes late must still come through."""
    through: dict[int, list[str]] = {}
    for site in sorted(ready, key=lambda site: -ready[site]):
        for link in ways[site].links:
            through.setdefault(link, []).append(site)
    latest_s = 0.0
    for link, sites in through.items():
        waiting_bytes = 0.0
        for site in sites:
            waiting_bytes += _body(costs, site) * tcp.header_factor
            carried_s = waiting_bytes * 8 / ways[site].links[link]
            latest_s = max(latest_s, ready[site] + carried_s + ways[site].latency_s)
    return latest_s


# -- on this machine -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Machine:
    """What this machine does: operations a second with networks like the scenario's, as just measured."""

    operations_per_s: float
    threads: int


def calibrate(spec: NetworkSpec, device: Device = CPU) -> Machine:
    """Embed a few images with a network of `spec`, for a moment."""
    network = Embedder(seeded_network(spec, 0, device))
    images = torch.zeros((16, spec.channels, spec.side, spec.side), device=device.torch)
    for _ in network.pieces(images):  # the first time is slower
        pass
    cuda, threads = device.torch.type == "cuda", torch.get_num_threads()
    clock = time.perf_counter if cuda else time.process_time  # others may want the processor now, and not then
    done, started_s, began_s = 0, clock(), time.perf_counter()
    while time.perf_counter() - began_s < _CALIBRATION_S or not done:
        done += sum(len(piece) for piece in network.pieces(images))
        if cuda:
            torch.cuda.synchronize()
    took_s = max(clock() - started_s, 1e-6) / (1 if cuda else threads)
    return Machine(done * operations_per_image(spec).forward / took_s, threads)


def judging_operations(scenario: Scenario, settings: Any, images: ImageSpec, test_samples: int) -> int:
    """Operations of judging a method's result: networks trained on the set, and tested."""
    evaluation = scenario.evaluation
    trained = 0 if _yields_network(settings) else settings.images_per_class * images.classes * settings.expand**2
    total = 0
    for architecture in evaluation.networks:
        width = evaluation.width or settings.width
        spec = NetworkSpec(width, settings.depth, images.channels, images.side, images.classes, architecture)
        cost = training_operations(spec)
        total += evaluation.epochs * trained * (cost.forward + cost.to_weights) + test_samples * cost.forward
    return total * evaluation.repeats * evaluation.sets


def _yields_network(settings: Any) -> bool:
    return methods.kinds(settings)[0] == frozenset({"model"})


def wall_s(scenario: Scenario, settings: Any, costs: Costs, judging: int, machine: Machine) -> float:
    """Seconds that one method will take here, with its judging; what has no formula counts as nothing."""
    run = costs.rounds * sum(operations or 0 for operations in costs.operations.values()) + costs.server_operations
    operations = scenario.evaluation.sets * run + judging
    steps = sum(getattr(settings, name, 0) for name in ("local_steps", "steps", "local_epochs")) * len(costs.operations)
    steps = scenario.evaluation.sets * (costs.rounds * steps + getattr(settings, "iterations", 0))
    judged = 0 if _yields_network(settings) else scenario.evaluation.epochs * scenario.evaluation.sets
    return operations / machine.operations_per_s + _STEP_S * (steps + judged)


def memory_bytes(scenario: Scenario, images: ImageSpec, samples: int) -> float:
    """What the process will take at its largest: the program, the data, and the feature maps of a step."""
    largest = 0.0
    for settings in scenario.all_methods():
        spec = settings.network(images)
        maps = 4.0 * spec.width * spec.side**2 * _MAPS_ALIVE
        matched = settings.images_per_class * settings.expand**2
        largest = max(largest, maps * min(max(matched, 64), 512))
    return _BASE_MEMORY_BYTES + 2.0 * samples * images.pixels + largest
