"""A small conn.log of Zeek for each of two sensors, as Zeek would write it."""

from __future__ import annotations

import random
from pathlib import Path

TYPES = {
    "ts": "time", "uid": "string", "id.orig_h": "addr", "id.orig_p": "port", "id.resp_h": "addr", "id.resp_p": "port",
    "proto": "enum", "service": "string", "duration": "interval", "orig_bytes": "count", "resp_bytes": "count",
    "conn_state": "string", "local_orig": "bool", "local_resp": "bool", "missed_bytes": "count", "history": "string",
    "orig_pkts": "count", "orig_ip_bytes": "count", "resp_pkts": "count", "resp_ip_bytes": "count",
    "tunnel_parents": "set[string]",
}  # fmt: skip
MOSTLY = {"north": {"web": 800, "dns": 600, "flood": 700, "scan": 500}, "south": {"web": 500, "dns": 300, "scan": 600}}


def write_logs(folder: Path, connections=MOSTLY):
    """`north.log` and `south.log`; the south has seen no flood."""
    folder.mkdir(parents=True, exist_ok=True)
    for sensor, counts in connections.items():
        draw = random.Random(sensor)
        rows = [_connection(kind, draw) for kind, count in counts.items() for _ in range(count)]
        draw.shuffle(rows)
        lines = [
            "#separator \\x09", "#set_separator\t,", "#empty_field\t(empty)", "#unset_field\t-", "#path\tconn",
            "#open\t2024-03-01-00-00-00", "\t".join(["#fields", *TYPES]), "\t".join(["#types", *TYPES.values()]),
        ]  # fmt: skip
        for number, row in enumerate(rows):
            known = {"ts": f"{1709251200 + number * 0.25:.6f}", "uid": f"C{number:08x}", "tunnel_parents": "-", **row}
            lines.append("\t".join(str(known.get(field, "-")) for field in TYPES))
        lines.append("#close\t2024-03-01-01-00-00")
        (folder / f"{sensor}.log").write_text("\n".join(lines) + "\n")
    return folder


def _connection(kind, draw):
    attacker, client = f"203.0.113.{draw.choice((7, 8))}", f"10.0.0.{draw.randint(2, 250)}"
    common = {"id.orig_p": draw.randint(1024, 65535), "local_orig": "T", "local_resp": "F", "missed_bytes": 0}
    match kind:
        case "web":
            sent, got = draw.randint(200, 2000), draw.randint(500, 200_000)
            return {
                **common, "id.orig_h": client, "id.resp_h": "198.51.100.1", "id.resp_p": draw.choice((80, 443)),
                "proto": "tcp", "service": draw.choice(("http", "ssl")), "duration": round(draw.uniform(0.05, 30), 6),
                "orig_bytes": sent, "resp_bytes": got, "conn_state": "SF", "history": "ShADadFf",
                **_packets(sent // 500 + 5, got // 1400 + 4, sent, got),
            }  # fmt: skip
        case "dns":
            return {
                **common, "id.orig_h": client, "id.resp_h": "10.0.0.1", "id.resp_p": 53, "proto": "udp",
                "service": "dns", "duration": round(draw.uniform(0.001, 0.1), 6), "orig_bytes": 40, "resp_bytes": 120,
                "conn_state": "SF", "history": "Dd", **_packets(1, 1, 40, 120),
            }  # fmt: skip
        case "flood":
            return {
                **common, "id.orig_h": attacker, "id.resp_h": "10.0.0.2", "id.resp_p": 80, "proto": "tcp",
                "service": "http", "duration": round(draw.uniform(0.001, 0.02), 6), "orig_bytes": 90, "resp_bytes": 0,
                "conn_state": draw.choice(("RSTO", "S1")), "history": "ShAD", **_packets(4, 2, 90, 0),
            }  # fmt: skip
        case _:
            return {
                **common, "id.orig_h": attacker, "id.resp_h": client, "id.resp_p": draw.randint(81, 10_000),
                "proto": "tcp", "conn_state": draw.choice(("S0", "REJ")), "history": "S", **_packets(1, 0, 0, 0),
            }  # fmt: skip


def _packets(sent, got, sent_bytes, got_bytes):
    return {
        "orig_pkts": sent, "orig_ip_bytes": sent_bytes + 40 * sent, "resp_pkts": got,
        "resp_ip_bytes": got_bytes + 40 * got,
    }  # fmt: skip
