"""Base stations: how many flows of what each has, and how far from everything it is.

The first two have the published numbers of 5G-NIDD's; how these are made up, and all of the third, another operator's
at a plant, is made up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from collab.data.flows.synthetic.path import Path
from simnet.draws import generator


@dataclass(frozen=True, slots=True)
class Station:
    """A base station; all numbers of flows are those at a share of 1."""

    path: Path
    flows: Mapping[str, int]
    applications: Mapping[str, int]  # parts of the benign flows
    endings: Mapping[str, tuple[int, int, int]]  # by class: client resets, server resets, unanswered; rest orderly
    open_ports: Mapping[str, int]  # answers of open ports, by scan
    unreachable: int  # ICMP answers to the scan by UDP
    duplicates: int  # benign records that the monitor wrote twice
    pace: float  # of all that is paced by people and by radio: 2 is half as fast
    packet_rate: tuple[float, float]  # of floods, per second: median and spread over bursts
    flood_sizes_bytes: tuple[int, ...]  # of datagrams of floods, IP packets
    pause_s: float  # of slow-rate tools between two pieces


_FIRST = Station(
    path=Path(1, 1, (8, 11, 14), 0.017, 0.0009, 0.021, 0.003, 14),
    flows={
        "Benign": 406_959, "HTTPFlood": 76_121, "SlowrateDoS": 36_092, "UDPFlood": 175_811, "ICMPFlood": 613,
        "SYNFlood": 4_792, "SYNScan": 10_019, "TCPConnectScan": 10_022, "UDPScan": 7_887,
    },
    applications={
        "https": 6_100, "http": 1_000, "video over tcp": 700, "ssh": 400, "push": 1_300, "telemetry": 118_000,
        "camera": 112_562, "voice": 31_000, "video": 78_000, "announcements": 38_000, "game": 12_000, "ping": 3_400,
        "unreachable": 600, "timestamp": 8, "solicitation": 90, "dns": 900, "quic": 500, "ntp": 150,
        "camera control": 2_009, "signalling": 100, "arp": 90, "bridges": 30, "neighbours": 20,
    },
    endings={"Benign": (390, 640, 65), "HTTPFlood": (11_300, 16_700, 380), "SlowrateDoS": (6_100, 10_300, 200)},
    open_ports={"SYNScan": 598, "TCPConnectScan": 598},
    unreachable=2_687,
    duplicates=18,
    pace=1.0,
    packet_rate=(48_000, 0.45),
    flood_sizes_bytes=(28, 28, 28, 46, 148),
    pause_s=1.2,
)  # fmt: skip

_SECOND = Station(
    path=Path(2, 2, (10, 12, 17), 0.028, 0.0016, 0.033, 0.008, 18),
    flows={
        "Benign": 70_778, "HTTPFlood": 64_691, "SlowrateDoS": 37_032, "UDPFlood": 281_529, "ICMPFlood": 542,
        "SYNFlood": 4_929, "SYNScan": 10_024, "TCPConnectScan": 10_030, "UDPScan": 8_019,
    },
    applications={
        "https": 3_300, "http": 500, "video over tcp": 300, "ssh": 619, "push": 700, "telemetry": 14_000,
        "voice": 14_000, "video": 22_000, "announcements": 7_000, "game": 4_871, "ping": 1_700, "unreachable": 240,
        "timestamp": 4, "solicitation": 56, "dns": 800, "quic": 414, "ntp": 100, "signalling": 100, "arp": 44,
        "bridges": 20, "neighbours": 10,
    },
    endings={"Benign": (210, 360, 35), "HTTPFlood": (9_559, 14_269, 320), "SlowrateDoS": (6_300, 10_700, 200)},
    open_ports={"SYNScan": 598, "TCPConnectScan": 598},
    unreachable=2_719,
    duplicates=3,
    pace=1.35,
    packet_rate=(33_000, 0.55),
    flood_sizes_bytes=(28, 46, 60, 120),
    pause_s=1.9,
)  # fmt: skip

_THIRD = Station(
    path=Path(0, 3, (5, 6, 7), 0.009, 0.0004, 0.044, 0.0008, 18),
    flows={
        "Benign": 182_000, "HTTPFlood": 12_400, "SlowrateDoS": 41_000, "UDPFlood": 96_000, "ICMPFlood": 800,
        "SYNFlood": 7_400, "SYNScan": 14_000, "TCPConnectScan": 6_000, "UDPScan": 11_000,
    },
    applications={
        "modbus": 36_000, "opc ua": 14_000, "mqtt": 17_000, "https": 1_400, "ssh": 600, "cyclic": 48_000,
        "telemetry": 41_000, "camera": 12_000, "announcements": 6_000, "ping": 2_600, "unreachable": 300,
        "timestamp": 40, "solicitation": 160, "dns": 700, "ntp": 1_400, "signalling": 300, "arp": 340, "bridges": 90,
        "neighbours": 70,
    },
    endings={"Benign": (300, 900, 700), "HTTPFlood": (900, 5_200, 900), "SlowrateDoS": (9_000, 6_000, 1_500)},
    open_ports={"SYNScan": 310, "TCPConnectScan": 130},
    unreachable=6_900,
    duplicates=0,
    pace=0.7,
    packet_rate=(85_000, 0.3),
    flood_sizes_bytes=(120, 148, 512),
    pause_s=0.8,
)  # fmt: skip

_MADE = (_FIRST, _SECOND, _THIRD)


def station(number: int, seed: int) -> Station:
    """The station BTS_`number`, counting from 1; from the fourth on the first three again, on paths that are drawn."""
    made = _MADE[(number - 1) % len(_MADE)]
    if number <= len(_MADE):
        return made
    draw = generator(seed, "traffic", "station", number)
    slower, further, busier = (float(factor) for factor in draw.uniform(0.7, 1.5, 3))
    path = replace(
        made.path,
        phone_hops=int(draw.integers(0, 4)),
        radio_rtt_s=made.path.radio_rtt_s * slower,
        internet_rtt_s=made.path.internet_rtt_s * further,
    )
    median, spread = made.packet_rate
    return replace(made, path=path, pace=made.pace * slower, packet_rate=(median * busier, spread))
