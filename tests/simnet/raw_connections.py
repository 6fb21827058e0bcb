"""Connections to a server, byte by byte, for tests of what it puts up with."""

from __future__ import annotations

import asyncio

from simnet import Boundaries, LinkSpec, Message, Reply, Route, SocketNetwork, star
from simnet.guards import Limits
from simnet.ingress import Ingress

TENANTS = {"client-0": "", "client-1": "", "server": ""}


async def take(request):
    return Reply(201, Message(str(len(request.message.body)).encode()))


def visited(visit, *routes, ingress=None, **limits):
    """What `visit(open)` returns, where `open()` opens a connection to a server with these limits."""
    topology = star(["client-0", "client-1"], access=LinkSpec(1e9, 0.01), server=LinkSpec(1e9, 0.01))
    network = SocketNetwork(
        topology, boundaries=Boundaries(TENANTS), ingress=ingress or Ingress(limits=Limits(**limits))
    )

    async def main():
        server = network.host("server")
        await server.start(server.serve(routes or [Route("PUT", "/", take)]))
        port = int(network.url_of("server").rsplit(":", 1)[1])
        writers = []

        async def connect(**options):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
            writers.append(writer)
            return reader, writer

        try:
            async with asyncio.timeout(60):
                return await visit(connect)
        finally:
            for writer in writers:
                writer.close()

    return network.run(main)


def put(body=b"", **headers):
    """A request with these headers (`_` for `-`)."""
    head = {"Host": "server", "Boundary_From": "client-0", "Content_Length": len(body), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in head.items() if value is not None)
    return f"PUT / HTTP/1.1\r\n{lines}\r\n".encode() + body


async def answer(reader):
    """Status, headers and body of the next answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers.get("Content-Length", 0)))


async def asked(connect, request):
    """The answer to a request on a connection of its own."""
    reader, writer = await connect()
    writer.write(request)
    found = await answer(reader)
    writer.close()
    return found
