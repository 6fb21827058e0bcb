"""Messages between hosts, in both worlds."""

from __future__ import annotations

import asyncio
import random
import zlib

import pytest

from simnet import Message, Reply, Route, problem
from simnet.errors import BoundaryError, InspectionError, SimnetError, UnreachableError

both_worlds = pytest.mark.parametrize("world", ["simulated", "real", "sized"])
SYNTHETIC = frozenset({"synthetic"})


class Reading:
    """Bodies begin with their kinds: b"synthetic:..."."""

    def inspect(self, host, message, point):
        kinds, separator, _ = bytes(message.body).partition(b":")
        if not separator:
            raise InspectionError("unreadable")
        return frozenset(kinds.decode().split(","))


def exchange(network, routes, ask, *, limit=1 << 20):
    """Serve `routes` at the server and run `ask(host)` at client-0."""

    async def main():
        server = network.host("server")
        await server.start(server.serve(routes, body_limit_bytes=limit))
        host = network.host("client-0")
        return await host.start(ask(host))

    return network.run(main)


async def greet(request):
    text = f"hello {request.source}, {request.parameters['name']}"
    return Reply(200, Message(text.encode(), content_type="text/plain"))


async def count(request):
    return Reply(200, Message(str(len(request.message.body)).encode()))


@both_worlds
def test_request_and_reply(make_network, world):
    async def ask(host):
        return await host.request("server", "GET", "/greet/you")

    reply = exchange(make_network(world=world), [Route("GET", "/greet/{name}", greet)], ask)
    assert (reply.status, reply.message.body) == (200, b"hello client-0, you")
    assert reply.message.content_type == "text/plain"


@both_worlds
def test_headers_and_statuses_pass(make_network, world):
    async def wait(request):
        assert request.headers["Prefer"] == "wait=3"
        return Reply(204, headers={"Retry-After": "7"})

    async def ask(host):
        return await host.request("server", "GET", "/", headers={"Prefer": "wait=3"})

    reply = exchange(make_network(world=world), [Route("GET", "/", wait)], ask)
    assert (reply.status, reply.headers["Retry-After"], reply.message.body) == (204, "7", b"")


@both_worlds
def test_unknown_paths_and_refusals(make_network, world):
    async def refuse(request):
        return problem(422, "no-good", "it is no good")

    async def ask(host):
        return (await host.request("server", "GET", "/nowhere"), await host.request("server", "PUT", "/"))

    missing, refused = exchange(make_network(world=world), [Route("PUT", "/", refuse)], ask)
    assert (missing.status, missing.reason, missing.code) == (404, "there is no such service here", "not-found")
    assert (refused.status, refused.reason, refused.code) == (422, "it is no good", "no-good")


@both_worlds
def test_a_body_above_the_limit_gets_413(make_network, world):
    async def ask(host):
        whole = await host.request("server", "PUT", "/", Message(b"x" * 1000))
        return whole, await host.request("server", "PUT", "/", Message(b"x" * 2_000_000))

    network = make_network(world=world)
    whole, large = exchange(network, [Route("PUT", "/", count)], ask, limit=1_000_000)
    assert whole.message.body == b"1000"
    assert (large.status, large.code) == (413, "too-large")


@both_worlds
def test_nobody_there(make_network, world):
    async def main():
        network.listening_at("server", 1)  # a port on which nothing listens
        host = network.host("client-0")
        with pytest.raises(UnreachableError, match="client-0 cannot reach server"):
            await host.start(host.request("server", "GET", "/"))

    network = make_network(world=world)
    network.run(main)


@both_worlds
def test_refused_where_it_leaves(make_network, two_tenants, world):
    served = []

    async def note(request):
        served.append(request)
        return Reply(200)

    async def ask(host):
        with pytest.raises(BoundaryError, match="raw may not cross from sites to cloud"):
            await host.request("server", "PUT", "/", Message(b"raw:pixels", frozenset({"raw"})))
        with pytest.raises(InspectionError, match="claims to carry synthetic but carries raw"):
            await host.request("server", "PUT", "/", Message(b"raw:pixels", SYNTHETIC))
        return await host.request("server", "PUT", "/", Message(b"synthetic:x", SYNTHETIC))

    network = make_network(world=world, inspector=Reading(), **two_tenants())
    assert exchange(network, [Route("PUT", "/", note)], ask).status == 200
    assert [request.message.body for request in served] == [b"synthetic:x"]
    ledger = [(entry.point, entry.kind, entry.verdict) for entry in network.boundaries.ledger]
    assert ledger == [
        ("leaving", "raw", "refused"),
        ("leaving", "synthetic", "refused"),
        ("leaving", "synthetic", "crossed"),
        ("arriving", "synthetic", "crossed"),
        ("leaving", "control", "crossed"),
        ("arriving", "control", "crossed"),
    ]


