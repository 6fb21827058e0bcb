"""How far simulated transfers are from those of real Linux TCP, of ns-3 and of SimGrid, case by case.

    python benchmarks/fidelity.py [--cases FILE] [--seeds N] [--json]

Every case of the file (the format of network_cases.json: links, flows, reference times) is run through simnet's public
interface with its default settings: asyncio streams between hosts, once per seed, under both queue disciplines, and
under Reno and BBR where the file has times of Linux with them or packets are lost. Seconds are from the start of a
connection to the last byte at the receiver.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from simnet import SimulatedNetwork, Topology
from simnet.draws import generator
from simnet.topology import Host, Link

DEFAULT_CASES = Path(__file__).parents[1] / "tests" / "reference" / "network_cases.json"
QUEUES = ("fq_codel", "droptail")
OTHER_CONGESTION = ("reno", "bbr")
PORT = 5001
_START_SPREAD_S = 0.001  # several flows start within a millisecond of each other, as in the reference

Times = dict[str, float]


def topology_of(case: Mapping[str, Any], queue: str, congestion: str) -> Topology:
    """The network of a case: every node can be a host."""
    names = dict.fromkeys(end for link in case["links"] for end in (link["a"], link["b"]))
    links = [
        Link(
            link["a"],
            link["b"],
            link["bps"],
            link["latency_oneway_s"],
            loss=link.get("loss_a_to_b") or 0.0,
            reverse_loss=link.get("loss_b_to_a") or 0.0,
            queue=queue,  # type: ignore[arg-type]
            queue_packets=link.get("queue_pkts") if queue == "droptail" else None,
        )
        for link in case["links"]
    ]
    hosts = [Host(name, congestion=congestion) for name in names]  # type: ignore[arg-type]
    return Topology(tuple(hosts), tuple(links))


def run_once(case: Mapping[str, Any], queue: str, congestion: str, seed: int) -> list[float]:
    """Seconds of each flow of a case."""
    network = SimulatedNetwork(topology_of(case, queue, congestion), seed=seed)
    flows = case["flows"]
    several = len(flows) > 1
    taken: dict[str, float] = {}
    began: dict[str, float] = {}

    def receiver(flow: Mapping[str, Any], arrived: asyncio.Event) -> Callable[..., Any]:
        async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            left = int(flow["bytes"])
            while left > 0:
                left -= len(await reader.read(2**20))
            taken[flow["id"]] = network.now() - began[flow["id"]]
            arrived.set()
            writer.close()

        return receive

    async def listen(flow: Mapping[str, Any], port: int, arrived: asyncio.Event) -> None:
        await asyncio.start_server(receiver(flow, arrived), port=port)

    async def send(flow: Mapping[str, Any], port: int, arrived: asyncio.Event) -> None:
        spread_s = float(generator(seed, "start", flow["id"]).uniform(0, _START_SPREAD_S)) if several else 0.0
        await asyncio.sleep(flow.get("start_s", 0.0) + spread_s)
        began[flow["id"]] = network.now()
        _, writer = await asyncio.open_connection(flow["dst"], port)
        writer.write(bytes(int(flow["bytes"])))
        await arrived.wait()
        writer.close()

    async def main() -> None:
        tasks = []
        for index, flow in enumerate(flows):
            arrived = asyncio.Event()
            await network.host(flow["dst"]).start(listen(flow, PORT + index, arrived))
            tasks.append(network.host(flow["src"]).start(send(flow, PORT + index, arrived)))
        await asyncio.gather(*tasks)

    network.run(main)
    return [taken[flow["id"]] for flow in flows]


def times_of(case: Mapping[str, Any], queue: str, congestion: str, seeds: int) -> Times:
    """Means over the seeds of the first, median and last arrival, and the span of the last."""
    runs = [run_once(case, queue, congestion, seed) for seed in range(1, seeds + 1)]
    lasts = [max(run) for run in runs]
    return {
        "first_s": statistics.fmean(min(run) for run in runs),
        "median_s": statistics.fmean(statistics.median(run) for run in runs),
        "last_s": statistics.fmean(lasts),
        "last_min_s": min(lasts),
        "last_max_s": max(lasts),
    }


def reference_of(case: Mapping[str, Any], tool: str, key: str) -> Mapping[str, Any]:
    """The reference times of one tool, as first_s, median_s, last_s with mean, min and max; empty if there are none."""
    found = case.get(tool, {}).get(key, {})
    return {
        name: value if isinstance(value, dict) else {"mean": value, "min": value, "max": value}
        for name, value in found.items()
        if name in ("first_s", "median_s", "last_s")
    }


def compare(cases: Mapping[str, Any], seeds: int, tell: Callable[[str], None]) -> dict[str, dict[str, Times]]:
    """Our times: case -> queue discipline (and congestion control, unless it is CUBIC) -> times."""
    ours: dict[str, dict[str, Times]] = {}
    for name, case in cases.items():
        tell(name)
        ours[name] = {queue: times_of(case, queue, "cubic", seeds) for queue in QUEUES}
        for key in other_settings(case):
            congestion, queue = key.split("_", 1)
            ours[name][key] = times_of(case, queue, congestion, seeds)
    return ours


def other_settings(case: Mapping[str, Any]) -> list[str]:
    """Reno and BBR, where Linux was measured with them and wherever packets are lost: there they differ most."""
    measured = [key for key in case.get("linux", {}) if key.startswith(OTHER_CONGESTION)]
    lossy = any(link.get("loss_a_to_b") or link.get("loss_b_to_a") for link in case["links"])
    return list(dict.fromkeys([*measured, *(f"{name}_droptail" for name in OTHER_CONGESTION if lossy)]))


def rows(cases: Mapping[str, Any], ours: Mapping[str, Mapping[str, Times]]) -> list[list[str]]:
    """The table: one row a case and setting."""
    table = []
    for name, case in cases.items():
        for setting, times in ours[name].items():
            key = setting if setting.startswith(OTHER_CONGESTION) else f"cubic_{setting}"
            linux, ns3 = reference_of(case, "linux", key), reference_of(case, "ns3", key)
            simgrid = reference_of(case, "simgrid", "LV08")
            truth = linux or ns3
            table.append(
                [
                    name,
                    key.replace("_", " ", 1),
                    _pair(times),
                    _span(times["last_min_s"], times["last_max_s"]),
                    _pair({k: v["mean"] for k, v in linux.items()}),
                    _span(linux["last_s"]["min"], linux["last_s"]["max"]) if linux else "-",
                    _pair({k: v["mean"] for k, v in ns3.items()}),
                    _pair({k: v["mean"] for k, v in simgrid.items()}),
                    _error(times, truth, "median_s"),
                    _error(times, truth, "last_s"),
                ]
            )
    return table


HEADINGS = ["case", "setting", "ours", "span", "Linux", "span", "ns-3", "SimGrid", "median", "last"]


def _pair(times: Mapping[str, float]) -> str:
    if not times:
        return "-"
    median, last = f"{times['median_s']:.4g}", f"{times['last_s']:.4g}"
    return median if median == last else f"{median} / {last}"


def _span(low: float, high: float) -> str:
    return "" if high - low < 5e-4 * high else f"{low:.4g}..{high:.4g}"


def _error(times: Times, truth: Mapping[str, Any], which: str) -> str:
    return f"{100 * (times[which] / truth[which]['mean'] - 1):+.1f} %" if truth else "-"


def print_table(table: Sequence[Sequence[str]]) -> None:
    """A Markdown table, aligned."""
    lines = [HEADINGS, *table]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    for index, line in enumerate(lines):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")
        if index == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all cases and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, default=DEFAULT_CASES, help="file in the format of network_cases.json")
    parser.add_argument("--seeds", type=int, default=20, help="runs of each case, with the seeds 1 to N")
    parser.add_argument("--json", action="store_true", help="print our times as JSON, and nothing else")
    chosen = parser.parse_args(arguments)
    if chosen.seeds < 1:
        parser.error(f"--seeds {chosen.seeds}: expected 1 or more")
    try:
        cases = json.loads(chosen.cases.read_text(encoding="utf-8"))["cases"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        parser.error(f"{chosen.cases} is no file of network cases: {error}")
    ours = compare(cases, chosen.seeds, lambda name: print(name, file=sys.stderr, flush=True))
    if chosen.json:
        print(json.dumps({"seeds": chosen.seeds, "cases": ours}, indent=1))
    else:
        print_table(rows(cases, ours))
        print("\nmedian / last arrival in seconds, means over the seeds; span of the last arrival over the seeds;")
        print("errors against Linux (ns-3 where Linux was not measured)")


if __name__ == "__main__":
    main()
