"""What the carriage `http` costs with large bodies: K clients PUT a body of 9 MB each to one server.

    python benchmarks/http_bodies.py [--clients K] [--size BYTES] [--json]

A star of 20 Mbit/s clients behind a 1 Gbit/s server, all of them starting at once, real aiohttp at both ends. The
clients share one body (a body for each would be 900 MB by itself), and the service looks at each body and lets it go.
Printed are wall and CPU seconds, the peak of the process's memory and what of it was there after the imports, and how
many bytes simnet's streams copied per byte of body.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import time
from typing import Any

from simnet import LinkSpec, Message, Reply, Request, Route, SimulatedNetwork, Tcp, pieces, star

WALL_GOAL_S, MEMORY_GOAL_MB = 3.0, 600.0
_BODY_KIND = "embeddings"


def peak_mb() -> float:
    """The peak of this process's memory until now, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def upload(clients: int, size_bytes: int) -> dict[str, Any]:
    """Let all clients upload; returns what it took."""
    names = [f"client-{index}" for index in range(clients)]
    topology = star(names, access=LinkSpec(20e6, 0.010), server=LinkSpec(1e9, 0.005))
    body = bytes(range(256)) * (size_bytes // 256 + 1)
    body = body[:size_bytes]
    imports_mb = peak_mb()
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    network = SimulatedNetwork(topology, tcp=Tcp())
    arrived: list[int] = []

    async def take(request: Request) -> Reply:
        arrived.append(len(request.message.body))
        return Reply(200)

    async def client(name: str) -> int:
        message = Message(body, frozenset({_BODY_KIND}))
        return (await network.host(name).request("server", "PUT", f"/bodies/{name}", message)).status

    async def main() -> list[int]:
        await network.host("server").serve([Route("PUT", "/bodies/{name}", take)])
        return await asyncio.gather(*(network.host(name).start(client(name)) for name in names))

    statuses = network.run(main)
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    if statuses != [200] * clients or arrived != [size_bytes] * clients:
        raise SystemExit(f"not every body arrived whole: {sorted(set(statuses))}, {len(arrived)} bodies")
    return {
        "clients": clients,
        "size_bytes": size_bytes,
        "virtual_s": network.now(),
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "peak_mb": peak_mb(),
        "imports_mb": imports_mb,
        "run_mb": peak_mb() - imports_mb,
        "copies_per_byte": pieces.copied_bytes() / (clients * size_bytes),
        "goals": {"wall_s": WALL_GOAL_S, "peak_mb": MEMORY_GOAL_MB},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=100, help="how many upload at once (default: 100)")
    parser.add_argument("--size", type=int, default=9_000_000, help="bytes of each body (default: 9000000)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    if options.clients < 1 or options.size < 1:
        parser.error("--clients and --size must be at least 1")
    found = upload(options.clients, options.size)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{found['clients']} clients x {found['size_bytes']:,} B by http, {found['virtual_s']:.3f} virtual seconds")
    print(f"  wall   {found['wall_s']:8.2f} s   (goal: less than {WALL_GOAL_S:g} s; CPU {found['cpu_s']:.2f} s)")
    print(
        f"  memory {found['peak_mb']:8.0f} MB at most (goal: less than {MEMORY_GOAL_MB:g} MB), "
        f"{found['imports_mb']:.0f} MB of them after the imports"
    )
    print(f"  copies {found['copies_per_byte']:8.2f} per byte of body in simnet's streams")


if __name__ == "__main__":
    main()
