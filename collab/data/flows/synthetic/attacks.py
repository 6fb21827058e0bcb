"""The attacks, each by how its tool works. All run from a phone of the station against a server of the operator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from collab.data.flows.synthetic.connections import Connections, connections
from collab.data.flows.synthetic.floods_and_scans import flood, tcp_scan, udp_scan
from collab.data.flows.synthetic.flow import ATTACKS, TOOLS, Flows, bursts
from collab.data.flows.synthetic.stations import Station

_MEAN_BURST = 260.0  # flows between two changes of pace: of the radio link, of the server's load
_SLOW = Connections(
    (420, 0.5), (300, 0.6), (60.0, 0.9), 0.6, src_windows=(64240, 65535), edge=True, mean_burst=_MEAN_BURST
)
_GOLDENEYE = Connections(
    (520, 0.3), (5_200, 0.9), (1.8, 1.1), 0.8, exchanges=3, src_windows=(64240, 65535), edge=True, slowed=(4.0, 1.0),
    mean_burst=_MEAN_BURST,
)  # fmt: skip


def variants(station: Station, kind: str) -> dict[int, int]:
    """How many flows of an attack, at a share of 1, there are of each variant.

    Of connections that is how they end (index of `ENDINGS`), of scans 1 for an answer of note, 0 for none.
    """
    count = station.flows[kind]
    if kind in station.endings:
        special = station.endings[kind]
        return {0: count - sum(special), **dict(enumerate(special, 1))}
    noted = station.unreachable if kind == "UDPScan" else station.open_ports.get(kind, 0)
    return {0: count - noted, 1: noted}


def attack(draw: np.random.Generator, kind: str, tool: str, station: Station, variant: NDArray[np.int8]) -> Flows:
    """One record for each entry of `variant`, in the order of their beginning."""
    burst = bursts(draw, len(variant), 1.0 if kind == "ICMPFlood" else _MEAN_BURST)
    path = station.path
    match kind:
        case "HTTPFlood":
            flows = connections(draw, _GOLDENEYE, path, burst, variant)
        case "SlowrateDoS":
            flows = connections(draw, _slow(tool, station), path, burst, variant)
        case "UDPFlood":
            flows = flood(draw, "udp", path, burst, station.flood_sizes_bytes, station.packet_rate)
        case "SYNFlood":
            flows = flood(draw, "tcp", path, burst, (40,), station.packet_rate)
        case "ICMPFlood":
            flows = flood(draw, "icmp", path, burst, (28,), station.packet_rate)
        case "SYNScan" | "TCPConnectScan":
            flows = tcp_scan(draw, path, burst, variant == 1, connects=kind == "TCPConnectScan")
        case _:
            flows = udp_scan(draw, path, burst, variant == 1)
    flows["attack"], flows["tool"] = ATTACKS.index(kind), TOOLS.index(tool)
    return flows


def _slow(tool: str, station: Station) -> Connections:
    """Connections that are kept open with as little as possible, until the server loses patience.

    Slowloris sends another header line now and then; Torshammer the body of a POST, byte by byte, and more often.
    """
    held_s, spread = _SLOW.duration_s
    pieces = held_s / (station.pause_s * (6 if tool == "Slowloris" else 1))
    return replace(_SLOW, duration_s=(held_s, spread), exchanges=pieces, request_bytes=(420 / pieces, 0.5))
