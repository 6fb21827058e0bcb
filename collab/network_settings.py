"""The `network` part of a scenario: topologies, hosts and what of TCP is modelled, as settings that build simnet's own.

What a setting means is simnet's business; here stand its names, its units, its bounds and its default. Links are in
`collab.link_settings`.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from collab.document import PlacedError
from collab.link_settings import LinkBandwidth, LinkSettings, Settings
from collab.quantities import Duration, Length
from simnet import Tcp, Topology, explicit, geometric, ring, star, tree, two_tier
from simnet.topology import CongestionControl, Host

__all__ = ["SERVER", "NetworkSettings", "Settings"]

CLIENT, SERVER = "client", "server"
_MOST_NODES = 1_000_000


class TcpSettings(Settings):
    """What of TCP is modelled beside the fluid flow; for lessons, all on by default."""

    headers: bool = Field(True, description="packets carry headers: 1502 bytes on the wire for 1448")
    slow_start: bool = Field(True, description="a connection opens its window round by round")

    def model(self) -> Tcp:
        """The model as simnet knows it."""
        wire_bytes = Tcp().wire_bytes_per_segment if self.headers else Tcp().segment_bytes
        return Tcp(wire_bytes_per_segment=wire_bytes, slow_start=self.slow_start)


class HostSettings(Settings):
    """What a host can send and receive, beside what its links can."""

    congestion: CongestionControl = Field("cubic", description="congestion control of its TCP")
    uplink: LinkBandwidth | None = Field(None, description="what it can send in all; unlimited if not given")
    downlink: LinkBandwidth | None = Field(None, description="what it can receive in all; unlimited if not given")


class TopologySettings(Settings):
    """What every topology has."""

    topology: str
    carriage: Literal["http", "sized"] = Field(
        "http",
        description="how messages travel in virtual time: their real bytes through aiohttp, or for thousands of "
        "clients the objects themselves, in the time that their bytes would take; over real sockets always http",
    )
    tcp: TcpSettings = Field(TcpSettings(), description="what of TCP is modelled")
    hosts: Mapping[str, HostSettings] = Field(
        {}, description="client, server or a host's name -> its capacities and congestion control"
    )

    def build(self, clients: Sequence[str], tenant_of: Mapping[str, str], seed: int = 0) -> Topology:
        """The topology for these clients. Raises `simnet.errors.TopologyError`."""
        topology = self._joined(clients, tenant_of, seed)
        if not self.hosts:
            return topology
        hosts = (
            self._as_set(host, self.hosts.get(host.name, self.hosts.get(SERVER if host.name == SERVER else CLIENT)))
            for host in topology.hosts
        )
        return dataclasses.replace(topology, hosts=tuple(hosts))

    @staticmethod
    def _as_set(host: Host, settings: HostSettings | None) -> Host:
        if settings is None:
            return host
        return dataclasses.replace(
            host, congestion=settings.congestion, uplink_bps=settings.uplink, downlink_bps=settings.downlink
        )

    @abstractmethod
    def _joined(self, clients: Sequence[str], tenant_of: Mapping[str, str], seed: int) -> Topology:
        """Clients and server joined by links."""


class StarSettings(TopologySettings):
    """Every client on an access link of its own, the server behind one shared link."""

    topology: Literal["star"]
    access: LinkSettings = Field(description="from each client to the node that it is on")
    server: LinkSettings = Field(description="to the server, shared by all clients")

    def _joined(self, clients: Sequence[str], tenant_of: Mapping[str, str], seed: int) -> Topology:
        return star(clients, access=self.access.spec(), server=self.server.spec(), tenant_of=tenant_of)


class TwoTierSettings(TopologySettings):
    """Clients (or sites of several) on base stations, stations on aggregation nodes, then the cloud and its server."""

    topology: Literal["two-tier"]
    stations: int = Field(ge=1, le=_MOST_NODES, description="number of base stations")
    sites: int | None = Field(None, ge=1, le=_MOST_NODES, description="number of sites between clients and stations")
    aggregations: int = Field(1, ge=1, le=_MOST_NODES, description="number of aggregation nodes")
    access: LinkSettings = Field(description="from each client to the node that it is on")
    site: LinkSettings | None = Field(None, description="from each site to its station")
    station: LinkSettings = Field(description="from each base station to its aggregation node")
    aggregation: LinkSettings | None = Field(None, description="from each aggregation node to the cloud")
    server: LinkSettings = Field(description="to the server, shared by all clients")

    @model_validator(mode="after")
    def _check_tiers(self) -> TwoTierSettings:
        if self.sites is not None and self.site is None:
            raise PlacedError('sites need a link "site" that joins each to its station', "sites")
        if self.site is not None and self.sites is None:
            raise PlacedError('there is a link "site", but no number of "sites"', "site")
        if self.aggregations > 1 and self.aggregation is None:
            message = f'{self.aggregations} aggregation nodes need a link "aggregation" that joins each to the cloud'
            raise PlacedError(message, "aggregations")
        return self

    def _joined(self, clients: Sequence[str], tenant_of: Mapping[str, str], seed: int) -> Topology:
        return two_tier(
            clients,
            sites=self.sites,
            stations=self.stations,
            aggregations=self.aggregations,
            access=self.access.spec(),
            site=None if self.site is None else self.site.spec(),
            station=self.station.spec(),
            aggregation=None if self.aggregation is None else self.aggregation.spec(),
            server=self.server.spec(),
            tenant_of=tenant_of,
        )


class RingSettings(TopologySettings):
    """Nodes in a circle, the clients on them in equal blocks, the server on the first."""

    topology: Literal["ring"]
    nodes: int | None = Field(None, ge=3, le=_MOST_NODES, description="one for each client, at least 3, if not given")
    access: LinkSettings = Field(description="from each client to the node that it is on")
    trunk: LinkSettings = Field(description="from each node to the next")
    server: LinkSettings = Field(description="to the server, shared by all clients")

    def _joined(self, clients: Sequence[str], tenant_of: Mapping[str, str], seed: int) -> Topology:
        return ring(
            clients,
            nodes=self.nodes,
            access=self.access.spec(),
            trunk=self.trunk.spec(),
            server=self.server.spec(),
            tenant_of=tenant_of,
        )


class TreeSettings(TopologySettings):
    """Clients in groups on nodes, those in groups on nodes above, up to a root with the server."""

    topology: Literal["tree"]
    branching: int = Field(ge=2, le=_MOST_NODES, description="how many hang on each node")
    access: LinkSettings = Field(description="from each client to the node that it is on")
    trunk: LinkSettings = Field(description="from each node to the one above")
    server: LinkSettings = Field(description="to the server, shared by all clients")

    def _joined(self, clients: Sequence[str], tenant_of: Mapping[str, str], seed: int) -> Topology:
        return tree(
            clients,
            branching=self.branching,
            access=self.access.spec(),
            trunk=self.trunk.spec(),
            server=self.server.spec(),
            tenant_of=tenant_of,
        )


class GeometricSettings(TopologySettings):
    """Stations and clients at random places in a square; near stations are joined, clients are on the nearest one."""

    topology: Literal["geometric"]
    stations: int = Field(ge=1, le=5000, description="number of stations")
    radius: Annotated[Length, Field(gt=0)] = Field(description="stations at most so far apart are joined")
    side: Annotated[Length, Field(gt=0)] = Field(10_000.0, description="of the square")
    delay_per_km: Annotated[Duration, Field(le=1)] = Field(
        5e-6, description="added to the latency of access and trunk links for their length"
    )
    seed: int | None = Field(None, ge=0, lt=2**63, description="of the places; the scenario's if not given")
    access: LinkSettings = Field(description="from each client to the node that it is on")
    trunk: LinkSettings = Field(description="between stations")
    server: LinkSettings = Field(description="to the server, shared by all clients")

    def _joined(self, clients: Sequence[str], tenant_of: Mapping[str, str], seed: int) -> Topology:
        return geometric(
            clients,
            stations=self.stations,
            radius_km=self.radius / 1000,
            side_km=self.side / 1000,
            us_per_km=self.delay_per_km * 1e6,
            seed=seed if self.seed is None else self.seed,
            access=self.access.spec(),
            trunk=self.trunk.spec(),
            server=self.server.spec(),
            tenant_of=tenant_of,
        )


class JoiningSettings(LinkSettings):
    """A link and the two nodes that it joins."""

    between: tuple[str, str] = Field(description="two hosts, or names of your own for what only forwards")

    @model_validator(mode="after")
    def _check_ends(self) -> JoiningSettings:
        if self.between[0] == self.between[1]:
            raise PlacedError(f"both ends are {self.between[0]}; a link joins two different nodes", "between")
        return self


class LinksSettings(TopologySettings):
    """Exactly the links that are listed; ends that are no hosts only forward."""

    topology: Literal["links"]
    links: tuple[JoiningSettings, ...] = Field(
        min_length=1, max_length=_MOST_NODES, description="every link, and which two nodes it joins"
    )

    def _joined(self, clients: Sequence[str], tenant_of: Mapping[str, str], seed: int) -> Topology:
        joined = [link.spec().between(*link.between) for link in self.links]
        return explicit(joined, hosts=[*clients, SERVER], tenant_of=tenant_of)


NetworkSettings = Annotated[
    StarSettings | TwoTierSettings | RingSettings | TreeSettings | GeometricSettings | LinksSettings,
    Field(discriminator="topology"),
]
