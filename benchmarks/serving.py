"""What a real server bears: K sites that upload 9 MB each at the same time, and many that only wait.

    python benchmarks/serving.py [--sites K] [--size BYTES] [--pollers N] [--seconds S] [--repeats R] [--json]

All on loopback. The server is a process of its own on one core, with all that `collab serve` does to an upload: its
limits, a boundary that inspects it, the check against the task, the store that syncs it before the 201, the sums into
which it is folded. The sites are one process on the other cores that sends bytes from memory and does nothing else.

- Rate: bytes per second until the last site has its 201, as a ratio to a bare aiohttp handler that writes each body to
  a file (and syncs nothing, checks nothing), on the same core, in the same run; the median of R pairs. Beside it, until
  the last upload is folded.
- Memory: the peak of the server's process, torch and all.
- Waiting: N sites that ask for a task with `Prefer: wait=60` when there is none; the share of a core that the server
  needs for them over S seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from aiohttp import web

from collab import wire

RATIO_GOAL, MEMORY_GOAL_MB, CORE_GOAL = 0.40, 400.0, 0.10
CLASSES, CHANNELS, SIDE, WIDTH, DEPTH = 10, 3, 32, 128, 3
NUMBERS_OF_NETWORK = CLASSES * WIDTH * (SIDE // 2**DEPTH) ** 2  # embeddings of all classes under one network


# -- the servers, each in a process of its own -----------------------------------------------------


def be_bare(folder: Path) -> None:
    """Write each body to a file; print the port."""

    async def take(request: web.Request) -> web.Response:
        with (folder / request.match_info["site"]).open("wb") as file:
            async for chunk in request.content.iter_any():
                file.write(chunk)
        return web.Response(status=201)

    async def main() -> None:
        app = web.Application()
        app.router.add_put("/{site}", take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())


def be_collab(folder: Path, sites: int, networks: int, *, idle: bool) -> None:
    """Be the server of CollabDM for so many sites; print the port, and "folded" when all uploads are."""
    from collab.process import importing

    with importing():  # as the command does
        from collab.agents.rounds import Arrival
        from collab.agents.server import ServerAgent
        from collab.compute import CPU
        from collab.data import ImageSpec
        from collab.deploy.configuration import LABORATORY_INGRESS, LABORATORY_QUOTA
        from collab.deploy.store import Store, run_identity
        from collab.methods import collabdm
        from collab.privacy.inspection import ContentInspector
        from simnet import Boundaries, LinkSpec, Rule, SocketNetwork, star

    class Settings(collabdm.Settings):
        name: str = "collabdm"

    names = [f"client-{index}" for index in range(sites)]
    tenants = {**dict.fromkeys(names, "sites"), "server": "cloud"}
    topology = star(names, access=LinkSpec(1e6, 0.01), server=LinkSpec(1e9, 0.01), tenant_of=tenants)
    boundaries = Boundaries(tenants, [Rule("cloud", frozenset({"embeddings"}))], ContentInspector())
    images = ImageSpec(CLASSES, CHANNELS, SIDE, (0.5,) * CHANNELS, (0.5,) * CHANNELS, ())
    settings = Settings(initial="noise", iterations=networks, images_per_class=1, augment=False, seeds="master")
    identity = run_identity("serving", 1, f"{sites} {networks}")
    with Store(folder / "store", identity, quota=LABORATORY_QUOTA) as store:
        network = SocketNetwork(topology, boundaries=boundaries, ingress=LABORATORY_INGRESS)
        network.boundaries.ledger = store.ledger()

        def on_upload(arrival: Arrival) -> None:
            if arrival.number == sites:
                asyncio.get_running_loop().call_soon(lambda: print("folded", flush=True))

        async def main() -> None:
            host = network.host("server")
            agent = ServerAgent(host, names, images, "collabdm", settings, 1, CPU, on_upload, register=store)
            if idle:  # a task for nobody: all wait
                agent._nothing_for = lambda _site: True  # type: ignore[method-assign]
            running = host.start(agent.run(256 * 1024 * 1024))
            await agent.serving.wait()
            print(network.url_of("server").rsplit(":", 1)[1], flush=True)
            await running

        network.run(main)


@contextlib.contextmanager
def server(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server in a process of its own, on the last core; its port."""
    cores = sorted(os.sched_getaffinity(0))
    command = [sys.executable, __file__, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    os.sched_setaffinity(process.pid, cores[-1:])
    try:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def peak_mb(process: subprocess.Popen[str]) -> float:
    """The peak of a process's resident memory, in MB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def cpu_s(process: subprocess.Popen[str]) -> float:
    """Seconds of a core that a process has used."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# -- the sites -------------------------------------------------------------------------------------


class Bodies:
    """An upload for each site, of which only the beginning differs: that is all that is made anew."""

    def __init__(self, networks: int) -> None:
        draws = np.random.default_rng(1).standard_normal(networks * NUMBERS_OF_NETWORK).astype(np.float16)
        sections = {
            "embeddings": {
                "classes": wire.encode(np.arange(CLASSES, dtype=np.uint8)),
                "counts": wire.encode(np.full(CLASSES, 100, dtype=np.int64)),
                "means": wire.encode(draws.reshape(networks, CLASSES, -1)),
            }
        }
        whole = wire.pack(wire.Content({}, sections))
        inner = whole[len(self._head(b"")) :]
        empty = msgpack.packb({"fields": {}})[1:]
        if inner[1 : 1 + len(empty)] != empty:
            raise AssertionError("the fields come first")
        self._first, self._rest = inner[:1], memoryview(inner)[1 + len(empty) :]

    def of(self, task: str, site: str) -> list[bytes | memoryview]:
        """The body of a site's upload, in two pieces."""
        fields = self._first + msgpack.packb({"fields": {"task": task, "site": site}})[1:]
        checksum = hashlib.sha256(fields)
        checksum.update(self._rest)
        return [self._head(checksum.digest()) + fields, self._rest]

    @staticmethod
    def _head(checksum: bytes) -> bytes:
        return bytes(msgpack.packb({"schema": wire.SCHEMA, "checksum": checksum.ljust(32)}))


async def ask(port: int, head: str, pieces: Sequence[bytes | memoryview] = ()) -> tuple[bytes, bytes]:
    """Send a request on a connection of its own; the head and the body of the answer. Nothing is copied."""
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, ("127.0.0.1", port))
        size = sum(map(len, pieces))
        await loop.sock_sendall(connection, f"{head}Host: x\r\nContent-Length: {size}\r\n\r\n".encode())
        for piece in pieces:
            await loop.sock_sendall(connection, piece)
        received = b""
        while b"\r\n\r\n" not in received:
            received += await _some(loop, connection)
        answer, body = received.split(b"\r\n\r\n", 1)
        length = [line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        while length and len(body) < int(length[0].split(b":")[1]):
            body += await _some(loop, connection)
        return answer, body


async def _some(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> bytes:
    received = await loop.sock_recv(connection, 65536)
    if not received:
        raise SystemExit("the server closed a connection without an answer")
    return received


async def upload_all(port: int, path: str, uploads: Sequence[Sequence[bytes | memoryview]]) -> float:
    """Upload to `path` of each site at the same time; the seconds until the last 201."""

    async def one(index: int) -> None:
        site = f"client-{index}"
        digest = base64.b64encode(digests[index]).decode()
        head = f"PUT {path.format(site=site)} HTTP/1.1\r\nBoundary-From: {site}\r\nBoundary-Kind: embeddings\r\n"
        head += f"Content-Type: application/msgpack\r\nContent-Digest: sha-256=:{digest}:\r\n"
        answer, body = await ask(port, head, uploads[index])
        if b" 201 " not in answer.splitlines()[0]:
            raise SystemExit(f"{site} was answered {answer!r} {body[:500]!r}")

    digests = [_digest(upload) for upload in uploads]  # which a site knows, since it writes it down
    began_s = time.perf_counter()
    await asyncio.gather(*(one(index) for index in range(len(uploads))))
    return time.perf_counter() - began_s


def _digest(pieces: Sequence[bytes | memoryview]) -> bytes:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


async def task_of(port: int) -> str:
    """The identity of the task that is handed out."""
    _, body = await ask(port, "GET /v1/sites/client-0/task HTTP/1.1\r\nBoundary-From: client-0\r\nPrefer: wait=60\r\n")
    return str(wire.unpack(body).fields["task"])


def load(sites: int, networks: int, folder: Path) -> dict[str, float]:
    """One pair: the same uploads to the bare handler and to the server."""
    bodies = Bodies(networks)
    (folder / "bare").mkdir()
    with server("--be-bare", folder / "bare") as (process, port):
        uploads = [bodies.of("x", f"client-{index}") for index in range(sites)]
        size_bytes = sum(sum(map(len, upload)) for upload in uploads)
        bare_cpu_s = cpu_s(process)
        bare_s = asyncio.run(upload_all(port, "/{site}", uploads))
        bare_cpu_s = cpu_s(process) - bare_cpu_s
    for file in (folder / "bare").iterdir():
        file.unlink()
    os.sync()  # what the bare handler left to the kernel is not to be written at the server's expense
    with server("--be-collab", folder, "--sites", sites, "--networks", networks) as (process, port):
        assert process.stdout is not None
        idle_mb = peak_mb(process)
        task = asyncio.run(task_of(port))
        uploads = [bodies.of(task, f"client-{index}") for index in range(sites)]
        began_s, ours_cpu_s = time.perf_counter(), cpu_s(process)
        ours_s = asyncio.run(upload_all(port, f"/v1/tasks/{task}/uploads/{{site}}", uploads))
        ours_cpu_s = cpu_s(process) - ours_cpu_s
        if process.stdout.readline() != "folded\n":
            raise SystemExit("the server has not folded every upload")
        folded_s = time.perf_counter() - began_s
        found_mb = peak_mb(process)
    return {
        "body_bytes": size_bytes / sites,
        "bare_mb_per_s": size_bytes / bare_s / 1e6,
        "ours_mb_per_s": size_bytes / ours_s / 1e6,
        "folded_mb_per_s": size_bytes / folded_s / 1e6,
        "ratio": bare_s / ours_s,
        "cpu_ratio": bare_cpu_s / ours_cpu_s,
        "idle_mb": idle_mb,
        "peak_mb": found_mb,
    }


async def wait_idle(port: int, pollers: int, seconds: float, process: subprocess.Popen[str]) -> float:
    """The share of a core that the server needs while so many sites wait."""

    async def poll(index: int) -> None:
        head = f"GET /v1/sites/client-{index}/task HTTP/1.1\r\nBoundary-From: client-{index}\r\nPrefer: wait=60\r\n"
        await asyncio.sleep(index / pollers * min(seconds, 60))  # in the long run they come at all times
        while True:
            answer, _ = await ask(port, head)
            if b" 204 " not in answer.splitlines()[0]:
                raise SystemExit(f"client-{index} was answered {answer!r}")

    tasks = [asyncio.create_task(poll(index)) for index in range(pollers)]
    await asyncio.sleep(min(seconds, 60) + 1)
    began_s, before_s = time.perf_counter(), cpu_s(process)
    await asyncio.sleep(seconds)
    share = (cpu_s(process) - before_s) / (time.perf_counter() - began_s)
    for task in tasks:
        if task.done():
            task.result()
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return share


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything."""
    networks = max(1, round(options.size / (2 * NUMBERS_OF_NETWORK)))
    pairs = []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            pairs.append(load(options.sites, networks, Path(folder)))
    found: dict[str, Any] = {name: statistics.median(pair[name] for pair in pairs) for name in pairs[0]}
    found["peak_mb"] = max(pair["peak_mb"] for pair in pairs)
    found |= {"sites": options.sites, "ratios": [pair["ratio"] for pair in pairs], "pollers": options.pollers}
    if options.pollers:
        with (
            tempfile.TemporaryDirectory() as folder,
            server("--be-collab", folder, "--sites", options.pollers, "--networks", 1, "--idle") as (process, port),
        ):
            found["core_share"] = asyncio.run(wait_idle(port, options.pollers, options.seconds, process))
            found["pollers_mb"] = peak_mb(process)
    return found


def main() -> None:
    """Measure and print; or be one of the servers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sites", type=int, default=200, help="how many upload at once (default: 200)")
    parser.add_argument("--size", type=int, default=9_000_000, help="bytes of each upload, about (default: 9000000)")
    parser.add_argument("--pollers", type=int, default=2000, help="how many wait at once (default: 2000; 0: none)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long they are watched (default: 60)")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of runs (default: 3)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--be-bare", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--be-collab", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--networks", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--idle", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if options.be_bare:
        be_bare(options.be_bare)
    elif options.be_collab:
        be_collab(options.be_collab, options.sites, options.networks, idle=options.idle)
    else:
        found = measure(options)
        print(json.dumps(found, indent=2) if options.json else _in_words(found))


def _in_words(found: dict[str, Any]) -> str:
    lines = [
        f"{found['sites']} sites x {found['body_bytes']:,.0f} B at once, one core",
        f"  rate    {found['ours_mb_per_s']:8.0f} MB/s until the last 201, {found['ratio']:.2f} of a bare handler's "
        f"{found['bare_mb_per_s']:.0f} MB/s (goal: {RATIO_GOAL:.2f}; runs: "
        f"{', '.join(f'{ratio:.2f}' for ratio in found['ratios'])})",
        f"          {found['folded_mb_per_s']:8.0f} MB/s until the last upload is folded",
        f"  memory  {found['peak_mb']:8.0f} MB at most (goal: {MEMORY_GOAL_MB:.0f}), {found['idle_mb']:.0f} MB of it "
        "before the first byte",
    ]
    if "core_share" in found:
        lines.append(
            f"  waiting {100 * found['core_share']:8.1f} % of a core for {found['pollers']} sites (goal: "
            f"{100 * CORE_GOAL:.0f} %), {found['pollers_mb']:.0f} MB"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
