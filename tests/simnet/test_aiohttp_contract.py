"""What simnet relies on in aiohttp. A new release that changes any of it fails here and not in a user's run."""

from __future__ import annotations

import asyncio
import inspect
import io

import aiohttp
import aiohttp.connector
import pytest
from aiohttp import web

from simnet import LinkSpec, Reply, Route, SimulatedNetwork, Tcp, VirtualLoop, star
from simnet.errors import UnreachableError
from simnet.pieces import PIECE_BYTES
from simnet.sessions import aiohttp_in_virtual_time
from simnet.transport import HIGH_WATER_BYTES


def serve_and_ask(network, handler, ask, *, limit=2**30, method="POST"):
    """Run an application with one route at the server, and `ask(session)` at a client."""

    async def main():
        app = web.Application(client_max_size=limit)
        app.router.add_route(method, "/", handler)
        server = network.host("server")
        await server.start(server.site(app))

        async def client():
            async with network.host("client-0").session() as session:
                return await ask(session)

        return await network.host("client-0").start(client())

    return network.run(main)


async def size_of_body(request):
    return web.Response(text=str(len(await request.read())))


def test_golden_one_post_of_nine_megabytes():
    """Plain fluid model, 10 Mbit/s, 50 ms one way.

    9,000,000 B take 7.2 s; the handshake 0.1 s; the request's and the response's last byte travel 0.05 s each: 7.400 s.
    Beside that the headers: 183 B of the request and 159 B of the response at 1.25 MB/s, 0.27 ms (their exact
    lengths depend on aiohttp's version), and at most a microsecond of rounding for each of the 138 pieces in
    which aiohttp hands the body over.
    """
    network = SimulatedNetwork(
        star(["client-0"], access=LinkSpec(10e6, 0.05), server=LinkSpec(10e9, 0.0)), tcp=Tcp.plain()
    )

    async def ask(session):
        async with session.post("http://server/", data=io.BytesIO(b"x" * 9_000_000)) as response:
            return await response.text(), network.now()

    text, finished_s = serve_and_ask(network, size_of_body, ask)
    assert text == "9000000"
    assert finished_s == pytest.approx(7.400, abs=0.001)
    header_bytes = network.flows.carried_bytes[0] - 9_000_000 + network.flows.carried_bytes[1]
    assert finished_s == pytest.approx(7.4 + header_bytes * 8 / 10e6, abs=1.4e-4)


def test_the_way_aiohttp_connects(make_network, monkeypatch):
    """getaddrinfo of the loop, an unconnected socket, sock_connect, then create_connection(sock=...)."""
    calls = []
    for name in ("getaddrinfo", "sock_connect", "create_connection", "create_server"):
        original = getattr(VirtualLoop, name)

        def spy(self, *args, _name=name, _original=original, **kwargs):
            calls.append((_name, "sock" if kwargs.get("sock") is not None else ""))
            return _original(self, *args, **kwargs)

        monkeypatch.setattr(VirtualLoop, name, spy)

    async def ask(session):
        async with session.post("http://server/") as response:
            return response.status

    assert serve_and_ask(make_network(), size_of_body, ask) == 200
    assert calls == [
        ("create_server", ""),
        ("getaddrinfo", ""),
        ("sock_connect", ""),
        ("create_connection", "sock"),
    ]


def test_a_session_made_by_hand_works_the_same(make_network):
    network = make_network()

    async def ask(_session):
        async with aiohttp.ClientSession() as session, session.post("http://server/", data=b"abc") as response:
            return await response.text()

    assert serve_and_ask(network, size_of_body, ask) == "3"


def test_the_pool_reads_a_clock_that_can_be_replaced():
    """The connector looks `monotonic` up in its module at every use."""
    assert "monotonic()" in inspect.getsource(aiohttp.connector.BaseConnector._get)
    wall = aiohttp.connector.monotonic
    with aiohttp_in_virtual_time():
        assert aiohttp.connector.monotonic is not wall
        assert aiohttp.connector.monotonic() > 0  # outside any loop: the wall's
        assert aiohttp.connector.DefaultResolver is aiohttp.ThreadedResolver
    assert aiohttp.connector.monotonic is wall


@pytest.mark.parametrize(("idle_s", "connections"), [(1.0, 1), (20.0, 2), (3600.0, 2)])
def test_kept_connections_expire_in_virtual_time(make_network, idle_s, connections):
    """aiohttp keeps an idle connection for 15 s."""
    network = make_network()

    async def ask(session):
        for pause_s in (idle_s, 0):
            async with session.post("http://server/", data=b"x") as response:
                await response.read()
            await asyncio.sleep(pause_s)

    serve_and_ask(network, size_of_body, ask)
    assert len(network.trace.of_kind("connect")) == connections


