"""What TCP adds to a fluid flow. Pure functions and the settings that they need.

Modelled: the handshake of one round trip, the headers that the link carries beside the payload, and slow start by
rounds, the delay of the hosts themselves. What no formula gives is in `simnet.window`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tcp:
    """Settings of the transport model.

    Attributes:
        segment_bytes: payload of a full segment (1500-byte packets with time stamps).
        wire_bytes_per_segment: what such a segment occupies on the link: payload, 12 + 20 TCP, 20 IP, 2 link.
        initial_window_segments: segments that may be under way before the first acknowledgement (RFC 6928).
        slow_start: whether a flow must open its window round by round.
        idle_reset_s: after this long without sending, on top of a round trip, the window starts over (RFC 5681,
            section 4.1; 200 ms is the smallest retransmission timeout of Linux).
        host_delay_s: what the two hosts add to the way in one direction: interrupts, scheduling, the stack. Fitted to
            the reference times of Linux, which are 0.5 ms a round trip longer than the links alone.
        receive_window_bytes: what may be under way at most; what the reference measurements had.
        crowd_efficiency: share of a link that a crowd uses: drops, repetitions and idle moments cost the rest. Fitted
            to 10 and 20 flows of Linux under fq_codel.
        unfair: whether droptail queues share by round-trip time and by chance.
    """

    segment_bytes: int = 1448
    wire_bytes_per_segment: int = 1502
    initial_window_segments: int = 10
    slow_start: bool = True
    idle_reset_s: float = 0.2
    host_delay_s: float = 0.00025
    receive_window_bytes: float = 16 * 1024 * 1024
    crowd_efficiency: float = 0.985
    unfair: bool = True

    @classmethod
    def plain(cls) -> Tcp:
        """The plain fluid model: no headers, no slow start, hosts without delay; the handshake remains."""
        return cls(
            wire_bytes_per_segment=1448,
            slow_start=False,
            host_delay_s=0.0,
            receive_window_bytes=math.inf,
            crowd_efficiency=1.0,
            unfair=False,
        )

    @property
    def header_factor(self) -> float:
        """Bytes on the wire per byte of payload."""
        return self.wire_bytes_per_segment / self.segment_bytes

    @property
    def initial_window_bytes(self) -> float:
        """Payload that a new connection may send before it must wait; infinite without slow start."""
        return float(self.initial_window_segments * self.segment_bytes) if self.slow_start else math.inf


def window_covers_path(round_s: float, rtt_s: float) -> bool:
    """Whether a window that took `round_s` to send keeps the pipe full: its first acknowledgement is back by then."""
    return round_s >= rtt_s


def transfer_time_s(payload_bytes: float, rate_bps: float, latency_s: float, tcp: Tcp) -> float:
    """Closed form: seconds from opening a connection to the last byte's arrival, for a flow alone on its path.

    Args:
        payload_bytes: bytes that the program sends.
        rate_bps: capacity of the narrowest link on the path, bits per second on the wire.
        latency_s: one-way propagation delay of the whole path.
        tcp: the model.
    """
    latency_s += tcp.host_delay_s
    rtt_s = 2 * latency_s
    goodput = rate_bps / 8 / tcp.header_factor
    window, left, at_s = tcp.initial_window_bytes, float(payload_bytes), rtt_s
    while left > window and not window_covers_path(window / goodput, rtt_s):
        left -= window
        window *= 2
        at_s += rtt_s
    return at_s + left / goodput + latency_s
