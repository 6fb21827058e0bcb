"""What a server answers has a largest size, too: one that answers without end does not fill the memory of a site."""

from __future__ import annotations

import asyncio
import contextlib
import zlib

import pytest

from simnet import LinkSpec, SocketNetwork, http, star
from simnet.errors import InspectionError

OK = b"HTTP/1.1 200 OK\r\n"
ENDLESS = OK + b"Transfer-Encoding: chunked\r\n\r\n", b"400\r\n" + bytes(0x400) + b"\r\n"
BOMB = zlib.compress(bytes(1_000_000))
BOMB_ANSWER = OK + b"Content-Encoding: deflate\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB
LONG = OK + b"Content-Length: 100000\r\n\r\n" + bytes(100_000)
FITTING = OK + b"Content-Length: 5000\r\n\r\n" + bytes(5000)


def answered(first, then=b""):
    """What a site gets of such an answer; `then` follows again and again, as long as anybody takes it."""
    network = SocketNetwork(star(["client-0"], access=LinkSpec(1e9, 0.01), server=LinkSpec(1e9, 0.01)))

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(first)
        with contextlib.suppress(ConnectionError):
            while then:
                writer.write(then)
                await writer.drain()
            await reader.read()
        writer.close()

    async def main():
        async with asyncio.timeout(20), await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            network.listening_at("server", server.sockets[0].getsockname()[1])
            client = network.host("client-0")
            try:
                return await client.request("server", "GET", "/")
            finally:
                await client.close()

    return network.run(main)


@pytest.mark.parametrize(
    ("first", "then"), [ENDLESS, (BOMB_ANSWER, b""), (LONG, b"")], ids=["endless", "compressed", "announced"]
)
def test_an_answer_that_is_too_long_is_not_taken_in(monkeypatch, first, then):
    monkeypatch.setattr(http, "BODY_LIMIT_BYTES", 5000)
    with pytest.raises(InspectionError, match="the answer has more than 5000 B, more than any may have"):
        answered(first, then)


def test_the_longest_answer_is_taken_in(monkeypatch):
    monkeypatch.setattr(http, "BODY_LIMIT_BYTES", 5000)
    assert answered(FITTING).message.body == bytes(5000)