def test_an_idle_pool_does_not_keep_the_clock_running(make_network):
    network = make_network()

    async def ask(session):
        async with session.post("http://server/", data=b"x") as response:
            await response.read()
        await asyncio.sleep(1000)
        return network.clock.idle()

    # Between the requests nothing is left to happen but this very sleep.
    assert serve_and_ask(network, size_of_body, ask)


def test_timeouts_above_the_threshold_are_rounded_up(make_network):
    """`ceil_threshold`: 5.5 s become 6 whole seconds of loop time; below the threshold they are exact."""

    async def never(request):
        await asyncio.sleep(1e6)

    async def ask(session):
        moments = []
        for total_s in (4.5, 5.5):
            began_s = asyncio.get_running_loop().time()
            with pytest.raises(TimeoutError):
                async with session.post("http://server/", timeout=aiohttp.ClientTimeout(total=total_s)):
                    pass
            moments.append((began_s, asyncio.get_running_loop().time()))
        return moments

    (began, ended), (began_again, ended_again) = serve_and_ask(make_network(), never, ask)
    assert (began, ended) == (0.0, 4.5)
    assert began_again == 4.5
    assert ended_again == 10.0  # ceil(4.5 + 5.5)


def test_our_sessions_have_no_total_timeout(make_network):
    """aiohttp's default is 300 s, which an upload over a slow link can exceed."""
    assert aiohttp.client.DEFAULT_TIMEOUT.total == 300

    async def slow(request):
        await asyncio.sleep(1000)
        return web.Response(text="at last")

    async def ask(session):
        async with session.post("http://server/") as response:
            return await response.text()

    assert serve_and_ask(make_network(), slow, ask) == "at last"


def test_the_servers_size_limit_is_set_on_purpose(make_network):
    """The default `client_max_size` is 1 MiB; a larger body gets 413."""
    assert web.Application()._client_max_size == 1024**2

    async def ask(session):
        async with session.post("http://server/", data=io.BytesIO(b"x" * 2_000_000)) as response:
            return response.status

    assert serve_and_ask(make_network(), size_of_body, ask, limit=1024**2) == 413


def test_keep_alive_of_the_server_reads_the_loops_clock(make_network):
    """A connection that asks nothing more is closed by the server after its keep-alive time (75 s here)."""
    network = make_network()

    async def main():
        app = web.Application()
        server = network.host("server")
        await server.start(server.site(app))

        async def linger():
            reader, writer = await asyncio.open_connection("server", 80)
            writer.write(b"GET / HTTP/1.1\r\nHost: server\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 404")
            writer.close()
            return network.now()

        return await network.host("client-0").start(linger())

    assert 75.0 <= network.run(main) < 80.0


def test_chunked_uploads_and_streamed_answers(make_network):
    async def shout(request):
        response = web.StreamResponse()
        await response.prepare(request)
        async for chunk in request.content.iter_chunked(1 << 16):
            await response.write(chunk.upper())
        return response

    async def pieces():
        for _ in range(20):
            yield b"a" * 10_000
            await asyncio.sleep(0.1)

    async def ask(session):
        async with session.post("http://server/", data=pieces()) as response:
            return await response.read()

    assert serve_and_ask(make_network(), shout, ask) == b"A" * 200_000


def test_websockets_echo(make_network):
    async def echo(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data + "!")
        return socket

    async def ask(session):
        async with session.ws_connect("http://server/") as socket:
            await socket.send_str("hello")
            return (await socket.receive()).data

    assert serve_and_ask(make_network(), echo, ask, method="GET") == "hello!"


def test_a_dead_server_is_refused_and_a_cancelled_request_lets_go(make_network):
    network = make_network()

    async def never(request):
        await asyncio.sleep(1e6)

    async def ask(session):
        with pytest.raises(aiohttp.ClientConnectorError, match="nobody listens"):
            await session.get("http://server:81/")
        task = asyncio.create_task(session.post("http://server/")._coro)
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return network.now()

    assert serve_and_ask(network, never, ask) == pytest.approx(1.04)


# -- what befalls a request; `make_network` has 20 ms one way, no headers and no slow start ----------


BOTH_WAYS = [("client-0", "server"), ("server", "client-0")]
SLOW = LinkSpec(8e6, 0.010)  # a megabyte a second


def test_connecting_to_a_dead_host_ends_with_the_time_limit(make_network):
    """aiohttp's own limit to the microsecond; without one, Linux gives up after 127 s."""
    network = make_network()

    async def ask(session):
        network.streams.power_off("server")
        with pytest.raises(aiohttp.ConnectionTimeoutError):
            await session.get("http://server/", timeout=aiohttp.ClientTimeout(sock_connect=4.5))
        gave_up_s = network.now()
        with pytest.raises(aiohttp.ClientConnectorError, match="no answer from server for 127 s") as caught:
            await session.get("http://server/", timeout=aiohttp.ClientTimeout(sock_connect=None))
        assert isinstance(caught.value.os_error, TimeoutError)
        return gave_up_s, network.now()

    assert serve_and_ask(network, size_of_body, ask) == (4.5, 131.5)