@both_worlds
def test_refused_where_it_arrives(make_network, two_tenants, world, monkeypatch):
    """A sender that does not check itself is stopped at the other end."""

    async def ask(host):
        monkeypatch.setattr(host._carriage, "_check", lambda crossing, leaving: None)
        raw = await host.request("server", "PUT", "/", Message(b"raw:pixels", frozenset({"raw"})))
        lie = await host.request("server", "PUT", "/", Message(b"raw:pixels", SYNTHETIC))
        return raw, lie, await host.request("server", "PUT", "/", Message(b"gibberish", SYNTHETIC))

    network = make_network(world=world, inspector=Reading(), **two_tenants())
    raw, lie, gibberish = exchange(network, [Route("PUT", "/", count)], ask)
    assert (raw.status, raw.code) == (403, "boundary")
    assert (lie.status, lie.code) == (400, "unreadable")
    assert "claims to carry synthetic but carries raw" in lie.reason
    assert (gibberish.status, gibberish.reason) == (400, "unreadable")
    asked = [entry for entry in network.boundaries.ledger if entry.target == "server"]
    assert {(entry.point, entry.verdict) for entry in asked} == {("arriving", "refused")}
    told = [entry for entry in network.boundaries.ledger if entry.target == "client-0"]
    assert {(entry.kind, entry.rule) for entry in told} == {("control", "refusals may be told")}


@both_worlds
def test_answers_are_checked_too(make_network, two_tenants, world):
    async def leak(request):
        return Reply(200, Message(b"synthetic:secret", SYNTHETIC))

    async def disguise(request):
        return Reply(200, Message(b"synthetic:secret", content_type="application/problem+json"))

    async def ask(host):
        return await host.request("server", "GET", "/leak"), await host.request("server", "GET", "/disguise")

    network = make_network(world=world, inspector=Reading(), **two_tenants())
    routes = [Route("GET", "/leak", leak), Route("GET", "/disguise", disguise)]
    leaked, disguised = exchange(network, routes, ask)
    for reply in (leaked, disguised):
        assert (reply.status, reply.code) == (403, "boundary")
        assert b"secret" not in reply.message.body


@both_worlds
def test_callers_must_say_who_they_are(make_network, world):
    """On sockets by a header; in virtual time the network knows."""

    async def ask(host):
        async with host.session() as session, session.get(host.url_of("server") + "/greet/you") as response:
            return response.status, await response.text()

    status, text = exchange(make_network(world=world), [Route("GET", "/greet/{name}", greet)], ask)
    if world == "real":
        assert status == 403
        assert "Boundary-From" in text
    else:
        assert (status, text) == (200, "hello client-0, you")


def test_in_virtual_time_nobody_can_pretend_to_be_another(make_network):
    async def ask(host):
        url = host.url_of("server") + "/greet/x"
        async with host.session() as session, session.get(url, headers={"Boundary-From": "client-1"}) as response:
            return await response.read()

    assert exchange(make_network(), [Route("GET", "/greet/{name}", greet)], ask) == b"hello client-0, x"


@both_worlds
@pytest.mark.parametrize("headers", [{"Content-Length": "7"}, {"X-Note": "one\r\ntwo"}])
def test_services_do_not_frame_their_answers(make_network, world, headers):
    """What an agent may not set in a request, a service may not set in an answer: it has failed then."""

    async def smuggle(request):
        return Reply(200, headers=headers)

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context["exception"]))
        server, client = network.host("server"), network.host("client-0")
        await server.start(server.serve([Route("GET", "/", smuggle)]))
        with pytest.raises(SimnetError, match="header"):
            await client.start(client.request("server", "GET", "/", headers=headers))
        return await client.start(client.request("server", "GET", "/"))

    network, failures = make_network(world=world), []
    reply = network.run(main)
    assert (reply.status, reply.code) == (500, "internal")
    assert [type(failure) for failure in failures] == [SimnetError]


@both_worlds
def test_cookies_do_not_come_back(make_network, world):
    """A jar would carry what nobody inspects."""

    async def bake(request):
        return Reply(200, Message(request.headers.get("Cookie", "none").encode()), {"Set-Cookie": "a=b"})

    async def ask(host):
        return [(await host.request("server", "GET", "/")).message.body for _ in range(2)]

    assert exchange(make_network(world=world), [Route("GET", "/", bake)], ask) == [b"none", b"none"]


