"""What a monitor knows of a flow before it writes anything: packets, bytes and times of both directions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Flows = NDArray[np.void]
"""Flows as a structured array [n] of `FLOW`."""

FLOW = np.dtype(
    [
        ("burst", np.int32),  # flows of the same burst have the same cause: one phone's video, one run of a tool
        ("variant", np.int16),  # of benign flows: application and ending
        ("is_repeated", np.bool_),  # the same record as the one before it
        ("proto", np.int8),
        ("state", np.int8),
        ("cause", np.int8),
        ("attack", np.int8),  # index of `ATTACKS`
        ("tool", np.int8),  # index of `TOOLS`
        ("duration_s", np.float64),
        ("src_packets", np.int64),
        ("dst_packets", np.int64),
        ("src_bytes", np.int64),
        ("dst_bytes", np.int64),
        ("src_tos", np.int16),
        ("dst_tos", np.int16),
        ("src_ttl", np.int16),
        ("dst_ttl", np.int16),
        ("src_loss", np.int64),
        ("dst_loss", np.int64),
        ("src_gap_bytes", np.int64),
        ("dst_gap_bytes", np.int64),
        ("src_window", np.int64),  # of the last packet: 0 if that was a reset
        ("dst_window", np.int64),
        ("src_base", np.int64),  # the first sequence number; 0 if none was seen
        ("dst_base", np.int64),
        ("syn_ack_s", np.float64),
        ("ack_data_s", np.float64),
        ("vlan", np.int16),  # 0: no tag
    ]
)

PROTOCOLS = ("arp", "icmp", "ipv6-icmp", "llc", "lldp", "sctp", "tcp", "udp")
WITHOUT_IP = ("arp", "llc", "lldp")
STATES = ("ACC", "CON", "ECO", "FIN", "INT", "NRS", "REQ", "RSP", "RST", "TST", "URP")
CAUSES = ("Shutdown", "Start", "Status")
ATTACKS = (
    "Benign", "HTTPFlood", "SlowrateDoS", "UDPFlood", "ICMPFlood", "SYNFlood", "SYNScan", "TCPConnectScan", "UDPScan",
)  # fmt: skip
TOOLS = ("Benign", "Goldeneye", "Hping3", "Nmap", "Slowloris", "Torshammer")
STATUS_INTERVAL_S = 5.0
"""A flow that goes on is reported, and counted anew, this often."""


def by_burst(draw: np.random.Generator, burst: NDArray[Any], median: float, sigma: float) -> NDArray[np.float64]:
    """One lognormal value for each burst, as the value [n] of each of its flows; `burst` counts from 0."""
    count = int(burst[-1]) + 1 if len(burst) else 0
    drawn: NDArray[np.float64] = (median * np.exp(sigma * draw.standard_normal(count)))[burst]
    return drawn


def chosen_by_burst(draw: np.random.Generator, burst: NDArray[Any], choices: tuple[int, ...]) -> NDArray[np.int64]:
    """One of `choices` for each burst, all equally likely, as the value [n] of each of its flows."""
    count = int(burst[-1]) + 1 if len(burst) else 0
    drawn: NDArray[np.int64] = np.asarray(choices, np.int64)[draw.integers(len(choices), size=count)][burst]
    return drawn


def varied(draw: np.random.Generator, values: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Each value times a lognormal factor of its own, of median 1."""
    return values * np.exp(sigma * draw.standard_normal(len(values)))


def bursts(draw: np.random.Generator, flows: int, mean_flows: float) -> NDArray[np.int64]:
    """The number of the burst of each of so many flows, counting from 0; lengths are geometric."""
    starts = draw.random(flows) < 1 / mean_flows
    if flows:
        starts[0] = True
    numbers: NDArray[np.int64] = np.cumsum(starts) - 1
    return numbers
