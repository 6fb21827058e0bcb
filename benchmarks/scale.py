"""What many clients cost: K uploads of 3 to 6 MB over a star, with the carriage `sized`.

    python benchmarks/scale.py [--clients N] [--seed S] [--queue droptail|fq_codel] [--json]

Clients of 20 Mbit/s behind a server link of 10 Gbit/s, sizes and starts (spread over 10 s) drawn at random: equal sizes
and starts collapse to two events and prove nothing. Each is an asyncio program that sends one request and gets an
answer. Without --clients, 1,000 and 10,000 clients; with it, N and N / 10, so that there is an exponent: how wall time
grows with N, and beside it what K log K would make of it. Each number of clients has a process of its own, on one core;
wall_s counts everything but the imports, peak_mb is the process's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from simnet import LinkSpec, Message, Reply, Request, Route, SimulatedNetwork, star
from simnet.draws import generator

DEFAULT_CLIENTS = (1_000, 10_000)
# CPU seconds of SimGrid 4.1 (LV08) on two cores, from the reference page: sizes at random but all starts at once.
SIMGRID_S = {1_000: 0.18, 10_000: 36.0}


def upload(clients: int, seed: int, queue: str) -> dict[str, Any]:
    """Let so many clients upload; returns what it took."""
    began_s = time.perf_counter()
    draws = generator(seed, "scale", clients)
    sizes = draws.integers(3_000_000, 6_000_000, clients, endpoint=True).tolist()
    starts_s = draws.uniform(0, 10, clients).tolist()
    names = [f"client-{index}" for index in range(clients)]
    access = LinkSpec(20e6, 0.010, queue=queue)  # type: ignore[arg-type]
    server_link = LinkSpec(10e9, 0.005, queue=queue)  # type: ignore[arg-type]
    network = SimulatedNetwork(star(names, access=access, server=server_link), seed=seed, carriage="sized")
    arrivals_s: list[float] = []

    async def take(_request: Request) -> Reply:
        arrivals_s.append(network.now())
        return Reply(201)

    async def put(name: str, start_s: float, size_bytes: int) -> int:
        await asyncio.sleep(start_s)
        reply = await network.host(name).request("server", "PUT", "/upload", Message.of_size(size_bytes))
        return reply.status

    async def main() -> None:
        server = network.host("server")
        await server.start(server.serve([Route("PUT", "/upload", take)]))
        tasks = [
            network.host(name).start(put(name, start_s, size))
            for name, start_s, size in zip(names, starts_s, sizes, strict=True)
        ]
        for task in tasks:
            assert await task == 201

    network.run(main)
    wall_s = time.perf_counter() - began_s
    events = network.clock.events
    return {
        "clients": clients,
        "wall_s": round(wall_s, 3),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, 1),
        "events": events,
        "events_per_s": round(events / wall_s),
        "last_arrival_s": max(arrivals_s),
        "simgrid_s": SIMGRID_S.get(clients),
    }


def in_a_process_of_its_own(clients: int, seed: int, queue: str) -> dict[str, Any]:
    """`upload` in a fresh process, so that its peak of memory is its own."""
    command = [sys.executable, __file__, "--one", "--clients", str(clients), "--seed", str(seed), "--queue", queue]
    result: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return result


def exponents(small: dict[str, Any], large: dict[str, Any]) -> tuple[float, float]:
    """The exponent with which wall time grew between two runs, and the one that K log K would have."""
    ratio = math.log(large["clients"] / small["clients"])
    grown = math.log(large["wall_s"] / small["wall_s"]) / ratio
    linearithmic = 1 + math.log(math.log(large["clients"]) / math.log(small["clients"])) / ratio
    return round(grown, 3), round(linearithmic, 3)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, help="number of clients (100 or more)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--queue", choices=("droptail", "fq_codel"), default="droptail")
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.clients is not None and chosen.clients < 100:
        parser.error(f"--clients {chosen.clients}: expected 100 or more")
    if chosen.one:
        print(json.dumps(upload(chosen.clients, chosen.seed, chosen.queue)))
        return
    numbers = DEFAULT_CLIENTS if chosen.clients is None else (chosen.clients // 10, chosen.clients)
    if hasattr(os, "sched_setaffinity"):  # one core, as promised
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    runs = [in_a_process_of_its_own(number, chosen.seed, chosen.queue) for number in numbers]
    grown, linearithmic = exponents(runs[0], runs[1])
    if chosen.json:
        result = {**runs[-1], "exponent": grown, "exponent_of_k_log_k": linearithmic, "queue": chosen.queue}
        print(json.dumps({**result, "runs": runs}, indent=1))
        return
    print(f"{'clients':>8}  {'wall':>9}  {'peak':>9}  {'events':>10}  {'events/s':>9}  {'last arrival':>12}  SimGrid")
    for run in runs:
        simgrid = "-" if run["simgrid_s"] is None else f"{run['simgrid_s']:g} s"
        print(
            f"{run['clients']:>8}  {run['wall_s']:>7.2f} s  {run['peak_mb']:>6.0f} MB  {run['events']:>10}  "
            f"{run['events_per_s']:>9}  {run['last_arrival_s']:>10.3f} s  {simgrid}"
        )
    print(f"\nwall time grows with the power {grown:.2f} of the clients; K log K would be {linearithmic:.2f}")
    print("SimGrid 4.1 (C++): CPU seconds with all starts at once, from the reference page")


if __name__ == "__main__":
    main()
