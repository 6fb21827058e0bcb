"""The way between the monitor of a base station and the ends of its flows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collab.data.flows.synthetic.flow import chosen_by_burst


@dataclass(frozen=True, slots=True)
class Path:
    """Distances from the monitor: round trips to the phones, to the operator's own servers and to the internet's."""

    phone_hops: int
    edge_hops: int
    internet_hops: tuple[int, ...]
    radio_rtt_s: float
    edge_rtt_s: float
    internet_rtt_s: float
    loss: float  # of a packet on the radio link
    frame_bytes: int  # of each packet below IP, as the monitor counts

    def phone_ttl(self, draw: np.random.Generator, burst: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of packets from phones: most start at 64, some at 128."""
        return chosen_by_burst(draw, burst, (64, 64, 64, 64, 128)) - self.phone_hops

    def server_ttl(self, draw: np.random.Generator, burst: NDArray[np.int64], *, edge: bool) -> NDArray[np.int64]:
        """Of packets from servers, which start at 64, 128 or 255."""
        if edge:
            return np.full(len(burst), 64 - self.edge_hops)
        return chosen_by_burst(draw, burst, (64, 64, 128, 255)) - chosen_by_burst(draw, burst, self.internet_hops)
