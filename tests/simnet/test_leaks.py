"""Ways around a boundary that were found, each closed in both worlds."""

from __future__ import annotations

import pytest
from aiohttp import ClientConnectorError, web

from simnet import Message, Reply, Route, Rule, SimnetError
from simnet.carriage import HEAD_LIMIT_BYTES
from simnet.errors import BoundaryError
from tests.simnet.test_carriage import SYNTHETIC, Reading, both_worlds, count, exchange

RAW = frozenset({"raw"})


@both_worlds
@pytest.mark.parametrize("path", ["@server:8080/x", "", "x", "?x"])
def test_a_path_cannot_name_another_host(make_network, two_tenants, world, path):
    async def ask(host):
        await host.request("client-1", "PUT", path, Message(b"raw:pixels", RAW))

    with pytest.raises(SimnetError, match="must begin with"):
        exchange(make_network(world=world, inspector=Reading(), **two_tenants()), [Route("PUT", "/", count)], ask)


@both_worlds
def test_a_redirect_is_not_followed(make_network, two_tenants, world):
    async def redirect(request):
        return Reply(307, headers={"Location": "/elsewhere"})

    async def elsewhere(request):
        pytest.fail("the message went on to where nobody checked it")

    async def ask(host):
        return await host.request("server", "PUT", "/", Message(b"synthetic:x", SYNTHETIC))

    network = make_network(world=world, inspector=Reading(), **two_tenants())
    routes = [Route("PUT", "/", redirect), Route("PUT", "/elsewhere", elsewhere)]
    assert exchange(network, routes, ask).status == 307


@both_worlds
def test_paths_and_headers_are_bounded(make_network, two_tenants, world):
    async def chatty(request):
        return Reply(200, headers={"X-Back": "b" * (HEAD_LIMIT_BYTES + 1)})

    async def ask(host):
        for path, headers in (("/?" + "p" * HEAD_LIMIT_BYTES, {}), ("/", {"X-Raw": "r" * HEAD_LIMIT_BYTES})):
            with pytest.raises(BoundaryError, match="path and headers have"):
                await host.request("server", "GET", path, headers=headers)
        return await host.request("server", "GET", "/")

    reply = exchange(make_network(world=world, inspector=Reading(), **two_tenants()), [Route("GET", "/", chatty)], ask)
    assert (reply.status, reply.code) == (403, "boundary")
    assert "X-Back" not in reply.headers


@both_worlds
@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "BOUNDARY-FROM", "Host"])
def test_agents_do_not_set_what_frames_a_message(make_network, world, name):
    async def ask(host):
        await host.request("server", "PUT", "/", Message(b"12345"), headers={name: "3"})

    with pytest.raises(SimnetError, match=f"the header {name.lower()} is set by the carriage"):
        exchange(make_network(world=world), [Route("PUT", "/", count)], ask)


@both_worlds
def test_a_refusal_carries_a_short_reason_and_nothing_else(make_network, two_tenants, world):
    async def leak(request):
        body = b'{"type": "urn:problem:x", "detail": "' + b"s" * 100_000 + b'", "more": "secret"}'
        return Reply(400, Message(body, content_type="application/problem+json"), {"X-Raw": "secret"})

    async def ask(host):
        return await host.request("server", "GET", "/")

    network = make_network(world=world, inspector=Reading(), **two_tenants())
    reply = exchange(network, [Route("GET", "/", leak)], ask)
    assert (reply.status, reply.code) == (400, "x")
    assert len(reply.message.body) < 1200
    assert b"secret" not in reply.message.body
    assert "X-Raw" not in reply.headers
    assert [entry.point for entry in network.boundaries.ledger if entry.source == "server"] == ["leaving", "arriving"]


@both_worlds
def test_a_failing_service_says_no_more_than_that(make_network, two_tenants, world):
    async def broken(request):
        if request.path == "/raise":
            raise web.HTTPOk(text="raw:pixels")
        return 1 / 0

    async def ask(host):
        replies = [await host.request("server", "GET", path) for path in ("/raise", "/divide", "/nowhere")]
        return [(reply.status, reply.code, b"raw" in reply.message.body) for reply in replies]

    network = make_network(world=world, inspector=Reading(), **two_tenants())
    routes = [Route("GET", "/raise", broken), Route("GET", "/divide", broken)]
    assert exchange(network, routes, ask) == [
        (500, "internal", False),
        (500, "internal", False),
        (404, "not-found", False),
    ]