@pytest.mark.parametrize("back_s", [30.0, None])
def test_a_host_that_answers_in_time_is_connected_to(make_network, back_s):
    """Our sessions wait 60 s: attempts at 0, 1, 3, 7, 15, 31 s."""
    network = make_network()

    async def main():
        network.streams.power_off("server")

        async def serve():
            await asyncio.sleep(30)
            if back_s is not None:
                network.streams.power_on("server")
                await network.host("server").serve([Route("GET", "/", hello)])

        async def hello(_request):
            return Reply(200)

        serving = network.host("server").start(serve())
        client = network.host("client-0")
        if back_s is None:
            with pytest.raises(UnreachableError, match="client-0 cannot reach server: no answer for 60 s"):
                await client.start(client.request("server", "GET", "/"))
        else:
            assert (await client.start(client.request("server", "GET", "/"))).status == 200
        await serving
        return network.now()

    assert network.run(main) == pytest.approx(31.08 if back_s else 60.0, abs=1e-4)


def test_a_held_link_ends_with_the_read_time_limit(make_network):
    """The answer's first half has come when the link goes down; 4 s later aiohttp gives up. The bytes stop there."""
    network = make_network(access=SLOW)

    async def large(_request):
        return web.Response(body=bytes(4_000_000))

    async def ask(session):
        uplink, downlink = 0, 1
        for link in (uplink, downlink):
            network.clock.call_at(2.0, lambda link=link: network.streams.outages.set_capacity(link, 0.0))
        with pytest.raises(aiohttp.SocketTimeoutError):
            async with session.get("http://server/", timeout=aiohttp.ClientTimeout(sock_read=4.0)) as response:
                await response.read()
        return network.now()

    gave_up_s = serve_and_ask(network, large, ask, method="GET")
    # The time limit begins anew with every piece that arrives. The first left at 0.06 s, the seventh before 2 s.
    assert gave_up_s == pytest.approx(0.06 + 7 * PIECE_BYTES / 1e6 + 0.02 + 4.0, abs=0.001)
    assert network.flows.carried_bytes[1] < 2_000_000


def test_a_link_that_is_held_for_less_than_the_limit_only_delays(make_network):
    network = make_network(access=SLOW)

    async def large(_request):
        return web.Response(body=bytes(4_000_000))

    async def ask(session):
        network.clock.call_at(2.0, lambda: network.streams.outages.cut_off(BOTH_WAYS))
        network.clock.call_at(5.5, lambda: network.streams.outages.join_again(BOTH_WAYS))
        async with session.get("http://server/", timeout=aiohttp.ClientTimeout(sock_read=4.0)) as response:
            return len(await response.read()), network.now()

    size_bytes, finished_s = serve_and_ask(network, large, ask, method="GET")
    assert size_bytes == 4_000_000
    # Handshake 0.04, the request one way 0.02, the answer 4 s and one way 0.02, and 3.5 s of nothing.
    assert finished_s == pytest.approx(0.04 + 0.02 + 4.0 + 0.02 + 3.5, abs=0.001)


def test_a_kept_connection_saves_the_handshake_and_expires(make_network):
    """The second request follows at once, the third after an hour: both ends have let go of the connection by then."""
    network = make_network()

    async def ask(session):
        took_s = []
        for pause_s in (0.0, 0.0, 3600.0):
            await asyncio.sleep(pause_s)
            began_s = network.now()
            async with session.post("http://server/", data=b"x") as response:
                assert await response.text() == "1"
            took_s.append(network.now() - began_s)
        return took_s

    first_s, second_s, third_s = serve_and_ask(network, size_of_body, ask)
    assert first_s == pytest.approx(0.08, abs=1e-4)  # handshake and round trip
    assert second_s == pytest.approx(0.04, abs=1e-4)
    assert third_s == pytest.approx(first_s, abs=1e-5)
    assert len(network.trace.of_kind("connect")) == 2


def test_a_large_body_is_refused_before_it_has_arrived(make_network):
    """413 as soon as the limit is passed: a sender of 5 MB at 1 MB/s learns it after 1 MiB, not after 5 s."""
    network = make_network(access=SLOW)

    async def ask(session):
        async with session.post("http://server/", data=io.BytesIO(bytes(5_000_000))) as response:
            return response.status, network.now()

    status, told_s = serve_and_ask(network, size_of_body, ask, limit=1024**2)
    assert status == 413
    # 0.04 to connect, 1 MiB and the rest of the piece that passed the limit, one way there and one back.
    assert 0.08 + 1024**2 / 1e6 < told_s <= 0.08 + (1024**2 + PIECE_BYTES) / 1e6 + 1e-3


