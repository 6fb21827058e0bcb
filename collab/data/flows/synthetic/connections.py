"""TCP flows: connections that are opened, carry requests and responses, and end in one of several ways."""

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
    Flows,
    by_burst,
    chosen_by_burst,
    varied,
)
from collab.data.flows.synthetic.path import Path

ENDINGS = ("orderly", "client reset", "server reset", "unanswered")
_SEGMENT_BYTES = 1348
_HEADER_BYTES = 52  # of IP and TCP with time stamps
_SEQUENCE_NUMBERS = 2**32
_LINK_BIT_PER_S = 400e6
_RETRY_TIMES_S = (0.0, 1.0, 3.0)  # when the first, second and third SYN are sent after the first


@dataclass(frozen=True, slots=True)
class Connections:
    """How an application uses connections: median and spread over bursts of what is sent, and of how long it takes."""

    request_bytes: tuple[float, float]
    response_bytes: tuple[float, float]
    duration_s: tuple[float, float]
    sigma: float = 0.5  # of each of the three within a burst
    exchanges: float = 1.0  # mean number of requests
    src_windows: tuple[int, ...] = (64240, 65535, 87040, 131328)
    dst_windows: tuple[int, ...] = (65160, 64256, 28960, 262144)
    tos: tuple[int, ...] = (0,)
    dst_tos: tuple[int, ...] = (0,)
    edge: bool = False  # the server is the operator's own
    slowed: tuple[float, float] = (1.0, 0.0)  # what a loaded server makes of its round trips: median and spread
    half_open: float = 0.0  # share of connections of which nothing follows the server's SYN-ACK
    mean_burst: float = 12.0
    gap_s: float = 0.4


def connections(
    draw: np.random.Generator, what: Connections, path: Path, burst: NDArray[np.int64], ending: NDArray[np.int8]
) -> Flows:
    """One record for each entry of `burst`: a whole connection, or what one interval of the monitor shows of it."""
    flows = np.zeros(len(burst), FLOW)
    flows["burst"], flows["proto"] = burst, PROTOCOLS.index("tcp")
    flows["src_tos"] = chosen_by_burst(draw, burst, what.tos)
    flows["dst_tos"] = chosen_by_burst(draw, burst, what.dst_tos)
    flows["src_ttl"] = path.phone_ttl(draw, burst)
    flows["dst_ttl"] = path.server_ttl(draw, burst, edge=what.edge)
    flows["src_base"] = draw.integers(1, _SEQUENCE_NUMBERS, len(burst))
    flows["dst_base"] = draw.integers(1, _SEQUENCE_NUMBERS, len(burst))
    flows["src_window"] = _window(draw, burst, what.src_windows)
    flows["dst_window"] = _window(draw, burst, what.dst_windows)
    whole_s = np.maximum(varied(draw, by_burst(draw, burst, *what.duration_s), what.sigma), 1e-4)
    records = np.ceil(whole_s / STATUS_INTERVAL_S)
    number = np.floor(draw.random(len(burst)) * records)
    was_reset = (ending == ENDINGS.index("client reset")) | (ending == ENDINGS.index("server reset"))
    number = np.where(was_reset, records - 1, number)
    last, first = number == records - 1, number == 0
    pause_s = draw.random(len(burst)) * np.minimum(whole_s / 4, 1.5)
    rest_s = whole_s - (records - 1) * STATUS_INTERVAL_S
    flows["duration_s"] = np.where(last, rest_s, STATUS_INTERVAL_S - pause_s)
    _carry(draw, what, flows, (flows["duration_s"] / whole_s, first, last))
    _shake_hands(draw, what, path, flows, first)
    flows["state"] = np.where(was_reset, STATES.index("RST"), STATES.index("CON"))
    flows["state"][last & ~was_reset] = STATES.index("FIN")
    flows["cause"] = np.where(first, CAUSES.index("Start"), CAUSES.index("Status"))
    _leave_half_open(draw, what, flows, first & ~was_reset)
    flows["src_window"][ending == ENDINGS.index("client reset")] = 0
    flows["dst_window"][ending == ENDINGS.index("server reset")] = 0
    _lose(draw, path, flows)
    overhead = _HEADER_BYTES + path.frame_bytes
    flows["src_bytes"] += flows["src_packets"] * overhead
    flows["dst_bytes"] += flows["dst_packets"] * overhead
    _ignore(draw, flows, ending == ENDINGS.index("unanswered"), path)
    return flows


