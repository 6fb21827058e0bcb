"""What the network is: hosts, links and the tenants they belong to. Immutable and validated.

Modelled: full-duplex links, each with one capacity per direction (fixed, or following a schedule), a propagation
delay, jitter, random loss and a queue discipline; hosts that run programs, with capacities of their own, and relays
that only forward (base stations, aggregation switches); one route per pair of hosts, the one of lowest latency (see
`simnet.routing`). Not modelled: routing that changes while a run goes on, multipath, capacities of relays.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Literal, get_args

from simnet.errors import TopologyError
from simnet.jitter import JITTER_DISTRIBUTIONS, NEVER_EARLY, Jitter, JitterDistribution
from simnet.routing import Routes
from simnet.schedule import CapacitySchedule

QueueDiscipline = Literal["droptail", "fq_codel"]
CongestionControl = Literal["cubic", "reno", "bbr"]


@dataclass(frozen=True, slots=True)
class Host:
    """A machine that runs programs; `tenant` is the trust domain that it belongs to.

    `congestion` is the congestion control of its TCP when it sends. `uplink_bps` and `downlink_bps` are what it can
    send and receive in all, in bits per second on the wire, whatever its links could carry; unlimited if not given.
    Raises `TopologyError` for a value that no host can have.
    """

    name: str
    tenant: str = "lab"
    congestion: CongestionControl = "cubic"
    uplink_bps: float | None = None
    downlink_bps: float | None = None

    def __post_init__(self) -> None:
        if self.congestion not in get_args(CongestionControl):
            known = ", ".join(get_args(CongestionControl))
            raise TopologyError(f"host {self.name}: congestion is {self.congestion!r}, expected one of {known}")
        for name, bandwidth in (("uplink_bps", self.uplink_bps), ("downlink_bps", self.downlink_bps)):
            if bandwidth is not None and not (math.isfinite(bandwidth) and bandwidth > 0):
                raise TopologyError(f"host {self.name}: {name} is {bandwidth}, expected a positive number")


@dataclass(frozen=True, slots=True)
class Link:
    """A full-duplex link between two nodes (hosts or relays).

    `bandwidth_bps` is the capacity from `a` to `b` in bits per second on the wire, `reverse_bandwidth_bps` the one from
    `b` to `a`; `latency_s` is the one-way propagation delay. Each message is delayed by a further draw: `jitter_s` is
    its spread and `jitter_distribution` its kind (see `simnet.jitter.Jitter`); messages of one connection keep their
    order. `loss` is the probability that a packet from `a` to `b` is lost at random, `reverse_loss` that of one from
    `b` to `a`. `queue` is the discipline of the buffer before the link, in both directions, and `queue_packets` what a
    droptail buffer holds (if not given, the larger of 100 and one bandwidth-delay product of the path). `schedule` is
    what the capacity from `a` to `b` is when, `reverse_schedule` that from `b` to `a`. A reverse that is not given is
    as the way forth. Raises `TopologyError` for a value that no link can have.
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
    jitter_distribution: JitterDistribution = "uniform"
    schedule: CapacitySchedule | None = None
    reverse_schedule: CapacitySchedule | None = None

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
        self._check_jitter(where)
        for name, loss in (("loss", self.loss), ("reverse_loss", self.loss_of(1))):
            if not 0 <= loss < 1:
                raise TopologyError(f"{where}: {name} is {loss}, expected a probability below 1")
        if self.queue not in get_args(QueueDiscipline):
            raise TopologyError(f"{where}: queue is {self.queue!r}, expected {' or '.join(get_args(QueueDiscipline))}")
        if self.queue_packets is not None and self.queue_packets < 1:
            raise TopologyError(f"{where}: queue_packets is {self.queue_packets}, expected 1 or more")

    def _check_jitter(self, where: str) -> None:
        if self.jitter_distribution not in JITTER_DISTRIBUTIONS:
            raise TopologyError(
                f"{where}: jitter_distribution is {self.jitter_distribution!r}, expected one of "
                f"{', '.join(JITTER_DISTRIBUTIONS)}"
            )
        if not (math.isfinite(self.jitter_s) and self.jitter_s >= 0):
            raise TopologyError(f"{where}: jitter_s is {self.jitter_s}, expected 0 or more")
        if self.jitter_s > self.latency_s and self.jitter_distribution not in NEVER_EARLY:
            raise TopologyError(
                f"{where}: jitter_s is {self.jitter_s}, expected between 0 and the latency ({self.latency_s}): "
                "no message arrives before it was sent"
            )

    @property
    def reverse_bps(self) -> float:
        """Capacity from `b` to `a`."""
        return self.bandwidth_bps if self.reverse_bandwidth_bps is None else self.reverse_bandwidth_bps

    def loss_of(self, direction: int) -> float:
        """Loss probability from `a` to `b` (0) or from `b` to `a` (1)."""
        return self.loss if direction == 0 or self.reverse_loss is None else self.reverse_loss

    def schedule_of(self, direction: int) -> CapacitySchedule | None:
        """The schedule from `a` to `b` (0) or from `b` to `a` (1)."""
        return self.schedule if direction == 0 or self.reverse_schedule is None else self.reverse_schedule

    @property
    def jitter(self) -> Jitter | None:
        """The jitter of either direction, if there is any."""
        return Jitter(self.jitter_s, self.jitter_distribution) if self.jitter_s > 0 else None