def test_strangers_are_told_control_and_no_more(make_network, two_tenants):
    """Only on sockets is there anybody who does not say who he is."""

    async def secret(request):
        return Reply(200, Message(b"raw:secret", RAW))

    async def greeting(request):
        return Reply(200, Message(b"control:hello"))

    async def ask(host):
        async with host.session() as session:
            url = host.url_of("server")
            async with session.get(url + "/secret") as refused, session.get(url + "/greeting") as greeted:
                return refused.status, await refused.read(), await greeted.read()

    network = make_network(world="real", inspector=Reading(), **two_tenants(allow=["stream"]))
    routes = [Route("GET", path, handler, open_to_all=True) for path, handler in
              (("/secret", secret), ("/greeting", greeting))]  # fmt: skip
    status, body, hello = exchange(network, routes, ask)
    assert (status, hello) == (403, b"control:hello")
    assert b"raw:secret" not in body
    told = [(entry.kind, entry.verdict) for entry in network.boundaries.ledger if entry.target == "*"]
    assert sorted(told) == [("control", "crossed"), ("raw", "refused")]


@both_worlds
@pytest.mark.parametrize("rules", [[], [Rule("cloud", frozenset({"stream"}))]], ids=["no rule", "stream"])
def test_sessions_keep_to_the_boundaries_and_the_ledger_shows_them(make_network, world, rules):
    tenants = {"client-0": "sites", "client-1": "sites", "server": "cloud"}
    network = make_network(world=world, tenants=tenants, rules=rules)
    got = []

    async def main():
        async def take(request):
            got.append(await request.read())
            return web.Response()

        app = web.Application()
        app.router.add_put("/", take)
        server = network.host("server")
        port = await server.start(server.site(app, 0 if world == "real" else 80))
        url = f"http://127.0.0.1:{port}" if world == "real" else "http://server"
        host = network.host("client-0")

        async def ask():
            async with host.session() as session, session.put(url + "/", data=b"raw pixels") as response:
                return response.status

        return await host.start(ask())

    if rules:
        assert network.run(main) == 200
        assert got == [b"raw pixels"]
    else:
        with pytest.raises(ClientConnectorError):
            network.run(main)
        assert got == []
    entries = {(entry.source, entry.kind, entry.verdict) for entry in network.boundaries.ledger}
    assert ("client-0", "stream", "crossed" if rules else "refused") in entries
    if rules and world != "real":
        sizes = [entry.size_bytes for entry in network.boundaries.ledger]
        assert all(size > 100 for size in sizes)
        assert len(sizes) == 2  # one a direction


async def asked_of(host, path, method="GET", **headers):
    """Status of the answer to a request that no agent makes (`_` for `-`)."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        host.session() as session,
        session.request(method, host.url_of("server") + path, headers=sent) as response,
    ):
        return response.status


async def greet(request):
    return Reply(200, Message(b"control:hello"))


def test_of_what_a_sender_chooses_little_is_written_down(make_network, two_tenants):
    """Trace and ledger are in memory until the run ends: nobody may fill that with long paths, kinds or names."""
    kinds = {"Boundary_Kind": "k" * 700}

    async def ask(host):
        return [
            await asked_of(host, "/" + "p" * 700, "PUT", Boundary_From="client-0", **kinds),
            await asked_of(host, "/" + "p" * 3000, "PUT", Boundary_From="client-1"),
            await asked_of(host, "/", "PUT", Boundary_From="n" * 700, **kinds),
        ]

    network = make_network(world="real", inspector=Reading(), **two_tenants(allow=["stream"]))
    assert exchange(network, [Route("GET", "/", greet)], ask) == [400, 431, 400]
    written = [value for event in network.trace for value in event.values.values()]
    written += [value for entry in network.boundaries.ledger for value in entry.as_dict().values()]
    assert max(len(value) for value in written if isinstance(value, str)) == 215  # "(unknown host …)", of 200
    assert {value for value in written if "ppp" in str(value)} == {"/" + "p" * 198 + "…"}


def test_kinds_count_as_what_goes_uninspected(make_network, two_tenants):
    async def ask(host):
        kinds = "synthetic," * (HEAD_LIMIT_BYTES // 10) + "synthetic"
        return [await asked_of(host, "/", Boundary_From="client-0", Boundary_Kind=each) for each in (kinds, "control")]

    network = make_network(world="real", inspector=Reading(), **two_tenants(allow=["stream", "synthetic"]))
    assert exchange(network, [Route("GET", "/", greet)], ask) == [431, 200]


def test_what_strangers_ask_for_in_vain_is_written_down_nowhere(make_network, two_tenants):
    async def ask(host):
        nowhere = [await asked_of(host, path) for path in ("/nowhere", "/" + "p" * 3000)]
        return [*nowhere, await asked_of(host, "/open?" + "p" * 3000), await asked_of(host, "/open")]

    network = make_network(world="real", inspector=Reading(), **two_tenants(allow=["stream"]))
    assert exchange(network, [Route("GET", "/open", greet, open_to_all=True)], ask) == [404, 431, 431, 200]
    assert {event.values["path"] for event in network.trace if event.host == "server"} == {"/open"}
    assert [entry.verdict for entry in network.boundaries.ledger if entry.target == "*"] == ["crossed"]