@both_worlds
def test_routes_open_to_all_take_no_bodies(make_network, world):
    async def ask(host):
        async with host.session() as session:
            url = host.url_of("server") + "/"
            async with session.get(url) as empty, session.get(url, data=b"x") as full:
                return empty.status, full.status

    network = make_network(world=world)
    host_known = world != "real"
    statuses = exchange(network, [Route("GET", "/", count, open_to_all=True)], ask)
    assert statuses == ((200, 200) if host_known else (200, 403))


@both_worlds
def test_both_worlds_write_the_same_story(make_network, world):
    async def ask(host):
        await host.request("server", "PUT", "/", Message(b"abc"))

    network = make_network(world=world)
    exchange(network, [Route("PUT", "/", count)], ask)
    story = [(event.host, event.kind, event.values["bytes"]) for event in network.trace if "bytes" in event.values]
    assert story == [
        ("client-0", "request", 3),
        ("server", "arrival", 3),
        ("server", "answer", 1),
        ("client-0", "reply", 1),
    ]


def test_a_request_takes_the_time_of_its_bytes(make_network):
    """1 MB at 1 Gbit/s: 8 ms, a handshake of 40 ms, 20 ms each way, and the headers' microseconds."""

    async def ask(host):
        await host.request("server", "PUT", "/", Message(b"x" * 1_000_000))
        return host.now()

    assert exchange(make_network(), [Route("PUT", "/", count)], ask, limit=1 << 24) == pytest.approx(0.088, abs=1e-5)


def test_many_clients_at_once(make_network):
    network = make_network(clients=150)

    async def main():
        server = network.host("server")
        await server.start(server.serve([Route("PUT", "/", count)]))

        async def ask(host):
            return (await host.request("server", "PUT", "/", Message(b"x" * 1000))).message.body

        hosts = [network.host(f"client-{index}") for index in range(150)]
        return await asyncio.gather(*(host.start(ask(host)) for host in hosts))

    assert network.run(main) == [b"1000"] * 150


def test_a_foreign_program_may_compress_its_body(make_network):
    """What has come of a compressed body is counted after unpacking, so nobody waits for the rest by its length."""
    network, packed, taken = make_network(), zlib.compress(random.Random(1).randbytes(300_000)), []

    async def take(request):
        taken.append(len(request.message.body))
        return Reply(200)

    async def main():
        await network.host("server").serve([Route("PUT", "/", take)])

        async def ask():
            reader, writer = await asyncio.open_connection("server", 8080)
            head = (
                f"PUT / HTTP/1.1\r\nHost: server\r\nContent-Encoding: deflate\r\nContent-Length: {len(packed)}\r\n\r\n"
            )
            writer.write(head.encode() + packed[:100])
            await asyncio.sleep(1)
            writer.write(packed[100:])
            line = await asyncio.wait_for(reader.readline(), 10)
            writer.close()
            return line

        return await network.host("client-0").start(ask())

    assert network.run(main) == b"HTTP/1.1 200 OK\r\n"
    assert taken == [300_000]


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", id="not-gzip"),
        pytest.param(b"Content-Encoding: deflate\r\nContent-Length: 3\r\n\r\nabc", id="not-deflate"),
        pytest.param(b"Content-Encoding: br\r\nContent-Length: 3\r\n\r\nabc", id="not-brotli"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n", id="no-size-of-a-chunk"),
    ],
)
def test_a_body_that_is_not_as_its_headers_say_is_no_failure_of_the_service(make_network, rest):
    network = make_network()

    async def main():
        await network.host("server").serve([Route("PUT", "/", count)])

        async def ask():
            reader, writer = await asyncio.open_connection("server", 8080)
            writer.write(b"PUT / HTTP/1.1\r\nHost: server\r\n" + rest)
            line = await asyncio.wait_for(reader.readline(), 10)
            writer.close()
            return line

        return await network.host("client-0").start(ask())

    assert network.run(main).split(b" ")[1] == b"400"


@pytest.mark.parametrize(
    ("expectation", "first"),
    [(b"100-continue", b"HTTP/1.1 100 Continue"), (b"miracles", b"HTTP/1.1 417 "), (b"\xa5", b"HTTP/1.1 417 ")],
)
def test_whoever_expects_to_be_told_to_go_on_is_told_so(make_network, expectation, first):
    """curl does with large bodies; what is no UTF-8 must not fail."""
    network = make_network()

    async def main():
        await network.host("server").serve([Route("PUT", "/", count)])

        async def ask():
            reader, writer = await asyncio.open_connection("server", 8080)
            writer.write(b"PUT / HTTP/1.1\r\nHost: server\r\nContent-Length: 3\r\nExpect: " + expectation + b"\r\n\r\n")
            line = await asyncio.wait_for(reader.readline(), 10)
            writer.close()
            return line

        return await network.host("client-0").start(ask())

    assert network.run(main).startswith(first)
