"""Hosts that are off and paths that are cut. One way takes 20 ms; the plain fluid model makes all times exact."""

from __future__ import annotations

import asyncio
import errno

import pytest

from simnet import LinkSpec
from simnet.errors import NoAnswerError, UnreachableError
from simnet.outages import CONNECT_ATTEMPTS_S, CONNECT_TIMEOUT_S, RETRANSMISSION_TIMEOUT_S
from tests.simnet.test_streams import connected, run

SLOW = LinkSpec(8e6, 0.010)  # a megabyte a second
CLIENT_AND_SERVER = [("client-0", "server"), ("server", "client-0")]


async def swallow(reader, writer):
    """Answer with the number of bytes, once the other end has finished."""
    size = 0
    while data := await reader.read(1 << 20):
        size += len(data)
    writer.write(str(size).encode())
    writer.close()


def later(network, when_s, action, *args):
    network.clock.call_at(when_s, lambda: action(*args))


def test_the_attempts_to_connect_are_those_of_linux():
    """Each wait is twice the one before it, and the last one ends the attempt."""
    waits_s = [b - a for a, b in zip(CONNECT_ATTEMPTS_S, (*CONNECT_ATTEMPTS_S[1:], CONNECT_TIMEOUT_S), strict=True)]
    assert waits_s == [1, 2, 4, 8, 16, 32, 64]


def test_the_time_after_which_a_connection_is_given_up_is_that_of_linux():
    """15 retries after 0.2, 0.4, ... s, each at most 120 s: the sum of 16 waits, the last one unanswered."""
    assert sum(min(0.2 * 2**retry, 120) for retry in range(16)) == pytest.approx(RETRANSMISSION_TIMEOUT_S)


def test_a_host_that_is_off_does_not_answer(make_network):
    async def client(network):
        network.streams.power_off("server")
        with pytest.raises(NoAnswerError, match="no answer from server for 127 s") as caught:
            await asyncio.open_connection("server", 7)
        assert caught.value.errno == errno.ETIMEDOUT
        assert isinstance(caught.value, (TimeoutError, UnreachableError))
        return network.now()

    network = make_network()
    assert run(network, client) == 127.0
    assert [(event.kind, event.at_s) for event in network.trace] == [("connect-timeout", 127.0)]


@pytest.mark.parametrize(("back_s", "connected_s"), [(0.5, 1.04), (5.0, 7.04), (100.0, None)])
def test_a_host_that_comes_back_answers_the_next_attempt(make_network, back_s, connected_s):
    async def client(network):
        network.streams.power_off("server")
        later(network, back_s, network.streams.power_on, "server")
        with pytest.raises((NoAnswerError, UnreachableError)) as caught:
            await asyncio.open_connection("server", 7)
        return network.now(), caught.value.errno

    # It has lost its listener, so what answers is the kernel.
    expected = (127.0, errno.ETIMEDOUT) if connected_s is None else (connected_s, errno.ECONNREFUSED)
    assert run(make_network(), client) == expected


def test_a_path_that_is_mended_answers_the_next_attempt(make_network):
    async def client(network):
        network.streams.outages.cut_off(CLIENT_AND_SERVER[1:])  # only the answers are lost
        later(network, 2.9, network.streams.outages.join_again, CLIENT_AND_SERVER)
        async with connected():
            return network.now()

    assert run(make_network(), client) == 3.04


@pytest.mark.parametrize("how", ["pair", "link", "link back"])
def test_a_transfer_waits_for_its_path(make_network, how):
    """5 MB at 1 MB/s, cut after 2 s for 30 s: the bytes arrive once, 30 s late."""

    async def client(network):
        outages = network.streams.outages
        if how == "pair":
            later(network, 2.0, outages.cut_off, CLIENT_AND_SERVER)
            later(network, 32.0, outages.join_again, CLIENT_AND_SERVER)
        else:
            link = 0 if how == "link" else 1
            later(network, 2.0, outages.set_capacity, link, 0.0)
            later(network, 32.0, outages.set_capacity, link, 8e6)
        async with connected() as (reader, writer):
            writer.write(bytes(5_000_000))
            writer.write_eof()
            return await reader.read(), network.now()

    network = make_network(access=SLOW)
    answer, answered_s = run(network, client, handler=swallow)
    assert answer == b"5000000"
    assert answered_s == pytest.approx(0.04 + 5.0 + 30.0 + 0.04, abs=5e-5)
    assert network.flows.carried_bytes[0] == pytest.approx(5_000_000, abs=1)


