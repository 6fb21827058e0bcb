"""What the phones and machines of a base station do when nobody attacks: each application by its way of sending."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from collab.data.flows.synthetic.connections import Connections
from collab.data.flows.synthetic.datagrams import Datagrams

VIDEO_VLAN = 610
PLANT_VLAN = 120

APPLICATIONS: Mapping[str, Datagrams | Connections] = MappingProxyType(
    {
        # Connections.
        "https": Connections((900, 0.8), (9_000, 1.2), (1.5, 1.2), 0.9, exchanges=3),
        "http": Connections((420, 0.5), (6_000, 1.0), (0.6, 1.0), 0.7, exchanges=2, mean_burst=8),
        "video over tcp": Connections((1_500, 0.6), (900_000, 1.0), (9.0, 0.8), 0.6, exchanges=5, tos=(0, 136)),
        "ssh": Connections((2_500, 1.0), (4_000, 1.0), (60.0, 1.2), 0.8, exchanges=20, tos=(16, 0), dst_tos=(16, 0)),
        "push": Connections((300, 0.6), (250, 0.6), (90.0, 0.9), 0.7, exchanges=8, mean_burst=6, gap_s=2.0),
        "modbus": Connections(
            (12, 0.1), (40, 0.4), (8.0, 0.6), 0.2, exchanges=40, mean_burst=80, gap_s=0.05, edge=True
        ),
        "opc ua": Connections((260, 0.4), (900, 0.6), (240.0, 0.5), 0.3, exchanges=120, mean_burst=40, edge=True),
        "mqtt": Connections((110, 0.5), (20, 0.2), (150.0, 0.9), 0.4, exchanges=20, mean_burst=30, gap_s=1.0),
        # One way only, as far as the monitor can see.
        "telemetry": Datagrams(
            sizes_bytes=(28, 28, 46, 46, 60, 76, 120, 148), packets=(2.6, 0.45), packets_sigma=0.3,
            interval_s=(1.4, 0.55), jitter=0.12, mean_burst=90, gap_s=0.05, ongoing=0.4,
        ),
        "camera": Datagrams(
            sizes_bytes=(560, 760, 1040, 1316), size_sigma=0.08, packets=(14, 0.9), packets_sigma=0.6,
            interval_s=(0.11, 0.9), mean_burst=70, gap_s=0.06, ongoing=0.7, vlan=VIDEO_VLAN, tos=(0, 136),
        ),
        "voice": Datagrams(
            sizes_bytes=(73, 93, 200), size_sigma=0.02, packets=(60, 0.6), packets_sigma=0.8, interval_s=(0.02, 0.05),
            mean_burst=25, gap_s=0.4, ongoing=0.6, tos=(184, 184, 0),
        ),
        "video": Datagrams(
            sizes_bytes=(1228, 1278, 1350), size_sigma=0.12, packets=(24, 1.2), packets_sigma=1.1,
            interval_s=(0.012, 1.0), mean_burst=40, gap_s=0.1, ongoing=0.6, from_server=True, tos=(0, 0, 0, 216),
        ),
        "announcements": Datagrams(
            sizes_bytes=(68, 125, 175, 203, 330), size_sigma=0.15, packets=(1.4, 0.3), packets_sigma=0.3,
            interval_s=(0.9, 0.5), mean_burst=15, gap_s=0.2, tos=(0, 0, 0, 40, 48),
        ),
        "game": Datagrams(
            sizes_bytes=(66, 88, 110), size_sigma=0.25, packets=(40, 0.8), packets_sigma=0.7, interval_s=(0.045, 0.4),
            jitter=0.3, mean_burst=50, gap_s=0.15, ongoing=0.7, tos=(0, 0, 128),
        ),
        "cyclic": Datagrams(
            sizes_bytes=(60, 84, 124), packets=(400, 0.5), packets_sigma=0.2, interval_s=(0.008, 0.4), jitter=0.01,
            mean_burst=300, gap_s=0.02, ongoing=0.95, tos=(184, 192), vlan=PLANT_VLAN,
        ),
        "ping": Datagrams(
            "icmp", "ECO", sizes_bytes=(84, 60), packets=(3.0, 0.5), packets_sigma=0.3, interval_s=(1.0, 0.02),
            mean_burst=8, gap_s=2.0,
        ),
        "unreachable": Datagrams("icmp", "URP", sizes_bytes=(56, 96, 140), tos=(192,), from_server=True, mean_burst=4),
        "timestamp": Datagrams("icmp", "TST", sizes_bytes=(40,), mean_burst=2),
        "solicitation": Datagrams("ipv6-icmp", "NRS", sizes_bytes=(48, 56), packets=(2.0, 0.3), interval_s=(3.0, 0.2)),
        # With answers.
        "dns": Datagrams(
            state="CON", sizes_bytes=(58, 64, 72), size_sigma=0.1, answer_bytes=(90, 140, 220), mean_burst=6
        ),
        "quic": Datagrams(
            state="CON", sizes_bytes=(160, 420, 1228), size_sigma=0.3, packets=(30, 1.1), packets_sigma=0.9,
            interval_s=(0.02, 0.7), answer_bytes=(900, 1228), mean_burst=8,
        ),
        "ntp": Datagrams(state="CON", sizes_bytes=(76,), answer_bytes=(76,), tos=(0, 184), mean_burst=2),
        "camera control": Datagrams(
            state="CON", sizes_bytes=(52, 80, 110), size_sigma=0.1, packets=(2.0, 0.4), interval_s=(0.8, 0.3),
            answer_bytes=(60, 90), vlan=VIDEO_VLAN, mean_burst=10, ongoing=0.5,
        ),
        "signalling": Datagrams(
            "sctp", "CON", sizes_bytes=(68, 92, 128), size_sigma=0.2, packets=(2.0, 0.4), interval_s=(1.5, 0.3),
            answer_bytes=(48, 68), tos=(192, 0), mean_burst=5, ongoing=0.9,
        ),
        # Below IP.
        "arp": Datagrams("arp", "RSP", sizes_bytes=(28, 46), answer_bytes=(28,), mean_burst=3),
        "bridges": Datagrams(
            "llc", "INT", sizes_bytes=(46, 60), packets=(2.0, 0.2), interval_s=(2.0, 0.05), mean_burst=5
        ),
        "neighbours": Datagrams("lldp", "INT", sizes_bytes=(180, 220), mean_burst=2),
    }
)  # fmt: skip
