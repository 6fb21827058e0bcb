"""Connections that a service on real sockets does not put up with. Limits are short; no time is asserted."""

from __future__ import annotations

import asyncio
import socket

import pytest

from simnet import Message, Reply, Route, carriage, gates, http
from simnet.guards import TOLD_AT_ONCE
from tests.simnet.raw_connections import answer, asked, put, visited


@pytest.mark.parametrize("begun", [b"", b"P", b"PUT / HTTP/1.1\r\nHost:"])
def test_a_head_that_does_not_come_ends_the_connection(begun):
    async def visit(connect):
        reader, writer = await connect()
        writer.write(begun)
        found = await answer(reader)
        assert await reader.read() == b""
        writer.close()
        return found

    status, headers, body = visited(visit, head_s=0.2)
    assert (status, headers["Connection"]) == (408, "close")
    assert b"must come within 0.2 s" in body


def test_a_head_that_comes_drop_by_drop_ends_the_connection():
    async def visit(connect):
        reader, writer = await connect()
        found = asyncio.create_task(answer(reader))
        for letter in b"PUT / HTTP/1.1\r\nX: " + 1000 * b"x":
            if found.done():
                break
            writer.write(bytes([letter]))
            await asyncio.sleep(0.01)
        writer.close()
        return await found

    assert visited(visit, head_s=0.2)[0] == 408


def test_a_later_head_on_a_connection_has_its_time_from_its_first_byte():
    async def visit(connect):
        reader, writer = await connect()
        writer.write(put(b"1"))
        first = await answer(reader)
        await asyncio.sleep(0.5)  # idle: that is aiohttp's to end, after longer
        writer.write(put(b"22"))
        second = await answer(reader)
        writer.write(b"PUT / HT")
        third = await answer(reader)
        assert await reader.read() == b""
        writer.close()
        return [first[2], second[2], third[0]]

    assert visited(visit, head_s=0.2) == [b"1", b"2", 408]


def test_a_head_that_began_with_an_earlier_request_ends_with_the_idle_connection(monkeypatch):
    monkeypatch.setattr(http, "KEEP_ALIVE_S", 0.3)
    assert carriage.KEEP_ALIVE_S == 75.0

    async def visit(connect):
        reader, writer = await connect()
        writer.write(put(b"1") + b"PUT / HT")
        assert (await answer(reader))[0] == 201
        rest = await reader.read()
        writer.close()
        return rest

    assert visited(visit, head_s=0.2) == b""


def test_requests_may_be_sent_one_behind_the_other():
    async def visit(connect):
        reader, writer = await connect()
        writer.write(put(b"1") + put(b"22") + put(b"333"))
        return [(await answer(reader))[2] for _ in range(3)]

    assert visited(visit) == [b"1", b"2", b"3"]


@pytest.mark.parametrize("limits", [{"connections": 2}, {"connections_per_address": 2}])
def test_too_many_connections_are_told_to_come_again(limits):
    async def visit(connect):
        held = [await connect() for _ in range(2)]
        for _, writer in held:
            writer.write(put())
        assert [(await answer(reader))[0] for reader, _ in held] == [201, 201]
        reader, writer = await connect()
        refused = await answer(reader)
        assert await reader.read() == b""
        for closing in (writer, held[0][1]):
            closing.close()
            await closing.wait_closed()
        await asyncio.sleep(0.1)
        return refused, await asked(connect, put())

    (status, headers, body), after = visited(visit, **limits)
    assert (status, headers["Retry-After"]) == (503, "60")
    assert b"urn:problem:busy" in body
    assert after[0] == 201


@pytest.mark.parametrize("name", ["connections", "connections_per_address"])
def test_of_hundreds_of_connections_some_are_told_and_the_rest_are_closed(name):
    async def what(reader):
        try:
            async with asyncio.timeout(0.5):
                return (await answer(reader))[0]
        except TimeoutError:
            return "open"
        except (asyncio.IncompleteReadError, ConnectionError):
            return "closed"

    async def visit(connect):
        pairs = [await connect() for _ in range(300)]
        found = await asyncio.gather(*(what(reader) for reader, _ in pairs))
        for _, writer in pairs:
            writer.close()
        return found

    found = visited(visit, **{name: 100})
    assert {kind: found.count(kind) for kind in set(found)} == {
        "open": 100, 503: TOLD_AT_ONCE, "closed": 200 - TOLD_AT_ONCE,
    }  # fmt: skip


def test_an_answer_that_is_not_taken_ends_the_connection():
    async def give(request):
        return Reply(200, Message(bytes(20_000_000)))

    async def visit(connect):
        reader, writer = await connect(limit=1000)
        writer.write(put())
        await asyncio.sleep(1.0)  # meanwhile nothing is read beyond what the system takes
        try:
            return len(await reader.read())
        except ConnectionResetError:
            return 0
        finally:
            writer.close()

    assert visited(visit, Route("PUT", "/", give), window_s=0.2) < 20_000_000


def test_an_answer_of_less_than_a_buffer_that_is_not_taken_ends_the_connection(monkeypatch):
    """Most of it is neither with the system nor so much that whoever writes would have to wait."""
    size_bytes = 60_000  # asyncio lets 64 KiB pass without a word
    made = gates.Gate.connection_made

    def made_with_a_small_buffer(gate, transport):
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        made(gate, transport)

    async def give(request):
        return Reply(200, Message(bytes(size_bytes)))

    async def visit(connect):
        _, known = await connect()
        small = socket.socket()
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        small.setblocking(False)
        await asyncio.get_running_loop().sock_connect(small, known.get_extra_info("peername"))
        reader, writer = await asyncio.open_connection(sock=small, limit=100)
        writer.write(put())
        await asyncio.sleep(1.0)
        try:
            return len(await reader.read())
        except ConnectionResetError:
            return 0
        finally:
            writer.close()

    monkeypatch.setattr(gates.Gate, "connection_made", made_with_a_small_buffer)
    assert visited(visit, Route("PUT", "/", give), window_s=0.2, head_s=5.0) < size_bytes


def test_an_answer_that_is_taken_slowly_is_given():
    async def give(request):
        return Reply(200, Message(bytes(6_000_000)))

    async def visit(connect):
        reader, writer = await connect(limit=1000)
        writer.write(put())
        head = await reader.readuntil(b"\r\n\r\n")
        count = 0
        while count < 6_000_000:
            await asyncio.sleep(0.01)
            piece = await reader.read(400_000)
            assert piece
            count += len(piece)
        writer.close()
        return head.split(b"\r\n")[0]

    assert visited(visit, Route("PUT", "/", give), window_s=0.2) == b"HTTP/1.1 200 OK"
