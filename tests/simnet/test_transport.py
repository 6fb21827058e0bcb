"""One end of a connection when its program, or the other end, misbehaves."""

from __future__ import annotations

import array
import asyncio
import contextlib
from collections import Counter

import pytest

from simnet import LinkSpec
from tests.simnet.test_streams import connected, run


def test_a_failing_listener_loses_its_connection_and_nothing_else(make_network, caplog):
    def refuse(reader, writer):
        raise ValueError("bad callback")

    async def client(network):
        reader, _ = await asyncio.open_connection("server", 7)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        return network.now()

    assert run(make_network(), client, handler=refuse) < 1
    assert "bad callback" in caplog.text


def test_a_protocol_that_fails_loses_its_connection(make_network, caplog):
    lost = []

    class Failing(asyncio.Protocol):
        def data_received(self, data):
            raise ValueError("boom")

        def connection_lost(self, error):
            lost.append(repr(error))

    network = make_network()

    async def main():
        async def serve():
            await asyncio.get_running_loop().create_server(Failing, port=7)

        await network.host("server").start(serve())

        async def client():
            async with connected() as (reader, writer):
                writer.write(b"x")
                with pytest.raises(ConnectionResetError):
                    await reader.read()

        await network.host("client-0").start(client())

    network.run(main)
    assert lost == ["ValueError('boom')"]
    assert "boom" in caplog.text


def test_resets_never_overtake_the_opening(make_network):
    """With jitter, a connection that is aborted at once is opened and lost at the other end, or neither."""
    seen = Counter()

    class Counting(asyncio.Protocol):
        def connection_made(self, transport):
            seen["made"] += 1

        def connection_lost(self, error):
            seen["lost"] += 1

    network = make_network(access=LinkSpec(1e9, 0.05, 0.05), seed=3)

    async def main():
        async def serve():
            await asyncio.get_running_loop().create_server(Counting, port=7)

        await network.host("server").start(serve())

        async def client():
            for _ in range(50):
                _, writer = await asyncio.open_connection("server", 7)
                writer.transport.abort()
            await asyncio.sleep(10)

        await network.host("client-0").start(client())

    network.run(main)
    assert seen["made"] == seen["lost"] > 0


def test_wide_memoryviews_are_counted_in_bytes(make_network):
    async def client(network):
        async with connected() as (reader, writer):
            writer.write(memoryview(array.array("d", [1.0] * 100)))
            with pytest.raises(TypeError, match="bytes-like"):
                writer.transport.write("text")
            return await reader.readexactly(800)

    assert run(make_network(), client) == array.array("d", [1.0] * 100).tobytes()


def test_what_was_written_before_closing_is_sent_though_the_peer_goes_on_talking(make_network):
    async def give_and_go(reader, writer):
        writer.write(bytes(10_000_000))
        writer.close()

    async def client(network):
        reader, writer = await asyncio.open_connection("server", 7)

        async def talk():
            with contextlib.suppress(ConnectionError):
                while True:
                    writer.write(b"x")
                    await asyncio.sleep(0.01)

        talking = asyncio.create_task(talk())
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while data := await reader.read(1 << 20):
                received += len(data)
        talking.cancel()
        writer.close()
        return received

    assert run(make_network(), client, handler=give_and_go) == 10_000_000
