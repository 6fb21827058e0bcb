from __future__ import annotations

import asyncio
import contextlib
import resource

import pytest

from simnet import LinkSpec, Rule
from simnet.errors import BoundaryError, NoHostError, PortInUseError, UnreachableError
from simnet.pieces import PIECE_BYTES


@contextlib.asynccontextmanager
async def connected(host="server", port=7):
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


def run(network, client, *, handler=echo, host="client-0"):
    """Serve `handler` at the server, port 7, and run `client(network)` at a client."""

    async def main():
        async def serve():
            return await asyncio.start_server(handler, port=7)

        await network.host("server").start(serve())
        return await network.host(host).start(client(network))

    return network.run(main)


def test_echo_takes_a_handshake_and_a_round_trip(make_network):
    async def client(network):
        async with connected() as (reader, writer):
            connected_s = network.now()
            writer.write(b"hello")
            writer.write_eof()
            answer = await reader.read()
            return connected_s, answer, network.now()

    # 20 ms one way; 5 B take 40 ns at 1 Gbit/s, rounded up to a microsecond each way.
    connected_s, answer, answered_s = run(make_network(), client)
    assert (connected_s, answer) == (0.04, b"hello")
    assert answered_s == pytest.approx(0.08, abs=5e-6)


def test_addresses_are_those_of_the_network(make_network):
    async def client(network):
        async with connected() as (_, writer):
            return writer.get_extra_info("peername"), writer.get_extra_info("sockname")

    (peer, peer_port), (own, own_port) = run(make_network(), client)
    assert (peer, peer_port) == ("10.0.0.3", 7)
    assert (own, own_port) == ("10.0.0.1", 49152)


def test_megabytes_arrive_whole(make_network):
    payload = bytes(range(256)) * 10_000

    async def client(network):
        async with connected() as (reader, writer):
            writer.write(memoryview(payload))
            writer.write_eof()
            return await reader.read()

    assert run(make_network(), client) == payload


def test_nobody_listens(make_network):
    async def client(network):
        with pytest.raises(UnreachableError, match="nobody listens on port 8 of server"):
            await asyncio.open_connection("server", 8)
        return network.now()

    assert run(make_network(), client) == 0.04  # the refusal takes a round trip


def test_unknown_hosts(make_network):
    async def client(network):
        with pytest.raises(OSError, match='no host "sever"'):
            await asyncio.open_connection("sever", 7)
        with pytest.raises(UnreachableError, match=r"no host has the address 10\.9\.9\.9"):
            await asyncio.open_connection("10.9.9.9", 7)

    run(make_network(), client)


def test_a_port_is_taken_once(make_network):
    network = make_network()

    async def main():
        async def serve_twice():
            first = await asyncio.start_server(echo, port=7)
            with pytest.raises(PortInUseError, match="port 7 of server is in use"):
                await asyncio.start_server(echo, port=7)
            first.close()
            await asyncio.start_server(echo, port=7)
            with pytest.raises(OSError, match="not an address of server"):
                await asyncio.start_server(echo, host="10.0.0.1", port=8)
            other = await asyncio.start_server(echo, port=0)
            return other.sockets[0].getsockname()

        return await network.host("server").start(serve_twice())

    assert network.run(main) == ("10.0.0.3", 49152)


def test_a_task_without_a_host_is_told_so(make_network):
    async def main():
        with pytest.raises(NoHostError, match=r"start it with Host\.start"):
            await asyncio.open_connection("server", 7)

    make_network().run(main)


def test_half_close_lets_the_answer_through(make_network):
    async def count(reader, writer):
        size = len(await reader.read())
        writer.write(str(size).encode())
        writer.close()

    async def client(network):
        async with connected() as (reader, writer):
            writer.write(b"x" * 12345)
            writer.write_eof()
            with pytest.raises(RuntimeError, match="write_eof"):
                writer.write(b"more")
            return await reader.read()

    assert run(make_network(), client, handler=count) == b"12345"


def test_a_reset_reaches_the_other_end(make_network):
    async def slam(reader, writer):
        await reader.read(1)
        writer.transport.abort()

    async def client(network):
        async with connected() as (reader, writer):
            writer.write(b"x")
            with pytest.raises(ConnectionResetError):
                await reader.read()
            return network.now()

    assert run(make_network(), client, handler=slam) == pytest.approx(0.08, abs=5e-6)


def test_writing_to_a_closed_end_is_answered_by_a_reset(make_network):
    async def leave(reader, writer):
        writer.close()

    async def client(network):
        async with connected() as (_reader, writer):
            writer.write(b"x" * 50_000_000)  # 0.4 s at 1 Gbit/s, against an end that has left
            with pytest.raises(ConnectionError):
                await writer.drain()
            return network.now()

    assert run(make_network(), client, handler=leave) < 0.2


