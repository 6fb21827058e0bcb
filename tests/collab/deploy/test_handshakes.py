"""Limits of connections with TLS: handshakes that do not come, and what comes right behind one that does."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

import pytest

from collab.deploy.tls import server_context
from simnet.door import Door
from simnet.guards import Limits
from simnet.ingress import Ingress
from tests.collab.deploy.deployments import Deployment
from tests.simnet.raw_connections import asked, put, visited


@pytest.fixture
def secured(tmp_path):
    """A visit to a server with TLS; `connect(ssl=…)` speaks it."""
    client = Deployment(tmp_path).client()
    tls = server_context(tmp_path / "server.pem", tmp_path / "server.key", None)

    def visit_with(visit, door=None, **limits):
        ingress = Ingress(tls=tls, limits=Limits(**limits), door=door)
        return visited(lambda connect: visit(connect, client), ingress=ingress)

    return visit_with


def test_requests_come_through_tls(secured):
    async def visit(connect, tls):
        return [(await asked(lambda: connect(ssl=tls), put(bytes(size))))[2] for size in (1, 200_000)]

    assert secured(visit) == [b"1", b"200000"]


def test_a_request_that_comes_with_the_end_of_the_handshake_is_not_lost(secured):
    """As fast clients send it, in one segment."""

    async def visit(connect, tls):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = tls.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        reader, writer = await connect()
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                incoming.write(await reader.read(65536))
        client.write(put(b"123"))
        writer.write(outgoing.read())
        heard = b""
        while not heard.endswith(b"3"):
            incoming.write(await reader.read(65536))
            try:
                heard += client.read()
            except ssl.SSLWantReadError:
                continue
        writer.close()
        return heard.split(b"\r\n")[0]

    assert secured(visit) == b"HTTP/1.1 201 Created"


@pytest.mark.parametrize("begun", [b"", b"\x16\x03\x01", b"PUT / HTTP/1.1\r\n\r\n"])
def test_a_handshake_that_does_not_come_ends_the_connection_and_counts_no_more(secured, begun):
    async def visit(connect, tls):
        reader, writer = await connect()
        writer.write(begun)
        try:
            rest = await reader.read()
        except ConnectionResetError:
            rest = b""
        writer.close()
        await asyncio.sleep(0.1)
        return b"HTTP" in rest, (await asked(lambda: connect(ssl=tls), put()))[0]

    assert secured(visit, head_s=0.3, connections=1) == (False, 201)


def test_a_head_that_does_not_come_ends_the_connection_in_tls_too(secured):
    async def visit(connect, tls):
        return (await asked(lambda: connect(ssl=tls), b"PUT / HT"))[0]

    assert secured(visit, head_s=0.3) == 408


def test_handshakes_count_as_connections(secured):
    async def visit(connect, tls):
        _, idle = await connect()
        status, headers, _ = await asked(lambda: connect(ssl=tls), put())
        idle.close()
        return status, headers["Retry-After"]

    assert secured(visit, connections=1) == (503, "60")


def test_a_server_that_ends_waits_for_no_handshake(secured):
    async def visit(connect, tls):
        _, writer = await connect()
        await asyncio.sleep(0.05)
        return writer

    assert secured(visit, head_s=50) is not None


def test_at_the_door_one_hears_how_many_never_came_to_a_request(secured):
    async def in_the_clear_and_one_too_many(connect, tls):
        reader, writer = await connect()
        writer.write(put())
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
        writer.close()
        while door.connections() > 0:
            await asyncio.sleep(0.01)
        await connect()
        while door.connections() == 0:
            await asyncio.sleep(0.01)
        assert (await asked(lambda: connect(ssl=tls), put()))[0] == 503

    async def half_a_head(connect, tls):
        assert (await asked(lambda: connect(ssl=tls), b"PUT / HT"))[0] == 408

    door, failed = Door(), []
    door.on_failed_handshake = lambda address, reason: failed.append((address, reason))
    secured(in_the_clear_and_one_too_many, door, connections=1, head_s=50)
    assert door.turned_away() == {"no-tls": 1, "too-many": 1}
    assert failed == [("127.0.0.1", "http request")]
    secured(half_a_head, door, head_s=0.3)
    assert {reason: number for reason, number in door.turned_away().items() if number} == {"slow-head": 1}