@pytest.mark.parametrize("mended", [True, False])
def test_what_is_never_acknowledged_breaks_the_connection(make_network, mended):
    async def client(network):
        async with connected() as (_, writer):
            writer.write(bytes(5_000_000))
            later(network, 2.0, network.streams.outages.cut_off, CLIENT_AND_SERVER)
            if mended:  # an instant is enough: the wait begins anew
                later(network, 900.0, network.streams.outages.join_again, CLIENT_AND_SERVER)
                later(network, 900.5, network.streams.outages.cut_off, CLIENT_AND_SERVER)
            with pytest.raises(NoAnswerError, match=r"no answer for 924\.6 s") as caught:
                await writer.drain()
            assert caught.value.errno == errno.ETIMEDOUT
            return network.now()

    assert run(make_network(access=SLOW), client, handler=swallow) == (900.5 if mended else 2.0) + 924.6


def test_the_wait_for_an_acknowledgement_begins_with_the_first_byte(make_network):
    async def client(network):
        async with connected() as (reader, writer):
            await asyncio.sleep(1)
            network.streams.outages.cut_off(CLIENT_AND_SERVER)
            await asyncio.sleep(1000)
            writer.write(b"are you there?")
            with pytest.raises(NoAnswerError):
                await reader.read()
            return network.now()

    assert run(make_network(), client) == pytest.approx(0.04 + 1001 + 924.6)


def test_what_has_left_before_the_cut_is_not_acknowledged_either(make_network):
    async def client(network):
        async with connected() as (reader, writer):
            writer.write(b"are you there?")
            await asyncio.sleep(0.03)  # it has arrived, its acknowledgement has not
            network.streams.outages.cut_off(CLIENT_AND_SERVER)
            with pytest.raises(NoAnswerError):
                await reader.read()
            return network.now()

    assert run(make_network(), client) == pytest.approx(0.07 + 924.6)


def test_who_has_nothing_to_send_never_notices(make_network):
    async def client(network):
        async with connected() as (reader, writer):
            writer.write(b"hello")
            assert await reader.read(5) == b"hello"
            await asyncio.sleep(1)
            network.streams.power_off("server")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(), 1e6)
            assert not writer.is_closing()

    run(make_network(), client)


def test_the_end_of_a_stream_waits_for_its_path(make_network):
    ended_s = []

    async def note(reader, writer):
        assert await reader.read() == b"x"
        ended_s.append(asyncio.get_running_loop().time())
        writer.close()

    async def client(network):
        _, writer = await asyncio.open_connection("server", 7)
        writer.write(b"x")
        await asyncio.sleep(0.01)
        network.streams.outages.cut_off(CLIENT_AND_SERVER)
        writer.close()
        await writer.wait_closed()  # the kernel does the rest
        assert network.now() == 0.05
        await asyncio.sleep(10)
        network.streams.outages.join_again(CLIENT_AND_SERVER)
        await asyncio.sleep(1)

    run(make_network(), client, handler=note)
    assert ended_s == [10.07]


def test_a_host_that_was_off_resets_what_it_has_forgotten(make_network):
    async def client(network):
        async with connected() as (reader, writer):
            writer.write(bytes(5_000_000))
            later(network, 2.0, network.streams.power_off, "server")
            later(network, 50.0, network.streams.power_on, "server")
            with pytest.raises(ConnectionResetError):
                await reader.read()
            return network.now()

    # The piece under way is sent again, to its end, and answered one way later.
    size_bytes = 256 * 1024
    rest_s = (size_bytes - 1_960_000 % size_bytes) / 1e6
    assert run(make_network(access=SLOW), client, handler=swallow) == pytest.approx(50 + rest_s + 0.04, abs=1e-4)


def test_what_arrived_at_a_host_that_was_off_is_asked_for_after_its_return(make_network):
    async def client(network):
        async with connected() as (reader, writer):
            writer.write(b"x")  # leaves at once
            later(network, 0.05, network.streams.power_off, "server")
            later(network, 50.0, network.streams.power_on, "server")
            with pytest.raises(ConnectionResetError):
                await reader.read()
            return network.now()

    assert run(make_network(), client, handler=swallow) == pytest.approx(50.04)


def test_the_programs_of_a_host_that_goes_off_see_their_connections_break(make_network):
    seen = []

    async def note(reader, writer):
        try:
            await reader.read()
        except ConnectionAbortedError as error:
            seen.append((asyncio.get_running_loop().time(), error.errno))

    async def client(network):
        async with connected():
            later(network, 2.0, network.streams.power_off, "server")
            await asyncio.sleep(3)

    run(make_network(), client, handler=note)
    assert seen == [(2.0, errno.ECONNABORTED)]
