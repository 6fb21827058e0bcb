"""Who is at the door of a service: counted, told of, let out in peace, and turned away once it is shut."""

from __future__ import annotations

import asyncio
import dataclasses
from types import SimpleNamespace

import pytest

from simnet import LinkSpec, Message, Route, SocketNetwork, problem, star
from simnet.door import NO_OPERATION, Door, Visit
from simnet.errors import UnreachableError
from simnet.ingress import Egress, Ingress
from simnet.operations import Operation
from simnet.services import Reply, route_of
from simnet.tus import bare_if_asked, spoken

TOPOLOGY = star(["client-0"], access=LinkSpec(1e9, 0), server=LinkSpec(1e9, 0))
PUT = Operation("putIt", "PUT", "/things/{thing}", "Put it.", ())


async def put(request):
    if request.parameters["thing"] == "bad":
        return problem(422, "not-as-asked", "a bad thing")
    return Reply(201, Message(b"four"))


def visit(door, routes, asker, *, egress=None):
    """What `asker(client, url)` returns while a service with this door serves routes."""
    network = SocketNetwork(TOPOLOGY, ingress=Ingress(door=door), **({} if egress is None else {"egress": egress}))

    async def main():
        server, client = network.host("server"), network.host("client-0")
        async with asyncio.timeout(20):
            await server.serve(routes, body_limit_bytes=100_000)
            return await client.start(asker(client, network.url_of("server")))

    return network.run(main)


def untimed(exchanges):
    assert all(one.duration_s >= 0 for one in exchanges)
    return [dataclasses.astuple(dataclasses.replace(one, duration_s=0.0))[:7] for one in exchanges]


def test_each_request_is_told_of_with_its_operation_sender_status_and_bytes():
    heard, sent = [], []

    async def ask(client, url):
        await client.request("server", "PUT", "/things/good", Message(b"x" * 70_000))
        await client.request("server", "PUT", "/things/bad", Message(b"y"))
        await client.request("server", "GET", "/elsewhere")
        await client.request("server", "PUT", "/things/large", Message(b"z" * 100_001))

    visit(Door(heard.append), [route_of(PUT, put)], ask, egress=Egress(observer=sent.append))
    here = "127.0.0.1"
    assert untimed(heard)[:3] == [
        ("putIt", "client-0", here, 201, "", 70_000, 4),
        ("putIt", "client-0", here, 422, "not-as-asked", 1, heard[1].answer_bytes),
        (NO_OPERATION, "client-0", here, 404, "not-found", 0, heard[2].answer_bytes),
    ]
    assert (heard[3].status, heard[3].code) == (413, "too-large")
    assert untimed(sent)[:2] == [
        ("PUT /things/good", "server", None, 201, "", 70_000, 4),
        ("PUT /things/bad", "server", None, 422, "not-as-asked", 1, heard[1].answer_bytes),
    ]


def test_of_a_refusal_without_a_word_the_code_is_told_all_the_same():
    """An answer to HEAD has no body; the log and the counters still say why."""
    asked = SimpleNamespace(method="HEAD")
    bare = spoken(bare_if_asked(problem(403, "not-you", "client-0 may not"), asked))
    assert (bare.status, bare.message.body) == (403, b"")
    heard = Visit("a", reply=bare_if_asked(problem(403, "not-you", "client-0 may not"), asked)).over(0.0)
    assert (heard.status, heard.code, heard.answer_bytes) == (403, "not-you", 0)


def test_a_request_that_is_broken_off_has_no_status_and_is_no_failure_of_the_server(caplog):
    """Anybody can break off as often as they like: that must not fill a log with errors."""
    heard = []

    async def ask(client, url):
        host, port = url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"PUT /things/a HTTP/1.1\r\nHost: a\r\nBoundary-From: client-0\r\nContent-Length: 9\r\n\r\nfour")
        await writer.drain()
        while door.inside == 0:
            await asyncio.sleep(0.005)
        assert door.connections() == 1
        writer.close()
        await door.wait_until_empty()

    door = Door(heard.append)
    visit(door, [route_of(PUT, put)], ask)
    (one,) = heard
    assert one.peer == "client-0"
    assert (one.operation, one.status, one.request_bytes, one.answer_bytes) == ("putIt", None, 4, 0)
    assert [record.name for record in caplog.records if record.name != "asyncio"] == []


def test_where_nothing_listens_the_asker_hears_of_no_status():
    sent = []

    async def ask(client, url):
        client._network._urls["server"] = "http://127.0.0.1:9"
        with pytest.raises(UnreachableError, match="cannot reach server"):
            await client.request("server", "GET", "/things/a")

    visit(None, [], ask, egress=Egress(observer=sent.append))
    assert untimed(sent) == [("GET /things/a", "server", None, None, "", 0, 0)]


def test_a_shut_door_lets_nobody_in_and_who_is_inside_ends_in_peace():
    heard, go_on = [], asyncio.Event()

    async def slow(request):
        await go_on.wait()
        return Reply(201)

    async def ask(client, url):
        first = asyncio.create_task(client.request("server", "POST", "/slow"))
        while door.inside == 0:
            await asyncio.sleep(0.005)
        door.shut(2.5)
        refused = await client.request("server", "POST", "/slow")
        assert (refused.status, refused.code, refused.headers["Retry-After"]) == (503, "shutting-down", "3")
        assert "repeat the request" in refused.reason
        emptied = asyncio.create_task(door.wait_until_empty())
        await asyncio.sleep(0.02)
        assert not emptied.done()
        go_on.set()
        await emptied
        return (await first).status

    door = Door(heard.append)
    assert visit(door, [Route("POST", "/slow", slow)], ask) == 201
    assert [(one.operation, one.status) for one in heard] == [("POST /slow", 503), ("POST /slow", 201)]


def test_an_empty_door_is_left_at_once():
    asyncio.run(asyncio.wait_for(Door().wait_until_empty(), 5))
