"""Flows without a connection: UDP, ICMP and what runs below IP."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collab.data.flows.synthetic.flow import (
    CAUSES,
    FLOW,
    PROTOCOLS,
    STATES,
    STATUS_INTERVAL_S,
    WITHOUT_IP,
    Flows,
    by_burst,
    chosen_by_burst,
    varied,
)
from collab.data.flows.synthetic.path import Path

_SMALLEST_FRAME_BYTES = 42  # an empty datagram; monitors on the sending side see no padding
_LARGEST_PAYLOAD_BYTES = 1500


@dataclass(frozen=True, slots=True)
class Datagrams:
    """How an application sends; what is a pair is the median and the spread (sigma of the logarithm) over bursts."""

    proto: str = "udp"
    state: str = "INT"
    sizes_bytes: tuple[int, ...] = (60,)  # of IP packets; each burst has one of them
    size_sigma: float = 0.0  # within a burst
    packets: tuple[float, float] = (1.0, 0.0)  # of a whole flow
    packets_sigma: float = 0.0  # within a burst
    interval_s: tuple[float, float] = (1.0, 0.5)
    jitter: float = 0.05  # of the intervals within a burst
    answer_bytes: tuple[int, ...] = ()  # of answers, one for each packet; none: nothing comes back
    tos: tuple[int, ...] = (0,)
    vlan: int = 0
    from_server: bool = False
    mean_burst: float = 30.0
    gap_s: float = 0.5  # mean time between the flows of a burst
    ongoing: float = 0.0  # share of records that are not the first of their flow


def datagrams(draw: np.random.Generator, what: Datagrams, path: Path, burst: NDArray[np.int64]) -> Flows:
    """One record for each entry of `burst`: packets at regular intervals, cut off where the monitor reports."""
    flows = np.zeros(len(burst), FLOW)
    flows["burst"] = burst
    flows["proto"], flows["state"] = PROTOCOLS.index(what.proto), STATES.index(what.state)
    interval_s = np.maximum(varied(draw, by_burst(draw, burst, *what.interval_s), what.jitter), 1e-6)
    wanted = varied(draw, by_burst(draw, burst, *what.packets), what.packets_sigma)
    whole = np.floor(wanted) + (draw.random(len(burst)) < wanted % 1)
    fitting = np.floor(STATUS_INTERVAL_S / interval_s) + 1
    packets = np.clip(np.minimum(whole, fitting), 1, None).astype(np.int64)
    flows["src_packets"] = packets
    spans = (packets - 1) * interval_s
    flows["duration_s"] = np.minimum(spans * (1 + what.jitter * (draw.random(len(burst)) - 0.5)), STATUS_INTERVAL_S)
    size = varied(draw, chosen_by_burst(draw, burst, what.sizes_bytes).astype(np.float64), what.size_sigma)
    framed = np.clip(np.rint(size), _SMALLEST_FRAME_BYTES - path.frame_bytes, _LARGEST_PAYLOAD_BYTES) + path.frame_bytes
    flows["src_bytes"] = packets * framed.astype(np.int64)
    flows["vlan"] = what.vlan
    goes_on = (draw.random(len(burst)) < what.ongoing) | (whole > fitting) & (draw.random(len(burst)) < 0.5)
    flows["cause"] = np.where(goes_on, CAUSES.index("Status"), CAUSES.index("Start"))
    if what.proto not in WITHOUT_IP:
        flows["src_tos"] = chosen_by_burst(draw, burst, what.tos)
        phone, server = path.phone_ttl(draw, burst), path.server_ttl(draw, burst, edge=False)
        flows["src_ttl"], flows["dst_ttl"] = (server, phone) if what.from_server else (phone, server)
    if what.answer_bytes:
        _answer(draw, what, path, flows)
    return flows


def _answer(draw: np.random.Generator, what: Datagrams, path: Path, flows: Flows) -> None:
    """Each packet gets an answer, but for those that are lost on the way; the first always does."""
    lost = draw.binomial(flows["src_packets"] - 1, path.loss)
    flows["dst_packets"] = flows["src_packets"] - lost
    size = varied(draw, chosen_by_burst(draw, flows["burst"], what.answer_bytes).astype(np.float64), what.size_sigma)
    framed = np.clip(np.rint(size), 28, _LARGEST_PAYLOAD_BYTES) + path.frame_bytes
    flows["dst_bytes"] = flows["dst_packets"] * framed.astype(np.int64)
    rtt_s = path.radio_rtt_s if what.from_server else path.internet_rtt_s
    waited_s = varied(draw, by_burst(draw, flows["burst"], rtt_s, 0.4), 0.3)
    flows["duration_s"] = np.minimum(flows["duration_s"] + waited_s, STATUS_INTERVAL_S)
