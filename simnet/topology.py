"""What the network is: hosts, links and the tenants they belong to. Immutable and validated.

Modelled: full-duplex links, each with one capacity per direction, a propagation delay and jitter; hosts that
run programs and relays that only forward (base stations, aggregation switches); one route per pair of hosts,
the one of lowest latency. Not modelled: routing that changes while a run goes on, multipath, queues in relays.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from simnet.errors import TopologyError

QueueDiscipline = Literal["droptail", "fq_codel"]


@dataclass(frozen=True, slots=True)
class Host:
    """A machine that runs programs; `tenant` is the trust domain that it belongs to."""

    name: str
    tenant: str = "lab"


@dataclass(frozen=True, slots=True)
class Link:
    """A full-duplex link between two nodes (hosts or relays).

    `bandwidth_bps` is the capacity from `a` to `b` in bits per second on the wire, `reverse_bandwidth_bps` the
    one from `b` to `a` (the same if not given); `latency_s` is the one-way propagation delay. Each message is
    delayed by a further draw that is uniform on [-jitter_s, +jitter_s]; messages of one connection keep their
    order. `loss` is the probability that a packet from `a` to `b` is lost at random, `reverse_loss` that of one from
    `b` to `a` (the same if not given). `queue` is the discipline of the buffer before the link, in both directions,
    and `queue_packets` what a droptail buffer holds (if not given, the larger of 100 and one bandwidth-delay product
    of the path). Raises `TopologyError` for a value that no link can have.
    """

    a: str
    b: str
    bandwidth_bps: float
    latency_s: float
    jitter_s: float = 0.0
    reverse_bandwidth_bps: float | None = None
    loss: float = 0.0
    reverse_loss: float | None = None
    queue: QueueDiscipline = "droptail"
    queue_packets: int | None = None

    def __post_init__(self) -> None:
        where = f"link {self.a} -- {self.b}"
        if self.a == self.b:
            raise TopologyError(f"{where}: a link joins two different nodes")
        for name, bandwidth in (
            ("bandwidth_bps", self.bandwidth_bps),
            ("reverse_bandwidth_bps", self.reverse_bps),
        ):
            if not (math.isfinite(bandwidth) and bandwidth > 0):
                raise TopologyError(f"{where}: {name} is {bandwidth}, expected a positive number")
        if not (math.isfinite(self.latency_s) and self.latency_s >= 0):
            raise TopologyError(f"{where}: latency_s is {self.latency_s}, expected 0 or more")
        if not 0 <= self.jitter_s <= self.latency_s:
            raise TopologyError(
                f"{where}: jitter_s is {self.jitter_s}, expected between 0 and the latency ({self.latency_s}): "
                "no message arrives before it was sent"
            )
        for name, loss in (("loss", self.loss), ("reverse_loss", self.reverse_loss or 0.0)):
            if not 0 <= loss < 1:
                raise TopologyError(f"{where}: {name} is {loss}, expected a probability below 1")
        if self.queue not in get_args(QueueDiscipline):
            raise TopologyError(f"{where}: queue is {self.queue!r}, expected {' or '.join(get_args(QueueDiscipline))}")
        if self.queue_packets is not None and self.queue_packets < 1:
            raise TopologyError(f"{where}: queue_packets is {self.queue_packets}, expected 1 or more")

    @property
    def reverse_bps(self) -> float:
        """Capacity from `b` to `a`."""
        return self.bandwidth_bps if self.reverse_bandwidth_bps is None else self.reverse_bandwidth_bps


@dataclass(frozen=True, slots=True)
class Path:
    """The way from one host to another.

    `links` are indices of directed links: 2i for link i from a to b, 2i + 1 from b to a.
    """

    links: tuple[int, ...]
    latency_s: float
    jitters_s: tuple[float, ...]


@dataclass(frozen=True)
class Topology:
    """Hosts, relays and links. Raises `TopologyError` for names that clash or are unknown, and for lone hosts."""

    hosts: tuple[Host, ...]
    links: tuple[Link, ...]
    relays: tuple[str, ...] = ()
    _neighbours: Mapping[str, tuple[tuple[str, int], ...]] = field(init=False, repr=False, compare=False)
    _by_name: Mapping[str, Host] = field(init=False, repr=False, compare=False)
    _paths: dict[tuple[str, str], Path] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        names = [host.name for host in self.hosts] + list(self.relays)
        if not self.hosts:
            raise TopologyError("a network needs at least one host")
        if len(set(names)) != len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise TopologyError(f"name used twice: {', '.join(twice)}")
        neighbours: dict[str, list[tuple[str, int]]] = {name: [] for name in names}
        for index, link in enumerate(self.links):
            for end in (link.a, link.b):
                if end not in neighbours:
                    raise TopologyError(f'link {link.a} -- {link.b}: there is no host or relay "{end}"')
            neighbours[link.a].append((link.b, 2 * index))
            neighbours[link.b].append((link.a, 2 * index + 1))
        lone = [host.name for host in self.hosts if not neighbours[host.name] and len(self.hosts) > 1]
        if lone:
            raise TopologyError(f"host on no link: {', '.join(lone)}")
        object.__setattr__(self, "_neighbours", {name: tuple(near) for name, near in neighbours.items()})
        object.__setattr__(self, "_by_name", {host.name: host for host in self.hosts})

    def host(self, name: str) -> Host:
        """The host called `name`. Raises `TopologyError` if there is none."""
        try:
            return self._by_name[name]
        except KeyError:
            raise TopologyError(f'there is no host "{name}"') from None

    def capacities_bps(self) -> list[float]:
        """Capacity of each directed link, in the order of `Path.links`."""
        return [bps for link in self.links for bps in (link.bandwidth_bps, link.reverse_bps)]

    def link_name(self, directed: int) -> str:
        """A directed link in words, e.g. "client-0 > hub"."""
        link = self.links[directed // 2]
        return f"{link.a} > {link.b}" if directed % 2 == 0 else f"{link.b} > {link.a}"

    def path(self, source: str, target: str) -> Path:
        """The route of lowest latency, fewest links among equals (Dijkstra). Raises `TopologyError` if none."""
        if (source, target) not in self._paths:
            self._paths[source, target] = self._shortest(source, target)
        return self._paths[source, target]

    def _shortest(self, source: str, target: str) -> Path:
        self.host(source), self.host(target)
        best: dict[str, tuple[float, int]] = {source: (0.0, 0)}
        came_by: dict[str, tuple[str, int]] = {}
        frontier: list[tuple[float, int, str]] = [(0.0, 0, source)]
        while frontier:
            latency_s, hops, node = heapq.heappop(frontier)
            if node == target:
                return self._walk_back(source, target, came_by)
            if (latency_s, hops) > best[node]:
                continue
            for neighbour, directed in self._neighbours[node]:
                reached = (latency_s + self.links[directed // 2].latency_s, hops + 1)
                if reached < best.get(neighbour, (math.inf, 0)):
                    best[neighbour] = reached
                    came_by[neighbour] = (node, directed)
                    heapq.heappush(frontier, (*reached, neighbour))
        raise TopologyError(f"no route from {source} to {target}")

    def _walk_back(self, source: str, target: str, came_by: Mapping[str, tuple[str, int]]) -> Path:
        links: list[int] = []
        node = target
        while node != source:
            node, directed = came_by[node]
            links.append(directed)
        links.reverse()
        ways = [self.links[directed // 2] for directed in links]
        jitters_s = tuple(link.jitter_s for link in ways if link.jitter_s > 0)
        return Path(tuple(links), math.fsum(link.latency_s for link in ways), jitters_s)


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """A link without its ends, for the builders; see `Link`."""

    bandwidth_bps: float
    latency_s: float
    jitter_s: float = 0.0

    def between(self, a: str, b: str) -> Link:
        """The link from `a` to `b`."""
        return Link(a, b, self.bandwidth_bps, self.latency_s, self.jitter_s)


def star(
    clients: Sequence[str],
    *,
    access: LinkSpec,
    server: LinkSpec,
    server_name: str = "server",
    tenant_of: Mapping[str, str] | None = None,
) -> Topology:
    """Every client on an access link of its own to a hub; the server behind one shared link."""
    hub = "hub"
    links = [access.between(client, hub) for client in clients]
    links.append(server.between(hub, server_name))
    return Topology(_hosts([*clients, server_name], tenant_of), tuple(links), (hub,))


def two_tier(
    clients: Sequence[str],
    *,
    stations: int,
    access: LinkSpec,
    station: LinkSpec,
    server: LinkSpec,
    server_name: str = "server",
    tenant_of: Mapping[str, str] | None = None,
) -> Topology:
    """Clients on base stations in equal blocks, base stations behind an aggregation node, then the server.

    Client i of K hangs on station floor(i * stations / K). Raises `TopologyError` unless 1 <= stations <= K.
    """
    if not 1 <= stations <= len(clients):
        raise TopologyError(f"{stations} base stations for {len(clients)} clients: expected 1 to {len(clients)}")
    names = tuple(f"station-{index}" for index in range(stations))
    links = [access.between(client, names[index * stations // len(clients)]) for index, client in enumerate(clients)]
    links += [station.between(name, "aggregation") for name in names]
    links.append(server.between("aggregation", server_name))
    return Topology(_hosts([*clients, server_name], tenant_of), tuple(links), (*names, "aggregation"))


def _hosts(names: Iterable[str], tenant_of: Mapping[str, str] | None) -> tuple[Host, ...]:
    tenants = tenant_of or {}
    return tuple(Host(name, tenants.get(name, "lab")) for name in names)