def _window(draw: np.random.Generator, burst: NDArray[np.int64], sizes: tuple[int, ...]) -> NDArray[np.int64]:
    """Bytes that an end would still take: the last it said, some of its buffer being in use."""
    free = 1 - 0.3 * draw.random(len(burst)) ** 3
    return np.maximum(np.rint(chosen_by_burst(draw, burst, sizes) * free), 1).astype(np.int64)


def _carry(
    draw: np.random.Generator,
    what: Connections,
    flows: Flows,
    seen: tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]],
) -> None:
    """Payload and packets of the record; `seen`: its share of the connection, and whether it is its first and last."""
    share, first, last = seen
    burst, count = flows["burst"], len(flows)
    requests = 1 + draw.poisson(max(what.exchanges - 1, 0), count)
    sent = varied(draw, by_burst(draw, burst, *what.request_bytes), what.sigma) * requests * share
    received = varied(draw, by_burst(draw, burst, *what.response_bytes), what.sigma) * requests * share
    src_data = np.maximum(np.ceil(sent / _SEGMENT_BYTES), np.ceil(requests * share)).astype(np.int64)
    dst_data = np.where(received >= 1, np.ceil(received / _SEGMENT_BYTES), 0).astype(np.int64)
    ending = 1 + (draw.random(count) < 0.5)
    flows["src_packets"] = src_data + dst_data // 2 + 2 * first + ending * last
    flows["dst_packets"] = np.maximum(dst_data + src_data // 2 + first + ending * last, 1)
    flows["src_bytes"], flows["dst_bytes"] = np.rint(sent), np.rint(received)


def _shake_hands(
    draw: np.random.Generator, what: Connections, path: Path, flows: Flows, first: NDArray[np.bool_]
) -> None:
    """Times from SYN to SYN-ACK (beyond the monitor) and from there to the phone's answer (the radio's)."""
    load = by_burst(draw, flows["burst"], *what.slowed)
    away_s = path.edge_rtt_s if what.edge else path.internet_rtt_s
    flows["syn_ack_s"] = first * load * varied(draw, by_burst(draw, flows["burst"], away_s, 0.4), 0.3)
    flows["ack_data_s"] = first * varied(draw, by_burst(draw, flows["burst"], path.radio_rtt_s, 0.2), 0.35)
    sent = flows["src_bytes"] + flows["dst_bytes"]
    shortest_s = np.maximum(flows["syn_ack_s"] + flows["ack_data_s"], path.radio_rtt_s / 4 + 8 * sent / _LINK_BIT_PER_S)
    flows["duration_s"] = np.clip(flows["duration_s"], np.minimum(shortest_s, STATUS_INTERVAL_S), STATUS_INTERVAL_S)


def _leave_half_open(draw: np.random.Generator, what: Connections, flows: Flows, candidates: NDArray[np.bool_]) -> None:
    half = np.flatnonzero(candidates & (draw.random(len(flows)) < what.half_open))
    flows["state"][half] = STATES.index("ACC")
    flows["src_packets"][half], flows["dst_packets"][half] = 1, 1
    flows["src_bytes"][half], flows["dst_bytes"][half] = 8, 8  # what a SYN has more of options
    flows["duration_s"][half] = flows["syn_ack_s"][half]
    flows["ack_data_s"][half] = 0


def _lose(draw: np.random.Generator, path: Path, flows: Flows) -> None:
    """Lost segments are sent again; a few the monitor never sees, which leaves a gap."""
    for end in ("src", "dst"):
        lost = draw.binomial(flows[f"{end}_packets"], path.loss)
        flows[f"{end}_loss"] = lost
        flows[f"{end}_packets"] += lost
        flows[f"{end}_gap_bytes"] = _SEGMENT_BYTES * lost * (draw.random(len(flows)) < 0.2)


def _ignore(draw: np.random.Generator, flows: Flows, which: NDArray[np.bool_], path: Path) -> None:
    """Of these only SYNs are seen, up to three; nothing comes back."""
    rows = np.flatnonzero(which)
    tries = draw.integers(1, 4, len(rows))
    flows["src_packets"][rows] = tries
    flows["src_bytes"][rows] = tries * (60 + path.frame_bytes)
    flows["duration_s"][rows] = np.asarray(_RETRY_TIMES_S)[tries - 1] * (1 + 0.01 * draw.random(len(rows)))
    flows["src_loss"][rows] = tries - 1
    flows["state"][rows], flows["cause"][rows] = STATES.index("REQ"), CAUSES.index("Start")
    nothing = ("dst_packets", "dst_bytes", "dst_loss", "src_gap_bytes", "dst_gap_bytes", "dst_window", "dst_base")
    for field in (*nothing, "syn_ack_s", "ack_data_s"):
        flows[field][rows] = 0
