"""What an event of a trace costs: packed columns and a Parquet file, beside a list of objects and JSON Lines.

    python benchmarks/trace.py [--events N] [--json]

The events are those of a run with one upload a client, 100,000 clients in turn: requests and arrivals with a digest
that no other has, replies, and two kinds of link loads. Each form has a process of its own. Microseconds are of CPU
time, less what making the values costs; bytes in memory are the growth of the process (peak) per event.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from simnet import trace_file
from simnet.trace import Event, Trace

CLIENTS = 100_000
Record = Callable[..., None]
Costs = dict[str, float]


def record_events(record: Record, events: int) -> None:
    """Call `record(at_s, host, kind, **values)` for `events` events."""
    for number in range(events // 5):
        index = number % CLIENTS
        at_s, client, path = number * 1e-5, f"client-{index}", f"/v1/sites/client-{index}/upload"
        size_bytes, digest = 3_000_000 + number * 7919 % 3_000_000, f"{number * 2654435761 % 2**64:016x}"
        message = {"bytes": size_bytes, "carries": "embeddings+synthetic", "digest": digest}
        rate_bps = 1e7 / (1 + number % 977)
        record(at_s, client, "request", peer="server", method="PUT", path=path, **message)
        record(at_s + 1.0, f"{client} > hub", "link", wire_bps=round(rate_bps, 3), since_us=number * 10)
        record(at_s + 1.0, "hub > server", "link", wire_bps=round(3 * rate_bps, 3))
        record(at_s + 1.0, "server", "arrival", peer=client, method="PUT", path=path, **message)
        record(at_s + 1.1, client, "reply", peer="server", method="PUT", path=path, status=201, bytes=0)


def columns(events: int, folder: Path) -> Costs:
    """What simnet does."""
    trace, path = Trace(), folder / "trace.parquet"
    costs = _recording(trace.record, events)
    costs["digest_us"] = _us(trace.digest, events)
    costs["write_us"] = _us(lambda: trace_file.write(trace, path), events)
    costs["read_us"] = _us(lambda: trace_file.read(path), events)
    return {**costs, "file_bytes": path.stat().st_size / events}


def json_lines(events: int, folder: Path) -> Costs:
    """The plain way: an object for each event, its line when it is needed."""
    kept: list[Event] = []
    path = folder / "trace.jsonl"

    def record(at_s: float, host: str, kind: str, **values: Any) -> None:
        kept.append(Event(round(at_s * 1_000_000), host, kind, values))

    lines: list[str] = []

    def digest() -> str:
        lines.extend(event.canonical() + "\n" for event in kept)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def read() -> list[Event]:
        with path.open(encoding="utf-8") as file:
            records = map(json.loads, file)
            return [Event(each.pop("at_us"), each.pop("host"), each.pop("kind"), each) for each in records]

    costs = _recording(record, events)
    costs["digest_us"] = _us(digest, events)
    costs["write_us"] = _us(lambda: path.write_text("".join(lines), encoding="utf-8"), events)
    costs["read_us"] = _us(read, events)
    return {**costs, "file_bytes": path.stat().st_size / events}


def _recording(record: Record, events: int) -> Costs:
    making_us = _us(lambda: record_events(lambda *_args, **_values: None, events), events)
    before_bytes = _peak_bytes()
    record_us = _us(lambda: record_events(record, events), events)
    return {
        "record_us": record_us - making_us,
        "memory_bytes": (_peak_bytes() - before_bytes) / events,
    }


def _us(action: Callable[[], object], events: int) -> float:
    began_s = time.process_time()
    action()
    return (time.process_time() - began_s) * 1e6 / events


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1024 if os.uname().sysname == "Linux" else 1)


FORMS: dict[str, Callable[[int, Path], Costs]] = {"columns": columns, "json lines": json_lines}


def measure(events: int) -> Iterator[tuple[str, Costs]]:
    """The costs of each form, per event."""
    for name, form in FORMS.items():
        with (
            tempfile.TemporaryDirectory() as folder,
            ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process,
        ):
            yield name, process.submit(form, events, Path(folder)).result()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--events", type=int, default=1_000_000, help="events recorded, rounded down to a multiple of 5"
    )
    parser.add_argument("--json", action="store_true", help="print JSON only")
    arguments = parser.parse_args()
    if arguments.events < 5:
        parser.error(f"--events {arguments.events}: expected 5 or more")
    events = arguments.events // 5 * 5
    costs = dict(measure(events))
    if arguments.json:
        print(json.dumps({"events": events, "per_event": costs}, indent=1))
        return
    print(f"{events:,} events; per event:")
    print(f"{'':12}{'record':>10}{'digest':>10}{'write':>10}{'read':>10}{'memory':>10}{'file':>10}")
    for name, each in costs.items():
        times = "".join(f"{each[key]:>7.2f} us" for key in ("record_us", "digest_us", "write_us", "read_us"))
        print(f"{name:12}{times}{each['memory_bytes']:>8.0f} B{each['file_bytes']:>8.1f} B")


if __name__ == "__main__":
    main()
