"""The `network` part of a scenario: links, topologies and what of TCP is modelled, as settings that build simnet's own.

What a setting means is simnet's business; here stand its names, its units, its bounds and its default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from collab.quantities import Bandwidth, Duration
from simnet import LinkSpec, Tcp, Topology, star, two_tier


class Settings(BaseModel):
    """The root of all settings: immutable, and nothing unknown in them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class LinkSettings(Settings):
    """A link: capacity per direction, one-way propagation delay, jitter."""

    bandwidth: Bandwidth = Field(ge=1, le=1e15)
    latency: Duration = Field(le=3600)
    jitter: Duration = Field(0.0, description="each message deviates by up to this much from the latency")

    def spec(self) -> LinkSpec:
        """The link as simnet knows it."""
        return LinkSpec(self.bandwidth, self.latency, self.jitter)


class TcpSettings(Settings):
    """What of TCP is modelled beside the fluid flow; for lessons, all on by default."""

    headers: bool = Field(True, description="packets carry headers: 1502 bytes on the wire for 1448")
    slow_start: bool = Field(True, description="a connection opens its window round by round")

    def model(self) -> Tcp:
        """The model as simnet knows it."""
        wire_bytes = Tcp().wire_bytes_per_segment if self.headers else Tcp().segment_bytes
        return Tcp(wire_bytes_per_segment=wire_bytes, slow_start=self.slow_start)


class StarSettings(Settings):
    """Every client on an access link of its own, the server behind one shared link."""

    topology: Literal["star"]
    access: LinkSettings
    server: LinkSettings
    tcp: TcpSettings = TcpSettings()

    def build(self, clients: Sequence[str], tenant_of: Mapping[str, str]) -> Topology:
        """The topology for these clients."""
        return star(clients, access=self.access.spec(), server=self.server.spec(), tenant_of=tenant_of)


class TwoTierSettings(Settings):
    """Clients on base stations, base stations behind an aggregation link, then the server."""

    topology: Literal["two-tier"]
    stations: int = Field(ge=1, description="number of base stations")
    access: LinkSettings
    station: LinkSettings
    server: LinkSettings
    tcp: TcpSettings = TcpSettings()

    def build(self, clients: Sequence[str], tenant_of: Mapping[str, str]) -> Topology:
        """The topology for these clients."""
        return two_tier(
            clients,
            stations=min(self.stations, len(clients)),
            access=self.access.spec(),
            station=self.station.spec(),
            server=self.server.spec(),
            tenant_of=tenant_of,
        )


NetworkSettings = Annotated[StarSettings | TwoTierSettings, Field(discriminator="topology")]
