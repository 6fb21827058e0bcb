"""What a service does not put up with, in virtual time: when it is told is exact."""

from __future__ import annotations

import asyncio

import pytest

from simnet import LinkSpec, Message, Reply, Route, SimulatedNetwork, Tcp, star
from simnet.errors import SimnetError
from simnet.fault_kinds import LinkDown
from simnet.faults import Planned
from simnet.guards import Limits
from tests.simnet.raw_connections import answer, asked, put, take

MODEL = frozenset({"model"})
ROUND_TRIP_S = 0.02


def simulated(capacity_bps=1e9, **limits):
    topology = star(["client-0", "client-1"], access=LinkSpec(capacity_bps, 0.01), server=LinkSpec(1e9, 0.0))
    return SimulatedNetwork(topology, tcp=Tcp.plain(), limits=Limits(**limits))


def visited(network, visit, *routes):
    """What `visit(client, connect)` returns, run by client-0 of a network with a server."""

    writers = []

    async def connect():
        reader, writer = await asyncio.open_connection("server", 8080)
        writers.append(writer)
        return reader, writer

    async def visit_and_close(client):
        try:
            return await visit(client, connect)
        finally:
            for writer in writers:
                writer.close()

    async def main():
        server, client = network.host("server"), network.host("client-0")
        await server.start(server.serve(routes or [Route("PUT", "/", take)]))
        return await client.start(visit_and_close(client))

    return network.run(main)


def test_too_many_requests_are_told_when_to_come_again():
    """Three at once, then one each second; those that are refused take nothing."""
    network = simulated(requests_per_s=1, request_burst=3)

    async def visit(client, connect):
        found = []
        for _ in range(9):
            sent_s = client.now()
            reply = await client.request("server", "PUT", "/", Message(b"x", MODEL))
            found.append((reply.status, reply.headers.get("Retry-After")))
            if reply.status == 429:
                await asyncio.sleep(sent_s + int(reply.headers["Retry-After"]) - client.now())
        return found

    again = (429, "1")
    assert visited(network, visit) == [(201, None)] * 3 + [again, (201, None)] * 3
    refused = [event.host for event in network.trace if event.values.get("status") == 429]
    assert set(refused) == {"client-0"}  # the server writes it down nowhere: there is no end of them


def test_requests_at_once_are_bounded():
    async def ponder(request):
        await asyncio.sleep(5.0)
        return Reply(204)

    async def visit(client, connect):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(client.request("server", "PUT", "/")) for _ in range(3)]
        return sorted((task.result().status, task.result().code) for task in tasks), client.now()

    statuses, now_s = visited(simulated(requests_at_once=2), visit, Route("PUT", "/", ponder))
    assert statuses == [(204, ""), (204, ""), (429, "busy")]
    assert now_s == pytest.approx(5.0 + 2 * ROUND_TRIP_S, abs=1e-4)


@pytest.mark.parametrize(("later_bytes", "refused_s"), [(0, 3.0), (8, 3.0), (9, 6.0)])
def test_a_body_that_does_not_come_is_refused(later_bytes, refused_s):
    """Every 3 s it is looked at whether 24 bit/s have come: 9 bytes. The head gets there at 0.03 s."""

    async def visit(client, connect):
        reader, writer = await connect()
        writer.write(put(Content_Length=10_000) + b"x" * 100)
        await asyncio.sleep(1.0)
        writer.write(b"x" * later_bytes)
        status, _, body = await answer(reader)
        return status, body, client.now()

    network = simulated(least_bps=24, window_s=3.0)
    status, body, now_s = visited(network, visit)
    assert (status, b"urn:problem:slow" in body) == (408, True)
    assert now_s == pytest.approx(0.03 + refused_s + 0.01, abs=1e-4)


@pytest.mark.parametrize("capacity_bps", [1e5, 1e6])
def test_a_long_body_on_a_slow_link_is_taken_in(capacity_bps):
    """1 MB takes 8 s or 80 s; it stays where its sender has it until it is whole, but it moves."""
    network = simulated(capacity_bps, least_bps=50_000, window_s=2.0)

    async def visit(client, connect):
        reply = await client.request("server", "PUT", "/", Message(bytes(1_000_000), MODEL))
        return reply.status, reply.message.body

    assert visited(network, visit) == (201, b"1000000")


