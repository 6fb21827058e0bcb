"""How long a one-shot upload takes, by formula: round trips, the rounds of slow start, and the bytes.

::

    T = R (1 + 1 + s) + R/2 + D - d    R = 2 (access latency + server latency + host delay)
                                       D = 8 h (bytes up + bytes down) / min(access, server / K)

1 round trip opens the connection, 1 asks for the task, s = the rounds in which the window of slow start (10 segments,
doubled each round) does not yet keep the path full, and half a round trip brings the last byte. h = 1502/1448: headers.
d is the part of D that passes while those rounds wait anyway.
A site is latency-bound where the round trips take longer than the bytes, T - D > D, and bandwidth-bound where they take
less; the crossing is the access bandwidth at which T = 2 D.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

SEGMENT_BYTES = 1448
HEADER_FACTOR = 1502 / SEGMENT_BYTES
INITIAL_WINDOW_BYTES = 10 * SEGMENT_BYTES
_LEAST_S = 1e-9
HOST_DELAY_S = 0.00025
"""What the two hosts add in one direction; these four are the defaults of simnet's TCP."""


@dataclass(frozen=True)
class OneShot:
    """One upload of each of `clients` sites in a star, all at once.

    `up_bytes` and `down_bytes` are bodies of one site, `latency_s` is one way from a site to the server.
    """

    up_bytes: float
    down_bytes: float
    latency_s: float
    clients: int = 1
    server_bps: float = math.inf

    @property
    def round_trip_s(self) -> float:
        """R."""
        return 2 * (self.latency_s + HOST_DELAY_S)

    def rate_bps(self, access_bps: float) -> float:
        """What a site gets: its access link, or its share of the server's if that is less."""
        return min(access_bps, self.server_bps / self.clients)

    def bytes_s(self, access_bps: float) -> float:
        """D: seconds for the bytes alone."""
        return 8 * HEADER_FACTOR * (self.up_bytes + self.down_bytes) / self.rate_bps(access_bps)

    def slow_start_rounds(self, access_bps: float) -> int:
        """s: rounds that end with waiting for acknowledgements."""
        goodput = self.rate_bps(access_bps) / 8 / HEADER_FACTOR
        window, left, rounds = float(INITIAL_WINDOW_BYTES), self.up_bytes, 0
        while left > window and window / goodput < self.round_trip_s:
            left -= window
            window *= 2
            rounds += 1
        return rounds

    def seconds(self, access_bps: float) -> float:
        """T: from the start to the last byte's arrival at the server.

        A window that is sent while its round waits costs no time beside it.
        """
        rounds = self.slow_start_rounds(access_bps)
        hidden = min(self.up_bytes, INITIAL_WINDOW_BYTES * (2.0**rounds - 1))
        hidden_s = 8 * HEADER_FACTOR * hidden / self.rate_bps(access_bps)
        return self.round_trip_s * (2.5 + rounds) + self.bytes_s(access_bps) - hidden_s

    def crossing_bps(self, low_bps: float, high_bps: float) -> float | None:
        """The access bandwidth at which round trips and bytes take equally long, T = 2 D; None if it lies outside."""
        return self._crossing(low_bps, high_bps, lambda _: 1.0)

    def measured_crossing_bps(self, points: Sequence[tuple[float, float]]) -> float | None:
        """Where T = 2 D in measurements (access bandwidth, T); None if it is not between any of them.

        What T is beyond D is measured at the points; between two of them its ratio to that of the formula is
        interpolated, on logarithmic scales.
        """
        ordered = sorted(points)
        for (low_bps, low_s), (high_bps, high_s) in pairwise(ordered):
            ends = [
                max(seconds - self.bytes_s(bps), _LEAST_S) / max(self.seconds(bps) - self.bytes_s(bps), _LEAST_S)
                for bps, seconds in ((low_bps, low_s), (high_bps, high_s))
            ]
            slope = math.log(ends[1] / ends[0]) / math.log(high_bps / low_bps)

            def ratio(bps: float, least: float = ends[0], low: float = low_bps, slope: float = slope) -> float:
                return float(least * (bps / low) ** slope)

            found = self._crossing(low_bps, high_bps, ratio)
            if found is not None:
                return found
        return None

    def _crossing(self, low_bps: float, high_bps: float, ratio: Callable[[float], float]) -> float | None:
        """Where what the formula has beyond the bytes, times a ratio, equals the bytes; by bisection."""

        def excess(bps: float) -> float:
            return ratio(bps) * (self.seconds(bps) - self.bytes_s(bps)) - self.bytes_s(bps)

        if excess(low_bps) > 0 or excess(high_bps) < 0:
            return None
        for _ in range(200):
            middle = math.sqrt(low_bps * high_bps)
            low_bps, high_bps = (middle, high_bps) if excess(middle) < 0 else (low_bps, middle)
        return math.sqrt(low_bps * high_bps)
