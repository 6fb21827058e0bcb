"""The `limits` of a scenario: what its server does not put up with, in virtual time and on the laboratory's sockets.

Without them a simulated server takes in anything. A real one of the laboratory has bounds of its own, of which they
change those that are given; one with a configuration has those that are written there (`collab.deploy.limit_settings`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from collab.data.base_settings import Settings
from collab.quantities import Bandwidth, Duration
from simnet.guards import Limits

_DEFAULT = Limits()
_NAMES = {"head_time": "head_s", "least_rate": "least_bps", "rate_window": "window_s"}
_Number = Annotated[int, Field(ge=1)]
_Time = Annotated[Duration, Field(gt=0)]


class RequestLimits(Settings):
    """Bounds of what sites, and whoever says to be one, may ask of a server (`simnet.guards`)."""

    requests_per_s: _Number = Field(_DEFAULT.requests_per_s, description="of one site, in the long run")
    request_burst: _Number = Field(_DEFAULT.request_burst, description="requests that a site may make after a rest")
    requests_at_once: _Number = Field(
        _DEFAULT.requests_at_once, description="of one site, that wait for their answers at the same time"
    )
    requests_in_all: _Number = Field(
        _DEFAULT.requests_in_all, description="of one site in a run, but for those that ask for news when there is none"
    )
    connections: _Number = Field(_DEFAULT.connections, description="open at the same time, in all")
    connections_per_address: _Number = Field(
        _DEFAULT.connections_per_address, description="open at the same time from one address"
    )
    head_time: _Time = Field(_DEFAULT.head_s, description="for the head of a request, and for the TLS handshake")
    least_rate: Bandwidth = Field(_DEFAULT.least_bps, description="at which bodies and answers must move")
    rate_window: _Time = Field(_DEFAULT.window_s, description="how often that is looked at")

    def limits(self, usual: Limits = _DEFAULT) -> Limits:
        """As a service holds them; what is not given is as `usual`."""
        told = {name: getattr(self, name) for name in RequestLimits.model_fields if name in self.model_fields_set}
        return replace(usual, **{_NAMES.get(name, name): value for name, value in told.items()})