def test_a_body_on_a_link_that_is_down_is_given_up():
    """The server is free again while it lasts; its sender hears of it when the link is up, at 22 s."""
    network = simulated(1e6, window_s=3.0, requests_at_once=1)
    network.faults.schedule([Planned(2.0, LinkDown("client-0"), 20.0)])
    told_at_s = []

    async def visit(client, connect):
        reply = await client.request("server", "PUT", "/", Message(bytes(1_000_000), MODEL))
        told_at_s.append(client.now())
        again = await client.request("server", "PUT", "/", Message(b"x", MODEL))
        return reply.status, again.status

    assert visited(network, visit) == (408, 201)
    assert told_at_s == [pytest.approx(22.01, abs=0.01)]


@pytest.mark.parametrize("size_bytes", [30_000, 200_000, 300_000])
def test_a_body_that_comes_with_its_head_on_a_slow_link_is_taken_in(size_bytes):
    """Up to 256 KiB a head and its body are one piece, that arrives after up to 40 s; that is not a slow head."""

    async def visit(client, connect):
        reply = await client.request("server", "PUT", "/", Message(bytes(size_bytes), MODEL))
        return reply.status, client.now()

    status, now_s = visited(simulated(50_000), visit)
    assert (status, now_s) == (201, pytest.approx(size_bytes * 8 / 50_000, abs=0.2))


@pytest.mark.parametrize("down_s", [28.0, 29.5, 30.0])
def test_an_outage_of_a_second_when_it_is_looked_at_is_no_slow_body(down_s):
    """What had left of the piece that the cut has torn counts as come."""
    network = simulated(50_000)
    network.faults.schedule([Planned(down_s, LinkDown("client-0"), 1.0)])

    async def visit(client, connect):
        reply = await client.request("server", "PUT", "/", Message(bytes(300_000), MODEL))
        return reply.status, client.now()

    assert visited(network, visit) == (201, pytest.approx(49.2, abs=0.5))


@pytest.mark.parametrize(("size_bytes", "down_s", "for_s"), [(6, 5.0, 45.0), (300_000, 34.5, 1.0)])
def test_an_answer_that_waits_for_its_link_arrives(size_bytes, down_s, for_s):
    """A short one waits where the system would keep it, unwatched; of a long one what has left counts."""
    network = simulated(50_000)
    network.faults.schedule([Planned(down_s, LinkDown("client-0"), for_s)])

    async def ponder(request):
        await asyncio.sleep(5.0)
        return Reply(200, Message(bytes(size_bytes), MODEL))

    async def visit(client, connect):
        reply = await client.request("server", "PUT", "/")
        return reply.status, len(reply.message.body)

    assert visited(network, visit, Route("PUT", "/", ponder)) == (200, size_bytes)


@pytest.mark.parametrize("begun", [b"", b"PUT / HTTP/1.1\r\nHost:"])
def test_a_head_that_does_not_come_ends_the_connection(begun):
    async def visit(client, connect):
        reader, writer = await connect()
        writer.write(begun)
        status, _, _ = await answer(reader)
        return status, client.now(), await reader.read()

    status, now_s, rest = visited(simulated(head_s=7.0), visit)
    assert (status, rest) == (408, b"")
    assert now_s == pytest.approx(0.03 + 7.0 + 0.01, abs=1e-4)


def test_connections_are_bounded():
    async def visit(client, connect):
        writers = [(await connect())[1] for _ in range(2)]
        status, headers, _ = await asked(connect, put(b"x"))
        for writer in writers:
            writer.close()
        await asyncio.sleep(1.0)
        return status, headers["Retry-After"], (await asked(connect, put(b"x")))[0]

    assert visited(simulated(connections=2), visit) == (503, "60", 201)


def test_an_answer_that_is_not_taken_ends_its_connection():
    async def much(request):
        return Reply(200, Message(bytes(40_000_000), MODEL))

    async def visit(client, connect):
        reader, writer = await connect()
        writer.transport.pause_reading()
        writer.write(put())
        await asyncio.sleep(30.0)
        writer.transport.resume_reading()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        return True

    assert visited(simulated(window_s=5.0), visit, Route("PUT", "/", much))


def test_a_run_with_limits_repeats_to_the_letter():
    digests = set()
    for _ in range(2):
        network = simulated(requests_per_s=1, request_burst=2)

        async def visit(client, connect):
            for _ in range(4):
                await client.request("server", "PUT", "/", Message(b"x", MODEL))

        visited(network, visit)
        digests.add(network.trace.digest())
    assert len(digests) == 1


def test_what_goes_by_its_size_has_no_limits():
    topology = star(["client-0"], access=LinkSpec(1e6, 0.01), server=LinkSpec(1e9, 0.0))
    with pytest.raises(SimnetError, match="messages that go by size do without"):
        SimulatedNetwork(topology, carriage="sized", limits=Limits())
