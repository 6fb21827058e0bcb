"""Floods of single packets, and scans: what tools send that want no connection."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from collab.data.flows.synthetic.flow import (
    CAUSES,
    FLOW,
    PROTOCOLS,
    STATES,
    STATUS_INTERVAL_S,
    Flows,
    by_burst,
    chosen_by_burst,
    varied,
)
from collab.data.flows.synthetic.path import Path

_SOURCE_PORTS = 2**16  # hping3 counts its source port up with each packet: each port is a flow
_SEQUENCE_NUMBERS = 2**32


def flood(
    draw: np.random.Generator,
    proto: str,
    path: Path,
    burst: NDArray[np.int64],
    sizes_bytes: tuple[int, ...],
    rate: tuple[float, float],
) -> Flows:
    """Packets as fast as the radio link takes them (`rate`: median and spread over bursts, in packets a second).

    A source port comes again when all others had their turn: so many seconds lie between the packets of its flow, which
    the monitor reports every five. Nothing comes back. A flood of ICMP has no ports, and is one flow.
    """
    flows = np.zeros(len(burst), FLOW)
    flows["burst"], flows["proto"] = burst, PROTOCOLS.index(proto)
    ports = 1 if proto == "icmp" else _SOURCE_PORTS
    interval_s = ports / by_burst(draw, burst, *rate)
    lived_s = draw.random(len(burst)) * 2 * STATUS_INTERVAL_S  # so far, by when the monitor reports
    seen_s = np.minimum(lived_s, STATUS_INTERVAL_S) if ports > 1 else np.full(len(burst), STATUS_INTERVAL_S)
    packets = 1 + np.floor(seen_s / interval_s).astype(np.int64)
    flows["src_packets"] = packets
    spans_s = (packets - 1) * varied(draw, interval_s, 0.03)
    flows["duration_s"] = np.minimum(spans_s, STATUS_INTERVAL_S)
    flows["src_bytes"] = packets * (chosen_by_burst(draw, burst, sizes_bytes) + path.frame_bytes)
    flows["src_ttl"] = 64 - path.phone_hops
    flows["cause"] = np.where(lived_s > STATUS_INTERVAL_S, CAUSES.index("Status"), CAUSES.index("Start"))
    flows["state"] = STATES.index({"udp": "INT", "tcp": "REQ", "icmp": "ECO"}[proto])
    if proto == "tcp":
        flows["src_window"] = 512
        flows["src_base"] = draw.integers(1, _SEQUENCE_NUMBERS, len(burst))
        flows["src_loss"] = packets - 1
    return flows


def tcp_scan(
    draw: np.random.Generator, path: Path, burst: NDArray[np.int64], is_open: NDArray[np.bool_], *, connects: bool
) -> Flows:
    """A SYN to one port after another: a closed one answers with a reset, an open one with SYN-ACK.

    A scan by SYN makes its own packets (a small window, one sequence number and a random TTL for a whole run) and
    resets what it got open; a scan by connecting leaves both to the system, and resets after the handshake.
    """
    flows = np.zeros(len(burst), FLOW)
    flows["burst"], flows["proto"], flows["state"] = burst, PROTOCOLS.index("tcp"), STATES.index("RST")
    flows["cause"] = CAUSES.index("Start")
    count = len(burst)
    away_s = varied(draw, by_burst(draw, burst, path.edge_rtt_s, 0.3), 0.4)
    back_s = varied(draw, by_burst(draw, burst, path.radio_rtt_s, 0.2), 0.3)
    flows["syn_ack_s"], flows["ack_data_s"] = away_s * is_open, back_s * is_open
    flows["duration_s"] = away_s + back_s * is_open
    answered_opens = 2 if connects else 1  # packets of the client after a SYN-ACK
    flows["src_packets"] = 1 + answered_opens * is_open
    flows["dst_packets"] = 1
    syn_bytes = 60 if connects else 44
    flows["src_bytes"] = syn_bytes + path.frame_bytes + answered_opens * is_open * (40 + path.frame_bytes)
    flows["dst_bytes"] = np.where(is_open, syn_bytes, 40) + path.frame_bytes
    made_up_ttl = chosen_by_burst(draw, burst, tuple(range(38, 60)))
    flows["src_ttl"] = (64 if connects else made_up_ttl) - path.phone_hops
    flows["dst_ttl"] = 64 - path.edge_hops
    flows["src_window"] = np.where(is_open, 0, 64240 if connects else 1024)
    run_base = chosen_by_burst(draw, burst, tuple(int(base) for base in draw.integers(1, _SEQUENCE_NUMBERS, 64)))
    flows["src_base"] = draw.integers(1, _SEQUENCE_NUMBERS, count) if connects else run_base
    flows["dst_window"] = np.where(is_open, 65160 if connects else 64240, 0)
    flows["dst_base"] = np.where(is_open, draw.integers(1, _SEQUENCE_NUMBERS, count), 0)
    return flows


def udp_scan(draw: np.random.Generator, path: Path, burst: NDArray[np.int64], is_answer: NDArray[np.bool_]) -> Flows:
    """Datagrams to one port after another; the target says of some by ICMP that nobody is there, as its own flow."""
    flows = np.zeros(len(burst), FLOW)
    flows["burst"] = burst
    flows["proto"] = np.where(is_answer, PROTOCOLS.index("icmp"), PROTOCOLS.index("udp"))
    flows["state"] = np.where(is_answer, STATES.index("URP"), STATES.index("INT"))
    flows["cause"] = CAUSES.index("Start")
    repeated = ~is_answer & (draw.random(len(burst)) < 0.3)
    flows["src_packets"] = 1 + repeated
    flows["duration_s"] = repeated * varied(draw, by_burst(draw, burst, 1.0, 0.1), 0.05)
    known_services = draw.random(len(burst)) < 0.08  # to these a probe says something sensible
    probe_bytes = np.where(known_services, draw.integers(36, 140, len(burst)), 28)
    flows["src_bytes"] = (np.where(is_answer, 56, probe_bytes) + path.frame_bytes) * flows["src_packets"]
    flows["src_ttl"] = np.where(
        is_answer, 64 - path.edge_hops, chosen_by_burst(draw, burst, tuple(range(38, 60))) - path.phone_hops
    )
    flows["src_tos"] = np.where(is_answer, 192, 0)
    return flows