def test_a_slow_link_pauses_the_writer(make_network):
    async def client(network):
        async with connected() as (_, writer):
            began_s = network.now()
            for _ in range(4):
                writer.write(b"x" * 125_000)  # 0.1 s each at 10 Mbit/s
                await writer.drain()
            return network.now() - began_s

    # The last quarter-mark: what is still in the buffer when the writer may go on is at most 64 KiB / 4.
    waited_s = run(make_network(access=LinkSpec(10e6, 0.01)), client)
    assert 0.3 < waited_s <= 0.4


def test_a_reader_that_pauses_stalls_the_sender(make_network):
    size = 40_000_000

    async def read_late(reader, writer):
        await asyncio.sleep(10)
        total = 0
        while data := await reader.read(1 << 20):
            total += len(data)
        writer.write(str(total).encode())
        writer.close()

    async def client(network):
        async with connected() as (reader, writer):
            writer.write(b"x" * size)
            writer.write_eof()
            return await reader.read(), network.now()

    # At 1 Gbit/s 40 MB take 0.32 s, but the reader's window of 16 MiB fills and is emptied only after 10 s.
    network = make_network()
    answer, finished_s = run(network, client, handler=read_late)
    assert answer == str(size).encode()
    assert finished_s > 10.19
    assert network.flows.carried_bytes.max() == pytest.approx(size, abs=10)


def test_pieces_bound_what_arrives_at_once(make_network):
    seen = []

    class Watcher(asyncio.Protocol):
        def data_received(self, data):
            assert isinstance(data, bytes)
            seen.append(len(data))

    network = make_network()

    async def main():
        async def serve():
            await asyncio.get_running_loop().create_server(Watcher, port=7)

        async def client():
            async with connected() as (_, writer):
                writer.writelines([b"a" * 10, b"b" * (PIECE_BYTES + 1)])
                await asyncio.sleep(1)

        await network.host("server").start(serve())
        await network.host("client-0").start(client())

    network.run(main)
    assert seen == [10, PIECE_BYTES, 1]


def test_buffered_protocols_are_served(make_network):
    received = bytearray()

    class Buffered(asyncio.BufferedProtocol):
        def __init__(self):
            self.buffer = bytearray(1000)

        def get_buffer(self, sizehint):
            return self.buffer

        def buffer_updated(self, nbytes):
            received.extend(self.buffer[:nbytes])

    network = make_network()

    async def main():
        async def serve():
            await asyncio.get_running_loop().create_server(Buffered, port=7)

        async def client():
            async with connected() as (_, writer):
                writer.write(b"0123456789" * 1234)
                await asyncio.sleep(1)

        await network.host("server").start(serve())
        await network.host("client-0").start(client())

    network.run(main)
    assert bytes(received) == b"0123456789" * 1234


def test_a_thousand_connections_need_no_descriptors(make_network):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, limits[1]))
    try:

        async def client(network):
            pairs = await asyncio.gather(*(asyncio.open_connection("server", 7) for _ in range(1000)))
            for _, writer in pairs:
                writer.close()
            return network.now()

        assert run(make_network(), client) == 0.04
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_strangers_cannot_connect(make_network, two_tenants):
    async def client(network):
        with pytest.raises(BoundaryError, match="connections that nobody inspects"):
            await asyncio.open_connection("server", 7)

    network = make_network(**two_tenants())
    run(network, client)
    assert [event.kind for event in network.trace] == ["connect-refused"]


def test_no_rule_means_no_connection(make_network):
    async def client(network):
        with pytest.raises(BoundaryError, match="no boundary rule lets sites reach cloud"):
            await asyncio.open_connection("server", 7)

    run(make_network(tenants={"client-0": "sites", "client-1": "sites", "server": "cloud"}), client)


def test_a_rule_may_allow_streams(make_network, two_tenants):
    async def client(network):
        async with connected() as (reader, writer):
            writer.write(b"opaque")
            writer.write_eof()
            return await reader.read()

    assert run(make_network(**two_tenants(allow=("stream",))), client) == b"opaque"
    assert Rule("cloud", frozenset({"stream"})).joins("sites", "cloud")


def test_a_service_on_the_loopback_is_for_its_own_host(make_network):
    network = make_network()

    async def main():
        async def serve():
            await asyncio.start_server(echo, host="127.0.0.1", port=9)
            async with connected("localhost", 9):
                return True

        async def knock():
            with pytest.raises(UnreachableError, match="nobody listens"):
                await asyncio.open_connection("server", 9)

        assert await network.host("server").start(serve())
        await network.host("client-0").start(knock())

    network.run(main)