def test_a_cancelled_request_frees_the_link_and_tells_the_server(make_network):
    network, ended = make_network(access=SLOW), []

    async def read_all(request):
        try:
            await request.read()
        except (asyncio.CancelledError, ConnectionError):
            ended.append(network.now())
            raise

    async def ask(session):
        task = asyncio.create_task(session.post("http://server/", data=io.BytesIO(bytes(5_000_000)))._coro)
        await asyncio.sleep(2.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        cancelled_s = network.now()
        await asyncio.sleep(10)
        return cancelled_s

    assert serve_and_ask(network, read_all, ask) == 2.0
    (ended_s,) = ended  # what aiohttp had written already was still sent
    assert 2.02 <= ended_s <= 2.02 + (PIECE_BYTES + HIGH_WATER_BYTES) / 1e6
    assert network.flows.carried_bytes[0] < 2_300_000


def test_a_server_that_shuts_down_lets_requests_in_flight_end(make_network):
    """For as long as its `shutdown_timeout`; who takes longer is cut off, and nobody new is let in."""
    network = make_network()

    async def main():
        async def wait(request):
            await asyncio.sleep(float(request.match_info["s"]))
            return web.Response(text="done")

        app = web.Application()
        app.router.add_get("/{s}", wait)
        runner = web.AppRunner(app, shutdown_timeout=5.0)

        async def serve():
            await runner.setup()
            await web.TCPSite(runner, port=80).start()
            await asyncio.sleep(1.0)
            await runner.cleanup()
            return network.now()

        async def ask(session, wait_s):
            async with session.get(f"http://server/{wait_s}") as response:
                return await response.text(), network.now()

        async def clients():
            async with network.host("client-0").session() as session:
                quick, slow = asyncio.create_task(ask(session, 3)), asyncio.create_task(ask(session, 1000))
                await asyncio.sleep(2.0)
                with pytest.raises(aiohttp.ClientConnectorError, match="nobody listens"):
                    await ask(session, 0)
                answer = await quick
                with pytest.raises(aiohttp.ClientError):
                    await slow
                return answer, network.now()

        serving = network.host("server").start(serve())
        answered = await network.host("client-0").start(clients())
        return await serving, answered

    stopped_s, ((answer, answered_s), cut_off_s) = network.run(main)
    assert (answer, answered_s) == ("done", pytest.approx(3.08, abs=1e-4))
    assert stopped_s == 11.0  # aiohttp grants the time twice: to all requests, then to each connection
    # The client hears of it one way later, tries its GET once more and is refused.
    assert cut_off_s == pytest.approx(stopped_s + 0.02 + 0.04, abs=1e-4)


def test_a_slow_link_pauses_the_writer_of_a_chunked_upload(make_network):
    """The program is asked for more only as fast as the link takes it: 1 MB/s, and at most the buffers ahead."""
    network, asked_at_s = make_network(access=SLOW), []

    async def pieces():
        for _ in range(50):
            asked_at_s.append(network.now())
            yield bytes(100_000)

    async def ask(session):
        async with session.post("http://server/", data=pieces()) as response:
            return await response.text()

    assert serve_and_ask(network, size_of_body, ask) == "5000000"
    buffered_s = 0.2 + HIGH_WATER_BYTES / 1e6  # two chunks and the transport's own mark
    for index, at_s in enumerate(asked_at_s):
        assert index * 0.1 + 0.04 - buffered_s <= at_s <= index * 0.1 + 0.05
    assert asked_at_s[-1] > 4.5


def test_a_websocket_takes_a_round_trip_and_carries_large_messages(make_network):
    network = make_network(access=SLOW)

    async def echo(request):
        socket = web.WebSocketResponse(max_msg_size=2**24)
        await socket.prepare(request)
        async for message in socket:
            await socket.send_bytes(message.data)
        return socket

    async def ask(session):
        async with session.ws_connect("http://server/", max_msg_size=2**24) as socket:
            opened_s = network.now()
            await socket.send_bytes(b"hello")
            assert (await socket.receive()).data == b"hello"
            answered_s = network.now()
            await socket.send_bytes(bytes(2_000_000))
            echoed = (await socket.receive()).data
            return opened_s, answered_s, network.now(), echoed

    opened_s, answered_s, echoed_s, echoed = serve_and_ask(network, echo, ask, method="GET")
    assert opened_s == pytest.approx(0.08, abs=0.002)
    assert answered_s - opened_s == pytest.approx(0.04, abs=1e-4)
    assert echoed_s - answered_s == pytest.approx(2 * (0.02 + 2.0), abs=0.001)
    assert echoed == bytes(2_000_000)
