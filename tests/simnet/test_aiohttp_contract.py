"""What simnet relies on in aiohttp. A new release that changes any of it fails here and not in a user's run."""

from __future__ import annotations

import asyncio
import inspect
import io

import aiohttp
import aiohttp.connector
import pytest
from aiohttp import web

from simnet import LinkSpec, SimulatedNetwork, Tcp, VirtualLoop, star
from simnet.sessions import aiohttp_in_virtual_time


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
