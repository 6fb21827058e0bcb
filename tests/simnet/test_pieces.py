from __future__ import annotations

import asyncio
import tracemalloc

import pytest

from simnet import LinkSpec, Message, Reply, Route
from simnet.pieces import PIECE_BYTES, Inbox, Part, copied_bytes, cut, size_of
from simnet.transport import RECEIVE_WINDOW_BYTES

SLOW = LinkSpec(8e6, 0.010)  # a megabyte a second


def filled(*pieces, window_bytes=RECEIVE_WINDOW_BYTES):
    inbox = Inbox(window_bytes)
    for piece in pieces:
        inbox.put(piece)
    return inbox


def test_a_short_write_is_one_piece_and_a_long_one_is_cut_without_a_copy():
    short, long = bytes(PIECE_BYTES), bytes(2 * PIECE_BYTES + 1)
    assert next(cut(short)) is short
    parts = list(cut(long))
    assert [size_of(part) for part in parts] == [PIECE_BYTES, PIECE_BYTES, 1]
    assert all(isinstance(part, Part) and part.whole is long for part in parts)


def test_what_was_written_together_is_taken_together_as_it_was():
    data = bytes(3 * PIECE_BYTES)
    inbox = filled(b"before", *cut(data), b"after")
    assert inbox.take() == b"before"
    assert inbox.take() is data
    assert inbox.take() == b"after"
    assert (inbox.size_bytes, inbox.pieces) == (0, [])


def test_the_same_bytes_written_twice_are_not_mistaken_for_each_other():
    data = bytes(2 * PIECE_BYTES)
    inbox = filled(*cut(data), *cut(data))
    first = inbox.pieces.pop(0)  # handed over before the rest arrived
    assert (first.start, first.stop) == (0, PIECE_BYTES)
    second = inbox.take()
    assert (second.start, second.stop) == (PIECE_BYTES, 2 * PIECE_BYTES)
    assert inbox.take() is data


@pytest.mark.parametrize("end", [False, True])
def test_what_is_held_back_is_due_when_it_is_there_or_the_end_is(end):
    inbox = filled(b"123")
    inbox.held_back_bytes = 5
    assert not inbox.is_due()
    inbox.put(None if end else b"45")
    assert inbox.is_due()
    assert inbox.take() == b"123"
    assert inbox.held_back_bytes == 2


def test_a_full_window_is_due_in_any_case():
    inbox = filled(bytes(10), window_bytes=10)
    inbox.held_back_bytes = 11
    assert inbox.is_due()


def serve_one(network, held_back_bytes, seen):
    """A protocol at the server that asks for so many bytes at once, and what it got and when."""

    class Watcher(asyncio.Protocol):
        def connection_made(self, transport):
            transport.hold_back(held_back_bytes)

        def data_received(self, data):
            seen.append((round(network.now(), 3), data))

    async def serve():
        await asyncio.get_running_loop().create_server(Watcher, port=7)

    return network.host("server").start(serve())


@pytest.mark.parametrize("held_back_bytes", [0, 2_000_000, 3_000_000])
def test_a_program_that_needs_so_much_gets_it_at_once(make_network, held_back_bytes):
    network, seen, data = make_network(access=SLOW), [], bytes(2_000_000)

    async def main():
        await serve_one(network, held_back_bytes, seen)

        async def client():
            _, writer = await asyncio.open_connection("server", 7)
            writer.write(data)
            await asyncio.sleep(3)
            if held_back_bytes > len(data):
                assert seen == []
            writer.close()
            await asyncio.sleep(1)

        await network.host("client-0").start(client())

    network.run(main)
    if held_back_bytes == 0:
        assert len(seen) == 8
        assert seen[0][0] == pytest.approx(0.06 + 0.262, abs=0.001)
    else:
        assert seen[0][1] is data
        # At its last byte's arrival; or, where more was asked for, at the end of the stream.
        assert seen[0][0] == (2.06 if held_back_bytes == 2_000_000 else 3.06)


def test_more_than_a_window_can_be_asked_for(make_network):
    network, seen, data = make_network(), [], bytes(2 * RECEIVE_WINDOW_BYTES + 1)

    async def main():
        await serve_one(network, len(data), seen)

        async def client():
            _, writer = await asyncio.open_connection("server", 7)
            writer.write(data)
            await asyncio.sleep(10)
            writer.close()

        await network.host("client-0").start(client())

    network.run(main)
    assert b"".join(piece for _, piece in seen) == data
    assert len({moment_s for moment_s, _ in seen}) == 3  # window, window, rest


def test_the_carriage_copies_no_body_and_keeps_none(make_network):
    """aiohttp's parser copies each body once; 20 of 2 MB that arrive at the same moment never lie there together."""
    clients, body = 20, bytes(2_000_000)
    network = make_network(clients=clients)
    taken = []

    async def take(request):
        taken.append(len(request.message.body))
        return Reply(200)

    async def main():
        await network.host("server").serve([Route("PUT", "/", take)])
        names = [f"client-{index}" for index in range(clients)]
        message = Message(body, frozenset({"embeddings"}))
        await asyncio.gather(
            *(network.host(name).start(network.host(name).request("server", "PUT", "/", message)) for name in names)
        )

    before_bytes = copied_bytes()
    tracemalloc.start()
    network.run(main)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken == [len(body)] * clients
    assert copied_bytes() == before_bytes
    assert peak_bytes < 5 * len(body)


def test_what_is_received_as_it_arrives_is_copied_once(make_network):
    """As with a socket, out of the kernel."""
    network, seen, data = make_network(), [], bytes(range(256)) * 4096

    async def main():
        await serve_one(network, 0, seen)

        async def client():
            _, writer = await asyncio.open_connection("server", 7)
            writer.write(data)
            await asyncio.sleep(1)
            writer.close()

        await network.host("client-0").start(client())

    before_bytes = copied_bytes()
    network.run(main)
    assert b"".join(piece for _, piece in seen) == data
    assert copied_bytes() - before_bytes == len(data)
