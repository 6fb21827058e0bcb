"""Connections that hand objects over; what happens to them otherwise is the business of `test_transport.py`."""

from __future__ import annotations

import asyncio

import pytest

from simnet import LinkSpec, Tcp
from simnet.loop import current_host
from simnet.parcels import ParcelProtocol
from simnet.streams import inspected

MEGABYTE = 1_000_000
SLOW = LinkSpec(8e6, 0.010)  # 1 MB/s


class Diary(ParcelProtocol):
    """Writes down what happens at an end, and when."""

    def __init__(self, network):
        self.network = network
        self.entries = []

    def note(self, what):
        self.entries.append((round(self.network.now(), 5), what))

    def connection_made(self, transport):
        self.transport = transport

    def parcel_received(self, content):
        self.note(content)

    def eof_received(self):
        self.note("end")
        return False

    def connection_lost(self, exc):
        self.note(type(exc) if exc else "lost")


@pytest.fixture
def connected(make_network):
    """Runs `program(near, far, network)` with both ends of a connection from client-0 to the server."""

    def run(program, **options):
        network = make_network(access=SLOW, server=LinkSpec(8e9, 0.010), **options)
        near, far = Diary(network), Diary(network)

        async def main():
            server = network.host("server")

            async def listen():
                listener = await asyncio.get_running_loop().create_server(asyncio.Protocol, port=9)
                listener.parcel_protocol_factory = lambda: far

            async def ask():
                inspected.set("server")
                address = (network.streams.resolve("server"), 9)
                await network.streams.connect(address, lambda: near, parcels=True)
                await program(near, far, network)

            await server.start(listen())
            await network.host("client-0").start(ask())

        network.run(main)
        return near.entries, far.entries

    return run


def test_objects_arrive_in_order_when_their_bytes_would(connected):
    """1 MB/s and 20 ms one way; the handshake takes 40 ms."""
    first, second = object(), object()

    async def program(near, far, network):
        near.transport.hand_over(first, MEGABYTE)
        near.transport.hand_over(second, 2 * MEGABYTE)
        assert near.transport.get_write_buffer_size() == 3 * MEGABYTE
        await asyncio.sleep(4)
        assert near.transport.get_write_buffer_size() == 0

    _, far = connected(program)
    assert far[:2] == [(1.06, first), (3.06, second)]


def test_what_was_handed_over_is_sent_before_the_end(connected):
    async def program(near, far, network):
        near.transport.hand_over("last words", MEGABYTE)
        near.transport.close()
        near.transport.hand_over("too late", MEGABYTE)
        await asyncio.sleep(2)

    near, far = connected(program)
    assert far == [(1.06, "last words"), (1.06, "end"), (1.06, "lost")]
    assert near == [(1.04, "lost")]


def test_a_reset_drops_what_is_under_way(connected):
    async def program(near, far, network):
        near.transport.hand_over("never heard", MEGABYTE)
        await asyncio.sleep(0.5)
        far.transport.abort()
        await asyncio.sleep(0.1)
        carried = network.flows.carried_bytes.tolist()
        await asyncio.sleep(1)
        assert network.flows.carried_bytes.tolist() == carried

    near, far = connected(program)
    assert near == [(0.56, ConnectionResetError)]
    assert far == [(0.54, "lost")]


def test_a_cut_path_delays_and_doubles_nothing(connected):
    async def program(near, far, network):
        pairs = [("client-0", "server")]
        near.transport.hand_over("through thick and thin", MEGABYTE)
        await asyncio.sleep(0.5)
        network.streams.outages.cut_off(pairs)
        await asyncio.sleep(3)
        network.streams.outages.join_again(pairs)
        await asyncio.sleep(2)

    _, far = connected(program)
    assert far[0] == (4.06, "through thick and thin")


@pytest.mark.parametrize("tcp", [Tcp(), Tcp.plain()], ids=["tcp", "plain"])
@pytest.mark.parametrize("size_bytes", [1, 262_144, 262_145, 600_000])
def test_a_parcel_takes_the_time_of_its_bytes_with_jitter_too(make_network, tcp, size_bytes):
    """The same draws as for the pieces in which bytes are sent."""
    moments = []
    for parcels in (False, True):
        network = make_network(access=LinkSpec(8e6, 0.010, 0.008), tcp=tcp, seed=5)

        class Listener(asyncio.Protocol):
            received = 0

            def data_received(self, data, network=network):
                self.received += len(data)
                if self.received == size_bytes:
                    moments.append(network.now())

        async def main(network=network, parcels=parcels, listener=Listener):
            current_host.set("server")
            server = await asyncio.get_running_loop().create_server(listener, port=9)
            diary = Diary(network)
            server.parcel_protocol_factory = lambda: diary
            current_host.set("client-0")
            inspected.set("server")
            address = (network.streams.resolve("server"), 9)
            transport, _ = await network.streams.connect(address, lambda: Diary(network), parcels=parcels)
            if parcels:
                transport.hand_over("whole", size_bytes)
            else:
                transport.set_protocol(asyncio.Protocol())
                transport.write(bytes(size_bytes))
            await asyncio.sleep(5)
            if parcels:
                moments.append(diary.entries[0][0])

        network.run(main)
    assert moments[1] == pytest.approx(moments[0], abs=1e-5)
