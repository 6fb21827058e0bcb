"""The section `limits` of a server's configuration: what it does not put up with.

Without one the same bounds hold. In the laboratory those are wider that would hit many sites behind one address, where
newcomers do not say who they are.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from collab.deploy.quota import Quota
from collab.quantities import Bandwidth, Duration, Size
from simnet.guards import Limits

_DEFAULT = Limits()
_Number = Annotated[int, Field(ge=1)]
_Time = Annotated[Duration, Field(gt=0)]

LABORATORY_LIMITS = Limits(
    requests_per_s=500, request_burst=5000, requests_at_once=1024, connections_per_address=_DEFAULT.connections
)


class LimitSettings(BaseModel):
    """Bounds of what sites, and whoever says to be one, may ask of a server and of its disk (`simnet.guards`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests_per_s: _Number = _DEFAULT.requests_per_s
    request_burst: _Number = _DEFAULT.request_burst
    requests_at_once: _Number = _DEFAULT.requests_at_once
    requests_in_all: _Number = _DEFAULT.requests_in_all
    connections: _Number = _DEFAULT.connections
    connections_per_address: _Number = _DEFAULT.connections_per_address
    head_time: _Time = _DEFAULT.head_s
    least_rate: Bandwidth = _DEFAULT.least_bps
    rate_window: _Time = _DEFAULT.window_s
    free_disk: Size = float(Quota().free_bytes)
    disk_per_site: Size = float(Quota().site_bytes)
    unfinished_kept: _Time = Quota().unfinished_s

    def limits(self) -> Limits:
        """Those of requests and connections."""
        return Limits(
            requests_per_s=self.requests_per_s,
            request_burst=self.request_burst,
            requests_at_once=self.requests_at_once,
            requests_in_all=self.requests_in_all,
            connections=self.connections,
            connections_per_address=self.connections_per_address,
            head_s=self.head_time,
            least_bps=self.least_rate,
            window_s=self.rate_window,
        )

    def quota(self) -> Quota:
        """Those of the disk."""
        return Quota(int(self.free_disk), int(self.disk_per_site), self.unfinished_kept)
