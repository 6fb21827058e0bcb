"""The section `limits` of a server's configuration: what it does not put up with.

Without one the same bounds hold. In the laboratory those are wider that would hit many sites behind one address, where
newcomers do not say who they are.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from collab.deploy.quota import Quota
from collab.limit_settings import RequestLimits
from collab.quantities import Duration, Size
from simnet.guards import Limits

LABORATORY_LIMITS = Limits(
    requests_per_s=500, request_burst=5000, requests_at_once=1024, connections_per_address=Limits().connections
)


class LimitSettings(RequestLimits):
    """Bounds of what may be asked of a server, and of its disk."""

    free_disk: Size = float(Quota().free_bytes)
    disk_per_site: Size = float(Quota().site_bytes)
    unfinished_kept: Annotated[Duration, Field(gt=0)] = Quota().unfinished_s

    def quota(self) -> Quota:
        """Those of the disk."""
        return Quota(int(self.free_disk), int(self.disk_per_site), self.unfinished_kept)