@dataclass(frozen=True, slots=True)
class LinkTraits:
    """What a directed link does to packets beside carrying them; see `Link`."""

    queue: QueueDiscipline = "droptail"
    queue_packets: int | None = None
    loss: float = 0.0


@dataclass(frozen=True, slots=True)
class Path:
    """The way from one host to another.

    `links` are indices of directed links, in the order in which they are crossed: 2i for link i from a to b, 2i + 1
    from b to a; beyond those of the links, the capacities of the two hosts, if they have any. `loss` is the probability
    that a packet is lost somewhere on the way.
    """

    links: tuple[int, ...]
    latency_s: float
    jitters: tuple[Jitter, ...] = ()
    loss: float = 0.0


@dataclass(frozen=True)
class Topology:
    """Hosts, relays and links. Raises `TopologyError` for names that clash or are unknown, and for lone hosts.

    `places` are where nodes stand, in kilometres east and north, if anywhere in particular: for whoever draws a map.
    """

    hosts: tuple[Host, ...]
    links: tuple[Link, ...]
    relays: tuple[str, ...] = ()
    places: Mapping[str, tuple[float, float]] = field(default_factory=dict, hash=False, repr=False)
    _by_name: Mapping[str, Host] = field(init=False, repr=False, compare=False)
    _routes: Routes = field(init=False, repr=False, compare=False)
    _sending: Mapping[str, int] = field(init=False, repr=False, compare=False)
    _receiving: Mapping[str, int] = field(init=False, repr=False, compare=False)
    _limits: tuple[tuple[str, float], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.hosts:
            raise TopologyError("a network needs at least one host")
        by_name = {host.name: host for host in self.hosts}
        nodes = by_name.keys() | set(self.relays)
        if len(nodes) != len(self.hosts) + len(self.relays):
            names = Counter([*(host.name for host in self.hosts), *self.relays])
            twice = sorted(name for name, times in names.items() if times > 1)
            raise TopologyError(f"name used twice: {', '.join(twice)}")
        linked: set[str] = set()
        for link in self.links:
            for end in (link.a, link.b):
                if end not in nodes:
                    raise TopologyError(f'link {link.a} -- {link.b}: there is no host or relay "{end}"')
                linked.add(end)
        lone = [name for name in by_name if name not in linked and len(by_name) > 1]
        if lone:
            raise TopologyError(f"host on no link: {', '.join(lone)}")
        object.__setattr__(self, "_by_name", by_name)
        object.__setattr__(self, "_routes", Routes(by_name, self.links))
        self._number_limits()

    def _number_limits(self) -> None:
        """Give the capacities of hosts their places behind those of the links; none where there is no limit."""
        sending: dict[str, int] = {}
        receiving: dict[str, int] = {}
        limits: list[tuple[str, float]] = []
        for host in self.hosts:
            for limit_bps, places, doing in (
                (host.uplink_bps, sending, "sending"),
                (host.downlink_bps, receiving, "receiving"),
            ):
                if limit_bps is not None:
                    places[host.name] = 2 * len(self.links) + len(limits)
                    limits.append((f"{host.name} ({doing})", limit_bps))
        object.__setattr__(self, "_sending", sending)
        object.__setattr__(self, "_receiving", receiving)
        object.__setattr__(self, "_limits", tuple(limits))

    def host(self, name: str) -> Host:
        """The host called `name`. Raises `TopologyError` if there is none."""
        try:
            return self._by_name[name]
        except KeyError:
            raise TopologyError(f'there is no host "{name}"') from None

    def capacities_bps(self) -> list[float]:
        """Capacity of each directed link, then of each host that has one, in the order of `Path.links`."""
        capacities = [bps for link in self.links for bps in (link.bandwidth_bps, link.reverse_bps)]
        return capacities + [limit_bps for _, limit_bps in self._limits]

    def traits(self) -> list[LinkTraits]:
        """What each directed link does to packets; the capacities of hosts, which come after those, do nothing."""
        return [
            LinkTraits(link.queue, link.queue_packets, link.loss_of(direction))
            for link in self.links
            for direction in (0, 1)
        ]

    def schedules(self) -> Iterator[tuple[int, CapacitySchedule]]:
        """Every directed link whose capacity follows a schedule, and the schedule."""
        for index, link in enumerate(self.links):
            for direction in (0, 1):
                schedule = link.schedule_of(direction)
                if schedule is not None:
                    yield 2 * index + direction, schedule

    def link_of(self, directed: int) -> Link | None:
        """The link of a directed link; None for the capacity of a host."""
        return self.links[directed // 2] if directed < 2 * len(self.links) else None

    def link_name(self, directed: int) -> str:
        """A directed link in words, e.g. "client-0 > hub", or a host's capacity, e.g. "client-0 (sending)"."""
        link = self.link_of(directed)
        if link is None:
            return self._limits[directed - 2 * len(self.links)][0]
        return f"{link.a} > {link.b}" if directed % 2 == 0 else f"{link.b} > {link.a}"

    def link_names(self) -> list[str]:
        """The names of all directed links and hosts' capacities, in the order of `Path.links`."""
        return [self.link_name(directed) for directed in range(2 * len(self.links) + len(self._limits))]

    def path(self, source: str, target: str) -> Path:
        """The route of lowest latency, fewest links among equals. Raises `TopologyError` if there is none.

        It is found in a time that grows with its length, and not kept: whoever needs it often keeps it.
        """
        self.host(source), self.host(target)
        ways = self._routes.between(source, target)
        if not ways:
            return Path((), 0.0)
        links = [self.links[directed // 2] for directed in ways]
        jitters = tuple(jitter for link in links if (jitter := link.jitter) is not None)
        losses = (link.loss_of(directed % 2) for link, directed in zip(links, ways, strict=True))
        kept = math.prod(1 - loss for loss in losses)
        sending, receiving = self._sending.get(source), self._receiving.get(target)
        first = () if sending is None else (sending,)
        last = () if receiving is None else (receiving,)
        return Path(first + ways + last, math.fsum(link.latency_s for link in links), jitters, 1 - kept)


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """A link without its ends, for the builders; see `Link`."""

    bandwidth_bps: float
    latency_s: float
    jitter_s: float = 0.0
    reverse_bandwidth_bps: float | None = None
    loss: float = 0.0
    reverse_loss: float | None = None
    queue: QueueDiscipline = "droptail"
    queue_packets: int | None = None
    jitter_distribution: JitterDistribution = "uniform"
    schedule: CapacitySchedule | None = None
    reverse_schedule: CapacitySchedule | None = None

    def between(self, a: str, b: str) -> Link:
        """The link from `a` to `b`. Raises `TopologyError` for a value that no link can have."""
        return Link(a, b, *(getattr(self, name) for name in _SETTINGS))


_SETTINGS = tuple(setting.name for setting in fields(LinkSpec))
